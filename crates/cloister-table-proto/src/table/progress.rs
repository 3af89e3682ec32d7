//! How far what is fetched has come.

use std::collections::VecDeque;

use cloister_proto::Slot;

use super::nodes::NodeMap;

/// After how many ticks without an answer it is asked again at most. It begins with one and doubles: a link may be slow.
pub(super) const MAX_PATIENCE: u32 = 16;

/// The slots that are fetched from each node.
#[derive(Debug, Default)]
pub(super) struct Fetches(pub(super) NodeMap<FromNode>);

/// What is fetched from one node.
#[derive(Debug, Default)]
pub(super) struct FromNode {
    /// How many were asked for.
    pub(super) asked: usize,
    /// Those that come next. Some of them may be over by now.
    pub(super) waiting: VecDeque<Slot>,
}

/// How a fetch goes on.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether it was asked for.
    pub(super) is_asked: bool,
    /// Whether anything has come since the last tick.
    moves: bool,
    /// For how many ticks nothing has, and after how many it is asked again.
    idle: u32,
    patience: u32,
    /// How often that was since anything has come.
    pub(super) in_vain: u32,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_asked: false, moves: true, idle: 0, patience: 1, in_vain: 0 }
    }

    /// That of one which is asked for at this moment.
    pub(super) fn asked() -> Self {
        Self { is_asked: true, ..Self::new() }
    }

    /// What was asked for has come. Patience that a lost message has cost comes back where an answer comes within a tick of the last request.
    /// Where answers take longer, the link is slow.
    pub(super) fn answered(&mut self) {
        if self.idle == 0 {
            self.patience = (self.patience / 2).max(1);
        }
        self.moves();
    }

    /// Something has come.
    pub(super) fn moves(&mut self) {
        (self.moves, self.idle, self.in_vain) = (true, 0, 0);
    }

    /// At a tick, whether it is asked again.
    pub(super) fn is_due(&mut self) -> bool {
        if !self.is_asked || std::mem::replace(&mut self.moves, false) {
            return false;
        }
        self.idle += 1;
        if self.idle < self.patience {
            return false;
        }
        (self.idle, self.in_vain) = (0, self.in_vain + 1);
        self.patience = (2 * self.patience).min(MAX_PATIENCE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ticks pass until it is asked again.
    fn ticks_until_due(progress: &mut Progress) -> u32 {
        progress.moves = false;
        (1..).find(|_| progress.is_due()).unwrap_or_default()
    }

    #[test]
    fn patience_grows_with_requests_in_vain_and_comes_back_with_quick_answers() {
        let mut progress = Progress::asked();
        assert_eq!([(); 6].map(|()| ticks_until_due(&mut progress)), [1, 2, 4, 8, 16, 16]);
        assert_eq!(progress.in_vain, 6);
        // What comes now may be the answer to any of the requests. If it was an earlier one, patience grows again.
        for patience in [8, 4, 2, 1, 1] {
            progress.answered();
            assert_eq!((progress.patience, progress.in_vain), (patience, 0));
        }
    }

    #[test]
    fn patience_does_not_come_back_with_what_was_asked_for_twice() {
        let mut progress = Progress::asked();
        assert_eq!([(); 3].map(|()| ticks_until_due(&mut progress)), [1, 2, 4]);
        progress.moves();
        progress.moves();
        assert_eq!((progress.patience, progress.in_vain), (8, 0));
    }

    #[test]
    fn patience_stays_where_answers_are_slow() {
        let mut progress = Progress::asked();
        assert_eq!([(); 3].map(|()| ticks_until_due(&mut progress)), [1, 2, 4]);
        progress.moves();
        for _ in 0..5 {
            assert!(!progress.is_due() && !progress.is_due() && !progress.is_due());
            progress.answered();
            assert_eq!(progress.patience, 8);
        }
    }
}
