//! A node as its operator meets it: by HTTP and by signals.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloister::ractor::Actor;
use cloister::{Cloister, Config, ManagerActor, ManagerArguments, admin};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Any free port of this host.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Asks for a page; answers with the status and the body.
async fn get(server: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = request(server, path).await;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn request(server: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn json(server: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(server, path).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn before_it_runs(server: SocketAddr) {
    assert_eq!(get(server, "/livez").await, (200, "ok\n".to_owned()));
    let (status, ready) = json(server, "/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (503, Some("down")));
    let (status, whois) = json(server, "/whois/apple").await;
    assert_eq!((status, &whois["owner"], &whois["epoch"]), (503, &Value::Null, &Value::Null));
}

async fn while_it_is_up(server: SocketAddr, cloister: &Cloister) {
    let (status, ready) = json(server, "/readyz").await;
    assert_eq!((status, ready.to_string()), (200, r#"{"missing":[],"status":"up"}"#.to_owned()));

    let (status, members) = json(server, "/members").await;
    assert_eq!(status, 200);
    let expected = [
        "consensus",
        "epoch",
        "incarnation",
        "is_sentry",
        "members",
        "node",
        "peers",
        "ring",
        "sentry",
        "seq",
        "status",
    ];
    assert_eq!(keys(&members), expected);
    assert_eq!(members["node"], "shop@nohost");
    assert_eq!(members["status"], "up");
    assert_eq!(members["epoch"], cloister.epoch().unwrap().to_string(), "a string: it exceeds 2^53");
    assert_eq!(members["sentry"], "shop@nohost");
    assert_eq!(members["is_sentry"], true);
    assert_eq!(keys(&members["members"][0]), ["incarnation", "live", "name", "started_at", "tags"]);
    assert_eq!(members["members"][0]["live"], true);
    assert_eq!(keys(&members["peers"][0]), ["address", "last_error", "last_heard_ms", "name", "state"]);
    assert_eq!(members["peers"][0]["state"], "self");
    assert_eq!(members["ring"].to_string(), r#"{"mine":16384,"slots":16384}"#);

    let (status, whois) = json(server, "/whois/a%2Fkey/with%20signs").await;
    assert_eq!(status, 200);
    assert_eq!(keys(&whois), ["epoch", "is_mine", "key", "owner", "slot"]);
    assert_eq!(whois["key"], "a/key/with signs");
    assert_eq!(whois["slot"], cloister.slot("a/key/with signs").number());
    assert_eq!((&whois["owner"], &whois["is_mine"]), (&Value::from("shop@nohost"), &Value::from(true)));

    let (_, metrics) = get(server, "/metrics").await;
    assert!(metrics.contains("\ncloister_up 1\n"), "{metrics}");
    assert_eq!(get(server, "/nothing").await.0, 404);
    assert_eq!(get(server, "/whois/%ff").await.0, 400, "a key that is no text");
}

/// The next event of a stream.
async fn event(stream: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await.unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[tokio::test]
async fn the_pages_say_what_the_node_sees() {
    let arguments = ManagerArguments::new(Config::new("shop")).unwrap();
    let cloister = arguments.handle();
    let server = admin::serve(&cloister, ANYWHERE).await.unwrap();
    before_it_runs(server).await;
    let mut events = BufReader::new(request(server, "/events").await);
    let present = event(&mut events).await;
    assert_eq!((present["seq"].as_u64(), present["to"].as_str()), (Some(0), Some("down")));
    assert_eq!(keys(&present), ["at", "changes", "epoch", "from", "sentry", "seq", "to"]);

    Actor::spawn(Some("cloister".to_owned()), ManagerActor, arguments).await.unwrap();
    cloister.wait_until_up(PATIENCE).await.unwrap();
    while_it_is_up(server, &cloister).await;

    cloister.leave().await;
    let mut last = present;
    let mut kinds = Vec::new();
    while last["to"] != "stopped" {
        let next = event(&mut events).await;
        assert_eq!(next["seq"].as_u64(), last["seq"].as_u64().map(|seq| seq + 1));
        assert_eq!(next["from"], last["to"]);
        let changes = next["changes"].as_array().unwrap();
        kinds.extend(changes.iter().map(|change| change["kind"].as_str().unwrap().to_owned()));
        last = next;
    }
    assert_eq!(kinds, ["node_up", "sentry_changed", "sentry_changed"]);
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, events.read_to_string(&mut rest)).await.expect("the stream ends").unwrap();
    // The server ends with its node, and its port is free.
    tokio::net::TcpListener::bind(server).await.unwrap();
}

/// Set in a process that is the node of a test, and says how it behaves.
const ROLE: &str = "NODE_OF_A_TEST";

/// Not a test when run as one: the node of the tests below.
#[tokio::test]
async fn node_of_a_test() {
    let Ok(role) = std::env::var(ROLE) else { return };
    if role == "assembles" {
        return assemble().await;
    }
    let cloister = cloister::start_with(Config::new("shop")).await.unwrap();
    match role.as_str() {
        "waits" => {
            let stopped = cloister.stopped();
            println!("\nup");
            println!("\n{}", stopped.await);
            std::process::exit(7);
        }
        _ => {
            println!("\nup");
            std::future::pending().await
        }
    }
}

/// Waits for another node that never comes, and says so when it is on its way.
async fn assemble() {
    let free = || std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let (me, other, server) = (free(), free(), free());
    let config = Config::new("shop").seeds([me.to_string(), other.to_string()]).port(me.port());
    let starting = tokio::spawn(cloister::start_with(config.consensus(2).admin_listen(server)));
    while TcpStream::connect(server).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("\nup");
    let failed = starting.await.unwrap().unwrap_err();
    panic!("a process that was asked to end goes on: {failed}");
}

/// Starts a node, sends it a signal when it is up, and says how it ended and what it printed.
fn signalled(role: &str, signal: &str) -> (Option<i32>, String) {
    use std::io::{BufRead, Read};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_of_a_test", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "up\n" {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the node ended before it was up");
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

#[test]
fn a_signal_leaves_in_order_and_ends_the_process_with_0() {
    assert_eq!(signalled("goes on", "-TERM").0, Some(0));
    assert_eq!(signalled("goes on", "-INT").0, Some(0));
    assert_eq!(signalled("assembles", "-TERM").0, Some(0), "also while it waits for others");
}

#[test]
fn a_program_that_waits_for_the_end_ends_in_its_own_way() {
    let (status, said) = signalled("waits", "-TERM");
    assert_eq!(status, Some(7));
    assert!(said.contains("this node has left its cluster"), "{said}");
}
