//! The guide's table of the part that goes on when the network splits is what the core decides.

#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

use cloister_proto::split::survives;
use cloister_proto::{Epoch, Incarnation, Member, NodeId, NodeName, SplitPolicy, View};

const POLICIES: [SplitPolicy; 3] = [SplitPolicy::Majority, SplitPolicy::Consensus, SplitPolicy::KeepOldest];

/// The node that is the `age`th oldest.
fn node(age: u64) -> NodeId {
    let name: NodeName = format!("shop@10.0.0.{age}:4370").parse().unwrap();
    NodeId::new(name, Incarnation(age), age)
}

/// Whether these nodes of a view of `size` nodes go on; the others are out of reach, or have crashed.
fn stands(policy: SplitPolicy, consensus: usize, size: u64, part: &[u64], crashed: bool) -> bool {
    let member = |age| Member::without_tags(node(age));
    let view = View::new(Epoch::from_u64(1), (0..size).map(member).collect());
    let part: Vec<NodeId> = part.iter().copied().map(node).collect();
    survives(policy, consensus, &view, &part, |_| crashed)
}

/// Whether a cell of the table says so of a part.
fn says(cell: &str, part: &[u64]) -> bool {
    match cell {
        "**both**" => true,
        "the two" | "the other two" => part.len() == 2,
        "the other one" => part.len() == 1,
        "the two, if the oldest is in it" => part.len() == 2 && part.contains(&0),
        "the three" => part.len() == 3,
        "the three, if the oldest is in it" => part.len() == 3 && part.contains(&0),
        "the oldest" | "the part with the oldest" | "the half with the oldest" => part.contains(&0),
        cell if cell.starts_with("none") => false,
        cell => panic!("the test does not know `{cell}`"),
    }
}

/// All parts that a row of the table is about: every choice of members, of the size that it says.
fn parts(event: &str, size: u64) -> Vec<Vec<u64>> {
    match event {
        "the oldest crashes" => vec![(1..size).collect()],
        split => {
            let sizes: Vec<usize> = split.split(" \\| ").map(|part| part.parse().unwrap()).collect();
            assert_eq!(sizes.iter().sum::<usize>() as u64, size, "{event}");
            let all = (0..1_u64 << size).map(|bits| (0..size).filter(|age| bits >> age & 1 == 1).collect());
            all.filter(|part: &Vec<u64>| sizes.contains(&part.len())).collect()
        }
    }
}

#[test]
fn the_part_that_goes_on_is_the_one_that_the_guide_names() {
    let guide = include_str!("../../cloister/guide/splits.md");
    let (_, table) =
        guide.split_once("| what happens | `majority` | `consensus` | `keep-oldest` |\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 11);

    for row in rows {
        let cells: Vec<&str> = row.trim_start_matches("| ").trim_end_matches(" |").split(" | ").collect();
        let (cluster, event) = cells[0].split_once(": ").unwrap();
        let (size, consensus) = cluster.split_once(" nodes, consensus ").unwrap();
        let (size, consensus) = (size.parse().unwrap(), consensus.parse().unwrap());
        for (policy, cell) in POLICIES.into_iter().zip(&cells[1..]) {
            for part in parts(event, size) {
                let goes_on = stands(policy, consensus, size, &part, event.ends_with("crashes"));
                assert_eq!(goes_on, says(cell, &part), "{row}\n{policy:?} and the part {part:?}");
            }
        }
    }
}
