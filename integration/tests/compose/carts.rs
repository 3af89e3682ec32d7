//! `examples/carts.rs` behind a reverse proxy, as a team would run it: no request fails while its containers come and go.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloister_integration::{report, required};

use crate::project::{Project, run};
use crate::{WAIT_TIMEOUT, agreed, eventually, scale};

/// How many clients there are, and how often each sends a request.
const CLIENTS: u64 = 8;
const EVERY: Duration = Duration::from_millis(80);

/// How many users have a cart.
const USERS: u64 = 97;

/// How long the service rests after a change.
const REST: Duration = Duration::from_secs(1);

#[test]
fn no_request_behind_a_proxy_fails_while_the_service_is_scaled_and_restarted() {
    if !required("docker", "no_request_behind_a_proxy_fails_while_the_service_is_scaled_and_restarted") {
        return;
    }
    let project = Project::new("carts", &["carts.yaml"]);
    scale(&project, 3);
    agreed(&project.nodes(), 3);
    let proxy = SocketAddr::new(project.address_of("proxy"), 8000);
    eventually("the proxy has found the containers", WAIT_TIMEOUT, || match put(proxy, 0) {
        Ok(200) => Ok(()),
        answer => Err(answer),
    });

    let clients = Clients::default();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let clients = &clients;
            scope.spawn(move || clients.send(proxy, client));
        }
        // The clients end also if this panics.
        let _end = End(&clients.over);
        thread::sleep(REST);
        scale(&project, 5);
        agreed(&project.nodes(), 5);
        thread::sleep(REST);
        for at in 0..5 {
            let name = project.nodes()[at].container().to_owned();
            let began = Instant::now();
            run(&["docker", "restart", &name]);
            report(&format!("docker restart took {} ms", began.elapsed().as_millis()));
            agreed(&project.nodes(), 5);
            thread::sleep(REST);
        }
        scale(&project, 2);
        agreed(&project.nodes(), 2);
        thread::sleep(REST);
    });
    let answers = clients.answers.into_inner().expect("no client panicked");
    report(&format!("requests at the proxy, 3 → 5 → restart of each → 2: {answers:?}"));
    let good = answers.get("200").copied().unwrap_or_default();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(good > 1_000, "{answers:?}");
}

/// What clients have sent, and what came of it.
#[derive(Default)]
struct Clients {
    over: AtomicBool,
    next: AtomicU64,
    /// How often there was each answer: a status, or what went wrong.
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Clients {
    /// Sends a request whenever one is due, and not only when the one before is answered.
    fn send(&self, proxy: SocketAddr, client: u64) {
        thread::scope(|scope| {
            thread::sleep(EVERY * u32::try_from(client).expect("few clients") / 8);
            while !self.over.load(Ordering::SeqCst) {
                let number = self.next.fetch_add(1, Ordering::SeqCst);
                scope.spawn(move || {
                    let answer = put(proxy, number).map_or_else(|error| error, |code| code.to_string());
                    *self.answers.lock().expect("no client panicked").entry(answer).or_default() += 1;
                });
                thread::sleep(EVERY);
            }
        });
    }
}

/// Ends the clients.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Puts something into a cart; the status of the answer.
fn put(proxy: SocketAddr, number: u64) -> Result<u16, String> {
    let user = number % USERS;
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&proxy, WAIT_TIMEOUT)?;
        stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
        write!(
            stream,
            "POST /carts/user:{user}/item HTTP/1.1\r\nhost: carts\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error: std::io::Error| error.to_string())?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    match code.ok_or_else(|| format!("no HTTP: {answer:?}"))? {
        200 => Ok(200),
        code => Err(format!("{code}: {}", answer.split("\r\n\r\n").nth(1).unwrap_or_default())),
    }
}
