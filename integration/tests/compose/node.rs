//! One container, looked at from outside.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloister_integration::http::{self, Response};
use cloister_json::{ChangeRow, Event, Members, Whois};

use crate::project::{address_of, run, stderr_of};

/// How long one answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// One container and the address at which it answers.
#[derive(Debug)]
pub(crate) struct Node {
    container: String,
    admin: SocketAddr,
}

/// What `/members` says.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Of the process that answers. Another container may have got the address.
    pub(crate) incarnation: String,
    pub(crate) status: String,
    pub(crate) epoch: Option<u64>,
    pub(crate) sentry: Option<String>,
    pub(crate) is_sentry: bool,
    pub(crate) members: Vec<String>,
}

/// What `/whois/{key}` says.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) owner: String,
    pub(crate) is_mine: bool,
}

/// The stream of `/events`, from the moment it was opened.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

impl Node {
    pub(crate) fn of_container(container: &str) -> Self {
        let admin = SocketAddr::new(address_of(container), 8080);
        Self { container: container.to_owned(), admin }
    }

    /// The id of its container.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    /// The address at which it answers.
    pub(crate) fn address(&self) -> String {
        self.admin.ip().to_string()
    }

    /// The number of its process, as this machine sees it.
    pub(crate) fn pid(&self) -> String {
        self.inspect("{{.State.Pid}}")
    }

    /// Its own name in the cluster.
    pub(crate) fn name(&self) -> String {
        self.members().expect("a node that is up answers").node
    }

    /// What it answers to `GET /members`.
    pub(crate) fn members(&self) -> Result<Members, String> {
        self.get("/members")?.parsed()
    }

    pub(crate) fn view(&self) -> Result<View, String> {
        let answer = self.members()?;
        let mut members: Vec<String> = answer.members.into_iter().map(|member| member.name).collect();
        members.sort();
        Ok(View {
            incarnation: answer.incarnation.ok_or("a node without an incarnation")?,
            status: answer.status,
            epoch: answer.epoch.and_then(|epoch| epoch.parse().ok()),
            sentry: answer.sentry,
            is_sentry: answer.is_sentry == Some(true),
            members,
        })
    }

    /// The owner of a key. The node must know it.
    pub(crate) fn whois(&self, key: &str) -> Claim {
        let path = format!("/whois/{}", key.replace('/', "%2F"));
        let answer: Result<Whois, String> = self.get(&path).and_then(|answer| answer.parsed());
        let Whois { owner, is_mine, .. } = answer.expect("a node that is up answers");
        Claim { owner: owner.expect("a key has an owner"), is_mine }
    }

    pub(crate) fn events(&self) -> Events {
        let stream =
            http::open(self.admin, "GET /events", ANSWERED_WITHIN).expect("a node that is up answers");
        Events { lines: BufReader::new(stream) }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Response, String> {
        let answer = http::ask(self.admin, &format!("GET {path}"), ANSWERED_WITHIN);
        answer.map_err(|error| format!("{self}{path}: {error}"))
    }

    /// `docker stop`; how long it took.
    pub(crate) fn stop(&self) -> Duration {
        let started = Instant::now();
        run(&["docker", "stop", &self.container]);
        started.elapsed()
    }

    /// What its program has written to stderr, in all its incarnations, or since that time.
    pub(crate) fn logs(&self, since: Option<Instant>) -> String {
        let since = since.map(|since| format!("--since={}ms", since.elapsed().as_millis()));
        let since = since.iter().map(String::as_str);
        stderr_of(&["docker", "logs"].into_iter().chain(since).chain([&*self.container]).collect::<Vec<_>>())
    }

    pub(crate) fn remove(self) {
        run(&["docker", "rm", &self.container]);
    }

    pub(crate) fn exit_code(&self) -> i32 {
        self.inspect("{{.State.ExitCode}}").parse().expect("an exit code is a number")
    }

    pub(crate) fn health(&self) -> String {
        self.inspect("{{.State.Health.Status}}")
    }

    /// The variables of its environment, as `NAME=value`.
    pub(crate) fn environment(&self) -> String {
        self.inspect("{{range .Config.Env}}{{println .}}{{end}}")
    }

    fn inspect(&self, format: &str) -> String {
        run(&["docker", "inspect", "--format", format, &self.container])
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.admin)
    }
}

impl View {
    pub(crate) fn is_up(&self) -> bool {
        self.status == "up" && self.epoch.is_some()
    }

    /// Whether another node means the same by it.
    pub(crate) fn same_as(&self, other: &View) -> bool {
        (self.epoch, &self.sentry, &self.members) == (other.epoch, &other.sentry, &other.members)
    }
}

impl Events {
    /// Reads until the node closes the stream, or until `stop`, and tells all that it read.
    pub(crate) fn follow(self, stop: &AtomicBool) -> Vec<Event> {
        let mut lines = self.lines;
        let (mut line, mut events) = (String::new(), Vec::new());
        while !stop.load(Ordering::SeqCst) {
            match lines.read_line(&mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                // It was killed, or its network is gone.
                Err(_) => break,
            }
            if let Some(data) = line.strip_prefix("data:") {
                events.push(serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data:?}")));
            }
            line.clear();
        }
        events
    }

    /// Reads until the node of this name goes, and tells why it went, as the events say.
    pub(crate) fn reason_of_departure(self, name: &str, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines;
        let mut text = String::new();
        while Instant::now() < deadline {
            // A line that is cut by the read timeout stays in `heard` and is read on.
            match lines.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => panic!("the events ended with {error}: {text}"),
            }
            let last = text.lines().next_back().unwrap_or_default();
            let event: Event = match last.strip_prefix("data:") {
                Some(data) => {
                    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data:?}"))
                }
                None => continue,
            };
            let departed =
                |change: &ChangeRow| change.kind == "node_down" && change.node.as_deref() == Some(name);
            if let Some(change) = event.changes.into_iter().find(departed) {
                return change.reason.unwrap_or_default();
            }
        }
        panic!("no event says that {name} is down: {text}");
    }
}
