//! A node as its operator meets it: by HTTP and by signals.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::net::SocketAddr;
use std::time::Duration;

use cloister::admin::{self, json};
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef};
use cloister::{Cloister, Config, ManagerActor, ManagerArguments, Slot, StateChange};
use cloister_testkit::process::{Process, this_test};
use cloister_testkit::wait::until_async;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// A page, and that it is to the byte what its type writes.
async fn typed<T: Serialize + DeserializeOwned>(server: SocketAddr, path: &str) -> T {
    let body = get(server, path).await.1;
    let page: T = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    assert_eq!(serde_json::to_string(&page).unwrap(), body, "{path}");
    page
}

async fn json(server: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = get(server, path).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn before_it_runs(server: SocketAddr, cloister: &Cloister) {
    assert_eq!(get(server, "/livez").await, (200, "ok\n".to_owned()));
    let (status, ready) = json(server, "/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (503, Some("down")));
    let obstacles = serde_json::to_value(cloister.readiness().await.missing).unwrap();
    assert_eq!(ready["missing"], obstacles, "the feature `serde` writes the same");
    typed::<json::Members>(server, "/members").await;
    let (status, whois) = json(server, "/whois/apple").await;
    assert_eq!((status, &whois["owner"], &whois["epoch"]), (503, &Value::Null, &Value::Null));
}

async fn while_it_is_up(server: SocketAddr, cloister: &Cloister) {
    let (status, ready) = json(server, "/readyz").await;
    assert_eq!(
        (status, ready.to_string()),
        (200, r#"{"missing":[],"status":"up","warnings":[]}"#.to_owned())
    );

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
        "rings",
        "sentry",
        "seq",
        "settings",
        "split",
        "status",
        "warnings",
    ];
    assert_eq!(keys(&members), expected);
    assert_eq!(members["node"], "shop@nohost");
    assert_eq!(members["status"], "up");
    assert_eq!(
        (&members["settings"]["timing.lease"], &members["settings"]["rings"]),
        (&"2s".into(), &"none".into())
    );
    assert_eq!(members["epoch"], cloister.epoch().unwrap().to_string(), "a string: it exceeds 2^53");
    assert_eq!(members["sentry"], "shop@nohost");
    assert_eq!(members["is_sentry"], true);
    assert_eq!(keys(&members["members"][0]), ["incarnation", "live", "name", "started_at", "tags"]);
    assert_eq!(members["members"][0]["live"], true);
    assert_eq!(
        keys(&members["peers"][0]),
        ["address", "differs", "last_error", "last_heard_ms", "name", "reaches", "state"]
    );
    assert_eq!(members["peers"][0]["state"], "self");
    let split = r#"{"allows_two":false,"counted":1,"members":1,"policy":"majority","spare":0}"#;
    assert_eq!(
        (members["split"].to_string(), &members["warnings"]),
        (split.to_owned(), &serde_json::json!([]))
    );
    let ring = r#"{"mine":16384,"owners":[{"node":"shop@nohost","slots":16384}],"slots":16384}"#;
    assert_eq!(
        (members["ring"].to_string(), members["rings"].to_string()),
        (ring.to_owned(), "[]".to_owned())
    );

    let typed_members: json::Members = typed(server, "/members").await;
    assert_eq!(typed_members.epoch, cloister.epoch().map(|epoch| epoch.to_string()));
    assert_eq!(typed::<json::Readiness>(server, "/readyz").await.status, "up");
    let state = serde_json::to_value(cloister.peers().await[0].state).unwrap();
    assert_eq!(state, typed_members.peers[0].state, "the feature `serde` writes the same");
    assert!(typed::<json::Whois>(server, "/whois/apple").await.is_mine);

    let (status, whois) = json(server, "/whois/a%2Fkey/with%20signs").await;
    assert_eq!(status, 200);
    assert_eq!(keys(&whois), ["epoch", "is_mine", "key", "owner", "slot"]);
    assert_eq!(whois["key"], "a/key/with signs");
    assert_eq!(whois["slot"], Slot::of(b"a/key/with signs").number());
    assert_eq!((&whois["owner"], &whois["is_mine"]), (&Value::from("shop@nohost"), &Value::from(true)));

    let (_, metrics) = get(server, "/metrics").await;
    for gauge in ["cloister_up 1", "cloister_counted 1", "cloister_spare 0", "cloister_split_risk 0"] {
        assert!(metrics.contains(&format!("\n{gauge}\n")), "{gauge}: {metrics}");
    }
    assert_eq!(get(server, "/nothing").await.0, 404);
    let (status, unknown) = get(server, "/whois/apple?ring=cache").await;
    assert_eq!((status, unknown.contains("\"cache\"")), (404, true), "{unknown}");
    let (status, page) = get(server, "/").await;
    assert_eq!((status, page.starts_with("<!doctype html>")), (200, true));
    assert_eq!(get(server, "/whois/%ff").await.0, 400, "a key that is no text");
}

/// The next event of a stream.
async fn event(stream: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await.unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            let typed: json::Event = serde_json::from_str(data).unwrap();
            assert_eq!(serde_json::to_string(&typed).unwrap(), data.trim_end());
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// Keeps every change, and takes no hold.
struct Keeper;

#[derive(cloister::Message)]
#[message(local)]
struct Kept(StateChange);

impl From<StateChange> for Kept {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Keeper {
    type Msg = Kept;
    type State = Vec<StateChange>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Kept>, (): ()) -> Result<Vec<StateChange>, ActorProcessingErr> {
        Ok(Vec::new())
    }

    async fn handle(
        &self,
        _: ActorRef<Kept>,
        Kept(change): Kept,
        kept: &mut Vec<StateChange>,
    ) -> Result<(), ActorProcessingErr> {
        kept.push(change);
        Ok(())
    }
}

#[tokio::test]
async fn the_pages_say_what_the_node_sees() {
    let arguments = ManagerArguments::new(Config::new("shop")).unwrap();
    let cloister = arguments.handle();
    let server = admin::serve(&cloister, ANYWHERE).await.unwrap();
    let (keeper, _) = Actor::spawn(None, Keeper, ()).await.unwrap();
    cloister.subscribe_with_grace(&keeper, Duration::from_millis(10));
    before_it_runs(server, &cloister).await;
    let mut events = BufReader::new(request(server, "/events").await);
    let present = event(&mut events).await;
    assert_eq!((present["seq"].as_u64(), present["to"].as_str()), (Some(0), Some("down")));
    assert_eq!(keys(&present), ["at", "changes", "epoch", "from", "sentry", "seq", "to"]);

    Actor::spawn(Some("cloister".to_owned()), ManagerActor, arguments).await.unwrap();
    cloister.wait_until_up(PATIENCE).await.unwrap();
    while_it_is_up(server, &cloister).await;
    let metrics = get(server, "/metrics").await.1;
    for (outcome, holds) in [("expired", 1), ("released", 0)] {
        let line = format!("cloister_hold_duration_seconds_count{{outcome=\"{outcome}\"}} {holds}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }

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

/// What the admin server answers to these bytes, until it closes.
async fn says(server: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// The admin server of a node that does not run.
async fn server() -> SocketAddr {
    let cloister = ManagerArguments::new(Config::new("shop")).unwrap().handle();
    admin::serve(&cloister, ANYWHERE).await.unwrap()
}

/// Whether the server has closed a connection by now.
fn is_closed(stream: &TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn requests_that_are_never_finished_hold_64_connections_at_most_and_no_probe_back() {
    let server = server().await;
    let mut unfinished = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a").await.unwrap();
        unfinished.push(stream);
        if number % 50 == 0 {
            assert_eq!(get(server, "/livez").await, (200, "ok\n".to_owned()));
        }
    }
    let began = std::time::Instant::now();
    let open = |unfinished: &[TcpStream]| unfinished.iter().filter(|stream| !is_closed(stream)).count();
    until_async("64 connections at most are open", async || open(&unfinished) <= 64).await;
    assert_eq!(get(server, "/livez").await.0, 200);
    until_async("no unfinished request is kept", async || open(&unfinished) == 0).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_but_not_for_long() {
    let server = server().await;
    let mut stream = BufReader::new(TcpStream::connect(server).await.unwrap());
    for _ in 0..2 {
        stream.get_mut().write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut line = String::new();
        while line != "ok\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "it closed the connection");
        }
    }
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn the_seventeenth_stream_of_events_is_refused_until_another_ends() {
    let server = server().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = BufReader::new(request(server, "/events").await);
        event(&mut stream).await;
        streams.push(stream);
    }
    let (status, text) = get(server, "/events").await;
    assert_eq!(status, 503);
    assert!(text.contains("16 clients"), "{text}");
    // Streams are no idle connections: they survive a crowd.
    for _ in 0..100 {
        drop(TcpStream::connect(server).await.unwrap());
    }
    assert_eq!(get(server, "/livez").await.0, 200);
    assert!(streams.iter().all(|stream| !is_closed(stream.get_ref())));
    streams.pop();
    until_async("the place of a client that went is free", async || get_head(server, "/events").await == 200)
        .await;
    assert!(get(server, "/metrics").await.1.contains("cloister_rejected_total{reason=\"admin_streams\"}"));
}

/// The status of a page that may have no end.
async fn get_head(server: SocketAddr, path: &str) -> u16 {
    let mut stream = BufReader::new(request(server, path).await);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_page_of_the_internet_that_points_its_name_here_reads_nothing() {
    let server = server().await;
    let ask = |host: &str| format!("GET /members HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    for foreign in ["evil.example", "evil.example:8400", "127.0.0.1.evil.example", "a b"] {
        let answer = says(server, &ask(foreign)).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{foreign}: {answer}");
        assert!(answer.contains("admin.hosts") && !answer.contains("incarnation"), "{answer}");
    }
    for own in [
        &server.to_string(),
        "10.0.0.7:8080",
        "[::1]:8400",
        "localhost:8400",
        "app",
        "app.shop.svc.cluster.local",
    ] {
        let answer = says(server, &ask(own)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{own}: {answer}");
    }
    let old = says(server, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "a health check without a host: {old}");
    let absolute = "GET http://evil.example/members HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(says(server, absolute).await.starts_with("HTTP/1.1 421 "));
}

#[tokio::test]
async fn an_admin_port_that_is_taken_is_an_error_before_anything_starts() {
    let taken = std::net::TcpListener::bind(ANYWHERE).unwrap();
    let address = taken.local_addr().unwrap();
    let free = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let seeds = [free.to_string(), "127.0.0.1:9".to_owned()];
    let config = Config::new("shop").seeds(seeds).port(free.port()).admin_listen(address);
    let starting = tokio::spawn(cloister::start_with(config));
    while !starting.is_finished() {
        assert!(TcpStream::connect(free).await.is_err(), "the others could hear of this node");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = starting.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("admin.listen") && error.contains(&address.to_string()), "{error}");
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
        "drains" => {
            cloister.on_drain("for ever", std::future::pending::<()>());
            println!("\nup");
            cloister.wait_draining().await;
            println!("\ndrains");
            std::future::pending().await
        }
        "waits" => {
            let stopped = cloister.wait_stopped();
            println!("\nup");
            println!("\n{}", stopped.await);
            std::process::exit(7);
        }
        "tidies" => {
            let stopped = cloister.wait_stopped();
            println!("\nup");
            stopped.await;
            println!("\nstopped");
            // Until it is told. What acts on signals runs meanwhile.
            let line = || std::io::stdin().read_line(&mut String::new());
            let _ = tokio::task::spawn_blocking(line).await;
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
    until_async("the admin server listens", async || TcpStream::connect(server).await.is_ok()).await;
    println!("\nup");
    let failed = starting.await.unwrap().unwrap_err();
    panic!("a process that was asked to end goes on: {failed}");
}

/// Starts the node of the tests, which has this role.
fn start(role: &str) -> Process {
    Process::start(this_test("node_of_a_test").env(ROLE, role), |line| line)
}

/// Waits until a node prints this.
#[track_caller]
fn wait_for(node: &Process, text: &str) {
    let found = node.output().find(|lines| lines.iter().any(|line| line == text).then_some(()));
    assert!(found.is_some(), "no `{text}` in {:#?}", node.errors().lines());
}

/// Starts a node, sends it a signal when it is up, and says how it ended and what it printed.
fn signalled(role: &str, signal: &str) -> (Option<i32>, String) {
    let mut node = start(role);
    wait_for(&node, "up");
    node.signal(signal);
    node.finish();
    let status = node.ended_within(PATIENCE).expect("it ends when it has closed its output");
    (status.code(), node.output().lines().join("\n"))
}

#[test]
fn a_signal_leaves_in_order_and_ends_the_process_with_0() {
    assert_eq!(signalled("goes on", "TERM").0, Some(0));
    assert_eq!(signalled("goes on", "INT").0, Some(0));
    assert_eq!(signalled("assembles", "TERM").0, Some(0), "also while it waits for others");
}

#[test]
fn a_signal_that_comes_twice_is_one_and_a_later_one_ends_the_process() {
    let mut node = start("drains");
    wait_for(&node, "up");
    node.signal("TERM");
    wait_for(&node, "drains");
    // As `timeout` sends it: to the process, and to its group.
    node.signal("TERM");
    assert!(node.ended_within(Duration::from_millis(1_500)).is_none(), "it drains");
    node.signal("TERM");
    let status = node.ended_within(PATIENCE).expect("it is told again after more than a second");
    assert_eq!(status.code(), Some(143));
}

/// It may take a busy machine longer than a second to leave; then it is another request.
#[test]
fn a_signal_that_comes_twice_is_one_also_if_the_node_has_left_in_between() {
    for _ in 0..10 {
        let mut node = start("tidies");
        wait_for(&node, "up");
        let sent = std::time::Instant::now();
        node.signal("TERM");
        wait_for(&node, "stopped");
        node.signal("TERM");
        let in_time = sent.elapsed() < Duration::from_millis(500);
        if node.ended_within(Duration::from_millis(100)).is_none() {
            node.write_line("end");
        }
        let status = node.ended_within(PATIENCE).expect("it ends by itself");
        if in_time {
            assert_eq!(status.code(), Some(7), "the second signal ended it");
            return;
        }
    }
    panic!("no node left within half a second");
}

#[test]
fn a_program_that_waits_for_the_end_ends_in_its_own_way() {
    let (status, said) = signalled("waits", "TERM");
    assert_eq!(status, Some(7));
    assert!(said.contains("this node has left its cluster"), "{said}");
}
