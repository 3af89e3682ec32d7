//! The links of the book, and at which addresses a refusal speaks of a peer.
//!
//! A refusal proves that no process listens at one address. A peer that is known by an IP address listens at that one. A peer that is known
//! by a host name may have moved to another address, and a proxy or a NAT may have stood between the two nodes. So a refusal speaks of a host
//! name only where both hold: the last link with a node of that name was there, and the name leads there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use cloister_proto::{Address, LinkId, NodeId};

use super::entry::{Attempt, Entry, Last, Phase};
use super::{AddressBook, GOSSIPED_TTL, STABLE};

#[derive(Debug)]
pub(super) struct Link {
    peer: NodeId,
    since: Instant,
    /// The address by which the peer is tried when the link closes.
    way: SocketAddr,
    /// All addresses that lead to this peer, as far as is known.
    covers: BTreeSet<SocketAddr>,
}

impl AddressBook {
    /// A link is open; `remote` is the far end of its socket, which is `target` if we dialled.
    pub(crate) fn linked(
        &mut self,
        now: Instant,
        link: LinkId,
        peer: &NodeId,
        target: Option<SocketAddr>,
        remote: SocketAddr,
    ) {
        self.pending.remove(&link);
        let Some(own) = peer.name().address() else { return };
        let ip = remote.ip().to_canonical();
        let listen_address = own.ip().map(|ip| SocketAddr::new(ip, own.port()));
        let source = SocketAddr::new(ip, own.port());
        let mut covers: BTreeSet<SocketAddr> = target.into_iter().chain(listen_address).collect();
        // All of 127.0.0.0/8 is one machine, so there the source does not identify the node.
        if listen_address.is_none() || !ip.is_loopback() {
            covers.insert(source);
        }
        let way = target.or(listen_address).unwrap_or(source);
        self.entry(now, way);
        for address in &covers {
            if let Some(entry) = self.entries.get_mut(address) {
                entry.keep = entry.keep.max(now + GOSSIPED_TTL);
                let phase = if Some(*address) == target { Phase::Idle } else { entry.phase };
                entry.cover(peer);
                (entry.is_last, entry.phase) = (true, phase);
            }
        }
        for address in &covers {
            *self.linked.entry(*address).or_default() += 1;
        }
        // An earlier incarnation may still be linked elsewhere. The present one may be linked by several addresses.
        self.move_away(peer, |address, known, is_linked| {
            !covers.contains(address) && (known != peer || !is_linked)
        });
        self.links.insert(link, Link { peer: peer.clone(), since: now, way, covers });
    }

    /// The node at `target` has this link, which was made by another address: the two need no second one. That the node is there is only
    /// what it says, so a refusal there says nothing of it.
    pub(crate) fn covered(&mut self, now: Instant, link: LinkId, target: SocketAddr) {
        let Some(open) = self.links.get_mut(&link) else {
            return self.failed(now, target, Last::Answered, "its link with this node has closed".to_owned());
        };
        if open.covers.insert(target) {
            *self.linked.entry(target).or_default() += 1;
        }
        let peer = open.peer.clone();
        let entry = self.entry(now, target);
        entry.keep = entry.keep.max(now + GOSSIPED_TTL);
        entry.cover(&peer);
    }

    /// A link is closed.
    pub(crate) fn unlinked(&mut self, now: Instant, link: LinkId) {
        let Some(gone) = self.links.remove(&link) else { return };
        for address in &gone.covers {
            if let Some(links) = self.linked.get_mut(address) {
                *links -= 1;
            }
        }
        self.linked.retain(|_, links| *links > 0);
        if self.links.values().any(|other| other.peer.name() == gone.peer.name()) {
            self.move_away(&gone.peer, |address, _, is_linked| gone.covers.contains(address) && !is_linked);
        }
        for address in gone.covers {
            if self.is_linked(&address) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(&address) else { continue };
            entry.keep = entry.keep.max(now + GOSSIPED_TTL);
            if now.saturating_duration_since(gone.since) >= STABLE {
                entry.failures = 0;
            } else {
                entry.failures = entry.failures.saturating_add(1);
            }
            // One way at a time: two dials to one node would each end the link of the other.
            entry.due = Some(if address == gone.way {
                entry.lost = Some(now);
                (now, Attempt::Probe)
            } else {
                (now + STABLE, Attempt::Dial)
            });
        }
    }

    /// This incarnation runs somewhere. If another one of its name was linked last, it is not known where this one listens.
    pub(crate) fn reported(&mut self, peer: &NodeId) {
        self.move_away(peer, |_, known, is_linked| known != peer && !is_linked);
    }

    /// The host name of a peer leads to these addresses. An answer without any says nothing of where the peer is.
    pub(crate) fn resolved(&mut self, host: &Address, found: &BTreeSet<SocketAddr>) {
        if found.is_empty() {
            return;
        }
        let linked = &self.linked;
        for (address, entry) in called(&mut self.entries, host) {
            entry.leads_here = found.contains(address);
            if !entry.leads_here && !linked.contains_key(address) {
                entry.peer = None;
            }
        }
    }

    /// Whether nodes of this host name are linked, and the name is not known to lead to any of their addresses.
    pub(crate) fn is_unresolved(&self, host: &Address) -> bool {
        let is_called = |entry: &Entry| entry.peer.is_some() && entry.called() == host;
        let linked = || self.entries.iter().filter(|(at, entry)| self.is_linked(at) && is_called(entry));
        host.ip().is_none() && linked().next().is_some() && !linked().any(|(_, entry)| entry.leads_here)
    }

    /// The addresses, as nodes write them, where no process listens if `target` refuses.
    pub(crate) fn refuted_by(&self, target: SocketAddr) -> BTreeSet<Address> {
        let Some(entry) = self.entries.get(&target) else { return [Address::from(target)].into() };
        let host =
            Some(entry.called()).filter(|host| entry.is_last && entry.leads_here && host.ip().is_none());
        host.into_iter().chain([&entry.address]).cloned().collect()
    }

    /// The names under which peers may know the node at `target`.
    pub(crate) fn known_addresses(&self, target: SocketAddr) -> BTreeSet<Address> {
        let Some(entry) = self.entries.get(&target) else { return [Address::from(target)].into() };
        [entry.called().clone(), entry.address.clone()].into()
    }

    /// Nodes with the host name of `peer` are elsewhere than at these addresses. A name that leads there still has them for its own.
    fn move_away(&mut self, peer: &NodeId, is_left: impl Fn(&SocketAddr, &NodeId, bool) -> bool) {
        let Some(host) = peer.name().address().filter(|host| host.ip().is_none()) else { return };
        let linked = &self.linked;
        for (address, entry) in called(&mut self.entries, host) {
            let is_linked = linked.contains_key(address);
            let Some(known) = &entry.peer else { continue };
            if is_left(address, known, is_linked) {
                entry.is_last = false;
                if !entry.leads_here && !is_linked {
                    entry.peer = None;
                }
            }
        }
    }
}

/// The addresses where a node of this host name was linked.
fn called<'a>(
    entries: &'a mut BTreeMap<SocketAddr, Entry>,
    host: &'a Address,
) -> impl Iterator<Item = (&'a SocketAddr, &'a mut Entry)> {
    let is_called = move |entry: &Entry| entry.peer.is_some() && entry.called() == host;
    entries.iter_mut().filter(move |(_, entry)| is_called(entry))
}
