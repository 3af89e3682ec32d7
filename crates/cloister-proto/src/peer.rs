//! What a node knows of one incarnation of a peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::DownReason;
use crate::event::LinkId;
use crate::hello::PeerTerms;
use crate::message::Heartbeat;
use crate::name::NodeId;
use crate::time::Time;
use crate::view::{Epoch, Member};

/// What a node knows of one incarnation of a peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Peer {
    pub(crate) member: Member,
    pub(crate) terms: PeerTerms,
    pub(crate) link: Link,
    /// When the last link was made.
    pub(crate) linked_at: Time,
    /// Whether a heartbeat came in by the open link. Before the first one the cluster part of the peer may hang.
    pub(crate) heartbeat_seen: bool,
    /// When the last link by which heartbeats came in was lost.
    pub(crate) disconnected_at: Option<Time>,
    /// When the last byte came in. Shifted when this node is late.
    pub(crate) last_received: Time,
    /// When the last heartbeat came in. Shifted when this node is late.
    pub(crate) last_heartbeat: Time,
    /// When the last heartbeat was processed: the lease of the peer, as far as this node grants it, ends a lease later.
    pub(crate) last_processed: Time,
    /// The last heartbeat.
    pub(crate) report: Option<Report>,
    /// The nodes that it reaches, in order of age.
    pub(crate) reachable: Arc<[NodeId]>,
    pub(crate) reachable_hash: u64,
    /// Earlier incarnations of its process, which have exited.
    pub(crate) former: Vec<NodeId>,
    /// The version of this node's reachability that it was sent last.
    pub(crate) reachability_sent: u64,
    /// The number of the last goodbye that it was sent.
    pub(crate) goodbyes_sent: u64,
    /// The time of sending of that goodbye.
    pub(crate) goodbyes_sent_at: u64,
    /// The time of sending in the last heartbeat to it.
    pub(crate) last_sent: u64,
    /// When a younger incarnation of its name appeared, until the peer answers.
    pub(crate) suspected_at: Option<Time>,
}

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    Open(LinkId),
    /// Closed since then; it may be repaired.
    Closed(Time),
    /// Closed, and its process is known to have exited.
    Gone(DownReason),
}

/// A heartbeat without the list of reachable nodes.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Report {
    pub(crate) at: Time,
    pub(crate) sent: u64,
    pub(crate) echo: u64,
    pub(crate) age: Duration,
    pub(crate) installed: Epoch,
    pub(crate) promised: Epoch,
    pub(crate) prepared: bool,
    pub(crate) released_epoch: Epoch,
    pub(crate) max_epoch_seen: Epoch,
    /// Its wall clock; 0 if it did not send one.
    pub(crate) unix_ms: u64,
    pub(crate) leaving: bool,
    /// Whether it waits for the first lease of its view.
    pub(crate) wants_echo: bool,
    /// How many nodes its cluster counts.
    pub(crate) size: usize,
    /// Its newest view: installed, or acknowledged and not resolved.
    pub(crate) base: Epoch,
    /// Whether it can neither follow nor begin with the nodes that it reaches.
    pub(crate) objects: bool,
    /// Whether its listeners warm up, and whether it wants to leave.
    pub(crate) warms: bool,
    pub(crate) drains: bool,
    /// The number of the announced change that it has warmed up for.
    pub(crate) warmed: u64,
}

/// What is known of each of `nodes`, which are sorted by age: one walk instead of a search for each.
pub(crate) fn in_order<'a>(
    peers: &'a BTreeMap<NodeId, Peer>,
    nodes: impl Iterator<Item = &'a NodeId>,
) -> impl Iterator<Item = (&'a NodeId, Option<&'a Peer>)> {
    let mut peers = peers.iter().peekable();
    nodes.map(move |node| {
        while peers.next_if(|(id, _)| *id < node).is_some() {}
        (node, peers.peek().filter(|(id, _)| *id == node).map(|(_, peer)| *peer))
    })
}

impl Peer {
    pub(crate) fn new(member: Member, terms: PeerTerms, link: LinkId, now: Time) -> Self {
        Self {
            member,
            terms,
            link: Link::Open(link),
            linked_at: now,
            heartbeat_seen: false,
            disconnected_at: None,
            last_received: now,
            last_heartbeat: now,
            last_processed: now,
            report: None,
            reachable: Arc::default(),
            reachable_hash: 0,
            former: Vec::new(),
            reachability_sent: 0,
            goodbyes_sent: 0,
            goodbyes_sent_at: 0,
            last_sent: 0,
            suspected_at: None,
        }
    }

    pub(crate) fn open(&self) -> Option<LinkId> {
        match self.link {
            Link::Open(link) => Some(link),
            Link::Closed(_) | Link::Gone(_) => None,
        }
    }

    /// Whether it is linked and has sent a heartbeat by this link.
    pub(crate) fn is_live(&self) -> bool {
        self.heartbeat_seen && self.open().is_some()
    }

    /// Whether it counts as reachable: live, or disconnected so recently that the link may be repaired.
    pub(crate) fn is_reachable(&self, now: Time, repair: Duration) -> bool {
        match self.link {
            Link::Open(_) if self.heartbeat_seen => true,
            Link::Open(_) | Link::Closed(_) => self.disconnected_at.is_some_and(|at| now < at + repair),
            Link::Gone(_) => false,
        }
    }

    /// Notes that the open link is closed.
    pub(crate) fn disconnect(&mut self, now: Time) {
        if std::mem::take(&mut self.heartbeat_seen) {
            self.disconnected_at = Some(now);
        }
    }

    /// Whether its process is known to have exited.
    pub(crate) fn has_exited(&self) -> bool {
        matches!(self.link, Link::Gone(DownReason::Crashed | DownReason::Replaced))
    }

    pub(crate) fn objects(&self) -> bool {
        self.report.is_some_and(|report| report.objects)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.report.is_some_and(|report| report.leaving)
    }

    /// Whether by its last heartbeat it participates in the view of `epoch`.
    pub(crate) fn participates_in(&self, epoch: Epoch) -> bool {
        self.report.is_some_and(|report| report.is_participating() && report.installed == epoch)
    }

    /// For how long its process has run.
    pub(crate) fn age(&self, now: Time) -> Duration {
        self.report.map_or(Duration::ZERO, |report| report.age + now.since(report.at))
    }

    /// Why it is down, if it is.
    pub(crate) fn down_reason(&self) -> Option<DownReason> {
        if self.is_leaving() {
            return Some(DownReason::Left);
        }
        match self.link {
            Link::Open(_) => None,
            Link::Closed(_) => Some(DownReason::Unreachable),
            Link::Gone(reason) => Some(reason),
        }
    }

    /// After a late tick, shifts every deadline of the peer by the delay.
    pub(crate) fn extend_deadlines(&mut self, late: Duration, now: Time) {
        let moved = |at: Time| (at + late).min(now);
        self.last_received = moved(self.last_received);
        self.last_heartbeat = moved(self.last_heartbeat);
        self.suspected_at = self.suspected_at.map(moved);
        self.disconnected_at = self.disconnected_at.map(moved);
    }
}

impl Report {
    pub(crate) fn new(heartbeat: &Heartbeat, at: Time) -> Self {
        Self {
            at,
            sent: heartbeat.sent,
            echo: heartbeat.echo,
            age: heartbeat.age,
            installed: heartbeat.installed,
            promised: heartbeat.promised,
            prepared: heartbeat.prepared,
            released_epoch: heartbeat.released_epoch,
            max_epoch_seen: heartbeat.max_epoch_seen,
            unix_ms: heartbeat.unix_ms,
            leaving: heartbeat.leaving,
            wants_echo: heartbeat.wants_echo,
            size: heartbeat.size,
            base: heartbeat.base,
            objects: heartbeat.objects,
            warms: heartbeat.warms,
            drains: heartbeat.drains,
            warmed: heartbeat.warmed,
        }
    }

    /// Whether it takes part in the view it installed last.
    pub(crate) fn is_participating(&self) -> bool {
        self.installed == self.promised && self.retains_view()
    }

    /// Whether the sender proves by this that it will never commit a view of `epoch` that it proposed.
    pub(crate) fn has_aborted(&self, epoch: Epoch) -> bool {
        self.installed < epoch && (self.promised > epoch || self.released_epoch >= epoch)
    }

    /// Whether it has installed a view in this incarnation and has not given it up since. What it has promised since does
    /// not matter: it remembers that.
    pub(crate) fn retains_view(&self) -> bool {
        self.released_epoch < self.installed && !self.leaving
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    fn heartbeat(installed: u64, promised: u64, retired: u64) -> Heartbeat {
        Heartbeat {
            age: Duration::from_secs(5),
            installed: Epoch::from_u64(installed),
            promised: Epoch::from_u64(promised),
            released_epoch: Epoch::from_u64(retired),
            ..Heartbeat::first()
        }
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn peer() -> Peer {
        let id = NodeId::new("a@h:1".parse().expect("a name"), Incarnation(1), 1);
        Peer::new(Member::without_tags(id), PeerTerms::new(Duration::from_secs(2)), LinkId(1), at(1_000))
    }

    #[test]
    fn a_node_takes_part_in_its_view_until_it_promises_another_gives_it_up_or_leaves() {
        let said = |heartbeat: &Heartbeat| {
            let report = Report::new(heartbeat, at(0));
            (report.is_participating(), report.retains_view())
        };
        assert_eq!(said(&heartbeat(7, 7, 6)), (true, true));
        assert_eq!(said(&heartbeat(7, 8, 6)), (false, true), "it has promised another");
        assert_eq!(said(&heartbeat(7, 7, 7)), (false, false), "it has stepped down");
        assert_eq!(said(&heartbeat(0, 0, 0)), (false, false), "it never had one");
        assert_eq!(said(&Heartbeat { leaving: true, ..heartbeat(7, 7, 6) }), (false, false));

        let mut peer = peer();
        assert!(!peer.participates_in(Epoch::ZERO));
        peer.report = Some(Report::new(&heartbeat(7, 7, 6), at(0)));
        assert!(peer.participates_in(Epoch::from_u64(7)) && !peer.participates_in(Epoch::from_u64(8)));
    }

    #[test]
    fn a_peer_is_reachable_after_its_first_heartbeat_and_for_a_grace_after_its_link_is_lost() {
        let repair = Duration::from_millis(500);
        let mut peer = peer();
        assert!(!peer.is_live() && !peer.is_reachable(at(1_000), repair), "a link alone says nothing");
        peer.heartbeat_seen = true;
        assert!(peer.is_live() && peer.is_reachable(at(90_000), repair));
        peer.disconnect(at(2_000));
        peer.link = Link::Closed(at(2_000));
        assert!(
            !peer.is_live() && peer.is_reachable(at(2_499), repair) && !peer.is_reachable(at(2_500), repair)
        );
        // A new link by which nothing has come in yet changes nothing, nor does it when it is lost.
        peer.link = Link::Open(LinkId(2));
        peer.disconnect(at(2_400));
        assert!(peer.is_reachable(at(2_499), repair) && !peer.is_reachable(at(2_500), repair));
        peer.link = Link::Gone(DownReason::Crashed);
        assert!(!peer.is_reachable(at(2_001), repair) && peer.has_exited());
    }

    #[test]
    fn why_a_peer_is_no_longer_there_is_what_its_link_shows_but_a_goodbye_counts_first() {
        let mut peer = peer();
        let links = [
            (Link::Open(LinkId(1)), None, false),
            (Link::Closed(at(1_000)), Some(DownReason::Unreachable), false),
            (Link::Gone(DownReason::Crashed), Some(DownReason::Crashed), true),
            (Link::Gone(DownReason::Replaced), Some(DownReason::Replaced), true),
        ];
        for (link, down_reason, has_ended) in links {
            peer.link = link;
            assert_eq!((peer.down_reason(), peer.has_exited()), (down_reason, has_ended));
        }
        peer.report = Some(Report::new(&Heartbeat { leaving: true, ..heartbeat(7, 7, 6) }, at(0)));
        assert_eq!(peer.down_reason(), Some(DownReason::Left));
    }

    #[test]
    fn a_process_grows_older_after_its_report() {
        let mut peer = peer();
        assert_eq!(peer.age(at(9_000)), Duration::ZERO, "nothing is known of its age");
        peer.report = Some(Report::new(&heartbeat(0, 0, 0), at(1_000)));
        assert_eq!(peer.age(at(3_000)), Duration::from_secs(7));
    }

    #[test]
    fn after_a_late_tick_the_deadlines_of_a_peer_are_shifted_and_none_lies_ahead_of_now() {
        let mut peer = peer();
        (peer.suspected_at, peer.disconnected_at) = (Some(at(1_000)), Some(at(4_900)));
        peer.extend_deadlines(Duration::from_millis(200), at(5_000));
        assert_eq!(
            (peer.last_received, peer.last_heartbeat, peer.suspected_at),
            (at(1_200), at(1_200), Some(at(1_200)))
        );
        assert_eq!(
            (peer.disconnected_at, peer.last_processed),
            (Some(at(5_000)), at(1_000)),
            "its lease ends when it ends"
        );
    }

    #[test]
    fn peers_are_found_in_one_walk_and_those_that_are_not_known_are_none() {
        let node = |n: u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(n), n);
        let known = [1, 3, 4, 6].map(|n| (node(n), peer())).into_iter().collect::<BTreeMap<_, _>>();
        let asked: Vec<NodeId> = [0, 1, 2, 4, 5, 6, 7].map(node).into();
        let found = in_order(&known, asked.iter()).map(|(id, peer)| (id.clone(), peer.is_some()));
        let is_known = |n: &u64| [1, 4, 6].contains(n);
        assert!(found.eq([0, 1, 2, 4, 5, 6, 7].map(|n| (node(n), is_known(&n)))));
    }
}
