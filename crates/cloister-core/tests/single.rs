//! One node in this process, and everything around its core real. A process can be one node only, so the stories are told
//! one after another.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use cloister_core::ractor_cluster::{RactorClusterMessage, RactorMessage};
use cloister_core::{
    CallFailure, Change, Child, Cloister, Config, Ended, Hold, ManagerActor, ManagerArguments,
    ManagerMessage, RegisterError, StateChange, Status, Timing,
};
use tokio::sync::{Mutex, MutexGuard, mpsc};

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must happen for something not to have happened.
const WHILE: Duration = Duration::from_millis(300);

static ONE_NODE: Mutex<()> = Mutex::const_new(());

/// One node, alone in its process until it is dropped.
struct Node {
    cloister: Cloister,
    manager: ActorRef<ManagerMessage>,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// A node that starts after `before` has had its handle.
    async fn start<F: Future<Output = ()>>(
        arguments: ManagerArguments,
        before: impl FnOnce(Cloister) -> F,
    ) -> Self {
        let turn = ONE_NODE.lock().await;
        let cloister = arguments.handle();
        before(cloister.clone()).await;
        let name = Some("cloister".to_owned());
        let (manager, _) = Actor::spawn(name, ManagerActor, arguments).await.unwrap();
        Self { cloister, manager, _turn: turn }
    }

    async fn up() -> Self {
        let node = Self::start(arguments(), async |_| ()).await;
        node.cloister.wait_until_up(PATIENCE).await.unwrap();
        node
    }

    /// Every story ends with leaving; nothing is left behind for the next.
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
    assert_eq!(cloister.share(), 16_384);
    assert!(cloister.epoch().is_some());
    assert!(cloister.readiness().await.missing.is_empty());
    node.end().await;
}

#[tokio::test]
async fn a_node_that_has_left_claims_nothing_and_says_so() {
    let node = Node::up().await;
    let cloister = node.cloister.clone();
    let stopped = tokio::spawn(cloister.stopped());
    node.end().await;
    assert_eq!(stopped.await.unwrap(), Ended::Left);
    assert!(!cloister.is_sentry());
    assert!(!cloister.is_mine("any key"));
    assert_eq!(cloister.sentry(), None);
    // Leaving twice is leaving once.
    cloister.leave().await;
}

#[tokio::test]
async fn a_listener_hears_the_present_state_and_then_everything_without_a_gap() {
    let (early, mut heard_early) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&early)).await;
    let changes = until(Status::Up, &mut heard_early).await;
    let (late, mut heard_late) = ear().await;
    node.cloister.subscribe(&late);
    let present = until(Status::Up, &mut heard_late).await;
    let last = changes.last().unwrap();
    assert_eq!(present.len(), 1);
    assert_eq!((present[0].seq, present[0].from), (last.seq, Status::Up));
    assert!(present[0].changes.is_empty());

    assert_eq!((changes[0].seq, changes[0].to), (0, Status::Down));
    let me = node.cloister.node();
    node.end().await;
    let changes = [changes, until(Status::Stopped, &mut heard_early).await].concat();
    for (change, next) in changes.iter().zip(&changes[1..]) {
        assert_eq!(next.seq, change.seq + 1);
        assert_eq!(next.from, change.to);
    }
    assert!(changes.iter().all(|change| change.seq == change.state.seq));
    let ups = changes.iter().flat_map(|change| change.changes.iter());
    assert_eq!(ups.filter(|change| **change == Change::NodeUp { node: me.clone() }).count(), 1);
    let gained: usize = changes
        .iter()
        .filter(|change| change.to == Status::Up)
        .map(|change| change.moved[0].gained[0].slots.len())
        .sum();
    assert_eq!(gained, 16_384, "all slots come to the only node");
    let late = until(Status::Stopped, &mut heard_late).await;
    assert_eq!(late[0].seq, present[0].seq + 1);
}

#[tokio::test]
async fn a_new_view_begins_only_when_the_last_clone_of_a_hold_is_dropped() {
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    let hold: Hold = changes.last().unwrap().hold().expect("a round that waits can be held");
    let second = hold.clone();
    drop(hold);
    tokio::time::sleep(WHILE).await;
    assert_eq!(node.cloister.status(), Status::Rehashing);
    assert!(!node.cloister.is_mine("any key"));
    drop(second);
    until(Status::Up, &mut heard).await;
    node.end().await;
}

#[tokio::test]
async fn a_hold_that_is_never_dropped_delays_a_view_by_rehash_timeout_at_most() {
    let timing = Timing { rehash_timeout: WHILE, ..Timing::default() };
    let arguments = ManagerArguments::new(Config::new("alone").timing(timing)).unwrap();
    let (ear, mut heard) = ear().await;
    let began = Instant::now();
    let node = Node::start(arguments, async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    let kept = changes.last().unwrap().hold().expect("a round that waits can be held");
    until(Status::Up, &mut heard).await;
    assert!(began.elapsed() >= WHILE);
    drop(kept);
    node.end().await;
}

#[tokio::test]
async fn a_listener_that_does_not_take_its_hold_in_time_is_not_waited_for() {
    let (ear, mut heard) = ear().await;
    let grace = WHILE;
    let began = Instant::now();
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe_within(&ear, grace)).await;
    // As in a mailbox: it is there, and nobody takes the hold.
    let unread = until(Status::Rehashing, &mut heard).await;
    assert_eq!(until(Status::Up, &mut heard).await.len(), 1);
    assert!(began.elapsed() >= grace, "it had its time");
    assert!(unread.last().unwrap().hold().is_none(), "it is too late");
    node.end().await;
}

#[tokio::test]
async fn a_hold_taken_in_time_outlives_the_time_to_take_it_and_the_message() {
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe_within(&ear, WHILE)).await;
    let mut changes = until(Status::Rehashing, &mut heard).await;
    let change = changes.pop().unwrap();
    let hold = change.hold().expect("a round that waits can be held");
    assert!(change.clone().hold().is_some(), "as often as it likes");
    drop((change, changes));
    tokio::time::sleep(3 * WHILE).await;
    assert_eq!(node.cloister.status(), Status::Rehashing);
    drop(hold);
    until(Status::Up, &mut heard).await;
    node.end().await;
}

#[tokio::test]
async fn an_observer_gets_no_hold_and_delays_nobody() {
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.observe(&ear)).await;
    let changes = until(Status::Up, &mut heard).await;
    assert!(changes.iter().any(|change| change.to == Status::Rehashing));
    assert!(changes.iter().all(|change| change.hold().is_none()));
    node.end().await;
}

#[tokio::test]
async fn a_dead_listener_is_dropped_and_others_hear_on() {
    let (dead, _) = ear().await;
    let (alive, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| {
        cloister.subscribe(&dead);
        cloister.subscribe(&alive);
        dead.stop_and_wait(None, None).await.unwrap();
    })
    .await;
    until(Status::Up, &mut heard).await;
    node.end().await;
}

/// Cannot be told anything.
struct Brittle;

#[derive(RactorMessage)]
struct Never;

impl From<StateChange> for Never {
    fn from(_: StateChange) -> Self {
        panic!("this message cannot be made")
    }
}

impl Actor for Brittle {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_whose_message_panics_takes_nobody_with_it() {
    let (brittle, _) = Actor::spawn(None, Brittle, ()).await.unwrap();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| {
        cloister.subscribe(&brittle);
        cloister.subscribe(&ear);
    })
    .await;
    until(Status::Up, &mut heard).await;
    node.end().await;
}

/// Answers as it is told.
struct Worker;

#[derive(RactorClusterMessage)]
enum WorkerMessage {
    #[rpc]
    Answer(RpcReplyPort<String>),
    #[rpc]
    Delay(RpcReplyPort<String>),
    #[rpc]
    Panic(RpcReplyPort<String>),
    Note(Vec<u8>),
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = mpsc::UnboundedSender<Vec<u8>>;
    type Arguments = mpsc::UnboundedSender<Vec<u8>>;

    async fn pre_start(
        &self,
        _: ActorRef<WorkerMessage>,
        notes: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(notes)
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        notes: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Answer(reply) => reply.send("here".to_owned())?,
            WorkerMessage::Delay(_reply) => std::future::pending().await,
            WorkerMessage::Panic(_reply) => panic!("as it was told"),
            WorkerMessage::Note(note) => notes.send(note)?,
        }
        Ok(())
    }
}

async fn worker() -> (ActorRef<WorkerMessage>, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (notes, noted) = mpsc::unbounded_channel();
    let (worker, _) = Actor::spawn(None, Worker, notes).await.unwrap();
    (worker, noted)
}

#[tokio::test]
async fn a_registered_actor_is_found_by_key_and_by_node_until_it_ends() {
    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let (worker, mut noted) = worker().await;
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    cloister.register("worker", &worker).unwrap();
    cloister.register("worker", &worker).unwrap();
    let located = cloister.locate::<WorkerMessage>("worker", "key").unwrap();
    located.cast(WorkerMessage::Note(b"by key".to_vec())).unwrap();
    assert_eq!(noted.recv().await.unwrap(), b"by key");
    assert!(cloister.on::<WorkerMessage>("worker", &cloister.node()).is_some());
    assert!(cloister.on::<Heard>("worker", &cloister.node()).is_none(), "it takes other messages");

    let (other, _) = self::worker().await;
    assert!(matches!(cloister.register("worker", &other), Err(RegisterError::Taken { .. })));
    let (ear, _) = ear().await;
    assert!(matches!(cloister.register("ear", &ear), Err(RegisterError::NotRemotable { .. })));

    cloister.unregister("worker");
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    cloister.register("worker", &other).unwrap();
    other.stop_and_wait(None, None).await.unwrap();
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    node.end().await;
}

#[tokio::test]
async fn the_owner_of_a_key_is_told_and_asked_and_every_failure_has_its_name() {
    let early = ManagerArguments::new(Config::new("alone")).unwrap().handle();
    let homeless = early.cast("worker", "key", WorkerMessage::Note(vec![]));
    assert_eq!(homeless, Err(CallFailure::NoOwner));

    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let unknown = cloister.call("worker", "key", WorkerMessage::Answer, WHILE).await;
    assert_eq!(unknown, Err(CallFailure::NotRegistered));
    let (worker, mut noted) = worker().await;
    cloister.register("worker", &worker).unwrap();
    cloister.cast("worker", "key", WorkerMessage::Note(b"by key".to_vec())).unwrap();
    assert_eq!(noted.recv().await.unwrap(), b"by key");
    assert!(cloister.call("worker", "key", WorkerMessage::Answer, WHILE).await.is_ok());
    let silent = cloister.call("worker", "key", WorkerMessage::Delay, WHILE).await;
    assert_eq!(silent, Err(CallFailure::TimedOut { limit: WHILE }));
    node.end().await;
}

#[tokio::test]
async fn a_call_to_all_gives_every_member_its_answer_or_its_reason() {
    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let me = cloister.node();
    let limit = WHILE;
    let failure = async |message: fn(RpcReplyPort<String>) -> WorkerMessage| {
        let result = cloister.multicall("worker", message, limit).await;
        assert!(result.ok.is_empty());
        result.failed
    };
    assert_eq!(failure(WorkerMessage::Answer).await, [(me.clone(), CallFailure::NotRegistered)]);

    let (good, mut noted) = worker().await;
    cloister.register("worker", &good).unwrap();
    let result = cloister.multicall("worker", WorkerMessage::Answer, PATIENCE).await;
    assert_eq!(result.ok, [(me.clone(), "here".to_owned())]);
    assert!(result.failed.is_empty());
    let sent = cloister.multicast("worker", WorkerMessageOf(b"to all".to_vec()));
    assert_eq!(sent.failed, [(me.clone(), wrong::<WorkerMessageOf>())]);
    drop(noted.try_recv());

    assert_eq!(failure(WorkerMessage::Panic).await, [(me.clone(), CallFailure::Died)]);
    assert_eq!(failure(WorkerMessage::Answer).await, [(me.clone(), CallFailure::NotRegistered)]);

    let (slow, _) = worker().await;
    cloister.register("worker", &slow).unwrap();
    let began = Instant::now();
    assert_eq!(failure(WorkerMessage::Delay).await, [(me, CallFailure::TimedOut { limit })]);
    assert!(began.elapsed() >= limit);
    slow.kill();
    node.end().await;
}

/// A message of another type than the worker's.
#[derive(Clone)]
struct WorkerMessageOf(Vec<u8>);

impl cloister_core::ractor::BytesConvertable for WorkerMessageOf {
    fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

fn wrong<M>() -> CallFailure {
    CallFailure::WrongMessage { message: std::any::type_name::<M>() }
}

#[tokio::test]
async fn the_states_of_all_members_are_one_question() {
    let node = Node::up().await;
    let states = node.cloister.states(PATIENCE).await;
    assert!(states.failed.is_empty());
    let (who, summary) = &states.ok[0];
    assert_eq!((who, &summary.node), (&node.cloister.node(), &node.cloister.node()));
    assert_eq!(summary.status, Some(Status::Up));
    assert_eq!(summary.epoch, node.cloister.epoch());
    assert_eq!(summary.members, [node.cloister.node()]);
    node.end().await;
}

#[tokio::test]
async fn a_ring_has_the_members_with_all_its_tags() {
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
async fn children_run_while_the_node_is_up_and_are_started_again_when_they_fail() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let child = Child::new("worker", move |_, supervisor| {
        let started = started.clone();
        async move {
            let (notes, _) = mpsc::unbounded_channel();
            let (worker, _) = Actor::spawn_linked(None, Worker, notes, supervisor).await?;
            // The test may be over.
            let _ = started.send(worker.clone());
            Ok(worker.get_cell())
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
    let arguments = arguments();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments.clone(), async |cloister| cloister.subscribe(&ear)).await;
    until(Status::Up, &mut heard).await;
    let Node { cloister, manager, _turn } = node;
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
    assert_ne!(cloister.node(), first, "a life that forgot its promises is another life");
    assert!(cloister.is_mine("any key"));
    Node { cloister, manager, _turn }.end().await;
}

#[tokio::test]
async fn a_crashed_part_begins_a_new_life_under_the_same_manager() {
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
    let turn = ONE_NODE.lock().await;
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
    assert!(cause.contains(&format!("127.0.0.1:{port} is taken")), "{cause}");
    assert!(matches!(cloister.stopped().await, Ended::Failed(_)));
    let not_up = cloister.wait_until_up(PATIENCE).await.unwrap_err();
    assert!(not_up.to_string().contains("is taken"), "{not_up}");
    supervisor.stop(None);
    drop(turn);
}

#[tokio::test]
async fn a_node_that_waits_for_others_says_who_is_missing_and_why() {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mine, other) = (free(), free());
    let seeds = [format!("127.0.0.1:{mine}"), format!("127.0.0.1:{other}")];
    let config = Config::new("alone").seeds(seeds).port(mine).consensus(2);
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    let not_up = node.cloister.wait_until_up(WHILE).await.unwrap_err();
    let deadline = Instant::now() + PATIENCE;
    let mut missing = not_up.missing.join("; ");
    while !missing.contains(&format!("127.0.0.1:{other} is refused")) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        missing = node.cloister.readiness().await.missing.join("; ");
    }
    println!("{not_up}");
    assert!(missing.contains(&format!("127.0.0.1:{other} is refused")), "{missing}");
    assert!(missing.contains("1 of 2"), "{missing}");
    assert_eq!(node.cloister.node().name().to_string(), format!("alone@127.0.0.1:{mine}"));
    assert!(!node.cloister.is_mine("any key"));
    node.end().await;
}

#[tokio::test]
async fn handles_are_cheap_and_live_in_any_thread() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let node = Node::up().await;
    shared(&node.cloister);
    let cloister = Arc::new(node.cloister.clone());
    let asked = tokio::task::spawn_blocking(move || cloister.is_mine("any key"));
    assert!(asked.await.unwrap());
    node.end().await;
}
