//! How a process lives: its mailbox, its timer, and what its core asks for.

use cloister_proto::{Action, Event, Held, Memory, Status};

use super::{Notification, SimEvent, World};
use crate::application::{Application, Input};
use crate::laws::Violation;
use crate::network::Packet;
use crate::scenario::{MS, Names};

impl<A: Application> World<A> {
    /// Puts an event into a process's mailbox, and lets it work if it can.
    pub(super) fn give(&mut self, host: usize, event: Event) -> Result<(), Violation> {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.inbox.push_back(event);
        self.work(host)
    }

    pub(super) fn work(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.now;
        loop {
            let clock = self.hosts[host].clock(now);
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            // Its own clock tells it what has passed meanwhile; so it may act before it handles anything.
            if process.claims(now, clock) {
                self.check_claims(host)?;
            }
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            if process.is_idle(now) {
                return Ok(());
            }
            if now < process.busy_until {
                let (at, incarnation) = (process.busy_until, process.id.clone());
                self.at(at, SimEvent::Work { host, incarnation });
                return Ok(());
            }
            if process.wake_at <= now && process.inbox.is_empty() {
                return self.tick(host);
            }
            let Some(event) = process.inbox.pop_front() else { return Ok(()) };
            process.busy_until = now + process.slow;
            process.node.handle(clock, event);
            self.outcome.events += 1;
            self.perform(host)?;
        }
    }

    pub(super) fn tick(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.now;
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        if process.is_idle(now) {
            return Ok(());
        }
        let mut received = Vec::new();
        for (link, end) in self.network.of_host(host) {
            let Some(connection) = self.network.get(link) else { continue };
            let (end, other) = (&connection.ends[end], &connection.ends[1 - end]);
            if !end.open {
                continue;
            }
            // The peer's transport pings about every second, as long as its process is not stopped.
            let peer_runs = other.open
                && self.hosts[other.host]
                    .process
                    .as_ref()
                    .is_some_and(|p| p.id == other.incarnation && !p.is_paused(now));
            let incoming = &end.incoming;
            let passes = !self.network.is_cut(other.host, host)
                && incoming.stalled.is_empty()
                && now >= incoming.held_until;
            let ping = if peer_runs && passes { now - now % (1_000 * MS) } else { 0 };
            received.push((link, self.hosts[host].clock(incoming.last_byte.max(ping))));
        }
        let clock = self.hosts[host].clock(now);
        let unix_ms = self.hosts[host].wall_clock_ms(now, &self.scenario);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.wake_at = u64::MAX;
        for (link, at) in received {
            process.node.handle(clock, Event::BytesReceived { link, at });
        }
        process.node.handle(clock, Event::WallClock { unix_ms });
        process.node.handle(clock, Event::Tick);
        self.outcome.events += 1;
        self.perform(host)?;
        // The name of a service is looked up time and again.
        if self.scenario.names == Names::Running { self.survey(host) } else { Ok(()) }
    }

    /// Does what the core of a process asks for.
    pub(super) fn perform(&mut self, host: usize) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(action) = process.node.next_action() else { break };
            let id = process.id.clone();
            match action {
                Action::Send { link, message } => self.send(host, link, Packet::Core(message)),
                Action::Close { link, reason } => {
                    self.note(|| format!("{id} closes a link: {}", reason.as_str()));
                    self.check_close(host, link, reason)?;
                    if let Some(end) = self.network.open_end(host, link) {
                        self.unlink_application(host, link);
                        self.sever(link, end);
                    }
                }
                Action::Connect { peer } => self.meet(host, &peer),
                Action::Notify(change) => {
                    self.hosts[host].was_member |= change.to == Status::Up;
                    self.note(|| {
                        let view = change.state.view.as_ref().map(|view| view.epoch().as_u64());
                        format!("{id} {}→{} view {view:?} {:?}", change.from, change.to, change.changes)
                    });
                    if self.scenario.weighed {
                        let (status, members) = (change.to, change.state.members.len());
                        let epoch = change.state.epoch();
                        self.outcome.notifications.push(Notification {
                            at: self.now,
                            host,
                            status,
                            epoch,
                            members,
                        });
                    }
                    let clocks_agree = self.scenario.skew_ms == 0;
                    let hosts = &self.hosts;
                    let runs = |id: &cloister_proto::NodeId| {
                        hosts
                            .iter()
                            .any(|host| host.process.as_ref().is_some_and(|process| process.id == *id))
                    };
                    self.laws.on_change(&id, &change, clocks_agree, runs)?;
                    match change.hold {
                        Some(held) if A::IS_ABSENT => self.hold(host, held),
                        Some(held) => self.offer_hold(host, held),
                        None => {}
                    }
                    let process = self.hosts[host].process.as_ref();
                    let proposed = change.state.proposed.as_ref().zip(process);
                    let predecessor = proposed.and_then(|(view, process)| process.node.predecessor(view));
                    self.queue_input(host, Input::Changed { change, predecessor });
                }
                Action::LeavePrepared => {
                    if let Some(process) = &mut self.hosts[host].process {
                        process.inbox.push_front(Event::Leave);
                    }
                }
                Action::Persist { seq, memory } => self.write(host, seq, memory),
                Action::Fail(fatal) => return Err(Violation(format!("{id} ended: {fatal}"))),
                Action::Stopped => {
                    self.note(|| format!("{id} stopped"));
                    self.run_application(host)?;
                    self.kill(host);
                    return Ok(());
                }
            }
        }
        self.arm(host);
        self.note_claim(host);
        self.check_claims(host)?;
        self.run_application(host)
    }

    pub(super) fn hold(&mut self, host: usize, held: Held) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.hold == 0 {
            process.inbox.push_front(Event::HoldReleased { held });
            let (at, incarnation) = (self.now, process.id.clone());
            self.at(at, SimEvent::Work { host, incarnation });
        } else {
            let max = process.hold;
            let incarnation = process.id.clone();
            let at = self.now + self.rng.between(max / 2, max);
            self.at(at, SimEvent::HoldReleased { host, incarnation, held });
        }
    }

    /// Writes what a process asks for, after what it asked for before.
    fn write(&mut self, host: usize, seq: u64, memory: Memory) {
        let takes = if self.rng.percent(10) { self.rng.between(20, 600) } else { self.rng.between(0, 20) };
        let Some(process) = &mut self.hosts[host].process else { return };
        let at = process.written_at.max(self.now + takes * MS) + 1;
        process.written_at = at;
        let incarnation = process.id.clone();
        self.at(at, SimEvent::Written { host, incarnation, seq, memory });
    }

    pub(super) fn arm(&mut self, host: usize) {
        let now = self.now;
        let Some(due) = self.hosts[host].process.as_ref().and_then(|process| process.node.next_timeout())
        else {
            return;
        };
        let at = self.hosts[host].true_time(due).max(now + 1);
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.wake_at == at {
            return;
        }
        process.wake += 1;
        process.wake_at = at;
        let (incarnation, wake) = (process.id.clone(), process.wake);
        self.at(at, SimEvent::Wake { host, incarnation, wake });
    }

    /// Notes the epoch under which this process may act as long as its lease lasts.
    pub(super) fn note_claim(&mut self, host: usize) {
        let process =
            self.hosts[host].process.as_ref().filter(|process| process.node.lease_until().is_some());
        let epoch = process.and_then(|process| process.node.state().epoch());
        let before = std::mem::replace(&mut self.hosts[host].claim, epoch);
        if before == epoch {
            return;
        }
        if let Some(epoch) = epoch {
            *self.claims.entry(epoch).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(count) = self.claims.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.claims.remove(&before);
            }
        }
    }

    /// Whether this process and any other claim what only one may. Under one epoch, none does.
    pub(super) fn check_claims(&mut self, host: usize) -> Result<(), Violation> {
        if self.claims.len() <= 1 {
            return Ok(());
        }
        let now = self.now;
        let claims = |at: usize| {
            let process = self.hosts[at].process.as_ref()?;
            process.claims(now, self.hosts[at].clock(now)).then_some((&process.id, &process.node))
        };
        let Some(me) = claims(host) else { return Ok(()) };
        for other in (0..self.hosts.len()).filter(|at| *at != host) {
            if let Some(other) = claims(other) {
                self.laws.both_claim(me, other)?;
            }
        }
        Ok(())
    }
}
