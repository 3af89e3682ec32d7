//! When to warn of wall clocks that keep this node and a peer from agreeing.

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_proto::{NodeId, Obstacle, Time};

/// Shorter differences are not logged: a newly linked peer has not yet received the clocks of the others.
const LASTS: Duration = Duration::from_secs(2);

/// The least time between two warnings of one peer.
const APART: Duration = Duration::from_secs(60);

/// Rate-limits the warnings, one peer at a time.
#[derive(Debug, Default)]
pub(super) struct ClockWarnings {
    /// When the next warning of each peer is due.
    due: BTreeMap<NodeId, Time>,
}

impl ClockWarnings {
    /// The peers to warn of at `now`, each with its obstacle, given all [`Obstacle::ClocksApart`] of this moment.
    pub(super) fn due(&mut self, now: Time, apart: Vec<Obstacle>) -> Vec<(NodeId, Obstacle)> {
        let named = |obstacle: Obstacle| match &obstacle {
            Obstacle::ClocksApart { peer, .. } => Some((peer.clone(), obstacle)),
            _ => None,
        };
        let apart: BTreeMap<NodeId, Obstacle> = apart.into_iter().filter_map(named).collect();
        self.due.retain(|peer, _| apart.contains_key(peer));
        let is_due = |(peer, _): &(NodeId, Obstacle)| {
            let due = self.due.entry(peer.clone()).or_insert(now + LASTS);
            let is_due = now >= *due;
            if is_due {
                *due = now + APART;
            }
            is_due
        };
        apart.into_iter().filter(is_due).collect()
    }
}

#[cfg(test)]
mod tests {
    use cloister_proto::Incarnation;

    use super::*;

    #[test]
    fn a_lasting_difference_is_logged_once_a_minute_and_a_passing_one_never() {
        let peer = NodeId::new("shop@10.0.0.7:4370".parse().unwrap(), Incarnation(7), 42);
        let apart = || vec![Obstacle::ClocksApart { peer: peer.clone(), theirs: 0, ours: 1 }];
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let mut warnings = ClockWarnings::default();
        let mut logs = |second: u64, apart: Vec<Obstacle>| !warnings.due(at(second), apart).is_empty();
        let seconds: Vec<u64> = (0..130).filter(|second| logs(*second, apart())).collect();
        assert_eq!(seconds, [2, 62, 122]);
        assert!(!logs(130, Vec::new()));
        assert!(!logs(131, apart()), "it has just begun again");
        assert!(logs(133, apart()));
    }
}
