//! Shopping carts over HTTP: each cart is kept by one node, and every node answers for all of them. Start one, and it is alone; start
//! three, restart and scale them while requests come in, and no request fails:
//!
//! ```sh
//! cargo run -p cargo-cloister -- run -n 3 --env PORT={3000+n} -p cloister-examples --example carts
//! curl -X POST localhost:3001/carts/user:42/apple
//! curl localhost:3002/carts/user:42
//! ```
//!
//! The carts themselves stay where they are when the ring changes: there is no hand-over yet.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::{CallError, ChildSpec, Cloister, ExitReason, ManagerArguments, Message};
use tokio::net::TcpListener;

const CARTS: &str = "carts";
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;

    // Started with the node, and again if it fails; the other nodes find it by its name.
    let carts = ChildSpec::registered(CARTS, |_, supervisor| async move {
        Ok(Actor::spawn_linked(None, Carts, (), supervisor).await?.0)
    })?;
    let cloister = cloister::start_with_arguments(ManagerArguments::load()?.child(carts)).await?;

    let routes = axum::Router::new()
        .route("/carts/{user}", get(items))
        .route("/carts/{user}/{item}", post(add))
        .with_state(cloister.clone());
    println!("{} answers on port {port}", cloister.node().name());
    // At SIGTERM the server takes no new connection and answers what it has; then the node leaves the cluster.
    let server = axum::serve(listener, routes).with_graceful_shutdown(cloister.wait_draining());
    cloister.on_drain("http", tokio::spawn(server.into_future()));
    match cloister.wait_stopped().await {
        ExitReason::Left => Ok(()),
        failed => Err(failed.into()),
    }
}

type Answer = Result<Json<Vec<String>>, (StatusCode, String)>;

async fn items(State(cloister): State<Cloister>, Path(user): Path<String>) -> Answer {
    let message = |reply| CartsMessage::Items { user: user.clone(), reply };
    cloister.call(CARTS, &user, message, LIMIT).await.map(Json).map_err(failed)
}

async fn add(State(cloister): State<Cloister>, Path((user, item)): Path<(String, String)>) -> Answer {
    let message = |reply| CartsMessage::Add { user: user.clone(), item, reply };
    cloister.call(CARTS, &user, message, LIMIT).await.map(Json).map_err(failed)
}

/// The client may repeat a request that got 503. One that got 504 may have been carried out.
fn failed(error: CallError) -> (StatusCode, String) {
    let code = match error {
        CallError::Uncertain { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, error.to_string())
}

/// The carts of this node.
struct Carts;

#[derive(Message)]
enum CartsMessage {
    Add { user: String, item: String, reply: RpcReplyPort<Vec<String>> },
    Items { user: String, reply: RpcReplyPort<Vec<String>> },
}

impl Actor for Carts {
    type Msg = CartsMessage;
    type State = HashMap<String, Vec<String>>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<CartsMessage>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        _: ActorRef<CartsMessage>,
        message: CartsMessage,
        carts: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let (items, reply) = match message {
            CartsMessage::Add { user, item, reply } => {
                let cart = carts.entry(user).or_default();
                cart.push(item);
                (cart.clone(), reply)
            }
            CartsMessage::Items { user, reply } => (carts.get(&user).cloned().unwrap_or_default(), reply),
        };
        // The caller may have given up: then the reply has no receiver.
        let _ = reply.send(items);
        Ok(())
    }
}
