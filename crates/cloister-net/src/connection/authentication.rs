//! Mutual authentication of a connection, before ractor gets it.
//!
//! ```text
//!  dialing                                     accepting
//!     │── Introduction(version, app, name, nonce) ──▶│
//!     │◀── Introduction(version, app, name, nonce) ──│   another application or version: both see it, and close
//!     │── Proof(mac over both introductions) ───────▶│
//!     │◀── Proof, or Refused, or Yield ──────────────│   another cookie; another connection of the two has begun
//!     ╎   ractor's own handshake, and its session    ╎
//! ```
//!
//! ractor authenticates its sessions too. But of one that fails it reports only the end, and logs it in its own words; and each costs
//! several actors on the application's runtime. A peer without the cookie never comes that far.
//!
//! A check, which `cargo cloister doctor` makes, is the same exchange and ends with it: its introduction says so, and no session begins.
//!
//! The side that dials proves itself first: any process can dial an address, and the accepting side reveals nothing from which a cookie could be guessed. A proof covers both introductions and the direction, so it fits no other connection.

use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::codec::HEAD;

/// The version of this exchange. Nodes of different versions do not link.
const VERSION: u32 = 1;

/// How each of its messages begins, before the length in four bytes. No frame of ractor's and no control frame begins so.
const MAGIC: [u8; 4] = [0xc1, 0, 0, 1];

/// The longest message, in bytes. The longest name takes a quarter of it.
const MAX_LEN: usize = 2048;

/// How much of a peer's text is shown.
const MAX_PRINTED: usize = 60;

/// What a node authenticates with.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The application, which is the name of the cluster.
    pub(crate) app: String,
    /// The name of this node, with its incarnation.
    pub(crate) name: String,
    /// Made of the cookie.
    key: [u8; 64],
    /// Whether no session is to begin.
    is_check: bool,
}

impl Credentials {
    /// `secret` is what all nodes of the application share.
    pub(crate) fn new(app: String, name: String, secret: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"cloister admission 1");
        hash.update(secret);
        let mut key = [0; 64];
        for (place, byte) in key.iter_mut().zip(hash.finalize()) {
            *place = byte;
        }
        Self { app, name, key, is_check: false }
    }

    /// The same for a check of the other end, after which no session begins.
    pub(crate) fn for_check(self) -> Self {
        Self { is_check: true, ..self }
    }
}

/// Why a connection was not admitted. Each text speaks of the other end as "it".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AuthFailure {
    /// The other end does not speak this protocol.
    #[error("it is no node: it says \"{said}\"")]
    NotANode { said: String },
    /// The other end speaks another version of it.
    #[error(
        "it speaks version {theirs} of the link protocol, this node version {VERSION}: run the same release on both"
    )]
    OtherVersion { theirs: u32 },
    /// The other end is of another application.
    #[error("it is of another application: its name is \"{theirs}\", the name of this node is \"{mine}\"")]
    OtherApplication { theirs: String, mine: String },
    /// The names are the same, but the secrets are not.
    #[error("it is of the same application, but its `cookie` differs from that of this node")]
    OtherCookie,
    /// The other end is this very node.
    #[error("it is this node itself")]
    Itself,
    /// The two have begun another connection, which the other end dialled at the same time.
    #[error("another connection with it has begun")]
    Simultaneous,
    /// The other end is no node, and only wanted to know whether one would be admitted.
    #[error("it was a check, and a node with its settings would be admitted")]
    Check,
    /// The connection ended before that was settled.
    #[error("the connection was closed before it said that it is a node: {0}")]
    Closed(String),
}

/// The other end of a connection that was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub(crate) struct RejectedPeer {
    /// What it calls itself, which may be any text; empty if it has sent none.
    pub(crate) name: String,
    pub(crate) why: AuthFailure,
}

impl RejectedPeer {
    /// The port that it claims to listen at.
    pub(crate) fn port(&self) -> Option<u16> {
        self.name.rsplit_once(':')?.1.parse().ok()
    }
}

impl From<std::io::Error> for AuthFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Closed(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "it hung up".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Introduces this node over a connection that it dialled, and checks the other end. Of a peer that has proved itself, `may_begin` says by its
/// name whether a session may begin. What came in after that is returned: at the other end it has begun.
pub(crate) async fn dial<S>(
    stream: &mut S,
    mine: &Credentials,
    may_begin: impl FnOnce(&str) -> bool,
) -> Result<Vec<u8>, RejectedPeer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut name = String::new();
    prove_first(stream, mine, &mut name, may_begin).await.map_err(|why| RejectedPeer { name, why })
}

async fn prove_first<S>(
    stream: &mut S,
    mine: &Credentials,
    name: &mut String,
    may_begin: impl FnOnce(&str) -> bool,
) -> Result<Vec<u8>, AuthFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut peer = Peer::new(stream);
    let ours = introduce(mine)?;
    peer.send(&ours).await?;
    let theirs = peer.introduction(name).await?;
    check(mine, &theirs)?;
    let proofs = Proofs::new(mine, &ours, &theirs.bytes);
    peer.send(&Step::Proof(proofs.of(Side::Dialling)).frame()).await?;
    match peer.step().await? {
        Step::Proof(mac) if proofs.is_valid(Side::Accepting, &mac) && may_begin(name) => Ok(peer.read),
        Step::Proof(mac) if proofs.is_valid(Side::Accepting, &mac) => Err(AuthFailure::Simultaneous),
        Step::Yield(_) => Err(AuthFailure::Simultaneous),
        _ => Err(AuthFailure::OtherCookie),
    }
}

/// Checks the other end of a connection that came in, and introduces this node. `may_begin` and what is returned are those of [`dial`].
pub(crate) async fn accept<S>(
    stream: &mut S,
    mine: &Credentials,
    may_begin: impl FnOnce(&str) -> bool,
) -> Result<Vec<u8>, RejectedPeer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut name = String::new();
    prove_last(stream, mine, &mut name, may_begin).await.map_err(|why| RejectedPeer { name, why })
}

async fn prove_last<S>(
    stream: &mut S,
    mine: &Credentials,
    name: &mut String,
    may_begin: impl FnOnce(&str) -> bool,
) -> Result<Vec<u8>, AuthFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut peer = Peer::new(stream);
    let theirs = peer.introduction(name).await?;
    let ours = introduce(mine)?;
    // Also when the two do not belong together: the other end is to see by itself why.
    peer.send(&ours).await?;
    check(mine, &theirs)?;
    let proofs = Proofs::new(mine, &theirs.bytes, &ours);
    match peer.step().await? {
        Step::Proof(mac) if proofs.is_valid(Side::Dialling, &mac) => {
            if theirs.introduction.is_check {
                peer.send(&Step::Proof(proofs.of(Side::Accepting)).frame()).await?;
                return Err(AuthFailure::Check);
            }
            if !may_begin(name) {
                peer.send(&Step::Yield(Yield {}).frame()).await?;
                return Err(AuthFailure::Simultaneous);
            }
            peer.send(&Step::Proof(proofs.of(Side::Accepting)).frame()).await?;
            Ok(peer.read)
        }
        _ => {
            peer.send(&Step::Refused(Refused {}).frame()).await?;
            Err(AuthFailure::OtherCookie)
        }
    }
}

fn introduce(mine: &Credentials) -> Result<Vec<u8>, AuthFailure> {
    let mut nonce = vec![0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| AuthFailure::Closed(format!("the system gives no random numbers: {error}")))?;
    let Credentials { app, name, is_check, .. } = mine.clone();
    Ok(Step::Introduction(Introduction { version: VERSION, app, name, nonce, is_check }).frame())
}

/// Whether the two belong together, but for the secret.
fn check(mine: &Credentials, theirs: &Introduced) -> Result<(), AuthFailure> {
    let Introduction { version, app, name, .. } = &theirs.introduction;
    if *version != VERSION {
        return Err(AuthFailure::OtherVersion { theirs: *version });
    }
    if *app != mine.app {
        return Err(AuthFailure::OtherApplication {
            theirs: printable(app.as_bytes()),
            mine: mine.app.clone(),
        });
    }
    if *name == mine.name {
        return Err(AuthFailure::Itself);
    }
    Ok(())
}

/// Which of the two ends.
#[derive(Clone, Copy)]
enum Side {
    Dialling = 1,
    Accepting = 2,
}

/// Makes and checks the proofs of one connection.
struct Proofs(Hmac<Sha256>);

impl Proofs {
    /// `dialing` and `accepting` are the whole introductions of the two sides.
    fn new(mine: &Credentials, dialing: &[u8], accepting: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new(&mine.key.into());
        for introduction in [dialing, accepting] {
            mac.update(&Sha256::digest(introduction));
        }
        Self(mac)
    }

    fn side(&self, side: Side) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&[side as u8]);
        mac
    }

    fn of(&self, side: Side) -> Vec<u8> {
        self.side(side).finalize().into_bytes().to_vec()
    }

    fn is_valid(&self, side: Side, mac: &[u8]) -> bool {
        self.side(side).verify_slice(mac).is_ok()
    }
}

/// An introduction, and its bytes as they came.
struct Introduced {
    introduction: Introduction,
    bytes: Vec<u8>,
}

/// The other end during the exchange.
struct Peer<'a, S> {
    stream: &'a mut S,
    /// What was read and belongs to no message yet.
    read: Vec<u8>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Peer<'a, S> {
    fn new(stream: &'a mut S) -> Self {
        Self { stream, read: Vec::new() }
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), AuthFailure> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads the introduction, and stores the name that the other end claims in `name`.
    async fn introduction(&mut self, name: &mut String) -> Result<Introduced, AuthFailure> {
        let bytes = self.frame().await?;
        let body = bytes.get(HEAD..).unwrap_or_default();
        match Frame::decode(body).ok().and_then(|frame| frame.step) {
            Some(Step::Introduction(introduction)) => {
                name.clone_from(&introduction.name);
                Ok(Introduced { introduction, bytes })
            }
            _ => Err(AuthFailure::NotANode { said: printable(body) }),
        }
    }

    async fn step(&mut self) -> Result<Step, AuthFailure> {
        let bytes = self.frame().await?;
        let body = bytes.get(HEAD..).unwrap_or_default();
        let step = Frame::decode(body).ok().and_then(|frame| frame.step);
        step.ok_or_else(|| AuthFailure::NotANode { said: printable(body) })
    }

    /// Reads the bytes of one message.
    async fn frame(&mut self) -> Result<Vec<u8>, AuthFailure> {
        loop {
            // A line of text may be shorter than the head of a frame.
            let known = self.read.len().min(MAGIC.len());
            if self.read.get(..known) != MAGIC.get(..known) {
                // The rest of a line comes with its beginning, or not at all.
                return Err(AuthFailure::NotANode { said: printable(&self.read) });
            }
            if let Some(head) = self.read.first_chunk::<HEAD>() {
                let len = head.iter().skip(MAGIC.len()).fold(0, |len, byte| len << 8 | usize::from(*byte));
                if len > MAX_LEN {
                    return Err(AuthFailure::NotANode { said: printable(&self.read) });
                }
                let end = HEAD.saturating_add(len);
                if self.read.len() >= end {
                    let rest = self.read.split_off(end);
                    return Ok(std::mem::replace(&mut self.read, rest));
                }
            }
            // Mostly all of it is there at the first time.
            self.read.reserve(512);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// The first line of what a peer sent, cut to the length that is shown. It is escaped, so a terminal or a log
/// takes no part of it for something else.
fn printable(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| b"\r\n".contains(byte)).find(|line| !line.is_empty()).unwrap_or_default();
    let more = if line.len() > MAX_PRINTED { "…" } else { "" };
    let text = String::from_utf8_lossy(line.get(..MAX_PRINTED).unwrap_or(line));
    format!("{}{more}", text.escape_debug())
}

#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(oneof = "Step", tags = "1, 2, 3, 4")]
    step: Option<Step>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Step {
    #[prost(message, tag = "1")]
    Introduction(Introduction),
    #[prost(bytes, tag = "2")]
    Proof(Vec<u8>),
    #[prost(message, tag = "3")]
    Refused(Refused),
    #[prost(message, tag = "4")]
    Yield(Yield),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Introduction {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    app: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bytes = "vec", tag = "4")]
    nonce: Vec<u8>,
    /// Not set in the introduction of a node.
    #[prost(bool, tag = "5")]
    is_check: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Refused {}

/// Another connection of the two is to be kept.
#[derive(Clone, PartialEq, prost::Message)]
struct Yield {}

impl Step {
    fn frame(self) -> Vec<u8> {
        let body = Frame { step: Some(self) }.encode_to_vec();
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        [MAGIC.as_slice(), &len, &body].concat()
    }
}

#[cfg(test)]
mod tests;
