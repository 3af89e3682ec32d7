//! The split policy `majority` (quorum): whether a proposed view follows the views before it, begins a cluster, or must wait.
//!
//! Pure arithmetic over counts. [`Node`](crate::Node) gathers the counts, each node for itself.

use crate::rule::Rule;

/// How the members of one earlier view relate to a proposed view. The earlier view is the *base*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberCounts {
    /// How many nodes the cluster of the base counts.
    pub(crate) size: usize,
    /// How many members the base has.
    pub(crate) members: usize,
    /// Members that are in the proposal.
    pub(crate) present: usize,
    /// Members that are not in the proposal and have left in order.
    pub(crate) left: usize,
    /// Members that are not in the proposal, have not left, and whose process has exited.
    pub(crate) exited: usize,
}

impl MemberCounts {
    /// Members that have not left in order.
    fn staying(&self) -> usize {
        self.members - self.left
    }

    /// Whether the base can have no other successor: more than half of the staying members are present, or exactly half are and
    /// every other one has exited.
    fn has_majority(&self) -> bool {
        2 * self.present > self.staying() || (2 * self.present == self.staying() && self.rest_has_exited())
    }

    /// Whether every staying member that is not present has exited.
    pub(crate) fn rest_has_exited(&self) -> bool {
        self.present + self.exited == self.staying()
    }

    /// How many nodes the cluster counts now.
    fn remaining_size(&self) -> usize {
        self.size.saturating_sub(self.left)
    }
}

/// How many members a view needs in a cluster that counts `size` nodes.
///
/// More than half; exactly half is enough if no other cluster can begin with the other half: if `consensus` is more than half.
pub(crate) fn required_members(size: usize, consensus: usize) -> usize {
    if 2 * consensus > size { size.div_ceil(2) } else { size / 2 + 1 }
}

/// How a proposed view relates to the views before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// It follows the views that this node has to follow; the cluster counts so many nodes.
    Follows { size: usize },
    /// This node has no view to follow. Other members have, and decide.
    Joins,
    /// It begins a cluster.
    Begins,
}

/// Why a proposed view may neither follow nor begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// Too few members of this base are present, by its place among the tallies.
    TooFewMembers { base: usize },
    /// The view is smaller than the size of the cluster asks for.
    BelowSize { size: usize, needed: usize },
    /// A cluster could begin, but with at least `consensus` members.
    BelowConsensus { needed: usize },
    /// A cluster could begin, but so many nodes may be elsewhere.
    Rivals { rivals: usize },
}

/// Whether a view of `members` nodes may come.
///
/// `counts` belong to the views that this node must follow. `installed` returns whether a proposed member ever installed a view.
/// `rivals` are the discovered addresses that are not linked, and the linked nodes that are not proposed.
pub(crate) fn decide_succession(
    consensus: usize,
    members: usize,
    base_views: &[MemberCounts],
    installed: bool,
    rivals: impl FnOnce() -> usize,
    is_enabled: impl Fn(Rule) -> bool,
) -> Result<Succession, Shortfall> {
    let size = base_views.iter().map(MemberCounts::remaining_size).max().unwrap_or(0);
    let needed = required_members(size, consensus);
    let has_majority = |base: &MemberCounts| base.has_majority() || !is_enabled(Rule::MajorityOfMembers);
    let lacking = base_views.iter().position(|base| !has_majority(base));
    let is_large_enough = members >= needed || base_views.is_empty() || !is_enabled(Rule::MajorityOfSize);
    if installed && lacking.is_none() && is_large_enough {
        return Ok(if base_views.is_empty() { Succession::Joins } else { Succession::Follows { size } });
    }
    // A view that was acknowledged and never installed must be followed even by a first view.
    let vetoes = |base: &MemberCounts| !base.rest_has_exited() && (installed || !has_majority(base));
    if base_views.iter().any(vetoes) {
        return Err(match lacking {
            Some(base) => Shortfall::TooFewMembers { base },
            None => Shortfall::BelowSize { size, needed },
        });
    }
    if members < consensus {
        return Err(match installed && !is_large_enough {
            true => Shortfall::BelowSize { size, needed },
            false => Shortfall::BelowConsensus { needed: consensus },
        });
    }
    let rivals = rivals();
    if members <= rivals && is_enabled(Rule::RivalsCount) {
        return Err(Shortfall::Rivals { rivals });
    }
    Ok(Succession::Begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view of `members` members in a cluster that counts as many.
    fn of(members: usize, present: usize, left: usize, ended: usize) -> MemberCounts {
        MemberCounts { size: members, members, present, left, exited: ended }
    }

    fn follows(size: usize) -> Result<Succession, Shortfall> {
        Ok(Succession::Follows { size })
    }

    #[test]
    fn the_table_of_successions_holds() {
        use Shortfall::{BelowConsensus, BelowSize, Rivals, TooFewMembers};
        use Succession::{Begins, Joins};
        type Case<'a> =
            (&'a str, usize, usize, &'a [MemberCounts], bool, usize, Result<Succession, Shortfall>);
        let cases: [Case<'_>; 20] = [
            ("two of three", 2, 2, &[of(3, 2, 0, 0)], true, 1, follows(3)),
            ("one of three", 2, 1, &[of(3, 1, 0, 0)], true, 2, Err(TooFewMembers { base: 0 })),
            (
                "one of three, the others ended",
                2,
                1,
                &[of(3, 1, 0, 2)],
                true,
                2,
                Err(BelowSize { size: 3, needed: 2 }),
            ),
            (
                "one of three and two newcomers, the others ended",
                2,
                3,
                &[of(3, 1, 0, 2)],
                true,
                0,
                Ok(Begins),
            ),
            (
                "one of three and a newcomer, the others ended, too few to begin",
                3,
                2,
                &[of(3, 1, 0, 2)],
                true,
                0,
                Err(BelowConsensus { needed: 3 }),
            ),
            ("half of four", 3, 2, &[of(4, 2, 0, 0)], true, 2, Err(TooFewMembers { base: 0 })),
            ("half of four, the others ended", 3, 2, &[of(4, 2, 0, 2)], true, 2, follows(4)),
            (
                "half of four, the others ended, small gate",
                2,
                2,
                &[of(4, 2, 0, 2)],
                true,
                2,
                Err(Rivals { rivals: 2 }),
            ),
            ("ten that become two in order", 3, 2, &[of(10, 2, 8, 0)], true, 0, follows(2)),
            (
                "five of which three crashed",
                3,
                2,
                &[of(5, 2, 0, 3)],
                true,
                3,
                Err(BelowSize { size: 5, needed: 3 }),
            ),
            ("the same with a newcomer", 3, 3, &[of(5, 2, 0, 3)], true, 2, Ok(Begins)),
            ("one of two, the other ended", 2, 1, &[of(2, 1, 0, 1)], true, 1, follows(2)),
            (
                "one of two, the other silent",
                2,
                1,
                &[of(2, 1, 0, 0)],
                true,
                1,
                Err(TooFewMembers { base: 0 }),
            ),
            (
                "two bases, one of which is not followed",
                2,
                2,
                &[of(3, 2, 0, 0), of(5, 2, 0, 0)],
                true,
                0,
                Err(TooFewMembers { base: 1 }),
            ),
            ("nothing to follow here", 2, 3, &[], true, 9, Ok(Joins)),
            ("first assembly", 3, 3, &[], false, 2, Ok(Begins)),
            ("first assembly of too few", 3, 2, &[], false, 0, Err(BelowConsensus { needed: 3 })),
            ("first assembly beside as many", 3, 3, &[], false, 3, Err(Rivals { rivals: 3 })),
            (
                "first assembly after a round that came to nothing",
                2,
                2,
                &[of(3, 2, 0, 0)],
                false,
                1,
                Ok(Begins),
            ),
            (
                "first assembly against such a round",
                2,
                2,
                &[of(5, 2, 0, 0)],
                false,
                1,
                Err(TooFewMembers { base: 0 }),
            ),
        ];
        for (what, consensus, members, base_views, installed, rivals, expected) in cases {
            let found = decide_succession(consensus, members, base_views, installed, || rivals, |_| true);
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_view_that_lost_members_without_a_goodbye_needs_a_majority_of_all_that_were() {
        let shrunk = MemberCounts { size: 5, members: 3, present: 2, left: 0, exited: 0 };
        let found = |members| decide_succession(3, members, &[shrunk], true, || 9, |_| true);
        assert_eq!(found(2), Err(Shortfall::BelowSize { size: 5, needed: 3 }));
        assert_eq!(found(3), follows(5));
    }

    #[test]
    fn two_disjoint_views_never_both_follow_one_base() {
        for members in 1..=8_usize {
            for left in 0..=members {
                for here in 0..=members - left {
                    for there in 0..=members - left - here {
                        let exited = members - left - here - there;
                        // What is alive on the other side has not ended, whatever else has.
                        let base = |present| of(members, present, left, exited);
                        let both = base(here).has_majority() && base(there).has_majority();
                        assert!(
                            !both || here + there == 0,
                            "{members} incarnations, {left} left, {here} and {there}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn half_is_enough_only_if_the_other_half_cannot_begin() {
        assert_eq!(
            [
                required_members(2, 2),
                required_members(2, 1),
                required_members(4, 3),
                required_members(4, 2),
                required_members(5, 3),
                required_members(5, 1)
            ],
            [1, 2, 2, 3, 3, 3]
        );
    }
}
