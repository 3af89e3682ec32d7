//! What a listener holds a round with.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use cloister_proto::{ClusterState, Epoch, Held, Status, View};
use ractor::{ActorId, ActorRef};
use tokio::sync::watch;
use tracing::info;

use crate::messages::MonitorMessage;
use crate::recorded;
use crate::telemetry::TARGET;

/// Keeps a new view or an announced round from beginning, or a node that leaves from stopping. It ends when it and all its clones are
/// dropped, or when its time is over. That is `rehash_timeout` for a view and for an announcement, `leave_timeout` for a stop.
///
/// From [`StateChange::hold`](crate::StateChange::hold). A listener that moves data keeps it while it works; one that
/// does not care need not take it.
#[derive(Clone)]
pub struct Hold(Arc<HoldToken>);

/// Why a round does not wait for a [`Hold`] any more, from [`Hold::over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HoldEnd {
    /// Another view is being agreed on, or another one is planned: its change offers a hold of its own.
    Superseded,
    /// The view will not begin: its round was aborted, or this node gave it up.
    Abandoned,
    /// The time is over: the view begins, or the node stops, without waiting.
    TimedOut,
}

impl HoldEnd {
    /// What a node that has come to `state` makes of the holds of `held`, if it does not wait for them any more.
    fn of(held: Held, planned: Option<&Arc<View>>, state: &ClusterState) -> Option<Self> {
        let epoch = match (held, state.status) {
            (Held::View(epoch), _) => epoch,
            (Held::Leave, Status::Stopping) => return None,
            (Held::Leave, Status::Stopped) => return Some(Self::TimedOut),
            (Held::Leave, _) => return Some(Self::Abandoned),
            (Held::Intent(_), _) if state.planned.as_ref() == planned => return None,
            (Held::Intent(_), _) if state.planned.is_some() => return Some(Self::Superseded),
            (Held::Intent(_), Status::Rehashing) => return Some(Self::Superseded),
            (Held::Intent(_), _) => return Some(Self::Abandoned),
        };
        match &state.proposed {
            Some(proposed) if proposed.epoch() == epoch => None,
            Some(_) => Some(Self::Superseded),
            None if state.status == Status::Up && state.epoch() == Some(epoch) => Some(Self::TimedOut),
            None => Some(Self::Abandoned),
        }
    }
}

/// What keeps a round waiting while any listener has a share of it.
pub(crate) struct HoldToken {
    held: Held,
    epoch: Epoch,
    /// The planned members, if listeners warm up for them.
    planned: Option<Arc<View>>,
    monitor: ActorRef<MonitorMessage>,
    since: Instant,
    /// When the node goes on at the latest.
    until: Instant,
    end: watch::Sender<Option<HoldEnd>>,
    /// Whether a listener has taken it, and whether one has not taken it in time.
    taken: AtomicBool,
    expired: AtomicBool,
}

/// The hold of one listener, on its way. A message that waits in a mailbox must not keep the cluster waiting for long,
/// and nothing shows from outside whether it was read. So the offer expires unless the hold is taken.
pub(super) struct HoldOffer(Mutex<Offered>);

enum Offered {
    /// Not taken yet.
    Open(Arc<HoldToken>),
    /// It was taken, or the offer has expired. The hold exists as long as any clone of it.
    Closed(Weak<HoldToken>),
}

impl Hold {
    /// The epoch of the view that waits to begin; if this node leaves, of the view that it leaves.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// When the node goes on at the latest, whether or not this is held. That is `rehash_timeout` after a round came to this node, or
    /// `leave_timeout` after it began to leave.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.0.until
    }

    /// Waits until nothing waits for this hold any more, and says why. Never returns if all holds of this node are dropped
    /// in time: race it against the work.
    ///
    /// ```
    /// # use cloister_core::{Hold, StateChange};
    /// # async fn copy_slots() {}
    /// # async fn example(change: StateChange) {
    /// if let Some(hold) = change.hold() {
    ///     tokio::select! {
    ///         () = copy_slots() => {}
    ///         end = hold.over() => eprintln!("the copy was not done in time: {end:?}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn over(&self) -> HoldEnd {
        let mut end = self.0.end.subscribe();
        let ended = async {
            match end.wait_for(Option::is_some).await.map(|end| *end) {
                Ok(Some(end)) => end,
                // The sender lives as long as this hold.
                Ok(None) | Err(_) => HoldEnd::Abandoned,
            }
        };
        tokio::time::timeout_at(self.0.until.into(), ended).await.unwrap_or(HoldEnd::TimedOut)
    }
}

impl HoldToken {
    /// A node in the view of `epoch`, or on the way to it, waits with what is `held` for so long at most.
    pub(crate) fn new(
        held: Held,
        epoch: Epoch,
        planned: Option<Arc<View>>,
        monitor: ActorRef<MonitorMessage>,
        timeout: Duration,
    ) -> Arc<Self> {
        let since = Instant::now();
        Arc::new(Self {
            held,
            epoch,
            planned,
            monitor,
            since,
            until: since + timeout,
            end: watch::Sender::default(),
            taken: AtomicBool::new(false),
            expired: AtomicBool::new(false),
        })
    }

    /// This node has come to `state`.
    pub(super) fn on_change(&self, state: &ClusterState) {
        let Some(end) = HoldEnd::of(self.held, self.planned.as_ref(), state) else { return };
        self.end.send_if_modified(|known| known.is_none() && known.replace(end).is_none());
    }
}

impl Drop for HoldToken {
    fn drop(&mut self) {
        // One that no listener took is recorded as expired.
        if *self.taken.get_mut() || !*self.expired.get_mut() {
            recorded::hold("released", self.since.elapsed());
        }
        // A monitor that is gone waits for no hold.
        let _ = self.monitor.cast(MonitorMessage::HoldReleased(self.held));
    }
}

impl HoldOffer {
    pub(super) fn new(holding: &Arc<HoldToken>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Offered::Open(Arc::clone(holding)))))
    }

    pub(super) fn take(&self) -> Option<Hold> {
        let mut offered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holding = match &*offered {
            Offered::Open(holding) => Some(Arc::clone(holding)),
            Offered::Closed(holding) => holding.upgrade(),
        }?;
        holding.taken.store(true, Ordering::Relaxed);
        *offered = Offered::Closed(Arc::downgrade(&holding));
        Some(Hold(holding))
    }

    /// Closes the offer to `listener` after `grace`. Costs a task while the offer is open.
    pub(super) fn close_after(self: &Arc<Self>, grace: Duration, listener: ActorId) {
        let offer = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if let Some(epoch) = offer.upgrade().and_then(|offer| offer.close()) {
                recorded::hold("expired", grace);
                info!(
                    target: TARGET, %listener, %epoch, ?grace,
                    "a listener has not read in time that a view is being agreed on, or that this node leaves: it is not waited for",
                );
            }
        });
    }

    /// Closes the offer if it was not taken, and returns its epoch.
    fn close(&self) -> Option<Epoch> {
        let mut offered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Offered::Open(holding) = &*offered else { return None };
        let (epoch, closed) = (holding.epoch, Offered::Closed(Arc::downgrade(holding)));
        holding.expired.store(true, Ordering::Relaxed);
        *offered = closed;
        Some(epoch)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.epoch).finish()
    }
}

impl fmt::Debug for HoldOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HoldOffer")
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::{Incarnation, Member, NodeId};

    use super::*;

    #[test]
    fn a_hold_ends_by_another_round_by_none_or_by_its_view_without_it() {
        let me = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1);
        let me = Member::without_tags(me);
        let view = |epoch: u64| Arc::new(View::new(Epoch::from_u64(epoch), vec![me.clone()]));
        let state = |status: Status, installed: Option<u64>, proposed: Option<u64>| {
            let mut state = ClusterState::initial(me.clone());
            (state.status, state.view, state.proposed) = (status, installed.map(view), proposed.map(view));
            state
        };
        let end = |state: &ClusterState| HoldEnd::of(Held::View(Epoch::from_u64(7)), None, state);
        assert_eq!(end(&state(Status::Rehashing, None, Some(7))), None);
        assert_eq!(end(&state(Status::Rehashing, None, Some(8))), Some(HoldEnd::Superseded));
        assert_eq!(end(&state(Status::Up, Some(7), None)), Some(HoldEnd::TimedOut));
        assert_eq!(end(&state(Status::Up, Some(6), None)), Some(HoldEnd::Abandoned));
        assert_eq!(end(&state(Status::Assembling, Some(7), None)), Some(HoldEnd::Abandoned));
        assert_eq!(end(&state(Status::Stopping, Some(6), None)), Some(HoldEnd::Abandoned));
    }

    #[test]
    fn the_hold_of_a_node_that_leaves_ends_when_it_stops() {
        let me = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1);
        let end = |status: Status| {
            let mut state = ClusterState::initial(Member::without_tags(me.clone()));
            state.status = status;
            HoldEnd::of(Held::Leave, None, &state)
        };
        assert_eq!(end(Status::Stopping), None);
        assert_eq!(end(Status::Stopped), Some(HoldEnd::TimedOut));
        assert_eq!(end(Status::Down), Some(HoldEnd::Abandoned), "another incarnation has begun");
    }

    #[test]
    fn a_hold_on_an_announced_round_ends_when_the_round_begins_or_something_else_is_planned() {
        let member = |n: u64| {
            Member::without_tags(NodeId::new(
                format!("shop@10.0.0.{n}:4370").parse().unwrap(),
                Incarnation(n),
                n,
            ))
        };
        let view =
            |nodes: &[u64]| Arc::new(View::new(Epoch::ZERO, nodes.iter().map(|n| member(*n)).collect()));
        let end = |status: Status, planned: Option<&[u64]>| {
            let mut state = ClusterState::initial(member(1));
            (state.status, state.planned) = (status, planned.map(view));
            HoldEnd::of(Held::Intent(7), Some(&view(&[1, 2])), &state)
        };
        assert_eq!(end(Status::Up, Some(&[1, 2])), None);
        assert_eq!(end(Status::Up, Some(&[1, 2, 3])), Some(HoldEnd::Superseded));
        assert_eq!(end(Status::Rehashing, None), Some(HoldEnd::Superseded));
        assert_eq!(end(Status::Up, None), Some(HoldEnd::Abandoned));
    }
}
