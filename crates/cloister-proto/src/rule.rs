//! The rules that safety or liveness rests on, each of which tests can switch off.
//!
//! A rule stays in the code only if a simulation notices when it is missing. Outside of tests every rule holds,
//! and asking costs nothing.

/// A rule of the membership protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A heartbeat goes out at once when what it says to all has changed.
    TellAtOnce,
    /// A peer whose bytes arrive but whose heartbeats do not is given up.
    HungIsGone,
    /// Who is left out of a view must have lost its lease for sure.
    Guard,
    /// A closed link alone does not prove that the lease of the peer has ended.
    ClosedIsNotExpired,
    /// The target comes from what is reported to all, not from what this node alone prefers.
    CommonTarget,
    /// Epochs begin at the wall clock, so that they rise over a restart of all nodes.
    EpochFromClock,
    /// A peer's retirement counts only for the views up to the epoch that it names.
    RetiredUpTo,
    /// The lease is granted only by members that are bound to the very same view.
    SameView,
    /// Grants are thrown away at each install.
    FreshGrants,
    /// A process that may have forgotten a promise waits.
    Forgotten,
    /// Who has stepped down comes back only through a new round.
    NewRound,
    /// Stepping down voids the present promise.
    VoidPromise,
    /// A member's absence from the view is judged only by what it said after the commit.
    JudgeByEcho,
    /// Who leaves claims nothing from that instant.
    LeaveAtOnce,
    /// A node whose own tick was late moves every limit by that lateness.
    ForgiveLateness,
    /// A peer is heard only once it has spoken by the open link: transport alone may answer for a hung node.
    HeardOnceSpoken,
    /// A first assembly looks at every linked node, also at those that have not spoken and are not in the view.
    NobodyHides,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 17] = [
        Rule::TellAtOnce,
        Rule::HungIsGone,
        Rule::Guard,
        Rule::ClosedIsNotExpired,
        Rule::CommonTarget,
        Rule::EpochFromClock,
        Rule::RetiredUpTo,
        Rule::SameView,
        Rule::FreshGrants,
        Rule::Forgotten,
        Rule::NewRound,
        Rule::VoidPromise,
        Rule::JudgeByEcho,
        Rule::LeaveAtOnce,
        Rule::ForgiveLateness,
        Rule::HeardOnceSpoken,
        Rule::NobodyHides,
    ];
}
