//! A program that is a node, as a user would write one, and lets the tests see and move it.
//!
//! Configured by the environment only. Every change that its listener hears is a line of JSON on the standard output;
//! commands come over the standard input, see [`commands`]. `NODE_WORKER` registers a worker that behaves as it
//! says. `NODE_BUILD` introduces it as another build that speaks these versions of the protocol, as `1-2`, and says more
//! than this one knows. `NODE_CHILD` adds an actor that its manager restarts, which is `vital` if it says so, and one that it does not. `NODE_THREADS` is how many worker threads its runtime has; 0 is a runtime of the main thread. `NODE_PLAIN` uses the one-line start of the library, without a listener before the node is up. `NODE_DRAIN` drains
//! for so many milliseconds before it leaves. `NODE_ROWS` defines the table `visits`, and writes so many rows into it;
//! `NODE_ONLY_VISITS` defines no other table and no entities. `NODE_IDLE` says after how many milliseconds the entities beside it rest. `NODE_RINGS` lists rings whose members listeners print.
//!
//! A panic anywhere ends the process, as with `panic = "abort"`: none is caught by a task or an actor unseen. Only a worker that panics on
//! purpose switches that off.

mod cart;
mod child;
mod commands;
mod counter;
mod listener;
mod load;
mod print;
mod rates;
mod rows;
mod watch;
mod worker;

use std::time::Duration;

use cloister::ractor::Actor;
use cloister::{Cloister, ExitReason, ManagerActor, ManagerArguments, StartError, admin, signals};
use tokio::runtime::Builder;

fn main() -> Result<(), StartError> {
    if std::env::var("NODE_WORKER").as_deref() != Ok("panics") {
        abort_on_panic();
    }
    let mut runtime = match std::env::var("NODE_THREADS").as_deref() {
        Err(_) => Builder::new_multi_thread(),
        Ok("0") => Builder::new_current_thread(),
        Ok(threads) => {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(threads.parse().expect("NODE_THREADS is a number"));
            runtime
        }
    };
    let runtime = runtime.enable_all().build().expect("a runtime starts");
    runtime.block_on(run())
}

fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

async fn run() -> Result<(), StartError> {
    // As the guide has it in "The log".
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let cloister = match std::env::var_os("NODE_PLAIN") {
        Some(_) => {
            let cloister = cloister::start().await?;
            listener::add(&cloister, "first", listener::Manner::Observes).await?;
            cloister
        }
        None => embedded().await?,
    };
    if let Ok(span) = std::env::var("NODE_DRAIN") {
        let span = Duration::from_millis(span.parse().expect("NODE_DRAIN is a number"));
        cloister.on_drain("pause", async move { tokio::time::sleep(span).await });
    }
    worker::register(&cloister).await?;
    cart::register(&cloister).await?;
    child::register(&cloister).await?;
    load::register(&cloister).await?;
    commands::obey(cloister.clone());
    let ended = cloister.wait_stopped().await;
    load::ended().await;
    match ended {
        ExitReason::Left => Ok(()),
        ended => Err(ended.into()),
    }
}

/// The long way, which has the listener there before anything happens.
async fn embedded() -> Result<Cloister, StartError> {
    let mut arguments = ManagerArguments::load()?;
    if let Ok(build) = std::env::var("NODE_BUILD") {
        let (least, max) = build.split_once('-').expect("NODE_BUILD is as 1-2");
        let number = |text: &str| text.parse().expect("NODE_BUILD is two numbers");
        // Field 100, four bytes long.
        arguments = arguments.built_as(number(least), number(max), b"\xa2\x06\x04more".to_vec());
    }
    arguments = child::add(arguments);
    let rows = rows::define(&mut arguments);
    let cloister = arguments.handle();
    let admin_listen = arguments.config().admin_listen;
    listener::add(&cloister, "first", listener::Manner::Observes).await?;
    Actor::spawn(Some("cloister".to_owned()), ManagerActor, arguments).await?;
    signals::leave_on_signal(&cloister);
    if let Some(rows) = rows {
        tokio::spawn(rows);
    }
    if let Some(address) = admin_listen {
        let served = admin::serve(&cloister, address).await;
        served.map_err(|cause| StartError::Admin { address, cause })?;
    }
    Ok(cloister)
}
