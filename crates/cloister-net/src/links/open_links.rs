//! The open links, as the sessions publish them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use cloister_proto::{Difference, LinkId, NodeId};

use crate::connection::reader::FrameReader;
use crate::connection::socket::TrackedSocket;
use crate::connection::writer::FrameWriter;

/// An open link, as readers on other threads see it.
#[derive(Debug)]
pub(crate) struct OpenLink {
    pub(crate) peer: NodeId,
    /// The number of the session in ractor.
    pub(crate) node: ractor_cluster::NodeId,
    pub(crate) socket: Arc<TrackedSocket>,
    pub(crate) frame_reader: Arc<FrameReader>,
    pub(crate) frame_writer: Arc<FrameWriter>,
    /// What the peer has configured otherwise.
    pub(crate) differs: Arc<[Difference]>,
    /// The version of its application, as it says it; empty if it says none.
    pub(crate) version: String,
}

/// The open links. The sessions write, any thread reads.
#[derive(Debug, Default)]
pub(crate) struct OpenLinks {
    links: Mutex<BTreeMap<LinkId, Arc<OpenLink>>>,
    /// The same links. Replaced while `links` is locked.
    by_peer: PeerIndex<OpenLink>,
}

impl OpenLinks {
    pub(crate) fn insert(&self, link: LinkId, open: OpenLink) {
        self.change(|links| {
            links.insert(link, Arc::new(open));
        });
    }

    pub(crate) fn remove(&self, link: LinkId) {
        self.change(|links| {
            links.remove(&link);
        });
    }

    pub(crate) fn clear(&self) {
        self.change(BTreeMap::clear);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Arc<OpenLink>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<LinkId, Arc<OpenLink>>)) {
        let mut links = self.lock();
        change(&mut links);
        self.by_peer.replace(links.values().map(|open| (open.peer.clone(), Arc::clone(open))));
    }

    /// The link with this number.
    pub(crate) fn get(&self, link: LinkId) -> Option<Arc<OpenLink>> {
        self.lock().get(&link).cloned()
    }

    /// What `read` makes of every link, the oldest first.
    pub(crate) fn map<T>(&self, read: impl Fn(LinkId, &OpenLink) -> T) -> Vec<T> {
        self.lock().iter().map(|(link, open)| read(*link, open)).collect()
    }

    /// The newest link to `peer` that `read` has an answer for. Takes no lock: each call to another node looks here.
    pub(crate) fn newest<T>(&self, peer: &NodeId, read: impl Fn(&OpenLink) -> Option<T>) -> Option<T> {
        self.by_peer.newest(peer, read)
    }
}

/// The links of each peer, the oldest first: a table that is replaced as a whole, and read without a lock.
#[derive(Debug)]
struct PeerIndex<L>(ArcSwap<HashMap<NodeId, Vec<Arc<L>>>>);

impl<L> Default for PeerIndex<L> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<L> PeerIndex<L> {
    /// Publishes these links, each with its peer, the oldest first.
    fn replace(&self, links: impl Iterator<Item = (NodeId, Arc<L>)>) {
        let mut table: HashMap<NodeId, Vec<Arc<L>>> = HashMap::new();
        for (peer, link) in links {
            table.entry(peer).or_default().push(link);
        }
        self.0.store(Arc::new(table));
    }

    /// What `read` makes of the newest link to `peer` that it has an answer for.
    fn newest<T>(&self, peer: &NodeId, read: impl Fn(&L) -> Option<T>) -> Option<T> {
        self.0.load().get(peer)?.iter().rev().find_map(|link| read(link))
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::Incarnation;

    use super::*;

    fn peer(number: u64) -> NodeId {
        let name = format!("shop@10.0.0.{number}:4370").parse().unwrap();
        NodeId::new(name, Incarnation(number), number)
    }

    #[test]
    fn the_newest_usable_link_to_a_peer_is_found() {
        let index = PeerIndex::default();
        let found = |peer: &NodeId, usable: fn(u64) -> bool| {
            index.newest(peer, |link: &u64| usable(*link).then_some(*link))
        };
        assert_eq!(found(&peer(1), |_| true), None);
        let links = [(1, 10), (2, 20), (1, 30)];
        index.replace(links.into_iter().map(|(number, link)| (peer(number), Arc::new(link))));
        assert_eq!(found(&peer(1), |_| true), Some(30));
        assert_eq!(found(&peer(1), |link| link < 30), Some(10));
        assert_eq!(found(&peer(2), |_| true), Some(20));
        assert_eq!(found(&peer(2), |link| link > 20), None);
        assert_eq!(found(&peer(3), |_| true), None);
        index.replace(std::iter::empty());
        assert_eq!(found(&peer(1), |_| true), None);
    }

    #[test]
    fn a_link_is_not_kept_once_it_is_taken_off() {
        let (index, link) = (PeerIndex::default(), Arc::new(1));
        index.replace(std::iter::once((peer(1), Arc::clone(&link))));
        assert_eq!(Arc::strong_count(&link), 2);
        index.replace(std::iter::empty());
        assert_eq!(Arc::strong_count(&link), 1);
    }
}
