//! Answers that no client asks for any more are dropped, a few slots at a tick.
//!
//! The answer of a write holds the value before, so one for each slot and client would be as much as the entries. A client says with each
//! operation which of its others are over, in all slots.

use super::Table;
use crate::operation::OperationId;
use crate::settled::Settled;

impl Table {
    /// What clients have said of their operations here.
    #[must_use]
    pub fn settled(&self) -> &Settled {
        self.settling.settled()
    }

    /// A client names an operation, and says by that which others are over.
    pub(super) fn learn_settled(&mut self, id: OperationId) {
        self.settling.learn(id);
    }

    /// Clients have said this elsewhere.
    pub(super) fn add_settled(&mut self, settled: &Settled) {
        self.settling.add(settled);
        self.forget_settled();
    }

    /// Clients that are no members have no answers any more.
    pub(super) fn forget_settled(&mut self) {
        if let Some(view) = &self.view {
            self.settling.retain(|client| view.has_client(client));
        }
    }

    /// At a tick: drops answers that no client asks for any more.
    pub(super) fn drop_settled(&mut self) {
        let places = self.settling.places(self.slots.len());
        let settled = self.settling.settled();
        for slot in places.filter_map(|place| self.slots.at(place)) {
            if self.holdings.get(slot).is_some_and(|holding| holding.has_settled(settled))
                && let Some(holding) = self.holdings.get_mut(slot)
            {
                holding.settle(settled);
            }
        }
    }
}
