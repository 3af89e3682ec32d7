//! Asking the admin server of a node.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde::de::DeserializeOwned;

use crate::WAIT_TIMEOUT;

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body, which must be the JSON of a `T`, such as [`cloister_json::Members`].
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks for a page.
pub fn get(server: SocketAddr, path: &str) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    let answer = send(server, request.as_bytes())?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { code, body: body.to_owned() })
}

/// Sends bytes, and returns all that comes back until the other end closes.
pub fn send(server: SocketAddr, bytes: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
