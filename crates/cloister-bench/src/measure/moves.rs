//! What callers see while the data of tables moves, and what entities that rest take.

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_integration::{Node, Plan, eventually};
use cloister_json::{TableRow, Tables};
use serde_json::Value;

use super::cluster::{Cluster, Loss};
use super::{Measuring, millis_between, now};
use crate::record::Run;

/// What a row takes whose value has 100 bytes: with its key, without what the table adds.
const ROW: u64 = 112;

/// For how long nothing happens while the baseline is probed: about as long as a planned move is.
const QUIET: Duration = Duration::from_secs(2);

/// A table looks once a second how it stands: what it says later than this is of now.
const LOOK: Duration = Duration::from_secs(2);

/// How many entities one command begins: a reply is waited for half a minute.
const AT_ONCE: usize = 100_000;

/// How many nodes there are before one joins.
const NODES: usize = 3;

/// A table of two copies with so many megabytes. One node joins, leaves in order, and one is killed, while probes write keys of all nodes: the
/// longest write is what a caller waits at most.
pub(crate) fn pauses(measuring: &mut Measuring<'_>, megabytes: usize) {
    let (mut cluster, newcomer) = start(measuring, |plan| plan.variable("NODE_ONLY_VISITS", 1));
    let rows = megabytes as u64 * 1_000_000 / ROW;
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

/// So many thousand entities with a counter each, on three nodes with two copies, when all of them rest.
pub(crate) fn entities(measuring: &mut Measuring<'_>, thousands: usize) {
    measuring.each_run(|measuring, _| {
        let (mut cluster, _) = start(measuring, |plan| plan.variable("NODE_IDLE", 1_000));
        let memory =
            |cluster: &Cluster| -> u64 { cluster.nodes.iter().map(Node::memory).sum::<u64>() * 1024 };
        let before = memory(&cluster);
        let entities = thousands as u64 * 1_000;
        for from in (0..entities).step_by(AT_ONCE) {
            cluster.nodes[0].ask(&format!("tally {from} {}", entities.min(from + AT_ONCE as u64)));
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
        let all = settle(&cluster.nodes);
        let (rows, bytes) = all["tally"];
        assert_eq!(rows, 2 * entities, "each is on two nodes");
        let taken = memory(&cluster).saturating_sub(before);
        measuring.note("entity-memory", thousands, memory(&cluster) as f64 / 1e6);
        measuring.note("entity-overhead", thousands, taken.saturating_sub(bytes) as f64 / rows as f64);
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
