//! One node in a process, and everything around its core real. A process can be one node only, so each test has a process of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

mod calls;
mod children;
mod drain;
mod listeners;
mod log;
mod manager;
mod messages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef};
use cloister_core::ractor_cluster::RactorMessage;
use cloister_core::{
    Cloister, Config, ExitReason, ManagerActor, ManagerArguments, ManagerMessage, StateChange, Status,
};
use cloister_testkit::alone;
use tokio::sync::mpsc;

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must happen for something not to have happened.
const WHILE: Duration = Duration::from_millis(300);

/// The one node of this process.
struct Node {
    cloister: Cloister,
    manager: ActorRef<ManagerMessage>,
}

impl Node {
    /// A node that starts after `before` has had its handle.
    async fn start<F: Future<Output = ()>>(
        arguments: ManagerArguments,
        before: impl FnOnce(Cloister) -> F,
    ) -> Self {
        let cloister = arguments.handle();
        before(cloister.clone()).await;
        let name = Some("cloister".to_owned());
        let (manager, _) = Actor::spawn(name, ManagerActor, arguments).await.unwrap();
        Self { cloister, manager }
    }

    async fn up() -> Self {
        let node = Self::start(arguments(), async |_| ()).await;
        node.cloister.wait_until_up(PATIENCE).await.unwrap();
        node
    }

    /// Every test ends with leaving.
    async fn end(self) {
        self.cloister.leave().await;
        assert_eq!(self.cloister.status(), Status::Stopped);
    }
}

fn arguments() -> ManagerArguments {
    ManagerArguments::new(Config::new("alone")).unwrap()
}

/// Passes every change on to a test.
struct Ear;

#[derive(RactorMessage)]
struct Heard(StateChange);

impl From<StateChange> for Heard {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Ear {
    type Msg = Heard;
    type State = mpsc::UnboundedSender<StateChange>;
    type Arguments = mpsc::UnboundedSender<StateChange>;

    async fn pre_start(
        &self,
        _: ActorRef<Heard>,
        sender: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(sender)
    }

    async fn handle(
        &self,
        _: ActorRef<Heard>,
        Heard(change): Heard,
        sender: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(sender.send(change)?)
    }
}

/// A listener, and what it hears.
async fn ear() -> (ActorRef<Heard>, mpsc::UnboundedReceiver<StateChange>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (ear, _) = Actor::spawn(None, Ear, sender).await.unwrap();
    (ear, receiver)
}

/// The changes up to the first that has come to `status`. No round waits for any but the last.
async fn until(status: Status, heard: &mut mpsc::UnboundedReceiver<StateChange>) -> Vec<StateChange> {
    let mut changes = Vec::new();
    while changes.last().is_none_or(|change: &StateChange| change.to != status) {
        let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
        let change = next.unwrap_or_else(|_| panic!("{status} after {changes:?}")).unwrap();
        if change.to != status {
            drop(change.hold());
        }
        changes.push(change);
    }
    changes
}

#[tokio::test]
async fn a_node_without_configuration_is_up_at_once_and_owns_everything() {
    alone!();
    let began = Instant::now();
    let node = Node::up().await;
    println!("up after {:?}", began.elapsed());
    let Node { cloister, .. } = &node;
    let me = cloister.node();
    assert_eq!(me.name().to_string(), "alone@nohost");
    assert_eq!(cloister.siblings(), []);
    assert_eq!(cloister.sentry().as_ref(), Some(&me));
    assert!(cloister.is_sentry());
    assert!(cloister.is_mine("any key"));
    assert_eq!(cloister.whois("any key").as_ref(), Some(&me));
    assert_eq!(cloister.owners("any key", 3), [me]);
    assert_eq!(cloister.owned_slots(), 16_384);
    assert!(cloister.epoch().is_some());
    assert!(cloister.readiness().await.missing.is_empty());
    node.end().await;
}

#[tokio::test]
async fn a_node_that_has_left_claims_nothing_and_says_so() {
    alone!();
    let node = Node::up().await;
    let cloister = node.cloister.clone();
    let stopped = tokio::spawn(cloister.wait_stopped());
    node.end().await;
    assert_eq!(stopped.await.unwrap(), ExitReason::Left);
    assert!(!cloister.is_sentry());
    assert!(!cloister.is_mine("any key"));
    assert_eq!(cloister.sentry(), None);
    // Leaving twice is leaving once.
    cloister.leave().await;
}

#[tokio::test]
async fn the_states_of_all_members_are_one_question() {
    alone!();
    let node = Node::up().await;
    let states = node.cloister.member_states(PATIENCE).await;
    assert!(states.failed.is_empty());
    let (member, summary) = &states.ok[0];
    assert_eq!((member, &summary.node), (&node.cloister.node(), &node.cloister.node()));
    assert_eq!(summary.status, Some(Status::Up));
    assert_eq!(summary.epoch, node.cloister.epoch());
    assert_eq!(summary.members, [node.cloister.node()]);
    node.end().await;
}

#[tokio::test]
async fn a_ring_has_the_members_with_all_its_tags() {
    alone!();
    let config =
        Config::new("alone").tags(["cache", "ssd"]).ring("cache", ["cache"]).ring("gpu", ["gpu", "ssd"]);
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let cache = node.cloister.ring("cache").unwrap();
    assert!(cache.is_mine("key"));
    assert_eq!(cache.whois("key"), Some(node.cloister.node()));
    let gpu = node.cloister.ring("gpu").unwrap();
    assert!(!gpu.is_mine("key"));
    assert_eq!(gpu.whois("key"), None);
    assert!(node.cloister.ring("disk").is_none());
    node.end().await;
}

#[tokio::test]
async fn handles_are_cheap_and_live_in_any_thread() {
    alone!();
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let node = Node::up().await;
    shared(&node.cloister);
    let cloister = Arc::new(node.cloister.clone());
    let asked = tokio::task::spawn_blocking(move || cloister.is_mine("any key"));
    assert!(asked.await.unwrap());
    node.end().await;
}
