//! Actors of the program's under the manager, and registered ones: what fails is logged with its name, and runs again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister_core::ractor_cluster::{RactorClusterMessage, RactorMessage};
use cloister_core::{CallError, ChildSpec, Cloister, Obstacle, RegisterError, Status};
use cloister_testkit::alone;
use tokio::sync::{Semaphore, mpsc};

use crate::log::Log;
use crate::{Node, PATIENCE, WHILE, arguments};

/// Answers, and fails when it is told to.
struct Worker;

#[derive(RactorClusterMessage)]
enum WorkerMessage {
    #[rpc]
    Pid(RpcReplyPort<u64>),
    Fail(String),
    Panic(String),
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
        myself: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Pid(reply) => Ok(reply.send(myself.get_id().pid())?),
            WorkerMessage::Fail(words) => Err(words.into()),
            WorkerMessage::Panic(words) => panic!("{words}"),
        }
    }
}

async fn received<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("in time").unwrap()
}

/// Asks the registered worker for its id, until it is another than `before`.
async fn another_than(before: Option<u64>, cloister: &Cloister) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = cloister.call("worker", "key", WorkerMessage::Pid, PATIENCE).await;
        if let Ok(pid) = answer
            && Some(pid) != before
        {
            return pid;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_whose_start_panics_is_started_again_and_the_node_stays_up() {
    alone!();
    let (log, _logging) = Log::listen();
    let (started, mut starts) = mpsc::unbounded_channel();
    let attempts = Arc::new(AtomicUsize::new(0));
    let child = ChildSpec::new("clumsy", move |_, supervisor| {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        assert_ne!(attempt, 0, "the closure fell");
        let started = started.clone();
        async move {
            assert_ne!(attempt, 1, "the future fell");
            let (worker, _) = Actor::spawn_linked(None, Worker, (), supervisor).await?;
            // The test may be over.
            let _ = started.send(attempt);
            Ok(worker.get_cell())
        }
    });
    let node = Node::start(arguments().child(child), async |_| ()).await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let incarnation = node.cloister.node();
    assert_eq!(received(&mut starts).await, 2);
    log.expect(&["WARN", "child failed and is started again", "clumsy", "the closure fell"]).await;
    log.expect(&["WARN", "child failed and is started again", "clumsy", "the future fell"]).await;
    assert_eq!((node.cloister.status(), node.cloister.node()), (Status::Up, incarnation));
    node.end().await;
}

#[tokio::test]
async fn a_child_that_ends_before_its_start_is_told_is_started_again() {
    alone!();
    let (started, mut starts) = mpsc::unbounded_channel();
    let child = ChildSpec::new("short-lived", move |_, supervisor| {
        let started = started.clone();
        async move {
            let (worker, ended) = Actor::spawn_linked(None, Worker, (), supervisor).await?;
            // The test may be over.
            if started.send(()).is_ok() {
                worker.kill();
                // Its end is told before its start is.
                let _ = ended.await;
            }
            Ok(worker.get_cell())
        }
    });
    let node = Node::start(arguments().child(child), async |_| ()).await;
    received(&mut starts).await;
    received(&mut starts).await;
    node.end().await;
}

#[tokio::test]
async fn a_registered_child_that_fails_is_started_and_registered_again() {
    alone!();
    let (log, _logging) = Log::listen();
    let child = ChildSpec::registered("worker", |_, supervisor| async move {
        let (worker, _) = Actor::spawn_linked(None, Worker, (), supervisor).await?;
        Ok(worker)
    });
    let node = Node::start(arguments().child(child.unwrap()), async |_| ()).await;
    let cloister = &node.cloister;
    cloister.wait_until_up(PATIENCE).await.unwrap();
    let first = another_than(None, cloister).await;

    cloister.cast("worker", "key", WorkerMessage::Fail("no luck".to_owned())).unwrap();
    let second = another_than(Some(first), cloister).await;
    log.expect(&["WARN", "child failed and is started again", "worker", "no luck"]).await;
    cloister.cast("worker", "key", WorkerMessage::Panic("bad luck".to_owned())).unwrap();
    another_than(Some(second), cloister).await;
    log.expect(&["WARN", "child failed and is started again", "worker", "bad luck"]).await;
    assert_eq!(log.lines(&["registered actor failed"]), 0, "told once");
    node.end().await;
}

/// Answers, or fails at its first message.
struct Frail(bool);

#[derive(cloister_core::Message)]
#[message(crate = "cloister_core")]
enum FrailMessage {
    Ask(RpcReplyPort<u64>),
}

impl Actor for Frail {
    type Msg = FrailMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<FrailMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<FrailMessage>,
        FrailMessage::Ask(reply): FrailMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Self(fails) = self;
        if *fails {
            return Err("it is frail".into());
        }
        Ok(reply.send(7)?)
    }
}

/// Also on the node that calls: what is handed to its actor without being encoded could not be sent again.
#[tokio::test]
async fn a_call_that_may_be_handled_twice_goes_on_to_the_next_start_of_an_actor_that_failed() {
    let starts = Arc::new(AtomicUsize::new(0));
    let child = ChildSpec::registered("frail", move |_, supervisor| {
        let fails = starts.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        async move { Ok(Actor::spawn_linked(None, Frail(fails), (), supervisor).await?.0) }
    });
    let node = Node::start(arguments().child(child.unwrap().before_joining()), async |_| ()).await;
    let cloister = &node.cloister;
    cloister.wait_until_up(PATIENCE).await.unwrap();
    let answer = cloister.retry_uncertain().call("frail", "key", FrailMessage::Ask, PATIENCE).await;
    assert_eq!(answer, Ok(7));
    node.end().await;
}

#[tokio::test]
async fn a_call_that_is_only_kept_ends_as_one_that_was_not_started_and_one_with_time_is_answered() {
    alone!();
    let (log, _logging) = Log::listen();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let child = ChildSpec::registered("worker", move |_, supervisor| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(Actor::spawn_linked(None, Worker, (), supervisor).await?.0)
        }
    });
    let node = Node::start(arguments().child(child.unwrap()), async |_| ()).await;
    let cloister = node.cloister.clone();
    cloister.wait_until_up(PATIENCE).await.unwrap();
    cloister.cast("worker", "another key", WorkerMessage::Fail("it is handled".to_owned())).unwrap();
    let patient = tokio::spawn({
        let cloister = cloister.clone();
        async move { cloister.call("worker", "key", WorkerMessage::Pid, PATIENCE).await }
    });
    // Long enough that this node's inbox can say so in time on a busy machine.
    let limit = 10 * WHILE;
    for _ in 0..2 {
        let kept = cloister.call("worker", "key", WorkerMessage::Pid, limit).await.unwrap_err();
        let CallError::NoOwner { node: Some(keeper), epoch, waited, cause, .. } = &kept else {
            panic!("{kept:?}")
        };
        assert_eq!((keeper, *epoch), (&cloister.node(), cloister.epoch()));
        assert!(*waited >= limit && cause.contains("has kept it"), "{kept}");
        assert!(!kept.may_have_arrived());
        let words = format!("(last sent to {} in the view {})", keeper.name(), epoch.unwrap());
        assert!(kept.to_string().contains(&words), "{kept}");
    }
    log.expect(&["WARN", "a message for the owner of a key was dropped", "another key", "Expired"]).await;
    opened.add_permits(1);
    patient.await.unwrap().expect("it was kept until its actor ran");
    assert_eq!(log.lines(&["it is handled"]), 0);
    node.end().await;
}

#[tokio::test]
async fn a_registered_actor_that_fails_is_logged_with_its_name_and_error() {
    alone!();
    let (log, _logging) = Log::listen();
    let (early, _) = Actor::spawn(None, Worker, ()).await.unwrap();
    let before = early.clone();
    let node = Node::start(arguments(), async move |cloister| {
        cloister.register("early", &before).unwrap();
    })
    .await;
    node.cloister.wait_until_up(PATIENCE).await.unwrap();
    let (late, _) = Actor::spawn(None, Worker, ()).await.unwrap();
    node.cloister.register("late", &late).unwrap();
    node.cloister.register("late-too", &late).unwrap();
    let (released, _) = Actor::spawn(None, Worker, ()).await.unwrap();
    node.cloister.register("released", &released).unwrap();
    node.cloister.unregister("released");

    early.cast(WorkerMessage::Fail("out of cheese".to_owned())).unwrap();
    log.expect(&["ERROR", "registered actor failed", "early", "out of cheese"]).await;
    late.cast(WorkerMessage::Panic("out of wine".to_owned())).unwrap();
    log.expect(&["ERROR", "registered actor failed", "late, late-too", "out of wine"]).await;
    let answer = node.cloister.call("late", "key", WorkerMessage::Pid, PATIENCE).await;
    assert!(matches!(answer, Err(CallError::NoActor { .. })), "{answer:?}");

    released.cast(WorkerMessage::Fail("unheard".to_owned())).unwrap();
    let (stopped, _) = Actor::spawn(None, Worker, ()).await.unwrap();
    node.cloister.register("stopped", &stopped).unwrap();
    stopped.stop(None);
    log.expect(&["INFO", "registered actor stopped", "stopped"]).await;
    assert_eq!(log.lines(&["registered actor failed"]), 2);
    assert_eq!(log.lines(&["unheard"]), 0);
    node.end().await;
}

#[derive(RactorMessage)]
struct Homely;

struct Hermit;

impl Actor for Hermit {
    type Msg = Homely;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Homely>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[test]
fn a_child_whose_messages_do_not_travel_cannot_be_registered() {
    let child = ChildSpec::registered("hermit", |_, supervisor| async move {
        let (hermit, _) = Actor::spawn_linked(None, Hermit, (), supervisor).await?;
        Ok(hermit)
    });
    assert!(matches!(child, Err(RegisterError::NotRemotable { .. })));
}

/// A registered worker whose starts each wait for a permit, and are counted.
fn awaited_worker(permits: &Arc<Semaphore>, starts: &Arc<AtomicUsize>) -> ChildSpec {
    let (permits, starts) = (Arc::clone(permits), Arc::clone(starts));
    let child = ChildSpec::registered("worker", move |_, supervisor| {
        let (permits, starts) = (Arc::clone(&permits), Arc::clone(&starts));
        async move {
            permits.acquire().await.unwrap().forget();
            starts.fetch_add(1, Ordering::SeqCst);
            Ok(Actor::spawn_linked(None, Worker, (), supervisor).await?.0)
        }
    });
    child.unwrap()
}

#[tokio::test]
async fn the_node_joins_when_the_children_that_start_before_have_started() {
    alone!();
    let (permits, starts) = (Arc::new(Semaphore::new(0)), Arc::default());
    let child = awaited_worker(&permits, &starts).before_joining();
    let node = Node::start(arguments().child(child), async |_| ()).await;
    let cloister = &node.cloister;
    assert!(cloister.wait_until_up(WHILE).await.is_err());
    let missing = cloister.readiness().await.missing;
    let words = Obstacle::NotBegun("this node joins when child `worker` has started".to_owned());
    assert!(missing.contains(&words), "{missing:?}");
    permits.add_permits(1);
    cloister.wait_until_up(PATIENCE).await.unwrap();
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_some(), "it is registered by then");

    // It is not vital: the node stays while the child is started again.
    let incarnation = cloister.node();
    let first = another_than(None, cloister).await;
    cloister.cast("worker", "key", WorkerMessage::Fail("no luck".to_owned())).unwrap();
    permits.add_permits(1);
    another_than(Some(first), cloister).await;
    assert_eq!((cloister.node(), starts.load(Ordering::SeqCst)), (incarnation, 2));
    node.end().await;
}

#[tokio::test]
async fn a_first_start_before_joining_that_fails_is_the_end_of_the_node_with_its_name_and_error() {
    alone!();
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let child = ChildSpec::new("store", move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err(SpawnErr::StartupFailed("the disk is full".into())) }
    });
    let node = Node::start(arguments().child(child.before_joining()), async |_| ()).await;
    let error = node.cloister.wait_until_up(PATIENCE).await.unwrap_err();
    let words = "this node failed: child `store` did not start, and this node does not join without it: the disk is full";
    assert_eq!(error.ended.map(|ended| ended.to_string()).as_deref(), Some(words));
    assert_eq!(starts.load(Ordering::SeqCst), 1, "its supervisor decides");
    node.end().await;
}

#[tokio::test]
async fn the_end_of_a_vital_child_is_the_end_of_the_incarnation_and_the_next_has_it_again() {
    alone!();
    let (log, _logging) = Log::listen();
    let (permits, starts) = (Arc::new(Semaphore::new(1)), Arc::default());
    let child = awaited_worker(&permits, &starts).before_joining().vital();
    let bystander = ChildSpec::registered("bystander", |_, supervisor| async move {
        Ok(Actor::spawn_linked(None, Worker, (), supervisor).await?.0)
    });
    let arguments = arguments().child(child).child(bystander.unwrap());
    let node = Node::start(arguments, async |_| ()).await;
    let cloister = &node.cloister;
    cloister.wait_until_up(PATIENCE).await.unwrap();
    let pid = cloister.call("bystander", "key", WorkerMessage::Pid, PATIENCE).await;
    let mut incarnation = cloister.node();
    for (round, words) in ["it failed: no luck", "it stopped"].into_iter().enumerate() {
        match cloister.locate::<WorkerMessage>("worker", "key").unwrap() {
            worker if round == 0 => worker.cast(WorkerMessage::Fail("no luck".to_owned())).unwrap(),
            worker => worker.stop(None),
        }
        log.expect(&["WARN", "this node begins anew", "vital child `worker` has ended", words]).await;
        assert!(
            !cloister.is_mine("key") && cloister.wait_until_up(WHILE).await.is_err(),
            "it waits for the child"
        );
        permits.add_permits(1);
        cloister.wait_until_up(PATIENCE).await.unwrap();
        assert!(cloister.locate::<WorkerMessage>("worker", "key").is_some(), "it runs again by then");
        assert!(cloister.node().same_name_other_incarnation(&incarnation), "the others see another node");
        incarnation = cloister.node();
    }
    assert_eq!(starts.load(Ordering::SeqCst), 3);
    assert_eq!(
        (log.lines(&["this node begins anew"]), log.lines(&["child failed"])),
        (2, 0),
        "one line for each"
    );
    let still = cloister.call("bystander", "key", WorkerMessage::Pid, PATIENCE).await;
    assert_eq!(still, pid, "other children go on");
    node.end().await;
}

/// Notes what it gets.
struct Cart;

#[derive(RactorClusterMessage)]
enum CartMessage {
    Add(String),
}

impl Actor for Cart {
    type Msg = CartMessage;
    type State = mpsc::UnboundedSender<String>;
    type Arguments = mpsc::UnboundedSender<String>;

    async fn pre_start(
        &self,
        _: ActorRef<CartMessage>,
        got: mpsc::UnboundedSender<String>,
    ) -> Result<mpsc::UnboundedSender<String>, ActorProcessingErr> {
        Ok(got)
    }

    async fn handle(
        &self,
        _: ActorRef<CartMessage>,
        CartMessage::Add(item): CartMessage,
        got: &mut mpsc::UnboundedSender<String>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(got.send(item)?)
    }
}

#[tokio::test]
async fn a_cast_to_this_node_does_not_overtake_those_that_its_inbox_keeps() {
    alone!();
    let child = ChildSpec::registered("cart", |_, _| {
        std::future::pending::<Result<ActorRef<CartMessage>, SpawnErr>>()
    });
    let node = Node::start(arguments().child(child.unwrap()), async |_| ()).await;
    let cloister = &node.cloister;
    cloister.wait_until_up(PATIENCE).await.unwrap();
    let (got, mut items) = mpsc::unbounded_channel();
    let (mine, _) = Actor::spawn(None, Cart, got).await.unwrap();
    let add = |item: &str| cloister.cast("cart", "user:42", CartMessage::Add(item.to_owned()));
    add("first").unwrap();
    cloister.register("cart", &mine).unwrap();
    // The inbox has had no turn since.
    add("second").unwrap();
    assert_eq!([received(&mut items).await, received(&mut items).await], ["first", "second"]);
    // Nor is one lost that finds the inbox empty.
    add("third").unwrap();
    assert_eq!(received(&mut items).await, "third");
    node.end().await;
}
