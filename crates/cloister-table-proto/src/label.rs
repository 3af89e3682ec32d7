//! What names the content of a slot.

use cloister_proto::Epoch;

/// Names the content of a slot: what the write of this number made of what there was when the view of this epoch began.
///
/// The owner of a slot numbers the writes of its view from 1 on, and every copy applies them in order. So of two contents with one
/// epoch the one is a prefix of the other, and equal labels name equal contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The view of the last write, or the view that took the content over.
    pub epoch: Epoch,
    /// How many writes that view made.
    pub number: u64,
}

impl Label {
    /// A slot that never had a write.
    pub const NONE: Label = Label { epoch: Epoch::ZERO, number: 0 };

    /// What there is when the view of `epoch` begins.
    #[must_use]
    pub const fn start_of(epoch: Epoch) -> Self {
        Self { epoch, number: 0 }
    }
}

/// What a node says of its content of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// What names the content.
    pub label: Label,
    /// The view for which the content was brought into place; zero if none. Once that view is known to be installed, the label is
    /// [`Label::start_of`] it: an aborted proposal gives no content a greater label.
    pub candidate: Epoch,
    /// Whether writes that were acknowledged may be missing: the copy is being made.
    pub learning: bool,
    /// The label that the last write gave it: the views after that took it over as it was.
    pub written: Label,
}

/// What a node knows to have been seen of a slot. Content that lacks it lacks what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The greatest epoch of a view that may have acknowledged a write.
    pub writes: Epoch,
    /// The last write that the content had from which a view began to serve.
    pub start: Label,
}

impl Seen {
    /// Nothing.
    pub const NOTHING: Seen = Seen { writes: Epoch::ZERO, start: Label::NONE };

    /// What either knows.
    #[must_use]
    pub fn and(self, other: Seen) -> Seen {
        Seen { writes: self.writes.max(other.writes), start: self.start.max(other.start) }
    }

    /// Whether this knows all that the other knows.
    #[must_use]
    pub fn covers(self, other: Seen) -> bool {
        self.and(other) == self
    }
}

impl Stamp {
    /// Nothing was ever there.
    pub const NONE: Stamp =
        Stamp { label: Label::NONE, candidate: Epoch::ZERO, learning: false, written: Label::NONE };

    /// The label of the content where the views of `installed` are known to be installed, and whether the content is complete.
    pub(crate) fn effective(self, installed: impl Fn(Epoch) -> bool) -> (Label, bool) {
        if self.candidate > self.label.epoch && installed(self.candidate) {
            (Label::start_of(self.candidate), true)
        } else {
            (self.label, !self.learning)
        }
    }
}
