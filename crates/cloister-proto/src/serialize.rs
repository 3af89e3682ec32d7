//! Names, views, changes and obstacles as serde writes and reads them.
//!
//! Names and addresses are text. Epochs and incarnations are decimal text, since they exceed 2^53, beyond which JSON readers round. An
//! obstacle is a sentence, and cannot be read back.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{Address, Incarnation, NodeId, NodeName};
use crate::obstacle::Obstacle;
use crate::view::{Epoch, Member, View};

/// Reads text, and makes something of it.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{text:?} is no number of 64 bits: {error}"))
}

/// Writes a type as it is displayed, and reads it back by a function.
macro_rules! as_text {
    ($type:ty, $expected:literal, $parse:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text { expected: $expected, parse: $parse })
            }
        }
    };
}

as_text!(Address, "an address: `host:port`", |text| text.parse().map_err(|error| format!("{error}")));
as_text!(NodeName, "a node name: `app@host:port`", |text| text.parse().map_err(|error| format!("{error}")));
as_text!(Incarnation, "an incarnation: a number as text", |text| number(text).map(Incarnation));
as_text!(Epoch, "an epoch: a number as text", |text| number(text).map(Epoch::from_u64));

impl Serialize for Obstacle {
    /// The sentence that [`Display`](fmt::Display) gives.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is written of a [`NodeId`].
#[derive(Serialize, Deserialize)]
pub(crate) struct NodeIdFields {
    name: NodeName,
    incarnation: Incarnation,
    started_at: u64,
}

impl From<NodeId> for NodeIdFields {
    fn from(id: NodeId) -> Self {
        Self { name: id.name().clone(), incarnation: id.incarnation(), started_at: id.started_at() }
    }
}

impl From<NodeIdFields> for NodeId {
    fn from(NodeIdFields { name, incarnation, started_at }: NodeIdFields) -> Self {
        Self::new(name, incarnation, started_at)
    }
}

/// What is written of a [`Member`].
#[derive(Serialize, Deserialize)]
pub(crate) struct MemberFields {
    name: NodeName,
    incarnation: Incarnation,
    started_at: u64,
    tags: Arc<BTreeSet<String>>,
}

impl From<Member> for MemberFields {
    fn from(Member { id, tags }: Member) -> Self {
        let NodeIdFields { name, incarnation, started_at } = id.into();
        Self { name, incarnation, started_at, tags }
    }
}

impl From<MemberFields> for Member {
    fn from(MemberFields { name, incarnation, started_at, tags }: MemberFields) -> Self {
        Self::new(NodeId::new(name, incarnation, started_at), tags)
    }
}

/// What is written of a [`View`].
#[derive(Serialize, Deserialize)]
pub(crate) struct ViewFields {
    epoch: Epoch,
    size: usize,
    members: Vec<Member>,
}

impl From<View> for ViewFields {
    fn from(view: View) -> Self {
        Self { epoch: view.epoch(), size: view.size(), members: view.members().to_vec() }
    }
}

impl From<ViewFields> for View {
    fn from(ViewFields { epoch, size, members }: ViewFields) -> Self {
        Self::new(epoch, members).with_size(size)
    }
}
