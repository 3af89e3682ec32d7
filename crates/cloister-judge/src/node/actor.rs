//! The actor that takes calls by key.

use std::sync::Arc;

use cloister::Cloister;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde::{Deserialize, Serialize};

use super::NAME;
use super::register::Registers;
use crate::history::{Outcome, Request};

/// A request by a call of Cloister. Its fields travel in MessagePack.
#[derive(cloister::Message)]
pub(super) struct Message {
    pub(super) key: u32,
    pub(super) request: WireRequest,
    pub(super) reply: RpcReplyPort<WireOutcome>,
}

/// A request as it travels.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct WireRequest(Request);

/// An outcome as it travels.
#[derive(Serialize, Deserialize)]
pub(super) struct WireOutcome(Outcome);

impl From<Request> for WireRequest {
    fn from(request: Request) -> Self {
        Self(request)
    }
}

impl From<WireOutcome> for Outcome {
    fn from(WireOutcome(outcome): WireOutcome) -> Self {
        outcome
    }
}

/// Serves each message in a task of its own: one that waits for the store delays no other key.
struct RegisterActor;

pub(super) async fn register(
    cloister: &Cloister,
    registers: Arc<Registers>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (actor, _) = Actor::spawn(None, RegisterActor, registers).await?;
    cloister.register(NAME, &actor)?;
    Ok(())
}

impl Actor for RegisterActor {
    type Msg = Message;
    type State = Arc<Registers>;
    type Arguments = Arc<Registers>;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        registers: Arc<Registers>,
    ) -> Result<Arc<Registers>, ActorProcessingErr> {
        Ok(registers)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        Message { key, request, reply }: Message,
        registers: &mut Arc<Registers>,
    ) -> Result<(), ActorProcessingErr> {
        let registers = Arc::clone(registers);
        tokio::spawn(async move {
            // The caller may have given up.
            let _ = reply.send(WireOutcome(registers.serve(key, request.0).await));
        });
        Ok(())
    }
}
