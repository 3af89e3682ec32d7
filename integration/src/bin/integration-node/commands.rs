//! What a test can have a node do.
//!
//! | command | reply |
//! |---|---|
//! | `claims N` | who owns each of N keys, which of them this node claims, whether it claims to be the sentry |
//! | `wait MS` | whether the node was up within that time, and the error if not |
//! | `multicall MS` | answers and failures of all workers, and how long it took |
//! | `workers` | of which members the worker is found |
//! | `rate multicall CALLERS MS`, `rate locate MS`, `rate multicast MESSAGES` | how fast that goes; more words tell one such command from another |
//! | `observes NAME`, `dawdles NAME MS`, `dies NAME`, `holds NAME MS` | a listener more |

use std::io::stdin;
use std::time::{Duration, Instant};

use cloister::Cloister;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::listener::{self, Manner, id};
use crate::print;
use crate::rates;
use crate::worker::{self, WorkerMessage};

/// Obeys until the standard input ends, which is when the test has ended: then the process does too.
///
/// A thread of its own reads, so that the program can end while it waits for a line.
pub(crate) fn obey(cloister: Cloister) {
    let runtime = Handle::current();
    std::thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            let cloister = cloister.clone();
            runtime.spawn(async move {
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
        ["wait", limit] => {
            let began = Instant::now();
            let waited = cloister.wait_until_up(millis(limit)).await;
            let error = waited.err().map(|error| error.to_string());
            json!({ "up": error.is_none(), "error": error, "took_ms": took(began) })
        }
        ["multicall", limit] => multicall(cloister, millis(limit)).await,
        ["rate", "multicall", callers, span, ..] => {
            rates::multicall(cloister, callers.parse().expect("a number of callers"), millis(span)).await
        }
        ["rate", "multicast", messages, ..] => {
            rates::multicast(cloister, messages.parse().expect("a number of messages")).await
        }
        ["rate", "locate", span, ..] => rates::locate(cloister, millis(span)).await,
        ["workers", ..] => {
            let state = cloister.state();
            let members = state.members.iter().map(|member| &member.id);
            members
                .filter(|node| cloister.on::<WorkerMessage>(worker::NAME, node).is_some())
                .map(id)
                .collect()
        }
        ["observes", name] => add(cloister, name, Manner::Observes).await,
        ["dawdles", name, pause] => add(cloister, name, Manner::Dawdles(millis(pause))).await,
        ["dies", name] => add(cloister, name, Manner::Dies).await,
        ["holds", name, pause] => add(cloister, name, Manner::Holds(millis(pause))).await,
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
