//! The only place with effects: what the core decides is done here.

mod change_line;

use std::mem::discriminant;
use std::sync::Arc;

use cloister_net::links::Links;
use cloister_proto::{
    Action, ClusterState, Epoch, Event, Held, LinkId, Node, SplitReport, SplitWarning, Status, Time, Timing,
    Transition,
};
use ractor::{ActorRef, RpcReplyPort};
use tracing::{error, info, warn};

use crate::error::ExitReason;
use crate::handle::Shared;
use crate::listener::HoldToken;
use crate::messages::{Command, ManagerMessage, MonitorMessage};
use crate::monitor::publisher::Publisher;
use crate::monitor::recorder::Recorder;
use crate::recorded;
use crate::telemetry::TARGET;

/// Performs the actions of one core.
pub(crate) struct Effects {
    shared: Arc<Shared>,
    publisher: Publisher,
    links: Option<Links>,
    recorder: Option<Recorder>,
    timing: Timing,
    manager: ActorRef<ManagerMessage>,
    monitor: ActorRef<MonitorMessage>,
    waiting_for_stop: Vec<RpcReplyPort<()>>,
    /// Those that wait until this node, which drains, may leave.
    waiting_to_leave: Vec<RpcReplyPort<()>>,
    leave_prepared: bool,
    /// The hold of the manager on the stop of this node, which leaves: it stops its children meanwhile.
    manager_hold: Option<Arc<HoldToken>>,
    stopped: bool,
    split_warnings: SplitWarnings,
    /// Since when this node takes part in a round.
    rehashing_since: Option<Time>,
    /// Whether this node has been up since it last began to assemble.
    was_up: bool,
}

/// The warnings that hold now, so that each is logged once each time it becomes true.
#[derive(Debug, Default)]
struct SplitWarnings(Vec<SplitWarning>);

impl SplitWarnings {
    /// Those of `now` that did not hold before. The same warning with other numbers is not new.
    fn begun(&mut self, now: Vec<SplitWarning>) -> Vec<SplitWarning> {
        let before = std::mem::replace(&mut self.0, now.clone());
        let held =
            |warning: &SplitWarning| before.iter().any(|one| discriminant(one) == discriminant(warning));
        now.into_iter().filter(|warning| !held(warning)).collect()
    }
}

impl Effects {
    pub(crate) fn new(
        shared: Arc<Shared>,
        publisher: Publisher,
        links: Option<Links>,
        recorder: Option<Recorder>,
        timing: Timing,
        manager: ActorRef<ManagerMessage>,
        monitor: ActorRef<MonitorMessage>,
    ) -> Self {
        Self {
            shared,
            publisher,
            links,
            recorder,
            timing,
            manager,
            monitor,
            waiting_for_stop: Vec::new(),
            waiting_to_leave: Vec::new(),
            leave_prepared: false,
            manager_hold: None,
            stopped: false,
            split_warnings: SplitWarnings::default(),
            rehashing_since: None,
            was_up: false,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.clock().now()
    }

    /// What the wall clock shows, in milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.shared.clock().unix_ms()
    }

    /// Whether there is a network.
    pub(crate) fn is_linked(&self) -> bool {
        self.links.is_some()
    }

    /// When the last byte came in by each link.
    pub(crate) fn last_received(&self) -> Vec<(LinkId, Time)> {
        self.links.as_ref().map(Links::last_received).unwrap_or_default()
    }

    /// A peer is linked: calls that wait for it may go on.
    pub(crate) fn reaches_more(&self) {
        self.shared.turn();
    }

    /// Answers when this node, which drains, may leave.
    pub(crate) fn answer_when_leave_is_prepared(&mut self, reply: RpcReplyPort<()>) {
        if self.leave_prepared {
            // The caller may have given up.
            let _ = reply.send(());
        } else {
            self.waiting_to_leave.push(reply);
        }
    }

    pub(crate) fn listeners_warm_up(&self) -> bool {
        self.shared.listeners().warm_up()
    }

    /// The manager has done what it does before this node stops.
    pub(crate) fn release_manager_hold(&mut self) {
        self.manager_hold = None;
    }

    /// Lets readers see what `node` decided.
    pub(crate) fn publish(&mut self, node: &Node) {
        self.publisher.publish(node);
    }

    /// Answers when this node has left; at once if it has.
    pub(crate) fn answer_when_stopped(&mut self, reply: RpcReplyPort<()>) {
        if self.stopped {
            // The caller may have given up.
            let _ = reply.send(());
        } else {
            self.waiting_for_stop.push(reply);
        }
    }

    /// Does what the core asks for. What follows from it at once comes back as an event.
    pub(crate) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { link, message } => self.with_links(|links| links.send(link, &message)),
            Action::Close { link, reason } => {
                info!(target: TARGET, link = link.0, reason = reason.as_str(), "closing a link");
                self.with_links(|links| links.close(link, reason));
            }
            Action::Connect { peer } => self.with_links(|links| links.connect(&peer)),
            Action::Notify(change) => return self.notify(&change),
            Action::Fail(fatal) => {
                error!(target: TARGET, error = %fatal, "this node cannot go on");
                self.report(Command::Failed(ExitReason::Fatal(fatal)));
            }
            Action::Persist { seq, memory } => {
                if let Some(recorder) = &self.recorder {
                    recorder.record(seq, memory);
                }
            }
            Action::LeavePrepared => {
                self.leave_prepared = true;
                for reply in self.waiting_to_leave.drain(..) {
                    // The caller may have given up.
                    let _ = reply.send(());
                }
            }
            Action::Stopped => {
                self.stopped = true;
                for reply in self.waiting_for_stop.drain(..) {
                    // The caller may have given up.
                    let _ = reply.send(());
                }
            }
        }
        None
    }

    /// Records how long a round took, when it ends on this node.
    fn record_round(&mut self, to: Status) {
        let now = self.now();
        if to == Status::Rehashing {
            self.rehashing_since.get_or_insert(now);
        } else if let Some(since) = self.rehashing_since.take() {
            recorded::round(if to == Status::Up { "installed" } else { "aborted" }, now.since(since));
        }
    }

    /// Tells listeners; when none of them holds a change that could be held, the core hears so at once.
    fn notify(&mut self, change: &Transition) -> Option<Event> {
        let state = &change.state;
        change_line::log(change, self.was_up);
        self.was_up = change.to == Status::Up || (self.was_up && change.to == Status::Rehashing);
        self.record_round(change.to);
        self.warn_of_splits(state);
        let placement = self.publisher.placement(state);
        let (monitor, timing) = (self.monitor.clone(), self.timing);
        let token = |held| {
            let (epoch, limit) = match held {
                Held::View(epoch) => (epoch, timing.rehash_timeout),
                Held::Intent(_) => (state.epoch().unwrap_or(Epoch::ZERO), timing.rehash_timeout),
                Held::Leave => (state.epoch().unwrap_or(Epoch::ZERO), timing.leave_timeout),
            };
            HoldToken::new(held, epoch, state.planned.clone(), monitor.clone(), limit)
        };
        if change.hold == Some(Held::Leave) {
            self.manager_hold = Some(token(Held::Leave));
        }
        let (manager_hold, token) = (&self.manager_hold, &token);
        let hold = change.hold.map(|held| move || manager_hold.clone().unwrap_or_else(|| token(held)));
        let incarnation = self.publisher.incarnation();
        let numbered = self.publisher.numbered(state);
        let held =
            self.shared.listeners().notify(change, numbered, placement, hold, || incarnation.is_over());
        match change.to {
            Status::Up => self.with_links(|links| links.assembled(true)),
            Status::Assembling => self.with_links(|links| links.assembled(false)),
            _ => {}
        }
        self.shared.announce_of(incarnation, change.to);
        if change.to == Status::Up && change.from != Status::Up && !incarnation.is_over() {
            self.report(Command::Up);
        }
        let held = held || self.manager_hold.is_some();
        change.hold.filter(|_| !held).map(|held| Event::HoldReleased { held })
    }

    /// Warns while there is time: later the network has split, or one more member is gone.
    fn warn_of_splits(&mut self, state: &ClusterState) {
        let report = self.shared.split_report(state);
        let warnings = report.as_ref().map(SplitReport::warnings).unwrap_or_default();
        for warning in self.split_warnings.begun(warnings) {
            let epoch = state.epoch().map(tracing::field::display);
            warn!(target: TARGET, node = %state.node.id.name(), epoch, reason = %warning, "cluster at risk");
        }
    }

    fn with_links(&self, with: impl FnOnce(&Links)) {
        if let Some(links) = &self.links {
            with(links);
        }
    }

    fn report(&self, command: Command) {
        // Without its manager a monitor is killed within a moment.
        let _ = self.manager.cast(ManagerMessage(command));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_logged_once_each_time_it_becomes_true() {
        let two = |members| SplitWarning::TwoMaySurvive { members, consensus: 2 };
        let mut warnings = SplitWarnings::default();
        let mut begun = |now: &[SplitWarning]| warnings.begun(now.to_vec());
        assert_eq!(begun(&[two(4)]), [two(4)]);
        assert_eq!(begun(&[two(5)]), [], "it still holds");
        assert_eq!(begun(&[]), []);
        assert_eq!(begun(&[two(4)]), [two(4)], "it holds again");
    }
}
