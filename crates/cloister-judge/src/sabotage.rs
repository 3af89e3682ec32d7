//! The rules that a run can leave out.

use clap::ValueEnum;

/// A rule of the register that is left out, so that the judge has something to reject. The crate page says what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// A node does not look at its lease: it serves by the last view that it was up in.
    Lease,
    /// The store takes what comes with an earlier epoch.
    Fence,
    /// A new owner does not fetch the value from the store: it goes on with what it has in memory.
    Handover,
    /// A new owner serves while it still fetches the value.
    Ready,
}

impl Sabotage {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sabotage::Lease => "lease",
            Sabotage::Fence => "fence",
            Sabotage::Handover => "handover",
            Sabotage::Ready => "ready",
        }
    }
}
