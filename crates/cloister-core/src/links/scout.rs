//! The scout: asks discovery, again and again, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_discovery::{Answer, Discovery, DiscoveryError, Found};
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::random::Jitter;
use super::session::SessionMessage;

/// How often discovery is asked while nodes are missing.
const ASSEMBLING: Duration = Duration::from_secs(1);

/// How often it is asked later, give or take a quarter.
const LATER: Duration = Duration::from_secs(5);

/// How long discovery may take. A slower answer is an error.
const ANSWER: Duration = Duration::from_secs(5);

/// For how long our own address may be missing from the answers before that is worth a warning.
const ABSENT: Duration = Duration::from_secs(15);

/// How one seed answered, or why it did not.
type Said = (String, Result<Answer, String>);

/// What is known of one seed.
#[derive(Debug, Default)]
struct Seed {
    /// The last answer that was one. An error does not empty it.
    answer: Option<Answer>,
    error: Option<String>,
}

/// The scout of one node.
pub(super) struct Scout {
    discovery: Arc<dyn Discovery>,
    /// The address by which discovery should name this node, if it is known.
    mine: Option<SocketAddr>,
    seeds: BTreeMap<String, Seed>,
    /// Why the last question got no answer from any seed.
    error: Option<String>,
    /// Since when our own address is missing, and whether that was said.
    absent: Option<(Instant, bool)>,
    jitter: Jitter,
}

impl Scout {
    pub(super) fn new(discovery: Arc<dyn Discovery>, mine: Option<SocketAddr>, jitter: Jitter) -> Self {
        Self { discovery, mine, seeds: BTreeMap::new(), error: None, absent: None, jitter }
    }

    /// Asks until the sessions are gone; `assembled` sets the pace.
    pub(super) async fn run(
        mut self,
        sessions: ActorRef<SessionMessage>,
        mut assembled: watch::Receiver<bool>,
    ) {
        loop {
            let answers = self.ask().await;
            self.take_in(answers, Instant::now());
            let message = SessionMessage::Found { found: self.found(), complete: self.is_complete() };
            if sessions.cast(message).is_err() {
                return;
            }
            let pause = if *assembled.borrow_and_update() { self.jitter.around(LATER) } else { ASSEMBLING };
            tokio::select! {
                () = sleep(pause) => {}
                changed = assembled.changed() => match changed {
                    // Nodes are missing again: look at once.
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }

    async fn ask(&self) -> Result<Vec<Said>, String> {
        let discovery = Arc::clone(&self.discovery);
        // A task of its own: a strategy of the user's may panic.
        let question =
            tokio::spawn(async move { (discovery.describe(), timeout(ANSWER, discovery.look_up()).await) });
        match question.await {
            Ok((whole, Ok(outcome))) => Ok(said(whole, outcome)),
            Ok((whole, Err(_))) => Err(format!("{whole} gave no answer within {ANSWER:?}")),
            Err(error) => Err(format!("a strategy ended: {error}")),
        }
    }

    fn take_in(&mut self, answers: Result<Vec<Said>, String>, now: Instant) {
        match answers {
            Ok(answers) => {
                if self.error.take().is_some() {
                    info!("discovery answers again");
                }
                let asked: BTreeSet<_> = answers.iter().map(|(seed, _)| seed.clone()).collect();
                self.seeds.retain(|seed, _| asked.contains(seed));
                for (seed, answer) in answers {
                    self.seeds.entry(seed.clone()).or_default().take_in(&seed, answer);
                }
            }
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    warn!(%error, "discovery failed; what it found before still counts");
                    self.error = Some(error);
                }
            }
        }
        self.look_for_ourselves(now);
    }

    /// Everything that any seed names, by its last answer that was one.
    fn found(&self) -> BTreeSet<SocketAddr> {
        self.seeds
            .values()
            .filter_map(|seed| seed.answer.as_ref())
            .flat_map(Answer::sockets)
            .copied()
            .collect()
    }

    /// Whether every seed has answered once, be it that there is nothing.
    fn is_complete(&self) -> bool {
        self.error.is_none() && self.seeds.values().all(|seed| seed.answer.is_some())
    }

    fn look_for_ourselves(&mut self, now: Instant) {
        let Some(mine) = self.mine else { return };
        let found = self.found();
        if found.is_empty() || found.contains(&mine) {
            self.absent = None;
            return;
        }
        let (since, said) = self.absent.get_or_insert((now, false));
        if !*said && now.saturating_duration_since(*since) >= ABSENT {
            *said = true;
            let seeds: Vec<_> = self.seeds.keys().collect();
            warn!(
                %mine, ?seeds, ?found,
                "discovery has not named this node for {ABSENT:?}, so nodes that look there cannot find it; if it is a \
                 headless service of Kubernetes, set `publishNotReadyAddresses: true` on it: a node can become \
                 ready only after it was found"
            );
        }
    }
}

impl Seed {
    fn take_in(&mut self, seed: &str, answer: Result<Answer, String>) {
        match answer {
            Ok(answer) => {
                if self.error.take().is_some() {
                    info!(seed, "the seed answers again");
                }
                if self.answer.as_ref() != Some(&answer) {
                    info!(seed, ?answer, "discovery");
                    self.answer = Some(answer);
                }
            }
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    warn!(seed, error, "a seed did not answer; what it named before still counts");
                    self.error = Some(error);
                }
            }
        }
    }
}

/// The outcome of a look-up, seed by seed.
fn said(whole: String, outcome: Result<Found, DiscoveryError>) -> Vec<Said> {
    let parts = match outcome {
        Ok(found) if found.parts.is_empty() => return vec![(whole, Ok(found.answer))],
        Ok(found) => found.parts,
        Err(DiscoveryError::Parts(parts)) => parts,
        Err(error) => return vec![(whole, Err(error.to_string()))],
    };
    parts.into_iter().map(|part| (part.what, part.outcome.map_err(|error| error.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    struct Nothing;

    impl Discovery for Nothing {
        fn describe(&self) -> String {
            "nothing".to_owned()
        }

        fn look_up(&self) -> cloister_discovery::LookUp<'_> {
            Box::pin(async { panic!("a strategy of the user's") })
        }
    }

    fn scout() -> Scout {
        Scout::new(Arc::new(Nothing), Some(address(1)), Jitter::new(NonZeroU64::MIN))
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 4370))
    }

    fn answer(seed: &str, found: Result<&[u8], &str>) -> Said {
        let found = found.map(|last| last.iter().copied().map(address).collect()).map_err(str::to_owned);
        (seed.to_owned(), found)
    }

    #[test]
    fn an_error_never_empties_what_was_found() {
        let mut scout = scout();
        let now = Instant::now();
        scout.take_in(Ok(vec![answer("app", Ok(&[1, 2]))]), now);
        scout.take_in(Ok(vec![answer("app", Err("SERVFAIL"))]), now);
        assert_eq!(scout.found(), BTreeSet::from([address(1), address(2)]));
        scout.take_in(Err("no answer".to_owned()), now);
        assert_eq!(scout.found(), BTreeSet::from([address(1), address(2)]));
        scout.take_in(Ok(vec![answer("app", Ok(&[3]))]), now);
        assert_eq!(scout.found(), BTreeSet::from([address(3)]));
    }

    #[test]
    fn discovery_is_complete_when_every_seed_has_answered_be_it_with_nothing() {
        let mut scout = scout();
        let now = Instant::now();
        scout.take_in(Err("no answer".to_owned()), now);
        assert!(!scout.is_complete());
        scout.take_in(Ok(vec![answer("a", Ok(&[])), answer("b", Err("SERVFAIL"))]), now);
        assert!(!scout.is_complete());
        scout.take_in(Ok(vec![answer("a", Err("SERVFAIL")), answer("b", Ok(&[2]))]), now);
        assert!(scout.is_complete());
    }

    #[tokio::test]
    async fn a_strategy_that_panics_is_an_error_and_not_the_end() {
        let error = scout().ask().await.unwrap_err();
        assert!(error.contains("a strategy ended"), "{error}");
    }

    #[test]
    fn a_service_that_does_not_name_us_is_told_once_and_only_after_a_while() {
        let mut scout = scout();
        let start = Instant::now();
        let said = |scout: &Scout| scout.absent.is_some_and(|(_, said)| said);
        scout.take_in(Ok(vec![answer("app", Ok(&[2]))]), start);
        scout.take_in(Ok(vec![answer("app", Ok(&[2]))]), start + Duration::from_secs(14));
        assert!(!said(&scout));
        scout.take_in(Ok(vec![answer("app", Ok(&[2]))]), start + ABSENT);
        assert!(said(&scout));
        scout.take_in(Ok(vec![answer("app", Ok(&[1, 2]))]), start + 2 * ABSENT);
        assert!(scout.absent.is_none());
    }
}
