//! What a call by key costs on the owner itself, beside a bare call of ractor by the reference in hand.
//!
//! `cargo bench -p cloister-core --bench own_call -- [ROUNDS]`. Both are called in turn, so whatever disturbs the machine disturbs both alike.
//! The ratio of a round is that of the middle calls, and that of the means, which other programs on the machine disturb. The last line has the
//! middle of all rounds. With `bare` or `key` it calls by that alone, for a profiler.

use std::time::{Duration, Instant};

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister_core::{Cloister, placed};
use cloister_proto::{Incarnation, Member, NodeId};
use tokio::runtime::Builder;

/// The name of the actor.
const NAME: &str = "worker";

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// For how long the node holds its lease.
const LEASE: Duration = Duration::from_secs(3_600);

/// How many calls of each kind a round has.
const CALLS: usize = 100_000;

/// How many members the view has.
const MEMBERS: u64 = 3;

#[derive(cloister_core::Message)]
#[message(crate = "cloister_core")]
enum WorkerMessage {
    Work(RpcReplyPort<u64>),
}

struct Worker;

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<WorkerMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        WorkerMessage::Work(reply): WorkerMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(7)?)
    }
}

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Both,
    Bare,
    ByKey,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let kind = match (has("bare"), has("key")) {
        (true, false) => Kind::Bare,
        (false, true) => Kind::ByKey,
        _ => Kind::Both,
    };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("it starts");
    let ratios = runtime.block_on(async { tokio::spawn(all_rounds(rounds, kind)).await });
    let (middles, means) = ratios.expect("it does not panic").into_iter().unzip();
    if kind == Kind::Both {
        let (middles, means) = (middle(middles), middle(means));
        println!("{rounds} rounds: by key {middles:.3} of the rate of bare calls, by the means {means:.3}");
    }
}

async fn all_rounds(rounds: usize, kind: Kind) -> Vec<(f64, f64)> {
    let member = |n: u64| {
        let name = format!("shop@10.0.0.{n}:4370").parse().expect("an IP address makes a name");
        Member::without_tags(NodeId::new(name, Incarnation(n), n))
    };
    let others: Vec<Member> = (2..=MEMBERS).map(member).collect();
    let cloister = placed(&member(1), &others, LEASE);
    let (worker, _) = Actor::spawn(None, Worker, ()).await.expect("it starts");
    cloister.register(NAME, &worker).expect("invariant: no other actor has the name");
    let key = (0..).map(|key| format!("key-{key}")).find(|key| cloister.is_mine(key)).expect("it owns some");
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (bare, by_key) = round(&cloister, &worker, &key, kind).await;
        let (middles, means) = ((middle(bare.clone()), middle(by_key.clone())), (mean(&bare), mean(&by_key)));
        let ratios_now = (middles.0 / middles.1, means.0 / means.1);
        println!(
            "middle: bare {:.0} ns, by key {:.0} ns: {:.3}; mean: {:.0} ns, {:.0} ns: {:.3}",
            middles.0, middles.1, ratios_now.0, means.0, means.1, ratios_now.1,
        );
        ratios.push(ratios_now);
    }
    worker.stop(None);
    ratios
}

/// How long each call took, in nanoseconds: the bare ones, and those by key.
async fn round(
    cloister: &Cloister,
    worker: &ActorRef<WorkerMessage>,
    key: &str,
    kind: Kind,
) -> (Vec<f64>, Vec<f64>) {
    let nanos = |span: Duration| span.as_secs_f64() * 1e9;
    let call_bare = async || {
        let from = Instant::now();
        if kind != Kind::ByKey {
            let answer = worker.call(WorkerMessage::Work, Some(LIMIT)).await;
            assert!(answer.expect("it lives").is_success());
        }
        nanos(from.elapsed())
    };
    let call_by_key = async || {
        let from = Instant::now();
        if kind != Kind::Bare {
            let answer = cloister.call(NAME, key, WorkerMessage::Work, LIMIT).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
        nanos(from.elapsed())
    };
    let (mut bare, mut by_key) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    for number in 0..CALLS {
        // Each is as often the one that comes after the other.
        if number.is_multiple_of(2) {
            bare.push(call_bare().await);
            by_key.push(call_by_key().await);
        } else {
            by_key.push(call_by_key().await);
            bare.push(call_bare().await);
        }
    }
    (bare, by_key)
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
