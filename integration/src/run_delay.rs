//! How long nodes waited for a processor.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Node;

/// How long the threads of nodes have waited for a processor from some moment on, by the count of the kernel. On a busy machine other
/// programs ran in that time, and what was measured is theirs.
#[derive(Clone, Debug)]
pub struct RunDelay(BTreeMap<u32, Duration>);

impl RunDelay {
    /// From now on. A node that is not among these counts from its start.
    pub fn since_now(nodes: &[Node]) -> Self {
        Self(nodes.iter().map(|node| (node.id(), of_process(node.id()))).collect())
    }

    /// Of all threads of the node that waited longest. Nodes wait beside each other, so the sum of all would excuse too much.
    pub fn of(&self, nodes: &[Node]) -> Duration {
        let delay = |node: &Node| {
            let before = self.0.get(&node.id()).copied().unwrap_or_default();
            of_process(node.id()).saturating_sub(before)
        };
        nodes.iter().map(delay).max().unwrap_or_default()
    }
}

/// Of all threads that a process has. Zero where the kernel does not count it.
fn of_process(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| parse(&fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum()
}

/// The second of three numbers: nanoseconds in which a thread could run and did not.
fn parse(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_whitespace().nth(1)?;
    nanos.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_a_thread_is_the_second_number_of_its_line() {
        assert_eq!(parse("429394 5699119 2\n"), Some(Duration::from_nanos(5_699_119)));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_waits_behind_others_is_delayed() {
        let own = std::process::id();
        let before = of_process(own);
        let threads = 4 * std::thread::available_parallelism().map_or(2, usize::from);
        let busy = || {
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_millis(200) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(busy)).collect();
            std::thread::sleep(Duration::from_millis(150));
            assert!(of_process(own) > before + Duration::from_millis(100), "three of four wait");
            all.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        });
    }
}
