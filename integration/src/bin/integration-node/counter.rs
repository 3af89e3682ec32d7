//! Counts what is sent to all, and says how much came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister::Cloister;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::ractor_cluster::RactorClusterMessage;

/// The name under which the one that counts is found.
pub(crate) const COUNTER: &str = "counter";

/// The name under which the one that tells is found.
pub(crate) const TALLY: &str = "tally";

/// Counts. What is sent to all must be `Clone`, which a message with a reply port is not: hence two actors.
struct Counter;

/// Tells.
struct Tally;

#[derive(Clone, RactorClusterMessage)]
pub(crate) enum CounterMessage {
    /// One more.
    Note(u64),
}

#[derive(RactorClusterMessage)]
pub(crate) enum TallyMessage {
    /// How many so far?
    #[rpc]
    Read(RpcReplyPort<u64>),
}

/// Registers both.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    let count = Arc::new(AtomicU64::new(0));
    let (counter, _) = Actor::spawn(None, Counter, Arc::clone(&count)).await?;
    let (tally, _) = Actor::spawn(None, Tally, count).await?;
    cloister.register(COUNTER, &counter).expect("invariant: no other actor has the name");
    cloister.register(TALLY, &tally).expect("invariant: no other actor has the name");
    Ok(())
}

impl Actor for Counter {
    type Msg = CounterMessage;
    type State = Arc<AtomicU64>;
    type Arguments = Arc<AtomicU64>;

    async fn pre_start(
        &self,
        _: ActorRef<CounterMessage>,
        count: Arc<AtomicU64>,
    ) -> Result<Arc<AtomicU64>, ActorProcessingErr> {
        Ok(count)
    }

    async fn handle(
        &self,
        _: ActorRef<CounterMessage>,
        CounterMessage::Note(_): CounterMessage,
        count: &mut Arc<AtomicU64>,
    ) -> Result<(), ActorProcessingErr> {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Actor for Tally {
    type Msg = TallyMessage;
    type State = Arc<AtomicU64>;
    type Arguments = Arc<AtomicU64>;

    async fn pre_start(
        &self,
        _: ActorRef<TallyMessage>,
        count: Arc<AtomicU64>,
    ) -> Result<Arc<AtomicU64>, ActorProcessingErr> {
        Ok(count)
    }

    async fn handle(
        &self,
        _: ActorRef<TallyMessage>,
        TallyMessage::Read(reply): TallyMessage,
        count: &mut Arc<AtomicU64>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(count.load(Ordering::Relaxed))?)
    }
}
