//! What a call does after each end of an attempt. In the place of the inbox is an actor that answers as the test says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_config::Config;
use cloister_proto::{ClusterState, Incarnation, Member, Status, View};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use tokio::sync::{Mutex, MutexGuard};

use super::*;
use crate::handle::Shared;
use crate::message::answer;
use crate::placement::{RingPlan, Rings, Snapshot};
use crate::rpc::groups::{INBOX, NODE_SCOPE};
use crate::rpc::inbox_message::InboxMessage;

/// What a call of these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The actors that are inboxes are found by their group, of which a process has one.
static ONE_INBOX: Mutex<()> = Mutex::const_new(());

#[derive(crate::Message)]
#[message(crate = "crate")]
enum CartMessage {
    Count(RpcReplyPort<u64>),
}

/// What an inbox does with one call.
enum Turn {
    Refuse(Refusal),
    Answer(u8),
    /// Drops it, as one that ends does. Then its node is told of a change.
    Drop,
}

struct ScriptedInbox {
    shared: Arc<Shared>,
    asked: Arc<AtomicUsize>,
}

impl Actor for ScriptedInbox {
    type Msg = InboxMessage;
    type State = VecDeque<Turn>;
    type Arguments = VecDeque<Turn>;

    async fn pre_start(
        &self,
        _: ActorRef<InboxMessage>,
        script: VecDeque<Turn>,
    ) -> Result<VecDeque<Turn>, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        _: ActorRef<InboxMessage>,
        message: InboxMessage,
        script: &mut VecDeque<Turn>,
    ) -> Result<(), ActorProcessingErr> {
        let InboxMessage::Own(SerializedMessage::Call { reply, .. }, _) = message else { return Ok(()) };
        self.asked.fetch_add(1, Ordering::SeqCst);
        match script.pop_front() {
            Some(Turn::Refuse(refusal)) => reply.send(refusal.bytes())?,
            // MessagePack of a small number is the number.
            Some(Turn::Answer(number)) => reply.send(answer(vec![number]))?,
            Some(Turn::Drop) => {
                drop(reply);
                self.shared.turn();
            }
            None => {}
        }
        Ok(())
    }
}

/// A node on paper that owns all keys, and the inbox that it finds as its own. It runs no actor, so each call goes through the inbox.
struct Paper {
    cloister: Cloister,
    inbox: ActorRef<InboxMessage>,
    asked: Arc<AtomicUsize>,
    _turn: MutexGuard<'static, ()>,
}

impl Paper {
    async fn with(script: impl IntoIterator<Item = Turn>) -> Self {
        let turn = ONE_INBOX.lock().await;
        let name = "shop@10.0.0.1:4370".parse().unwrap();
        let me = Member::without_tags(NodeId::new(name, Incarnation(1), 1));
        let shared = Arc::new(Shared::new(me.clone(), RingPlan::default(), &Config::default()));
        let view = Arc::new(View::new(Epoch::from_u64(7), vec![me.clone()]));
        let rings = Arc::new(Rings::new(shared.plan(), view.members()));
        let mut state = ClusterState::initial(me.clone());
        (state.status, state.view) = (Status::Up, Some(Arc::clone(&view)));
        let incarnation = shared.begin(me);
        shared.publish(&incarnation, Arc::new(Snapshot::new(Arc::new(state), Some((view, rings)))));
        let now = shared.clock().now();
        incarnation.grant(Some(now + Duration::from_secs(3_600)), now);
        // As if its manager were starting the actor.
        shared.registered().supervise("cart", ActorId::Local(1));
        let asked = Arc::new(AtomicUsize::new(0));
        let actor = ScriptedInbox { shared: Arc::clone(&shared), asked: Arc::clone(&asked) };
        let (inbox, _) = Actor::spawn(None, actor, script.into_iter().collect()).await.unwrap();
        pg::join_scoped(NODE_SCOPE.to_owned(), INBOX.to_owned(), vec![inbox.get_cell()]);
        Self { cloister: Cloister::new(shared), inbox, asked, _turn: turn }
    }

    /// What comes of a call, and how often the inbox got it.
    async fn call(&self, timeout: Duration) -> (Result<u64, CallError>, usize) {
        let answer = self.cloister.call("cart", "key", CartMessage::Count, timeout).await;
        (answer, self.asked.load(Ordering::SeqCst))
    }

    /// The same for a message that may be handled twice.
    async fn call_again(&self, timeout: Duration) -> (Result<u64, CallError>, usize) {
        let answer = self.cloister.retry_uncertain().call("cart", "key", CartMessage::Count, timeout).await;
        (answer, self.asked.load(Ordering::SeqCst))
    }
}

/// Also after a test that failed: the next does not find this inbox.
impl Drop for Paper {
    fn drop(&mut self) {
        pg::leave_scoped(NODE_SCOPE.to_owned(), INBOX.to_owned(), vec![self.inbox.get_cell()]);
        self.inbox.stop(None);
    }
}

/// A node keeps a message for a minute at most, and its sender may wait for longer. No change follows, so the call is sent again at once.
#[tokio::test]
async fn a_call_that_was_kept_as_long_as_a_node_keeps_one_is_sent_again_while_there_is_time() {
    let paper = Paper::with([Turn::Refuse(Refusal::Expired), Turn::Answer(7)]).await;
    assert_eq!(paper.call(PATIENCE).await, (Ok(7), 2));
}

/// An attempt that is as long as its answer takes would end by chance.
#[tokio::test]
async fn a_call_that_was_kept_until_its_time_is_nearly_over_is_not_sent_again() {
    let paper = Paper::with([Turn::Refuse(Refusal::Expired), Turn::Answer(7)]).await;
    let (answer, asked) = paper.call(LAST_ATTEMPT / 2).await;
    assert!(matches!(&answer, Err(CallError::NoOwner { .. })), "{answer:?}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_call_whose_actor_ended_is_sent_again_if_it_may_be_handled_twice() {
    let died = || Turn::Refuse(Refusal::Died);
    let paper = Paper::with([died(), died(), Turn::Answer(7)]).await;
    assert_eq!(paper.call_again(PATIENCE).await, (Ok(7), 3));
    drop(paper);
    let paper = Paper::with([died(), Turn::Answer(7)]).await;
    let (answer, asked) = paper.call(PATIENCE).await;
    assert!(matches!(&answer, Err(CallError::Uncertain { cause: NoAnswer::Died, .. })), "{answer:?}");
    assert_eq!(asked, 1, "it may not be handled twice");
}

/// Else it would end the actors of one owner after the other until its time is over.
#[tokio::test]
async fn a_message_that_ends_each_actor_ends_three_at_most() {
    let paper = Paper::with((0..10).map(|_| Turn::Refuse(Refusal::Died))).await;
    let (answer, asked) = paper.call_again(PATIENCE).await;
    let Err(CallError::Uncertain { cause: NoAnswer::Died, waited, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert!(waited < PATIENCE, "{waited:?}");
    assert_eq!(asked, 3);
}

/// Its node ends, and is linked still: whether the actor had the message is not known.
#[tokio::test]
async fn a_call_whose_inbox_ended_is_sent_again_after_the_next_change_if_it_may_be_handled_twice() {
    let paper = Paper::with([Turn::Drop, Turn::Answer(7)]).await;
    assert_eq!(paper.call_again(PATIENCE).await, (Ok(7), 2));
    drop(paper);
    let paper = Paper::with([Turn::Drop, Turn::Answer(7)]).await;
    let (answer, asked) = paper.call(PATIENCE).await;
    assert!(matches!(&answer, Err(CallError::Uncertain { cause: NoAnswer::Died, .. })), "{answer:?}");
    assert_eq!(asked, 1, "it may not be handled twice");
}

/// An answer that cannot be read or is too large would be no better the second time, and the message was handled.
#[tokio::test]
async fn a_call_that_was_answered_is_not_sent_again_whatever_the_answer_is() {
    let cause = "its `Serialize` fails".to_owned();
    for refusal in [Refusal::AnswerTooLarge { len: 1 << 30 }, Refusal::AnswerUnencodable { cause }] {
        let paper = Paper::with([Turn::Refuse(refusal), Turn::Answer(7)]).await;
        let (answer, asked) = paper.call_again(PATIENCE).await;
        assert!(matches!(&answer, Err(CallError::Uncertain { .. })), "{answer:?}");
        assert_eq!(asked, 1);
    }
}

/// What a later owner says does not undo what the first may have done.
#[tokio::test]
async fn after_an_attempt_that_may_have_been_handled_a_refusal_is_the_error_of_that_attempt() {
    let paper = Paper::with([Turn::Refuse(Refusal::Died), Turn::Refuse(Refusal::NoActor)]).await;
    let (answer, asked) = paper.call_again(PATIENCE).await;
    let Err(CallError::Uncertain { node, epoch, cause: NoAnswer::Died, .. }) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!((node, *epoch, asked), (&paper.cloister.node(), Some(Epoch::from_u64(7)), 2));
}
