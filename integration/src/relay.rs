//! A network that is late: what goes between nodes goes through a relay, which holds back what it is given.
//!
//! The kernel here cannot delay packets. So each machine sends its connections to the ports of the others to the bridge instead, where this
//! process listens and connects on. Within one connection nothing is overtaken; between two everything may be.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Machine, Random};

/// The port of the relay for the machine whose address ends in 7 is 20007.
const PORTS: u16 = 20_000;

/// The port of the nodes.
const NODE: u16 = 4370;

/// How much is held back of one direction of a connection, in pieces of up to 64 KiB.
const MAX_HELD: usize = 256;

/// How often the relay looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// Connections that go through here.
#[derive(Debug)]
pub struct Relay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How long each piece takes, at least and at most.
    late: Mutex<(Duration, Duration)>,
    /// The addresses whose bytes are held back, in both directions.
    stalled: Mutex<Option<IpAddr>>,
    chance: Mutex<Random>,
    over: AtomicBool,
}

impl Relay {
    /// Has all connections between these machines go through `bridge`, from those on that are made next.
    pub(crate) fn new<'a>(
        bridge: &Machine,
        machines: impl IntoIterator<Item = (&'a Machine, IpAddr)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            late: Mutex::default(),
            stalled: Mutex::default(),
            chance: Mutex::new(Random::new("a relay")),
            over: AtomicBool::new(false),
        });
        let machines: Vec<_> = machines.into_iter().collect();
        for (_, ip) in &machines {
            listen(bridge, *ip, &shared);
        }
        for (machine, me) in &machines {
            let rules = machines.iter().filter(|(_, ip)| ip != me).fold(String::new(), |rules, (_, ip)| {
                format!("{rules}ip daddr {ip} tcp dport {NODE} dnat to 10.77.0.1:{}\n", port_for(*ip))
            });
            machine.nft(&format!(
                "table ip relay {{\nchain out {{\ntype nat hook output priority -100\n{rules}}}\n}}\n"
            ));
        }
        Self(shared)
    }

    /// Everything takes between `min` and `max` from now on, each piece another time.
    pub fn late(&self, min: Duration, max: Duration) {
        *lock(&self.0.late) = (min, max);
    }

    /// What comes from this address or goes there is held back, all of it, until no address is stalled any more. Then it
    /// goes on, in order.
    pub fn stall(&self, ip: Option<IpAddr>) {
        *lock(&self.0.stalled) = ip;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn port_for(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V4(ip) => PORTS + u16::from(ip.octets()[3]),
        IpAddr::V6(_) => panic!("a relay is for IPv4"),
    }
}

/// Takes connections for `ip`. Returns when it listens.
fn listen(bridge: &Machine, ip: IpAddr, shared: &Arc<Shared>) {
    let namespace = bridge.namespace();
    let (ready, listening) = sync_channel(1);
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        namespace.enter();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port_for(ip))).expect("a free port");
        listener.set_nonblocking(true).expect("a mode");
        ready.send(()).expect("the starter waits");
        while !shared.over.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((socket, from)) => {
                    let shared = Arc::clone(&shared);
                    // It ends when both ends have, or the relay is over.
                    thread::spawn(move || join(socket, from.ip(), ip, &shared));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    });
    listening.recv().expect("it listens");
}

/// Connects to the target. A connection that the target refuses is reset, later than by the target itself.
fn join(near: TcpStream, from: IpAddr, to: IpAddr, shared: &Arc<Shared>) -> Option<()> {
    let far = TcpStream::connect_timeout(&SocketAddr::new(to, NODE), Duration::from_secs(2)).ok()?;
    for (source, sink) in [(near.try_clone().ok()?, far.try_clone().ok()?), (far, near)] {
        for socket in [&source, &sink] {
            socket.set_nonblocking(false).ok()?;
            socket.set_nodelay(true).ok()?;
        }
        source.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        let (give, take) = sync_channel(MAX_HELD);
        let (one, other) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || read(source, &give, &one));
        thread::spawn(move || write(sink, &take, [from, to], &other));
    }
    Some(())
}

/// A piece of a connection, and when it may go on; an empty one is its end.
type Chunk = (Instant, Vec<u8>);

fn read(mut source: TcpStream, give: &SyncSender<Chunk>, shared: &Shared) {
    let mut due = Instant::now();
    let mut buffer = vec![0; 64 << 10];
    while !shared.over.load(Ordering::SeqCst) {
        let len = match source.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => 0,
        };
        due = due.max(Instant::now() + shared.lateness());
        if give.send((due, buffer[..len].to_vec())).is_err() || len == 0 {
            return;
        }
    }
}

fn write(mut sink: TcpStream, take: &Receiver<Chunk>, ends: [IpAddr; 2], shared: &Shared) {
    while let Ok((due, piece)) = take.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        while lock(&shared.stalled).is_some_and(|ip| ends.contains(&ip))
            && !shared.over.load(Ordering::SeqCst)
        {
            thread::sleep(LOOK);
        }
        if piece.is_empty() || sink.write_all(&piece).is_err() {
            break;
        }
    }
    // Both directions: what is half open is no link.
    let _ = sink.shutdown(Shutdown::Both);
}

impl Shared {
    fn lateness(&self) -> Duration {
        let (min, max) = *lock(&self.late);
        let spread = u64::try_from((max - min).as_micros()).unwrap_or(u64::MAX);
        min + Duration::from_micros(lock(&self.chance).below(spread.max(1)))
    }
}
