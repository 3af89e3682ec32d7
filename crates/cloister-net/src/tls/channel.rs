//! Handshakes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::credentials::{Contents, Credentials};
use super::failure::Failure;
use super::files::{Files, TlsError};
use super::validity::Age;

/// A connection after its handshake.
pub(crate) type Channel<S> = TlsStream<S>;

/// The first byte that the accepting side sends after the handshake. In TLS 1.3 the side that dials is through with its own part before the
/// other has looked at its certificate. Only by this does it know that it was accepted, and else why not.
const ACCEPT_BYTE: u8 = 1;

/// What handshakes are made with, kept up with the files. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Tls {
    pub(super) files: Arc<Files>,
    pub(super) current: Arc<ArcSwap<Credentials>>,
}

impl Tls {
    /// Reads the files. An expired certificate is no error, but a warning: see [`Age::warning`].
    ///
    /// # Errors
    ///
    /// All that is wrong with the files.
    pub fn load(files: Files) -> Result<Self, Vec<TlsError>> {
        let credentials = Credentials::new(&files, &Contents::read(&files)?)?;
        Ok(Self { files: Arc::new(files), current: Arc::new(ArcSwap::from_pointee(credentials)) })
    }

    /// When the certificate in use is valid.
    #[must_use]
    pub fn age(&self) -> Age {
        self.current.load().age
    }

    /// Makes a channel of a connection that we dialled: the other side is of the cluster, and takes us for such.
    pub(crate) async fn dial<S>(&self, socket: S, limit: Duration) -> Result<Channel<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(self.files.server_name.clone())
            .map_err(|error| Failure::Other(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.current.load().client));
        let handshake = async {
            let mut channel = connector.connect(name, socket).await?;
            match channel.read_u8().await? {
                ACCEPT_BYTE => Ok(TlsStream::from(channel)),
                other => Err(Failure::Other(format!("it is no node: it begins with {other:#04x}"))),
            }
        };
        timeout(limit, handshake).await.unwrap_or(Err(Failure::TooLate(limit)))
    }

    /// Makes a channel of a connection that came in, for as long as that takes: the owner of the connection limits the time.
    pub(crate) async fn accept<S>(&self, socket: S) -> Result<Channel<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().server));
        let mut channel = acceptor.accept(socket).await?;
        channel.write_u8(ACCEPT_BYTE).await?;
        channel.flush().await?;
        Ok(TlsStream::from(channel))
    }
}

/// Where the files are, and nothing of what they hold.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

    use super::*;
    use cloister_testkit::certificates::{Authority, Order};

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    fn load(authority: &Authority) -> Tls {
        let home = tempfile::tempdir().unwrap();
        let paths = authority.equip(home.path(), &Order::default());
        let files = Files { cert: paths.cert, key: paths.key, ca: paths.ca, server_name: "it".to_owned() };
        Tls::load(files).unwrap()
    }

    #[tokio::test]
    async fn every_handshake_is_a_full_one_of_tls_1_3_and_shows_both_certificates() {
        let authority = Authority::new("cluster");
        let (here, there) = (load(&authority), load(&authority));
        for _ in 0..3 {
            let (near, far) = duplex(1 << 16);
            let (near, far) = tokio::join!(here.dial(near, TEST_TIMEOUT), there.accept(far));
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            for channel in [&near, &far] {
                let (_, session) = channel.get_ref();
                assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
                assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
                assert_eq!(session.peer_certificates().map(<[_]>::len), Some(1));
            }
            near.write_u8(7).await.unwrap();
            near.flush().await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn a_process_that_is_silent_or_speaks_another_protocol_is_no_peer() {
        let tls = load(&Authority::new("cluster"));
        let (near, _far) = duplex(1 << 16);
        let limit = Duration::from_millis(20);
        assert_eq!(tls.dial(near, limit).await.unwrap_err(), Failure::TooLate(limit));
        let (near, far) = duplex(1 << 16);
        drop(far);
        assert_eq!(tls.dial(near, TEST_TIMEOUT).await.unwrap_err(), Failure::Closed);
        for (said, failure) in
            [(&b"HTTP/1.1 400 Bad Request\r\n"[..], Failure::Plaintext), (&[0; 64], Failure::Plaintext)]
        {
            let (near, mut far) = duplex(1 << 16);
            far.write_all(said).await.unwrap();
            assert_eq!(tls.dial(near, TEST_TIMEOUT).await.unwrap_err(), failure);
            let (near, mut far) = duplex(1 << 16);
            far.write_all(said).await.unwrap();
            assert_eq!(tls.accept(near).await.unwrap_err(), failure);
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let text = format!("{:?}", load(&Authority::new("cluster")));
        assert!(text.starts_with("Tls(Files {") && text.contains("key.pem") && text.len() < 300, "{text}");
    }
}
