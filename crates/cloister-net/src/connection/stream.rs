//! A connection as ractor takes it, with what we say ourselves between its frames.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::reader::{Heard, Inlet};
use crate::connection::socket::Wire;
use crate::connection::transport::Ends;
use crate::connection::writer::{Outlet, Refused};

/// Told when one half of a connection was dropped: its session has ended, however it ended.
type Dropped = Arc<dyn Fn() + Send + Sync>;

/// Whom a connection tells what.
pub(crate) struct Ears {
    /// Called when the session lets go of the connection, perhaps twice.
    pub(crate) dropped: Dropped,
    /// Called with the message of each control frame.
    pub(crate) heard: Heard,
    /// Called with the length of each frame of ractor's that is over the limit and is not sent.
    pub(crate) refused: Refused,
}

/// A connection as ractor takes it.
pub(crate) struct Stream {
    wire: Arc<Wire>,
    inlet: Arc<Inlet>,
    outlet: Arc<Outlet>,
    label: String,
    dropped: Dropped,
}

impl Stream {
    /// Both ends go over `wire`; `label` comes back in every event of the session. Frames over `most` bytes are not sent;
    /// `waiting` bytes may wait.
    pub(crate) fn new(
        wire: Arc<Wire>,
        ends: Ends,
        label: String,
        most: u64,
        waiting: u64,
        ears: Ears,
    ) -> Self {
        let Ears { dropped, heard, refused } = ears;
        let Ends { begun, read, write } = ends;
        let outlet = Outlet::open(Arc::clone(&wire), write, most, waiting, refused);
        let inlet = Arc::new(Inlet::new(Arc::clone(&wire), begun, read, waiting, heard));
        Self { wire, inlet, outlet, label, dropped }
    }

    /// Where it is read.
    pub(crate) fn inlet(&self) -> Arc<Inlet> {
        Arc::clone(&self.inlet)
    }

    /// Where control frames are sent.
    pub(crate) fn outlet(&self) -> Arc<Outlet> {
        Arc::clone(&self.outlet)
    }
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { wire, inlet, outlet, dropped, .. } = *self;
        let half =
            || Half { wire: Arc::clone(&wire), outlet: Arc::clone(&outlet), dropped: Arc::clone(&dropped) };
        (Box::new(Reader { inlet, half: half() }), Box::new(Writer(half())))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }

    fn local_label(&self) -> Option<String> {
        self.wire.local_addr().ok().map(|address: SocketAddr| address.to_string())
    }
}

struct Half {
    wire: Arc<Wire>,
    outlet: Arc<Outlet>,
    dropped: Dropped,
}

impl Half {
    /// What ractor is told of a write. It would log an error of one; its session ends when its reader sees the end.
    fn ends<T>(&self, result: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
        result.map(|result| {
            Ok(result.unwrap_or_else(|_| {
                self.wire.hang_up();
                as_if
            }))
        })
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // The peer hears of it now, whoever else still holds the socket.
        self.wire.hang_up();
        self.outlet.close();
        (self.dropped)();
    }
}

struct Reader {
    inlet: Arc<Inlet>,
    half: Half,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // ractor would log an error of a read; that the connection has ended is all that it needs to know.
        self.inlet.poll_read(context, buffer).map(|result| {
            if result.is_err() {
                self.half.wire.hang_up();
            }
            Ok(())
        })
    }
}

struct Writer(Half);

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.ends(self.0.outlet.poll_write(context, bytes), bytes.len())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.ends(self.0.outlet.poll_flush(context), ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.ends(self.0.outlet.poll_shutdown(context), ())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::Handle;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Clock;
    use crate::connection::codec;
    use crate::connection::reader::Drained;
    use crate::connection::socket::Socket;
    use crate::connection::transport::Transport;
    use crate::runtime::Application;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, Arc<Wire>) {
        pair_on(&Application::here()).await
    }

    /// The near end is registered with `application`.
    async fn pair_on(application: &Application) -> (TcpStream, Arc<Wire>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        // Small, so that it takes little to fill them.
        SockRef::from(&near).set_send_buffer_size(32 * 1024).unwrap();
        SockRef::from(&far).set_recv_buffer_size(32 * 1024).unwrap();
        (far, Arc::new(Wire::new(near, application, Clock, PATIENCE).unwrap()))
    }

    /// A runtime that nobody drives: it stands still.
    fn standing_still() -> (tokio::runtime::Runtime, Application) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let application = Application::here();
        drop(entered);
        (runtime, application)
    }

    struct Near {
        reader: BoxRead,
        writer: BoxWrite,
        inlet: Arc<Inlet>,
        outlet: Arc<Outlet>,
        drops: Arc<AtomicUsize>,
        heard: UnboundedReceiver<Vec<u8>>,
    }

    fn split(wire: &Arc<Wire>) -> Near {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drops);
        let (hear, heard) = unbounded_channel();
        let ears = Ears {
            dropped: Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            heard: Box::new(move |message| hear.send(message).unwrap()),
            refused: Box::new(|len| panic!("a frame of {len} bytes")),
        };
        let ends = Transport::Plain(Socket(Arc::clone(wire))).split();
        let stream = Stream::new(Arc::clone(wire), ends, "peer".to_owned(), 16 << 20, 64 << 20, ears);
        let (inlet, outlet) = (stream.inlet(), stream.outlet());
        let (reader, writer) = Box::new(stream).split();
        Near { reader, writer, inlet, outlet, drops, heard }
    }

    #[tokio::test]
    async fn any_byte_is_a_sign_of_life() {
        let (mut far, wire) = pair().await;
        let Near { reader, writer, .. } = &mut split(&wire);
        let opened = wire.heard();
        far.write_all(&[0; 3]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), reader.read_u64()).await.is_err(), "a part of a length");
        assert!(wire.heard() > opened);
        writer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 9]).await.unwrap();
        assert_eq!(timeout(PATIENCE, far.read_u64()).await.unwrap().unwrap(), 1);
        assert_eq!(timeout(PATIENCE, far.read_u8()).await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn a_stranger_is_not_read_beyond_its_allowance_until_it_is_trusted() {
        let (mut far, wire) = pair().await;
        let Near { reader, writer: _writer, .. } = &mut split(&wire);
        let flood = tokio::spawn(async move {
            far.write_u64(2 * 64 * 1024).await.unwrap();
            far.write_all(&vec![1; 2 * 64 * 1024]).await.unwrap();
            far
        });
        let mut bytes = vec![0; 64 * 1024];
        timeout(PATIENCE, reader.read_exact(&mut bytes)).await.unwrap().unwrap();
        let mut rest = vec![0; 64 * 1024 + 8];
        assert!(timeout(Duration::from_millis(50), reader.read(&mut rest)).await.is_err());
        wire.trust();
        timeout(PATIENCE, reader.read_exact(&mut rest)).await.unwrap().unwrap();
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn what_we_say_overtakes_what_ractor_has_queued_and_both_arrive_whole() {
        let ((far, wire), frames, len) = (pair().await, 40, 300_000_u64);
        let far_wire = Arc::new(Wire::new(far, &Application::here(), Clock, PATIENCE).unwrap());
        far_wire.trust();
        let (Near { mut writer, outlet, reader: _reader, .. }, mut far) = (split(&wire), split(&far_wire));
        let flood = tokio::spawn(async move {
            for fill in 0..frames {
                writer.write_u64(len).await.unwrap();
                writer.write_all(&vec![fill; usize::try_from(len).unwrap()]).await.unwrap();
                writer.flush().await.unwrap();
            }
            writer
        });
        // Nobody reads yet: the socket is full, and ractor in the middle of a frame.
        let full = async {
            while timeout(Duration::from_millis(50), wire.writable()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, full).await.unwrap();
        let messages: Vec<Vec<u8>> = (1..=100).map(|len| vec![0xc1; len * 100]).collect();
        for message in &messages {
            outlet.say(message).unwrap();
        }
        let mut after = None;
        for fill in 0..frames {
            assert_eq!(timeout(PATIENCE, far.reader.read_u64()).await.unwrap().unwrap(), len);
            let mut body = vec![0; usize::try_from(len).unwrap()];
            timeout(PATIENCE, far.reader.read_exact(&mut body)).await.unwrap().unwrap();
            assert!(body.iter().all(|byte| *byte == fill), "frame {fill}");
            if after.is_none() && !far.heard.is_empty() {
                after = Some(fill);
            }
        }
        for message in &messages {
            assert_eq!(timeout(PATIENCE, far.heard.recv()).await.unwrap().as_ref(), Some(message));
        }
        assert!(after.is_some_and(|after| after + 1 < frames), "it came last: {after:?}");
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn what_came_in_while_its_runtime_stood_still_is_passed_on_and_the_rest_is_kept_in_order() {
        let (runtime, application) = standing_still();
        let (mut far, wire) = pair_on(&application).await;
        wire.trust();
        let Near { mut reader, inlet, mut heard, writer: _writer, .. } = split(&wire);
        assert_eq!(inlet.drain(), Drained::Nothing);
        let control = codec::frame(&[7; 100]).unwrap();
        let frame = |fill: u8| [&5000_u64.to_be_bytes(), [fill; 5000].as_slice()].concat();
        far.write_all(&[frame(1), control.clone(), frame(2), control].concat()).await.unwrap();
        let all = async {
            while heard.len() < 2 {
                inlet.drain();
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), [7; 100]);
        // ractor reads, now that its runtime goes on.
        far.write_all(&frame(3)).await.unwrap();
        drop(far);
        let read = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).await.unwrap();
                bytes
            })
        });
        assert!(read.join().unwrap() == [frame(1), frame(2), frame(3)].concat());
        assert_eq!(inlet.drain(), Drained::End);
    }

    #[tokio::test]
    async fn a_frame_that_was_begun_goes_out_to_its_end_while_its_runtime_stands_still_and_ours_after_it() {
        let (runtime, application) = standing_still();
        let (mut far, wire) = pair_on(&application).await;
        let Near { mut writer, outlet, reader: _reader, .. } = split(&wire);
        let frame = [&(4_u64 << 20).to_be_bytes(), vec![8; 4 << 20].as_slice()].concat();
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Its runtime has seen that the socket takes bytes, and then a handler blocks it.
        let written = {
            let _direct = wire.direct();
            Pin::new(&mut writer).poll_write(&mut context, &frame)
        };
        assert!(matches!(written, Poll::Ready(Ok(len)) if len == frame.len()), "{written:?}");
        outlet.say(&[7; 100]).unwrap();
        let mut arrived = vec![0; frame.len() + 108];
        let mut read = 0;
        let all = async {
            while read < arrived.len() {
                outlet.push();
                match timeout(Duration::from_millis(10), far.read(&mut arrived[read..])).await {
                    Ok(more) => read += more.unwrap(),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, all).await.unwrap();
        assert!(arrived[..frame.len()] == frame);
        assert!(arrived[frame.len()..] == codec::frame(&[7; 100]).unwrap());
        runtime.shutdown_background();
    }

    #[tokio::test]
    async fn ractor_is_woken_for_what_was_read_in_its_place() {
        let (far, wire) = pair().await;
        wire.trust();
        let Near { mut reader, inlet, writer: _writer, .. } = split(&wire);
        let read = tokio::spawn(async move { reader.read_u64().await.unwrap() });
        tokio::task::yield_now().await;
        // This task does not yield: the runtime sees nothing of what comes in before it has been read.
        let mut far = far.into_std().unwrap();
        std::io::Write::write_all(&mut far, &7_u64.to_be_bytes()).unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while inlet.drain() == Drained::Nothing {
            assert!(std::time::Instant::now() < deadline, "the socket is read past its runtime");
        }
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_cannot_go_out_now_goes_out_later_without_ractor() {
        let (mut far, wire) = pair().await;
        let Near { outlet, writer: _writer, reader: _reader, .. } = split(&wire);
        let message = vec![5; 1 << 20];
        for _ in 0..8 {
            outlet.say(&message).unwrap();
        }
        let mut arrived = vec![0; 8 * (8 + message.len())];
        timeout(PATIENCE, far.read_exact(&mut arrived)).await.unwrap().unwrap();
        for frame in arrived.chunks(8 + message.len()) {
            assert_eq!(frame[..8], [0xc1, 0, 0, 0, 0, 0x10, 0, 0]);
            assert_eq!(frame[8..], message);
        }
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_given_up() {
        let (_far, wire) = pair().await;
        let Near { outlet, mut reader, writer: _writer, .. } = split(&wire);
        for _ in 0..1100 {
            outlet.say(&[7; 100_000]).unwrap();
        }
        assert_eq!(timeout(PATIENCE, reader.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "it was hung up");
        assert_eq!(outlet.say(&vec![0; (1 << 20) + 1]), Err((1 << 20) + 1), "and nothing too long is said");
    }

    #[tokio::test]
    async fn a_connection_that_no_session_took_leaves_no_task() {
        let (_far, wire) = pair().await;
        let before = Handle::current().metrics().num_alive_tasks();
        let near = split(&wire);
        assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1);
        near.outlet.say(&[1]).unwrap();
        drop(near);
        let ends = Transport::Plain(Socket(Arc::clone(&wire))).split();
        let ears = Ears { dropped: Arc::new(|| ()), heard: Box::new(drop), refused: Box::new(drop) };
        drop(Stream::new(Arc::clone(&wire), ends, "peer".to_owned(), 1, 64 << 20, ears));
        let ended = async {
            while Handle::current().metrics().num_alive_tasks() > before {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_control_frame_ends_the_connection() {
        let (mut far, wire) = pair().await;
        let Near { reader, writer: _writer, .. } = &mut split(&wire);
        far.write_all(&[0xc1, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let error = timeout(PATIENCE, reader.read_u64()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(timeout(PATIENCE, far.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "it was hung up");
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_not_sent_and_those_around_it_are() {
        let (mut far, wire) = pair().await;
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let refused = Box::new(move |len| tell.store(len, Ordering::SeqCst));
        let ends = Transport::Plain(Socket(Arc::clone(&wire))).split();
        let ears = Ears { dropped: Arc::new(|| ()), heard: Box::new(drop), refused };
        let stream = Stream::new(Arc::clone(&wire), ends, "peer".to_owned(), 1, 64 << 20, ears);
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
        let Near { mut reader, drops, writer: _writer, .. } = split(&wire);
        let read = tokio::spawn(async move { reader.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        wire.hang_up();
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap(), 0);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "the reader was dropped, and this was told");
    }
}
