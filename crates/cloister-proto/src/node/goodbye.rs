//! Goodbyes: which nodes have left in order, and the views that they hand over.
//!
//! Under the split policy `majority` a node that left in order counts no more. It may have installed or acknowledged views that
//! other nodes never saw, so its goodbye carries them. A node that discounts the leaver must follow these views.

use std::sync::Arc;
use std::time::Duration;

use super::state::{KnownGoodbye, Node, Rejection};
use crate::goodbye::Goodbye;
use crate::message::Message;
use crate::name::NodeId;
use crate::peer::{Link, Peer};
use crate::rule::Rule;
use crate::split::SplitPolicy;
use crate::view::{Epoch, View};

impl Node {
    pub(super) fn follows_majority(&self) -> bool {
        self.settings.split == SplitPolicy::Majority
    }

    /// This node leaves: it acknowledges and grants nothing from now on.
    pub(super) fn record_own_goodbye(&mut self) {
        let base_views = self.installed.iter().chain(&self.maybe_installed).cloned().collect();
        let me = self.me.clone();
        self.goodbyes.learn(me, base_views, self.now);
    }

    /// Whether this node has left in order: its goodbye is known and it does not contradict it.
    pub(super) fn has_left(&self, incarnation: &NodeId) -> bool {
        if !self.settings.enabled(Rule::LeaversDiscounted) || self.goodbyes.get(incarnation).is_none() {
            return false;
        }
        // A goodbye that another member relayed does not count while the node itself is live and not leaving.
        self.peers.get(incarnation).is_none_or(|peer| !peer.is_live() || peer.is_leaving())
    }

    /// Whether the process of this node has certainly exited.
    pub(super) fn has_exited(&self, incarnation: &NodeId) -> bool {
        let known = self.peers.get(incarnation);
        if known.is_some_and(Peer::has_exited) || self.goodbyes.has_exited(incarnation) {
            return true;
        }
        let replaces = |other: &NodeId| other.same_name_other_incarnation(incarnation) && other > incarnation;
        // One that answers there only after the link was lost, though its clock may have been set back before it started.
        let came_later = |other: &Peer| {
            other.member.id.same_name_other_incarnation(incarnation)
                && known.is_some_and(|peer| matches!(peer.link, Link::Closed(at) if at <= other.linked_at))
        };
        known.is_none_or(|peer| peer.open().is_none())
            && (replaces(&self.me)
                || self.is_former(incarnation)
                || self.peers.values().any(|p| p.is_live() && (replaces(&p.member.id) || came_later(p))))
    }

    pub(super) fn learn_goodbyes(&mut self, from: &NodeId, goodbyes: Vec<Goodbye>) {
        for Goodbye { node: incarnation, base_views } in goodbyes {
            let is_own = incarnation == *from;
            let is_leaving = if incarnation == self.me {
                self.goodbyes.get(&incarnation).is_some()
            } else {
                !is_own || self.is_leaving(from)
            };
            if !is_leaving {
                self.reject(Rejection::ForeignName);
                continue;
            }
            if !is_own && !self.settings.enabled(Rule::GoodbyesSpread) {
                continue;
            }
            let hands_over = self.settings.enabled(Rule::BaseViewsHandedOver);
            let base_views = base_views.into_iter().filter(|_| hands_over).map(|base| self.handed_over(base));
            let known: Option<Vec<Option<Arc<View>>>> = base_views.collect();
            let Some(base_views) = known else { continue };
            if self.goodbyes.learn(incarnation, base_views.into_iter().flatten().collect(), self.now) {
                self.candidate.stale = true;
            }
        }
    }

    /// Resolves a view of a goodbye. `Some(None)`: it binds no node any more. `None`: it is not known here.
    ///
    /// A view that is only named is the one that this node had installed when the sender heard of it last. Where this node has gone on, its
    /// newer view stands for the named one: other nodes get this goodbye from here, and may know neither of the two.
    fn handed_over(&self, base: View) -> Option<Option<Arc<View>>> {
        if !base.members().is_empty() {
            return Some((!self.is_aborted(&base)).then(|| Arc::new(base)));
        }
        let view = self.installed.as_ref().filter(|view| view.epoch() >= base.epoch())?;
        let is_kept = view.epoch() == base.epoch() || self.settings.enabled(Rule::NewerHandedOver);
        Some(is_kept.then(|| Arc::clone(view)))
    }

    /// Takes the goodbyes that the peer has not been sent. A view that the peer has installed itself is sent by its epoch only.
    pub(super) fn take_goodbyes_for(&mut self, to: &NodeId) -> Vec<Goodbye> {
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
        let goodbye = |(incarnation, learned): (&NodeId, &KnownGoodbye)| Goodbye {
            node: incarnation.clone(),
            base_views: learned.base_views.iter().map(named).collect(),
        };
        unsent.into_iter().map(goodbye).collect()
    }

    pub(super) fn has_unsent_goodbyes(&self, to: &NodeId) -> bool {
        self.follows_majority()
            && self.settings.enabled(Rule::GoodbyesSpread)
            && self.peers.get(to).is_some_and(|peer| peer.goodbyes_sent < self.goodbyes.newest())
    }

    /// Drops goodbyes that can not matter any more: of nodes in no view that this node follows, whose own views are older than the
    /// installed one.
    pub(super) fn forget_goodbyes(&mut self, forget_after: Duration) {
        let installed = self.installed_epoch();
        let own: Vec<&Arc<View>> = self.installed.iter().chain(&self.maybe_installed).collect();
        let (now, me) = (self.now, &self.me);
        self.goodbyes.retain(|incarnation, learned| {
            incarnation == me
                || now < learned.at + forget_after
                || own.iter().any(|view| view.contains(incarnation))
                || (installed > Epoch::ZERO && learned.base_views.iter().any(|view| view.epoch() > installed))
        });
    }

    /// Sends a member all goodbyes that a proposal relies on.
    pub(super) fn send_goodbyes(&mut self, to: &NodeId) {
        while self.has_unsent_goodbyes(to) {
            let Some(link) = self.peers.get(to).and_then(Peer::open) else { return };
            self.send_heartbeat(link, to, false);
        }
    }

    pub(super) fn propose_to(&mut self, to: &NodeId, view: &View) {
        self.send_goodbyes(to);
        if let Some(link) = self.peers.get(to).and_then(Peer::open) {
            self.send(link, Message::Propose(view.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::state::MAX_NAMED;
    use super::*;
    use crate::action::Action;
    use crate::event::LinkId;
    use crate::hello::PeerTerms;
    use crate::message::Heartbeat;
    use crate::name::Incarnation;
    use crate::peer::Report;
    use crate::settings::Settings;
    use crate::time::Time;
    use crate::view::Member;

    fn node(n: u64) -> NodeId {
        NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n)
    }

    fn view(epoch: u64, members: u64) -> Arc<View> {
        let members = (0..members).map(|n| Member::without_tags(node(n))).collect();
        Arc::new(View::new(Epoch::from_u64(epoch), members))
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// The incarnation `number` of the process at host `host`; the greater the number, the younger it is.
    fn incarnation(host: u64, number: u64) -> NodeId {
        NodeId::new(format!("a@h{host}:1").parse().expect("a name"), Incarnation(number), number)
    }

    /// Incarnation 5 at host 1, linked to incarnation 5 at host 2, which has spoken.
    fn linked() -> (Node, NodeId) {
        let me = Member::without_tags(incarnation(1, 5));
        let mut node = Node::new(Settings::new(me, NonZeroUsize::MIN, 1), at(1_000));
        let other = incarnation(2, 5);
        link(&mut node, &other);
        (node, other)
    }

    fn link(node: &mut Node, peer: &NodeId) {
        let link = LinkId(peer.incarnation().0);
        node.on_linked(link, Member::without_tags(peer.clone()), PeerTerms::new(Duration::from_secs(2)));
        node.peers.get_mut(peer).expect("it is linked").heartbeat_seen = true;
    }

    fn said(installed: u64, leaving: bool) -> Heartbeat {
        Heartbeat { installed: Epoch::from_u64(installed), leaving, ..Heartbeat::first() }
    }

    fn says(node: &mut Node, peer: &NodeId, heartbeat: &Heartbeat) {
        node.peers.get_mut(peer).expect("it is linked").report = Some(Report::new(heartbeat, at(1_000)));
    }

    #[test]
    fn a_node_has_exited_when_a_younger_incarnation_is_live_and_it_is_not() {
        let (mut node, other) = linked();
        assert!(
            node.has_exited(&incarnation(1, 4)) && !node.has_exited(&incarnation(1, 6)),
            "this node itself is such a one"
        );
        assert!(node.has_exited(&incarnation(2, 4)) && !node.has_exited(&incarnation(2, 6)));
        assert!(!node.has_exited(&other) && !node.has_exited(&incarnation(3, 4)));

        node.peers.get_mut(&other).expect("it is linked").heartbeat_seen = false;
        assert!(!node.has_exited(&incarnation(2, 4)), "a link by which nothing came in says nothing");

        // Both are linked: the older may live.
        let (mut node, older) = linked();
        link(&mut node, &incarnation(2, 6));
        assert!(!node.has_exited(&older));
        node.peers.get_mut(&older).expect("it is known").link = Link::Closed(at(1_000));
        assert!(node.has_exited(&older));
    }

    #[test]
    fn a_node_has_exited_when_an_incarnation_with_an_earlier_stamp_is_linked_after_its_link_was_lost() {
        let (mut node, known) = linked();
        let earlier = incarnation(2, 4);
        node.on_unlinked(LinkId(5), node.now);
        let lost = node.now;
        assert!(!node.has_exited(&known));
        node.now = lost + Duration::from_secs(1);
        link(&mut node, &earlier);
        assert!(node.has_exited(&known), "it answers in its place");
        assert_eq!(node.peers[&known].link, Link::Closed(lost), "its lease is waited for");
        node.peers.get_mut(&earlier).expect("it is linked").linked_at = lost - Duration::from_nanos(1);
        assert!(!node.has_exited(&known), "both were linked at one time");
    }

    #[test]
    fn a_goodbye_counts_if_it_is_of_another_node_or_of_a_leaving_sender() {
        let (mut node, other) = linked();
        let goodbye =
            |incarnation: &NodeId| vec![Goodbye { node: incarnation.clone(), base_views: Vec::new() }];
        node.learn_goodbyes(&other, goodbye(&other));
        assert!(!node.has_left(&other), "it does not leave");
        node.learn_goodbyes(&other, goodbye(&node.me.clone()));
        assert!(!node.has_left(&node.me), "this node does not leave");
        assert_eq!(node.rejections()[&Rejection::ForeignName], 2);

        says(&mut node, &other, &said(0, true));
        node.learn_goodbyes(&other, [goodbye(&other), goodbye(&incarnation(3, 5))].concat());
        assert!(
            node.has_left(&other) && node.has_left(&incarnation(3, 5)) && !node.has_left(&incarnation(4, 5))
        );
        assert_eq!(node.rejections()[&Rejection::ForeignName], 2);

        // One that was passed on, of a node that is reachable and does not leave, does not count.
        says(&mut node, &other, &said(0, false));
        assert!(!node.has_left(&other));
        node.peers.get_mut(&other).expect("it is known").link = Link::Closed(at(1_000));
        assert!(node.has_left(&other), "it is not heard any more");
    }

    #[test]
    fn a_view_that_is_only_named_is_the_installed_one_which_also_stands_for_an_older_one() {
        let (mut node, other) = linked();
        says(&mut node, &other, &said(0, true));
        let named = |epoch: u64| View::new(Epoch::from_u64(epoch), Vec::new());
        let installed = view(7, 3);
        node.installed = Some(Arc::clone(&installed));
        assert_eq!(node.handed_over(named(7)), Some(Some(Arc::clone(&installed))));
        assert_eq!(node.handed_over(named(6)), Some(Some(Arc::clone(&installed))), "this node has gone on");
        assert_eq!(node.handed_over(named(8)), None, "it is not known here");
        assert_eq!(node.handed_over(View::clone(&view(8, 2))), Some(Some(view(8, 2))));

        let hands_over = |epoch: u64, incarnation: &NodeId| {
            vec![Goodbye { node: incarnation.clone(), base_views: vec![named(epoch)] }]
        };
        node.learn_goodbyes(&other, hands_over(8, &other));
        assert!(!node.has_left(&other), "what it hands over is not known, so it is not discounted");
        node.learn_goodbyes(&other, hands_over(6, &other));
        let kept = &node.goodbyes.get(&other).expect("it is learned").base_views;
        assert_eq!(
            *kept,
            [Arc::clone(&installed)],
            "a node that hears of it from here may know neither view"
        );
        node.learn_goodbyes(&other, hands_over(7, &incarnation(3, 5)));
        assert_eq!(node.goodbyes.get(&incarnation(3, 5)).expect("it is learned").base_views, [installed]);
    }

    #[test]
    fn a_peer_is_sent_the_name_of_the_view_that_it_has_and_every_other_in_full_and_each_goodbye_once() {
        let (mut node, other) = linked();
        says(&mut node, &other, &said(7, false));
        node.goodbyes.learn(incarnation(3, 5), vec![view(7, 3), view(8, 2)], at(1_000));
        assert!(node.has_unsent_goodbyes(&other));
        let base_views = vec![View::new(Epoch::from_u64(7), Vec::new()), View::clone(&view(8, 2))];
        assert_eq!(node.take_goodbyes_for(&other), [Goodbye { node: incarnation(3, 5), base_views }]);
        assert!(!node.has_unsent_goodbyes(&other));
        assert_eq!(node.take_goodbyes_for(&other), []);
        assert_eq!(node.take_goodbyes_for(&incarnation(4, 5)), [], "that node is not linked");
    }

    #[test]
    fn a_goodbye_is_kept_while_it_may_matter() {
        let minute = Duration::from_secs(60);
        let kept =
            |installed: Option<Arc<View>>, leaver: &NodeId, base_views: Vec<Arc<View>>, later: Duration| {
                let (mut node, _) = linked();
                node.installed = installed;
                node.goodbyes.learn(leaver.clone(), base_views, node.now);
                node.now = node.now + later;
                node.forget_goodbyes(minute);
                node.goodbyes.get(leaver).is_some()
            };
        let just_before = minute - Duration::from_nanos(1);
        assert!(
            kept(None, &incarnation(3, 5), Vec::new(), just_before)
                && !kept(None, &incarnation(3, 5), Vec::new(), minute)
        );
        assert!(kept(None, &incarnation(1, 5), Vec::new(), minute), "it is this node's own");
        let installed = || Some(view(7, 3));
        assert!(kept(installed(), &node(2), Vec::new(), minute), "it is a member of the installed view");
        assert!(!kept(installed(), &node(9), vec![view(7, 1)], minute));
        assert!(
            kept(installed(), &node(9), vec![view(7, 1), view(8, 1)], minute),
            "a newer view was handed over"
        );
        assert!(!kept(None, &node(9), vec![view(8, 1)], minute), "there is none that it could be newer than");
    }

    #[test]
    fn a_proposal_comes_after_all_goodbyes_that_it_rests_on() {
        let (mut node, other) = linked();
        for n in [3, 4] {
            node.goodbyes.learn(incarnation(n, 5), vec![view(n, MAX_NAMED as u64)], at(1_000));
        }
        while node.next_action().is_some() {}
        node.propose_to(&other, &view(9, 2));
        let said = std::iter::from_fn(|| node.next_action()).map(|action| match action {
            Action::Send { message: Message::Heartbeat(heartbeat), .. } => {
                heartbeat.goodbyes.iter().map(|goodbye| goodbye.node.to_string()).collect()
            }
            Action::Send { message: Message::Propose(_), .. } => "proposal".to_owned(),
            other => panic!("{other:?}"),
        });
        assert_eq!(said.collect::<Vec<String>>(), ["a@h3:1#5", "a@h4:1#5", "proposal"]);
    }
}
