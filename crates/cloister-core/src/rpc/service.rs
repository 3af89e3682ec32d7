//! How the cluster looks from each member, as members tell each other.

use std::time::{Duration, Instant};

use cloister_proto::{ClusterState, Epoch, Incarnation, NameError, NodeId, Status};
use prost::Message as _;
use ractor::Message as _;
use ractor::message::SerializedMessage;

use super::deliver::Destination;
use super::groups::{INBOX, NODE_SCOPE, remote};
use super::inbox_message::InboxMessage;
use super::report::MulticallReport;
use crate::error::NoAnswer;
use crate::handle::Cloister;

/// The most members that are read from an answer.
const MAX_MEMBERS: usize = 4096;

/// The cluster as one member sees it.
///
/// [`Cloister::member_states`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeSummary {
    /// The member that says so.
    pub node: NodeId,
    /// How far it has come; `None` for a status of a later version.
    pub status: Option<Status>,
    /// The number of the last change that its listeners heard.
    pub seq: u64,
    /// The epoch of the view it installed last.
    pub epoch: Option<Epoch>,
    /// The members it sees, the oldest first.
    pub members: Vec<NodeId>,
    /// The sentry it sees.
    pub sentry: Option<NodeId>,
}

/// How the cluster looks from here, for another node.
pub(super) fn summary(state: &ClusterState) -> Vec<u8> {
    StateFrame::from(state).encode_to_vec()
}

/// Sends a message with this mark to the node whose connection has this number, behind all that waits there.
pub(super) fn probe(number: u64, mark: Vec<u8>) {
    let Some(service) = remote(NODE_SCOPE, INBOX, number) else { return };
    if let Ok(SerializedMessage::Cast { variant, args, .. }) = InboxMessage::Probe.serialize() {
        // If the connection has ended, nothing waits for it.
        let _ = service.send_serialized(SerializedMessage::Cast { variant, args, metadata: Some(mark) });
    }
}

/// Asks all members.
pub(super) async fn states(cloister: &Cloister, timeout: Duration) -> MulticallReport<NodeSummary> {
    let began = Instant::now();
    let answers = cloister.call_all(NODE_SCOPE, INBOX, InboxMessage::State, timeout).await;
    answers.and_then(|node, bytes| {
        let asked = Destination::of_node(INBOX, node, Some(began.into()));
        read(&bytes).map_err(|what| asked.uncertain(began.elapsed(), NoAnswer::Malformed(what.into())))
    })
}

/// Bytes of a peer are hostile: what is not a summary is a failure of that peer's.
fn read(bytes: &[u8]) -> Result<NodeSummary, String> {
    let frame = StateFrame::decode(bytes).map_err(|error| error.to_string())?;
    if frame.members.len() > MAX_MEMBERS {
        return Err(format!("{} members, over the limit of {MAX_MEMBERS}", frame.members.len()));
    }
    let node = frame.node.ok_or_else(|| "it does not name its sender".to_owned())?;
    Ok(NodeSummary {
        node: node.read()?,
        status: STATUSES.into_iter().find(|status| status.as_str() == frame.status),
        seq: frame.seq,
        epoch: (frame.epoch > 0).then(|| Epoch::from_u64(frame.epoch)),
        members: frame.members.iter().map(NodeFrame::read).collect::<Result<_, _>>()?,
        sentry: frame.sentry.as_ref().map(NodeFrame::read).transpose()?,
    })
}

const STATUSES: [Status; 6] =
    [Status::Down, Status::Assembling, Status::Rehashing, Status::Up, Status::Stopping, Status::Stopped];

/// A summary on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct StateFrame {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeFrame>,
    #[prost(string, tag = "2")]
    status: String,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(uint64, tag = "4")]
    epoch: u64,
    #[prost(message, repeated, tag = "5")]
    members: Vec<NodeFrame>,
    #[prost(message, optional, tag = "6")]
    sentry: Option<NodeFrame>,
}

/// One incarnation of a node on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct NodeFrame {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(uint64, tag = "3")]
    started_at: u64,
}

impl From<&ClusterState> for StateFrame {
    fn from(state: &ClusterState) -> Self {
        Self {
            node: Some(NodeFrame::from(&state.node.id)),
            status: state.status.as_str().to_owned(),
            seq: state.seq,
            epoch: state.epoch().map_or(0, Epoch::as_u64),
            members: state.members.iter().map(|member| NodeFrame::from(&member.id)).collect(),
            sentry: state.sentry.as_ref().map(NodeFrame::from),
        }
    }
}

impl From<&NodeId> for NodeFrame {
    fn from(id: &NodeId) -> Self {
        Self { name: id.name().to_string(), incarnation: id.incarnation().0, started_at: id.started_at() }
    }
}

impl NodeFrame {
    fn read(&self) -> Result<NodeId, String> {
        let name = self.name.parse().map_err(|error: NameError| error.to_string())?;
        Ok(NodeId::new(name, Incarnation(self.incarnation), self.started_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_survives_the_wire() {
        let node: NodeId = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(7), 1_000);
        let mut state = ClusterState::initial(cloister_proto::Member::without_tags(node.clone()));
        state.status = Status::Up;
        state.seq = 3;
        state.members = vec![state.node.clone()];
        state.sentry = Some(node.clone());
        let summary = read(&StateFrame::from(&state).encode_to_vec()).unwrap();
        assert_eq!(summary.node, node);
        assert_eq!(summary.status, Some(Status::Up));
        assert_eq!(summary.seq, 3);
        assert_eq!(summary.epoch, None);
        assert_eq!(summary.members, std::slice::from_ref(&node));
        assert_eq!(summary.sentry, Some(node));
    }

    #[test]
    fn hostile_bytes_are_a_failure_and_no_panic() {
        assert!(read(b"\xff\xff").is_err());
        assert!(read(b"").is_err());
        let unnamed = StateFrame { node: Some(NodeFrame::default()), ..StateFrame::default() };
        assert!(read(&unnamed.encode_to_vec()).is_err());
    }
}
