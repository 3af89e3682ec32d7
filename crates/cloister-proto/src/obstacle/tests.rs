use super::*;
use crate::name::Incarnation;

fn node(host: &str) -> NodeId {
    NodeId::new(format!("app@{host}:1").parse().unwrap(), Incarnation(1), 1)
}

fn nodes(hosts: &[&str]) -> Vec<NodeId> {
    hosts.iter().map(|host| node(host)).collect()
}

#[track_caller]
fn says(obstacle: &Obstacle, expected: &str) {
    assert_eq!(obstacle.to_string().replace("app@", "").replace(":1", ""), expected);
}

#[test]
fn too_few_members_are_shown_with_the_numbers_and_a_remedy() {
    let missing = vec![(node("c"), DownReason::Unreachable), (node("d"), DownReason::Crashed)];
    let mut obstacle = Obstacle::TooFewMembers {
        here: nodes(&["a", "b"]),
        needed: 3,
        of: 5,
        missing,
        left_from: None,
        has_state_file: false,
    };
    says(
        &obstacle,
        "2 of 5 members of the last view are here, 3 needed; missing c (unreachable), d (crashed). Gone for good? \
         Restart a, b",
    );
    if let Obstacle::TooFewMembers { here, left_from, has_state_file, .. } = &mut obstacle {
        (*here, *left_from, *has_state_file) = (Vec::new(), Some(node("e")), true);
    }
    says(
        &obstacle,
        "e left from a view that this node does not know: 0 of 5 members of that view are here, 3 needed; missing c \
         (unreachable), d (crashed). Gone for good? Restart this node without a state file",
    );
}

#[test]
fn too_small_a_cluster_is_shown_with_the_numbers_and_a_remedy() {
    let mut obstacle = Obstacle::TooSmall { here: 3, size: 6, needed: 4, gone: nodes(&["d", "e", "f"]) };
    let numbers = "3 nodes are here, the cluster counts 6, 4 needed: any further node will do";
    says(&obstacle, &format!("{numbers}. Gone without a goodbye: d, e, f"));
    if let Obstacle::TooSmall { gone, .. } = &mut obstacle {
        gone.clear();
    }
    says(&obstacle, numbers);
}

#[test]
fn possible_clusters_elsewhere_are_shown_with_how_they_answer_and_for_how_long_they_count() {
    let absent = |host, refuses, seconds| AbsentAddress {
        address: Address::new(host, 1).unwrap(),
        refuses,
        counts_for: Duration::from_secs(seconds),
    };
    let absent = vec![absent("x", false, 48), absent("y", true, 9)];
    let obstacle = Obstacle::Rivals { here: 3, consensus: 3, absent, outside: nodes(&["z"]) };
    says(
        &obstacle,
        "3 nodes are here, `consensus` is 3, but 3 others may be a cluster: x (not linked, silent, counts for 48 s more), y \
         (not linked, refuses, counts for 9 s more), z (linked, not heard by all)",
    );
}

#[test]
fn a_lease_granted_by_a_leaver_is_shown_with_the_remaining_time() {
    let remaining = Duration::from_millis(1349);
    says(
        &Obstacle::LeaversGrants { leaver: node("d"), holders: nodes(&["e"]), remaining },
        "1.3 s more: d, which left, may have confirmed the lease of e",
    );
}

#[test]
fn leases_that_are_waited_for_are_shown_with_their_holders_and_the_remaining_time() {
    let remaining = Duration::from_millis(849);
    says(
        &Obstacle::LeasesOutside { holders: nodes(&["c", "d"]), remaining },
        "0.8 s more: c, d may still hold a lease of the last view",
    );
    says(
        &Obstacle::RecentStarts { nodes: nodes(&["a"]), remaining },
        "0.8 s more: a started recently, and an earlier process under the same name may have confirmed a lease that is \
         still held",
    );
}

#[test]
fn a_node_left_behind_is_shown_with_a_remedy() {
    let left_behind = |has_state_file| Obstacle::LeftBehind {
        by: nodes(&["a", "b"]),
        missing: nodes(&["e", "f"]),
        has_state_file,
    };
    let expected = "left out by a, b: they are a cluster that this node cannot follow, since it remembers a view of which \
                    e, f are missing. Gone for good? Restart this node";
    says(&left_behind(false), expected);
    says(&left_behind(true), &format!("{expected} without a state file"));
}

#[test]
fn a_time_is_shown_as_a_date() {
    let shown =
        [0, 951_782_399_000, 951_782_400_000, 1_767_225_600_000, 1_830_297_599_999, 4_107_542_400_000]
            .map(|ms| Utc(ms).to_string());
    let dates = [
        "1970-01-01 00:00:00 UTC",
        "2000-02-28 23:59:59 UTC",
        "2000-02-29 00:00:00 UTC",
        "2026-01-01 00:00:00 UTC",
        "2027-12-31 23:59:59 UTC",
        "2100-03-01 00:00:00 UTC",
    ];
    assert_eq!(shown, dates);
}

#[test]
fn what_a_node_waits_for_is_shown_by_name() {
    let [a, b] = ["a", "b"].map(node);
    let address = || a.name().address().expect("it has one").clone();
    let epoch = Epoch::from_u64(7);
    says(
        &Obstacle::TooFew { present: vec![a.clone(), b.clone()], needed: 3 },
        "2 of 3 nodes are connected (a, b): 1 more needed",
    );
    says(
        &Obstacle::NotViable { present: vec![a.clone()] },
        "by the split policy a may not go on without the other members",
    );
    says(&Obstacle::Unverified(address()), "a is named by discovery and neither answers nor refuses");
    says(
        &Obstacle::RefusalInconclusive(address()),
        "a is named by discovery and refuses, which proves nothing here (`timing.trust_refusal`): a node behind it is \
         waited for until its lease has ended",
    );
    says(&Obstacle::NotDiscovered, "discovery has not answered yet");
    says(&Obstacle::Round { epoch, waits_for: Vec::new() }, "view 7 is being agreed on");
    says(&Obstacle::Round { epoch, waits_for: vec![b] }, "view 7 waits for the answer of b");
    says(
        &Obstacle::WaitsForRound { proposer: a },
        "enough nodes are connected; a is about to propose a view",
    );
    says(
        &Obstacle::WaitsForLease { epoch },
        "view 7 is installed, but too few of its members confirm it yet",
    );
    says(&Obstacle::Leaving, "this node is leaving");
}

#[test]
fn clocks_apart_are_shown_with_both_dates_and_whole_days() {
    let said = |theirs: u64, ours: u64| Obstacle::ClocksApart { peer: node("b"), theirs, ours }.to_string();
    let ours = 1_767_225_600_000;
    let half = DAY_MS / 2;
    assert_eq!(
        said(ours - 400 * DAY_MS - half, ours),
        "app@b:1 and this node do not accept the same epochs: its wall clock shows 2024-11-26 12:00:00 UTC, \
         401 days behind the one of this node, 2026-01-01 00:00:00 UTC. Set the clock that is wrong, and restart \
         the node whose clock was ahead"
    );
    assert!(
        said(ours + 400 * DAY_MS + half - 1, ours).contains(", 400 days ahead of the one of this node, ")
    );
}
