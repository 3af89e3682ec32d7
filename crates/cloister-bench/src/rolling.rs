//! `rolling`: calls by key at a steady rate, while every node but the caller's restarts and the cluster is scaled.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cloister_integration::{Block, Node, Plan, start_all};
use serde_json::Value;

use crate::nodes;
use crate::plot::{Line, Panel, Point, Scale, svg};
use crate::progress::Progress;

/// How many nodes restart, and to how many they are scaled.
const NODES: usize = 5;
const SCALED: usize = 3;

/// How long the cluster rests after each change.
const REST: Duration = Duration::from_millis(500);

/// How long a call may take, in milliseconds.
const LIMIT_MS: u64 = 20_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many calls there are in all.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// How many calls there are a second.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How many clients send them. None waits for an answer before its next call.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,
    /// The greatest 99.9th percentile that is good, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    p999: f64,
    /// Writes a picture of the latency over time into this file.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Take the program of the nodes as it is beside this one, built with the workspace.
    #[arg(long)]
    built: bool,
}

/// Something that was done to the cluster, and when.
struct Event {
    at: Duration,
    what: String,
}

/// Fails if a call failed or was handled twice, or the tail is too long.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: its figures say nothing. Use `cargo run --release`.");
    }
    if !options.built {
        nodes::build()?;
    }
    let room = tempdir()?;
    let block = Block::new(u8::try_from(NODES + 1)?);
    let plans: Vec<Plan> = Plan::list(&block.ips())
        .into_iter()
        .enumerate()
        .map(|(at, plan)| {
            plan.variable("NODE_REGISTER", 1).variable("NODE_HANDLED", room.join(at.to_string()).display())
        })
        .collect();
    let mut nodes = start_all(&plans);
    up(&nodes);
    let mut caller = nodes.pop().expect("there are six");
    let command = format!("steady {} {} {} {LIMIT_MS}", options.clients, options.rate, options.calls);
    let span = Duration::from_secs_f64(options.calls as f64 / options.rate as f64);
    let (began, mut events) = (Instant::now(), Vec::new());
    caller.send_command(&command);
    let progress = Progress::over(1);
    progress.begin("rolling");
    let mut note = |what: String| {
        progress.detail("rolling", &format!("{} of {} s: {what}", began.elapsed().as_secs(), span.as_secs()));
        events.push(Event { at: began.elapsed(), what });
    };
    let mut turn = 0;
    // What is begun is ended: all nodes are there at the end, as at the beginning.
    while began.elapsed() + Duration::from_secs(2) < span {
        let at = turn % (NODES + 1);
        if at < NODES {
            stop(&mut nodes[at]);
            note(format!("node {} has left", at + 1));
            std::thread::sleep(REST);
            nodes[at] = Node::start(&plans[at]);
            up(&nodes);
            note(format!("node {} is back", at + 1));
        } else {
            nodes[SCALED..].iter_mut().for_each(stop);
            note(format!("{NODES} to {SCALED} nodes"));
            std::thread::sleep(REST);
            for (node, plan) in nodes[SCALED..].iter_mut().zip(&plans[SCALED..]) {
                *node = Node::start(plan);
            }
            up(&nodes);
            note(format!("{SCALED} to {NODES} nodes"));
        }
        turn += 1;
        std::thread::sleep(REST);
    }
    let result = caller.replied(&command).value;
    progress.done();
    progress.end();
    let handled = handled(&room, plans.len())?;
    std::fs::remove_dir_all(&room)?;
    if let Some(path) = &options.picture {
        std::fs::write(path, picture(&result, &events).unwrap_or_default())?;
        println!("The latency over time is in {}.", path.display());
    }
    Ok(judge(options, &result, &events, handled))
}

fn stop(node: &mut Node) {
    node.signal("TERM");
    assert!(node.wait().success(), "{} does not stop in order", node.name());
}

/// Until each is up with all others and the caller.
fn up(nodes: &[Node]) {
    let size = |node: &Node| node.last_notice().map_or(0, |notice| notice.members.len());
    let all = nodes.iter().map(size).max().unwrap_or(0).max(NODES + 1);
    for node in nodes {
        node.wait_for_notice("that it is up with all", 0, |notice| {
            notice.is_up() && notice.members.len() == all
        });
    }
}

/// How many calls were handled, and how many of them more than once.
fn handled(room: &std::path::Path, files: usize) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut seen, mut twice) = (BTreeSet::new(), 0);
    for file in (0..files).map(|at| room.join(at.to_string())).filter(|file| file.exists()) {
        for line in std::fs::read_to_string(file)?.lines() {
            twice += u64::from(!seen.insert(line.parse::<u64>()?));
        }
    }
    Ok((seen.len() as u64, twice))
}

fn judge(options: &Options, result: &Value, events: &[Event], (handled, twice): (u64, u64)) -> ExitCode {
    let millis = |key: &str| result[key].as_f64().unwrap_or(f64::INFINITY) / 1e3;
    let failures = result["failed"].as_object().cloned().unwrap_or_default();
    let failed: u64 = failures.values().filter_map(Value::as_u64).sum();
    println!(
        "{} calls by key, {} a second from {} clients at one node, {} changes of the other {NODES}",
        options.calls,
        options.rate,
        options.clients,
        events.len()
    );
    println!("  answered        {}", result["ok"]);
    println!("  failed          {failed}");
    println!("  handled         {handled}");
    println!("  handled twice   {twice}");
    // Taken by the owner, and handled after it had given its claim up to leave.
    println!("  handled later   {}", result["not_owned"]);
    for (name, key) in [("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us")] {
        println!("  {name:<15} {:.1} ms", millis(key));
    }
    for (error, count) in &failures {
        println!("  {count} × {error}");
    }
    let all = result["ok"].as_u64() == Some(options.calls) && handled == options.calls;
    let good = failed == 0 && twice == 0 && all && millis("p999_us") <= options.p999;
    let verdict = if good { "met" } else { "MISSED" };
    println!("bar: all answered, none handled twice, p99.9 ≤ {} ms: {verdict}", options.p999);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The worst call of each tenth of a second, and what was done to the cluster.
fn picture(result: &Value, events: &[Event]) -> Option<String> {
    let point = |x: f64, y: f64| Point { x, y, range: None };
    let worst = result["worst_us_by_ms"]
        .as_array()?
        .iter()
        .filter_map(|pair| Some(point(pair[0].as_f64()? / 1e3, pair[1].as_f64()? / 1e3)));
    let of = |word: &str| {
        let points = events.iter().filter(|event| event.what.contains(word));
        points.map(|event| point(event.at.as_secs_f64(), 0.0)).collect::<Vec<_>>()
    };
    let lines = vec![
        Line { label: "the slowest call of each tenth of a second".to_owned(), points: worst.collect() },
        Line { label: "a node has left".to_owned(), points: of("left") },
        Line { label: "a node is back".to_owned(), points: of("back") },
        Line { label: "scaled".to_owned(), points: of(" to ") },
    ];
    svg(&[Panel {
        title: "Calls by key through restarts",
        x: "seconds",
        y: "ms",
        scale: Scale::Linear,
        lines,
    }])
}

fn tempdir() -> std::io::Result<PathBuf> {
    let room = std::env::temp_dir().join(format!("cloister-rolling-{}", std::process::id()));
    std::fs::create_dir_all(&room)?;
    Ok(room)
}
