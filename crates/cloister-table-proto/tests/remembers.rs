//! Since which view an owner remembers the operations of a slot.

mod course;

use cloister_proto::NodeId;
use cloister_table_proto::rule::Rule;
use cloister_table_proto::{Bytes, Decision, Event, Membership, OperationId, Token};
use course::{Course, epoch};

#[test]
fn an_owner_remembers_operations_since_it_owns_the_slot() {
    let mut course = Course::new(None);
    let [first, second, third] = course.order();
    let (two, others) = ([second.clone(), third.clone()], [first.clone(), third.clone()]);
    let three = [first, second.clone(), third];
    let remembers = |course: &Course, since: u64| course.tables[&second].remembers(course.slot, epoch(since));
    course.view(1, 0, &two);
    course.view(2, 1, &two);
    assert!(remembers(&course, 1) && remembers(&course, 2) && !remembers(&course, 0));
    // Another node owns it, and it comes back.
    course.view(3, 2, &three);
    assert!(!remembers(&course, 2) && !remembers(&course, 3));
    course.view(4, 3, &two);
    assert!(!remembers(&course, 2) && !remembers(&course, 3) && remembers(&course, 4));
    // The others have a view without it.
    course.view(6, 4, &others);
    course.view(7, 6, &two);
    assert!(!remembers(&course, 4) && remembers(&course, 7) && course.losses.is_empty());
}

#[test]
fn an_owner_remembers_no_operation_from_before_a_loss() {
    let mut course = Course::new(None);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), copy.clone(), other.clone()]);
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    // The others go on without it, write, and end.
    course.view(2, 1, &[copy.clone(), other.clone()]);
    course.insert(&copy, "key", "new");
    course.settle(|_, _, _| false);
    course.ends(&copy);
    course.ends(&other);
    course.view(3, 1, std::slice::from_ref(&owner));
    assert_eq!((course.read(&owner, "key"), course.losses.as_slice()), (Some("old".into()), &[false][..]));
    let remembers = |since: u64| course.tables[&owner].remembers(course.slot, epoch(since));
    assert!(!remembers(1) && remembers(3));
}

/// An operation of a client. Returns whether it was applied: it is not if it is known to be done.
fn apply(course: &mut Course, at: &NodeId, client: u64) -> bool {
    let (mut applied, claim) = (false, course.claims.get(at).copied());
    let id = OperationId { client, number: 1, settled: 1 };
    let decide = |_: Option<&Bytes>| {
        applied = true;
        Decision::Insert { value: Bytes::from([1]), answer: Bytes::default() }
    };
    let table = course.tables.get_mut(at).expect("the node runs");
    let begun = table.write(claim, (course.slot, &Bytes::from([7])), Some(id), Token(client), decide);
    begun.expect("the slot is served");
    course.perform(at);
    course.settle(|_, _, _| false);
    applied
}

/// A node accepts an operation, and another one owns the slot before it is handled. That one does it for its client, and ends with the only
/// copy. Returns whether the first one does it, too.
fn an_accepted_operation_is_done_elsewhere_and_lost(disabled: Option<Rule>) -> bool {
    let mut course = Course::new(disabled);
    course.copies = 1;
    let [first, second, third] = course.order();
    let two = [second.clone(), third.clone()];
    course.view(1, 0, &two);
    course.view(2, 1, &[first.clone(), second.clone(), third.clone()]);
    assert!(apply(&mut course, &first, third.incarnation().0));
    course.ends(&first);
    course.view(3, 2, &two);
    assert_eq!(course.losses, [true]);
    course.tables[&second].remembers(course.slot, epoch(1))
        && apply(&mut course, &second, third.incarnation().0)
}

#[test]
fn an_operation_that_was_accepted_before_a_loss_is_not_done_again() {
    assert!(!an_accepted_operation_is_done_elsewhere_and_lost(None));
    assert!(an_accepted_operation_is_done_elsewhere_and_lost(Some(Rule::Remembered)));
}

/// A client is cut off with an operation under way. The others have views without it and leave in order, and the last one hands over what it has.
/// Returns whether the client repeats the operation, which is then done again.
fn views_without_a_client_are_known_to_a_leaver_only(disabled: Option<Rule>) -> bool {
    let mut course = Course::new(disabled);
    let [first, second, client] = course.order();
    let all = [first.clone(), second.clone(), client.clone()];
    course.view(1, 0, &all);
    assert!(apply(&mut course, &first, client.incarnation().0));
    for other in [&first, &second] {
        course.give(&client, Event::Unlinked(other.clone()));
        course.give(other, Event::Unlinked(client.clone()));
    }
    course.view(2, 1, &[first.clone(), second.clone()]);
    course.view(3, 2, std::slice::from_ref(&second));
    course.ends(&first);
    course.claims.remove(&second);
    course.give(&second, Event::Leaves);
    course.give(&client, Event::Linked(second.clone()));
    course.give(&second, Event::Linked(client.clone()));
    course.view(4, 1, std::slice::from_ref(&client));
    assert!(course.losses.is_empty(), "all is handed over");
    let mut membership = Membership::default();
    membership.named(epoch(1), epoch(0));
    membership.named(epoch(4), epoch(1));
    let follows = course.follows.iter().filter(|(at, ..)| *at == client);
    follows.for_each(|(_, epoch, predecessor)| membership.follows(*epoch, *predecessor));
    let repeats = membership.since(epoch(4)) <= epoch(1);
    repeats && apply(&mut course, &client, client.incarnation().0)
}

#[test]
fn a_client_repeats_nothing_that_was_forgotten_in_a_view_that_a_leaver_tells_of() {
    assert!(!views_without_a_client_are_known_to_a_leaver_only(None));
    assert!(views_without_a_client_are_known_to_a_leaver_only(Some(Rule::HeardOf)));
}
