//! A node that shows what it sees. Start one, and it is alone; start several with the same seeds, and they are a cluster:
//!
//! ```sh
//! cargo run --example quickstart
//! cargo run -p cargo-cloister -- run -n 3 -p cloister-examples --example quickstart
//! ```

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::{Change, Cloister, ExitReason, ManagerArguments, Message, StateChange};

/// The keys whose owners are shown.
const KEYS: [&str; 3] = ["apple", "banana", "cherry"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    // What is prepared on the handle is there before this node joins. Where nothing is, `cloister::start()` does it all.
    let arguments = ManagerArguments::load()?;
    let cloister = arguments.handle();
    let (greeter, _) = Actor::spawn(None, Greeter, cloister.clone()).await?;
    cloister.register("greeter", &greeter)?;
    let (listener, _) = Actor::spawn(None, Listener, ()).await?;
    cloister.subscribe(&listener);

    cloister::start_with_arguments(arguments).await?;
    println!("{} is up after {:.1?}", cloister.node().name(), began.elapsed());

    let mut shown = String::new();
    let mut every = tokio::time::interval(Duration::from_secs(5));
    let stopped = cloister.wait_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = every.tick() => {
                let seen = look(&cloister).await;
                if seen != shown { print!("{seen}"); }
                shown = seen;
            },
            ended = &mut stopped => return match ended {
                ExitReason::Left => { println!("goodbye"); Ok(()) }
                failed => Err(failed.into()),
            },
        }
    }
}

/// The owners of some keys, the sentry, and the greetings of all nodes, each a line.
async fn look(cloister: &Cloister) -> String {
    let mut lines = Vec::new();
    for key in KEYS {
        let owner = cloister.whois(key).map_or("no node".to_owned(), |owner| owner.name().to_string());
        lines.push(format!(
            "{key} belongs to {owner}{}",
            if cloister.is_mine(key) { ", that is me" } else { "" }
        ));
    }
    let sentry = cloister.sentry().map_or("not known yet".to_owned(), |sentry| sentry.name().to_string());
    lines.push(format!("the sentry is {sentry}{}", if cloister.is_sentry() { ", that is me" } else { "" }));
    let greetings = cloister.multicall("greeter", GreeterMessage::Greet, Duration::from_secs(1)).await;
    lines.extend(greetings.ok.into_iter().map(|(_, greeting)| greeting));
    let failed = greetings.failed.into_iter();
    lines.extend(failed.map(|(node, failure)| format!("{} does not greet: {failure}", node.name())));
    lines.join("\n") + "\n"
}

/// Greets callers from all nodes.
struct Greeter;

#[derive(Message)]
enum GreeterMessage {
    Greet(RpcReplyPort<String>),
}

impl Actor for Greeter {
    type Msg = GreeterMessage;
    type State = Cloister;
    type Arguments = Cloister;

    async fn pre_start(
        &self,
        _: ActorRef<GreeterMessage>,
        cloister: Cloister,
    ) -> Result<Cloister, ActorProcessingErr> {
        Ok(cloister)
    }

    async fn handle(
        &self,
        _: ActorRef<GreeterMessage>,
        GreeterMessage::Greet(reply): GreeterMessage,
        cloister: &mut Cloister,
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(format!("hello from {}", cloister.node().name()))?)
    }
}

/// Prints every change in one line.
struct Listener;

#[derive(Message)]
#[message(local)]
struct Changed(StateChange);

impl From<StateChange> for Changed {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Listener {
    type Msg = Changed;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Changed>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Changed>,
        Changed(change): Changed,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let nodes = match change.state.members.len() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        };
        let what: Vec<String> = change.changes.iter().map(describe).collect();
        let gained: usize = change.moved.iter().flat_map(|ring| &ring.gained).map(|m| m.slots.len()).sum();
        let lost: usize = change.moved.iter().flat_map(|ring| &ring.lost).map(|m| m.slots.len()).sum();
        let line = format!("#{} {} ({nodes}, slots +{gained} -{lost})", change.seq, change.to);
        println!("{}", format!("{line} {}", what.join(", ")).trim_end());
        Ok(())
    }
}

fn describe(change: &Change) -> String {
    match change {
        Change::NodeUp { node } => format!("{} came", node.name()),
        Change::NodeDown { node, reason } => format!("{} went: {reason}", node.name()),
        Change::NetworkSplit { unreachable } => {
            format!("the network split, {} are cut off", unreachable.len())
        }
        Change::NetworkHealed { nodes } => format!("the network healed, {} are back", nodes.len()),
        Change::SentryChanged { to: Some(node), .. } => format!("{} is the sentry", node.name()),
        Change::SentryChanged { to: None, .. } => "no node is the sentry".to_owned(),
        other => format!("{other:?}"),
    }
}
