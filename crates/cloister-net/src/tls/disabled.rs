//! What stands in for TLS in a build without it: nothing can be made of these.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure::Failure;
use super::fault::TlsFileError;
use super::files::{Files, TlsError};
use super::validity::Age;

/// What handshakes would be made with.
#[derive(Clone, Debug)]
pub enum Tls {}

/// A connection after its handshake, which none will ever be.
pub(crate) struct Channel<S>(Tls, PhantomData<S>);

impl Tls {
    /// There is no TLS in this program.
    ///
    /// # Errors
    ///
    /// Always: this program was built without TLS.
    pub fn load(files: Files) -> Result<Self, Vec<TlsError>> {
        let shown = files.cert.display().to_string();
        Err(vec![TlsError { key: "tls.cert", shown, fault: TlsFileError::NotBuilt }])
    }

    /// When the certificate in use is valid.
    pub fn age(&self) -> Age {
        match *self {}
    }

    pub(crate) async fn dial<S>(&self, _socket: S, _limit: Duration) -> Result<Channel<S>, Failure> {
        match *self {}
    }

    pub(crate) async fn accept<S>(&self, _socket: S) -> Result<Channel<S>, Failure> {
        match *self {}
    }

    pub(crate) async fn watch(self) {
        match self {}
    }
}

impl<S: Unpin> AsyncRead for Channel<S> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl<S: Unpin> AsyncWrite for Channel<S> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
