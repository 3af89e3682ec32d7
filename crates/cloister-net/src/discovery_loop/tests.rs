use std::num::NonZeroU64;

use tokio::sync::Notify;

use super::*;

struct Nothing;

impl Discovery for Nothing {
    fn describe(&self) -> String {
        "nothing".to_owned()
    }

    fn lookup(&self) -> cloister_discovery::LookupFuture<'_> {
        Box::pin(async { panic!("a strategy of the user's") })
    }
}

/// Answers once it is let.
struct Gated(Arc<Notify>, u8);

impl Discovery for Gated {
    fn describe(&self) -> String {
        format!("gate {}", self.1)
    }

    fn lookup(&self) -> cloister_discovery::LookupFuture<'_> {
        Box::pin(async {
            self.0.notified().await;
            Ok(LookupResult::addresses([address(self.1)]))
        })
    }
}

fn discovery_loop(strategies: impl IntoIterator<Item = Arc<dyn Discovery>>) -> DiscoveryLoop {
    DiscoveryLoop::new(strategies, Some(address(1)), address(1), Jitter::new(NonZeroU64::MIN))
}

fn of_one() -> DiscoveryLoop {
    discovery_loop([Arc::new(Nothing) as Arc<dyn Discovery>])
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4370))
}

fn answer(seed: &str, found: Result<&[u8], &str>) -> SeedAnswer {
    let found = found.map(|last| last.iter().copied().map(address).collect()).map_err(str::to_owned);
    (seed.to_owned(), found)
}

#[test]
fn an_error_never_empties_what_was_found() {
    let mut discovery_loop = of_one();
    discovery_loop.sources[0].take_in(Ok(vec![answer("app", Ok(&[1, 2]))]), Instant::now());
    discovery_loop.sources[0].take_in(Ok(vec![answer("app", Err("SERVFAIL"))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(1), address(2)]));
    discovery_loop.sources[0].take_in(Err("no answer".to_owned()), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(1), address(2)]));
    discovery_loop.sources[0].take_in(Ok(vec![answer("app", Ok(&[3]))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(3)]));
}

#[test]
fn a_name_is_complete_once_one_of_its_families_has_addresses() {
    let mut discovery_loop = of_one();
    let mut takes_in = |answers: Vec<SeedAnswer>| {
        discovery_loop.sources[0].take_in(Ok(answers), Instant::now());
        (discovery_loop.is_complete(), discovery_loop.failing().len())
    };
    let no_aaaa = || answer("app. AAAA", Err("SERVFAIL"));
    assert_eq!(takes_in(vec![answer("app. A", Err("SERVFAIL")), no_aaaa()]), (false, 2));
    assert_eq!(
        takes_in(vec![answer("app. A", Ok(&[])), no_aaaa()]),
        (false, 2),
        "the nodes may have IPv6 addresses"
    );
    assert_eq!(takes_in(vec![answer("app. A", Ok(&[1, 2])), no_aaaa()]), (true, 0));
    assert_eq!(
        takes_in(vec![answer("app. A", Ok(&[1])), no_aaaa(), answer("b.", Err("SERVFAIL"))]),
        (false, 1)
    );
}

#[test]
fn an_error_of_the_whole_empties_none_of_its_parts_and_an_answer_is_the_end_of_it() {
    let mut discovery_loop = of_one();
    let targets = || vec![answer("a.example", Ok(&[1])), answer("b.example", Ok(&[2]))];
    discovery_loop.sources[0].take_in(Ok(targets()), Instant::now());
    discovery_loop.sources[0]
        .take_in(Ok(vec![answer("SRV records of app", Err("SERVFAIL"))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(1), address(2)]));
    assert_eq!(discovery_loop.failing().len(), 1, "{:?}", discovery_loop.failing());
    discovery_loop.sources[0].take_in(Ok(targets()), Instant::now());
    assert_eq!(discovery_loop.failing().len(), 0, "{:?}", discovery_loop.failing());
    discovery_loop.sources[0].take_in(Ok(vec![answer("b.example", Ok(&[3]))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(3)]));
    // A part that fails has its own last answer, and keeps none of another.
    discovery_loop.sources[0].take_in(Ok(targets()), Instant::now());
    discovery_loop.sources[0].take_in(Ok(vec![answer("b.example", Err("SERVFAIL"))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(2)]));
}

#[test]
fn a_name_of_which_one_kind_of_address_fails_keeps_those_of_before() {
    let mut discovery_loop = of_one();
    discovery_loop.sources[0].take_in(Ok(vec![answer("app", Ok(&[1, 2]))]), Instant::now());
    let partial = || vec![answer("app. A", Ok(&[1])), answer("app. AAAA", Err("SERVFAIL"))];
    discovery_loop.sources[0].take_in(Ok(partial()), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(1), address(2)]));
    discovery_loop.sources[0].take_in(Ok(vec![answer("app", Ok(&[1, 3]))]), Instant::now());
    assert_eq!(discovery_loop.found().0, BTreeSet::from([address(1), address(3)]));
}

#[test]
fn discovery_is_complete_when_every_seed_has_answered_be_it_with_nothing() {
    let mut discovery_loop = of_one();
    assert!(!discovery_loop.is_complete());
    discovery_loop.sources[0].take_in(Err("no answer".to_owned()), Instant::now());
    assert!(!discovery_loop.is_complete());
    discovery_loop.sources[0]
        .take_in(Ok(vec![answer("a", Ok(&[])), answer("b", Err("SERVFAIL"))]), Instant::now());
    assert!(!discovery_loop.is_complete());
    discovery_loop.sources[0]
        .take_in(Ok(vec![answer("a", Err("SERVFAIL")), answer("b", Ok(&[2]))]), Instant::now());
    assert!(discovery_loop.is_complete());
}

#[tokio::test]
async fn a_strategy_that_panics_is_an_error_and_not_the_end() {
    let (_, outcome) = of_one().ask().join_next().await.unwrap().unwrap();
    let error = outcome.unwrap_err();
    assert!(error.contains("a strategy ended"), "{error}");
}

/// Takes in what it is sent, and passes it on.
struct Listens;

impl ractor::Actor for Listens {
    type Msg = SessionMessage;
    type State = tokio::sync::mpsc::UnboundedSender<(BTreeSet<SocketAddr>, bool)>;
    type Arguments = Self::State;

    async fn pre_start(
        &self,
        _: ActorRef<SessionMessage>,
        out: Self::State,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        Ok(out)
    }

    async fn handle(
        &self,
        _: ActorRef<SessionMessage>,
        message: SessionMessage,
        out: &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        if let SessionMessage::Found(Discovered { found, complete, .. }) = message {
            let _ = out.send((found, complete));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_strategy_that_is_late_and_one_that_is_broken_delay_no_other() {
    let (sender, mut found_addresses) = tokio::sync::mpsc::unbounded_channel();
    let (sessions, task) = ractor::Actor::spawn(None, Listens, sender).await.unwrap();
    let (_pace, assembled) = watch::channel(false);
    let gates: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
    let gated = gates.iter().zip(2..).map(|(gate, last)| Arc::new(Gated(Arc::clone(gate), last)) as Arc<_>);
    let strategies: Vec<Arc<dyn Discovery>> = gated.chain([Arc::new(Nothing) as Arc<_>]).collect();
    let to_sessions = tokio::spawn(discovery_loop(strategies).run(sessions.clone(), assembled, drop));
    let mut until = async |all: &[u8]| {
        let all: BTreeSet<_> = all.iter().copied().map(address).collect();
        loop {
            let (found, complete) = found_addresses.recv().await.unwrap();
            assert!(!complete, "one is broken, one has not answered");
            if found == all {
                return;
            }
        }
    };
    gates[1].notify_one();
    until(&[3]).await;
    gates[0].notify_one();
    until(&[2, 3]).await;
    to_sessions.abort();
    sessions.stop(None);
    task.await.unwrap();
}

#[test]
fn a_service_that_does_not_name_us_is_logged_once_and_only_after_a_while() {
    let mut discovery_loop = of_one();
    let start = Instant::now();
    let said = |discovery_loop: &DiscoveryLoop| discovery_loop.missing_since.is_some_and(|(_, said)| said);
    let ask = |discovery_loop: &mut DiscoveryLoop, names: &[u8], now| {
        discovery_loop.sources[0].take_in(Ok(vec![answer("app", Ok(names))]), Instant::now());
        discovery_loop.check_self_listed(now);
    };
    ask(&mut discovery_loop, &[2], start);
    ask(&mut discovery_loop, &[2], start + Duration::from_secs(14));
    assert!(!said(&discovery_loop));
    ask(&mut discovery_loop, &[2], start + SELF_MISSING_WARN);
    assert!(said(&discovery_loop));
    ask(&mut discovery_loop, &[1, 2], start + 2 * SELF_MISSING_WARN);
    assert!(discovery_loop.missing_since.is_none());
}

#[test]
fn a_seed_that_names_no_node_is_reported_at_once_and_logged_after_a_while_and_again() {
    let mut discovery_loop = of_one();
    let start = Instant::now();
    let mut ask = |answer: Result<Records, String>, seconds| {
        let now = start + Duration::from_secs(seconds);
        discovery_loop.sources[0].take_in(Ok(vec![("app".to_owned(), answer)]), now);
        let warns = discovery_loop.seeds().next().and_then(|(_, seed)| seed.warns);
        let next = warns.map(|(next, _)| next.duration_since(start).as_secs());
        (discovery_loop.failing().pop().map(|report| report.error), next)
    };
    let absent = Some("it does not exist: correct `seeds`, or create the service".to_owned());
    assert_eq!(ask(Ok(Records::Absent), 0), (absent.clone(), Some(5)));
    assert_eq!(ask(Ok(Records::Absent), 4), (absent.clone(), Some(5)));
    assert_eq!(ask(Ok(Records::Absent), 6), (absent.clone(), Some(66)));
    assert_eq!(ask(Ok(Records::Absent), 67), (absent.clone(), Some(187)));
    let named = || Ok([1].into_iter().map(address).collect());
    assert_eq!(ask(named(), 70), (None, None));
    // What it named before still counts.
    assert_eq!(ask(Err("SERVFAIL".to_owned()), 71), (None, None));
    assert_eq!(ask(Ok(Records::Absent), 80), (absent, Some(95)));
    let empty = ask(Ok(Records::Empty), 81).0.unwrap();
    assert!(empty.contains("has no address"), "{empty}");
}
