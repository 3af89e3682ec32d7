//! The actor of a table ends while its node goes on: three nodes, each a process of its own on this host: this test program, started
//! again.

use std::time::Duration;

use cloister::{Config, ManagerArguments};
use cloister_table::{DefineTable, TableEvent, TableOptions};
use cloister_testkit::obedient::{self, ObedientNode as Node, Role, ports, turn};

const KEYS: u64 = 100;

/// Not a test when run as one: a node of the test below.
#[test]
fn a_node_of_these_tests() {
    obedient::run(2, node);
}

async fn node(role: Role) {
    let config = Config::new("ended").seeds(role.seeds()).port(role.port).consensus(2);
    let mut arguments = ManagerArguments::new(config).unwrap();
    let options = TableOptions::default().timeout(Duration::from_secs(30));
    let table = arguments.table::<u64, u64>("numbers", options).unwrap();
    let mut events = table.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let TableEvent::Lost { .. } = event {
                println!("{event:?}");
            }
        }
    });
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    println!("up");
    let handle = cloister.clone();
    obedient::obey(move |command| {
        let (table, cloister) = (table.clone(), handle.clone());
        async move {
            match command.as_str() {
                "fill" => {
                    for key in 0..KEYS {
                        table.insert(&key, &key).await.unwrap();
                    }
                    "done".to_owned()
                }
                "all" => {
                    let mut found = 0;
                    for key in 0..KEYS {
                        found += u64::from(table.get(&key).await == Ok(Some(key)));
                    }
                    found.to_string()
                }
                "incarnation" => cloister.node().incarnation().to_string(),
                "kill" => {
                    // Where `Cloister::register` puts it.
                    let (scope, name) = ("cloister.app".to_owned(), "cloister.table.numbers".to_owned());
                    let actors = ractor::pg::get_scoped_local_members(&scope, &name);
                    actors.iter().for_each(ractor::ActorCell::kill);
                    actors.len().to_string()
                }
                other => panic!("{other}"),
            }
        }
    });
    cloister.wait_stopped().await;
}

#[test]
fn a_node_whose_table_ends_begins_anew_and_gets_its_entries_from_the_others() {
    let _turn = turn();
    let ports = ports(3);
    let start = |port: &u16| Node::start("ended::a_node_of_these_tests", "", *port, &ports);
    let mut nodes: Vec<Node> = ports.iter().map(start).collect();
    nodes.iter().for_each(|node| node.wait_for("up"));
    assert_eq!(nodes[0].ask("fill"), "done");
    for at in 0..2 {
        let before = nodes[at].ask("incarnation");
        assert_eq!(nodes[at].ask("kill"), "1");
        for node in &mut nodes {
            node.ask_until("all", &KEYS.to_string());
        }
        // With the one before it would have an empty table.
        assert_ne!(nodes[at].ask("incarnation"), before, "it goes on without its table");
    }
    for node in &nodes {
        assert_eq!(node.lines_with("Lost"), Vec::<String>::new());
    }
}
