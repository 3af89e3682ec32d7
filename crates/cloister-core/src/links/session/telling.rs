//! What is said of connections that come to nothing, and of what cannot be sent or read: to the log, to the counters, and to the
//! dialler.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cloister_proto::LinkId;
use cloister_proto::text::foreign;
use tracing::{debug, error, warn};

use super::SessionState;
use super::server;
use super::state::own_socket;
use super::table::Session;
use crate::links::dialler::DiallerMessage;
use crate::links::transcript::{Mismatch, Transcript};
use crate::telemetry::refused::{self, Cause};
use crate::tls::Failure;

/// The reason of a connection that ended without a word of ours.
pub(super) const CLOSED: &str = "the connection was closed";

/// What may be wrong when a handshake ends before the two know each other, and nothing is known of it.
const STRANGER: &str = "it knows another cookie, or is of another cluster, or is no node of one";

impl SessionState {
    /// A connection has ended before it was a link.
    pub(super) fn came_to_nothing(&mut self, link: LinkId, session: &Session, reason: &str) {
        let failure = session.failure();
        if failure.is_some() {
            // What ractor says of its end would be a guess.
            self.table.fits(link);
        }
        let mismatch = match (&failure, session.node) {
            (None, None) => self.judge(&session.transcript, reason == CLOSED),
            _ => None,
        };
        let error = if let Some(failure) = &failure {
            failure.to_string()
        } else if session.node.is_some() {
            // Who is told that he does not fit closes first.
            format!("{}: {}", session.who(), session.verdict.as_deref().unwrap_or(reason))
        } else if let Some(why) = &mismatch {
            why.to_string()
        } else {
            format!("{reason} before anybody was introduced: {STRANGER}")
        };
        let is_stranger = failure.is_none() && session.node.is_none();
        match (session.target, failure) {
            (Some(target), _) if is_stranger => self.strange(target, mismatch.as_ref(), true),
            (Some(target), _) => {
                if self.grievances.tell(Instant::now(), target, &error, |_| Some(0)).is_some() {
                    warn!(address = %target, error, "no link");
                }
            }
            (None, Some(failure)) => self.turned_away(session.remote, &failure),
            (None, None) => {
                if let Some(why) = mismatch
                    && self.table.was_refused(link)
                {
                    // What ractor says of its end would be less.
                    self.table.fits(link);
                    self.not_admitted(session.remote, &session.transcript.name(), Some(&why));
                }
            }
        }
        // Whichever of the two dialled: who does not fit is looked for at its own address, and found to be told why there.
        let unfit = session.hello.as_ref().filter(|_| session.verdict.is_some());
        let own = unfit.and_then(|hello| own_socket(&hello.member.id, session.remote));
        let target = session.target.or(own);
        self.tell_dialler(DiallerMessage::Ended { link, target, error });
    }

    /// A session ended that may never have been authenticated.
    pub(super) fn gone(&mut self, label: &str, claimed: &str) {
        let Some((remote, link)) = server::parse_label(label) else { return };
        if claimed == self.name {
            // By another way than our own sockets, such as a translated address.
            self.tell_dialler(DiallerMessage::Myself(remote));
        } else if self.table.was_refused(link)
            && !claimed.is_empty()
            // That is told by what is known of it.
            && self.table.get(link).is_none_or(|session| session.failure().is_none())
        {
            let transcript = self.table.get(link).map(|session| Arc::clone(&session.transcript));
            let why = transcript.and_then(|transcript| self.judge(&transcript, true));
            self.table.fits(link);
            self.not_admitted(remote, claimed, why.as_ref());
        }
    }

    fn judge(&self, transcript: &Transcript, closed: bool) -> Option<Mismatch> {
        transcript.judge(self.settings.me.id.name().app(), closed)
    }

    /// A peer came by itself, and was not admitted. It said who it is, unless it is no node.
    fn not_admitted(&mut self, remote: SocketAddr, claimed: &str, why: Option<&Mismatch>) {
        if self.table.has_link_with(claimed, remote.ip()) {
            debug!(%remote, claimed = %foreign(claimed), "a peer that is linked already was not admitted a second time");
            return;
        }
        refused::count(match why {
            Some(Mismatch::NotANode { .. }) => Cause::Unintroduced,
            _ => Cause::NotAdmitted,
        });
        // It comes from another port each time; the one that it listens at tells it from others there.
        let port = claimed.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        self.strange(SocketAddr::new(remote.ip(), port), why, false);
    }

    /// Says once of a peer that it does not belong. Of those that came by themselves not more often than once a second:
    /// whoever can reach the door can make them up. Only who was named is dialled: that needs no brake.
    fn strange(&mut self, peer: SocketAddr, why: Option<&Mismatch>, dialled: bool) {
        // An attempt that tells nothing, such as one of two at once, takes nothing back of what another has told.
        let cause = match (why, self.grievances.cause_of(peer)) {
            (Some(why), _) => why.to_string(),
            (None, Some(known)) => known.to_owned(),
            (None, None) => STRANGER.to_owned(),
        };
        let say = |now| if dialled { Some(0) } else { self.refusals.say(now) };
        if let Some(missed) = self.grievances.tell(Instant::now(), peer, &cause, say) {
            warn!(address = %peer, missed, "no link: {cause}; it is tried again, less and less often");
        }
    }

    /// A frame was not sent: its receiver would have ended the connection.
    pub(super) fn oversized(&mut self, link: LinkId, len: u64) {
        refused::count(Cause::Oversized);
        let peer = self.table.get(link).map_or("a peer that is gone", Session::who);
        if let Some(missed) = self.oversized.say(Instant::now()) {
            error!(
                peer,
                bytes = len,
                most = self.settings.max_frame,
                missed,
                "a message was not sent, for it is over the limit of a frame: send less at a time, or in parts; \
                 who waits for an answer will not get it"
            );
        }
    }

    /// Tells of a peer that came in and with which no session could begin. ractor has not heard of it, or nothing it could tell.
    fn turned_away(&mut self, remote: SocketAddr, failure: &Failure) {
        let cause = failure.to_string();
        if *failure == Failure::Closed {
            // Anybody may come, look, and go.
            debug!(%remote, cause, "a peer was not admitted");
            return;
        }
        refused::count(Cause::NotAdmitted);
        let now = Instant::now();
        // It comes from another port each time, and has not said which is its own.
        let peer = SocketAddr::new(remote.ip(), 0);
        if let Some(missed) = self.grievances.tell(now, peer, &cause, |now| self.refusals.say(now)) {
            warn!(%remote, cause, missed, "a peer was not admitted");
        }
    }

    pub(super) fn complain(&mut self, error: &str) {
        refused::count(Cause::Malformed);
        if let Some(missed) = self.garbage.say(Instant::now()) {
            warn!(error, missed, "a peer sent something that is no message; it was dropped");
        }
    }
}
