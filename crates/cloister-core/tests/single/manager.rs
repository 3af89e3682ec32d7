//! What the manager starts, and what it does when a part of it, or it itself, fails.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use cloister_core::config::Naming;
use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use cloister_core::ractor_cluster::RactorMessage;
use cloister_core::{
    Change, ChildSpec, Config, ExitReason, ManagerActor, ManagerArguments, Obstacle, Status,
};
use cloister_testkit::alone;
use cloister_testkit::wait::{eventually_async, until_async};
use tokio::sync::mpsc;

use crate::log::Log;
use crate::{Ear, Node, PATIENCE, WHILE, arguments, ear, until};

#[tokio::test]
async fn children_run_while_the_node_is_up_and_are_started_again_when_they_fail() {
    alone!();
    let (started, mut starts) = mpsc::unbounded_channel();
    let child = ChildSpec::new("ear", move |_, supervisor| {
        let started = started.clone();
        async move {
            let (heard, _) = mpsc::unbounded_channel();
            let (ear, _) = Actor::spawn_linked(None, Ear, heard, supervisor).await?;
            // The test may be over.
            let _ = started.send(ear.clone());
            Ok(ear.get_cell())
        }
    });
    let node = Node::start(arguments().child(child), async |_| ()).await;
    let first = tokio::time::timeout(PATIENCE, starts.recv()).await.unwrap().unwrap();
    first.kill();
    let second = tokio::time::timeout(PATIENCE, starts.recv()).await.unwrap().unwrap();
    assert_ne!(first.get_id(), second.get_id());
    let cell = second.get_cell();
    node.end().await;
    cell.wait(Some(PATIENCE)).await.expect("a child is stopped before its node has left");
}

#[tokio::test]
async fn a_manager_that_crashes_is_started_again_and_handle_and_listeners_go_on() {
    alone!();
    let arguments = arguments();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments.clone(), async |cloister| cloister.subscribe(&ear)).await;
    until(Status::Up, &mut heard).await;
    let Node { cloister, manager } = node;
    let first = cloister.node();
    manager.kill_and_wait(None).await.unwrap();
    let crashed = until(Status::Down, &mut heard).await;
    assert!(
        crashed
            .iter()
            .flat_map(|c| c.changes.iter())
            .any(|change| matches!(change, Change::NodeDown { node, .. } if *node == first))
    );
    assert!(!cloister.is_mine("any key"));

    let name = Some("cloister".to_owned());
    let (manager, _) = Actor::spawn(name, ManagerActor, arguments).await.unwrap();
    let changes = [crashed, until(Status::Up, &mut heard).await].concat();
    assert!(changes.iter().zip(&changes[1..]).all(|(one, next)| next.seq == one.seq + 1));
    assert_eq!(cloister.state().seq, changes.last().unwrap().seq, "one number for listeners and readers");
    assert_ne!(cloister.node(), first, "an incarnation that forgot its promises is another incarnation");
    assert!(cloister.is_mine("any key"));
    Node { cloister, manager }.end().await;
}

#[tokio::test]
async fn a_crashed_part_begins_a_new_incarnation_under_the_same_manager() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async |cloister| cloister.subscribe(&ear)).await;
    until(Status::Up, &mut heard).await;
    let first = node.cloister.node();
    for part in node.manager.get_children() {
        part.kill();
    }
    until(Status::Down, &mut heard).await;
    until(Status::Up, &mut heard).await;
    assert_ne!(node.cloister.node(), first);
    node.end().await;
}

#[tokio::test]
async fn a_part_that_crashes_before_its_manager_knows_of_it_begins_a_new_incarnation() {
    alone!();
    let node = Node::start(arguments(), async |_| ()).await;
    // The node comes up on a runtime of its own, while the manager is kept from its turn on this one.
    while node.cloister.status() != Status::Up {
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(50));
    }
    let first = node.cloister.node();
    for part in node.manager.get_children() {
        part.kill();
    }
    // Those that run there are dead before the manager looks.
    std::thread::sleep(Duration::from_millis(50));
    eventually_async("its manager hears of it", async || match node.cloister.status() {
        Status::Up if node.cloister.node() != first => Ok(()),
        status => Err(status),
    })
    .await;
    node.end().await;
}

/// Remembers why the manager failed.
struct Supervisor;

#[derive(RactorMessage)]
struct Nothing;

impl Actor for Supervisor {
    type Msg = Nothing;
    type State = mpsc::UnboundedSender<String>;
    type Arguments = mpsc::UnboundedSender<String>;

    async fn pre_start(
        &self,
        _: ActorRef<Nothing>,
        failed: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(failed)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Nothing>,
        event: SupervisionEvent,
        failed: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, cause) = event {
            failed.send(cause.to_string())?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_manager_that_cannot_keep_its_links_fails_with_the_reason() {
    alone!();
    let (log, _logging) = Log::listen();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config::new("alone").seeds([format!("127.0.0.1:{port}")]).port(port);
    let arguments = ManagerArguments::new(config).unwrap();
    let cloister = arguments.handle();
    let (sender, mut failed) = mpsc::unbounded_channel();
    let (supervisor, _) = Actor::spawn(None, Supervisor, sender).await.unwrap();
    let name = Some("cloister".to_owned());
    Actor::spawn_linked(name, ManagerActor, arguments, supervisor.get_cell()).await.unwrap();
    let cause = tokio::time::timeout(PATIENCE, failed.recv()).await.unwrap().unwrap();
    assert_eq!(log.lines(&["this node begins anew"]), 0, "another attempt is of no use");
    assert!(cause.starts_with(&format!("127.0.0.1:{port} is taken")), "{cause}");
    let ExitReason::Listen(error) = cloister.wait_stopped().await else { panic!("{cause}") };
    assert_eq!((error.bind.port(), error.kind, error.to_string()), (port, ErrorKind::AddrInUse, cause));
    let not_up = cloister.wait_until_up(PATIENCE).await.unwrap_err();
    assert!(not_up.to_string().contains("is taken"), "{not_up}");
    supervisor.stop(None);
}

#[tokio::test]
async fn a_node_that_was_up_tries_again_when_its_port_is_taken() {
    alone!();
    let port = cloister_testkit::loopback::free_port(1);
    let config = Config::new("alone").seeds([format!("127.0.0.1:{port}")]).port(port);
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let first = node.cloister.node();
    // Its links end, and the port belongs to another program for a moment.
    let mut taken = None;
    for part in node.manager.get_children() {
        part.kill();
    }
    while taken.is_none() {
        taken = std::net::TcpListener::bind(("127.0.0.1", port)).ok();
        tokio::task::yield_now().await;
    }
    eventually_async("readiness names the port that is taken", async || {
        let missing = in_words(&node.cloister.readiness().await.missing);
        if missing.contains("is taken") { Ok(()) } else { Err(missing) }
    })
    .await;
    drop(taken);
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    assert_ne!(node.cloister.node(), first);
    node.end().await;
}

/// The obstacles in one line.
fn in_words(missing: &[Obstacle]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What `/readyz` says between the moment a node knows its name and the moment it listens.
const STARTING: &str = "this node is starting: it does not listen yet";

#[tokio::test]
async fn a_list_counts_this_node_whether_it_names_it_or_not() {
    alone!();
    let free = || cloister_testkit::loopback::free_port(1);
    let me = free();
    let others: Vec<u16> = (0..3).map(|_| free()).collect();
    let at = |host: &str, port: u16| format!("{host}:{port}");
    let here = |port: &u16| at("127.0.0.1", *port);
    let cases: [(Vec<String>, usize); 6] = [
        // Two that list each other need both.
        (others[..1].iter().map(here).collect(), 2),
        // Four that list the three others.
        (others.iter().map(here).collect(), 3),
        // Lists that name this node, by its address or by another name.
        (vec![here(&me)], 1),
        ([&me, &others[0]].map(here).to_vec(), 2),
        ([&me, &others[0], &others[1]].map(here).to_vec(), 2),
        (vec![at("localhost", me), here(&others[0]), here(&others[1])], 2),
    ];
    for (seeds, consensus) in cases {
        let config = Config::new("alone").seeds(&seeds).port(me);
        let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
        let known = format!("alone@127.0.0.1:{me}");
        until_async(&known, async || node.cloister.node().name().to_string() == known).await;
        assert_eq!(node.cloister.consensus(), consensus, "{seeds:?}");
        if consensus > 1 {
            let missing = eventually_async("the node listens", async || {
                let missing = in_words(&node.cloister.readiness().await.missing);
                if missing == STARTING { Err(missing) } else { Ok(missing) }
            })
            .await;
            assert!(missing.contains(&format!("1 of {consensus} nodes")), "{seeds:?}: {missing}");
        }
        node.end().await;
    }
}

#[tokio::test]
async fn a_node_whose_name_has_an_address_of_each_family_is_up_at_once() {
    alone!();
    // It listens at 127.0.0.1, and `::1` refuses.
    let seed = format!("localhost:{}", cloister_testkit::loopback::free_port(1));
    let node =
        Node::start(ManagerArguments::new(Config::new("alone").seeds([seed])).unwrap(), async |_| ()).await;
    // An address that may be a node elsewhere would count for a minute.
    node.cloister.wait_until_up(Duration::from_secs(30)).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_node_without_seeds_says_once_that_it_is_alone() {
    alone!();
    let (log, _logging) = Log::listen();
    let words = ["INFO", "no seeds are configured: this node runs alone", "`seeds` or CLOISTER__SEEDS"];
    let arguments = arguments();
    let node = Node::start(arguments.clone(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let first = node.cloister.node();
    for part in node.manager.get_children() {
        part.kill();
    }
    until_async("it begins a new incarnation", async || node.cloister.node() != first).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    assert_eq!(log.lines(&words), 1);
    node.end().await;

    // With `naming = none` it was configured: nothing is logged.
    let config = Config::new("alone").naming(Naming::None);
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    assert_eq!(log.lines(&words), 1);
    node.end().await;
}

#[tokio::test]
async fn a_node_that_waits_for_others_says_what_is_missing_and_why() {
    alone!();
    let free = || cloister_testkit::loopback::free_port(1);
    let (mine, other) = (free(), free());
    let seeds = [format!("127.0.0.1:{mine}"), format!("127.0.0.1:{other}")];
    let config = Config::new("alone").seeds(seeds).port(mine).consensus(2);
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    let not_up = node.cloister.wait_until_up(WHILE).await.unwrap_err();
    let deadline = Instant::now() + PATIENCE;
    let mut missing = in_words(&not_up.missing);
    while !missing.contains(&format!("127.0.0.1:{other} is refused")) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        missing = in_words(&node.cloister.readiness().await.missing);
    }
    println!("{not_up}");
    assert!(missing.contains(&format!("127.0.0.1:{other} is refused")), "{missing}");
    assert!(missing.contains("1 of 2"), "{missing}");
    assert_eq!(node.cloister.node().name().to_string(), format!("alone@127.0.0.1:{mine}"));
    assert!(!node.cloister.is_mine("any key"));
    node.end().await;
}
