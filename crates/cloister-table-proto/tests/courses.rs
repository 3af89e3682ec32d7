//! Courses of a few tables, message by message, for rules that random faults hardly ever miss: each is played with the rule and without
//! it.

mod course;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cloister_proto::{NodeId, Ring, Slot};
use cloister_table_proto::rule::Rule;
use cloister_table_proto::{Bytes, ChunkBody, Decision, Event, Message, OperationId, Token};

use course::{Course, epoch, is_learn, is_replicate, node};

/// A write that was never acknowledged is shown by the next view, whose owner then ends. Another node of the view before lacks it.
fn a_shown_write_is_gone(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    let all = [owner.clone(), copy.clone(), other.clone()];
    course.view(1, 0, &all);
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    course.insert(&owner, "key", "new");
    course.settle(|_, to, message| *to == copy && is_replicate(message));
    // The copy is cut off, and comes back later.
    let without_copy = [owner.clone(), other.clone()];
    course.view_without(2, 1, &without_copy, |_, _, message| is_learn(message));
    assert_eq!(course.read(&owner, "key").as_deref(), Some("new"));
    course.ends(&owner);
    course.view(3, 2, &[copy.clone(), other]);
    let next = course.tables.iter().find(|(_, table)| table.owned_slots().count() > 0);
    let next = next.map(|(node, _)| node.clone()).expect("an owner");
    (course.read(&next, "key"), course.losses)
}

#[test]
fn a_write_that_was_shown_and_is_gone_is_told() {
    assert_eq!(a_shown_write_is_gone(None), (Some("old".into()), vec![false]));
    assert_eq!(a_shown_write_is_gone(Some(Rule::SealStart)), (Some("old".into()), vec![]));
}

/// The same where the copy is a member of the next view: it gets the write before that is shown.
fn a_copy_lags_at_the_beginning_of_a_view(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    let all = [owner.clone(), copy.clone(), other.clone()];
    course.view(1, 0, &all);
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    course.insert(&owner, "key", "new");
    course.settle(|_, to, message| *to == copy && is_replicate(message));
    course.view_without(2, 1, &all, |_, _, message| is_learn(message));
    assert_eq!(course.read(&owner, "key").as_deref(), Some("new"));
    course.ends(&owner);
    course.view(3, 2, &[copy.clone(), other]);
    (course.has(&copy, "key"), course.losses)
}

#[test]
fn a_member_that_lags_catches_up_before_anything_is_shown() {
    assert_eq!(a_copy_lags_at_the_beginning_of_a_view(None), (Some("new".into()), vec![]));
    assert_eq!(
        a_copy_lags_at_the_beginning_of_a_view(Some(Rule::CatchUp)),
        (Some("old".into()), vec![false])
    );
}

/// A view begins at its owner alone, which says so to one of two members and ends. The other has a copy that was prepared for the view.
fn a_view_begins_and_ends_unheard(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    let all = [owner.clone(), copy.clone(), other.clone()];
    course.view(1, 0, &all);
    course.insert(&owner, "key", "value");
    course.settle(|_, _, _| false);
    // After this view all members know of the write, so the next one seals nothing before it serves.
    course.view(2, 1, &all);
    course.promise(3, 2, &all);
    course.settle(|_, _, _| false);
    course.up(3, 2, &all, std::slice::from_ref(&owner));
    course.settle(|_, to, _| *to == copy);
    course.insert(&owner, "key", "newer");
    course.settle(|_, to, _| *to == copy);
    course.ends(&owner);
    course.view(4, 3, &[copy.clone(), other]);
    (course.has(&copy, "key"), course.losses)
}

#[test]
fn a_copy_that_was_prepared_for_a_view_counts_for_it() {
    assert_eq!(a_view_begins_and_ends_unheard(None), (Some("value".into()), vec![]));
    assert_eq!(a_view_begins_and_ends_unheard(Some(Rule::Proof)), (None, vec![true]));
}

/// While a copy is made, a write of a key that it has already is lost on the way.
fn a_write_is_lost_between_two_chunks(disabled: Option<Rule>) -> Option<String> {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    let without_copy = [owner.clone(), other.clone()];
    course.view(1, 0, &without_copy);
    for key in ["a", "b", "c"] {
        course.insert(&owner, key, "old");
    }
    course.settle(|_, _, _| false);
    let all = [owner.clone(), copy.clone(), other];
    course.promise(2, 1, &all);
    course.settle(|_, _, _| false);
    course.up(2, 1, &all, &all);
    // One chunk after the other, each with one entry; the write comes after the first.
    let mut chunks = 0;
    while let Some((from, to, message)) = course.flying.pop_front() {
        let is_chunk = to == copy && matches!(message, Message::Chunk { .. });
        course.give(&to, Event::Received { from, message });
        if is_chunk {
            chunks += 1;
            if chunks == 1 {
                course.insert(&owner, "a", "new");
                course.flying.retain(|(_, to, message)| *to != copy || !is_replicate(message));
            }
        }
    }
    assert!(chunks >= 3);
    course.has(&copy, "a")
}

#[test]
fn a_copy_that_misses_a_write_is_made_anew() {
    assert_eq!(a_write_is_lost_between_two_chunks(None).as_deref(), Some("new"));
    assert_eq!(a_write_is_lost_between_two_chunks(Some(Rule::Continuous)).as_deref(), Some("old"));
}

/// A copy of a slot is made that has answers for clients; no message brings more than one of them, or one entry.
#[test]
fn the_answers_of_clients_travel_in_many_chunks() {
    let mut course = Course::new(None);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), other.clone()]);
    let id = |client: u64, number: u64| OperationId { client, number, settled: 1 };
    let ids: Vec<OperationId> =
        (1..=10).flat_map(|number| [1, 2, 3].map(|client| id(client, number))).collect();
    for (id, token) in ids.iter().zip(1..) {
        let (claim, key): (_, Bytes) = (course.claims.get(&owner).copied(), [id.number as u8].into());
        let table = course.tables.get_mut(&owner).expect("the node runs");
        let decide = |_: Option<&Bytes>| Decision::Insert { value: [7].into(), answer: [7; 100].into() };
        assert_eq!(table.write(claim, (course.slot, &key), Some(*id), Token(token), decide), Ok(()));
        course.perform(&owner);
    }
    course.settle(|_, _, _| false);
    let chunks = std::cell::Cell::new(0);
    course.view_without(2, 1, &[owner, copy.clone(), other], |_, _, message| {
        if let Message::Chunk { body: ChunkBody::Entries { entries, clients, .. }, .. } = message {
            let answers: usize = clients.iter().map(|(_, answers)| answers.answers.len()).sum();
            assert!(entries.len() + answers <= 1, "{} entries and {answers} answers", entries.len());
            chunks.set(chunks.get() + 1);
        }
        false
    });
    assert!(chunks.get() >= 40, "{} chunks", chunks.get());
    for id in &ids {
        assert!(course.tables[&copy].has_answered(course.slot, *id), "the answer of {id:?}");
    }
}

/// Each message takes longer than the time after which it is asked for again.
#[test]
fn a_slot_moves_over_a_slow_link() {
    /// In ticks.
    const DELAY: usize = 4;
    let mut course = Course::new(None);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), other.clone()]);
    let keys: Vec<String> = (10..30).map(|n| format!("key{n}")).collect();
    for key in &keys {
        course.insert(&owner, key, "value");
    }
    course.settle(|_, _, _| false);
    let all = [owner, copy.clone(), other];
    course.promise(2, 1, &all);
    course.settle(|_, _, _| false);
    course.up(2, 1, &all, &all);
    let (mut slow, mut chunks) = (VecDeque::new(), 0);
    let mut ticks = 0;
    while !keys.iter().all(|key| course.has(&copy, key).is_some()) {
        assert!(ticks < 1_000, "{chunks} chunks have brought nothing");
        ticks += 1;
        slow.push_back(std::mem::take(&mut course.flying));
        if slow.len() > DELAY {
            for (from, to, message) in slow.pop_front().into_iter().flatten() {
                chunks += usize::from(matches!(message, Message::Chunk { .. }));
                course.give(&to, Event::Received { from, message });
            }
        }
        all.iter().for_each(|node| course.give(node, Event::Tick));
    }
    // There and back for each of 20 entries. At first some are asked for again before they can have come.
    assert!(ticks <= keys.len() * 2 * (DELAY + 1) + 20, "{ticks} ticks");
    assert!(chunks <= keys.len() + 5, "{chunks} chunks for {} entries", keys.len());
}

/// A node that joins fetches hundreds of slots, and no more at a time from one node than there is room for on a slow link.
#[test]
fn few_slots_are_fetched_from_one_node_at_a_time() {
    let nodes = [1, 2, 3].map(node);
    let slots: Vec<Slot> = Slot::all().step_by(50).collect();
    let mut course = Course::with_slots(&nodes, &slots, None);
    let [one, two, joins] = nodes.clone();
    course.view(1, 0, &[one, two]);
    let fetched = std::cell::RefCell::new(BTreeMap::<NodeId, BTreeSet<Slot>>::new());
    course.view_without(2, 1, &nodes, |_, to, message| {
        if let Message::Fetch { slot, .. } = message {
            fetched.borrow_mut().entry(to.clone()).or_default().insert(*slot);
        }
        matches!(message, Message::Chunk { .. })
    });
    let fetched = fetched.into_inner();
    assert!(fetched.len() == 2 && fetched.values().all(|slots| slots.len() == 8), "{fetched:?}");
    // What was lost comes, and then the rest.
    for _ in 0..3 {
        nodes.iter().for_each(|node| course.give(node, Event::Tick));
        course.settle(|_, _, _| false);
    }
    let ring = Ring::new(&nodes);
    for slot in slots.iter().filter(|slot| ring.owners_of(**slot, 2).contains(&&joins)) {
        assert!(course.tables[&joins].content(*slot).is_some(), "slot {slot}");
    }
}

/// A slot moves from two nodes to two others. The new owner writes, and ends before the other copy is made.
fn both_copies_move(disabled: Option<Rule>) -> (Vec<Option<String>>, Vec<bool>) {
    let all = [1, 2, 3, 4].map(node);
    let (before, after) = all.split_at(2);
    let ring = Ring::new(&all);
    let moves = |slot: &Slot| ring.owners_of(*slot, 2).iter().all(|node| after.contains(node));
    let slot = Slot::all().find(moves).expect("a slot whose copies move");
    let owner_of = |members: &[NodeId]| Ring::new(members).owner(slot).cloned().expect("an owner");
    let mut course = Course::of(&all, slot, disabled);
    course.view(1, 0, before);
    course.insert(&owner_of(before), "key", "old");
    course.settle(|_, _, _| false);
    course.view_without(2, 1, &all, |_, _, message| is_learn(message));
    let owner = owner_of(&all);
    let token = course.insert(&owner, "key", "new");
    course.settle(|_, _, message| is_learn(message));
    assert!(course.answered.contains(&token));
    course.ends(&owner);
    let rest: Vec<NodeId> = all.iter().filter(|node| **node != owner).cloned().collect();
    course.view(3, 2, &rest);
    (rest.iter().map(|node| course.has(node, "key")).filter(Option::is_some).collect(), course.losses)
}

#[test]
fn nodes_that_have_the_content_stay_copies_until_the_new_ones_are_complete() {
    let (copies, losses) = both_copies_move(None);
    assert!(copies.len() >= 2 && copies.iter().all(|value| value.as_deref() == Some("new")), "{copies:?}");
    assert_eq!(losses, []);
    assert_eq!(both_copies_move(Some(Rule::KeepUntilComplete)), (vec![], vec![true]));
}

/// It may be much, and takes long to be dropped.
#[test]
fn what_a_node_has_no_more_is_handed_out() {
    let all = [1, 2, 3, 4].map(node);
    let (before, after) = all.split_at(2);
    let ring = Ring::new(&all);
    let moves = |slot: &Slot| ring.owners_of(*slot, 2).iter().all(|node| after.contains(node));
    let mut course = Course::of(&all, Slot::all().find(moves).expect("a slot whose copies move"), None);
    course.view(1, 0, before);
    let owner = Ring::new(before).owner(course.slot).cloned().expect("an owner");
    course.insert(&owner, "key", "value");
    course.settle(|_, _, _| false);
    course.view(2, 1, &all);
    assert_eq!(course.discarded, before.iter().cloned().collect());
    assert!(before.iter().all(|node| course.has(node, "key").is_none()));
}

/// A copy is cut off. The others have a view without it, write, and end, all of them. Nothing that is left knows of that view.
fn a_view_is_known_to_nodes_that_ended(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), copy.clone(), other.clone()]);
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    course.view(2, 1, &[owner.clone(), other.clone()]);
    let token = course.insert(&owner, "key", "new");
    course.settle(|_, _, _| false);
    assert!(course.answered.contains(&token));
    course.ends(&owner);
    course.ends(&other);
    course.view(3, 1, std::slice::from_ref(&copy));
    (course.read(&copy, "key"), course.losses)
}

#[test]
fn a_view_that_nothing_knows_of_is_a_loss_that_is_not_certain() {
    assert_eq!(a_view_is_known_to_nodes_that_ended(None), (Some("old".into()), vec![false]));
    assert_eq!(a_view_is_known_to_nodes_that_ended(Some(Rule::Doubt)), (Some("old".into()), vec![]));
}

/// A node has heard of a view of others by a message of theirs. It is up in a view that follows none, and its owner ends.
#[test]
fn a_node_that_heard_of_an_installed_view_knows_of_it_only_as_far_as_it_was_told() {
    let mut course = Course::new(None);
    let [first, second, third] = course.order();
    course.view(1, 0, std::slice::from_ref(&first));
    course.insert(&first, "key", "value");
    course.settle(|_, _, _| false);
    let learn = Message::Learn { epoch: epoch(1), slot: course.slot };
    course.give(&third, Event::Received { from: first.clone(), message: learn });
    course.ends(&first);
    let others = [second.clone(), third.clone()];
    course.promise(2, 0, &others);
    course.settle(|_, _, _| false);
    course.up(2, 0, &others, std::slice::from_ref(&third));
    course.ends(&second);
    course.view(3, 2, std::slice::from_ref(&third));
    assert_eq!((course.read(&third, "key"), course.losses), (None, vec![false]));
}

/// A copy stands still while the slot is lost for certain. It comes back when the owner that reported the loss has ended.
#[test]
fn what_was_lost_for_certain_does_not_come_back() {
    let all = [1, 2, 3, 4].map(node);
    let mut course = Course::of(&all, Slot::of(b"any"), None);
    let [first, second, third, fourth] = all;
    let members = [first, second, third];
    course.view(1, 0, &members);
    course.acknowledged(course.slot, &members, "key", "value");
    let copies = course.copies_in(course.slot, &members);
    let witness = members.into_iter().find(|member| !copies.contains(member)).expect("one without a copy");
    course.ends(&copies[0]);
    let two = [witness, fourth];
    course.view_without(2, 1, &two, |_, _, message| is_learn(message));
    assert_eq!(course.losses, [true]);
    let owner = course.copies_in(course.slot, &two)[0].clone();
    course.ends(&owner);
    let other = two.into_iter().find(|member| *member != owner).expect("another");
    let last = [other, copies[1].clone()];
    course.view(3, 2, &last);
    assert_eq!((course.found(course.slot, &last, "key"), course.losses), (Ok(None), vec![true, true]));
}

/// Nodes with an old copy prepare for a view that comes to nothing, while a view that they are not in writes.
fn a_proposal_comes_to_nothing(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let all = [1, 2, 3, 4].map(node);
    let [first, second, third, fourth] = all.clone();
    let slot = Slot::of(b"any");
    let owner_of = |members: &[NodeId]| Ring::new(members).owner(slot).cloned().expect("an owner");
    let mut course = Course::of(&all, slot, disabled);
    let (cut_off, others) = ([second.clone(), fourth.clone()], [first.clone(), third.clone()]);
    let pairs = [[first.clone(), second.clone()], [first, third]];
    for ((members, view), value) in pairs.iter().zip(1..).zip(["old", "new"]) {
        course.view(view, view - 1, members);
        let token = course.insert(&owner_of(members), "key", value);
        course.settle(|_, _, _| false);
        assert!(course.answered.contains(&token));
    }
    let cut = |course: &mut Course, event: fn(NodeId) -> Event| {
        for (one, other) in cut_off.iter().flat_map(|one| others.iter().map(move |other| (one, other))) {
            course.give(one, event(other.clone()));
        }
    };
    cut(&mut course, Event::Unlinked);
    course.promise(3, 1, &[second, fourth]);
    course.settle(|_, _, _| false);
    cut(&mut course, Event::Linked);
    course.view(4, 2, &all);
    (course.read(&owner_of(&all), "key"), course.losses)
}

#[test]
fn what_was_prepared_for_a_proposal_outranks_nothing() {
    assert_eq!(a_proposal_comes_to_nothing(None), (Some("new".into()), vec![]));
    assert_eq!(a_proposal_comes_to_nothing(Some(Rule::Candidate)).0.as_deref(), Some("old"));
}

/// Both nodes that have the slot leave in order in one view. They are linked until they have handed it over.
fn both_copies_leave(disabled: Option<Rule>) -> (Option<String>, Vec<bool>) {
    let all = [1, 2, 3, 4].map(node);
    let slot = Slot::of(b"any");
    let mut course = Course::of(&all, slot, disabled);
    course.view(1, 0, &all);
    course.acknowledged(slot, &all, "key", "value");
    let leavers = course.copies_in(slot, &all);
    for leaver in &leavers {
        course.claims.remove(leaver);
        course.give(leaver, Event::Leaves);
    }
    let rest: Vec<NodeId> = all.into_iter().filter(|node| !leavers.contains(node)).collect();
    course.view(2, 1, &rest);
    (course.found(slot, &rest, "key").expect("the slot is served"), course.losses)
}

#[test]
fn members_that_leave_hand_over_what_only_they_have() {
    assert_eq!(both_copies_leave(None), (Some("value".into()), vec![]));
    assert_eq!(both_copies_leave(Some(Rule::AskLeavers)), (None, vec![true]));
}

/// A copy has been fetched, and its owner has not heard of that: a write is acknowledged without it. Then all that have the write end.
fn a_copy_that_lacks_a_write_is_left(disabled: Option<Rule>) -> Vec<bool> {
    let all = [1, 2, 3, 4, 5].map(node);
    let (before, after) = all.split_at(2);
    let ring = Ring::new(&all);
    let moves = |slot: &Slot| ring.owners_of(*slot, 2).iter().all(|node| after.contains(node));
    let slot = Slot::all().find(moves).expect("a slot whose copies move");
    let mut course = Course::of(&all, slot, disabled);
    course.view(1, 0, before);
    let owner = Ring::new(before).owner(slot).cloned().expect("an owner");
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    let owner = ring.owner(slot).cloned().expect("an owner");
    let copy = ring.owners_of(slot, 2)[1].clone();
    let is_unheard =
        |from: &NodeId, message: &Message| *from == copy && matches!(message, Message::Replicated { .. });
    course.view_without(2, 1, &all, |from, _, message| is_unheard(from, message));
    assert_eq!(course.has(&copy, "key").as_deref(), Some("old"));
    let token = course.insert(&owner, "key", "new");
    course.settle(|_, to, message| *to == copy && is_replicate(message));
    assert!(course.answered.contains(&token));
    for node in all.iter().filter(|node| **node != copy) {
        if course.has(node, "key").as_deref() == Some("new") {
            course.ends(node);
        }
    }
    let rest: Vec<NodeId> = course.tables.keys().cloned().collect();
    assert!(rest.len() >= 3 && rest.contains(&copy), "{rest:?}");
    course.view(3, 2, &rest);
    course.losses
}

#[test]
fn a_copy_is_complete_once_it_is_counted() {
    assert_eq!(a_copy_that_lacks_a_write_is_left(None), [true]);
    assert_eq!(a_copy_that_lacks_a_write_is_left(Some(Rule::Count)), []);
}

/// Two of three nodes do not reach each other any more. The third agrees on a view with one of them, which owns the slot. It is linked to
/// the other, which proposes a view of its own that comes to nothing.
#[test]
fn a_view_waits_for_no_answer_of_a_linked_node_that_has_promised_a_later_one() {
    let mut course = Course::new(None);
    let [owner, other, third] = course.order();
    course.view(1, 0, &[owner.clone(), other.clone(), third.clone()]);
    course.give(&other, Event::Unlinked(third.clone()));
    course.give(&third, Event::Unlinked(other.clone()));
    course.promise(3, 1, std::slice::from_ref(&third));
    let rest = [owner.clone(), other];
    course.promise(2, 1, &rest);
    course.settle(|_, _, _| false);
    for member in &rest {
        assert!(course.released.contains(&(member.clone(), epoch(2))), "{member}");
    }
    course.up(2, 1, &rest, &rest);
    course.settle(|_, _, _| false);
    assert_eq!(course.read(&owner, "key"), None);
    assert_eq!(course.losses, []);
}

/// A node writes in a view of its own, leaves, and ends after it has reported that and before it has handed it over. The view that asked it is
/// followed by another one before it begins.
#[test]
fn what_a_leaver_reported_and_took_with_it_is_a_loss_also_in_the_view_after_the_next() {
    let mut course = Course::new(None);
    let [writer, asker, other] = course.order();
    let (both, rest) = ([writer.clone(), asker.clone()], [asker.clone(), other]);
    course.view(1, 0, &both);
    course.acknowledged(course.slot, &both, "key", "old");
    let alone = std::slice::from_ref(&writer);
    course.view(2, 1, alone);
    course.acknowledged(course.slot, alone, "key", "new");
    course.claims.remove(&writer);
    course.give(&writer, Event::Leaves);
    course.promise(3, 1, std::slice::from_ref(&asker));
    course.settle(|_, _, message| matches!(message, Message::Fetch { .. }));
    course.ends(&writer);
    course.settle(|_, _, _| false);
    course.view(4, 3, &rest);
    assert_eq!((course.found(course.slot, &rest, "key"), &*course.losses), (Ok(None), &[true][..]));
}
