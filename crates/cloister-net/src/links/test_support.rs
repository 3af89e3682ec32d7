//! Parts of the link layer for the fuzzer and for tests of other crates.

use cloister_proto::{Message, NodeIdInterner};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{authentication, codec};

/// Takes in what comes by a connection as the link layer does: separates control frames from those of ractor, and decodes
/// their messages.
///
/// # Errors
///
/// Why the connection would be closed.
pub fn read_bytes(mut bytes: &[u8]) -> Result<Vec<Message>, String> {
    let (mut demux, mut incarnations, mut messages) =
        (codec::Demux::default(), NodeIdInterner::default(), Vec::new());
    loop {
        let done = match demux.next(bytes).map_err(|error| error.to_string())? {
            codec::Segment::Incomplete => return Ok(messages),
            codec::Segment::Session(len) | codec::Segment::Consumed(len) => len,
            codec::Segment::Message(len, message) => {
                messages.extend(Message::decode_with(message, &mut incarnations));
                len
            }
        };
        bytes = bytes.get(done..).unwrap_or_default();
    }
}

/// Authenticates a process as `name` over a connection that it accepted, as the link layer does. The bytes that
/// came in after that are returned.
///
/// # Errors
///
/// Why the process was not authenticated.
pub async fn admit<S>(stream: &mut S, cluster: &str, cookie: &str, name: &str) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let credentials = authentication::Credentials::new(cluster.to_owned(), name.to_owned(), cookie);
    authentication::accept(stream, &credentials, |_| true).await.map_err(|rejected| rejected.to_string())
}
