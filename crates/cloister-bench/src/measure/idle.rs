//! What a node costs while nothing happens.

use std::fs;
use std::time::{Duration, Instant};

use cloister_integration::Node;

use super::Measuring;
use super::cluster::{Cluster, plans};

/// How long the nodes are left alone before they are watched: what was spent on assembly must not count.
const REST: Duration = Duration::from_secs(3);

/// How long one run watches.
const WATCHED: Duration = Duration::from_secs(5);

/// Processor, traffic and memory of a node, the mean of all nodes.
///
/// Traffic is what passed the loopback device, headers included: whatever else uses it meanwhile counts, too.
pub(crate) fn idle(measuring: &mut Measuring<'_>, n: usize) {
    let cluster = Cluster::start(plans(&measuring.ips(n)));
    std::thread::sleep(REST);
    measuring.each_run(|measuring, _| {
        let (began, worked, passed) = (Instant::now(), work(&cluster.nodes), loopback_bytes());
        std::thread::sleep(WATCHED);
        let (took, nodes) = (began.elapsed().as_secs_f64(), n as f64);
        let share = (work(&cluster.nodes) - worked) / took / nodes;
        measuring.note("idle-cpu", n, share * 100.0);
        measuring.note("idle-traffic", n, (loopback_bytes() - passed) / 1e3 / took / nodes);
        let mean = |of: fn(u32) -> f64| cluster.nodes.iter().map(|node| of(node.id())).sum::<f64>() / nodes;
        measuring.note("idle-memory", n, mean(memory_mb));
        measuring.note("idle-memory-own", n, mean(own_memory_mb));
    });
}

/// How long all of them have run on a processor, in seconds.
fn work(nodes: &[Node]) -> f64 {
    nodes.iter().map(|node| worked(node.id())).sum()
}

/// How long all threads of a process have run on a processor, in seconds. The scheduler counts nanoseconds, unlike
/// `/proc/…/stat`, which counts in hundredths, too coarse here.
fn worked(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process that runs");
    let on_processor = |task: fs::DirEntry| {
        let counted = fs::read_to_string(task.path().join("schedstat")).ok()?;
        counted.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|task| on_processor(task.ok()?)).sum::<f64>() / 1e9
}

/// How many bytes have passed the loopback device.
fn loopback_bytes() -> f64 {
    let devices = fs::read_to_string("/proc/net/dev").expect("Linux");
    let received = |line: &str| line.trim().strip_prefix("lo:")?.split_whitespace().next()?.parse().ok();
    devices.lines().find_map(received).expect("there is a loopback device")
}

/// The memory of a process that is in use, in megabytes. What it has touched of its program and libraries counts, which all processes of the
/// program share.
pub(super) fn memory_mb(process: u32) -> f64 {
    status_mb(process, "VmRSS:")
}

/// The same without its program and libraries: what one more such process takes.
fn own_memory_mb(process: u32) -> f64 {
    status_mb(process, "RssAnon:")
}

fn status_mb(process: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs");
    let value = |line: &str| {
        let kilobytes: f64 = line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024.0 / 1e6)
    };
    status.lines().find_map(value).expect("a process has memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_worked_and_has_memory() {
        let me = std::process::id();
        let before = worked(me);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let spent = worked(me) - before;
        assert!(spent > 0.0 && spent < 5.0, "{spent} s");
        let (all, own) = (memory_mb(me), own_memory_mb(me));
        assert!((1.0..2000.0).contains(&all) && own > 0.0 && own < all, "{own} of {all} MB");
        assert!(loopback_bytes() >= 0.0);
    }
}
