//! Replies that are given after their handler has returned, on a node that is alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister::{Config, ManagerArguments};
use cloister_core::Epoch;
use cloister_entity::{
    Context, DefineEntities, Durability, Entities, Entity, EntityError, EntityId, EntityOptions, Failure,
    HandlerError, ReplyLater, Store, StoreError, StoreFuture,
};
use cloister_testkit::alone;
use cloister_testkit::wait::until_async;
use serde::{Deserialize, Serialize};

use crate::start;

/// Longer than a client waits before it sends a message again.
const LONG: Duration = Duration::from_millis(3_500);

/// How often a message that leaves nothing behind was handled.
static LOOKS: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Gate {
    waits: u64,
    #[serde(skip)]
    waiting: Vec<ReplyLater<Gate>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum GateMessage {
    /// Counts, and is answered when the gate opens.
    Wait,
    /// Is answered when the gate opens, and changes nothing.
    Look,
    /// Is answered by a task.
    After(Duration),
    /// Counts, is answered before its handler returns, and after it by a value that is too late.
    Twice,
    Open(u64),
    Close,
    /// Counts, wants to be answered later, and fails.
    Fail,
    Refuse,
    TooLarge,
    Waits,
    Sleep(Duration),
}

impl Entity for Gate {
    const NAME: &'static str = "gate";
    type Message = GateMessage;
    type Reply = String;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: GateMessage,
    ) -> Result<String, HandlerError> {
        match message {
            GateMessage::Wait => {
                self.waits += 1;
                self.waiting.push(context.reply_later());
            }
            GateMessage::Look => {
                LOOKS.fetch_add(1, Ordering::SeqCst);
                self.waiting.push(context.reply_later());
            }
            GateMessage::After(time) => {
                self.waits += 1;
                let (reply, key) = (context.reply_later(), context.key().to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    reply.send(&format!("{key} after {time:?}"))
                });
            }
            GateMessage::Twice => {
                self.waits += 1;
                context.reply_later().send(&"at once".to_owned())?;
            }
            GateMessage::Open(value) => {
                for waiting in self.waiting.drain(..) {
                    waiting.send(&format!("opened by {value}"))?;
                }
            }
            GateMessage::Close => self.waiting.clear(),
            GateMessage::Fail => {
                self.waits += 1;
                let _reply = context.reply_later();
                return Err(HandlerError::new("as the test wants it"));
            }
            GateMessage::Refuse => context.reply_later().fail(HandlerError::new("refused later")),
            GateMessage::TooLarge => {
                let too_large = context.reply_later().send(&"x".repeat(20_000)).unwrap_err();
                self.waits = 77;
                assert_eq!(
                    HandlerError::new(
                        "the reply has 20004 bytes, over the limit of 10000 (`EntityOptions::max_state_bytes`)"
                    ),
                    too_large
                );
            }
            GateMessage::Waits => return Ok(self.waits.to_string()),
            GateMessage::Sleep(time) => tokio::time::sleep(time).await,
        }
        Ok("what the handler returns".to_owned())
    }
}

type Call = tokio::task::JoinHandle<Result<String, EntityError>>;

fn begin(gates: &Entities<Gate>, key: &'static str, message: GateMessage) -> Call {
    let gates = gates.clone();
    tokio::spawn(async move { gates.call(key, message).await })
}

/// A call that has reached its entity: those that are begun after it find what it left.
async fn waiting(gates: &Entities<Gate>, key: &'static str, message: GateMessage) -> Call {
    let before = gates.call(key, GateMessage::Waits).await.unwrap();
    let call = begin(gates, key, message);
    while gates.call(key, GateMessage::Waits).await.unwrap() == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call
}

fn failure(answer: Result<String, EntityError>) -> (Failure, bool) {
    let Err(error) = answer else { panic!("{answer:?}") };
    let may_be_done = error.may_be_done();
    let EntityError::Failed { entity: "gate", failure, .. } = error else { panic!("{error}") };
    (failure, may_be_done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_given_later_where_each_change_is_written() {
    alone!();
    replies_with("each", Durability::Each).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_given_later_where_changes_are_written_seldom() {
    alone!();
    replies_with("lazy", Durability::Lazy(Duration::from_secs(60))).await;
}

async fn replies_with(name: &str, durability: Durability) {
    let mut arguments = ManagerArguments::new(Config::new(name)).unwrap();
    let options = EntityOptions::default().idle(Duration::from_millis(300)).max_state_bytes(10_000);
    let gates = arguments.entities::<Gate>(options.durability(durability)).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    replies_of_a_node(&gates).await;
    cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_given_later_where_there_is_a_store() {
    alone!();
    let mut arguments = ManagerArguments::new(Config::new("store")).unwrap();
    let gates = arguments.entities::<Gate>(EntityOptions::default().store(Shelf::default())).unwrap();
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    // It is not sent again where there is a store, so its caller waits for as long as it is to.
    let slow = gates.call("a", GateMessage::Sleep(LONG));
    let (slow, later) = tokio::join!(slow, gates.call("b", GateMessage::After(LONG)));
    assert_eq!(slow, Ok("what the handler returns".to_owned()));
    assert_eq!(later, Ok("b after 3.5s".to_owned()));
    let (failure, may_be_done) = failure(gates.call("panics", GateMessage::Wait).await);
    assert!(matches!(&failure, Failure::NotSaved(cause) if cause.contains("panicked")), "{failure}");
    assert!(may_be_done);
    cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_never_given_keeps_its_entity_in_memory_only_as_long_as_its_caller_waits() {
    alone!();
    let options = EntityOptions::default().timeout(Duration::from_secs(1)).idle(Duration::from_millis(200));
    let (cloister, gates) = start::<Gate>(Config::new("never"), options).await;
    let given_up = gates.call("a", GateMessage::Wait).await.unwrap_err();
    assert!(given_up.may_be_done(), "{given_up}");
    until_async("no entity is an object", async || gates.active() == 0).await;
    cloister.leave().await;
}

async fn replies_of_a_node(gates: &Entities<Gate>) {
    // By a later message, and to each of those that wait.
    let calls = [waiting(gates, "a", GateMessage::Wait).await, waiting(gates, "a", GateMessage::Wait).await];
    assert_eq!(gates.call("a", GateMessage::Open(7)).await, Ok("what the handler returns".to_owned()));
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok("opened by 7".to_owned()));
    }
    // By a task, and before the handler returns.
    assert_eq!(
        gates.call("a", GateMessage::After(Duration::from_millis(50))).await,
        Ok("a after 50ms".to_owned())
    );
    assert_eq!(gates.call("a", GateMessage::Twice).await, Ok("at once".to_owned()));
    assert_eq!(gates.call("a", GateMessage::Waits).await, Ok("4".to_owned()));

    // Those whose reply takes long are sent again, and are handled once. Their entity stays in memory while they wait.
    let looks = LOOKS.load(Ordering::SeqCst);
    let long = waiting(gates, "b", GateMessage::Wait).await;
    let look = begin(gates, "b", GateMessage::Look);
    tokio::time::sleep(LONG).await;
    gates.call("b", GateMessage::Open(8)).await.unwrap();
    assert_eq!(long.await.unwrap(), Ok("opened by 8".to_owned()));
    assert_eq!(look.await.unwrap(), Ok("opened by 8".to_owned()));
    assert_eq!(gates.call("b", GateMessage::Waits).await, Ok("1".to_owned()));
    assert_eq!(LOOKS.load(Ordering::SeqCst), looks + 1);

    // What is dropped, refused, or not to be sent.
    let dropped = waiting(gates, "c", GateMessage::Wait).await;
    gates.call("c", GateMessage::Close).await.unwrap();
    assert_eq!(failure(dropped.await.unwrap()), (Failure::NoReply, true));
    let refused = failure(gates.call("c", GateMessage::Refuse).await);
    assert_eq!(refused, (Failure::Error("refused later".to_owned()), false));
    assert_eq!(failure(gates.call("c", GateMessage::TooLarge).await), (Failure::NoReply, true));
    assert_eq!(gates.call("c", GateMessage::Waits).await, Ok("77".to_owned()));
    // A handler that fails has left nothing, its reply neither.
    let failed = failure(gates.call("d", GateMessage::Fail).await);
    assert_eq!(failed, (Failure::Error("as the test wants it".to_owned()), false));
    assert_eq!(gates.call("d", GateMessage::Waits).await, Ok("0".to_owned()));
    // To a message that waits for none it goes nowhere.
    gates.cast("d", GateMessage::Wait).await.unwrap();
    gates.call("d", GateMessage::Open(9)).await.unwrap();
    assert_eq!(gates.call("d", GateMessage::Waits).await, Ok("1".to_owned()));
}

/// Its replies are named in its state.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Door {
    knocks: u64,
    #[serde(default)]
    waiting: Vec<ReplyLater<Door>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum DoorMessage {
    Knock,
    Knocks,
    Open,
    Close,
    Fail,
    /// As each of the others does, and then fails.
    OpenOneAndFail,
    CloseAndPanic,
}

impl Entity for Door {
    const NAME: &'static str = "door";
    type Message = DoorMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: DoorMessage,
    ) -> Result<u64, HandlerError> {
        match message {
            DoorMessage::Knock => {
                self.knocks += 1;
                self.waiting.push(context.reply_later());
            }
            DoorMessage::Knocks => {}
            DoorMessage::Open => {
                for waiting in self.waiting.drain(..) {
                    waiting.send(&self.knocks)?;
                }
            }
            DoorMessage::Close => self.waiting.clear(),
            DoorMessage::Fail => return Err(HandlerError::new("as the test wants it")),
            DoorMessage::OpenOneAndFail => {
                self.waiting.remove(0).send(&77)?;
                return Err(HandlerError::new("as the test wants it"));
            }
            DoorMessage::CloseAndPanic => {
                self.waiting.clear();
                panic!("as the test wants it");
            }
        }
        Ok(self.knocks)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_fails_takes_no_reply_away_that_another_one_waits_for() {
    alone!();
    for durability in [Durability::Each, Durability::Lazy(Duration::from_secs(60))] {
        let options = EntityOptions::default().durability(durability);
        let (cloister, doors) = start::<Door>(Config::new("doors"), options).await;
        let call = |message| {
            let doors = doors.clone();
            tokio::spawn(async move { doors.call("a", message).await })
        };
        let mut knock = Vec::new();
        for knocks in 1..=3 {
            knock.push(call(DoorMessage::Knock));
            until_async("it has knocked", async || doors.call("a", DoorMessage::Knocks).await == Ok(knocks))
                .await;
        }
        for message in [DoorMessage::Fail, DoorMessage::CloseAndPanic, DoorMessage::OpenOneAndFail] {
            assert!(matches!(doors.call("a", message).await, Err(EntityError::Failed { .. })));
        }
        assert_eq!(doors.call("a", DoorMessage::Open).await, Ok(3));
        let mut answers = Vec::new();
        for knock in knock {
            answers.push(knock.await.unwrap());
        }
        assert_eq!(answers, [Ok(77), Ok(3), Ok(3)], "{durability:?}");
        // What is dropped in earnest has no reply.
        let knock = call(DoorMessage::Knock);
        until_async("it has knocked", async || doors.call("a", DoorMessage::Knocks).await == Ok(4)).await;
        doors.call("a", DoorMessage::Close).await.unwrap();
        let Err(EntityError::Failed { failure: Failure::NoReply, .. }) = knock.await.unwrap() else {
            panic!("{durability:?}: it has a reply")
        };
        cloister.leave().await;
    }
}

/// A store in memory.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Store for Shelf {
    fn load<'a>(&'a self, id: EntityId<'a>, _: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        let saved = self.0.lock().unwrap().get(id.key).cloned();
        Box::pin(async { Ok::<_, StoreError>(saved) })
    }

    fn save<'a>(&'a self, id: EntityId<'a>, _: Epoch, state: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        assert_ne!(id.key, "panics", "as the test wants it");
        let mut saved = self.0.lock().unwrap();
        match state {
            Some(state) => saved.insert(id.key.to_owned(), state),
            None => saved.remove(id.key),
        };
        Box::pin(async { Ok(()) })
    }
}
