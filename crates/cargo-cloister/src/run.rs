//! `cargo cloister run`: a program as N nodes of one cluster, until Ctrl-C.

use std::future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::commands::{self, Command, Commands};
use crate::exit::Exit;
use crate::launch::{Launch, LaunchError, Launched, duration};

/// Build a program once and run it as N nodes of one cluster, until Ctrl-C.
///
/// Each node is a process of its own with its own CLOISTER__SEEDS, CLOISTER__HOST, CLOISTER__PORT,
/// CLOISTER__ADMIN__LISTEN, and its number in CLOISTER_NODE. Ctrl-C, SIGTERM or SIGHUP stops all of them with SIGTERM;
/// a node that has not stopped after `--stop-timeout` is killed, and a second Ctrl-C kills at once. A node that ends by itself is
/// reported and the others go on. The exit code is 0 if all nodes ended with exit status 0 or were killed by a
/// command, else 1.
///
/// Commands, each typed with Enter: k3 kills node 3, p3 pauses it or lets it go on, s3 stops it, r3 restarts it. Also: +
/// adds a node, - stops the last one, l lists the nodes, q stops all.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    launch: Launch,

    /// Stop by itself after this time, such as 10s or 1m30s; useful in CI.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,

    /// Read commands from stdin, one a line, though it is no terminal; their end stops all nodes.
    #[arg(long)]
    commands: bool,
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
    let mut commands = Commands::start(options.commands);
    if commands.are_open() {
        console.say(commands::HELP);
    }
    let why = loop {
        tokio::select! {
            ended = fleet.next_exit(), if !fleet.is_empty() => match ended {
                Some(ended) if matches!(ended.exit, Exit::NotStarted(_)) => {
                    break Some("a node could not be started".to_owned());
                }
                Some(ended) => {
                    let may_go_on = ended.is_on_request() && commands.are_open();
                    if fleet.is_empty() && !may_go_on {
                        break None;
                    }
                }
                None => {}
            },
            command = commands.next() => match command {
                None => break Some("the commands have ended".to_owned()),
                Some(Ok(Command::Quit)) => break Some("q".to_owned()),
                Some(Ok(command)) => fleet.obey(command).await,
                Some(Err(error)) => console.say(&error.to_string()),
            },
            signal = signals.next() => break Some(signal.to_owned()),
            () = &mut time_is_up => break Some("time is up".to_owned()),
            () = console.gone() => break Some("stdout is closed".to_owned()),
        }
    };
    if let Some(why) = why {
        console.keep_all();
        let another = if why == "Ctrl-C" { "another " } else { "" };
        console.say(&format!("{why}: stopping all nodes; {another}Ctrl-C kills them"));
        fleet.stop(&mut signals).await;
    }
    let in_order = fleet.all_in_order();
    console.say(&fleet.summary());
    drop(fleet);
    printer.finish(console).await;
    Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
