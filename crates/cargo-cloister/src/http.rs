//! A small HTTP/1.1 client: one GET per connection, everything bounded.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take, from the first packet to the last byte.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes; a cluster of 200 nodes needs less than a tenth of it.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Where an admin HTTP listens: `http://host:port`, perhaps with a path before those of the admin HTTP.
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
        let wrong = || HttpError::Url(text.to_owned());
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(wrong()),
            None => text,
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._:[]".contains(letter);
        let printable = |letter: char| letter.is_ascii_graphic() && letter != '?' && letter != '#';
        if authority.is_empty() || !authority.chars().all(allowed) || !path.chars().all(printable) {
            return Err(wrong());
        }
        let authority = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
                port.parse::<u16>().map_err(|_| wrong())?;
                authority.to_owned()
            }
            Some((_, port)) if !port.ends_with(']') => return Err(wrong()),
            _ => format!("{authority}:80"),
        };
        Ok(Self { authority, path: path.trim_end_matches('/').to_owned() })
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
    #[error("the answer of {url} is no HTTP: {wrong}")]
    NoHttp { url: String, wrong: &'static str },
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text, for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Asks for `path`, such as `/members`, under `url`. Fails after 5 s.
pub(crate) async fn get(url: &Url, path: &str) -> Result<Answer, HttpError> {
    let name = format!("{url}{path}");
    match timeout(DEADLINE, exchange(url, path)).await {
        Err(_) => Err(HttpError::TooSlow { url: name }),
        Ok(Err(source)) => Err(HttpError::NoAnswer { url: name, source }),
        Ok(Ok(Err(wrong))) => Err(HttpError::NoHttp { url: name, wrong }),
        Ok(Ok(Ok(answer))) => Ok(answer),
    }
}

/// The outer failure is the network's, the inner one the server's.
async fn exchange(url: &Url, path: &str) -> io::Result<Result<Answer, &'static str>> {
    let mut stream = TcpStream::connect(&url.authority).await?;
    let request = format!(
        "GET {}{path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        url.path, url.authority
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        let closed = stream.read_buf(&mut bytes).await? == 0;
        match parse(&bytes, closed) {
            Ok(Some(answer)) => return Ok(Ok(answer)),
            Ok(None) if closed => return Ok(Err("it ends before it is complete")),
            Ok(None) if bytes.len() > MAX_ANSWER => return Ok(Err("it is longer than 8 MiB")),
            Ok(None) => {}
            Err(wrong) => return Ok(Err(wrong)),
        }
    }
}

/// The answer in `bytes`; `None` if more must come. `closed`: nothing more will come.
fn parse(bytes: &[u8], closed: bool) -> Result<Option<Answer>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err("its head is longer than 64 KiB") } else { Ok(None) };
    };
    let head = str::from_utf8(&bytes[..end]).map_err(|_| "its head is not text")?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = status(lines.next().unwrap_or_default()).ok_or("it does not begin with a status")?;
    let mut length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().map_err(|_| "its content-length is no number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().contains("chunked");
        }
    }
    let body = match length {
        _ if chunked => unchunk(body)?,
        Some(length) => body.get(..length).map(<[u8]>::to_vec),
        None => closed.then(|| body.to_vec()),
    };
    Ok(body.map(|body| Answer { status, body }))
}

fn status(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    let http = words.next()?.starts_with("HTTP/1.");
    let status = words.next()?.parse().ok()?;
    (http && (100..600).contains(&status)).then_some(status)
}

/// The pieces of a chunked body put together; `None` if more must come.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    const WRONG: &str = "a chunk has no length";
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return Ok(None) };
        let line = str::from_utf8(&rest[..end]).map_err(|_| WRONG)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        if length == 0 {
            return Ok(Some(body));
        }
        let Some(after) = length.checked_add(end + 4) else { return Err("a chunk is too long") };
        let Some(chunk) = rest.get(end + 2..after) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk does not end where it says");
        };
        body.extend_from_slice(chunk);
        rest = &rest[after..];
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn whole(text: &str) -> Result<Option<(u16, String)>, &'static str> {
        Ok(parse(text.as_bytes(), false)?.map(|answer| (answer.status, answer.text())))
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let answer = "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 2\r\n\r\n{}trailing";
        assert_eq!(whole(answer), Ok(Some((200, "{}".to_owned()))));
        assert_eq!(whole("HTTP/1.1 503 Not Ready\r\ncontent-length: 5\r\n\r\n{}"), Ok(None));
    }

    #[test]
    fn a_chunked_body_is_put_together_wherever_it_is_cut() {
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n";
        let end = answer.len() - "\r\n".len();
        for cut in 0..end {
            assert_eq!(whole(&answer[..cut]), Ok(None), "{:?}", &answer[..cut]);
        }
        assert_eq!(whole(answer), Ok(Some((200, "{\"a\":1}".to_owned()))));
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let answer = b"HTTP/1.0 200 OK\r\n\r\n{}";
        assert_eq!(parse(answer, false), Ok(None));
        assert_eq!(parse(answer, true), Ok(Some(Answer { status: 200, body: b"{}".to_vec() })));
    }

    #[test]
    fn nonsense_is_refused_and_never_a_panic() {
        for wrong in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 999 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabcdef\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nab",
        ] {
            assert!(whole(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&vec![b'x'; MAX_HEAD + 1], false).is_err());
    }

    #[test]
    fn a_url_may_be_short_but_not_wrong() {
        let shown = |text: &str| text.parse::<Url>().map(|url| url.to_string()).ok();
        assert_eq!(shown("http://127.0.0.1:8400/").as_deref(), Some("http://127.0.0.1:8400"));
        assert_eq!(shown("localhost:8400").as_deref(), Some("http://localhost:8400"));
        assert_eq!(shown("http://[::1]:8400/admin/").as_deref(), Some("http://[::1]:8400/admin"));
        assert_eq!(shown("http://[::1]").as_deref(), Some("http://[::1]:80"));
        for wrong in
            ["", "http://", "https://a:1", ":8400", "http://a:b", "http://a:99999", "a b", "a:1/\r\nX: y"]
        {
            assert_eq!(shown(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_keeps_the_connection_open_is_no_reason_to_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while find(&request, b"\r\n\r\n").is_none() {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntr").await.unwrap();
            stream.write_all(b"ue").await.unwrap();
            // Open until the client closes it.
            stream.read_buf(&mut request).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        assert_eq!(get(&url, "/members").await.unwrap().text(), "true");
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /members HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }

    #[tokio::test]
    async fn silence_and_refusal_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = listener.local_addr().unwrap().to_string().parse().unwrap();
        let silent = get(&url, "/").await.unwrap_err();
        assert!(matches!(silent, HttpError::TooSlow { .. }), "{silent}");
        drop(listener);
        let refused = get(&url, "/").await.unwrap_err();
        assert!(matches!(refused, HttpError::NoAnswer { .. }), "{refused}");
    }
}
