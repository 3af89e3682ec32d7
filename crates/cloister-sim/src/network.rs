//! Connections and cuts: bytes arrive in order, late, or not until the network is healed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloister_proto::{LinkId, Message, NodeId};

/// The number of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) life: NodeId,
    pub(crate) link: LinkId,
    pub(crate) open: bool,
    /// The other end is closed, and this one has not heard of it.
    pub(crate) fin_owed: bool,
    /// What flies to this end, in order.
    pub(crate) incoming: VecDeque<Message>,
    /// When the last of it arrives.
    pub(crate) arrives: u64,
    /// What was lost to a cut and will be sent again.
    pub(crate) stalled: VecDeque<Message>,
    pub(crate) stalled_since: u64,
    /// Nothing arrives before: the adversary holds it back.
    pub(crate) held_until: u64,
    /// When the last byte came in.
    pub(crate) last_byte: u64,
    pub(crate) opened: u64,
}

/// A connection between two lives.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
}

/// All connections, and what is cut.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    next: u64,
    cuts: BTreeSet<(usize, usize)>,
}

impl End {
    pub(crate) fn new(host: usize, life: NodeId, link: LinkId, now: u64, ready: u64) -> Self {
        Self {
            host,
            life,
            link,
            open: true,
            fin_owed: false,
            incoming: VecDeque::new(),
            arrives: ready,
            stalled: VecDeque::new(),
            stalled_since: 0,
            held_until: 0,
            last_byte: now,
            opened: now,
        }
    }
}

impl Network {
    pub(crate) fn next_id(&mut self) -> ConnId {
        self.next += 1;
        ConnId(self.next)
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Lets packets pass again; tells whether they did not before.
    pub(crate) fn heal(&mut self, from: usize, to: usize) -> bool {
        self.cuts.remove(&(from, to))
    }

    pub(crate) fn cuts(&self) -> Vec<(usize, usize)> {
        self.cuts.iter().copied().collect()
    }

    /// The connections that have an end on this host, with which end it is.
    pub(crate) fn of_host(&self, host: usize) -> Vec<(ConnId, usize)> {
        let on_host = |conn: &Conn| conn.ends.iter().position(|end| end.host == host);
        self.conns.iter().filter_map(|(id, conn)| Some((*id, on_host(conn)?))).collect()
    }

    /// The connection between two lives, with whether it is open at each of them.
    pub(crate) fn between(&self, a: &NodeId, b: &NodeId) -> Option<(ConnId, bool, bool)> {
        self.conns.iter().find_map(|(id, conn)| {
            let at = |life: &NodeId| conn.ends.iter().find(|end| end.life == *life);
            let (a, b) = (at(a)?, at(b)?);
            (a.open || b.open).then_some((*id, a.open, b.open))
        })
    }
}
