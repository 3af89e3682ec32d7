//! What callers see while the data of tables moves, whether all of it is there afterwards, and what entities that rest take.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloister_integration::{Content, Node, Plan, ROW_BYTES, eventually};
use cloister_json::{TableRow, Tables};
use serde_json::Value;

use super::cluster::{Cluster, Loss};
use super::{Measuring, millis_between, now};
use crate::record::Run;

/// For how long nothing happens while the baseline is probed: about as long as a planned move is.
const QUIET: Duration = Duration::from_secs(2);

/// A table looks once a second how it stands: what it says later than this is of now.
const LOOK: Duration = Duration::from_secs(2);

/// How many entities or rows one command begins: a reply is waited for half a minute.
const AT_ONCE: usize = 100_000;

/// How many bytes are moved before `gigabyte` ends, and how long it may take.
const GIGABYTE: u64 = 1_000_000_000;
const GIGABYTE_LIMIT: Duration = Duration::from_secs(300);

/// How many nodes there are before one joins.
const NODES: usize = 3;

/// A table of two copies with so many megabytes. One node joins, leaves in order, and one is killed, while probes write keys of all nodes: the
/// longest write is what a caller waits at most.
pub(crate) fn pauses(measuring: &mut Measuring<'_>, megabytes: usize) {
    let (mut cluster, newcomer) = start(measuring, |plan| plan.variable("NODE_ONLY_VISITS", 1));
    let rows = megabytes as u64 * 1_000_000 / ROW_BYTES;
    cluster.nodes[0].ask(&format!("rows 0 {rows}"));
    settle(&cluster.nodes);
    measuring.each_run(|measuring, _| {
        let quiet = probed(&mut cluster, |_| std::thread::sleep(QUIET));
        let beside = |pause: f64| Run { baseline: Some(quiet.longest_ms), ..Run::from(pause) };

        let join = probed(&mut cluster, |cluster| {
            cluster.nodes.push(Node::start(&newcomer));
            cluster.up();
            settle(&cluster.nodes);
        });
        measuring.note("pause-join", megabytes, beside(join.longest_ms));

        let leave = probed(&mut cluster, |cluster| {
            cluster.lose(NODES, |node| {
                let at = now();
                node.signal("TERM");
                at
            });
            cluster.nodes.pop().expect("it joined").wait();
            settle(&cluster.nodes);
        });
        measuring.note("pause-leave", megabytes, beside(leave.longest_ms));
        measuring.note("planned-uncertain", megabytes, (join.uncertain + leave.uncertain) as f64);

        let mut loss = None;
        let victim = NODES - 1;
        let kill = probed(&mut cluster, |cluster| {
            loss = Some(cluster.lose(victim, Node::kill));
            settle(&cluster.nodes[..victim]);
        });
        let up = |loss: Loss| millis_between(loss.at, loss.all_up());
        measuring.note("pause-kill", megabytes, Run { baseline: loss.map(up), ..Run::from(kill.longest_ms) });
        cluster.restart(victim);
        settle(&cluster.nodes);
    });
}

/// A table of two copies with so many megabytes. A fourth node joins and leaves in order, again and again, until what it got and what it left
/// is a gigabyte. Then every row is there, and has its value. It is done once: it takes minutes.
pub(crate) fn gigabyte(measuring: &mut Measuring<'_>, megabytes: usize) {
    let began = Instant::now();
    let in_time = || assert!(began.elapsed() < GIGABYTE_LIMIT, "it takes longer than {GIGABYTE_LIMIT:?}");
    let (mut cluster, newcomer) = start(measuring, |plan| plan.variable("NODE_ONLY_VISITS", 1));
    let rows = megabytes as u64 * 1_000_000 / ROW_BYTES;
    for from in (0..rows).step_by(AT_ONCE) {
        in_time();
        cluster.nodes[0].ask(&format!("rows {from} {}", (AT_ONCE as u64).min(rows - from)));
    }
    settle(&cluster.nodes);
    let (filled, mut moved, mut moves, mut moving) = (began.elapsed(), 0, 0_u32, Duration::ZERO);
    while moved < GIGABYTE {
        in_time();
        let detail = format!("{} of {} MB", moved / 1_000_000, GIGABYTE / 1_000_000);
        measuring.progress.detail(&measuring.step, &detail);
        let join = Instant::now();
        cluster.nodes.push(Node::start(&newcomer));
        cluster.up();
        settle(&cluster.nodes);
        moving += join.elapsed();
        // It began with nothing. When it leaves, the others fetch as much: two of them have each row then.
        let its = settle(&cluster.nodes[NODES..])["visits"].1;
        let leave = Instant::now();
        cluster.lose(NODES, |node| {
            let at = now();
            node.signal("TERM");
            at
        });
        cluster.nodes.pop().expect("it joined").wait();
        let (copies, _) = settle(&cluster.nodes)["visits"];
        moving += leave.elapsed();
        assert_eq!(copies, 2 * rows, "each row is on two nodes");
        (moved, moves) = (moved + 2 * its, moves + 2);
    }
    let all = cluster.nodes.iter_mut().map(|node| {
        let content = node.ask("content");
        serde_json::from_value::<Content>(content).expect("it says what it owns")
    });
    let there = all.fold(Content::default(), Content::and);
    assert_eq!(there, Content::written(0..rows), "every row is there once, with its value");
    measuring.note("gigabyte-fill", megabytes, filled.as_secs_f64());
    measuring.note("gigabyte-moved", megabytes, moved as f64 / 1e6);
    measuring.note("gigabyte-moves", megabytes, f64::from(moves));
    measuring.note("gigabyte-time", megabytes, moving.as_secs_f64());
    measuring.note("gigabyte-rows", megabytes, there.rows as f64);
}

/// So many thousand entities with a counter each, on three nodes with two copies. Each has a message and is passivated: it rests. What all of
/// them take is measured then. Afterwards each answers with its state, which it has from its row.
pub(crate) fn entities(measuring: &mut Measuring<'_>, thousands: usize) {
    measuring.each_run(|measuring, _| {
        let (mut cluster, _) = start(measuring, |plan| plan.variable("NODE_IDLE", 1_000));
        let memory =
            |cluster: &Cluster| -> u64 { cluster.nodes.iter().map(Node::memory).sum::<u64>() * 1024 };
        let before = memory(&cluster);
        let entities = thousands as u64 * 1_000;
        let parts = || (0..entities).step_by(AT_ONCE).map(|from| (from, entities.min(from + AT_ONCE as u64)));
        let began = Instant::now();
        for (from, to) in parts() {
            cluster.nodes[0].ask(&format!("tally {from} {to}"));
        }
        for node in &mut cluster.nodes {
            let mut turn = 0;
            eventually("all entities rest", || {
                turn += 1;
                match node.ask(&format!("active {turn}")) {
                    active if active == 0 => Ok(()),
                    active => Err(active),
                }
            });
        }
        measuring.note("passivation-time", thousands, began.elapsed().as_secs_f64());
        let all = settle(&cluster.nodes);
        let (rows, bytes) = all["tally"];
        assert_eq!(rows, 2 * entities, "each is on two nodes");
        // Each has had a message and has a row, and no entity is in memory.
        measuring.note("passivations", thousands, (rows / 2) as f64);
        let taken = memory(&cluster).saturating_sub(before);
        measuring.note("entity-memory", thousands, memory(&cluster) as f64 / 1e6);
        measuring.note("entity-overhead", thousands, taken.saturating_sub(bytes) as f64 / rows as f64);
        let began = Instant::now();
        let answers = parts().map(|(from, to)| cluster.nodes[0].ask(&format!("tallied {from} {to}")));
        let answered: u64 = answers.map(|answered| answered.as_u64().expect("a number")).sum();
        assert_eq!(answered, entities, "each answers with the state that it had");
        measuring.note("passivations-answered", thousands, answered as f64);
        measuring.note("passivation-answer-time", thousands, began.elapsed().as_secs_f64());
    });
}

/// Three nodes with tables, up, and the plan of a fourth.
fn start(measuring: &Measuring<'_>, as_well: fn(Plan) -> Plan) -> (Cluster, Plan) {
    let ips = measuring.ips(NODES + 1);
    let plan = |plan: Plan| as_well(plan.variable("NODE_ROWS", 0).set("CONSENSUS", 2));
    let mut plans: Vec<Plan> = Plan::list(&ips).into_iter().map(|at| plan(at.seeds(&ips[..NODES]))).collect();
    let newcomer = plans.pop().expect("there is a fourth");
    (Cluster::start(plans), newcomer)
}

/// What probes have seen.
struct Probed {
    longest_ms: f64,
    uncertain: u64,
}

/// Has the first node probe meanwhile.
fn probed(cluster: &mut Cluster, meanwhile: impl FnOnce(&mut Cluster)) -> Probed {
    cluster.nodes[0].ask("probe");
    meanwhile(cluster);
    let seen = cluster.nodes[0].ask("probed");
    let number = |name: &str| seen[name].as_f64().unwrap_or_else(|| panic!("{name} in {seen}"));
    assert_eq!(seen["failed"], Value::Array(Vec::new()), "no write fails");
    assert!(number("writes") > 100.0, "{seen}");
    Probed { longest_ms: number("longest_ms"), uncertain: number("uncertain") as u64 }
}

/// Waits until all copies of all tables are there; the rows and bytes of each table on all nodes together.
fn settle(nodes: &[Node]) -> BTreeMap<String, (u64, u64)> {
    std::thread::sleep(LOOK);
    eventually("all copies are there", || {
        let standing = nodes.iter().map(|node| node.get("/tables").json::<Tables>().tables);
        let rows: Vec<TableRow> = standing.flatten().collect();
        let is_open = |row: &&TableRow| row.moving > 0 || row.under_replicated > 0;
        match rows.iter().find(is_open) {
            Some(open) => Err(format!("{open:?}")),
            None => Ok(sums(&rows)),
        }
    })
}

fn sums(rows: &[TableRow]) -> BTreeMap<String, (u64, u64)> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let (all_rows, all_bytes) = sums.entry(row.name.clone()).or_default();
        *all_rows += row.rows;
        *all_bytes += row.bytes;
    }
    sums
}
