//! The processes of the nodes: started together, heard line by line, stopped gracefully.

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
use crate::ending::Ending;
use crate::keeper::Keeper;
use crate::lines::Lines;
use crate::plan::{Node, Plan};
use crate::signals::Signals;

/// How long nodes may take to stop gracefully: a node may let a hand-over finish (10 s) and leave (5 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long a killed process may take to be gone, and the last output of an ended one to be read.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The program that every node runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Set after everything else.
    pub(crate) env: Vec<(String, String)>,
}

/// What all nodes are told to do. Orders only ever get stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    /// SIGTERM, once.
    Stop,
    /// SIGKILL, to the node and to all it has started.
    Die,
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) number: NodeNumber,
    pub(crate) ending: Ending,
    /// Whether it had been told to stop.
    pub(crate) on_request: bool,
}

impl Ended {
    /// Whether it stopped when it was told to, with exit status 0.
    pub(crate) fn is_well(&self) -> bool {
        self.on_request && self.ending.is_success()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { number, ending, on_request } = self;
        match ending {
            Ending::NotStarted(_) => write!(f, "{number} {ending}"),
            Ending::Exited(_) | Ending::Unknown(_) if *on_request => write!(f, "{number} ended: {ending}"),
            Ending::Exited(_) | Ending::Unknown(_) => write!(f, "{number} ended by itself: {ending}"),
        }
    }
}

/// Whose process has not ended: one leaves before his end is told, so that nobody whose end was read is said to run.
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
    lives: JoinSet<Ended>,
    running: Running,
    len: usize,
    console: Console,
    /// Those that have ended, in the order of their ends.
    pub(crate) ended: Vec<Ended>,
}

impl Fleet {
    /// Starts a process of `program` for every node of `plan`. One that cannot be started counts as ended.
    pub(crate) fn start(program: &Program, plan: &Plan, console: &Console, keeper: &Keeper) -> Self {
        let (orders, heard) = watch::channel(Order::Run);
        let running = Running(Arc::new(Mutex::new(plan.nodes.iter().map(|node| node.number).collect())));
        let mut lives = JoinSet::new();
        for node in &plan.nodes {
            let (heard, console, keeper) = (heard.clone(), console.clone(), keeper.clone());
            let (command, number, running) = (command(program, plan, node), node.number, running.clone());
            lives.spawn(async move {
                let ended = live(command, number, heard, &console, &keeper).await;
                running.leave(number);
                console.say(&ended.to_string()).await;
                ended
            });
        }
        Self { orders, lives, running, len: plan.nodes.len(), console: console.clone(), ended: Vec::new() }
    }

    /// Waits for the next node to end; `None` when all have. Nothing is lost when the wait is given up.
    pub(crate) async fn next_end(&mut self) -> Option<&Ended> {
        // A life neither panics nor is aborted, so an error here is the end of all the same.
        let ended = self.lives.join_next().await?.ok()?;
        self.ended.push(ended);
        self.ended.last()
    }

    /// Tells all nodes to stop and waits until they have: after 15 s, or at a Ctrl-C, they are killed.
    pub(crate) async fn stop(&mut self, signals: &mut Signals) {
        self.orders.send_replace(Order::Stop);
        let hurry = tokio::select! {
            () = self.all_ended() => return,
            () = signals.interrupted() => "Ctrl-C again".to_owned(),
            () = sleep(PATIENCE) => format!("not stopped {} s after SIGTERM", PATIENCE.as_secs()),
        };
        let names = self.running.names();
        if !names.is_empty() {
            self.console.say(&format!("{hurry}: killing {names}")).await;
        }
        self.orders.send_replace(Order::Die);
        if timeout(AFTERMATH + AFTERMATH, self.all_ended()).await.is_err() {
            let names = self.running.names();
            if !names.is_empty() {
                self.console.say(&format!("{names} cannot be killed: giving up")).await;
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.next_end().await.is_some() {}
    }

    /// Whether all nodes have stopped when told to, with exit status 0.
    pub(crate) fn all_well(&self) -> bool {
        self.ended.len() == self.len && self.ended.iter().all(Ended::is_well)
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
async fn live(
    mut command: Command,
    number: NodeNumber,
    mut orders: watch::Receiver<Order>,
    console: &Console,
    keeper: &Keeper,
) -> Ended {
    match command.spawn() {
        Ok(child) => run_to_end(child, number, &mut orders, console, keeper).await,
        Err(error) => Ended { number, ending: Ending::NotStarted(error), on_request: false },
    }
}

async fn run_to_end(
    mut child: Child,
    number: NodeNumber,
    orders: &mut watch::Receiver<Order>,
    console: &Console,
    keeper: &Keeper,
) -> Ended {
    let pid = child.id().unwrap_or_default();
    keeper.watch(pid);
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(pass_on(stdout, number, console.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(pass_on(stderr, number, console.clone()));
    }
    let ending = loop {
        tokio::select! {
            status = child.wait() => break status.map_or_else(Ending::Unknown, Ending::Exited),
            Ok(()) = orders.changed() => obey(*orders.borrow_and_update(), &child),
        }
    };
    let on_request = *orders.borrow() != Order::Run;
    // What the node itself has started must not outlive it: its group still bears its number.
    if let Some(group) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    keeper.forget(pid);
    // Its last words come before the word of its end.
    let _ = timeout(AFTERMATH, async { while output.join_next().await.is_some() {} }).await;
    Ended { number, ending, on_request }
}

/// Signals the process; one that has just ended is nobody's concern.
fn obey(order: Order, child: &Child) {
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
    let _ = match order {
        Order::Run => Ok(()),
        Order::Stop => kill_process(pid, Signal::TERM),
        Order::Die => kill_process_group(pid, Signal::KILL),
    };
}

/// Passes on lines until the pipe is closed. It goes on reading when nobody listens: a node must not block.
async fn pass_on(pipe: impl AsyncRead + Unpin, number: NodeNumber, console: Console) -> io::Result<()> {
    let mut lines = Lines::new(BufReader::new(pipe));
    while let Some(line) = lines.next().await? {
        console.node(number, &line).await;
    }
    Ok(())
}
