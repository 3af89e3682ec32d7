//! Connections and cuts: bytes arrive in order, late, or not until the network is healed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloister_proto::{LinkId, Message, NodeId};

/// The number of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// What flies over a connection: messages of the cores and of the applications, in one order.
#[derive(Clone, Debug)]
pub(crate) enum Packet<M> {
    Core(Message),
    Application(M),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End<M> {
    pub(crate) host: usize,
    pub(crate) life: NodeId,
    pub(crate) link: LinkId,
    pub(crate) open: bool,
    /// The other end is closed, and this one does not know it.
    pub(crate) fin_owed: bool,
    /// What flies to this end, in order.
    pub(crate) incoming: VecDeque<Packet<M>>,
    /// When the last of it arrives.
    pub(crate) arrives: u64,
    /// What was lost to a cut and will be sent again.
    pub(crate) stalled: VecDeque<Packet<M>>,
    pub(crate) stalled_since: u64,
    /// Nothing arrives before: the adversary holds it back.
    pub(crate) held_until: u64,
    /// When the last byte came in.
    pub(crate) last_byte: u64,
    pub(crate) opened: u64,
}

/// A connection between two lives.
#[derive(Debug)]
pub(crate) struct Conn<M> {
    pub(crate) ends: [End<M>; 2],
}

/// All connections, found by their number or by the hosts at their ends.
#[derive(Debug)]
pub(crate) struct Conns<M> {
    /// By number; the numbers rise by one.
    all: Vec<Option<Conn<M>>>,
    /// By the hosts of their ends, either of them first; in order of their numbers.
    between: BTreeMap<(usize, usize), Vec<ConnId>>,
}

/// All connections, and what is cut.
#[derive(Debug)]
pub(crate) struct Network<M> {
    pub(crate) conns: Conns<M>,
    next: u64,
    cuts: BTreeSet<(usize, usize)>,
}

impl<M> End<M> {
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

impl<M> Network<M> {
    pub(crate) fn new() -> Self {
        let conns = Conns { all: Vec::new(), between: BTreeMap::new() };
        Self { conns, next: 0, cuts: BTreeSet::new() }
    }

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

    /// Lets packets pass again; returns whether they did not before.
    pub(crate) fn heal(&mut self, from: usize, to: usize) -> bool {
        self.cuts.remove(&(from, to))
    }

    pub(crate) fn cuts(&self) -> Vec<(usize, usize)> {
        self.cuts.iter().copied().collect()
    }

    /// The connections that have an end on this host, with which end it is.
    pub(crate) fn of_host(&self, host: usize) -> Vec<(ConnId, usize)> {
        let mut ids: Vec<ConnId> = self
            .conns
            .between
            .range((host, 0)..=(host, usize::MAX))
            .flat_map(|(_, ids)| ids)
            .copied()
            .collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Some((id, self.conns.get(&id)?.end_at(host)?))).collect()
    }

    /// The connections from this host to the other, with which end is on this one.
    pub(crate) fn of_pair(&self, host: usize, other: usize) -> Vec<(ConnId, usize)> {
        let ids = self.conns.between.get(&(host, other)).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.conns.get(id)?.end_at(host)?))).collect()
    }

    /// The connection between two lives, with whether it is open at each of them.
    pub(crate) fn between(
        &self,
        (a_host, a): (usize, &NodeId),
        (b_host, b): (usize, &NodeId),
    ) -> Option<(ConnId, bool, bool)> {
        self.conns.between.get(&(a_host, b_host))?.iter().find_map(|id| {
            let conn = self.conns.get(id)?;
            let at = |life: &NodeId| conn.ends.iter().find(|end| end.life == *life);
            let (a, b) = (at(a)?, at(b)?);
            (a.open || b.open).then_some((*id, a.open, b.open))
        })
    }
}

impl<M> Conn<M> {
    fn end_at(&self, host: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.host == host)
    }

    fn hosts(&self) -> [(usize, usize); 2] {
        let [a, b] = [self.ends[0].host, self.ends[1].host];
        [(a, b), (b, a)]
    }
}

impl<M> Conns<M> {
    fn at(id: &ConnId) -> usize {
        usize::try_from(id.0).expect("invariant: connections fit into memory")
    }

    pub(crate) fn get(&self, id: &ConnId) -> Option<&Conn<M>> {
        self.all.get(Self::at(id))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: &ConnId) -> Option<&mut Conn<M>> {
        self.all.get_mut(Self::at(id))?.as_mut()
    }

    /// The newest connection.
    pub(crate) fn insert(&mut self, id: ConnId, conn: Conn<M>) {
        for pair in conn.hosts() {
            self.between.entry(pair).or_default().push(id);
        }
        self.all.resize_with(Self::at(&id), || None);
        self.all.push(Some(conn));
    }

    pub(crate) fn remove(&mut self, id: &ConnId) {
        let Some(conn) = self.all.get_mut(Self::at(id)).and_then(Option::take) else { return };
        for pair in conn.hosts() {
            if let Some(ids) = self.between.get_mut(&pair) {
                ids.retain(|known| known != id);
            }
        }
    }
}
