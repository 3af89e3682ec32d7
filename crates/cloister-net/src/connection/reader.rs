//! Where a connection is read: control frames go one way, and the rest goes to ractor.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::connection::codec::{Demux, Segment};
use crate::connection::socket::TrackedSocket;
use crate::connection::transport::ReadEnd;

/// How many bytes are read at a time. ractor reads the eight bytes of a length and then the body: of small messages many are
/// here after one read.
const BUFFER: usize = 4096;

/// How many bytes [`FrameReader::drain`] reads at most before others are let in.
const DRAINED: usize = 1 << 20;

/// Called with each message of a control frame.
pub(crate) type OnMessage = Box<dyn Fn(Vec<u8>) + Send + Sync>;

/// The reading half of a connection. ractor reads it on the application's runtime; while that stands still, the node does.
pub(crate) struct FrameReader {
    socket: Arc<TrackedSocket>,
    on_message: OnMessage,
    /// How many bytes of ractor's are kept for it at most.
    max_kept: u64,
    state: Mutex<State>,
}

struct State {
    end: ReadEnd,
    /// What was read and is not sorted: from `begin` to `filled`.
    buffer: Box<[u8]>,
    begin: usize,
    filled: usize,
    /// Of the sorted, what is ractor's and has not been handed out.
    ractors: usize,
    /// What is ractor's and was read while it did not read: it comes before the rest.
    kept: VecDeque<u8>,
    demux: Demux,
    /// ractor, when it waits for bytes.
    reader: Option<Waker>,
}

/// What [`FrameReader::drain`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing had come in.
    Nothing,
    /// All that had come in was read.
    All,
    /// There may be more.
    Some,
    /// The connection has ended, or what came in is no frame.
    End,
}

impl FrameReader {
    /// Reads `end`, which goes over `socket`, after what of it has `begun`. Up to `max_kept` bytes are kept for ractor while it does not read.
    pub(crate) fn new(
        socket: Arc<TrackedSocket>,
        begun: Vec<u8>,
        end: ReadEnd,
        max_kept: u64,
        on_message: OnMessage,
    ) -> Self {
        let filled = begun.len();
        let mut buffer = begun;
        buffer.resize(BUFFER.max(filled), 0);
        let state = State {
            end,
            buffer: buffer.into_boxed_slice(),
            begin: 0,
            filled,
            ractors: 0,
            kept: VecDeque::new(),
            demux: Demux::default(),
            reader: None,
        };
        Self { socket, on_message, max_kept, state: Mutex::new(state) }
    }

    /// Reads for ractor.
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.lock();
        loop {
            if state.hand_out(out) {
                return Poll::Ready(Ok(()));
            }
            match state.poll_next(context, &self.on_message) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    match &mut state.reader {
                        Some(waker) => waker.clone_from(context.waker()),
                        None => state.reader = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads what has come in while ractor did not read: passes control frames on, and keeps the rest for ractor. Does not wait.
    pub(crate) fn drain(&self) -> Drained {
        let mut state = self.lock();
        let _direct = self.socket.direct();
        // The socket wakes one reader only, and that is ractor.
        let waker = state.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        let context = &mut Context::from_waker(&waker);
        let (mut drained, before) = (Drained::Nothing, state.kept.len());
        let mut left = DRAINED;
        loop {
            state.keep();
            if state.kept.len() as u64 >= self.max_kept || left == 0 {
                drained = if left == 0 { Drained::Some } else { drained };
                break;
            }
            let filled = state.filled - state.begin;
            match state.poll_next(context, &self.on_message) {
                Poll::Ready(Ok(true)) => {
                    left = left.saturating_sub((state.filled - state.begin).saturating_sub(filled));
                    drained = Drained::All;
                }
                Poll::Ready(Ok(false) | Err(_)) => {
                    drained = Drained::End;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if (state.kept.len() > before || drained == Drained::End)
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
        drained
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl State {
    fn unsorted(&self) -> &[u8] {
        self.buffer.get(self.begin..self.filled).unwrap_or_default()
    }

    /// Hands out what is ractor's, as much as there is room for; whether there was any.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let before = out.filled().len();
        while !self.kept.is_empty() && out.remaining() > 0 {
            let (first, _) = self.kept.as_slices();
            let len = first.len().min(out.remaining());
            out.put_slice(first.get(..len).unwrap_or_default());
            self.kept.drain(..len);
        }
        if self.kept.is_empty() && self.kept.capacity() > BUFFER {
            self.kept = VecDeque::new();
        }
        let len = self.ractors.min(out.remaining());
        out.put_slice(self.unsorted().get(..len).unwrap_or_default());
        self.begin += len;
        self.ractors -= len;
        out.filled().len() > before
    }

    /// Keeps what is ractor's until it reads.
    fn keep(&mut self) {
        let end = self.begin + self.ractors;
        self.kept.extend(self.buffer.get(self.begin..end).unwrap_or_default());
        self.begin = end;
        self.ractors = 0;
    }

    /// Sorts what was read, or reads some more; false at the end. To be called when nothing is left of what is ractor's.
    fn poll_next(&mut self, context: &mut Context<'_>, on_message: &OnMessage) -> Poll<io::Result<bool>> {
        let unsorted = self.buffer.get(self.begin..self.filled).unwrap_or_default();
        match self.demux.next(unsorted) {
            Ok(Segment::Session(len)) => self.ractors = len,
            Ok(Segment::Consumed(len)) => self.begin += len,
            Ok(Segment::Message(len, message)) => {
                self.begin += len;
                on_message(message);
            }
            Ok(Segment::Incomplete) => return self.poll_fill(context),
            Err(malformed) => {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads some more; whether there was any.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // Less than a head is left over, or nothing.
        self.buffer.copy_within(self.begin..self.filled, 0);
        self.filled -= self.begin;
        self.begin = 0;
        let mut buffer = ReadBuf::new(self.buffer.get_mut(self.filled..).unwrap_or_default());
        ready!(Pin::new(&mut self.end).poll_read(context, &mut buffer))?;
        let read = buffer.filled().len();
        self.filled += read;
        Poll::Ready(Ok(read > 0))
    }
}
