//! A test fixture, not an example of Cloister: a program that behaves as a node does towards the tool.
//!
//! It prints what its environment contains, and authenticates itself as node `app` with CLOISTER__COOKIE to other nodes. It serves
//! `/readyz` and `/members` on CLOISTER__ADMIN__LISTEN with made-up contents, and ends with status 0 at SIGTERM. `FAKE` in its environment
//! changes that: words separated by commas, those of the form `2:word` for the second node alone.
//!
//! - `exit=3`: ends by itself with this status, once it has printed its lines; `crash`: by SIGABRT;
//! - `stubborn`: notes SIGTERM and goes on;
//! - `stop=4`: ends with this status at SIGTERM;
//! - `child`: starts a process of its own, which outlives it unless it is stopped;
//! - `chatty`: prints a line every now and then;
//! - `loud`: prints a long line every millisecond;
//! - `noise`: prints a thousand lines to stdout and to stderr, and bytes that are no text;
//! - `late`: has a clock that stands at the beginning of 2026;
//! - `unready`: `/readyz` answers 503; `epoch=8`: reports another epoch than the others.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cloister_json::{Member, Members, Peer, Readiness, Ring};
use cloister_net::links::admit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// What this node does differently.
struct Quirks(Vec<String>);

impl Quirks {
    fn from_environment() -> Self {
        let own = std::env::var("CLOISTER__SEEDS").ok().and_then(|seeds| {
            let me = format!("{}:{}", variable("CLOISTER__HOST"), variable("CLOISTER__PORT"));
            seeds.split(',').position(|seed| seed == me)
        });
        let words = variable("FAKE");
        let mine = words.split(',').filter_map(|word| match word.split_once(':') {
            Some((node, word)) => (node.parse().ok() == own.map(|index| index + 1)).then_some(word),
            None => Some(word),
        });
        Self(mine.map(str::to_owned).collect())
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|quirk| quirk == word)
    }

    fn number(&self, word: &str) -> Option<u8> {
        let value = |quirk: &String| quirk.strip_prefix(word)?.strip_prefix('=')?.parse().ok();
        self.0.iter().find_map(value)
    }
}

#[expect(clippy::zombie_processes, reason = "to leave a child behind is what this fixture is for")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let quirks = Quirks::from_environment();
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    let listener = TcpListener::bind(variable("CLOISTER__ADMIN__LISTEN")).await.expect("the admin address");
    let address = format!("{}:{}", variable("CLOISTER__HOST"), variable("CLOISTER__PORT"));
    let links = TcpListener::bind(&address).await.ok();
    println!("seeds {}", variable("CLOISTER__SEEDS"));
    println!("host {} port {}", variable("CLOISTER__HOST"), variable("CLOISTER__PORT"));
    println!("greeting {} sentry {:?}", variable("GREETING"), std::env::var_os("CLOISTER__SENTRY"));
    println!("number {} port {}", variable("CLOISTER_NODE"), variable("PORT"));
    println!("arguments {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    eprintln!("a word on stderr");
    if quirks.has("noise") {
        for n in 0..1_000 {
            println!("out {n} ok");
            eprintln!("err {n} ok");
        }
        std::io::stdout().write_all(b"no text: \xff\xfe\n").expect("stdout");
    }
    if quirks.has("child") {
        let child = Command::new("sleep").arg("600").spawn().expect("a child");
        println!("child {}", child.id());
    }
    println!("pid {}", std::process::id());
    if let Some(status) = quirks.number("exit") {
        print!("last words");
        return status.into();
    }
    if quirks.has("crash") {
        std::process::abort();
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                println!("SIGTERM heard");
                if !quirks.has("stubborn") {
                    return quirks.number("stop").unwrap_or(0).into();
                }
            }
            () = sleep(Duration::from_millis(50)), if quirks.has("chatty") => println!("still here"),
            () = sleep(Duration::from_millis(1)), if quirks.has("loud") => println!("{}", "loud ".repeat(1_000)),
            Ok((stream, _)) = listener.accept() => answer(stream, &quirks).await,
            Some(Ok((mut stream, _))) = accept(links.as_ref()) => {
                // The connection ends when the two know each other.
                let _ = admit(&mut stream, "app", &variable("CLOISTER__COOKIE"), &format!("app@{address}")).await;
            }
        }
    }
}

/// The next connection of another node, if this one can listen for any.
async fn accept(links: Option<&TcpListener>) -> Option<std::io::Result<(TcpStream, std::net::SocketAddr)>> {
    match links {
        Some(links) => Some(links.accept().await),
        None => std::future::pending().await,
    }
}

async fn answer(mut stream: TcpStream, quirks: &Quirks) {
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]);
    let (status, body) = match request.split(' ').nth(1) {
        Some("/readyz") if quirks.has("unready") => {
            ("503 Service Unavailable", json(&readiness("assembling", &["127.0.0.9:4370"])))
        }
        Some("/readyz") => ("200 OK", json(&readiness("up", &[]))),
        Some("/members") => ("200 OK", json(&members(quirks.number("epoch").unwrap_or(7)))),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let date = if quirks.has("late") { "date: Thu, 01 Jan 2026 00:00:00 GMT\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status}\r\n{date}content-length: {length}\r\n\r\n{body}");
    // The asker may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn json(page: &impl serde::Serialize) -> String {
    serde_json::to_string(page).expect("it can be written as JSON")
}

fn readiness(status: &str, missing: &[&str]) -> Readiness {
    let missing = missing.iter().map(|&line| line.to_owned()).collect();
    Readiness { status: status.to_owned(), missing, ..Readiness::default() }
}

fn members(epoch: u8) -> Members {
    let seeds = variable("CLOISTER__SEEDS");
    let me = format!("{}:{}", variable("CLOISTER__HOST"), variable("CLOISTER__PORT"));
    let names: Vec<_> = seeds.split(',').map(|seed| format!("app@{seed}")).collect();
    let member = |name: &String| Member {
        name: name.clone(),
        incarnation: Some("15".to_owned()),
        started_at: Some(1_795_554_902_844),
        live: Some(true),
        ..Member::default()
    };
    let peer = |seed: &str| Peer {
        name: Some(format!("app@{seed}")),
        address: Some(seed.to_owned()),
        state: if seed == me { "self" } else { "linked" }.to_owned(),
        last_heard_ms: Some(12),
        ..Peer::default()
    };
    Members {
        node: format!("app@{me}"),
        incarnation: Some("15".to_owned()),
        status: "up".to_owned(),
        epoch: Some(format!("186700000000000000{epoch}")),
        seq: Some(1),
        consensus: Some(2),
        sentry: Some(names[0].clone()),
        is_sentry: Some(names[0].ends_with(&me)),
        members: names.iter().map(member).collect(),
        peers: seeds.split(',').map(peer).collect(),
        ring: Some(Ring { slots: Some(16_384), mine: Some(5461), owners: Vec::new() }),
        ..Members::default()
    }
}
