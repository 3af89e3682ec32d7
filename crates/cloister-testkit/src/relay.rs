//! A network that is late: connections and datagrams go through a relay, which holds back what it is given.
//!
//! Within one connection nothing is overtaken; between two everything may be, and between datagrams.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Rng;

/// How much is held back of one direction of a connection, in pieces of up to 64 KiB.
const MAX_HELD: usize = 256;

/// The largest datagram that is passed on.
const MAX_DATAGRAM: usize = 1 << 12;

/// How long the target of a question has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the relay looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// Connections that go through here, until this is dropped.
#[derive(Debug)]
pub struct Relay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How long each piece takes, at least and at most.
    late: Mutex<(Duration, Duration)>,
    /// The addresses whose bytes are held back, in both directions.
    stalled: Mutex<Option<IpAddr>>,
    chance: Mutex<Rng>,
    over: AtomicBool,
}

impl Relay {
    /// A relay without connections, which passes everything on at once. How late each piece is, is drawn from `chance`.
    #[must_use]
    pub fn new(chance: Rng) -> Self {
        Self(Arc::new(Shared {
            late: Mutex::default(),
            stalled: Mutex::default(),
            chance: Mutex::new(chance),
            over: AtomicBool::new(false),
        }))
    }

    /// Connects those that connect to `at` with `to`. Returns the address that it listens at. `enter` is called first, in the thread
    /// that listens: it may move that thread into another network.
    pub fn listen(
        &self,
        at: SocketAddr,
        to: SocketAddr,
        enter: impl FnOnce() + Send + 'static,
    ) -> SocketAddr {
        let (ready, listening) = sync_channel(1);
        let shared = Arc::clone(&self.0);
        thread::spawn(move || {
            enter();
            let listener = TcpListener::bind(at).expect("a free port");
            listener.set_nonblocking(true).expect("a mode");
            ready.send(listener.local_addr().expect("it is bound")).expect("the starter waits");
            while !shared.over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((socket, from)) => {
                        let shared = Arc::clone(&shared);
                        // It ends when both ends have, or the relay is over.
                        thread::spawn(move || join(socket, from.ip(), to, &shared));
                    }
                    Err(_) => thread::sleep(LOOK),
                }
            }
        });
        listening.recv().expect("it listens")
    }

    /// Passes each question, a datagram that comes to `at`, on to `to` from another port of `from`, and its answer back, which is as late
    /// as a piece of a connection. `enter` is called as for [`Relay::listen`].
    pub fn listen_to_questions(
        &self,
        at: SocketAddr,
        from: IpAddr,
        to: SocketAddr,
        enter: impl FnOnce() + Send + 'static,
    ) {
        let (ready, listening) = sync_channel(1);
        let shared = Arc::clone(&self.0);
        thread::spawn(move || {
            enter();
            let socket = UdpSocket::bind(at).expect("a free port");
            socket.set_read_timeout(Some(LOOK)).expect("a mode");
            ready.send(()).expect("the starter waits");
            let mut buffer = [0; MAX_DATAGRAM];
            while !shared.over.load(Ordering::SeqCst) {
                let Ok((len, asker)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(near) = socket.try_clone() else { continue };
                let (question, due) = (buffer[..len].to_vec(), Instant::now() + shared.lateness());
                // A question that gets no answer here gets none there.
                thread::spawn(move || answer(&near, asker, &question, (from, to), due));
            }
        });
        listening.recv().expect("it listens");
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

/// Connects to the target. A connection that the target refuses is reset, later than by the target itself.
fn join(near: TcpStream, from: IpAddr, to: SocketAddr, shared: &Arc<Shared>) -> Option<()> {
    let far = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
    for (source, sink) in [(near.try_clone().ok()?, far.try_clone().ok()?), (far, near)] {
        for socket in [&source, &sink] {
            socket.set_nonblocking(false).ok()?;
            socket.set_nodelay(true).ok()?;
        }
        source.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        let (give, take) = sync_channel(MAX_HELD);
        let (one, other) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || read(source, &give, &one));
        thread::spawn(move || write(sink, &take, [from, to.ip()], &other));
    }
    Some(())
}

/// Asks the target, and sends what it says when it is due.
fn answer(
    near: &UdpSocket,
    asker: SocketAddr,
    question: &[u8],
    (from, to): (IpAddr, SocketAddr),
    due: Instant,
) -> io::Result<()> {
    let far = UdpSocket::bind((from, 0))?;
    far.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    far.send_to(question, to)?;
    let mut buffer = [0; MAX_DATAGRAM];
    let len = far.recv(&mut buffer)?;
    thread::sleep(due.saturating_duration_since(Instant::now()));
    near.send_to(&buffer[..len], asker)?;
    Ok(())
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
        min + Duration::from_micros(lock(&self.chance).between(0, spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(50);

    #[test]
    fn what_is_sent_arrives_late_in_order_and_not_at_all_while_an_end_is_stalled() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = TcpListener::bind(local).expect("the network of this host");
        let relay = Relay::new(Rng::new(7));
        relay.late(LATE, LATE + LATE);
        let at = relay.listen(local, server.local_addr().expect("the network of this host"), || ());

        let mut near = TcpStream::connect(at).expect("the network of this host");
        let (mut far, _) = server.accept().expect("the network of this host");
        let sent = Instant::now();
        near.write_all(b"one").expect("the network of this host");
        let mut received = [0; 3];
        far.read_exact(&mut received).expect("the network of this host");
        assert_eq!(&received, b"one");
        assert!(sent.elapsed() >= LATE, "{:?}", sent.elapsed());

        relay.stall(Some(local.ip()));
        near.write_all(b"two").expect("the network of this host");
        far.set_read_timeout(Some(6 * LATE)).expect("the network of this host");
        far.read_exact(&mut received).expect_err("it is stalled");
        relay.stall(None);
        far.set_read_timeout(None).expect("the network of this host");
        near.write_all(b"six").expect("the network of this host");
        let mut received = [0; 6];
        far.read_exact(&mut received).expect("the network of this host");
        assert_eq!(&received, b"twosix");

        drop(near);
        assert_eq!(far.read(&mut received).expect("the network of this host"), 0, "the end is passed on");
    }

    #[test]
    fn a_question_is_passed_on_from_the_address_that_is_said_and_its_answer_is_late() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let from = IpAddr::from([127, 0, 0, 2]);
        let server = UdpSocket::bind(local).expect("the network of this host");
        let relay = Relay::new(Rng::new(7));
        relay.late(LATE, LATE);
        let at = UdpSocket::bind(local).and_then(|socket| socket.local_addr()).expect("a free port");
        relay.listen_to_questions(at, from, server.local_addr().expect("it is bound"), || ());

        let asker = UdpSocket::bind(local).expect("the network of this host");
        let asked = Instant::now();
        asker.send_to(b"who", at).expect("the network of this host");
        let mut received = [0; 8];
        let (len, passed_on) = server.recv_from(&mut received).expect("the network of this host");
        assert_eq!((&received[..len], passed_on.ip()), (&b"who"[..], from));
        server.send_to(b"I", passed_on).expect("the network of this host");
        let (len, answered) = asker.recv_from(&mut received).expect("the network of this host");
        assert_eq!((&received[..len], answered), (&b"I"[..], at));
        assert!(asked.elapsed() >= LATE, "{:?}", asked.elapsed());
    }
}
