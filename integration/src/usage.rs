//! The resources of a node.

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

    /// Prints what a process used before and uses now; panics if it uses more than chance explains, so that it would go on
    /// to.
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
        let more = self.more(now);
        assert!(more.is_empty(), "{what}: more {} than before: {self:?}, then {now:?}", more.join(", "));
    }

    /// What of it has grown. An allocator keeps some of what was needed once, a runtime some idle threads, and an attempt or two to connect
    /// may be under way. In ten minutes of churn a node grew by 0.8 MB, and by no descriptor, thread or task.
    fn more(self, now: Self) -> Vec<&'static str> {
        let all = [
            ("memory", self.memory + 2 * 1024, now.memory),
            ("descriptors", self.descriptors + 4, now.descriptors),
            ("threads", self.threads + 4, now.threads),
            ("tasks", self.tasks + 8, now.tasks),
        ];
        all.into_iter().filter(|(_, max, now)| now > max).map(|(name, ..)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Usage = Usage { memory: 4_600, descriptors: 33, threads: 5, tasks: 170 };

    #[test]
    fn what_ten_minutes_of_churn_left_behind_is_flat() {
        let churned = Usage { memory: 5_500, descriptors: 33, threads: 5, tasks: 158 };
        assert!(BEFORE.more(churned).is_empty());
        assert!(BEFORE.more(Usage { memory: 6_600, descriptors: 37, threads: 9, tasks: 178 }).is_empty());
    }

    #[test]
    fn a_leak_is_seen_in_each_thing_by_itself() {
        assert_eq!(BEFORE.more(Usage { memory: 6_649, ..BEFORE }), ["memory"]);
        assert_eq!(BEFORE.more(Usage { descriptors: 38, ..BEFORE }), ["descriptors"]);
        assert_eq!(BEFORE.more(Usage { threads: 10, ..BEFORE }), ["threads"]);
        assert_eq!(BEFORE.more(Usage { tasks: 179, ..BEFORE }), ["tasks"]);
    }
}
