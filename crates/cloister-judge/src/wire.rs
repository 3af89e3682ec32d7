//! What clients, nodes and the store say to each other: one line of JSON for each question and each answer.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::history::Request;

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 10;

/// How a node is to find the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Not at all: it does it, or refuses.
    Direct,
    /// By a call by key of Cloister.
    Call,
}

/// From a client to a node. The answer is an [`Outcome`](crate::history::Outcome).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) key: u32,
    pub(crate) request: Request,
    pub(crate) way: Way,
    /// How long the client waits for the answer.
    pub(crate) timeout_ms: u64,
}

/// From a node to the store.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct StoreAsk {
    pub(crate) node: usize,
    pub(crate) key: u32,
    pub(crate) epoch: u64,
    /// The value to write; `None` to fetch it.
    pub(crate) value: Option<u64>,
}

/// From the store to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreAnswer {
    /// It is done; this is the value now.
    Value(u64),
    /// The epoch is earlier than one that has come for this key: nothing is done.
    Overtaken { by: u64 },
}

/// From a node to the judge, on its standard output: copies of a slot of its table were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LossReport {
    /// The keys whose slots are lost, and how many slots are.
    pub(crate) keys: Vec<u32>,
    pub(crate) slots: usize,
    /// Whether they go on empty.
    pub(crate) certain: bool,
    /// For how long, at most, the view in which they go on has been there. It may have ended.
    pub(crate) since_ms: u64,
    /// For how long the present view has been there.
    pub(crate) present_ms: u64,
}

/// A line with this.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("invariant: it has no map with keys that are no strings");
    line.push(b'\n');
    line
}

/// A connection that is asked and answers, without tasks.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        self.stream.get_mut().write_all(&line(value))
    }

    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = Vec::new();
        let len = io::Read::take(&mut self.stream, MAX_LINE).read_until(b'\n', &mut line)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}
