//! Five nodes, each a process of its own on this host: a call to all of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::ractor_cluster::RactorClusterMessage;
use cloister::{CallError, Cloister, Config, NoAnswer, Status};
use cloister_testkit::obedient::ports;
use cloister_testkit::process::{Process, this_test};
use cloister_testkit::wait::until_async;

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the answers are waited for. One of the nodes never answers.
const LIMIT: Duration = Duration::from_secs(2);

/// Set in a process that is a node of the test: how its worker behaves, its port, and all ports.
const ROLE: &str = "NODE_OF_A_CLUSTER";

/// Answers as it is told.
struct Worker;

#[derive(RactorClusterMessage)]
enum WorkerMessage {
    #[rpc]
    Work(Vec<u8>, RpcReplyPort<String>),
}

/// What no worker takes.
#[derive(RactorClusterMessage)]
enum OtherMessage {
    #[rpc]
    Ask(RpcReplyPort<String>),
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = String;
    type Arguments = String;

    async fn pre_start(
        &self,
        _: ActorRef<WorkerMessage>,
        role: String,
    ) -> Result<String, ActorProcessingErr> {
        Ok(role)
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        WorkerMessage::Work(_, reply): WorkerMessage,
        role: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        match role.as_str() {
            "slow" => std::future::pending().await,
            "panics" => panic!("as it was told"),
            _ => Ok(reply.send(role.clone())?),
        }
    }
}

async fn node(role: &str, port: u16, ports: &[u16]) -> Cloister {
    let seeds = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let config = Config::new("shop").seeds(seeds).port(port);
    let cloister = cloister::start_with(config).await.unwrap();
    if role != "idle" {
        let (worker, _) = Actor::spawn(None, Worker, role.to_owned()).await.unwrap();
        cloister.register("worker", &worker).unwrap();
    }
    cloister
}

/// Not a test when run as one: a node of the test below.
#[tokio::test]
async fn node_of_a_cluster() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, ports) = role.split_once(' ').unwrap();
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    let cloister = node(role, ports[0], &ports[1..]).await;
    cloister.wait_stopped().await;
}

/// Starts a node, which is killed when the test is over.
fn start(role: &str, port: u16, ports: &[u16]) -> Process {
    let ports = ports.iter().fold(port.to_string(), |text, port| format!("{text} {port}"));
    Process::start(this_test("node_of_a_cluster").env(ROLE, format!("{role} {ports}")), |line| line)
}

fn work(reply: RpcReplyPort<String>) -> WorkerMessage {
    WorkerMessage::Work(Vec::new(), reply)
}

#[tokio::test]
async fn a_call_to_five_has_the_answers_there_are_and_a_reason_for_each_that_is_not() {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    let roles = ["here", "good", "slow", "panics", "idle"];
    let ports = ports(roles.len());
    let mut others: BTreeMap<&str, Process> =
        (1..5).map(|at| (roles[at], start(roles[at], ports[at], &ports))).collect();
    let cloister = node("here", ports[0], &ports).await;
    let on = |role: &str| {
        let name = format!("shop@127.0.0.1:{}", ports[roles.iter().position(|r| *r == role).unwrap()]);
        let state = cloister.state();
        state.members.iter().map(|member| member.id.clone()).find(|id| id.name().to_string() == name)
    };
    until_async("five members, four of them with a worker", async || {
        let worker = |role| on(role).and_then(|node| cloister.actor_on::<WorkerMessage>("worker", &node));
        cloister.status() == Status::Up
            && cloister.state().members.len() == 5
            && roles.iter().filter(|role| worker(role).is_some()).count() == 4
    })
    .await;

    let good = on("good").unwrap();
    assert!(
        cloister.actor_on::<OtherMessage>("worker", &cloister.node()).is_none(),
        "it takes other messages"
    );
    assert!(
        cloister.actor_on::<OtherMessage>("worker", &good).is_some(),
        "of another node that is not known"
    );
    let refused = cloister.call_on("worker", &good, OtherMessage::Ask, PATIENCE).await;
    assert!(matches!(refused, Err(CallError::WrongMessage { .. })), "{refused:?}");

    let states = cloister.member_states(PATIENCE).await;
    assert!(states.failed.is_empty(), "{:?}", states.failed);
    let answered: BTreeSet<_> = states.ok.iter().map(|(node, _)| node.clone()).collect();
    assert_eq!(answered, cloister.state().members.iter().map(|member| member.id.clone()).collect());
    assert!(states.ok.iter().all(|(node, summary)| summary.node == *node));
    assert!(states.ok.iter().all(|(_, summary)| summary.members.len() == 5));

    let too_large = |reply| WorkerMessage::Work(vec![0; cloister::MAX_MESSAGE_LEN], reply);
    let result = cloister.multicall("worker", too_large, LIMIT).await;
    assert_eq!(result.ok, [(cloister.node(), "here".to_owned())]);
    let refused = result.failed.iter().filter(|(_, why)| matches!(why, CallError::TooLarge { .. }));
    assert_eq!(refused.count(), 3, "{:?}", result.failed);
    assert_eq!(result.failed.len(), 4, "and the one without a worker: {:?}", result.failed);

    let began = Instant::now();
    let result = cloister.multicall("worker", work, LIMIT).await;
    let took = began.elapsed();
    println!("{} answers and {:?} after {took:?}", result.ok.len(), result.failed);
    assert!((LIMIT..2 * LIMIT).contains(&took), "one never answers, and is waited for as long as was said");
    let answers: BTreeMap<_, _> = result.ok.into_iter().collect();
    assert_eq!(answers.len(), 2);
    for role in ["here", "good"] {
        assert_eq!(answers[&on(role).unwrap()], role);
    }
    let reasons: BTreeMap<_, _> = result.failed.into_iter().collect();
    let why = |role: &str| match &reasons[&on(role).unwrap()] {
        CallError::Uncertain { node, epoch: None, waited, cause, .. } if Some(node) == on(role).as_ref() => {
            (*waited, cause)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(why("slow"), (LIMIT, &NoAnswer::TimedOut));
    assert_eq!(why("panics").1, &NoAnswer::Died);
    assert!(matches!(&reasons[&on("idle").unwrap()], CallError::NoActor { .. }));

    // The slow one dies while it is waited for, long before that would end by itself.
    let slow = on("slow").unwrap();
    let asking = tokio::spawn({
        let cloister = cloister.clone();
        async move {
            let began = Instant::now();
            (cloister.multicall("worker", work, 2 * PATIENCE).await, began.elapsed())
        }
    });
    tokio::time::sleep(LIMIT / 4).await;
    assert!(!asking.is_finished(), "the slow one is waited for");
    drop(others.remove("slow"));
    let (result, took) = asking.await.unwrap();
    let answers: BTreeMap<_, _> = result.ok.into_iter().collect();
    assert_eq!(answers.into_keys().collect::<BTreeSet<_>>(), [cloister.node(), on("good").unwrap()].into());
    let why = result.failed.into_iter().find(|(node, _)| *node == slow).map(|(_, why)| why);
    assert!(
        matches!(
            why,
            Some(
                CallError::NotLinked { .. }
                    | CallError::Uncertain { cause: NoAnswer::LinkLost | NoAnswer::Died, .. }
            )
        ),
        "it was killed: {why:?}"
    );
    assert!(took < PATIENCE, "its end was noticed, not waited for: {took:?}");

    until_async("the killed node is no member", async || cloister.state().members.len() == 4).await;
    let result = cloister.multicall("worker", work, LIMIT).await;
    assert!(
        result.failed.iter().all(|(node, _)| *node != slow),
        "nothing is asked of it: {:?}",
        result.failed
    );
    assert_eq!((result.ok.len(), result.failed.len()), (2, 2), "{:?}", result.failed);
    cloister.leave().await;
}
