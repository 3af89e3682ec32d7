//! Writes to a copy behind a link that is slow, or that loses messages.

mod course;

use std::collections::VecDeque;

use cloister_proto::{NodeId, Slot};
use cloister_table_proto::{Bytes, Decision, Event, Message, Token};
use course::{Course, is_replicate, node};

/// How many writes there are.
const WRITES: usize = 100;

/// Two nodes with a link that takes some ticks in each direction.
struct Slow {
    course: Course,
    slots: Vec<Slot>,
    delay: usize,
    under_way: VecDeque<VecDeque<(NodeId, NodeId, Message)>>,
    ticks: usize,
    /// How many writes were sent, and how many messages with writes.
    writes: usize,
    replicates: usize,
}

impl Slow {
    fn new(delay: usize) -> Self {
        let nodes = [1, 2].map(node);
        let slots: Vec<Slot> = Slot::all().step_by(163).collect();
        let mut course = Course::with_slots(&nodes, &slots, None);
        course.view(1, 0, &nodes);
        Self { course, slots, delay, under_way: VecDeque::new(), ticks: 0, writes: 0, replicates: 0 }
    }

    /// So many more writes, each to the next slot.
    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let slot = self.slots[self.writes % self.slots.len()];
            let owner = self.course.copies_in(slot, &[1, 2].map(node))[0].clone();
            self.writes += 1;
            let key = self.writes.to_string();
            self.course.insert_in(slot, &owner, &key, "value").expect("the slot is served");
        }
    }

    /// In each slot that was written an operation leaves its key as it is: it waits for the writes before it, and is not sent.
    fn keep(&mut self) {
        for slot in self.slots.iter().take(self.writes).copied() {
            let owner = self.course.copies_in(slot, &[1, 2].map(node))[0].clone();
            self.course.tokens += 1;
            let (token, claim) = (Token(self.course.tokens), self.course.claims.get(&owner).copied());
            let table = self.course.tables.get_mut(&owner).expect("the node runs");
            let keep = |_: Option<&Bytes>| Decision::Keep { answer: Bytes::default() };
            table.write(claim, (slot, &Bytes::default()), None, token, keep).expect("the slot is served");
            self.course.perform(&owner);
        }
    }

    /// A tick passes, and what was sent so many ticks ago arrives, but for what is dropped.
    fn tick(&mut self, drops: &mut impl FnMut(&Message) -> bool) {
        self.ticks += 1;
        self.under_way.push_back(std::mem::take(&mut self.course.flying));
        let sent = self.under_way.back().into_iter().flatten();
        self.replicates += sent.filter(|(_, _, message)| is_replicate(message)).count();
        if self.under_way.len() > self.delay {
            for (from, to, message) in self.under_way.pop_front().into_iter().flatten() {
                if !drops(&message) {
                    self.course.give(&to, Event::Received { from, message });
                }
            }
        }
        self.course.tick();
    }

    fn until_all_are_acknowledged(&mut self, max_ticks: usize, mut drops: impl FnMut(&Message) -> bool) {
        let operations = usize::try_from(self.course.tokens).expect("they are few");
        while self.course.answered.len() < operations {
            let (ticks, answered) = (self.ticks, self.course.answered.len());
            assert!(ticks < max_ticks, "{answered} of {operations} are answered after {ticks} ticks");
            self.tick(&mut drops);
        }
    }
}

#[test]
fn writes_that_are_slow_to_arrive_are_hardly_sent_again() {
    // All at once, and a few at a time.
    for at_once in [WRITES, 4] {
        let mut slow = Slow::new(5);
        while slow.writes < WRITES {
            slow.write(at_once);
            slow.tick(&mut |_| false);
            slow.keep();
        }
        slow.until_all_are_acknowledged(60, |_| false);
        let Slow { ticks, replicates, .. } = slow;
        println!("{at_once} at once: {replicates} messages for {WRITES} writes in {ticks} ticks");
        assert!(replicates <= 2 * WRITES, "{replicates} messages for {WRITES} writes");
        assert!(ticks <= WRITES / at_once + 15, "{ticks} ticks");
    }
}

/// Each tenth message is lost while the link stays, as where too much waits to be sent.
#[test]
fn writes_that_are_lost_are_sent_again_soon() {
    // A write that is lost holds up those after it in its slot, which are sent again with it.
    for (delay, max) in [(0, 2), (5, 6)] {
        let (mut slow, mut messages) = (Slow::new(delay), 0);
        let mut drops = |_: &Message| {
            messages += 1;
            messages % 10 == 0
        };
        while slow.writes < 10 * WRITES {
            slow.write(20);
            slow.tick(&mut drops);
        }
        let written = slow.ticks;
        slow.until_all_are_acknowledged(written + 10 * (delay + 1), &mut drops);
        let Slow { ticks, replicates, writes, .. } = slow;
        println!(
            "after {delay} ticks: {replicates} messages for {writes} writes, the last {} ticks later",
            ticks - written
        );
        assert!(replicates <= max * writes, "{replicates} messages for {writes} writes");
    }
}

/// All of them are, and none follows.
#[test]
fn a_burst_that_is_lost_is_sent_again_once() {
    let mut slow = Slow::new(0);
    slow.write(WRITES);
    slow.tick(&mut is_replicate);
    slow.until_all_are_acknowledged(6, |_| false);
    assert_eq!(slow.replicates, 2 * WRITES);
}
