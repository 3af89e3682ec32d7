//! An actor that others call, which behaves as it is told.

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
    /// Say who you are.
    #[rpc]
    Work(RpcReplyPort<String>),
}

/// Registers a worker if `NODE_WORKER` asks for one; before it those that count, so who finds it finds them, too.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    let Ok(role) = std::env::var("NODE_WORKER") else { return Ok(()) };
    counter::register(cloister).await?;
    let (worker, _) = Actor::spawn(None, Worker, role).await?;
    cloister.register(NAME, &worker).expect("invariant: nobody else has the name");
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
        WorkerMessage::Work(reply): WorkerMessage,
        role: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        match role.as_str() {
            "slow" => std::future::pending().await,
            "panics" => panic!("as it was told"),
            role => Ok(reply.send(role.to_owned())?),
        }
    }
}
