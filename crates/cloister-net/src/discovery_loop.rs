//! Service discovery loop: looks every seed up again and again, in every status.

mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_discovery::{Discovery, DiscoveryError, LookupResult, Records};
use cloister_proto::backoff::exponential;
use cloister_proto::text::sanitize_to;
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::discovered::Discovered;
use crate::jitter::Jitter;
use crate::links::SeedReport;
use crate::messages::SessionMessage;

/// How often discovery is asked while nodes are missing.
const FORMING_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is asked later, give or take a quarter.
const STEADY_INTERVAL: Duration = Duration::from_secs(5);

/// How long discovery may take. A slower answer is an error.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long our own address may be missing from the answers before that is worth a warning.
const SELF_MISSING_WARN: Duration = Duration::from_secs(15);

/// For how long a seed may name no node before that is worth a warning: one that never named any, and one that did. The name of a service
/// comes into being with its first container.
const UNNAMED_WARN: Duration = Duration::from_secs(5);
const UNNAMED_AGAIN_WARN: Duration = Duration::from_secs(15);

/// The pauses between two warnings of one seed: each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The most characters that are kept of the report on one seed: an error may list them all.
const MAX_SHOWN: usize = 4096;

/// How one seed answered, or why it did not.
type SeedAnswer = (String, Result<Records, String>);

/// How the seeds of one source answered, or why none did.
type Answers = Result<Vec<SeedAnswer>, String>;

/// What is known of one seed.
#[derive(Debug, Default)]
struct Seed {
    /// The last answer that was one. An error does not empty it.
    answer: Option<Records>,
    error: Option<String>,
    /// When to warn next that it names no node, and how many warnings there were.
    warns: Option<(Instant, u32)>,
}

/// One place to look, asked by itself: one that is slow or broken holds back no other.
struct Source {
    strategy: Arc<dyn Discovery>,
    /// Its report on each of its seeds; `None` until it has answered.
    seeds: Option<BTreeMap<String, Seed>>,
    /// Why the last question got no answer from any seed.
    error: Option<String>,
}

/// The discovery loop of one node.
pub(crate) struct DiscoveryLoop {
    sources: Vec<Source>,
    /// The address by which discovery should name this node, if it is known.
    mine: Option<SocketAddr>,
    /// Where this node listens.
    bind: SocketAddr,
    /// Since when our own address is missing, and whether that was logged.
    missing_since: Option<(Instant, bool)>,
    jitter: Jitter,
}

impl DiscoveryLoop {
    pub(crate) fn new(
        strategies: impl IntoIterator<Item = Arc<dyn Discovery>>,
        mine: Option<SocketAddr>,
        bind: SocketAddr,
        jitter: Jitter,
    ) -> Self {
        let sources = strategies.into_iter().map(Source::new).collect();
        Self { sources, mine, bind, missing_since: None, jitter }
    }

    /// Asks until the sessions are gone; `assembled` sets the pace.
    pub(crate) async fn run(
        mut self,
        sessions: ActorRef<SessionMessage>,
        mut assembled: watch::Receiver<bool>,
        publish: impl Fn(Vec<SeedReport>),
    ) {
        loop {
            let mut asked = self.ask();
            while let Some(first) = asked.join_next().await {
                // Results that are there at the same time are reported together.
                for (at, answers) in
                    iter::once(first).chain(iter::from_fn(|| asked.try_join_next())).flatten()
                {
                    self.sources[at].take_in(answers, Instant::now());
                }
                publish(self.failing());
                if !asked.is_empty() && sessions.cast(self.message()).is_err() {
                    return;
                }
            }
            self.check_self_listed(Instant::now());
            if sessions.cast(self.message()).is_err() {
                return;
            }
            let pause = if *assembled.borrow_and_update() {
                self.jitter.around(STEADY_INTERVAL)
            } else {
                FORMING_INTERVAL
            };
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

    /// Asks all, each with its number.
    fn ask(&self) -> JoinSet<(usize, Answers)> {
        let questions = self.sources.iter().map(Source::ask).enumerate();
        questions.map(|(at, question)| async move { (at, question.await) }).collect()
    }

    fn message(&self) -> SessionMessage {
        let (found, aliases) = self.found();
        SessionMessage::Found(Discovered { found, aliases, complete: self.is_complete() })
    }

    /// Everything that any seed names, by its last answer that was one: the addresses of nodes, and further addresses of these.
    fn found(&self) -> (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) {
        let (mut found, mut aliases) = (BTreeSet::new(), BTreeSet::new());
        for source in &self.sources {
            let by_name = source.strategy.is_by_name();
            for sockets in source.names().into_values() {
                let nodes = nodes::of_name(self.bind, &sockets, by_name);
                found.extend(nodes.addresses);
                aliases.extend(nodes.aliases);
            }
        }
        aliases.retain(|address| !found.contains(address));
        (found, aliases)
    }

    /// Whether every seed has answered once, be it that there is nothing. A name server may never answer for one of the two families.
    fn is_complete(&self) -> bool {
        let has_answered = |source: &Source| source.open().all(|(_, seed)| seed.answer.is_some());
        self.sources
            .iter()
            .all(|source| source.error.is_none() && source.seeds.is_some() && has_answered(source))
    }

    fn seeds(&self) -> impl Iterator<Item = (&String, &Seed)> {
        self.sources.iter().flat_map(|source| &source.seeds).flatten()
    }

    /// The seeds that name no node.
    fn failing(&self) -> Vec<SeedReport> {
        self.sources
            .iter()
            .flat_map(Source::open)
            .filter_map(|(name, seed)| Some(SeedReport { seed: name.clone(), error: seed.trouble()? }))
            .collect()
    }

    fn check_self_listed(&mut self, now: Instant) {
        let Some(mine) = self.mine else { return };
        let (found, _) = self.found();
        if found.is_empty() || found.contains(&mine) {
            self.missing_since = None;
            return;
        }
        let (since, said) = self.missing_since.get_or_insert((now, false));
        if !*said && now.saturating_duration_since(*since) >= SELF_MISSING_WARN {
            *said = true;
            let seeds: Vec<_> = self.seeds().map(|(name, _)| name).collect();
            warn!(
                local_addr = %mine, ?seeds, records = ?found,
                "discovery has not named this node for {SELF_MISSING_WARN:?}, so nodes that look there cannot find it; if it is a \
                 headless service of Kubernetes, set `publishNotReadyAddresses: true` on it: a node can become \
                 ready only after it was found"
            );
        }
    }
}

impl Source {
    /// The seeds but for those parts of an answer where another part has addresses for the same name.
    fn open(&self) -> impl Iterator<Item = (&String, &Seed)> {
        let names = self.names();
        let is_named =
            move |part: &str| names.get(nodes::name_of(part)).is_some_and(|found| !found.is_empty());
        self.seeds.iter().flatten().filter(move |(part, _)| !is_named(part))
    }

    /// The addresses of each name, by the last answers. An answer may come in parts, one for each family.
    fn names(&self) -> BTreeMap<&str, BTreeSet<SocketAddr>> {
        let mut names: BTreeMap<&str, BTreeSet<SocketAddr>> = BTreeMap::new();
        for (part, seed) in self.seeds.iter().flatten() {
            let sockets = seed.answer.iter().flat_map(Records::sockets).copied();
            names.entry(nodes::name_of(part)).or_default().extend(sockets);
        }
        names
    }

    fn new(strategy: Arc<dyn Discovery>) -> Self {
        Self { strategy, seeds: None, error: None }
    }

    fn ask(&self) -> impl Future<Output = Answers> + Send + use<> {
        let strategy = Arc::clone(&self.strategy);
        async move {
            // A task of its own: a strategy of the user's may panic.
            let question = tokio::spawn(async move {
                (strategy.describe(), timeout(QUERY_TIMEOUT, strategy.lookup()).await)
            });
            match question.await {
                Ok((whole, Ok(outcome))) => Ok(seed_answers(whole, outcome)),
                Ok((whole, Err(_))) => Err(format!("{whole} gave no answer within {QUERY_TIMEOUT:?}")),
                Err(error) => Err(format!("a strategy ended: {error}")),
            }
        }
    }

    fn take_in(&mut self, answers: Answers, now: Instant) {
        match answers {
            Ok(answers) => {
                if self.error.take().is_some() {
                    info!("discovery answers again");
                }
                let asked: BTreeSet<_> = answers.iter().map(|(seed, _)| seed.clone()).collect();
                let seeds = self.seeds.get_or_insert_default();
                // Parts of an answer have names of their own, such as the targets of SRV records. An error of a name that never answered may
                // stand for any of them.
                let known = |seed: &String| seeds.get(seed).is_some_and(|seed| seed.answer.is_some());
                if answers.iter().all(|(seed, answer)| answer.is_ok() || known(seed)) {
                    seeds.retain(|seed, _| asked.contains(seed));
                }
                for (seed, answer) in answers {
                    seeds.entry(seed.clone()).or_default().take_in(&seed, answer, now);
                }
            }
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    warn!(%error, "discovery failed; what it found before still counts");
                    self.error = Some(error);
                }
            }
        }
    }
}

impl Seed {
    fn take_in(&mut self, seed: &str, answer: Result<Records, String>, now: Instant) {
        match answer {
            Ok(answer) => {
                if self.error.take().is_some() {
                    info!(seed, "the seed answers again");
                }
                let named = self.answer.as_ref().is_some_and(|before| !before.sockets().is_empty());
                if self.answer.as_ref() != Some(&answer) {
                    debug!(seed, ?answer, "discovery update");
                    self.answer = Some(answer);
                }
                self.warn_if_unnamed(seed, named, now);
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

impl Seed {
    /// Why it names no node, and what to do.
    fn trouble(&self) -> Option<String> {
        match (&self.answer, &self.error) {
            (Some(answer), _) if !answer.sockets().is_empty() => None,
            (_, Some(error)) => Some(error.clone()),
            (Some(Records::Absent), None) => {
                Some("it does not exist: correct `seeds`, or create the service".to_owned())
            }
            (Some(_), None) => Some(
                "it exists and has no address: start a node behind it; in Kubernetes, set `publishNotReadyAddresses: true` on the \
                 headless service"
                    .to_owned(),
            ),
            (None, None) => None,
        }
    }

    /// Warns first after a while, and again in pauses that become longer. `named` says whether it named nodes before.
    fn warn_if_unnamed(&mut self, seed: &str, named: bool, now: Instant) {
        let Some(trouble) = self.trouble() else {
            if self.warns.take().is_some_and(|(_, warnings)| warnings > 0) {
                info!(seed, "the seed names nodes now");
            }
            return;
        };
        let grace = if named { UNNAMED_AGAIN_WARN } else { UNNAMED_WARN };
        let (next, warnings) = self.warns.get_or_insert((now + grace, 0));
        if *next <= now {
            warn!(seed, "a seed names no node: {trouble}");
            *warnings += 1;
            *next = now + exponential(FIRST_PAUSE, LONGEST_PAUSE, *warnings);
        }
    }
}

/// The outcome of a lookup, seed by seed.
fn seed_answers(whole: String, outcome: Result<LookupResult, DiscoveryError>) -> Vec<SeedAnswer> {
    let parts = match outcome {
        Ok(found) if found.sources.is_empty() => return vec![(whole, Ok(found.records))],
        Ok(found) => found.sources,
        Err(DiscoveryError::Sources(parts)) => parts,
        Err(error) => return vec![(whole, Err(sanitize_to(&error.to_string(), MAX_SHOWN)))],
    };
    // A part may be named by a record of DNS, and an error may quote one.
    let shown = |error: DiscoveryError| sanitize_to(&error.to_string(), MAX_SHOWN);
    parts
        .into_iter()
        .map(|part| (sanitize_to(&part.source, MAX_SHOWN), part.outcome.map_err(shown)))
        .collect()
}

#[cfg(test)]
mod tests;
