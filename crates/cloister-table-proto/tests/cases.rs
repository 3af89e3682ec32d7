//! The failure cases that the design of tables names, each a course of a few messages. The page `docs/decisions/020-tables.md` has all of
//! them, with the tests of those that are elsewhere.

mod course;

use std::collections::BTreeSet;

use cloister_proto::{Incarnation, NodeId, Ring, Slot};
use cloister_table_proto::rule::Rule;
use cloister_table_proto::{Event, Message, OnLoss, Refusal};

use course::{Course, epoch, is_learn, is_replicate, node};

const KEYS: [&str; 3] = ["a", "b", "c"];

fn nodes(count: u64) -> Vec<NodeId> {
    (1..=count).map(node).collect()
}

fn without(nodes: &[NodeId], gone: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().filter(|node| !gone.contains(node)).cloned().collect()
}

/// A slot whose copies are all elsewhere once the nodes after the first `before` have joined.
fn slot_that_moves(all: &[NodeId], before: usize, copies: usize) -> Slot {
    let ring = Ring::new(all);
    let moves = |slot: &Slot| !ring.owners_of(*slot, copies).iter().any(|node| all[..before].contains(node));
    Slot::all().find(moves).expect("a slot whose copies move")
}

/// A slot that moves from the first nodes to others, with an entry for each key; the new owner has fetched a part of it.
fn half_moved(copies: usize, before: usize, all: &[NodeId]) -> Course {
    let slot = slot_that_moves(all, before, copies);
    let mut course = Course::of(all, slot, None);
    course.copies = copies;
    course.view(1, 0, &all[..before]);
    KEYS.iter().for_each(|key| course.acknowledged(slot, &all[..before], key, "value"));
    course
}

fn is_chunk(_: &NodeId, _: &NodeId, message: &Message) -> bool {
    matches!(message, Message::Chunk { .. })
}

fn all_are_there(course: &Course, members: &[NodeId]) {
    for key in KEYS {
        assert_eq!(course.found(course.slot, members, key), Ok(Some("value".to_owned())), "{key}");
    }
    assert_eq!(course.losses, []);
}

#[test]
fn a_member_that_a_slot_comes_from_ends_in_the_middle_of_it() {
    let all = nodes(4);
    let mut course = half_moved(2, 2, &all);
    course.promise(2, 1, &all);
    let source = std::cell::RefCell::new(None);
    assert!(course.until(|from, to, message| {
        let is_it = is_chunk(from, to, message);
        *source.borrow_mut() = is_it.then(|| from.clone());
        is_it
    }));
    let (source, owner) =
        (source.into_inner().expect("a source"), course.copies_in(course.slot, &all)[0].clone());
    assert!(course.has(&owner, "c").is_none(), "it has all of it");
    course.ends(&source);
    // The other node that has the content goes on with it in the same view.
    course.settle(|_, _, _| false);
    assert_eq!(KEYS.map(|key| course.has(&owner, key).is_some()), [true; 3]);
    let rest = without(&all, &[source]);
    course.view(3, 1, &rest);
    all_are_there(&course, &rest);
}

#[test]
fn a_leaver_that_has_the_only_copy_of_a_slot_ends_in_the_middle_of_it_and_the_loss_is_told() {
    let all = nodes(3);
    let mut course = half_moved(1, 1, &all);
    let (leaver, rest) = (all[0].clone(), all[1..].to_vec());
    course.give(&leaver, Event::Leaves);
    course.promise(2, 1, &rest);
    assert!(course.until(is_chunk));
    course.ends(&leaver);
    course.settle(|_, _, _| false);
    course.up(2, 1, &rest, &rest);
    course.settle(|_, _, _| false);
    // None of what has come is shown: it is no content that there ever was.
    assert_eq!(KEYS.map(|key| course.found(course.slot, &rest, key)), [const { Ok(None) }; 3]);
    // It had reported that the view before wrote the slot, and nothing has that any more.
    assert_eq!(course.losses, [true]);
}

#[test]
fn a_leaver_goes_before_all_that_it_has_was_fetched_and_nothing_is_lost_with_another_copy() {
    let all = nodes(4);
    let mut course = half_moved(2, 2, &all);
    let (leaver, rest) = (all[0].clone(), all[1..].to_vec());
    course.give(&leaver, Event::Leaves);
    course.promise(2, 1, &rest);
    assert!(course.until(is_chunk));
    course.ends(&leaver);
    course.settle(|_, _, _| false);
    course.up(2, 1, &rest, &rest);
    course.settle(|_, _, _| false);
    all_are_there(&course, &rest);
}

#[test]
fn a_node_that_leaves_below_a_majority_keeps_what_it_has_until_another_has_it() {
    let all = nodes(2);
    let slot = slot_that_moves(&all, 1, 1);
    let mut course = Course::of(&all, slot, None);
    course.copies = 1;
    course.view(1, 0, &all);
    KEYS.iter().for_each(|key| course.acknowledged(slot, &all, key, "value"));
    let (rest, leaver) = (&all[..1], all[1].clone());
    course.give(&leaver, Event::Leaves);
    course.claims.remove(&leaver);
    // The other is too few for a view.
    course.claims.remove(&rest[0]);
    course.give(&rest[0], Event::Down);
    for _ in 0..10 {
        course.tick();
        course.settle(|_, _, _| false);
    }
    assert!(!course.left.contains(&leaver), "nothing has what it had");
    course.view(2, 1, rest);
    assert!(course.left.contains(&leaver), "it waits though another has all");
    course.ends(&leaver);
    all_are_there(&course, rest);
}

#[test]
fn a_node_that_is_to_own_a_slot_ends_while_it_fetches_it() {
    let all = nodes(4);
    let mut course = half_moved(2, 2, &all);
    course.promise(2, 1, &all);
    assert!(course.until(is_chunk));
    let owner = course.copies_in(course.slot, &all)[0].clone();
    course.ends(&owner);
    let rest = without(&all, &[owner]);
    course.view(3, 1, &rest);
    all_are_there(&course, &rest);
}

#[test]
fn a_round_is_abandoned_after_half_of_the_slots() {
    let all = nodes(4);
    let before = &all[..2];
    let slots: Vec<Slot> = Slot::all().step_by(256).collect();
    let mut course = Course::with_slots(&all, &slots, None);
    course.view(1, 0, before);
    slots.iter().for_each(|slot| course.acknowledged(*slot, before, "a", "value"));
    course.promise(2, 1, &all);
    let chunks = std::cell::Cell::new(0);
    assert!(course.until(|from, to, message| {
        chunks.set(chunks.get() + usize::from(is_chunk(from, to, message)));
        chunks.get() == 16
    }));
    // It comes to nothing, and the next proposal is without one of the nodes that fetched.
    let rest = all[..3].to_vec();
    course.flying.clear();
    course.view(3, 1, &rest);
    for slot in &slots {
        assert_eq!(course.found(*slot, &rest, "a"), Ok(Some("value".to_owned())), "slot {slot}");
    }
    assert_eq!(course.losses, []);
}

#[test]
fn an_owner_misses_the_commit_of_its_view() {
    let all = nodes(4);
    let mut course = half_moved(2, 2, &all);
    course.promise(2, 1, &all);
    course.settle(|_, _, _| false);
    let owner = course.copies_in(course.slot, &all)[0].clone();
    // The others are up in it; it hears of the next view only.
    course.up(2, 1, &all, &without(&all, std::slice::from_ref(&owner)));
    course.settle(|_, _, _| false);
    let read = |course: &Course| course.found(course.slot, &all, "a");
    assert_eq!(read(&course), Err(Refusal::NoClaim), "it serves a view that it has not heard of");
    course.view(3, 2, &all);
    all_are_there(&course, &all);
}

#[test]
fn a_round_that_does_not_wait_for_tables_serves_nothing_before_they_are_ready() {
    let all = nodes(4);
    let mut course = half_moved(2, 2, &all);
    course.promise(2, 1, &all);
    // Its hold was missed, or overrun: the view begins, and no table has answered.
    course.up(2, 1, &all, &all);
    assert_eq!(course.found(course.slot, &all, "a"), Err(Refusal::NotReady));
    let owner = course.copies_in(course.slot, &all)[0].clone();
    assert_eq!(course.insert_in(course.slot, &owner, "a", "new"), Err(Refusal::NotReady));
    course.settle(|_, _, _| false);
    all_are_there(&course, &all);
}

/// A node with the only copy hears nothing of two views. Returns whether the second of them was served without it, and how many entries
/// are gone in the end.
fn a_table_sleeps_through_two_views(disabled: Option<Rule>) -> (bool, usize) {
    let all = nodes(4);
    let slot = slot_that_moves(&all, 1, 1);
    let mut course = Course::of(&all, slot, disabled);
    course.copies = 1;
    let asleep = all[0].clone();
    course.view(1, 0, &all[..1]);
    course.acknowledged(slot, &all[..1], "a", "value");
    let awake = without(&all, std::slice::from_ref(&asleep));
    for view in [2, 3] {
        for member in &awake {
            course.claims.remove(member);
            course.give(member, Event::Promised(course.placement(view, 1, &all)));
        }
        course.up(view, 1, &all, &awake);
        course.settle(|_, to, _| *to == asleep);
    }
    let is_served = course.found(slot, &all, "a").is_ok();
    course.view(4, 3, &all);
    (is_served, usize::from(course.found(slot, &all, "a") != Ok(Some("value".to_owned()))))
}

#[test]
fn a_table_that_sleeps_through_two_views_is_waited_for() {
    assert_eq!(a_table_sleeps_through_two_views(None), (false, 0));
    assert_eq!(a_table_sleeps_through_two_views(Some(Rule::AskAll)), (false, 1));
}

#[test]
fn a_node_that_is_restarted_in_place_gets_its_copies_back() {
    for restarted in [0, 1] {
        let mut course = Course::new(None);
        let members = course.order();
        course.view(1, 0, &members);
        KEYS.iter().for_each(|key| course.acknowledged(course.slot, &members, key, "value"));
        // The same address, before the others have noticed that it was gone.
        let id = &members[restarted];
        course.ends(id);
        course.starts(&NodeId::new(id.name().clone(), Incarnation(100), 100));
        let all: Vec<NodeId> = course.tables.keys().cloned().collect();
        course.view(2, 1, &all);
        all_are_there(&course, &all);
        let has_all = |copy: &NodeId| KEYS.iter().all(|key| course.has(copy, key).is_some());
        assert!(course.copies_in(course.slot, &all).iter().all(has_all));
    }
}

/// A copy stands still, the others go on in a view without it, and the owner is killed. Then the copy goes on.
fn a_copy_resumes_after_the_owner_was_killed(disabled: Option<Rule>) -> Option<String> {
    let all = nodes(4);
    let slot = Slot::of(b"any");
    let mut course = Course::of(&all, slot, disabled);
    let paused = course.copies_in(slot, &all)[1].clone();
    let rest = without(&all, &[paused]);
    course.view(1, 0, &all);
    course.acknowledged(slot, &all, "a", "old");
    course.view(2, 1, &rest);
    course.acknowledged(slot, &rest, "a", "new");
    let owner = course.copies_in(slot, &rest)[0].clone();
    let has = course.copies_in(slot, &rest)[1].clone();
    course.ends(&owner);
    let left = without(&all, &[owner]);
    course.promise(3, 2, &left);
    // The node that has the new value answers last.
    course.settle(|from, _, message| *from == has && matches!(message, Message::Reports { .. }));
    course.up(3, 2, &left, &left);
    for _ in 0..3 {
        course.tick();
        course.settle(|_, _, _| false);
    }
    course.found(slot, &left, "a").expect("it is served")
}

#[test]
fn a_copy_that_stood_still_does_not_bring_back_what_was_before() {
    assert_eq!(a_copy_resumes_after_the_owner_was_killed(None).as_deref(), Some("new"));
    assert_eq!(a_copy_resumes_after_the_owner_was_killed(Some(Rule::AskAll)), None);
}

/// A write of a view is under way when its copy promises the next view. It arrives after that. Returns whether it was acknowledged.
fn a_write_arrives_after_the_fence(disabled: Option<Rule>) -> bool {
    let mut course = Course::new(disabled);
    let [owner, copy, other] = course.order();
    let all = [owner.clone(), copy.clone(), other.clone()];
    course.view(1, 0, &all);
    course.acknowledged(course.slot, &all, "a", "value");
    let token = course.insert(&owner, "a", "late");
    let late = std::mem::take(&mut course.flying);
    // The owner is cut off from the third, and hears nothing of the view of the two others.
    course.promise(2, 1, &[copy.clone(), other]);
    course.settle(|_, to, _| *to == owner);
    course.flying = late;
    course.settle(|from, to, message| {
        *to == owner && *from == copy && !matches!(message, Message::Replicated { .. })
    });
    course.answered.contains(&token)
}

#[test]
fn a_write_that_comes_after_a_copy_has_promised_the_next_view_is_not_acknowledged() {
    assert!(!a_write_arrives_after_the_fence(None));
    assert!(a_write_arrives_after_the_fence(Some(Rule::Fence)));
}

#[test]
fn a_link_is_reset_under_a_write_and_the_view_goes_on() {
    let mut course = Course::new(None);
    let [owner, copy, other] = course.order();
    let all = [owner.clone(), copy.clone(), other];
    course.view(1, 0, &all);
    course.acknowledged(course.slot, &all, "a", "value");
    let token = course.insert(&owner, "a", "new");
    course.settle(|_, _, message| is_replicate(message));
    assert!(!course.answered.contains(&token));
    for event in [Event::Unlinked as fn(NodeId) -> Event, Event::Linked] {
        course.give(&owner, event(copy.clone()));
        course.give(&copy, event(owner.clone()));
    }
    course.settle(|_, _, _| false);
    assert!(course.answered.contains(&token), "what the link lost is not sent again");
    assert_eq!((course.has(&copy, "a").as_deref(), course.losses.len()), (Some("new"), 0));
}

/// Five nodes; the two that have the copies of the slot are cut off, and come back later.
fn split_off(on_loss: OnLoss) -> (Course, Vec<NodeId>, Vec<NodeId>) {
    let all = nodes(5);
    let slot = Slot::of(b"any");
    let mut course = Course::with_options(&all, &[slot], None, on_loss);
    course.view(1, 0, &all);
    course.acknowledged(slot, &all, "a", "value");
    let small = course.copies_in(slot, &all);
    let large = without(&all, &small);
    for (one, other) in small.iter().flat_map(|one| large.iter().map(move |other| (one, other))) {
        course.give(one, Event::Unlinked(other.clone()));
        course.give(other, Event::Unlinked(one.clone()));
    }
    for node in &small {
        course.claims.remove(node);
        course.give(node, Event::Down);
    }
    course.view(2, 1, &large);
    (course, all, large)
}

fn join_again(course: &mut Course, all: &[NodeId], large: &[NodeId]) {
    let small = without(all, large);
    for (one, other) in small.iter().flat_map(|one| large.iter().map(move |other| (one, other))) {
        course.give(one, Event::Linked(other.clone()));
        course.give(other, Event::Linked(one.clone()));
    }
    course.view(3, 2, all);
}

#[test]
fn a_slot_with_all_copies_on_the_small_side_of_a_split_goes_on_empty_and_that_is_told_once() {
    let (mut course, all, large) = split_off(OnLoss::Empty);
    assert_eq!((course.found(course.slot, &large, "a"), course.losses.clone()), (Ok(None), vec![true]));
    course.acknowledged(course.slot, &large, "b", "new");
    join_again(&mut course, &all, &large);
    let found = ["a", "b"].map(|key| course.found(course.slot, &all, key).expect("it is served"));
    assert_eq!(found, [None, Some("new".to_owned())], "what was told to be lost comes back");
    assert_eq!(course.losses, [true]);
}

#[test]
fn a_slot_with_all_copies_on_the_small_side_of_a_split_waits_for_them() {
    let (mut course, all, large) = split_off(OnLoss::Wait);
    assert_eq!(course.found(course.slot, &large, "a"), Err(Refusal::Lost));
    assert_eq!(course.waiting, BTreeSet::from([course.slot]));
    join_again(&mut course, &all, &large);
    assert_eq!(course.found(course.slot, &all, "a"), Ok(Some("value".to_owned())));
    assert_eq!(course.losses, []);
}

/// All nodes end, and others start in their places, with a state file that knows of the view before, or without. Returns what is told.
fn all_nodes_restart(remembers: bool, disabled: Option<Rule>) -> Vec<bool> {
    let mut course = Course::new(disabled);
    let members = course.order();
    course.view(1, 0, &members);
    course.acknowledged(course.slot, &members, "a", "value");
    members.iter().for_each(|member| course.ends(member));
    let new = [11, 12, 13].map(node);
    new.iter().for_each(|node| course.starts(node));
    course.view(2, u64::from(remembers), &new);
    assert_eq!(course.found(course.slot, &new, "a"), Ok(None));
    course.losses
}

#[test]
fn nodes_that_all_restart_tell_that_what_was_there_may_be_lost_if_they_know_that_there_was_a_view() {
    assert_eq!(all_nodes_restart(true, None), [false]);
    assert_eq!(all_nodes_restart(true, Some(Rule::Inform)), []);
    assert_eq!(all_nodes_restart(false, None), []);
}

#[test]
fn two_nodes_are_killed_at_once_and_the_loss_is_told_of_each_slot_that_had_no_other_copy() {
    let all = nodes(5);
    let slots: Vec<Slot> = Slot::all().step_by(64).collect();
    let mut course = Course::with_slots(&all, &slots, None);
    course.view(1, 0, &all);
    slots.iter().for_each(|slot| course.acknowledged(*slot, &all, "a", "value"));
    let (killed, rest) = all.split_at(2);
    let is_gone = |slot: &&Slot| course.copies_in(**slot, &all).iter().all(|copy| killed.contains(copy));
    let gone: BTreeSet<Slot> = slots.iter().filter(is_gone).copied().collect();
    killed.iter().for_each(|node| course.ends(node));
    course.view(2, 1, rest);
    assert!(!gone.is_empty() && gone.len() < slots.len() / 4, "{} of {} slots", gone.len(), slots.len());
    assert_eq!(course.lost, gone);
    assert_eq!(course.losses, vec![true; gone.len()]);
    for slot in &slots {
        let value = (!gone.contains(slot)).then(|| "value".to_owned());
        assert_eq!(course.found(*slot, rest, "a"), Ok(value), "slot {slot}");
    }
}

/// An owner is killed, and the next one before the copies that are missing then are made. Returns what is there, and what is told.
fn a_second_crash_while_copies_are_made(copies: usize) -> (Option<String>, Vec<bool>) {
    let all = nodes(5);
    let slot = Slot::of(b"any");
    let mut course = Course::of(&all, slot, None);
    course.copies = copies;
    course.view(1, 0, &all);
    course.acknowledged(slot, &all, "a", "old");
    let first = course.copies_in(slot, &all)[0].clone();
    course.ends(&first);
    let rest = without(&all, &[first]);
    course.view_without(2, 1, &rest, |_, _, message| is_learn(message));
    let second = course.copies_in(slot, &rest)[0].clone();
    let token = course.insert(&second, "a", "new");
    course.settle(|_, _, message| is_learn(message));
    assert!(course.answered.contains(&token));
    course.ends(&second);
    let rest = without(&rest, &[second]);
    course.view(3, 2, &rest);
    (course.found(slot, &rest, "a").expect("it is served"), course.losses)
}

#[test]
fn a_second_crash_while_copies_are_made_loses_what_had_no_other_copy_and_that_is_told() {
    assert_eq!(a_second_crash_while_copies_are_made(2), (None, vec![true]));
    assert_eq!(a_second_crash_while_copies_are_made(3), (Some("new".to_owned()), vec![]));
}

#[test]
fn nodes_are_restarted_one_after_the_other_with_one_two_and_three_copies() {
    for copies in 1..=3 {
        let mut members = nodes(3);
        let slot = Slot::of(b"any");
        let mut course = Course::of(&members, slot, None);
        course.copies = copies;
        course.view(1, 0, &members);
        KEYS.iter().for_each(|key| course.acknowledged(slot, &members, key, "value"));
        let mut view = 1;
        for one in 0..3 {
            let leaves = members[one].clone();
            course.give(&leaves, Event::Leaves);
            course.claims.remove(&leaves);
            let rest = without(&members, std::slice::from_ref(&leaves));
            view += 1;
            course.view(view, view - 1, &rest);
            all_are_there(&course, &rest);
            course.ends(&leaves);
            members[one] = NodeId::new(leaves.name().clone(), Incarnation(view + 10), view + 10);
            course.starts(&members[one]);
            view += 1;
            course.view(view, view - 1, &members);
            all_are_there(&course, &members);
        }
    }
}

#[test]
fn all_owners_of_fifty_nodes_ask_all() {
    let all = nodes(50);
    let slots: Vec<Slot> = Slot::all().step_by(128).collect();
    let mut course = Course::with_slots(&all, &slots, None);
    course.view(1, 0, &all);
    slots.iter().for_each(|slot| course.acknowledged(*slot, &all, "a", "value"));
    course.ends(&all[0]);
    let rest = &all[1..];
    let asked = std::cell::Cell::new(0);
    course.promise(2, 1, rest);
    course.settle(|_, _, message| {
        asked.set(asked.get() + usize::from(matches!(message, Message::Ask { .. })));
        false
    });
    let owners: BTreeSet<NodeId> =
        slots.iter().map(|slot| course.copies_in(*slot, rest)[0].clone()).collect();
    assert!(owners.len() > 40, "{} owners", owners.len());
    assert_eq!(asked.get(), owners.len() * (rest.len() - 1), "each owner asks each other node once");
    assert!(rest.iter().all(|node| course.released.contains(&(node.clone(), epoch(2)))));
    course.up(2, 1, rest, rest);
    course.settle(|_, _, _| false);
    for slot in &slots {
        assert_eq!(course.found(*slot, rest, "a"), Ok(Some("value".to_owned())), "slot {slot}");
    }
    assert_eq!(course.losses, []);
}
