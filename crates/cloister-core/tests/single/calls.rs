//! Actors under a name, and calls to them.

use std::time::Instant;

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister_core::ractor_cluster::RactorClusterMessage;
use cloister_core::{CallError, Config, ManagerArguments, NoAnswer, RegisterError, Status, WaitingLimit};
use cloister_testkit::alone;
use tokio::sync::mpsc;

use crate::{Heard, Node, PATIENCE, WHILE, arguments, ear, until};

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
    #[rpc]
    Search(Vec<u8>, RpcReplyPort<u64>),
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
            WorkerMessage::Search(text, reply) => reply.send(text.len() as u64)?,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_actors_that_are_registered_at_once_one_has_the_name() {
    alone!();
    let node = Node::up().await;
    for _ in 0..200 {
        let (one, _) = worker().await;
        let (two, _) = worker().await;
        let start = std::sync::Barrier::new(2);
        let register = |worker: &ActorRef<WorkerMessage>| {
            start.wait();
            node.cloister.register("worker", worker).is_ok()
        };
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| register(&one));
            (register(&two), first.join().unwrap())
        });
        assert!(first != second, "{first} and {second}");
        node.cloister.unregister("worker");
        one.stop(None);
        two.stop(None);
    }
    node.end().await;
}

#[tokio::test]
async fn a_key_that_no_inbox_would_take_is_refused_on_its_owner_too() {
    alone!();
    let node = Node::up().await;
    let (worker, mut noted) = worker().await;
    node.cloister.register("worker", &worker).unwrap();
    let key = vec![7; 32 * 1024 + 1];
    let called = node.cloister.call("worker", &key, WorkerMessage::Answer, PATIENCE).await;
    assert!(matches!(called, Err(CallError::TooLarge { len: 32_769, max: 32_768, .. })), "{called:?}");
    let cast = node.cloister.cast("worker", &key, WorkerMessage::Note(Vec::new()));
    assert!(matches!(cast, Err(CallError::TooLarge { .. })), "{cast:?}");
    let called = node.cloister.call("worker", &key[1..], WorkerMessage::Answer, PATIENCE).await;
    assert_eq!(called.unwrap(), "here");
    assert!(noted.try_recv().is_err());
    node.end().await;
}

#[tokio::test]
async fn a_registered_actor_is_found_by_key_and_by_node_until_it_ends() {
    alone!();
    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let (worker, mut noted) = worker().await;
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    cloister.register("worker", &worker).unwrap();
    cloister.register("worker", &worker).unwrap();
    let located = cloister.locate::<WorkerMessage>("worker", "key").unwrap();
    located.cast(WorkerMessage::Note(b"by key".to_vec())).unwrap();
    assert_eq!(noted.recv().await.unwrap(), b"by key");
    assert!(cloister.actor_on::<WorkerMessage>("worker", &cloister.node()).is_some());
    assert!(cloister.actor_on::<Heard>("worker", &cloister.node()).is_none(), "it takes other messages");

    let (other, _) = self::worker().await;
    assert!(matches!(cloister.register("worker", &other), Err(RegisterError::Taken { .. })));
    let (ear, _) = ear().await;
    assert!(matches!(cloister.register("ear", &ear), Err(RegisterError::NotRemotable { .. })));
    assert_eq!(cloister.register("", &other), Err(RegisterError::Unnamed));

    cloister.unregister("worker");
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    cloister.register("worker", &other).unwrap();
    other.stop_and_wait(None, None).await.unwrap();
    assert!(cloister.locate::<WorkerMessage>("worker", "key").is_none());
    node.end().await;
}

#[tokio::test]
async fn the_owner_of_a_key_is_told_and_asked_and_every_failure_has_its_name() {
    alone!();
    let early = arguments().handle();
    let homeless = early.cast("worker", "key", WorkerMessage::Note(vec![]));
    assert_eq!(
        homeless.unwrap_err().to_string(),
        "no owner of \"key\" has taken the message to \"worker\" within 0ns: the cluster is not up here; `/readyz` says what is \
         missing; it was not handled, so it may be sent again"
    );
    let waited = early.call("worker", "key", WorkerMessage::Answer, WHILE).await.unwrap_err();
    assert!(matches!(&waited, CallError::NoOwner { waited, .. } if *waited >= WHILE), "{waited:?}");
    assert!(!waited.may_have_arrived());

    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let unknown = cloister.call("worker", "key", WorkerMessage::Answer, WHILE).await;
    let Err(CallError::NoActor { target }) = unknown else { panic!("{unknown:?}") };
    assert_eq!(
        (&*target.name, target.key.as_deref(), &target.node, target.epoch),
        ("worker", Some("key"), &cloister.node(), cloister.epoch())
    );
    let name = cloister.node().name().to_string();
    let epoch = cloister.epoch().expect("it is up");
    assert_eq!(
        target.to_string(),
        format!("\"worker\" on {name}, the owner of \"key\" in the view {epoch} (at once)")
    );
    let (worker, mut noted) = worker().await;
    cloister.register("worker", &worker).unwrap();
    cloister.cast("worker", "key", WorkerMessage::Note(b"by key".to_vec())).unwrap();
    assert_eq!(noted.recv().await.unwrap(), b"by key");
    assert!(cloister.call("worker", "key", WorkerMessage::Answer, WHILE).await.is_ok());
    let silent = cloister.call("worker", "key", WorkerMessage::Delay, WHILE).await;
    let Err(CallError::Uncertain {
        node: asked,
        epoch: by,
        key,
        waited: WHILE,
        cause: NoAnswer::TimedOut,
        ..
    }) = &silent
    else {
        panic!("{silent:?}")
    };
    assert_eq!((asked, *by, key.as_deref()), (&cloister.node(), Some(epoch), Some("key")));
    let silent = silent.unwrap_err();
    assert!(silent.may_have_arrived());
    let words = format!(
        "no answer from \"worker\" on {name}, the owner of \"key\" in the view {epoch} within {WHILE:?}; the message may have been \
         handled: send it again only if it may be handled twice"
    );
    assert_eq!(silent.to_string(), words);
    node.end().await;
}

#[tokio::test]
async fn a_call_waits_for_the_view_and_a_message_of_another_type_does_not() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&ear)).await;
    let Node { cloister, .. } = &node;
    let (worker, _noted) = worker().await;
    cloister.register("worker", &worker).unwrap();
    let changes = until(Status::Rehashing, &mut heard).await;
    let hold = changes.last().unwrap().hold().expect("a round that waits can be held");
    let early = cloister.clone();
    let call =
        tokio::spawn(async move { early.call("worker", "key", WorkerMessage::Answer, 100 * WHILE).await });
    tokio::time::sleep(WHILE).await;
    assert!(!call.is_finished(), "no node owns the key");
    let casts = cloister.cast("worker", "key", WorkerMessage::Note(vec![]));
    assert!(matches!(casts, Err(CallError::NoOwner { .. })), "{casts:?}");
    drop(hold);
    call.await.unwrap().expect("it is answered in the first view");
    let wrong = cloister.call("worker", "key", |_: RpcReplyPort<u64>| WorkerMessageOf(vec![]), WHILE).await;
    assert!(matches!(wrong, Err(CallError::WrongMessage { .. })), "{wrong:?}");
    cloister.leave().await;
    let late = cloister.call("worker", "key", WorkerMessage::Answer, 1000 * WHILE).await.unwrap_err();
    assert!(matches!(&late, CallError::NoOwner { waited, .. } if *waited < 100 * WHILE), "at once: {late:?}");
    node.end().await;
}

#[tokio::test]
async fn a_call_to_all_gives_every_member_its_answer_or_its_reason() {
    alone!();
    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let me = cloister.node();
    let timeout = WHILE;
    let failure = async |message: fn(RpcReplyPort<String>) -> WorkerMessage| {
        let result = cloister.multicall("worker", message, timeout).await;
        assert!(result.ok.is_empty());
        let [(node, failure)] = <[_; 1]>::try_from(result.failed).unwrap();
        assert_eq!(node, me);
        failure
    };
    assert!(matches!(failure(WorkerMessage::Answer).await, CallError::NoActor { .. }));

    let (good, mut noted) = worker().await;
    cloister.register("worker", &good).unwrap();
    let result = cloister.multicall("worker", WorkerMessage::Answer, PATIENCE).await;
    assert_eq!(result.ok, [(me.clone(), "here".to_owned())]);
    assert!(result.failed.is_empty());
    let sent = cloister.multicast("worker", WorkerMessageOf(b"to all".to_vec()));
    let [(_, CallError::WrongMessage { target, sent, expected, .. })] = &sent.failed[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((&target.node, &**sent), (&me, std::any::type_name::<WorkerMessageOf>()));
    assert_eq!(&**expected, std::any::type_name::<WorkerMessage>());
    drop(noted.try_recv());

    let died = failure(WorkerMessage::Panic).await;
    assert!(
        matches!(&died, CallError::Uncertain { node, epoch: None, cause: NoAnswer::Died, .. } if *node == me)
    );
    assert!(matches!(failure(WorkerMessage::Answer).await, CallError::NoActor { .. }));

    let (slow, _) = worker().await;
    cloister.register("worker", &slow).unwrap();
    let began = Instant::now();
    let late = failure(WorkerMessage::Delay).await;
    assert!(matches!(late, CallError::Uncertain { cause: NoAnswer::TimedOut, .. }), "{late:?}");
    assert!(began.elapsed() >= timeout);
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

#[tokio::test]
async fn as_many_calls_wait_for_an_owner_as_are_configured_and_the_next_says_which_setting() {
    alone!();
    let config = Config::new("alone").waiting_calls(1).waiting_bytes(16 << 20);
    let early = ManagerArguments::new(config).unwrap().handle();
    let call = || early.call("worker", "key", WorkerMessage::Answer, WHILE);
    // The first is polled first, and waits.
    let (first, second) = tokio::join!(biased; call(), call());
    assert!(matches!(first, Err(CallError::NoOwner { .. })), "{first:?}");
    let Err(error @ CallError::TooManyWaiting { limit: WaitingLimit::Calls, waiting: 1, max: 1, .. }) =
        second
    else {
        panic!("{second:?}")
    };
    assert!(!error.may_have_arrived());
    let words = "was not handled: 1 at `limits.waiting_calls` = 1; send it later, or raise `limits.waiting_calls` there";
    assert!(error.to_string().ends_with(words), "{error}");
    // What does not wait any more counts no more.
    assert!(matches!(call().await, Err(CallError::NoOwner { .. })));
    let len = (16 << 20) + 1;
    let ask = |reply| WorkerMessage::Search(vec![0; len], reply);
    let error = early.call("worker", "key", ask, WHILE).await.unwrap_err();
    assert!(
        matches!(&error, CallError::TooManyWaiting { limit: WaitingLimit::Bytes, waiting, max, .. }
            if *waiting > *max && *max == 16 << 20),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_message_that_is_not_sent_comes_back_to_its_sender() {
    alone!();
    let note = |text: &str| WorkerMessage::Note(text.as_bytes().to_vec());
    let is_back = |message: Option<WorkerMessage>, text: &str| matches!(message, Some(WorkerMessage::Note(note)) if note == text.as_bytes());
    let failed = arguments().handle().try_cast("worker", "key", note("early")).unwrap_err();
    assert!(matches!(failed.error, CallError::NoOwner { .. }) && is_back(failed.message, "early"));

    let node = Node::up().await;
    let Node { cloister, .. } = &node;
    let failed = cloister.try_cast("worker", "key", note("lonely")).unwrap_err();
    assert!(matches!(failed.error, CallError::NoActor { .. }) && is_back(failed.message, "lonely"));
    let (worker, mut noted) = worker().await;
    cloister.register("worker", &worker).unwrap();
    let failed = cloister.try_cast("worker", "key", WorkerMessageOf(vec![7])).unwrap_err();
    assert!(
        matches!(failed.error, CallError::WrongMessage { .. })
            && failed.message.is_some_and(|it| it.0 == [7])
    );
    cloister.try_cast("worker", "key", note("taken")).unwrap();
    assert_eq!(noted.recv().await.unwrap(), b"taken");
    assert_eq!(cloister.try_call("worker", "key", WorkerMessage::Answer, PATIENCE).await.unwrap(), "here");
    cloister.leave().await;
    let failed = cloister.try_call("worker", "key", WorkerMessage::Answer, PATIENCE).await.unwrap_err();
    assert!(matches!(failed.error, CallError::NoOwner { .. }) && failed.message.is_some());
    node.end().await;
}

#[tokio::test]
async fn what_makes_a_message_comes_back_when_too_many_calls_wait_and_is_not_run() {
    alone!();
    let config = Config::new("alone").waiting_calls(1).waiting_bytes(16 << 20);
    let early = ManagerArguments::new(config).unwrap().handle();
    // It has room when it begins, whatever its length, and takes all of it.
    let long = |reply| WorkerMessage::Search(vec![0; 20 << 20], reply);
    let text = b"not copied".to_vec();
    let at = text.as_ptr();
    let short = move |reply| WorkerMessage::Search(text, reply);
    let (first, second) = tokio::join!(biased;
        early.try_call("worker", "key", long, WHILE),
        early.try_call("worker", "key", short, WHILE));
    let first = first.unwrap_err();
    assert!(matches!(first.error, CallError::NoOwner { .. }) && first.message.is_none(), "{first:?}");
    let second = second.unwrap_err();
    assert!(
        matches!(second.error, CallError::TooManyWaiting { limit: WaitingLimit::Calls, .. }),
        "{second:?}"
    );
    let short = second.message.expect("it was not run");
    let WorkerMessage::Search(text, _) = short(tokio::sync::oneshot::channel().0.into()) else { panic!() };
    assert_eq!((text.as_slice(), text.as_ptr()), (&b"not copied"[..], at));

    let config = Config::new("alone").waiting_calls(10).waiting_bytes(16 << 20);
    let early = ManagerArguments::new(config).unwrap().handle();
    let (_, second) = tokio::join!(biased;
        early.try_call("worker", "key", long, WHILE),
        early.try_call("worker", "key", WorkerMessage::Answer, WHILE));
    let second = second.unwrap_err();
    assert!(
        matches!(second.error, CallError::TooManyWaiting { limit: WaitingLimit::Bytes, .. }),
        "{second:?}"
    );
    assert!(second.message.is_some());
}
