//! Bare nodes, seen from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use cloister_integration::Rate;
use cloister_testkit::process::Process;
use serde_json::Value;

use crate::measure::{millis_between, now};

/// The port of bare nodes; the one above it is for plain TCP.
const PORT: u16 = 5370;

/// Bare nodes that run; they are killed when this is dropped.
pub(crate) struct Mesh {
    nodes: Vec<Process>,
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
        let linked = mesh.nodes.iter().map(|node| {
            let at = node.output().find(|lines| value(lines, "linked")).and_then(|at| at.as_u64());
            at.unwrap_or_else(|| {
                panic!("a bare node is not linked with all others: {:#?}", node.errors().lines())
            })
        });
        mesh.took_ms = millis_between(began, linked.max().unwrap_or(began));
        mesh
    }

    /// Has the last node do something as fast as it can.
    pub(crate) fn rate(&mut self, command: &str) -> Rate {
        let node = self.nodes.last_mut().expect("there are nodes");
        node.write_line(command);
        let rate = node.output().find(|lines| value(lines, command));
        let rate = rate.unwrap_or_else(|| panic!("no reply to `{command}`: {:#?}", node.errors().lines()));
        serde_json::from_value(rate).expect("a rate")
    }
}

fn start(me: &str, all: &str) -> Process {
    let program = std::env::current_exe().expect("a program knows its own path");
    let mut command = Command::new(program);
    command.args(["baseline", "--me", me, "--all", all]).stdin(Stdio::piped());
    Process::start(&mut command, |line| line)
}

/// What is said under this key.
fn value(lines: &[String], key: &str) -> Option<Value> {
    let of = |line: &String| serde_json::from_str::<Value>(line).ok()?.get(key).cloned();
    lines.iter().rev().find_map(of)
}
