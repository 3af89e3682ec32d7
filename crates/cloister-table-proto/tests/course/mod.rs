//! A few tables, and what they say to each other, message by message.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cloister_proto::{Epoch, Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::rule::Rule;
use cloister_table_proto::{
    Action, Bytes, Decision, Event, Message, OnLoss, Options, Placement, Refusal, Table, Token,
};

/// A few tables with copies of each slot, of which the course looks at one most of the time.
pub(crate) struct Course {
    pub(crate) slot: Slot,
    pub(crate) tables: BTreeMap<NodeId, Table>,
    /// The epoch under which each node may act.
    pub(crate) claims: BTreeMap<NodeId, Epoch>,
    pub(crate) flying: VecDeque<(NodeId, NodeId, Message)>,
    pub(crate) answered: Vec<Token>,
    pub(crate) uncertain: Vec<Token>,
    /// Whether each loss that was told is certain, and of which slots.
    pub(crate) losses: Vec<bool>,
    pub(crate) lost: BTreeSet<Slot>,
    /// The slots that wait for a copy.
    pub(crate) waiting: BTreeSet<Slot>,
    /// The views that may begin as far as these nodes are concerned.
    pub(crate) released: Vec<(NodeId, Epoch)>,
    /// The nodes that may stop: what they had is elsewhere.
    pub(crate) left: BTreeSet<NodeId>,
    /// The nodes that had something and have it no more.
    pub(crate) discarded: BTreeSet<NodeId>,
    /// Which view each present one follows, as far as nodes that left have told it.
    pub(crate) follows: Vec<(NodeId, Epoch, Epoch)>,
    pub(crate) tokens: u64,
    /// How many copies there are of each slot.
    pub(crate) copies: usize,
    options: Options,
    disabled: Option<Rule>,
}

pub(crate) fn node(n: u64) -> NodeId {
    NodeId::new(format!("shop@10.0.0.{n}:4370").parse().expect("a name"), Incarnation(n), n)
}

pub(crate) fn epoch(number: u64) -> Epoch {
    Epoch::from_u64(number)
}

impl Course {
    /// Three nodes; all are linked. `disabled` is the rule that is switched off.
    pub(crate) fn new(disabled: Option<Rule>) -> Self {
        Self::of(&[1, 2, 3].map(node), Slot::of(b"any"), disabled)
    }

    pub(crate) fn of(nodes: &[NodeId], slot: Slot, disabled: Option<Rule>) -> Self {
        Self::with_slots(nodes, &[slot], disabled)
    }

    /// With some slots, of which the course looks at the first.
    pub(crate) fn with_slots(nodes: &[NodeId], slots: &[Slot], disabled: Option<Rule>) -> Self {
        Self::with_options(nodes, slots, disabled, OnLoss::Empty)
    }

    pub(crate) fn with_options(
        nodes: &[NodeId],
        slots: &[Slot],
        disabled: Option<Rule>,
        on_loss: OnLoss,
    ) -> Self {
        let mut course = Self {
            slot: slots[0],
            tables: BTreeMap::new(),
            claims: BTreeMap::new(),
            flying: VecDeque::new(),
            answered: Vec::new(),
            uncertain: Vec::new(),
            losses: Vec::new(),
            lost: BTreeSet::new(),
            waiting: BTreeSet::new(),
            released: Vec::new(),
            left: BTreeSet::new(),
            discarded: BTreeSet::new(),
            follows: Vec::new(),
            tokens: 0,
            copies: 2,
            options: Options { slots: slots.into(), on_loss, chunk_bytes: 1 },
            disabled,
        };
        nodes.iter().for_each(|node| course.starts(node));
        course
    }

    /// A node starts, and is linked with all.
    pub(crate) fn starts(&mut self, node: &NodeId) {
        let mut table = Table::new(node.clone(), self.options.clone());
        table.disable_rule(self.disabled);
        for peer in self.tables.keys().cloned().collect::<Vec<_>>() {
            table.handle(None, Event::Linked(peer.clone()));
            self.give(&peer, Event::Linked(node.clone()));
        }
        self.tables.insert(node.clone(), table);
        self.perform(node);
    }

    /// The members of the three in the order of the slot's preference: its owner first.
    pub(crate) fn order(&self) -> [NodeId; 3] {
        let ring = Ring::new(&[1, 2, 3].map(node));
        let owners: Vec<NodeId> = ring.owners_of(self.slot, 3).into_iter().cloned().collect();
        owners.try_into().expect("three members")
    }

    /// The nodes that have the copies of a slot where these are members, its owner first.
    pub(crate) fn copies_in(&self, slot: Slot, members: &[NodeId]) -> Vec<NodeId> {
        Ring::new(members).owners_of(slot, self.copies).into_iter().cloned().collect()
    }

    pub(crate) fn placement(&self, view: u64, predecessor: u64, members: &[NodeId]) -> Placement {
        let replicas = Ring::new(members).replicas(self.copies);
        Placement::new(epoch(view), epoch(predecessor), members.into(), Arc::new(replicas))
    }

    pub(crate) fn give(&mut self, to: &NodeId, event: Event) {
        let claim = self.claims.get(to).copied();
        let Some(table) = self.tables.get_mut(to) else { return };
        table.handle(claim, event);
        self.perform(to);
    }

    pub(crate) fn perform(&mut self, at: &NodeId) {
        let Some(table) = self.tables.get_mut(at) else { return };
        while let Some(action) = table.next_action() {
            match action {
                Action::Send { to, message } => self.flying.push_back((at.clone(), to, message)),
                Action::Answer { token, answer: Ok(_) } => self.answered.push(token),
                Action::Answer { token, answer: Err(_) } => self.uncertain.push(token),
                Action::Lost { slot, is_certain } => {
                    self.losses.push(is_certain);
                    self.lost.insert(slot);
                }
                Action::WaitsForCopy(slot) => drop(self.waiting.insert(slot)),
                Action::ReleaseView(epoch) => self.released.push((at.clone(), epoch)),
                Action::ReleaseLeave => drop(self.left.insert(at.clone())),
                Action::Discard(discarded) => {
                    assert!(!discarded.is_empty());
                    self.discarded.insert(at.clone());
                }
                Action::Follows { epoch, predecessor } => self.follows.push((at.clone(), epoch, predecessor)),
                _ => {}
            }
        }
    }

    /// All that flies arrives, and what follows from it; but for these messages, which are dropped.
    pub(crate) fn settle(&mut self, drops: impl Fn(&NodeId, &NodeId, &Message) -> bool) {
        while let Some((from, to, message)) = self.flying.pop_front() {
            if !drops(&from, &to, &message) {
                self.give(&to, Event::Received { from, message });
            }
        }
    }

    pub(crate) fn promise(&mut self, view: u64, predecessor: u64, members: &[NodeId]) {
        for member in members {
            self.claims.remove(member);
            self.give(member, Event::Promised(self.placement(view, predecessor, members)));
        }
    }

    pub(crate) fn up(&mut self, view: u64, predecessor: u64, members: &[NodeId], told: &[NodeId]) {
        for member in told {
            self.claims.insert(member.clone(), epoch(view));
            self.give(member, Event::Up(self.placement(view, predecessor, members)));
        }
    }

    /// A view without any trouble.
    pub(crate) fn view(&mut self, view: u64, predecessor: u64, members: &[NodeId]) {
        self.view_without(view, predecessor, members, |_, _, _| false);
    }

    /// A view that begins, and then these messages are dropped.
    pub(crate) fn view_without(
        &mut self,
        view: u64,
        predecessor: u64,
        members: &[NodeId],
        drops: impl Fn(&NodeId, &NodeId, &Message) -> bool,
    ) {
        self.promise(view, predecessor, members);
        self.settle(|_, _, _| false);
        self.up(view, predecessor, members, members);
        self.settle(drops);
    }

    pub(crate) fn ends(&mut self, gone: &NodeId) {
        self.tables.remove(gone);
        self.claims.remove(gone);
        self.flying.retain(|(from, to, _)| from != gone && to != gone);
        for peer in self.tables.keys().cloned().collect::<Vec<_>>() {
            self.give(&peer, Event::Unlinked(gone.clone()));
        }
    }

    pub(crate) fn insert(&mut self, at: &NodeId, key: &str, value: &str) -> Token {
        self.insert_in(self.slot, at, key, value).expect("the slot is served")
    }

    pub(crate) fn insert_in(
        &mut self,
        slot: Slot,
        at: &NodeId,
        key: &str,
        value: &str,
    ) -> Result<Token, Refusal> {
        self.tokens += 1;
        let (token, claim) = (Token(self.tokens), self.claims.get(at).copied());
        let (key, value): (Bytes, Bytes) = (key.as_bytes().into(), value.as_bytes().into());
        let table = self.tables.get_mut(at).expect("the node runs");
        let insert = |_: Option<&Bytes>| Decision::Insert { value, answer: Bytes::default() };
        let begun = table.write(claim, (slot, &key), None, token, insert);
        self.perform(at);
        begun.map(|()| token)
    }

    /// A write that was acknowledged.
    pub(crate) fn acknowledged(&mut self, slot: Slot, members: &[NodeId], key: &str, value: &str) {
        let owner = self.copies_in(slot, members)[0].clone();
        let token = self.insert_in(slot, &owner, key, value).expect("the slot is served");
        self.settle(|_, _, _| false);
        assert!(self.answered.contains(&token), "{key} is not acknowledged");
    }

    /// What the owner of the slot answers where these are members.
    pub(crate) fn found(&self, slot: Slot, members: &[NodeId], key: &str) -> Result<Option<String>, Refusal> {
        let owner = &self.copies_in(slot, members)[0];
        let value = self.tables[owner].read(self.claims.get(owner).copied(), slot, key.as_bytes())?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Messages arrive one after the other until this is one of them. Returns whether one was.
    pub(crate) fn until(&mut self, is_it: impl Fn(&NodeId, &NodeId, &Message) -> bool) -> bool {
        while let Some((from, to, message)) = self.flying.pop_front() {
            let is_last = is_it(&from, &to, &message);
            self.give(&to, Event::Received { from, message });
            if is_last {
                return true;
            }
        }
        false
    }

    /// All that was not answered is sent again.
    pub(crate) fn tick(&mut self) {
        self.tables.keys().cloned().collect::<Vec<_>>().iter().for_each(|node| self.give(node, Event::Tick));
    }

    pub(crate) fn read(&self, at: &NodeId, key: &str) -> Option<String> {
        let claim = self.claims.get(at).copied();
        let value = self.tables[at].read(claim, self.slot, key.as_bytes()).expect("the slot is served");
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// What a node has, whether it serves it or not.
    pub(crate) fn has(&self, at: &NodeId, key: &str) -> Option<String> {
        let mut held = self.tables[at].held_slots();
        let value = held.find_map(|(_, _, content)| content.get(key.as_bytes()));
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    }
}

pub(crate) fn is_replicate(message: &Message) -> bool {
    matches!(message, Message::Replicate { .. })
}

pub(crate) fn is_learn(message: &Message) -> bool {
    matches!(message, Message::Learn { .. })
}
