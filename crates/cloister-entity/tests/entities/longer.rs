//! A handler that takes longer than the lease of its node, which stands still. Three nodes, each a process of its own on this host: this
//! test program, started again.

use std::sync::LazyLock;

use cloister::{Config, ManagerArguments};
use cloister_entity::{Context, DefineEntities, Entities, Entity, EntityOptions, HandlerError};
use cloister_testkit::obedient::{self, ObedientNode as Node, PATIENCE, Role, ports, turn, until};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Whether handlers of this node go on.
static OPEN: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
enum CounterMessage {
    Add,
    Get,
}

/// Says when a handler is over, in whatever way.
struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        println!("dropped");
    }
}

impl Entity for Counter {
    const NAME: &'static str = "counter";
    type Message = CounterMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        _: &mut Context<'_, Self>,
        message: CounterMessage,
    ) -> Result<u64, HandlerError> {
        if let CounterMessage::Add = message {
            let _dropped = Dropped;
            println!("begins");
            OPEN.subscribe().wait_for(|open| *open).await?;
            println!("ends");
            self.0 += 1;
        }
        Ok(self.0)
    }
}

/// Not a test when run as one: a node of the test below.
#[test]
fn a_node_of_these_tests() {
    obedient::run(2, node);
}

async fn node(role: Role) {
    let consensus = role.words[0].parse().unwrap();
    let config = Config::new("longer").seeds(role.seeds()).port(role.port).consensus(consensus);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let options = EntityOptions::default().timeout(2 * PATIENCE).handler_timeout(2 * PATIENCE);
    let counters = arguments.entities::<Counter>(options).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let handle = cloister.clone();
    obedient::obey(move |command| {
        let (counters, cloister) = (counters.clone(), handle.clone());
        async move {
            let words: Vec<&str> = command.split(' ').collect();
            let key = words.get(1).copied().unwrap_or("key");
            let call = async |counters: Entities<Counter>, message| {
                counters
                    .call(key, message)
                    .await
                    .map_or_else(|error| error.to_string(), |all| all.to_string())
            };
            match words[0] {
                "add" => call(counters, CounterMessage::Add).await,
                "get" => call(counters, CounterMessage::Get).await,
                "owns" => (counters.owner("key") == Some(cloister.node())).to_string(),
                "claim" => cloister.claim().map_or_else(String::new, |claim| claim.epoch().to_string()),
                "open" => OPEN.send_replace(true).to_string(),
                other => panic!("{other}"),
            }
        }
    });
    cloister.wait_stopped().await;
}

#[test]
fn a_handler_that_outlives_the_lease_of_its_node_is_dropped_and_its_message_is_applied_once() {
    let _turn = turn();
    let ports = ports(3);
    let start = |port: &u16| Node::start("longer::a_node_of_these_tests", "2", *port, &ports);
    let mut nodes: Vec<Node> = ports.iter().map(start).collect();
    nodes.iter().for_each(|node| node.wait_for("up"));
    let owner = nodes.iter_mut().position(|node| node.ask("owns") == "true").unwrap();
    let mut owner = nodes.remove(owner);
    let sent = nodes[0].begin("add");
    owner.wait_for("begins");
    let epoch = owner.ask("claim");
    owner.process.signal("STOP");
    until("another node begins", || nodes.iter().any(|node| !node.lines_with("begins").is_empty()));
    owner.process.signal("CONT");
    until("it acts as before", || owner.ask("claim") != epoch);
    // Whichever node has the key now: the handler that was begun under the old lease must not go on.
    owner.ask("open");
    nodes.iter_mut().for_each(|node| drop(node.ask("open")));
    assert_eq!(nodes[0].answer(sent), "1");
    assert_eq!(nodes[1].ask("get"), "1");
    let ends: usize = nodes.iter().chain([&owner]).map(|node| node.lines_with("ends").len()).sum();
    assert_eq!(ends, 1, "handlers that went on to their end");
}

#[test]
fn a_handler_of_a_node_that_was_alone_is_dropped_when_another_node_joins() {
    let _turn = turn();
    let ports = ports(2);
    let start = |port: &u16, seeds: &[u16]| Node::start("longer::a_node_of_these_tests", "1", *port, seeds);
    let mut first = start(&ports[0], &ports[..1]);
    first.wait_for("up");
    let keys: Vec<String> = (0..8).map(|number| format!("add key{number}")).collect();
    let sent: Vec<usize> = keys.iter().map(|add| first.begin(add)).collect();
    until("a handler of each runs", || first.lines_with("begins").len() == keys.len());
    let mut second = start(&ports[1], &ports);
    second.wait_for("up");
    // Those that began before the view did. Handlers of the new owners run now.
    until("all are dropped", || first.lines_with("dropped").len() == keys.len());
    assert!(first.lines_with("ends").is_empty());
    for node in [&mut first, &mut second] {
        node.ask("open");
    }
    for sent in sent {
        assert_eq!(first.answer(sent), "1");
    }
}
