//! What the bytes of a session travel in: the socket as it is, or a TLS channel over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf, split};

use super::stream::Socket;
use crate::tls::Channel;

/// The first byte of all that TLS sends: an alert, or a handshake. A frame of ractor never begins so: its first eight bytes
/// are its length.
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// "I do not speak this version", fatal, in words that every version of TLS understands.
const NO_TLS: [u8; 7] = [ALERT, 3, 3, 0, 2, 2, 70];

/// A connection on which a session can begin.
pub(super) enum Transport {
    /// As it is.
    Plain(Socket),
    /// Encrypted, with a peer that has shown a certificate.
    Tls(Box<Channel<Socket>>),
}

impl Transport {
    pub(super) fn split(self) -> (ReadEnd, WriteEnd) {
        match self {
            Transport::Plain(socket) => (ReadEnd::Plain(socket.clone()), WriteEnd::Plain(socket)),
            Transport::Tls(channel) => {
                let (reader, writer) = split(channel);
                (ReadEnd::Tls(reader), WriteEnd::Tls(writer))
            }
        }
    }
}

/// Where a session reads.
pub(super) enum ReadEnd {
    Plain(Socket),
    Tls(ReadHalf<Box<Channel<Socket>>>),
}

/// Where a session writes.
pub(super) enum WriteEnd {
    Plain(Socket),
    Tls(WriteHalf<Box<Channel<Socket>>>),
}

impl AsyncRead for ReadEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadEnd::Plain(socket) => {
                let (is_first, before) = (socket.has_read_nothing(), buffer.filled().len());
                let read = Pin::new(&mut *socket).poll_read(context, buffer);
                if is_first && let Some(first @ (&ALERT | &HANDSHAKE)) = buffer.filled().get(before) {
                    // It is told in its own language. An alert is not answered: two nodes would never come to an end.
                    let answer: &[u8] = if *first == HANDSHAKE { &NO_TLS } else { &[] };
                    socket.speaks_tls(answer);
                }
                read
            }
            ReadEnd::Tls(channel) => Pin::new(channel).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for WriteEnd {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            WriteEnd::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            WriteEnd::Tls(channel) => Pin::new(channel).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteEnd::Plain(socket) => Pin::new(socket).poll_flush(context),
            WriteEnd::Tls(channel) => Pin::new(channel).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteEnd::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            WriteEnd::Tls(channel) => Pin::new(channel).poll_shutdown(context),
        }
    }
}
