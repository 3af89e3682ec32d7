//! A member's side of a round: when it may promise a view, when it is prepared, and how it installs.

use std::sync::Arc;
use std::time::Duration;

use super::memory::Keeping;
use super::{Bound, Disbelief, Node, Stage};
use crate::change::DownReason;
use crate::lease::Grants;
use crate::majority::Succession;
use crate::name::NodeId;
use crate::peer::{Link, Peer};
use crate::rule::Rule;
use crate::settings::guard_of;
use crate::time::Time;
use crate::view::{Epoch, View};
use crate::wire::{Answer, Message};

/// The proposal that this node has promised to install when told to.
#[derive(Clone, Debug, Hash)]
pub(super) struct Promise {
    pub(super) view: Arc<View>,
    pub(super) proposer: NodeId,
    pub(super) since: Time,
    /// Whether it is acknowledged: no listener holds it any more, and it would be remembered.
    pub(super) prepared: bool,
    /// Where it must be kept first, how far that is.
    pub(super) keeping: Keeping,
}

/// A proposal that this node may not promise yet.
#[derive(Clone, Debug, Hash)]
pub(super) struct Pending {
    pub(super) view: Arc<View>,
    proposer: NodeId,
    pub(super) since: Time,
}

/// Whether a proposal may be promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    /// Not now. If time alone can change that, [`Node::wait_until`] has been told.
    NotYet,
    No(Answer),
}

impl Node {
    pub(super) fn proposed(&mut self, from: &NodeId, view: View) {
        if view.sentry() != Some(from) || !view.contains(&self.me) {
            return self.disbelieve(Disbelief::ForeignProposal);
        }
        let epoch = view.epoch();
        if !self.may_be_proposed(epoch) {
            return self.disbelieve(Disbelief::EpochAhead);
        }
        self.accept(epoch);
        if let Stage::Promised(promise) = &self.stage
            && promise.view.epoch() == epoch
            && promise.proposer == *from
        {
            let answer = if promise.prepared { Answer::Ack } else { Answer::Promise };
            return self.answer(from, epoch, answer);
        }
        if matches!(self.stage, Stage::Bound(_)) && self.installed_epoch() == epoch {
            return self.answer(from, epoch, Answer::Ack);
        }
        if self.pending.as_ref().is_none_or(|pending| pending.view.epoch() < epoch) {
            self.pending = Some(Pending { view: Arc::new(view), proposer: from.clone(), since: self.now });
        } else {
            self.disbelieve(Disbelief::OldProposal);
        }
    }

    /// Promises the pending proposal as soon as that is allowed; lets it go when its proposer has given it up.
    pub(super) fn consider_pending(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let proposer_is_there = self.peers.get(&pending.proposer).is_some_and(|peer| peer.open().is_some());
        if !proposer_is_there || self.now >= pending.since + self.settings.timing.promise() {
            return;
        }
        match self.may_promise(&pending.view) {
            Verdict::Yes => self.promise(pending.view, pending.proposer),
            Verdict::NotYet => self.pending = Some(pending),
            Verdict::No(answer) => self.answer(&pending.proposer, pending.view.epoch(), answer),
        }
    }

    /// Whether this node may promise `view`, as its proposer or as another member.
    pub(super) fn may_promise(&mut self, view: &View) -> Verdict {
        if matches!(self.stage, Stage::Leaving { .. } | Stage::Left) {
            return Verdict::No(Answer::Leaving);
        }
        if self.memory_trouble().is_some() {
            // It could not acknowledge it.
            return Verdict::NotYet;
        }
        let overtaken = self.promised.max(self.retired).max(self.installed_epoch());
        if view.epoch() <= overtaken {
            return Verdict::No(Answer::Overtaken(overtaken.max(self.highest)));
        }
        let others = view.ids().filter(|id| **id != self.me);
        let all_live = others
            .clone()
            .all(|id| self.peers.get(id).is_some_and(|peer| peer.is_live() && !peer.is_leaving()));
        let part: Vec<NodeId> = view.ids().cloned().collect();
        let Ok(succession) = self.succession(&part) else { return Verdict::NotYet };
        let may = all_live
            && self.is_of_size(view, succession)
            && self.has_no_lease_outside(view)
            && self.leavers_grants_have_expired(view)
            && self.remembers(view, succession);
        if may { Verdict::Yes } else { Verdict::NotYet }
    }

    /// Whether every member of the installed view that `view` leaves out has lost its lease for sure.
    fn has_no_lease_outside(&mut self, view: &View) -> bool {
        let Some(installed) = self.installed.clone() else { return true };
        let until = installed
            .ids()
            .filter(|id| !view.contains(id) && **id != self.me)
            .filter_map(|id| self.lease_ends(id, installed.epoch()))
            .max();
        if let Some(until) = until {
            self.wait_until(until);
        }
        until.is_none()
    }

    /// Until when a member of the installed view may still hold its lease; `None` when it surely does not.
    fn lease_ends(&self, id: &NodeId, installed: Epoch) -> Option<Time> {
        let peer = self.peers.get(id).filter(|_| self.settings.keeps(Rule::Guard))?;
        let said_so = peer.report.is_some_and(|report| {
            report.retired >= installed
                || (report.retired > Epoch::ZERO && !self.settings.keeps(Rule::RetiredUpTo))
        });
        let is_gone = match peer.link {
            Link::Gone(DownReason::Crashed | DownReason::Replaced) => true,
            Link::Closed(_) | Link::Gone(_) => !self.settings.keeps(Rule::ClosedIsNotExpired),
            Link::Open(_) => false,
        };
        let until = peer.handled + guard_of(self.granted_to(peer));
        (!said_so && !is_gone && self.now < until).then_some(until)
    }

    /// For how long at most a peer acts by the word of this node.
    fn granted_to(&self, peer: &Peer) -> Duration {
        let (mine, its) = (self.settings.timing.lease, peer.terms.lease);
        if peer.terms.caps_lease && self.settings.keeps(Rule::ShorterLease) {
            mine.min(its)
        } else {
            mine.max(its)
        }
    }

    /// Whether no member of `view` may have forgotten what it promised in an earlier life.
    ///
    /// Under `majority` a view that follows another needs more than half of its *lives*: what a process at the same address
    /// may have forgotten is not counted on.
    fn remembers(&mut self, view: &View, succession: Succession) -> bool {
        let follows = self.follows_majority() && succession != Succession::Begins;
        if follows || !self.settings.keeps(Rule::Forgotten) {
            return true;
        }
        let fresh_until = view.ids().filter_map(|id| self.fresh_until(id)).max();
        let Some(until) = fresh_until else { return true };
        if self.is_first_assembly(view) || self.joins_living_cluster(view) {
            return true;
        }
        self.wait_until(until);
        false
    }

    /// Until when a process is so young that an earlier life of it may still be counted on.
    fn fresh_until(&self, id: &NodeId) -> Option<Time> {
        // What an earlier life granted lasted for its own lease at most.
        let mine = self.settings.timing.lease;
        let (age, lease) = match self.peers.get(id) {
            Some(peer) if self.settings.keeps(Rule::ShorterLease) => (peer.age(self.now), peer.terms.lease),
            Some(peer) => (peer.age(self.now), mine),
            None => (self.now.since(self.born), mine),
        };
        let guard = guard_of(lease);
        (age < guard).then(|| self.now + (guard - age))
    }

    /// Nobody ever installed a view, and no address that discovery names can hide somebody who did. That includes
    /// nodes outside of the view: one that is linked and has not spoken may hang, and hold a lease.
    fn is_first_assembly(&self, view: &View) -> bool {
        let never = |peer: &Peer| {
            peer.open().is_none()
                || (peer.greeted && peer.report.is_some_and(|report| report.installed == Epoch::ZERO))
        };
        let looked_at =
            |peer: &&Peer| self.settings.keeps(Rule::NobodyHides) || view.contains(&peer.member.id);
        self.installed.is_none()
            && self.peers.values().filter(looked_at).all(never)
            && self.survey.complete
            && self.hiding_places().next().is_none()
    }

    /// Enough members have installed one and the same view and kept it: what the newcomers may have forgotten, these
    /// remember.
    fn joins_living_cluster(&self, view: &View) -> bool {
        let mut bound: Vec<(Epoch, NodeId)> = view
            .ids()
            .filter_map(|id| match self.peers.get(id) {
                Some(peer) => {
                    let report = peer.report.filter(|report| report.keeps_its_view())?;
                    Some((report.installed, id.clone()))
                }
                None => self.keeps_its_view().then(|| (self.installed_epoch(), id.clone())),
            })
            .collect();
        bound.sort();
        bound.chunk_by(|a, b| a.0 == b.0).any(|same| {
            let part: Vec<NodeId> = same.iter().map(|(_, id)| id.clone()).collect();
            part.len() >= self.settings.consensus.get() && self.may_stand(&part)
        })
    }

    fn keeps_its_view(&self) -> bool {
        matches!(self.stage, Stage::Bound(_) | Stage::Promised(_)) && self.retired < self.installed_epoch()
    }

    /// Takes part in no earlier view any more, and tells listeners, who may hold it.
    pub(super) fn promise(&mut self, view: Arc<View>, proposer: NodeId) {
        let epoch = view.epoch();
        if self.round.as_ref().is_some_and(|round| round.view.epoch() < epoch) {
            self.give_up_round();
        }
        self.promised = epoch;
        self.accept(epoch);
        if proposer != self.me {
            self.answer(&proposer, epoch, Answer::Promise);
        }
        self.stage = Stage::Promised(Promise {
            view,
            proposer,
            since: self.now,
            prepared: false,
            keeping: Keeping::Not,
        });
        self.tell(Some(epoch));
    }

    pub(super) fn unheld(&mut self, epoch: Epoch) {
        if matches!(&self.stage, Stage::Promised(promise) if promise.view.epoch() == epoch) {
            self.prepare();
        }
    }

    /// Waits no longer for listeners than it said it would.
    pub(super) fn check_hold(&mut self) {
        let limit = self.settings.timing.rehash_timeout;
        if matches!(&self.stage, Stage::Promised(promise) if !promise.prepared && self.now >= promise.since + limit)
        {
            self.prepare();
        }
    }

    fn prepare(&mut self) {
        let is_kept = self.is_kept() && self.settings.keeps(Rule::AckOnceRemembered);
        let Stage::Promised(promise) = &mut self.stage else { return };
        if promise.prepared || promise.keeping != Keeping::Not {
            return;
        }
        if is_kept {
            // Whoever restarts now must know of it once it is acknowledged.
            promise.keeping = Keeping::Due;
        } else {
            self.acknowledge();
        }
    }

    /// Acknowledges the promised view: from now on another node may install it.
    pub(super) fn acknowledge(&mut self) {
        let Stage::Promised(promise) = &mut self.stage else { return };
        if std::mem::replace(&mut promise.prepared, true) {
            return;
        }
        let (epoch, proposer, view) =
            (promise.view.epoch(), promise.proposer.clone(), Arc::clone(&promise.view));
        // One view for each set of members, the newest: it must be followed whenever an older one must. But what this node
        // proposes itself is forgotten with its round, and must not take the place of another.
        let is_mine = proposer == self.me;
        self.unresolved.retain(|known| is_mine || known.size() != view.size() || !known.ids().eq(view.ids()));
        self.unresolved.push(view);
        if proposer == self.me {
            self.replied_by_me(epoch);
        } else {
            self.answer(&proposer, epoch, Answer::Ack);
        }
    }

    pub(super) fn committed(&mut self, from: &NodeId, epoch: Epoch) {
        match &self.stage {
            Stage::Promised(promise) if promise.view.epoch() == epoch && promise.proposer == *from => {
                let view = Arc::clone(&promise.view);
                self.install(view);
            }
            _ => self.disbelieve(Disbelief::ForeignRound),
        }
    }

    /// The view holds from now on; what it allows is earned by the heartbeats that follow.
    pub(super) fn install(&mut self, view: Arc<View>) {
        if view.epoch() <= self.retired {
            return;
        }
        let mut grants = Grants::default();
        if !self.settings.keeps(Rule::FreshGrants) {
            let until = self.now + self.settings.timing.lease;
            view.ids().filter(|id| **id != self.me).for_each(|id| grants.add(id, until));
        }
        let counts_all = self.settings.keeps(Rule::MajorityOfSize);
        self.installed = Some(if counts_all { view } else { Arc::new(View::clone(&view).with_size(0)) });
        self.unresolved.clear();
        self.forget_former();
        self.target.left_out = None;
        self.stage =
            Stage::Bound(Bound { since: self.now, grants, leased: false, until: None, reads_until: None });
        self.refresh_lease();
        self.check_lease();
    }

    pub(super) fn installed_epoch(&self) -> Epoch {
        self.installed.as_ref().map_or(Epoch::ZERO, |view| view.epoch())
    }

    fn answer(&mut self, to: &NodeId, epoch: Epoch, answer: Answer) {
        if let Some(link) = self.peers.get(to).and_then(Peer::open) {
            self.send(link, Message::Reply { epoch, answer });
        }
    }
}
