//! Entities whose states are in SQLite, on three nodes, each a process of its own on this host: this test program, started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::time::Duration;

use cloister::{Cloister, Config, ManagerArguments};
use cloister_entity::{Context, DefineEntities, Entities, Entity, EntityError, EntityOptions, HandlerError};
use cloister_sqlite::SqliteStore;
use cloister_testkit::obedient::{self, ObedientNode as Node, PATIENCE, Role, ports};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

/// What is added, and how long that takes, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Add(u64, u64);

impl Entity for Counter {
    const NAME: &'static str = "counter";
    type Message = Add;
    type Reply = u64;

    async fn handle(&mut self, _: &mut Context<'_, Self>, Add(more, ms): Add) -> Result<u64, HandlerError> {
        if ms > 0 {
            println!("begins");
            // A handler that blocks is not stopped when the lease of its node ends: only the store can refuse what it does.
            std::thread::sleep(Duration::from_millis(ms));
        }
        self.count += more;
        Ok(self.count)
    }
}

/// Not a test when run as one: a node of the tests below, with the file of its store.
#[test]
fn a_node_of_these_tests() {
    obedient::run(4, node);
}

async fn node(role: Role) {
    let config = Config::new("stored").seeds(role.seeds()).port(role.port).consensus(2);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let options = EntityOptions::default().store(SqliteStore::open(&role.words[0]).unwrap());
    let counters = arguments.entities::<Counter>(options).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let leaving = cloister.clone();
    obedient::obey(move |command| {
        let (counters, leaving) = (counters.clone(), leaving.clone());
        async move { obey(&leaving, &counters, &command).await }
    });
    cloister.wait_stopped().await;
}

async fn obey(cloister: &Cloister, counters: &Entities<Counter>, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let number = || words[2].parse::<u64>().unwrap();
    let shown = |result: Result<u64, EntityError>| match result {
        Ok(count) => count.to_string(),
        Err(error) if error.may_be_done() => format!("uncertain {error}"),
        Err(error) => format!("error {error}"),
    };
    match words[0] {
        "get" => shown(counters.call(words[1], Add(0, 0)).await),
        "slow" => shown(counters.call(words[1], Add(1_000, number())).await),
        "owner" => counters.owner(words[1]).map_or("none".to_owned(), |owner| owner.name().to_string()),
        // Adds one so often; how many were acknowledged, and how many may have been done.
        "count" => {
            let (mut done, mut uncertain) = (0, 0);
            for _ in 0..number() {
                match counters.call(words[1], Add(1, 0)).await {
                    Ok(_) => done += 1,
                    Err(error) => uncertain += u64::from(error.may_be_done()),
                }
            }
            format!("{done} {uncertain}")
        }
        "leave" => {
            cloister.leave().await;
            "left".to_owned()
        }
        other => panic!("no such command: {other}"),
    }
}

#[test]
fn an_owner_that_stood_still_saves_nothing_over_what_the_next_one_saved() {
    let directory = std::env::temp_dir().join(format!("cloister-sqlite-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("entities.db").display().to_string();
    let ports = ports(3);
    let start = |port: u16| Node::start("a_node_of_these_tests", &file, port, &ports);
    let mut nodes: Vec<Node> = ports.iter().map(|port| start(*port)).collect();
    nodes.iter().for_each(|node| node.wait_for("up"));
    assert_eq!(nodes[0].ask("count key 10"), "10 0");
    // The owner is stopped in the middle of a handler, for longer than its lease, and goes on to its end.
    let owner = nodes[0].ask("owner key");
    let at = ports.iter().position(|port| owner.ends_with(&format!(":{port}"))).unwrap();
    let (other, third) = ((at + 1) % 3, (at + 2) % 3);
    let slow = nodes[other].begin("slow key 1500");
    nodes[at].wait_for("begins");
    nodes[at].process.signal("STOP");
    let counted = nodes[third].ask("count key 20");
    nodes[at].process.signal("CONT");
    let slow = nodes[other].answer(slow);
    println!("{counted} of 20 while the owner stood still; the slow one: {slow}");
    let numbers: Vec<u64> = counted.split(' ').map(|number| number.parse().unwrap()).collect();
    let (done, uncertain) = (numbers[0], numbers[1]);
    assert!(done >= 10, "{counted}");
    // The slow handler ran to its end on the node that stood still, after others had saved: nothing of it is there, unless its sender has
    // sent it again.
    nodes[at].ask_until("get other", "0");
    let count: u64 = nodes[third].ask("get key").parse().unwrap();
    let slow_times = count / 1_000;
    let rest = count % 1_000;
    assert!((10 + done..=10 + done + uncertain).contains(&rest), "{count} after {counted}");
    assert!(slow_times <= 1 && (slow_times == 1 || !slow.starts_with(char::is_numeric)), "{count}; {slow}");

    // All stop, and the states are there when they start again.
    for node in &mut nodes {
        node.begin("leave");
    }
    for node in &mut nodes {
        assert!(node.process.ended_within(PATIENCE).is_some(), "{:#?}", node.process.errors().lines());
    }
    let mut nodes: Vec<Node> = ports.iter().map(|port| start(*port)).collect();
    nodes.iter().for_each(|node| node.wait_for("up"));
    assert_eq!(nodes[1].ask("get key"), count.to_string());
    drop(nodes);
    std::fs::remove_dir_all(directory).unwrap();
}
