//! The rules that a run can leave out.

use clap::ValueEnum;
use cloister::table::Rule;

/// A rule that is left out, so that the judge has something to reject. The crate page says what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// A node does not look at its lease: it serves by the last view that it was up in.
    Lease,
    /// What comes with an earlier epoch is taken: by the store, or by the copies of a table.
    Fence,
    /// A new owner does not fetch the value: it goes on with what it has in memory. Of a table: it does not ask all members.
    Handover,
    /// A new owner serves while it still fetches the value. Not of a table.
    Ready,
    /// A write is acknowledged before the copies have it. Of a table.
    Copies,
    /// Members do not remember that a slot was written, so that its loss is not reported. Of a table.
    Loss,
    /// Node 0 ends five seconds after each start, with an error. Not a rule: no run in which that happens is legal.
    #[value(hide = true)]
    Crash,
}

impl Sabotage {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sabotage::Lease => "lease",
            Sabotage::Fence => "fence",
            Sabotage::Handover => "handover",
            Sabotage::Ready => "ready",
            Sabotage::Copies => "copies",
            Sabotage::Loss => "loss",
            Sabotage::Crash => "crash",
        }
    }

    /// Whether the register can be without it.
    pub(crate) fn is_of_register(self) -> bool {
        !matches!(self, Sabotage::Copies | Sabotage::Loss)
    }

    /// The rule of a table that it leaves out; `None` if a table has no such rule.
    pub(crate) fn rule_of_table(self) -> Option<Rule> {
        match self {
            Sabotage::Lease => Some(Rule::Claim),
            Sabotage::Fence => Some(Rule::Fence),
            Sabotage::Handover => Some(Rule::AskAll),
            Sabotage::Ready | Sabotage::Crash => None,
            Sabotage::Copies => Some(Rule::WaitForCopies),
            Sabotage::Loss => Some(Rule::Seal),
        }
    }
}
