//! A connection as ractor takes it, with our control frames between its frames.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::reader::{FrameReader, OnMessage};
use crate::connection::socket::TrackedSocket;
use crate::connection::transport::Ends;
use crate::connection::writer::{FrameWriter, OnOversized};

/// Called when one half of a connection was dropped: its session has ended, however it ended.
type OnDropped = Arc<dyn Fn() + Send + Sync>;

/// The callbacks of a connection.
pub(crate) struct Callbacks {
    /// Called when the session lets go of the connection, perhaps twice.
    pub(crate) on_dropped: OnDropped,
    /// Called with the message of each control frame.
    pub(crate) on_message: OnMessage,
    /// Called with the length of each frame of ractor's that is over the limit and is not sent.
    pub(crate) on_oversized: OnOversized,
}

/// A connection as ractor takes it.
pub(crate) struct Stream {
    socket: Arc<TrackedSocket>,
    frame_reader: Arc<FrameReader>,
    frame_writer: Arc<FrameWriter>,
    label: String,
    on_dropped: OnDropped,
}

impl Stream {
    /// Both ends go over `socket`; `label` comes back in every event of the session. Frames over `max` bytes are not sent;
    /// `waiting` bytes may wait.
    pub(crate) fn new(
        socket: Arc<TrackedSocket>,
        ends: Ends,
        label: String,
        max: u64,
        waiting: u64,
        callbacks: Callbacks,
    ) -> Self {
        let Callbacks { on_dropped, on_message, on_oversized } = callbacks;
        let Ends { begun, read, write } = ends;
        let frame_writer = FrameWriter::open(Arc::clone(&socket), write, max, waiting, on_oversized);
        let frame_reader = Arc::new(FrameReader::new(Arc::clone(&socket), begun, read, waiting, on_message));
        Self { socket, frame_reader, frame_writer, label, on_dropped }
    }

    /// Where it is read.
    pub(crate) fn frame_reader(&self) -> Arc<FrameReader> {
        Arc::clone(&self.frame_reader)
    }

    /// Where control frames are sent.
    pub(crate) fn frame_writer(&self) -> Arc<FrameWriter> {
        Arc::clone(&self.frame_writer)
    }
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { socket, frame_reader, frame_writer, on_dropped, .. } = *self;
        let half = || SharedHalf {
            socket: Arc::clone(&socket),
            frame_writer: Arc::clone(&frame_writer),
            on_dropped: Arc::clone(&on_dropped),
        };
        (Box::new(Reader { frame_reader, half: half() }), Box::new(Writer(half())))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }

    fn local_label(&self) -> Option<String> {
        self.socket.local_addr().ok().map(|address: SocketAddr| address.to_string())
    }
}

struct SharedHalf {
    socket: Arc<TrackedSocket>,
    frame_writer: Arc<FrameWriter>,
    on_dropped: OnDropped,
}

impl SharedHalf {
    /// The result of a write that ractor gets: never an error, which it would log. Its session ends when its reader sees the end.
    fn ends<T>(&self, result: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
        result.map(|result| {
            Ok(result.unwrap_or_else(|_| {
                self.socket.shutdown();
                as_if
            }))
        })
    }
}

impl Drop for SharedHalf {
    fn drop(&mut self) {
        // The peer sees the end now, even if other owners still hold the socket.
        self.socket.shutdown();
        self.frame_writer.close();
        (self.on_dropped)();
    }
}

struct Reader {
    frame_reader: Arc<FrameReader>,
    half: SharedHalf,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.frame_reader.poll_read(context, buffer);
        self.half.socket.note_session_reads();
        // ractor would log an error of a read; that the connection has ended is all that it needs to know.
        read.map(|result| {
            if result.is_err() {
                self.half.socket.shutdown();
            }
            Ok(())
        })
    }
}

struct Writer(SharedHalf);

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.ends(self.0.frame_writer.poll_write(context, bytes), bytes.len())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.ends(self.0.frame_writer.poll_flush(context), ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.ends(self.0.frame_writer.poll_shutdown(context), ())
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
    use crate::connection::socket::SocketIo;
    use crate::connection::transport::Transport;
    use crate::runtime::Application;

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, Arc<TrackedSocket>) {
        pair_on(&Application::here()).await
    }

    /// The near end is registered with `application`.
    async fn pair_on(application: &Application) -> (TcpStream, Arc<TrackedSocket>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        // Small, so that it takes little to fill them.
        SockRef::from(&near).set_send_buffer_size(32 * 1024).unwrap();
        SockRef::from(&far).set_recv_buffer_size(32 * 1024).unwrap();
        (far, Arc::new(TrackedSocket::new(near, application, Clock, TEST_TIMEOUT).unwrap()))
    }

    /// Half of the shortest `unreachable_after` is less than the second in which the kernel counts.
    #[tokio::test]
    async fn a_connection_is_taken_with_any_patience_that_the_configuration_allows() {
        for patience in [Duration::from_millis(100), Duration::from_secs(2 * 3600)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            TrackedSocket::new(far, &Application::here(), Clock, patience).unwrap();
        }
    }

    /// A runtime that is not driven: it makes no progress.
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
        frame_reader: Arc<FrameReader>,
        frame_writer: Arc<FrameWriter>,
        drops: Arc<AtomicUsize>,
        messages: UnboundedReceiver<Vec<u8>>,
    }

    fn split(socket: &Arc<TrackedSocket>) -> Near {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drops);
        let (hear, messages) = unbounded_channel();
        let callbacks = Callbacks {
            on_dropped: Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            on_message: Box::new(move |message| hear.send(message).unwrap()),
            on_oversized: Box::new(|len| panic!("a frame of {len} bytes")),
        };
        let ends = Transport::Plain(SocketIo(Arc::clone(socket))).split();
        let stream = Stream::new(Arc::clone(socket), ends, "peer".to_owned(), 16 << 20, 64 << 20, callbacks);
        let (frame_reader, frame_writer) = (stream.frame_reader(), stream.frame_writer());
        let (reader, writer) = Box::new(stream).split();
        Near { reader, writer, frame_reader, frame_writer, drops, messages }
    }

    #[tokio::test]
    async fn any_byte_is_a_sign_of_life() {
        let (mut far, socket) = pair().await;
        let Near { reader, writer, .. } = &mut split(&socket);
        let opened = socket.last_received();
        far.write_all(&[0; 3]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), reader.read_u64()).await.is_err(), "a part of a length");
        assert!(socket.last_received() > opened);
        writer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 9]).await.unwrap();
        assert_eq!(timeout(TEST_TIMEOUT, far.read_u64()).await.unwrap().unwrap(), 1);
        assert_eq!(timeout(TEST_TIMEOUT, far.read_u8()).await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn an_unauthenticated_peer_is_read_up_to_a_limit_only() {
        let (mut far, socket) = pair().await;
        let Near { reader, writer: _writer, .. } = &mut split(&socket);
        let flood = tokio::spawn(async move {
            far.write_u64(2 * 64 * 1024).await.unwrap();
            far.write_all(&vec![1; 2 * 64 * 1024]).await.unwrap();
            far
        });
        let mut bytes = vec![0; 64 * 1024];
        timeout(TEST_TIMEOUT, reader.read_exact(&mut bytes)).await.unwrap().unwrap();
        let mut rest = vec![0; 64 * 1024 + 8];
        assert!(timeout(Duration::from_millis(50), reader.read(&mut rest)).await.is_err());
        socket.set_authenticated();
        timeout(TEST_TIMEOUT, reader.read_exact(&mut rest)).await.unwrap().unwrap();
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn control_frames_overtake_what_ractor_has_queued_and_both_arrive_whole() {
        let ((far, socket), frames, len) = (pair().await, 40, 300_000_u64);
        let far_socket =
            Arc::new(TrackedSocket::new(far, &Application::here(), Clock, TEST_TIMEOUT).unwrap());
        far_socket.set_authenticated();
        let (Near { mut writer, frame_writer, reader: _reader, .. }, mut far) =
            (split(&socket), split(&far_socket));
        let flood = tokio::spawn(async move {
            for fill in 0..frames {
                writer.write_u64(len).await.unwrap();
                writer.write_all(&vec![fill; usize::try_from(len).unwrap()]).await.unwrap();
                writer.flush().await.unwrap();
            }
            writer
        });
        // The far end does not read yet: the socket is full, and ractor in the middle of a frame.
        let full = async {
            while timeout(Duration::from_millis(50), socket.writable()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, full).await.unwrap();
        let messages: Vec<Vec<u8>> = (1..=100).map(|len| vec![0xc1; len * 100]).collect();
        for message in &messages {
            frame_writer.send(message).unwrap();
        }
        let mut after = None;
        for fill in 0..frames {
            assert_eq!(timeout(TEST_TIMEOUT, far.reader.read_u64()).await.unwrap().unwrap(), len);
            let mut body = vec![0; usize::try_from(len).unwrap()];
            timeout(TEST_TIMEOUT, far.reader.read_exact(&mut body)).await.unwrap().unwrap();
            assert!(body.iter().all(|byte| *byte == fill), "frame {fill}");
            if after.is_none() && !far.messages.is_empty() {
                after = Some(fill);
            }
        }
        for message in &messages {
            assert_eq!(timeout(TEST_TIMEOUT, far.messages.recv()).await.unwrap().as_ref(), Some(message));
        }
        assert!(after.is_some_and(|after| after + 1 < frames), "it came last: {after:?}");
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn what_came_in_while_its_runtime_stood_still_is_passed_on_and_the_rest_is_kept_in_order() {
        let (runtime, application) = standing_still();
        let (mut far, socket) = pair_on(&application).await;
        socket.set_authenticated();
        let Near { mut reader, frame_reader, mut messages, writer: _writer, .. } = split(&socket);
        assert_eq!(frame_reader.drain(), Drained::Nothing);
        let control = codec::frame(&[7; 100]).unwrap();
        let frame = |fill: u8| [&5000_u64.to_be_bytes(), [fill; 5000].as_slice()].concat();
        far.write_all(&[frame(1), control.clone(), frame(2), control].concat()).await.unwrap();
        let all = async {
            while messages.len() < 2 {
                frame_reader.drain();
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, all).await.unwrap();
        assert_eq!(messages.recv().await.unwrap(), [7; 100]);
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
        assert_eq!(frame_reader.drain(), Drained::End);
    }

    #[tokio::test]
    async fn a_frame_that_was_begun_goes_out_to_its_end_while_its_runtime_stands_still_and_ours_after_it() {
        let (runtime, application) = standing_still();
        let (mut far, socket) = pair_on(&application).await;
        let Near { mut writer, frame_writer, reader: _reader, .. } = split(&socket);
        let frame = [&(4_u64 << 20).to_be_bytes(), vec![8; 4 << 20].as_slice()].concat();
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Its runtime has seen that the socket takes bytes, and then a handler blocks it.
        let written = {
            let _direct = socket.direct();
            Pin::new(&mut writer).poll_write(&mut context, &frame)
        };
        assert!(matches!(written, Poll::Ready(Ok(len)) if len == frame.len()), "{written:?}");
        frame_writer.send(&[7; 100]).unwrap();
        let mut arrived = vec![0; frame.len() + 108];
        let mut read = 0;
        let all = async {
            while read < arrived.len() {
                frame_writer.push();
                match timeout(Duration::from_millis(10), far.read(&mut arrived[read..])).await {
                    Ok(more) => read += more.unwrap(),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(TEST_TIMEOUT, all).await.unwrap();
        assert!(arrived[..frame.len()] == frame);
        assert!(arrived[frame.len()..] == codec::frame(&[7; 100]).unwrap());
        runtime.shutdown_background();
    }

    #[tokio::test]
    async fn ractor_is_woken_for_what_was_read_in_its_place() {
        let (far, socket) = pair().await;
        socket.set_authenticated();
        let Near { mut reader, frame_reader, writer: _writer, .. } = split(&socket);
        let read = tokio::spawn(async move { reader.read_u64().await.unwrap() });
        tokio::task::yield_now().await;
        // This task does not yield: the runtime sees nothing of what comes in before it has been read.
        let mut far = far.into_std().unwrap();
        std::io::Write::write_all(&mut far, &7_u64.to_be_bytes()).unwrap();
        let deadline = std::time::Instant::now() + TEST_TIMEOUT;
        while frame_reader.drain() == Drained::Nothing {
            assert!(std::time::Instant::now() < deadline, "the socket is read past its runtime");
        }
        assert_eq!(timeout(TEST_TIMEOUT, read).await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_cannot_go_out_now_goes_out_later_without_ractor() {
        let (mut far, socket) = pair().await;
        let Near { frame_writer, writer: _writer, reader: _reader, .. } = split(&socket);
        let message = vec![5; 1 << 20];
        for _ in 0..8 {
            frame_writer.send(&message).unwrap();
        }
        let mut arrived = vec![0; 8 * (8 + message.len())];
        timeout(TEST_TIMEOUT, far.read_exact(&mut arrived)).await.unwrap().unwrap();
        for frame in arrived.chunks(8 + message.len()) {
            assert_eq!(frame[..8], [0xc1, 0, 0, 0, 0, 0x10, 0, 0]);
            assert_eq!(frame[8..], message);
        }
    }

    #[tokio::test]
    async fn a_peer_that_never_reads_is_given_up() {
        let (_far, socket) = pair().await;
        let Near { frame_writer, mut reader, writer: _writer, .. } = split(&socket);
        for _ in 0..1100 {
            frame_writer.send(&[7; 100_000]).unwrap();
        }
        assert_eq!(
            timeout(TEST_TIMEOUT, reader.read(&mut [0; 8])).await.unwrap().unwrap(),
            0,
            "it was hung up"
        );
        assert_eq!(
            frame_writer.send(&vec![0; (1 << 20) + 1]),
            Err((1 << 20) + 1),
            "and no frame is too long"
        );
    }

    #[tokio::test]
    async fn a_connection_that_no_session_took_leaves_no_task() {
        let (_far, socket) = pair().await;
        let before = Handle::current().metrics().num_alive_tasks();
        let near = split(&socket);
        assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1);
        near.frame_writer.send(&[1]).unwrap();
        drop(near);
        let ends = Transport::Plain(SocketIo(Arc::clone(&socket))).split();
        let callbacks = Callbacks {
            on_dropped: Arc::new(|| ()),
            on_message: Box::new(drop),
            on_oversized: Box::new(drop),
        };
        drop(Stream::new(Arc::clone(&socket), ends, "peer".to_owned(), 1, 64 << 20, callbacks));
        let ended = async {
            while Handle::current().metrics().num_alive_tasks() > before {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, ended).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_control_frame_ends_the_connection() {
        let (mut far, socket) = pair().await;
        let Near { reader, writer: _writer, .. } = &mut split(&socket);
        far.write_all(&[0xc1, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let error = timeout(TEST_TIMEOUT, reader.read_u64()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(timeout(TEST_TIMEOUT, far.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "it was hung up");
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_not_sent_and_those_around_it_are() {
        let (mut far, socket) = pair().await;
        let refused_len = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&refused_len);
        let refused = Box::new(move |len| noted.store(len, Ordering::SeqCst));
        let ends = Transport::Plain(SocketIo(Arc::clone(&socket))).split();
        let callbacks =
            Callbacks { on_dropped: Arc::new(|| ()), on_message: Box::new(drop), on_oversized: refused };
        let stream = Stream::new(Arc::clone(&socket), ends, "peer".to_owned(), 1, 64 << 20, callbacks);
        let (_reader, mut writer) = Box::new(stream).split();
        let huge = 4_u64 << 20;
        for bytes in [&[0, 0, 0, 0], &[0, 0, 0, 1, 7][..], &huge.to_be_bytes(), &vec![8; 4 << 20]] {
            writer.write_all(bytes).await.unwrap();
        }
        writer.write_all(&[0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        writer.write_all(&[0]).await.unwrap();
        writer.flush().await.unwrap();
        let mut arrived = [0; 17];
        timeout(TEST_TIMEOUT, far.read_exact(&mut arrived)).await.unwrap().unwrap();
        assert_eq!(arrived, [0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(refused_len.load(Ordering::SeqCst), huge);
    }

    #[tokio::test]
    async fn hanging_up_ends_a_reader_that_waits() {
        let (_far, socket) = pair().await;
        let Near { mut reader, drops, writer: _writer, .. } = split(&socket);
        let read = tokio::spawn(async move { reader.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        socket.shutdown();
        assert_eq!(timeout(TEST_TIMEOUT, read).await.unwrap().unwrap().unwrap(), 0);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "the reader was dropped, and the callback called");
    }
}
