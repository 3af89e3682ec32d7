//! An actor whose messages are those of one of two releases of a program, or of another program.

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use cloister::ractor_cluster::RactorClusterMessage;
use cloister::{CallError, Cloister, Message, NodeId};
use serde_json::{Value, json};

use crate::load;

use std::time::{Duration, Instant};

/// The name under which it is found.
const NAME: &str = "cart";

/// How long a call waits.
const LIMIT: Duration = Duration::from_secs(20);

/// What the first release sends and takes.
#[derive(Message)]
#[message(name = "Cart")]
enum First {
    Add { item: String },
    Count(RpcReplyPort<u64>),
    Clear(RpcReplyPort<u64>),
    Put { item: String, reply: RpcReplyPort<u64> },
}

/// The second: a field and a variant more, and a variant less.
#[derive(Message)]
#[message(name = "Cart")]
enum Second {
    Add {
        item: String,
        #[serde(default)]
        pieces: Option<u32>,
    },
    Count(RpcReplyPort<u64>),
    Drop {
        item: String,
        reply: RpcReplyPort<u64>,
    },
    Put {
        item: String,
        #[serde(default)]
        pieces: Option<u32>,
        reply: RpcReplyPort<u64>,
    },
}

/// Another program's message, with a variant of the same name.
#[derive(Message)]
enum Other {
    Count(RpcReplyPort<String>),
}

/// A message of ractor's own derive.
#[derive(RactorClusterMessage)]
enum Bare {
    Add(String),
    #[rpc]
    Count(RpcReplyPort<u64>),
}

/// Another of ractor's own, with variants of the same names.
#[derive(RactorClusterMessage)]
enum Strange {
    Add(u64),
    #[rpc]
    Count(RpcReplyPort<u64>),
}

/// Registers what `NODE_CART` asks for: `first`, `second`, `other`, `bare` or nothing. Of ractor's own message this program has the version that
/// `NODE_VERSION` says, if any.
pub(crate) async fn register(cloister: &Cloister) -> Result<(), SpawnErr> {
    if let Some(version) = std::env::var("NODE_VERSION").ok().and_then(|version| version.parse().ok()) {
        cloister::set_message_version::<Bare>(version);
    }
    let registered = match std::env::var("NODE_CART").as_deref() {
        Ok("first") => cloister.register(NAME, &Actor::spawn(None, FirstCart, ()).await?.0),
        Ok("second") => cloister.register(NAME, &Actor::spawn(None, SecondCart, ()).await?.0),
        Ok("other") => cloister.register(NAME, &Actor::spawn(None, OtherCart, ()).await?.0),
        Ok("bare") => cloister.register(NAME, &Actor::spawn(None, BareCart, ()).await?.0),
        _ => Ok(()),
    };
    registered.expect("invariant: no other actor has the name");
    Ok(())
}

/// Sends a message of `release` to the cart of the node of this name, and says what came of it.
pub(crate) async fn send(cloister: &Cloister, release: &str, message: &str, node: &str) -> Value {
    let members = cloister.state();
    let Some(node) = members.members.iter().find(|member| member.id.name().to_string() == node) else {
        return json!({ "error": "no such member" });
    };
    let (node, item) = (&node.id, "apple".to_owned());
    if message == "found" {
        // Of whatever type: what is far away is not known by its type.
        let (first, other) =
            (cloister.actor_on::<First>(NAME, node), cloister.actor_on::<Second>(NAME, node));
        let own = cloister.actor_on::<Other>(NAME, node);
        let bare = cloister.actor_on::<Bare>(NAME, node);
        return json!({ "answer": first.is_some() || other.is_some() || own.is_some() || bare.is_some() });
    }
    let answer = match (release, message) {
        ("first", "add") => cloister.cast_on(NAME, node, First::Add { item }).map(|()| 0),
        ("first", "count") => cloister.call_on(NAME, node, First::Count, LIMIT).await,
        ("first", "counted") => {
            // Sent without a wait, and answered to a port of the sender's own.
            let (port, answer) = tokio::sync::oneshot::channel();
            match cloister.cast_on(NAME, node, First::Count(port.into())) {
                Ok(()) => {
                    return json!({ "answer": tokio::time::timeout(LIMIT, answer).await.ok().and_then(Result::ok) });
                }
                Err(error) => Err(error),
            }
        }
        ("first", "clear") => cloister.call_on(NAME, node, First::Clear, LIMIT).await,
        ("second", "add") => cloister.cast_on(NAME, node, Second::Add { item, pieces: Some(2) }).map(|()| 0),
        ("second", "count") => cloister.call_on(NAME, node, Second::Count, LIMIT).await,
        ("second", "drop") => cloister.call_on(NAME, node, |reply| Second::Drop { item, reply }, LIMIT).await,
        ("bare", _) => ways(cloister, message, node, || Bare::Add("apple".to_owned()), Bare::Count).await,
        ("strange", _) => ways(cloister, message, node, || Strange::Add(7), Strange::Count).await,
        ("first-by", _) => {
            let add = || First::Add { item: "apple".to_owned() };
            ways(cloister, message, node, add, First::Count).await
        }
        _ => return json!({ "error": "no such message" }),
    };
    match answer {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => json!({ "error": error.to_string(), "may_have_arrived": error.may_have_arrived() }),
    }
}

/// So many callers put items into the carts of all nodes by key, in the words of `release`. Each makes a pause after each answer, for so
/// long.
pub(crate) async fn load(
    cloister: &Cloister,
    release: &str,
    callers: u64,
    pause: Duration,
    span: Duration,
) -> Value {
    let (cloister, is_first) = (cloister.clone(), release == "first");
    let put = move |number: u64| {
        let cloister = cloister.clone();
        async move {
            let (key, item) = (format!("user:{}", number % 1_000), "apple".to_owned());
            let answer = match is_first {
                true => cloister.call(NAME, &key, |reply| First::Put { item, reply }, LIMIT).await,
                false => {
                    let put = |reply| Second::Put { item, pieces: Some(2), reply };
                    cloister.call(NAME, &key, put, LIMIT).await
                }
            };
            answer.map(|length| length % 5 == 0)
        }
    };
    let until = Instant::now() + span;
    load::drive(callers, pause, move || Instant::now() < until, put).await
}

/// Sends a message by one of the ways there are.
async fn ways<M: cloister::ractor::Message>(
    cloister: &Cloister,
    way: &str,
    node: &NodeId,
    add: impl Fn() -> M,
    count: impl Fn(RpcReplyPort<u64>) -> M,
) -> Result<u64, CallError> {
    let is_theirs = |key: &String| cloister.whois(key).as_ref() == Some(node);
    let key = (0..10_000).map(|key| format!("key-{key}")).find(is_theirs).expect("it owns some key");
    match way {
        "cast_on" => cloister.cast_on(NAME, node, add()).map(|()| 0),
        "cast" => cloister.cast(NAME, key, add()).map(|()| 0),
        "counted_on" | "counted" => {
            // Sent without a wait, with a port of the sender's own.
            let (port, answer) = tokio::sync::oneshot::channel();
            match way {
                "counted_on" => cloister.cast_on(NAME, node, count(port.into()))?,
                _ => cloister.cast(NAME, key, count(port.into()))?,
            }
            Ok(answer.await.unwrap_or(u64::MAX))
        }
        "call_on" => cloister.call_on(NAME, node, count, LIMIT).await,
        "call" => cloister.call(NAME, key, count, LIMIT).await,
        "multicall" => {
            let mut answers = cloister.multicall(NAME, count, LIMIT).await;
            match answers.failed.iter().position(|(failed, _)| failed == node) {
                Some(at) => Err(answers.failed.swap_remove(at).1),
                None => Ok(answers.ok.len() as u64),
            }
        }
        _ => panic!("no such way"),
    }
}

struct FirstCart;

impl Actor for FirstCart {
    type Msg = First;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<First>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<First>,
        message: First,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            First::Add { item } => *count += u64::from(!item.is_empty()),
            First::Count(reply) => reply.send(*count)?,
            First::Clear(reply) => reply.send(std::mem::take(count))?,
            First::Put { item, reply } => reply.send(item.len() as u64)?,
        }
        Ok(())
    }
}

struct SecondCart;

impl Actor for SecondCart {
    type Msg = Second;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Second>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Second>,
        message: Second,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Second::Add { item, pieces } if !item.is_empty() => *count += u64::from(pieces.unwrap_or(1)),
            Second::Add { .. } => {}
            Second::Count(reply) => reply.send(*count)?,
            Second::Put { item, pieces, reply } => {
                reply.send(item.len() as u64 * u64::from(pieces.unwrap_or(1)))?;
            }
            // Without an answer.
            Second::Drop { item, reply } => drop((item, reply)),
        }
        Ok(())
    }
}

struct OtherCart;

impl Actor for OtherCart {
    type Msg = Other;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Other>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Other>,
        message: Other,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Other::Count(reply) = message;
        Ok(reply.send("7523579836871213056".to_owned())?)
    }
}

struct BareCart;

impl Actor for BareCart {
    type Msg = Bare;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Bare>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Bare>,
        message: Bare,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Bare::Add(item) => *count += u64::from(!item.is_empty()),
            Bare::Count(reply) => reply.send(*count)?,
        }
        Ok(())
    }
}
