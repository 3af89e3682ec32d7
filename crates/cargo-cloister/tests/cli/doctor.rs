//! `cargo cloister doctor`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::tool::{Tool, free_port, program};

/// The doctor in a directory of its own, with these variables.
fn doctor(home: &TempDir, variables: &[(&str, &str)]) -> Tool {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLOISTER")) {
        command.env_remove(name);
    }
    Tool::start(command.current_dir(home.path()).args(["cloister", "doctor"]).envs(variables.iter().copied()))
}

/// Nodes that run, the list of their addresses, and the port of their admin servers.
fn nodes(count: u8, fake: &str) -> (Tool, String, String) {
    let mut nodes = Tool::fake("run", count, fake, &["--env", "CLOISTER__COOKIE=secret"]);
    nodes.wait_for_nodes(count);
    let seeds = nodes.wait_for("node-1   | seeds ").rsplit(' ').next().unwrap().to_owned();
    let admin = nodes.lines()[1].rsplit(':').next().unwrap().to_owned();
    (nodes, seeds, admin)
}

#[test]
fn a_node_beside_running_ones_is_fine() {
    let (_nodes, seeds, admin) = nodes(2, "");
    let home = tempfile::tempdir().unwrap();
    let port = seeds.rsplit(':').next().unwrap();
    let listed = format!("{seeds},127.0.0.3:{port}");
    fs::write(home.path().join("cloister.toml"), "name = \"app\"\nhost = \"127.0.0.3\"\n").unwrap();
    let admin = format!("127.0.0.3:{admin}");
    let mut tool = doctor(
        &home,
        &[("CLOISTER__SEEDS", &listed), ("CLOISTER__ADMIN__LISTEN", &admin), ("CLOISTER__COOKIE", "secret")],
    );
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("ok    configuration  application app, from cloister.toml here and the environment");
    tool.wait_for(&format!("ok    own address    127.0.0.3:{port}, which is in the list"));
    tool.wait_for(&format!("ok    port           127.0.0.3:{port} is free"));
    tool.wait_for(&format!("ok    peer           127.0.0.2:{port} accepts connections"));
    tool.wait_for("ok    settings       app@127.0.0.1");
    tool.wait_for("ok    cookie         there is one");
    tool.wait_for(&format!("ok    handshake      127.0.0.2:{port} would link with a node that starts here"));
    tool.wait_for("ok    majority       2 of 3 needed, 3 there with a node here");
    tool.wait_for("0 problems");
    assert!(!tool.text().contains("secret"), "{}", tool.text());
}

#[test]
fn the_name_of_the_package_here_is_that_of_the_application() {
    let (_nodes, seeds, admin) = nodes(2, "1:late");
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("Cargo.toml"), "[package]\nname = \"shop\"\n").unwrap();
    let admin = format!("127.0.0.3:{admin}");
    let variables =
        [("CLOISTER__SEEDS", &*seeds), ("CLOISTER__HOST", "127.0.0.3"), ("CLOISTER__ADMIN__LISTEN", &*admin)];
    let mut tool = doctor(&home, &variables);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("its name is \"app\", the name of this node is \"shop\": set `name` on all nodes");
    tool.wait_for("which is not in the list: right for a node that is added");
    tool.wait_for("FAIL  clock          that of app@127.0.0.1");
    tool.wait_for("s behind of this machine's: synchronise both by NTP");
    tool.wait_for("warn  cookie         neither `cookie` nor `tls`");
}

#[test]
fn a_node_without_its_majority_is_a_problem_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let seeds: Vec<_> = (1..=3).map(|n| format!("127.0.0.{n}:{port}")).collect();
    let seeds = seeds.join(",");
    let variables =
        [("CLOISTER__SEEDS", &*seeds), ("CLOISTER__HOST", "127.0.0.1"), ("CLOISTER__NAME", "app")];
    let mut tool = doctor(&home, &variables);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for(&format!("warn  peer           127.0.0.2:{port} refuses: no process listens there"));
    tool.wait_for("FAIL  majority       2 needed, 1 there with a node here, 3 known: start 1 more");
    tool.wait_for("warn  admin.listen   not set");
    tool.wait_for("1 problem, ");
}

#[test]
fn a_peer_that_is_silent_is_a_problem_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    // The one place in the queue of its listener is taken: what else comes is dropped, as by a firewall.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.0.0.2:{port}").parse().unwrap()).unwrap();
    let silent = socket.listen(0).unwrap();
    let _filler = TcpStream::connect(silent.local_addr().unwrap()).unwrap();
    let seeds = format!("127.0.0.1:{port},127.0.0.2:{port}");
    let variables =
        [("CLOISTER__SEEDS", &*seeds), ("CLOISTER__HOST", "127.0.0.1"), ("CLOISTER__NAME", "app")];
    let mut tool = doctor(&home, &variables);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for(&format!(
        "FAIL  peer           127.0.0.2:{port} is silent for 3 s: is the machine there, and does a firewall let port {port} \
         through both ways?"
    ));
}

#[test]
fn a_port_that_is_taken_is_a_problem() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let seeds = format!("127.0.0.1:{port}");
    let variables =
        [("CLOISTER__SEEDS", &*seeds), ("CLOISTER__HOST", "127.0.0.1"), ("CLOISTER__NAME", "app")];
    let mut tool = doctor(&home, &variables);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for(&format!("FAIL  port           127.0.0.1:{port} is taken by another program"));
}

/// Below this number, a port needs a privilege.
fn first_free_for_all() -> u16 {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1_024)
}

#[test]
fn a_port_that_is_forbidden_is_a_problem_with_a_remedy() {
    let port = 4;
    if first_free_for_all() <= port {
        println!("skipped: every process may listen at port {port} here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // Also root is refused without its privileges.
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(program());
            command
        }
        false => Command::new(program()),
    };
    let port = port.to_string();
    let variables = [("CLOISTER__HOST", "127.0.0.1"), ("CLOISTER__NAME", "app"), ("CLOISTER__PORT", &*port)];
    let mut tool = Tool::start(command.current_dir(home.path()).args(["cloister", "doctor"]).envs(variables));
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    let line = tool.wait_for("FAIL  port           127.0.0.1:4 cannot be listened on, the system forbids it");
    assert!(line.contains("set a `port` from 1024 on"), "{line}");
}

#[test]
fn few_descriptors_are_a_problem_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    for (limit, line) in [
        (100, "FAIL  descriptors    100 at most: raise it"),
        (1_000, "warn  descriptors    1000 at most: raise it"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" cloister doctor")]).arg(program());
        let tool = Tool::start(command.current_dir(home.path()));
        tool.wait_for(line);
    }
}

#[test]
fn every_mistake_in_the_configuration_is_a_problem() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("cloister.toml"), "prot = 1\nconsensus = 0\ntls.cert = \"none.pem\"\n")
        .unwrap();
    let mut tool = doctor(&home, &[]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    tool.wait_for("FAIL  configuration  cloister.toml:1:1: prot");
    tool.wait_for("consensus = 0: this node counts too");
    tool.wait_for("mutual TLS needs `tls.cert`, `tls.key` and `tls.ca`");
    tool.wait_for("skip  the rest       it depends on the configuration");
}

#[test]
fn a_name_that_does_not_exist_is_a_problem() {
    let home = tempfile::tempdir().unwrap();
    let mut tool =
        doctor(&home, &[("CLOISTER__SEEDS", "system:no-such-host.invalid"), ("CLOISTER__NAME", "app")]);
    assert_eq!(tool.exit_code(), 1, "{}", tool.text());
    assert!(tool.count("FAIL  seeds ") == 1 && tool.count("FAIL  own address ") == 1, "{}", tool.text());
}

#[test]
fn without_any_configuration_all_is_fine() {
    let home = tempfile::tempdir().unwrap();
    let mut tool = doctor(&home, &[]);
    assert_eq!(tool.exit_code(), 0, "{}", tool.text());
    tool.wait_for("ok    seeds          none: a node of its own");
    tool.wait_for("warn  configuration  the application has no name, from the environment: there is no cloister.toml here");
    // The name of this tool is that of no application.
    assert!(!tool.text().contains("cargo-cloister"), "{}", tool.text());
}
