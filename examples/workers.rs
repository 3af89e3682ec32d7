//! Jobs that run again and again, each on one node at a time. Start one node, and all jobs run there. Start more, and they are shared.
//! Kill one, and the others take over what it had. No job is forgotten, since its timer is part of its state, which is on two nodes.
//!
//! ```sh
//! cargo run -p cargo-cloister -- run -n 3 -p cloister-examples --example workers
//! ```
//!
//! `JOBS` is how many there are, 1000 if nothing is said; `EVERY` after how many seconds each runs again, 5 if nothing is said.
//! `RUST_LOG=workers=debug` prints a line for each run.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloister::{Context, DefineEntities, Entities, Entity, EntityOptions, HandlerError, ManagerArguments};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::debug;

static EVERY: LazyLock<Duration> = LazyLock::new(|| Duration::from_secs(number("EVERY", 5)));

/// How many calls start jobs at a time.
const STARTERS: u64 = 32;

/// How many jobs have run on this node.
static RUNS: AtomicU64 = AtomicU64::new(0);

#[derive(Default, Serialize, Deserialize)]
struct Job {
    runs: u64,
    is_started: bool,
}

#[derive(Serialize, Deserialize)]
enum JobMessage {
    /// Begins to run, after so many milliseconds; one that runs already goes on as it does.
    Start(u64),
    /// From its own timer.
    Run,
}

impl Entity for Job {
    const NAME: &'static str = "job";
    type Message = JobMessage;
    type Reply = u64;

    async fn handle(
        &mut self,
        context: &mut Context<'_, Self>,
        message: JobMessage,
    ) -> Result<u64, HandlerError> {
        match message {
            JobMessage::Start(after) if !self.is_started => {
                self.is_started = true;
                context.schedule(Duration::from_millis(after), &JobMessage::Run)?;
            }
            JobMessage::Start(_) => {}
            JobMessage::Run => {
                // Here it would do its work. What it does outside carries `context.epoch()`.
                self.runs += 1;
                RUNS.fetch_add(1, Ordering::Relaxed);
                debug!(job = context.key(), run = self.runs, epoch = %context.epoch(), "job has run");
                context.schedule(*EVERY, &JobMessage::Run)?;
            }
        }
        Ok(self.runs)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    let mut arguments = ManagerArguments::load()?;
    // A job is no object while it waits for its timer.
    let jobs = arguments.entities::<Job>(EntityOptions::default().copies(2).idle(Duration::from_secs(1)))?;
    let cloister = cloister::start_with_arguments(arguments).await?;
    let mut starts_them = false;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let stopped = cloister.wait_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            ended = &mut stopped => { println!("{ended}"); return Ok(()) }
            _ = every.tick() => {
                // One node starts them; should it end meanwhile, the next sentry does it again, and those that run go on as they do.
                if !std::mem::replace(&mut starts_them, cloister.is_sentry()) && starts_them {
                    tokio::spawn(start_all(jobs.clone()));
                }
                let (runs, active) = (RUNS.swap(0, Ordering::Relaxed), jobs.active());
                println!("{runs} jobs have run here in the last second, {active} are in memory");
            }
        }
    }
}

/// Starts all jobs, spread over the time after which they run again.
async fn start_all(jobs: Entities<Job>) {
    let (all, every) = (number("JOBS", 1_000), u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX));
    let mut starters = JoinSet::new();
    for first in 0..STARTERS {
        let jobs = jobs.clone();
        starters.spawn(async move {
            for job in (first..all).step_by(STARTERS as usize) {
                if let Err(error) =
                    jobs.call(&format!("job:{job}"), JobMessage::Start(job * every / all)).await
                {
                    eprintln!("{error}");
                }
            }
        });
    }
    starters.join_all().await;
    println!("{all} jobs are started");
}
