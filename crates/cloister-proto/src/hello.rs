//! The handshake of the protocol: the first message on a link, and whether two builds are compatible.

use std::time::Duration;

use crate::common_settings::{CommonSettings, Difference};
use crate::ring::RING_ALGORITHM;
use crate::view::Member;

/// The oldest protocol that this build speaks.
pub const PROTOCOL_MIN: u32 = 1;

/// The newest protocol that this build speaks.
pub const PROTOCOL_MAX: u32 = 1;

/// The first message that a node sends on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The sender.
    pub member: Member,
    /// The oldest protocol it speaks.
    pub protocol_min: u32,
    /// The newest protocol it speaks.
    pub protocol_max: u32,
    /// Its ring algorithm.
    pub ring: u32,
    /// Its lease: for how long it acts by the grants of others.
    pub lease: Duration,
    /// Whether a connection refused at its address proves that its process has exited. Earlier builds do not send it.
    pub owns_address: bool,
    /// The version of the application, for people.
    pub version: String,
    /// The settings that all nodes should share. Earlier builds do not send them.
    pub common_settings: Option<CommonSettings>,
    /// Encoded fields of a later version, at most 127 bytes. Received ones are dropped.
    #[cfg(feature = "test-support")]
    pub unknown_fields: Vec<u8>,
}

/// What a peer states once about its lease and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerTerms {
    /// Its lease: for how long it acts by the grants of others.
    pub lease: Duration,
    /// Whether a connection refused at its address proves that its process has exited.
    pub owns_address: bool,
    /// Whether it limits each grant to the lease of the granting node. Earlier builds do not.
    pub caps_lease: bool,
}

impl PeerTerms {
    /// The terms of a peer with this lease at an address of its own machine.
    #[must_use]
    pub const fn new(lease: Duration) -> Self {
        Self { lease, owns_address: true, caps_lease: true }
    }
}

/// Why two nodes are incompatible, as the refusing node sends it. [`Refusal::reason`] is its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// They share no version of the protocol.
    Protocol {
        /// The oldest that the refusing node speaks.
        min: u32,
        /// The newest that the refusing node speaks.
        max: u32,
    },
    /// They place keys by different algorithms, and would disagree about owners.
    Ring {
        /// The algorithm of the refusing node.
        ring: u32,
    },
    /// They have different named rings, and would disagree about owners.
    Rings {
        /// The rings of the refusing node.
        rings: String,
        /// The rings of the refused node, as the refusing node received them.
        yours: String,
    },
    /// Their programs define the same table, or the same entities, differently. Each would keep the copies by its own definition.
    Definition {
        /// What it is, with its name: `table stock`.
        name: String,
        /// How the refusing node defines it.
        definition: String,
        /// How the refused node does, as the refusing node received it.
        yours: String,
    },
    /// The name in `Hello` is not the name that was authenticated.
    Identity,
    /// A reason of a later version.
    Other,
}

impl Refusal {
    /// The refusal by a peer, in the words of the refused node, which sent `mine`.
    #[must_use]
    pub fn reason(&self, mine: &Hello) -> String {
        match self {
            Refusal::Protocol { min, max } => {
                let Hello { protocol_min, protocol_max, .. } = mine;
                format!(
                    "it speaks protocols {min} to {max}, this node speaks {protocol_min} to {protocol_max}"
                )
            }
            Refusal::Ring { ring } => {
                format!("it places keys by ring algorithm {ring}, this node by {}", mine.ring)
            }
            Refusal::Rings { rings, yours } => {
                format!(
                    "its rings are {rings}, those of this node are {yours}: all nodes must have the same `[rings]`"
                )
            }
            Refusal::Definition { name, definition, yours } => {
                format!(
                    "its {name} is {definition}, that of this node is {yours}: define it alike on all nodes, by one \
                     release, and change it with all nodes stopped"
                )
            }
            Refusal::Identity => {
                format!(
                    "it authenticated this node by another name than {}, which this node calls itself",
                    mine.member.id
                )
            }
            Refusal::Other => "it gave a reason that this version does not know".to_owned(),
        }
    }
}

impl Hello {
    /// The `Hello` of this build for `member`.
    #[must_use]
    pub fn new(member: Member, lease: Duration, version: String) -> Self {
        Self {
            member,
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            ring: RING_ALGORITHM,
            lease,
            owns_address: false,
            version,
            common_settings: None,
            #[cfg(feature = "test-support")]
            unknown_fields: Vec::new(),
        }
    }

    /// Its lease and its address.
    #[must_use]
    pub fn terms(&self) -> PeerTerms {
        // Builds that send common settings are those that limit grants to the granting node's lease.
        let caps_lease = self.common_settings.is_some();
        PeerTerms { lease: self.lease, owns_address: self.owns_address, caps_lease }
    }

    /// The common settings in which `theirs` differs, except for rings and definitions.
    #[must_use]
    pub fn differences(&self, theirs: &Hello) -> Vec<Difference> {
        match (&self.common_settings, &theirs.common_settings) {
            (Some(mine), Some(theirs)) => mine.differences(theirs),
            _ => Vec::new(),
        }
    }

    /// Checks that a node that sends `theirs` is compatible with this one.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] to send to the other node if the protocols, ring algorithms or named rings differ, or a definition that both have.
    pub fn check(&self, theirs: &Hello) -> Result<(), Refusal> {
        if theirs.protocol_max < self.protocol_min || theirs.protocol_min > self.protocol_max {
            return Err(Refusal::Protocol { min: self.protocol_min, max: self.protocol_max });
        }
        if theirs.ring != self.ring {
            return Err(Refusal::Ring { ring: self.ring });
        }
        let (Some(mine), Some(theirs)) = (&self.common_settings, &theirs.common_settings) else {
            return Ok(());
        };
        if !mine.same_rings(theirs) {
            let (rings, yours) = mine.different_rings(theirs);
            return Err(Refusal::Rings { rings, yours });
        }
        match mine.conflict(theirs) {
            Some(Difference { key: name, here: definition, there: yours }) => {
                Err(Refusal::Definition { name, definition, yours })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::name::{Incarnation, NodeId};

    fn hello() -> Hello {
        let id = NodeId::new("a@h:1".parse().expect("a name"), Incarnation(1), 1);
        let version = "1.2.3".to_owned();
        Hello::new(Member::without_tags(id), Duration::from_secs(2), version)
    }

    fn speaks(min: u32, max: u32) -> Hello {
        Hello { protocol_min: min, protocol_max: max, ..hello() }
    }

    fn configured(lease: &str, rings: &[&str]) -> Hello {
        let ring = |name: &&str| ((*name).to_owned(), vec!["ssd".to_owned()]);
        let rings: BTreeMap<_, _> = rings.iter().map(ring).collect();
        Hello {
            common_settings: Some(CommonSettings::new([("timing.lease", lease.to_owned())], &rings)),
            ..hello()
        }
    }

    #[test]
    fn nodes_fit_together_if_they_share_a_version_of_the_protocol() {
        let here = speaks(3, 5);
        for (min, max) in [(1, 3), (3, 5), (4, 4), (5, 9), (1, 9)] {
            assert_eq!(here.check(&speaks(min, max)), Ok(()), "{min} to {max}");
        }
        for (min, max) in [(1, 2), (6, 9)] {
            let refusal = Refusal::Protocol { min: 3, max: 5 };
            assert_eq!(here.check(&speaks(min, max)), Err(refusal), "{min} to {max}");
        }
    }

    #[test]
    fn the_reason_of_a_refusal_has_the_values_of_both_nodes() {
        let reason = |refusing: &Hello, refused: &Hello| refusing.check(refused).unwrap_err().reason(refused);
        assert_eq!(
            reason(&speaks(1, 1), &speaks(2, 3)),
            "it speaks protocols 1 to 1, this node speaks 2 to 3"
        );
        let ring = |ring| Hello { ring, ..hello() };
        assert_eq!(reason(&ring(4), &ring(7)), "it places keys by ring algorithm 4, this node by 7");
        let name = "it authenticated this node by another name than a@h:1#1, which this node calls itself";
        assert_eq!(Refusal::Identity.reason(&hello()), name);
    }

    #[test]
    fn rings_that_are_too_long_to_be_shown_differ_in_the_reason_all_the_same() {
        let many: Vec<String> = (0..100).map(|n| format!("ring-{n:03}")).collect();
        let with =
            |last| configured("2s", &many.iter().map(String::as_str).chain([last]).collect::<Vec<_>>());
        let Err(Refusal::Rings { rings, yours }) = with("x").check(&with("y")) else {
            panic!("they are incompatible");
        };
        assert_ne!(rings, yours);
        assert!(rings.starts_with(r#"ring-000 = {"ssd"}; "#) && rings.len() <= 1024, "{rings}");
    }

    #[test]
    fn nodes_that_would_disagree_about_owners_do_not_fit_together() {
        let other = Hello { ring: RING_ALGORITHM + 1, ..hello() };
        assert_eq!(hello().check(&other), Err(Refusal::Ring { ring: RING_ALGORITHM }));
        let (here, there) = (configured("2s", &["cache"]), configured("2s", &[]));
        let (rings, yours) = (r#"cache = {"ssd"}"#.to_owned(), "none".to_owned());
        assert_eq!(here.check(&there), Err(Refusal::Rings { rings, yours }));
        assert_eq!(here.check(&here), Ok(()));
        // An earlier build sends no rings.
        assert_eq!((here.check(&hello()), hello().check(&here)), (Ok(()), Ok(())));
    }

    #[test]
    fn nodes_that_define_a_table_differently_do_not_fit_together() {
        let defining = |definitions: &[(&str, &str)]| {
            let definitions: BTreeMap<String, String> =
                definitions.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            let Hello { common_settings, .. } = configured("2s", &[]);
            let common_settings = common_settings.map(|common| common.with_definitions(&definitions));
            Hello { common_settings, ..hello() }
        };
        let here = defining(&[("table a", "copies 1"), ("table stock", "copies 2")]);
        let there = defining(&[("table stock", "copies 3"), ("table z", "copies 1")]);
        let refusal = here.check(&there).unwrap_err();
        assert_eq!(
            refusal.reason(&there),
            "its table stock is copies 2, that of this node is copies 3: define it alike on all nodes, by one release, and change \
             it with all nodes stopped"
        );
        assert_eq!(
            there.check(&here),
            Err(Refusal::Definition {
                name: "table stock".to_owned(),
                definition: "copies 3".to_owned(),
                yours: "copies 2".to_owned(),
            })
        );
        // A rolling update adds a table, and an earlier build sends no definitions.
        for other in [here.clone(), defining(&[("table b", "copies 9")]), defining(&[]), hello()] {
            assert_eq!((here.check(&other), other.check(&here)), (Ok(()), Ok(())), "{other:?}");
        }
    }

    #[test]
    fn different_settings_are_reported_and_exclude_no_node() {
        let (here, there) = (configured("2s", &[]), configured("3s", &[]));
        assert_eq!(here.check(&there), Ok(()));
        let texts: Vec<String> = here.differences(&there).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["timing.lease is 2s here and 3s there"]);
        assert_eq!(here.differences(&hello()), []);
    }

    #[test]
    fn a_build_that_says_what_should_be_alike_caps_its_grants_and_an_earlier_one_does_not() {
        let terms = configured("2s", &[]).terms();
        assert_eq!(
            (terms.lease, terms.owns_address, terms.caps_lease),
            (Duration::from_secs(2), false, true)
        );
        assert!(!hello().terms().caps_lease);
        assert!(Hello { owns_address: true, ..hello() }.terms().owns_address);
    }
}
