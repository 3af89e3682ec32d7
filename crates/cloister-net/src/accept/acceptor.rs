//! Accept loop with a cap on unauthenticated connections.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::ListenError;
use crate::accept::pending::{Evicted, PendingConnections, Permit};
use crate::links::error::LinkError;
use crate::links::shared::{PublishedLinks, lock};
use crate::log_limiter::LogLimiter;
use crate::messages::{HANDSHAKE_TIMEOUT, SessionMessage};
use crate::telemetry::rejections::{self, Reason};

/// How many connections the kernel queues until they are accepted.
const LISTEN_BACKLOG: u32 = 1024;

/// For how long nothing is accepted when the process has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(250);

/// Listens at `bind`.
pub(crate) fn listen(bind: SocketAddr) -> Result<TcpListener, LinkError> {
    let open = || {
        let socket = if bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart in place must not wait for connections of the previous process in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(bind)?;
        socket.listen(LISTEN_BACKLOG)
    };
    open().map_err(|cause| ListenError::new(bind, &cause).into())
}

/// Accepts connections for ever; returns only when the listener is of no more use.
pub(crate) async fn run(
    listener: TcpListener,
    sessions: ActorRef<SessionMessage>,
    shared: Arc<PublishedLinks>,
) -> io::Error {
    let pending = PendingConnections::new(descriptors());
    let known = || peers(&shared);
    let (mut full, mut failing) = (LogLimiter::default(), LogLimiter::default());
    loop {
        let evicted = match listener.accept().await {
            Ok((socket, remote)) => {
                let (permit, evicted) = pending.admit(remote.ip().to_canonical(), known);
                let number = permit.number();
                let task = tokio::spawn(await_first_byte(socket, remote, permit, sessions.clone()));
                pending.set_silent(number, task.abort_handle());
                evicted
            }
            Err(error) if belongs_to_one_connection(&error) => {
                debug!(%error, "a connection ended in the queue");
                None
            }
            Err(error) if is_fatal(&error) => return error,
            Err(error) => {
                // No descriptors or no memory: links go on, and a pending connection is evicted for one that the kernel has queued.
                let evicted = pending.evict(peers(&shared));
                if let Some(missed) = failing.allow(Instant::now()) {
                    warn!(%error, missed, "no connection can be accepted; raise `ulimit -n` if this lasts");
                }
                if evicted.is_none() {
                    sleep(EXHAUSTED_PAUSE).await;
                }
                evicted
            }
        };
        if let Some(Evicted(from)) = evicted {
            rejections::count(Reason::PendingLimit);
            if let Some(missed) = full.allow(Instant::now()) {
                warn!(
                    peer_addr = %from, missed,
                    "too many connections are not linked yet: one was evicted; keep processes that are no nodes from this port, and raise \
                     `ulimit -n` if it is small"
                );
            }
            // The socket closes when the aborted task has run.
            tokio::task::yield_now().await;
        }
    }
}

/// How many file descriptors this process may have, as far as that is known.
#[cfg(target_os = "linux")]
#[must_use]
pub fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
pub fn descriptors() -> Option<u64> {
    None
}

/// The addresses of known peers.
fn peers(shared: &PublishedLinks) -> BTreeSet<IpAddr> {
    lock(&shared.book).ips()
}

/// Waits for the first byte, so that a silent connection costs a descriptor and no session.
async fn await_first_byte(
    socket: TcpStream,
    remote: SocketAddr,
    permit: Permit,
    sessions: ActorRef<SessionMessage>,
) {
    let since = Instant::now();
    match timeout(HANDSHAKE_TIMEOUT, socket.peek(&mut [0])).await {
        // It was evicted at this very moment.
        Ok(Ok(1..)) if !permit.set_active() => {}
        Ok(Ok(1..)) => {
            let _ = sessions.cast(SessionMessage::Accepted { socket, remote, since, permit });
        }
        Ok(Ok(0)) => {
            let _ = sessions.cast(SessionMessage::Probed(remote.ip().to_canonical()));
        }
        Ok(Err(error)) => debug!(peer_addr = %remote, %error, "a connection ended before its first byte"),
        Err(_) => {
            rejections::count(Reason::HandshakeTimeout);
            debug!(peer_addr = %remote, "a connection was closed: it said nothing for {HANDSHAKE_TIMEOUT:?}");
        }
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
    fn a_port_that_is_forbidden_is_said_so_with_a_remedy() {
        let bind = SocketAddr::from(([127, 0, 0, 1], 80));
        let error = ListenError::new(bind, &io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(error.is_permanent());
        let text = error.to_string();
        assert!(text.starts_with("127.0.0.1:80 ") && text.contains("forbids"), "{text}");
        assert!(text.contains("`port` from 1024 on"), "{text}");
        assert!(!ListenError::new(bind, &io::Error::from_raw_os_error(24)).is_permanent(), "EMFILE may pass");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_so_with_a_remedy() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let bind = first.local_addr().unwrap();
        let error = listen(bind).unwrap_err();
        assert!(
            matches!(&error, LinkError::Listen(error) if error.kind == io::ErrorKind::AddrInUse),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(&bind.to_string()) && text.contains("`port`"), "{text}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_said_so() {
        let error = listen(SocketAddr::from(([192, 0, 2, 1], 4370))).unwrap_err();
        assert!(
            matches!(&error, LinkError::Listen(error) if error.kind == io::ErrorKind::AddrNotAvailable),
            "{error:?}"
        );
    }
}
