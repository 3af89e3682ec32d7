//! A test fixture, not an example of Cloister: a program that behaves as a node does towards the tool.
//!
//! It prints what its environment contains, authenticates itself as node `app` with CLOISTER__COOKIE to other nodes, serves `/readyz`
//! and `/members` on CLOISTER__ADMIN__LISTEN with made-up contents, and ends with status 0 at SIGTERM. `FAKE` in its environment changes that: words separated by commas,
//! those of the form `2:word` for the second node alone.
//!
//! - `exit=3`: ends by itself with this status, once it has printed its lines; `crash`: by SIGABRT;
//! - `stubborn`: notes SIGTERM and goes on;
//! - `stop=4`: ends with this status at SIGTERM;
//! - `child`: starts a process of its own, which outlives it unless it is stopped;
//! - `chatty`: prints a line every now and then;
//! - `noise`: prints a thousand lines to stdout and to stderr, and bytes that are no text;
//! - `late`: has a clock that stands at the beginning of 2026;
//! - `unready`: `/readyz` answers 503; `epoch=8`: reports another epoch than the others.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

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
            ("503 Service Unavailable", r#"{"status":"assembling","missing":["127.0.0.9:4370"]}"#.to_owned())
        }
        Some("/readyz") => ("200 OK", r#"{"status":"up","missing":[]}"#.to_owned()),
        Some("/members") => ("200 OK", members(quirks.number("epoch").unwrap_or(7))),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let date = if quirks.has("late") { "date: Thu, 01 Jan 2026 00:00:00 GMT\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status}\r\n{date}content-length: {length}\r\n\r\n{body}");
    // The asker may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn members(epoch: u8) -> String {
    let seeds = variable("CLOISTER__SEEDS");
    let me = format!("{}:{}", variable("CLOISTER__HOST"), variable("CLOISTER__PORT"));
    let names: Vec<_> = seeds.split(',').map(|seed| format!("app@{seed}")).collect();
    let member = |name: &String| {
        format!(r#"{{"name":"{name}","incarnation":"0f","started_at":"now","tags":[],"live":true}}"#)
    };
    let peer = |seed: &str| {
        let state = if seed == me { "self" } else { "linked" };
        format!(
            r#"{{"name":"app@{seed}","address":"{seed}","state":"{state}","last_error":null,"last_heard_ms":12}}"#
        )
    };
    format!(
        r#"{{"node":"app@{me}","incarnation":"0f","status":"up","epoch":"186700000000000000{epoch}","seq":1,
            "consensus":2,"sentry":"{}","is_sentry":{},"members":[{}],"peers":[{}],
            "ring":{{"slots":16384,"mine":5461}}}}"#,
        names[0],
        names[0].ends_with(&me),
        names.iter().map(member).collect::<Vec<_>>().join(","),
        seeds.split(',').map(peer).collect::<Vec<_>>().join(","),
    )
}
