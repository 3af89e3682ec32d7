//! Asking the admin server of a node.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::WAIT_TIMEOUT;

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body, which must be the JSON of a `T`, such as [`cloister_json::Members`].
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        self.parsed().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The body, if it is the JSON of a `T`.
    pub fn parsed<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("{error} in {self:?}"))
    }
}

/// Asks for a page.
pub fn get(server: SocketAddr, path: &str) -> io::Result<Response> {
    ask(server, &format!("GET {path}"), WAIT_TIMEOUT)
}

/// Sends a request without a body, such as `POST /carts/7/apple`, and reads the answer. No step may take longer than `timeout`.
pub fn ask(server: SocketAddr, request: &str, timeout: Duration) -> io::Result<Response> {
    let mut answer = String::new();
    open(server, request, timeout)?.read_to_string(&mut answer)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Response { code, body: body.to_owned() })
}

/// Sends a request without a body; the answer can be read from the connection.
pub fn open(server: SocketAddr, request: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    // The old version: the answer is not chunked, and ends with the connection.
    write!(stream, "{request} HTTP/1.0\r\nhost: node\r\ncontent-length: 0\r\n\r\n")?;
    Ok(stream)
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
