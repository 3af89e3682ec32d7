//! Backpressure: how much waits to be sent by one link.
//!
//! ractor takes any number of messages for a peer that does not read. So each message that is sent through this library is counted where it
//! is handed to ractor. It carries a *mark*: how many bytes had been handed over by then. The writer reads the mark of each frame that goes
//! out. What lies between the two is what waits, in whichever of ractor's queues.
//!
//! Marks are cumulative. If a message is lost with its actor, the next mark accounts for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// What a message takes in ractor's queues besides its bytes.
const OVERHEAD: u64 = 128;

/// How often refused messages are reported and a probe is sent.
const APART: Duration = Duration::from_secs(1);

/// What a mark begins with. It is the last field of a message, which ractor calls its metadata and passes on unread.
const MAGIC: [u8; 4] = *b"\0clo";

/// The bytes of a mark.
const MARK: usize = MAGIC.len() + 8;

/// The key of that field, and how long it is.
const FIELD: [u8; 2] = [6 << 3 | 2, MARK as u8];

/// How much waits to be sent by one link.
#[derive(Debug)]
pub struct Backlog {
    max: u64,
    /// How many bytes were ever handed to ractor.
    handed: AtomicU64,
    /// The greatest mark that has gone out.
    gone: AtomicU64,
    /// How many bytes ractor is writing and cannot write yet, from any sender.
    writing: AtomicU64,
    /// When refused messages were reported last, with a probe, in nanoseconds.
    probed_at: AtomicU64,
}

/// Too much waits.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Full {
    /// How many bytes wait to be sent to the peer.
    pub waiting: u64,
    /// How many may.
    pub max: u64,
    /// The mark of a probe that is to be sent now, and with which refused messages are to be reported.
    pub probe: Option<Vec<u8>>,
}

impl Backlog {
    /// Nothing waits; `max` bytes may.
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            handed: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            probed_at: AtomicU64::new(0),
        }
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> u64 {
        let gone = self.gone.load(Ordering::Relaxed);
        let handed = self.handed.load(Ordering::Relaxed).saturating_sub(gone);
        handed.max(self.writing.load(Ordering::Relaxed))
    }

    /// Counts a message of `len` bytes, and gives its mark.
    ///
    /// Threads that send at the same instant may go past the limit by one message each.
    ///
    /// # Errors
    ///
    /// [`Full`] if too much waits; the message is then not counted.
    pub fn hand(&self, len: usize) -> Result<Vec<u8>, Full> {
        let (cost, waiting) = (len as u64 + OVERHEAD, self.waiting());
        if waiting.saturating_add(cost) > self.max {
            return Err(Full { waiting, max: self.max, probe: self.probe() });
        }
        Ok(mark(self.handed.fetch_add(cost, Ordering::Relaxed) + cost))
    }

    /// Whether a short message may be handed over now.
    pub fn has_room(&self) -> bool {
        self.waiting().saturating_add(OVERHEAD) <= self.max
    }

    /// Whether a message may be handed over now, whatever its length.
    ///
    /// # Errors
    ///
    /// [`Full`] if too much waits.
    pub fn room(&self) -> Result<(), Full> {
        match self.has_room() {
            true => Ok(()),
            false => Err(Full { waiting: self.waiting(), max: self.max, probe: self.probe() }),
        }
    }

    /// Counts a message of `len` bytes for which there was [room](Backlog::room), and gives its mark. The limit may be passed by this message.
    pub fn hand_admitted(&self, len: usize) -> Vec<u8> {
        let cost = len as u64 + OVERHEAD;
        mark(self.handed.fetch_add(cost, Ordering::Relaxed) + cost)
    }

    /// If lost messages fill the limit, nothing would be admitted again. The probe is admitted regardless. Its mark shows what has really
    /// gone out.
    fn probe(&self) -> Option<Vec<u8>> {
        let (now, probed_at) = (Clock.now().as_nanos(), self.probed_at.load(Ordering::Relaxed));
        let due = probed_at == 0 || u128::from(now.saturating_sub(probed_at)) >= APART.as_nanos();
        let mine =
            || self.probed_at.compare_exchange(probed_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        (due && mine()).then(|| mark(self.handed.load(Ordering::Relaxed)))
    }

    /// A frame with this mark has gone out, and all that was handed over before it.
    pub(crate) fn went_out(&self, mark: u64) {
        let mark = mark.min(self.handed.load(Ordering::Relaxed));
        self.gone.fetch_max(mark, Ordering::Relaxed);
    }

    /// ractor is writing so many bytes.
    pub(crate) fn writes(&self, bytes: usize) {
        self.writing.store(bytes as u64, Ordering::Relaxed);
    }
}

fn mark(sum: u64) -> Vec<u8> {
    [MAGIC.as_slice(), &sum.to_be_bytes()].concat()
}

/// The mark of a frame of ractor's, its length not included; `None` if it has none.
///
/// Only casts and calls carry one. An answer ends with bytes of the application's, which may be anything.
pub(crate) fn mark_of(frame: &[u8]) -> Option<u64> {
    let (rest, sum) = frame.split_last_chunk::<8>()?;
    let rest = rest.strip_suffix(&MAGIC)?.strip_suffix(&FIELD)?;
    // A message to an actor, and in it a cast or a call; between them a length of up to five bytes.
    let (node, rest) = rest.split_first()?;
    let len = rest.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let kind = rest.get(len + 1)?;
    (*node == 2 << 3 | 2 && [1 << 3 | 2, 2 << 3 | 2].contains(kind)).then(|| u64::from_be_bytes(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a protocol buffer.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let (mut field, mut len) = (vec![number << 3 | 2], bytes.len());
        while len >= 0x80 {
            field.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
            len >>= 7;
        }
        field.push(u8::try_from(len).unwrap());
        field.extend(bytes);
        field
    }

    /// What ractor makes of a message to an actor: `kind` 1 is a cast, 2 a call, 3 an answer.
    fn frame(kind: u8, what: &[u8], metadata: Option<&[u8]>) -> Vec<u8> {
        let to = vec![1 << 3, 7];
        let what = field(if kind == 3 { 3 } else { 2 }, what);
        let variant = if kind == 3 { Vec::new() } else { field(3, b"Add") };
        let metadata = metadata.map(|bytes| field(6, bytes)).unwrap_or_default();
        field(2, &field(kind, &[to, what, variant, metadata].concat()))
    }

    #[test]
    fn what_waits_lies_between_what_was_handed_over_and_the_last_mark() {
        let backlog = Backlog::new(1000);
        let first = backlog.hand(100).unwrap();
        let second = backlog.hand(200).unwrap();
        assert_eq!(backlog.waiting(), 300 + 2 * OVERHEAD);
        for mark in [&first, &second, &first] {
            backlog.went_out(mark_of(&frame(1, b"egg", Some(mark))).unwrap());
            assert!(backlog.waiting() <= 200 + OVERHEAD, "a mark never brings back what has gone");
        }
        assert_eq!(backlog.waiting(), 0);
        backlog.went_out(u64::MAX);
        backlog.hand(100).unwrap();
        assert_eq!(backlog.waiting(), 100 + OVERHEAD, "no mark is believed beyond what was handed over");
    }

    #[test]
    fn past_the_limit_nothing_is_counted_and_one_probe_goes_out() {
        let backlog = Backlog::new(1000);
        backlog.hand(600).unwrap();
        let full = backlog.hand(600).unwrap_err();
        assert_eq!((full.waiting, full.max), (600 + OVERHEAD, 1000));
        assert_eq!(backlog.hand(600).unwrap_err(), Full { probe: None, ..full });
        assert_eq!(backlog.waiting(), 600 + OVERHEAD);
        // The first was lost, so its mark never goes out. That of the probe does.
        let probe = Backlog { probed_at: AtomicU64::new(0), ..backlog }.hand(600).unwrap_err().probe.unwrap();
        assert_eq!(mark_of(&frame(1, b"", Some(&probe))), Some(600 + OVERHEAD));
    }

    #[test]
    fn a_message_for_which_there_was_room_is_counted_whatever_its_length() {
        let backlog = Backlog::new(1000);
        backlog.hand(1000 - 2 * OVERHEAD as usize).unwrap();
        assert_eq!((backlog.room(), backlog.hand(1).is_err()), (Ok(()), true));
        assert_eq!(
            mark_of(&frame(1, b"", Some(&backlog.hand_admitted(5_000)))),
            Some(6_000 - OVERHEAD + OVERHEAD)
        );
        assert!(!backlog.has_room());
        let full = backlog.room().unwrap_err();
        assert_eq!((full.waiting, full.max), (6_000, 1000));
    }

    #[test]
    fn what_is_being_written_counts_whatever_its_sender() {
        let backlog = Backlog::new(1000);
        backlog.writes(900);
        assert_eq!(backlog.hand(10).unwrap_err().waiting, 900);
        backlog.writes(0);
        backlog.hand(10).unwrap();
    }

    #[test]
    fn only_casts_and_calls_have_marks() {
        let mark = mark(5);
        for len in [0, 1, 100, 200, 20_000, 3_000_000] {
            let what = vec![0x32; len];
            assert_eq!(mark_of(&frame(1, &what, Some(&mark))), Some(5), "a cast of {len}");
            assert_eq!(mark_of(&frame(2, &what, Some(&mark))), Some(5), "a call of {len}");
            assert_eq!(mark_of(&frame(1, &what, None)), None);
        }
        let end = [FIELD.as_slice(), &mark].concat();
        assert_eq!(mark_of(&frame(3, &end, None)), None, "an answer that ends as a mark does");
        assert_eq!(mark_of(&frame(1, b"", Some(b"other data!!"))), None);
        assert_eq!(mark_of(&[]), None);
        assert_eq!(mark_of(&end), None);
    }
}
