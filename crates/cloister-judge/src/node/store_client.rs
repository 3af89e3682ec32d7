//! The connections of a node to the store.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{StoreAnswer, StoreAsk, line};

/// How long the store may take. Longer than it lets a late write wait.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the store, over as many connections as there are questions at a time.
pub(super) struct StoreClient {
    node: usize,
    store: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl StoreClient {
    pub(super) fn new(node: usize, store: SocketAddr) -> Self {
        Self { node, store, idle: Mutex::default() }
    }

    /// Fetches the value of a key, or writes it. An error means that it may have been done.
    pub(super) async fn ask(&self, key: u32, epoch: u64, value: Option<u64>) -> io::Result<StoreAnswer> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let ask = StoreAsk { node: self.node, key, epoch, value };
        // A connection on which something failed is dropped: a late answer there would be taken for another.
        let (connection, answer) = timeout(TIMEOUT, self.converse(idle, ask)).await??;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }

    async fn converse(
        &self,
        idle: Option<BufReader<TcpStream>>,
        ask: StoreAsk,
    ) -> io::Result<(BufReader<TcpStream>, StoreAnswer)> {
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.store).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        connection.write_all(&line(&ask)).await?;
        let mut text = String::new();
        connection.read_line(&mut text).await?;
        let answer = serde_json::from_str(&text)?;
        Ok((connection, answer))
    }
}
