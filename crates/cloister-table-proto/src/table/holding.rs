//! The content of a slot at a node.

use std::sync::Arc;

use cloister_proto::Epoch;

use crate::content::Content;
use crate::label::{Label, Stamp};
use crate::log::Log;
use crate::settled::Settled;

/// The content of a slot at this node, whatever its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) stamp: Stamp,
    /// It is empty since all complete copies were gone, and that was not told: its view has not served it.
    pub(super) is_unreported_loss: bool,
    pub(super) content: Content,
    pub(super) log: Log,
}

/// The content of a slot that this node has no more, with the operations that were applied last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded(pub(super) Arc<Holding>);

impl Discarded {
    /// How many rows and operations there are to be dropped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.content.len() + self.0.log.len()
    }

    /// Whether there is next to nothing to be dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What changes a content that no write changes. Slots that nothing was written to change alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Adopt {
        label: Label,
        written: Label,
        epoch: Epoch,
    },
    /// The view is installed for which it was brought into place.
    Label(Epoch),
    Proved(Epoch),
    /// It is complete.
    Counts,
}

impl Default for Holding {
    fn default() -> Self {
        Self::new(Content::default(), Stamp::NONE)
    }
}

impl Holding {
    pub(super) fn new(content: Content, stamp: Stamp) -> Self {
        Self { content, stamp, log: Log::starting_at(stamp.label), is_unreported_loss: false }
    }

    /// The content, which is empty from then on.
    pub(super) fn take_content(&mut self) -> Content {
        std::mem::take(&mut self.content)
    }

    /// Whether nothing was written to it: others are probably like it.
    pub(super) fn is_plain(&self) -> bool {
        self.content.is_blank() && self.log.is_empty()
    }

    /// Whether answers are kept that no client asks for any more.
    pub(super) fn has_settled(&self, settled: &Settled) -> bool {
        self.content.has_settled(settled) || self.log.has_settled(settled)
    }

    /// Drops those answers.
    pub(super) fn settle(&mut self, settled: &Settled) {
        self.content.settle(settled);
        self.log.settle(settled);
    }

    pub(super) fn relabel(&mut self, label: Label) {
        if self.stamp.label != label {
            self.stamp.label = label;
            self.log.relabel(label);
        }
    }

    /// The view for which it was brought into place is installed.
    pub(super) fn prove(&mut self, epoch: Epoch) {
        self.stamp.candidate = Epoch::ZERO;
        self.stamp.learning = false;
        self.relabel(Label::start_of(epoch));
    }
}
