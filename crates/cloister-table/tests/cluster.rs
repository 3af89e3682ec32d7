//! A table on a few nodes, each a process of its own on this host: this test program, started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloister::{Config, ManagerArguments};
use cloister_table::{DefineTable, Table, TableError, TableEvent, TableOptions};
use cloister_testkit::process::{Process, without_configuration};

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One cluster at a time: each is three or four processes that are compiled without optimisation.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Set in a process that is a node: the copies of its table, its port, and all ports.
const ROLE: &str = "NODE_OF_A_TABLE";

type Numbers = Table<String, u64>;

/// Not a test when run as one: a node of the tests below. It obeys the lines of its input, and answers each with a line.
#[test]
fn a_node_of_these_tests() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let numbers: Vec<u16> = role.split(' ').map(|number| number.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!();
    runtime.block_on(node(numbers[0].into(), numbers[1], &numbers[2..]));
}

async fn node(copies: usize, port: u16, ports: &[u16]) {
    tracing_subscriber::fmt()
        .with_env_filter("warn,cloister=info,ractor=error")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let seeds = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let config = Config::new("tables").seeds(seeds).port(port).consensus(2);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let options = TableOptions::default().copies(copies).max_value_bytes(1_000);
    let add = |count: Option<u64>, by: u64| (Some(count.unwrap_or(0) + by), count);
    let table = arguments.table::<String, u64>("numbers", options.clone().function("add", add)).unwrap();
    let texts = arguments.table::<String, String>("texts", options).unwrap();
    let mut events = table.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let TableEvent::Lost { slots, .. } = event {
                println!("lost {}", slots.len());
            }
        }
    });
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel::<String>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let leaving = cloister.clone();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let (id, command) = command.split_once(' ').unwrap();
            let (id, command) = (id.to_owned(), command.to_owned());
            if command == "leave" {
                leaving.leave().await;
                continue;
            }
            let (table, texts) = (table.clone(), texts.clone());
            tokio::spawn(async move {
                let answer = obey(&table, &texts, &command).await;
                println!("{id} {answer}");
            });
        }
    });
    cloister.wait_stopped().await;
}

async fn obey(table: &Numbers, texts: &Table<String, String>, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let key = words.get(1).copied().unwrap_or_default().to_owned();
    let number = || words[2].parse::<u64>().unwrap();
    fn shown<T: std::fmt::Debug>(result: Result<T, TableError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error {error:?}"),
        }
    }
    match words[0] {
        "insert" => shown(table.insert(&key, &number()).await),
        "get" => shown(table.get(&key).await),
        "remove" => shown(table.remove(&key).await),
        "swap" => shown(table.compare_and_swap(&key, Some(&number()), Some(&(number() + 1))).await),
        "add" => shown(table.update::<_, Option<u64>>(&key, "add", &number()).await),
        "unknown" => shown(table.update::<_, u64>(&key, "multiply", &number()).await),
        "len" => shown(table.len().await),
        "local" => table.local_iter().count().to_string(),
        // How many slots they are in.
        "slots" => {
            let slots = table.local_iter().map(|(key, _)| table.slot(&key).unwrap());
            slots.collect::<std::collections::BTreeSet<_>>().len().to_string()
        }
        "long" => shown(texts.insert(&key, &"x".repeat(2_000)).await),
        "key" => shown(texts.insert(&"k".repeat(2_000), &key).await),
        // How many keys of so many it finds with their own numbers.
        "all" => {
            let mut found = 0;
            for n in 0..number() {
                found += u64::from(table.get(&format!("{key}{n}")).await == Ok(Some(n)));
            }
            found.to_string()
        }
        // As many keys, each with its own number; how many were acknowledged.
        "fill" => {
            let mut done = 0;
            for n in 0..number() {
                done += u64::from(table.insert(&format!("{key}{n}"), &n).await.is_ok());
            }
            done.to_string()
        }
        // Adds one so often; how many were acknowledged, and the longest one, and the first error.
        "count" => {
            let (mut done, mut longest, mut error) = (0, Duration::ZERO, String::new());
            for _ in 0..number() {
                let began = Instant::now();
                match table.update::<_, Option<u64>>(&key, "add", &1_u64).await {
                    Ok(_) => done += 1,
                    Err(failed) => error = failed.to_string(),
                }
                longest = longest.max(began.elapsed());
            }
            format!("{done} longest {} ms {error}", longest.as_millis())
        }
        other => panic!("no such command: {other}"),
    }
}

/// A node of a test.
struct Node {
    process: Process,
    asked: usize,
}

/// As many unused ports of this host.
fn ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Node {
    fn start(copies: usize, port: u16, ports: &[u16]) -> Self {
        let role: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_node_of_these_tests", "--nocapture"]);
        without_configuration(&mut command).env(ROLE, format!("{copies} {port} {}", role.join(" ")));
        command.stdin(std::process::Stdio::piped());
        Self { process: Process::start(&mut command, |line| line), asked: 0 }
    }

    #[track_caller]
    fn wait_for(&self, line: &str) {
        let find = |lines: &[String]| lines.iter().any(|its| its == line).then_some(());
        let errors = || self.process.errors().lines();
        self.process.output().find(find).unwrap_or_else(|| panic!("no {line:?}, but {:#?}", errors()));
    }

    /// Begins a command; its number.
    fn begin(&mut self, command: &str) -> usize {
        self.asked += 1;
        self.process.write_line(&format!("#{} {command}", self.asked));
        self.asked
    }

    #[track_caller]
    fn answer(&self, number: usize) -> String {
        let mark = format!("#{number} ");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.process.output().lines();
            if let Some(answer) = lines.iter().find_map(|line| line.strip_prefix(&mark)) {
                return answer.to_owned();
            }
            let errors = || self.process.errors().lines();
            assert!(Instant::now() < deadline, "no answer to {number}: {lines:#?} {:#?}", errors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        let number = self.begin(command);
        self.answer(number)
    }

    /// Asks until the answer is this.
    #[track_caller]
    fn ask_until(&mut self, command: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(command);
            if answer == wanted {
                return;
            }
            let errors = || self.process.errors().lines();
            assert!(Instant::now() < deadline, "{command}: {answer}, not {wanted}; {:#?}", errors());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn losses(&self) -> Vec<String> {
        self.process.output().lines().into_iter().filter(|line| line.starts_with("lost")).collect()
    }
}

/// So many nodes, up together.
fn cluster(copies: usize, count: usize, ports: &[u16]) -> Vec<Node> {
    let mut nodes: Vec<Node> =
        ports.iter().take(count).map(|port| Node::start(copies, *port, ports)).collect();
    for node in &mut nodes {
        node.wait_for("up");
    }
    nodes
}

#[test]
fn what_one_node_writes_the_others_read_and_errors_say_what_is_wrong() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 60"), "60");
    for node in &mut nodes {
        assert_eq!(node.ask("all key 60"), "60");
        assert_eq!(node.ask("get none"), "None");
        assert_eq!(node.ask("len"), "60");
    }
    let local: Vec<usize> = nodes.iter_mut().map(|node| node.ask("local").parse().unwrap()).collect();
    assert!(local.iter().sum::<usize>() == 60 && local.iter().all(|count| *count > 0), "{local:?}");
    assert_eq!(nodes[1].ask("insert key7 8"), "Some(7)");
    assert_eq!(nodes[2].ask("swap key7 7"), "Err(Some(8))");
    assert_eq!(nodes[2].ask("swap key7 8"), "Ok(())");
    assert_eq!(nodes[0].ask("add key7 10"), "Some(9)");
    assert_eq!(nodes[1].ask("remove key7"), "Some(19)");
    assert_eq!(nodes[2].ask("remove key7"), "None");
    assert_eq!(nodes[0].ask("len"), "59");
    for node in &mut nodes {
        let long = node.ask("long key");
        assert!(long.starts_with("error ValueTooLarge") && long.contains("most: 1000"), "{long}");
        assert!(node.ask("key text").starts_with("error KeyTooLarge"), "no limit");
        assert!(node.ask("unknown key1 1").starts_with("error UnknownFunction"), "a function");
    }
}

#[test]
fn every_acknowledged_write_survives_the_kill_of_one_of_three_nodes() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill before 300"), "300");
    // While writes go on at both nodes that stay: one of another key each time, and one that counts.
    let filled = nodes[0].begin("fill during 3000");
    let counts: Vec<usize> = (0..4).map(|n| nodes[1].begin(&format!("count counter{n} 400"))).collect();
    std::thread::sleep(Duration::from_millis(150));
    let mut killed = nodes.remove(2);
    killed.process.kill();
    let done = nodes[0].answer(filled);
    println!("{done} of 3000 acknowledged");
    for (n, count) in counts.into_iter().enumerate() {
        let answer = nodes[1].answer(count);
        println!("counter {n}: {answer}");
        // Each was done once, or told to be uncertain.
        assert!(answer.starts_with("400 "), "{answer}");
        assert_eq!(nodes[0].ask(&format!("get counter{n}")), "Some(400)");
    }
    for node in &mut nodes {
        assert_eq!(node.ask("all before 300"), "300");
        assert_eq!(node.ask("all during 3000"), done);
        assert_eq!(node.losses(), Vec::<String>::new());
    }
    assert_eq!(done, "3000", "an operation fails while a node is killed");
}

#[test]
fn a_node_joins_and_another_leaves_and_nothing_is_lost_without_any_further_copy() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports(4);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 2000"), "2000");
    nodes.push(Node::start(1, ports[3], &ports));
    nodes[3].wait_for("up");
    for node in &mut nodes {
        node.ask_until("len", "2000");
        assert_eq!(node.ask("all key 2000"), "2000");
    }
    let local: usize = nodes[3].ask("local").parse().unwrap();
    assert!(local > 100, "the new node has {local} entries");
    let mut leaver = nodes.remove(0);
    let counted = nodes[0].begin("count counter 300");
    leaver.begin("leave");
    assert!(leaver.process.ended_within(PATIENCE).is_some(), "{:#?}", leaver.process.errors().lines());
    let answer = nodes[0].answer(counted);
    println!("counted while a node left: {answer}");
    assert!(answer.starts_with("300 "), "{answer}");
    for node in &mut nodes {
        node.ask_until("len", "2001");
        assert_eq!(node.ask("all key 2000"), "2000");
    }
    let tell = BTreeMap::from_iter(nodes.iter().chain([&leaver]).map(Node::losses).enumerate());
    assert!(tell.values().all(Vec::is_empty), "{tell:?}");
}

#[test]
fn entries_without_a_copy_are_lost_with_their_node_and_that_is_told() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    let gone: u64 = nodes[2].ask("local").parse().unwrap();
    let slots: usize = nodes[2].ask("slots").parse().unwrap();
    nodes.remove(2).process.kill();
    for node in &mut nodes {
        node.ask_until("len", &(300 - gone).to_string());
    }
    // The table can be written to, and both have told which slots are lost.
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    assert_eq!(nodes[1].ask("len"), "300");
    let told = |node: &Node| -> usize {
        let losses = node.losses();
        losses.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()).sum()
    };
    let deadline = Instant::now() + PATIENCE;
    while nodes.iter().map(told).sum::<usize>() != slots {
        let all: Vec<_> = nodes.iter().map(told).collect();
        assert!(Instant::now() < deadline, "{all:?}, but {slots} slots with entries were lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    let warned = nodes
        .iter()
        .filter(|node| node.process.errors().count("all copies of slots of a table are gone") > 0);
    assert_eq!(warned.count(), 2, "an operator reads it");
}
