//! The scout: asks discovery, again and again, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// A question to discovery, under way.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Vec<Answer>> + Send + 'a>>;

/// Where to look for peers.
pub trait Strategies: Send + Sync + 'static {
    /// One fresh answer from each seed; nothing is cached.
    fn find(&self) -> Finding<'_>;
}

/// What one seed says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The seed, as configured.
    pub seed: String,
    /// The addresses it names; or what went wrong, for a person.
    pub found: Result<BTreeSet<SocketAddr>, String>,
}

/// What is known of one seed.
#[derive(Debug, Default)]
struct Seed {
    /// The last answer that was one. An error does not empty it.
    found: Option<BTreeSet<SocketAddr>>,
    error: Option<String>,
}

/// The scout of one node.
pub(super) struct Scout {
    strategies: Arc<dyn Strategies>,
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
    pub(super) fn new(strategies: Arc<dyn Strategies>, mine: Option<SocketAddr>, jitter: Jitter) -> Self {
        Self { strategies, mine, seeds: BTreeMap::new(), error: None, absent: None, jitter }
    }

    /// Asks until the sessions are gone; `assembled` sets the pace.
    pub(super) async fn run(mut self, sessions: ActorRef<SessionMessage>, mut assembled: watch::Receiver<bool>) {
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

    async fn ask(&self) -> Result<Vec<Answer>, String> {
        let strategies = Arc::clone(&self.strategies);
        // A task of its own: a strategy of the user's may panic.
        let question = tokio::spawn(async move { timeout(ANSWER, strategies.find()).await });
        match question.await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(_)) => Err(format!("no answer within {ANSWER:?}")),
            Err(error) => Err(format!("a strategy ended: {error}")),
        }
    }

    fn take_in(&mut self, answers: Result<Vec<Answer>, String>, now: Instant) {
        match answers {
            Ok(answers) => {
                if self.error.take().is_some() {
                    info!("discovery answers again");
                }
                let asked: BTreeSet<_> = answers.iter().map(|answer| answer.seed.clone()).collect();
                self.seeds.retain(|seed, _| asked.contains(seed));
                for answer in answers {
                    self.seeds.entry(answer.seed.clone()).or_default().take_in(answer);
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
        self.seeds.values().filter_map(|seed| seed.found.as_ref()).flatten().copied().collect()
    }

    /// Whether every seed has answered once, be it that there is nothing.
    fn is_complete(&self) -> bool {
        self.error.is_none() && self.seeds.values().all(|seed| seed.found.is_some())
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
    fn take_in(&mut self, Answer { seed, found }: Answer) {
        match found {
            Ok(found) => {
                if self.error.take().is_some() {
                    info!(%seed, "the seed answers again");
                }
                if self.found.as_ref() != Some(&found) {
                    info!(%seed, ?found, "discovery");
                    self.found = Some(found);
                }
            }
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    warn!(%seed, %error, "a seed did not answer; what it named before still counts");
                    self.error = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    struct Nothing;

    impl Strategies for Nothing {
        fn find(&self) -> Finding<'_> {
            Box::pin(async { panic!("a strategy of the user's") })
        }
    }

    fn scout() -> Scout {
        Scout::new(Arc::new(Nothing), Some(address(1)), Jitter::new(NonZeroU64::MIN))
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 4370))
    }

    fn answer(seed: &str, found: Result<&[u8], &str>) -> Answer {
        let found = found.map(|last| last.iter().copied().map(address).collect()).map_err(str::to_owned);
        Answer { seed: seed.to_owned(), found }
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
