//! The clients. Each asks one thing after the other, and writes down what came of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloister_testkit::random::Rng;

use crate::history::{INITIAL, Operation, Outcome, Request};
use crate::wire::{Ask, Connection, Way};

/// How many keys there are, of registers and of a table: of that, few keys move from one given node to another.
pub(crate) const KEYS: u32 = 24;
pub(crate) const KEYS_OF_TABLE: u32 = 96;

/// The number of the client that reads every key at the end.
pub(crate) const LAST: u32 = 999;

/// Values of one client begin at its number times this.
const VALUES: u64 = 10_000_000;

/// How long a client waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// How long a client mostly avoids a node that did not answer.
const AVOID: Duration = Duration::from_secs(2);

/// How long a client waits for an answer, and for some. A write that is late may be answered within the longer one.
const TIMEOUT_MS: u64 = 1_000;
const LONG_TIMEOUT_MS: u64 = 9_000;

/// Of how many of a hundred answers clients wait longer: reads, and others.
const LONG_PERCENT: (u64, u64) = (10, 70);

/// What all clients know.
pub(crate) struct World {
    /// Where the nodes serve clients.
    pub(crate) services: Vec<SocketAddr>,
    /// What the nodes are called.
    pub(crate) names: Vec<String>,
    /// The beginning of the history.
    pub(crate) began: Instant,
    /// Whether the keys are those of a table.
    pub(crate) is_table: bool,
    /// Whether clients are to stop.
    pub(crate) over: AtomicBool,
}

impl World {
    /// How many keys there are.
    pub(crate) fn keys(&self) -> u32 {
        if self.is_table { KEYS_OF_TABLE } else { KEYS }
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A client.
pub(crate) struct Client<'a> {
    world: &'a World,
    number: u32,
    rng: Rng,
    connections: Vec<Option<Connection>>,
    avoid: Vec<Option<Instant>>,
    /// Of each key the node that served it last, and the value that was seen last.
    owners: BTreeMap<u32, usize>,
    seen: BTreeMap<u32, u64>,
    values: u64,
    operations: Vec<Operation>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(world: &'a World, number: u32, seed: u64) -> Self {
        let nodes = world.services.len();
        Self {
            world,
            number,
            rng: Rng::new(seed.wrapping_mul(1_000).wrapping_add(number.into())),
            connections: (0..nodes).map(|_| None).collect(),
            avoid: vec![None; nodes],
            owners: BTreeMap::new(),
            seen: BTreeMap::new(),
            values: 0,
            operations: Vec::new(),
        }
    }

    /// Asks until the run is over. Returns all that was asked.
    pub(crate) fn run(mut self) -> Vec<Operation> {
        while !self.world.over.load(Ordering::Relaxed) {
            let key = u32::try_from(self.rng.between(0, self.world.keys().into()))
                .expect("invariant: there are few keys");
            let request = self.any_request(key);
            let node = self.choose_node(key);
            let way = if self.rng.percent(30) { Way::Call } else { Way::Direct };
            let long = match request {
                Request::Read => LONG_PERCENT.0,
                // Without an answer it costs checkers much: what it leaves is not unique.
                Request::Remove => 100,
                _ => LONG_PERCENT.1,
            };
            let timeout_ms = if self.rng.percent(long) { LONG_TIMEOUT_MS } else { TIMEOUT_MS };
            let done = self.ask(node, Ask { key, request, way, timeout_ms });
            let pause = if done { self.rng.between(2, 15) } else { self.rng.between(5, 50) };
            thread::sleep(Duration::from_millis(pause));
        }
        self.operations
    }

    /// Reads every key, each until a node answers or `limit` is over. Returns the keys that could not be read, too.
    pub(crate) fn read_all(mut self, limit: Duration) -> (Vec<Operation>, Vec<u32>) {
        let began = Instant::now();
        let mut unread: Vec<u32> = (0..self.world.keys()).collect();
        while !unread.is_empty() && began.elapsed() < limit {
            unread.retain(|key| {
                let node = self.choose_node(*key);
                let ask = Ask { key: *key, request: Request::Read, way: Way::Direct, timeout_ms: TIMEOUT_MS };
                !self.ask(node, ask)
            });
            thread::sleep(Duration::from_millis(20));
        }
        (self.operations, unread)
    }

    /// One key of three is written often. The others are read much and written seldom: what was lost there is not overwritten at once.
    fn any_request(&mut self, key: u32) -> Request {
        let (reads, writes) = if key.is_multiple_of(3) { (45, 35) } else { (97, 2) };
        let chance = self.rng.between(0, 100);
        if chance < reads {
            return Request::Read;
        }
        self.values += 1;
        let new = u64::from(self.number + 1) * VALUES + self.values;
        if chance < reads + writes && self.world.is_table {
            return match self.rng.between(0, 100) {
                0..45 => Request::Write(new),
                45..85 => Request::Update(new),
                _ => Request::Remove,
            };
        }
        if chance < reads + writes {
            return Request::Write(new);
        }
        Request::Swap { expected: self.seen.get(&key).copied().unwrap_or(INITIAL), new }
    }

    /// Mostly the owner as this client knows it; else any node, which may have been the owner before.
    fn choose_node(&mut self, key: u32) -> usize {
        let nodes = self.connections.len();
        let owner = self.owners.get(&key).copied();
        let chosen = match owner {
            Some(owner) if self.rng.percent(65) => owner,
            _ => self.rng.index(nodes),
        };
        let avoided = self.avoid[chosen].is_some_and(|until| Instant::now() < until);
        if avoided && self.rng.percent(85) { self.rng.index(nodes) } else { chosen }
    }

    /// Asks a node, and writes down what came of it. Returns whether it was done.
    fn ask(&mut self, node: usize, ask: Ask) -> bool {
        let Ok(mut connection) = self.connection(node) else {
            // Nothing was sent, so there is nothing to write down.
            self.avoid[node] = Some(Instant::now() + AVOID);
            return false;
        };
        let invoked = self.world.now();
        let answer = exchange(&mut connection, ask);
        let returned = self.world.now();
        let outcome = match answer {
            Ok(outcome) => {
                self.connections[node] = Some(connection);
                outcome
            }
            Err(error) => {
                self.avoid[node] = Some(Instant::now() + AVOID);
                Outcome::Uncertain { why: format!("node {node}: {error}") }
            }
        };
        self.learn(ask, &outcome);
        let done = matches!(outcome, Outcome::Ok { .. });
        let (client, key, request) = (self.number, ask.key, ask.request);
        self.operations.push(Operation { client, key, request, outcome, invoked, returned });
        done
    }

    fn learn(&mut self, ask: Ask, outcome: &Outcome) {
        match outcome {
            Outcome::Ok { found, node, .. } => {
                self.owners.insert(ask.key, *node);
                let value = match ask.request {
                    Request::Read => *found,
                    Request::Write(value) | Request::Update(value) => value,
                    Request::Remove => INITIAL,
                    Request::Swap { expected, new } => {
                        if expected == *found {
                            new
                        } else {
                            *found
                        }
                    }
                };
                self.seen.insert(ask.key, value);
            }
            Outcome::Refused { owner: Some(owner), .. } => {
                if let Some(node) = self.world.names.iter().position(|name| name == owner) {
                    self.owners.insert(ask.key, node);
                }
            }
            Outcome::Refused { owner: None, .. } | Outcome::Uncertain { .. } => {}
        }
    }

    /// The connection to a node, which is given back if it is still of use.
    fn connection(&mut self, node: usize) -> io::Result<Connection> {
        match self.connections[node].take() {
            Some(connection) => Ok(connection),
            None => Connection::new(TcpStream::connect_timeout(&self.world.services[node], CONNECT_TIMEOUT)?),
        }
    }
}

fn exchange(connection: &mut Connection, ask: Ask) -> io::Result<Outcome> {
    // A call answers when its time is over; then it is not the client that gives up.
    let timeout = Duration::from_millis(ask.timeout_ms + 200);
    connection.stream().set_read_timeout(Some(timeout))?;
    connection.stream().set_write_timeout(Some(timeout))?;
    connection.send(&ask)?;
    connection.receive()
}
