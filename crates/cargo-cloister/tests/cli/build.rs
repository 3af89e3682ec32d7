//! With a crate that cargo really builds: no dependencies, its own target directory, no network.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::tool::{Tool, free_port, program, wait_until_gone};

/// A crate with one example.
fn crate_with_example(source: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"tiny\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(home.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir_all(home.path().join("src")).unwrap();
    fs::write(home.path().join("src/lib.rs"), "").unwrap();
    fs::create_dir_all(home.path().join("examples")).unwrap();
    fs::write(home.path().join("examples/hello.rs"), source).unwrap();
    home
}

fn run_in(home: &TempDir, example: &str) -> Tool {
    Tool::start(
        Command::new(program())
            .current_dir(home.path())
            .env("CARGO_TARGET_DIR", home.path().join("target"))
            .env("CARGO_NET_OFFLINE", "true")
            .args(["cloister", "run", "-n", "2", "--example", example, "--port", &free_port().to_string()])
            .args(["--admin-port", &free_port().to_string()]),
    )
}

#[test]
fn an_example_is_built_once_and_started_as_every_node() {
    let home = crate_with_example("fn main() { println!(\"built and run\"); std::process::exit(5) }");
    let mut tool = run_in(&home, "hello");
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    for n in 1..=2 {
        tool.wait_for(&format!("node-{n}   | built and run"));
        tool.wait_for(&format!("node-{n} ended by itself: exit status 5"));
    }
    let built = tool.lines().iter().filter(|line| line.contains("Compiling tiny")).count();
    assert_eq!(built, 1, "{}", tool.text());
}

#[test]
fn a_build_that_fails_shows_cargos_words_and_starts_nothing() {
    let home = crate_with_example("fn main() { no_such_function() }");
    let mut tool = run_in(&home, "hello");
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("cannot find function `no_such_function`");
    tool.wait_for("error: the build failed");
    assert!(!tool.text().contains("node-1"), "{}", tool.text());
}

#[test]
fn a_signal_while_building_stops_cargo_and_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let slow_cargo = home.path().join("cargo");
    fs::write(&slow_cargo, "#!/bin/sh\necho building $$ >&2\nexec sleep 600\n").unwrap();
    fs::set_permissions(&slow_cargo, Permissions::from_mode(0o755)).unwrap();
    let mut tool =
        Tool::start(Command::new(program()).env("CARGO", slow_cargo).args(["run", "--bin", "any"]));
    let cargo = tool.wait_for("building ").rsplit(' ').next().unwrap().parse().unwrap();
    tool.signal(Signal::TERM);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("error: stopped by SIGTERM while building");
    wait_until_gone(&[cargo]);
}
