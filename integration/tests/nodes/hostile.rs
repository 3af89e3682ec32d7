//! Attacks at the port of a node without the cookie. Beside each attack another node joins in time, the attacked node needs little
//! memory, its listeners hear only of the newcomer, and its log stays short.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloister_integration::{Block, Budget, Node, Plan, Usage, agree, assembly_time, report};
use rustix::process::{Resource, getrlimit, setrlimit};

/// How long a node may take from its start until all are up.
const JOIN: Budget = Budget::millis(2000);

/// How much more memory the attacked node may have, in KiB.
const MEMORY: u64 = 20 << 10;

/// For how long an attack is let alone with two nodes before the third is started.
const ALONE: Duration = Duration::from_secs(2);

/// The limit of unauthenticated connections of a node. With fewer descriptors, a quarter of them.
const MAX_UNAUTHENTICATED: u64 = 256;

/// Two nodes that are up, of which one is attacked while a third joins. `attack` gets its address, and the ractor name of the other;
/// it goes on until it is told to end.
fn beside(what: &str, first: impl Fn(Plan) -> Plan, attack: impl Fn(SocketAddr, &str, &AtomicBool) + Sync) {
    static ENOUGH: Once = Once::new();
    ENOUGH.call_once(|| {
        // The attacker may have as many descriptors as the system lets it.
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("a limit may be raised to its maximum");
    });
    let plans: Vec<_> =
        Plan::list(&Block::new(3).ips()).into_iter().map(|plan| plan.variable("RUST_LOG", "info")).collect();
    let mut nodes = vec![Node::start(&first(plans[0].clone())), Node::start(&plans[1])];
    let (view, _) = agree(&nodes);
    let other = view.members.iter().find(|member| member.starts_with(nodes[1].name())).expect("a member");
    let (name, incarnation) = other.rsplit_once('#').expect("with its incarnation");
    let (app, address) = name.split_once('@').expect("with its address");
    let (host, port) = address.rsplit_once(':').expect("with a port");
    let other = format!("{app}#{host}#{port:0>5}#{incarnation}@{address}");

    let (address, marks) = (nodes[0].address(), nodes.iter().map(Node::mark).collect::<Vec<_>>());
    let limit = descriptors(&nodes[0]).map_or(MAX_UNAUTHENTICATED, |all| MAX_UNAUTHENTICATED.min(all / 4));
    let open = Usage::of(&mut nodes[0]).descriptors;
    let (before, began, over) = (nodes[0].memory(), Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| attack(address, &other, &over));
        let ends = Ends(&over);
        std::thread::sleep(ALONE);
        for (node, mark) in nodes.iter().zip(&marks) {
            assert_eq!(node.notices().split_off(*mark), [], "{} was moved", node.name());
        }
        let mut max = nodes[0].memory();
        let more = (0..20)
            .map(|_| Usage::of(&mut nodes[0]).descriptors.saturating_sub(open))
            .max()
            .unwrap_or_default();
        report(&format!("{what}: {more} descriptors for unauthenticated connections, at most {limit}"));
        // A few are on their way out, or belong to links that are being looked at.
        assert!(
            more <= limit + 24,
            "{what}: {more} descriptors for unauthenticated connections, over {limit}"
        );
        nodes.push(Node::start(&plans[2]));
        let (after, up) = agree(&nodes);
        JOIN.meet(&format!("{what}: a third node joins"), assembly_time(&nodes, up));
        max = max.max(nodes[0].memory());
        let grown = max.saturating_sub(before);
        report(&format!("{what}: memory grows by {grown} KiB; bar {MEMORY} KiB"));
        assert!(grown <= MEMORY, "{what}: memory grew by {grown} KiB");
        drop(ends);
        after.check_claims(&mut nodes);
        after.check_one_up_each(&nodes);
    });
    let seconds = began.elapsed().as_secs() + 1;
    let mut by_cause: BTreeMap<String, u64> = BTreeMap::new();
    let lines = nodes[0].log().lines();
    for line in lines.iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
        // What is said comes first, what differs between two lines of one cause comes in fields.
        let words =
            line.split_once("Z ").map_or(line.as_str(), |(_, rest)| rest).split('=').next().unwrap_or(line);
        *by_cause.entry(words.trim_end_matches(char::is_alphanumeric).to_owned()).or_default() += 1;
    }
    report(&format!("{what}: lines by cause in {seconds} s, at most one a second each: {by_cause:?}"));
    assert!(by_cause.values().all(|lines| *lines <= seconds), "{by_cause:#?}");
    assert_eq!(nodes[0].log().count("panicked"), 0);
    assert!(nodes[0].is_running());
}

/// How many descriptors a node may have.
fn descriptors(node: &Node) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.id())).expect("it runs, on Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    line.split_whitespace().next().and_then(|max| max.parse().ok())
}

/// Ends the attack when this is dropped, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A thousand connections that say nothing; a connection that is closed is opened again.
fn silence(address: SocketAddr, over: &AtomicBool) {
    let mut silent: Vec<TcpStream> =
        (0..1000).filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()).collect();
    for socket in &silent {
        socket.set_nonblocking(true).expect("a mode");
    }
    while !over.load(Ordering::SeqCst) {
        silent.retain_mut(|socket| socket.read(&mut [0]).is_err());
        for _ in silent.len()..1000 {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else { break };
            socket.set_nonblocking(true).expect("a mode");
            silent.push(socket);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_thousand_silent_sockets_that_reconnect_keep_no_node_out() {
    beside("1000 silent sockets", |plan| plan, |address, _, over| silence(address, over));
}

#[test]
fn a_node_with_64_file_descriptors_takes_others_in_beside_a_thousand_silent_sockets() {
    beside(
        "1000 silent sockets at a node with 64 descriptors",
        |plan| plan.descriptors(64),
        |address, _, over| {
            silence(address, over);
        },
    );
}

#[test]
fn frames_that_are_announced_and_never_finished_fill_no_memory() {
    beside(
        "20 unfinished frames of 16 MiB",
        |plan| plan,
        |address, _, over| {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        while !over.load(Ordering::SeqCst) {
                            let Ok(mut socket) = TcpStream::connect(address) else { continue };
                            socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
                            // It is put out before it has said everything.
                            let _ = socket.write_all(&(16_u64 << 20).to_be_bytes());
                            while !over.load(Ordering::SeqCst) {
                                match socket.write(&[0; 65_536]) {
                                    Ok(_) => {}
                                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                                    Err(_) => break,
                                }
                            }
                        }
                    });
                }
            });
        },
    );
}

#[test]
fn handshakes_that_come_byte_by_byte_keep_no_node_out() {
    beside(
        "300 handshakes byte by byte",
        |plan| plan,
        |address, other, over| {
            let bytes = frame(&name(other));
            let connect = || TcpStream::connect(address).ok().map(|socket| (socket, 0));
            let mut slow: Vec<_> = (0..300).filter_map(|_| connect()).collect();
            while !over.load(Ordering::SeqCst) {
                for (socket, sent) in &mut slow {
                    let byte = bytes.get(*sent..=*sent).unwrap_or_default();
                    *sent += 1;
                    if byte.is_empty() || socket.write_all(byte).is_err() {
                        let Some(again) = connect() else { continue };
                        (*socket, *sent) = again;
                    }
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        },
    );
}

#[test]
fn a_port_scan_delays_no_node() {
    beside(
        "a port scan of 1000 at a time",
        |plan| plan,
        |address, _, over| {
            for _ in 0..1000 {
                drop(TcpStream::connect(address));
            }
            while !over.load(Ordering::SeqCst) {
                drop(TcpStream::connect(address));
            }
        },
    );
}

#[test]
fn a_process_that_claims_the_name_of_a_member_without_the_cookie_moves_no_node() {
    beside(
        "claims to be a member, with another cookie",
        |plan| plan,
        |address, other, over| {
            let mut answered = 0;
            while !over.load(Ordering::SeqCst) {
                let Ok(mut socket) = TcpStream::connect(address) else { continue };
                socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
                // The end of the connection is the answer to the last word.
                let _ = socket.write_all(&frame(&name(other)));
                if socket.read(&mut [0; 512]).is_ok_and(|read| read > 0) {
                    answered += 1;
                }
                let _ = socket.write_all(&frame(&proof()));
                let _ = socket.read_to_end(&mut Vec::new());
            }
            report(&format!("{answered} handshakes as a member were answered, and none was believed"));
            assert!(answered > 0, "this is how the handshake begins");
        },
    );
}

#[test]
fn requests_to_the_admin_server_that_are_never_finished_delay_no_other() {
    beside(
        "1100 unfinished requests to the admin server",
        |plan| plan,
        |address, _, over| {
            // The admin server of a node of these tests: see `Plan`.
            let admin = SocketAddr::new(address.ip(), 4380);
            let connect = || {
                let mut socket = TcpStream::connect_timeout(&admin, Duration::from_secs(2)).ok()?;
                socket.write_all(b"GET /members HTTP/1.1\r\nhost: no").ok()?;
                socket.set_nonblocking(true).expect("a mode");
                Some(socket)
            };
            let attack = || {
                let mut open: Vec<TcpStream> = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    open.retain_mut(|socket| socket.read(&mut [0]).is_err());
                    let missing = 1100_usize.saturating_sub(open.len());
                    open.extend((0..missing.min(100)).filter_map(|_| connect()));
                }
            };
            let (mut probes, mut slowest) = (0, Duration::ZERO);
            std::thread::scope(|scope| {
                scope.spawn(attack);
                while !over.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let answer = cloister_integration::get(admin, "/livez").expect("a probe is answered");
                    assert_eq!(answer.code, 200);
                    slowest = slowest.max(began.elapsed());
                    probes += 1;
                }
            });
            report(&format!("{probes} probes were answered beside them, the slowest after {slowest:.1?}"));
            assert!(probes > 0, "nothing was probed");
        },
    );
}

/// A message of the handshake, with its mark and its length.
fn frame(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0xc1, 0, 0, 1], len.as_slice(), message].concat()
}

/// A field of a protocol buffer: its number, and its bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
    field.extend(bytes);
    field
}

/// The first message of the handshake: version, application, name and a number.
fn name(name: &str) -> Vec<u8> {
    field(1, &[vec![1 << 3, 1], field(2, b"it"), field(3, name.as_bytes()), field(4, &[7; 32])].concat())
}

/// The second, by the side that dialled: a proof that is wrong.
fn proof() -> Vec<u8> {
    field(2, &[0; 32])
}
