//! A few real nodes in virtual time: what the scripts, the model and the Byzantine tests share.
//!
//! Nothing here is random. A message takes a millisecond, links keep their order, and what a cut stops waits for the heal. An unlinked host
//! is dialled every 100 ms and whenever a node asks for it. After every event the laws are checked.

mod byzantine;
mod disk;
mod law;
mod links;
mod shell;
mod transcript;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use byzantine::LastHeartbeat;
pub use byzantine::{EVE, NodeState};
use cloister_proto::rule::Rule;
use cloister_proto::{
    Address, Epoch, Event, Held, Incarnation, LinkId, Member, Node, NodeId, NodeName, PeerTerms, Settings,
    SplitPolicy, Status, Time, TrustRefusal,
};
use disk::{Disk, Write};
pub use law::Law;
use links::{DIAL_EVERY, Incoming};

use crate::laws::ChangeLaw;
use crate::network::Network;

const START: Time = Time::from_nanos(1_000_000_000_000);

/// The wall clock at the start, in milliseconds since the Unix epoch.
pub const WALL_START_MS: u64 = 1_767_225_600_000;

/// More than any script needs.
const MAX_EVENTS: usize = 200_000;

/// A few real nodes, the links between them, and the time.
#[derive(Clone, Debug, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "`Debug` shows everything that is hashed")]
pub struct Universe {
    now: Time,
    consensus: NonZeroUsize,
    split: SplitPolicy,
    without: Option<Rule>,
    trust: TrustRefusal,
    /// Whether processes keep what they remember over a restart.
    files: bool,
    hosts: Vec<Host>,
    network: Network<Incoming>,
    /// Discovery of the first host does not name the second.
    hidden: BTreeSet<(usize, usize)>,
    slow: BTreeMap<(usize, usize), Duration>,
    dialled: Time,
    /// Requested connections: from which host to which.
    meets: VecDeque<(usize, usize)>,
    /// Every view that was proposed or reported, in the order in which it was first seen: v1, v2, …
    views: Vec<(Epoch, Vec<NodeId>)>,
    committed: BTreeSet<Epoch>,
    /// The first law that was broken.
    pub broken: Option<Law>,
    violations: BTreeSet<Law>,
    log: Option<Vec<String>>,
    last_heartbeat: Option<LastHeartbeat>,
}

/// One host, and the process that runs on it.
#[derive(Clone, Debug, Hash)]
struct Host {
    address: Address,
    /// Whether discovery names it; not if it has the address of another.
    named: bool,
    vanished: bool,
    /// By how many milliseconds its wall clock is ahead; `None` if it was not set.
    clock_ms: Option<i64>,
    /// Something on the way refuses in its place, and passes nothing on to it.
    rejected: bool,
    /// Whether a dial to it that a cut stops is refused, as at an address that it has left.
    misplaced: bool,
    /// Its address is none of its machine's.
    translated: bool,
    disk: Disk,
    incarnations: u64,
    process: Option<Process>,
}

/// One incarnation of a process.
#[derive(Clone, Debug, Hash)]
struct Process {
    node: Node,
    /// What it says of itself on each new link.
    terms: PeerTerms,
    me: Member,
    pace: Pace,
    inbox: VecDeque<Event>,
    /// The addresses that refused it when it dialled them last.
    refused: BTreeSet<usize>,
    /// The last report of discovery that it took: see `surveyed_by`.
    surveyed: Option<[u64; 3]>,
    changes: ChangeLaw,
    holds: bool,
    held: Vec<Held>,
    /// What is being written, and when it is.
    writes: VecDeque<Write>,
}

/// How a process fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// It runs.
    Running,
    /// Its cluster part handles nothing; its transport goes on.
    Hung,
    /// Stopped as a whole.
    Paused,
}

/// What comes next.
enum Next {
    Arrival(LinkId, usize),
    Tick(usize),
    Written(usize),
    Dial,
}

impl Universe {
    /// Hosts that are called `a`, `b`, `c` …, and no process yet.
    pub fn new(hosts: usize, consensus: usize) -> Self {
        let address = |at| Address::new(&letter(at).to_string(), 1).expect("a letter is a host");
        let host = |at| Host {
            address: address(at),
            named: true,
            vanished: false,
            clock_ms: None,
            rejected: false,
            misplaced: false,
            translated: false,
            disk: Disk::default(),
            incarnations: 0,
            process: None,
        };
        Self {
            now: START,
            consensus: NonZeroUsize::new(consensus).expect("at least one"),
            split: SplitPolicy::Consensus,
            without: None,
            trust: TrustRefusal::default(),
            files: false,
            hosts: (0..hosts).map(host).collect(),
            network: Network::default(),
            hidden: BTreeSet::new(),
            slow: BTreeMap::new(),
            dialled: START,
            meets: VecDeque::new(),
            views: Vec::new(),
            committed: BTreeSet::new(),
            broken: None,
            violations: BTreeSet::new(),
            log: None,
            last_heartbeat: None,
        }
    }

    /// Its nodes have this split policy.
    #[must_use]
    pub fn by(mut self, split: SplitPolicy) -> Self {
        self.split = split;
        self
    }

    /// A rule is switched off in its nodes.
    #[must_use]
    pub fn without(mut self, rule: Option<Rule>) -> Self {
        self.without = rule;
        self
    }

    /// The address of this host is none of its machine's, and its processes say so.
    #[must_use]
    pub fn translated(mut self, at: usize) -> Self {
        self.hosts[at].translated = true;
        self
    }

    /// Whether its nodes take a refusal for the end of a process.
    #[must_use]
    pub fn trusting(mut self, trust: TrustRefusal) -> Self {
        self.trust = trust;
        self
    }

    /// Processes keep what they remember over a restart.
    #[must_use]
    pub fn with_files(mut self) -> Self {
        self.files = true;
        self
    }

    /// It keeps a log of what happens, and checks the laws that are only checked in scripts.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.log = Some(Vec::new());
        self
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How much time has passed.
    pub fn now(&self) -> Duration {
        self.now.since(START)
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..MAX_EVENTS {
            match self.next() {
                Some((at, next)) if at <= end => self.happen(at, next),
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("{MAX_EVENTS} events in {span:?}");
    }

    /// Lets time pass until `is_so`; tells whether it came to that within a minute.
    pub fn run_until(&mut self, is_so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(60);
        while !is_so(self) {
            match self.next() {
                Some((at, next)) if at <= end => self.happen(at, next),
                _ => return false,
            }
        }
        true
    }

    fn next(&self) -> Option<(Time, Next)> {
        let arrivals = self.arrivals().map(|(at, link, to)| (at, Next::Arrival(link, to)));
        let ticks = self.hosts.iter().enumerate().filter_map(|(at, host)| {
            let process = host.process.as_ref().filter(|process| process.pace == Pace::Running)?;
            Some((process.node.next_timeout()?, Next::Tick(at)))
        });
        let writes = self.hosts.iter().enumerate().filter_map(|(at, host)| {
            Some((host.process.as_ref()?.writes.front()?.ends(), Next::Written(at)))
        });
        let dial = self.has_unlinked().then(|| (self.dialled + DIAL_EVERY, Next::Dial));
        arrivals.chain(ticks).chain(writes).chain(dial).min_by_key(|(at, _)| (*at).max(self.now))
    }

    fn happen(&mut self, at: Time, next: Next) {
        self.now = self.now.max(at);
        match next {
            Next::Arrival(link, to) => self.arrive(link, to),
            Next::Tick(at) => self.tick(at),
            Next::Written(at) => self.written(at),
            Next::Dial => self.dial_all(),
        }
        self.settle();
    }

    /// Starts a process on this host, or another incarnation of it.
    pub fn start(&mut self, at: usize) {
        if self.hosts[at].process.is_some() {
            return;
        }
        let started_at = self.wall_clock_ms(at);
        let memory = self.files.then(|| self.hosts[at].disk.memory());
        let host = &mut self.hosts[at];
        host.incarnations += 1;
        host.vanished = false;
        let name = NodeName::new("app", host.address.clone()).expect("`app` is a name");
        let incarnation = Incarnation((at as u64 + 1) * 100 + host.incarnations);
        let me = Member::without_tags(NodeId::new(name, incarnation, started_at));
        let mut settings = Settings::new(me.clone(), self.consensus, incarnation.0);
        settings.split = self.split;
        settings.trust_refusal = self.trust;
        settings.owns_address = !host.translated;
        let terms = PeerTerms {
            lease: settings.timing.lease,
            owns_address: settings.owns_refusals(),
            caps_lease: true,
        };
        settings.memory = memory;
        settings.disable_rule(self.without);
        host.process = Some(Process {
            node: Node::new(settings, self.now),
            terms,
            me,
            pace: Pace::Running,
            inbox: VecDeque::new(),
            refused: BTreeSet::new(),
            surveyed: None,
            changes: ChangeLaw::default(),
            holds: false,
            held: Vec::new(),
            writes: VecDeque::new(),
        });
        self.reset_former_incarnations(at);
        self.perform(at);
        self.meets.extend((0..self.hosts.len()).filter(|to| *to != at).map(|to| (at, to)));
        self.settle();
    }

    /// Starts a process on host `at` that takes the address of host `of` for its own.
    pub fn start_as(&mut self, at: usize, of: usize) {
        self.hosts[at].address = self.hosts[of].address.clone();
        self.hosts[at].named = false;
        self.start(at);
    }

    /// The wall clock of this host is that much ahead from now on, or behind if less than nothing.
    pub fn set_clock(&mut self, at: usize, ahead_ms: i64) {
        self.hosts[at].clock_ms = Some(ahead_ms);
    }

    /// The wall clock of this host ran ahead of its monotonic clock by that much at once.
    pub fn jump(&mut self, at: usize, by: Duration) {
        self.give(at, Event::ClockJumped { by });
        self.settle();
    }

    fn wall_clock_ms(&self, at: usize) -> u64 {
        let true_ms = WALL_START_MS + self.now.since(START).as_millis() as u64;
        true_ms.saturating_add_signed(self.hosts[at].clock_ms.unwrap_or(0))
    }

    /// The process ends; its host refuses connections from now on.
    pub fn kill(&mut self, at: usize) {
        self.hosts[at].process = None;
        self.close_links_of(at);
        self.settle();
    }

    /// The process ends, and its host does not answer any more.
    pub fn vanish(&mut self, at: usize) {
        self.hosts[at].vanished = true;
        self.kill(at);
    }

    /// From now on the process of this host fares so.
    pub fn set_pace(&mut self, at: usize, pace: Pace) {
        if let Some(process) = &mut self.hosts[at].process {
            process.pace = pace;
        }
        // Its clock has run on: so it may act before it handles anything.
        self.check_claims();
        self.settle();
    }

    /// Whether discovery names this host.
    pub fn name(&mut self, at: usize, named: bool) {
        self.hosts[at].named = named;
    }

    /// Discovery of host `from` does not name host `to`.
    pub fn hide(&mut self, from: usize, to: usize) {
        self.hidden.insert((from, to));
    }

    pub(crate) fn names(&self, from: usize, to: usize) -> bool {
        self.hosts[to].named && !self.hidden.contains(&(from, to))
    }

    /// This node leaves.
    pub fn leave(&mut self, at: usize) {
        self.give(at, Event::Leave);
        self.settle();
    }

    /// Listeners of this node warm up before planned changes, from now on.
    pub fn warm(&mut self, at: usize) {
        self.give(at, Event::WarmsUp(true));
        self.settle();
    }

    /// This node leaves once the others have warmed up.
    pub fn drain(&mut self, at: usize) {
        self.give(at, Event::Drain);
        self.settle();
    }

    /// From now on listeners of this node hold each new view.
    pub fn hold(&mut self, at: usize) {
        if let Some(process) = &mut self.hosts[at].process {
            process.holds = true;
        }
    }

    /// Listeners of this node hold nothing any more.
    pub fn release(&mut self, at: usize) {
        let Some(process) = &mut self.hosts[at].process else { return };
        process.holds = false;
        let held = std::mem::take(&mut process.held);
        held.into_iter().for_each(|held| self.give(at, Event::HoldReleased { held }));
        self.settle();
    }

    /// The node that runs on this host.
    pub fn node(&self, at: usize) -> Option<&Node> {
        self.hosts[at].process.as_ref().map(|process| &process.node)
    }

    /// Whether a process runs on this host.
    pub fn is_running(&self, at: usize) -> bool {
        self.hosts[at].process.is_some()
    }

    /// The status of this node.
    pub fn status(&self, at: usize) -> Status {
        self.hosts[at].process.as_ref().map_or(Status::Down, |process| process.node.state().status)
    }

    /// The members of the view that this node is up in.
    pub fn members(&self, at: usize) -> usize {
        let up = self.hosts[at].process.as_ref().filter(|process| process.node.state().status == Status::Up);
        up.map_or(0, |process| process.node.state().members.len())
    }
}

/// The letter that host `at` is called by.
pub fn letter(at: usize) -> char {
    char::from(b'a' + at as u8)
}

impl PartialEq for Universe {
    /// By what `Debug` shows, which is everything. Slow; only asked when a transcript is written.
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}
