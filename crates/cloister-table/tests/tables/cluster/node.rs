//! A node of these tests: its tables, and what it does on command.

use std::time::{Duration, Instant};

use cloister::{Cloister, Config, ManagerArguments};
use cloister_table::{DefineTable, OnLoss, Table, TableError, TableEvent, TableOptions, WatchEvent};
use cloister_testkit::obedient::{self, Role};
use tokio::task::JoinSet;

/// How many tasks read at a time.
const READERS: u64 = 16;

type Numbers = Table<String, u64>;

pub(super) async fn node(role: Role) {
    let config = Config::new("tables").seeds(role.seeds()).port(role.port).consensus(2);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let options = TableOptions::default().copies(role.words[0].parse().unwrap()).max_value_bytes(1_000);
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
    let handle = cloister.clone();
    obedient::obey(move |command| {
        let (table, kept, texts, cloister) = (table.clone(), kept.clone(), texts.clone(), handle.clone());
        async move {
            if command == "leave" {
                cloister.leave().await;
                return "left".to_owned();
            }
            if let Some(number) = command.strip_prefix("lost ") {
                return is_told_first(&cloister, &table, number.parse().unwrap()).await.to_string();
            }
            let (table, command) = match command.strip_prefix("kept ") {
                Some(command) => (&kept, command),
                None => (&table, command.as_str()),
            };
            obey(table, &texts, command).await
        }
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
                match table.insert(&format!("{key}{n}"), &n).await {
                    Ok(_) => done += 1,
                    Err(error) => eprintln!("not acknowledged: {error}"),
                }
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
