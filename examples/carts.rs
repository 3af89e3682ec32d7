//! Shopping carts over HTTP: each is on one node with a copy on another, and every node answers for all of them. Kill, restart and scale
//! nodes while requests come in: no item is lost, and no request fails but those that a killed process was answering.
//!
//! ```sh
//! cargo run -p cargo-cloister -- run -n 3 --env PORT={3000+n} -p cloister-examples --example carts
//! curl -X POST localhost:3001/carts/user:42/apple
//! curl localhost:3002/carts/user:42
//! ```

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router, http::StatusCode};
use cloister::{Context, DefineEntities, Entities, Entity, EntityError, EntityOptions, HandlerError};
use cloister::{ExitReason, ManagerArguments};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Cart(Vec<String>);

#[derive(Serialize, Deserialize)]
enum CartMessage {
    Add(String),
    Items,
}

impl Entity for Cart {
    const NAME: &'static str = "cart";
    type Message = CartMessage;
    type Reply = Vec<String>;

    async fn handle(
        &mut self,
        _: &mut Context<'_, Self>,
        message: CartMessage,
    ) -> Result<Vec<String>, HandlerError> {
        if let CartMessage::Add(item) = message {
            self.0.push(item);
        }
        Ok(self.0.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter = format!("ractor=warn,ractor_cluster=error,{asked}");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("0.0.0.0:{port}")).await?;
    let mut arguments = ManagerArguments::load()?;
    let carts = arguments.entities::<Cart>(EntityOptions::default().copies(2))?;
    let cloister = cloister::start_with_arguments(arguments).await?;
    println!("{} answers on port {port}", cloister.node().name());

    let routes = Router::new().route("/carts/{user}", get(items)).route("/carts/{user}/{item}", post(add));
    // At SIGTERM the server takes no new connection and answers what it has; then the node leaves the cluster.
    let server =
        axum::serve(listener, routes.with_state(carts)).with_graceful_shutdown(cloister.wait_draining());
    cloister.on_drain("http", tokio::spawn(server.into_future()));
    let ended = cloister.wait_stopped().await;
    if ended == ExitReason::Left { Ok(()) } else { Err(ended.into()) }
}

type Answer = Result<Json<Vec<String>>, (StatusCode, String)>;

async fn items(State(carts): State<Entities<Cart>>, Path(user): Path<String>) -> Answer {
    carts.call(&user, CartMessage::Items).await.map(Json).map_err(failed)
}

async fn add(State(carts): State<Entities<Cart>>, Path((user, item)): Path<(String, String)>) -> Answer {
    carts.call(&user, CartMessage::Add(item)).await.map(Json).map_err(failed)
}

/// The client may repeat a request that got 503. One that got 504 may have been carried out.
fn failed(error: EntityError) -> (StatusCode, String) {
    let code =
        if error.may_be_done() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, error.to_string())
}
