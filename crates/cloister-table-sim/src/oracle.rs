//! What is known of a whole run, and the laws of tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_proto::{Epoch, NodeId, Replicas, Ring, Slot, View};
use cloister_sim::Violation;
use cloister_table_proto::rule::Rule;
use cloister_table_proto::{Bytes, Content, Label, OnLoss, Placement, Stamp};

use crate::history::{AppendId, KeyHistory};

/// How many slots tables have here.
const SLOTS: u16 = 8;

/// How many keys there are: two for each slot.
pub(crate) const KEYS: u8 = 16;

/// How the tables of a run are configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many copies each slot has.
    pub copies: usize,
    /// What becomes of a slot whose copies are all gone.
    pub on_loss: OnLoss,
    /// About how many bytes of a slot travel at once.
    pub chunk_bytes: usize,
    /// How often in a hundred changes a table hears late of one.
    pub lags: u64,
    /// How many messages of tables in a thousand are dropped, as where a link is overloaded.
    pub drops: u64,
    /// How many appends in a hundred an owner commits later, as a service does that handles a message first.
    pub commits_late: u64,
    /// Whether any loss breaks a law: no two nodes fail at a time.
    pub loses_nothing: bool,
    /// The rule that is switched off.
    pub disabled_rule: Option<Rule>,
}

/// What is known of a whole run.
#[derive(Debug)]
pub struct Oracle {
    pub(crate) settings: Settings,
    pub(crate) slots: Arc<[Slot]>,
    keys: Vec<KeyHistory>,
    rings: BTreeMap<Vec<NodeId>, Arc<Replicas>>,
    /// The members of every view that was proposed.
    views: BTreeMap<Epoch, Vec<NodeId>>,
    /// The greatest view in which a slot was served.
    served: BTreeMap<Slot, Epoch>,
    /// The view that each one follows.
    predecessors: BTreeMap<Epoch, Epoch>,
    /// The view that each one follows as a table has heard, where that is a later one.
    heard: BTreeMap<Epoch, Epoch>,
    /// The view that began to serve each slot last.
    last_served: BTreeMap<Slot, Epoch>,
    /// What every process that runs has.
    held: BTreeMap<(NodeId, Slot), (Stamp, Vec<Bytes>)>,
    contents: BTreeMap<(Slot, Label), Vec<Bytes>>,
    /// Keys that were read after all was healed.
    pub(crate) read_in_quiet: [bool; KEYS as usize],
    /// How many operations were answered, and how many losses told.
    pub done: u64,
    /// How many slots were reported as lost.
    pub losses: u64,
    /// How many of those are not certain.
    pub unknown: u64,
    /// How many slots began anew, since no node was left that knew of them.
    pub restarts: u64,
    /// How many operations ended without a known outcome.
    pub uncertain: u64,
    /// The longest time for which a view waited for a table, in nanoseconds.
    pub longest_wait: u64,
}

impl Oracle {
    /// Before anything has happened.
    pub fn new(settings: Settings) -> Self {
        let step = cloister_proto::SLOTS as u16 / SLOTS;
        Self {
            settings,
            slots: (0..SLOTS).filter_map(|at| Slot::new(at * step)).collect(),
            keys: (0..KEYS).map(|_| KeyHistory::new()).collect(),
            rings: BTreeMap::new(),
            views: BTreeMap::new(),
            served: BTreeMap::new(),
            predecessors: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_served: BTreeMap::new(),
            held: BTreeMap::new(),
            contents: BTreeMap::new(),
            read_in_quiet: [false; KEYS as usize],
            done: 0,
            losses: 0,
            unknown: 0,
            restarts: 0,
            uncertain: 0,
            longest_wait: 0,
        }
    }

    pub(crate) fn slot_of(&self, key: u8) -> Slot {
        self.slots[usize::from(key) % self.slots.len()]
    }

    pub(crate) fn replicas(&mut self, members: &[NodeId]) -> Arc<Replicas> {
        let copies = self.settings.copies;
        let rings = self.rings.entry(members.to_vec());
        Arc::clone(rings.or_insert_with_key(|members| Arc::new(Ring::new(members).replicas(copies))))
    }

    /// In the view of `epoch`, a client gives up what it sent in the one of `first`, as one that was no member in between.
    pub(crate) fn gives_up(&mut self, node: &NodeId, first: Epoch, epoch: Epoch) -> Result<(), Violation> {
        self.uncertain += 1;
        let mut at = epoch;
        while at > first && self.views.get(&at).is_some_and(|members| members.contains(node)) {
            let before = |views: &BTreeMap<Epoch, Epoch>| views.get(&at).copied().unwrap_or_default();
            at = before(&self.predecessors).max(before(&self.heard));
        }
        match at == first {
            true => Err(Violation(format!(
                "{node} gives up in view {epoch} what it sent in {first}, and was a member all the time"
            ))),
            false => Ok(()),
        }
    }

    /// A view was proposed, and a member of it says that it follows this one, or none. Of several the newest counts.
    pub(crate) fn follows(&mut self, view: &View, predecessor: Epoch) {
        let epoch = view.epoch();
        self.views.entry(epoch).or_insert_with(|| view.ids().cloned().collect());
        let known = self.predecessors.entry(epoch).or_default();
        *known = predecessor.max(*known);
    }

    /// A table has heard that the view of `epoch` follows this one.
    pub(crate) fn hears(&mut self, epoch: Epoch, predecessor: Epoch) {
        let known = self.heard.entry(epoch).or_default();
        *known = predecessor.max(*known);
    }

    /// The view with which the views before this one began.
    fn root_of(&self, mut epoch: Epoch) -> Epoch {
        while let Some(before) = self.predecessors.get(&epoch).filter(|before| **before != Epoch::ZERO) {
            epoch = *before;
        }
        epoch
    }

    /// A slot is served in a view from now on. If the views before it began with one of which no member had installed a view, nothing knows
    /// of earlier writes. The cluster began anew, and nothing can tell it.
    pub(crate) fn begins(&mut self, slot: Slot, placement: &Placement, now: u64) {
        let epoch = placement.epoch();
        let before = self.last_served.insert(slot, epoch);
        if before.is_some_and(|before| self.root_of(before) != self.root_of(epoch)) {
            self.restarts += 1;
            self.served.remove(&slot);
            self.keys_of(slot).for_each(|key| self.keys[usize::from(key)].lost(now));
        }
    }

    pub(crate) fn key(&mut self, key: u8) -> &mut KeyHistory {
        &mut self.keys[usize::from(key)]
    }

    /// A slot is served by a node that is in the view of `epoch`.
    pub(crate) fn serves(&mut self, node: &NodeId, slot: Slot, epoch: Epoch) -> Result<(), Violation> {
        let newest = self.served.entry(slot).or_default();
        if epoch < *newest {
            return Err(Violation(format!(
                "{node} serves slot {slot} in view {epoch}, after it was served in {newest}"
            )));
        }
        *newest = epoch;
        Ok(())
    }

    /// A process has this content of a slot now.
    pub(crate) fn holds(
        &mut self,
        node: &NodeId,
        slot: Slot,
        stamp: Stamp,
        content: &Content,
    ) -> Result<(), Violation> {
        let id = (node.clone(), slot);
        if self.held.get(&id).is_some_and(|(known, _)| *known == stamp) {
            return Ok(());
        }
        let value = |key: u8| content.get(&[key]).unwrap_or_default();
        let values: Vec<Bytes> = self.keys_of(slot).map(value).collect();
        if stamp.label != Label::NONE {
            let known = self.contents.entry((slot, stamp.label)).or_insert_with(|| values.clone());
            if *known != values {
                return Err(Violation(format!(
                    "{node} has another content of slot {slot} at {stamp:?}: {values:?} and {known:?}"
                )));
            }
        }
        self.held.insert(id, (stamp, values));
        Ok(())
    }

    pub(crate) fn drops(&mut self, node: &NodeId, slot: Option<Slot>) {
        self.held.retain(|(its, at), _| its != node || slot.is_some_and(|slot| slot != *at));
    }

    pub(crate) fn held_slots(&self, node: &NodeId) -> Vec<Slot> {
        self.held.keys().filter(|(its, _)| its == node).map(|(_, slot)| *slot).collect()
    }

    fn keys_of(&self, slot: Slot) -> impl Iterator<Item = u8> + use<> {
        let at = self.slots.iter().position(|its| *its == slot).unwrap_or(0) as u8;
        (0..KEYS).filter(move |key| u16::from(*key) % SLOTS == u16::from(at))
    }

    /// An owner says that all complete copies of a slot were gone when its view of these members began.
    pub(crate) fn is_lost(
        &mut self,
        slot: Slot,
        members: &[NodeId],
        now: u64,
        is_certain: bool,
    ) -> Result<(), Violation> {
        self.losses += 1;
        let keys: Vec<u8> = self.keys_of(slot).collect();
        if !keys.iter().any(|key| self.keys[usize::from(*key)].was_written()) {
            // The owner that told it first may have ended before there was another copy.
            return match !is_certain || keys.iter().any(|key| self.keys[usize::from(*key)].was_lost()) {
                true => {
                    keys.iter().for_each(|key| self.keys[usize::from(*key)].lost(now));
                    Ok(())
                }
                false => Err(Violation(format!("slot {slot} is reported as lost, and was never written"))),
            };
        }
        let newest = self.contents.keys().filter(|(at, _)| *at == slot).map(|(_, label)| *label).max();
        let held = members.iter().filter_map(|node| Some((node, self.held.get(&(node.clone(), slot))?)));
        self.unknown += u64::from(!is_certain);
        for (node, (stamp, values)) in held.filter(|(_, (stamp, _))| is_certain && !stamp.learning) {
            // A copy in the view that served last, or content to which nothing was added since.
            let was_copy = self
                .last_served
                .get(&slot)
                .is_some_and(|epoch| stamp.candidate == *epoch || stamp.label.epoch >= *epoch);
            let has_all = keys.iter().zip(values).all(|(key, value)| {
                let (history, list) = (&self.keys[usize::from(*key)], decode(value));
                // An append that was repeated may have been applied here and, after a view without this node, again elsewhere. Then a later
                // label has the same values, and no node can know that.
                (Some(stamp.label) == newest && history.has_all_applied(&list))
                    || (was_copy && history.has_all_answered(&list))
            });
            if has_all {
                return Err(Violation(format!(
                    "slot {slot} is reported as lost, and {node} has all of it: {stamp:?}"
                )));
            }
        }
        if self.settings.loses_nothing {
            return Err(Violation(format!("slot {slot} is lost, though no two nodes failed at a time")));
        }
        for key in keys {
            let history = &mut self.keys[usize::from(key)];
            if is_certain { history.lost(now) } else { history.may_be_lost(now) }
        }
        Ok(())
    }
}

/// The value of a key: its appends, in order.
pub(crate) fn decode(value: &[u8]) -> Vec<AppendId> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    value.chunks(16).map(|id| (number(&id[..8]), number(&id[8..]))).collect()
}

/// The value of a key after one more append.
pub(crate) fn append(value: Option<&Bytes>, (client, number): AppendId) -> Bytes {
    let mut value = value.map_or_else(Vec::new, |value| value.to_vec());
    value.extend_from_slice(&client.to_be_bytes());
    value.extend_from_slice(&number.to_be_bytes());
    value.into()
}
