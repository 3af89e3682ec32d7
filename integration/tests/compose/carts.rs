//! `examples/carts.rs` behind a reverse proxy, as a team would run it: no request fails while its containers come and go, and no item that was
//! acknowledged is lost when they are killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloister_integration::http::{self, Response};
use cloister_integration::{eventually_within, report, required};

use crate::project::{Project, run};
use crate::{WAIT_TIMEOUT, agreed, replicated, scale};

/// How many clients there are, and how often each sends a request.
const CLIENTS: u64 = 8;
const EVERY: Duration = Duration::from_millis(80);

/// How many users have a cart.
const USERS: u64 = 97;

/// How many containers are killed.
const KILLS: usize = 3;

/// How long the service rests after a change.
const REST: Duration = Duration::from_secs(1);

#[test]
fn no_item_is_lost_while_containers_are_killed() {
    if !required("docker", "no_item_is_lost_while_containers_are_killed") {
        return;
    }
    let (project, proxy) = behind_a_proxy("kept");

    // The item 0 is that of the proxy's first answer.
    let clients = Clients { next: AtomicU64::new(1), ..Clients::default() };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let clients = &clients;
            scope.spawn(move || clients.send(proxy, client));
        }
        // The clients end also if this panics.
        let _end = End(&clients.over);
        thread::sleep(REST);
        for _ in 0..KILLS {
            let name = project.nodes()[0].container().to_owned();
            run(&["docker", "kill", &name]);
            thread::sleep(REST);
            run(&["docker", "start", &name]);
            agreed(&project.nodes(), 3);
            replicated(&project.nodes());
        }
    });
    let answers = clients.answers.into_inner().expect("no client panicked");
    report(&format!("requests at the proxy while {KILLS} containers are killed, one by one: {answers:?}"));
    let acknowledged = clients.acknowledged.into_inner().expect("no client panicked");
    assert!(acknowledged.len() > 500, "{answers:?}");
    let mut lost = Vec::new();
    for user in 0..USERS {
        let cart = cart(proxy, user).unwrap_or_else(|error| panic!("the cart of {user}: {error}"));
        let of_user = acknowledged.iter().filter(|number| *number % USERS == user);
        let times = |number: &&u64| cart.iter().filter(|item| **item == format!("item{number}")).count();
        lost.extend(of_user.filter(|number| times(number) != 1).map(|number| (*number, times(&number))));
    }
    report(&format!("{} items were acknowledged, {} are not there once", acknowledged.len(), lost.len()));
    assert!(lost.is_empty(), "items and how often they are in their cart: {lost:?}");
}

#[test]
fn no_request_behind_a_proxy_fails_while_the_service_is_scaled_and_restarted() {
    if !required("docker", "no_request_behind_a_proxy_fails_while_the_service_is_scaled_and_restarted") {
        return;
    }
    let (project, proxy) = behind_a_proxy("carts");

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

/// Three containers of the service, which the proxy at this address has found.
fn behind_a_proxy(name: &str) -> (Project, SocketAddr) {
    let project = Project::new(name, &["carts.yaml"]);
    scale(&project, 3);
    agreed(&project.nodes(), 3);
    let proxy = SocketAddr::new(project.address_of("proxy"), 8000);
    eventually_within("the proxy has found the containers", WAIT_TIMEOUT, || match put(proxy, 0) {
        Ok(200) => Ok(()),
        answer => Err(answer),
    });
    (project, proxy)
}

/// What clients have sent, and what came of it.
#[derive(Default)]
struct Clients {
    over: AtomicBool,
    next: AtomicU64,
    /// How often there was each answer: a status, or what went wrong.
    answers: Mutex<BTreeMap<String, u64>>,
    /// The numbers of the items whose requests were answered with 200.
    acknowledged: Mutex<Vec<u64>>,
}

impl Clients {
    /// Sends a request whenever one is due, and not only when the one before is answered.
    fn send(&self, proxy: SocketAddr, client: u64) {
        thread::scope(|scope| {
            thread::sleep(EVERY * u32::try_from(client).expect("few clients") / 8);
            while !self.over.load(Ordering::SeqCst) {
                let number = self.next.fetch_add(1, Ordering::SeqCst);
                scope.spawn(move || {
                    let answer = put(proxy, number);
                    if answer.is_ok() {
                        self.acknowledged.lock().expect("no client panicked").push(number);
                    }
                    let answer = answer.map_or_else(|error| error, |code| code.to_string());
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

/// Puts an item into a cart; the status of the answer.
fn put(proxy: SocketAddr, number: u64) -> Result<u16, String> {
    let user = number % USERS;
    ask(proxy, &format!("POST /carts/user:{user}/item{number}")).map(|_| 200)
}

/// What is in a cart.
fn cart(proxy: SocketAddr, user: u64) -> Result<Vec<String>, String> {
    let body = ask(proxy, &format!("GET /carts/user:{user}"))?;
    serde_json::from_str(&body).map_err(|error| format!("{error}: {body:?}"))
}

/// Sends a request; the body of an answer with status 200.
fn ask(proxy: SocketAddr, request: &str) -> Result<String, String> {
    match http::ask(proxy, request, WAIT_TIMEOUT).map_err(|error| error.to_string())? {
        Response { code: 200, body } => Ok(body),
        Response { code, body } => Err(format!("{code}: {body}")),
    }
}
