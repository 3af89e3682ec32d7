//! What the shell of a process does to be linked: dialling, and telling the core what it met.

use std::collections::BTreeSet;

use cloister_proto::{Address, Event, Member, NodeId, PeerTerms, Time, TrustRefusal};
use cloister_testkit::network::End;

use super::{DialResult, SimEvent, World};
use crate::application::Application;
use crate::laws::Violation;
use crate::network::Incoming;
use crate::scenario::{MS, Names};

/// How long a connection attempt waits for an answer.
const DIAL_LIMIT: u64 = 2_000 * MS;

/// How long a handshake may take.
const HANDSHAKE_LIMIT: u64 = 5_000 * MS;

/// How long the node that does not dial waits for the other.
const DEFER: u64 = 100 * MS;

impl<A: Application> World<A> {
    /// A node asks for a link to a peer: the peer's address is dialled at once.
    pub(super) fn meet(&mut self, host: usize, peer: &NodeId) {
        let Some(&to) = peer.name().address().and_then(|address| self.addresses.get(address)) else { return };
        let Some(process) = &mut self.hosts[host].process else { return };
        if to == host || process.dials[to].in_flight {
            return;
        }
        process.dials[to].turn += 1;
        process.dials[to].refused = false;
        process.dials[to].backoff.reset();
        let (incarnation, turn) = (process.id.clone(), process.dials[to].turn);
        let probe = !self.dials_first(host, to);
        self.at(self.now, SimEvent::Dial { host, incarnation, to, turn, probe });
    }

    fn dials_first(&self, host: usize, to: usize) -> bool {
        self.hosts[host].address > self.hosts[to].address
    }

    pub(super) fn dial(&mut self, host: usize, to: usize, turn: u64, probe: bool) -> Result<(), Violation> {
        let now = self.now;
        let linked = self.network.is_linked(host, to);
        let first = self.dials_first(host, to);
        let clock = self.hosts[host].clock(now);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let incarnation = process.id.clone();
        let dial = &mut process.dials[to];
        if dial.turn != turn || dial.in_flight || linked {
            return Ok(());
        }
        if !first && !probe && now < dial.defer_until {
            let at = dial.defer_until;
            self.at(at, SimEvent::Dial { host, incarnation, to, turn, probe });
            return Ok(());
        }
        if !first && !probe && dial.defer_until == 0 {
            dial.defer_until = now + DEFER;
            self.at(now + DEFER, SimEvent::Dial { host, incarnation, to, turn, probe });
            return Ok(());
        }
        dial.in_flight = true;
        let there = &self.hosts[to];
        let cut = self.network.is_cut(host, to) || self.network.is_cut(to, host);
        let answer = match &there.process {
            _ if there.rejected => DialResult::Refused,
            _ if cut || there.vanished => DialResult::Silent,
            Some(process) => DialResult::Accepted(process.id.clone()),
            None => DialResult::Refused,
        };
        let takes = match answer {
            DialResult::Silent => DIAL_LIMIT,
            DialResult::Refused | DialResult::Accepted(_) => self.latency() + self.latency(),
        };
        self.at(now + takes, SimEvent::Dialled { host, incarnation, to, turn, began: clock, answer, probe });
        Ok(())
    }

    pub(super) fn dialled(
        &mut self,
        host: usize,
        to: usize,
        turn: u64,
        began: Time,
        answer: DialResult,
        probe: bool,
    ) -> Result<(), Violation> {
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let incarnation = process.id.clone();
        let dial = &mut process.dials[to];
        dial.in_flight = false;
        let refused = matches!(answer, DialResult::Refused);
        dial.refused = refused;
        let wait = dial.backoff.next_wait().as_nanos() as u64;
        let next = match (&answer, probe) {
            // The other is there: it dials, or after a while this one does.
            (DialResult::Accepted(_), true) => {
                dial.defer_until = now + DEFER;
                now + DEFER
            }
            _ => now + wait,
        };
        let turn = if dial.turn == turn { turn } else { dial.turn };
        self.at(next, SimEvent::Dial { host, incarnation: incarnation.clone(), to, turn, probe: false });
        if refused {
            let address = self.hosts[to].address.clone();
            self.give(host, Event::Refused { address, began })?;
        }
        if let (DialResult::Accepted(to_incarnation), false) = (answer, probe) {
            let at = now + 3 * self.latency();
            let until = now + HANDSHAKE_LIMIT;
            self.at(
                at,
                SimEvent::Handshake { from: host, from_incarnation: incarnation, to, to_incarnation, until },
            );
        }
        self.survey(host)
    }

    pub(super) fn handshake(
        &mut self,
        (from, from_incarnation): (usize, NodeId),
        (to, to_incarnation): (usize, NodeId),
        until: u64,
    ) -> Result<(), Violation> {
        if !self.is_incarnation(from, &from_incarnation) || !self.is_incarnation(to, &to_incarnation) {
            return Ok(());
        }
        let now = self.now;
        let paused =
            |at: usize| self.hosts[at].process.as_ref().is_some_and(|process| process.is_paused(now));
        if paused(from) || paused(to) || self.network.is_cut(from, to) || self.network.is_cut(to, from) {
            if now < until {
                self.at(
                    now + 20 * MS,
                    SimEvent::Handshake { from, from_incarnation, to, to_incarnation, until },
                );
            }
            return Ok(());
        }
        let old = self.network.of_pair(from, to).into_iter().find_map(|(link, end)| {
            let ends = &self.network.get(link)?.ends;
            let (here, there) = (&ends[end], &ends[1 - end]);
            let joins_them = here.incarnation == from_incarnation && there.incarnation == to_incarnation;
            (joins_them && (here.open || there.open)).then_some((link, here.open && there.open))
        });
        let old = match old {
            Some((_, true)) => return Ok(()),
            // Which of two connections survives is decided by a random number in the transport.
            Some(_) if self.rng.percent(50) => return Ok(()),
            old => old.map(|(link, _)| link),
        };
        let ready = now + self.latency();
        let ends = [(from, &from_incarnation, now), (to, &to_incarnation, ready)];
        let ends =
            ends.map(|(host, incarnation, at)| End::new(host, incarnation.clone(), Incoming::new(now, at)));
        let link = self.network.open(ends);
        for (host, other, peer) in [(from, to, to_incarnation), (to, from, from_incarnation)] {
            if let Some(process) = &mut self.hosts[host].process {
                process.dials[other].backoff.reset();
            }
            self.link_application(host, link, &peer);
            self.run_application(host)?;
            let terms = PeerTerms::new(self.hosts[other].timing.lease);
            self.give(host, Event::Linked { link, peer: Member::without_tags(peer), terms })?;
        }
        if let Some(old) = old
            && let Some(connection) = self.network.remove(old)
            && let Some(end) = connection.ends.iter().find(|end| end.open)
        {
            self.unlink(end.host, old)?;
        }
        self.survey(from)?;
        self.survey(to)
    }

    /// Tells the core which addresses may hide a node that it does not know of.
    pub(super) fn survey(&mut self, host: usize) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        // Where only those that were members restart anywhere, all are named to the others.
        let hides = self.scenario.starts_anywhere || self.hosts[host].was_member;
        let names = |to: &usize| {
            *to != host
                && match &self.scenario.names {
                    Names::Hosts => true,
                    Names::Running => self.hosts[*to].process.is_some(),
                    Names::Without(hidden) => !hides || !hidden.contains(&(host, *to)),
                }
        };
        let others = || (0..self.hosts.len()).filter(names);
        let linked = self.network.linked_hosts(host);
        let unlinked = others().filter(|to| !linked.contains(to));
        let (refusing, unverified): (Vec<usize>, Vec<usize>) =
            unlinked.partition(|to| process.dials[*to].refused);
        // Where refusals are trusted, which of them refuse is no news.
        let trusts = self.scenario.trust_refusal != TrustRefusal::Never;
        let refusing = if trusts { Vec::new() } else { refusing };
        let discovery = ([unverified, refusing, others().collect()], process.complete);
        if process.last_discovery.as_ref() == Some(&discovery) {
            return Ok(());
        }
        let stale = stale_addresses(self.scenario.stale.addresses);
        let refuse = self.scenario.stale.refuse;
        let addresses = |hosts: &[usize], stale: Option<&Vec<Address>>| -> BTreeSet<Address> {
            let hosts = hosts.iter().map(|to| self.hosts[*to].address.clone());
            hosts.chain(stale.into_iter().flatten().cloned()).collect()
        };
        let ([unverified, refusing, named], complete) = &discovery;
        let unverified = addresses(unverified, (!refuse).then_some(&stale));
        let refusing = addresses(refusing, (refuse && !trusts).then_some(&stale));
        let (named, complete) = (addresses(named, Some(&stale)), *complete);
        if let Some(process) = &mut self.hosts[host].process {
            process.last_discovery = Some(discovery);
        }
        self.give(host, Event::DiscoveryUpdate { unverified, refusing, named, complete })
    }
}

/// Addresses at which no host ever was.
fn stale_addresses(number: usize) -> Vec<Address> {
    let address = |n| Address::new(&format!("10.9.9.{}", n + 1), 4370);
    (0..number).map(|n| address(n).expect("invariant: an IP address is an address")).collect()
}
