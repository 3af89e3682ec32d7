//! The rules that the promises of a table rest on, each of which tests can switch off.
//!
//! A rule stays in the code only if a simulation or a script notices when it is missing. Only the feature `test-support` has a
//! function that switches one off ([`Table::disable_rule`](crate::Table)); without that, every rule holds.

/// A rule of the tables' protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A node that promised a view, or was asked in it, takes part in no earlier one.
    Fence,
    /// The content comes from the greatest label of all members.
    AskAll,
    /// Members that leave are asked as well, while they are linked.
    AskLeavers,
    /// What is brought into place for a view has its label only once the view is installed.
    Candidate,
    /// A view that is known to be installed gives what was brought into place for it its label.
    Proof,
    /// A read never shows a write that a copy lacks.
    Shadow,
    /// A slot is served only while the node's claim is of the same view.
    Claim,
    /// A write waits for every complete copy.
    WaitForCopies,
    /// A view's first write of a slot is acknowledged only when all members remember that there is one.
    Seal,
    /// A view serves a slot only when all members know of the last write of the content from which it begins.
    SealStart,
    /// A view begins only when all members know what was seen of a slot before it.
    Inform,
    /// Where fewer than half of the members of the view before are left, the others may have had a later view.
    Doubt,
    /// Members that lack only the last writes of a view get them before those are shown.
    CatchUp,
    /// A copy that is being made is not complete before the owner counts it.
    Count,
    /// Nodes that have the content stay copies until those that should have it are complete.
    KeepUntilComplete,
    /// A copy that counts no more has dropped its content before the next write is acknowledged without it.
    DropBeforeLess,
    /// An operation that was applied is not applied again.
    Once,
    /// An operation that its client has given up is not applied any more: its answer may have been forgotten.
    Settled,
    /// An operation that was accepted before a loss, or before another node owned its slot, is not applied any more: it may have been
    /// answered in between, and that is not remembered.
    Remembered,
    /// A client of a node that was no member of a view that its present one follows repeats nothing from before, also where only nodes that
    /// left know of that view.
    HeardOf,
    /// A chunk continues the content of the chunk before it.
    Continuous,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 21] = [
        Rule::Fence,
        Rule::AskAll,
        Rule::AskLeavers,
        Rule::Candidate,
        Rule::Proof,
        Rule::Shadow,
        Rule::Claim,
        Rule::WaitForCopies,
        Rule::Seal,
        Rule::SealStart,
        Rule::Inform,
        Rule::Doubt,
        Rule::CatchUp,
        Rule::Count,
        Rule::KeepUntilComplete,
        Rule::DropBeforeLess,
        Rule::Once,
        Rule::Settled,
        Rule::Remembered,
        Rule::HeardOf,
        Rule::Continuous,
    ];
}
