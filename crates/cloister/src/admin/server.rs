//! The server: accepts connections within bounds, and answers each by the router.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use cloister_core::internal::{self, LogLimiter, recorded, runtime};
use cloister_core::telemetry::rejections::Reason;
use cloister_core::{Cloister, Config};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Over;
use super::connections::{self, Connections, Permit};
use super::host::{self, Hosts};

/// How long the head of a request may take to come, and how long a connection may wait for its next request.
const HEAD: Duration = Duration::from_secs(5);

/// The most bytes that are kept of a request: every page is asked for in less.
const MAX_BYTES: usize = 16 << 10;

/// How long answers may take once the node has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How many connections the kernel keeps for us while we are busy.
const BACKLOG: u32 = 1024;

/// For how long nothing is accepted when the process has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(250);

/// The answer to a connection beyond the most, without reading what it asks.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 58\r\n\
    connection: close\r\n\r\nevery connection of the admin server is in use; try again\n";

/// A socket that listens, and is not answered yet.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    /// Of the node: no code of the application can hold the answers up.
    runtime: Handle,
}

impl Listener {
    /// Listens at `address`. Nothing is answered before [`serve`](Self::serve); what connects waits in the kernel.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let runtime = runtime::handle()?;
        let entered = runtime.enter();
        let (socket, address) = socket(address, TcpSocket::new_v6)?;
        // A restart in place must not wait for connections of the last incarnation to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        drop(entered);
        Ok(Self { listener, address, runtime })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `ended`; then the port is free at once, and answers that are under way have a moment. `config` says under which
    /// names a node may be asked, besides its own.
    pub(crate) fn serve(
        self,
        cloister: &Cloister,
        config: Option<&Config>,
        ended: impl Future<Output = ()> + Send + 'static,
    ) {
        let address = self.address;
        if address.ip().to_canonical().is_loopback() {
            debug!(local_addr = %address, "admin server listens");
        } else {
            warn!(
                local_addr = %address,
                "the admin server listens beyond loopback, and has no password: any process that reaches this port can read the members, \
                 owners and metrics; keep it closed to others by a firewall or a NetworkPolicy, or let `admin.listen` be \
                 127.0.0.1"
            );
        }
        // A node has left when its port is closed, so that the next one can have it.
        let open = internal::companion(cloister);
        let (over, is_over) = watch::channel(false);
        let is_over = Over(Some(is_over));
        let hosts = Hosts::new(cloister.clone(), config);
        let router = super::pages_until(cloister.clone(), is_over.clone())
            .layer(middleware::from_fn_with_state(hosts, host::check));
        let Self { listener, runtime, .. } = self;
        runtime.spawn(async move {
            let mut tasks = JoinSet::new();
            tokio::select! {
                never = accept(&listener, &router, &is_over, &mut tasks) => match never {},
                () = ended => {}
            }
            drop(listener);
            over.send_replace(true);
            let _ = timeout(LAST_ANSWERS, async { while tasks.join_next().await.is_some() {} }).await;
            drop((tasks, open));
        });
    }
}

/// A socket for `address`. One for `[::]` serves both families, and is one for `0.0.0.0` where the kernel has no IPv6.
fn socket(
    address: SocketAddr,
    new_v6: impl FnOnce() -> io::Result<TcpSocket>,
) -> io::Result<(TcpSocket, SocketAddr)> {
    if address.is_ipv4() {
        return Ok((TcpSocket::new_v4()?, address));
    }
    let is_any = address.ip().is_unspecified();
    match new_v6() {
        Ok(socket) => {
            if is_any {
                // The default is a setting of the system.
                SockRef::from(&socket).set_only_v6(false)?;
            }
            Ok((socket, address))
        }
        Err(_) if is_any => Ok((TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, address.port()).into())),
        Err(error) => Err(error),
    }
}

async fn accept(listener: &TcpListener, router: &Router, over: &Over, tasks: &mut JoinSet<()>) -> Infallible {
    let connections = Connections::new(connections::max());
    let (mut full, mut failing) = (LogLimiter::default(), LogLimiter::default());
    loop {
        while tasks.try_join_next().is_some() {}
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // One connection that ended in the queue, or no descriptors: the kernel keeps the others queued.
                if let Some(missed) = failing.allow(Instant::now()) {
                    warn!(%error, missed, "the admin server cannot accept a connection; raise `ulimit -n` if this lasts");
                }
                sleep(EXHAUSTED).await;
                continue;
            }
        };
        sleep(connections.grace(Instant::now())).await;
        let admitted = connections.admit(Instant::now());
        let crowded = !matches!(admitted, Some((_, false)));
        if crowded {
            recorded::rejection(Reason::AdminCrowded);
            if let Some(missed) = full.allow(Instant::now()) {
                warn!(
                    peer_addr = %SocketAddr::new(from.ip().to_canonical(), from.port()), missed,
                    "the admin server has too many clients: one that asks for nothing was closed, or a new one refused; let fewer ask it, \
                     or raise `ulimit -n` if it is small"
                );
            }
        }
        match admitted {
            Some((permit, _)) => {
                let task = tasks.spawn(answer(socket, router.clone(), permit.clone(), over.clone()));
                permit.served_by(task);
            }
            None => refuse(socket),
        }
        if crowded {
            // What was closed is closed when its task has run.
            tokio::task::yield_now().await;
        }
    }
}

/// Says that there is no room, if that can be said at once.
fn refuse(socket: TcpStream) {
    if let Ok(mut socket) = socket.into_std() {
        let _ = socket.write(BUSY);
    }
}

/// Answers the requests of one connection.
async fn answer(socket: TcpStream, router: Router, permit: Permit, over: Over) {
    let router = router
        .layer(middleware::from_fn_with_state(permit.clone(), while_answering))
        .layer(Extension(permit));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = over.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection to the admin server ended");
    }
}

/// While a request is being answered its connection is not closed for another one.
async fn while_answering(State(permit): State<Permit>, request: Request, next: Next) -> Response {
    let _answering = permit.answering();
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
    }

    /// Whether a server at the address of this socket takes connections of these addresses.
    async fn takes(opened: io::Result<(TcpSocket, SocketAddr)>, from: &[IpAddr]) -> bool {
        let (socket, address) = opened.unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let port = listener.local_addr().unwrap().port();
        for ip in from {
            if TcpStream::connect((*ip, port)).await.is_err() || listener.accept().await.is_err() {
                return false;
            }
        }
        true
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families_whatever_the_system_prefers_and_those_that_there_are() {
        let any: SocketAddr = "[::]:0".parse().unwrap();
        if TcpSocket::new_v6().is_ok() {
            let of_one_family = || {
                let socket = TcpSocket::new_v6()?;
                SockRef::from(&socket).set_only_v6(true)?;
                Ok(socket)
            };
            let has_v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
            let of_both = [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            let there = if has_v6 { &of_both[..] } else { &of_both[..1] };
            assert!(takes(socket(any, of_one_family), there).await);
        }
        let without = || Err(io::Error::from(io::ErrorKind::Unsupported));
        assert!(takes(socket(any, without), &[Ipv4Addr::LOCALHOST.into()]).await);
        assert!(socket("[::1]:0".parse().unwrap(), without).is_err(), "that address alone is meant");
    }
}
