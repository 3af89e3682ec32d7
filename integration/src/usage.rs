//! What a node uses.

use std::fs;

use crate::{Node, report};

/// What a node uses, as the kernel and its runtime count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is its own and present, in KiB.
    pub memory: u64,
    /// Open files and sockets.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of its runtime, which is where actors live.
    pub tasks: u64,
}

impl Usage {
    /// Of a node that runs.
    #[track_caller]
    pub fn of(node: &mut Node) -> Self {
        let process = node.id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs, on Linux");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let number = line.split_whitespace().next().and_then(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("it runs, on Linux").count();
        Self {
            memory: field("RssAnon:"),
            descriptors: u64::try_from(descriptors).unwrap_or(u64::MAX),
            threads: field("Threads:"),
            tasks: node.ask("tasks").as_u64().expect("a number"),
        }
    }

    /// Prints what a process used before and uses now; panics if it uses clearly more, so that it would go on to.
    #[track_caller]
    pub fn check_flat(self, what: &str, now: Self) {
        report(&format!(
            "{what}: {} KiB, then {} KiB; {} descriptors, then {}; {} threads, then {}; {} tasks, then {}",
            self.memory,
            now.memory,
            self.descriptors,
            now.descriptors,
            self.threads,
            now.threads,
            self.tasks,
            now.tasks
        ));
        // An allocator keeps some of what was needed once, a runtime some idle threads.
        assert!(now.memory <= self.memory + self.memory / 4 + 6 * 1024, "{what}: memory grows");
        assert!(now.descriptors <= self.descriptors + 4, "{what}: descriptors are left open");
        assert!(now.threads <= self.threads + 4, "{what}: threads are left");
        assert!(now.tasks <= self.tasks + 8, "{what}: tasks are left");
    }
}
