//! What the inbox of an owner adds to a message by key: its envelope, the claim, the type, and the port of its answer.

use std::time::{Duration, Instant};

use cloister::ractor::message::SerializedMessage;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::{Cloister, Message};
use tokio::runtime::Builder;

use super::Measuring;
use super::placement::{LEASE, members};
use crate::record::Run;

/// The name of the actor.
const NAME: &str = "cart";

/// How many messages are handed over without a pause. Then all are handled before the next are.
const BATCH: usize = 64;

/// How many batches one run has.
const BATCHES: usize = 500;

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Message)]
enum CartMessage {
    Add { item: String, reply: RpcReplyPort<u64> },
}

struct Cart;

impl Actor for Cart {
    type Msg = CartMessage;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<CartMessage>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<CartMessage>,
        CartMessage::Add { item, reply }: CartMessage,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *count += u64::from(!item.is_empty());
        Ok(reply.send(*count)?)
    }
}

/// The time from having a call by key to having handed it to the actor, in a view of `n` members. Beside it what the hand-over takes by
/// itself.
pub(crate) fn delivery(measuring: &mut Measuring<'_>, n: usize) {
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be started");
    let members = members(0, n);
    let (me, others) = members.split_first().expect("at least one node");
    let cloister = cloister_core::placed(me, others, LEASE);
    let key = (0..).map(|key| format!("user:{key:015}")).find(|key| cloister.is_mine(key));
    let key = key.expect("invariant: every member owns keys");
    let actor = runtime.block_on(Actor::spawn(None, Cart, ())).expect("it starts").0;
    runtime
        .block_on(async { cloister.register(NAME, &actor) })
        .expect("invariant: no other actor has the name");
    measuring.each_run(|measuring, _| {
        // On a worker of the runtime, as the inbox is.
        let run = run(cloister.clone(), key.clone(), actor.clone());
        let (inbox, alone) = runtime.block_on(runtime.spawn(run)).expect("delivering does not panic");
        measuring.note(
            "delivery",
            n,
            Run { baseline: Some(alone.0), p99: Some(inbox.1), ..Run::from(inbox.0) },
        );
    });
    actor.stop(None);
}

/// The middle and the tail of both, in microseconds for a message.
async fn run(cloister: Cloister, key: String, actor: ActorRef<CartMessage>) -> ((f64, f64), (f64, f64)) {
    let mut inbox = cloister_core::Inbox::of(&cloister);
    let (mut through, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let message =
            |message: CartMessage| cloister_core::enveloped(&cloister, NAME, key.as_bytes(), message);
        through.push(batch(message, |message| inbox.take_in(message)).await);
        let bare = |message: CartMessage| cloister::ractor::Message::serialize(message).ok();
        alone.push(batch(bare, |message| drop(actor.send_serialized(message))).await);
    }
    (middle_and_tail(through), middle_and_tail(alone))
}

/// How long a message takes, of as many as are handed over at once.
async fn batch(
    encode: impl Fn(CartMessage) -> Option<SerializedMessage>,
    mut hand: impl FnMut(SerializedMessage),
) -> f64 {
    let (mut messages, mut answers) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    for _ in 0..BATCH {
        let (port, answer) = tokio::sync::oneshot::channel();
        let add = CartMessage::Add { item: "apple".to_owned(), reply: (port, LIMIT).into() };
        messages.push(encode(add).expect("invariant: it can be encoded"));
        answers.push(answer);
    }
    let began = Instant::now();
    messages.into_iter().for_each(&mut hand);
    let took = began.elapsed();
    for answer in answers {
        answer.await.expect("it is answered");
    }
    took.as_secs_f64() * 1e6 / BATCH as f64
}

fn middle_and_tail(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    (at(0.5), at(0.99))
}
