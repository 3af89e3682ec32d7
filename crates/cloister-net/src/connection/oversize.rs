//! Where frames begin and end in what ractor writes, so that a frame over the limit of every receiver can be left out.
//!
//! ractor writes the length of each message in eight bytes, big end first, and then the message. A receiver ends the
//! whole connection when a length is over its limit, and with it everything else that goes over that connection. A
//! message that was sent through a plain `ActorRef`, and the answer to a call, pass no check of ours before they are here.

use crate::connection::backlog::mark_of;
use crate::connection::codec::HEAD;

/// Follows what is written, and decides what of it may go out. It keeps eight bytes at most.
#[derive(Debug)]
pub(crate) struct OversizeFilter {
    max: u64,
    part: FilterState,
    /// The mark of the frame that is going out.
    mark: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum FilterState {
    /// So many bytes of a length are known, and none of them has gone out.
    Head { head: [u8; HEAD], known: usize },
    /// A length that was put together from several writes is to go out before anything else, from this byte on.
    PendingHeader { head: [u8; HEAD], sent: usize },
    /// So many bytes of a frame are still to go out.
    Body(u64),
    /// So many bytes of a frame are still to be left out.
    Discard(u64),
}

/// What to do with bytes that are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The first so many may go out. Say by [`OversizeFilter::sent`] how many did.
    Send(usize),
    /// These must go out before, and are not among the bytes. Say by [`OversizeFilter::header_written`] how many did.
    SendHeader([u8; HEAD], usize),
    /// The first so many are done with, and nothing goes out.
    Skip(usize),
    /// The same, and with them began a frame of this length, over the limit: nothing of it will go out.
    Reject(usize, u64),
}

impl OversizeFilter {
    /// Frames of up to `max` bytes may go out, their length not counted.
    pub(crate) fn new(max: u64) -> Self {
        Self { max, part: FilterState::Head { head: [0; HEAD], known: 0 }, mark: None }
    }

    /// What to do with `bytes`, which follow on what was done with before.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Action {
        match self.part {
            FilterState::PendingHeader { head, sent } => Action::SendHeader(head, sent),
            FilterState::Discard(left) => {
                let skipped = within(left, bytes.len());
                self.discard(left - skipped as u64);
                Action::Skip(skipped)
            }
            FilterState::Body(left) if left > 0 => {
                Action::Send(self.fitting(bytes, within(left, bytes.len())))
            }
            FilterState::Head { known: 0, .. } | FilterState::Body(_) => match first_len(bytes) {
                Some(len) if len > self.max => {
                    self.discard(len);
                    Action::Reject(HEAD, len)
                }
                Some(_) => Action::Send(self.fitting(bytes, 0)),
                None => self.gather([0; HEAD], 0, bytes),
            },
            FilterState::Head { head, known } => self.gather(head, known, bytes),
        }
    }

    /// Takes in the bytes of a length that did not come at once.
    fn gather(&mut self, mut head: [u8; HEAD], known: usize, bytes: &[u8]) -> Action {
        let mut taken = 0;
        for (place, byte) in head.iter_mut().skip(known).zip(bytes) {
            *place = *byte;
            taken += 1;
        }
        if known + taken < HEAD {
            self.part = FilterState::Head { head, known: known + taken };
            return Action::Skip(taken);
        }
        let len = u64::from_be_bytes(head);
        if len > self.max {
            self.discard(len);
            return Action::Reject(taken, len);
        }
        self.part = FilterState::PendingHeader { head, sent: 0 };
        Action::Skip(taken)
    }

    /// How many of `bytes` may go out, of which the first `sure` belong to a frame that may.
    fn fitting(&self, bytes: &[u8], sure: usize) -> usize {
        let mut fit = sure;
        while let Some(len) = bytes.get(fit..).and_then(first_len).filter(|len| *len <= self.max) {
            fit += HEAD + within(len, bytes.len() - fit - HEAD);
        }
        fit
    }

    /// So many of the bytes that [`Action::Send`] allowed have gone out. Gives the greatest mark of a frame that went out to its
    /// end, as far as its frame lay in `bytes` from its beginning on.
    pub(crate) fn sent(&mut self, bytes: &[u8], sent: usize) -> Option<u64> {
        let mut gone = None;
        let mut left = match self.part {
            FilterState::Body(left) => left,
            FilterState::Head { .. } | FilterState::PendingHeader { .. } | FilterState::Discard(_) => 0,
        };
        let mut done = 0;
        loop {
            let here = within(left, sent - done);
            done += here;
            left -= here as u64;
            if left == 0 {
                gone = gone.max(self.mark.take());
            }
            if done >= sent {
                break;
            }
            // What was allowed to go out has a whole length here.
            let Some(len) = bytes.get(done..).and_then(first_len) else { break };
            left = HEAD as u64 + len;
            let frame = bytes.get(done + HEAD..).unwrap_or_default();
            self.mark = usize::try_from(len).ok().and_then(|len| frame.get(..len)).and_then(mark_of);
        }
        self.part =
            if left == 0 { FilterState::Head { head: [0; HEAD], known: 0 } } else { FilterState::Body(left) };
        gone
    }

    /// So many more bytes of what [`Action::SendHeader`] asked for have gone out.
    pub(crate) fn header_written(&mut self, more: usize) {
        let FilterState::PendingHeader { head, sent } = self.part else { return };
        let sent = sent + more;
        self.part = match u64::from_be_bytes(head) {
            _ if sent < HEAD => FilterState::PendingHeader { head, sent },
            0 => FilterState::Head { head: [0; HEAD], known: 0 },
            len => FilterState::Body(len),
        };
    }

    /// Whether something else may go out now without being taken for a part of a frame.
    pub(crate) fn is_between(&self) -> bool {
        match self.part {
            FilterState::Head { .. } | FilterState::Discard(_) | FilterState::Body(0) => true,
            FilterState::PendingHeader { sent, .. } => sent == 0,
            FilterState::Body(_) => false,
        }
    }

    /// How many of `bytes`, which follow on what was done with before, belong to the frame that goes out first.
    pub(crate) fn first_end(&self, bytes: &[u8]) -> usize {
        match self.part {
            FilterState::Body(left) if left > 0 => within(left, bytes.len()),
            FilterState::Head { .. }
            | FilterState::PendingHeader { .. }
            | FilterState::Discard(_)
            | FilterState::Body(_) => first_len(bytes)
                .map_or(bytes.len(), |len| within((HEAD as u64).saturating_add(len), bytes.len())),
        }
    }

    /// What is to go out before the connection is flushed.
    pub(crate) fn pending_header(&self) -> Option<([u8; HEAD], usize)> {
        match self.part {
            FilterState::PendingHeader { head, sent } => Some((head, sent)),
            FilterState::Head { .. } | FilterState::Body(_) | FilterState::Discard(_) => None,
        }
    }

    fn discard(&mut self, left: u64) {
        self.part = match left {
            0 => FilterState::Head { head: [0; HEAD], known: 0 },
            left => FilterState::Discard(left),
        };
    }
}

fn first_len(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<HEAD>().map(|head| u64::from_be_bytes(*head))
}

/// The lesser of the two.
fn within(left: u64, len: usize) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_LEN: u64 = 10;

    fn frame(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = (len as u64).to_be_bytes().to_vec();
        bytes.extend(vec![fill; len]);
        bytes
    }

    /// Writes `bytes` in pieces of `piece`, to a socket that takes `takes` bytes at a time. Gives what went out, and
    /// the lengths that were refused.
    fn write(bytes: &[u8], piece: usize, takes: usize) -> (Vec<u8>, Vec<u64>) {
        let (mut frames, mut out, mut refused) = (OversizeFilter::new(MAX_LEN), Vec::new(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                match frames.next(piece) {
                    Action::Send(max) => {
                        assert!(max > 0 && max <= piece.len(), "it goes on");
                        let sent = max.min(takes);
                        out.extend(&piece[..sent]);
                        frames.sent(piece, sent);
                        piece = &piece[sent..];
                    }
                    Action::SendHeader(head, from) => {
                        let more = (HEAD - from).min(takes);
                        out.extend(&head[from..from + more]);
                        frames.header_written(more);
                    }
                    Action::Skip(skipped) => piece = &piece[skipped..],
                    Action::Reject(skipped, len) => {
                        refused.push(len);
                        piece = &piece[skipped..];
                    }
                }
            }
        }
        while let Some((head, from)) = frames.pending_header() {
            let more = (HEAD - from).min(takes);
            out.extend(&head[from..from + more]);
            frames.header_written(more);
        }
        (out, refused)
    }

    #[test]
    fn however_it_is_cut_just_the_frames_over_the_limit_are_left_out() {
        let all = [(3, 1), (0, 2), (10, 3), (11, 4), (1, 5), (500, 6), (12, 7), (10, 8), (11, 9)];
        let bytes: Vec<u8> = all.iter().flat_map(|(len, fill)| frame(*len, *fill)).collect();
        let fitting: Vec<u8> =
            all.iter().filter(|(len, _)| *len <= 10).flat_map(|(len, fill)| frame(*len, *fill)).collect();
        for piece in 1..=bytes.len() {
            for takes in [1, 2, 5, 7, 8, 9, 30, bytes.len()] {
                let (out, refused) = write(&bytes, piece, takes);
                assert_eq!(out, fitting, "in pieces of {piece}, {takes} at a time");
                assert_eq!(refused, [11, 500, 12, 11]);
            }
        }
    }

    #[test]
    fn many_frames_in_one_write_go_out_in_one() {
        let bytes: Vec<u8> = (0..100).flat_map(|fill| frame(9, fill)).collect();
        assert_eq!(OversizeFilter::new(MAX_LEN).next(&bytes), Action::Send(bytes.len()));
    }

    #[test]
    fn a_length_that_no_memory_holds_is_refused_and_left_out_as_it_comes() {
        let mut frames = OversizeFilter::new(MAX_LEN);
        assert_eq!(frames.next(&u64::MAX.to_be_bytes()), Action::Reject(8, u64::MAX));
        assert_eq!(frames.next(&[0; 4096]), Action::Skip(4096));
        assert!(std::mem::size_of::<OversizeFilter>() <= 64, "nothing is kept but a length");
    }
}
