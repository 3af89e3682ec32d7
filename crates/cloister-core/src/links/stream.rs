//! A TCP connection that knows when it last heard something.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use cloister_proto::Time;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::frames::{Frames, Step};
use super::transport::{ReadEnd, Transport, WriteEnd};
use crate::clock::Clock;

/// How many bytes are read from a peer that has not authenticated itself. A handshake takes a few hundred;
/// without this bound a stranger could make the node hold a frame of 16 MiB for each connection.
const ALLOWANCE: u64 = 64 * 1024;

/// The socket of one connection, shared by its two halves and by whoever watches it.
pub(super) struct Wire {
    socket: TcpStream,
    clock: Clock,
    /// When the last byte came in, in nanoseconds of `clock`.
    heard: AtomicU64,
    /// How many bytes came in while the peer was a stranger.
    strange: AtomicU64,
    trusted: AtomicBool,
    /// Whether TLS came in where none was expected.
    tls: AtomicBool,
    /// The reader, while it waits for trust.
    waiting: Mutex<Option<Waker>>,
}

impl Wire {
    /// Takes a connected socket; `patience` is for how long sent bytes may stay unacknowledged.
    pub(super) fn new(socket: TcpStream, clock: Clock, patience: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(patience).with_interval(Duration::from_secs(1)),
        )?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(patience))?;
        Ok(Self {
            socket,
            clock,
            heard: AtomicU64::new(clock.now().as_nanos()),
            strange: AtomicU64::new(0),
            trusted: AtomicBool::new(false),
            tls: AtomicBool::new(false),
            waiting: Mutex::new(None),
        })
    }

    /// When the last byte of anything came in; the opening of the connection counts as one.
    pub(super) fn heard(&self) -> Time {
        Time::from_nanos(self.heard.load(Ordering::Relaxed))
    }

    /// Whether the peer began with TLS on a connection that is without.
    pub(super) fn speaks_tls(&self) -> bool {
        self.tls.load(Ordering::SeqCst)
    }

    /// Reads without a bound from now on: the peer has authenticated itself.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// Ends the connection in both directions. The reader, wherever it is, sees the end at once.
    pub(super) fn hang_up(&self) {
        // It fails only when the other side was faster.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        self.trust();
    }

    /// How many more bytes may be read now; registers the reader to be woken by trust if none.
    fn allowance(&self, context: &Context<'_>) -> Option<u64> {
        if self.trusted.load(Ordering::SeqCst) {
            return Some(u64::MAX);
        }
        let left = ALLOWANCE.saturating_sub(self.strange.load(Ordering::Relaxed));
        if left > 0 {
            return Some(left);
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // Trust that came between the two looks has found no waker.
        self.trusted.load(Ordering::SeqCst).then_some(u64::MAX)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("socket", &self.socket)
            .field("heard", &self.heard())
            .finish_non_exhaustive()
    }
}

/// Told when one half of a connection was dropped: its session has ended, however it ended.
type Dropped = Arc<dyn Fn() + Send + Sync>;

/// Told the length of a frame that was over the limit and has not been sent.
type Refused = Box<dyn Fn(u64) + Send + Sync>;

/// A connection as ractor takes it.
pub(super) struct Stream {
    wire: Arc<Wire>,
    transport: Transport,
    label: String,
    dropped: Dropped,
    most: u64,
    refused: Refused,
}

impl Stream {
    /// `transport` goes over `wire`; `label` comes back in every event of the session; `dropped` is called when the
    /// session lets go of the connection, perhaps twice. Frames over `most` bytes are not sent: `refused` is told of each.
    pub(super) fn new(
        wire: Arc<Wire>,
        transport: Transport,
        label: String,
        dropped: Dropped,
        most: u64,
        refused: Refused,
    ) -> Self {
        Self { wire, transport, label, dropped, most, refused }
    }
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let half = || Half { wire: Arc::clone(&self.wire), dropped: Arc::clone(&self.dropped) };
        let (reader, half) = (half(), half());
        let (read, end) = self.transport.split();
        let writer = Writer { end, frames: Frames::new(self.most), refused: self.refused, half };
        (Box::new(Reader(read, reader)), Box::new(writer))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }

    fn local_label(&self) -> Option<String> {
        self.wire.socket.local_addr().ok().map(|address: SocketAddr| address.to_string())
    }
}

struct Half {
    wire: Arc<Wire>,
    dropped: Dropped,
}

impl Drop for Half {
    fn drop(&mut self) {
        // The peer hears of it now, whoever else still holds the socket.
        self.wire.hang_up();
        (self.dropped)();
    }
}

struct Reader(ReadEnd, #[expect(dead_code, reason = "it is dropped with the reader")] Half);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

struct Writer {
    end: WriteEnd,
    frames: Frames,
    refused: Refused,
    #[expect(dead_code, reason = "it is dropped with the writer")]
    half: Half,
}

impl Writer {
    fn poll_end(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write(context, bytes)
    }

    /// Writes the length that was held back until it was whole.
    fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((head, sent)) = self.frames.owed() {
            let more = ready!(self.poll_end(context, head.get(sent..).unwrap_or_default()))?;
            if more == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frames.paid(more);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            match self.frames.next(bytes) {
                Step::Send(most) => {
                    let allowed = bytes.get(..most).unwrap_or(bytes);
                    let sent = ready!(self.poll_end(context, allowed))?;
                    self.frames.sent(bytes, sent);
                    return Poll::Ready(Ok(sent));
                }
                Step::Owe(..) => ready!(self.poll_owed(context))?,
                Step::Skip(skipped) => return Poll::Ready(Ok(skipped)),
                Step::Refuse(skipped, len) => {
                    (self.refused)(len);
                    return Poll::Ready(Ok(skipped));
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(context))?;
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}

/// The bytes on the wire: all that is read of them is a sign of life, and a stranger's are counted.
#[derive(Clone, Debug)]
pub(super) struct Socket(pub(super) Arc<Wire>);

impl Socket {
    pub(super) fn has_read_nothing(&self) -> bool {
        self.0.strange.load(Ordering::Relaxed) == 0
    }

    /// Notes that the peer speaks TLS on a connection that is without, and answers if there is an answer.
    pub(super) fn speaks_tls(&self, answer: &[u8]) {
        self.0.tls.store(true, Ordering::SeqCst);
        // Nothing was sent yet, so there is room; if not, the peer is told nothing.
        let _ = self.0.socket.try_write(answer);
    }

    /// Says that nothing more will be said, and reads to the end what the peer says still.
    pub(super) async fn read_out(&mut self) -> io::Result<()> {
        SockRef::from(&self.0.socket).shutdown(Shutdown::Write)?;
        let mut rest = [0; 1024];
        while self.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &self.0;
        let Some(allowance) = wire.allowance(context) else { return Poll::Pending };
        let most = usize::try_from(allowance).unwrap_or(usize::MAX).min(buffer.remaining());
        loop {
            ready!(wire.socket.poll_read_ready(context))?;
            match wire.socket.try_read(buffer.initialize_unfilled_to(most)) {
                Ok(read) => {
                    if read > 0 {
                        wire.heard.store(wire.clock.now().as_nanos(), Ordering::Relaxed);
                        wire.strange.fetch_add(read as u64, Ordering::Relaxed);
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
        loop {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// A TLS handshake sends several records at once. In one write: a peer that dislikes the first and goes away would
    /// otherwise make the next fail, and nobody would read why it went.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, Arc<Wire>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        (far, Arc::new(Wire::new(near, Clock, PATIENCE).unwrap()))
    }

    fn split(wire: &Arc<Wire>) -> (BoxRead, BoxWrite, Arc<AtomicUsize>) {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drops);
        let dropped = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let transport = Transport::Plain(Socket(Arc::clone(wire)));
        let refused = Box::new(|len| panic!("a frame of {len} bytes"));
        let stream = Stream::new(Arc::clone(wire), transport, "peer".to_owned(), dropped, u64::MAX, refused);
        let (reader, writer) = Box::new(stream).split();
        (reader, writer, drops)
    }

    #[tokio::test]
    async fn any_byte_is_a_sign_of_life() {
        let (mut far, wire) = pair().await;
        let (mut reader, mut writer, _) = split(&wire);
        let opened = wire.heard();
        far.write_all(&[7]).await.unwrap();
        assert_eq!(timeout(PATIENCE, reader.read_u8()).await.unwrap().unwrap(), 7);
        assert!(wire.heard() > opened);
        writer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 9]).await.unwrap();
        assert_eq!(timeout(PATIENCE, far.read_u64()).await.unwrap().unwrap(), 1);
        assert_eq!(timeout(PATIENCE, far.read_u8()).await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn a_stranger_is_not_read_beyond_its_allowance_until_it_is_trusted() {
        let (mut far, wire) = pair().await;
        let (mut reader, _writer, _) = split(&wire);
        let flood = tokio::spawn(async move {
            far.write_all(&vec![1; 2 * 64 * 1024]).await.unwrap();
            far
        });
        let mut bytes = vec![0; 64 * 1024];
        timeout(PATIENCE, reader.read_exact(&mut bytes)).await.unwrap().unwrap();
        let mut rest = vec![0; 64 * 1024];
        assert!(timeout(Duration::from_millis(50), reader.read(&mut rest)).await.is_err());
        wire.trust();
        timeout(PATIENCE, reader.read_exact(&mut rest)).await.unwrap().unwrap();
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_not_sent_and_those_around_it_are() {
        let (mut far, wire) = pair().await;
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let refused = Box::new(move |len| tell.store(len, Ordering::SeqCst));
        let transport = Transport::Plain(Socket(Arc::clone(&wire)));
        let stream =
            Stream::new(Arc::clone(&wire), transport, "peer".to_owned(), Arc::new(|| ()), 1, refused);
        let (_reader, mut writer) = Box::new(stream).split();
        let huge = 4_u64 << 20;
        for bytes in [&[0, 0, 0, 0], &[0, 0, 0, 1, 7][..], &huge.to_be_bytes(), &vec![8; 4 << 20]] {
            writer.write_all(bytes).await.unwrap();
        }
        writer.write_all(&[0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        writer.write_all(&[0]).await.unwrap();
        writer.flush().await.unwrap();
        let mut arrived = [0; 17];
        timeout(PATIENCE, far.read_exact(&mut arrived)).await.unwrap().unwrap();
        assert_eq!(arrived, [0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(told.load(Ordering::SeqCst), huge);
    }

    #[tokio::test]
    async fn hanging_up_ends_a_reader_that_waits() {
        let (_far, wire) = pair().await;
        let (mut reader, _writer, drops) = split(&wire);
        let read = tokio::spawn(async move { reader.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        wire.hang_up();
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap(), 0);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "the reader was dropped, and this was told");
    }
}
