//! An actor that others call, which behaves as it is told.

use cloister::Cloister;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::ractor_cluster::RactorClusterMessage;

/// The name under which it is found.
pub(crate) const NAME: &str = "worker";

/// Answers, or does not.
struct Worker;

#[derive(RactorClusterMessage)]
pub(crate) enum WorkerMessage {
    /// Say who you are.
    #[rpc]
    Work(RpcReplyPort<String>),
    /// Take these bytes.
    Take(Vec<u8>),
    /// How many bytes have you taken?
    #[rpc]
    Taken(RpcReplyPort<u64>),
    /// Give so many bytes.
    #[rpc]
    Give(u64, RpcReplyPort<Vec<u8>>),
}

/// How the worker behaves, and what it has.
struct Desk {
    role: String,
    taken: u64,
}

/// Registers a worker if `NODE_WORKER` asks for one.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    let Ok(role) = std::env::var("NODE_WORKER") else { return Ok(()) };
    let (worker, _) = Actor::spawn(None, Worker, role).await?;
    cloister.register(NAME, &worker).expect("invariant: nobody else has the name");
    Ok(())
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = Desk;
    type Arguments = String;

    async fn pre_start(&self, _: ActorRef<WorkerMessage>, role: String) -> Result<Desk, ActorProcessingErr> {
        Ok(Desk { role, taken: 0 })
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Work(reply) => match desk.role.as_str() {
                "slow" => std::future::pending().await,
                "panics" => panic!("as it was told"),
                role => reply.send(role.to_owned())?,
            },
            WorkerMessage::Take(bytes) => desk.taken += bytes.len() as u64,
            WorkerMessage::Taken(reply) => reply.send(desk.taken)?,
            WorkerMessage::Give(len, reply) => reply.send(vec![7; usize::try_from(len)?])?,
        }
        Ok(())
    }
}
