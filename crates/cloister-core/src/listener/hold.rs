//! What a listener holds a round with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use cloister_proto::Epoch;
use ractor::{ActorId, ActorRef};
use tracing::info;

use crate::messages::MonitorMessage;
use crate::telemetry::{TARGET, recorded};

/// Keeps a new view from beginning until it and all its clones are dropped, or `rehash_timeout` is over.
///
/// From [`StateChange::hold`](crate::StateChange::hold). A listener that moves data keeps it while it works; one that
/// does not care need not take it.
#[derive(Clone)]
pub struct Hold(Arc<HoldToken>);

/// What keeps a round waiting while any listener has a share of it.
pub(super) struct HoldToken {
    epoch: Epoch,
    monitor: ActorRef<MonitorMessage>,
    since: Instant,
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
    /// The epoch of the view that waits.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }
}

impl HoldToken {
    pub(super) fn new(epoch: Epoch, monitor: ActorRef<MonitorMessage>) -> Arc<Self> {
        Arc::new(Self { epoch, monitor, since: Instant::now() })
    }
}

impl Drop for HoldToken {
    fn drop(&mut self) {
        recorded::hold("released", self.since.elapsed());
        // A monitor that is gone waits for no hold.
        let _ = self.monitor.cast(MonitorMessage::Unheld(self.epoch));
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
                    "a listener has not read in time that a view is being agreed on: the view does not wait for it",
                );
            }
        });
    }

    /// Closes the offer if it was not taken, and returns its epoch.
    fn close(&self) -> Option<Epoch> {
        let mut offered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Offered::Open(holding) = &*offered else { return None };
        let (epoch, closed) = (holding.epoch, Offered::Closed(Arc::downgrade(holding)));
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
