//! Where a connection is read: control frames go one way, and the rest goes to ractor.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::control::{Piece, Sorter};
use super::transcript::Transcript;
use super::transport::ReadEnd;

/// How many bytes are read at a time. ractor reads the eight bytes of a length and then the body: of small messages many are
/// here after one read.
const BUFFER: usize = 4096;

/// Told of each message of a control frame.
pub(super) type Heard = Box<dyn Fn(Vec<u8>) + Send + Sync>;

/// The reading half of a connection, as ractor reads it.
pub(super) struct Inlet {
    end: ReadEnd,
    /// What was read and is not sorted: from `begin` to `end_at`.
    buffer: Box<[u8]>,
    begin: usize,
    filled: usize,
    /// Of the sorted, what is ractor's and has not been handed out.
    ractors: usize,
    sorter: Sorter,
    heard: Heard,
    /// Keeps what is read first.
    transcript: Option<Arc<Transcript>>,
}

impl Inlet {
    pub(super) fn new(end: ReadEnd, heard: Heard, transcript: Arc<Transcript>) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            end,
            buffer,
            begin: 0,
            filled: 0,
            ractors: 0,
            sorter: Sorter::default(),
            heard,
            transcript: Some(transcript),
        }
    }

    fn unsorted(&self) -> &[u8] {
        self.buffer.get(self.begin..self.filled).unwrap_or_default()
    }

    /// Hands out what is ractor's, as much as there is room for.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>) {
        let len = self.ractors.min(out.remaining());
        out.put_slice(self.unsorted().get(..len).unwrap_or_default());
        self.begin += len;
        self.ractors -= len;
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
        self.transcript = self.transcript.take().filter(|transcript| transcript.reads(buffer.filled()));
        self.filled += read;
        Poll::Ready(Ok(read > 0))
    }
}

impl AsyncRead for Inlet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.ractors > 0 {
                this.hand_out(out);
                return Poll::Ready(Ok(()));
            }
            let unsorted = this.buffer.get(this.begin..this.filled).unwrap_or_default();
            match this.sorter.next(unsorted) {
                Ok(Piece::Session(len)) => this.ractors = len,
                Ok(Piece::Taken(len)) => this.begin += len,
                Ok(Piece::Message(len, message)) => {
                    this.begin += len;
                    (this.heard)(message);
                }
                Ok(Piece::More) => {
                    if !ready!(this.poll_fill(context))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(malformed) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
                }
            }
        }
    }
}
