//! Links, cuts, and which hosts reach each other.

use std::collections::VecDeque;
use std::time::Duration;

use cloister_proto::{CloseReason, Event, LinkId, Message, NodeId, Status, Time};

use super::{Pace, Universe};

/// How long one message takes, unless a script says otherwise.
const LATENCY: Duration = Duration::from_millis(1);

/// How often an unlinked host is dialled.
pub(super) const DIAL_EVERY: Duration = Duration::from_millis(100);

/// One link between two lives.
#[derive(Clone, Debug, Hash)]
pub(super) struct Wire {
    ends: [End; 2],
}

/// One end of a link.
#[derive(Clone, Debug, Hash)]
struct End {
    host: usize,
    life: NodeId,
    open: bool,
    /// What comes to this end, in order, and when.
    incoming: VecDeque<(Time, Parcel)>,
}

#[derive(Clone, Debug, Hash)]
enum Parcel {
    Word(Message),
    Fin,
}

impl Wire {
    fn end_at(&self, host: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.host == host)
    }
}

impl Universe {
    /// Nothing gets from one host to the other any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// What was stopped on its way arrives now.
    pub fn heal(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    pub fn heal_all(&mut self) {
        self.cuts.clear();
    }

    pub fn has_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// From now on messages take this long from one host to the other.
    pub fn slow(&mut self, from: usize, to: usize, latency: Duration) {
        self.slow.insert((from, to), latency);
    }

    /// Both ends of every link between the two hosts see it closed.
    pub fn reset(&mut self, a: usize, b: usize) {
        let links: Vec<LinkId> = self.links_between(a, b).collect();
        for link in links {
            let Some(wire) = self.wires.remove(&link) else { continue };
            for end in wire.ends.into_iter().filter(|end| end.open) {
                self.give(end.host, Event::Unlinked { link, at: self.now });
            }
        }
        self.settle();
    }

    /// Nothing gets to this host or from it any more.
    pub fn isolate(&mut self, at: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            self.cut(at, other);
            self.cut(other, at);
        }
    }

    /// Something between this host and the others forgets every connection, resets the others' ends, and passes nothing on
    /// any more: the host itself hears nothing of it.
    pub fn half_reset(&mut self, at: usize) {
        self.isolate(at);
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            let links: Vec<LinkId> = self.links_between(at, other).collect();
            for link in links {
                let was_open = self.wires[&link].ends.iter().any(|end| end.host == other && end.open);
                self.hang_up(other, link);
                if was_open {
                    self.give(other, Event::Unlinked { link, at: self.now });
                }
            }
        }
        self.settle();
    }

    /// Something before this host begins to refuse in its place: it resets what others have open towards it and passes
    /// nothing on. The host itself hears nothing of it.
    pub fn reject(&mut self, at: usize) {
        self.hosts[at].rejected = true;
        self.half_reset(at);
    }

    /// What is sent to this host reaches it again, and what it sends reaches the others.
    pub fn accept(&mut self, at: usize) {
        self.hosts[at].rejected = false;
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            self.heal(at, other);
            self.heal(other, at);
        }
    }

    pub fn has_link(&self, a: usize, b: usize) -> bool {
        self.links_between(a, b).next().is_some()
    }

    fn links_between(&self, a: usize, b: usize) -> impl Iterator<Item = LinkId> + '_ {
        let joins = move |wire: &Wire| wire.end_at(a).is_some() && wire.end_at(b).is_some();
        self.wires.iter().filter(move |(_, wire)| joins(wire)).map(|(link, _)| *link)
    }

    pub(super) fn is_linked(&self, from: usize, to: usize) -> bool {
        self.links_between(from, to).any(|link| {
            let wire = &self.wires[&link];
            wire.end_at(from).is_some_and(|end| wire.ends[end].open)
        })
    }

    pub(super) fn has_unlinked(&self) -> bool {
        let alive = |at: &usize| self.hosts[*at].process.is_some();
        let all = || 0..self.hosts.len();
        all().filter(alive).any(|from| all().any(|to| from != to && !self.is_linked(from, to)))
    }

    /// The next parcel of every direction of every link that is not cut: when it arrives, and where.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (Time, LinkId, usize)> + '_ {
        self.wires.iter().flat_map(move |(link, wire)| {
            (0..2).filter_map(move |to| {
                let (at, _) = wire.ends[to].incoming.front()?;
                (!self.is_cut(wire.ends[1 - to].host, wire.ends[to].host)).then_some((*at, *link, to))
            })
        })
    }

    pub(super) fn arrive(&mut self, link: LinkId, to: usize) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let end = &mut wire.ends[to];
        let host = end.host;
        match end.incoming.pop_front() {
            Some((_, Parcel::Word(message))) => self.give(host, Event::Received { link, message }),
            Some((_, Parcel::Fin)) => {
                self.wires.remove(&link);
                self.give(host, Event::Unlinked { link, at: self.now });
            }
            None => {}
        }
    }

    pub(super) fn send(&mut self, at: usize, link: LinkId, message: Message) {
        self.note_message(at, &message);
        self.post(at, link, Parcel::Word(message));
    }

    fn post(&mut self, at: usize, link: LinkId, parcel: Parcel) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let Some(from) = wire.end_at(at) else { return };
        let to = wire.ends[1 - from].host;
        let latency = self.slow.get(&(at, to)).copied().unwrap_or(LATENCY);
        if !wire.ends[from].open {
            return;
        }
        let incoming = &mut wire.ends[1 - from].incoming;
        let last = incoming.back().map_or(self.now, |(at, _)| *at);
        incoming.push_back(((self.now + latency).max(last), parcel));
    }

    pub(super) fn close(&mut self, at: usize, link: LinkId, reason: CloseReason) {
        if let Some(to) = self.wires.get(&link).and_then(|wire| Some(1 - wire.end_at(at)?)) {
            let peer = self.wires[&link].ends[to].life.clone();
            self.note(at, &format!("closes its link to {}: {}", self.life(&peer), reason.as_str()));
        }
        self.hang_up(at, link);
    }

    /// Closes this end; the other hears of it if packets can reach it.
    fn hang_up(&mut self, at: usize, link: LinkId) {
        self.post(at, link, Parcel::Fin);
        let vanished = self.hosts[at].vanished;
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let Some(end) = wire.end_at(at) else { return };
        wire.ends[end].open = false;
        wire.ends[end].incoming.clear();
        if vanished {
            wire.ends[1 - end].incoming.clear();
        }
        if !wire.ends[1 - end].open {
            self.wires.remove(&link);
        }
    }

    pub(super) fn close_links_of(&mut self, at: usize) {
        let links: Vec<LinkId> = self.wires.keys().copied().collect();
        links.into_iter().for_each(|link| self.hang_up(at, link));
    }

    /// The host answers again: what its former lives left open is reset.
    pub(super) fn reset_former_lives(&mut self, at: usize) {
        let now = self.now;
        for wire in self.wires.values_mut() {
            let Some(end) = wire.end_at(at) else { continue };
            let incoming = &mut wire.ends[1 - end].incoming;
            if !matches!(incoming.back(), Some((_, Parcel::Fin))) {
                incoming.push_back((now + LATENCY, Parcel::Fin));
            }
        }
    }

    pub(super) fn dial_all(&mut self) {
        self.dialled = self.now;
        for from in 0..self.hosts.len() {
            let others = (0..self.hosts.len()).filter(|to| *to != from);
            self.meets.extend(others.map(|to| (from, to)));
        }
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) {
        if from == to || self.is_linked(from, to) || self.pace(from).is_none_or(|pace| pace == Pace::Paused) {
            return;
        }
        let is_cut = self.is_cut(from, to) || self.is_cut(to, from);
        let rejects = self.hosts[to].rejected;
        let is_silent = is_cut || self.hosts[to].vanished || self.pace(to) == Some(Pace::Paused);
        let refuses = rejects || !is_silent && self.hosts[to].process.is_none();
        let Some(process) = &mut self.hosts[from].process else { return };
        if refuses {
            process.refused.insert(to);
        } else {
            process.refused.remove(&to);
        }
        if refuses {
            let address = self.hosts[to].address.clone();
            self.give(from, Event::Refused { address, began: self.now });
        } else if !is_silent {
            self.link(from, to);
        }
    }

    fn pace(&self, at: usize) -> Option<Pace> {
        self.hosts[at].process.as_ref().map(|process| process.pace)
    }

    fn link(&mut self, from: usize, to: usize) {
        let former: Vec<LinkId> = self.links_between(from, to).collect();
        let me =
            |at: usize| self.hosts[at].process.as_ref().map(|process| (process.me.clone(), process.terms));
        let (Some(a), Some(b)) = (me(from), me(to)) else { return };
        self.links += 1;
        let link = LinkId(self.links);
        let end = |host: usize, life: &NodeId| End {
            host,
            life: life.clone(),
            open: true,
            incoming: VecDeque::new(),
        };
        self.wires.insert(link, Wire { ends: [end(from, &a.0.id), end(to, &b.0.id)] });
        for (host, (peer, terms)) in [(from, b), (to, a)] {
            if let Some(process) = &mut self.hosts[host].process {
                process.refused.remove(&if host == from { to } else { from });
            }
            self.give(host, Event::Linked { link, peer, terms });
        }
        // An end that had not heard that the other end was closed hears of it now.
        for link in former {
            self.wires.remove(&link);
            self.give(to, Event::Unlinked { link, at: self.now });
        }
    }

    /// By which links of this host bytes come in: the peer's transport pings as long as its process is not stopped.
    pub(super) fn links_that_pass(&self, at: usize) -> Vec<LinkId> {
        let passes = |wire: &Wire| {
            let Some(end) = wire.end_at(at) else { return false };
            let (here, there) = (&wire.ends[end], &wire.ends[1 - end]);
            let runs = |process: &super::Process| process.me.id == there.life && process.pace != Pace::Paused;
            here.open
                && there.open
                && !self.is_cut(there.host, at)
                && self.hosts[there.host].process.as_ref().is_some_and(runs)
        };
        self.wires.iter().filter(|(_, wire)| passes(wire)).map(|(link, _)| *link).collect()
    }

    /// Whether messages fly while some node takes part in a round, or waits for its first lease.
    pub fn is_mid_round(&self) -> bool {
        let in_round = (0..self.hosts.len()).any(|at| self.status(at) == Status::Rehashing);
        in_round && self.arrivals().next().is_some()
    }
}
