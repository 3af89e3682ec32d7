//! What the bytes of a session travel in: the socket as it is, or a TLS channel over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf, join, split};

use crate::connection::authentication::{self, Credentials, RejectedPeer};
use crate::connection::socket::SocketIo;
use crate::tls::{Channel, Failure, Tls};

/// The first byte of all that TLS sends: an alert, or a handshake. A frame of ractor never begins so: its first eight bytes
/// are its length.
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// How long the TLS handshake of a dial may take.
const TLS_HANDSHAKE: Duration = Duration::from_secs(2);

/// "I do not speak this version", fatal, in words that every version of TLS understands.
const NO_TLS: [u8; 7] = [ALERT, 3, 3, 0, 2, 2, 70];

/// A connection on which a session can begin.
pub(crate) enum Transport {
    /// As it is.
    Plain(SocketIo),
    /// Encrypted, with a peer that has shown a certificate.
    Tls(Box<Channel<SocketIo>>),
}

impl Transport {
    pub(crate) fn split(self) -> Ends {
        let (read, write) = match self {
            Transport::Plain(socket) => (ReadEnd::Plain(socket.clone()), WriteEnd::Plain(socket)),
            Transport::Tls(channel) => {
                let (reader, writer) = split(channel);
                (ReadEnd::Tls(reader), WriteEnd::Tls(writer))
            }
        };
        Ends { begun: Vec::new(), read, write }
    }
}

/// Where a session reads and writes.
pub(crate) struct Ends {
    /// What has been read already. It comes before all that `read` reads.
    pub(crate) begun: Vec<u8>,
    pub(crate) read: ReadEnd,
    pub(crate) write: WriteEnd,
}

/// Why no session can begin on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum EstablishError {
    /// The two ends do not trust each other's certificates, or one is without TLS.
    #[error(transparent)]
    Tls(#[from] Failure),
    /// The other end is no node of this cluster.
    #[error(transparent)]
    Authentication(#[from] RejectedPeer),
}

/// Makes a connection of two nodes of a socket: with TLS if there is `tls`, and with an end that knows what `mine` knows. `may_begin` says by the
/// name of the peer whether a session may begin.
pub(crate) async fn establish(
    socket: SocketIo,
    dialled: bool,
    tls: Option<Tls>,
    mine: &Credentials,
    may_begin: impl FnOnce(&str) -> bool,
) -> Result<Ends, EstablishError> {
    let transport = match tls {
        None => Transport::Plain(socket),
        Some(tls) if dialled => Transport::Tls(Box::new(tls.dial(socket, TLS_HANDSHAKE).await?)),
        Some(tls) => Transport::Tls(Box::new(tls.accept(socket).await?)),
    };
    let Ends { read, write, .. } = transport.split();
    let mut stream = join(read, write);
    let begun = if dialled {
        authentication::dial(&mut stream, mine, may_begin).await?
    } else {
        authentication::accept(&mut stream, mine, may_begin).await?
    };
    let (read, write) = stream.into_inner();
    Ok(Ends { begun, read, write })
}

/// Where a session reads.
pub(crate) enum ReadEnd {
    Plain(SocketIo),
    Tls(ReadHalf<Box<Channel<SocketIo>>>),
}

/// Where a session writes.
pub(crate) enum WriteEnd {
    Plain(SocketIo),
    Tls(WriteHalf<Box<Channel<SocketIo>>>),
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
                    // The answer is in the peer's protocol. An alert is not answered: two nodes would answer each other for ever.
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

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Clock;
    use crate::connection::socket::TrackedSocket;
    use crate::runtime::Application;
    use crate::tls::{Files, Tls};
    use cloister_testkit::certificates::{Authority, Order};

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn under_tls_too_any_byte_is_a_sign_of_life_and_the_limit_before_authentication_holds() {
        let home = tempfile::tempdir().unwrap();
        let paths = Authority::new("cluster").equip(home.path(), &Order::default());
        let files = Files { cert: paths.cert, key: paths.key, ca: paths.ca, server_name: "it".to_owned() };
        let tls = Tls::load(files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let near = listener.accept().await.unwrap().0;
        let socket = Arc::new(TrackedSocket::new(near, &Application::here(), Clock, TEST_TIMEOUT).unwrap());
        let (near, far) =
            tokio::join!(tls.accept(SocketIo(Arc::clone(&socket))), tls.dial(far, TEST_TIMEOUT));
        let Ends { read: mut reader, write: _writer, .. } = Transport::Tls(Box::new(near.unwrap())).split();

        let Channel::Client(mut far) = far.unwrap() else { panic!("it dialled") };
        let opened = socket.last_received();
        // The head of a record whose rest does not come: nothing to read, but a sign of life.
        let mut buffer = vec![0; 64 * 1024];
        let (tcp, session) = far.get_mut();
        let mut record = Vec::new();
        std::io::Write::write_all(&mut session.writer(), b"hello").unwrap();
        session.write_tls(&mut record).unwrap();
        tcp.write_all(&record[..3]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), reader.read(&mut buffer)).await.is_err());
        assert!(socket.last_received() > opened);
        tcp.write_all(&record[3..]).await.unwrap();
        timeout(TEST_TIMEOUT, reader.read_exact(&mut buffer[..5])).await.unwrap().unwrap();
        assert_eq!(&buffer[..5], b"hello");

        let flood = tokio::spawn(async move {
            far.write_all(&vec![1; 128 * 1024]).await.unwrap();
            far.flush().await.unwrap();
            far
        });
        let mut read = 0;
        while let Ok(more) = timeout(Duration::from_millis(200), reader.read(&mut buffer)).await {
            read += more.unwrap();
        }
        assert!((1..64 * 1024).contains(&read), "{read} bytes were read before authentication");
        socket.set_authenticated();
        while read < 128 * 1024 {
            read += timeout(TEST_TIMEOUT, reader.read(&mut buffer)).await.unwrap().unwrap();
        }
        flood.await.unwrap();
    }
}
