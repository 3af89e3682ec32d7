//! The rules that safety or liveness rests on, each of which tests can switch off.
//!
//! A rule stays in the code only if a simulation notices when it is missing. The switch is in every build, so that the tests run
//! the code that programs run. Only the feature `test-support` has a function that moves it
//! (`Settings::disable_rule`); without that, every rule holds. Asking costs the comparison of one byte.

/// A rule of the membership protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A change that matters to all peers is broadcast at once.
    BroadcastAtOnce,
    /// A peer that sends bytes but no heartbeats is disconnected.
    HungIsGone,
    /// A view excludes a node only after the node's lease has certainly expired.
    Guard,
    /// A closed link alone does not prove that the lease of the peer has ended.
    ClosedIsNotExpired,
    /// Candidate members follow from the reports of all, not from the preference of one node.
    CommonCandidate,
    /// Epochs begin at the wall clock, so that they rise over a restart of all nodes.
    EpochFromClock,
    /// A peer's release counts only for views up to the epoch that it names.
    ReleasedUpTo,
    /// Only members of the very same view grant the lease.
    SameView,
    /// Grants are dropped at each install.
    FreshGrants,
    /// A process that may have forgotten a promise waits.
    Forgotten,
    /// A node that has stepped down returns only through a new round.
    NewRound,
    /// Stepping down voids the present promise.
    VoidPromise,
    /// A member's absence from the view is judged only by what it sent after the commit.
    JudgeByEcho,
    /// A leaving node claims nothing from that instant.
    LeaveAtOnce,
    /// After a late tick a node shifts every peer deadline by the delay.
    ExtendDeadlines,
    /// A peer is reachable only after a heartbeat by the open link: transport alone may answer for a hung node.
    ReachableOnceHeartbeat,
    /// A first assembly checks every linked node, even one without a heartbeat that is not in the view.
    ChecksEveryLink,
    /// An epoch or time that at least half of the candidate members and two peers report is accepted, whatever the own clock shows.
    EpochSupportedByHalf,
    /// An epoch begins no later than every member of the proposal accepts by its clock.
    EpochWithinReach,
    /// Under `majority` a view follows another only with more than half of its members.
    MajorityOfMembers,
    /// Under `majority` a view has more than half of the nodes that the cluster counts.
    MajorityOfSize,
    /// Under `majority` a process at a member's address does not count for the incarnation that it replaces.
    IncarnationsNotNames,
    /// Under `majority` a node that left in order counts no more.
    LeaversDiscounted,
    /// A goodbye is passed on to all peers, and precedes a proposal.
    GoodbyesSpread,
    /// A goodbye hands over the views that the leaver had to follow.
    BaseViewsHandedOver,
    /// A goodbye that names a view older than the receiver's hands over the receiver's.
    NewerHandedOver,
    /// A view waits until what a leaver may have granted just before it left has expired.
    LeaversGrants,
    /// A newer view that a member installed supersedes the older ones.
    NewerSupersedes,
    /// A view carries the size of the cluster on to the views that follow.
    SizeInherited,
    /// A node that can neither follow nor begin reports it, and is left out if the rest can follow.
    Objections,
    /// A proposer trusts its own count of the size before reported ones.
    OwnSizeFirst,
    /// A proposer asks a member that reports the size of a view that it does not know again, once that member knows all goodbyes.
    SizeReportedAnew,
    /// A view that its proposer will never commit binds no member.
    AbortedReleased,
    /// A cluster begins only with more nodes than there are unlinked discovered addresses and linked nodes outside of it.
    RivalsCount,
    /// Under `majority` a process with a state file follows the views of its previous incarnation.
    RestoresBaseViews,
    /// A node with a state file acknowledges a view only once the view is persisted.
    AckOncePersisted,
    /// A node whose wall clock jumps ahead gives up its lease: the machine may have stood still.
    JumpEndsLease,
    /// A grant lasts no longer than the granting member's own lease.
    ShorterLease,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 38] = [
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
        Rule::NewerHandedOver,
        Rule::LeaversGrants,
        Rule::NewerSupersedes,
        Rule::SizeInherited,
        Rule::Objections,
        Rule::OwnSizeFirst,
        Rule::SizeReportedAnew,
        Rule::AbortedReleased,
        Rule::RivalsCount,
        Rule::RestoresBaseViews,
        Rule::AckOncePersisted,
        Rule::JumpEndsLease,
        Rule::ShorterLease,
    ];
}
