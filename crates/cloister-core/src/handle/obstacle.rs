//! What keeps a node from being up.

use std::fmt;
use std::time::Duration;

use cloister_proto::{Address, Obstacle as MembershipObstacle, Status};
use thiserror::Error;

use super::peer::PeerState;
use crate::error::ExitReason;

/// Something that keeps this node from being up, or its program from answering. [`Display`](fmt::Display) gives the sentence that
/// `/readyz` lists.
///
/// ```
/// # async fn example(cloister: &cloister_core::Cloister) {
/// use cloister_core::{MembershipObstacle, Obstacle};
///
/// for obstacle in cloister.readiness().await.missing {
///     match obstacle {
///         Obstacle::Membership(MembershipObstacle::TooFew { present, needed }) => {
///             println!("{} of {needed} nodes are here", present.len());
///         }
///         other => println!("{other}"),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The runtime of the program has not answered for so long: its threads are blocked.
    RuntimeBlocked(Duration),
    /// This node was asked to leave, and serves as before for so much longer: for `drain_delay` in all, so that load balancers stop
    /// sending first.
    DrainDelay {
        /// For how much longer.
        left: Duration,
    },
    /// This node was asked to leave, and its [drain hooks](crate::Cloister::on_drain) of these names have run for so long. It is still
    /// a member. With none left, the others still warm up for what they take over, such as the rows of tables.
    Draining {
        /// For how long.
        since: Duration,
        /// The hooks that have not ended.
        hooks: Vec<String>,
    },
    /// This node has ended, for this reason.
    Ended(ExitReason),
    /// This node does not know its address yet, or its last incarnation failed. The reason in words.
    NotBegun(String),
    /// This node starts: it does not listen yet.
    Starting,
    /// The present nodes cannot form a view yet.
    Membership(MembershipObstacle),
    /// A seed names no node.
    Seed {
        /// The seed, as it is configured.
        seed: String,
        /// Why, and what to do.
        error: String,
    },
    /// An address where a node may be is not linked.
    NotLinked {
        /// The address.
        address: Address,
        /// How this node stands to it.
        state: PeerState,
        /// Why the last attempt failed.
        error: String,
    },
}

impl From<MembershipObstacle> for Obstacle {
    fn from(obstacle: MembershipObstacle) -> Self {
        Self::Membership(obstacle)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuntimeBlocked(silent) => write!(
                f,
                "the runtime of this program has not answered for {:.1} s: its threads are blocked",
                silent.as_secs_f64()
            ),
            Self::DrainDelay { left } => write!(
                f,
                "this node was asked to leave: for {:.1} s more it serves as before, so that load balancers stop sending first",
                left.as_secs_f64()
            ),
            Self::Draining { since, hooks } if hooks.is_empty() => write!(
                f,
                "this node was asked to leave: for {:.1} s it has waited for the others to take over what it holds",
                since.as_secs_f64()
            ),
            Self::Draining { since, hooks } => write!(
                f,
                "this node was asked to leave: for {:.1} s it has waited for its drain hooks: {}",
                since.as_secs_f64(),
                hooks.join(", ")
            ),
            Self::Ended(reason) => reason.fmt(f),
            Self::NotBegun(cause) => f.write_str(cause),
            Self::Starting => f.write_str("this node is starting: it does not listen yet"),
            Self::Membership(obstacle) => obstacle.fmt(f),
            Self::Seed { seed, error } => write!(f, "the seed `{seed}` names no node: {error}"),
            Self::NotLinked { address, state, error } => {
                write!(f, "{address} is {}: {error}", state.as_str())
            }
        }
    }
}

/// The cluster was not up in time.
///
/// [`Cloister::wait_until_up`](crate::Cloister::wait_until_up) has an example.
#[derive(Clone, Debug, Error)]
#[error("not up within {timeout:?}: {status}{}", list(.missing))]
#[non_exhaustive]
pub struct NotUpError {
    /// How long was waited at most.
    pub timeout: Duration,
    /// How far the node had come.
    pub status: Status,
    /// What is missing, and why; `/readyz` lists the same.
    pub missing: Vec<Obstacle>,
    /// Why this node will not come up at all, if that is so.
    pub ended: Option<ExitReason>,
}

fn list(missing: &[Obstacle]) -> String {
    missing.iter().map(|missing| format!("; {missing}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_reads_as_one_sentence() {
        let address = Address::new("10.0.0.7", 4370).unwrap();
        let refused = "connection refused".to_owned();
        for (obstacle, sentence) in [
            (
                Obstacle::RuntimeBlocked(Duration::from_millis(2_250)),
                "the runtime of this program has not answered for 2.2 s: its threads are blocked",
            ),
            (
                Obstacle::DrainDelay { left: Duration::from_millis(4_460) },
                "this node was asked to leave: for 4.5 s more it serves as before, so that load balancers stop sending first",
            ),
            (
                Obstacle::Draining {
                    since: Duration::from_millis(1_540),
                    hooks: vec!["http".to_owned(), "log".to_owned()],
                },
                "this node was asked to leave: for 1.5 s it has waited for its drain hooks: http, log",
            ),
            (
                Obstacle::Draining { since: Duration::from_millis(240), hooks: Vec::new() },
                "this node was asked to leave: for 0.2 s it has waited for the others to take over what it holds",
            ),
            (Obstacle::Ended(ExitReason::Left), "this node has left its cluster"),
            (Obstacle::NotBegun("no address".to_owned()), "no address"),
            (Obstacle::Starting, "this node is starting: it does not listen yet"),
            (
                Obstacle::NotLinked { address, state: PeerState::Refused, error: refused },
                "10.0.0.7:4370 is refused: connection refused",
            ),
        ] {
            assert_eq!(obstacle.to_string(), sentence);
        }
    }

    #[test]
    fn the_error_lists_each_obstacle() {
        let missing = vec![Obstacle::Starting, Obstacle::NotBegun("no address".to_owned())];
        let error =
            NotUpError { timeout: Duration::from_secs(3), status: Status::Down, missing, ended: None };
        let text = "not up within 3s: down; this node is starting: it does not listen yet; no address";
        assert_eq!(error.to_string(), text);
    }
}
