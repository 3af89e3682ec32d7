//! How entities are defined.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloister_table::{OnLoss, TableOptions};

use crate::store::Store;

/// When the state of an entity is written.
///
/// ```
/// use std::time::Duration;
///
/// use cloister_entity::{Durability, EntityOptions};
///
/// let options = EntityOptions::default().durability(Durability::Lazy(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Before each answer: what was answered is lost only with all copies.
    #[default]
    Each,
    /// At most this long after it was changed, and before the entity moves in order. A crash of its node loses up to that time. Each
    /// message encodes the state all the same: a handler that fails leaves what those before it have left.
    Lazy(Duration),
}

/// The default of [`EntityOptions::timeout`].
const TIMEOUT: Duration = Duration::from_secs(10);

/// The default of [`EntityOptions::handler_timeout`].
const HANDLER_TIMEOUT: Duration = Duration::from_secs(8);

/// How entities are defined: on all nodes alike. All must agree on [`copies`](Self::copies), [`on_loss`](Self::on_loss) and whether there
/// is a [`store`](Self::store). Nodes that differ in one of these refuse each other, as with other `[rings]`, and both log it. To change
/// them, stop all nodes.
///
/// ```
/// use std::time::Duration;
///
/// use cloister_entity::EntityOptions;
///
/// let options = EntityOptions::default().copies(3).idle(Duration::from_secs(30));
/// ```
#[derive(Clone)]
pub struct EntityOptions {
    pub(crate) table: TableOptions,
    pub(crate) durability: Durability,
    pub(crate) idle: Duration,
    pub(crate) timeout: Duration,
    pub(crate) handler_timeout: Duration,
    pub(crate) max_state_bytes: usize,
    pub(crate) store: Option<Arc<dyn Store>>,
}

impl Default for EntityOptions {
    /// Two copies, written before each answer. States have up to 1 MiB, and leave the memory after two idle minutes. A call may take
    /// 10 s, a handler 8 s.
    fn default() -> Self {
        Self {
            table: TableOptions::default().timeout(TIMEOUT),
            durability: Durability::Each,
            idle: Duration::from_secs(120),
            timeout: TIMEOUT,
            handler_timeout: HANDLER_TIMEOUT,
            max_state_bytes: 1 << 20,
            store: None,
        }
    }
}

impl EntityOptions {
    /// On how many nodes each state is: 2 by default, 16 at most. With `n` copies, `n - 1` nodes may be lost at once.
    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.table = self.table.copies(copies);
        self
    }

    /// What becomes of states whose copies are all gone: [`OnLoss::Empty`] by default.
    #[must_use]
    pub fn on_loss(mut self, on_loss: OnLoss) -> Self {
        self.table = self.table.on_loss(on_loss);
        self
    }

    /// When states are written: [`Durability::Each`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// After how long without a message an entity is no object any more, but only its written state: 2 min by default.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// For how long a call waits for an owner and its answer: 10 s by default. Longer than [`handler_timeout`](Self::handler_timeout), or the
    /// caller of a handler that takes too long is only told that its message may have been applied.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.table = self.table.timeout(timeout);
        self.timeout = timeout;
        self
    }

    /// For how long a handler may run: 8 s by default. Its future is dropped then, and its sender gets
    /// [`EntityError::Failed`](crate::EntityError::Failed). For handlers that take longer, raise [`timeout`](Self::timeout), too. As long may each call of a [`store`](Self::store) take.
    #[must_use]
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// How many bytes an encoded state with its timers, a message or an answer may have: 1 MiB by default, 4 MiB at most.
    #[must_use]
    pub fn max_state_bytes(mut self, max: usize) -> Self {
        self.table = self.table.max_value_bytes(max);
        self.max_state_bytes = max;
        self
    }

    /// Keeps the states in this store, and only timers on the nodes. The first message of an entity loads its state, and each message that
    /// changes it saves it before its answer, or later under [`Durability::Lazy`].
    ///
    /// A store cannot tell a message that is sent again from a new one. So a call whose answer was lost is not sent again, and ends as
    /// [`TableError::Uncertain`](cloister_table::TableError::Uncertain).
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }
}

impl fmt::Debug for EntityOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntityOptions")
            .field("table", &self.table)
            .field("durability", &self.durability)
            .field("idle", &self.idle)
            .field("timeout", &self.timeout)
            .field("handler_timeout", &self.handler_timeout)
            .field("max_state_bytes", &self.max_state_bytes)
            .field("has_store", &self.store.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_hears_of_a_handler_that_takes_too_long() {
        let options = EntityOptions::default();
        assert!(options.handler_timeout + Duration::from_secs(1) < options.timeout, "{options:?}");
    }
}
