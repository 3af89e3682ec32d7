//! Bare nodes, seen from outside.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use cloister_integration::{Output, Rate};
use serde_json::Value;

use crate::measure::{millis_between, now};

/// The port of bare nodes; the one above it is for plain TCP.
const PORT: u16 = 5370;

/// Bare nodes that run; they are killed when this is dropped.
pub(crate) struct Mesh {
    nodes: Vec<(Child, Output)>,
    /// From the first launch until the last node was linked with all others, in milliseconds.
    pub(crate) took_ms: f64,
}

impl Mesh {
    /// Starts one at each address, all at once, and waits until each is linked with all others.
    pub(crate) fn assemble(ips: &[Ipv4Addr]) -> Self {
        let addresses: Vec<String> = ips.iter().map(|ip| SocketAddr::from((*ip, PORT)).to_string()).collect();
        let all = addresses.join(",");
        let began = now();
        let nodes = addresses.iter().map(|me| start(me, &all)).collect();
        let mut mesh = Self { nodes, took_ms: 0.0 };
        let linked = mesh.nodes.iter().map(|(_, said)| {
            let at = said.find(|lines| value(lines, "linked")).and_then(|at| at.as_u64());
            at.expect("a bare node is linked with all others")
        });
        mesh.took_ms = millis_between(began, linked.max().unwrap_or(began));
        mesh
    }

    /// Has the last node do something as fast as it can.
    pub(crate) fn rate(&mut self, command: &str) -> Rate {
        let (child, said) = self.nodes.last_mut().expect("there are nodes");
        let stdin = child.stdin.as_mut().expect("invariant: it is piped");
        writeln!(stdin, "{command}").expect("a bare node listens");
        let rate = said.find(|lines| value(lines, command));
        let rate = rate.unwrap_or_else(|| panic!("a bare node does not reply to `{command}`"));
        serde_json::from_value(rate).expect("a rate")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for (child, _) in &mut self.nodes {
            // It may have ended by itself.
            let _ = child.kill();
        }
        for (child, _) in &mut self.nodes {
            let _ = child.wait();
        }
    }
}

fn start(me: &str, all: &str) -> (Child, Output) {
    let program = std::env::current_exe().expect("a program knows its own path");
    let child = Command::new(program)
        .args(["baseline", "--me", me, "--all", all])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("this program can be started");
    let said = Output::of(child.stdout.take().expect("invariant: it is piped"));
    (child, said)
}

/// What is said under this key.
fn value(lines: &[String], key: &str) -> Option<Value> {
    let of = |line: &String| serde_json::from_str::<Value>(line).ok()?.get(key).cloned();
    lines.iter().rev().find_map(of)
}
