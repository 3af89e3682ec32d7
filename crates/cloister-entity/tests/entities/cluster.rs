//! Entities on a few nodes, each a process of its own on this host: this test program, started again.

mod leaving;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloister::{Incarnation, NodeId, Ring, Slot, Timing};
use cloister_entity::{Durability, EntityOptions};
use cloister_table::service::encode;
use cloister_testkit::obedient::{
    self, ObedientNode as Node, PATIENCE, Role, eventually, ports, turn, until,
};

use self::node::node;

/// Not a test when run as one: a node of the tests below, with its durability and its copies.
#[test]
fn a_node_of_these_tests() {
    obedient::run(2, async |role| {
        let (options, timing) = options(&role);
        node(role, options, timing).await;
    });
}

fn options(role: &Role) -> (EntityOptions, Timing) {
    let [durability, copies] = &role.words[..] else { panic!("{role:?}") };
    let kept = match durability.as_str() {
        "soon" => Durability::Lazy(Duration::from_millis(200)),
        "lazy" | "lazy_evicted" | "lazy_hasty" => Durability::Lazy(Duration::from_secs(3_600)),
        _ => Durability::Each,
    };
    let options = EntityOptions::default().copies(copies.parse().unwrap()).durability(kept);
    // A killed node is found by its port, which refuses. None is evicted since the machine is busy, but where a test wants it.
    // The claims of others outlive a node that stands still for a few seconds.
    let (unreachable_after, lease) = match durability.as_str() {
        "lazy_evicted" => (3, 2),
        "soon" => (30, 10),
        _ => (30, 2),
    };
    // How long a round waits for what is to be written.
    let rehash_timeout = match durability.as_str() {
        "lazy_hasty" | "each_hasty" => Duration::from_millis(500),
        _ => Timing::default().rehash_timeout,
    };
    let timing = Timing {
        rehash_timeout,
        unreachable_after: Duration::from_secs(unreachable_after),
        lease: Duration::from_secs(lease),
        ..Timing::default()
    };
    (options, timing)
}

fn start(durability: &str, copies: usize, port: u16, ports: &[u16]) -> Node {
    Node::start("cluster::a_node_of_these_tests", &format!("{durability} {copies}"), port, ports)
}

/// Whether the key with this number moves when the fourth node joins.
fn moves(name: &str, ports: &[u16]) -> impl Fn(&u64) -> bool {
    let id =
        |port: &u16| NodeId::new(format!("entities@127.0.0.1:{port}").parse().unwrap(), Incarnation(1), 1);
    let ids: Vec<NodeId> = ports.iter().map(id).collect();
    let rings = [Ring::new(&ids[..3]), Ring::new(&ids)];
    move |n| {
        let slot = Slot::of(&encode(&format!("{name}{n}")).unwrap());
        rings[0].owner(slot) != rings[1].owner(slot)
    }
}

/// Three nodes, up together.
fn cluster(durability: &str, copies: usize, ports: &[u16]) -> Vec<Node> {
    let nodes: Vec<Node> = ports.iter().take(3).map(|port| start(durability, copies, *port, ports)).collect();
    nodes.iter().for_each(|node| node.wait_for("up"));
    nodes
}

#[test]
fn every_call_is_applied_once_while_the_owner_of_its_key_is_killed() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("each", 2, &ports);
    assert_eq!(nodes[0].ask("fill before 300"), "300");
    assert_eq!(nodes[1].ask("all before 300"), "300");
    let counts: Vec<usize> = (0..6).map(|n| nodes[1].begin(&format!("count counter{n} 400"))).collect();
    let filled = nodes[0].begin("fill during 2000");
    std::thread::sleep(Duration::from_millis(150));
    nodes.remove(2).process.kill();
    for (n, count) in counts.into_iter().enumerate() {
        let answer = nodes[1].answer(count);
        println!("counter {n}: {answer}");
        assert!(answer.starts_with("400 "), "{answer}");
        assert_eq!(nodes[0].ask(&format!("get counter{n}")), "400");
    }
    assert_eq!(nodes[0].answer(filled), "2000");
    for node in &mut nodes {
        assert_eq!(node.ask("all before 300"), "300");
        assert_eq!(node.ask("all during 2000"), "2000");
    }
}

#[test]
fn a_reply_that_a_lost_node_was_to_give_is_told_as_such_and_its_message_is_applied_once() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("each", 2, &ports);
    // Some wait at each node. None is answered before the kill, and those of the others are after it.
    let later: Vec<usize> = (0..30).map(|n| nodes[0].begin(&format!("later counter{n}"))).collect();
    nodes[1].ask_until("len", "30");
    let killed = format!("entities@127.0.0.1:{}", ports[2]);
    let mut owner = |n: u64| nodes[0].ask(&format!("owner counter{n}"));
    let lost = (0..30).filter(|n| owner(*n) == killed).count() as u64;
    nodes[2].process.kill();
    for node in &mut nodes[..2] {
        assert_eq!(node.ask("answer"), "false", "it gives no answer before");
    }
    let answers: Vec<String> = later.into_iter().map(|later| nodes[0].answer(later)).collect();
    let told = answers.iter().filter(|answer| answer.contains("its reply was not given")).count() as u64;
    let given = answers.iter().filter(|answer| *answer == "1").count() as u64;
    assert_eq!((told, given), (lost, 30 - lost), "{answers:#?}");
    assert!(lost > 2, "{lost} of 30 were on the node that was killed");
    for n in 0..30 {
        assert_eq!(nodes[1].ask(&format!("get counter{n}")), "1");
    }
}

/// The timers that a node has handled, each with the view in which it did.
fn alarms(node: &Node) -> Vec<(String, String)> {
    let of =
        |line: String| line.split_once(" in ").map(|(timer, epoch)| (timer.to_owned(), epoch.to_owned()));
    node.lines_with("alarm").into_iter().filter_map(of).collect()
}

#[test]
fn every_timer_fires_once_though_the_node_that_it_was_set_on_is_killed() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("each", 2, &ports);
    assert_eq!(nodes[0].ask("fill job 300"), "300");
    // Some are due before the kill, some while the others look for an owner, most after it.
    assert_eq!(nodes[0].ask("schedule job 100 1000"), "100");
    assert_eq!(nodes[1].ask("schedule job 300 4000"), "300");
    let here: u64 = nodes[2].ask("local").parse().unwrap();
    assert!(here > 30, "the node that is killed has {here} of 300");
    nodes[2].process.kill();
    // No message wakes the entities meanwhile: their new owners find the timers in the states.
    let fired = || {
        let mut fired = BTreeMap::<String, Vec<String>>::new();
        for (timer, epoch) in nodes.iter().flat_map(alarms) {
            fired.entry(timer).or_default().push(epoch);
        }
        fired
    };
    eventually("400 timers have fired", || match fired().len() {
        400.. => Ok(()),
        fired => Err(fired),
    });
    // What was handled and not written when the view ended is handled again in the next one.
    for (timer, epochs) in fired() {
        let views: BTreeSet<&String> = epochs.iter().collect();
        assert_eq!(views.len(), epochs.len(), "handled twice in one view: {timer}: {epochs:?}");
    }
    assert_eq!(fired().len(), 400, "no entity has had a third one");
    assert_eq!(nodes[0].ask("alarms job 300"), "200", "the first hundred have had two each");
    assert_eq!(nodes[1].ask("all job 300"), "300");
}

#[test]
fn a_timer_that_is_not_written_yet_fires_though_another_node_was_killed() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("lazy", 2, &ports);
    assert_eq!(nodes[0].ask("schedule job 100 8000"), "1", "they count zero, as the first of them should");
    assert_eq!(nodes[0].ask("len"), "0", "nothing is written for an hour");
    let killed = format!("entities@127.0.0.1:{}", ports[2]);
    let owners =
        |node: &mut Node| -> Vec<String> { (0..100).map(|n| node.ask(&format!("owner job{n}"))).collect() };
    let before = owners(&mut nodes[0]);
    nodes[2].process.kill();
    let after = eventually("the killed node is no owner", || {
        let after = owners(&mut nodes[0]);
        if after.contains(&killed) { Err(after) } else { Ok(after) }
    });
    let stayed: Vec<String> =
        (0..100).filter(|n| before[*n] == after[*n]).map(|n| format!("alarm job{n} 1")).collect();
    assert!(stayed.len() > 40, "{} of 100 stay where they are", stayed.len());
    let fired = || -> Vec<String> { nodes.iter().flat_map(alarms).map(|(timer, _)| timer).collect() };
    until("all timers have fired", || stayed.iter().all(|job| fired().contains(job)));
}

#[test]
fn casts_that_wait_are_handled_in_their_order_also_when_their_key_moves() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster("each", 2, &ports);
    // Half of them move to the fourth node: of sixteen by chance none may.
    let moves = moves("list", &ports);
    let lists: Vec<u64> = (0..).filter(&moves).take(8).chain((0..).filter(|n| !moves(n)).take(8)).collect();
    let owners = |node: &mut Node| -> Vec<String> {
        lists.iter().map(|n| node.ask(&format!("owner list{n}"))).collect()
    };
    let before = owners(&mut nodes[0]);
    // What is accepted takes four seconds to be handled.
    let casts: Vec<usize> = lists.iter().map(|n| nodes[0].begin(&format!("append list{n} 400"))).collect();
    for cast in casts {
        assert_eq!(nodes[0].answer(cast), "done");
    }
    nodes.push(start("each", 2, ports[3], &ports));
    nodes[3].wait_for("up");
    let moved = owners(&mut nodes[3]).iter().zip(&before).filter(|(after, before)| after != before).count();
    assert_eq!(moved, 8);
    for n in &lists {
        // One that was being written when the view ended may be lost.
        let all = eventually(&format!("list {n} has 400"), || {
            let all = nodes[1].ask(&format!("in_order list{n}"));
            let is_over = all.parse::<u64>().is_ok_and(|all| all >= 399) || all.starts_with("error");
            if is_over { Ok(all) } else { Err(all) }
        });
        assert!(!all.starts_with("error"), "{moved} have moved; list {n}: {all}");
    }
}

#[test]
fn a_call_is_applied_once_though_its_sender_stood_still_and_its_state_was_written_lazily() {
    let _turn = turn();
    let ports = ports(3);
    // The sender has no copy, for which a write would wait.
    let mut nodes = cluster("soon", 1, &ports);
    let sender = format!("entities@127.0.0.1:{}", ports[0]);
    let mut is_elsewhere = |n: &usize| nodes[0].ask(&format!("owner counter{n}")) != sender;
    let keys: Vec<usize> = (0..).filter(|n| is_elsewhere(n)).take(20).collect();
    for n in &keys {
        assert!(nodes[0].ask(&format!("count counter{n} 1")).starts_with("1 "));
    }
    // The first write of a slot waits for all members.
    nodes[0].ask_until("len", "20");
    let mut begin_all =
        || -> Vec<usize> { keys.iter().map(|n| nodes[0].begin(&format!("slow counter{n} 300"))).collect() };
    let (first, second) = (begin_all(), begin_all());
    let begun = || nodes[1..].iter().map(|node| node.lines_with("begins").len()).sum::<usize>();
    until("all calls have begun", || begun() >= keys.len());
    // It stands still until it has waited for too long. Meanwhile they are answered, and their states are written.
    nodes[0].process.signal("STOP");
    std::thread::sleep(Duration::from_millis(3_500));
    nodes[0].process.signal("CONT");
    for (n, (first, second)) in keys.iter().zip(first.into_iter().zip(second)) {
        let mut answers = [nodes[0].answer(first), nodes[0].answer(second)];
        answers.sort_unstable();
        assert_eq!(answers, ["2", "3"]);
        assert_eq!(nodes[1].ask(&format!("get counter{n}")), "3");
    }
}

#[test]
fn a_state_that_is_written_lazily_moves_in_order_without_loss() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster("lazy", 2, &ports);
    assert_eq!(nodes[0].ask("fill cart 500"), "500");
    assert_eq!(nodes[0].ask("len"), "0", "nothing is written for an hour");
    let counted: Vec<usize> = (0..12).map(|n| nodes[0].begin(&format!("count counter{n} 200"))).collect();
    nodes.push(start("lazy", 2, ports[3], &ports));
    nodes[3].wait_for("up");
    for count in counted {
        assert!(nodes[0].answer(count).starts_with("200 "));
    }
    for node in &mut nodes {
        assert_eq!(node.ask("all cart 500"), "500");
    }
    let here: u64 = nodes[3].ask("local").parse().unwrap();
    assert!(here > 60, "the new node has {here} of 500");
    // An entity that has moved changes before it comes back: its first node must not answer with the state that it remembers.
    assert_eq!(nodes[1].ask("more cart 500"), "500");
    let mut leaver = nodes.remove(3);
    let counted: Vec<usize> = (0..12).map(|n| nodes[0].begin(&format!("count counter{n} 200"))).collect();
    leaver.begin("leave");
    assert!(leaver.process.ended_within(PATIENCE).is_some(), "{:#?}", leaver.process.errors().lines());
    for (n, count) in counted.into_iter().enumerate() {
        let answer = nodes[0].answer(count);
        println!("counter {n} while a node left: {answer}");
        assert!(answer.starts_with("200 "), "{answer}");
        assert_eq!(nodes[1].ask(&format!("get counter{n}")), "400");
    }
    for node in &mut nodes {
        assert_eq!(node.ask("twice cart 500"), "500");
    }
}

#[test]
fn a_node_that_leaves_waits_until_it_has_written_what_it_alone_has() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("lazy", 2, &ports);
    let leaver = format!("entities@127.0.0.1:{}", ports[2]);
    let is_there = |node: &mut Node, n: usize| node.ask(&format!("owner counter{n}")) == leaver;
    let keys: Vec<usize> = (0..60).filter(|n| is_there(&mut nodes[0], *n)).collect();
    assert!(keys.len() > 5, "{} of 60 are on the node that leaves", keys.len());
    for n in &keys {
        assert!(nodes[0].ask(&format!("count counter{n} 1")).starts_with("1 "));
    }
    // What was acknowledged is written after the handler that runs, for which no call waits. The other nodes have nothing to write.
    for n in &keys {
        assert_eq!(nodes[0].ask(&format!("cast_slow counter{n} 3000")), "done");
    }
    let mut leaver = nodes.remove(2);
    until("a handler of each runs", || leaver.lines_with("begins").len() == keys.len());
    leaver.begin("leave");
    assert!(leaver.process.ended_within(PATIENCE).is_some(), "{:#?}", leaver.process.errors().lines());
    for n in &keys {
        nodes[1].ask_until(&format!("get counter{n}"), "2");
    }
}

#[test]
fn a_state_that_was_not_written_does_not_come_back_after_others_have_read_the_one_before() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("lazy_evicted", 2, &ports);
    let stopped = format!("entities@127.0.0.1:{}", ports[2]);
    let is_there = |node: &mut Node, n: usize| node.ask(&format!("owner counter{n}")) == stopped;
    let keys: Vec<usize> = (0..60).filter(|n| is_there(&mut nodes[0], *n)).collect();
    assert!(keys.len() > 5, "{} of 60 are on the node that is stopped", keys.len());
    for n in &keys {
        assert!(nodes[0].ask(&format!("count counter{n} 1")).starts_with("1 "));
    }
    nodes[2].process.signal("STOP");
    for n in &keys {
        nodes[0].ask_until(&format!("get counter{n}"), "0");
    }
    nodes[2].process.signal("CONT");
    until("a key is where it was", || keys.iter().any(|n| is_there(&mut nodes[0], *n)));
    for n in &keys {
        assert_eq!(nodes[0].ask(&format!("get counter{n}")), "0", "counter{n}");
    }
}

#[test]
fn a_claim_that_ends_under_a_handler_takes_nothing_with_it_that_was_answered() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster("lazy", 2, &ports);
    let killed = format!("entities@127.0.0.1:{}", ports[2]);
    let stays = |node: &mut Node, n: usize| node.ask(&format!("owner counter{n}")) != killed;
    let keys: Vec<usize> = (0..12).filter(|n| stays(&mut nodes[0], *n)).collect();
    for n in &keys {
        assert!(nodes[0].ask(&format!("count counter{n} 1")).starts_with("1 "));
    }
    // A handler of each runs when the view ends.
    let slow: Vec<usize> = keys.iter().map(|n| nodes[0].begin(&format!("slow counter{n} 4000"))).collect();
    let begun = |nodes: &[Node]| nodes.iter().map(|node| node.lines_with("begins").len()).sum::<usize>();
    until("a handler of each runs", || begun(&nodes) == keys.len());
    nodes.remove(2).process.kill();
    for (n, slow) in keys.iter().zip(slow) {
        assert_eq!(nodes[0].answer(slow), "2", "counter{n}");
        assert_eq!(nodes[1].ask(&format!("get counter{n}")), "2", "counter{n}");
    }
    assert!(begun(&nodes) > keys.len(), "no handler was interrupted, so this has shown nothing");
}

#[test]
fn a_handler_that_ends_after_its_node_has_given_up_the_key_is_not_answered_with_what_is_not_written() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster("lazy_hasty", 2, &ports);
    let key = format!("counter{}", (0..).find(moves("counter", &ports)).unwrap());
    // It blocks its thread for longer than the round waits for it, and not for as long as its sender waits for one answer.
    let blocked = nodes[0].begin(&format!("block {key} 2800"));
    until("it blocks", || nodes.iter().any(|node| !node.lines_with("begins").is_empty()));
    nodes.push(start("lazy_hasty", 2, ports[3], &ports));
    nodes[3].wait_for("up");
    assert_eq!(nodes[0].answer(blocked), "1");
    assert_eq!(nodes[1].ask(&format!("get {key}")), "1");
}

/// A job, the epoch under which it ran, and how often it has run.
type Run = (String, u64, u64);

fn runs(node: &Node) -> Vec<Run> {
    let run = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[1].to_owned(), words[2].parse().unwrap(), words[3].parse().unwrap())
    };
    node.lines_with("ran ").into_iter().map(run).collect()
}

#[test]
fn jobs_run_on_under_one_owner_in_each_view_while_nodes_join_leave_and_are_killed() {
    const JOBS: usize = 200;
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster("each", 2, &ports);
    assert_eq!(nodes[0].ask("run job 200 300"), "200");
    nodes.push(start("each", 2, ports[3], &ports));
    nodes[3].wait_for("up");
    std::thread::sleep(Duration::from_secs(1));
    nodes[1].begin("leave");
    assert!(nodes[1].process.ended_within(PATIENCE).is_some(), "{:#?}", nodes[1].process.errors().lines());
    std::thread::sleep(Duration::from_secs(1));
    nodes[2].process.kill();
    // Every job has run three times more than at the kill.
    let count = |nodes: &[Node]| -> BTreeMap<String, u64> {
        let all = nodes.iter().flat_map(runs);
        all.fold(BTreeMap::new(), |mut counts, (job, _, count)| {
            let max = counts.entry(job).or_default();
            *max = count.max(*max);
            counts
        })
    };
    let killed = count(&nodes);
    eventually("every job has run", || {
        let counts = count(&nodes);
        let have_run = counts.iter().all(|(job, count)| *count >= killed[job] + 3) && killed.len() >= JOBS;
        if have_run { Ok(()) } else { Err((counts, killed.clone())) }
    });
    let mut owners = BTreeMap::new();
    let mut counts = BTreeMap::<String, Vec<u64>>::new();
    for (at, (job, epoch, count)) in
        nodes.iter().enumerate().flat_map(|(at, node)| runs(node).into_iter().map(move |run| (at, run)))
    {
        let owner = *owners.entry((job.clone(), epoch)).or_insert(at);
        assert_eq!(owner, at, "{job} has run on two nodes in the view {epoch}");
        counts.entry(job).or_default().push(count);
    }
    let mut repeated = 0;
    for (job, mut counts) in counts {
        counts.sort_unstable();
        let all = counts.len();
        counts.dedup();
        // A run that was not written when its node was killed, or its view ended, was made again.
        repeated += all - counts.len();
        assert!(counts.iter().copied().eq(1..=counts.len() as u64), "{job} has missed a run: {counts:?}");
    }
    println!("{repeated} runs were interrupted, and made again");
    assert!(repeated < JOBS / 4, "{repeated} runs were made again");
}
