//! The processes of the nodes: starts them together, prints their output, and stops them gracefully.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cloister_config::Config;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::commands::Command as Request;
use crate::console::{Console, NodeNumber};
use crate::env::Variable;
use crate::exit::{self, Exit, ExitRequest, NodeExit};
use crate::lines::Lines;
use crate::plan::{Node, Plan};
use crate::reaper::Reaper;
use crate::signals::Signals;
use crate::table;

/// How long to wait for a killed process to exit, and for the last output of an exited one.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The program that every node runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Set after everything else.
    pub(crate) env: Vec<Variable>,
    /// How long a node may take to stop after SIGTERM.
    pub(crate) stop_timeout: Duration,
}

/// An order to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Continue,
    /// SIGTERM. All nodes stop, and the fleet decides when to kill those that do not.
    Stop,
    /// SIGTERM to one node, and SIGKILL if it does not stop in time.
    StopAlone,
    /// SIGKILL to the node and all its child processes, since it was asked for.
    Kill,
    /// The same, since it does not stop.
    Hurry,
}

/// A node, and its process if it runs.
struct FleetNode {
    node: Node,
    process: Option<Process>,
}

struct Process {
    pid: u32,
    orders: mpsc::UnboundedSender<Order>,
    is_paused: bool,
    /// Start it again when it has ended.
    restarts: bool,
}

impl Process {
    /// Whether its end has not been printed yet: its task then still takes orders. From the printed line on, a command sees a
    /// node that does not run, also before the fleet has joined the task.
    fn runs(&self) -> bool {
        !self.orders.is_closed()
    }

    fn order(&self, order: Order) {
        // A process that has just ended needs none.
        let _ = self.orders.send(order);
    }
}

impl FleetNode {
    /// Its process, if it runs.
    fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.runs())
    }
}

/// The processes of all nodes.
pub(crate) struct Fleet {
    program: Program,
    plan: Plan,
    places: BTreeMap<NodeNumber, FleetNode>,
    tasks: JoinSet<NodeExit>,
    console: Console,
    reaper: Reaper,
    /// Nodes that have exited, in the order of their exits.
    pub(crate) ended: Vec<NodeExit>,
}

impl Fleet {
    /// Starts a process of `program` for every node of `plan`. One that cannot be started counts as ended.
    pub(crate) fn start(program: Program, plan: Plan, console: &Console, reaper: &Reaper) -> Self {
        let nodes = plan.nodes.clone();
        let mut fleet = Self {
            program,
            plan,
            places: BTreeMap::new(),
            tasks: JoinSet::new(),
            console: console.clone(),
            reaper: reaper.clone(),
            ended: Vec::new(),
        };
        for node in nodes {
            fleet.start_node(node);
        }
        fleet
    }

    fn start_node(&mut self, node: Node) {
        let number = node.number;
        let (console, reaper) = (self.console.clone(), self.reaper.clone());
        let process = match command(&self.program, &self.plan, &node).spawn() {
            Ok(child) => {
                let (orders, received) = mpsc::unbounded_channel();
                let pid = child.id().unwrap_or_default();
                self.reaper.watch(pid);
                let stop_timeout = self.program.stop_timeout;
                self.tasks.spawn(run_to_end(child, number, received, stop_timeout, console, reaper));
                Some(Process { pid, orders, is_paused: false, restarts: false })
            }
            Err(error) => {
                self.tasks.spawn(async move {
                    let ended = NodeExit { number, exit: Exit::NotStarted(error), asked: None };
                    console.say(&ended.to_string());
                    ended
                });
                None
            }
        };
        self.places.insert(number, FleetNode { node, process });
    }

    /// The table of nodes, one line each: processes, addresses, and the variables that differ from node to node.
    pub(crate) fn table(&self) -> String {
        let own: Vec<_> = self.program.env.iter().filter(|variable| variable.is_of_n()).collect();
        let header = ["node", "pid", "address", "admin"].into_iter();
        let header: Vec<_> = header.chain(own.iter().map(|variable| variable.key.as_str())).collect();
        let row = |place: &FleetNode| {
            let Node { number, address, .. } = place.node;
            let pid = match place.running() {
                Some(Process { pid, is_paused: true, .. }) => format!("{pid} (paused)"),
                Some(Process { pid, .. }) => pid.to_string(),
                None => "-".to_owned(),
            };
            let mut row = vec![number.to_string(), pid, address.to_string(), place.node.admin_url()];
            row.extend(own.iter().map(|variable| variable.value(number.0)));
            row
        };
        table::table(&header, self.places.values().map(row))
    }

    /// Waits for the next node to end; `None` when all have. Nothing is lost when the wait is given up.
    pub(crate) async fn next_exit(&mut self) -> Option<&NodeExit> {
        // A task neither panics nor is aborted, so an error here means that none is left.
        let ended = self.tasks.join_next().await?.ok()?;
        let number = ended.number;
        self.ended.push(ended);
        let place = self.places.get_mut(&number);
        // A command may have started the node again since its end was printed: that process stays.
        if let Some(FleetNode { process, node }) = place
            && process.take_if(|process| !process.runs()).is_some_and(|process| process.restarts)
        {
            let node = *node;
            self.start_node(node);
            self.say_started(number).await;
        }
        self.ended.last()
    }

    async fn say_started(&self, number: NodeNumber) {
        if let Some(FleetNode { node, process: Some(Process { pid, .. }) }) = self.places.get(&number) {
            let (address, admin) = (node.address, node.admin_url());
            self.console.say(&format!("{number} started: pid {pid}, {address}, {admin}"));
        }
    }

    /// Whether no process runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Does what a command says, and prints one line about it: now, or when the node has ended.
    pub(crate) async fn obey(&mut self, request: Request) {
        match request {
            Request::Kill(number) => self.end(number, Order::Kill).await,
            Request::Stop(number) => self.end(number, Order::StopAlone).await,
            Request::Pause(number) => self.pause(number).await,
            Request::Restart(number) => self.restart(number).await,
            Request::Add => self.add().await,
            Request::Remove => match self.running().last() {
                Some(number) => self.end(number, Order::StopAlone).await,
                None => self.console.say("no node runs"),
            },
            Request::List => self.console.raw(self.table()),
            Request::Help => self.console.say(crate::commands::HELP),
            Request::Quit => {}
        }
    }

    /// The nodes that run.
    fn running(&self) -> impl DoubleEndedIterator<Item = NodeNumber> {
        self.places.iter().filter(|(_, place)| place.running().is_some()).map(|(number, _)| *number)
    }

    /// The process of a node, or a line that says why there is none.
    async fn process(&mut self, number: NodeNumber) -> Option<&mut Process> {
        let missing = match self.places.get(&number) {
            Some(place) if place.running().is_some() => None,
            Some(_) => Some(format!("{number} does not run: r{} starts it", number.0)),
            None => Some(format!("there is no {number}: l lists the nodes, + adds one")),
        };
        match missing {
            Some(missing) => {
                self.console.say(&missing);
                None
            }
            None => self.places.get_mut(&number)?.process.as_mut(),
        }
    }

    async fn end(&mut self, number: NodeNumber, order: Order) {
        if let Some(process) = self.process(number).await {
            process.restarts = false;
            process.order(order);
        }
    }

    async fn pause(&mut self, number: NodeNumber) {
        let Some(process) = self.process(number).await else { return };
        process.is_paused = !process.is_paused;
        let text = if process.is_paused {
            process.order(Order::Pause);
            format!("{number} paused: p{} lets it go on", number.0)
        } else {
            process.order(Order::Continue);
            format!("{number} goes on")
        };
        self.console.say(&text);
    }

    async fn restart(&mut self, number: NodeNumber) {
        match self.places.get(&number) {
            Some(place) if place.running().is_none() => {
                self.start_node(place.node);
                self.say_started(number).await;
            }
            _ => {
                if let Some(process) = self.process(number).await {
                    process.restarts = true;
                    process.order(Order::StopAlone);
                }
            }
        }
    }

    async fn add(&mut self) {
        let number = NodeNumber(self.running().last().map_or(1, |last| last.0 + 1));
        let planned = match self.places.get(&number) {
            Some(place) => Ok(place.node),
            None => self.plan.another(number),
        };
        match planned {
            Ok(node) => {
                self.start_node(node);
                self.say_started(number).await;
            }
            Err(error) => self.console.say(&format!("{number} is not started: {error}")),
        }
    }

    /// Sends all nodes SIGTERM and waits until they have ended: after `--stop-timeout`, or at a Ctrl-C, they are killed.
    pub(crate) async fn stop(&mut self, signals: &mut Signals) {
        self.order_all(Order::Stop);
        let stop_timeout = self.program.stop_timeout;
        let hurry = tokio::select! {
            () = self.all_ended() => return,
            () = signals.interrupted() => "Ctrl-C again".to_owned(),
            () = sleep(stop_timeout) => format!("not stopped {stop_timeout:?} after SIGTERM"),
        };
        let names = self.names();
        if !names.is_empty() {
            self.console.say(&format!("{hurry}: killing {names}"));
        }
        self.order_all(Order::Hurry);
        if timeout(DRAIN_TIMEOUT + DRAIN_TIMEOUT, self.all_ended()).await.is_err() {
            let names = self.names();
            if !names.is_empty() {
                self.console.say(&format!("{names} cannot be killed: giving up"));
            }
        }
    }

    fn order_all(&mut self, order: Order) {
        for process in self.places.values_mut().filter_map(|place| place.process.as_mut()) {
            process.restarts = false;
            process.order(order);
        }
    }

    /// The names of the nodes that run.
    fn names(&self) -> String {
        self.running().map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
    }

    async fn all_ended(&mut self) {
        while self.next_exit().await.is_some() {}
    }

    /// Whether all nodes have ended in order, or as a command said.
    pub(crate) fn all_in_order(&self) -> bool {
        self.is_empty() && self.ended.iter().all(NodeExit::is_in_order)
    }

    /// How the nodes ended.
    pub(crate) fn summary(&self) -> String {
        exit::summary(self.places.keys(), &self.ended)
    }
}

fn command(program: &Program, plan: &Plan, node: &Node) -> Command {
    let mut command = Command::new(&program.path);
    let number = node.number.0;
    command
        .args(&program.args)
        // An alias of CLOISTER__SEEDS, which is set here.
        .env_remove("CLOISTER__SENTRY")
        .envs(plan.environment(node))
        .envs(added(plan, node))
        .envs(program.env.iter().map(|variable| (&variable.key, variable.value(number))))
        // The terminal's Ctrl-C is for the tool, which passes SIGTERM on.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a node beyond the seeds gets besides: it counts one node more than the others, so its default `consensus` would differ
/// from theirs. One that is configured is left as it is.
fn added(plan: &Plan, node: &Node) -> Option<(&'static str, String)> {
    const CONSENSUS: &str = "CLOISTER__CONSENSUS";
    let is_seed = plan.nodes.iter().any(|seed| seed.number == node.number);
    let is_configured = || Config::load().is_ok_and(|config| config.consensus.is_some());
    (!is_seed && !is_configured()).then(|| (CONSENSUS, (plan.nodes.len() / 2 + 1).to_string()))
}

/// A process until the last line of its output, and the line about its end.
async fn run_to_end(
    mut child: Child,
    number: NodeNumber,
    mut orders: mpsc::UnboundedReceiver<Order>,
    stop_timeout: Duration,
    console: Console,
    reaper: Reaper,
) -> NodeExit {
    let pid = child.id().unwrap_or_default();
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(forward_lines(stdout, number, console.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(forward_lines(stderr, number, console.clone()));
    }
    let (mut asked, mut deadline) = (None, None::<Instant>);
    let exit = loop {
        tokio::select! {
            status = child.wait() => break status.map_or_else(Exit::Unknown, Exit::Exited),
            Some(order) = orders.recv() => {
                asked = asked_by(order, asked);
                if order == Order::StopAlone {
                    deadline = deadline.or(Some(Instant::now() + stop_timeout));
                }
                obey(order, &child);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                deadline = None;
                console.say(&format!("not stopped {stop_timeout:?} after SIGTERM: killing {number}"));
                obey(Order::Hurry, &child);
            }
        }
    };
    // An order that came with the exit may be its cause.
    while let Ok(order) = orders.try_recv() {
        asked = asked_by(order, asked);
    }
    // Child processes of the node must not outlive it: its process group still has its number.
    if let Some(group) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    reaper.forget(pid);
    // Its last output is printed before its exit is reported.
    let _ = timeout(DRAIN_TIMEOUT, async { while output.join_next().await.is_some() {} }).await;
    // From here on it is not among the running ones.
    drop(orders);
    let ended = NodeExit { number, exit, asked };
    console.say(&ended.to_string());
    ended
}

/// What was asked of a process, after one more order.
fn asked_by(order: Order, before: Option<ExitRequest>) -> Option<ExitRequest> {
    match order {
        Order::Stop | Order::StopAlone => before.or(Some(ExitRequest::Stop)),
        Order::Kill => Some(ExitRequest::Kill),
        Order::Hurry | Order::Pause | Order::Continue => before,
    }
}

/// Signals the process, unless it has just exited.
fn obey(order: Order, child: &Child) {
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
    let _ = match order {
        Order::Pause => kill_process(pid, Signal::STOP),
        Order::Continue => kill_process(pid, Signal::CONT),
        // A paused process hears it when it goes on.
        Order::Stop | Order::StopAlone => {
            kill_process(pid, Signal::TERM).and_then(|()| kill_process(pid, Signal::CONT))
        }
        Order::Kill | Order::Hurry => kill_process_group(pid, Signal::KILL),
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
