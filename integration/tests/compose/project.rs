//! One compose project: an image and a network of its own, gone with it.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::node::Node;

/// The compose project of one test. What belongs to it is removed when it is dropped, also by a failing test.
pub(crate) struct Project {
    name: String,
    compose: Vec<String>,
}

impl Project {
    /// A project with no container yet, described by docker/compose.yaml and then by these files beside the test.
    pub(crate) fn new(story: &str, overrides: &[&str]) -> Self {
        let prefix = std::env::var("CLOISTER_TEST_PROJECT").unwrap_or_else(|_| "cloister-test".to_owned());
        let name = format!("{prefix}-{story}-{}", std::process::id());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = std::iter::once(here.join("../docker/compose.yaml"))
            .chain(overrides.iter().map(|file| here.join("tests/compose").join(file)));

        let mut compose = client();
        for file in files {
            compose.extend(["-f".to_owned(), file.display().to_string()]);
        }
        compose.extend(["-p".to_owned(), name.clone()]);
        let project = Self { name, compose };
        project.compose(&["build"]);
        project
    }

    /// Runs this many containers, no matter how many ran before; how long that took.
    pub(crate) fn scale(&self, size: usize) -> Duration {
        let started = Instant::now();
        self.compose(&["up", "--detach", "--scale", &format!("app={size}")]);
        started.elapsed()
    }

    /// The nodes that run now.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.containers("app").iter().map(|id| Node::of_container(id)).collect()
    }

    /// The address of the one container of another service.
    pub(crate) fn address_of(&self, service: &str) -> IpAddr {
        let ids = self.containers(service);
        address_of(ids.first().unwrap_or_else(|| panic!("no container of {service} runs")))
    }

    /// The ids of the containers of a service that run now.
    fn containers(&self, service: &str) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        // Compose gives its label to images as well, and whatever else runs one inherits it; the number only to containers.
        let numbered = "label=com.docker.compose.container-number";
        let filters = ["--filter", &label, "--filter", &service, "--filter", numbered];
        let ids = run(&[&["docker", "ps", "--quiet"], &filters[..]].concat());
        ids.split_whitespace().map(str::to_owned).collect()
    }

    /// The network that is its own.
    pub(crate) fn network(&self) -> String {
        format!("{}_default", self.name)
    }

    /// Starts containers that do nothing, until one has this address of the network; their ids.
    pub(crate) fn squatters(&self, address: &str) -> Vec<String> {
        let network = self.network();
        let image = run(&self.command(&["images", "--quiet"]));
        let image = image.lines().next().expect("the nodes have an image");
        let mut squatters = Vec::new();
        // The engine gives the first address that is free.
        while squatters.len() < 8 {
            let name = format!("{}-squatter-{}", self.name, squatters.len());
            let words = ["docker", "run", "--detach", "--init", "--name", &name, "--network", &network];
            squatters.push(run(&[&words[..], &["--entrypoint", "sleep", image, "600"]].concat()));
            let newest = squatters.last().map(|squatter| Node::of_container(squatter).address());
            if newest.is_some_and(|newest| newest == address) {
                return squatters;
            }
        }
        panic!("{address} is free, and eight containers got others");
    }

    fn compose(&self, arguments: &[&str]) {
        run(&self.command(arguments));
    }

    fn command<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        self.compose.iter().map(String::as_str).chain(arguments.iter().copied()).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = output(&self.command(&["logs", "--no-color", "--tail", "40"]));
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        // Compose does not know them, and could not remove their network.
        let squatters = format!("name={}-squatter", self.name);
        let squatters = output(&["docker", "ps", "--all", "--quiet", "--filter", &squatters]).stdout;
        for squatter in String::from_utf8_lossy(&squatters).split_whitespace() {
            output(&["docker", "rm", "--force", squatter]);
        }
        let down = output(&self.command(&["down", "--timeout", "1", "--rmi", "local", "--remove-orphans"]));
        if !down.status.success() {
            eprintln!("{} is not all gone: {}", self.name, String::from_utf8_lossy(&down.stderr));
        }
    }
}

/// `docker compose` if it is there, else the classic `docker-compose`.
fn client() -> Vec<String> {
    let words: &[&str] = if output(&["docker", "compose", "version"]).status.success() {
        &["docker", "compose"]
    } else {
        &["docker-compose"]
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The address of a container in the one network that it is in.
pub(crate) fn address_of(container: &str) -> IpAddr {
    const ADDRESS: &str = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    run(&["docker", "inspect", "--format", ADDRESS, container])
        .parse()
        .unwrap_or_else(|error| panic!("the address of container {container}: {error}"))
}

/// What the command prints. It must succeed.
pub(crate) fn run(command: &[&str]) -> String {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the command writes to stderr. It must succeed.
pub(crate) fn stderr_of(command: &[&str]) -> String {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed with {}: {stderr}", output.status);
    stderr
}

/// Adds rules to the network of a container.
pub(crate) fn nft(node: &Node, rules: &str) {
    let net = format!("--net=/proc/{}/ns/net", node.pid());
    let status = Command::new("nsenter").args([&net, "nft", rules]).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "nft cannot be run in {node}; is this root?");
}

/// Runs the command, for 15 minutes at most: the first may have to compile the whole image. It stays in the process
/// group of the test, so that it ends when the test is ended from outside.
fn output(command: &[&str]) -> Output {
    Command::new("timeout")
        .args(["--foreground", "--kill-after=10", "900"])
        .args(command)
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"))
}
