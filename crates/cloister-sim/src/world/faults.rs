//! What happens to hosts, processes and connections.

use std::cmp::Reverse;
use std::time::Duration;

use cloister_proto::{Event, LinkId};

use super::{QueuedEvent, SimEvent, World};
use crate::application::Application;
use crate::laws::Violation;
use crate::scenario::{Fault, MS};

impl<A: Application> World<A> {
    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        self.note(|| format!("{fault:?}"));
        match fault {
            Fault::Cut(from, to) => self.network.cut(from, to),
            Fault::Heal(from, to) => self.heal(from, to),
            Fault::HealAll => self.heal_all(),
            Fault::Reset(a, b) => self.reset(a, b),
            Fault::Kill(host) => self.kill(host),
            Fault::Vanish(host) => {
                self.hosts[host].vanished = true;
                self.kill(host);
            }
            Fault::Start(host) => return self.start(host),
            Fault::Pause(host, span) => self.stand(host, span, true),
            Fault::Freeze(host, span) => self.freeze(host, span),
            Fault::Hang(host, span) => self.stand(host, span, false),
            Fault::Slow(host, each) => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.slow = each;
                }
            }
            Fault::HalfReset(host) => return self.half_reset(host),
            Fault::Reject(host) => {
                self.hosts[host].rejected = true;
                return self.half_reset(host);
            }
            Fault::Accept(host) => self.accept(host),
            Fault::Leave(host) if self.scenario.has_announced_rounds() => {
                return self.give(host, Event::Drain);
            }
            Fault::Leave(host) => return self.give(host, Event::Leave),
            Fault::SetClock(host) => self.hosts[host].skew_ms = 0,
            Fault::Hold(host, span) => {
                self.hosts[host].hold = span;
                if let Some(process) = &mut self.hosts[host].process {
                    process.hold = span;
                }
            }
        }
        Ok(())
    }

    pub(super) fn stand(&mut self, host: usize, span: u64, whole: bool) {
        let until = self.now + span;
        let Some(process) = &mut self.hosts[host].process else { return };
        if whole {
            process.paused_until = process.paused_until.max(until);
        } else {
            process.hung_until = process.hung_until.max(until);
        }
        let incarnation = process.id.clone();
        self.at(until, SimEvent::Resume { host, incarnation });
    }

    fn freeze(&mut self, host: usize, span: u64) {
        let until = self.now + span;
        if self.hosts[host].freeze(self.now, until) {
            if let Some(process) = &mut self.hosts[host].process {
                // It does nothing before it is woken.
                process.paused_until = process.paused_until.max(until + 1);
            }
            self.at(until, SimEvent::Thaw { host });
        }
    }

    /// The clocks of a host go on. The machine tells its process at once, before that does anything else.
    pub(super) fn thaw(&mut self, host: usize) -> Result<(), Violation> {
        let Some(by) = self.hosts[host].thaw(self.now) else { return Ok(()) };
        let clock = self.hosts[host].clock(self.now);
        self.note(|| format!("host {host} goes on, {} ms late", by / MS));
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.paused_until = process.paused_until.min(self.now);
        process.node.handle(clock, Event::ClockJumped { by: Duration::from_nanos(by) });
        self.perform(host)?;
        self.work(host)
    }

    pub(super) fn start(&mut self, host: usize) -> Result<(), Violation> {
        if self.hosts[host].process.is_some() {
            return Ok(());
        }
        let hears_all = self.network.cuts().is_empty();
        if !hears_all && !self.hosts[host].was_member && !self.scenario.starts_anywhere {
            return Ok(());
        }
        self.hosts[host].start(self.now, &self.scenario, &mut self.rng);
        self.warm_up(host);
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let incarnation = process.id.clone();
        self.note(|| format!("host {host} runs {incarnation}, born {}", incarnation.started_at()));
        let answered = self.now + self.rng.between(0, 30 * MS);
        self.at(answered, SimEvent::Discovered { host, incarnation: incarnation.clone() });
        for to in 0..self.hosts.len() {
            if to != host {
                self.at(
                    answered,
                    SimEvent::Dial { host, incarnation: incarnation.clone(), to, turn: 0, probe: false },
                );
            }
        }
        self.collect_fins(host);
        self.perform(host)
    }

    /// Starts the application of a new process, and tells its core whether its listeners warm up.
    fn warm_up(&mut self, host: usize) {
        let starts = if A::IS_ABSENT { None } else { Some(self.start_application(host)) };
        let clock = self.hosts[host].clock(self.now);
        let Some(process) = &mut self.hosts[host].process else { return };
        let by_scenario =
            self.scenario.has_announced_rounds() && process.id.incarnation().0.is_multiple_of(3);
        if starts.unwrap_or(by_scenario) {
            process.node.handle(clock, Event::WarmsUp(true));
        }
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.end_application(host);
        if self.hosts[host].process.take().is_some() {
            self.note_claim(host);
            for (link, end) in self.network.of_host(host) {
                self.sever(link, end);
            }
        }
    }

    /// Closes one end of a connection; the other hears of it if packets can reach it.
    pub(super) fn sever(&mut self, link: LinkId, end: usize) {
        let Some(connection) = self.network.get_mut(link) else { return };
        connection.ends[end].incoming.packets.clear();
        connection.ends[end].incoming.stalled.clear();
        connection.ends[1 - end].incoming.fin_owed = true;
        self.network.close(link, end);
        self.send_fin(link, 1 - end, 0);
    }

    pub(super) fn send_fin(&mut self, link: LinkId, to: usize, delay: u64) {
        let Some(connection) = self.network.get(link) else { return };
        let (from_host, to_host) = (connection.ends[1 - to].host, connection.ends[to].host);
        let incoming = &connection.ends[to].incoming;
        let arrives = incoming.arrives;
        if !incoming.fin_owed || self.hosts[from_host].vanished || self.network.is_cut(from_host, to_host) {
            return;
        }
        let at = (self.now + delay + self.latency()).max(arrives);
        self.at(at, SimEvent::Fin { link, to });
    }

    pub(super) fn fin(&mut self, link: LinkId, to: usize) -> Result<(), Violation> {
        let Some(connection) = self.network.get(link) else { return Ok(()) };
        let (from, end) = (connection.ends[1 - to].host, &connection.ends[to]);
        let host = end.host;
        if !end.open || !end.incoming.fin_owed || self.network.is_cut(from, host) {
            return Ok(());
        }
        self.network.close(link, to);
        self.unlink(host, link)?;
        self.survey(host)
    }

    /// The end of a link on this host is closed: its process hears of it.
    pub(super) fn unlink(&mut self, host: usize, link: LinkId) -> Result<(), Violation> {
        self.unlink_application(host, link);
        self.run_application(host)?;
        self.give(host, Event::Unlinked { link, at: self.hosts[host].clock(self.now) })
    }

    /// A host answers again: connections that its last process left behind are reset when they are used.
    pub(super) fn collect_fins(&mut self, host: usize) {
        for (link, end) in self.network.of_host(host) {
            let delay = self.rng.between(0, 500 * MS);
            self.send_fin(link, 1 - end, delay);
        }
    }

    pub(super) fn reset(&mut self, a: usize, b: usize) {
        for (link, _) in self.network.of_pair(a, b) {
            let Some(connection) = self.network.get_mut(link) else { continue };
            if connection.ends.iter().all(|end| end.open) {
                connection.ends.iter_mut().for_each(|end| end.incoming.fin_owed = true);
                for to in 0..2 {
                    let at = self.now + self.latency();
                    self.at(at, SimEvent::Fin { link, to });
                }
            }
        }
    }

    pub(super) fn half_reset(&mut self, host: usize) -> Result<(), Violation> {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.network.cut(host, other);
            self.network.cut(other, host);
        }
        for (link, end) in self.network.of_host(host) {
            let Some(connection) = self.network.get_mut(link) else { continue };
            let there = &mut connection.ends[1 - end];
            if std::mem::replace(&mut there.open, false) {
                let other = there.host;
                connection.ends[end].incoming.fin_owed = true;
                self.unlink(other, link)?;
            }
        }
        Ok(())
    }

    /// Nothing refuses in the place of this host any more, and nothing is cut off from it.
    pub(super) fn accept(&mut self, host: usize) {
        self.hosts[host].rejected = false;
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.heal(host, other);
            self.heal(other, host);
        }
    }

    pub(super) fn heal(&mut self, from: usize, to: usize) {
        if !self.network.heal(from, to) {
            return;
        }
        for (link, end) in self.network.of_pair(to, from) {
            let Some(connection) = self.network.get_mut(link) else { continue };
            let incoming = &mut connection.ends[end].incoming;
            // What was lost is sent again when the sender's timer fires, which waits the longer the longer it was cut.
            let stalled_for = self.now.saturating_sub(incoming.stalled_since).min(3_000 * MS);
            let wait = self.rng.between(0, stalled_for.max(1));
            let again = std::mem::take(&mut incoming.stalled);
            // It was sent before what flies now, and arrives before it.
            let at = self.now + wait + self.scenario.latency.1;
            for packet in again.into_iter().rev() {
                incoming.packets.push_front(packet);
                incoming.arrives = incoming.arrives.max(at);
                self.order += 1;
                let entry = QueuedEvent { at, order: self.order, what: SimEvent::Deliver { link, to: end } };
                self.queue.push(Reverse(entry));
            }
            self.send_fin(link, end, wait);
        }
    }

    pub(super) fn heal_all(&mut self) {
        for (from, to) in self.network.cuts().clone() {
            self.heal(from, to);
        }
    }
}
