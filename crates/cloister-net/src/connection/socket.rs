//! A TCP connection that knows when it last received something.

use std::fmt;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use cloister_proto::Time;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::runtime::Application;

/// How many bytes are read from a peer that has not authenticated itself. A handshake takes a few hundred;
/// without this bound an unauthenticated peer could make the node hold a frame of 16 MiB for each connection.
const PREAUTH_LIMIT: u64 = 64 * 1024;

/// A write to a connection that has ended is an error, and no signal.
#[cfg(target_os = "linux")]
const NO_SIGNAL: i32 = rustix::net::SendFlags::NOSIGNAL.bits() as i32;
#[cfg(not(target_os = "linux"))]
const NO_SIGNAL: i32 = 0;

/// The socket of one connection, shared by its two halves and by the tasks that watch it.
pub(crate) struct TrackedSocket {
    socket: TcpStream,
    /// The runtime that its session reads it on.
    application: Application,
    clock: Clock,
    /// When the last byte came in, in nanoseconds of `clock`.
    last_received: AtomicU64,
    /// How many bytes came in before the peer was authenticated.
    preauth_bytes: AtomicU64,
    authenticated: AtomicBool,
    /// Whether TLS came in where none was expected.
    tls: AtomicBool,
    /// Whether it was hung up on this side.
    ended: AtomicBool,
    /// How many callers want the socket tried although its runtime has not reported it as ready.
    direct: AtomicUsize,
    /// The reader, while it waits for the peer to be authenticated.
    waiting: Mutex<Option<Waker>>,
}

impl TrackedSocket {
    /// Takes a connected socket, and registers it with `application`; `patience` is for how long sent bytes may stay
    /// unacknowledged.
    pub(crate) fn new(
        socket: TcpStream,
        application: &Application,
        clock: Clock,
        patience: Duration,
    ) -> io::Result<Self> {
        let socket = {
            let _entered = application.enter();
            TcpStream::from_std(socket.into_std()?)?
        };
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        // The kernel counts both in whole seconds, and refuses zero.
        let second = Duration::from_secs(1);
        options
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(patience.max(second)).with_interval(second))?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(patience))?;
        Ok(Self {
            socket,
            application: application.clone(),
            clock,
            last_received: AtomicU64::new(clock.now().as_nanos()),
            preauth_bytes: AtomicU64::new(0),
            authenticated: AtomicBool::new(false),
            tls: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            direct: AtomicUsize::new(0),
            waiting: Mutex::new(None),
        })
    }

    /// This end of the connection.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until something could be written.
    #[cfg(test)]
    pub(crate) async fn writable(&self) {
        let _ = self.socket.writable().await;
    }

    /// When the last byte of anything came in; the opening of the connection counts as one.
    pub(crate) fn last_received(&self) -> Time {
        Time::from_nanos(self.last_received.load(Ordering::Relaxed))
    }

    /// Its session has looked for bytes, so the runtime of the application ran when the last ones came in, or later.
    pub(crate) fn note_session_reads(&self) {
        self.application.note_ran(self.last_received());
    }

    /// Whether the peer began with TLS on a connection that is without.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls.load(Ordering::SeqCst)
    }

    /// Reads without a bound from now on: the peer has authenticated itself.
    pub(crate) fn set_authenticated(&self) {
        self.authenticated.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// Ends the connection in both directions. The reader, wherever it is, sees the end at once.
    pub(crate) fn shutdown(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // It fails only when the other side was faster.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        self.set_authenticated();
    }

    /// Until the guard is dropped, reads and writes try the socket itself before they ask whether it is ready. Its runtime, which
    /// would know, may stand still. For others that use the socket meanwhile this only costs a system call.
    pub(crate) fn direct(&self) -> Direct<'_> {
        self.direct.fetch_add(1, Ordering::SeqCst);
        Direct(self)
    }

    /// What the system answers at once, if the socket is to be tried; `None` if it is not, or is not ready.
    fn try_direct(
        &self,
        attempt: impl FnOnce(SockRef<'_>) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        if self.direct.load(Ordering::SeqCst) == 0 {
            return None;
        }
        match attempt(SockRef::from(&self.socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    /// Whether it was hung up on this side, by this layer or because its session ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// How many more bytes may be read now; registers the reader to be woken by [`TrackedSocket::set_authenticated`] if none.
    fn read_limit(&self, context: &Context<'_>) -> Option<u64> {
        if self.authenticated.load(Ordering::SeqCst) {
            return Some(u64::MAX);
        }
        let left = PREAUTH_LIMIT.saturating_sub(self.preauth_bytes.load(Ordering::Relaxed));
        if left > 0 {
            return Some(left);
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // Trust that came between the two looks has found no waker.
        self.authenticated.load(Ordering::SeqCst).then_some(u64::MAX)
    }
}

/// See [`TrackedSocket::direct`].
pub(crate) struct Direct<'a>(&'a TrackedSocket);

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        self.0.direct.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for TrackedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedSocket")
            .field("socket", &self.socket)
            .field("last_received", &self.last_received())
            .finish_non_exhaustive()
    }
}

/// The bytes on the socket: all that is read of them is a sign of life, and those before authentication are counted.
#[derive(Clone, Debug)]
pub(crate) struct SocketIo(pub(crate) Arc<TrackedSocket>);

impl SocketIo {
    pub(crate) fn has_read_nothing(&self) -> bool {
        self.0.preauth_bytes.load(Ordering::Relaxed) == 0
    }

    /// Notes that the peer speaks TLS on a connection that is without, and answers if there is an answer.
    pub(crate) fn speaks_tls(&self, answer: &[u8]) {
        self.0.tls.store(true, Ordering::SeqCst);
        // Nothing was sent yet, so there is room; if not, the peer gets no answer.
        let _ = self.0.socket.try_write(answer);
    }

    /// Ends the sending direction, and reads what the peer still sends to its end.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        SockRef::from(&self.0.socket).shutdown(Shutdown::Write)?;
        let mut rest = [0; 1024];
        while self.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

impl AsyncRead for SocketIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tracked = &self.0;
        let Some(limit) = tracked.read_limit(context) else { return Poll::Pending };
        let max = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.remaining());
        let bytes = buffer.initialize_unfilled_to(max);
        let mut result = tracked.try_direct(|socket| (&*socket).read(bytes));
        let read = loop {
            match result.take() {
                Some(result) => break result?,
                None => ready!(tracked.socket.poll_read_ready(context))?,
            }
            result = match tracked.socket.try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                result => Some(result),
            };
        };
        if read > 0 {
            tracked.last_received.store(tracked.clock.now().as_nanos(), Ordering::Relaxed);
            tracked.preauth_bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
        if let Some(result) = self.0.try_direct(|socket| socket.send_with_flags(bytes, NO_SIGNAL)) {
            return Poll::Ready(result);
        }
        loop {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// A TLS handshake sends several records at once. In one write. A peer that rejects the first and closes would otherwise make the next
    /// write fail, and its alert with the reason would not be read.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
        if let Some(result) = self.0.try_direct(|socket| socket.send_vectored_with_flags(bytes, NO_SIGNAL)) {
            return Poll::Ready(result);
        }
        loop {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.socket).shutdown(Shutdown::Write))
    }
}
