//! What clients were answered, and whether one order of all operations explains it.
//!
//! The value of a key is the list of all appends to it. So each read shows a whole history of its key, and the check is simple: what reads
//! show are prefixes of one list. A read shows every append that was answered before it began, and none that began after it ended. No
//! append is shown twice, and none before another one that was answered before it began.
//!
//! A reported loss ends a history, and begins another one from nothing.

use std::collections::{BTreeMap, BTreeSet};

/// An append: the incarnation of its client's node, and its number there.
pub(crate) type AppendId = (u64, u64);

/// All that clients did to one key.
#[derive(Debug, Default)]
pub(crate) struct KeyHistory {
    appends: BTreeMap<AppendId, Append>,
    /// One more than there were losses.
    parts: Vec<Era>,
}

#[derive(Clone, Copy, Debug)]
struct Append {
    invoked: u64,
    answered: Option<u64>,
}

/// What lies between two losses.
#[derive(Debug, Default)]
struct Era {
    from: u64,
    until: Option<u64>,
    /// The longest list that was read.
    longest: Vec<AppendId>,
    /// When reads were answered, with the length of what they showed.
    reads: Vec<(u64, usize)>,
    /// Every append that an owner applied since the last certain loss, and when that was.
    applied: BTreeSet<AppendId>,
    applied_from: u64,
}

impl KeyHistory {
    pub(crate) fn new() -> Self {
        Self { appends: BTreeMap::new(), parts: vec![Era::default()] }
    }

    pub(crate) fn invoked(&mut self, id: AppendId, now: u64) {
        self.appends.entry(id).or_insert(Append { invoked: now, answered: None });
    }

    pub(crate) fn answered(&mut self, id: AppendId, now: u64) {
        if let Some(append) = self.appends.get_mut(&id) {
            append.answered.get_or_insert(now);
        }
    }

    pub(crate) fn applied(&mut self, id: AppendId) {
        if let Some(part) = self.parts.last_mut() {
            part.applied.insert(id);
        }
    }

    /// All complete copies are gone, and that was reported.
    pub(crate) fn lost(&mut self, now: u64) {
        if let Some(part) = self.parts.last_mut() {
            part.until = Some(now);
        }
        self.parts.push(Era { from: now, applied_from: now, ..Era::default() });
    }

    /// It was reported that writes may be lost: what there was may go on.
    pub(crate) fn may_be_lost(&mut self, now: u64) {
        let before = self.parts.last_mut().map(|part| {
            part.until = Some(now);
            (part.applied.clone(), part.applied_from)
        });
        let (applied, applied_from) = before.unwrap_or_default();
        self.parts.push(Era { from: now, applied, applied_from, ..Era::default() });
    }

    /// Whether this list has all that an owner applied since the last loss, and there is something.
    pub(crate) fn has_all_applied(&self, list: &[AppendId]) -> bool {
        self.parts.last().is_some_and(|part| part.applied.iter().all(|id| list.contains(id)))
    }

    /// Whether this list has all that was answered since the last loss.
    pub(crate) fn has_all_answered(&self, list: &[AppendId]) -> bool {
        let Some(part) = self.parts.last() else { return false };
        let counts = |append: &Append| append.answered.is_some() && append.invoked >= part.applied_from;
        self.appends.iter().all(|(id, append)| !counts(append) || list.contains(id))
    }

    /// Whether an owner applied anything since the last loss.
    pub(crate) fn was_written(&self) -> bool {
        self.parts.last().is_some_and(|part| !part.applied.is_empty())
    }

    /// Whether a loss was reported before.
    pub(crate) fn was_lost(&self) -> bool {
        self.parts.len() > 1
    }

    /// A read that began at `invoked` and was answered `now` showed this list.
    pub(crate) fn read(&mut self, list: &[AppendId], invoked: u64, now: u64) -> Result<(), String> {
        let is_of = |part: &Era| part.until.is_none_or(|until| until >= invoked) && part.from <= now;
        let candidates: Vec<usize> = (0..self.parts.len()).filter(|at| is_of(&self.parts[*at])).collect();
        let mut broken = "no part of the history is of this time".to_owned();
        for at in &candidates {
            match self.check(&self.parts[*at], list, invoked, now) {
                Ok(()) => {
                    // One that was under way when a loss was reported may be of either part.
                    if candidates.len() == 1 {
                        let part = &mut self.parts[*at];
                        if list.len() > part.longest.len() {
                            part.longest = list.to_vec();
                        }
                        part.reads.push((now, list.len()));
                    }
                    return Ok(());
                }
                Err(why) => broken = why,
            }
        }
        Err(broken)
    }

    fn check(&self, part: &Era, list: &[AppendId], invoked: u64, now: u64) -> Result<(), String> {
        let common = part.longest.len().min(list.len());
        if part.longest[..common] != list[..common] {
            return Err(format!("a read shows {list:?}, another one showed {:?}", part.longest));
        }
        let shown: BTreeSet<&AppendId> = list.iter().collect();
        if shown.len() != list.len() {
            return Err(format!("an append is applied twice: {list:?}"));
        }
        let before = part.reads.iter().filter(|(answered, _)| *answered < invoked);
        if let Some((_, longer)) =
            before.max_by_key(|(_, length)| *length).filter(|(_, length)| *length > list.len())
        {
            return Err(format!("a read shows {} appends, one before it showed {longer}", list.len()));
        }
        let mut latest_begin = 0;
        for id in list {
            let Some(append) = self.appends.get(id) else { return Err(format!("nothing appended {id:?}")) };
            if append.invoked > now {
                return Err(format!("{id:?} is read before it began"));
            }
            if append.answered.is_some_and(|answered| answered < latest_begin) {
                return Err(format!("{id:?} comes after an append that began when it was done"));
            }
            latest_begin = latest_begin.max(append.invoked);
        }
        let must = |append: &Append| {
            append.invoked >= part.from && append.answered.is_some_and(|answered| answered < invoked)
        };
        let missing = self.appends.iter().find(|(id, append)| must(append) && !shown.contains(id));
        match missing {
            Some((id, append)) => {
                Err(format!("the append {id:?}, {append:?}, is lost: a read shows {list:?}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AppendId = (1, 1);
    const B: AppendId = (2, 1);

    /// A is done from 10 to 20, B from 30 to 40.
    fn two_appends() -> KeyHistory {
        let mut key = KeyHistory::new();
        for (id, at) in [(A, 10), (B, 30)] {
            key.invoked(id, at);
            key.applied(id);
            key.answered(id, at + 10);
        }
        key
    }

    #[test]
    fn reads_that_one_order_explains_are_accepted() {
        let mut key = two_appends();
        for (list, from, to) in [(&[][..], 5, 15), (&[A], 15, 35), (&[A, B], 35, 36), (&[A, B], 50, 60)] {
            assert_eq!(key.read(list, from, to), Ok(()));
        }
    }

    #[test]
    fn each_contradiction_is_found() {
        let broken = |lists: &[(&[AppendId], u64, u64)]| {
            let mut key = two_appends();
            let reads = lists.iter().map(|(list, from, to)| key.read(list, *from, *to));
            reads.collect::<Result<Vec<()>, _>>().expect_err("a contradiction")
        };
        assert!(broken(&[(&[A], 41, 50)]).contains("is lost"));
        assert!(broken(&[(&[B, A], 41, 50)]).contains("comes after"));
        assert!(broken(&[(&[A, A, B], 41, 50)]).contains("twice"));
        assert!(broken(&[(&[A], 1, 5)]).contains("before it began"));
        assert!(broken(&[(&[A, B], 32, 33), (&[A], 34, 35)]).contains("one before it showed 2"));
        assert!(broken(&[(&[A, B], 32, 33), (&[B], 32, 34)]).contains("another one showed"));
        assert!(broken(&[(&[(9, 9)], 15, 16)]).contains("nothing appended"));
    }

    #[test]
    fn a_reported_loss_begins_anew() {
        let mut key = two_appends();
        assert!(key.has_all_applied(&[A, B]) && !key.has_all_applied(&[A]));
        key.lost(50);
        assert_eq!(key.read(&[], 51, 52), Ok(()));
        assert_eq!(key.read(&[A, B], 45, 55), Ok(()), "it was read before the loss");
        assert!(key.read(&[A], 56, 57).is_ok(), "an append that was sent again may be done after the loss");
        assert!(key.read(&[], 58, 59).is_err());
    }
}
