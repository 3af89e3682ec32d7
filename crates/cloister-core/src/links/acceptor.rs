//! The door: accepts connections, and keeps strangers from filling the house.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::LinkError;
use super::seldom::Seldom;
use super::session::{INTRODUCTION, SessionMessage};

/// How many connections may be open that are not linked yet.
const MOST_STRANGERS: usize = 256;

/// How many of them may come from one address. All nodes of a laptop share theirs, so loopback is exempt.
const MOST_STRANGERS_PER_IP: usize = 32;

/// How many connections the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;

/// For how long nothing is accepted when the process has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(250);

/// Opens the door at `bind`.
pub(super) fn listen(bind: SocketAddr) -> Result<TcpListener, LinkError> {
    let open = || {
        let socket = if bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart in place must not wait for connections of the last life to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(bind)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|cause| LinkError::from_bind(bind, cause))
}

/// Who sits in the hall: connections that were accepted and are not linked yet.
#[derive(Clone, Debug, Default)]
struct Hall(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A place in the hall, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    hall: Hall,
    ip: IpAddr,
}

impl Hall {
    fn admit(&self, ip: IpAddr) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&ip).copied().unwrap_or(0);
        let all: usize = taken.values().sum();
        if all >= MOST_STRANGERS || (own >= MOST_STRANGERS_PER_IP && !ip.is_loopback()) {
            return None;
        }
        taken.insert(ip, own + 1);
        Some(Seat { hall: self.clone(), ip })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.hall.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.ip);
            }
        }
    }
}

/// Accepts connections for ever; returns only when the listener is of no more use.
pub(super) async fn run(listener: TcpListener, sessions: ActorRef<SessionMessage>) -> io::Error {
    let hall = Hall::default();
    let (mut full, mut failing) = (Seldom::default(), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((socket, remote)) => match hall.admit(remote.ip().to_canonical()) {
                Some(seat) => {
                    tokio::spawn(welcome(socket, remote, seat, sessions.clone()));
                }
                None => {
                    if let Some(missed) = full.say(Instant::now()) {
                        warn!(%remote, missed, "too many connections are not linked yet: one was closed");
                    }
                }
            },
            Err(error) if belongs_to_one_connection(&error) => {
                debug!(%error, "a connection ended in the queue")
            }
            Err(error) if is_fatal(&error) => return error,
            Err(error) => {
                // No descriptors or no memory: what is open goes on, what is new waits in the kernel.
                if let Some(missed) = failing.say(Instant::now()) {
                    warn!(%error, missed, "no connection can be accepted; raise `ulimit -n` if this lasts");
                }
                sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Waits for the first byte, so that somebody who says nothing costs a descriptor and no session.
async fn welcome(socket: TcpStream, remote: SocketAddr, seat: Seat, sessions: ActorRef<SessionMessage>) {
    let since = Instant::now();
    match timeout(INTRODUCTION, socket.peek(&mut [0])).await {
        Ok(Ok(1..)) => {
            let _ = sessions.cast(SessionMessage::Accepted { socket, remote, since, seat });
        }
        Ok(Ok(0)) => {
            let _ = sessions.cast(SessionMessage::Probed(remote.ip().to_canonical()));
        }
        Ok(Err(error)) => debug!(%remote, %error, "a connection ended before its first byte"),
        Err(_) => debug!(%remote, "a connection was closed: it said nothing for {INTRODUCTION:?}"),
    }
}

fn belongs_to_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn is_fatal(error: &io::Error) -> bool {
    // EBADF and EINVAL: this is no listening socket any more.
    matches!(error.raw_os_error(), Some(9 | 22))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_seat() {
        let hall = Hall::default();
        let (greedy, modest) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let seats: Vec<_> = std::iter::from_fn(|| hall.admit(greedy)).collect();
        assert_eq!(seats.len(), MOST_STRANGERS_PER_IP);
        assert!(hall.admit(modest).is_some());
        drop(seats);
        assert!(hall.admit(greedy).is_some());
        assert!(hall.0.lock().unwrap().is_empty(), "every seat is free again");
    }

    #[test]
    fn the_hall_has_an_end_for_loopback_too() {
        let hall = Hall::default();
        let seats: Vec<_> = std::iter::from_fn(|| hall.admit(IpAddr::from([127, 0, 0, 1]))).collect();
        assert_eq!(seats.len(), MOST_STRANGERS);
        assert!(hall.admit(IpAddr::from([10, 0, 0, 1])).is_none());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_so_with_a_remedy() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let bind = first.local_addr().unwrap();
        let error = listen(bind).unwrap_err();
        assert!(matches!(error, LinkError::Taken { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&bind.to_string()) && text.contains("`port`"), "{text}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_said_so() {
        let error = listen(SocketAddr::from(([192, 0, 2, 1], 4370))).unwrap_err();
        assert!(matches!(error, LinkError::NotMine { .. }), "{error:?}");
    }
}
