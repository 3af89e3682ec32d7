//! What became of messages to all.

use cloister_proto::NodeId;

use crate::error::CallError;

/// The members that were sent a message, and those that were not.
///
/// [`Cloister::multicast`](crate::Cloister::multicast) has an example.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MulticastReport {
    /// The members whose actor was sent the message.
    pub sent: Vec<NodeId>,
    /// The others, each with the reason.
    pub failed: Vec<(NodeId, CallError)>,
}

/// What all members answered, or why they did not. In order of age, each member once.
///
/// [`Cloister::multicall`](crate::Cloister::multicall) has an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MulticallReport<R> {
    /// The answers.
    pub ok: Vec<(NodeId, R)>,
    /// The members that did not answer, each with the reason.
    pub failed: Vec<(NodeId, CallError)>,
}

impl<R> MulticallReport<R> {
    /// The same result with each answer read by `read`.
    pub(super) fn and_then<S>(self, read: impl Fn(&NodeId, R) -> Result<S, CallError>) -> MulticallReport<S> {
        let mut result = MulticallReport { ok: Vec::with_capacity(self.ok.len()), failed: self.failed };
        for (node, answer) in self.ok {
            match read(&node, answer) {
                Ok(answer) => result.ok.push((node, answer)),
                Err(failure) => result.failed.push((node, failure)),
            }
        }
        result
    }
}
