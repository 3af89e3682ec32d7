//! What this node may do by one view, as one value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloister_net::clock::Clock;
use cloister_proto::{Epoch, NodeId, Ring, Slot};

use crate::placement::Snapshot;

/// What this node may do by one view, from [`Cloister::claim`](crate::Cloister::claim).
///
/// All answers are about the view of [`epoch`](Claim::epoch), however long the claim is kept: several calls of
/// [`Cloister`](crate::Cloister) may straddle two views. The lease is compared with the clock at each call. A claim whose view
/// was replaced, or whose node leaves, never holds again.
///
/// ```
/// # use cloister_core::{Cloister, Slot};
/// # fn write(_: &[u8], _: u64) {}
/// # fn example(cloister: &Cloister, key: &[u8]) {
/// if let Some(claim) = cloister.claim() {
///     // The owner and the epoch are of one view, so the store can refuse a writer that was overtaken.
///     if claim.owns(Slot::of(key)) {
///         write(key, claim.epoch().as_u64());
///     }
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Claim {
    snapshot: Arc<Snapshot>,
    clock: Clock,
    epoch: Epoch,
}

impl Claim {
    /// The claim of this moment, if the lease is held.
    pub(crate) fn now(snapshot: Arc<Snapshot>, clock: Clock) -> Option<Self> {
        let epoch = snapshot.epoch()?;
        snapshot.holds(clock).then_some(Self { snapshot, clock, epoch })
    }

    /// The epoch of the view: a fencing token, see [`Cloister::epoch`](crate::Cloister::epoch).
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether this node owns `slot` of the ring over all members at this very moment. One table look-up and one read of the clock.
    #[must_use]
    pub fn owns(&self, slot: Slot) -> bool {
        self.owns_in(None, slot)
    }

    /// The same on the ring of this name; no if there is none.
    #[must_use]
    pub fn owns_of(&self, ring: &str, slot: Slot) -> bool {
        self.owns_in(Some(ring), slot)
    }

    fn owns_in(&self, ring: Option<&str>, slot: Slot) -> bool {
        let owner = self.snapshot.ring(ring).and_then(|ring| ring.owner(slot));
        owner == Some(&self.snapshot.state().node.id) && self.holds()
    }

    /// Whether this node is the sentry at this very moment.
    #[must_use]
    pub fn is_sentry(&self) -> bool {
        self.snapshot.is_sentry(self.clock)
    }

    /// Whether the lease is held at this very moment.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.snapshot.holds(self.clock)
    }

    /// For how long the lease is held if no heartbeat renews it; zero if it is not held. While peers answer, the lease is renewed
    /// several times a second.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.snapshot.lease().left(|| self.clock.now())
    }

    /// The ring of this name, `None` for the ring over all members.
    #[must_use]
    pub fn ring(&self, name: Option<&str>) -> Option<Arc<Ring>> {
        self.snapshot.rings()?.shared(name)
    }

    /// The members of the view, the oldest first.
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.snapshot.state().members.iter().map(|member| &member.id)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("epoch", &self.epoch)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}
