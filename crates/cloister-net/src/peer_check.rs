//! What a peer would say to a node that dials it, found out without a session.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::connection::authentication::{AuthFailure, Credentials, RejectedPeer};
use crate::connection::socket::{SocketIo, TrackedSocket};
use crate::connection::transport::{EstablishError, establish};
use crate::runtime::Application;
use crate::tls::{Failure, Tls};

/// What the check calls itself. It has no port, as a node has.
const NAME: &str = "doctor";

/// Checks peers with what a node would authenticate with.
pub struct PeerCheck {
    credentials: Credentials,
    tls: Option<Tls>,
}

/// Why a node would get no link with the peer. Each text speaks of the peer as "it".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerCheckError {
    /// The two do not trust each other's certificates, or one is without TLS.
    #[error("{0}")]
    Tls(String),
    /// It is of another application.
    #[error("{0}")]
    Application(String),
    /// It is of the application, and has another cookie.
    #[error("{0}")]
    Cookie(String),
    /// It is no node, or one of another release.
    #[error("{0}")]
    NotANode(String),
    /// It did not say within the limit what it is.
    #[error("{0}")]
    Silent(String),
}

impl PeerCheck {
    /// A check as a node of this application would be checked that has this cookie, empty for none, and these files of TLS.
    #[must_use]
    pub fn new(app: impl Into<String>, cookie: &str, tls: Option<Tls>) -> Self {
        Self { credentials: Credentials::new(app.into(), NAME.to_owned(), cookie).for_check(), tls }
    }

    /// Authenticates both ends of a connection that was dialled, and closes it. The peer logs that at DEBUG, if a node would be admitted.
    ///
    /// # Errors
    ///
    /// Why a node would get no link, also if that is not settled within `timeout`.
    pub async fn run(&self, socket: TcpStream, timeout: Duration) -> Result<(), PeerCheckError> {
        let silent =
            |cause: String| PeerCheckError::Silent(format!("it does not say that it is a node: {cause}"));
        let socket = TrackedSocket::new(socket, &Application::here(), Clock, timeout)
            .map_err(|error| silent(error.to_string()))?;
        let socket = Arc::new(socket);
        let io = SocketIo(Arc::clone(&socket));
        let established = establish(io, true, self.tls.clone(), &self.credentials, |_| true);
        match tokio::time::timeout(timeout, established).await {
            Ok(Ok(_)) => Ok(()),
            // What came instead of an introduction.
            Ok(Err(_)) if socket.speaks_tls() => Err(PeerCheckError::Tls(Failure::Tls.to_string())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(silent(format!("no answer within {timeout:?}"))),
        }
    }
}

impl From<EstablishError> for PeerCheckError {
    fn from(error: EstablishError) -> Self {
        let text = error.to_string();
        match error {
            EstablishError::Tls(_) => Self::Tls(text),
            EstablishError::Authentication(RejectedPeer { why, .. }) => match why {
                AuthFailure::OtherCookie => Self::Cookie(text),
                AuthFailure::OtherApplication { .. } => Self::Application(text),
                AuthFailure::Closed(_) => Self::Silent(text),
                _ => Self::NotANode(text),
            },
        }
    }
}
