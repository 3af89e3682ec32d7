//! One bare node, as a program.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister_integration::rate;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{
    NodeEventSubscription, NodeServer, NodeServerMessage, RactorClusterMessage, client_connect,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::tcp;
use crate::measure::now;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How soon an address that refuses is dialled again.
const AGAIN: Duration = Duration::from_millis(5);

/// The process group of the actors that answer.
const GROUP: &str = "echo";

/// Run one bare ractor_cluster node, the baseline of what is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where this node listens; the port above it is for plain TCP.
    #[arg(long)]
    me: SocketAddr,
    /// All nodes, this one included.
    #[arg(long, value_delimiter = ',')]
    all: Vec<SocketAddr>,
}

/// Answers.
struct Echo;

#[derive(RactorClusterMessage)]
enum EchoMessage {
    /// Say something.
    #[rpc]
    Echo(RpcReplyPort<String>),
}

impl Actor for Echo {
    type Msg = EchoMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<EchoMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        pg::join(GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<EchoMessage>,
        EchoMessage::Echo(reply): EchoMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send("echo".to_owned())?)
    }
}

/// Says when a session is ready.
struct Ready(mpsc::UnboundedSender<()>);

impl NodeEventSubscription for Ready {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, _: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, _: NodeServerSessionInformation) {
        // The caller may have stopped waiting.
        let _ = self.0.send(());
    }
}

/// Runs until the standard input ends.
pub(crate) fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(link(&options))?;
    println!("{}", json!({ "linked": now() }));
    let peers: Vec<SocketAddr> = options.all.iter().filter(|other| **other != options.me).copied().collect();
    for line in std::io::stdin().lines() {
        let line = line?;
        let rate = runtime.block_on(carry_out(&line, &peers))?;
        println!("{}", json!({ line: rate }));
    }
    Ok(())
}

async fn link(options: &Options) -> Result<(), Box<dyn Error>> {
    let Options { me, all } = options;
    tcp::serve(tcp::beside(*me)).await?;
    let cookie = "no secret".to_owned();
    let mode = Some(NodeConnectionMode::Isolated);
    let server = NodeServer::new(me.port(), cookie, "bare".to_owned(), me.to_string(), None, mode)
        .with_listen_addr(me.ip());
    Actor::spawn(None, Echo, ()).await?;
    let (server, _) = Actor::spawn(None, server, ()).await?;
    let (sender, mut ready) = mpsc::unbounded_channel();
    let subscription = Box::new(Ready(sender));
    server.cast(NodeServerMessage::SubscribeToEvents { id: GROUP.to_owned(), subscription })?;
    for smaller in all.iter().copied().filter(|other| other < me) {
        let server = server.clone();
        tokio::spawn(async move {
            while client_connect(&server, smaller).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    for _ in 1..all.len() {
        ready.recv().await.ok_or("the node server ended")?;
    }
    Ok(())
}

/// `one MS`: another node is called again and again. `all CALLERS MS`: all are, at once. `tcp MS`: plain TCP. More words
/// tell one command from another.
async fn carry_out(line: &str, peers: &[SocketAddr]) -> Result<cloister_integration::Rate, Box<dyn Error>> {
    let span = |ms: &str| ms.parse().map(Duration::from_millis);
    let words: Vec<&str> = line.split(' ').collect();
    Ok(match words.as_slice() {
        ["one", ms, ..] => {
            let remote: Option<_> = answerers().into_iter().find(|actor| !actor.get_id().is_local());
            let one = vec![remote.ok_or("no other node answers")?];
            rate(1, span(ms)?, move || ask(one.clone())).await
        }
        ["all", callers, ms, ..] => {
            let all = answerers();
            if all.len() != peers.len() + 1 {
                return Err(format!("{} of {} answer", all.len(), peers.len() + 1).into());
            }
            rate(callers.parse()?, span(ms)?, move || ask(all.clone())).await
        }
        ["tcp", ms, ..] => {
            let peer = *peers.first().ok_or("there is no other node")?;
            let stream = Arc::new(Mutex::new(Some(tcp::connect(tcp::beside(peer)).await?)));
            let once = move || tcp::echo(Arc::clone(&stream));
            rate(1, span(ms)?, once).await
        }
        _ => return Err(format!("no such command: {line}").into()),
    })
}

fn answerers() -> Vec<ActorRef<EchoMessage>> {
    let mut cells = pg::get_members(&GROUP.to_owned());
    // One for each node: the same answerer may be known by a session that has ended.
    cells.sort_by_key(|cell| match cell.get_id() {
        ActorId::Remote { node_id, .. } => (1, node_id),
        ActorId::Local(pid) => (0, pid),
    });
    cells.into_iter().map(ActorRef::from).collect()
}

/// Asks them all, and waits for all answers.
async fn ask(actors: Vec<ActorRef<EchoMessage>>) {
    let mut asked = Vec::with_capacity(actors.len());
    for actor in &actors {
        let (port, answer) = ractor::concurrency::oneshot();
        actor.cast(EchoMessage::Echo((port, LIMIT).into())).expect("a bare node answers");
        asked.push(answer);
    }
    for answer in asked {
        answer.await.expect("a bare node answers");
    }
}
