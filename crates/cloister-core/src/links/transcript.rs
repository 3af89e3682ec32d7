//! What two ends said to each other before they were authenticated, and what it tells of why they were not.
//!
//! ractor only says that a session ended. Its handshake is short and not encrypted: name, status, challenge, answer,
//! acknowledgement. How far it came, and which names were in it, says what is wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;

use super::control::{HEAD, Piece, Sorter};

/// How much is kept of each direction. A handshake takes less than half of it.
const MOST: usize = 1024;

/// How much of what a peer says is shown.
const SHOWN: usize = 60;

/// The first bytes of both directions of a connection.
#[derive(Debug, Default)]
pub(super) struct Transcript(Mutex<Bytes>);

#[derive(Debug, Default)]
struct Bytes {
    read: Vec<u8>,
    written: Vec<u8>,
}

/// Why two ends did not get to know each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    /// The other end does not speak ractor's protocol.
    #[error("it is no node: it says \"{said}\"")]
    NotANode { said: String },
    /// The other end is of another application.
    #[error("it is of another application: its name is \"{theirs}\", the name of this node is \"{mine}\"")]
    OtherApplication { theirs: String, mine: String },
    /// The names are the same, but one of the two could not answer the other's challenge.
    #[error("it is of the same application, but its `cookie` differs from that of this node")]
    OtherCookie,
}

impl Transcript {
    /// Keeps what was read; whether more is wanted.
    pub(super) fn reads(&self, bytes: &[u8]) -> bool {
        keep(&mut self.lock().read, bytes)
    }

    /// Keeps what was written; whether more is wanted.
    pub(super) fn writes(&self, bytes: &[u8]) -> bool {
        keep(&mut self.lock().written, bytes)
    }

    /// What is wrong between a node of the application `mine` and the other end, as far as that can be known. `closed` if the
    /// connection was closed, rather than too slow.
    pub(super) fn judge(&self, mine: &str, closed: bool) -> Option<Mismatch> {
        let bytes = self.lock();
        if bytes.read.is_empty() {
            return None;
        }
        let (theirs, ours) = (Handshake::read(&bytes.read), Handshake::read(&bytes.written));
        let Some(theirs) = theirs else { return Some(Mismatch::NotANode { said: shown(&bytes.read) }) };
        if let Some(name) = &theirs.name {
            // The name of a session is `app#host#port#incarnation@host:port`.
            let app = name.split('#').next().unwrap_or_default();
            if app != mine {
                return Some(Mismatch::OtherApplication {
                    theirs: shown(app.as_bytes()),
                    mine: mine.to_owned(),
                });
            }
        }
        // The end that was dialled judges first, and acknowledges what is right.
        let (answered, acknowledged) = match (&ours, theirs.answers) {
            (Some(ours), false) => (ours.answers, theirs.acknowledges),
            (Some(ours), true) => (true, ours.acknowledges),
            (None, answers) => (answers, false),
        };
        (closed && answered && !acknowledged).then_some(Mismatch::OtherCookie)
    }

    /// The name that the other end gives itself; empty if it has given none.
    pub(super) fn name(&self) -> String {
        Handshake::read(&self.lock().read).and_then(|handshake| handshake.name).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    kept.extend(bytes.iter().take(MOST - kept.len().min(MOST)));
    kept.len() < MOST
}

/// The first line of what a peer says, as far as it is shown, with nothing in it that a terminal or a log could
/// take for something else.
fn shown(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| b"\r\n".contains(byte)).find(|line| !line.is_empty()).unwrap_or_default();
    let more = if line.len() > SHOWN { "…" } else { "" };
    let text = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line));
    format!("{}{more}", text.escape_debug())
}

/// What one end has said of ractor's handshake.
#[derive(Debug, Default)]
struct Handshake {
    name: Option<String>,
    answers: bool,
    acknowledges: bool,
}

impl Handshake {
    /// Reads what one end said; `None` if that is no handshake of ractor's.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut handshake = Self::default();
        let mut session = session_bytes(bytes);
        let mut is_first = true;
        while let Some((head, rest)) = session.split_first_chunk::<HEAD>() {
            let len = usize::try_from(u64::from_be_bytes(*head)).ok().filter(|len| *len <= MOST);
            let frame = len.map(|len| (rest.get(..len), rest.get(len..)));
            match frame {
                Some((Some(frame), Some(rest))) => {
                    match Frame::decode(frame).ok().and_then(|frame| frame.auth) {
                        Some(auth) => handshake.add(auth),
                        None if is_first => return None,
                        None => break,
                    }
                    session = rest.to_vec();
                }
                // It has not come to its end.
                Some(_) => break,
                None if is_first => return None,
                None => break,
            }
            is_first = false;
        }
        // What is shorter than a length may be the beginning of one, which is a small number.
        (!is_first || bytes.len() >= HEAD || bytes.first() == Some(&0)).then_some(handshake)
    }

    fn add(&mut self, auth: Auth) {
        let name = auth.name.or(auth.challenge).map(|named| named.name);
        self.name = self.name.take().or(name);
        self.answers |= auth.answer.is_some();
        self.acknowledges |= auth.acknowledgement.is_some();
    }
}

/// What is ractor's of these bytes, without our own frames between.
fn session_bytes(mut bytes: &[u8]) -> Vec<u8> {
    let (mut sorter, mut session) = (Sorter::default(), Vec::new());
    while let Ok(piece) = sorter.next(bytes) {
        let len = match piece {
            Piece::More => break,
            Piece::Session(len) => {
                session.extend(bytes.get(..len).unwrap_or_default());
                len
            }
            Piece::Taken(len) | Piece::Message(len, _) => len,
        };
        bytes = bytes.get(len..).unwrap_or_default();
    }
    session
}

/// A message of ractor's, as far as it belongs to the handshake.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    auth: Option<Auth>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Auth {
    #[prost(message, optional, tag = "1")]
    name: Option<Named>,
    #[prost(message, optional, tag = "4")]
    challenge: Option<Named>,
    #[prost(message, optional, tag = "5")]
    answer: Option<Nothing>,
    #[prost(message, optional, tag = "6")]
    acknowledgement: Option<Nothing>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(auth: Auth) -> Vec<u8> {
        let bytes = Frame { auth: Some(auth) }.encode_to_vec();
        [&(bytes.len() as u64).to_be_bytes(), bytes.as_slice()].concat()
    }

    fn named(app: &str) -> Option<Named> {
        Some(Named { name: format!("{app}#10.0.0.1#04370#7@10.0.0.1:4370") })
    }

    fn name(app: &str) -> Vec<u8> {
        frame(Auth { name: named(app), ..Auth::default() })
    }

    /// Its number is not read.
    fn status() -> Vec<u8> {
        frame(Auth::default())
    }

    fn challenge(app: &str) -> Vec<u8> {
        frame(Auth { challenge: named(app), ..Auth::default() })
    }

    fn answer() -> Vec<u8> {
        frame(Auth { answer: Some(Nothing {}), ..Auth::default() })
    }

    fn acknowledgement() -> Vec<u8> {
        frame(Auth { acknowledgement: Some(Nothing {}), ..Auth::default() })
    }

    /// What the node of the application `shop` makes of what was said.
    fn judge(read: &[&[u8]], written: &[&[u8]], closed: bool) -> Option<Mismatch> {
        let transcript = Transcript::default();
        for bytes in read {
            transcript.reads(bytes);
        }
        for bytes in written {
            transcript.writes(bytes);
        }
        transcript.judge("shop", closed)
    }

    fn other(theirs: &str) -> Option<Mismatch> {
        Some(Mismatch::OtherApplication { theirs: theirs.to_owned(), mine: "shop".to_owned() })
    }

    #[test]
    fn the_end_that_dials_tells_the_causes_apart() {
        let me = name("shop");
        let answers = |app| [me.clone(), answer(), challenge(app)];
        let [me, answer, same] = &answers("shop");
        assert_eq!(judge(&[&status(), same], &[me, answer], true), Some(Mismatch::OtherCookie));
        assert_eq!(judge(&[&status(), same], &[me, answer], false), None, "it is slow");
        assert_eq!(judge(&[&status(), same], &[me], true), None, "it ended before it was answered");
        assert_eq!(judge(&[&status()], &[me], true), None, "it did not want to go on");
        assert_eq!(judge(&[&status(), same, &acknowledgement()], &[me, answer], true), None);
        assert_eq!(judge(&[&status(), &challenge("barn")], &[me, answer], true), other("barn"));
        assert_eq!(judge(&[], &[me], true), None, "it said nothing");
    }

    #[test]
    fn the_end_that_is_dialled_tells_the_causes_apart() {
        let (status, challenge) = (status(), challenge("shop"));
        let mine: [&[u8]; 2] = [&status, &challenge];
        assert_eq!(judge(&[&name("shop"), &answer()], &mine, true), Some(Mismatch::OtherCookie));
        assert_eq!(judge(&[&name("shop")], &mine, true), None, "it ended before it answered");
        assert_eq!(judge(&[&name("barn"), &answer()], &mine, true), other("barn"));
        let all = [mine[0], mine[1], &acknowledgement()];
        assert_eq!(judge(&[&name("shop"), &answer()], &all, true), None, "it was authenticated");
    }

    #[test]
    fn what_is_no_node_is_quoted_bounded_and_escaped() {
        let said = |bytes: &[u8]| match judge(&[bytes], &[&name("shop")], true) {
            Some(Mismatch::NotANode { said }) => said,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(said(b"220 mail\r\n"), "220 mail");
        assert_eq!(said(b"no"), "no");
        assert_eq!(judge(&[&[0; 7]], &[], true), None, "a slow node begins so, too");
        assert_eq!(said(b"\x1b[31mERROR cloister: forged"), "\\u{1b}[31mERROR cloister: forged");
        let long = said(&[b'x'; 5000]);
        assert_eq!(long, format!("{}…", "x".repeat(SHOWN)));
        let hostile = other("\\u{1b}]0;title");
        assert_eq!(judge(&[&name("\x1b]0;title")], &[], true), hostile);
    }

    #[test]
    fn our_own_frames_between_change_nothing_and_no_bytes_panic() {
        let ours = crate::links::control::frame(b"hello").unwrap();
        let read: [&[u8]; 4] = [&name("shop"), &ours, &answer(), &ours];
        assert_eq!(judge(&read, &[&status(), &challenge("shop")], true), Some(Mismatch::OtherCookie));
        let whole = [name("shop"), ours, answer()].concat();
        for end in 0..whole.len() {
            for flipped in 0..whole.len() {
                let mut bytes = whole[..end].to_vec();
                if let Some(byte) = bytes.get_mut(flipped) {
                    *byte ^= 0xff;
                }
                judge(&[&bytes], &[&bytes], true);
            }
        }
    }
}
