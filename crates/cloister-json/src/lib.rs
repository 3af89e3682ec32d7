//! The JSON that the admin HTTP of a node answers with: one definition for nodes, tools and tests.
//!
//! | path | answer |
//! |---|---|
//! | `GET /readyz` | [`Readiness`] |
//! | `GET /members` | [`Members`] |
//! | `GET /whois/{key}` | [`Whois`] |
//! | `GET /tables` | [`Tables`] |
//! | `GET /events` | a stream of [`Event`] |
//!
//! A node and the program that reads its answer may have different versions. So fields only get more: unknown ones are ignored, and all
//! but the first few may be missing. A node of this version leaves out no field but [`Readiness::stalled_ms`]; what it does not know is
//! `null`. States, reasons and kinds are text, since a later version may have more of them.
//!
//! Each type has a default, so that a test can write the fields that it is about: `Members { node, ..Members::default() }`.
//!
//! Epochs and incarnations are decimal text: they exceed 2^53, beyond which many JSON readers round.
//!
//! ```
//! let json = r#"{"node":"shop@10.0.0.7:4370","status":"up","epoch":"1882775777848140878","of_a_later_version":1}"#;
//! let members: cloister_json::Members = serde_json::from_str(json)?;
//! assert_eq!((members.node.as_str(), members.status.as_str()), ("shop@10.0.0.7:4370", "up"));
//! assert_eq!((members.epoch.as_deref(), members.seq), (Some("1882775777848140878"), None));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod event;
mod members;
mod readiness;
mod tables;
mod whois;

pub use event::{ChangeRow, Event};
pub use members::{Difference, Member, Members, NamedRing, Owner, Peer, Ring, Split};
pub use readiness::Readiness;
pub use tables::{TableRow, Tables};
pub use whois::Whois;
