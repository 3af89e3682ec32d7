//! Nodes that do not belong, and bytes that make no sense: rejected, logged once, and no node suffers.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cloister_integration::{
    Block, Budget, Node, Plan, agree, assembly_time, eventually, get, report, send, start_all,
};
use cloister_json::{Peer, Readiness};

/// For how long a node that is kept out is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Two nodes that are up, and a third address in their list at which another program may listen.
fn two_and_a_place() -> (Vec<Plan>, Vec<Node>) {
    let plans = Plan::list(&Block::new(3).ips());
    let levels = "info,ractor_cluster=error,cloister_net::dial=debug";
    let plan = |plan: Plan| plan.set("COOKIE", "secret").variable("RUST_LOG", levels);
    let plans: Vec<_> = plans.into_iter().map(plan).collect();
    let nodes = start_all(&plans[..2]);
    agree(&nodes);
    (plans, nodes)
}

#[test]
fn a_node_with_another_cookie_or_of_another_cluster_at_a_seeds_address_moves_nothing() {
    std::thread::scope(|scope| {
        let differs = "it is of the same application, but its `cookie` differs from that of this node";
        scope.spawn(|| {
            refuse("another cookie", [differs, differs], |plan| plan.set("COOKIE", "guessed"));
        });
        let other = "it is of another application: its name is \"other\", the name of this node is \"it\"";
        let mine = "it is of another application: its name is \"it\", the name of this node is \"other\"";
        scope.spawn(|| refuse("another cluster", [other, mine], |plan| plan.set("NAME", "other")));
    });
}

/// What the nodes say of the outsider, and what the outsider says of them, is `says`.
fn refuse(what: &str, expected: [&str; 2], disguise: impl Fn(Plan) -> Plan) {
    let (plans, nodes) = two_and_a_place();
    let marks: Vec<_> = nodes.iter().map(Node::mark).collect();
    // Its peers: it would be up with any two of the three.
    let mut outsider = Node::start(&disguise(plans[2].clone()));
    std::thread::sleep(WATCHED);
    let place = plans[2].address();
    for (node, mark) in nodes.iter().zip(marks) {
        assert_eq!(node.notices().split_off(mark), [], "{} was moved by {what}", node.name());
        assert_eq!(node.get("/readyz").code, 200);
        let warnings: Vec<_> =
            node.log().lines().into_iter().filter(|line| line.contains(" WARN ")).collect();
        assert_eq!(warnings.len(), 1, "once, from whichever side the dial came: {warnings:#?}");
        assert!(
            warnings[0].contains(&format!("connection failed peer_addr={place} error={}", expected[0])),
            "{warnings:#?}"
        );
        let is_it = |peer: &Peer| peer.address.as_deref() == Some(&*place);
        let peer = node.members().peers.into_iter().find(is_it).expect("a seed is a known peer");
        let state = peer.state;
        assert!(["dialling", "refused", "unreachable"].contains(&&*state), "{state}");
    }
    assert!(outsider.is_running(), "{:#?}", outsider.log().lines());
    let (notices, ready) = (outsider.notices(), outsider.get("/readyz"));
    assert!(
        !notices.is_empty() && notices.iter().all(|notice| !notice.is_up()),
        "it is never up: {notices:#?}"
    );
    assert_eq!(ready.code, 503, "it runs, and waits: {}", ready.body);
    let ready: Readiness = ready.json();
    for node in &nodes {
        let address = node.address().to_string();
        let of_it = |line: &String| line.starts_with(&address) && line.ends_with(expected[1]);
        assert!(ready.missing.iter().any(of_it), "nothing of {} in {ready:?}", node.name());
    }
    let attempts = nodes.iter().map(|node| node.log().count("attempt=Dial")).sum::<usize>();
    // 100, 200, 400, 800, 1600, 3200 ms: seven from each end, and what the start brings. None would be no trial.
    assert!(attempts >= 4, "{attempts} dials in {WATCHED:?}: no node tries");
    assert!(attempts <= 24, "{attempts} dials in {WATCHED:?} are a storm");
    report(&format!("{what}: no state moved in {WATCHED:?}, told of once, dialled {attempts} times"));
}

/// A process that is no node at the address of a seed: the node says what it is, once in the log and on each question.
#[test]
fn a_server_of_another_kind_at_a_seeds_address_is_named_by_what_it_says() {
    let plans = Plan::list(&Block::new(2).ips());
    let place: SocketAddr = plans[1].address().parse().expect("an address");
    let server = TcpListener::bind(place).expect("a free port");
    std::thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            // It may be gone already.
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        }
    });
    let node = Node::start(&plans[0].clone().variable("RUST_LOG", "info,ractor_cluster=info"));
    let reason = "it is no node: it says \"HTTP/1.1 400 Bad Request\"";
    eventually("/readyz names it", || {
        let missing = node.readiness().missing;
        let names = |line: &String| line.starts_with(&place.to_string()) && line.ends_with(reason);
        if missing.iter().any(names) { Ok(()) } else { Err(missing) }
    });
    std::thread::sleep(WATCHED);
    let lines = node.log().lines();
    let warnings = lines.iter().filter(|line| line.contains(&place.to_string()) && line.contains("WARN"));
    let warnings: Vec<_> = warnings.collect();
    assert!(warnings.len() == 1 && warnings[0].contains(&format!("error={reason}")), "{warnings:#?}");
    // Nothing but the cause, though the node logs all that is of level INFO, also of ractor.
    let of_ractor: Vec<_> = lines.iter().filter(|line| line.contains(" ractor_cluster::")).collect();
    assert!(of_ractor.is_empty(), "{of_ractor:#?}");
    assert!(lines.iter().any(|line| line.contains(" cloister_net::")), "what is ours is there");
}

#[test]
fn bytes_that_make_no_sense_and_sockets_that_say_nothing_hinder_no_node() {
    let (plans, mut nodes) = two_and_a_place();
    let address = nodes[0].address();
    let mut silent: Vec<_> = (0..50).map(|_| TcpStream::connect(address).expect("it accepts")).collect();
    let nonsense: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0; 100_000], &[0xff; 100_000], &[0, 0, 0, 0, 0, 0, 0, 9, 1]];
    let mut babblers: Vec<_> = nonsense
        .iter()
        .map(|bytes| {
            let mut stream = TcpStream::connect(address).expect("it accepts");
            // It may be put out before it has said everything.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    let began = Instant::now();
    nodes.push(Node::start(&plans[2]));
    let (view, up) = agree(&nodes);
    let took = assembly_time(&nodes, up);
    Budget::millis(1000).meet("beside 54 unauthenticated connections a third node is taken in", took);
    view.check_claims(&mut nodes);
    for stream in silent.iter_mut().chain(&mut babblers) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let end = stream.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    report(&format!("all of them were put out after {:.1?}", began.elapsed()));
    let (after, _) = agree(&nodes);
    assert_eq!(after, view, "no node was moved");
    for node in &mut nodes {
        assert!(node.is_running());
        assert_eq!(node.log().count("panicked"), 0);
    }
}

#[test]
fn an_admin_server_answers_nonsense_with_an_error_and_goes_on() {
    let plan = Plan::at(Block::new(1).ip(0)).unset("HOST").unset("PORT");
    let node = Node::start(&plan);
    node.wait_for_notice("up alone", 0, |notice| notice.is_up());
    assert_eq!(node.get("/readyz").code, 200);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let refused = [
        ("NONSENSE\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        ("\u{0}\u{1}\u{2}\r\n\r\n", "HTTP/1.1 400 "),
    ];
    for (garbage, code) in refused {
        let answer = babble(node.admin(), garbage.as_bytes()).expect("an answer");
        assert!(answer.starts_with(code), "{garbage:?}: {answer:?}");
    }
    // Empty lines before a request are none.
    assert_eq!(babble(node.admin(), b"\r\n\r\n").expect("an end"), "");
    // It says so before it has read all, and its end of the connection may be seen first.
    match babble(node.admin(), long.as_bytes()) {
        Ok(answer) => assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}"),
        Err(error) => {
            // A write, a shutdown or a read finds the connection gone.
            let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];
            assert!(gone.contains(&error.kind()), "{error}");
        }
    }
    assert_eq!(get(node.admin(), "/whois/%ff").expect("an answer").code, 400);
    assert_eq!(get(node.admin(), "/no/such/page").expect("an answer").code, 404);
    let post = send(node.admin(), b"POST /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(post.expect("an answer").starts_with("HTTP/1.1 405"));
    assert_eq!(node.get("/livez").code, 200);
    assert_eq!(node.log().count("panicked"), 0);
}

/// Sends bytes, says that no more will come, and returns the answer.
fn babble(server: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_wrong_configuration_ends_the_program_with_all_that_is_wrong_and_where() {
    let ip = Block::new(1).ip(0);
    let file = std::env::temp_dir().join(format!("cloister-test-{}.toml", std::process::id()));
    fs::write(&file, "consensus = 0\nseds = [\"a\"]\n[timing]\nlease = \"10s\"\n").expect("a file");
    let plan = Plan::at(ip).set("CONFIG", file.display()).set("PORT", 70_000).set("SPLIT", "maybe");
    let mut node = Node::start(&plan);
    let status = node.wait();
    fs::remove_file(&file).expect("it is there");
    assert!(!status.success());
    let log = node.log().lines().join("\n");
    for words in ["consensus", "seds", "seeds", "70000", "CLOISTER__PORT", "maybe", "cloister-test-"] {
        assert!(log.contains(words), "it names `{words}`: {log}");
    }
    assert_eq!(node.log().count("panicked"), 0);
    report(&format!("a wrong configuration says\n{log}"));

    let mut without = Node::start(&Plan::at(ip).set("CONFIG", "/nowhere/cloister.toml"));
    assert!(!without.wait().success());
    assert_eq!(without.log().count("/nowhere/cloister.toml"), 1, "{:?}", without.log().lines());

    let mut seeds = Node::start(&Plan::at(ip).set("SEEDS", "127.0.0.1:99999,a b"));
    assert!(!seeds.wait().success());
    assert!(
        seeds.log().count("CLOISTER__SEEDS") > 0 && seeds.log().count("panicked") == 0,
        "{:?}",
        seeds.log().lines()
    );
}

/// On one machine two live nodes cannot have one address: the second cannot listen. What happens where they can is
/// shown on machines of their own, see the tests in `namespace`.
#[test]
fn a_node_whose_port_is_taken_ends_with_an_error_that_names_it() {
    let (plans, nodes) = two_and_a_place();
    let mut second = Node::start(&plans[0].clone().unset("ADMIN__LISTEN"));
    assert!(!second.wait().success());
    let error = second.log().lines().into_iter().next_back().unwrap_or_default();
    let words = format!("{} is taken by another program", plans[0].address());
    assert!(error.starts_with("Error: ") && error.contains(&words), "{:#?}", second.log().lines());
    agree(&nodes);
}
