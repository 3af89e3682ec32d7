//! Rate-limited log of failed connections: one line for each cause and peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How many peers are remembered.
const MAX_PEERS: usize = 1024;

/// How soon after the first a second failure counts as the same failure: later than the longest wait of the dialer.
const REPEAT_WINDOW: Duration = Duration::from_secs(15);

/// Which failures were logged for which peer. A peer is identified by its address: where it was dialled, or where a connection came from together
/// with the port that it claims to listen at. So it is the same peer whichever side dialled.
#[derive(Debug, Default)]
pub(super) struct FailureLog(BTreeMap<SocketAddr, Failed>);

#[derive(Debug)]
struct Failed {
    cause: String,
    last: Instant,
    logged: bool,
}

impl FailureLog {
    /// Whether this should be logged of `peer`: at its second time in a row, and once. `say` has the last word: what it does
    /// not let through now is logged at a later time. The answer is that of `say`.
    ///
    /// The first failure is not logged: a dying peer looks like a wrong cookie.
    pub(super) fn record(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        cause: &str,
        say: impl FnOnce(Instant) -> Option<u64>,
    ) -> Option<u64> {
        match self.0.get_mut(&peer) {
            Some(known) if known.cause == cause => {
                let again = now.saturating_duration_since(known.last) < REPEAT_WINDOW;
                known.last = now;
                let said = if again && !known.logged { say(now) } else { None };
                known.logged |= said.is_some();
                said
            }
            _ => {
                self.make_room();
                let failed = Failed { cause: cause.to_owned(), last: now, logged: false };
                self.0.insert(peer, failed);
                None
            }
        }
    }

    /// A link with `peer` is open: what comes next is news again.
    pub(super) fn forget(&mut self, peer: SocketAddr) {
        self.0.remove(&peer);
    }

    /// Evicts the peer that failed longest ago, so a flood of made-up peers does not stay.
    fn make_room(&mut self) {
        if self.0.len() < MAX_PEERS {
            return;
        }
        let unlogged_first = |(_, failed): &(&SocketAddr, &Failed)| (failed.logged, failed.last);
        if let Some(peer) = self.0.iter().min_by_key(unlogged_first).map(|(peer, _)| *peer) {
            self.0.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ([u8; 4], u16) = ([10, 0, 0, 1], 4370);

    /// Whether it is logged, when every line may be written.
    fn logs(failure_log: &mut FailureLog, now: Instant, peer: impl Into<SocketAddr>, cause: &str) -> bool {
        failure_log.record(now, peer.into(), cause, |_| Some(0)).is_some()
    }

    #[test]
    fn the_second_time_is_logged_and_no_other_until_there_was_a_link() {
        let (mut failure_log, start) = (FailureLog::default(), Instant::now());
        let logs_after = |failure_log: &mut FailureLog, after, cause| {
            logs(failure_log, start + Duration::from_millis(after), PEER, cause)
        };
        assert!(!logs_after(&mut failure_log, 0, "cookie"), "it may just be ending");
        assert!(logs_after(&mut failure_log, 100, "cookie"));
        assert!(!logs_after(&mut failure_log, 300, "cookie"));
        assert!(!logs_after(&mut failure_log, 60_000, "cookie"));
        assert!(!logs_after(&mut failure_log, 60_100, "version"));
        assert!(logs_after(&mut failure_log, 60_200, "version"), "another cause is news");
        failure_log.forget(PEER.into());
        assert!(!logs_after(&mut failure_log, 70_000, "version"));
        assert!(logs_after(&mut failure_log, 70_100, "version"));
    }

    #[test]
    fn two_handshakes_that_ended_long_apart_are_not_logged() {
        let (mut failure_log, start) = (FailureLog::default(), Instant::now());
        assert!(!logs(&mut failure_log, start, PEER, "cookie"));
        assert!(!logs(&mut failure_log, start + Duration::from_secs(60), PEER, "cookie"));
        assert!(logs(&mut failure_log, start + Duration::from_secs(61), PEER, "cookie"));
    }

    #[test]
    fn what_may_not_be_written_now_is_logged_at_a_later_time() {
        let (mut failure_log, start) = (FailureLog::default(), Instant::now());
        assert!(!logs(&mut failure_log, start, PEER, "cookie"));
        assert_eq!(failure_log.record(start, PEER.into(), "cookie", |_| None), None);
        assert!(logs(&mut failure_log, start, PEER, "cookie"));
        assert!(!logs(&mut failure_log, start, PEER, "cookie"));
    }

    #[test]
    fn made_up_peers_do_not_make_it_forget_what_it_told() {
        let (mut failure_log, start) = (FailureLog::default(), Instant::now());
        logs(&mut failure_log, start, PEER, "cookie");
        assert!(logs(&mut failure_log, start, PEER, "cookie"));
        for port in 1..=5000 {
            logs(&mut failure_log, start + Duration::from_secs(1), ([10, 0, 0, 2], port), "cookie");
        }
        assert!(!logs(&mut failure_log, start + Duration::from_secs(2), PEER, "cookie"));
        assert_eq!(failure_log.0.len(), MAX_PEERS);
    }
}
