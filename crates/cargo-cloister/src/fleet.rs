//! The processes of the nodes: starts them together, prints their output, and stops them gracefully.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::console::{Console, NodeNumber};
use crate::exit::Exit;
use crate::lines::Lines;
use crate::plan::{Node, Plan};
use crate::reaper::Reaper;
use crate::signals::Signals;

/// How long nodes may take to stop gracefully: a node may finish a hand-over (10 s) and leave the cluster (5 s).
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait for a killed process to exit, and for the last output of an exited one.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The program that every node runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Set after everything else.
    pub(crate) env: Vec<(String, String)>,
}

/// The order for all nodes. Orders only get stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    /// SIGTERM, once.
    Stop,
    /// SIGKILL, to the node and all its child processes.
    Kill,
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct NodeExit {
    pub(crate) number: NodeNumber,
    pub(crate) exit: Exit,
    /// Whether the tool had sent it SIGTERM.
    pub(crate) on_request: bool,
}

impl NodeExit {
    /// Whether it stopped on request, with exit status 0.
    pub(crate) fn is_well(&self) -> bool {
        self.on_request && self.exit.is_success()
    }
}

impl fmt::Display for NodeExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeExit { number, exit, on_request } = self;
        match exit {
            Exit::NotStarted(_) => write!(f, "{number} {exit}"),
            Exit::Exited(_) | Exit::Unknown(_) if *on_request => write!(f, "{number} ended: {exit}"),
            Exit::Exited(_) | Exit::Unknown(_) => write!(f, "{number} ended by itself: {exit}"),
        }
    }
}

/// Running nodes. A node is removed before its exit is reported, so an exited node is never listed as running.
#[derive(Clone)]
struct Running(Arc<Mutex<BTreeSet<NodeNumber>>>);

impl Running {
    fn leave(&self, number: NodeNumber) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn names(&self) -> String {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = running.iter().map(NodeNumber::to_string).collect();
        names.join(", ")
    }
}

/// The processes of all nodes.
pub(crate) struct Fleet {
    orders: watch::Sender<Order>,
    processes: JoinSet<NodeExit>,
    running: Running,
    len: usize,
    console: Console,
    /// Nodes that have exited, in the order of their exits.
    pub(crate) ended: Vec<NodeExit>,
}

impl Fleet {
    /// Starts a process of `program` for every node of `plan`. One that cannot be started counts as ended.
    pub(crate) fn start(program: &Program, plan: &Plan, console: &Console, reaper: &Reaper) -> Self {
        let (orders, received) = watch::channel(Order::Run);
        let running = Running(Arc::new(Mutex::new(plan.nodes.iter().map(|node| node.number).collect())));
        let mut processes = JoinSet::new();
        for node in &plan.nodes {
            let (received, console, reaper) = (received.clone(), console.clone(), reaper.clone());
            let (command, number, running) = (command(program, plan, node), node.number, running.clone());
            processes.spawn(async move {
                let ended = run_node(command, number, received, &console, &reaper).await;
                running.leave(number);
                console.say(&ended.to_string()).await;
                ended
            });
        }
        Self {
            orders,
            processes,
            running,
            len: plan.nodes.len(),
            console: console.clone(),
            ended: Vec::new(),
        }
    }

    /// Waits for the next node to end; `None` when all have. Nothing is lost when the wait is given up.
    pub(crate) async fn next_exit(&mut self) -> Option<&NodeExit> {
        // A task neither panics nor is aborted, so an error here means that none is left.
        let ended = self.processes.join_next().await?.ok()?;
        self.ended.push(ended);
        self.ended.last()
    }

    /// Sends all nodes SIGTERM and waits until they have stopped: after 15 s, or at a Ctrl-C, they are killed.
    pub(crate) async fn stop(&mut self, signals: &mut Signals) {
        self.orders.send_replace(Order::Stop);
        let hurry = tokio::select! {
            () = self.all_ended() => return,
            () = signals.interrupted() => "Ctrl-C again".to_owned(),
            () = sleep(STOP_TIMEOUT) => format!("not stopped {} s after SIGTERM", STOP_TIMEOUT.as_secs()),
        };
        let names = self.running.names();
        if !names.is_empty() {
            self.console.say(&format!("{hurry}: killing {names}")).await;
        }
        self.orders.send_replace(Order::Kill);
        if timeout(DRAIN_TIMEOUT + DRAIN_TIMEOUT, self.all_ended()).await.is_err() {
            let names = self.running.names();
            if !names.is_empty() {
                self.console.say(&format!("{names} cannot be killed: giving up")).await;
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.next_exit().await.is_some() {}
    }

    /// Whether all nodes have stopped on request, with exit status 0.
    pub(crate) fn all_well(&self) -> bool {
        self.ended.len() == self.len && self.ended.iter().all(NodeExit::is_well)
    }

    /// How many nodes there are, running and ended.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

fn command(program: &Program, plan: &Plan, node: &Node) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        // An alias of CLOISTER__SEEDS, which is set here.
        .env_remove("CLOISTER__SENTRY")
        .envs(plan.environment(node))
        .envs(program.env.iter().map(|(key, value)| (key, value)))
        // The terminal's Ctrl-C is for the tool, which passes SIGTERM on.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// One process from its start to the last line of its output.
async fn run_node(
    mut command: Command,
    number: NodeNumber,
    mut orders: watch::Receiver<Order>,
    console: &Console,
    reaper: &Reaper,
) -> NodeExit {
    match command.spawn() {
        Ok(child) => run_to_end(child, number, &mut orders, console, reaper).await,
        Err(error) => NodeExit { number, exit: Exit::NotStarted(error), on_request: false },
    }
}

async fn run_to_end(
    mut child: Child,
    number: NodeNumber,
    orders: &mut watch::Receiver<Order>,
    console: &Console,
    reaper: &Reaper,
) -> NodeExit {
    let pid = child.id().unwrap_or_default();
    reaper.watch(pid);
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(forward_lines(stdout, number, console.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(forward_lines(stderr, number, console.clone()));
    }
    let exit = loop {
        tokio::select! {
            status = child.wait() => break status.map_or_else(Exit::Unknown, Exit::Exited),
            Ok(()) = orders.changed() => obey(*orders.borrow_and_update(), &child),
        }
    };
    let on_request = *orders.borrow() != Order::Run;
    // Child processes of the node must not outlive it: its process group still has its number.
    if let Some(group) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    reaper.forget(pid);
    // Its last output is printed before its exit is reported.
    let _ = timeout(DRAIN_TIMEOUT, async { while output.join_next().await.is_some() {} }).await;
    NodeExit { number, exit, on_request }
}

/// Signals the process, unless it has just exited.
fn obey(order: Order, child: &Child) {
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
    let _ = match order {
        Order::Run => Ok(()),
        Order::Stop => kill_process(pid, Signal::TERM),
        Order::Kill => kill_process_group(pid, Signal::KILL),
    };
}

/// Prints the lines of a pipe until it is closed. It reads on when stdout has no reader, because a node must not block.
async fn forward_lines(pipe: impl AsyncRead + Unpin, number: NodeNumber, console: Console) -> io::Result<()> {
    let mut lines = Lines::new(BufReader::new(pipe));
    while let Some(line) = lines.next().await? {
        console.node(number, &line).await;
    }
    Ok(())
}
