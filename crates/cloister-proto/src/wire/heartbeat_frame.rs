//! The frame of a heartbeat.

use std::time::Duration;

use super::interner::NodeIdInterner;
use super::limits::{MAX_FORMER, MAX_MEMBERS, WireError, at_most, count, epoch, nanos, size};
use super::memory_frame::{GoodbyeFrame, ids};
use super::node_frame::NodeFrame;
use crate::message::{Heartbeat, Reach};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeartbeatFrame {
    #[prost(uint64, tag = "1")]
    sent: u64,
    #[prost(uint64, tag = "2")]
    echo: u64,
    #[prost(uint64, tag = "3")]
    age_nanos: u64,
    #[prost(message, repeated, tag = "4")]
    reach: Vec<NodeFrame>,
    #[prost(fixed64, tag = "5")]
    reach_hash: u64,
    #[prost(fixed64, tag = "6")]
    installed: u64,
    #[prost(fixed64, tag = "7")]
    promised: u64,
    #[prost(bool, tag = "8")]
    prepared: bool,
    #[prost(fixed64, tag = "9")]
    released_epoch: u64,
    #[prost(fixed64, tag = "10")]
    max_epoch_seen: u64,
    #[prost(bool, tag = "11")]
    leaving: bool,
    #[prost(bool, tag = "12")]
    wants_echo: bool,
    #[prost(uint32, tag = "13")]
    size: u32,
    #[prost(fixed64, tag = "14")]
    base: u64,
    #[prost(bool, tag = "15")]
    objects: bool,
    #[prost(message, repeated, tag = "16")]
    goodbyes: Vec<GoodbyeFrame>,
    #[prost(uint64, tag = "17")]
    unix_ms: u64,
    #[prost(message, repeated, tag = "18")]
    former: Vec<NodeFrame>,
}

impl From<&Heartbeat> for HeartbeatFrame {
    fn from(heartbeat: &Heartbeat) -> Self {
        let (reach, reach_hash) = match &heartbeat.reach {
            Reach::Nodes(nodes) => (nodes.iter().map(NodeFrame::from).collect(), 0),
            Reach::Same(hash) => (Vec::new(), *hash),
        };
        HeartbeatFrame {
            sent: heartbeat.sent,
            echo: heartbeat.echo,
            age_nanos: nanos(heartbeat.age),
            reach,
            reach_hash,
            installed: heartbeat.installed.as_u64(),
            promised: heartbeat.promised.as_u64(),
            prepared: heartbeat.prepared,
            released_epoch: heartbeat.released_epoch.as_u64(),
            max_epoch_seen: heartbeat.max_epoch_seen.as_u64(),
            leaving: heartbeat.leaving,
            wants_echo: heartbeat.wants_echo,
            size: count(heartbeat.size),
            base: heartbeat.base.as_u64(),
            objects: heartbeat.objects,
            goodbyes: heartbeat.goodbyes.iter().map(GoodbyeFrame::from).collect(),
            unix_ms: heartbeat.unix_ms,
            former: heartbeat.former.iter().map(NodeFrame::from).collect(),
        }
    }
}

impl HeartbeatFrame {
    pub(super) fn heartbeat(self, interner: &mut NodeIdInterner) -> Result<Heartbeat, WireError> {
        at_most("reach", self.reach.len(), MAX_MEMBERS)?;
        at_most("goodbyes", self.goodbyes.len(), MAX_MEMBERS)?;
        at_most("former", self.former.len(), MAX_FORMER)?;
        // A reach is never empty: its sender reaches itself.
        let reach = if self.reach.is_empty() {
            Reach::Same(self.reach_hash)
        } else {
            let mut nodes =
                self.reach.iter().map(|node| interner.intern(node)).collect::<Result<Vec<_>, _>>()?;
            nodes.sort();
            nodes.dedup();
            Reach::Nodes(nodes.into())
        };
        Ok(Heartbeat {
            sent: self.sent,
            echo: self.echo,
            age: Duration::from_nanos(self.age_nanos),
            reach,
            installed: epoch(self.installed)?,
            promised: epoch(self.promised)?,
            prepared: self.prepared,
            released_epoch: epoch(self.released_epoch)?,
            max_epoch_seen: epoch(self.max_epoch_seen)?,
            unix_ms: self.unix_ms,
            leaving: self.leaving,
            wants_echo: self.wants_echo,
            size: size(self.size)?,
            base: epoch(self.base)?,
            objects: self.objects,
            goodbyes: self.goodbyes.into_iter().map(|it| it.goodbye(interner)).collect::<Result<_, _>>()?,
            former: ids(&self.former, interner)?,
        })
    }
}
