//! What the address book tells others: which addresses there are, and how they answer.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use cloister_proto::Address;

use super::AddressBook;
use super::entry::{Entry, Last};
use crate::links::dial_report::{DialReport, DialState};

/// How far discovery and the dials have come.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The addresses that discovery names which are neither linked, nor refuse, nor are ours.
    pub(crate) unverified: BTreeSet<SocketAddr>,
    /// All addresses that discovery names and that are not ours, each as the node that was linked there last calls it.
    named: Vec<(SocketAddr, Address)>,
    /// The addresses that discovery names which refuse.
    pub(crate) refusing: BTreeSet<SocketAddr>,
    /// Whether discovery has answered.
    pub(crate) complete: bool,
}

impl Survey {
    /// The addresses that discovery names, as the nodes there call them: one node may have several.
    pub(crate) fn named(&self) -> BTreeSet<Address> {
        self.named.iter().map(|(_, called)| called.clone()).collect()
    }
}

impl AddressBook {
    /// How far discovery and the dials have come, if it differs from `last`.
    pub(crate) fn survey(&self, last: Option<&Survey>) -> Option<Survey> {
        let unlinked = |refuses: bool| {
            let fits = move |(address, entry): &(&SocketAddr, &Entry)| {
                entry.named.is_some()
                    && !self.is_linked(address)
                    && entry.last != Last::IsSelf
                    && (entry.last == Last::Refused) == refuses
            };
            self.entries.iter().filter(fits).map(|(address, _)| *address)
        };
        let is_named = |entry: &Entry| entry.named.is_some() && entry.last != Last::IsSelf;
        let named = self.entries.iter().filter(|(_, entry)| is_named(entry));
        let same = last.is_some_and(|last| {
            last.complete == self.complete
                && last.unverified.iter().copied().eq(unlinked(false))
                // That one which refused is linked is no news: the core gets the link.
                && unlinked(true).all(|address| last.refusing.contains(&address))
                && last
                    .named
                    .iter()
                    .map(|(address, called)| (address, called))
                    .eq(named.clone().map(|(address, entry)| (address, entry.called())))
        });
        (!same).then(|| Survey {
            unverified: unlinked(false).collect(),
            refusing: unlinked(true).collect(),
            named: named.map(|(address, entry)| (*address, entry.called().clone())).collect(),
            complete: self.complete,
        })
    }

    /// Where the peers live.
    pub(crate) fn ips(&self) -> BTreeSet<IpAddr> {
        self.entries.keys().map(SocketAddr::ip).collect()
    }

    /// What is known of every address.
    pub(crate) fn reports(&self) -> Vec<DialReport> {
        let report = |(address, entry): (&SocketAddr, &Entry)| DialReport {
            address: entry.address.clone(),
            name: entry.peer.as_ref().map(|peer| peer.name().clone()),
            state: match entry.last {
                _ if self.is_linked(address) => DialState::Linked,
                Last::IsSelf => DialState::Local,
                Last::Refused => DialState::Refused,
                Last::Unreachable => DialState::Unreachable,
                Last::Nothing | Last::Answered => DialState::Connecting,
            },
            last_error: entry.error.clone(),
        };
        self.entries.iter().map(report).collect()
    }
}
