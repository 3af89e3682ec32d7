//! Tells the sender of a message without an answer that its receiver could not read it.
//!
//! A report is sent at most once a second for each kind, with how many there were. No report is answered or reported, so none goes in a
//! circle. A message that was not called, but has a port for an answer, needs no report: its refusal comes back to the port.

use std::sync::Arc;
use std::time::Duration;

use cloister_proto::text::sanitize_to;
use cloister_proto::{Incarnation, NodeId};
use prost::Message as _;
use ractor::Message as _;
use ractor::message::SerializedMessage;
use tracing::warn;

use super::groups::{INBOX, NODE_SCOPE, remote};
use super::inbox_message::InboxMessage;
use crate::handle::Shared;
use crate::message::{UnreadKind, is_new, take};
use crate::recorded;
use crate::telemetry::TARGET;
use crate::telemetry::rejections::Reason;

/// The time between two reports of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// The most characters of a text of a peer's in the log.
const SHOWN: usize = 512;

/// Sends the reports of this node, for ever.
pub(super) async fn send_reports(shared: Arc<Shared>) {
    loop {
        for (kind, count) in take().await {
            send(&shared, kind, count);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends a report, if its receiver is linked and not overloaded.
fn send(shared: &Shared, kind: UnreadKind, count: u64) {
    let linked = shared.with_links(|links| links.remote_node(&links.linked(kind.sender)?)).flatten();
    let Some((number, backlog)) = linked else { return };
    let Some(inbox) = remote(NODE_SCOPE, INBOX, number) else { return };
    let receiver = shared.look(|snapshot| snapshot.state().node.id.incarnation().0);
    let UnreadKind { name, sent, expected, cause, .. } = kind;
    let frame = UnreadFrame { receiver, name, sent, expected, cause, count }.encode_to_vec();
    let Ok(mark) = backlog.hand(frame.len()) else { return };
    if let Ok(SerializedMessage::Cast { variant, args, .. }) = InboxMessage::Unread(frame).serialize() {
        // If the connection has ended, so has its sender or this node.
        let _ = inbox.send_serialized(SerializedMessage::Cast { variant, args, metadata: Some(mark) });
    }
}

/// Another node could not read what this one has sent. The bytes may be anything.
pub(super) fn reported(shared: &Shared, bytes: &[u8]) {
    let Ok(UnreadFrame { receiver, name, sent, expected, cause, count }) = UnreadFrame::decode(bytes) else {
        return recorded::rejection(Reason::Malformed);
    };
    let Some(node) = shared.with_links(|links| links.linked(Incarnation(receiver))).flatten() else { return };
    log(&node, &name, &sent, &expected, &cause, count);
}

/// This node hears that another could not read so many messages of this kind.
pub(super) fn log(node: &NodeId, name: &str, sent: &str, expected: &str, cause: &str, count: u64) {
    recorded::rejections(Reason::UnreadableAtReceiver, count.min(u64::from(u32::MAX)));
    let [name, message, expected, cause] = [name, sent, expected, cause].map(|text| sanitize_to(text, SHOWN));
    if is_new(format!("{node} {name} {message} {expected} {cause}")) {
        warn!(
            target: TARGET, name, peer = %node.name(), message, expected, error = cause,
            "messages of this node cannot be read by their receiver, which drops them; run the same release on both nodes",
        );
    }
}

/// A report on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct UnreadFrame {
    /// The incarnation of the node that reports.
    #[prost(fixed64, tag = "1")]
    receiver: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    sent: String,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(string, tag = "5")]
    cause: String,
    #[prost(uint64, tag = "6")]
    count: u64,
}
