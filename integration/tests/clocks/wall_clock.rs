//! A wall clock of its own for a node, which the test sets.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use cloister_integration::Plan;
use tempfile::TempDir;

/// The wall clock of one node: that of this machine, and a number of seconds that the test sets.
///
/// A library that is loaded before libc adds them to what `CLOCK_REALTIME` shows. It is compiled by `cc`, which cargo needs for
/// every program.
pub(crate) struct WallClock {
    directory: TempDir,
    ahead: File,
}

impl WallClock {
    /// A clock that is right.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clocks/wall_clock.c");
        let library = directory.path().join("wall_clock.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .output()
            .expect("there is a `cc`, since cargo links with it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let path = directory.path().join("ahead");
        fs::write(&path, 0_i64.to_ne_bytes()).expect("a file can be written");
        let ahead = OpenOptions::new().write(true).open(&path).expect("the file can be opened");
        Self { directory, ahead }
    }

    /// A node that goes by this clock.
    pub(crate) fn of(&self, plan: Plan) -> Plan {
        let file = |name: &str| -> String {
            let path: PathBuf = self.directory.path().join(name);
            path.display().to_string()
        };
        plan.variable("LD_PRELOAD", file("wall_clock.so")).variable("NODE_CLOCK_AHEAD", file("ahead"))
    }

    /// Sets the clock to so many seconds ahead of that of this machine.
    pub(crate) fn set(&self, ahead: i64) {
        self.ahead.write_all_at(&ahead.to_ne_bytes(), 0).expect("a file can be written");
    }
}
