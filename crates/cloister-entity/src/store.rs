//! Where states are kept, if not in the memory of the nodes.

use std::pin::Pin;

use cloister_core::Epoch;
use thiserror::Error;

/// What the methods of a [`Store`] return.
///
/// [`Store`] has an example.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps the states of entities outside of the cluster, such as in a database: then they are there after all nodes have stopped.
///
/// The epoch is a fence. A node that was cut off, or stood still, may try to save after another node has taken the entity over. So
/// both methods are refused below an epoch that the store has seen for the entity, and `load` is seen, too. In a database this is a column,
/// and a condition of the statement: `UPDATE … WHERE epoch <= ?`.
///
/// The state is bytes for Cloister alone. Most often it is MessagePack. One that the message of a timer has left may begin with the byte
/// 0xc1 and the numbers of such timers, so that none is applied again if its row was not written.
///
/// Each future has [`EntityOptions::handler_timeout`](crate::EntityOptions::handler_timeout) to end, and is dropped then, as after
/// [`StoreError::Failed`]. One of `load` is also dropped when the node may not act for the key any more. What a future has begun elsewhere, as
/// on a thread that may block, may go on. A later `save` of the entity must not be overtaken by it.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
///
/// use cloister_entity::{EntityId, Store, StoreError, StoreFuture};
/// # extern crate cloister_core as cloister;
/// use cloister::Epoch;
///
/// /// In memory, for a test. The crate `cloister-sqlite` has a real one.
/// #[derive(Default)]
/// struct Memory(Mutex<BTreeMap<String, (Epoch, Option<Vec<u8>>)>>);
///
/// impl Memory {
///     fn fenced<T>(
///         &self,
///         id: EntityId<'_>,
///         epoch: Epoch,
///         act: impl FnOnce(&mut Option<Vec<u8>>) -> T,
///     ) -> Result<T, StoreError> {
///         let mut rows = self.0.lock().unwrap();
///         let (seen, state) = rows.entry(format!("{}/{}", id.entity, id.key)).or_default();
///         if epoch < *seen {
///             return Err(StoreError::Fenced(*seen));
///         }
///         *seen = epoch;
///         Ok(act(state))
///     }
/// }
///
/// impl Store for Memory {
///     fn load<'a>(&'a self, id: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
///         Box::pin(async move { self.fenced(id, epoch, |state| state.clone()) })
///     }
///
///     fn save<'a>(&'a self, id: EntityId<'a>, epoch: Epoch, new: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
///         Box::pin(async move { self.fenced(id, epoch, |state| *state = new) })
///     }
/// }
/// ```
pub trait Store: Send + Sync + 'static {
    /// The state that was saved last, `None` if there is none. From now on the store refuses smaller epochs for this entity.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if it has seen a greater epoch, else [`StoreError::Failed`].
    fn load<'a>(&'a self, id: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>>;

    /// Saves a state, or removes it if that is `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if it has seen a greater epoch, and then nothing is saved; else [`StoreError::Failed`], and it may be.
    fn save<'a>(&'a self, id: EntityId<'a>, epoch: Epoch, state: Option<Vec<u8>>) -> StoreFuture<'a, ()>;
}

/// Names an entity in a [`Store`].
///
/// [`Store`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityId<'a> {
    /// [`Entity::NAME`](crate::Entity::NAME).
    pub entity: &'static str,
    /// The key.
    pub key: &'a str,
}

/// Why a [`Store`] has not done what it was asked for.
///
/// [`Store`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another node, in a later view, has the entity.
    #[error("the store has seen the later epoch {0}")]
    Fenced(Epoch),
    /// The store does not work.
    #[error("{0}")]
    Failed(String),
}
