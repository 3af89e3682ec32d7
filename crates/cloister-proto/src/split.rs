//! Who goes on when the network splits: one pure decision.

use crate::name::NodeId;
use crate::view::View;

/// Who goes on when the network splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SplitPolicy {
    /// Every part with at least `consensus` nodes. One at most, if `consensus` is more than half of all nodes.
    #[default]
    Consensus,
    /// The part with more than half of the last view; of two halves, the one with its oldest member.
    KeepMajority,
    /// The part with the oldest member of the last view.
    KeepOldest,
}

impl SplitPolicy {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitPolicy::Consensus => "consensus",
            SplitPolicy::KeepMajority => "keep-majority",
            SplitPolicy::KeepOldest => "keep-oldest",
        }
    }
}

/// Whether `part` may go on.
///
/// `bases` are the views it comes from: the one installed last, and each one promised since that may have
/// been installed elsewhere. Without any, `consensus` alone decides. A member of a base that has been replaced by
/// a younger process at the same name counts as present with it.
pub fn decide<'a>(
    policy: SplitPolicy,
    consensus: usize,
    bases: impl IntoIterator<Item = &'a View>,
    part: &[NodeId],
) -> bool {
    let mut bases = bases.into_iter().peekable();
    if policy == SplitPolicy::Consensus || bases.peek().is_none() {
        return part.len() >= consensus;
    }
    bases.all(|base| {
        let present = |id: &NodeId| part.iter().any(|p| p == id || p.is_other_life_of(id));
        let with_oldest = base.sentry().is_some_and(present);
        match policy {
            SplitPolicy::Consensus => true,
            SplitPolicy::KeepOldest => with_oldest,
            SplitPolicy::KeepMajority => {
                let here = base.ids().filter(|id| present(id)).count();
                let all = base.members().len();
                2 * here > all || (2 * here == all && with_oldest)
            }
        }
    })
}
