//! The world around the nodes: true time, hosts, the network, and what happens next.

mod adversary;
mod applications;
mod checks;
mod dialling;
mod faults;
mod process;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use applications::Running;
use cloister_proto::{Address, Epoch, Event, Held, LinkId, Memory, NodeId, Status, Time};
use cloister_testkit::network::Network;
use cloister_testkit::random::Rng;

use crate::application::{Application, NoApplication};
use crate::host::Host;
use crate::laws::{Laws, Violation};
use crate::network::{Incoming, Packet};
use crate::scenario::{Expectation, Fault, MS, Scenario};

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The law that was broken, if one was.
    pub violation: Option<Violation>,
    /// Whether it was broken by two clusters that began apart.
    pub two_roots: bool,
    /// How long the cluster took to agree on one view of all once everything was healed, in nanoseconds.
    pub healed_after: Option<u64>,
    /// When the first view of all nodes was held by all, in nanoseconds since the start.
    pub assembled_at: Option<u64>,
    /// How many views were installed.
    pub views: usize,
    /// How many messages the cores sent.
    pub messages: u64,
    /// How many messages the applications sent.
    pub application_messages: u64,
    /// What the cores sent in each millisecond of the run, if it was `weighed`.
    pub traffic: BTreeMap<u64, Traffic>,
    /// Changes that listeners were notified of, in order of time, if it was `weighed`.
    pub notifications: Vec<Notification>,
    /// How many events were handled.
    pub events: u64,
    /// What happened, one line each, if it was asked for.
    pub script: Vec<String>,
}

/// What was sent, to all links together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many messages.
    pub messages: u64,
    /// Their length, in bytes, without what a transport adds.
    pub bytes: u64,
}

/// A change that the listeners of a host were notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// When, in nanoseconds since the start.
    pub at: u64,
    /// Which host, counted from 0.
    pub host: usize,
    /// How far it has come.
    pub status: Status,
    /// The epoch of the view that it installed last.
    pub epoch: Option<Epoch>,
    /// How many members it sees.
    pub members: usize,
}

/// Something that happens at a time.
#[derive(Debug)]
enum SimEvent {
    Fault(Fault),
    Deliver {
        link: LinkId,
        to: usize,
    },
    Fin {
        link: LinkId,
        to: usize,
    },
    Wake {
        host: usize,
        incarnation: NodeId,
        wake: u64,
    },
    Resume {
        host: usize,
        incarnation: NodeId,
    },
    Thaw {
        host: usize,
    },
    Work {
        host: usize,
        incarnation: NodeId,
    },
    HoldReleased {
        host: usize,
        incarnation: NodeId,
        held: Held,
    },
    GraceOver {
        host: usize,
        incarnation: NodeId,
        held: Held,
    },
    WakeApplication {
        host: usize,
        incarnation: NodeId,
        wake: u64,
    },
    Written {
        host: usize,
        incarnation: NodeId,
        seq: u64,
        memory: Memory,
    },
    Discovered {
        host: usize,
        incarnation: NodeId,
    },
    Dial {
        host: usize,
        incarnation: NodeId,
        to: usize,
        turn: u64,
        probe: bool,
    },
    Dialled {
        host: usize,
        incarnation: NodeId,
        to: usize,
        turn: u64,
        began: Time,
        answer: DialResult,
        probe: bool,
    },
    Handshake {
        from: usize,
        from_incarnation: NodeId,
        to: usize,
        to_incarnation: NodeId,
        until: u64,
    },
    Expected(Expectation),
    Quiet,
    Look,
}

/// What a connection attempt met.
#[derive(Clone, Debug)]
enum DialResult {
    Refused,
    Silent,
    Accepted(NodeId),
}

struct QueuedEvent {
    at: u64,
    order: u64,
    what: SimEvent,
}

impl PartialEq for QueuedEvent {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for QueuedEvent {}

impl PartialOrd for QueuedEvent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for QueuedEvent {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A whole cluster in one thread, with an application on every process.
pub struct World<A: Application = NoApplication> {
    scenario: Scenario,
    rng: Rng,
    /// From which the applications draw.
    app_rng: Rng,
    /// From which the flight of what they send follows, and whether the adversary strikes at it.
    flight_rng: Rng,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<QueuedEvent>>,
    hosts: Vec<Host>,
    /// The application of each host's process.
    apps: Vec<Option<Running<A>>>,
    oracle: A::Oracle,
    /// Which host has which address.
    addresses: BTreeMap<Address, usize>,
    network: Network<Incoming<A::Message>>,
    laws: Laws,
    /// How many processes may act under each epoch, as long as their leases last.
    claims: BTreeMap<Epoch, usize>,
    quiet: bool,
    agreed: Option<(u64, Epoch)>,
    done: bool,
    /// Why the application has not finished, though the membership has healed.
    unfinished: Option<String>,
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
        Self::run_with(scenario, (), traced).0
    }

    /// A scenario before anything has happened.
    pub fn new(scenario: Scenario, traced: bool) -> Self {
        Self::new_with(scenario, (), traced)
    }
}

impl<A: Application> World<A> {
    /// Runs a scenario with an application on every process; also returns what the oracle then knows.
    pub fn run_with(scenario: Scenario, oracle: A::Oracle, traced: bool) -> (Outcome, A::Oracle) {
        let mut world = Self::new_with(scenario, oracle, traced);
        if let Err(violation) = world.play() {
            world.note(|| format!("VIOLATION {}", violation.0));
            world.outcome.two_roots = world.laws.two_roots
                && [" in view ", " is installed after "].iter().any(|what| violation.0.contains(what));
            world.outcome.violation = Some(violation);
        }
        world.outcome.views = world.laws.views();
        (world.outcome, world.oracle)
    }

    /// A scenario with an application, before anything has happened.
    pub fn new_with(scenario: Scenario, oracle: A::Oracle, traced: bool) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let hosts: Vec<Host> = (0..scenario.hosts).map(|at| Host::new(at, &scenario, &mut rng)).collect();
        let addresses = hosts.iter().enumerate().map(|(at, host)| (host.address.clone(), at)).collect();
        let mut world = World {
            rng,
            app_rng: Rng::new(scenario.seed ^ 0xa991_1ca7),
            flight_rng: Rng::new(scenario.seed ^ 0x00f1_1947),
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            apps: hosts.iter().map(|_| None).collect(),
            oracle,
            hosts,
            addresses,
            network: Network::default(),
            laws: Laws::default(),
            claims: BTreeMap::new(),
            quiet: false,
            agreed: None,
            done: false,
            unfinished: None,
            traced,
            outcome: Outcome {
                violation: None,
                two_roots: false,
                healed_after: None,
                assembled_at: None,
                views: 0,
                messages: 0,
                application_messages: 0,
                traffic: BTreeMap::new(),
                notifications: Vec::new(),
                events: 0,
                script: Vec::new(),
            },
            scenario,
        };
        for (at, fault) in world.scenario.faults.clone() {
            world.at(at, SimEvent::Fault(fault));
        }
        for expectation in world.scenario.expected.clone() {
            world.at(expectation.at, SimEvent::Expected(expectation));
        }
        world.at(world.scenario.quiet_at, SimEvent::Quiet);
        world
    }

    /// Lets this many nanoseconds of the run pass.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn advance(&mut self, span: u64) -> Result<(), Violation> {
        let end = self.now + span;
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.at <= end) {
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.now = entry.at;
            self.happen(entry.what)?;
        }
        self.now = end;
        Ok(())
    }

    /// Whether all nodes are up in one view of all.
    pub fn agrees(&self) -> bool {
        self.common_epoch().is_some()
    }

    fn play(&mut self) -> Result<(), Violation> {
        let end = self.scenario.quiet_at + self.scenario.heal_within;
        while let Some(Reverse(entry)) = self.queue.pop() {
            self.now = entry.at;
            if self.now > end {
                return Err(self.not_healed());
            }
            self.happen(entry.what)?;
            if self.done {
                return Ok(());
            }
        }
        Ok(())
    }

    fn at(&mut self, at: u64, what: SimEvent) {
        self.order += 1;
        self.queue.push(Reverse(QueuedEvent { at: at.max(self.now), order: self.order, what }));
    }

    fn happen(&mut self, what: SimEvent) -> Result<(), Violation> {
        match what {
            SimEvent::Fault(fault) if !self.quiet => self.fault(fault),
            SimEvent::Fault(_) => Ok(()),
            SimEvent::Deliver { link, to } => self.deliver(link, to),
            SimEvent::Fin { link, to } => self.fin(link, to),
            SimEvent::Wake { host, incarnation, wake } => {
                match self.hosts[host].process.as_ref() {
                    Some(p) if p.id == incarnation && p.wake == wake => {}
                    _ => return Ok(()),
                }
                self.tick(host)
            }
            SimEvent::Resume { host, incarnation } => {
                if !self.is_incarnation(host, &incarnation) {
                    return Ok(());
                }
                self.run_application(host)?;
                self.work(host)
            }
            SimEvent::Work { host, incarnation } => {
                if self.is_incarnation(host, &incarnation) {
                    self.work(host)
                } else {
                    Ok(())
                }
            }
            SimEvent::Thaw { host } => self.thaw(host),
            SimEvent::HoldReleased { host, incarnation, held } => {
                if self.is_incarnation(host, &incarnation) {
                    self.give(host, Event::HoldReleased { held })
                } else {
                    Ok(())
                }
            }
            SimEvent::GraceOver { host, incarnation, held } => {
                if self.is_incarnation(host, &incarnation) {
                    self.release(host, held, false);
                }
                Ok(())
            }
            SimEvent::WakeApplication { host, incarnation, wake } => {
                self.wake_application(host, &incarnation, wake)
            }
            SimEvent::Written { host, incarnation, seq, memory } => {
                // What a process was writing when it ended is lost.
                if !self.is_incarnation(host, &incarnation) {
                    return Ok(());
                }
                self.hosts[host].memory = memory;
                self.give(host, Event::Persisted { seq })
            }
            SimEvent::Discovered { host, incarnation } => {
                if !self.is_incarnation(host, &incarnation) {
                    return Ok(());
                }
                if let Some(process) = &mut self.hosts[host].process {
                    process.complete = true;
                }
                self.survey(host)
            }
            SimEvent::Dial { host, incarnation, to, turn, probe } => {
                if self.is_incarnation(host, &incarnation) {
                    self.dial(host, to, turn, probe)
                } else {
                    Ok(())
                }
            }
            SimEvent::Dialled { host, incarnation, to, turn, began, answer, probe } => {
                if !self.is_incarnation(host, &incarnation) {
                    return Ok(());
                }
                self.dialled(host, to, turn, began, answer, probe)
            }
            SimEvent::Handshake { from, from_incarnation, to, to_incarnation, until } => {
                self.handshake((from, from_incarnation), (to, to_incarnation), until)
            }
            SimEvent::Expected(expectation) => self.expect(&expectation),
            SimEvent::Quiet => self.calm_down(),
            SimEvent::Look => self.look(),
        }
    }

    fn is_incarnation(&self, host: usize, incarnation: &NodeId) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| process.id == *incarnation)
    }

    fn latency(&mut self) -> u64 {
        let (min, max) = self.scenario.latency;
        self.rng.between(min, max)
    }

    fn fly(&mut self, link: LinkId, to: usize, packet: Packet<A::Message>) {
        let (min, max) = self.scenario.latency;
        let latency = match packet {
            Packet::Core(_) => self.latency(),
            Packet::Application(_) => self.flight_rng.between(min, max),
        };
        let Some(connection) = self.network.get_mut(link) else { return };
        let incoming = &mut connection.ends[to].incoming;
        let at = (self.now + latency).max(incoming.arrives + 1).max(incoming.held_until);
        incoming.arrives = at;
        incoming.packets.push_back(packet);
        self.at(at, SimEvent::Deliver { link, to });
    }

    fn deliver(&mut self, link: LinkId, to: usize) -> Result<(), Violation> {
        let Some(connection) = self.network.get(link) else { return Ok(()) };
        let (from_host, host) = (connection.ends[1 - to].host, connection.ends[to].host);
        let is_cut = self.network.is_cut(from_host, host);
        let Some(connection) = self.network.get_mut(link) else { return Ok(()) };
        let end = &mut connection.ends[to];
        let Some(packet) = end.incoming.packets.pop_front() else { return Ok(()) };
        if !end.open {
            return Ok(());
        }
        if is_cut {
            if end.incoming.stalled.is_empty() {
                end.incoming.stalled_since = self.now;
            }
            end.incoming.stalled.push_back(packet);
            return Ok(());
        }
        end.incoming.last_byte = self.now;
        match packet {
            Packet::Core(message) => self.give(host, Event::Received { link, message }),
            Packet::Application(message) => {
                let from = connection.ends[1 - to].incarnation.clone();
                self.receive(host, link, from, message)
            }
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>10.3} {}", self.now as f64 / 1e9, line());
            self.outcome.script.push(line);
        }
    }
}
