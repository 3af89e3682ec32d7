//! The memory of a node over a restart: restoring it, and persisting it.
//!
//! Another node may install a view as soon as this one has acknowledged it. So a view is persisted before it is acknowledged:
//! the core emits [`Action::Persist`] and withholds its reply until [`Event::Persisted`](crate::Event::Persisted).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::{Contents, MemberState, Node, PersistState, Persistence, Promise};
use crate::action::Action;
use crate::goodbye::Goodbye;
use crate::memory::Memory;
use crate::name::{Address, NodeId};
use crate::rule::Rule;
use crate::split::SplitPolicy;
use crate::view::{Epoch, View};

impl Node {
    /// Restores what the previous incarnation left. Called once, before any event.
    pub(super) fn restore(&mut self, memory: Memory) {
        let mut kept = Persistence::default();
        if self.settings.enabled(Rule::RestoresBaseViews) {
            let has_left = memory.has_left();
            let Memory { node: incarnation, former, installed, acknowledged, goodbyes } = memory;
            for Goodbye { node: incarnation, base_views } in goodbyes {
                let base_views: Vec<Arc<View>> = base_views.into_iter().map(Arc::new).collect();
                // Whatever the clock shows: it may have been set right since, and the others go by these epochs, too.
                base_views.iter().for_each(|view| self.accept_epoch(view.epoch()));
                self.goodbyes.learn(incarnation, base_views, self.now);
            }
            // An incarnation that left in order has handed its views over by its goodbye.
            if !has_left {
                self.installed = installed.map(Arc::new);
                self.maybe_installed = acknowledged.into_iter().map(Arc::new).collect();
            }
            // As after a step-down: this node participates in none of them any more.
            let newest = self.base_views().map(View::epoch).max().unwrap_or(Epoch::ZERO);
            (self.promised, self.released_epoch) = (newest, newest);
            self.accept_epoch(newest);
            kept.former = former.into_iter().chain(incarnation).collect();
        }
        self.persistence = Some(kept);
        self.prune_former();
        self.connect_to_remembered();
    }

    /// Connects to the members of the remembered views, whatever discovery finds: this node waits until each of them answers or
    /// refuses.
    pub(super) fn connect_to_remembered(&mut self) {
        let views =
            self.installed.iter().chain(&self.maybe_installed).filter(|view| self.is_remembered(view));
        let wanted = |id: &&NodeId| !self.is_linked_to(id) && !self.former().contains(id);
        let peers: BTreeSet<NodeId> = views.flat_map(|view| view.ids()).filter(wanted).cloned().collect();
        self.actions.extend(peers.into_iter().map(|peer| Action::Connect { peer }));
    }

    fn is_linked_to(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.open().is_some())
    }

    /// The view installed last, if this very incarnation installed it.
    pub(super) fn own_view(&self) -> Option<&Arc<View>> {
        self.installed.as_ref().filter(|view| self.persistence.is_none() || view.contains(&self.me))
    }

    /// Earlier incarnations of this node that other nodes may count on. They have exited.
    pub(super) fn former(&self) -> &[NodeId] {
        self.persistence.as_ref().map_or(&[], |kept| &kept.former)
    }

    /// Drops earlier incarnations that no view names any more.
    pub(super) fn prune_former(&mut self) {
        if self.former().is_empty() {
            return;
        }
        let handed = self.goodbyes.all().flat_map(|learned| &learned.base_views);
        let views = self.installed.iter().chain(&self.maybe_installed).chain(handed);
        let named: BTreeSet<NodeId> = views.flat_map(|view| view.ids()).cloned().collect();
        if let Some(kept) = &mut self.persistence {
            kept.former.retain(|incarnation| named.contains(incarnation));
            kept.exited.retain(|incarnation| named.contains(incarnation));
            kept.former.sort();
            kept.former.dedup();
        }
    }

    /// An address refuses connections: the members of remembered views at this address have exited.
    pub(super) fn on_remembered_refused(&mut self, address: &Address) {
        if self.former().is_empty() {
            return;
        }
        let views =
            self.installed.iter().chain(&self.maybe_installed).filter(|view| self.is_remembered(view));
        let at_address = |id: &&NodeId| id.name().address() == Some(address);
        let ended: Vec<NodeId> = views.flat_map(|view| view.ids()).filter(at_address).cloned().collect();
        if let Some(kept) = &mut self.persistence {
            let known = kept.exited.len();
            kept.exited.extend(ended);
            self.candidate.stale |= kept.exited.len() > known;
        }
    }

    /// Whether this node is known to have exited, by the memory of this node or of a peer.
    pub(super) fn is_former(&self, incarnation: &NodeId) -> bool {
        self.former().contains(incarnation)
            || self.persistence.as_ref().is_some_and(|kept| kept.exited.contains(incarnation))
            || self.peers.values().any(|peer| peer.former.contains(incarnation))
    }

    /// Whether an earlier incarnation of this node was a member of this view.
    pub(super) fn is_remembered(&self, view: &View) -> bool {
        self.former().iter().any(|incarnation| view.contains(incarnation))
    }

    /// Whether the shell persists the memory: whether there is a state file.
    pub(super) fn has_state_file(&self) -> bool {
        self.persistence.is_some()
    }

    /// Why the memory cannot be persisted now, if it cannot.
    pub(super) fn persist_error(&self) -> Option<&str> {
        self.persistence.as_ref()?.error.as_deref()
    }

    /// Whether everything requested is persisted.
    pub(super) fn has_persisted_all(&self) -> bool {
        self.persistence.as_ref().is_none_or(|kept| kept.persisted == kept.requested)
    }

    /// Asks the shell to persist the memory if it has changed.
    pub(super) fn persist_changes(&mut self) {
        let Some(kept) = &self.persistence else { return };
        let contents = self.contents();
        if kept.last_contents.as_ref() == Some(&contents) {
            return;
        }
        let memory = self.memory(&contents);
        let Some(kept) = &mut self.persistence else { return };
        kept.last_contents = Some(contents);
        kept.requested += 1;
        self.actions.push_back(Action::Persist { seq: kept.requested, memory });
        if let MemberState::Promised(promise) = &mut self.member_state
            && promise.persist_state == PersistState::Required
        {
            promise.persist_state = PersistState::Requested(kept.requested);
        }
    }

    fn contents(&self) -> Contents {
        let acknowledged = self.acknowledged().map(|view| view.epoch()).collect();
        let base_views: Vec<&Arc<View>> = self.installed.iter().chain(self.acknowledged()).collect();
        let concerns = |incarnation: &NodeId| {
            *incarnation == self.me
                || self.former().contains(incarnation)
                || base_views.iter().any(|view| view.contains(incarnation))
        };
        let goodbyes = self.goodbyes.nodes().filter(|incarnation| concerns(incarnation)).cloned().collect();
        Contents { installed: self.installed_epoch(), acknowledged, goodbyes }
    }

    /// The views acknowledged since the last install, and the one that will be acknowledged once it is persisted.
    fn acknowledged(&self) -> impl Iterator<Item = &Arc<View>> {
        let next = match &self.member_state {
            MemberState::Promised(promise) if promise.persist_state != PersistState::NotNeeded => {
                Some(&promise.view)
            }
            _ => None,
        };
        let known = move |view: &&Arc<View>| self.maybe_installed.iter().all(|v| v.epoch() != view.epoch());
        self.maybe_installed.iter().chain(next.filter(known))
    }

    fn memory(&self, contents: &Contents) -> Memory {
        let view = |view: &Arc<View>| View::clone(view);
        let goodbye = |incarnation: &NodeId| {
            let learned = self.goodbyes.get(incarnation)?;
            Some(Goodbye {
                node: incarnation.clone(),
                base_views: learned.base_views.iter().map(view).collect(),
            })
        };
        Memory {
            node: Some(self.me.clone()),
            former: self.former().to_vec(),
            installed: self.installed.as_ref().map(view),
            acknowledged: self.acknowledged().map(view).collect(),
            goodbyes: contents.goodbyes.iter().filter_map(goodbye).collect(),
        }
    }

    /// The shell has persisted the memory with this number and all before it.
    pub(super) fn on_persisted(&mut self, seq: u64) {
        let Some(kept) = &mut self.persistence else { return };
        kept.persisted = kept.persisted.max(seq.min(kept.requested));
        if kept.error.take().is_some() {
            self.candidate.stale = true;
        }
        let kept = kept.persisted;
        let waited_for = |seq| matches!(seq, PersistState::Requested(seq) if seq <= kept);
        if matches!(&self.member_state, MemberState::Promised(promise) if waited_for(promise.persist_state)) {
            self.acknowledge();
        }
    }

    /// The shell cannot persist a memory now. This node acknowledges nothing and steps down, so that no round waits for it.
    pub(super) fn on_persist_failed(&mut self, cause: String) {
        let Some(kept) = &mut self.persistence else { return };
        let had_trouble = kept.error.replace(cause).is_some();
        self.candidate.stale |= !had_trouble;
        let waits = |promise: &Promise| promise.persist_state != PersistState::NotNeeded && !promise.prepared;
        if matches!(&self.member_state, MemberState::Promised(promise) if waits(promise)) {
            self.step_down();
        }
    }

    /// Takes in the earlier incarnations that a peer reports.
    pub(super) fn learn_former(&mut self, from: &NodeId, mut former: Vec<NodeId>) {
        former.retain(|incarnation| incarnation != from && *incarnation != self.me);
        let Some(peer) = self.peers.get_mut(from).filter(|peer| peer.former != former) else { return };
        peer.former = former;
        self.candidate.stale |= self.settings.split == SplitPolicy::Majority;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::name::Incarnation;
    use crate::settings::Settings;
    use crate::time::Time;
    use crate::view::Member;

    /// The process of host `n` that is so old.
    fn process(n: u64, incarnation: u64) -> Member {
        let name = format!("a@h{n}:1").parse().expect("a name");
        Member::without_tags(NodeId::new(name, Incarnation(incarnation), incarnation))
    }

    fn id(n: u64, incarnation: u64) -> NodeId {
        process(n, incarnation).id
    }

    fn view(epoch: u64, members: &[(u64, u64)]) -> View {
        let members = members.iter().map(|(n, incarnation)| process(*n, *incarnation)).collect();
        View::new(Epoch::from_u64(epoch), members)
    }

    /// The third process of host 1. The second was a member of a view with hosts 2 and 3; no view names the first.
    fn restarted() -> Node {
        let mut settings = Settings::new(process(1, 30), NonZeroUsize::MIN, 1);
        settings.memory = Some(Memory {
            node: Some(id(1, 20)),
            former: vec![id(1, 10)],
            installed: Some(view(7, &[(1, 20), (2, 2), (3, 3)])),
            acknowledged: Vec::new(),
            goodbyes: Vec::new(),
        });
        Node::new(settings, Time::from_nanos(1_000_000_000))
    }

    /// The nodes that this one connects to now.
    fn connects(node: &mut Node) -> BTreeSet<NodeId> {
        let actions = std::iter::from_fn(|| node.next_action());
        actions
            .filter_map(|action| match action {
                Action::Connect { peer } => Some(peer),
                _ => None,
            })
            .collect()
    }

    fn link(node: &mut Node, n: u64) {
        node.on_linked(LinkId(n), process(n, n), PeerTerms::new(Duration::from_secs(2)));
    }

    #[test]
    fn a_restarted_node_connects_to_the_members_of_its_view_that_are_not_linked() {
        let mut node = restarted();
        let members = BTreeSet::from([id(2, 2), id(3, 3)]);
        assert_eq!(connects(&mut node), members, "not to its own earlier process");
        link(&mut node, 2);
        drop(connects(&mut node));
        node.connect_to_remembered();
        assert_eq!(connects(&mut node), BTreeSet::from([id(3, 3)]));
    }

    #[test]
    fn an_earlier_process_that_no_view_names_is_forgotten() {
        let node = restarted();
        assert_eq!(node.former(), [id(1, 20)]);
    }

    #[test]
    fn members_at_an_address_that_refuses_have_exited_and_the_candidate_is_computed_again_once() {
        let mut node = restarted();
        let address = |n: u64| id(n, n).name().address().expect("it has one").clone();
        let refused = |node: &mut Node, n: u64, stale: bool| {
            node.candidate.stale = stale;
            node.on_remembered_refused(&address(n));
            node.candidate.stale
        };
        assert!(!refused(&mut node, 4, false), "no member is there");
        assert!(!node.is_former(&id(2, 2)));
        assert!(refused(&mut node, 2, false) && node.is_former(&id(2, 2)));
        assert!(!refused(&mut node, 2, false), "that was known");
        assert!(refused(&mut node, 2, true), "it is computed again for another reason");
    }

    #[test]
    fn goodbyes_are_kept_of_this_node_its_earlier_processes_and_members_of_its_views() {
        let mut node = restarted();
        for incarnation in [id(1, 30), id(1, 20), id(2, 2), id(4, 4)] {
            node.goodbyes.learn(incarnation, Vec::new(), node.now);
        }
        let kept: BTreeSet<NodeId> = node.contents().goodbyes.into_iter().collect();
        assert_eq!(kept, BTreeSet::from([id(1, 30), id(1, 20), id(2, 2)]));
    }

    #[test]
    fn a_failure_to_persist_ends_a_promise_that_is_not_prepared_and_needs_it() {
        let steps_down = |persist_state, prepared| {
            let mut node = restarted();
            let (since, proposer) = (node.now, id(2, 2));
            let view = Arc::new(view(8, &[(1, 30), (2, 2)]));
            node.member_state =
                MemberState::Promised(Promise { view, proposer, since, prepared, persist_state });
            node.on_persist_failed("no space is left".to_owned());
            !matches!(node.member_state, MemberState::Promised(_))
        };
        assert!(steps_down(PersistState::Requested(1), false) && steps_down(PersistState::Required, false));
        assert!(!steps_down(PersistState::Requested(1), true), "it has acknowledged the view already");
        assert!(!steps_down(PersistState::NotNeeded, false), "it has not been asked to acknowledge it yet");
    }

    #[test]
    fn a_peer_reports_earlier_processes_of_others_and_never_this_node_or_itself() {
        let learns = |split: SplitPolicy| {
            let mut node = restarted();
            node.settings.split = split;
            link(&mut node, 2);
            node.candidate.stale = false;
            node.learn_former(&id(2, 2), vec![id(1, 30), id(2, 1), id(2, 2)]);
            (node.peers[&id(2, 2)].former.clone(), node.candidate.stale)
        };
        assert_eq!(learns(SplitPolicy::Majority), (vec![id(2, 1)], true));
        assert_eq!(learns(SplitPolicy::Consensus), (vec![id(2, 1)], false), "no other policy counts exits");
    }
}
