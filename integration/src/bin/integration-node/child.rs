//! Actors that end on demand: one that the manager starts again, and one that it does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::{CallError, ChildSpec, Cloister, ManagerArguments, Message};
use serde_json::{Value, json};

/// The name of the one that is started again.
const CHILD: &str = "phoenix";

/// The name of the other one.
const MORTAL: &str = "mortal";

/// How long a start takes but for the first.
const RESTART: Duration = Duration::from_secs(2);

/// How often the child has been started.
static STARTS: AtomicU64 = AtomicU64::new(0);

#[derive(Message)]
enum ChildMessage {
    /// Reply with the number of the start.
    Started(RpcReplyPort<u64>),
    /// Be busy for so many milliseconds.
    Work(u64),
    Fail,
    End,
}

struct Child;

impl Actor for Child {
    type Msg = ChildMessage;
    type State = (ActorRef<ChildMessage>, u64);
    type Arguments = u64;

    async fn pre_start(
        &self,
        myself: ActorRef<ChildMessage>,
        start: u64,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok((myself, start))
    }

    async fn handle(
        &self,
        _: ActorRef<ChildMessage>,
        message: ChildMessage,
        (myself, start): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ChildMessage::Started(reply) => Ok(reply.send(*start)?),
            ChildMessage::Work(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            ChildMessage::Fail => Err("as it was asked to".into()),
            ChildMessage::End => {
                myself.stop(None);
                Ok(())
            }
        }
    }
}

/// Adds the child if `NODE_CHILD` is set: as one that is started before the node joins, and vital, if it says so.
pub(crate) fn add(arguments: ManagerArguments) -> ManagerArguments {
    let Ok(kind) = std::env::var("NODE_CHILD") else { return arguments };
    let child = ChildSpec::registered(CHILD, |_, supervisor| async move {
        let start = STARTS.fetch_add(1, Ordering::Relaxed) + 1;
        if start > 1 {
            tokio::time::sleep(RESTART).await;
        }
        Ok(Actor::spawn_linked(None, Child, start, supervisor).await?.0)
    });
    let child = child.expect("invariant: its messages travel");
    arguments.child(if kind == "vital" { child.before_joining().vital() } else { child })
}

/// Registers the other one if `NODE_CHILD` is set.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    if std::env::var_os("NODE_CHILD").is_some() {
        let (mortal, _) = Actor::spawn(None, Child, 1).await?;
        cloister.register(MORTAL, &mortal).expect("invariant: no other actor has the name");
    }
    Ok(())
}

/// Sends a message to the actor of this name, by a key that the node of that name owns, and says what came of it.
pub(crate) async fn send(
    cloister: &Cloister,
    name: &str,
    message: &str,
    node: &str,
    limit: Duration,
) -> Value {
    let is_theirs = |key: &String| cloister.whois(key).is_some_and(|owner| owner.name().to_string() == node);
    let Some(key) = (0..10_000).map(|key| format!("key-{key}")).find(is_theirs) else {
        return json!({ "error": "it owns no key" });
    };
    let began = Instant::now();
    let answer: Result<u64, CallError> = match message {
        "started" => cloister.call(name, key, ChildMessage::Started, limit).await,
        "started-again" => cloister.retry_uncertain().call(name, key, ChildMessage::Started, limit).await,
        "work" => cloister.cast(name, key, ChildMessage::Work(1_000)).map(|()| 0),
        "fail" => cloister.cast(name, key, ChildMessage::Fail).map(|()| 0),
        "end" => cloister.cast(name, key, ChildMessage::End).map(|()| 0),
        "found" => Ok(u64::from(cloister.locate::<ChildMessage>(name, key).is_some())),
        _ => return json!({ "error": "no such message" }),
    };
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match answer {
        Ok(answer) => json!({ "answer": answer, "took_ms": took }),
        Err(error) => json!({
            "error": error.to_string(), "may_have_arrived": error.may_have_arrived(), "took_ms": took,
        }),
    }
}
