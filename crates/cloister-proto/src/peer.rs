//! What a node knows of one other life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::DownReason;
use crate::event::LinkId;
use crate::name::NodeId;
use crate::time::Time;
use crate::view::{Epoch, Member};
use crate::wire::Heartbeat;

/// What a peer says once of how it claims, and of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerTerms {
    /// For how long it trusts the word of others.
    pub lease: Duration,
    /// Whether a refusal of its address means that its process has ended, by its own account.
    pub owns_address: bool,
    /// Whether it lets the word of another last no longer than the other's lease. Earlier builds do not.
    pub caps_lease: bool,
}

impl PeerTerms {
    /// The terms of a peer with this lease at an address of its own machine.
    pub const fn new(lease: Duration) -> Self {
        Self { lease, owns_address: true, caps_lease: true }
    }
}

/// What a node knows of one other life.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Peer {
    pub(crate) member: Member,
    pub(crate) terms: PeerTerms,
    pub(crate) link: Link,
    /// Whether a heartbeat came in by the open link: until then nobody knows whether the cluster part of the peer runs.
    pub(crate) greeted: bool,
    /// When the last link by which heartbeats came in was lost.
    pub(crate) lost_at: Option<Time>,
    /// When the last byte came in. Moved by our own lateness.
    pub(crate) heard: Time,
    /// When the last heartbeat came in. Moved by our own lateness.
    pub(crate) beat: Time,
    /// When the last heartbeat was handled: its lease, as far as it depends on us, ends a lease later.
    pub(crate) handled: Time,
    /// The last heartbeat.
    pub(crate) report: Option<Report>,
    /// Whom it hears, in order of age.
    pub(crate) reach: Arc<[NodeId]>,
    pub(crate) reach_hash: u64,
    /// Earlier lives of its process, which have ended.
    pub(crate) former: Vec<NodeId>,
    /// Which version of our own reach it was sent last.
    pub(crate) reach_sent: u64,
    /// The number of the last goodbye that it was sent.
    pub(crate) goodbyes_sent: u64,
    /// What the last heartbeat to it gave as its time of sending.
    pub(crate) said: u64,
    /// A younger life at its name has come; since then it has not spoken.
    pub(crate) doubted: Option<Time>,
}

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    Open(LinkId),
    /// Closed since then; it may be repaired.
    Closed(Time),
    /// Closed, and its process is known to be gone.
    Gone(DownReason),
}

/// A heartbeat, without whom its sender hears.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Report {
    pub(crate) at: Time,
    pub(crate) sent: u64,
    pub(crate) echo: u64,
    pub(crate) age: Duration,
    pub(crate) installed: Epoch,
    pub(crate) promised: Epoch,
    pub(crate) prepared: bool,
    pub(crate) retired: Epoch,
    pub(crate) highest: Epoch,
    /// What its wall clock showed; 0 if it did not say.
    pub(crate) unix_ms: u64,
    pub(crate) leaving: bool,
    /// Whether it waits for the first lease of its view.
    pub(crate) asks: bool,
    /// How many nodes its cluster counts.
    pub(crate) size: usize,
    /// Its newest view: installed, or acknowledged and not resolved.
    pub(crate) base: Epoch,
    /// Whether it can neither follow nor begin with the nodes that it hears.
    pub(crate) objects: bool,
}

/// What is known of each of `nodes`, which come in order of age: found in one walk, not by one search for each.
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
            greeted: false,
            lost_at: None,
            heard: now,
            beat: now,
            handled: now,
            report: None,
            reach: Arc::default(),
            reach_hash: 0,
            former: Vec::new(),
            reach_sent: 0,
            goodbyes_sent: 0,
            said: 0,
            doubted: None,
        }
    }

    pub(crate) fn open(&self) -> Option<LinkId> {
        match self.link {
            Link::Open(link) => Some(link),
            Link::Closed(_) | Link::Gone(_) => None,
        }
    }

    /// Whether this node hears it now.
    pub(crate) fn is_live(&self) -> bool {
        self.greeted && self.open().is_some()
    }

    /// Whether this node hears it, or has just lost the link, which may be repaired.
    pub(crate) fn is_heard(&self, now: Time, repair: Duration) -> bool {
        match self.link {
            Link::Open(_) if self.greeted => true,
            Link::Open(_) | Link::Closed(_) => self.lost_at.is_some_and(|at| now < at + repair),
            Link::Gone(_) => false,
        }
    }

    /// The open link is no more.
    pub(crate) fn lose(&mut self, now: Time) {
        if std::mem::take(&mut self.greeted) {
            self.lost_at = Some(now);
        }
    }

    /// Whether its process is known to be gone.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.link, Link::Gone(DownReason::Crashed | DownReason::Replaced))
    }

    pub(crate) fn objects(&self) -> bool {
        self.report.is_some_and(|report| report.objects)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.report.is_some_and(|report| report.leaving)
    }

    /// Whether its last word was that it takes part in the view of `epoch`.
    pub(crate) fn is_bound_to(&self, epoch: Epoch) -> bool {
        self.report.is_some_and(|report| report.is_bound() && report.installed == epoch)
    }

    /// For how long its process has run.
    pub(crate) fn age(&self, now: Time) -> Duration {
        self.report.map_or(Duration::ZERO, |report| report.age + now.since(report.at))
    }

    /// Why it is no longer there, if it is not.
    pub(crate) fn fate(&self) -> Option<DownReason> {
        if self.is_leaving() {
            return Some(DownReason::Left);
        }
        match self.link {
            Link::Open(_) => None,
            Link::Closed(_) => Some(DownReason::Unreachable),
            Link::Gone(reason) => Some(reason),
        }
    }

    /// Our own clock ran on while we slept: nobody is to blame for that.
    pub(crate) fn forgive(&mut self, late: Duration, now: Time) {
        let moved = |at: Time| (at + late).min(now);
        self.heard = moved(self.heard);
        self.beat = moved(self.beat);
        self.doubted = self.doubted.map(moved);
        self.lost_at = self.lost_at.map(moved);
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
            retired: heartbeat.retired,
            highest: heartbeat.highest,
            unix_ms: heartbeat.unix_ms,
            leaving: heartbeat.leaving,
            asks: heartbeat.asks,
            size: heartbeat.size,
            base: heartbeat.base,
            objects: heartbeat.objects,
        }
    }

    /// Whether it takes part in the view it installed last.
    pub(crate) fn is_bound(&self) -> bool {
        self.installed > Epoch::ZERO
            && self.installed == self.promised
            && self.retired < self.installed
            && !self.leaving
    }

    /// Whether it has installed a view in this life and has not given it up since. What it has promised since does
    /// not matter: it remembers that.
    pub(crate) fn keeps_its_view(&self) -> bool {
        self.installed > Epoch::ZERO && self.retired < self.installed && !self.leaving
    }
}
