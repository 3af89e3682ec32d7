//! The examples of the workspace, as programs to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// The program of an example, as `cargo test --workspace` has built it; built when it is first asked for where that has not.
pub fn example(name: &str) -> PathBuf {
    static PROGRAMS: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    programs.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--profile", "test", "--example", name, "--message-format=json-render-diagnostics"])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("cargo cannot be run: {error}"));
    assert!(built.status.success(), "the example {name} does not build");
    let artifacts = String::from_utf8_lossy(&built.stdout);
    let executable = artifacts.lines().find_map(|line| {
        let artifact: Value = serde_json::from_str(line).ok()?;
        (artifact["target"]["name"] == name).then(|| artifact["executable"].as_str().map(PathBuf::from))?
    });
    executable.unwrap_or_else(|| panic!("cargo does not say where {name} is"))
}
