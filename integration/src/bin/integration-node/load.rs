//! Calls by key without pause, as a service makes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::{Cloister, Message, Slot};
use serde_json::{Value, json};

/// The name under which the actor is found.
const NAME: &str = "register";

/// How many keys there are.
const KEYS: u64 = 1_000;

/// Asks the owner of a key who it is.
#[derive(Message)]
struct Ask {
    key: String,
    reply: RpcReplyPort<Answer>,
}

/// The node that has answered, and whether it owned the key then.
#[derive(serde::Serialize, serde::Deserialize)]
struct Answer {
    node: String,
    owned: bool,
}

struct Register;

/// Registers the actor.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    let (register, _) = Actor::spawn(None, Register, cloister.clone()).await?;
    cloister.register(NAME, &register).expect("invariant: no other actor has the name");
    Ok(())
}

impl Actor for Register {
    type Msg = Ask;
    type State = Cloister;
    type Arguments = Cloister;

    async fn pre_start(&self, _: ActorRef<Ask>, cloister: Cloister) -> Result<Cloister, ActorProcessingErr> {
        Ok(cloister)
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        Ask { key, reply }: Ask,
        cloister: &mut Cloister,
    ) -> Result<(), ActorProcessingErr> {
        let owned = cloister.claim().is_some_and(|claim| claim.owns(Slot::of(key.as_bytes())));
        let node = cloister.node().name().to_string();
        // The caller may have given up.
        let _ = reply.send(Answer { node, owned });
        Ok(())
    }
}

/// So many callers call by key, each with a pause after each answer, for so long; a call may take so long, and is sent again also where a handler may have
/// seen it, if `retry`.
pub(crate) async fn load(
    cloister: &Cloister,
    callers: u64,
    pause: Duration,
    span: Duration,
    limit: Duration,
    retry: bool,
) -> Value {
    let (next, until) = (Arc::new(AtomicU64::new(0)), Instant::now() + span);
    let callers: Vec<_> = (0..callers)
        .map(|_| tokio::spawn(call(cloister.clone(), Arc::clone(&next), pause, until, limit, retry)))
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

async fn call(
    cloister: Cloister,
    next: Arc<AtomicU64>,
    pause: Duration,
    until: Instant,
    limit: Duration,
    retry: bool,
) -> Calls {
    let mut calls = Calls::default();
    while Instant::now() < until {
        let key = format!("key-{}", next.fetch_add(1, Ordering::Relaxed) % KEYS);
        let began = Instant::now();
        let ask = |reply| Ask { key: key.clone(), reply };
        let answer = match retry {
            true => cloister.retry_uncertain().call(NAME, &key, ask, limit).await,
            false => cloister.call(NAME, &key, ask, limit).await,
        };
        match answer {
            Ok(answer) => {
                calls.took_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                calls.not_owned += u64::from(!answer.owned || answer.node.is_empty());
            }
            Err(error) => *calls.failed.entry(error.to_string()).or_default() += 1,
        }
        tokio::time::sleep(pause).await;
    }
    calls
}
