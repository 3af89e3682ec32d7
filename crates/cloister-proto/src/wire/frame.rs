//! The protocol buffers behind [`Message`]. Field numbers are never used again for another meaning.

use super::heartbeat_frame::HeartbeatFrame;
use super::hello_frame::{HelloFrame, RefusedFrame};
use super::interner::NodeIdInterner;
use super::limits::{WireError, epoch};
use super::node_frame::{NodeFrame, ViewFrame};
use crate::message::{Message, ProposalReply};
use crate::view::Epoch;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(oneof = "FrameKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<FrameKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum FrameKind {
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
            Message::Hello(hello) => FrameKind::Hello(hello.into()),
            Message::Refused(refusal) => FrameKind::Refused(refusal.into()),
            Message::Heartbeat(heartbeat) => FrameKind::Heartbeat(heartbeat.into()),
            Message::Propose(view) => FrameKind::Propose(view.into()),
            Message::Reply { epoch, reply: answer } => FrameKind::Reply(reply_frame(*epoch, *answer)),
            Message::Commit { epoch } => FrameKind::Commit(epoch.as_u64()),
            Message::DuplicateName { older } => FrameKind::DuplicateName(older.into()),
        };
        Frame { kind: Some(kind) }
    }
}

impl Frame {
    /// Decodes the message of this frame. Ids that `interner` knows are shared.
    pub(super) fn message(self, interner: &mut NodeIdInterner) -> Result<Message, WireError> {
        Ok(match self.kind.ok_or(WireError::UnknownKind)? {
            FrameKind::Hello(hello) => Message::Hello(hello.hello(interner)?),
            FrameKind::Refused(refusal) => Message::Refused(refusal.into()),
            FrameKind::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.heartbeat(interner)?),
            FrameKind::Propose(view) => Message::Propose(view.view(interner)?),
            FrameKind::Reply(reply) => {
                Message::Reply { epoch: epoch(reply.epoch)?, reply: decode_reply(&reply)? }
            }
            FrameKind::Commit(number) => Message::Commit { epoch: epoch(number)? },
            FrameKind::DuplicateName(older) => Message::DuplicateName { older: interner.intern(&older)? },
        })
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
