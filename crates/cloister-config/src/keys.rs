//! The keys that exist, and the nearest one to a key that does not.

/// Every key, in the order of the table. `<name>` stands for the name of a ring.
///
/// ```
/// # mod cloister { pub use ::cloister_config as config; }
/// assert!(cloister::config::KEYS.contains(&"timing.lease"));
/// ```
pub const KEYS: &[&str] = &[
    "name",
    "seeds",
    "consensus",
    "host",
    "port",
    "naming",
    "cookie",
    "cookie_file",
    "tls.cert",
    "tls.key",
    "tls.ca",
    "tls.server_name",
    "tags",
    "assembly_timeout",
    "on_assembly_timeout",
    "drain_delay",
    "drain_timeout",
    "split",
    "state_file",
    "timing.heartbeat_every",
    "timing.unreachable_after",
    "timing.lease",
    "timing.settle",
    "timing.rehash_timeout",
    "timing.leave_timeout",
    "timing.trust_refusal",
    "limits.link_bytes",
    "limits.waiting_calls",
    "limits.waiting_bytes",
    "limits.table_bytes",
    "rings.<name>.tags",
    "admin.listen",
    "admin.hosts",
];

/// The keys of the times that belong together.
pub(super) const TIMES: [&str; 6] = [
    "timing.heartbeat_every",
    "timing.unreachable_after",
    "timing.lease",
    "timing.settle",
    "timing.rehash_timeout",
    "timing.leave_timeout",
];

/// The keys of the files of TLS, all of which must be there if one is.
pub(super) const TLS_FILES: [&str; 3] = ["tls.cert", "tls.key", "tls.ca"];

/// The sections of a file.
pub(super) const SECTIONS: [&str; 5] = ["timing", "tls", "limits", "admin", "rings"];

/// The word of Cloister for Elixir for `seeds`.
pub(super) const SEEDS_ALIAS: &str = "sentry";

/// The prefix of every variable.
pub(super) const PREFIX: &str = "CLOISTER__";

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "CLOISTER__CONFIG";

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// One word out of a few, of which some are `true` and `false`.
    Word,
    /// A whole number.
    Number,
    /// A text with a number and its unit.
    Duration,
    /// A text with a number of bytes and its unit.
    Size,
    /// Texts.
    List,
    /// One text, or several.
    OneOrList,
}

/// The kind of a key, if the key exists.
pub(super) fn kind(key: &str) -> Option<KeyType> {
    match key {
        "cookie" => Some(KeyType::Secret),
        "consensus" | "port" | "limits.waiting_calls" => Some(KeyType::Number),
        "assembly_timeout" | "drain_delay" | "drain_timeout" => Some(KeyType::Duration),
        "timing.trust_refusal" => Some(KeyType::Word),
        _ if TIMES.contains(&key) => Some(KeyType::Duration),
        "tags" | "admin.hosts" => Some(KeyType::List),
        "limits.link_bytes" | "limits.waiting_bytes" | "limits.table_bytes" => Some(KeyType::Size),
        _ if ring_name(key).is_some() => Some(KeyType::List),
        SEEDS_ALIAS | "seeds" => Some(KeyType::OneOrList),
        _ => KEYS.contains(&key).then_some(KeyType::Text),
    }
}

/// The section that is most like this word, if one is much like it.
pub(super) fn nearest_section(word: &str) -> Option<String> {
    SECTIONS
        .iter()
        .map(|section| (strsim::damerau_levenshtein(&word.to_lowercase(), section), section))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, section)| *distance <= 1 + section.len() / 3)
        .map(|(_, section)| (*section).to_owned())
}

/// The key that an alias stands for, or the key itself.
pub(super) fn canonical(key: &str) -> &str {
    if key == SEEDS_ALIAS { "seeds" } else { key }
}

/// The key with the tags of a ring.
pub(super) fn ring(name: &str) -> String {
    format!("rings.{name}.tags")
}

/// The name of the ring that a key is about.
pub(super) fn ring_name(key: &str) -> Option<&str> {
    let name = key.strip_prefix("rings.")?.strip_suffix(".tags")?;
    (!name.is_empty() && !name.contains('.')).then_some(name)
}

/// The variable for a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The key, known or not, that a variable stands for.
pub(super) fn of_variable(name: &str) -> Option<String> {
    let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
    Some(canonical(&key).to_owned())
}

/// Every variable, for a message.
pub(super) fn variables() -> String {
    let all: Vec<String> = KEYS.iter().map(|key| variable(key)).collect();
    all.join(", ")
}

/// The known key that is most like this one, if one is much like it: a misspelt one, or one in the wrong section.
pub(super) fn nearest(key: &str) -> Option<String> {
    let known = |wanted: &&str| {
        // A name of a ring is as good as any other.
        match (wanted.strip_prefix("rings.<name>"), key.split('.').nth(1)) {
            (Some(rest), Some(name)) => format!("rings.{name}{rest}"),
            _ => (*wanted).to_owned(),
        }
    };
    KEYS.iter()
        .chain(&[SEEDS_ALIAS])
        .map(known)
        .map(|known| (distance(key, &known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 1 + known.len().min(key.len()) / 4)
        .map(|(_, known)| known)
}

/// How unlike two keys are: by letters, or one apart if only their sections differ.
fn distance(key: &str, known: &str) -> usize {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let letters = strsim::damerau_levenshtein(&key.to_lowercase(), known);
    if last(key) == last(known) { letters.min(1) } else { letters }
}
