//! Calls by key without pause, as a service makes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::{CallError, Cloister, Message, Slot};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard};

/// Held while calls are under way whose outcome is printed before the process ends.
static UNDER_WAY: RwLock<()> = RwLock::const_new(());

/// The name under which the actor is found.
const NAME: &str = "register";

/// The name of the actor that the first one asks before it answers, if `NODE_NESTED` is set.
const NESTED: &str = "nested";

/// How many keys there are.
const KEYS: u64 = 1_000;

/// Asks the owner of a key for its name.
#[derive(Message)]
struct Ask {
    key: String,
    /// No two calls of one process have the same number.
    number: u64,
    reply: RpcReplyPort<Answer>,
}

/// The node that has answered, and whether it owned the key then.
#[derive(serde::Serialize, serde::Deserialize)]
struct Answer {
    node: String,
    owned: bool,
}

struct Register {
    /// Whether it asks another actor by key before it answers.
    asks: bool,
}

/// What the actor keeps: its node, where it notes what it handles, and how long that takes it.
struct RegisterState {
    cloister: Cloister,
    handled: Option<File>,
    takes: Duration,
}

/// Registers the actor, if `NODE_REGISTER` asks for it. That is the number of milliseconds that it takes for a message, and one more. Every
/// other node has an actor in its place.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    if std::env::var_os("NODE_REGISTER").is_none() {
        return Ok(());
    }
    let asks = std::env::var_os("NODE_NESTED").is_some();
    let (register, _) = Actor::spawn(None, Register { asks }, cloister.clone()).await?;
    cloister.register(NAME, &register).expect("invariant: no other actor has the name");
    if asks {
        let (nested, _) = Actor::spawn(None, Register { asks: false }, cloister.clone()).await?;
        cloister.register(NESTED, &nested).expect("invariant: no other actor has the name");
    }
    Ok(())
}

impl Actor for Register {
    type Msg = Ask;
    type State = RegisterState;
    type Arguments = Cloister;

    async fn pre_start(
        &self,
        _: ActorRef<Ask>,
        cloister: Cloister,
    ) -> Result<RegisterState, ActorProcessingErr> {
        let path = std::env::var_os("NODE_HANDLED");
        let open = |path| File::options().create(true).append(true).open(path);
        let register: u64 = std::env::var("NODE_REGISTER")?.parse()?;
        let takes = Duration::from_millis(register.saturating_sub(1));
        Ok(RegisterState { cloister, handled: path.map(open).transpose()?, takes })
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        Ask { key, number, reply }: Ask,
        RegisterState { cloister, handled, takes }: &mut RegisterState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(handled) = handled {
            // At once, so that a kill loses none.
            writeln!(handled, "{number}")?;
        }
        let owned = cloister.claim().is_some_and(|claim| claim.owns(Slot::of(key.as_bytes())));
        if !takes.is_zero() {
            tokio::time::sleep(*takes).await;
        }
        if self.asks {
            let ask = |reply| Ask { key: key.clone(), number, reply };
            let nested = format!("nested-{number}");
            if let Err(error) = cloister.call(NESTED, &nested, ask, Duration::from_secs(10)).await {
                // Then the caller has no answer either.
                eprintln!("a nested call failed: {error}");
                return Ok(());
            }
        }
        let node = cloister.node().name().to_string();
        // The caller may have given up.
        let _ = reply.send(Answer { node, owned });
        Ok(())
    }
}

/// How calls by key are made.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// A call is sent again also where a handler may have seen it.
    pub(crate) retry: bool,
    /// No call begins once this node is asked to leave. Those that were begun before are waited for.
    pub(crate) until_drain: bool,
}

/// Keeps the process from ending until it is dropped.
pub(crate) async fn under_way() -> RwLockReadGuard<'static, ()> {
    UNDER_WAY.read().await
}

/// Until nothing is under way.
pub(crate) async fn ended() {
    drop(UNDER_WAY.write().await);
}

/// So many callers call by key, each with a pause after each answer, for so long. A call may take so long.
pub(crate) async fn load(
    cloister: &Cloister,
    callers: u64,
    pause: Duration,
    span: Duration,
    limit: Duration,
    Manner { retry, until_drain }: Manner,
) -> Value {
    // No two processes have the same numbers.
    let first = u64::from(std::process::id()) << 32;
    let until = Instant::now() + span;
    let goes_on = {
        let cloister = cloister.clone();
        move || Instant::now() < until && !(until_drain && cloister.is_draining())
    };
    let cloister = cloister.clone();
    let ask = move |number: u64| {
        let (cloister, number) = (cloister.clone(), first + number);
        async move {
            let key = format!("key-{}", number % KEYS);
            let ask = |reply| Ask { key: key.clone(), number, reply };
            let answer = match retry {
                true => cloister.retry_uncertain().call(NAME, &key, ask, limit).await,
                false => cloister.call(NAME, &key, ask, limit).await,
            };
            answer.map(|answer| answer.owned && !answer.node.is_empty())
        }
    };
    drive(callers, pause, goes_on, ask).await
}

/// So many callers call, each with a pause after each answer, for as long as they go on. A call has a number, and answers whether its node owned the key
/// when its handler began.
pub(crate) async fn drive<F, C, G>(callers: u64, pause: Duration, goes_on: G, call: C) -> Value
where
    G: Fn() -> bool + Clone + Send + 'static,
    F: Future<Output = Result<bool, CallError>> + Send + 'static,
    C: Fn(u64) -> F + Clone + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..callers)
        .map(|_| tokio::spawn(caller(Arc::clone(&next), pause, goes_on.clone(), call.clone())))
        .collect();
    let (mut took, mut failed, mut not_owned) = (Vec::new(), BTreeMap::<String, u64>::new(), 0);
    for caller in callers {
        let calls = caller.await.expect("a caller does not panic");
        took.extend(calls.took_us);
        not_owned += calls.not_owned;
        for (error, count) in calls.failed {
            *failed.entry(error).or_default() += count;
        }
    }
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
    json!({
        "ok": took.len(), "failed": failed, "not_owned": not_owned,
        "p50_us": at(0.5), "p999_us": at(0.999), "max_us": took.last(),
    })
}

#[derive(Default)]
struct Calls {
    took_us: Vec<u64>,
    failed: BTreeMap<String, u64>,
    /// Answers of nodes that did not own the key any more when their handler began.
    not_owned: u64,
}

async fn caller<F: Future<Output = Result<bool, CallError>>>(
    next: Arc<AtomicU64>,
    pause: Duration,
    goes_on: impl Fn() -> bool,
    call: impl Fn(u64) -> F,
) -> Calls {
    let mut calls = Calls::default();
    while goes_on() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        match call(number).await {
            Ok(owned) => {
                calls.took_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                calls.not_owned += u64::from(!owned);
            }
            Err(error) => *calls.failed.entry(error.to_string()).or_default() += 1,
        }
        tokio::time::sleep(pause).await;
    }
    calls
}

/// So many clients send so many calls in all, at so many a second in all, whether or not the ones before are answered. How long a call takes
/// counts from when it was due.
pub(crate) async fn steady(
    cloister: &Cloister,
    clients: u64,
    rate: u64,
    calls: u64,
    limit: Duration,
) -> Value {
    let began = Instant::now();
    let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for client in 0..clients {
        let (cloister, done) = (cloister.clone(), done.clone());
        tokio::spawn(async move {
            for number in (client..calls).step_by(usize::try_from(clients).expect("few clients")) {
                let due = began + Duration::from_nanos(number * 1_000_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (cloister, done) = (cloister.clone(), done.clone());
                tokio::spawn(async move {
                    let key = format!("key-{}", number % KEYS);
                    let ask = |reply| Ask { key: key.clone(), number, reply };
                    let owned = cloister.call(NAME, &key, ask, limit).await.map(|answer| answer.owned);
                    // The one that collects them lives until all have come.
                    let _ = done.send((due - began, due.elapsed(), owned));
                });
            }
        });
    }
    drop(done);
    let (mut took, mut failed, mut buckets) =
        (Vec::new(), BTreeMap::<String, u64>::new(), BTreeMap::<u64, (u64, u64)>::new());
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let mut not_owned = 0_u64;
    while let Some((due, span, owned)) = answers.recv().await {
        match owned {
            Ok(owned) => {
                took.push(micros(span));
                not_owned += u64::from(!owned);
            }
            Err(error) => *failed.entry(error.to_string()).or_default() += 1,
        }
        let bucket = buckets.entry(micros(due) / 100_000).or_default();
        *bucket = (bucket.0.max(micros(span)), bucket.1 + 1);
    }
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
    let worst: Vec<_> = buckets.into_iter().map(|(bucket, (worst, _))| (bucket * 100, worst)).collect();
    json!({
        "ok": took.len(), "failed": failed, "not_owned": not_owned, "p50_us": at(0.5), "p99_us": at(0.99),
        "p999_us": at(0.999), "max_us": took.last(), "worst_us_by_ms": worst,
    })
}
