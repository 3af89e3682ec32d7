//! What is watched, and what a watcher knows of it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
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

    /// The slot of all keys that it has, if it is one.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match self {
            Filter::Key(key) => Some(Slot::of(&key.0)),
            Filter::All | Filter::Prefix(_) => None,
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
    /// These slots have the entries of `changes`, and no others in the range that are watched.
    pub(crate) slots: Vec<u16>,
    pub(crate) range: Range,
    pub(crate) changes: Vec<(Blob, Option<Blob>)>,
}

/// Keys after one, and up to one: a large slot travels in several messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) after: Option<Blob>,
    pub(crate) until: Option<Blob>,
}

/// A watcher, as the owners know it.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) node: NodeId,
    pub(crate) watch: u64,
    pub(crate) epoch: Epoch,
    pub(crate) filter: Filter,
}

/// The watchers of a part of the slots.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Vec<(Watcher, BTreeSet<Slot>)>);

impl Watchers {
    /// A node watches, anew or again in a later view. Returns whether that is news: what it asked in an earlier view may come later.
    pub(crate) fn add(&mut self, watcher: Watcher) -> bool {
        let is_same = |known: &Watcher| known.node == watcher.node && known.watch == watcher.watch;
        if self.0.iter().any(|(known, _)| is_same(known) && watcher.epoch < known.epoch) {
            return false;
        }
        self.0.retain(|(known, _)| !is_same(known));
        self.0.push((watcher, BTreeSet::new()));
        true
    }

    pub(crate) fn remove(&mut self, incarnation: u64, watch: u64) {
        self.0.retain(|(known, _)| known.node.incarnation().0 != incarnation || known.watch != watch);
    }

    /// Those of earlier views are gone.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.0.retain(|(watcher, _)| watcher.epoch >= epoch);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of the view of `epoch`.
    pub(crate) fn of_view(&self, epoch: Epoch) -> Vec<Watcher> {
        self.0.iter().map(|(watcher, _)| watcher).filter(|its| its.epoch == epoch).cloned().collect()
    }

    /// Those of the view of `epoch` that watch a key.
    pub(crate) fn of_key(&self, epoch: Epoch, key: &[u8]) -> Vec<Watcher> {
        let watchers = self.0.iter().map(|(watcher, _)| watcher);
        watchers.filter(|its| its.epoch == epoch && its.filter.has(key)).cloned().collect()
    }

    /// A watcher was not told of these slots.
    pub(crate) fn missed(&mut self, watcher: &Watcher, slots: impl IntoIterator<Item = Slot>) {
        let is_it = |known: &Watcher| known.node == watcher.node && known.watch == watcher.watch;
        if let Some((_, missed)) = self.0.iter_mut().find(|(known, _)| is_it(known)) {
            missed.extend(slots);
        }
    }

    /// Changes of which a watcher was not notified; it is notified now.
    pub(crate) fn take_missed(&mut self) -> Vec<(Watcher, BTreeSet<Slot>)> {
        let missed = self.0.iter_mut().filter(|(_, slots)| !slots.is_empty());
        missed.map(|(watcher, slots)| (watcher.clone(), std::mem::take(slots))).collect()
    }
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
    /// By slot: an owner reports whole slots, and what it reports is compared with those only.
    entries: BTreeMap<(Slot, Bytes), Bytes>,
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
        let known_keys = slots.into_iter().flat_map(|slot| known.keys_of(slot, &watched.range));
        let gone: Vec<Bytes> = known_keys.filter(|key| !reported.contains(&***key)).cloned().collect();
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
    /// The keys of a slot that are in this range.
    fn keys_of(&self, slot: Slot, range: &Range) -> impl Iterator<Item = &Bytes> {
        let first = match &range.after {
            Some(after) => Bound::Excluded((slot, Bytes::clone(&after.0))),
            None => Bound::Included((slot, Bytes::default())),
        };
        let keys = self.entries.range((first, Bound::Unbounded)).map(|((its, key), _)| (*its, key));
        let until = range.until.as_ref().map(|until| &*until.0);
        let is_in =
            move |(its, key): &(Slot, &Bytes)| *its == slot && until.is_none_or(|until| ***key <= *until);
        keys.take_while(is_in).map(|(_, key)| key)
    }

    fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        let place = (Slot::of(&key), key);
        let is_same = match (&value, self.entries.get(&place)) {
            (Some(value), Some(before)) => row::is_same_value(value, before),
            (None, None) => true,
            _ => false,
        };
        match value {
            Some(value) => drop(self.entries.insert(place.clone(), value)),
            None => drop(self.entries.remove(&place)),
        }
        let (_, key) = place;
        if !is_same && self.is_pending.insert(Bytes::clone(&key)) {
            self.pending.push_back(key);
        }
    }

    pub(crate) fn next(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        let key = self.pending.pop_front()?;
        self.is_pending.remove(&key);
        let place = (Slot::of(&key), key);
        let value = self.entries.get(&place).cloned();
        Some((place.1, value))
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
    /// The node has ended: a watch that is made before it starts again ends at once.
    is_over: bool,
    /// What was not asked, since too much waited to be sent to the node.
    unasked: BTreeSet<(u64, NodeId)>,
}

impl OpenWatches {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Watching)> {
        self.watches.iter().map(|(number, watching)| (*number, &**watching))
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.watches.remove(&number);
    }

    /// Nodes are to be asked again for what watches are about.
    pub(crate) fn unasked(&mut self, unasked: impl IntoIterator<Item = (u64, NodeId)>) {
        self.unasked.extend(unasked);
    }
}

impl Watches {
    /// The nodes that were not asked. They are asked now.
    pub(crate) fn take_unasked(&self) -> BTreeSet<(u64, NodeId)> {
        std::mem::take(&mut self.lock().unasked)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenWatches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, watching: Arc<Watching>) -> u64 {
        let mut open = self.lock();
        open.last += 1;
        let number = open.last;
        if open.is_over {
            watching.ends();
        } else {
            open.watches.insert(number, watching);
        }
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

    /// The node has ended, and all watches with it.
    pub(crate) fn end(&self) {
        let mut open = self.lock();
        open.is_over = true;
        std::mem::take(&mut open.watches).values().for_each(|watching| watching.ends());
    }

    /// The node starts, maybe again. The watches that have ended stay so.
    pub(crate) fn start(&self) {
        self.lock().is_over = false;
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
        Watched { watch: 1, epoch, slots, range: Range::default(), changes: changes.to_vec() }
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
    fn a_slot_that_comes_in_parts_loses_only_what_is_not_in_them() {
        let watching = Watching::new(Filter::All);
        let keys: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
        let slot = Slot::of(&key(&keys[0]));
        let mut of_slot: Vec<&String> = keys.iter().filter(|its| Slot::of(&key(its)) == slot).collect();
        of_slot.sort_by_key(|its| key(its));
        let [first, second, third] = of_slot[..3] else { panic!("{} keys", of_slot.len()) };
        watching.take(watched(5, &[slot], &[put(first, 1), put(second, 2), put(third, 3)]));
        assert_eq!(drain(&watching).len(), 3);
        let part = |after: Option<&String>, until: Option<&String>, changes: &[_]| {
            let blob = |its: Option<&String>| its.map(|its| Blob(key(its)));
            Watched {
                range: Range { after: blob(after), until: blob(until) },
                ..watched(6, &[slot], changes)
            }
        };
        watching.take(part(None, Some(first), &[put(first, 1)]));
        assert_eq!(drain(&watching), []);
        watching.take(part(Some(first), None, &[put(third, 4)]));
        assert_eq!(drain(&watching), [(second.clone(), None), (third.clone(), Some(4))]);
    }

    #[test]
    fn what_an_owner_reports_is_compared_with_its_slots_only() {
        let watching = Watching::new(Filter::All);
        let changes: Vec<_> = (0..100_000_u64).map(|n| put(&n.to_string(), n)).collect();
        watching.take(watched(5, &[], &changes));
        let mut by_slot: BTreeMap<Slot, Vec<_>> = Slot::all().map(|slot| (slot, Vec::new())).collect();
        changes.into_iter().for_each(|change| by_slot.entry(Slot::of(&change.0.0)).or_default().push(change));
        let began = std::time::Instant::now();
        for (slot, changes) in by_slot {
            watching.take(watched(6, &[slot], &changes));
            let took = began.elapsed();
            assert!(took < std::time::Duration::from_secs(10), "{took:?} until {slot:?}");
        }
        assert_eq!(drain(&watching).len(), 100_000);
    }

    #[test]
    fn a_watcher_of_an_earlier_view_takes_the_place_of_none_and_what_it_missed_is_told_again() {
        let node = NodeId::new("a@h:1".parse().unwrap(), cloister_core::Incarnation(1), 1);
        let of = |epoch| Watcher {
            node: node.clone(),
            watch: 1,
            epoch: Epoch::from_u64(epoch),
            filter: Filter::All,
        };
        let mut watchers = Watchers::default();
        assert!(watchers.add(of(6)));
        assert!(!watchers.add(of(5)), "it was asked before, and came later");
        assert_eq!(
            (watchers.of_view(Epoch::from_u64(5)).len(), watchers.of_view(Epoch::from_u64(6)).len()),
            (0, 1)
        );
        assert!(watchers.add(of(6)), "a link was lost, and it asks again");
        let slot = Slot::of(&key("a"));
        watchers.missed(&of(6), [slot]);
        let missed: Vec<_> = watchers.take_missed().into_iter().map(|(_, slots)| slots).collect();
        assert_eq!(missed, [BTreeSet::from([slot])]);
        assert!(watchers.take_missed().is_empty());
        watchers.begin(Epoch::from_u64(7));
        assert!(watchers.is_empty());
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
