//! A GET request to the admin HTTP server of a node: one per connection, with a deadline and a limit on the answer.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, DATE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::plan::DEFAULT_ADMIN_PORT;

/// How long an answer may take, from the first packet to the last byte.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// The longest body that is read, in bytes; a cluster of 200 nodes needs less than a tenth of it.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The port of a URL that has a scheme and no port. A host alone is that of a node.
const HTTP_PORT: u16 = 80;

/// Where an admin HTTP server listens: `http://host:port`, perhaps with a path before those of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// `host:port`, ready to connect to.
    authority: String,
    /// Without a slash at its end.
    path: String,
}

impl FromStr for Url {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        Self::parse(text).ok_or_else(|| HttpError::Url(text.to_owned()))
    }
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        let (whole, default_port) = match text.contains("://") {
            true => (text.to_owned(), HTTP_PORT),
            false => (format!("http://{text}"), DEFAULT_ADMIN_PORT),
        };
        let uri: Uri = whole.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host();
        // A name and a password before the host leave no prefix to strip.
        let port = match authority.as_str().strip_prefix(host)? {
            "" => default_port,
            rest => rest.strip_prefix(':')?.parse().ok()?,
        };
        let is_plain = uri.scheme_str() == Some("http") && uri.query().is_none() && !text.contains('#');
        (is_plain && !host.is_empty()).then(|| Self {
            authority: format!("{host}:{port}"),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// No answer, or none that can be used.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    #[error("`{0}` is not the URL of an admin HTTP: write http://host:port")]
    Url(String),
    #[error("nothing answers at {url}; is the node running, and is admin.listen set?")]
    NoAnswer { url: String, source: io::Error },
    #[error("no answer from {url} within {} s", DEADLINE.as_secs())]
    TooSlow { url: String },
    #[error("the answer of {url} is no HTTP: {reason}")]
    NoHttp { url: String, reason: String },
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The clock of the server, to the second, if it shows it.
    pub(crate) date: Option<Timestamp>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The body as text, for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Asks for `path`, such as `/members`, under `url`. Fails after 5 s.
pub(crate) async fn get(url: &Url, path: &str) -> Result<Response, HttpError> {
    let name = format!("{url}{path}");
    let exchange = async {
        let stream = TcpStream::connect(&url.authority)
            .await
            .map_err(|source| HttpError::NoAnswer { url: name.clone(), source })?;
        exchange(stream, url, path).await.map_err(|reason| HttpError::NoHttp { url: name.clone(), reason })
    };
    timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(HttpError::TooSlow { url: name.clone() }))
}

async fn exchange(stream: TcpStream, url: &Url, path: &str) -> Result<Response, String> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| reason(&error))?;
    // Dropped with this future, which ends the connection: a server may keep it open.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(format!("{}{path}", url.path))
        .header(HOST, &url.authority)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| reason(&error))?;
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let body =
        Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| match error
            .downcast_ref::<LengthLimitError>(
        ) {
            Some(_) => "it is longer than 8 MiB".to_owned(),
            None => reason(error.as_ref()),
        })?;
    Ok(Response { status, date, body: body.to_bytes().to_vec() })
}

/// An error with its causes.
fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// The result of a client when the server sends these pieces, and then closes the connection if `closes`; and its request.
    async fn asked(pieces: Vec<Vec<u8>>, closes: bool) -> (Result<Response, HttpError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            for piece in pieces {
                // The client may have seen enough.
                if stream.write_all(&piece).await.is_err() {
                    return request;
                }
                tokio::task::yield_now().await;
            }
            if !closes {
                // Open until the client closes it.
                let _ = stream.read_buf(&mut Vec::new()).await;
            }
            request
        });
        let answer = get(&url, "/members").await;
        (answer, server.await.unwrap())
    }

    async fn whole(text: &str, closes: bool) -> Result<(u16, String), HttpError> {
        let answer = asked(vec![text.as_bytes().to_vec()], closes).await.0;
        answer.map(|answer| (answer.status, answer.text()))
    }

    #[tokio::test]
    async fn a_body_ends_where_its_length_says() {
        let answer = "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\n\r\n{}trailing";
        assert_eq!(whole(answer, false).await.unwrap(), (200, "{}".to_owned()));
        let torn = whole("HTTP/1.1 503 Not Ready\r\ncontent-length: 5\r\n\r\n{}", true).await.unwrap_err();
        assert!(matches!(torn, HttpError::NoHttp { .. }), "{torn}");
    }

    #[tokio::test]
    async fn a_chunked_body_is_put_together_wherever_it_is_cut() {
        let answer =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n";
        for cut in 0..answer.len() {
            let (first, second) = answer.split_at(cut);
            let (whole, _) = asked(vec![first.to_vec(), second.to_vec()], false).await;
            assert_eq!(whole.unwrap().text(), "{\"a\":1}", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_body_without_length_ends_with_the_connection() {
        assert_eq!(whole("HTTP/1.0 200 OK\r\n\r\n{}", true).await.unwrap(), (200, "{}".to_owned()));
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_never_a_panic() {
        for wrong in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 99 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabcdef\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nab",
        ] {
            let refused = whole(wrong, true).await;
            assert!(matches!(refused, Err(HttpError::NoHttp { .. })), "{wrong:?}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_head_or_a_body_that_does_not_end_is_given_up() {
        let endless = |head: &str, bytes: usize| vec![head.as_bytes().to_vec(), vec![b'x'; bytes]];
        let (head, _) = asked(endless("HTTP/1.1 200 OK\r\nx: ", 2 * MAX_HEAD), false).await;
        assert!(matches!(head, Err(HttpError::NoHttp { .. })), "{head:?}");
        let (body, _) = asked(endless("HTTP/1.1 200 OK\r\n\r\n", MAX_BODY + 1), false).await;
        assert!(body.unwrap_err().to_string().ends_with("it is longer than 8 MiB"));
    }

    #[test]
    fn a_url_may_be_short_but_not_wrong() {
        let shown = |text: &str| text.parse::<Url>().map(|url| url.to_string()).ok();
        assert_eq!(shown("http://127.0.0.1:8400/").as_deref(), Some("http://127.0.0.1:8400"));
        assert_eq!(shown("localhost:8400").as_deref(), Some("http://localhost:8400"));
        assert_eq!(shown("http://[::1]:8400/admin/").as_deref(), Some("http://[::1]:8400/admin"));
        assert_eq!(shown("http://[::1]").as_deref(), Some("http://[::1]:80"));
        assert_eq!(shown("10.0.0.7").as_deref(), Some("http://10.0.0.7:8400"), "a node, and no web server");
        assert_eq!(shown("[::1]/admin").as_deref(), Some("http://[::1]:8400/admin"));
        for wrong in [
            "",
            "http://",
            "https://a:1",
            ":8400",
            "http://a:b",
            "http://a:99999",
            "a b",
            "a:1/\r\nX: y",
            "me@a:1",
            "a:1?b",
            "a:1#b",
        ] {
            assert_eq!(shown(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_keeps_the_connection_open_is_no_reason_to_wait() {
        let pieces =
            ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntr", "ue"].map(|piece| piece.as_bytes().to_vec());
        let (answer, request) = asked(pieces.to_vec(), false).await;
        assert_eq!(answer.unwrap().text(), "true");
        assert!(request.starts_with("GET /members HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
    }

    #[tokio::test]
    async fn silence_and_refusal_are_distinguished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = listener.local_addr().unwrap().to_string().parse().unwrap();
        let silent = get(&url, "/").await.unwrap_err();
        assert!(matches!(silent, HttpError::TooSlow { .. }), "{silent}");
        drop(listener);
        let refused = get(&url, "/").await.unwrap_err();
        assert!(matches!(refused, HttpError::NoAnswer { .. }), "{refused}");
    }
}
