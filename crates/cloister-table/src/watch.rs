//! Watching a table: the present entries of some keys, then every change of them.
//!
//! ```text
//!  Watch ──Watch──▶ the table of each member: it notes the watcher, and sends what it serves
//!        ◀─Watched── the entries of slots, as they are now; then each write, once all copies have it
//! ```
//!
//! A watcher asks anew in each view, and when a link is lost. What comes in is compared with what it knows, so an entry that has not
//! changed is no event, and one that was removed meanwhile is.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::core::Core;
use crate::message::TableMessage;
use crate::options::decode;
use crate::row;
use crate::watching::{Filter, Watching};

/// What has become of an entry that is watched, from [`Watch::next`].
///
/// [`Watch`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent<K, V> {
    /// The key has this value: it was there when the watch began, or was written.
    Put(K, V),
    /// The key has no value any more.
    Removed(K),
}

/// The present entries of some keys of a table, then every change of them. From [`Table::watch`](crate::Table::watch) and
/// [`Table::watch_key`](crate::Table::watch_key). It ends when it is dropped.
///
/// The events of one key come in the order of its writes, each once all copies have the write. Of writes that follow each other faster than
/// they are read, only the newest is reported. In a view change nothing is missed; what was written and written back meanwhile is no event.
///
/// It keeps a copy of all entries that it watches, and each owner sends them once in each view.
///
/// ```
/// use cloister_table::{Table, TableError, WatchEvent};
///
/// async fn follow(stock: Table<String, u32>) -> Result<(), TableError> {
///     let mut watch = stock.watch();
///     while let Some(event) = watch.next().await {
///         match event {
///             WatchEvent::Put(key, value) => println!("{key}: {value}"),
///             WatchEvent::Removed(key) => println!("{key}: none"),
///             _ => {}
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Watch<K, V> {
    core: Arc<Core>,
    number: u64,
    watching: Arc<Watching>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for Watch<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("table", &self.core.table)
            .field("filter", &self.watching.filter)
            .finish()
    }
}

impl<K, V> Drop for Watch<K, V> {
    fn drop(&mut self) {
        self.core.watches.lock().remove(self.number);
        let from = self.core.cloister.node().incarnation().0;
        for node in self.core.watched_nodes() {
            // An owner that does not hear it forgets the watcher with its view.
            let message = TableMessage::Unwatch { from, watch: self.number };
            let _ = self.core.cloister.cast_on(&self.core.actor, &node, message);
        }
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> Watch<K, V> {
    pub(crate) fn new(core: &Arc<Core>, filter: Filter) -> Self {
        let (core, watching) = (Arc::clone(core), Arc::new(Watching::new(filter)));
        let number = core.watches.add(Arc::clone(&watching));
        core.ask_again(number);
        Self { core, number, watching, types: PhantomData }
    }

    /// The next event; `None` once this node has ended, also if it starts again. Entries that cannot be decoded are left out, and logged.
    pub async fn next(&mut self) -> Option<WatchEvent<K, V>> {
        loop {
            let (next, is_over) = {
                let mut known = self.watching.lock();
                (known.next(), known.is_over)
            };
            match next {
                Some((key, value)) => match self.event(&key, value.as_deref()) {
                    Ok(event) => return Some(event),
                    Err(cause) => self.core.left_out(&key, &cause),
                },
                None if is_over => return None,
                None => self.watching.changed.notified().await,
            }
        }
    }

    fn event(&self, key: &[u8], value: Option<&[u8]>) -> Result<WatchEvent<K, V>, String> {
        let key = decode(key)?;
        Ok(match value {
            Some(value) => WatchEvent::Put(key, decode(row::value(value))?),
            None => WatchEvent::Removed(key),
        })
    }
}
