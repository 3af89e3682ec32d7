//! Links, cuts, and which hosts reach each other.

use std::collections::VecDeque;
use std::time::Duration;

use cloister_proto::{CloseReason, Event, LinkId, Message, NodeId, Status, Time};

use super::{Pace, Universe};
use crate::network::End;

/// How long one message takes, unless a script says otherwise.
const LATENCY: Duration = Duration::from_millis(1);

/// How often an unlinked host is dialled.
pub(super) const DIAL_EVERY: Duration = Duration::from_millis(100);

/// What comes to one end of a link, in order, and when. What a cut stops waits at the head.
pub(super) type Incoming = VecDeque<(Time, Parcel)>;

/// What a link carries.
#[derive(Clone, Debug, Hash)]
pub(super) enum Parcel {
    Word(Message),
    Fin,
}

impl Universe {
    /// Nothing gets from one host to the other any more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(from, to);
    }

    /// What was stopped on its way arrives now.
    pub fn heal(&mut self, from: usize, to: usize) {
        self.network.heal(from, to);
    }

    /// Nothing is cut any more.
    pub fn heal_all(&mut self) {
        self.network.heal_all();
    }

    /// Whether anything is cut.
    pub fn has_cuts(&self) -> bool {
        !self.network.cuts().is_empty()
    }

    /// Whether nothing gets from one host to the other.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.network.is_cut(from, to)
    }

    /// From now on messages take this long from one host to the other.
    pub fn slow(&mut self, from: usize, to: usize, latency: Duration) {
        self.slow.insert((from, to), latency);
    }

    /// Both ends of every link between the two hosts see it closed.
    pub fn reset(&mut self, a: usize, b: usize) {
        for (link, _) in self.network.of_pair(a, b) {
            let Some(connection) = self.network.remove(link) else { continue };
            for end in connection.ends.into_iter().filter(|end| end.open) {
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
            for (link, _) in self.network.of_pair(other, at) {
                let was_open = self.network.open_end(other, link).is_some();
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

    /// Where a cut keeps others from this host, they are refused from now on: they dial an address that it has left, and take the
    /// refusal for its own.
    pub fn misplace(&mut self, at: usize) {
        self.hosts[at].misplaced = true;
    }

    /// What is sent to this host reaches it again, and what it sends reaches the others.
    pub fn accept(&mut self, at: usize) {
        self.hosts[at].rejected = false;
        for other in (0..self.hosts.len()).filter(|other| *other != at) {
            self.heal(at, other);
            self.heal(other, at);
        }
    }

    /// Whether there is a link between the two hosts that is open at an end.
    pub fn has_link(&self, a: usize, b: usize) -> bool {
        !self.network.of_pair(a, b).is_empty()
    }

    pub(super) fn has_unlinked(&self) -> bool {
        let alive = |at: &usize| self.hosts[*at].process.is_some();
        let all = || 0..self.hosts.len();
        all().filter(alive).any(|from| all().any(|to| from != to && !self.network.is_linked(from, to)))
    }

    /// The next parcel of every direction of every link that is not cut: when it arrives, and where.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (Time, LinkId, usize)> + '_ {
        self.network.iter().flat_map(move |(link, connection)| {
            let ends = &connection.ends;
            (0..2).filter_map(move |to| {
                let (at, _) = ends[to].incoming.front()?;
                (!self.is_cut(ends[1 - to].host, ends[to].host)).then_some((*at, link, to))
            })
        })
    }

    pub(super) fn arrive(&mut self, link: LinkId, to: usize) {
        let Some(connection) = self.network.get_mut(link) else { return };
        let end = &mut connection.ends[to];
        let host = end.host;
        match end.incoming.pop_front() {
            Some((_, Parcel::Word(message))) => self.give(host, Event::Received { link, message }),
            Some((_, Parcel::Fin)) => {
                self.network.remove(link);
                self.give(host, Event::Unlinked { link, at: self.now });
            }
            None => {}
        }
    }

    pub(super) fn send(&mut self, at: usize, link: LinkId, message: Message) {
        self.note_message(at, &message);
        self.keep_heartbeat(at, &message);
        self.post(at, link, Parcel::Word(message));
    }

    /// Sends a parcel from this host, unless its end is closed.
    fn post(&mut self, at: usize, link: LinkId, parcel: Parcel) {
        let Some(from) = self.network.open_end(at, link) else { return };
        let Some(connection) = self.network.get_mut(link) else { return };
        let there = &mut connection.ends[1 - from];
        let latency = self.slow.get(&(at, there.host)).copied().unwrap_or(LATENCY);
        let last = there.incoming.back().map_or(self.now, |(at, _)| *at);
        there.incoming.push_back(((self.now + latency).max(last), parcel));
    }

    pub(super) fn close(&mut self, at: usize, link: LinkId, reason: CloseReason) {
        if let (Some(end), Some(connection)) = (self.network.end(at, link), self.network.get(link)) {
            let peer = self.incarnation(&connection.ends[1 - end].incarnation);
            self.note(at, &format!("closes its link to {peer}: {}", reason.as_str()));
        }
        self.hang_up(at, link);
    }

    /// Closes the end on this host; the other hears of it if packets can reach it.
    fn hang_up(&mut self, at: usize, link: LinkId) {
        self.post(at, link, Parcel::Fin);
        let Some(end) = self.network.end(at, link) else { return };
        let Some(connection) = self.network.get_mut(link) else { return };
        connection.ends[end].incoming.clear();
        if self.hosts[at].vanished {
            connection.ends[1 - end].incoming.clear();
        }
        self.network.close(link, end);
    }

    pub(super) fn close_links_of(&mut self, at: usize) {
        self.network.of_host(at).into_iter().for_each(|(link, _)| self.hang_up(at, link));
    }

    /// The host answers again: what its former incarnations left open is reset.
    pub(super) fn reset_former_incarnations(&mut self, at: usize) {
        for (link, end) in self.network.of_host(at) {
            let Some(connection) = self.network.get_mut(link) else { continue };
            let incoming = &mut connection.ends[1 - end].incoming;
            if !matches!(incoming.back(), Some((_, Parcel::Fin))) {
                incoming.push_back((self.now + LATENCY, Parcel::Fin));
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
        if from == to
            || self.network.is_linked(from, to)
            || self.pace(from).is_none_or(|pace| pace == Pace::Paused)
        {
            return;
        }
        let is_cut = self.is_cut(from, to) || self.is_cut(to, from);
        let rejects = self.hosts[to].rejected || is_cut && self.hosts[to].misplaced;
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
        let former = self.network.of_pair(from, to);
        let me =
            |at: usize| self.hosts[at].process.as_ref().map(|process| (process.me.clone(), process.terms));
        let (Some(a), Some(b)) = (me(from), me(to)) else { return };
        let end = |host: usize, incarnation: &NodeId| End::new(host, incarnation.clone(), Incoming::new());
        let link = self.network.open([end(from, &a.0.id), end(to, &b.0.id)]);
        for (host, (peer, terms)) in [(from, b), (to, a)] {
            if let Some(process) = &mut self.hosts[host].process {
                process.refused.remove(&if host == from { to } else { from });
            }
            self.give(host, Event::Linked { link, peer, terms });
        }
        // An end that had not heard that the other end was closed hears of it now.
        for (link, _) in former {
            self.network.remove(link);
            self.give(to, Event::Unlinked { link, at: self.now });
        }
    }

    /// By which links of this host bytes come in: the peer's transport pings as long as its process is not stopped.
    pub(super) fn links_that_pass(&self, at: usize) -> Vec<LinkId> {
        let passes = |&(link, end): &(LinkId, usize)| {
            let Some(connection) = self.network.get(link) else { return false };
            let (here, there) = (&connection.ends[end], &connection.ends[1 - end]);
            let runs =
                |process: &super::Process| process.me.id == there.incarnation && process.pace != Pace::Paused;
            here.open
                && there.open
                && !self.is_cut(there.host, at)
                && self.hosts[there.host].process.as_ref().is_some_and(runs)
        };
        self.network.of_host(at).into_iter().filter(passes).map(|(link, _)| link).collect()
    }

    /// Whether messages fly while some node takes part in a round, or waits for its first lease.
    pub fn is_mid_round(&self) -> bool {
        let in_round = (0..self.hosts.len()).any(|at| self.status(at) == Status::Rehashing);
        in_round && self.arrivals().next().is_some()
    }
}
