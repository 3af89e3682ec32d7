//! What waits to be sent to the tables of other nodes. What comes close together travels in one message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_core::internal::CallInProgress;

use crate::message::{Answer, Packet, Request};

/// How many operations may be under way before what is to be sent waits for more.
const FEW: usize = 4;

/// After how many bytes what is for a node is sent at once.
const MAX_BYTES: usize = 224 << 10;

/// What waits for one node.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) packet: Packet,
    bytes: usize,
    /// This node does not leave before these answers are sent.
    pub(crate) in_progress: Vec<CallInProgress>,
}

impl Load {
    pub(crate) fn add_batch(&mut self, shard: u8, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.packet.batches.push((shard, bytes.into()));
    }

    pub(crate) fn add_request(&mut self, number: u64, request: Request) {
        self.bytes += request.len();
        self.packet.requests.push((number, request));
    }

    pub(crate) fn add_answer(&mut self, number: u64, answer: Answer, in_progress: CallInProgress) {
        self.bytes += answer.len();
        self.packet.answers.push((number, answer));
        self.in_progress.push(in_progress);
    }

    /// Whether there is no room for so many bytes more.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.bytes > 0 && self.bytes + more > MAX_BYTES
    }
}

/// How many operations of this table are under way at this node: those of its own tasks, and those of other nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Busy(UnderWay);

impl UnderWay {
    pub(crate) fn begin(&self) -> Busy {
        self.0.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Whether what is sent now waits only for itself: others that would travel with it are far between.
    pub(crate) fn is_few(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= FEW
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
