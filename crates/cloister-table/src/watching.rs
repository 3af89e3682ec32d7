//! What is watched, and what a watcher knows of it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloister_core::{Epoch, NodeId, Slot};
use cloister_table_proto::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::blob::Blob;
use crate::options::decode;
use crate::row;

/// Which keys are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filter {
    All,
    Key(Blob),
    /// Keys that are text, and begin so.
    Prefix(String),
}

impl Filter {
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        match self {
            Filter::All => true,
            Filter::Key(wanted) => *wanted.0 == *key,
            Filter::Prefix(prefix) => decode::<String>(key).is_ok_and(|key| key.starts_with(prefix)),
        }
    }
}

/// What the owner of slots tells a watcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Watched {
    /// The watcher.
    pub(crate) watch: u64,
    /// The view that this is so in.
    pub(crate) epoch: u64,
    /// These slots have the entries of `changes`, and no others that are watched.
    pub(crate) slots: Vec<u16>,
    pub(crate) changes: Vec<(Blob, Option<Blob>)>,
}

/// A watcher, as the owners know it.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) node: NodeId,
    pub(crate) watch: u64,
    pub(crate) epoch: Epoch,
    pub(crate) filter: Filter,
}

/// What a watcher knows.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) filter: Filter,
    known: Mutex<Known>,
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: BTreeMap<Bytes, Bytes>,
    /// The keys whose changes were not told yet, in order: each once, with its newest value.
    pending: VecDeque<Bytes>,
    is_pending: HashSet<Bytes>,
    /// The view that this node is up in, or was last.
    epoch: Option<Epoch>,
    pub(crate) is_over: bool,
}

impl Watching {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, known: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what an owner tells.
    pub(crate) fn take(&self, watched: Watched) {
        let mut known = self.lock();
        let epoch = Epoch::from_u64(watched.epoch);
        // The owner of a view that has ended may tell what is not so any more.
        if known.epoch.is_some_and(|present| epoch < present) {
            return;
        }
        let slots: BTreeSet<Slot> = watched.slots.iter().filter_map(|slot| Slot::new(*slot)).collect();
        let reported: BTreeSet<&[u8]> = watched.changes.iter().map(|(key, _)| &*key.0).collect();
        let gone: Vec<Bytes> = match slots.is_empty() {
            true => Vec::new(),
            false => {
                let is_gone = |key: &&Bytes| !reported.contains(&***key) && slots.contains(&Slot::of(key));
                known.entries.keys().filter(is_gone).cloned().collect()
            }
        };
        gone.into_iter().for_each(|key| known.set(key, None));
        for (key, value) in watched.changes {
            known.set(key.0, value.map(|value| value.0));
        }
        drop(known);
        self.changed.notify_one();
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    fn begins(&self, epoch: Epoch) {
        self.lock().epoch = Some(epoch);
    }

    fn ends(&self) {
        self.lock().is_over = true;
        self.changed.notify_one();
    }
}

impl Known {
    fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        let is_same = match (&value, self.entries.get(&key)) {
            (Some(value), Some(before)) => row::value(value) == row::value(before),
            (None, None) => true,
            _ => false,
        };
        match value {
            Some(value) => drop(self.entries.insert(Bytes::clone(&key), value)),
            None => drop(self.entries.remove(&key)),
        }
        if !is_same && self.is_pending.insert(Bytes::clone(&key)) {
            self.pending.push_back(key);
        }
    }

    pub(crate) fn next(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        let key = self.pending.pop_front()?;
        self.is_pending.remove(&key);
        let value = self.entries.get(&key).cloned();
        Some((key, value))
    }
}

/// The watches of this node.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<OpenWatches>);

#[derive(Debug, Default)]
pub(crate) struct OpenWatches {
    watches: BTreeMap<u64, Arc<Watching>>,
    /// The number of the last one.
    last: u64,
    /// The node has ended: a watch that is made from now on ends at once.
    is_over: bool,
}

impl OpenWatches {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Watching)> {
        self.watches.iter().map(|(number, watching)| (*number, &**watching))
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.watches.remove(&number);
    }
}

impl Watches {
    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenWatches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, watching: Arc<Watching>) -> u64 {
        let mut open = self.lock();
        if open.is_over {
            watching.ends();
        }
        open.last += 1;
        let number = open.last;
        open.watches.insert(number, watching);
        number
    }

    pub(crate) fn take(&self, watched: Watched) {
        let watching = self.lock().watches.get(&watched.watch).cloned();
        if let Some(watching) = watching {
            watching.take(watched);
        }
    }

    /// This node is up in a view: what owners of views before tell counts no more. Returns what is to be asked for.
    pub(crate) fn begin(&self, epoch: Epoch) -> Vec<u64> {
        let open = self.lock();
        open.iter().for_each(|(_, watching)| watching.begins(epoch));
        open.watches.keys().copied().collect()
    }

    pub(crate) fn filter(&self, number: u64) -> Option<Filter> {
        self.lock().watches.get(&number).map(|watching| watching.filter.clone())
    }

    /// The node has ended.
    pub(crate) fn end(&self) {
        let mut open = self.lock();
        open.is_over = true;
        open.iter().for_each(|(_, watching)| watching.ends());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Bytes {
        crate::options::encode(text).unwrap().into()
    }

    fn put(text: &str, value: u64) -> (Blob, Option<Blob>) {
        (Blob(key(text)), Some(row::encode(&value).unwrap().into()))
    }

    fn watched(epoch: u64, slots: &[Slot], changes: &[(Blob, Option<Blob>)]) -> Watched {
        let slots = slots.iter().map(|slot| slot.number()).collect();
        Watched { watch: 1, epoch, slots, changes: changes.to_vec() }
    }

    fn drain(watching: &Watching) -> Vec<(String, Option<u64>)> {
        let mut drained = Vec::new();
        while let Some((key, value)) = watching.lock().next() {
            let value = value.map(|value| decode(row::value(&value)).unwrap());
            drained.push((decode(&key).unwrap(), value));
        }
        drained
    }

    #[test]
    fn what_is_as_it_was_is_no_event_and_what_is_gone_is_one() {
        let watching = Watching::new(Filter::All);
        let slots = [Slot::of(&key("a")), Slot::of(&key("b"))];
        watching.begins(Epoch::from_u64(5));
        watching.take(watched(5, &slots, &[put("a", 1), put("b", 2)]));
        assert_eq!(drain(&watching), [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))]);
        // Of two writes that were not read, the newest is reported.
        watching.take(watched(5, &[], &[put("b", 3)]));
        watching.take(watched(5, &[], &[put("b", 4)]));
        assert_eq!(drain(&watching), [("b".to_owned(), Some(4))]);
        // In the next view one owner tells its slot: the other one is as it was.
        watching.begins(Epoch::from_u64(6));
        watching.take(watched(6, &slots[..1], &[]));
        assert_eq!(drain(&watching), [("a".to_owned(), None)]);
        watching.take(watched(6, &slots[1..], &[put("b", 4)]));
        assert_eq!(drain(&watching), []);
        // An owner of the view before tells nothing any more.
        watching.take(watched(5, &[], &[put("b", 9)]));
        assert_eq!(drain(&watching), []);
    }

    #[test]
    fn a_filter_has_keys() {
        let encoded = key("user:42");
        assert!(Filter::All.has(&encoded));
        assert!(
            Filter::Prefix("user:".to_owned()).has(&encoded)
                && !Filter::Prefix("users".to_owned()).has(&encoded)
        );
        assert!(
            Filter::Key(Blob(Bytes::clone(&encoded))).has(&encoded)
                && !Filter::Key(Blob(key("user:4"))).has(&encoded)
        );
        // A key that is no text has no prefix.
        assert!(!Filter::Prefix(String::new()).has(&crate::options::encode(&7_u64).unwrap()));
    }
}
