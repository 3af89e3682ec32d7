//! What a program does before its node leaves, and what may hold its stop.

use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister_core::ractor_cluster::RactorMessage;
use cloister_core::{
    ChildSpec, Cloister, Config, HoldEnd, ManagerActor, ManagerArguments, Obstacle, StateChange, Status,
    Timing,
};
use cloister_testkit::alone;
use tokio::sync::{mpsc, oneshot};

use crate::log::Log;
use crate::{Node, PATIENCE, WHILE, arguments, ear, until};

async fn draining(config: Config) -> Node {
    let node = Node::start(ManagerArguments::new(config).unwrap(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    node
}

#[tokio::test]
async fn a_node_that_drains_is_not_ready_and_keeps_its_keys_until_its_hooks_have_ended() {
    alone!();
    let node = Node::up().await;
    let cloister = node.cloister.clone();
    let (release, released) = oneshot::channel::<()>();
    cloister.on_drain("http", released);
    let was_draining = cloister.is_draining();
    let leaving = tokio::spawn({
        let cloister = cloister.clone();
        async move { cloister.leave().await }
    });
    tokio::time::timeout(PATIENCE, cloister.wait_draining()).await.unwrap();
    tokio::time::sleep(WHILE).await;
    assert_eq!((was_draining, cloister.is_draining(), cloister.status()), (false, true, Status::Up));
    assert!(cloister.is_mine("user:42"));
    let readiness = cloister.readiness().await;
    let missing = &readiness.missing[..];
    assert!(matches!(missing, [Obstacle::Draining { hooks, .. }] if hooks == &["http"]), "{missing:?}");
    assert!(!leaving.is_finished());
    release.send(()).unwrap();
    leaving.await.unwrap();
    assert_eq!(cloister.status(), Status::Stopped);
    node.end().await;
}

#[tokio::test]
async fn a_node_serves_as_before_for_drain_delay_but_is_not_ready() {
    alone!();
    let node = draining(Config::new("alone").drain_delay(2 * WHILE).drain_timeout(PATIENCE)).await;
    let cloister = node.cloister.clone();
    let began = Instant::now();
    let leaving = tokio::spawn({
        let cloister = cloister.clone();
        async move { cloister.leave().await }
    });
    let mut no_new_work = pin!(cloister.wait_draining());
    assert!(tokio::time::timeout(WHILE, &mut no_new_work).await.is_err());
    assert_eq!((cloister.is_draining(), cloister.status()), (true, Status::Up));
    let missing = cloister.readiness().await.missing;
    assert!(matches!(missing[..], [Obstacle::DrainDelay { left }] if left <= WHILE), "{missing:?}");
    // A hook is in time until the hooks begin.
    let (ran, mut runs) = mpsc::unbounded_channel();
    cloister.on_drain("in time", async move { ran.send(()) });
    tokio::time::timeout(PATIENCE, no_new_work).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, runs.recv()).await.unwrap(), Some(()));
    leaving.await.unwrap();
    assert!((2 * WHILE..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    node.end().await;
}

#[tokio::test]
async fn a_hook_is_waited_for_until_drain_timeout_and_one_that_panics_is_told() {
    alone!();
    let (log, _logging) = Log::listen();
    let node = draining(Config::new("alone").drain_timeout(WHILE)).await;
    let dropped = Arc::new(AtomicBool::new(false));
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let guard = Dropped(Arc::clone(&dropped));
    node.cloister.on_drain("never", async move {
        let _guard = guard;
        future::pending::<()>().await;
    });
    node.cloister.on_drain("clumsy", async { panic!("the hook fell") });
    let began = Instant::now();
    node.cloister.leave().await;
    assert!((WHILE..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(dropped.load(Ordering::SeqCst));
    log.expect(&["INFO", "draining before this node leaves", "never", "clumsy"]).await;
    log.expect(&["ERROR", "a drain hook panicked", "clumsy"]).await;
    log.expect(&["WARN", "drain hooks have not ended in time", "never", "drain_timeout"]).await;
    node.end().await;
}

#[tokio::test]
async fn a_hook_that_comes_too_late_does_not_run_and_the_log_says_so() {
    alone!();
    let (log, _logging) = Log::listen();
    let node = Node::up().await;
    node.cloister.leave().await;
    let (ran, mut runs) = mpsc::unbounded_channel();
    node.cloister.on_drain("late", async move { ran.send(()) });
    log.expect(&["WARN", "a drain hook was added after", "late"]).await;
    assert_eq!(runs.recv().await, None);
    tokio::time::timeout(PATIENCE, node.cloister.wait_draining()).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_node_that_begins_again_after_it_has_left_drains_again() {
    alone!();
    let arguments = arguments();
    let node = Node::start(arguments.clone(), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    node.cloister.leave().await;
    Actor::spawn(Some("cloister".to_owned()), ManagerActor, arguments).await.unwrap();
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    assert!(!node.cloister.is_draining() && node.cloister.readiness().await.is_ready);
    let (ran, mut runs) = mpsc::unbounded_channel();
    node.cloister.on_drain("again", async move { ran.send(()) });
    node.cloister.leave().await;
    assert_eq!(runs.recv().await, Some(()));
    node.end().await;
}

/// Says, when it starts and when it is stopped, whether its node claims a key.
struct Last;

#[derive(RactorMessage)]
enum LastMessage {}

impl Actor for Last {
    type Msg = LastMessage;
    type State = (Cloister, mpsc::UnboundedSender<(Status, bool)>);
    type Arguments = Self::State;

    async fn pre_start(
        &self,
        _: ActorRef<LastMessage>,
        (cloister, sender): Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        sender.send((cloister.status(), cloister.is_mine("user:42")))?;
        Ok((cloister, sender))
    }

    async fn post_stop(
        &self,
        _: ActorRef<LastMessage>,
        (cloister, sender): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(sender.send((cloister.status(), cloister.is_mine("user:42")))?)
    }
}

#[tokio::test]
async fn children_run_while_the_node_drains_and_are_stopped_once_it_claims_nothing() {
    alone!();
    let (sender, mut said) = mpsc::unbounded_channel();
    let child = ChildSpec::new("last", move |cloister, supervisor| {
        let arguments = (cloister, sender.clone());
        async move {
            let (last, _) = Actor::spawn_linked(None, Last, arguments, supervisor).await?;
            Ok(last.get_cell())
        }
    });
    // The listener holds the stop of the node, so the child is stopped while it is on its way.
    let (ear, mut heard) = ear().await;
    let node =
        Node::start(arguments().child(child), async |cloister: Cloister| cloister.subscribe(&ear)).await;
    until(Status::Up, &mut heard).await;
    let start = tokio::time::timeout(PATIENCE, said.recv()).await.unwrap();
    assert_eq!(start, Some((Status::Up, true)));
    let cloister = node.cloister.clone();
    let leaving = tokio::spawn(async move { cloister.leave().await });
    let changes = until(Status::Stopping, &mut heard).await;
    let hold = changes.last().unwrap().hold().expect("its stop can be held");
    let stop = tokio::time::timeout(PATIENCE, said.recv()).await.unwrap();
    assert_eq!(stop, Some((Status::Stopping, false)));
    drop(hold);
    leaving.await.unwrap();
    node.end().await;
}

/// Answers with its number, or fails.
struct Worker(usize);

#[derive(cloister_core::Message)]
#[message(crate = "cloister_core")]
enum WorkerMessage {
    Number(RpcReplyPort<u64>),
    Fail,
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<WorkerMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Number(reply) => Ok(reply.send(self.0 as u64)?),
            WorkerMessage::Fail => Err("it was told to".into()),
        }
    }
}

/// A registered child that counts its starts.
fn worker() -> ChildSpec {
    let starts = Arc::new(AtomicUsize::new(0));
    let child = ChildSpec::registered("worker", move |_, supervisor| {
        let worker = Worker(starts.fetch_add(1, Ordering::SeqCst));
        async move { Ok(Actor::spawn_linked(None, worker, (), supervisor).await?.0) }
    });
    child.unwrap().before_joining()
}

/// A node with this child that drains, and a hook that ends when the sender is dropped.
async fn draining_with(child: ChildSpec) -> (Node, tokio::task::JoinHandle<()>, oneshot::Sender<()>) {
    let node = Node::start(arguments().child(child), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let (release, released) = oneshot::channel::<()>();
    node.cloister.on_drain("http", released);
    let cloister = node.cloister.clone();
    let leaving = tokio::spawn(async move { cloister.leave().await });
    tokio::time::timeout(PATIENCE, node.cloister.wait_draining()).await.unwrap();
    (node, leaving, release)
}

#[tokio::test]
async fn a_child_that_fails_while_the_node_drains_is_started_again() {
    alone!();
    let (node, leaving, release) = draining_with(worker()).await;
    let cloister = &node.cloister;
    cloister.cast("worker", "user:42", WorkerMessage::Fail).unwrap();
    let answer = cloister.retry_uncertain().call("worker", "user:42", WorkerMessage::Number, PATIENCE).await;
    assert_eq!(answer, Ok(1));
    assert_eq!((cloister.status(), cloister.is_draining(), leaving.is_finished()), (Status::Up, true, false));
    drop(release);
    leaving.await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn a_node_whose_vital_child_ends_while_it_drains_claims_nothing_and_leaves() {
    alone!();
    let (node, leaving, release) = draining_with(worker().vital()).await;
    assert!(node.cloister.is_mine("user:42"));
    node.cloister.cast("worker", "user:42", WorkerMessage::Fail).unwrap();
    let began = Instant::now();
    leaving.await.unwrap();
    // Its hook never ends.
    assert!(began.elapsed() < Config::default().drain_timeout, "{:?}", began.elapsed());
    assert!(!node.cloister.is_mine("user:42"));
    drop(release);
    node.end().await;
}

#[tokio::test]
async fn a_listener_holds_the_stop_of_its_node_for_leave_timeout_at_most() {
    alone!();
    let timing = Timing { rehash_timeout: WHILE / 2, leave_timeout: WHILE, ..Timing::default() };
    let limits = [(Timing::default(), None), (timing, Some(HoldEnd::TimedOut))];
    for (timing, ends) in limits {
        let (ear, mut heard) = ear().await;
        let arguments = ManagerArguments::new(Config::new("alone").timing(timing)).unwrap();
        let node = Node::start(arguments, async |cloister: Cloister| cloister.subscribe(&ear)).await;
        until(Status::Up, &mut heard).await;
        let epoch = node.cloister.epoch();
        let cloister = node.cloister.clone();
        let leaving = tokio::spawn(async move { cloister.leave().await });
        let changes: Vec<StateChange> = until(Status::Stopping, &mut heard).await;
        let hold = changes.last().unwrap().hold().expect("its stop can be held");
        assert_eq!(Some(hold.epoch()), epoch);
        match ends {
            Some(end) => assert_eq!(hold.over().await, end),
            None => {
                tokio::time::sleep(2 * WHILE).await;
                assert!(!leaving.is_finished());
                assert_eq!((node.cloister.status(), node.cloister.is_mine("key")), (Status::Stopping, false));
                drop(hold);
            }
        }
        tokio::time::timeout(Duration::from_secs(8), leaving).await.unwrap().unwrap();
        node.end().await;
    }
}
