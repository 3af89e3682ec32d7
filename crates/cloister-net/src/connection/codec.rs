//! How the messages of Cloister and those of ractor share one connection.
//!
//! ```text
//! 00 … (8 bytes, a length) · body            a frame of ractor's, as ractor writes it
//! c1 00 00 00 · length (4 bytes) · message   a control frame: one message between two nodes
//! ```
//!
//! A message that is cast through ractor waits its turn in the queues of four actors on each side, behind whatever the application sends.
//! Behind a backlog of 300 000 small messages a heartbeat was late by more than a lease. And a cast does not say by which session it came.
//! So control frames are written to the connection itself, between two frames of ractor's, and taken out before ractor reads. No length of
//! ractor's begins with `c1`: that would be a frame of 2^63 bytes.

use cloister_proto::wire::MAX_FRAME_LEN;
use thiserror::Error;

/// The bytes before each body.
pub(crate) const HEAD: usize = 8;

/// How a control frame begins.
const MAGIC: [u8; 4] = [0xc1, 0, 0, 0];

/// The bytes of a control frame; `None` when the message is too long for one.
pub(crate) fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(message.len()).ok().filter(|_| message.len() <= MAX_FRAME_LEN)?;
    let mut bytes = Vec::with_capacity(HEAD + message.len());
    bytes.extend(MAGIC);
    bytes.extend(len.to_be_bytes());
    bytes.extend(message);
    Some(bytes)
}

/// Separates control frames from ractor's in the bytes that come in. It keeps one control frame at most.
#[derive(Debug, Default)]
pub(crate) struct Demux(DemuxState);

#[derive(Debug, Default)]
enum DemuxState {
    /// Between two frames.
    #[default]
    Between,
    /// So many bytes are ractor's.
    Session(u64),
    /// So many bytes of a control frame are still to come.
    Control { message: Vec<u8>, missing: usize },
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Too few to decide.
    Incomplete,
    /// The first so many are ractor's.
    Session(usize),
    /// The first so many are taken in, and ended no message.
    Consumed(usize),
    /// The first so many are taken in, and with them this message is whole.
    Message(usize, Vec<u8>),
}

/// A control frame that no node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a control frame of {0} bytes, over the limit of {MAX_FRAME_LEN}, or with a malformed head")]
pub(crate) struct Malformed(u32);

impl Demux {
    /// What `bytes` begin with, which follow on those that were dealt with before. At least [`HEAD`] bytes are always
    /// enough to decide.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Segment, Malformed> {
        if matches!(self.0, DemuxState::Between) {
            let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(Segment::Incomplete) };
            let [mark, _, _, _, len @ ..] = *head;
            if mark == MAGIC[0] {
                let len = u32::from_be_bytes(len);
                let missing = usize::try_from(len).ok().filter(|len| *len <= MAX_FRAME_LEN);
                let missing = missing.filter(|_| head.starts_with(&MAGIC)).ok_or(Malformed(len))?;
                // A length that a peer announces is not allocated in advance.
                self.0 = DemuxState::Control { message: Vec::new(), missing };
                return Ok(self.take(HEAD, &[]));
            }
            self.0 = DemuxState::Session((HEAD as u64).saturating_add(u64::from_be_bytes(*head)));
        }
        match &mut self.0 {
            DemuxState::Session(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= here as u64;
                if *left == 0 {
                    self.0 = DemuxState::Between;
                }
                Ok(if here == 0 { Segment::Incomplete } else { Segment::Session(here) })
            }
            DemuxState::Control { .. } if bytes.is_empty() => Ok(Segment::Incomplete),
            DemuxState::Control { .. } | DemuxState::Between => Ok(self.take(0, bytes)),
        }
    }

    /// Takes in what belongs to a control frame of `bytes`, which come after `before` others that are taken in.
    fn take(&mut self, before: usize, bytes: &[u8]) -> Segment {
        let DemuxState::Control { message, missing } = &mut self.0 else { return Segment::Consumed(before) };
        let here = bytes.get(..*missing).unwrap_or(bytes);
        message.extend(here);
        *missing -= here.len();
        if *missing > 0 {
            return Segment::Consumed(before + here.len());
        }
        let message = std::mem::take(message);
        let taken = before + here.len();
        self.0 = DemuxState::Between;
        Segment::Message(taken, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = (len as u64).to_be_bytes().to_vec();
        bytes.extend(vec![fill; len]);
        bytes
    }

    /// What comes of `bytes` when they come in pieces of `piece`: those that are ractor's, and the messages.
    fn sort(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Vec<u8>>), Malformed> {
        let (mut demux, mut held) = (Demux::default(), Vec::new());
        let (mut ractors, mut messages) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend(piece);
            loop {
                let done = match demux.next(&held)? {
                    Segment::Incomplete => break,
                    Segment::Session(len) => {
                        ractors.extend(&held[..len]);
                        len
                    }
                    Segment::Consumed(len) => len,
                    Segment::Message(len, message) => {
                        messages.push(message);
                        len
                    }
                };
                held.drain(..done);
            }
            assert!(held.len() < HEAD, "what can be decided is decided");
        }
        Ok((ractors, messages))
    }

    #[test]
    fn however_it_is_cut_each_gets_its_own() {
        let ractors = [session(3, 1), session(0, 2), session(300, 3), session(1, 0xc1)];
        let messages = [vec![7; 20], vec![], vec![0xc1; 9], vec![8; 70_000]];
        let mut bytes = Vec::new();
        for (session, message) in ractors.iter().zip(&messages) {
            bytes.extend(session);
            bytes.extend(frame(message).unwrap());
        }
        for piece in [1, 2, 3, 7, 8, 9, 20, 4096, bytes.len()] {
            assert_eq!(
                sort(&bytes, piece),
                Ok((ractors.concat(), messages.to_vec())),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_control_frame_that_cannot_be_is_an_error() {
        assert_eq!(frame(&vec![0; MAX_FRAME_LEN + 1]), None);
        let longest = frame(&vec![0; MAX_FRAME_LEN]).unwrap();
        assert_eq!(sort(&longest, 4096).unwrap().1, [vec![0; MAX_FRAME_LEN]]);
        let longer = u32::try_from(MAX_FRAME_LEN + 1).unwrap();
        let bytes = [MAGIC, longer.to_be_bytes()].concat();
        assert_eq!(sort(&bytes, 1), Err(Malformed(longer)));
        assert_eq!(sort(&[0xc1, 0, 1, 0, 0, 0, 0, 1, 1], 9), Err(Malformed(1)));
    }

    #[test]
    fn a_length_that_no_memory_holds_is_ractors_to_refuse() {
        let bytes = [[0xff; 8], [1; 8]].concat();
        assert_eq!(sort(&bytes, 16), Ok((bytes, Vec::new())));
    }
}
