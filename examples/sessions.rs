//! Sessions that survive the loss of a node: each is on two nodes, and every node answers for all of them. Start three, kill one, start
//! it again, and no visit is forgotten. A session whose user does not come for half an hour is gone:
//!
//! ```sh
//! cargo run -p cargo-cloister -- run -n 3 -p cloister-examples --example sessions
//! ```

use std::io::IsTerminal;
use std::time::Duration;

use cloister::{DefineTable, ManagerArguments, TableOptions};

const SESSIONS: u64 = 100;
const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    // The function runs at the owner of the session, once for each call. A session is how often its user came.
    let visit = |visits: Option<u64>, (): ()| {
        let visits = visits.unwrap_or(0) + 1;
        (Some(visits), visits)
    };
    let mut arguments = ManagerArguments::load()?;
    let sessions = arguments.table::<String, u64>(
        "sessions",
        TableOptions::default().copies(2).time_to_live(HALF_AN_HOUR).function("visit", visit),
    )?;
    let cloister = cloister::start_with_arguments(arguments).await?;

    let mut every = tokio::time::interval(Duration::from_secs(1));
    let stopped = cloister.wait_stopped();
    tokio::pin!(stopped);
    for round in 0.. {
        tokio::select! {
            biased;
            ended = &mut stopped => { println!("{ended}"); break }
            _ = every.tick() => {
                let user = format!("user:{}", round % SESSIONS);
                match sessions.update::<(), u64>(&user, "visit", &()).await {
                    Ok(visits) => println!("{user} came {visits} times; {} sessions are here", sessions.local_iter().count()),
                    Err(error) => println!("{error}"),
                }
            }
        }
    }
    Ok(())
}
