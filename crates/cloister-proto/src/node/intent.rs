//! Announced rounds: a planned change of the membership is announced before its round, so that listeners can warm up in the background
//! while all nodes stay up.
//!
//! A round takes every key out of use until it ends. Where it only takes newcomers in, or lets members go that want to leave, nothing
//! forces it to begin at once. Then the proposer announces the members that it plans. Each member that warms up says when it has done
//! so. The round begins when all have, or after `rehash_timeout`.
//!
//! An announcement is advisory. No node promises anything by it, and no rule of a round depends on it. A loss overtakes it: the round
//! begins at once.

use std::sync::Arc;

use super::state::{MemberState, Node};
use crate::action::Action;
use crate::change::Held;
use crate::message::Intent;
use crate::name::NodeId;
use crate::status::Status;
use crate::time::Time;
use crate::view::{Epoch, Member, View};

/// What a node knows of announced rounds.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Intents {
    /// Whether listeners of this node warm up.
    warms: bool,
    /// Whether any peer has ever said that its listeners warm up.
    has_warm_peer: bool,
    /// Since when this node has wanted to leave.
    drains_since: Option<Time>,
    /// Whether the shell knows that this node may leave.
    is_leave_prepared: bool,
    /// What this node announces, and since when it has announced anything.
    own: Option<(Intent, Time)>,
    /// The number of the last intent of this node.
    last_number: u64,
    /// What is announced, by this node or another.
    heard: Option<HeardIntent>,
    /// What a peer announces that this node cannot take yet: it does not know a planned member, its proposer, or its own state is too new.
    deferred: Option<(NodeId, Intent)>,
}

#[derive(Clone, Debug, Hash)]
struct HeardIntent {
    proposer: NodeId,
    intent: Intent,
    /// The planned members, as a view that has no epoch yet.
    view: Arc<View>,
    /// Whether this node has warmed up for it.
    warmed: bool,
}

impl Intents {
    pub(crate) fn own(&self) -> Option<&Intent> {
        self.own.as_ref().map(|(intent, _)| intent)
    }

    /// The number and the progress of what this node announces.
    pub(crate) fn announced(&self) -> (u64, bool) {
        self.own().map_or((0, false), |intent| (intent.number, intent.ready))
    }

    /// The planned members.
    pub(crate) fn planned(&self) -> Option<&Arc<View>> {
        self.heard.as_ref().map(|heard| &heard.view)
    }

    /// The number of the intent that this node knows; zero for none.
    pub(crate) fn number(&self) -> u64 {
        self.heard.as_ref().map_or(0, |heard| heard.intent.number)
    }

    /// The number of the intent that this node has warmed up for; zero for none.
    pub(crate) fn warmed(&self) -> u64 {
        self.heard.as_ref().filter(|heard| heard.warmed).map_or(0, |heard| heard.intent.number)
    }

    pub(crate) fn warms(&self) -> bool {
        self.warms
    }

    pub(crate) fn drains(&self) -> bool {
        self.drains_since.is_some()
    }

    /// A peer warms up.
    pub(crate) fn note_warm_peer(&mut self) {
        self.has_warm_peer = true;
    }

    /// A round has begun: it takes the place of what was announced.
    pub(crate) fn supersede(&mut self) {
        self.heard = None;
        self.own = None;
        self.deferred = None;
    }
}

impl Node {
    pub(super) fn on_warms_up(&mut self, warms: bool) {
        self.intents.warms = warms;
    }

    /// This node wants to leave, and stays a member until the others and its own listeners have warmed up.
    pub(super) fn on_drain(&mut self) {
        self.intents.drains_since.get_or_insert(self.now);
    }

    /// Takes what could not be taken before. Announces what is planned, or withdraws it.
    pub(super) fn drive_intent(&mut self) {
        if let Some((from, intent)) = self.intents.deferred.take() {
            self.observe_intent(&from, Some(intent));
        }
        let Some(planned) = self.planned_members() else {
            self.intents.own = None;
            let me = self.me.clone();
            return self.observe_intent(&me, None);
        };
        let since = self.intents.own.as_ref().map_or(self.now, |(_, since)| *since);
        if self.intents.own().is_none_or(|intent| *intent.members != *planned) {
            // Greater than all before, also of two in one instant.
            self.intents.last_number = self.now.as_nanos().max(self.intents.last_number + 1);
            let number = self.intents.last_number;
            self.intents.own = Some((Intent { number, members: planned.into(), ready: false }, since));
        }
        let me = self.me.clone();
        let own = self.intents.own().cloned();
        self.observe_intent(&me, own);
        let due = since + self.settings.timing.rehash_timeout;
        // Those that drain warm up, too: a round that takes newcomers in may begin before they have left.
        let present = self.installed.iter().flat_map(|view| view.ids());
        let have_all_warmed_up = self.intents.own().is_some_and(|intent| {
            intent.members.iter().chain(present).all(|node| self.warmed_of(node) == intent.number)
        });
        if have_all_warmed_up || self.now >= due {
            if let Some((intent, _)) = &mut self.intents.own {
                intent.ready = true;
            }
            let own = self.intents.own().cloned();
            self.observe_intent(&me, own);
        } else {
            self.wait_until(due);
        }
    }

    /// Whether this node has a plan that it has not announced yet, or can take what it could not take before.
    pub(super) fn has_pending_intent(&self) -> bool {
        let is_open = |(from, intent): &(NodeId, Intent)| self.members_to_take(from, intent).is_some();
        self.intents.deferred.as_ref().is_some_and(is_open)
            || (self.intents.own().is_none() && self.planned_members().is_some())
    }

    /// Whether a round of this node waits for members that warm up.
    pub(super) fn awaits_warm_up(&self) -> bool {
        self.intents.own().is_some_and(|intent| !intent.ready)
    }

    /// The members that this node, the proposer, plans for the next view, if it is worth an announcement: no member is lost, and one
    /// warms up.
    fn planned_members(&self) -> Option<Vec<NodeId>> {
        // Before anything that looks at all nodes: this is asked after every event.
        if !(self.intents.warms || self.intents.has_warm_peer)
            || self.candidate.nodes.first() != Some(&self.me)
        {
            return None;
        }
        let (MemberState::Installed(bound), Some(view)) = (&self.member_state, &self.installed) else {
            return None;
        };
        let has_loss = !self.candidate.contains_all(view.ids());
        if has_loss || !self.may_announce_plans() || self.round.is_some() || !bound.holds_lease(self.now) {
            return None;
        }
        let stays = |node: &&NodeId| !self.drains(node);
        let planned: Vec<NodeId> = self.candidate.nodes.iter().filter(stays).cloned().collect();
        let is_change = !planned.is_empty() && !view.ids().eq(&planned);
        (is_change && planned.iter().any(|node| self.warms(node))).then_some(planned)
    }

    fn drains(&self, node: &NodeId) -> bool {
        match *node == self.me {
            true => self.intents.drains(),
            false => self.peers.get(node).and_then(|peer| peer.report).is_some_and(|report| report.drains),
        }
    }

    fn warms(&self, node: &NodeId) -> bool {
        match *node == self.me {
            true => self.intents.warms,
            false => self.peers.get(node).and_then(|peer| peer.report).is_some_and(|report| report.warms),
        }
    }

    fn warmed_of(&self, node: &NodeId) -> u64 {
        match *node == self.me {
            true => self.intents.warmed(),
            false => self.peers.get(node).and_then(|peer| peer.report).map_or(0, |report| report.warmed),
        }
    }

    /// Whether listeners know the present state already, and it is one in which they can warm up: what is planned is a change of its own.
    fn may_announce_plans(&self) -> bool {
        let notified = self.tracker.state();
        let is_present = notified.status == self.status() && notified.view.as_ref() == self.own_view();
        is_present && matches!(notified.status, Status::Up | Status::Assembling)
    }

    /// Takes what `from` announces. Only the proposer of the next view has a say.
    pub(super) fn observe_intent(&mut self, from: &NodeId, intent: Option<Intent>) {
        if self.intents.deferred.as_ref().is_some_and(|(proposer, _)| proposer == from) {
            self.intents.deferred = None;
        }
        let known = self.intents.heard.as_mut().filter(|heard| heard.proposer == *from);
        let Some(intent) = intent else {
            if known.is_some() {
                self.intents.heard = None;
            }
            return;
        };
        if let Some(known) = known.filter(|known| known.intent.number == intent.number) {
            known.intent.ready = intent.ready;
            return;
        }
        let Some(members) = self.members_to_take(from, &intent) else {
            self.intents.deferred = Some((from.clone(), intent));
            return;
        };
        let (number, is_member) = (intent.number, intent.members.contains(&self.me));
        // One that drains brings what it alone has to where it will be, such as changes that are not written yet.
        let warmed = !(self.intents.warms && (is_member || self.intents.drains()));
        let view = Arc::new(View::new(Epoch::ZERO, members));
        self.intents.heard = Some(HeardIntent { proposer: from.clone(), intent, view, warmed });
        if warmed {
            self.heartbeats.queue(from);
        } else {
            self.notify(Some(Held::Intent(number)));
        }
    }

    /// The members that `from` announces, if this node can take it now: it knows all of them, `from` is the proposer, and listeners know the
    /// present state.
    fn members_to_take(&self, from: &NodeId, intent: &Intent) -> Option<Vec<Member>> {
        if !self.may_announce_plans() || self.candidate.nodes.first() != Some(from) {
            return None;
        }
        let member = |id: &NodeId| match *id == self.me {
            true => Some(self.settings.me.clone()),
            false => self.peers.get(id).map(|peer| peer.member.clone()),
        };
        intent.members.iter().map(member).collect()
    }

    /// No listener of this node warms up for the intent of this number any more.
    pub(super) fn on_warmed_up(&mut self, number: u64) {
        let heard = self.intents.heard.as_mut().filter(|heard| heard.intent.number == number);
        let Some(heard) = heard else { return };
        heard.warmed = true;
        let proposer = heard.proposer.clone();
        self.heartbeats.queue(&proposer);
    }

    /// Tells the shell once that this node, which wants to leave, may do so. Then the others and its own listeners have warmed up for a
    /// view without it, or none of the others would, or the wait is over.
    pub(super) fn check_leave_prepared(&mut self) {
        let Some(since) = self.intents.drains_since.filter(|_| !self.intents.is_leave_prepared) else {
            return;
        };
        let until = since + self.settings.timing.rehash_timeout;
        let stays_and_warms = |id: &NodeId| *id != self.me && !self.drains(id) && self.warms(id);
        let is_prepared = match (&self.member_state, &self.installed) {
            (MemberState::Installed(_), Some(view)) => {
                let heard = self.intents.heard.as_ref();
                let is_ready = |heard: &HeardIntent| {
                    heard.intent.ready && heard.warmed && !heard.intent.members.contains(&self.me)
                };
                heard.is_some_and(is_ready) || !view.ids().any(stays_and_warms)
            }
            // The round ends first.
            (MemberState::Promised(promise), _) => !promise.view.ids().any(stays_and_warms),
            _ => true,
        };
        if is_prepared || self.now >= until {
            self.intents.is_leave_prepared = true;
            self.actions.push_back(Action::LeavePrepared);
        } else {
            self.wait_until(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::state::{Installed, Round};
    use super::super::succession::tests::{ids, link, node, says, view};
    use super::*;
    use crate::lease::Grants;
    use crate::message::Heartbeat;
    use crate::split::SplitPolicy;

    /// Node `me`, up in a view of 1, 2 and 3, which are the candidate members. Node 3 wants to leave, and node 1 warms up.
    fn up(me: u64) -> Node {
        let mut node = node(me, SplitPolicy::Consensus);
        for n in (1..=3).filter(|n| *n != me) {
            link(&mut node, n);
            says(&mut node, n, Heartbeat { warms: n == 1, drains: n == 3, ..Heartbeat::first() });
        }
        node.candidate.nodes = ids(&[1, 2, 3]);
        node.installed = Some(view(7, &[1, 2, 3]));
        node.member_state = MemberState::Installed(Installed {
            since: node.now,
            grants: Grants::default(),
            had_lease: true,
            lease_until: Some(node.now + Duration::from_secs(1)),
            drain_until: None,
        });
        node.intents.warms = me == 1;
        node.notify(None);
        node.actions.clear();
        node
    }

    fn intent(number: u64, members: &[u64], ready: bool) -> Option<Intent> {
        Some(Intent { number, members: ids(members).into(), ready })
    }

    fn heard(node: &Node) -> (u64, u64) {
        (node.intents.number(), node.intents.warmed())
    }

    #[test]
    fn the_oldest_candidate_alone_announces_who_stays() {
        let mut oldest = up(1);
        oldest.drive_intent();
        assert_eq!(oldest.intents.own().map(|own| own.members.to_vec()), Some(ids(&[1, 2])));
        let mut second = up(2);
        second.intents.warms = true;
        second.drive_intent();
        assert_eq!(second.intents.own(), None);
    }

    #[test]
    fn a_second_plan_of_one_instant_has_a_number_of_its_own() {
        let mut node = up(1);
        node.drive_intent();
        let first = node.intents.number();
        says(&mut node, 2, Heartbeat { drains: true, ..Heartbeat::first() });
        node.drive_intent();
        let second = node.intents.own().expect("it is announced");
        assert_eq!(*second.members, *ids(&[1]));
        assert!(second.number > first, "{} follows {first}", second.number);
    }

    #[test]
    fn nothing_is_planned_after_a_loss_in_a_round_without_a_lease_or_before_listeners_know_the_present_state()
    {
        type Change = fn(&mut Node);
        let changes: [(&str, Change); 5] = [
            ("a loss", |node| node.candidate.nodes = ids(&[1, 3])),
            ("a round", |node| {
                let none = BTreeSet::new();
                let (promised, acked) = (none.clone(), none);
                node.round = Some(Round { view: view(8, &[1, 2]), started_at: node.now, promised, acked });
            }),
            ("no lease, but input that may renew it", |node| {
                let MemberState::Installed(installed) = &mut node.member_state else { return };
                (installed.lease_until, installed.drain_until) =
                    (None, Some(node.now + Duration::from_secs(1)));
            }),
            ("a view that was not reported", |node| node.installed = Some(view(8, &[1, 2, 3]))),
            ("a state that was not reported", |node| {
                let MemberState::Installed(installed) = &mut node.member_state else { return };
                installed.lease_until = None;
            }),
        ];
        assert_eq!(up(1).planned_members(), Some(ids(&[1, 2])));
        for (name, change) in changes {
            let mut node = up(1);
            change(&mut node);
            assert_eq!(node.planned_members(), None, "{name}");
        }
    }

    #[test]
    fn listeners_warm_up_only_in_a_state_that_they_know_and_that_is_none_of_a_change() {
        let mut node = up(2);
        assert!(node.may_announce_plans());
        node.installed = Some(view(8, &[1, 2, 3]));
        assert!(!node.may_announce_plans(), "another view");
        let mut node = up(2);
        node.member_state = MemberState::Leaving { since: node.now, held: false, kept_lease: None };
        assert!(!node.may_announce_plans(), "another status");
        node.notify(None);
        assert!(!node.may_announce_plans(), "it is known, but no state to warm up in");
    }

    #[test]
    fn what_cannot_be_taken_yet_is_kept_until_its_proposer_withdraws_it() {
        let mut node = up(2);
        let [one, three] = [1, 3].map(|n| ids(&[n]).remove(0));
        node.observe_intent(&three, intent(5, &[1, 2], false));
        assert_eq!(heard(&node), (0, 0), "3 proposes no view");
        node.observe_intent(&one, intent(6, &[1, 2, 9], false));
        node.observe_intent(&three, None);
        assert!(node.intents.deferred.is_some(), "9 is not known yet");
        link(&mut node, 9);
        node.drive_intent();
        assert_eq!((heard(&node), node.intents.deferred.is_some()), ((6, 6), false));
        node.observe_intent(&one, intent(7, &[1, 2, 8], false));
        node.observe_intent(&one, None);
        assert!(node.intents.deferred.is_none());
    }

    #[test]
    fn a_node_has_warmed_up_at_once_if_it_is_not_planned_or_does_not_warm_up() {
        let one = ids(&[1]).remove(0);
        for (warms, members, warmed) in [(false, [1, 2], 5), (true, [1, 3], 5), (true, [1, 2], 0)] {
            let mut node = up(2);
            node.intents.warms = warms;
            node.observe_intent(&one, intent(5, &members, false));
            assert_eq!(heard(&node), (5, warmed), "{warms}, {members:?}");
        }
    }

    #[test]
    fn a_node_may_leave_once_a_view_without_it_is_ready() {
        let one = ids(&[1]).remove(0);
        let may_leave = |members: &[u64], ready: bool| {
            let mut node = up(3);
            node.on_drain();
            node.observe_intent(&one, intent(5, members, ready));
            node.actions.clear();
            node.check_leave_prepared();
            matches!(node.actions.front(), Some(Action::LeavePrepared))
        };
        assert_eq!(
            [may_leave(&[1, 2], false), may_leave(&[1, 2, 3], true), may_leave(&[1, 2], true)],
            [false, false, true]
        );
    }

    #[test]
    fn a_node_that_drains_warms_up_before_it_leaves() {
        let one = ids(&[1]).remove(0);
        let mut node = up(3);
        node.intents.warms = true;
        node.on_drain();
        node.observe_intent(&one, intent(5, &[1, 2], true));
        let held = node
            .actions
            .iter()
            .any(|action| matches!(action, Action::Notify(change) if change.hold == Some(Held::Intent(5))));
        assert!(held, "its listeners are offered a hold");
        node.actions.clear();
        node.check_leave_prepared();
        assert_eq!((heard(&node), node.actions.len()), ((5, 0), 0));
        node.on_warmed_up(5);
        node.check_leave_prepared();
        assert_eq!(heard(&node), (5, 5));
        assert!(matches!(node.actions.front(), Some(Action::LeavePrepared)));
    }

    #[test]
    fn a_plan_is_ready_once_its_members_and_those_that_drain_have_warmed_up() {
        for (second, third, ready) in [(true, true, true), (false, true, false), (true, false, false)] {
            let mut node = up(1);
            node.drive_intent();
            let number = node.intents.number();
            node.on_warmed_up(number);
            let warmed = |has| if has { number } else { 0 };
            says(&mut node, 2, Heartbeat { warmed: warmed(second), ..Heartbeat::first() });
            says(&mut node, 3, Heartbeat { drains: true, warmed: warmed(third), ..Heartbeat::first() });
            node.drive_intent();
            assert_eq!(node.intents.announced(), (number, ready), "2: {second}, 3: {third}");
        }
    }

    #[test]
    fn a_node_may_leave_at_once_if_no_node_that_stays_warms_up() {
        for (warms, drains, may_leave) in [(true, false, false), (false, false, true), (true, true, true)] {
            let mut node = up(3);
            says(&mut node, 1, Heartbeat { warms, drains, ..Heartbeat::first() });
            node.on_drain();
            node.actions.clear();
            node.check_leave_prepared();
            let is_prepared = matches!(node.actions.front(), Some(Action::LeavePrepared));
            assert_eq!(is_prepared, may_leave, "node 1 warms up: {warms}, leaves too: {drains}");
        }
    }
}
