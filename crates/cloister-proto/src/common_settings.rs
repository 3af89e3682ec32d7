//! The settings that all nodes of a cluster should share, as nodes exchange them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::text::sanitize_to;

/// The maximal number of settings that a node sends.
pub(crate) const MAX_SETTINGS: usize = 64;

/// The maximal length of a setting's name or value, in bytes.
pub(crate) const MAX_TEXT: usize = 256;

/// The maximal length of the list of rings as text, in bytes. Whether rings differ is decided by the hash of all of them.
pub(crate) const MAX_RINGS: usize = 1024;

/// How many things the program of a node may define that no other node may define otherwise, such as tables.
pub const MAX_DEFINITIONS: usize = 256;

/// The settings that all nodes of a cluster should share, by their names in the configuration, and what their programs have defined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommonSettings {
    settings: BTreeMap<String, String>,
    rings: String,
    rings_hash: u64,
    /// As `table stock` and `copies 2, on_loss empty`.
    definitions: BTreeMap<String, String>,
}

/// A setting that two nodes have different values of.
///
/// ```
/// use cloister_proto::Difference;
///
/// fn line(Difference { key, here, there, .. }: &Difference) -> String {
///     format!("{key} is {here} here and {there} there")
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Difference {
    /// The name in the configuration.
    pub key: String,
    /// The value of this node.
    pub here: String,
    /// The value of the other.
    pub there: String,
}

impl CommonSettings {
    /// These settings, and rings of these names over the members with these tags.
    pub fn new<'a>(
        settings: impl IntoIterator<Item = (&'a str, String)>,
        rings: &BTreeMap<String, Vec<String>>,
    ) -> Self {
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let ring = |(name, tags): (&String, &Vec<String>)| {
            format!("{name} = {:?}", tags.iter().collect::<BTreeSet<_>>())
        };
        let all = rings.iter().map(ring).collect::<Vec<_>>().join("; ");
        Self { settings, rings_hash: xxh3_64(all.as_bytes()), rings: all, definitions: BTreeMap::new() }
    }

    /// The same settings, and what the program has defined: the name, such as `table stock`, and how. Two nodes that define the same
    /// name differently are incompatible. They must be no more than [`MAX_DEFINITIONS`], or peers do not read it.
    #[must_use]
    pub fn with_definitions<'a>(
        mut self,
        definitions: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        self.definitions = definitions.into_iter().map(sanitized).collect();
        self
    }

    /// The settings that a peer sent. Only what fits on a line of a log is kept.
    pub(crate) fn from_peer(
        settings: impl IntoIterator<Item = (String, String)>,
        rings: &str,
        rings_hash: u64,
    ) -> Self {
        let settings = settings.into_iter().map(|(key, value)| sanitized((&key, &value)));
        Self {
            settings: settings.take(MAX_SETTINGS).collect(),
            rings: sanitize_to_bytes(rings, MAX_RINGS),
            rings_hash,
            definitions: BTreeMap::new(),
        }
    }

    /// The settings, by the names of the configuration.
    #[must_use]
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// The named rings as text.
    #[must_use]
    pub fn rings(&self) -> String {
        if self.rings.is_empty() { "none".to_owned() } else { sanitize_to_bytes(&self.rings, MAX_RINGS) }
    }

    /// The named rings of both as text, where they differ. Texts that are cut before the first difference end in a hash of all rings.
    pub(crate) fn different_rings(&self, theirs: &CommonSettings) -> (String, String) {
        let (mine, yours) = (self.rings(), theirs.rings());
        if mine != yours {
            return (mine, yours);
        }
        let hashed = |common: &CommonSettings| {
            let hash = format!("… (hash {:016x})", common.rings_hash);
            sanitize_to_bytes(&mine, MAX_RINGS - hash.len()) + &hash
        };
        (hashed(self), hashed(theirs))
    }

    pub(crate) fn rings_hash(&self) -> u64 {
        self.rings_hash
    }

    /// The named rings as they are sent.
    pub(crate) fn rings_for_wire(&self) -> String {
        sanitize_to_bytes(&self.rings, MAX_RINGS)
    }

    /// Whether both have the same named rings. Nodes with different rings would disagree about owners.
    #[must_use]
    pub fn same_rings(&self, other: &CommonSettings) -> bool {
        self.rings_hash == other.rings_hash
    }

    /// What the program of the node has defined, by name.
    #[must_use]
    pub fn definitions(&self) -> &BTreeMap<String, String> {
        &self.definitions
    }

    /// The first name that both have defined, and differently. What only one of the two has defined is no difference: a rolling update
    /// adds and removes definitions.
    #[must_use]
    pub fn conflict(&self, theirs: &CommonSettings) -> Option<Difference> {
        difference(&self.definitions, &theirs.definitions).next()
    }

    /// Where `theirs` differs, rings and definitions aside. A setting that one of the two does not know is no difference.
    #[must_use]
    pub fn differences(&self, theirs: &CommonSettings) -> Vec<Difference> {
        difference(&self.settings, &theirs.settings).collect()
    }
}

/// What both have, with different values.
fn difference(
    here: &BTreeMap<String, String>,
    there: &BTreeMap<String, String>,
) -> impl Iterator<Item = Difference> {
    let both = here.iter().filter_map(|(key, here)| Some((key, here, there.get(key)?)));
    both.filter(|(_, here, there)| here != there).map(|(key, here, there)| Difference {
        key: key.clone(),
        here: here.clone(),
        there: there.clone(),
    })
}

/// A name and a value as they are both sent and shown.
fn sanitized((key, value): (&String, &String)) -> (String, String) {
    (sanitize_to_bytes(key, MAX_TEXT), sanitize_to_bytes(value, MAX_TEXT))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} here and {} there", self.key, self.here, self.there)
    }
}

/// `text` on one line and within so many bytes, as it is both sent and shown.
pub(crate) fn sanitize_to_bytes(text: &str, max: usize) -> String {
    let mut plain = sanitize_to(text, max);
    while plain.len() > max {
        plain.pop();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings in a line: `name tag tag, name tag`.
    fn alike(text: &str) -> CommonSettings {
        let ring = |ring: &str| {
            let (name, tags) = ring.split_once(' ').expect("a name and tags");
            (name.to_owned(), tags.split(' ').map(str::to_owned).collect())
        };
        CommonSettings::new([], &text.split(", ").filter(|ring| !ring.is_empty()).map(ring).collect())
    }

    #[test]
    fn rings_are_alike_whatever_the_order_of_their_tags() {
        let one = alike("cache a b");
        assert!(one.same_rings(&alike("cache b a a")));
        for other in ["", "cache a", "store a b", "cache a b, store c", "cache a\",\"b"] {
            assert!(!one.same_rings(&alike(other)), "{other}");
        }
        assert_eq!(alike("").rings(), "none");
        assert_eq!(one.rings(), r#"cache = {"a", "b"}"#);
    }

    #[test]
    fn rings_that_are_too_many_to_be_shown_are_distinguished_all_the_same() {
        let many = |last: &str| {
            let all: Vec<String> = (0..500).map(|n| format!("ring-{n:03} ssd")).collect();
            alike(&format!("{}, {last} ssd", all.join(", ")))
        };
        let (one, other) = (many("x"), many("y"));
        assert_eq!(one.rings(), other.rings());
        assert!(one.rings().len() <= MAX_RINGS && !one.same_rings(&other));
    }

    #[test]
    fn both_values_of_a_difference_are_reported_and_an_unknown_setting_is_no_difference() {
        let some = |lease: &str, more: &str| {
            CommonSettings::new(
                [("timing.lease", lease.to_owned()), (more, "1".to_owned())],
                &BTreeMap::new(),
            )
        };
        let differ = some("2s", "a").differences(&some("10s", "b"));
        assert_eq!(
            differ.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["timing.lease is 2s here and 10s there"]
        );
        assert_eq!(some("2s", "a").differences(&some("2s", "b")), []);
    }

    fn defines(definitions: &[(&str, &str)]) -> CommonSettings {
        let definitions: BTreeMap<String, String> =
            definitions.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        alike("").with_definitions(&definitions)
    }

    #[test]
    fn what_both_define_differently_is_a_conflict_and_what_one_of_them_defines_is_none() {
        let here = defines(&[("table a", "copies 2"), ("table b", "copies 2"), ("table c", "copies 1")]);
        for alike in
            [&[][..], &[("table b", "copies 2")], &[("table d", "copies 3"), ("entity a", "copies 3")]]
        {
            assert_eq!(here.conflict(&defines(alike)), None, "{alike:?}");
            assert_eq!(defines(alike).conflict(&here), None, "{alike:?}");
        }
        let there = defines(&[("table a", "copies 2"), ("table b", "copies 3"), ("table c", "copies 3")]);
        let conflict =
            |here: &CommonSettings, there: &CommonSettings| here.conflict(there).unwrap().to_string();
        assert_eq!(conflict(&here, &there), "table b is copies 2 here and copies 3 there");
        assert_eq!(conflict(&there, &here), "table b is copies 3 here and copies 2 there");
        assert_eq!(here.differences(&there), []);
    }

    #[test]
    fn a_definition_has_a_bound_and_stays_on_one_line() {
        let long = defines(&[("table a", &"x".repeat(2 * MAX_TEXT)), ("table b", "1\nERROR x")]);
        assert_eq!(long.definitions()["table a"].len(), MAX_TEXT);
        assert_eq!(long.definitions()["table b"], r"1\nERROR x");
    }

    #[test]
    fn the_text_of_a_peer_stays_on_one_line() {
        let said = CommonSettings::from_peer([("a".to_owned(), "1\nERROR x".to_owned())], "r\u{1b}[2J", 1);
        assert_eq!(said.settings()["a"], r"1\nERROR x");
        assert_eq!(said.rings(), r"r\u{1b}[2J");
        assert_eq!(
            (sanitize_to_bytes("日本", 4), sanitize_to_bytes("日本", 6)),
            ("日".to_owned(), "日本".to_owned())
        );
    }
}
