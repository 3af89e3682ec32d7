//! Fuzz targets for input from outside: messages, files, texts.
//!
//! Each function takes any bytes, ends soon, and panics only on a bug. The fuzzer in `fuzz/` generates the bytes. `cargo test`
//! replays the corpus in `fuzz/corpus/`, which has a directory for each function.

#![allow(clippy::missing_panics_doc, reason = "a target panics on a bug")]

mod byzantine;

#[cfg(feature = "shell")]
use cloister_core::config::{Config, ConfigSources};
use cloister_discovery::Seeds;
use cloister_proto::{Address, Message, NodeName};

pub use byzantine::byzantine;

/// A function that takes any bytes.
pub type Body = fn(&[u8]);

/// All of them, by the name of their directory of the corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("wire", wire),
    ("byzantine", byzantine),
    ("seeds", seeds),
    #[cfg(feature = "shell")]
    ("frame", frame),
    #[cfg(feature = "shell")]
    ("config", config),
];

/// The bytes of a message. A message that decodes must encode to an equal one.
pub fn wire(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[cfg(feature = "shell")]
/// The bytes of a connection.
pub fn frame(bytes: &[u8]) {
    // Most inputs are no control frames, and have no further property to check.
    let _ = cloister_core::links::read_bytes(bytes);
}

#[cfg(feature = "shell")]
/// A file, and after a zero byte the environment, one variable a line.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, environment) = text.split_once('\0').unwrap_or((&text, ""));
    let variables: Vec<(&str, &str)> =
        environment.lines().filter_map(|line| line.split_once('=')).take(100).collect();
    let sources = ConfigSources::none().text("cloister.toml", file).env(variables);
    match Config::load_from(sources) {
        // What was loaded has been checked.
        Ok(config) => assert!(config.check().is_ok(), "{config:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Seeds, the name of a node, and an address. Each that parses must print to an equal one.
pub fn seeds(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(seeds) = Seeds::parse(&text, 4370) {
        let words = |seeds: &Seeds| seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let again = words(&seeds);
        assert_eq!(Seeds::parse(&again, 4370).as_ref().map(words).as_ref(), Ok(&again));
    }
    if let Ok(name) = text.parse::<NodeName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}
