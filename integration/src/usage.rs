//! What a process uses.

use std::fs;

/// What a process uses, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is its own and present, in KiB.
    pub memory: u64,
    /// Open files and sockets.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of a process that runs.
    #[track_caller]
    pub fn of(process: u32) -> Self {
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
        }
    }
}
