//! `cargo cloister run`: a program as N nodes of one cluster, until Ctrl-C.

use std::future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::exit::Exit;
use crate::launch::{Launch, LaunchError, Launched, duration};

/// Build a program once and run it as N nodes of one cluster, until Ctrl-C.
///
/// Each node is a process of its own with its own CLOISTER__SEEDS, CLOISTER__HOST, CLOISTER__PORT and
/// CLOISTER__ADMIN__LISTEN. Ctrl-C, SIGTERM or SIGHUP stops all of them with SIGTERM; a node that has not
/// stopped after 15 s is killed, and a second Ctrl-C kills at once. A node that ends by itself is reported and
/// the others go on. The exit code is 0 if all nodes ended on request with exit status 0, else 1.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    launch: Launch,

    /// Stop by itself after this time, such as 10s or 1m30s; useful in CI.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
}

/// Runs the nodes to their end.
pub(crate) async fn run(options: Options) -> Result<ExitCode, LaunchError> {
    let Launched { mut fleet, mut signals, console, printer, .. } = options.launch.launch().await?;
    let time_is_up = async {
        match options.time {
            Some(time) => sleep(time).await,
            None => future::pending().await,
        }
    };
    tokio::pin!(time_is_up);
    let why = loop {
        tokio::select! {
            ended = fleet.next_exit() => match ended {
                None => break None,
                Some(ended) if matches!(ended.exit, Exit::NotStarted(_)) => {
                    break Some("a node could not be started".to_owned());
                }
                Some(_) => {}
            },
            signal = signals.next() => break Some(signal.to_owned()),
            () = &mut time_is_up => break Some("time is up".to_owned()),
            () = console.gone() => break Some("stdout is closed".to_owned()),
        }
    };
    if let Some(why) = why {
        console.say(&format!("{why}: stopping all nodes; another Ctrl-C kills them")).await;
        fleet.stop(&mut signals).await;
    }
    let well = fleet.ended.iter().filter(|ended| ended.is_well()).count();
    let all_well = fleet.all_well();
    console.say(&format!("{well} of {} nodes stopped well", fleet.len())).await;
    drop(fleet);
    printer.finish(console).await;
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
