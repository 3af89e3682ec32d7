//! Connections between hosts, and cuts: what all clusters of cores in one thread have alike. When a packet arrives, and what a cut does
//! to it, differs: so what flies to an end is a type of the user.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use cloister_proto::{LinkId, NodeId};

/// One end of a connection.
#[derive(Clone, Debug, Hash)]
pub struct End<F> {
    /// On which host.
    pub host: usize,
    /// Which process on it. An open end is one of the process that runs there.
    pub incarnation: NodeId,
    /// Whether its process has not closed it, and does not know that the other end is closed.
    pub open: bool,
    /// What flies to this end.
    pub incoming: F,
}

/// A connection between processes of two hosts.
#[derive(Clone, Debug, Hash)]
pub struct Connection<F> {
    /// The end that dialled, and the other.
    pub ends: [End<F>; 2],
}

/// All connections, and which host cannot reach which. The number of a connection is its [`LinkId`] at both ends.
#[derive(Clone, Debug)]
pub struct Network<F> {
    /// By number; the numbers rise by one.
    connections: Vec<Option<Connection<F>>>,
    /// By the host of an end, and number: the host of the other end, and which end is the first.
    by_host: BTreeMap<(usize, LinkId), (usize, usize)>,
    cuts: BTreeSet<(usize, usize)>,
}

/// The connections and the cuts are all there is; the index follows from them.
impl<F: Hash> Hash for Network<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.connections, &self.cuts).hash(state);
    }
}

impl<F> End<F> {
    /// An open end.
    pub fn new(host: usize, incarnation: NodeId, incoming: F) -> Self {
        Self { host, incarnation, open: true, incoming }
    }
}

impl<F> Default for Network<F> {
    fn default() -> Self {
        Self { connections: Vec::new(), by_host: BTreeMap::new(), cuts: BTreeSet::new() }
    }
}

impl<F> Network<F> {
    /// Opens a connection.
    pub fn open(&mut self, ends: [End<F>; 2]) -> LinkId {
        let link = LinkId(self.connections.len() as u64);
        let [a, b] = [ends[0].host, ends[1].host];
        self.by_host.insert((a, link), (b, 0));
        self.by_host.insert((b, link), (a, 1));
        self.connections.push(Some(Connection { ends }));
        link
    }

    /// A connection that is not closed at both ends.
    #[must_use]
    pub fn get(&self, link: LinkId) -> Option<&Connection<F>> {
        self.connections.get(index(link))?.as_ref()
    }

    /// A connection that is not closed at both ends.
    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Connection<F>> {
        self.connections.get_mut(index(link))?.as_mut()
    }

    /// Closes an end, as far as it knows. The connection is gone once both ends are closed.
    pub fn close(&mut self, link: LinkId, end: usize) {
        let Some(connection) = self.get_mut(link) else { return };
        connection.ends[end].open = false;
        if !connection.ends[1 - end].open {
            self.remove(link);
        }
    }

    /// Takes a connection away, whichever of its ends is open.
    pub fn remove(&mut self, link: LinkId) -> Option<Connection<F>> {
        let connection = self.connections.get_mut(index(link))?.take()?;
        let [a, b] = [connection.ends[0].host, connection.ends[1].host];
        self.by_host.remove(&(a, link));
        self.by_host.remove(&(b, link));
        Some(connection)
    }

    /// All connections, in the order in which they were opened.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Connection<F>)> {
        let numbered = self.connections.iter().zip(0..);
        numbered.filter_map(|(connection, number)| Some((LinkId(number), connection.as_ref()?)))
    }

    /// The connections that have an end on this host, with which end it is, in the order in which they were opened.
    #[must_use]
    pub fn of_host(&self, host: usize) -> Vec<(LinkId, usize)> {
        self.ends_on(host).map(|(_, link, end)| (link, end)).collect()
    }

    /// The connections between two hosts, with which end is on the first, in the order in which they were opened.
    #[must_use]
    pub fn of_pair(&self, host: usize, other: usize) -> Vec<(LinkId, usize)> {
        self.ends_between(host, other).collect()
    }

    /// Which end of this connection is on this host, if one is.
    #[must_use]
    pub fn end(&self, host: usize, link: LinkId) -> Option<usize> {
        self.get(link)?.ends.iter().position(|end| end.host == host)
    }

    /// Which end of this connection is on this host, if that end is open.
    #[must_use]
    pub fn open_end(&self, host: usize, link: LinkId) -> Option<usize> {
        self.get(link)?.ends.iter().position(|end| end.host == host && end.open)
    }

    /// Whether the process on this host has an open link to the other host.
    #[must_use]
    pub fn is_linked(&self, host: usize, other: usize) -> bool {
        self.ends_between(host, other).any(|(link, _)| self.open_end(host, link).is_some())
    }

    /// To which hosts the process on this host has an open link.
    #[must_use]
    pub fn linked_hosts(&self, host: usize) -> BTreeSet<usize> {
        let open =
            |&(_, link, end): &(usize, LinkId, usize)| self.get(link).is_some_and(|c| c.ends[end].open);
        self.ends_on(host).filter(open).map(|(other, ..)| other).collect()
    }

    /// For each connection with an end on this host: the other host, and which end is on this one.
    fn ends_on(&self, host: usize) -> impl Iterator<Item = (usize, LinkId, usize)> {
        let range = (host, LinkId(0))..=(host, LinkId(u64::MAX));
        self.by_host.range(range).map(|(&(_, link), &(other, end))| (other, link, end))
    }

    fn ends_between(&self, host: usize, other: usize) -> impl Iterator<Item = (LinkId, usize)> {
        self.ends_on(host).filter(move |(there, ..)| *there == other).map(|(_, link, end)| (link, end))
    }

    /// Whether nothing gets from one host to the other.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Nothing gets from one host to the other any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Packets get from one host to the other again. Returns whether they did not before.
    pub fn heal(&mut self, from: usize, to: usize) -> bool {
        self.cuts.remove(&(from, to))
    }

    /// Packets get from every host to every other again.
    pub fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// From which host nothing gets to which other.
    #[must_use]
    pub fn cuts(&self) -> &BTreeSet<(usize, usize)> {
        &self.cuts
    }
}

fn index(link: LinkId) -> usize {
    usize::try_from(link.0).expect("invariant: connections fit into memory")
}
