//! A table on a few nodes, each a process of its own on this host: this test program, started again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloister::{Cloister, Config, ManagerArguments};
use cloister_table::{DefineTable, OnLoss, Table, TableError, TableEvent, TableOptions, WatchEvent};
use cloister_testkit::obedient::{self, ObedientNode as Node, PATIENCE, ports, turn};
use tokio::task::JoinSet;

/// How many tasks read at a time.
const READERS: u64 = 16;

type Numbers = Table<String, u64>;

/// Not a test when run as one: a node of the tests below, with the copies of its table, its port, and all ports.
#[test]
fn a_node_of_these_tests() {
    let Some(role) = obedient::role() else { return };
    let numbers: Vec<u16> = role.iter().map(|number| number.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
    // One whose slots wait for a copy if all of them are gone.
    let waits = TableOptions::default().copies(1).on_loss(OnLoss::Wait).timeout(Duration::from_secs(60));
    let kept = arguments.table::<String, u64>("kept", waits).unwrap();
    print_what_becomes_of(&kept);
    let texts = arguments.table::<String, String>("texts", options).unwrap();
    let mut events = table.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let TableEvent::Lost { slots, .. } = event {
                println!("lost {}", slots.len());
            }
        }
    });
    let mut watch = table.watch_prefix("w");
    let watching = tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Put(key, value) => println!("put {key} {value}"),
                WatchEvent::Removed(key) => println!("removed {key}"),
                _ => {}
            }
        }
        println!("watched to the end");
    });
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let (runtime, leaving) = (tokio::runtime::Handle::current(), cloister.clone());
    obedient::obey(move |mark, command| {
        let (table, kept, texts, leaving) = (table.clone(), kept.clone(), texts.clone(), leaving.clone());
        runtime.spawn(async move {
            if command == "leave" {
                return leaving.leave().await;
            }
            if let Some(number) = command.strip_prefix("lost ") {
                return println!("{mark} {}", is_told_first(&leaving, &table, number.parse().unwrap()).await);
            }
            let (table, command) = match command.strip_prefix("kept ") {
                Some(command) => (&kept, command),
                None => (&table, command.as_str()),
            };
            println!("{mark} {}", obey(table, &texts, command).await);
        });
    });
    cloister.wait_stopped().await;
    // It ends with the node.
    watching.await.unwrap();
}

/// Prints what waits for a copy, what is lost, and what a watch is told.
fn print_what_becomes_of(kept: &Numbers) {
    let (mut events, mut watch) = (kept.events(), kept.watch());
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                TableEvent::WaitsForCopy { slots } => println!("kept waits {}", slots.len()),
                TableEvent::Lost { slots, .. } => println!("kept lost {}", slots.len()),
                _ => {}
            }
        }
    });
    tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Put(key, value) => println!("kept put {key} {value}"),
                WatchEvent::Removed(key) => println!("kept removed {key}"),
                _ => {}
            }
        }
    });
}

/// Reads so many keys until this node serves one that is lost. Returns whether that was told before it was read.
async fn is_told_first(cloister: &Cloister, table: &Numbers, keys: u64) -> bool {
    let mut events = table.events();
    println!("reads");
    loop {
        for key in (0..keys).map(|n| format!("key{n}")) {
            let found = table.get(&key).await;
            if found == Ok(None) && table.owner(&key).unwrap() == Some(cloister.node()) {
                let slot = table.slot(&key).unwrap();
                let mut told = std::iter::from_fn(|| events.try_recv().ok());
                return told
                    .any(|event| matches!(event, TableEvent::Lost { slots, .. } if slots.contains(&slot)));
            }
        }
    }
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
        // As many keys for two seconds.
        "brief" => {
            let mut done = 0;
            for n in 0..number() {
                let inserted = table.insert_for(&format!("{key}{n}"), &n, Duration::from_secs(2)).await;
                done += u64::from(inserted.is_ok());
            }
            done.to_string()
        }
        "get" => shown(table.get(&key).await),
        "remove" => shown(table.remove(&key).await),
        "swap" => shown(table.compare_and_swap(&key, Some(&number()), Some(&(number() + 1))).await),
        "add" => shown(table.update::<_, Option<u64>>(&key, "add", &number()).await),
        "unknown" => shown(table.update::<_, u64>(&key, "multiply", &number()).await),
        "accept" => {
            table.accept_loss();
            "accepted".to_owned()
        }
        // The keys that it owns.
        "keys" => {
            let mut keys: Vec<String> = table.local_iter().map(|(key, _)| key).collect();
            keys.sort();
            keys.join(" ")
        }
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
            let (number, mut readers) = (number(), JoinSet::new());
            for first in 0..READERS {
                let (table, key) = (table.clone(), key.clone());
                readers.spawn(async move {
                    let mut found = 0;
                    for n in (first..number).step_by(READERS as usize) {
                        found += u64::from(table.get(&format!("{key}{n}")).await == Ok(Some(n)));
                    }
                    found
                });
            }
            readers.join_all().await.iter().sum::<u64>().to_string()
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

/// A node, which prints what it has lost.
fn start(copies: usize, port: u16, ports: &[u16]) -> Node {
    let numbers = [copies.to_string(), port.to_string()];
    let role: Vec<String> = numbers.into_iter().chain(ports.iter().map(ToString::to_string)).collect();
    Node::start("cluster::a_node_of_these_tests", &role)
}

fn losses(node: &Node) -> Vec<String> {
    node.lines_with("lost")
}

/// So many nodes, up together.
fn cluster(copies: usize, count: usize, ports: &[u16]) -> Vec<Node> {
    let mut nodes: Vec<Node> = ports.iter().take(count).map(|port| start(copies, *port, ports)).collect();
    for node in &mut nodes {
        node.wait_for("up");
    }
    nodes
}

#[test]
fn what_one_node_writes_the_others_read_and_errors_say_what_is_wrong() {
    let _turn = turn();
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
        assert!(long.starts_with("error ValueTooLarge") && long.contains("max: 1000"), "{long}");
        assert!(node.ask("key text").starts_with("error KeyTooLarge"), "no limit");
        let unknown = node.ask("unknown key1 1");
        assert!(unknown.starts_with("error UnknownFunction") && unknown.contains("node: Some("), "{unknown}");
    }
}

#[test]
fn every_acknowledged_write_survives_the_kill_of_one_of_three_nodes() {
    let _turn = turn();
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
        assert_eq!(losses(node), Vec::<String>::new());
    }
    assert_eq!(done, "3000", "an operation fails while a node is killed");
}

#[test]
fn a_node_joins_and_another_leaves_and_nothing_is_lost_without_any_further_copy() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 2000"), "2000");
    nodes.push(start(1, ports[3], &ports));
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
    let tell = BTreeMap::from_iter(nodes.iter().chain([&leaver]).map(losses).enumerate());
    assert!(tell.values().all(Vec::is_empty), "{tell:?}");
}

#[test]
fn entries_without_a_copy_are_lost_with_their_node_and_that_is_told() {
    let _turn = turn();
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
        let losses = losses(node);
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

#[test]
fn a_loss_is_told_before_a_slot_is_served_without_what_it_had() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 300"), "300");
    let asked: Vec<usize> = nodes[..2].iter_mut().map(|node| node.begin("lost 300")).collect();
    nodes[..2].iter().for_each(|node| node.wait_for("reads"));
    nodes.remove(2).process.kill();
    let answers: Vec<String> = nodes.iter().zip(asked).map(|(node, asked)| node.answer(asked)).collect();
    assert_eq!(answers, ["true", "true"]);
}

#[test]
fn slots_without_a_copy_wait_until_the_loss_is_accepted() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(1, 3, &ports);
    assert_eq!(nodes[0].ask("kept fill key 100"), "100");
    for node in &nodes {
        (0..100).for_each(|n| node.wait_for(&format!("kept put key{n} {n}")));
    }
    let gone: Vec<String> = nodes[2].ask("kept keys").split(' ').map(ToOwned::to_owned).collect();
    assert!(gone.len() > 10, "the node that is killed has {gone:?}");
    let slots: usize = nodes[2].ask("kept slots").parse().unwrap();
    nodes.remove(2).process.kill();
    // They are not served, by none of the two, and that is told. The others are.
    for key in &gone {
        for node in &mut nodes {
            let answer = node.ask(&format!("kept get {key}"));
            assert!(answer.starts_with("error Lost"), "{key}: {answer}");
        }
    }
    let answer = nodes[0].ask(&format!("kept insert {} 7", gone[0]));
    assert!(answer.starts_with("error Lost"), "{answer}");
    let rest = (0..100).map(|n| format!("key{n}")).find(|key| !gone.contains(key)).unwrap();
    assert!(nodes[0].ask(&format!("kept get {rest}")).starts_with("Some("));
    let told = |nodes: &[Node], what: &str| -> usize {
        let lines = nodes.iter().flat_map(|node| node.lines_with(what));
        lines.map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap()).sum()
    };
    let wait_for = |nodes: &[Node], what: &str| {
        let deadline = Instant::now() + PATIENCE;
        while told(nodes, what) != slots {
            assert!(Instant::now() < deadline, "{what}: {} of {slots} slots", told(nodes, what));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(&nodes, "kept waits");
    assert_eq!(told(&nodes, "kept lost"), 0);
    let warned = nodes.iter().filter(|node| node.process.errors().count("and they wait") > 0);
    assert!(warned.count() > 0, "an operator reads it");
    // What nothing knows to be gone is not told to be: a write after it comes on the same way.
    assert!(nodes[0].ask(&format!("kept insert {rest} 1000")).starts_with("Some("));
    for node in &nodes {
        node.wait_for(&format!("kept put {rest} 1000"));
        assert_eq!(node.lines_with("kept removed"), Vec::<String>::new());
    }
    for node in &mut nodes {
        assert_eq!(node.ask("kept accept"), "accepted");
    }
    for key in &gone {
        assert_eq!(nodes[0].ask(&format!("kept get {key}")), "None");
        nodes.iter().for_each(|node| node.wait_for(&format!("kept removed {key}")));
    }
    wait_for(&nodes, "kept lost");
    assert_eq!(nodes[1].ask(&format!("kept insert {} 7", gone[0])), "None");
}

#[test]
fn nodes_that_all_leave_do_not_wait_for_each_other() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill key 100"), "100");
    let began = Instant::now();
    for node in &mut nodes {
        node.begin("leave");
    }
    for node in &mut nodes {
        assert!(node.process.ended_within(PATIENCE).is_some(), "{:#?}", node.process.errors().lines());
    }
    // Each would wait for 15 s, which is `leave_timeout`, for another to take its entries; `docker stop` kills after 10.
    println!("it took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
}

#[test]
fn entries_expire_at_the_next_owner_too() {
    let _turn = turn();
    let ports = ports(3);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill kept 100"), "100");
    assert_eq!(nodes[0].ask("brief gone 300"), "300");
    let here: u64 = nodes[2].ask("local").parse().unwrap();
    assert!(here > 60, "the node that is killed has {here} of 400");
    nodes.remove(2).process.kill();
    // No operation on their keys reminds the new owners of them.
    for node in &mut nodes {
        node.ask_until("len", "100");
        assert_eq!(node.ask("all kept 100"), "100");
        assert_eq!(node.ask("all gone 300"), "0");
    }
}

/// A key, and its value, if it has one then.
type Told = (String, Option<u64>);

/// What a node has been told of what it watches, in order, and what it knows by that.
fn watched(node: &Node) -> (Vec<Told>, BTreeMap<String, u64>) {
    let (mut events, mut known) = (Vec::new(), BTreeMap::new());
    for line in node.process.output().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let key = || words[1].to_owned();
        match words[0] {
            "put" => {
                known.insert(key(), words[2].parse().unwrap());
                events.push((key(), Some(words[2].parse().unwrap())));
            }
            "removed" => {
                known.remove(&key());
                events.push((key(), None));
            }
            _ => {}
        }
    }
    (events, known)
}

#[test]
fn a_watch_is_told_what_there_is_and_every_change_through_views_that_change() {
    let _turn = turn();
    let ports = ports(4);
    let mut nodes = cluster(2, 3, &ports);
    assert_eq!(nodes[0].ask("fill w 200"), "200");
    assert_eq!(nodes[0].ask("fill unwatched 50"), "50");
    // One that is there before, and one that comes later, which is told what there is.
    nodes.push(start(2, ports[3], &ports));
    nodes[3].wait_for("up");
    let agrees = |node: &Node, wanted: &BTreeMap<String, u64>| {
        let deadline = Instant::now() + PATIENCE;
        while watched(node).1 != *wanted {
            assert!(Instant::now() < deadline, "it knows {:#?}, not {wanted:#?}", watched(node).1);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut wanted: BTreeMap<String, u64> = (0..200).map(|n| (format!("w{n}"), n)).collect();
    agrees(&nodes[1], &wanted);
    agrees(&nodes[3], &wanted);
    // While counters count, entries are removed, and a node is killed.
    let counts: Vec<usize> = (0..4).map(|n| nodes[0].begin(&format!("count wcounter{n} 300"))).collect();
    for n in 0..50 {
        assert_eq!(nodes[1].ask(&format!("remove w{n}")), format!("Some({n})"));
        wanted.remove(&format!("w{n}"));
        if n == 25 {
            nodes[2].process.kill();
        }
    }
    for (n, count) in counts.into_iter().enumerate() {
        assert!(nodes[0].answer(count).starts_with("300 "));
        wanted.insert(format!("wcounter{n}"), 300);
    }
    for at in [0, 1, 3] {
        agrees(&nodes[at], &wanted);
        let (events, _) = watched(&nodes[at]);
        assert!(events.iter().all(|(key, _)| !key.starts_with("unwatched")), "another prefix");
        let mut last = BTreeMap::new();
        for (key, value) in events {
            let before = last.insert(key.clone(), value);
            if key.starts_with("wcounter") {
                assert!(before < Some(value), "node {at}: {key} was {before:?}, and is {value:?} then");
            } else {
                assert_ne!(before, Some(value), "node {at}: {key} is told twice");
            }
        }
    }
    nodes[0].begin("leave");
    nodes[0].wait_for("watched to the end");
}
