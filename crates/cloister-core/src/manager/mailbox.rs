//! An actor that stands for the manager in tests.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc::UnboundedSender;

use crate::messages::{Command, ManagerMessage};

/// Stands for the manager: passes on what it gets.
pub(super) struct Mailbox(pub(super) UnboundedSender<Command>);

impl Actor for Mailbox {
    type Msg = ManagerMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ManagerMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<ManagerMessage>,
        message: ManagerMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.0.send(message.0).map_err(Into::into)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<ManagerMessage>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
