//! The world around the nodes: true time, hosts, the network, and what happens next.

mod dialling;
mod strikes;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cloister_proto::{Action, CloseReason, Epoch, Event, LinkId, Message, NodeId, Status, Time};

use crate::host::{Host, Process};
use crate::laws::{Laws, Violation};
use crate::network::{ConnId, Network};
use crate::rng::Rng;
use crate::scenario::{Expectation, Fault, MS, Scenario};

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The law that was broken, if one was.
    pub violation: Option<Violation>,
    /// How long the cluster took to agree on one view of all once everything was healed, in nanoseconds.
    pub healed_after: Option<u64>,
    /// When the first view of all nodes was held by all, in nanoseconds since the start.
    pub assembled_at: Option<u64>,
    /// How many views were told.
    pub views: usize,
    /// How many messages were sent.
    pub messages: u64,
    /// How many events were handled.
    pub events: u64,
    /// What happened, one line each, if it was asked for.
    pub script: Vec<String>,
}

/// Something that happens at a time.
#[derive(Debug)]
enum Happening {
    Fault(Fault),
    Deliver { conn: ConnId, to: usize },
    Fin { conn: ConnId, to: usize },
    Wake { host: usize, life: NodeId, wake: u64 },
    Resume { host: usize, life: NodeId },
    Work { host: usize, life: NodeId },
    Unheld { host: usize, life: NodeId, epoch: Epoch },
    Discovered { host: usize, life: NodeId },
    Dial { host: usize, life: NodeId, to: usize, turn: u64, probe: bool },
    Dialled { host: usize, life: NodeId, to: usize, turn: u64, began: Time, answer: Answer, probe: bool },
    Handshake { from: usize, from_life: NodeId, to: usize, to_life: NodeId, until: u64 },
    Expected(Expectation),
    Quiet,
    Look,
}

/// What a connection attempt met.
#[derive(Clone, Debug)]
enum Answer {
    Refused,
    Silent,
    Accepted(NodeId),
}

struct Entry {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A whole cluster in one thread.
pub struct World {
    scenario: Scenario,
    rng: Rng,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    hosts: Vec<Host>,
    network: Network,
    laws: Laws,
    quiet: bool,
    agreed: Option<(u64, Epoch)>,
    done: bool,
    traced: bool,
    outcome: Outcome,
}

/// How long a view of all must last before a run counts as healed.
const MUST_LAST: u64 = 2_000 * MS;

/// How often a run is looked at once everything is healed.
const LOOK_EVERY: u64 = 10 * MS;

impl World {
    /// Runs a scenario to its end, and tells how it went; with a script of what happened if it is `traced`.
    pub fn run(scenario: Scenario, traced: bool) -> Outcome {
        let mut rng = Rng::new(scenario.seed);
        let hosts = (0..scenario.hosts).map(|at| Host::new(at, &scenario, &mut rng)).collect();
        let mut world = World {
            rng,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            hosts,
            network: Network::default(),
            laws: Laws::default(),
            quiet: false,
            agreed: None,
            done: false,
            traced,
            outcome: Outcome {
                violation: None,
                healed_after: None,
                assembled_at: None,
                views: 0,
                messages: 0,
                events: 0,
                script: Vec::new(),
            },
            scenario,
        };
        for (at, fault) in world.scenario.faults.clone() {
            world.at(at, Happening::Fault(fault));
        }
        for expectation in world.scenario.expected.clone() {
            world.at(expectation.at, Happening::Expected(expectation));
        }
        world.at(world.scenario.quiet_at, Happening::Quiet);
        if let Err(violation) = world.play() {
            world.note(|| format!("VIOLATION {}", violation.0));
            world.outcome.violation = Some(violation);
        }
        world.outcome.views = world.laws.views();
        world.outcome
    }

    fn play(&mut self) -> Result<(), Violation> {
        let end = self.scenario.quiet_at + self.scenario.heal_within;
        while let Some(Reverse(entry)) = self.queue.pop() {
            self.now = entry.at;
            if self.now > end {
                return Err(Violation(format!(
                    "not one view of all {} ms after all was healed: {}",
                    self.scenario.heal_within / MS,
                    self.standing()
                )));
            }
            self.happen(entry.what)?;
            if self.done {
                return Ok(());
            }
        }
        Ok(())
    }

    fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), order: self.order, what }));
    }

    fn happen(&mut self, what: Happening) -> Result<(), Violation> {
        match what {
            Happening::Fault(fault) if !self.quiet => self.fault(fault),
            Happening::Fault(_) => Ok(()),
            Happening::Deliver { conn, to } => self.deliver(conn, to),
            Happening::Fin { conn, to } => self.fin(conn, to),
            Happening::Wake { host, life, wake } => {
                match self.hosts[host].process.as_ref() {
                    Some(p) if p.id == life && p.wake == wake => {}
                    _ => return Ok(()),
                }
                self.tick(host)
            }
            Happening::Resume { host, life } | Happening::Work { host, life } => {
                if self.is_life(host, &life) { self.work(host) } else { Ok(()) }
            }
            Happening::Unheld { host, life, epoch } => {
                if self.is_life(host, &life) {
                    self.give(host, Event::Unheld { epoch })
                } else {
                    Ok(())
                }
            }
            Happening::Discovered { host, life } => {
                if !self.is_life(host, &life) {
                    return Ok(());
                }
                if let Some(process) = &mut self.hosts[host].process {
                    process.complete = true;
                }
                self.survey(host)
            }
            Happening::Dial { host, life, to, turn, probe } => {
                if self.is_life(host, &life) {
                    self.dial(host, to, turn, probe)
                } else {
                    Ok(())
                }
            }
            Happening::Dialled { host, life, to, turn, began, answer, probe } => {
                if !self.is_life(host, &life) {
                    return Ok(());
                }
                self.dialled(host, to, turn, began, answer, probe)
            }
            Happening::Handshake { from, from_life, to, to_life, until } => {
                self.handshake((from, from_life), (to, to_life), until)
            }
            Happening::Expected(expectation) => self.expect(&expectation),
            Happening::Quiet => self.calm_down(),
            Happening::Look => self.look(),
        }
    }

    fn is_life(&self, host: usize, life: &NodeId) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| process.id == *life)
    }

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
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
            Fault::Hang(host, span) => self.stand(host, span, false),
            Fault::Slow(host, each) => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.slow = each;
                }
            }
            Fault::HalfReset(host) => return self.half_reset(host),
            Fault::Leave(host) => return self.give(host, Event::Leave),
            Fault::Hold(host, span) => {
                self.hosts[host].hold = span;
                if let Some(process) = &mut self.hosts[host].process {
                    process.hold = span;
                }
            }
        }
        Ok(())
    }

    fn stand(&mut self, host: usize, span: u64, whole: bool) {
        let until = self.now + span;
        let Some(process) = &mut self.hosts[host].process else { return };
        if whole {
            process.stands_until = process.stands_until.max(until);
        } else {
            process.hangs_until = process.hangs_until.max(until);
        }
        let life = process.id.clone();
        self.at(until, Happening::Resume { host, life });
    }

    fn start(&mut self, host: usize) -> Result<(), Violation> {
        if self.hosts[host].process.is_some() {
            return Ok(());
        }
        self.hosts[host].start(self.now, &self.scenario, &mut self.rng);
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let life = process.id.clone();
        self.note(|| format!("host {host} runs {life}, born {}", life.started_at()));
        let answered = self.now + self.rng.between(0, 30 * MS);
        self.at(answered, Happening::Discovered { host, life: life.clone() });
        for to in 0..self.hosts.len() {
            if to != host {
                self.at(answered, Happening::Dial { host, life: life.clone(), to, turn: 0, probe: false });
            }
        }
        self.collect_fins(host);
        self.perform(host)
    }

    fn kill(&mut self, host: usize) {
        if self.hosts[host].process.take().is_some() {
            for (conn, end) in self.network.of_host(host) {
                self.sever(conn, end);
            }
        }
    }

    /// Closes one end of a connection; the other hears of it if packets can reach it.
    fn sever(&mut self, conn: ConnId, end: usize) {
        let Some(c) = self.network.conns.get_mut(&conn) else { return };
        c.ends[end].open = false;
        c.ends[end].incoming.clear();
        c.ends[end].stalled.clear();
        if c.ends[1 - end].open {
            c.ends[1 - end].fin_owed = true;
            self.send_fin(conn, 1 - end, 0);
        } else {
            self.network.conns.remove(&conn);
        }
    }

    fn send_fin(&mut self, conn: ConnId, to: usize, delay: u64) {
        let Some(c) = self.network.conns.get(&conn) else { return };
        let (from_host, to_host) = (c.ends[1 - to].host, c.ends[to].host);
        let arrives = c.ends[to].arrives;
        if !c.ends[to].fin_owed || self.hosts[from_host].vanished || self.network.is_cut(from_host, to_host) {
            return;
        }
        let at = (self.now + delay + self.latency()).max(arrives);
        self.at(at, Happening::Fin { conn, to });
    }

    fn fin(&mut self, conn: ConnId, to: usize) -> Result<(), Violation> {
        let Some(c) = self.network.conns.get(&conn) else { return Ok(()) };
        let end = &c.ends[to];
        if !end.open || !end.fin_owed || self.network.is_cut(c.ends[1 - to].host, end.host) {
            return Ok(());
        }
        let (host, link, life) = (end.host, end.link, end.life.clone());
        if let Some(c) = self.network.conns.get_mut(&conn) {
            c.ends[to].open = false;
            if !c.ends[1 - to].open {
                self.network.conns.remove(&conn);
            }
        }
        if self.is_life(host, &life) {
            if let Some(process) = &mut self.hosts[host].process {
                process.drop_link(link);
            }
            self.give(host, Event::Unlinked { link, at: self.hosts[host].clock(self.now) })?;
            self.survey(host)?;
        }
        Ok(())
    }

    /// A host answers again: connections that its last process left behind are reset when they are used.
    fn collect_fins(&mut self, host: usize) {
        for (conn, end) in self.network.of_host(host) {
            let delay = self.rng.between(0, 500 * MS);
            self.send_fin(conn, 1 - end, delay);
        }
    }

    fn reset(&mut self, a: usize, b: usize) {
        for (conn, end) in self.network.of_host(a) {
            let Some(c) = self.network.conns.get_mut(&conn) else { continue };
            if c.ends[1 - end].host == b && c.ends.iter().all(|end| end.open) {
                c.ends[0].fin_owed = true;
                c.ends[1].fin_owed = true;
                for to in 0..2 {
                    let at = self.now + self.latency();
                    self.at(at, Happening::Fin { conn, to });
                }
            }
        }
    }

    fn half_reset(&mut self, host: usize) -> Result<(), Violation> {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.network.cut(host, other);
            self.network.cut(other, host);
        }
        for (conn, end) in self.network.of_host(host) {
            let Some(c) = self.network.conns.get_mut(&conn) else { continue };
            let there = &mut c.ends[1 - end];
            if !std::mem::replace(&mut there.open, false) {
                continue;
            }
            let (other, link, life) = (there.host, there.link, there.life.clone());
            c.ends[end].fin_owed = true;
            if self.is_life(other, &life) {
                if let Some(process) = &mut self.hosts[other].process {
                    process.drop_link(link);
                }
                self.give(other, Event::Unlinked { link, at: self.hosts[other].clock(self.now) })?;
            }
        }
        Ok(())
    }

    fn heal(&mut self, from: usize, to: usize) {
        if !self.network.heal(from, to) {
            return;
        }
        for (conn, end) in self.network.of_host(to) {
            let Some(c) = self.network.conns.get_mut(&conn) else { continue };
            if c.ends[1 - end].host != from {
                continue;
            }
            // What was lost is sent again when the sender's timer fires, which waits the longer the longer it was cut.
            let stalled_for = self.now.saturating_sub(c.ends[end].stalled_since).min(3_000 * MS);
            let wait = self.rng.between(0, stalled_for.max(1));
            let again = std::mem::take(&mut c.ends[end].stalled);
            // It was sent before what flies now, and arrives before it.
            let at = self.now + wait + self.scenario.latency.1;
            for message in again.into_iter().rev() {
                c.ends[end].incoming.push_front(message);
                c.ends[end].arrives = c.ends[end].arrives.max(at);
                self.order += 1;
                let entry = Entry { at, order: self.order, what: Happening::Deliver { conn, to: end } };
                self.queue.push(Reverse(entry));
            }
            self.send_fin(conn, end, wait);
        }
    }

    fn heal_all(&mut self) {
        for (from, to) in self.network.cuts() {
            self.heal(from, to);
        }
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = self.scenario.latency;
        self.rng.between(least, most)
    }

    fn fly(&mut self, conn: ConnId, to: usize, message: Message) {
        let latency = self.latency();
        let Some(c) = self.network.conns.get_mut(&conn) else { return };
        let end = &mut c.ends[to];
        let at = (self.now + latency).max(end.arrives + 1).max(end.held_until);
        end.arrives = at;
        end.incoming.push_back(message);
        self.at(at, Happening::Deliver { conn, to });
    }

    fn deliver(&mut self, conn: ConnId, to: usize) -> Result<(), Violation> {
        let Some(c) = self.network.conns.get_mut(&conn) else { return Ok(()) };
        let from_host = c.ends[1 - to].host;
        let end = &mut c.ends[to];
        let Some(message) = end.incoming.pop_front() else { return Ok(()) };
        if !end.open {
            return Ok(());
        }
        let host = end.host;
        if self.network.is_cut(from_host, host) {
            if let Some(c) = self.network.conns.get_mut(&conn) {
                let end = &mut c.ends[to];
                if end.stalled.is_empty() {
                    end.stalled_since = self.now;
                }
                end.stalled.push_back(message);
            }
            return Ok(());
        }
        let now = self.now;
        let Some(c) = self.network.conns.get_mut(&conn) else { return Ok(()) };
        let end = &mut c.ends[to];
        end.last_byte = now;
        let (link, life) = (end.link, end.life.clone());
        if !self.is_life(host, &life) {
            return Ok(());
        }
        self.give(host, Event::Received { link, message })
    }

    /// Puts an event into a process's mailbox, and lets it work if it can.
    fn give(&mut self, host: usize, event: Event) -> Result<(), Violation> {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.inbox.push_back(event);
        self.work(host)
    }

    fn work(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.now;
        loop {
            let clock = self.hosts[host].clock(now);
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            // Its own clock tells it what has passed meanwhile; so it may act before it handles anything.
            if process.claims(now, clock) {
                self.check_claims(host)?;
            }
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            if process.idles(now) {
                return Ok(());
            }
            if now < process.busy_until {
                let (at, life) = (process.busy_until, process.id.clone());
                self.at(at, Happening::Work { host, life });
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

    fn tick(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.now;
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        if process.idles(now) {
            return Ok(());
        }
        let mut heard = Vec::new();
        for (link, conn) in process.links() {
            let Some(c) = self.network.conns.get(&conn) else { continue };
            let Some(me) = c.ends.iter().position(|end| end.host == host && end.link == link) else {
                continue;
            };
            let (end, other) = (&c.ends[me], &c.ends[1 - me]);
            // The peer's transport pings about every second, as long as its process is not stopped.
            let peer_runs = other.open
                && self.hosts[other.host]
                    .process
                    .as_ref()
                    .is_some_and(|p| p.id == other.life && !p.stands(now));
            let passes =
                !self.network.is_cut(other.host, host) && end.stalled.is_empty() && now >= end.held_until;
            let ping = if peer_runs && passes { now - now % (1_000 * MS) } else { 0 };
            heard.push((link, self.hosts[host].clock(end.last_byte.max(ping).max(end.opened))));
        }
        let clock = self.hosts[host].clock(now);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.wake_at = u64::MAX;
        for (link, at) in heard {
            process.node.handle(clock, Event::Heard { link, at });
        }
        process.node.handle(clock, Event::Tick);
        self.outcome.events += 1;
        self.perform(host)
    }

    /// Does what the core of a process asks for.
    fn perform(&mut self, host: usize) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(action) = process.node.next_action() else { break };
            let id = process.id.clone();
            match action {
                Action::Send { link, message } => {
                    let conn = process.conn(link);
                    if let Some(conn) = conn {
                        self.send(host, conn, message);
                    }
                }
                Action::Close { link, reason } => {
                    self.note(|| format!("{id} closes a link: {}", reason.as_str()));
                    self.judge(host, link, reason)?;
                    let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                    if let Some(conn) = process.drop_link(link) {
                        let end =
                            self.network.conns.get(&conn).and_then(|c| {
                                c.ends.iter().position(|end| end.host == host && end.link == link)
                            });
                        if let Some(end) = end {
                            self.sever(conn, end);
                        }
                    }
                }
                Action::Meet { peer } => self.meet(host, &peer),
                Action::Tell(change) => {
                    self.note(|| {
                        let view = change.state.view.as_ref().map(|view| view.epoch().as_u64());
                        format!("{id} {}→{} view {view:?} {:?}", change.from, change.to, change.changes)
                    });
                    let clocks_agree = self.scenario.skew_ms == 0;
                    self.laws.told(&id, &change, clocks_agree)?;
                    if let Some(epoch) = change.hold {
                        self.hold(host, epoch);
                    }
                }
                Action::Fail(fatal) => return Err(Violation(format!("{id} ended: {fatal}"))),
                Action::Stopped => {
                    self.note(|| format!("{id} stopped"));
                    self.kill(host);
                    return Ok(());
                }
                _ => {
                    return Err(Violation(format!("{id} asks for something that this simulation cannot do")));
                }
            }
        }
        self.arm(host);
        self.check_claims(host)
    }

    fn hold(&mut self, host: usize, epoch: Epoch) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.hold == 0 {
            process.inbox.push_front(Event::Unheld { epoch });
            let (at, life) = (self.now, process.id.clone());
            self.at(at, Happening::Work { host, life });
        } else {
            let most = process.hold;
            let life = process.id.clone();
            let at = self.now + self.rng.between(most / 2, most);
            self.at(at, Happening::Unheld { host, life, epoch });
        }
    }

    fn arm(&mut self, host: usize) {
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
        let (life, wake) = (process.id.clone(), process.wake);
        self.at(at, Happening::Wake { host, life, wake });
    }

    /// Whether this process and any other claim what only one may.
    fn check_claims(&mut self, host: usize) -> Result<(), Violation> {
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

    fn calm_down(&mut self) -> Result<(), Violation> {
        self.note(|| "all is healed".into());
        self.quiet = true;
        self.heal_all();
        for host in 0..self.hosts.len() {
            self.hosts[host].hold = 0;
            let now = self.now;
            if let Some(process) = &mut self.hosts[host].process {
                process.stands_until = process.stands_until.min(now);
                process.hangs_until = process.hangs_until.min(now);
                process.slow = 0;
                process.hold = 0;
                self.work(host)?;
            }
            self.start(host)?;
        }
        self.at(self.now, Happening::Look);
        Ok(())
    }

    /// Whether all nodes are up in one view of all, and have been for long enough.
    fn look(&mut self) -> Result<(), Violation> {
        for host in 0..self.hosts.len() {
            // A process that left during the faults comes back.
            self.start(host)?;
        }
        let now = self.now;
        let common = self.common_epoch();
        match (self.agreed, common) {
            (Some((since, epoch)), Some(now_epoch)) if epoch == now_epoch => {
                if now >= since + MUST_LAST {
                    self.outcome.healed_after = Some(since - self.scenario.quiet_at);
                    self.done = true;
                }
            }
            (_, Some(epoch)) => self.agreed = Some((now, epoch)),
            (_, None) => self.agreed = None,
        }
        if self.outcome.assembled_at.is_none() && common.is_some() {
            self.outcome.assembled_at = Some(now);
        }
        self.at(now + LOOK_EVERY, Happening::Look);
        Ok(())
    }

    fn expect(&mut self, expectation: &Expectation) -> Result<(), Violation> {
        let mut up = std::collections::BTreeMap::<Epoch, usize>::new();
        for process in self.hosts.iter().filter_map(|host| host.process.as_ref()) {
            let state = process.node.state();
            if let (Status::Up, Some(epoch)) = (state.status, state.epoch()) {
                *up.entry(epoch).or_default() += 1;
            }
        }
        let most = up.values().copied().max().unwrap_or(0);
        if most >= expectation.up {
            return Ok(());
        }
        Err(Violation(format!(
            "{most} nodes are up in one view at {} ms, {} should be: {}",
            self.now / MS,
            expectation.up,
            self.standing()
        )))
    }

    /// A peer that runs and is not cut off must not be taken for silent.
    fn judge(&self, host: usize, link: LinkId, reason: CloseReason) -> Result<(), Violation> {
        if self.scenario.may_misjudge || reason != CloseReason::Silent || !self.network.cuts().is_empty() {
            return Ok(());
        }
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let Some(c) = process.conn(link).and_then(|conn| self.network.conns.get(&conn)) else {
            return Ok(());
        };
        let other = if c.ends[0].host == host { &c.ends[1] } else { &c.ends[0] };
        // One that has just come back may not have been heard yet.
        let runs = |p: &Process| p.id == other.life && p.stands_until + 1_000 * MS < self.now;
        if self.hosts[other.host].process.as_ref().is_some_and(runs) {
            return Err(Violation(format!("{} takes {} for silent, which runs", process.id, other.life)));
        }
        Ok(())
    }

    fn common_epoch(&self) -> Option<Epoch> {
        let mut common = None;
        for host in &self.hosts {
            let process = host.process.as_ref()?;
            let state = process.node.state();
            if state.status != Status::Up || state.members.len() != self.hosts.len() {
                return None;
            }
            let epoch = state.epoch()?;
            if *common.get_or_insert(epoch) != epoch {
                return None;
            }
        }
        common
    }

    fn standing(&self) -> String {
        let of = |host: &Host| match &host.process {
            Some(process) => {
                let state = process.node.state();
                let why: Vec<String> =
                    process.node.obstacles(host.clock(self.now)).iter().map(ToString::to_string).collect();
                format!("{} {} {:?} {}", process.id, state.status, state.epoch(), why.join("; "))
            }
            None => format!("{} down", host.address),
        };
        self.hosts.iter().map(of).collect::<Vec<_>>().join(" | ")
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>10.3} {}", self.now as f64 / 1e9, line());
            self.outcome.script.push(line);
        }
    }
}
