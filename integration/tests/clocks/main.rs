//! Wall clocks: one that is more than a year off keeps no node out, and one that jumps ahead ends the lease.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

mod wall_clock;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cloister_integration::{Agreement, Block, Budget, Node, Plan, agree, eventually, reunite, start_all};
use wall_clock::WallClock;

const DAY: i64 = 24 * 60 * 60;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How far a clock is off: more than the year by which an epoch may be ahead of a clock.
const FAR: i64 = 400 * DAY;

/// How many of the low bits of an epoch are no time.
const EPOCH_BITS: u32 = 20;

/// How long a lease is that does not end by itself while a test runs.
const LONG: &str = "60s";

/// Far more than the half second after which a node looks at its clocks, and far less than such a lease.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// What a node logs of a jump.
const JUMPED: &str = "the wall clock jumped ahead of the monotonic clock";

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock of this machine is set");
    u64::try_from(since.as_millis()).expect("a time in our days")
}

/// Three nodes. Those at `shifted` have a clock that is off by so many seconds.
fn three(shifted: &[usize], clock: &WallClock) -> Vec<Plan> {
    let plans = Plan::list(&Block::new(3).ips()).into_iter().enumerate();
    plans.map(|(at, plan)| if shifted.contains(&at) { clock.of(plan) } else { plan }).collect()
}

/// By how many days the clock of each node was off when it began, as another node tells.
fn days_off(nodes: &[Node]) -> Vec<i64> {
    let members = nodes[0].members().members;
    let started_at = |node: &Node| {
        let member = members.iter().find(|member| member.name == node.name()).expect("it is a member");
        member.started_at.and_then(|at| i64::try_from(at).ok()).expect("a time in our days")
    };
    let now = i64::try_from(unix_ms()).expect("a time in our days");
    // It began a little before now.
    nodes.iter().map(|node| (started_at(node) - now).div_euclid(DAY * 1000) + 1).collect()
}

/// Kills and starts the nodes by turns, so that each meets others that remember what it does not.
fn restart_by_turns(what: &str, plans: &[Plan], nodes: &mut [Node], before: Agreement) {
    let mut view = before;
    for at in [0, 1, 2, 0] {
        nodes[at].kill();
        nodes[at] = Node::start(&plans[at]);
        let started = nodes[at].started();
        let after = reunite(&format!("{what}, node {at} again"), nodes, started, Budget::millis(4000));
        assert!(after.epoch > view.epoch, "{view:?}, then {after:?}");
        view = after;
    }
    for node in nodes {
        assert_eq!(node.log().count("wall clocks differ too much"), 0, "{}", node.name());
    }
}

#[test]
fn a_node_whose_wall_clock_is_more_than_a_year_behind_the_others_is_taken_in_again() {
    let clock = WallClock::new();
    clock.set(FAR);
    let plans = three(&[1, 2], &clock);
    let mut nodes = start_all(&plans);
    let (view, _) = agree(&nodes);
    assert_eq!(days_off(&nodes), [0, 400, 400]);
    restart_by_turns("two clocks are 400 days ahead", &plans, &mut nodes, view);
    assert_eq!(days_off(&nodes), [0, 400, 400]);
}

/// The others that went by the clock of the one are gone. Which of the two is wrong is for a person to say: each logs what both show, once.
#[test]
fn two_nodes_whose_wall_clocks_are_more_than_a_year_apart_name_both_clocks_in_their_logs() {
    let clock = WallClock::new();
    clock.set(FAR);
    let plans = three(&[1, 2], &clock);
    let mut nodes = start_all(&plans);
    agree(&nodes);
    // Without the oldest the two go by their clocks.
    nodes[0].kill();
    agree(&nodes[1..]);
    nodes.truncate(2);
    nodes[0] = Node::start(&plans[0]);
    for (node, off) in nodes.iter().zip(["400 days ahead of the one of this node", "400 days behind"]) {
        let words = ["wall clocks differ too much", off, "Set the clock that is wrong"];
        eventually("it names both clocks", || match words.map(|words| node.log().count(words)) {
            [1, 1, 1] => Ok(()),
            counts => Err(format!("{counts:?}: {:#?}", node.log().lines())),
        });
    }
}

#[test]
fn a_node_without_a_wall_clock_is_in_one_view_with_the_others() {
    let clock = WallClock::new();
    // As a board without a battery: it begins in 1970.
    let days = i64::try_from(unix_ms() / DAY_MS).expect("a time in our days");
    clock.set(-days * DAY);
    let plans = three(&[2], &clock);
    let mut nodes = start_all(&plans);
    let (view, _) = agree(&nodes);
    assert_eq!(days_off(&nodes), [0, 0, -days]);
    restart_by_turns("one clock is in 1970", &plans, &mut nodes, view);
}

#[test]
fn a_proposer_whose_wall_clock_is_set_more_than_a_year_ahead_proposes_what_the_others_accept() {
    let block = Block::new(3);
    let clocks = [WallClock::new(), WallClock::new(), WallClock::new()];
    let plans: Vec<Plan> =
        Plan::list(&block.ips()).into_iter().zip(&clocks).map(|(plan, clock)| clock.of(plan)).collect();
    let mut nodes = start_all(&plans);
    let (mut view, _) = agree(&nodes);
    let is_oldest = |node: &Node| view.age_of(node.name()) == 0;
    let oldest = nodes.iter().position(is_oldest).expect("one is the oldest");
    clocks[oldest].set(FAR);
    eventually("it sees its clock", || {
        (nodes[oldest].log().count(JUMPED) == 1).then_some(()).ok_or("not yet")
    });
    // It reads the clock twice a second, and only its proposals show it.
    let until = Instant::now() + NOTICED_WITHIN;
    let other = (oldest + 1) % 3;
    loop {
        nodes[other].kill();
        nodes[other] = Node::start(&plans[other]);
        let started = nodes[other].started();
        let after = reunite("the proposer is 400 days ahead", &mut nodes, started, Budget::millis(4000));
        assert!(after.epoch > view.epoch, "{view:?}, then {after:?}");
        view = after;
        let days = ((view.epoch >> EPOCH_BITS).saturating_sub(unix_ms())) / DAY_MS;
        assert!(days <= 366, "an epoch of {days} days ahead is more than the others accept");
        if days >= 364 {
            break;
        }
        assert!(Instant::now() < until, "the proposer never goes by its clock: {days} days");
    }
}

/// Whether a node says that it may act now.
fn claims(node: &mut Node) -> bool {
    let answer = node.ask("claims 100");
    let mine = answer["mine"].as_array().expect("a list");
    !mine.is_empty() || answer["is_sentry"] == true
}

#[test]
fn a_wall_clock_that_jumps_ahead_ends_the_lease_until_the_others_confirm_it_again() {
    let clock = WallClock::new();
    let long = |plan: Plan| plan.set("TIMING__LEASE", LONG).set("TIMING__UNREACHABLE_AFTER", "90s");
    let plans: Vec<Plan> = three(&[2], &clock).into_iter().map(long).collect();
    let mut nodes = start_all(&plans);
    let (before, _) = agree(&nodes);
    before.check_claims(&mut nodes);

    // The others confirm nothing more. What they said before lasts for a minute.
    let mut node = nodes.pop().expect("three nodes run");
    for other in &nodes {
        other.signal("STOP");
    }
    // A clock that is set back is no sign of a machine that stood still.
    clock.set(-3600);
    std::thread::sleep(Duration::from_secs(2));
    assert!(claims(&mut node), "the lease lasts");
    assert_eq!(node.log().count(JUMPED), 0);

    clock.set(-3595);
    let began = Instant::now();
    while claims(&mut node) {
        assert!(began.elapsed() < NOTICED_WITHIN, "it claims still");
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("it says why", || (node.log().count(JUMPED) == 1).then_some(()).ok_or("not yet"));

    for other in &nodes {
        other.signal("CONT");
    }
    nodes.push(node);
    eventually("it claims again", || if claims(&mut nodes[2]) { Ok(()) } else { Err("it claims nothing") });
    let (after, _) = agree(&nodes);
    after.check_claims(&mut nodes);
    assert_eq!(nodes[2].log().count(JUMPED), 1, "one jump is told once");
}
