//! `cargo cloister doctor` beside a real node: what the name server says, and what the nodes' own handshake does.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cloister_testkit::certificates::{Authority, Order, Paths, write};
use cloister_testkit::dns_server::{Behaviour, DnsServer, ResponseCode};
use cloister_testkit::process::{Process, without_configuration};
use tempfile::TempDir;

use crate::tool::{STOP_TIMEOUT, Tool, free_port, program};

const APP: &str = "app";

/// Where the doctor's node would start, beside the real one at 127.0.0.1.
const HERE: &str = "127.0.0.3";

type Variables = Vec<(&'static str, String)>;

/// A node of the application at 127.0.0.1, alone in its cluster, with these variables.
fn node(port: u16, variables: &Variables) -> Process {
    let path = program().with_file_name("examples").join("real_node");
    assert!(path.exists(), "build the fixture first: cargo build -p cargo-cloister --example real_node");
    let mut command = Command::new(path);
    without_configuration(&mut command)
        .envs([("CLOISTER__NAME", APP), ("CLOISTER__HOST", "127.0.0.1"), ("CLOISTER__CONSENSUS", "1")])
        .envs([("CLOISTER__PORT", port.to_string()), ("CLOISTER__SEEDS", format!("127.0.0.1:{port}"))])
        .envs(variables.iter().map(|(name, value)| (*name, value)));
    let node = Process::start(&mut command, |line| line);
    let up = node
        .output()
        .find_within(STOP_TIMEOUT, |lines| lines.iter().any(|line| line.contains("up as")).then_some(()));
    up.unwrap_or_else(|| panic!("it is not up: {:#?} {:#?}", node.output().lines(), node.errors().lines()));
    node
}

/// The doctor at another address, with these seeds and variables, when it has ended.
fn doctor(port: u16, seeds: &str, variables: &Variables) -> (i32, Tool) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program());
    without_configuration(&mut command)
        .current_dir(home.path())
        .args(["cloister", "doctor"])
        .envs([("CLOISTER__NAME", APP), ("CLOISTER__HOST", HERE), ("CLOISTER__SEEDS", seeds)])
        .env("CLOISTER__PORT", port.to_string())
        .envs(variables.iter().map(|(name, value)| (*name, value)));
    let mut tool = Tool::start(&mut command);
    (tool.exit_code(), tool)
}

fn cookie(cookie: &str) -> Variables {
    vec![("CLOISTER__COOKIE", cookie.to_owned())]
}

fn tls(paths: &Paths) -> Variables {
    let shown = |path: &Path| path.display().to_string();
    vec![
        ("CLOISTER__TLS__CERT", shown(&paths.cert)),
        ("CLOISTER__TLS__KEY", shown(&paths.key)),
        ("CLOISTER__TLS__CA", shown(&paths.ca)),
    ]
}

#[test]
fn a_peer_with_another_cookie_or_of_another_application_is_a_problem() {
    let port = free_port();
    let mut node = node(port, &cookie("secret"));
    let seeds = format!("127.0.0.1:{port},{HERE}:{port}");

    let (status, tool) = doctor(port, &seeds, &cookie("secret"));
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for(&format!("ok    handshake      127.0.0.1:{port} would link with a node that starts here"));
    tool.wait_for("ok    majority       2 of 2 needed, 2 there with a node here");

    let (status, tool) = doctor(port, &seeds, &cookie("guessed"));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for(&format!(
        "FAIL  cookie         127.0.0.1:{port} would not link with a node that starts here: it is of the same"
    ));
    tool.wait_for(
        "FAIL  majority       2 needed, 1 there with a node here, 2 known: 1 would not link, see above",
    );
    assert!(!tool.text().contains("guessed"), "{}", tool.text());

    let mut other = cookie("secret");
    other.push(("CLOISTER__NAME", "barn".to_owned()));
    let (status, tool) = doctor(port, &seeds, &other);
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("its name is \"app\", the name of this node is \"barn\": set `name` on all nodes");
    assert!(node.is_running(), "a check is no harm");
}

#[test]
fn the_files_of_tls_are_judged_as_the_peer_does() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let equip = |authority: &Authority, directory: &str, order: &Order| {
        authority.equip(&home.path().join(directory), order)
    };
    let order = || Order { name: APP, ..Order::default() };
    let port = free_port();
    let seeds = format!("127.0.0.1:{port},{HERE}:{port}");
    let _node = node(port, &tls(&equip(&authority, "node", &order())));

    let fits = equip(&authority, "fits", &order());
    let (status, tool) = doctor(port, &seeds, &tls(&fits));
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for("ok    tls            the three files fit together");
    tool.wait_for("ok    handshake      127.0.0.1");

    let soon = equip(&authority, "soon", &Order { ends_soon: true, ..order() });
    let (status, tool) = doctor(port, &seeds, &tls(&soon));
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for("warn  tls            ");
    tool.wait_for("ok    handshake      127.0.0.1");

    let expired = equip(&authority, "expired", &Order { expired: true, ..order() });
    let (status, tool) = doctor(port, &seeds, &tls(&expired));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for(": no new link can be made with it");
    tool.wait_for("would not link with a node that starts here: it refuses this node's certificate");

    let foreign = equip(&Authority::new("other"), "foreign", &order());
    let (status, tool) = doctor(port, &seeds, &tls(&foreign));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("its certificate is signed by an authority that is not in this node's `tls.ca`");

    let pair = authority.sign(&order());
    let mut wrong = authority.sign(&order());
    wrong.cert = pair.cert;
    let wrong = write(&home.path().join("wrong"), &wrong, &[&authority]);
    let (status, tool) = doctor(port, &seeds, &tls(&wrong));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("FAIL  configuration  ");

    let (status, tool) = doctor(port, &seeds, &Variables::new());
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("FAIL  tls            127.0.0.1");
    tool.wait_for("it speaks TLS, and this node does not");
}

#[test]
fn a_peer_without_tls_is_a_problem_for_a_node_with_it() {
    let (home, authority) = (TempDir::new().unwrap(), Authority::new("cluster"));
    let port = free_port();
    let _node = node(port, &Variables::new());
    let paths = authority.equip(home.path(), &Order { name: APP, ..Order::default() });
    let (status, tool) = doctor(port, &format!("127.0.0.1:{port},{HERE}:{port}"), &tls(&paths));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("FAIL  tls            127.0.0.1");
    tool.wait_for("give it the same section `[tls]`");
}

#[test]
fn a_peer_with_other_settings_or_other_rings_is_a_problem() {
    let (port, admin) = (free_port(), free_port());
    let at = |host: &str| ("CLOISTER__ADMIN__LISTEN", format!("{host}:{admin}"));
    let with = |host, more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        [at(host)].into_iter().chain(cookie("secret")).chain(more).collect::<Variables>()
    };
    let ring = ("CLOISTER__RINGS__CACHE__TAGS", "cache");
    let _node = node(port, &with("127.0.0.1", &[ring]));
    let seeds = format!("127.0.0.1:{port},{HERE}:{port}");

    let (status, tool) = doctor(port, &seeds, &with(HERE, &[ring]));
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for("has this application and the same settings; it is up");

    let (status, tool) = doctor(port, &seeds, &with(HERE, &[ring, ("CLOISTER__TIMING__LEASE", "2500ms")]));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("FAIL  settings       ");
    tool.wait_for("`timing.lease` is 2.5s here and 2s there; all nodes should have the same settings");

    let (status, tool) = doctor(port, &seeds, &with(HERE, &[("CLOISTER__RINGS__CACHE__TAGS", "other")]));
    assert_eq!(status, 1, "{}", tool.text());
    tool.wait_for("FAIL  rings          ");
    tool.wait_for("its rings are cache = {\"cache\"}, those here are cache = {\"other\"}");
}

#[test]
fn a_link_that_a_peer_misses_is_shown_with_its_reason() {
    let (port, admin) = (free_port(), free_port());
    let at = |host: &str| ("CLOISTER__ADMIN__LISTEN", format!("{host}:{admin}"));
    let seeds = format!("127.0.0.1:{port},127.0.0.2:{port}");
    // By `majority` it would wait for a minute for the other.
    let split = || ("CLOISTER__SPLIT", "consensus".to_owned());
    let _node = node(port, &vec![at("127.0.0.1"), ("CLOISTER__SEEDS", seeds), split()]);
    let here = format!("127.0.0.1:{port},{HERE}:{port}");
    let missed = format!("warn  links          {APP}@127.0.0.1:{port} has no link with 127.0.0.2:{port}: ");
    // It is up before it has tried the other address.
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        let (_, tool) = doctor(port, &here, &vec![at(HERE), split()]);
        if tool.count(&missed) == 1 {
            return;
        }
        assert!(Instant::now() < deadline, "{missed} is not in {}", tool.text());
    }
}

#[test]
fn a_node_that_runs_here_has_its_ports() {
    let (port, admin) = (free_port(), free_port());
    let mut here = vec![("CLOISTER__ADMIN__LISTEN", format!("127.0.0.1:{admin}"))];
    let _node = node(port, &here);
    here.push(("CLOISTER__HOST", "127.0.0.1".to_owned()));
    let (_, tool) = doctor(port, &format!("127.0.0.1:{port}"), &here);
    let name = format!("{APP}@127.0.0.1:{port}");
    tool.wait_for(&format!("ok    port           127.0.0.1:{port} is in use by {name}, which runs here"));
    tool.wait_for(&format!("ok    admin.listen   127.0.0.1:{admin} is in use by {name}, which runs here"));
}

#[test]
fn each_answer_of_the_name_server_has_a_line_with_its_remedy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(DnsServer::start());
    let port = free_port();
    let _node = node(port, &cookie("secret"));
    let seed = format!("dns:{APP}:{port}@{}", server.address());
    let mut one = cookie("secret");
    one.push(("CLOISTER__CONSENSUS", "1".to_owned()));

    server.set(APP, Behaviour::addresses([[127, 0, 0, 1], [127, 0, 0, 3]]));
    let (status, tool) = doctor(port, &seed, &one);
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for(&format!("127.0.0.1:{port}, 127.0.0.3:{port}"));
    tool.wait_for(&format!("ok    own address    {HERE}:{port}, which the name of the service has"));
    tool.wait_for(&format!("ok    handshake      127.0.0.1:{port}"));

    server.set(APP, Behaviour::addresses([[127, 0, 0, 1]]));
    let (status, tool) = doctor(port, &seed, &one);
    assert_eq!(status, 0, "{}", tool.text());
    tool.wait_for(&format!("warn  own address    {HERE}:{port}, which the name of the service has not"));

    for (behaviour, words) in [
        (Behaviour::Absent, "does not exist in DNS: correct `seeds`, or create the service"),
        (Behaviour::Empty, "exists and has no address: start a node behind it"),
        (Behaviour::Silent, "FAIL  seeds          "),
        (Behaviour::Fails(ResponseCode::ServFail), "FAIL  seeds          "),
    ] {
        server.set(APP, behaviour);
        let (status, tool) = doctor(port, &seed, &one);
        assert_eq!(status, 1, "{}", tool.text());
        tool.wait_for(words);
    }
}
