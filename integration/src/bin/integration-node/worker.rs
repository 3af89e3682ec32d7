//! An actor that others call, which behaves as each message demands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cloister::Cloister;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::ractor_cluster::RactorClusterMessage;

use crate::counter;

/// The name under which it is found.
pub(crate) const NAME: &str = "worker";

/// Answers, or does not.
struct Worker;

#[derive(RactorClusterMessage)]
pub(crate) enum WorkerMessage {
    /// Reply with the name of this node.
    #[rpc]
    Work(RpcReplyPort<String>),
    /// Take this.
    Take(Vec<u8>),
    /// How many bytes have you taken?
    #[rpc]
    Taken(RpcReplyPort<u64>),
    /// Give so many bytes.
    #[rpc]
    Give(u64, RpcReplyPort<Vec<u8>>),
}

/// How many messages it has taken, and how many bytes.
static TAKEN: Mutex<(u64, u64)> = Mutex::new((0, 0));

/// How often it was asked to work.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// How often the worker of this node was asked to work, whether it has answered or not.
pub(crate) fn asked() -> u64 {
    ASKED.load(Ordering::SeqCst)
}

/// How many messages the worker of this node has taken, and how many bytes.
pub(crate) fn taken() -> (u64, u64) {
    *TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a worker if `NODE_WORKER` asks for one; the counting actors are registered before it, so that they exist when it is found.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    let Ok(role) = std::env::var("NODE_WORKER") else { return Ok(()) };
    counter::register(cloister).await?;
    let (worker, _) = Actor::spawn(None, Worker, role).await?;
    cloister.register(NAME, &worker).expect("invariant: no other actor has the name");
    Ok(())
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = String;
    type Arguments = String;

    async fn pre_start(
        &self,
        _: ActorRef<WorkerMessage>,
        role: String,
    ) -> Result<String, ActorProcessingErr> {
        Ok(role)
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        role: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Work(reply) => {
                ASKED.fetch_add(1, Ordering::SeqCst);
                match role.as_str() {
                    "slow" => std::future::pending().await,
                    "panics" => panic!("as it was asked to"),
                    role => reply.send(role.to_owned())?,
                }
            }
            WorkerMessage::Take(bytes) => {
                let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
                taken.0 += 1;
                taken.1 += bytes.len() as u64;
            }
            WorkerMessage::Taken(reply) => reply.send(taken().1)?,
            WorkerMessage::Give(len, reply) => reply.send(vec![7; usize::try_from(len)?])?,
        }
        Ok(())
    }
}
