//! Where a connection is written: by ractor, and between its frames by us.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::io::AsyncWrite;

use crate::connection::backlog::Backlog;
use crate::connection::codec;
use crate::connection::oversize::{Action, OversizeFilter};
use crate::connection::socket::TrackedSocket;
use crate::connection::transport::WriteEnd;

/// How many control frames may wait for a peer that does not read, and how many bytes. Long before, it is unreachable.
const MAX_WAITING: usize = 1024;
const MAX_BYTES: usize = 16 << 20;

/// Called with the length of a frame of ractor's that was over the limit and has not been sent.
pub(crate) type OnOversized = Box<dyn Fn(u64) + Send + Sync>;

/// The writing half of a connection, shared by all writers.
pub(crate) struct FrameWriter {
    socket: Arc<TrackedSocket>,
    backlog: Arc<Backlog>,
    state: Mutex<State>,
    writers: Arc<Writers>,
    /// Wakes all of them.
    waker: Waker,
    on_oversized: OnOversized,
}

struct State {
    /// `None` once the connection has ended.
    end: Option<WriteEnd>,
    filter: OversizeFilter,
    /// What is left of a frame of ractor's of which a part has gone out, and from where on. It is kept here, so that its end does not
    /// depend on ractor, whose runtime may stand still.
    rest: Vec<u8>,
    rest_sent: usize,
    /// The mark of that frame.
    rest_mark: Option<u64>,
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes they have together.
    bytes: usize,
    /// How much of the first of them has gone out.
    sent: usize,
    /// Whether some of what has gone out may be kept back by TLS.
    unflushed: bool,
}

impl FrameWriter {
    /// The writer over `end`. Frames of ractor's over `max` bytes are not sent: `on_oversized` is called for each. `waiting` bytes may
    /// wait before messages are refused.
    ///
    /// Starts a task that ends when the writer is closed or its last owner drops it.
    pub(crate) fn open(
        socket: Arc<TrackedSocket>,
        end: WriteEnd,
        max: u64,
        waiting: u64,
        on_oversized: OnOversized,
    ) -> Arc<Self> {
        let writers = Arc::<Writers>::default();
        let state = State {
            end: Some(end),
            filter: OversizeFilter::new(max),
            rest: Vec::new(),
            rest_sent: 0,
            rest_mark: None,
            waiting: VecDeque::new(),
            bytes: 0,
            sent: 0,
            unflushed: false,
        };
        let waker = Waker::from(Arc::clone(&writers));
        let backlog = Arc::new(Backlog::new(waiting));
        let frame_writer =
            Arc::new(Self { socket, backlog, state: Mutex::new(state), writers, waker, on_oversized });
        let flush_task = Arc::downgrade(&frame_writer);
        tokio::spawn(poll_fn(move |context| match flush_task.upgrade() {
            Some(frame_writer) => frame_writer.poll_flush_task(context),
            None => Poll::Ready(()),
        }));
        frame_writer
    }

    /// How much waits to be sent.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Sends a message in a control frame: now, if there is room, or as soon as the frame is out that ractor is writing.
    /// One that is too long is not sent, and given back is its length.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), usize> {
        let frame = codec::frame(message).ok_or(message.len())?;
        let mut state = self.lock();
        if state.end.is_none() {
            return Ok(());
        }
        if state.waiting.len() >= MAX_WAITING || state.bytes + frame.len() > MAX_BYTES {
            self.socket.shutdown();
            return Ok(());
        }
        state.bytes += frame.len();
        state.waiting.push_back(frame);
        // What does not go out now does when the flush task is woken, by the socket or by ractor's end of a frame, or by `push`.
        self.push_now(&mut state);
        Ok(())
    }

    /// Sends what waits, as far as the connection takes it now, also while the runtime of its socket stands still.
    pub(crate) fn push(&self) {
        let mut state = self.lock();
        if state.end.is_some() {
            self.push_now(&mut state);
        }
    }

    fn push_now(&self, state: &mut State) {
        let _direct = self.socket.direct();
        let session_waits = !state.rest.is_empty();
        let mut context = Context::from_waker(&self.waker);
        if let Poll::Ready(Err(_)) = state.poll_waiting(&mut context, &self.backlog) {
            self.socket.shutdown();
        }
        if session_waits && state.rest.is_empty() {
            self.writers.wake_one(Writer::Session);
        }
    }

    /// Nothing is written any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.end = None;
        state.waiting.clear();
        state.rest = Vec::new();
        drop(state);
        self.waker.wake_by_ref();
    }

    /// Sends what waits; ready when the writer is closed, or its connection has failed.
    fn poll_flush_task(&self, context: &mut Context<'_>) -> Poll<()> {
        self.writers.register(Writer::FlushTask, context);
        let mut state = self.lock();
        if state.end.is_none() {
            return Poll::Ready(());
        }
        let session_waits = !state.rest.is_empty();
        let result = state.poll_waiting(&mut Context::from_waker(&self.waker), &self.backlog);
        if session_waits && state.rest.is_empty() {
            self.writers.wake_one(Writer::Session);
        }
        match result {
            Poll::Ready(Err(_)) => {
                self.socket.shutdown();
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends bytes of ractor's, which hands over all that it has to write at that time.
    pub(crate) fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.backlog.writes(bytes.len());
        let (written, kept) = ready!(self.poll_write_some(context, bytes))?;
        self.backlog.writes(bytes.len() - written + kept);
        Poll::Ready(Ok(written))
    }

    /// How many of `bytes` are done with, and how many of those are kept to be sent.
    fn poll_write_some(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<(usize, usize)>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok((0, 0)));
        }
        self.writers.register(Writer::Session, context);
        let mut state = self.lock();
        let context = &mut Context::from_waker(&self.waker);
        loop {
            ready!(state.poll_turn(context, &self.backlog))?;
            let interrupt = !state.waiting.is_empty();
            match state.filter.next(bytes) {
                Action::Send(max) => {
                    let max = if interrupt { state.filter.first_end(bytes).min(max) } else { max };
                    let sent = ready!(state.poll_end(context, bytes.get(..max).unwrap_or(bytes)))?;
                    if let Some(mark) = state.filter.sent(bytes, sent) {
                        self.backlog.went_out(mark);
                    }
                    let kept = state.keep_rest(bytes.get(sent..).unwrap_or_default());
                    if interrupt && state.is_between() {
                        self.writers.wake_one(Writer::FlushTask);
                    }
                    return Poll::Ready(Ok((sent + kept, kept)));
                }
                Action::SendHeader(..) => ready!(state.poll_owed(context))?,
                Action::Skip(skipped) => return Poll::Ready(Ok((skipped, 0))),
                Action::Reject(skipped, len) => {
                    (self.on_oversized)(len);
                    return Poll::Ready(Ok((skipped, 0)));
                }
            }
        }
    }

    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writers.register(Writer::Session, context);
        let mut state = self.lock();
        let context = &mut Context::from_waker(&self.waker);
        ready!(state.poll_turn(context, &self.backlog))?;
        ready!(state.poll_owed(context))?;
        state.poll_flush(context)
    }

    pub(crate) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writers.register(Writer::Session, context);
        let mut state = self.lock();
        match &mut state.end {
            Some(end) => Pin::new(end).poll_shutdown(&mut Context::from_waker(&self.waker)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        // The task looks for it, and ends.
        self.waker.wake_by_ref();
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl State {
    /// Whether a control frame may begin here.
    fn is_between(&self) -> bool {
        self.rest.is_empty() && (self.sent > 0 || self.filter.is_between())
    }

    /// Ready when it is ractor's turn: nothing is left of a frame of its own, no control frame has begun, and none waits that
    /// could.
    fn poll_turn(&mut self, context: &mut Context<'_>, backlog: &Backlog) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context, backlog))?;
        if self.waiting.is_empty() || !self.is_between() {
            return Poll::Ready(Ok(()));
        }
        self.poll_waiting(context, backlog)
    }

    /// Keeps what `bytes`, which follow on those that have gone out, have of a frame of which a part has gone out. How many they are.
    fn keep_rest(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || self.filter.is_between() {
            return 0;
        }
        let rest = bytes.get(..self.filter.first_end(bytes)).unwrap_or(bytes);
        self.rest = rest.to_vec();
        self.rest_sent = 0;
        self.rest_mark = self.filter.sent(rest, rest.len());
        rest.len()
    }

    /// Sends what is left of a frame.
    fn poll_rest(&mut self, context: &mut Context<'_>, backlog: &Backlog) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let result = self.poll_end(context, rest.get(self.rest_sent..).unwrap_or_default());
            if let Poll::Ready(Ok(sent)) = &result {
                self.rest_sent += sent;
                self.unflushed = true;
            }
            if self.rest_sent < rest.len() {
                self.rest = rest;
            } else if let Some(mark) = self.rest_mark.take() {
                backlog.went_out(mark);
            }
            ready!(result)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the control frames that wait. Pending also when it is not their turn.
    fn poll_waiting(&mut self, context: &mut Context<'_>, backlog: &Backlog) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context, backlog))?;
        if !self.is_between() {
            return Poll::Pending;
        }
        while let Some(frame) = self.waiting.pop_front() {
            let rest = frame.get(self.sent..).unwrap_or_default();
            let result = self.poll_end(context, rest);
            self.unflushed = true;
            match result {
                Poll::Ready(Ok(sent)) if sent == rest.len() => {
                    self.sent = 0;
                    self.bytes -= frame.len();
                }
                Poll::Ready(Ok(sent)) => {
                    self.sent += sent;
                    self.waiting.push_front(frame);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.waiting.push_front(frame);
                    return Poll::Pending;
                }
            }
        }
        if self.unflushed { self.poll_flush(context) } else { Poll::Ready(Ok(())) }
    }

    /// Sends the length of a frame of ractor's that was held back until it was whole.
    fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((head, sent)) = self.filter.pending_header() {
            let more = ready!(self.poll_end(context, head.get(sent..).unwrap_or_default()))?;
            self.filter.header_written(more);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(end) = &mut self.end else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match ready!(Pin::new(end).poll_write(context, bytes))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => Poll::Ready(Ok(sent)),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(end) = &mut self.end else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        ready!(Pin::new(end).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

/// The tasks that may wait until the socket takes more. A socket wakes one waiter only, so it gets a waker that wakes both.
#[derive(Default)]
struct Writers {
    session: Mutex<Option<Waker>>,
    flush_task: Mutex<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Writer {
    Session,
    FlushTask,
}

impl Writers {
    fn slot(&self, writer: Writer) -> MutexGuard<'_, Option<Waker>> {
        let slot = match writer {
            Writer::Session => &self.session,
            Writer::FlushTask => &self.flush_task,
        };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, writer: Writer, context: &Context<'_>) {
        let mut slot = self.slot(writer);
        match &mut *slot {
            Some(waker) => waker.clone_from(context.waker()),
            None => *slot = Some(context.waker().clone()),
        }
    }

    fn wake_one(&self, writer: Writer) {
        let waker = self.slot(writer).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Writers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_one(Writer::Session);
        self.wake_one(Writer::FlushTask);
    }
}
