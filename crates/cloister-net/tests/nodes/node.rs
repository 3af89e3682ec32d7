//! A node of the tests: this very test program, started again with its settings in the environment.
//!
//! It prints every link event as a line `<nanoseconds> <event>` and obeys commands on its standard input. All
//! processes of a host share the clock, so the test can compare the times.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cloister_discovery::{Discovery, LookupFuture, LookupResult};
use cloister_net::clock::Clock;
use cloister_net::links::{LinkEvent, LinkSettings, Links};
use cloister_net::runtime::Application;
use cloister_net::tls::{Files, Tls};
use cloister_proto::{CloseReason, Epoch, Hello, Incarnation, LinkId, Member, Message, NodeId, Timing};
use cloister_testkit::process::{Process, this_test};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

const SETTINGS: &str = "CLOISTER_TEST_NODE";

/// How long anything may take that should take milliseconds.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How a node is configured.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Where it is reached.
    pub(crate) me: SocketAddr,
    /// Where it listens.
    pub(crate) bind: SocketAddr,
    /// The addresses that discovery names.
    pub(crate) seeds: Vec<SocketAddr>,
    /// Its secret.
    pub(crate) cookie: &'static str,
    /// Its cluster.
    pub(crate) cluster: &'static str,
    /// How it places keys.
    pub(crate) ring: Option<u32>,
    /// Its certificate, key and authorities, and the name that it wants to see; none for links that are not encrypted.
    pub(crate) tls: Option<[String; 4]>,
}

impl Plan {
    pub(crate) fn new(me: SocketAddr, seeds: &[SocketAddr]) -> Self {
        Self { me, bind: me, seeds: seeds.to_vec(), cookie: "secret", cluster: "test", ring: None, tls: None }
    }
}

/// A line of a node.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// When it was printed, in nanoseconds of the host's clock.
    pub(crate) at: u64,
    /// Its text.
    pub(crate) text: String,
}

/// A node that runs. It is killed when this is dropped.
pub(crate) struct TestNode {
    process: Process<Line>,
    pub(crate) me: SocketAddr,
}

impl TestNode {
    /// Starts a node, and returns at once.
    pub(crate) fn start(plan: &Plan) -> Self {
        let seeds: Vec<String> = plan.seeds.iter().map(ToString::to_string).collect();
        let ring = plan.ring.map(|ring| ring.to_string()).unwrap_or_default();
        let settings = [
            plan.me.to_string(),
            plan.bind.to_string(),
            plan.cookie.into(),
            plan.cluster.into(),
            ring,
            seeds.join(","),
            plan.tls.as_ref().map(|tls| tls.join(",")).unwrap_or_default(),
        ];
        let mut command = this_test("a_process_of_these_tests_acts_as_a_node");
        command.arg("--test-threads=1").env(SETTINGS, settings.join(" ")).stdin(Stdio::piped());
        Self { process: Process::start_merged(&mut command, Line::read), me: plan.me }
    }

    /// Starts a node, and returns when it listens.
    pub(crate) fn up(plan: &Plan) -> Self {
        let node = Self::start(plan);
        node.expect("it listens", |line| line == "STARTED");
        node
    }

    /// Gives a command.
    pub(crate) fn tell(&mut self, command: &str) {
        self.process.write_line(command);
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// How many lines fit.
    pub(crate) fn count(&self, fits: impl Fn(&str) -> bool) -> usize {
        self.process.output().look(|lines| lines.iter().filter(|line| fits(&line.text)).count())
    }

    /// Waits for a line.
    pub(crate) fn expect(&self, what: &str, fits: impl Fn(&str) -> bool) -> Line {
        self.expect_nth(what, 1, fits)
    }

    /// Waits for the `nth` line that fits.
    pub(crate) fn expect_nth(&self, what: &str, nth: usize, fits: impl Fn(&str) -> bool) -> Line {
        self.wait(what, nth, |line| fits(&line.text))
    }

    /// Waits for a line whose time matters as well.
    pub(crate) fn expect_line(&self, what: &str, fits: impl Fn(&Line) -> bool) -> Line {
        self.wait(what, 1, fits)
    }

    fn wait(&self, what: &str, nth: usize, fits: impl Fn(&Line) -> bool) -> Line {
        let find = |lines: &[Line]| lines.iter().filter(|line| fits(line)).nth(nth - 1).cloned();
        let line = self.process.output().find_within(TEST_TIMEOUT, find);
        line.unwrap_or_else(|| panic!("{}: not within {TEST_TIMEOUT:?}: {what}", self.me))
    }

    /// How many file descriptors its process has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// Everything that was printed.
    pub(crate) fn text(&self) -> String {
        let shown = |line: &Line| format!("{} {}\n", line.at / 1_000_000, line.text);
        self.process.output().look(|lines| lines.iter().map(shown).collect())
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.process.end();
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.me, self.text());
        }
    }
}

impl Line {
    fn read(line: String) -> Self {
        let parsed = line.split_once(' ').and_then(|(at, text)| Some((at.parse().ok()?, text.to_owned())));
        let (at, text) = parsed.unwrap_or((Clock.now().as_nanos(), line));
        Self { at, text }
    }
}

/// Acts as a node if this process was started as one; returns at once if not.
pub(crate) fn act() {
    let Ok(settings) = env::var(SETTINGS) else { return };
    tracing_subscriber::fmt()
        .with_env_filter("warn,cloister=info,cloister_net=debug,ractor=error,ractor_cluster=error")
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    // The test harness has begun a line.
    println!();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&settings));
    std::process::exit(0);
}

struct Seeds(Vec<SocketAddr>);

impl Discovery for Seeds {
    fn describe(&self) -> String {
        "seeds of the test".to_owned()
    }

    fn lookup(&self) -> LookupFuture<'_> {
        Box::pin(async { Ok(LookupResult::addresses(self.0.iter().copied())) })
    }
}

/// Where the manager will be: it outlives the link layer, and says how that ended.
struct Supervisor;

impl Actor for Supervisor {
    type Msg = u8;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u8>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<u8>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, cause) = event {
            say(&format!("CHILD FAILED {cause}"));
        }
        Ok(())
    }
}

fn say(text: &str) {
    println!("{} {text}", Clock.now().as_nanos());
}

fn print(event: LinkEvent) {
    match event {
        LinkEvent::Linked { link, peer, .. } => say(&format!("LINKED {} {}", link.0, peer.id)),
        LinkEvent::Unlinked { link } => say(&format!("UNLINKED {}", link.0)),
        LinkEvent::Received { link, message } => say(&format!("RECEIVED {} {message:?}", link.0)),
        LinkEvent::Refused { address, began } => say(&format!("REFUSED {address} {}", began.as_nanos())),
        LinkEvent::DiscoveryUpdate { unverified, complete, .. } => {
            let unverified: Vec<String> = unverified.iter().map(ToString::to_string).collect();
            say(&format!("SURVEYED {complete} [{}]", unverified.join(" ")));
        }
        LinkEvent::Failed(error) => say(&format!("FAILED {error}")),
    }
}

fn settings(text: &str) -> LinkSettings {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap();
    let (me, bind): (SocketAddr, SocketAddr) = (word().parse().unwrap(), word().parse().unwrap());
    let (cookie, cluster, ring, seeds) = (word().to_owned(), word().to_owned(), word(), word());
    let tls: Vec<String> = word().split(',').map(str::to_owned).collect();
    let tls = <[String; 4]>::try_from(tls).ok().map(|[cert, key, ca, server_name]| {
        Tls::load(Files { cert: cert.into(), key: key.into(), ca: ca.into(), server_name }).unwrap()
    });
    let seeds = seeds.split(',').filter(|seed| !seed.is_empty()).map(|seed| seed.parse().unwrap()).collect();
    let incarnation = Incarnation(Clock.now().as_nanos() ^ u64::from(std::process::id()));
    let id = NodeId::new(format!("app@{me}").parse().unwrap(), incarnation, 1);
    let me = Member::without_tags(id);
    let timing = Timing::default();
    let mut hello = Hello::new(me.clone(), timing.lease, "test".to_owned());
    if let Ok(ring) = ring.parse() {
        hello.ring = ring;
    }
    LinkSettings {
        me,
        hello,
        cookie,
        tls,
        cluster,
        bind,
        timing,
        strategies: vec![Arc::new(Seeds(seeds))],
        max_frame: 16 * 1024 * 1024,
        link_bytes: 64 << 20,
        application: Application::here(),
    }
}

async fn run(text: &str) {
    let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.unwrap();
    let start = async || Links::start(settings(text), supervisor.get_cell(), Clock, Arc::new(print)).await;
    let mut links = match start().await {
        Ok(links) => links,
        Err(error) => return say(&format!("NOT STARTED {error}")),
    };
    say("STARTED");
    let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    // The end of the input is the end of the test.
    while let Some(command) = commands.recv().await {
        let words: Vec<&str> = command.split(' ').collect();
        match words.as_slice() {
            ["send", link, number] => {
                let epoch = Epoch::from_u64(number.parse().unwrap());
                links.send(LinkId(link.parse().unwrap()), &Message::Commit { epoch });
            }
            ["close", link] => links.close(LinkId(link.parse().unwrap()), CloseReason::Silent),
            ["connect", name] => links.connect(&NodeId::new(name.parse().unwrap(), Incarnation(0), 0)),
            ["dials"] => {
                for dial in links.dials() {
                    say(&format!("DIAL {} {} {:?}", dial.address, dial.state.as_str(), dial.last_error));
                }
            }
            ["heard"] => say(&format!("HEARD {:?}", links.last_received())),
            ["restart"] => {
                links.stop().await;
                say("STOPPED");
                links = start().await.unwrap();
                say("STARTED");
            }
            ["stop"] => {
                links.stop().await;
                say("STOPPED");
            }
            _ => say(&format!("UNKNOWN COMMAND {command}")),
        }
    }
}
