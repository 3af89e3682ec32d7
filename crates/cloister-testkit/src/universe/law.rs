//! What must hold after every event.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::{Pace, Universe};
use crate::laws::{Conflict, conflict, is_epoch_twice};
use cloister_proto::{Action, Event, NodeId, Ring, Status, Transition, View};

/// A law that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// Two nodes act as sentry at one instant.
    TwoSentries,
    /// A key is owned by two nodes at one instant.
    KeyTwice,
    /// Two views with different members have the same epoch.
    EpochTwice,
    /// A node asks to be woken later than when there is something to do.
    WokenLate,
    /// A node tells of a view that is being agreed on, and none is, or the other way round.
    ProposedOutOfRound,
    /// What listeners get has a gap, or does not lead from one state to the next.
    ChangesDoNotFollow,
}

impl Universe {
    /// Every law that was broken.
    pub fn violations(&self) -> &BTreeSet<Law> {
        &self.violations
    }

    /// Whether this node may act at this instant, and in which view.
    pub fn acts(&self, at: usize) -> Option<(&NodeId, &View)> {
        let process = self.hosts[at].process.as_ref().filter(|process| process.pace != Pace::Paused)?;
        let view = process.node.state().view.as_deref().filter(|_| process.node.holds_lease(self.now))?;
        Some((&process.me.id, view))
    }

    pub(super) fn check_claims(&mut self) {
        let acting: Vec<(&NodeId, &View)> = (0..self.hosts.len()).filter_map(|at| self.acts(at)).collect();
        let pairs =
            acting.iter().enumerate().flat_map(|(n, a)| acting.iter().skip(n + 1).map(move |b| (a, b)));
        let law = pairs.filter_map(|(a, b)| law_broken_by(*a, *b)).next();
        if let Some(law) = law {
            self.violated(law);
        }
    }

    /// What listeners get follows from what they got before. Looked at in scripts only.
    pub(super) fn check_changes(&mut self, at: usize, change: &Transition) {
        let is_script = self.log.is_some();
        let Some(process) = self.hosts[at].process.as_mut().filter(|_| is_script) else { return };
        if let Err(broken) = process.changes.check(change) {
            self.note(at, &broken);
            self.violated(Law::ChangesDoNotFollow);
        }
    }

    pub(super) fn check_proposed(&mut self, change: &Transition) {
        if change.state.proposed.is_some() != (change.to == Status::Rehashing) {
            self.violated(Law::ProposedOutOfRound);
        }
    }

    pub(super) fn check_epoch(&mut self, change: &Transition) {
        let Some(view) = change.state.view.as_ref().filter(|_| change.to == Status::Up) else { return };
        self.number_of(view);
        let mut known = self.views.iter().map(|(epoch, members)| (*epoch, members.as_slice()));
        if known.any(|known| is_epoch_twice(Some(known), view)) {
            self.violated(Law::EpochTwice);
        }
    }

    /// Nothing that a node waits for comes before the time that it asks to be woken at. Looked at in scripts only.
    ///
    /// Within the first minute: what counts for a minute, such as named addresses, is looked at with each heartbeat only.
    pub(super) fn check_timeout(&mut self, at: usize) {
        let is_asked = self.log.is_some() && self.now() < Duration::from_secs(60);
        let Some(process) = self.hosts[at].process.as_ref().filter(|_| is_asked) else { return };
        let just_before = process.node.next_timeout().map(|due| due - Duration::from_nanos(1));
        let Some(just_before) = just_before.filter(|before| *before > self.now) else { return };
        let mut early = process.node.clone();
        early.handle(just_before, Event::Tick);
        // That it connects again to what it remembers is looked at with a heartbeat, too.
        let acts = |action| !matches!(action, Action::Connect { .. });
        if std::iter::from_fn(|| early.next_action()).any(acts) {
            self.violated(Law::WokenLate);
        }
    }

    fn violated(&mut self, law: Law) {
        self.broken.get_or_insert(law);
        if self.violations.insert(law) {
            let at = self.now().as_millis();
            self.line(format!("{at:>6} ms  !! {law:?}"));
        }
    }
}

fn law_broken_by(a: (&NodeId, &View), b: (&NodeId, &View)) -> Option<Law> {
    let broken = conflict(a, b, |view| Rc::new(Ring::new(view.ids())))?;
    Some(match broken {
        Conflict::TwoSentries => Law::TwoSentries,
        Conflict::SlotTwice(_) => Law::KeyTwice,
    })
}
