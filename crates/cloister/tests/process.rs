//! What a node leaves behind in its process, and what it is to a second one. A process can be one node only, so each story is a
//! process of its own: this test program, started again with a role.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has nothing to say")]

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef};
use cloister::ractor_cluster::RactorMessage;
use cloister::{Change, Cloister, Config, ManagerActor, ManagerArguments, StateChange, Status};
use cloister_testkit::loopback;
use cloister_testkit::obedient::until;
use cloister_testkit::process::{Process, this_test};
use cloister_testkit::wait::until_async;
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

/// What any of these things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Set in a process that plays a role.
const ROLE: &str = "ROLE_OF_A_TEST";

/// Addresses that the test has chosen for its processes.
const ADDRESSES: &str = "ADDRESSES_OF_A_TEST";

/// How often a node is started and leaves.
const ROUNDS: usize = 400;

/// How many of them are over before anything is counted: caches and registries have their size by then.
const WARM: usize = 50;

/// How many bytes may be left behind by all of them together, since buffers may just be in use: 187 for each start.
const LEFT: i64 = 64 * 1024;

/// An unused address of this host.
fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, loopback::free_port(1)))
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// A node that is alone, and reachable.
fn alone(me: SocketAddr) -> Config {
    Config::new("process").seeds([me.to_string()]).port(me.port())
}

/// A node that waits for another one, which never comes.
fn waiting(me: SocketAddr) -> Config {
    Config::new("process").seeds([me.to_string(), free().to_string()]).port(me.port()).consensus(2)
}

fn addresses() -> Vec<SocketAddr> {
    std::env::var(ADDRESSES).unwrap().split(',').map(|address| address.parse().unwrap()).collect()
}

/// Starts this test program again, in a role.
fn start(role: &str, addresses: &[SocketAddr]) -> Process {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut command = this_test("a_process_of_these_tests");
    let command = command.env(ROLE, role).env(ADDRESSES, addresses.join(",")).stdin(Stdio::piped());
    Process::start(command, |line| line)
}

/// Waits until the process has printed this line so many times.
#[track_caller]
fn wait_for_line(process: &Process, wanted: &str, times: usize) {
    let count = |lines: &[String]| lines.iter().filter(|line| *line == wanted).count();
    let printed = process.output().find(|lines| (count(lines) >= times).then_some(()));
    let lines = || (process.output().lines(), process.errors().lines());
    printed.unwrap_or_else(|| panic!("it has not printed `{wanted}` {times} times, but: {:#?}", lines()));
}

/// What a process has printed until its end, and its status.
fn end(mut process: Process) -> (Option<i32>, String) {
    process.finish();
    let status = process.ended_within(PATIENCE).expect("it ends when it has closed its output");
    (status.code(), [process.output().lines(), process.errors().lines()].concat().join("\n"))
}

/// Plays a role to its end, and returns what it printed; fails when the process does.
#[track_caller]
fn play(role: &str) -> String {
    let (status, printed) = end(start(role, &[]));
    println!("{printed}");
    assert_eq!(status, Some(0), "{role}: {printed}");
    printed
}

/// Not a test when run as one: the process of the tests below.
#[test]
fn a_process_of_these_tests() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The test harness has begun a line.
    println!();
    match role.as_str() {
        "again" => runtime.block_on(again_and_again()),
        "second" => runtime.block_on(second()),
        "watches" => runtime.block_on(watches()),
        "goes on" => runtime.block_on(goes_on()),
        "given up" => runtime.block_on(given_up()),
        "runtime ends" => {
            let me = free();
            runtime.block_on(give_up(waiting(me)));
            drop(runtime);
            // What kept the port runs on the runtime of the node, and ends on its own.
            until("the port is free when the runtime is gone", || is_free(me));
        }
        "two" => runtime.block_on(two()),
        "taken" => runtime.block_on(taken()),
        "asked to leave" => runtime.block_on(asked_to_leave()),
        "tidies" => runtime.block_on(tidies()),
        "open to all" => runtime.block_on(open_to_all()),
        other => panic!("no such role: {other}"),
    }
}

/// Counts what is allocated. The resident memory would say less: of what was freed an allocator keeps what it likes.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many bytes are allocated.
fn allocated() -> i64 {
    // A reallocation is counted in these two as well.
    let Stats { bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
    i64::try_from(bytes_allocated).unwrap() - i64::try_from(bytes_deallocated).unwrap()
}

/// Tasks of both runtimes and descriptors of this process. The runtime of the node runs from then on.
fn burden() -> (usize, usize) {
    let runtimes = [tokio::runtime::Handle::current(), cloister_core::internal::runtime::handle().unwrap()];
    let tasks = runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum();
    (tasks, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

async fn again_and_again() {
    let (me, admin) = (free(), free());
    let idle = burden();
    let (mut warm, mut before) = (idle, 0);
    for round in 0..ROUNDS {
        let cloister = cloister::start_with(alone(me).admin_listen(admin)).await.unwrap();
        // A client that stays on, as a console does.
        let client = tokio::net::TcpStream::connect(admin).await.unwrap();
        client.writable().await.unwrap();
        client.try_write(b"GET /events HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
        cloister.leave().await;
        drop(client);
        if round + 1 == WARM {
            settled(idle).await;
            warm = burden();
            before = allocated();
        }
    }
    settled(warm).await;
    let left = allocated() - before;
    println!("{left} bytes more are allocated after {} starts", ROUNDS - WARM);
    assert!(left < LEFT, "{left} bytes were left behind by {} starts", ROUNDS - WARM);
    assert!(is_free(admin) && is_free(me));
}

/// Waits until there are no more tasks and descriptors than before.
async fn settled(before: (usize, usize)) {
    let what = format!("no more tasks and descriptors than {before:?}");
    until_async(&what, async || {
        let now = burden();
        now.0 <= before.0 && now.1 <= before.1
    })
    .await;
}

#[test]
fn four_hundred_starts_leave_nothing_behind() {
    play("again");
}

/// Says how nodes go.
struct Watcher;

#[derive(RactorMessage)]
struct Heard(StateChange);

impl From<StateChange> for Heard {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Watcher {
    type Msg = Heard;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Heard>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Heard>,
        Heard(change): Heard,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        for change in change.changes.iter() {
            if let Change::NodeDown { reason, .. } = change {
                println!("\ndown: {reason}");
            }
        }
        Ok(())
    }
}

/// Takes its time to end.
struct Slow;

impl Actor for Slow {
    type Msg = Heard;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Heard>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Heard>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

/// One of two nodes.
fn pair(me: SocketAddr, all: &[SocketAddr]) -> Config {
    Config::new("process").seeds(all.iter().map(ToString::to_string)).port(me.port()).consensus(2)
}

/// Sees the other one come and go.
async fn watches() {
    let all = addresses();
    let arguments = ManagerArguments::new(pair(all[0], &all)).unwrap();
    let (watcher, _) = Actor::spawn(None, Watcher, ()).await.unwrap();
    arguments.handle().subscribe_without_hold(&watcher);
    let _cloister = cloister::start_with_arguments(arguments).await.unwrap();
    std::future::pending::<()>().await;
}

/// Starts a second time, and waits for a signal.
async fn second() {
    let all = addresses();
    let cloister = cloister::start_with(pair(all[1], &all)).await.unwrap();
    cloister.leave().await;
    // It takes a while to leave, in which nothing else may end the process.
    let slow = cloister::ChildSpec::new("slow", |_, supervisor| async move {
        let (slow, _) = Actor::spawn_linked(None, Slow, (), supervisor).await?;
        Ok(slow.get_cell())
    });
    let arguments = ManagerArguments::new(pair(all[1], &all)).unwrap().child(slow);
    let cloister = cloister::start_with_arguments(arguments).await.unwrap();
    until_async("both see each other", async || cloister.siblings().len() == 1).await;
    println!("up again");
    std::future::pending::<()>().await;
}

#[test]
fn a_signal_after_a_second_start_leaves_in_order() {
    let all = [free(), free()];
    let watcher = start("watches", &all);
    let node = start("second", &all);
    wait_for_line(&node, "up again", 1);
    // The first incarnation left.
    wait_for_line(&watcher, "down: left", 1);
    node.signal("TERM");
    assert_eq!(end(node).0, Some(0));
    wait_for_line(&watcher, "down: left", 2);
    let downs: Vec<String> =
        watcher.output().lines().into_iter().filter(|line| line.starts_with("down:")).collect();
    assert_eq!(downs, ["down: left"; 2]);
}

/// Leaves, and has other things to do.
async fn goes_on() {
    let cloister = cloister::start_with(Config::new("process")).await.unwrap();
    cloister.leave().await;
    println!("left");
    std::future::pending::<()>().await;
}

#[test]
fn a_signal_ends_a_process_whose_node_has_left() {
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let process = start("goes on", &[]);
        wait_for_line(&process, "left", 1);
        process.signal(signal);
        assert_eq!(end(process).0, Some(status), "{signal}");
    }
}

/// Begins to wait for the end when it drains, and tidies up until it is told.
async fn tidies() {
    let cloister = cloister::start_with(Config::new("process")).await.unwrap();
    let (waits, hook) = tokio::sync::oneshot::channel::<()>();
    cloister.on_drain("until the program waits", async { drop(hook.await) });
    println!("up");
    cloister.wait_draining().await;
    let stopped = cloister.wait_stopped();
    waits.send(()).unwrap();
    println!("{}", stopped.await);
    let line = || std::io::stdin().read_line(&mut String::new());
    let _ = tokio::task::spawn_blocking(line).await;
    println!("tidied");
    std::process::exit(7);
}

#[test]
fn a_program_that_waits_for_the_end_only_when_it_drains_ends_in_its_own_way() {
    let mut process = start("tidies", &[]);
    wait_for_line(&process, "up", 1);
    process.signal("TERM");
    wait_for_line(&process, "this node has left its cluster", 1);
    // The handler of the signal decides within this time.
    if process.ended_within(Duration::from_millis(500)).is_none() {
        process.write_line("end");
    }
    let (status, printed) = end(process);
    assert_eq!(status, Some(7), "{printed}");
    assert!(printed.contains("tidied"), "{printed}");
}

/// Gives up a start that never ends.
async fn give_up(config: Config) {
    let started = tokio::time::timeout(Duration::from_millis(300), cloister::start_with(config)).await;
    assert!(started.is_err(), "no other node is there: {started:?}");
}

async fn given_up() {
    let (me, admin) = (free(), free());
    let idle = burden();
    let arguments = ManagerArguments::new(waiting(me).admin_listen(admin)).unwrap();
    let cloister = arguments.handle();
    let starting = cloister::start_with_arguments(arguments);
    assert!(tokio::time::timeout(Duration::from_millis(300), starting).await.is_err());
    // Another start waits for that, and finds nothing in its way.
    let next = cloister::start_with(alone(me).admin_listen(admin)).await.unwrap();
    assert!(next.is_sentry());
    assert_eq!(cloister.status(), Status::Stopped);
    next.leave().await;

    // Also one that comes after a start that was given up while it waited.
    let slow = waiting(me).admin_listen(admin).drain_delay(Duration::from_secs(2));
    give_up(slow).await;
    give_up(alone(me).admin_listen(admin)).await;
    cloister::start_with(alone(me).admin_listen(admin)).await.unwrap().leave().await;

    let arguments = ManagerArguments::new(waiting(me).admin_listen(admin)).unwrap();
    let cloister = arguments.handle();
    let starting = cloister::start_with_arguments(arguments);
    assert!(tokio::time::timeout(Duration::from_millis(300), starting).await.is_err());
    until_async("the node leaves", async || cloister.status() == Status::Stopped).await;
    until_async("its ports are free", async || is_free(me) && is_free(admin)).await;
    settled(idle).await;
}

#[test]
fn a_start_that_is_given_up_leaves_no_member_behind() {
    play("given up");
}

#[test]
fn a_runtime_may_end_right_after_a_start_is_given_up() {
    play("runtime ends");
}

async fn two() {
    let first = ManagerArguments::new(Config::new("first")).unwrap();
    let cloister = first.handle();
    Actor::spawn(Some("one".to_owned()), ManagerActor, first).await.unwrap();
    cloister.wait_until_up(PATIENCE).await.unwrap();

    let arguments = ManagerArguments::new(Config::new("second")).unwrap();
    let second = Actor::spawn(Some("two".to_owned()), ManagerActor, arguments.clone()).await;
    assert_refused(&second.expect_err("a second node").to_string());
    let second = cloister::start_with(Config::new("third")).await;
    assert_refused(&second.expect_err("a third node").to_string());
    assert!(cloister.is_sentry(), "the first goes on");

    // A node that ended frees the place; the manager of the one that starts has the name of the facade's.
    cloister.leave().await;
    let cloister = cloister::start_with_arguments(arguments.clone()).await.unwrap();
    assert_refused(&cloister::start_with(Config::new("third")).await.unwrap_err().to_string());
    cloister.leave().await;

    // One that was killed, too.
    let (manager, _) = Actor::spawn(Some("four".to_owned()), ManagerActor, arguments).await.unwrap();
    manager.kill_and_wait(None).await.unwrap();
    let cloister = cloister::start_with(Config::new("fifth")).await;
    cloister.expect("the place is free").leave().await;
}

fn assert_refused(text: &str) {
    for words in ["@nohost runs in this process", "one node only", "Cloister::leave", "a process of its own"]
    {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
}

#[test]
fn a_second_node_in_a_process_is_refused_until_the_first_has_ended() {
    play("two");
}

async fn taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let me = taken.local_addr().unwrap();
    let began = Instant::now();
    let error = cloister::start_with(waiting(me)).await.unwrap_err();
    println!("after {:?}: {error}", began.elapsed());
    let text = format!(
        "{me} is taken by another program, perhaps an older run of this one: stop it, or set another `port` \
         (`ss -ltnp 'sport = :{}'` shows it)",
        me.port()
    );
    assert_eq!(error.to_string(), text);
    // The pauses between five attempts are 1.5 s.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(taken);
    cloister::start_with(alone(me)).await.unwrap().leave().await;
}

#[test]
fn a_port_that_is_taken_ends_the_start_at_once_with_that_error_alone() {
    let said = play("taken");
    assert!(!said.contains("panicked"), "{said}");
}

async fn asked_to_leave() {
    let arguments = ManagerArguments::new(waiting(free())).unwrap();
    let cloister: Cloister = arguments.handle();
    let starting = tokio::spawn(cloister::start_with_arguments(arguments));
    until_async("it looks for others", async || cloister.status() == Status::Assembling).await;
    cloister.leave().await;
    let error = tokio::time::timeout(PATIENCE, starting).await.expect("it ends").unwrap().unwrap_err();
    assert!(error.to_string().contains("has left"), "{error}");
}

#[test]
fn a_node_that_is_asked_to_leave_while_it_starts_ends_the_start() {
    play("asked to leave");
}

/// Its admin server listens on all addresses, or on loopback alone.
async fn open_to_all() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let config = Config::new("process").admin_listen(address.parse().unwrap());
        cloister::start_with(config).await.unwrap().leave().await;
    }
}

#[test]
fn an_admin_server_that_others_can_reach_is_a_warning_with_what_to_do() {
    let printed = play("open to all");
    let warnings: Vec<&str> = printed.lines().filter(|line| line.contains("beyond loopback")).collect();
    let [warning] = &warnings[..] else { panic!("{printed}") };
    for part in ["WARN", "local_addr=0.0.0.0:", "has no password", "NetworkPolicy", "127.0.0.1"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}
