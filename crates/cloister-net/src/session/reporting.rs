//! Reports failed connections, and what cannot be sent or read: to the log, to the counters, and to the
//! dialer.

use std::net::SocketAddr;
use std::time::Instant;

use cloister_proto::LinkId;
use tracing::{debug, error, warn};

use super::SessionState;
use super::state::listen_address;
use super::table::Session;
use crate::connection::authentication::{AuthFailure, RejectedPeer};
use crate::connection::transport::EstablishError;
use crate::messages::DialerMessage;
use crate::telemetry::rejections::{self, Reason};
use crate::tls::Failure;

/// The reason of a connection that ended without a word of ours.
pub(super) const CLOSED: &str = "the connection was closed";

impl SessionState {
    /// A connection has ended before it was a link.
    pub(super) fn on_failed(&mut self, link: LinkId, session: &Session, reason: &str) {
        let failure = session.failure();
        let error = match (&failure, session.node) {
            (Some(failure), _) => failure.to_string(),
            // A rejected peer closes first.
            (None, Some(_)) => {
                format!("{}: {}", session.label(), session.reject_text.as_deref().unwrap_or(reason))
            }
            (None, None) => format!("{reason} before its session began"),
        };
        match (session.target, &failure) {
            (
                Some(target),
                Some(EstablishError::Authentication(RejectedPeer { why: AuthFailure::Itself, .. })),
            ) => {
                // By another way than its own sockets, such as a translated address.
                self.notify_dialer(DialerMessage::IsSelf(target));
                return;
            }
            (
                Some(target),
                Some(EstablishError::Authentication(RejectedPeer { why: AuthFailure::Simultaneous, name })),
            ) => {
                debug!(peer_addr = %target, "another connection with the node there is kept");
                if let Some(open) = self.table.link_with(name) {
                    // It is one more address of a peer that is linked.
                    self.notify_dialer(DialerMessage::Covered { link: open, target });
                    return;
                }
                // No fault. The dialer backs off as after one: the connection that is kept may be half-open at the other end.
            }
            (Some(target), _) => self.log_failure(target, &error),
            (None, Some(failure)) => self.on_rejected(session.remote, failure),
            (None, None) => {}
        }
        // Whichever side dialled: an incompatible peer is kept in the book under its own address, with the reason.
        let incompatible = session.hello.as_ref().filter(|_| session.reject_text.is_some());
        let own = incompatible.and_then(|hello| listen_address(&hello.member.id, session.remote));
        let target = session.target.or(own);
        self.notify_dialer(DialerMessage::Ended { link, target, error });
    }

    /// Logs that a dialled connection failed, at the second time with the same cause.
    pub(super) fn log_failure(&mut self, target: SocketAddr, error: &str) {
        if self.failure_log.record(Instant::now(), target, error, |_| Some(0)).is_some() {
            warn!(peer_addr = %target, %error, "connection failed");
        }
    }

    /// A frame was not sent: its receiver would have ended the connection.
    pub(super) fn on_oversized(&mut self, link: LinkId, len: u64) {
        rejections::count(Reason::Oversized);
        let peer = self.table.get(link).map_or("a peer that is gone", Session::label);
        if let Some(missed) = self.oversized.allow(Instant::now()) {
            error!(
                peer,
                bytes = len,
                max = self.settings.max_frame,
                missed,
                "a message was not sent, for it is over the limit of a frame: send less at a time, or in parts; \
                 a caller that waits for its answer will not get it"
            );
        }
    }

    /// Logs an incoming connection on which no session could begin. Rate-limited to one line a second: any process that reaches the port
    /// can make such connections up.
    fn on_rejected(&mut self, remote: SocketAddr, failure: &EstablishError) {
        let cause = failure.to_string();
        let (counted, port) = match failure {
            // Any process may connect and close again.
            EstablishError::Tls(Failure::Closed) => (None, None),
            EstablishError::Authentication(RejectedPeer {
                why:
                    AuthFailure::Closed(_) | AuthFailure::Itself | AuthFailure::Simultaneous | AuthFailure::Check,
                ..
            }) => (None, None),
            EstablishError::Authentication(RejectedPeer { why: AuthFailure::NotANode { .. }, .. }) => {
                (Some(Reason::HandshakeTimeout), None)
            }
            EstablishError::Authentication(rejected) => (Some(Reason::AuthFailed), rejected.port()),
            EstablishError::Tls(_) => (Some(Reason::AuthFailed), None),
        };
        let Some(counted) = counted else {
            debug!(peer_addr = %remote, error = cause, "a peer was not admitted");
            return;
        };
        rejections::count(counted);
        // It comes from another port each time. The one that it says it listens at tells it from others there, and makes it one with the
        // peer that is dialled.
        let peer = SocketAddr::new(remote.ip(), port.unwrap_or(0));
        let said = self.failure_log.record(Instant::now(), peer, &cause, |now| self.refusals.allow(now));
        match (said, port) {
            (None, _) => {}
            (Some(missed), Some(_)) => warn!(peer_addr = %peer, error = %cause, missed, "connection failed"),
            (Some(missed), None) => {
                warn!(peer_addr = %remote, error = cause, missed, "a peer was not admitted")
            }
        }
    }

    pub(super) fn on_malformed(&mut self, link: LinkId, error: &str) {
        rejections::count(Reason::Malformed);
        let peer = self.table.get(link).map_or("a peer that is gone", Session::label);
        if let Some(missed) = self.garbage.allow(Instant::now()) {
            warn!(
                peer,
                error,
                missed,
                "a peer sent something that is no message; it was dropped: run the same release on both nodes"
            );
        }
    }
}
