//! The protocol buffers behind [`Message`]. Field numbers are never used again for another meaning.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;

use super::interner::NodeIdInterner;
use super::{
    Goodbye, Heartbeat, MAX_BASES, MAX_EPOCH, MAX_FORMER, MAX_MEMBERS, MAX_TAG_LEN, MAX_TAGS, Message,
    ProposalReply, Reach, WireError,
};
use crate::common_settings::{CommonSettings, MAX_RINGS, MAX_SETTINGS, sanitize_to_bytes};
use crate::hello::{Hello, Refusal};
use crate::memory::Memory;
use crate::name::NodeId;
use crate::settings::MAX_TIMING;
use crate::view::{Epoch, Member, View};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Hello(HelloFrame),
    #[prost(message, tag = "2")]
    Refused(RefusedFrame),
    #[prost(message, tag = "3")]
    Heartbeat(HeartbeatFrame),
    #[prost(message, tag = "4")]
    Propose(ViewFrame),
    #[prost(message, tag = "5")]
    Reply(ReplyFrame),
    #[prost(fixed64, tag = "6")]
    Commit(u64),
    #[prost(message, tag = "7")]
    DuplicateName(NodeFrame),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeFrame {
    // Text; as bytes it is shared with the frame or the id that it comes from. It is checked when it is read as a name.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(fixed64, tag = "2")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) started_at: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberFrame {
    #[prost(message, optional, tag = "1")]
    id: Option<NodeFrame>,
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HelloFrame {
    #[prost(message, optional, tag = "1")]
    member: Option<MemberFrame>,
    #[prost(uint32, tag = "2")]
    protocol_min: u32,
    #[prost(uint32, tag = "3")]
    protocol_max: u32,
    #[prost(uint32, tag = "4")]
    ring: u32,
    #[prost(uint64, tag = "5")]
    lease_nanos: u64,
    #[prost(uint64, tag = "6")]
    consensus: u64,
    #[prost(string, tag = "7")]
    version: String,
    #[prost(bool, tag = "8")]
    owns_address: bool,
    #[prost(message, optional, tag = "9")]
    common_settings: Option<CommonSettingsFrame>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CommonSettingsFrame {
    #[prost(message, repeated, tag = "1")]
    settings: Vec<SettingFrame>,
    #[prost(string, tag = "2")]
    rings: String,
    #[prost(fixed64, tag = "3")]
    rings_hash: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SettingFrame {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefusedFrame {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(uint32, tag = "3")]
    second: u32,
    #[prost(string, tag = "4")]
    rings: String,
    #[prost(string, tag = "5")]
    yours: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeartbeatFrame {
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

#[derive(Clone, PartialEq, prost::Message)]
struct GoodbyeFrame {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeFrame>,
    #[prost(message, repeated, tag = "2")]
    bases: Vec<BaseFrame>,
}

/// A view without what its members are tagged with.
#[derive(Clone, PartialEq, prost::Message)]
struct BaseFrame {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(message, repeated, tag = "2")]
    lives: Vec<NodeFrame>,
    #[prost(uint32, tag = "3")]
    size: u32,
}

/// What one life leaves to the next. Never sent: it is what a state file holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemoryFrame {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeFrame>,
    #[prost(message, repeated, tag = "2")]
    former: Vec<NodeFrame>,
    #[prost(message, optional, tag = "3")]
    installed: Option<BaseFrame>,
    #[prost(message, repeated, tag = "4")]
    acknowledged: Vec<BaseFrame>,
    #[prost(message, repeated, tag = "5")]
    goodbyes: Vec<GoodbyeFrame>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ViewFrame {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberFrame>,
    // Absent in builds that do not know it: then it is the number of members.
    #[prost(uint32, tag = "3")]
    size: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReplyFrame {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(enumeration = "ReplyCode", tag = "2")]
    reply: i32,
    #[prost(fixed64, tag = "3")]
    newer_epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ReplyCode {
    Unknown = 0,
    Promise = 1,
    Ack = 2,
    StaleEpoch = 3,
    Leaving = 4,
}

impl From<&Message> for Frame {
    fn from(message: &Message) -> Self {
        let kind = match message {
            Message::Hello(hello) => Kind::Hello(hello.into()),
            Message::Refused(refusal) => Kind::Refused(refusal.into()),
            Message::Heartbeat(heartbeat) => Kind::Heartbeat(heartbeat.into()),
            Message::Propose(view) => Kind::Propose(view.into()),
            Message::Reply { epoch, reply: answer } => Kind::Reply(reply_frame(*epoch, *answer)),
            Message::Commit { epoch } => Kind::Commit(epoch.as_u64()),
            Message::DuplicateName { older } => Kind::DuplicateName(older.into()),
        };
        Frame { kind: Some(kind) }
    }
}

impl Frame {
    /// The message of this frame; who is in `members` need not be read anew.
    pub(super) fn message(self, lives: &mut NodeIdInterner) -> Result<Message, WireError> {
        Ok(match self.kind.ok_or(WireError::UnknownKind)? {
            Kind::Hello(hello) => Message::Hello(hello.hello(lives)?),
            Kind::Refused(refusal) => Message::Refused(refusal.into()),
            Kind::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.heartbeat(lives)?),
            Kind::Propose(view) => Message::Propose(view.view(lives)?),
            Kind::Reply(reply) => Message::Reply { epoch: epoch(reply.epoch)?, reply: decode_reply(&reply)? },
            Kind::Commit(number) => Message::Commit { epoch: epoch(number)? },
            Kind::DuplicateName(older) => Message::DuplicateName { older: lives.intern(&older)? },
        })
    }
}

impl From<&NodeId> for NodeFrame {
    fn from(id: &NodeId) -> Self {
        NodeFrame { name: id.text().clone(), incarnation: id.incarnation().0, started_at: id.started_at() }
    }
}

impl From<&Member> for MemberFrame {
    fn from(member: &Member) -> Self {
        MemberFrame { id: Some((&member.id).into()), tags: member.tags.iter().cloned().collect() }
    }
}

impl MemberFrame {
    fn member(self, lives: &mut NodeIdInterner) -> Result<Member, WireError> {
        at_most("tags", self.tags.len(), MAX_TAGS)?;
        for tag in &self.tags {
            at_most("tag", tag.len(), MAX_TAG_LEN)?;
        }
        let id = lives.intern(&self.id.ok_or(WireError::Missing("id"))?)?;
        Ok(Member { id, tags: Arc::new(self.tags.into_iter().collect::<BTreeSet<_>>()) })
    }
}

impl From<&Hello> for HelloFrame {
    fn from(hello: &Hello) -> Self {
        HelloFrame {
            member: Some((&hello.member).into()),
            protocol_min: hello.protocol_min,
            protocol_max: hello.protocol_max,
            ring: hello.ring,
            lease_nanos: nanos(hello.lease),
            consensus: hello.consensus.get() as u64,
            version: hello.version.clone(),
            owns_address: hello.owns_address,
            common_settings: hello.common_settings.as_ref().map(CommonSettingsFrame::from),
        }
    }
}

impl From<&CommonSettings> for CommonSettingsFrame {
    fn from(alike: &CommonSettings) -> Self {
        let setting =
            |(key, value): (&String, &String)| SettingFrame { key: key.clone(), value: value.clone() };
        CommonSettingsFrame {
            settings: alike.settings().iter().map(setting).collect(),
            rings: alike.rings_for_wire(),
            rings_hash: alike.rings_hash(),
        }
    }
}

impl CommonSettingsFrame {
    fn alike(self) -> Result<CommonSettings, WireError> {
        at_most("settings", self.settings.len(), MAX_SETTINGS)?;
        let settings = self.settings.into_iter().map(|setting| (setting.key, setting.value));
        Ok(CommonSettings::from_peer(settings, &self.rings, self.rings_hash))
    }
}

/// The bytes that say, after the frame of a `Hello`, that it has these fields as well: what comes twice is merged.
pub(super) fn unknown_fields(fields: &[u8]) -> Vec<u8> {
    let Ok(len @ 1..=0x7f) = u8::try_from(fields.len()) else { return Vec::new() };
    [&[0x0a, len], fields].concat()
}

impl HelloFrame {
    fn hello(self, lives: &mut NodeIdInterner) -> Result<Hello, WireError> {
        at_most("version", self.version.len(), 256)?;
        let lease = Duration::from_nanos(self.lease_nanos);
        if lease > MAX_TIMING {
            return Err(WireError::Lease(lease));
        }
        let consensus = usize::try_from(self.consensus).ok().and_then(NonZeroUsize::new);
        Ok(Hello {
            member: self.member.ok_or(WireError::Missing("member"))?.member(lives)?,
            protocol_min: self.protocol_min,
            protocol_max: self.protocol_max,
            ring: self.ring,
            lease,
            owns_address: self.owns_address,
            consensus: consensus.ok_or(WireError::Missing("consensus"))?,
            version: self.version,
            common_settings: self.common_settings.map(CommonSettingsFrame::alike).transpose()?,
            unknown_fields: Vec::new(),
        })
    }
}

impl From<&Refusal> for RefusedFrame {
    fn from(refusal: &Refusal) -> Self {
        let (code, first, second) = match refusal {
            Refusal::Protocol { min: least, max: most } => (1, *least, *most),
            Refusal::Ring { ring } => (2, *ring, 0),
            Refusal::Identity => (3, 0, 0),
            Refusal::Rings { .. } => (4, 0, 0),
            Refusal::Other => (0, 0, 0),
        };
        let (rings, yours) = match refusal {
            Refusal::Rings { rings, yours } => (rings.clone(), yours.clone()),
            _ => Default::default(),
        };
        RefusedFrame { code, first, second, rings, yours }
    }
}

impl From<RefusedFrame> for Refusal {
    fn from(frame: RefusedFrame) -> Self {
        match frame.code {
            1 => Refusal::Protocol { min: frame.first, max: frame.second },
            2 => Refusal::Ring { ring: frame.first },
            3 => Refusal::Identity,
            4 => Refusal::Rings {
                rings: sanitize_to_bytes(&frame.rings, MAX_RINGS),
                yours: sanitize_to_bytes(&frame.yours, MAX_RINGS),
            },
            _ => Refusal::Other,
        }
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
        }
    }
}

fn ids(nodes: &[NodeFrame], lives: &mut NodeIdInterner) -> Result<Vec<NodeId>, WireError> {
    nodes.iter().map(|node| lives.intern(node)).collect()
}

impl From<&Memory> for MemoryFrame {
    fn from(memory: &Memory) -> Self {
        MemoryFrame {
            node: memory.node.as_ref().map(NodeFrame::from),
            former: memory.former.iter().map(NodeFrame::from).collect(),
            installed: memory.installed.as_ref().map(BaseFrame::from),
            acknowledged: memory.acknowledged.iter().map(BaseFrame::from).collect(),
            goodbyes: memory.goodbyes.iter().map(GoodbyeFrame::from).collect(),
        }
    }
}

impl MemoryFrame {
    pub(super) fn memory(self) -> Result<Memory, WireError> {
        let lives = &mut NodeIdInterner::default();
        at_most("former", self.former.len(), MAX_FORMER)?;
        at_most("acknowledged", self.acknowledged.len(), MAX_BASES)?;
        at_most("goodbyes", self.goodbyes.len(), MAX_MEMBERS)?;
        Ok(Memory {
            node: self.node.map(|life| lives.intern(&life)).transpose()?,
            former: ids(&self.former, lives)?,
            installed: self.installed.map(|base| base.view(lives)).transpose()?,
            acknowledged: self
                .acknowledged
                .into_iter()
                .map(|base| base.view(lives))
                .collect::<Result<_, _>>()?,
            goodbyes: self.goodbyes.into_iter().map(|it| it.goodbye(lives)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&View> for BaseFrame {
    fn from(view: &View) -> Self {
        BaseFrame {
            epoch: view.epoch().as_u64(),
            lives: view.ids().map(NodeFrame::from).collect(),
            size: count(view.size()),
        }
    }
}

impl From<&Goodbye> for GoodbyeFrame {
    fn from(goodbye: &Goodbye) -> Self {
        let bases = goodbye.bases.iter().map(BaseFrame::from);
        GoodbyeFrame { node: Some((&goodbye.node).into()), bases: bases.collect() }
    }
}

impl GoodbyeFrame {
    fn goodbye(self, lives: &mut NodeIdInterner) -> Result<Goodbye, WireError> {
        at_most("bases", self.bases.len(), MAX_BASES)?;
        let life = lives.intern(&self.node.ok_or(WireError::Missing("life"))?)?;
        let bases = self.bases.into_iter().map(|base| base.view(lives)).collect::<Result<_, _>>()?;
        Ok(Goodbye { node: life, bases })
    }
}

impl BaseFrame {
    fn view(self, lives: &mut NodeIdInterner) -> Result<View, WireError> {
        at_most("lives", self.lives.len(), MAX_MEMBERS)?;
        let id = |frame| lives.intern(frame).map(Member::without_tags);
        let members = self.lives.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        Ok(View::new(epoch(self.epoch)?, members).with_size(size(self.size)?))
    }
}

impl HeartbeatFrame {
    fn heartbeat(self, lives: &mut NodeIdInterner) -> Result<Heartbeat, WireError> {
        at_most("reach", self.reach.len(), MAX_MEMBERS)?;
        at_most("goodbyes", self.goodbyes.len(), MAX_MEMBERS)?;
        at_most("former", self.former.len(), MAX_FORMER)?;
        // A reach is never empty: its sender hears itself.
        let reach = if self.reach.is_empty() {
            Reach::Same(self.reach_hash)
        } else {
            let mut nodes =
                self.reach.iter().map(|node| lives.intern(node)).collect::<Result<Vec<_>, _>>()?;
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
            goodbyes: self.goodbyes.into_iter().map(|it| it.goodbye(lives)).collect::<Result<_, _>>()?,
            former: ids(&self.former, lives)?,
        })
    }
}

impl From<&View> for ViewFrame {
    fn from(view: &View) -> Self {
        ViewFrame {
            epoch: view.epoch().as_u64(),
            members: view.members().iter().map(MemberFrame::from).collect(),
            // As from a build that does not know it where it says nothing.
            size: if view.size() == view.members().len() { 0 } else { count(view.size()) },
        }
    }
}

impl ViewFrame {
    fn view(self, lives: &mut NodeIdInterner) -> Result<View, WireError> {
        at_most("members", self.members.len(), MAX_MEMBERS)?;
        if self.members.is_empty() {
            return Err(WireError::Missing("members"));
        }
        let members =
            self.members.into_iter().map(|member| member.member(lives)).collect::<Result<Vec<_>, _>>()?;
        Ok(View::new(epoch(self.epoch)?, members).with_size(size(self.size)?))
    }
}

fn reply_frame(epoch: Epoch, answer: ProposalReply) -> ReplyFrame {
    let (code, overtaken_by) = match answer {
        ProposalReply::Promise => (ReplyCode::Promise, 0),
        ProposalReply::Ack => (ReplyCode::Ack, 0),
        ProposalReply::StaleEpoch(by) => (ReplyCode::StaleEpoch, by.as_u64()),
        ProposalReply::Leaving => (ReplyCode::Leaving, 0),
    };
    ReplyFrame { epoch: epoch.as_u64(), reply: code.into(), newer_epoch: overtaken_by }
}

fn decode_reply(frame: &ReplyFrame) -> Result<ProposalReply, WireError> {
    match frame.reply() {
        ReplyCode::Promise => Ok(ProposalReply::Promise),
        ReplyCode::Ack => Ok(ProposalReply::Ack),
        ReplyCode::StaleEpoch => Ok(ProposalReply::StaleEpoch(epoch(frame.newer_epoch)?)),
        ReplyCode::Leaving => Ok(ProposalReply::Leaving),
        ReplyCode::Unknown => Err(WireError::Missing("answer")),
    }
}

fn epoch(number: u64) -> Result<Epoch, WireError> {
    let epoch = Epoch::from_u64(number);
    if epoch > MAX_EPOCH { Err(WireError::Epoch(number)) } else { Ok(epoch) }
}

/// How many nodes a cluster counts; no more than a view may have.
fn size(number: u32) -> Result<usize, WireError> {
    let size = usize::try_from(number).unwrap_or(usize::MAX);
    at_most("size", size, MAX_MEMBERS)?;
    Ok(size)
}

fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn at_most(field: &'static str, len: usize, max: usize) -> Result<(), WireError> {
    if len > max { Err(WireError::TooMany { field, len, max }) } else { Ok(()) }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
