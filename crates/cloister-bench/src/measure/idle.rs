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
        let memory: Vec<f64> = cluster.nodes.iter().map(|node| memory_mb(node.id())).collect();
        measuring.note("idle-memory", n, memory.iter().sum::<f64>() / nodes);
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

/// The memory of a process that is in use, in megabytes.
pub(super) fn memory_mb(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs");
    let resident = |line: &str| {
        let kilobytes: f64 = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024.0 / 1e6)
    };
    status.lines().find_map(resident).expect("a process has memory")
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
        assert!((1.0..2000.0).contains(&memory_mb(me)));
        assert!(loopback_bytes() >= 0.0);
    }
}
