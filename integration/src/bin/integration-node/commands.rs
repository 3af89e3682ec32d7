//! What a test can have a node do.
//!
//! | command | reply |
//! |---|---|
//! | `claims N` | the owner of each of N keys, which of them this node claims, whether it claims to be the sentry |
//! | `ring NAME N` | the members of a ring, the owner of each of N keys there, and which of them this node claims |
//! | `wait MS` | whether the node was up within that time, and the error if not |
//! | `multicall MS` | answers and failures of all workers, and how long it took |
//! | `sends NODE MIB` | how much the worker of a node has taken after it was sent so much by a plain reference |
//! | `fetches NODE MIB MS` | how much the worker of a node gave when it was asked for so much, within that time |
//! | `cart RELEASE MESSAGE NODE` | the answer of the cart of a node to a message as one release has it |
//! | `carts RELEASE CALLERS PAUSE MS` | what came of calls by key to the carts, as one release has them, by so many callers that pause so long after each, for so long |
//! | `child NAME MESSAGE NODE LIMIT` | what came of a message by a key of a node to one of the actors of `NODE_CHILD` |
//! | `load CALLERS PAUSE MS LIMIT [retry] [until-drain]` | what came of calls by key, by so many callers that pause so long after each, for so long, or until the node is asked to leave; a call may take the limit |
//! | `steady CLIENTS RATE CALLS LIMIT` | what came of so many calls by key at so many a second, from so many clients that wait for no answer |
//! | `answered KEY` | what the worker of the owner of a key answers to a port that a cast carries |
//! | `workers` | of which members the worker is found |
//! | `send NAME NUMBER BYTES` | how many messages of so many bytes were sent to the worker of the node of that name |
//! | `floods NAME BYTES MS` | how many messages of so many bytes were cast to the worker of a node in that time. How many were refused because too much waits. How many of the refused came back, as every other one should. What else went wrong |
//! | `fills NAME` | the same of messages of one byte until there is no room for one; and whether a call by key comes back then |
//! | `chatter SECONDS` | answers and failures of calls to all workers, one call after the other for so long |
//! | `blocks MS` | how long one thread of its runtime was blocked, that of this command |
//! | `tasks` | how many tasks the runtimes of this program and of its node have |
//! | `asked` | how often the worker of this node was asked to work |
//! | `taken` | how many messages and bytes the worker of this node has taken |
//! | `watch` | nothing; from now on the node asks itself without a pause that matters what it claims, and prints it |
//! | `watched` | nothing; all that it has answered is printed |
//! | `rate multicall CALLERS MS`, `rate locate MS`, `rate multicast MESSAGES` | how fast that goes; more words tell one such command from another |
//! | `rows FROM ROWS` | the bytes of keys and values; so many rows of 100 bytes are written |
//! | `tally FROM TO` | nothing; entities with these numbers have had a message |
//! | `content` | how many rows this node owns, and their checksum; another word tells one such command from another |
//! | `tallied FROM TO` | how many of the entities with these numbers answer that they have had one message |
//! | `active` | how many entities of this node do not rest |
//! | `probe` | nothing; from now on keys of all nodes are written |
//! | `probed` | how many writes there were, how long the longest took, and what went wrong |
//! | `observes NAME`, `dawdles NAME MS`, `dies NAME`, `holds NAME MS`, `warms NAME MS` | a listener more |

use std::io::stdin;
use std::time::{Duration, Instant};

use cloister::ractor::ActorRef;
use cloister::ractor::rpc::CallResult;
use cloister::{CallError, Cloister};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::cart;
use crate::child;
use crate::listener::{self, Manner, id};
use crate::load;
use crate::print;
use crate::rates;
use crate::rows;
use crate::watch;
use crate::worker::{self, WorkerMessage};

/// How long a call may take when there is much to do.
const CHATTER_LIMIT: Duration = Duration::from_secs(10);

/// How long a node that talks is silent between two calls.
const CHATTER_PAUSE: Duration = Duration::from_millis(20);

/// Of a `load` that ends when the node is asked to leave.
const UNTIL_DRAIN: &str = "until-drain";

/// Obeys until the standard input ends, which is when the test has ended: then the process does too.
///
/// A thread of its own reads, so that the program can end while it waits for a line.
pub(crate) fn obey(cloister: Cloister) {
    let runtime = Handle::current();
    std::thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            let cloister = cloister.clone();
            runtime.spawn(async move {
                let _under_way = match line.contains(UNTIL_DRAIN) {
                    true => Some(load::under_way().await),
                    false => None,
                };
                let value = carry_out(&cloister, &line).await;
                print::reply(&line, value);
            });
        }
        std::process::exit(9);
    });
}

async fn carry_out(cloister: &Cloister, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["claims", number] => claims(cloister, number.parse().expect("a number of keys")),
        ["ring", name, number] => ring(cloister, name, number.parse().expect("a number of keys")),
        ["wait", limit] => {
            let began = Instant::now();
            let waited = cloister.wait_until_up(millis(limit)).await;
            let error = waited.err().map(|error| error.to_string());
            json!({ "up": error.is_none(), "error": error, "took_ms": took(began) })
        }
        ["multicall", limit] => multicall(cloister, millis(limit)).await,
        ["sends", node, mib] => sends(cloister, node, mebibytes(mib)).await,
        ["fetches", node, mib, limit] => fetches(cloister, node, mebibytes(mib), millis(limit)).await,
        ["rate", "multicall", callers, span, ..] => {
            rates::multicall(cloister, callers.parse().expect("a number of callers"), millis(span)).await
        }
        ["rate", "multicast", messages, ..] => {
            rates::multicast(cloister, messages.parse().expect("a number of messages")).await
        }
        ["rate", "locate", span, ..] => rates::locate(cloister, millis(span)).await,
        ["rate", "tables", span, ..] => rows::rates(cloister, millis(span)).await,
        ["rows", from, rows] => {
            rows::fill(from.parse().expect("a row"), rows.parse().expect("a number of rows")).await
        }
        ["tally", from, to] => {
            rows::tally(from.parse().expect("an entity")..to.parse().expect("an entity")).await
        }
        ["content", ..] => rows::content(),
        ["tallied", from, to] => {
            rows::tallied(from.parse().expect("an entity")..to.parse().expect("an entity")).await
        }
        ["active", ..] => rows::active(),
        ["probe", ..] => rows::probe(),
        ["probed", ..] => rows::probed().await,
        ["rate", "keyed", span, ..] => rates::keyed(cloister, millis(span)).await,
        ["cart", release, message, node, ..] => cart::send(cloister, release, message, node).await,
        ["carts", release, callers, pause, span] => {
            let callers = callers.parse().expect("a number of callers");
            cart::load(cloister, release, callers, millis(pause), millis(span)).await
        }
        ["child", name, message, node, limit, ..] => {
            child::send(cloister, name, message, node, millis(limit)).await
        }
        ["load", callers, pause, span, limit, rest @ ..] => {
            let callers = callers.parse().expect("a number of callers");
            let manner =
                load::Manner { retry: rest.contains(&"retry"), until_drain: rest.contains(&UNTIL_DRAIN) };
            load::load(cloister, callers, millis(pause), millis(span), millis(limit), manner).await
        }
        ["steady", clients, rate, calls, limit, ..] => {
            let number = |word: &str| word.parse().expect("a number");
            load::steady(cloister, number(clients), number(rate), number(calls), millis(limit)).await
        }
        ["answered", key] => {
            let (port, answer) = tokio::sync::oneshot::channel();
            let sent = cloister.cast(worker::NAME, key, WorkerMessage::Work(port.into()));
            json!({ "sent": sent.is_ok(), "answer": tokio::time::timeout(CHATTER_LIMIT, answer).await.ok().and_then(Result::ok) })
        }
        ["workers", ..] => {
            let state = cloister.state();
            let members = state.members.iter().map(|member| &member.id);
            members
                .filter(|node| cloister.actor_on::<WorkerMessage>(worker::NAME, node).is_some())
                .map(id)
                .collect()
        }
        ["send", name, number, bytes] => send(
            cloister,
            name,
            number.parse().expect("a number of messages"),
            bytes.parse().expect("a number of bytes"),
        ),
        ["floods", name, bytes, span, ..] => {
            floods(cloister, name, bytes.parse().expect("a number of bytes"), millis(span)).await
        }
        ["fills", name, ..] => fills(cloister, name).await,
        ["chatter", seconds] => chatter(cloister, 1000 * millis(seconds)).await,
        ["blocks", span] => {
            let began = Instant::now();
            std::thread::sleep(millis(span));
            json!({ "took_ms": took(began) })
        }
        ["tasks"] => {
            let own = cloister::runtime::handle().expect("it runs").metrics().num_alive_tasks();
            (Handle::current().metrics().num_alive_tasks() + own).into()
        }
        ["asked"] => worker::asked().into(),
        ["taken"] => {
            let (messages, bytes) = worker::taken();
            json!({ "messages": messages, "bytes": bytes })
        }
        ["watch"] => {
            watch::begin(cloister);
            Value::Null
        }
        ["watched"] => {
            watch::print_answers();
            Value::Null
        }
        ["observes", name] => add(cloister, name, Manner::Observes).await,
        ["dawdles", name, pause] => add(cloister, name, Manner::Dawdles(millis(pause))).await,
        ["dies", name] => add(cloister, name, Manner::Dies).await,
        ["holds", name, pause] => add(cloister, name, Manner::Holds(millis(pause))).await,
        ["warms", name, pause] => add(cloister, name, Manner::Warms(millis(pause))).await,
        _ => json!({ "error": "no such command" }),
    }
}

fn claims(cloister: &Cloister, number: usize) -> Value {
    let key = |number: usize| format!("key-{number}");
    json!({
        "me": id(&cloister.node()),
        "owners": (0..number).map(|at| cloister.whois(key(at)).as_ref().map(id)).collect::<Vec<_>>(),
        "mine": (0..number).filter(|at| cloister.is_mine(key(*at))).collect::<Vec<_>>(),
        "is_sentry": cloister.is_sentry(),
        "status": cloister.status().to_string(),
    })
}

fn ring(cloister: &Cloister, name: &str, number: usize) -> Value {
    let Some(ring) = cloister.ring(name) else { return json!({ "error": "no such ring" }) };
    let key = |number: usize| format!("key-{number}");
    json!({
        "members": ring.members().iter().map(id).collect::<Vec<_>>(),
        "owners": (0..number).map(|at| ring.whois(key(at)).as_ref().map(id)).collect::<Vec<_>>(),
        "mine": (0..number).filter(|at| ring.is_mine(key(*at))).collect::<Vec<_>>(),
    })
}

async fn multicall(cloister: &Cloister, limit: Duration) -> Value {
    let began = Instant::now();
    let result = cloister.multicall(worker::NAME, WorkerMessage::Work, limit).await;
    let failed = result.failed.iter().map(|(node, why)| (node.name().to_string(), why.to_string()));
    let ok = result.ok.iter().map(|(node, answer)| (node.name().to_string(), answer.clone()));
    json!({
        "took_ms": took(began),
        "ok": ok.map(|(node, answer)| (node, Value::from(answer))).collect::<serde_json::Map<_, _>>(),
        "failed": failed.map(|(node, why)| (node, Value::from(why))).collect::<serde_json::Map<_, _>>(),
    })
}

async fn chatter(cloister: &Cloister, limit: Duration) -> Value {
    let (began, mut ok, mut failed) = (Instant::now(), 0, 0);
    while began.elapsed() < limit {
        let result = cloister.multicall(worker::NAME, WorkerMessage::Work, CHATTER_LIMIT).await;
        ok += result.ok.len();
        failed += result.failed.len();
        tokio::time::sleep(CHATTER_PAUSE).await;
    }
    json!({ "ok": ok, "failed": failed })
}

fn send(cloister: &Cloister, name: &str, number: usize, bytes: usize) -> Value {
    let state = cloister.state();
    let node = state.members.iter().map(|member| &member.id).find(|node| node.name().to_string() == name);
    let Some(worker) = node.and_then(|node| cloister.actor_on::<WorkerMessage>(worker::NAME, node)) else {
        return json!({ "error": "there is no worker" });
    };
    let sent = (0..number).take_while(|_| worker.cast(WorkerMessage::Take(vec![7; bytes])).is_ok());
    json!({ "sent": sent.count() })
}

async fn floods(cloister: &Cloister, name: &str, bytes: usize, span: Duration) -> Value {
    let key = key_of(cloister, name);
    let (began, mut sent, mut refused, mut other) = (Instant::now(), 0_u64, 0_u64, Vec::new());
    let (mut turn, mut returned) = (0_u64, 0_u64);
    while began.elapsed() < span && other.len() < 10 {
        turn += 1;
        let message = WorkerMessage::Take(vec![7; bytes]);
        let failed = match turn.is_multiple_of(2) {
            true => cloister.cast(worker::NAME, &key, message).err().map(|error| (error, None)),
            false => {
                let failed = cloister.try_cast(worker::NAME, &key, message).err();
                failed.map(|failed| (failed.error, failed.message))
            }
        };
        match failed {
            None => sent += 1,
            Some((CallError::Overloaded { .. }, message)) => {
                refused += 1;
                returned +=
                    u64::from(matches!(message, Some(WorkerMessage::Take(back)) if back.len() == bytes));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Some((failure, _)) => other.push(failure.to_string()),
        }
    }
    json!({ "sent": sent, "refused": refused, "returned": returned, "other": other })
}

/// A key that the node of this name owns.
fn key_of(cloister: &Cloister, name: &str) -> String {
    let is_theirs = |key: &String| cloister.whois(key).is_some_and(|owner| owner.name().to_string() == name);
    (0..10_000).map(|key| format!("key-{key}")).find(is_theirs).expect("it owns some key")
}

async fn fills(cloister: &Cloister, name: &str) -> Value {
    let (key, mut sent) = (key_of(cloister, name), 0_u64);
    let failed = loop {
        match cloister.try_cast(worker::NAME, &key, WorkerMessage::Take(vec![7])) {
            Ok(()) => sent += 1,
            Err(failed) => break failed,
        }
    };
    let was_full = matches!(failed.error, CallError::Overloaded { .. });
    let call = cloister.try_call(worker::NAME, &key, WorkerMessage::Taken, CHATTER_LIMIT).await;
    let is_back = call.is_err_and(|failed| {
        matches!(failed.error, CallError::Overloaded { .. }) && failed.message.is_some()
    });
    json!({ "sent": sent, "was_full": was_full, "call_is_back": is_back })
}

/// The worker of a node, past everything that this library checks.
fn worker_of(cloister: &Cloister, node: &str) -> Option<ActorRef<WorkerMessage>> {
    let state = cloister.state();
    let member = state.members.iter().find(|member| member.id.name().to_string() == node)?;
    cloister.actor_on(worker::NAME, &member.id)
}

async fn sends(cloister: &Cloister, node: &str, len: u64) -> Value {
    let Some(worker) = worker_of(cloister, node) else { return json!({ "error": "no worker" }) };
    let bytes = vec![7; usize::try_from(len).expect("as much as memory")];
    let sent = worker.cast(WorkerMessage::Take(bytes)).map_err(|error| error.to_string());
    let taken = worker.call(WorkerMessage::Taken, Some(Duration::from_secs(20))).await;
    match taken {
        Ok(CallResult::Success(taken)) => json!({ "taken": taken, "error": sent.err() }),
        other => json!({ "error": format!("{other:?}") }),
    }
}

async fn fetches(cloister: &Cloister, node: &str, len: u64, limit: Duration) -> Value {
    let Some(worker) = worker_of(cloister, node) else { return json!({ "error": "no worker" }) };
    match worker.call(|reply| WorkerMessage::Give(len, reply), Some(limit)).await {
        Ok(CallResult::Success(bytes)) => json!({ "given": bytes.len() }),
        other => json!({ "error": format!("{other:?}") }),
    }
}

fn mebibytes(text: &str) -> u64 {
    text.parse::<u64>().expect("a number of mebibytes") << 20
}

async fn add(cloister: &Cloister, name: &str, manner: Manner) -> Value {
    let added = listener::add(cloister, name, manner).await;
    json!({ "error": added.err().map(|error| error.to_string()) })
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("a number of milliseconds"))
}

fn took(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
