//! A table as its program uses it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use cloister_core::{Epoch, NodeId, Slot};
use cloister_table_proto::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use crate::blob::Blob;
use crate::client::operate;
use crate::core::Core;
use crate::error::{Destination, TableError, shown};
use crate::event::TableEvent;
use crate::message::{Operation, Outcome, TableMessage};
use crate::options::{decode, encode};
use crate::row;
use crate::watch::Watch;
use crate::watching::Filter;

/// How many bytes an encoded key may have.
///
/// A longer one is a [`TableError`], which has an example.
pub const MAX_KEY_BYTES: usize = 1 << 10;

/// How long the members are given to count their entries, in one attempt.
const COUNT_LIMIT: Duration = Duration::from_secs(2);

/// Keyed data on all nodes of a cluster; cheap to clone. From [`DefineTable::table`](crate::DefineTable::table).
///
/// Each entry is kept by the owner of its key, and by as many further nodes as the table has copies. When the members change, entries
/// move by themselves. Operations go to the owner, from whatever node they are made on.
///
/// - What was answered `Ok` is linearizable for each key: every later operation sees it.
/// - It is lost only if all nodes that have a copy are lost before others have new ones. That is reported: see [`TableEvent::Lost`].
/// - An operation that was interrupted is repeated until [`TableOptions::timeout`](crate::TableOptions::timeout), and done once.
///
/// There is nothing on a disk: when all nodes have stopped, the entries are gone.
///
/// The [page of the crate](crate) has an example.
pub struct Table<K, V> {
    core: Arc<Core>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.core.table).finish_non_exhaustive()
    }
}

impl<K, V> Table<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, types: PhantomData }
    }

    /// The name of the table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.table
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why there is no answer.
    pub async fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        let key = self.key(key)?;
        // At the owner it costs no message.
        if let Some(value) = self.core.read(&key) {
            return self.value(&key, value, || self.here());
        }
        self.value_of(&key, Operation::Get).await
    }

    /// Gives a key this value; returns the value before.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not done, or that it may have been.
    pub async fn insert(&self, key: &K, value: &V) -> Result<Option<V>, TableError> {
        let key = self.key(key)?;
        let value = self.row(&key, value)?;
        self.value_of(&key, Operation::Insert { value, for_ms: None }).await
    }

    /// As [`insert`](Table::insert), for a time: then the key has no value any more, unless it is written again. See
    /// [`TableOptions::time_to_live`](crate::TableOptions::time_to_live), whose place this time takes.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not done, or that it may have been.
    pub async fn insert_for(&self, key: &K, value: &V, time: Duration) -> Result<Option<V>, TableError> {
        let key = self.key(key)?;
        let value = self.row(&key, value)?;
        self.value_of(&key, Operation::Insert { value, for_ms: Some(row::millis(time)) }).await
    }

    /// Removes a key; returns the value that it had.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not done, or that it may have been.
    pub async fn remove(&self, key: &K) -> Result<Option<V>, TableError> {
        let key = self.key(key)?;
        self.value_of(&key, Operation::Remove).await
    }

    /// Gives a key the value `new`, or removes it if that is `None`, if it has the value `expected` now, or none if that is `None`.
    /// Values are compared as they are encoded, so a type whose encoding differs from time to time, as that of a `HashMap` does, never
    /// fits.
    ///
    /// Returns the present value if it is not the expected one.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not done, or that it may have been.
    pub async fn compare_and_swap(
        &self,
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<Result<(), Option<V>>, TableError> {
        let key = self.key(key)?;
        let expected = expected.map(|value| self.row(&key, value)).transpose()?;
        let new = new.map(|value| self.row(&key, value)).transpose()?;
        let (outcome, place) = operate(&self.core, &key, Operation::Swap { expected, new }).await?;
        match outcome {
            Outcome::Swapped => Ok(Ok(())),
            Outcome::Other(value) => Ok(Err(self.value(&key, value, || place)?)),
            other => Err(self.unexpected(&key, &other, place)),
        }
    }

    /// Runs a function of [`TableOptions::function`](crate::TableOptions::function) on a key, at its owner, once; returns what the
    /// function returned.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not done, or that it may have been.
    pub async fn update<A, R>(&self, key: &K, function: &str, argument: &A) -> Result<R, TableError>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let key = self.key(key)?;
        let argument = self.checked(&key, encode(argument))?;
        let operation = Operation::Update { function: function.to_owned(), argument };
        let (table, shown, function) = (self.core.table.clone(), shown(&key), function.into());
        let (outcome, place) = operate(&self.core, &key, operation).await?;
        match outcome {
            Outcome::Returned(bytes) => {
                decode(&bytes.0).map_err(|cause| self.not_decodable(&key, place, cause))
            }
            Outcome::UnknownFunction => {
                let Destination { node, epoch, waited } = place;
                Err(TableError::UnknownFunction { table, key: shown, node, epoch, waited, function })
            }
            Outcome::Failed(cause) => {
                let cause = cause.into();
                let Destination { node, epoch, waited } = place;
                Err(TableError::FunctionFailed { table, key: shown, node, epoch, waited, function, cause })
            }
            other => Err(self.unexpected(&key, &other, place)),
        }
    }

    /// How many entries there are on all nodes. All members count their own in one view, but not at one instant.
    ///
    /// # Errors
    ///
    /// [`TableError::Unavailable`] if the members do not all answer in one view in time.
    pub async fn len(&self) -> Result<u64, TableError> {
        len(&self.core).await
    }

    /// Whether there is no entry on any node, as [`len`](Table::len) counts them.
    ///
    /// # Errors
    ///
    /// As [`len`](Table::len).
    pub async fn is_empty(&self) -> Result<bool, TableError> {
        Ok(self.len().await? == 0)
    }

    /// The entries whose owner is this node, as all copies have them: a shard at a time, each as it is at one instant. An entry that
    /// cannot be decoded is left out, and logged.
    pub fn local_iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.core.local_entries().filter_map(|(key, value)| {
            match (decode(&key), decode(row::value(&value))) {
                (Ok(key), Ok(value)) => Some((key, value)),
                (Err(cause), _) | (_, Err(cause)) => {
                    self.core.left_out(&key, &cause);
                    None
                }
            }
        })
    }

    /// The owner of a key in the view that this node installed last; `None` before the first.
    ///
    /// # Errors
    ///
    /// [`TableError`] if the key cannot be encoded, or is too long.
    pub fn owner(&self, key: &K) -> Result<Option<NodeId>, TableError> {
        Ok(self.core.cloister.whois(self.key(key)?))
    }

    /// The slot of a key, as [`TableEvent::Lost`] names slots.
    ///
    /// # Errors
    ///
    /// [`TableError`] if the key cannot be encoded, or is too long.
    pub fn slot(&self, key: &K) -> Result<Slot, TableError> {
        Ok(Slot::of(&self.key(key)?))
    }

    /// What becomes of the copies from now on, as far as this node owns the entries.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<TableEvent> {
        self.core.events.subscribe()
    }

    /// All entries, then every change of them; see [`Watch`].
    #[must_use]
    pub fn watch(&self) -> Watch<K, V> {
        Watch::new(&self.core, Filter::All)
    }

    /// The entry of a key, then every change of it; see [`Watch`].
    ///
    /// # Errors
    ///
    /// [`TableError`] if the key cannot be encoded, or is too long.
    pub fn watch_key(&self, key: &K) -> Result<Watch<K, V>, TableError> {
        Ok(Watch::new(&self.core, Filter::Key(self.key(key)?.into())))
    }

    /// Accepts that the entries whose copies are all gone are lost, as far as this node owns them now: under
    /// [`OnLoss::Wait`](crate::OnLoss::Wait) they go on empty.
    pub fn accept_loss(&self) {
        self.core.handle(&Event::AcceptLoss);
    }

    fn key(&self, key: &K) -> Result<Vec<u8>, TableError> {
        let table = || self.core.table.clone();
        let key =
            encode(key).map_err(|cause| TableError::NotEncodable { table: table(), key: None, cause })?;
        let (len, max) = (key.len(), MAX_KEY_BYTES);
        match len > max {
            true => Err(TableError::KeyTooLarge { table: table(), key: shown(&key), len, max }),
            false => Ok(key),
        }
    }

    fn row(&self, key: &[u8], value: &V) -> Result<Blob, TableError> {
        self.checked(key, row::encode(value))
    }

    fn checked(&self, key: &[u8], encoded: Result<Vec<u8>, String>) -> Result<Blob, TableError> {
        let table = || self.core.table.clone();
        let not_encodable = |cause| TableError::NotEncodable { table: table(), key: Some(shown(key)), cause };
        let value = encoded.map_err(not_encodable)?;
        let (len, max) = (value.len(), self.core.options.max_value_bytes);
        if len > max {
            return Err(TableError::ValueTooLarge { table: table(), key: shown(key), len, max });
        }
        Ok(value.into())
    }

    /// Decodes a value that came from this place.
    fn value(
        &self,
        key: &[u8],
        value: Option<Blob>,
        place: impl FnOnce() -> Destination,
    ) -> Result<Option<V>, TableError> {
        let decoded = value.map(|value| decode(row::value(&value.0))).transpose();
        decoded.map_err(|cause| self.not_decodable(key, place(), cause))
    }

    async fn value_of(&self, key: &[u8], operation: Operation) -> Result<Option<V>, TableError> {
        let (outcome, place) = operate(&self.core, key, operation).await?;
        match outcome {
            Outcome::Value(value) => self.value(key, value, || place),
            other => Err(self.unexpected(key, &other, place)),
        }
    }

    fn unexpected(&self, key: &[u8], outcome: &Outcome, place: Destination) -> TableError {
        self.not_decodable(key, place, format!("{outcome:?} answers another operation"))
    }

    fn not_decodable(&self, key: &[u8], place: Destination, cause: String) -> TableError {
        let Destination { node, epoch, waited } = place;
        let (table, key) = (self.core.table.clone(), shown(key));
        TableError::NotDecodable { table, key, node, epoch, waited, cause }
    }

    /// This node, in its present view.
    fn here(&self) -> Destination {
        let (node, epoch) = (Some(self.core.cloister.node()), self.core.view.epoch());
        Destination { node, epoch, waited: Duration::ZERO }
    }
}

impl<V> Table<String, V>
where
    V: Serialize + DeserializeOwned,
{
    /// The entries whose keys begin with `prefix`, then every change of them; see [`Watch`].
    #[must_use]
    pub fn watch_prefix(&self, prefix: &str) -> Watch<String, V> {
        Watch::new(&self.core, Filter::Prefix(prefix.to_owned()))
    }
}

/// How many entries there are on all nodes.
pub(crate) async fn len(core: &Core) -> Result<u64, TableError> {
    let began = Instant::now();
    loop {
        let view = core.view.epoch();
        let cause = match view {
            Some(epoch) => match len_in(core, epoch).await {
                Ok(sum) => return Ok(sum),
                Err(cause) => cause,
            },
            None => "this node is up in no view".to_owned(),
        };
        if began.elapsed() >= core.options.timeout {
            let (table, key) = (core.table.clone(), "all keys".to_owned());
            let (epoch, waited) = (view, began.elapsed());
            return Err(TableError::Unavailable { table, key, node: None, epoch, waited, cause });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn len_in(core: &Core, epoch: Epoch) -> Result<u64, String> {
    let members = core.cloister.state().members.len();
    let message = |reply| TableMessage::Count { epoch: epoch.as_u64(), reply };
    let counts = core.cloister.multicall(&core.actor, message, COUNT_LIMIT).await;
    if let Some((node, error)) = counts.failed.first() {
        return Err(format!("{} did not count: {error}", node.name()));
    }
    if let Some((node, _)) = counts.ok.iter().find(|(_, count)| count.is_none()) {
        return Err(format!("{} does not serve all that it owns in the view {epoch}", node.name()));
    }
    if counts.ok.len() != members || core.cloister.epoch() != Some(epoch) {
        return Err("the members have changed meanwhile".to_owned());
    }
    Ok(counts.ok.iter().filter_map(|(_, count)| *count).sum())
}
