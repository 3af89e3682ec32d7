//! The actor that holds the core: it feeds it events and the time, and performs what it decides.

mod clocks;
pub(crate) mod publisher;
pub(crate) mod recorder;
mod timer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloister_net::clock::Watch;
use cloister_net::links::{LinkEvent, LinkSettings, Links};
use cloister_proto::{Event, LinkId, Message, Node, Rejection, Settings, Time};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tracing::warn;

use crate::effects::Effects;
use crate::handle::{IncarnationState, Shared};
use crate::messages::{CoreReport, ManagerMessage, MonitorMessage};
use crate::recorded;
use crate::state_file::StateFile;
use crate::telemetry::TARGET;

use clocks::ClockWarnings;
use publisher::Publisher;
use recorder::Recorder;
use timer::Timer;

/// Holds the core of one incarnation of this node.
///
/// Its handler never waits: it takes one message, feeds the core, performs the actions, and sets one timer.
#[derive(Debug)]
pub(crate) struct MonitorActor;

/// What a monitor is started with.
pub(crate) struct MonitorArguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incarnation: Arc<IncarnationState>,
    pub(crate) settings: Settings,
    /// How to reach others; `None` for a node without a network.
    pub(crate) links: Option<LinkSettings>,
    pub(crate) manager: ActorRef<ManagerMessage>,
    /// Where the core's memory is kept, and the number of the incarnation that keeps it there.
    pub(crate) state_file: Option<(Arc<StateFile>, u64)>,
}

/// What a monitor keeps.
pub(crate) struct MonitorState {
    node: Node,
    effects: Effects,
    timer: Timer,
    /// Tells when this machine stood still.
    watch: Watch,
    /// A jump up to this may be the clocks' own.
    slack: Duration,
    /// What the node has not believed, as far as it is counted in the metrics.
    disbelieved: BTreeMap<Rejection, u64>,
    clock_warnings: ClockWarnings,
    /// When the last heartbeat came by each open link.
    heartbeats: BTreeMap<LinkId, Time>,
}

impl Actor for MonitorActor {
    type Msg = MonitorMessage;
    type State = MonitorState;
    type Arguments = MonitorArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<MonitorMessage>,
        arguments: MonitorArguments,
    ) -> Result<MonitorState, ActorProcessingErr> {
        let MonitorArguments { shared, incarnation, settings, links, manager, state_file } = arguments;
        let links = match links {
            Some(links) => Some(start_links(links, manager.get_cell(), &shared, &myself).await?),
            None => None,
        };
        incarnation.begin(myself.clone(), links.clone());
        let publisher = Publisher::new(Arc::clone(&shared), Arc::clone(&incarnation));
        let (slack, timing) = (settings.timing.clock_slack(), settings.timing);
        let node = Node::new(settings, shared.clock().now());
        let timer = Timer::new(myself.clone());
        let recorder =
            state_file.map(|(file, incarnation)| Recorder::start(file, incarnation, myself.clone()));
        let effects = Effects::new(shared, publisher, links, recorder, timing, manager, myself);
        Ok(MonitorState {
            node,
            effects,
            timer,
            watch: Watch::start(),
            slack,
            disbelieved: BTreeMap::new(),
            clock_warnings: ClockWarnings::default(),
            heartbeats: BTreeMap::new(),
        })
    }

    async fn post_start(
        &self,
        _: ActorRef<MonitorMessage>,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        if state.effects.listeners_warm_up() {
            state.feed(Event::WarmsUp(true));
        }
        if !state.effects.is_linked() {
            // There is no peer to look for: discovery is complete at once.
            let (unverified, refusing, named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            state.feed(Event::DiscoveryUpdate { unverified, refusing, named, complete: true });
        }
        state.settle();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<MonitorMessage>,
        message: MonitorMessage,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        state.look_at_the_clocks();
        match message {
            MonitorMessage::Link(event, at) => state.link(event, at)?,
            MonitorMessage::Tick => state.tick(),
            MonitorMessage::HoldReleased(held) => state.feed(Event::HoldReleased { held }),
            MonitorMessage::Remembered(seq) => state.feed(Event::Persisted { seq }),
            MonitorMessage::NotRemembered(cause) => state.feed(Event::PersistFailed { cause }),
            MonitorMessage::Leave(reply) => {
                state.effects.answer_when_stopped(reply);
                state.feed(Event::Leave);
            }
            MonitorMessage::WarmsUp => state.feed(Event::WarmsUp(true)),
            MonitorMessage::Drain(reply) => {
                state.effects.answer_when_leave_is_prepared(reply);
                state.feed(Event::Drain);
            }
            MonitorMessage::Finished => state.effects.release_manager_hold(),
            MonitorMessage::Report(reply) => {
                let now = state.effects.now();
                let report = CoreReport { obstacles: state.node.obstacles(now), peers: state.node.peers() };
                // The caller may have given up.
                let _ = reply.send(report);
                return Ok(());
            }
        }
        state.settle();
        Ok(())
    }
}

impl MonitorState {
    fn link(&mut self, event: LinkEvent, at: Time) -> Result<(), ActorProcessingErr> {
        let now = self.effects.now();
        let event = match event {
            LinkEvent::Linked { link, peer, hello } => {
                self.effects.reaches_more();
                Event::Linked { link, peer, terms: hello.terms() }
            }
            LinkEvent::Unlinked { link } => {
                self.heartbeats.remove(&link);
                Event::Unlinked { link, at }
            }
            LinkEvent::Received { link, message } => {
                if matches!(message, Message::Heartbeat(_))
                    && let Some(before) = self.heartbeats.insert(link, at)
                {
                    recorded::silence(at.since(before));
                }
                Event::Received { link, message }
            }
            LinkEvent::Refused { address, began } => Event::Refused { address, began },
            LinkEvent::DiscoveryUpdate { unverified, refusing, named, complete } => {
                Event::DiscoveryUpdate { unverified, refusing, named, complete }
            }
            LinkEvent::Failed(error) => return Err(error.into()),
        };
        self.node.handle(now, event);
        Ok(())
    }

    /// Before anything else is taken in: what came in while this machine stood still must not find it with its lease.
    fn look_at_the_clocks(&mut self) {
        let by = self.watch.jump();
        if by <= self.slack {
            return;
        }
        warn!(
            target: TARGET,
            ?by,
            "the wall clock jumped ahead of the monotonic clock: this machine stood still, or its clock was set; the lease is \
             given up and earned anew"
        );
        self.feed(Event::ClockJumped { by });
        self.effects.publish(&self.node);
    }

    fn tick(&mut self) {
        self.timer.fired();
        for (link, at) in self.effects.last_received() {
            self.feed(Event::BytesReceived { link, at });
        }
        self.feed(Event::WallClock { unix_ms: self.effects.unix_ms() });
        self.feed(Event::Tick);
        recorded::rejections_of_core(&mut self.disbelieved, self.node.rejections());
        for (peer, obstacle) in self.clock_warnings.due(self.effects.now(), self.node.clocks_apart()) {
            let node = &self.node.state().node.id;
            warn!(target: TARGET, %node, peer = %peer.name(), reason = %obstacle, "wall clocks differ too much");
        }
    }

    fn feed(&mut self, event: Event) {
        self.node.handle(self.effects.now(), event);
    }

    /// Performs what the core decided, and what follows from that at once, and sets the timer.
    fn settle(&mut self) {
        loop {
            // Before any action: a node that gives up a view must have stopped claiming it when peers learn of it.
            self.effects.publish(&self.node);
            let Some(action) = self.node.next_action() else { break };
            if let Some(event) = self.effects.perform(action) {
                self.feed(event);
            }
        }
        self.timer.set(self.effects.now(), self.node.next_timeout());
    }
}

async fn start_links(
    settings: LinkSettings,
    supervisor: ActorCell,
    shared: &Shared,
    monitor: &ActorRef<MonitorMessage>,
) -> Result<Links, ActorProcessingErr> {
    let (monitor, clock) = (monitor.clone(), shared.clock());
    let sink = move |event| {
        // The manager closes the links of a monitor that is gone.
        let _ = monitor.cast(MonitorMessage::Link(event, clock.now()));
    };
    Ok(Links::start(settings, supervisor, shared.clock(), Arc::new(sink)).await?)
}
