//! The program that is judged: a node that serves the registers of the keys it owns, or a table.

mod actor;
mod register;
mod store_client;
mod tables;

use std::error::Error;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use cloister::{CallError, Cloister, ManagerArguments};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use self::register::Registers;
use self::store_client::StoreClient;
use self::tables::Tables;
use crate::history::Outcome;
use crate::sabotage::Sabotage;
use crate::wire::{Ask, Way, line};

/// The variables by which the judge configures a node, beside those of Cloister.
pub(crate) mod variable {
    /// The number of the node.
    pub(crate) const NODE: &str = "JUDGE_NODE";
    /// Where clients are served.
    pub(crate) const LISTEN: &str = "JUDGE_LISTEN";
    /// Where the store is.
    pub(crate) const STORE: &str = "JUDGE_STORE";
    /// How many copies the table has; without it the node has registers.
    pub(crate) const COPIES: &str = "JUDGE_COPIES";
    /// The rule to leave out, if any.
    pub(crate) const SABOTAGE: &str = "JUDGE_SABOTAGE";
}

/// The name under which the actor of the registers is found.
const NAME: &str = "register";

/// Runs until the node has left.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    end_with_the_judge();
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Few threads: several nodes share the processors.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build()?.block_on(serve())
}

/// The judge holds the other end of the standard input. Whatever ends it, no node is left.
fn end_with_the_judge() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let node = from_environment(variable::NODE)?;
    let listen: SocketAddr = from_environment(variable::LISTEN)?;
    let sabotage = match std::env::var(variable::SABOTAGE) {
        Ok(name) => Some(Sabotage::from_str(&name, false)?),
        Err(_) => None,
    };

    if sabotage == Some(Sabotage::Crash) && node == 0 {
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(5));
            std::process::exit(101);
        });
    }

    let mut arguments = ManagerArguments::load()?;
    let cloister = arguments.handle();
    let serves = if std::env::var_os(variable::COPIES).is_some() {
        let copies = from_environment(variable::COPIES)?;
        Serves::Tables(Arc::new(Tables::define(&mut arguments, copies, node, sabotage)?))
    } else {
        let store = StoreClient::new(node, from_environment(variable::STORE)?);
        let registers = Arc::new(Registers::new(cloister.clone(), store, node, sabotage));
        actor::register(&cloister, Arc::clone(&registers)).await?;
        Serves::Registers(registers)
    };
    let listener = TcpListener::bind(listen).await?;
    let service = Service { cloister, serves };
    let accepting = service.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(accepting.clone().converse(stream));
        }
    });
    cloister::start_with_arguments(arguments).await?;
    match service.cloister.wait_stopped().await {
        cloister::ExitReason::Left => Ok(()),
        ended => Err(ended.into()),
    }
}

fn from_environment<T>(name: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text = std::env::var(name).map_err(|error| format!("{name}: {error}"))?;
    text.parse().map_err(|error| format!("{name}={text}: {error}"))
}

/// What a client talks to.
#[derive(Clone)]
struct Service {
    cloister: Cloister,
    serves: Serves,
}

/// What has the keys.
#[derive(Clone)]
enum Serves {
    Registers(Arc<Registers>),
    Tables(Arc<Tables>),
}

impl Service {
    /// Answers one question after the other, until the client closes the connection.
    async fn converse(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read.take(u64::MAX)).lines();
        while let Ok(Some(text)) = lines.next_line().await {
            let Ok(ask) = serde_json::from_str::<Ask>(&text) else { return };
            let outcome = self.answer(ask).await;
            if write.write_all(&line(&outcome)).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, ask: Ask) -> Outcome {
        let registers = match &self.serves {
            Serves::Registers(registers) => registers,
            Serves::Tables(tables) => return tables.serve(ask.key, ask.request).await,
        };
        match ask.way {
            Way::Direct => Arc::clone(registers).serve(ask.key, ask.request).await,
            Way::Call => {
                let timeout = Duration::from_millis(ask.timeout_ms);
                let message = |reply| actor::Message { key: ask.key, request: ask.request.into(), reply };
                let called = self.cloister.call(NAME, register::name_of(ask.key), message, timeout).await;
                called.map_or_else(|error| outcome_of(&error), Outcome::from)
            }
        }
    }
}

/// An error of a call says whether a handler may have seen the message. This is judged, too.
fn outcome_of(error: &CallError) -> Outcome {
    let why = error.to_string();
    match error {
        CallError::Uncertain { .. } => Outcome::Uncertain { why },
        _ => Outcome::Refused { why, owner: None },
    }
}
