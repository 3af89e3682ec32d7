//! The same under a supervisor of one's own. It starts the manager again after a crash. The handle and the listeners go
//! on with the new one. To show it, the crash is brought about on purpose.

use std::time::Duration;

use cloister::Message;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use cloister::{ManagerActor, ManagerArguments, StateChange, Status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let arguments = ManagerArguments::load()?;
    let cloister = arguments.handle();

    let (supervisor, supervised) = Actor::spawn(None, Supervisor, arguments).await?;
    cloister.subscribe(&supervisor);
    cloister.wait_until_up(Duration::from_secs(30)).await?;

    let first = cloister.node();
    println!("up as {first}; now the manager crashes");
    for child in supervisor.get_children() {
        child.kill();
    }
    while cloister.node() == first || cloister.status() != Status::Up {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("up again as {}", cloister.node());

    supervisor.stop(None);
    supervised.await?;
    println!("{}", cloister.wait_stopped().await);
    Ok(())
}

/// Supervises the manager, and hears of every change.
struct Supervisor;

#[derive(Message)]
#[message(local)]
enum SupervisorMessage {
    Changed(StateChange),
}

impl From<StateChange> for SupervisorMessage {
    fn from(change: StateChange) -> Self {
        Self::Changed(change)
    }
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = ManagerArguments;
    type Arguments = ManagerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        arguments: ManagerArguments,
    ) -> Result<ManagerArguments, ActorProcessingErr> {
        start(&myself, &arguments).await?;
        Ok(arguments)
    }

    async fn handle(
        &self,
        _: ActorRef<SupervisorMessage>,
        SupervisorMessage::Changed(change): SupervisorMessage,
        _: &mut ManagerArguments,
    ) -> Result<(), ActorProcessingErr> {
        println!("#{} {} -> {} {:?}", change.seq, change.from, change.to, change.changes);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        arguments: &mut ManagerArguments,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(..) => start(&myself, arguments).await,
            // It was killed. One that has left ends without such a reason, and is not started again.
            SupervisionEvent::ActorTerminated(_, _, Some(reason)) if reason == "killed" => {
                start(&myself, arguments).await
            }
            _ => Ok(()),
        }
    }

    async fn post_stop(
        &self,
        myself: ActorRef<SupervisorMessage>,
        _: &mut ManagerArguments,
    ) -> Result<(), ActorProcessingErr> {
        // Stopping the manager is leaving the cluster in order. It takes as long as `drain_delay`, `drain_timeout` and `leave_timeout` at most.
        myself.get_cell().stop_children_and_wait(None, Some(Duration::from_secs(30))).await;
        Ok(())
    }
}

async fn start(
    supervisor: &ActorRef<SupervisorMessage>,
    arguments: &ManagerArguments,
) -> Result<(), ActorProcessingErr> {
    let name = Some("cloister".to_owned());
    Actor::spawn_linked(name, ManagerActor, arguments.clone(), supervisor.get_cell()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cloister::Config;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    /// The supervisor, which notes here that it has handled the end of its manager.
    struct Watched(UnboundedSender<()>);

    impl Actor for Watched {
        type Msg = SupervisorMessage;
        type State = ManagerArguments;
        type Arguments = ManagerArguments;

        async fn pre_start(
            &self,
            myself: ActorRef<SupervisorMessage>,
            arguments: ManagerArguments,
        ) -> Result<ManagerArguments, ActorProcessingErr> {
            Supervisor.pre_start(myself, arguments).await
        }

        async fn handle_supervisor_evt(
            &self,
            myself: ActorRef<SupervisorMessage>,
            event: SupervisionEvent,
            arguments: &mut ManagerArguments,
        ) -> Result<(), ActorProcessingErr> {
            let is_end =
                matches!(event, SupervisionEvent::ActorTerminated(..) | SupervisionEvent::ActorFailed(..));
            Supervisor.handle_supervisor_evt(myself, event, arguments).await?;
            if is_end {
                self.0.send(())?;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_node_that_was_killed_is_started_again_and_one_that_has_left_is_not() {
        let arguments = ManagerArguments::new(Config::new("embedded")).expect("it is valid");
        let cloister = arguments.handle();
        let (ended, mut ends) = unbounded_channel();
        let (supervisor, _) = Actor::spawn(None, Watched(ended), arguments).await.expect("it starts");
        for child in supervisor.get_children() {
            child.kill();
        }
        ends.recv().await.expect("its end is handled");
        cloister.wait_until_up(Duration::from_secs(30)).await.expect("it is alone");
        cloister.leave().await;
        ends.recv().await.expect("its end is handled");
        assert_eq!(cloister.status(), Status::Stopped);
    }
}
