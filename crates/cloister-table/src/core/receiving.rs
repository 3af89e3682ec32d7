//! What a table gets from those of other nodes.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use cloister_core::NodeId;
use cloister_core::internal::{self, recorded};
use cloister_core::telemetry::TARGET;
use cloister_core::telemetry::rejections::Reason;
use tracing::warn;

use super::Core;
use crate::message::Packet;
use crate::reply::{Reply, There};
use crate::wire;

impl Core {
    /// Takes in what the table of another node has sent.
    pub(crate) fn receive(&self, from: u64, packet: Packet) {
        let Some(node) = self.peer(from) else { return };
        for (shard, bytes) in packet.batches {
            match wire::decode(self.copies(), &bytes.0) {
                Ok(messages) => {
                    if let Some(mut shard) = self.shard(shard.into()) {
                        shard.receive(self, &node, messages);
                    }
                }
                Err(cause) => self.unreadable(&node, &cause.to_string()),
            }
        }
        for (number, request) in packet.requests {
            let there = There {
                exchange: Arc::clone(&self.exchange),
                node: node.clone(),
                number,
                in_progress: internal::begin_received_call(&self.cloister),
                busy: self.exchange.under_way.begin(),
            };
            self.begin(request, Reply::from(there));
        }
        for (number, answer) in packet.answers {
            self.exchange.requests.answered(&node, number, answer);
        }
        self.exchange.send();
    }

    fn unreadable(&self, peer: &NodeId, cause: &str) {
        recorded::rejection(Reason::Unreadable);
        let mut limiter = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = limiter.allow(Instant::now()) {
            warn!(
                target: TARGET, table = self.table, %peer, missed, error = cause,
                "a message of a table cannot be read and is dropped; run the same release, and define the table alike, on all nodes"
            );
        }
    }
}
