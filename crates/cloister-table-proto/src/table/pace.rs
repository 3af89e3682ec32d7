//! Which writes are lost, and which are only slow to arrive.
//!
//! A link keeps the order of what it carries. So what was sent before something that is answered, and is not answered itself, is lost. What was
//! sent after that may be on its way: on a slow link for seconds. Where a peer says nothing, it is asked whether the writes have come, by a
//! message of a few bytes, and less and less often.

use super::nodes::{NodeMap, Peer};
use super::progress::MAX_PATIENCE;

/// How soon peers answer.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// How many ticks there were.
    ticks: u32,
    peers: NodeMap<Pace>,
}

/// How soon a peer answers.
#[derive(Debug)]
struct Pace {
    /// What was sent before this tick is answered, or lost.
    heard: u32,
    /// Whether it has answered anything since the last tick.
    moves: bool,
    /// For how many ticks it has not, though it was to, and after how many it is asked.
    idle: u32,
    patience: u32,
    /// The first and the last tick at which it was asked since it answered that, and how often.
    asked: Option<(u32, u32)>,
    questions: u32,
    /// How many answers to earlier questions may follow.
    stale: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heard: 0, moves: false, idle: 0, patience: 1, asked: None, questions: 0, stale: 0 }
    }
}

impl Pace {
    fn moves(&mut self) {
        (self.moves, self.idle) = (true, 0);
    }
}

impl Paces {
    pub(super) fn tick(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
    }

    /// How many ticks there were.
    pub(super) fn now(&self) -> u32 {
        self.ticks
    }

    /// Nothing is known of any peer any more.
    pub(super) fn clear(&mut self) {
        self.peers = NodeMap::default();
    }

    /// A peer is sent all that it has not answered, by a new link.
    pub(super) fn forget(&mut self, peer: Peer) {
        self.peers.remove(peer);
    }

    /// A peer has acknowledged a write that was sent, the last time, after so many ticks.
    pub(super) fn acknowledged(&mut self, peer: Peer, sent: u32) {
        let age = self.ticks.saturating_sub(sent);
        let pace = self.of(peer);
        pace.moves();
        pace.heard = sent.max(pace.heard);
        pace.patience = if age <= 1 {
            // What a lost message has cost comes back.
            (pace.patience / 2).max(1)
        } else {
            (age + 1).clamp(pace.patience, MAX_PATIENCE)
        };
    }

    /// A peer has answered a question.
    pub(super) fn answered(&mut self, peer: Peer) {
        let now = self.ticks;
        let pace = self.of(peer);
        pace.moves();
        if pace.stale > 0 {
            pace.stale -= 1;
            return;
        }
        let Some((first, last)) = pace.asked.take() else { return };
        pace.heard = first.max(pace.heard);
        // One that answers within a tick has not got the questions before.
        pace.stale = if now <= last + 1 { 0 } else { pace.questions.saturating_sub(1) };
        pace.questions = 0;
    }

    /// Whether a write that was sent to this peer after so many ticks, and is not acknowledged, is lost.
    pub(super) fn is_lost(&self, peer: Peer, sent: u32) -> bool {
        self.peers.get(peer).is_some_and(|pace| sent < pace.heard)
    }

    /// At a tick, whether this peer is asked whether it has got the writes that it has not acknowledged, if there are any.
    pub(super) fn asks(&mut self, peer: Peer, is_waited_for: bool) -> bool {
        let now = self.ticks;
        let pace = self.of(peer);
        if std::mem::replace(&mut pace.moves, false) || !is_waited_for {
            pace.idle = 0;
            return false;
        }
        pace.idle += 1;
        if pace.idle < pace.patience {
            return false;
        }
        (pace.idle, pace.patience) = (0, (2 * pace.patience).min(MAX_PATIENCE));
        pace.asked = Some((pace.asked.map_or(now, |(first, _)| first), now));
        pace.questions += 1;
        true
    }

    fn of(&mut self, peer: Peer) -> &mut Pace {
        self.peers.get_or_insert_with(peer, Pace::default)
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::peer;
    use super::*;

    /// How many ticks pass until a peer that says nothing is asked.
    fn ticks_until_asked(paces: &mut Paces) -> u32 {
        let mut asks = || {
            paces.tick();
            paces.asks(peer(1), true)
        };
        (1..).find(|_| asks()).unwrap_or_default()
    }

    fn lost<const N: usize>(paces: &Paces, sent: [u32; N]) -> [bool; N] {
        sent.map(|sent| paces.is_lost(peer(1), sent))
    }

    #[test]
    fn patience_grows_with_silence_and_comes_back_with_quick_answers() {
        let mut paces = Paces::default();
        assert_eq!([(); 6].map(|()| ticks_until_asked(&mut paces)), [1, 2, 4, 8, 16, 16]);
        // Nothing waits: that is no silence.
        for _ in 0..20 {
            paces.tick();
            assert!(!paces.asks(peer(1), false));
        }
        let now = paces.now();
        let ages = [(2, 16), (1, 8), (0, 4), (0, 2), (0, 1), (0, 1), (5, 6), (3, 6), (40, 16)];
        for (age, patience) in ages {
            paces.acknowledged(peer(1), now - age);
            assert_eq!(paces.of(peer(1)).patience, patience, "after {age} ticks");
        }
    }

    #[test]
    fn what_was_sent_before_an_acknowledged_write_is_lost() {
        let mut paces = Paces::default();
        (0..10).for_each(|_| paces.tick());
        paces.acknowledged(peer(1), 7);
        paces.acknowledged(peer(1), 5);
        assert_eq!(lost(&paces, [6, 7, 8]), [true, false, false]);
        assert!(!paces.is_lost(peer(2), 6));
        paces.tick();
        assert!(!paces.asks(peer(1), true), "it has acknowledged some");
        assert_eq!(ticks_until_asked(&mut paces), 6);
        paces.forget(peer(1));
        assert_eq!(lost(&paces, [6, 7, 8]), [false; 3]);
    }

    #[test]
    fn an_answer_is_that_to_the_first_question_unless_the_peer_is_quick() {
        let mut paces = Paces::default();
        assert_eq!([(); 3].map(|()| ticks_until_asked(&mut paces)), [1, 2, 4]);
        (0..3).for_each(|_| paces.tick());
        paces.answered(peer(1));
        assert_eq!(lost(&paces, [0, 1]), [true, false]);
        ticks_until_asked(&mut paces);
        for _ in 0..2 {
            paces.answered(peer(1));
            assert_eq!(lost(&paces, [0, 1]), [true, false], "it is the answer to an earlier question");
        }
        let now = paces.now();
        paces.answered(peer(1));
        assert_eq!(lost(&paces, [now - 1, now]), [true, false]);
        // Of two questions the first is lost.
        assert_eq!(
            [(); 2].map(|()| ticks_until_asked(&mut paces)),
            [17, 16],
            "it has answered since the last tick"
        );
        paces.answered(peer(1));
        ticks_until_asked(&mut paces);
        let now = paces.now();
        paces.answered(peer(1));
        assert_eq!(lost(&paces, [now - 1, now]), [true, false]);
    }
}
