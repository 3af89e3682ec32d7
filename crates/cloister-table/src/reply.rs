//! Where the answer of an operation goes: to a task of this node, or to the node that sent it.

use std::fmt;
use std::sync::Arc;

use cloister_core::NodeId;
use cloister_core::internal::CallInProgress;
use ractor::concurrency::OneshotSender;

use crate::exchange::Exchange;
use crate::message::Answer;
use crate::outgoing::Busy;

/// What waits for the answer of an operation. It hears it when this is dropped, too.
pub(crate) struct Reply(Option<Way>);

enum Way {
    Here(OneshotSender<Answer>),
    There(There),
}

/// A node that waits.
pub(crate) struct There {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) node: NodeId,
    /// The number of the operation at that node.
    pub(crate) number: u64,
    /// This node does not leave before the answer is sent.
    pub(crate) in_progress: CallInProgress,
    pub(crate) busy: Busy,
}

impl From<OneshotSender<Answer>> for Reply {
    fn from(port: OneshotSender<Answer>) -> Self {
        Self(Some(Way::Here(port)))
    }
}

impl From<There> for Reply {
    fn from(there: There) -> Self {
        Self(Some(Way::There(there)))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(Way::There(there)) => write!(f, "Reply to {} of {}", there.number, there.node),
            _ => f.write_str("Reply"),
        }
    }
}

impl Reply {
    /// The answer. What waits may have given up.
    pub(crate) fn send(mut self, answer: Answer) {
        match self.0.take() {
            Some(Way::Here(port)) => drop(port.send(answer)),
            Some(Way::There(there)) => there.send(answer),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // A task of this node notices that its port is gone.
        if let Some(Way::There(there)) = self.0.take() {
            there.send(Answer::Dropped);
        }
    }
}

impl There {
    fn send(self, answer: Answer) {
        let There { exchange, node, number, in_progress, busy } = self;
        exchange.answer(node, number, answer, in_progress);
        drop(busy);
        exchange.send();
    }
}
