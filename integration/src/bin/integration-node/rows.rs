//! Tables and entities, for those that look at how they stand, and how fast they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cloister::{
    Cloister, Context, DefineEntities, DefineTable, Entities, Entity, EntityOptions, HandlerError,
    ManagerArguments, Table, TableError, TableOptions,
};
use cloister_integration::{Content, ROW_BYTES, in_turn, rate, row_value};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::worker::{NAME, WorkerMessage};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How many callers there are where there are many.
const CALLERS: usize = 128;

/// How many probes write at a time, each how many keys in turn, and how long each rests between two writes.
const PROBES: u64 = 32;
const PROBED_KEYS: u64 = 64;
const REST: Duration = Duration::from_millis(5);

/// The first key that probes write: no other command has so great a one.
const PROBED: u64 = 1 << 40;

static PROBING: Mutex<Option<Probing>> = Mutex::new(None);

static HANDLES: OnceLock<Handles> = OnceLock::new();

struct Handles {
    /// With two copies.
    visits: Table<u64, String>,
    /// What `NODE_ONLY_VISITS` leaves out.
    others: Option<Others>,
}

struct Others {
    /// With three copies.
    kept: Table<u64, String>,
    tallies: Entities<Tally>,
}

fn others() -> &'static Others {
    let handles = HANDLES.get().expect("NODE_ROWS is set");
    handles.others.as_ref().expect("NODE_ONLY_VISITS is not set")
}

#[derive(Default, Serialize, Deserialize)]
struct Tally(u64);

impl Entity for Tally {
    const NAME: &'static str = "tally";
    type Message = u64;
    type Reply = u64;

    async fn handle(&mut self, _: &mut Context<'_, Self>, more: u64) -> Result<u64, HandlerError> {
        self.0 += more;
        Ok(self.0)
    }
}

/// Defines them, if the environment says so; returns what writes rows.
pub(crate) fn define(arguments: &mut ManagerArguments) -> Option<impl Future<Output = ()> + Send + use<>> {
    let rows: u64 = std::env::var("NODE_ROWS").ok()?.parse().expect("NODE_ROWS is a number");
    let visits: Table<u64, String> = arguments.table("visits", TableOptions::default()).expect("a table");
    let others = std::env::var_os("NODE_ONLY_VISITS").is_none().then(|| Others {
        kept: arguments.table("kept", TableOptions::default().copies(3)).expect("a table"),
        tallies: arguments.entities(entity_options()).expect("entities"),
    });
    let handles = Handles { visits: visits.clone(), others };
    assert!(HANDLES.set(handles).is_ok(), "they are defined once");
    Some(async move {
        for row in 0..rows {
            visits.insert(&row, &format!("visit {row}")).await.expect("a row is written");
        }
    })
}

/// `NODE_IDLE` says after how many milliseconds an entity is idle.
fn entity_options() -> EntityOptions {
    let options = EntityOptions::default();
    match std::env::var("NODE_IDLE") {
        Ok(idle) => options.idle(Duration::from_millis(idle.parse().expect("NODE_IDLE is a number"))),
        Err(_) => options,
    }
}

/// The keys that another node owns, or this one.
fn keys(cloister: &Cloister, table: &Table<u64, String>, own: bool) -> Vec<u64> {
    let me = Some(cloister.node());
    (0..10_000).filter(|key| (table.owner(key).expect("a key") == me) == own).collect()
}

/// What they take, beside a call of the same node to the same other one.
pub(crate) async fn rates(cloister: &Cloister, span: Duration) -> Value {
    let visits = &HANDLES.get().expect("NODE_ROWS is set").visits;
    let Others { kept, tallies } = others();
    let value = "x".repeat(100);
    let theirs = keys(cloister, visits, false)[0];
    let target = visits.owner(&theirs).expect("a key").expect("it has an owner");
    let worker = cloister.actor_on::<WorkerMessage>(NAME, &target).expect("it has a worker");
    let echo = || async {
        let answer = worker.call(WorkerMessage::Work, Some(LIMIT)).await;
        assert!(answer.expect("it lives").is_success());
    };
    let write = |table: &Table<u64, String>, key: u64| {
        let (table, value) = (table.clone(), value.clone());
        async move { drop(table.insert(&key, &value).await.expect("it is written")) }
    };
    let (echo_two, two) = in_turn(span, echo, || write(visits, theirs)).await;
    let (echo_three, three) = in_turn(span, echo, || write(kept, theirs)).await;
    // A message that changes nothing, as the echo.
    let mut names = (0..).map(|name| format!("tally-{name}"));
    let name = names.find(|name| tallies.owner(name).as_ref() == Some(&target)).expect("it owns some");
    let read = || async { assert_eq!(tallies.call(&name, 0).await.expect("it is answered"), 0) };
    let (echo_entity, entity) = in_turn(span, echo, read).await;

    let many = |once: Many| rate(CALLERS, span, move || once.clone().run());
    let next = |keys: Vec<u64>| std::sync::Arc::new((keys, AtomicU64::new(0)));
    let all = next(keys(cloister, visits, false));
    let echo_many = many(Many::Echo(worker.clone())).await;
    let two_many = many(Many::Write(visits.clone(), value.clone(), all.clone())).await;
    let three_many = many(Many::Write(kept.clone(), value.clone(), all)).await;
    let me = cloister.node();
    let own: Vec<String> =
        names.filter(|name| tallies.owner(name).as_ref() == Some(&me)).take(1_000).collect();
    let entity_own = many(Many::Own(tallies.clone(), own.into(), std::sync::Arc::default())).await;
    let here = keys(cloister, visits, true)[0];
    write(visits, here).await;
    let (table, key) = (visits.clone(), here);
    let read = rate(1, span, move || {
        let table = table.clone();
        async move { drop(table.get(&key).await.expect("it is read")) }
    });
    let read = read.await;
    json!({
        "echo_two": echo_two, "two": two, "echo_three": echo_three, "three": three, "echo_entity": echo_entity,
        "entity": entity, "echo_many": echo_many, "two_many": two_many, "three_many": three_many,
        "entity_own": entity_own, "read": read,
    })
}

/// What many callers do.
#[derive(Clone)]
enum Many {
    Echo(cloister::ractor::ActorRef<WorkerMessage>),
    Write(Table<u64, String>, String, std::sync::Arc<(Vec<u64>, AtomicU64)>),
    Own(Entities<Tally>, std::sync::Arc<[String]>, std::sync::Arc<AtomicU64>),
}

impl Many {
    async fn run(self) {
        match self {
            Many::Echo(worker) => {
                let answer = worker.call(WorkerMessage::Work, Some(LIMIT)).await;
                assert!(answer.expect("it lives").is_success());
            }
            Many::Write(table, value, keys) => {
                let (keys, next) = &*keys;
                let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                drop(table.insert(&keys[at % keys.len()], &value).await.expect("it is written"));
            }
            Many::Own(tallies, names, next) => {
                let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                assert_eq!(tallies.call(&names[at % names.len()], 0).await.expect("it is answered"), 0);
            }
        }
    }
}

/// Writes so many rows of 100 bytes; returns the bytes of their keys and values.
pub(crate) async fn fill(from: u64, rows: u64) -> Value {
    let visits = &HANDLES.get().expect("NODE_ROWS is set").visits;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..CALLERS as u64 {
        let visits = visits.clone();
        writers.spawn(async move {
            for row in (writer..rows).step_by(CALLERS) {
                let key = from + row;
                visits.insert(&key, &row_value(key)).await.expect("a row is written");
            }
        });
    }
    writers.join_all().await;
    json!({ "bytes": rows * ROW_BYTES })
}

/// What this node owns of the rows, as its copies have them: the nodes of a view have all rows together, each once.
pub(crate) fn content() -> Value {
    let mut content = Content::default();
    HANDLES
        .get()
        .expect("NODE_ROWS is set")
        .visits
        .local_iter()
        .for_each(|(key, value)| content.add(key, &value));
    json!(content)
}

/// Entities with these numbers get a message each.
pub(crate) async fn tally(entities: std::ops::Range<u64>) -> Value {
    let tallies = &others().tallies;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS as u64 {
        let (tallies, entities) = (tallies.clone(), entities.clone());
        callers.spawn(async move {
            for entity in (entities.start + caller..entities.end).step_by(CALLERS) {
                tallies.call(&format!("tally-{entity}"), 1).await.expect("it is answered");
            }
        });
    }
    callers.join_all().await;
    Value::Null
}

/// How many of the entities with these numbers answer that they have had one message. A message that changes nothing asks them.
pub(crate) async fn tallied(entities: std::ops::Range<u64>) -> Value {
    let tallies = &others().tallies;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS as u64 {
        let (tallies, entities) = (tallies.clone(), entities.clone());
        callers.spawn(async move {
            let mut answered = 0_u64;
            for entity in (entities.start + caller..entities.end).step_by(CALLERS) {
                let state = tallies.call(&format!("tally-{entity}"), 0).await.expect("it is answered");
                answered += u64::from(state == 1);
            }
            answered
        });
    }
    json!(callers.join_all().await.into_iter().sum::<u64>())
}

/// How many entities do not rest.
pub(crate) fn active() -> Value {
    json!(others().tallies.active())
}

/// Probes that write keys of all nodes from now on.
struct Probing {
    stopped: std::sync::Arc<AtomicBool>,
    probes: tokio::task::JoinSet<Probed>,
}

/// What one probe has seen.
#[derive(Default)]
struct Probed {
    writes: u64,
    longest: Duration,
    uncertain: u64,
    failed: Vec<String>,
}

/// Begins to probe.
pub(crate) fn probe() -> Value {
    let visits = HANDLES.get().expect("NODE_ROWS is set").visits.clone();
    let stopped = std::sync::Arc::new(AtomicBool::new(false));
    let mut probes = tokio::task::JoinSet::new();
    for probe in 0..PROBES {
        let (visits, stopped) = (visits.clone(), stopped.clone());
        probes.spawn(async move {
            let (mut seen, value) = (Probed::default(), "x".repeat(100));
            while !stopped.load(Ordering::Relaxed) {
                let key = PROBED + probe * PROBED_KEYS + seen.writes % PROBED_KEYS;
                let began = Instant::now();
                match visits.insert(&key, &value).await {
                    Ok(_) => {}
                    Err(TableError::Uncertain { .. }) => seen.uncertain += 1,
                    Err(error) => seen.failed.push(error.to_string()),
                }
                seen.longest = seen.longest.max(began.elapsed());
                seen.writes += 1;
                tokio::time::sleep(REST).await;
            }
            seen
        });
    }
    *PROBING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Probing { stopped, probes });
    Value::Null
}

/// Ends it: the longest write, and what became of the others.
pub(crate) async fn probed() -> Value {
    let probing = PROBING.lock().unwrap_or_else(PoisonError::into_inner).take().expect("`probe` was first");
    probing.stopped.store(true, Ordering::Relaxed);
    let mut all = Probed::default();
    for seen in probing.probes.join_all().await {
        all.writes += seen.writes;
        all.longest = all.longest.max(seen.longest);
        all.uncertain += seen.uncertain;
        all.failed.extend(seen.failed);
    }
    let Probed { writes, longest, uncertain, failed } = all;
    json!({ "writes": writes, "longest_ms": longest.as_secs_f64() * 1e3, "uncertain": uncertain, "failed": failed })
}
