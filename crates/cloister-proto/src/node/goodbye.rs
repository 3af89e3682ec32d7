//! Goodbyes: which lives have left in order, and the views that they hand over.
//!
//! Under the split policy `majority` a life that left in order counts no more. The leaver may have installed or acknowledged
//! views that others never saw, so its goodbye carries them: a node that discounts the leaver must follow them as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Disbelief, Node};
use crate::name::{Address, NodeId};
use crate::peer::Peer;
use crate::rule::Rule;
use crate::split::SplitPolicy;
use crate::time::Time;
use crate::view::{Epoch, View};
use crate::wire::{Goodbye, Message};

/// How many members all views of the goodbyes in one heartbeat name at most, or those of the first if it alone names more.
const MAX_NAMED: usize = 4096;

/// The goodbyes that this node has learned, in the order in which it learned them.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Goodbyes {
    by_life: BTreeMap<NodeId, Learned>,
    /// The number of the newest; each has one of its own, so that each peer is sent each goodbye once.
    newest: u64,
}

/// One goodbye, as this node learned it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Learned {
    /// The views that the leaver installed last, or acknowledged since.
    pub(super) bases: Vec<Arc<View>>,
    pub(super) at: Time,
    number: u64,
    /// Members of these views whose address refused a connection since. This node may never have been linked to them.
    ended: BTreeSet<NodeId>,
}

impl Goodbyes {
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn get(&self, life: &NodeId) -> Option<&Learned> {
        self.by_life.get(life)
    }

    /// The lives whose goodbyes are known.
    pub(super) fn lives(&self) -> impl Iterator<Item = &NodeId> {
        self.by_life.keys()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Learned> {
        self.by_life.values()
    }

    /// Takes note of a goodbye; tells whether it is news.
    pub(super) fn learn(&mut self, life: NodeId, bases: Vec<Arc<View>>, at: Time) -> bool {
        if self.by_life.contains_key(&life) {
            return false;
        }
        self.newest += 1;
        self.by_life.insert(life, Learned { bases, at, number: self.newest, ended: BTreeSet::new() });
        true
    }

    /// The goodbyes with a number above `sent`, the oldest first, and the number of the last of them.
    fn after(&self, sent: u64) -> (Vec<(&NodeId, &Learned)>, u64) {
        let mut unsent: Vec<_> = self.by_life.iter().filter(|(_, learned)| learned.number > sent).collect();
        unsent.sort_unstable_by_key(|(_, learned)| learned.number);
        let mut named = 0;
        unsent.retain(|(_, learned)| {
            let before = named;
            named += 1 + learned.bases.iter().map(|view| view.members().len()).sum::<usize>();
            before == 0 || named <= MAX_NAMED
        });
        let last = unsent.last().map_or(self.newest, |(_, learned)| learned.number);
        (unsent, last)
    }

    /// An address refuses connections: a life of these views at this address has ended.
    pub(super) fn refused(&mut self, address: &Address, began: Time) {
        for learned in self.by_life.values_mut().filter(|learned| learned.at <= began) {
            let at_address = |id: &&NodeId| id.name().address() == Some(address);
            let ended = learned.bases.iter().flat_map(|view| view.ids()).filter(at_address).cloned();
            learned.ended.extend(ended);
        }
    }

    fn has_ended(&self, life: &NodeId) -> bool {
        self.by_life.values().any(|learned| learned.ended.contains(life))
    }

    fn retain(&mut self, keep: impl Fn(&NodeId, &Learned) -> bool) {
        self.by_life.retain(|life, learned| keep(life, learned));
    }
}

impl Node {
    pub(super) fn follows_majority(&self) -> bool {
        self.settings.split == SplitPolicy::Majority
    }

    /// This node leaves: from now on it acknowledges and grants nothing.
    pub(super) fn say_goodbye(&mut self) {
        let bases = self.installed.iter().chain(&self.unresolved).cloned().collect();
        let me = self.me.clone();
        self.goodbyes.learn(me, bases, self.now);
    }

    /// Whether this life has left in order: a goodbye of it is known, and it does not show the contrary.
    pub(super) fn has_left(&self, life: &NodeId) -> bool {
        if !self.settings.keeps(Rule::LeaversDiscounted) || self.goodbyes.get(life).is_none() {
            return false;
        }
        // Another member passed the goodbye on, but the node itself is heard and does not leave.
        self.peers.get(life).is_none_or(|peer| !peer.is_live() || peer.is_leaving())
    }

    /// Whether the process of this life has ended, for sure.
    pub(super) fn has_ended(&self, life: &NodeId) -> bool {
        let known = self.peers.get(life);
        if known.is_some_and(Peer::has_ended) || self.goodbyes.has_ended(life) {
            return true;
        }
        let replaces = |other: &NodeId| other.is_other_life_of(life) && other > life;
        known.is_none_or(|peer| peer.open().is_none())
            && (replaces(&self.me)
                || self.is_former(life)
                || self.peers.values().any(|p| p.is_live() && replaces(&p.member.id)))
    }

    pub(super) fn learn_goodbyes(&mut self, from: &NodeId, goodbyes: Vec<Goodbye>) {
        for Goodbye { life, bases } in goodbyes {
            let is_own = life == *from;
            let is_leaving = if life == self.me {
                self.goodbyes.get(&life).is_some()
            } else {
                !is_own || self.is_leaving(from)
            };
            if !is_leaving {
                self.disbelieve(Disbelief::ForeignName);
                continue;
            }
            if !is_own && !self.settings.keeps(Rule::GoodbyesSpread) {
                continue;
            }
            let hands_over = self.settings.keeps(Rule::BasesHandedOver);
            let bases = bases.into_iter().filter(|_| hands_over).map(|base| self.handed_over(base));
            // A view that is older than the installed one counts no more, whatever it was.
            let known: Option<Vec<Option<Arc<View>>>> = bases.collect();
            let Some(bases) = known else { continue };
            if self.goodbyes.learn(life, bases.into_iter().flatten().collect(), self.now) {
                self.target.stale = true;
            }
        }
    }

    /// A view of a goodbye, in full. `Some(None)`: it counts no more. `None`: it is not known here.
    fn handed_over(&self, base: View) -> Option<Option<Arc<View>>> {
        if !base.members().is_empty() {
            return Some(Some(Arc::new(base)));
        }
        match &self.installed {
            Some(view) if view.epoch() == base.epoch() => Some(Some(Arc::clone(view))),
            Some(view) if view.epoch() > base.epoch() => Some(None),
            _ => None,
        }
    }

    /// The goodbyes that a peer has not been sent. A view that the peer has installed itself is only named.
    pub(super) fn goodbyes_for(&mut self, to: &NodeId) -> Vec<Goodbye> {
        if !self.follows_majority() {
            return Vec::new();
        }
        let Some(peer) = self.peers.get_mut(to) else { return Vec::new() };
        let installed = peer.report.map_or(Epoch::ZERO, |report| report.installed);
        let (unsent, last) = self.goodbyes.after(peer.goodbyes_sent);
        peer.goodbyes_sent = last;
        let named = |view: &Arc<View>| match view.epoch() == installed {
            true => View::new(installed, Vec::new()),
            false => View::clone(view),
        };
        let goodbye = |(life, learned): (&NodeId, &Learned)| Goodbye {
            life: life.clone(),
            bases: learned.bases.iter().map(named).collect(),
        };
        unsent.into_iter().map(goodbye).collect()
    }

    pub(super) fn owes_goodbyes(&self, to: &NodeId) -> bool {
        self.follows_majority()
            && self.settings.keeps(Rule::GoodbyesSpread)
            && self.peers.get(to).is_some_and(|peer| peer.goodbyes_sent < self.goodbyes.newest())
    }

    /// Forgets goodbyes that can matter no more: of lives that are in no view that this node follows, and whose own views are
    /// older than the installed one.
    pub(super) fn forget_goodbyes(&mut self, forget_after: Duration) {
        let installed = self.installed_epoch();
        let own: Vec<&Arc<View>> = self.installed.iter().chain(&self.unresolved).collect();
        let (now, me) = (self.now, &self.me);
        self.goodbyes.retain(|life, learned| {
            life == me
                || now < learned.at + forget_after
                || own.iter().any(|view| view.contains(life))
                || (installed > Epoch::ZERO && learned.bases.iter().any(|view| view.epoch() > installed))
        });
    }

    /// Sends a member everything that a proposal rests on.
    pub(super) fn send_goodbyes(&mut self, to: &NodeId) {
        while self.owes_goodbyes(to) {
            let Some(link) = self.peers.get(to).and_then(Peer::open) else { return };
            self.say(link, to, false);
        }
    }

    pub(super) fn propose_to(&mut self, to: &NodeId, view: &View) {
        self.send_goodbyes(to);
        if let Some(link) = self.peers.get(to).and_then(Peer::open) {
            self.send(link, Message::Propose(view.clone()));
        }
    }
}
