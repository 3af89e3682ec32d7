//! As many real processes as this machine can bear.

use std::time::{Duration, Instant};

use cloister_integration::{Node, agreement, start_all};

use super::cluster::{Cluster, plans, up};
use super::idle::memory_mb;
use super::{Measuring, millis_between, now};

/// How long they may take to assemble. To look at all of them now and then costs little beside what they do.
const ASSEMBLY_TIMEOUT: Duration = Duration::from_secs(120);

/// They assemble, one is killed, the others go on. With gentler timing: so many processes share few processors.
pub(crate) fn hundred(measuring: &mut Measuring<'_>, n: usize) {
    let gentle = |plan: cloister_integration::Plan| {
        plan.set("TIMING__HEARTBEAT_EVERY", "2s")
            .set("TIMING__LEASE", "8s")
            .set("TIMING__UNREACHABLE_AFTER", "12s")
    };
    let plans: Vec<_> = plans(&measuring.ips(n)).into_iter().map(gentle).collect();
    measuring.each_run(|measuring, number| {
        let began = now();
        let nodes = start_all(&plans);
        let deadline = Instant::now() + ASSEMBLY_TIMEOUT;
        while agreement(&nodes).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
        let all_up = up(&nodes);
        measuring.note("hundred", n, millis_between(began, all_up) / 1e3);
        let memory: f64 = nodes.iter().map(|node| memory_mb(node.id())).sum();
        measuring.note("hundred-memory", n, memory / n as f64);
        let mut cluster = Cluster { plans: plans.clone(), nodes };
        let victim = cluster.member(number);
        let loss = cluster.lose(victim, Node::kill);
        measuring.note("hundred-kill", n, millis_between(loss.at, loss.all_up()));
    });
}
