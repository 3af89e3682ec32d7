//! The frame of a heartbeat.

use std::time::Duration;

use super::interner::NodeIdInterner;
use super::limits::{MAX_FORMER, MAX_MEMBERS, WireError, at_most, count, epoch, nanos, size};
use super::memory_frame::{GoodbyeFrame, ids};
use super::node_frame::NodeFrame;
use crate::message::{Heartbeat, Intent, Reach};

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
    #[prost(bool, tag = "19")]
    warms: bool,
    #[prost(bool, tag = "20")]
    drains: bool,
    #[prost(uint64, tag = "21")]
    warmed: u64,
    #[prost(message, optional, tag = "22")]
    intent: Option<IntentFrame>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IntentFrame {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(message, repeated, tag = "2")]
    members: Vec<NodeFrame>,
    #[prost(bool, tag = "3")]
    ready: bool,
}

impl From<&Intent> for IntentFrame {
    fn from(intent: &Intent) -> Self {
        let members = intent.members.iter().map(NodeFrame::from).collect();
        IntentFrame { number: intent.number, members, ready: intent.ready }
    }
}

impl IntentFrame {
    fn intent(self, interner: &mut NodeIdInterner) -> Result<Intent, WireError> {
        at_most("intent", self.members.len(), MAX_MEMBERS)?;
        let mut members =
            self.members.iter().map(|node| interner.intern(node)).collect::<Result<Vec<_>, _>>()?;
        members.sort();
        members.dedup();
        Ok(Intent { number: self.number, members: members.into(), ready: self.ready })
    }
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
            warms: heartbeat.warms,
            drains: heartbeat.drains,
            warmed: heartbeat.warmed,
            intent: heartbeat.intent.as_ref().map(IntentFrame::from),
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
            warms: self.warms,
            drains: self.drains,
            warmed: self.warmed,
            intent: self.intent.map(|intent| intent.intent(interner)).transpose()?,
        })
    }
}
