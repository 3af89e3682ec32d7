//! The rules that safety or liveness rests on, each of which tests can switch off.
//!
//! A rule stays in the code only if a simulation notices when it is missing. Outside of tests every rule holds,
//! and asking costs nothing.

/// A rule of the membership protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A heartbeat goes out at once when what it says to all has changed.
    BroadcastAtOnce,
    /// A peer whose bytes arrive but whose heartbeats do not is given up.
    HungIsGone,
    /// Who is left out of a view must have lost its lease for sure.
    Guard,
    /// A closed link alone does not prove that the lease of the peer has ended.
    ClosedIsNotExpired,
    /// The target comes from what is reported to all, not from what this node alone prefers.
    CommonCandidate,
    /// Epochs begin at the wall clock, so that they rise over a restart of all nodes.
    EpochFromClock,
    /// A peer's retirement counts only for the views up to the epoch that it names.
    ReleasedUpTo,
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
    ExtendDeadlines,
    /// A peer is heard only once it has spoken by the open link: transport alone may answer for a hung node.
    ReachableOnceHeartbeat,
    /// A first assembly looks at every linked node, also at those that have not spoken and are not in the view.
    ChecksEveryLink,
    /// What at least half of the target and two peers say of epochs and of the time is accepted, whatever the own clock shows.
    EpochSupportedByHalf,
    /// An epoch begins no later than every member of the proposal accepts by its clock.
    EpochWithinReach,
    /// Under `majority` a view follows another only with more than half of its lives.
    MajorityOfMembers,
    /// Under `majority` a view has more than half of the nodes that the cluster counts.
    MajorityOfSize,
    /// Under `majority` a process at the address of a member does not count for the life that it replaces.
    IncarnationsNotNames,
    /// Under `majority` a life that left in order counts no more.
    LeaversDiscounted,
    /// A goodbye is passed on to all peers, and precedes a proposal.
    GoodbyesSpread,
    /// A goodbye hands over the views that the leaver had to follow.
    BaseViewsHandedOver,
    /// A view waits until what a leaver may have granted just before it left has expired.
    LeaversGrants,
    /// A newer view that a member installed supersedes the older ones.
    NewerSupersedes,
    /// A view carries the size of the cluster on to the views that follow.
    SizeInherited,
    /// A node that can neither follow nor begin says so, and is left out if the rest can follow.
    Objections,
    /// A proposer trusts its own count of the size before reported ones.
    OwnSizeFirst,
    /// A cluster begins only with more nodes than there are named addresses and linked nodes that it does not include.
    RivalsCount,
    /// Under `majority` a process with a state file follows the views of the life before it.
    RestoresBaseViews,
    /// A node with a state file acknowledges a view only once it would remember it.
    AckOncePersisted,
    /// A machine whose wall clock jumps ahead gives its lease up: it may have stood still.
    JumpEndsLease,
    /// The word of a member lasts no longer than that member's own lease, whatever the lease of the node that acts by it.
    ShorterLease,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 35] = [
        Rule::BroadcastAtOnce,
        Rule::HungIsGone,
        Rule::Guard,
        Rule::ClosedIsNotExpired,
        Rule::CommonCandidate,
        Rule::EpochFromClock,
        Rule::ReleasedUpTo,
        Rule::SameView,
        Rule::FreshGrants,
        Rule::Forgotten,
        Rule::NewRound,
        Rule::VoidPromise,
        Rule::JudgeByEcho,
        Rule::LeaveAtOnce,
        Rule::ExtendDeadlines,
        Rule::ReachableOnceHeartbeat,
        Rule::ChecksEveryLink,
        Rule::EpochSupportedByHalf,
        Rule::EpochWithinReach,
        Rule::MajorityOfMembers,
        Rule::MajorityOfSize,
        Rule::IncarnationsNotNames,
        Rule::LeaversDiscounted,
        Rule::GoodbyesSpread,
        Rule::BaseViewsHandedOver,
        Rule::LeaversGrants,
        Rule::NewerSupersedes,
        Rule::SizeInherited,
        Rule::Objections,
        Rule::OwnSizeFirst,
        Rule::RivalsCount,
        Rule::RestoresBaseViews,
        Rule::AckOncePersisted,
        Rule::JumpEndsLease,
        Rule::ShorterLease,
    ];
}
