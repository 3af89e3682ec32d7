//! Nodes that are lost: killed, hung, leaving; and nodes that are not lost, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloister_integration::{Node, Plan};

use super::cluster::{Cluster, plans};
use super::{Measuring, millis_between, now};

/// A member is killed: until every other listener is notified, and until every other node is up again.
pub(crate) fn kill(measuring: &mut Measuring<'_>, n: usize) {
    let mut cluster = Cluster::start(plans(&measuring.ips(n)));
    measuring.each_run(|measuring, number| {
        let victim = cluster.member(number);
        let loss = cluster.lose(victim, Node::kill);
        measuring.note("kill-told", n, millis_between(loss.at, loss.all_notified()));
        measuring.parts("kill-told", n, loss.notified_at.iter().map(|at| millis_between(loss.at, *at)));
        measuring.note("kill", n, millis_between(loss.at, loss.all_up()));
        measuring.parts("kill", n, loss.up.iter().map(|notice| millis_between(loss.at, notice.at)));
        cluster.restart(victim);
    });
}

/// The sentry is killed: until all others are up and name one and the same other.
pub(crate) fn sentry(measuring: &mut Measuring<'_>, n: usize) {
    let mut cluster = Cluster::start(plans(&measuring.ips(n)));
    measuring.each_run(|measuring, _| {
        let victim = cluster.sentry();
        let loss = cluster.lose(victim, Node::kill);
        let sentries: std::collections::BTreeSet<_> = loss.up.iter().map(|notice| &notice.sentry).collect();
        assert_eq!(sentries.len(), 1, "one sentry: {sentries:?}");
        measuring.note("sentry", n, millis_between(loss.at, loss.all_up()));
        measuring.parts("sentry", n, loss.up.iter().map(|notice| millis_between(loss.at, notice.at)));
        cluster.restart(victim);
    });
}

/// A member gets SIGTERM: until every other listener knows that it has left.
pub(crate) fn leave(measuring: &mut Measuring<'_>, n: usize) {
    let mut cluster = Cluster::start(plans(&measuring.ips(n)));
    measuring.each_run(|measuring, number| {
        let victim = cluster.member(number);
        let loss = cluster.lose(victim, |node| {
            let at = now();
            node.signal("TERM");
            at
        });
        measuring.note("leave", n, millis_between(loss.at, loss.all_notified()));
        measuring.parts("leave", n, loss.notified_at.iter().map(|at| millis_between(loss.at, *at)));
        cluster.nodes[victim].wait();
        cluster.restart(victim);
    });
}

/// A member stands still, with the default timing: until all others have seen it; then it goes on, until all agree.
pub(crate) fn hang(measuring: &mut Measuring<'_>, n: usize) {
    let plans = plans(&measuring.ips(n));
    hang_with(measuring, n, plans, ["hang", "hang-heal"]);
}

/// The same with the timing of [`fast`].
pub(crate) fn hang_fast(measuring: &mut Measuring<'_>, n: usize) {
    let plans = plans(&measuring.ips(n)).into_iter().map(fast).collect();
    hang_with(measuring, n, plans, ["hang-fast", "hang-fast-heal"]);
}

fn hang_with(measuring: &mut Measuring<'_>, n: usize, plans: Vec<Plan>, figures: [&'static str; 2]) {
    let [hang, heal] = figures;
    let mut cluster = Cluster::start(plans);
    measuring.each_run(|measuring, number| {
        let victim = cluster.member(number);
        let loss = cluster.lose(victim, |node| {
            let at = now();
            node.signal("STOP");
            at
        });
        let seconds = |to: u64| millis_between(loss.at, to) / 1e3;
        measuring.note(hang, n, seconds(loss.all_notified()));
        measuring.parts(hang, n, loss.notified_at.iter().map(|at| seconds(*at)));
        let marks: Vec<usize> = cluster.nodes.iter().map(Node::mark).collect();
        let woken = now();
        cluster.nodes[victim].signal("CONT");
        let names: Vec<&str> = cluster.nodes.iter().map(Node::name).collect();
        let back = cluster.nodes.iter().zip(&marks).map(|(node, mark)| node.up_with(&names, *mark).at);
        let back = back.max().unwrap_or(woken);
        measuring.note(heal, n, millis_between(woken, back) / 1e3);
        cluster.up();
    });
}

/// Nothing happens to nodes with the timing of [`fast`], on a machine with all processors busy. Whatever a
/// listener hears then is false.
pub(crate) fn calm(measuring: &mut Measuring<'_>, n: usize) {
    let plans = plans(&measuring.ips(n)).into_iter().map(fast).collect();
    let cluster = Cluster::start(plans);
    let marks: Vec<usize> = cluster.nodes.iter().map(Node::mark).collect();
    let (calm, progress, step) = (measuring.calm, measuring.progress, &measuring.step);
    under_load(|| {
        let began = Instant::now();
        while began.elapsed() < calm {
            progress.detail(step, &format!("{} of {} s", began.elapsed().as_secs(), calm.as_secs()));
            std::thread::sleep(Duration::from_secs(1).min(calm));
        }
    });
    let notices = cluster.nodes.iter().zip(marks).map(|(node, mark)| node.mark() - mark);
    measuring.note("calm", n, notices.sum::<usize>() as f64);
}

/// Notices a silence within a second or so.
fn fast(plan: Plan) -> Plan {
    plan.set("TIMING__HEARTBEAT_EVERY", "200ms")
        .set("TIMING__LEASE", "700ms")
        .set("TIMING__UNREACHABLE_AFTER", "1s")
}

/// Keeps every processor busy meanwhile.
fn under_load<T>(meanwhile: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        meanwhile()
    })
}

/// Sets it however the scope ends: else a panic would wait for threads that go on for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
