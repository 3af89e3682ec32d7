//! Moving the content of a slot: the node that lacks it fetches it, chunk by chunk.
//!
//! A chunk has the entries at the time of the chunk. The writes after that follow by the same link, so they reach the receiver in order. A
//! write of a key that has not arrived yet is contained in a later chunk as well, which does no harm.

use cloister_proto::{Epoch, Slot};

use super::Table;
use super::holding::Holding;
use super::nodes::{NodeSet, Peer};
use super::owned::{Change, Owned, Role};
use super::progress::Progress;
use crate::content::{Chunk, Content};
use crate::label::{Label, Stamp};
use crate::message::{ChunkBody, Cursor, Message};
use crate::operation::Operation;
use crate::rule::Rule;

/// A slot that is being fetched.
#[derive(Debug)]
pub(super) struct Pull {
    from: Peer,
    pub(super) epoch: Epoch,
    pub(super) attempt: u64,
    /// What has arrived, and the label of the content that it is a part of.
    staged: Content,
    label: Option<Label>,
    /// The label of the last write that it has.
    written: Label,
    pub(super) cursor: Option<Cursor>,
    aim: Aim,
    pub(super) progress: Progress,
}

/// What a fetched slot is for.
#[derive(Debug)]
enum Aim {
    /// This node is to own it: others that have it, the label that its source gave it, and the labels of the content and its last write.
    Own { others: Vec<(Peer, Label)>, reported: Label, label: Label, written: Label },
    /// This node lacks the last writes of what the view of this epoch begins from: the label of that content and of its last write.
    Equal { epoch: Epoch, label: Label, written: Label },
    /// This node is to have a copy in the view of this epoch; the owner goes on writing.
    Copy(Epoch),
}

impl Pull {
    /// The node that has the content.
    pub(super) fn source(&self) -> Peer {
        self.from
    }

    /// Whether it is the one that the owner asks for.
    fn is_from(&self, owner: Peer, epoch: Epoch) -> bool {
        self.from == owner && self.epoch == epoch
    }

    /// Whether another linked node has the same content.
    pub(super) fn has_other_source(&self, linked: &NodeSet) -> bool {
        matches!(&self.aim, Aim::Own { others, .. } if others.iter().any(|(node, _)| linked.contains(*node)))
    }

    /// Goes on with that: equal labels name equal contents.
    pub(super) fn turn_to_other_source(&mut self, linked: &NodeSet) {
        if let Aim::Own { others, reported, .. } = &mut self.aim
            && let Some(at) = others.iter().position(|(node, _)| linked.contains(*node))
        {
            let (from, its) = others.remove(at);
            others.push((self.from, *reported));
            (self.from, *reported) = (from, its);
        }
    }
}

impl Table {
    /// Fetches a slot that this node is to own from the first of these nodes, which have it under these labels.
    pub(super) fn pull_first(
        &mut self,
        slot: Slot,
        mut sources: Vec<(Peer, Label)>,
        (label, written): (Label, Label),
    ) {
        let linked = |(node, _): &(Peer, Label)| self.nodes.linked().contains(*node);
        let first = sources.iter().position(linked).unwrap_or(0);
        if sources.is_empty() {
            return;
        }
        let (from, reported) = sources.remove(first);
        self.pull(slot, from, Aim::Own { others: sources, reported, label, written });
    }

    fn pull(&mut self, slot: Slot, from: Peer, aim: Aim) {
        self.attempts += 1;
        let epoch = match aim {
            Aim::Own { .. } => self.epoch(),
            // A copy may be made for a planned view: this node need not be a member yet.
            Aim::Copy(epoch) | Aim::Equal { epoch, .. } => epoch,
        };
        let pull = Pull {
            from,
            epoch,
            attempt: self.attempts,
            staged: Content::default(),
            label: None,
            written: Label::NONE,
            cursor: None,
            aim,
            progress: Progress::new(),
        };
        self.begin_pull(slot, pull);
    }

    /// Fetches a slot from its beginning: what has arrived is of another content, or its source does not go on.
    pub(super) fn pull_again(&mut self, slot: Slot) {
        let Some(pull) = self.end_pull(slot) else { return };
        match pull.aim {
            Aim::Own { mut others, reported, label, written } => {
                others.push((pull.from, reported));
                self.pull_first(slot, others, (label, written));
            }
            aim @ (Aim::Copy(_) | Aim::Equal { .. }) => self.pull(slot, pull.from, aim),
        }
    }

    /// Slots that came from this node come from another one.
    pub(super) fn pull_from_another(&mut self, gone: Peer) {
        let is_member = self.is_member(gone);
        for (slot, pull) in self.end_pulls_from(gone) {
            match pull.aim {
                Aim::Own { mut others, reported, label, written } => {
                    if is_member {
                        others.push((gone, reported));
                    }
                    if others.is_empty() {
                        self.decide_without(slot, gone);
                    } else {
                        self.pull_first(slot, others, (label, written));
                    }
                }
                // The owner asks again once it is linked, or a view follows.
                Aim::Copy(_) | Aim::Equal { .. } => {}
            }
        }
    }

    /// The owner wants this node to have a copy.
    pub(super) fn learn(&mut self, from: Peer, epoch: Epoch, slot: Slot) {
        self.fence = self.fence.max(epoch);
        self.prove(epoch);
        if self.pulls.get(slot).is_some_and(|pull| pull.is_from(from, epoch)) {
            return;
        }
        let stamp = self.holdings.get(slot).map_or(Stamp::NONE, |holding| holding.stamp);
        if stamp.label.epoch == epoch && !stamp.learning {
            self.send(from, Message::Replicated { epoch, slot, number: stamp.label.number });
        } else {
            self.learn_from(from, epoch, slot);
        }
    }

    /// Fetches a copy from the owner.
    pub(super) fn learn_from(&mut self, owner: Peer, epoch: Epoch, slot: Slot) {
        // What this node owned in an earlier view is over as soon as it hears of the later one.
        if !self.owned.contains(slot) {
            self.pull(slot, owner, Aim::Copy(epoch));
        }
    }

    /// Fetches from the owner what a view begins from, of which this node lacks the last writes.
    pub(super) fn pull_equal(
        &mut self,
        owner: Peer,
        epoch: Epoch,
        slot: Slot,
        (label, written): (Label, Label),
    ) {
        if !self.pulls.get(slot).is_some_and(|pull| pull.is_from(owner, epoch)) {
            self.pull(slot, owner, Aim::Equal { epoch, label, written });
        }
    }

    /// A node asks for a slot.
    pub(super) fn provide(
        &mut self,
        from: Peer,
        (epoch, slot, attempt): (Epoch, Slot, u64),
        have: Option<Label>,
        cursor: Option<Cursor>,
    ) {
        self.fence = self.fence.max(epoch);
        if self.owned.contains(slot) && self.epoch() == epoch && !self.streams(from, slot, cursor.is_none()) {
            return;
        }
        let Some(holding) = self.holdings.get(slot) else { return };
        let Stamp { label, written, .. } = holding.stamp;
        let tail = have.filter(|_| cursor.is_none()).and_then(|have| holding.log.since(have));
        let body = match tail {
            Some(operations) => ChunkBody::Tail(operations),
            None => {
                let Chunk { clients, entries, is_last } =
                    holding.content.chunk(cursor.as_ref(), self.options.chunk_bytes);
                ChunkBody::Entries { entries, clients, is_last }
            }
        };
        self.send(from, Message::Chunk { epoch, slot, attempt, cursor, label, written, body });
    }

    /// From now on a copy that is being made gets each write, if it is at its beginning; returns whether it gets them.
    fn streams(&mut self, to: Peer, slot: Slot, begins: bool) -> bool {
        let up = self.up;
        let lags = |owned: &Owned| owned.relabels.get(to).is_some_and(|claimed| claimed.lags);
        if self.owned.get(slot).is_some_and(|owned| !owned.pulls && !owned.serves && lags(owned)) {
            return true;
        }
        let Some(owned) = self.owned.get(slot).filter(|owned| up && owned.serves) else { return false };
        let Some(replica) = owned.replicas.get(to) else { return false };
        match replica.role {
            Role::Learns { streams: false } | Role::Warms { streams: false, .. } if begins => {
                self.owned.change(slot, Change::Streams(to), |owned| owned.streams_to(to));
                true
            }
            Role::Learns { streams } | Role::Warms { streams, .. } => streams,
            // Its count was on its way when its link closed.
            Role::Joins => true,
            Role::Counts | Role::Leaves => false,
        }
    }

    pub(super) fn take_chunk(
        &mut self,
        from: Peer,
        (epoch, slot, attempt): (Epoch, Slot, u64),
        cursor: Option<&Cursor>,
        (label, written): (Label, Label),
        body: ChunkBody,
    ) {
        let continuous = self.enabled(Rule::Continuous);
        let Some(pull) = self.pulls.get_mut(slot) else { return };
        if pull.from != from || pull.epoch != epoch || pull.attempt != attempt {
            return;
        }
        if pull.cursor.as_ref() != cursor {
            // It was asked for twice.
            pull.progress.moves();
            return;
        }
        pull.progress.answered();
        let continues = match &pull.aim {
            // Its source may have learned meanwhile that the view is installed.
            Aim::Own { reported, label: wanted, .. } => {
                [*reported, *wanted, Label::start_of(epoch)].contains(&label)
            }
            Aim::Copy(_) | Aim::Equal { .. } => {
                pull.label.is_none_or(|staged| staged == label || !continuous)
            }
        };
        if !continues {
            self.pull_again(slot);
            return;
        }
        pull.label = Some(label);
        pull.written = written;
        let is_last = match body {
            ChunkBody::Tail(operations) => {
                // It takes the place of what is held, below.
                pull.staged = self.holdings.get_mut(slot).map(Holding::take_content).unwrap_or_default();
                operations.iter().for_each(|operation| pull.staged.apply(operation));
                true
            }
            ChunkBody::Entries { entries, clients, is_last } => {
                let last_answer = clients.last().map(|(client, its)| Cursor::Answer {
                    client: *client,
                    number: its.answers.last().map_or(its.settled.saturating_sub(1), |(number, _)| *number),
                });
                let last_key = entries.last().map(|(key, _)| Cursor::Key(key.clone()));
                pull.cursor = last_key.or(last_answer).or(pull.cursor.take());
                pull.staged.take_over(clients);
                entries.iter().for_each(|(key, value)| pull.staged.insert(key, value));
                is_last
            }
        };
        if is_last {
            self.finish_pull(slot);
        } else {
            self.fetch(slot);
        }
    }

    fn finish_pull(&mut self, slot: Slot) {
        let counts = self.enabled(Rule::Count);
        let Some(pull) = self.end_pull(slot) else { return };
        let Pull { from, epoch, staged, label, written, aim, .. } = pull;
        match aim {
            Aim::Own { label, written, .. } => {
                self.hold(slot, staged, Stamp { label, candidate: epoch, learning: false, written });
                self.label_at_once(slot, epoch);
                self.forget_clients(slot);
                self.owned.change(slot, Change::Pulled, |owned| owned.pulls = false);
                self.ready_if_here(slot);
                self.serve_if_sealed(slot);
            }
            Aim::Equal { epoch, label, written } => {
                self.hold(slot, staged, Stamp { label, candidate: epoch, learning: false, written });
                self.label_at_once(slot, epoch);
                self.forget_clients(slot);
                self.send(from, Message::Relabelled { epoch, slots: vec![slot] });
            }
            Aim::Copy(_) => {
                let label = label.unwrap_or(Label::NONE);
                self.hold(slot, staged, Stamp { label, candidate: Epoch::ZERO, learning: counts, written });
                self.forget_clients(slot);
                self.send(from, Message::Replicated { epoch, slot, number: label.number });
            }
        }
    }

    /// Content that was fetched.
    fn hold(&mut self, slot: Slot, content: Content, stamp: Stamp) {
        self.discard(slot);
        let holding = Holding::new(content, stamp);
        if holding.is_plain() {
            self.holdings.share(slot, holding);
        } else {
            self.holdings.insert(slot, holding);
        }
    }

    /// A write of a slot that is being fetched; returns whether it is.
    pub(super) fn take_staged(
        &mut self,
        from: Peer,
        epoch: Epoch,
        slot: Slot,
        operation: &Operation,
    ) -> bool {
        let Some(pull) = self.pulls.get_mut(slot) else { return false };
        if pull.from != from || pull.epoch != epoch {
            return false;
        }
        let Some(label) = &mut pull.label else { return true };
        if label.epoch == epoch && operation.number == label.number + 1 {
            pull.staged.apply(operation);
            label.number = operation.number;
            pull.written = *label;
        }
        true
    }
}
