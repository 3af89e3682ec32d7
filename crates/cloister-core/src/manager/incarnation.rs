//! Begins and ends the incarnations of a node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloister_net::clock::Clock;
use cloister_net::links::{LinkError, Links};
use cloister_net::runtime::{self, Application, Watchdog};
use cloister_proto::{Incarnation, Member, NodeId, Settings, SplitPolicy, Status, TrustRefusal};
use ractor::{Actor, ActorId, ActorRef, SpawnErr};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::arguments::ManagerArguments;
use super::close::stop;
use super::identity::IdentityFinder;
use super::restart::cause_of;
use super::{address_watch, place};
use crate::error::ExitReason;
use crate::handle::{Cloister, IncarnationState, Shared};
use crate::messages::{Command, Identity, ManagerMessage, MonitorMessage};
use crate::monitor::{MonitorActor, MonitorArguments};
use crate::rpc::InboxActor;
use crate::state_file::{StateFault, StateFile};
use crate::telemetry::TARGET;
use cloister_config::Config;

/// How much longer than `leave_timeout` the core may take to say that it has left.
const LEAVE_SLACK: Duration = Duration::from_secs(1);

/// How long a member may take to answer behind the answers of a node that leaves.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How long the monitor may take to give its claims up.
const CLAIM_LIMIT: Duration = Duration::from_secs(1);

/// How long a state file that another process has is waited for. One that this process has belongs to a write that has not ended, and is
/// waited for as long as a node takes to leave.
const STATE_FILE_IN_USE: Duration = Duration::from_secs(1);

/// How often it is looked at meanwhile.
const STATE_FILE_AGAIN: Duration = Duration::from_millis(50);

/// Begins and ends the incarnations of a node, one after another.
#[derive(Debug)]
pub(super) struct IncarnationRunner {
    shared: Arc<Shared>,
    manager: ActorRef<ManagerMessage>,
    incarnation: Option<Arc<IncarnationState>>,
    /// The actors without which the present incarnation is over.
    parts: BTreeSet<ActorId>,
    /// The background task: it finds out the address of this node, or waits for the next attempt.
    task: Option<AbortHandle>,
    /// Where what the node remembers is kept over a restart of the process.
    state_file: Option<Arc<StateFile>>,
    /// Watches the runtime that the manager, and with it the application, runs on.
    watchdog: Option<Watchdog>,
}

impl IncarnationRunner {
    pub(super) fn new(shared: Arc<Shared>, manager: ActorRef<ManagerMessage>) -> Self {
        Self {
            shared,
            manager,
            incarnation: None,
            parts: BTreeSet::new(),
            task: None,
            state_file: None,
            watchdog: None,
        }
    }

    /// Takes the state file for this node, if it is to have one, as long as its manager runs.
    pub(super) async fn open_state_file(&mut self, config: &Config) -> Result<(), ExitReason> {
        let wanted = config.state_file.clone().filter(|_| config.split == SplitPolicy::Majority);
        let Some(path) = wanted else { return Ok(()) };
        let began = Instant::now();
        loop {
            let is_held_here = StateFile::is_held_here(&path);
            let limit = if is_held_here { self.shared.leave_timeout() } else { STATE_FILE_IN_USE };
            let (path, app) = (path.clone(), config.name.clone());
            let opened = spawn_blocking(move || StateFile::open(&path, &app)).await;
            match opened.map_err(|error| ExitReason::Failed(error.to_string()))? {
                // A process that ends, or an incarnation of this one, may have it for a moment more.
                Err(error) if error.fault == StateFault::InUse && began.elapsed() < limit => {
                    sleep(STATE_FILE_AGAIN).await;
                }
                opened => {
                    self.state_file = Some(Arc::new(opened?));
                    return Ok(());
                }
            }
        }
    }

    /// Whether the present incarnation is over without this actor.
    pub(super) fn owns(&self, actor: ActorId) -> bool {
        self.parts.contains(&actor)
    }

    /// Sends the manager an order after a pause.
    pub(super) fn schedule(&mut self, pause: Duration, command: Command) {
        let manager = self.manager.clone();
        self.run(async move {
            tokio::time::sleep(pause).await;
            // A manager that is gone takes no orders.
            let _ = manager.cast(ManagerMessage(command));
        });
    }

    /// The node leaves when the manager comes to it.
    pub(super) fn stop_manager(&self) {
        self.manager.stop(Some(ExitReason::Left.to_string()));
    }

    /// Finds out the address of this node, however long that takes.
    pub(super) fn identify(&mut self, naming: &IdentityFinder) {
        let consensus = self.shared.consensus();
        let finding = naming.clone().resolve(consensus, Arc::clone(&self.shared), self.manager.clone());
        self.run(finding);
    }

    fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.cancel();
        self.task = Some(tokio::spawn(task).abort_handle());
    }

    fn cancel(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Begins an incarnation: a fresh core and fresh links under a new random number.
    pub(super) async fn begin(
        &mut self,
        arguments: &ManagerArguments,
        identity: &Identity,
    ) -> Result<(), NotBegun> {
        self.close().await;
        let ManagerArguments { config, naming, version, definitions, .. } = arguments;
        // A list counts this node once, by whatever name it has it: that is known only now.
        self.shared.need(config.consensus_for(naming.seed_kind(Some(identity))));
        let me = member(config, identity)?;
        let state_file = match self.state_file.clone() {
            Some(file) => {
                let begun = Arc::clone(&file);
                let (memory, incarnation) = spawn_blocking(move || begun.begin_incarnation())
                    .await
                    .map_err(|error| error.to_string())?;
                Some((file, memory, incarnation))
            }
            None => None,
        };
        let mut settings = Settings::new(me.clone(), self.shared.need_now(), random()?);
        settings.split = config.split;
        settings.timing = config.timing;
        settings.trust_refusal = config.trust_refusal;
        settings.owns_address = identity.own;
        let state_file = state_file.map(|(file, memory, incarnation)| {
            settings.memory = Some(memory);
            (file, incarnation)
        });
        if !settings.owns_refusals() && config.trust_refusal == TrustRefusal::Auto {
            info!(
                target: TARGET, node = %me.id,
                "`host` is no address of this machine, so the others do not take a refused connection for the end of this node: if \
                 it is killed they wait until its lease has ended (`timing.trust_refusal`)"
            );
        }
        let application = Application::watched(Arc::clone(self.shared.stall()));
        let links = naming.links(config, identity, &settings, version, application, definitions)?;
        #[cfg(feature = "test-support")]
        let links = links.map(|mut links| {
            if let Some(build) = &arguments.build {
                build.introduce(&mut links.hello);
            }
            links
        });
        if links.is_some() {
            self.shared.trouble(None);
        }
        let (seeds, admin) = (config.seeds.join(","), config.admin_listen.map(tracing::field::display));
        info!(target: TARGET, node = %me.id, consensus = settings.consensus, seeds, admin, "node started");
        let bind = links.as_ref().map(|links| links.bind);
        let incarnation = self.shared.begin(me);
        self.incarnation = Some(Arc::clone(&incarnation));
        let begun = Arc::clone(&incarnation);
        let shared = Arc::clone(&self.shared);
        let manager = self.manager.clone();
        let arguments = MonitorArguments { shared, incarnation, settings, links, manager, state_file };
        let cell = self.manager.get_cell();
        let supervisor = cell.clone();
        // On the application's runtime, as the actors that it hands messages to, and before any peer can be linked.
        let (inbox, _) = Actor::spawn_linked(None, InboxActor, Arc::clone(&self.shared), cell).await?;
        self.parts.insert(inbox.get_id());
        let spawned =
            runtime::run(async move { Actor::spawn_linked(None, MonitorActor, arguments, supervisor).await });
        let (monitor, _) = spawned.await??;
        // Record actor ids, not the manager's children: an actor that has already exited is no longer a child, but its exit is still
        // in the mailbox.
        self.parts.insert(monitor.get_id());
        self.parts.extend(begun.links().map(Links::actor_id));
        if let Some(bind) = bind {
            place::listens(bind);
        }
        let watchdog = Watchdog::start(Arc::clone(self.shared.stall()));
        self.watchdog = Some(watchdog.map_err(|error| error.to_string())?);
        if let Some(address) = naming.found(identity) {
            let (manager, naming, identity) = (self.manager.clone(), naming.clone(), identity.clone());
            self.run(async move {
                let cause = tokio::select! {
                    () = address_watch::lost(address) => {
                        format!("{address}, which this node was known by, is no longer an address of this machine")
                    }
                    () = naming.listed(&identity) => {
                        format!("the seeds name this machine, and not by {address}, which this node was known by")
                    }
                };
                // A manager that is gone takes no orders.
                let _ = manager.cast(ManagerMessage(Command::Moved(cause)));
            });
        }
        Ok(())
    }

    /// Ends the present incarnation in order: the others take over while this node is still linked. `stop_children` begins once this node
    /// claims nothing: a call by key then goes to the next owner instead of a child that has stopped. What calls by key of other
    /// nodes are with its actors by then is answered first, and so are calls that this node has made.
    pub(super) async fn leave(&mut self, stop_children: impl Future<Output = ()>) {
        self.cancel();
        let Some(monitor) = self.incarnation.as_ref().and_then(|incarnation| incarnation.monitor()) else {
            stop_children.await;
            return self.close().await;
        };
        let limit = self.shared.leave_timeout() + LEAVE_SLACK;
        let leave = monitor.call(MonitorMessage::Leave, Some(limit));
        let mut progress = self.shared.progress();
        let claims_nothing =
            progress.wait_for(|progress| matches!(progress.status, Status::Stopping | Status::Stopped));
        let in_progress = self.shared.calls_in_progress();
        let answer_calls = async {
            if timeout(self.shared.leave_timeout(), in_progress.wait_for_none()).await.is_err() {
                let (calls, own_calls) = in_progress.numbers();
                warn!(
                    target: TARGET, calls, own_calls,
                    "calls of other nodes, or calls of this node to others, are not answered within `timing.leave_timeout`, and their callers \
                     lose the link: answer them sooner, or raise it"
                );
            }
        };
        let stop_children = async {
            // A monitor that has ended claims nothing either, and announces nothing.
            let _ = timeout(CLAIM_LIMIT, claims_nothing).await;
            tokio::join!(stop_children, answer_calls);
            // A monitor that has ended waits for nothing.
            let _ = monitor.cast(MonitorMessage::Finished);
        };
        let (left, ()) = tokio::join!(leave, stop_children);
        if !left.is_ok_and(|left| left.is_success()) {
            info!(target: TARGET, "leaving took too long: closing all links");
        }
        self.flush_answers().await;
        self.close().await;
    }

    /// Waits until what was answered has arrived. An answer goes from its port through a task, a session and a writer of ractor, none of which
    /// says when it is done. So each member is asked something, by the same way behind the answers. The second time is for calls
    /// that were on their way here the first time: this node's inbox has refused them before it answers itself.
    async fn flush_answers(&self) {
        let cloister = Cloister::new(Arc::clone(&self.shared));
        for _ in 0..2 {
            cloister.member_states(FLUSH_LIMIT).await;
        }
    }

    /// Ends whatever incarnation there is, at once. The task goes on: a node may run alone while it looks for its address.
    pub(super) async fn close(&mut self) {
        self.watchdog = None;
        let Some(incarnation) = self.incarnation.take() else { return };
        incarnation.retire();
        if let Some(links) = incarnation.links() {
            stop(links).await;
        }
        let parts = std::mem::take(&mut self.parts);
        for part in self.manager.get_cell().get_children() {
            if parts.contains(&part.get_id()) {
                part.kill();
            }
        }
    }
}

impl Drop for IncarnationRunner {
    /// A manager that panics, or whose runtime ends, ends without a word. Its incarnation must not look alive, and what of it runs on the
    /// runtime of the node must not go on.
    fn drop(&mut self) {
        self.cancel();
        let Some(incarnation) = self.incarnation.take() else { return };
        self.shared.end_incarnation(&incarnation, ExitReason::Failed("its manager crashed".to_owned()));
        let children = self.manager.get_cell().get_children();
        let parts: Vec<_> = children.into_iter().filter(|part| self.parts.contains(&part.get_id())).collect();
        // The runtime has begun, since an incarnation has.
        if let Ok(runtime) = runtime::handle() {
            runtime.spawn(async move {
                if let Some(links) = incarnation.links() {
                    stop(links).await;
                }
                parts.iter().for_each(|part| part.kill());
            });
        }
    }
}

/// Why an incarnation has not begun.
#[derive(Debug)]
pub(super) struct NotBegun(pub(super) ExitReason);

impl From<String> for NotBegun {
    fn from(cause: String) -> Self {
        Self(ExitReason::Failed(cause))
    }
}

impl From<SpawnErr> for NotBegun {
    /// The cause alone, without the words that ractor puts around it.
    fn from(error: SpawnErr) -> Self {
        let cause = match error {
            SpawnErr::StartupFailed(cause) => cause,
            other => return cause_of(other).into(),
        };
        match cause.downcast::<LinkError>() {
            Ok(error) => match *error {
                LinkError::Listen(error) => Self(error.into()),
                other => other.to_string().into(),
            },
            Err(cause) => cause.to_string().into(),
        }
    }
}

fn member(config: &Config, identity: &Identity) -> Result<Member, String> {
    let id = NodeId::new(identity.name.clone(), Incarnation(random()?), Clock.unix_ms());
    Ok(Member::new(id, Arc::new(config.tags.iter().cloned().collect())))
}

/// A number that cannot be guessed.
pub(super) fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system gives no random numbers: {error}"))
}

#[cfg(test)]
mod tests;
