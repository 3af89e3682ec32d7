//! Answers of operations are kept until their clients say that they do not ask for them any more.

mod course;

use cloister_proto::{NodeId, Ring, Slot};
use cloister_table_proto::{Bytes, Decision, Event, Message, OperationId, Refusal, Token};
use course::{Course, node};

/// How many bytes each value has, and each answer: it holds the value before.
const VALUE: usize = 1 << 20;

/// The client of this number writes a key of the slot at its owner. The answer is the value before.
fn write(course: &mut Course, slot: Slot, (client, number, settled): (u64, u64, u64)) -> Result<(), Refusal> {
    let members = [1, 2].map(node);
    let owner = course.copies_in(slot, &members)[0].clone();
    let (key, claim) = (Bytes::from(slot.number().to_be_bytes()), course.claims.get(&owner).copied());
    let id = OperationId { client, number, settled };
    let decide = |before: Option<&Bytes>| Decision::Insert {
        value: vec![7; VALUE].into(),
        answer: before.cloned().unwrap_or_default(),
    };
    let table = course.tables.get_mut(&owner).expect("the node runs");
    let begun = table.write(claim, (slot, &key), Some(id), Token(number), decide);
    course.perform(&owner);
    course.settle(|_, _, _| false);
    begun
}

/// How many bytes each of the two tables has.
fn bytes(course: &Course) -> [usize; 2] {
    let of = |node| course.tables[&node].held_slots().map(|(_, _, content)| content.bytes()).sum();
    [1, 2].map(node).map(of)
}

#[test]
fn answers_count_and_go_when_their_client_has_settled_them() {
    let nodes = [1, 2].map(node);
    let slots: Vec<Slot> = Slot::all().step_by(160).take(100).collect();
    let mut course = Course::with_slots(&nodes, &slots, None);
    course.view(1, 0, &nodes);
    let rows = slots.len() * (2 + VALUE);
    let mut number = 0;
    for _ in 0..2 {
        for slot in &slots {
            number += 1;
            write(&mut course, *slot, (1, number, number)).expect("the slot is served");
        }
    }
    assert_eq!(bytes(&course), [rows + slots.len() * VALUE; 2], "each slot has an answer");
    // The last ones are open until the next operation of their client, which each owner hears of.
    course.tick();
    for slot in slots.iter().take(10) {
        number += 1;
        write(&mut course, *slot, (1, number, number)).expect("the slot is served");
    }
    course.tick();
    let bytes = bytes(&course);
    assert!(bytes.iter().all(|bytes| *bytes <= rows + 2 * VALUE), "{bytes:?} bytes, {rows} of them rows");
    // What was dropped is not done again.
    assert_eq!(write(&mut course, slots[50], (1, 51, 51)), Err(Refusal::Settled));
}

/// A client that has an operation open for long keeps the answers of those after it.
#[test]
fn an_answer_stays_while_its_client_may_ask_for_it() {
    let nodes = [1, 2].map(node);
    let slots: Vec<Slot> = Slot::all().step_by(1_600).take(10).collect();
    let mut course = Course::with_slots(&nodes, &slots, None);
    course.view(1, 0, &nodes);
    for (slot, number) in slots.iter().zip(1..).chain(slots.iter().zip(11..)) {
        write(&mut course, *slot, (1, number, 5)).expect("the slot is served");
        write(&mut course, *slot, (2, number, number)).expect("the slot is served");
        course.tick();
    }
    let answers = |client: u64, numbers: std::ops::Range<u64>| {
        let all = slots.iter().flat_map(|slot| numbers.clone().map(move |number| (slot, number)));
        let is_known = |(slot, number): &(&Slot, u64)| {
            let owner = &course.copies_in(**slot, &nodes)[0];
            course.tables[owner].has_answered(**slot, OperationId { client, number: *number, settled: 0 })
        };
        all.filter(is_known).count()
    };
    assert_eq!((answers(1, 1..5), answers(1, 5..21)), (0, 16));
    assert!(answers(2, 1..20) <= 2, "{}", answers(2, 1..20));
}

/// A copy that is being made has got some answers of a client when its source drops others. It knows that they are settled.
#[test]
fn what_is_settled_while_a_copy_is_made_is_settled_there_too() {
    let nodes = [1, 2, 3].map(node);
    let (ring, slot) = (Ring::new(&nodes), Slot::of(b"any"));
    let owner_of = |slot| ring.owners_of(slot, 1)[0].clone();
    let another = Slot::all().find(|its| *its != slot && owner_of(*its) == owner_of(slot));
    let another = another.expect("it owns another slot");
    let mut course = Course::with_slots(&nodes, &[slot, another], None);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), other]);
    let id = |number: u64, settled: u64| OperationId { client: 1, number, settled };
    let write = |course: &mut Course, slot: Slot, id: OperationId| {
        let (key, claim) = (Bytes::from(id.number.to_be_bytes()), course.claims.get(&owner).copied());
        let decide = |_: Option<&Bytes>| Decision::Insert { value: [1].into(), answer: [2].into() };
        let table = course.tables.get_mut(&owner).expect("the node runs");
        table.write(claim, (slot, &key), Some(id), Token(id.number), decide).expect("the slot is served");
        course.perform(&owner);
    };
    (1..=10).for_each(|number| write(&mut course, slot, id(number, 1)));
    course.settle(|_, _, _| false);
    course.promise(2, 1, &nodes);
    course.settle(|_, _, _| false);
    course.up(2, 1, &nodes, &nodes);
    let brings_an_answer = |_: &NodeId, to: &NodeId, message: &Message| {
        *to == copy && matches!(message, Message::Chunk { slot: its, .. } if *its == slot)
    };
    (0..3).for_each(|_| assert!(course.until(brings_an_answer)));
    write(&mut course, another, id(20, 20));
    course.give(&owner, Event::Tick);
    course.settle(|_, _, _| false);
    for node in [&owner, &copy] {
        let content = course.tables[node].content(slot).expect("it has a copy");
        assert_eq!(content.len(), 10);
        for number in 1..=10 {
            let is_known =
                content.is_settled(id(number, 1)) || course.tables[node].has_answered(slot, id(number, 1));
            assert!(is_known, "operation {number} at {node}");
        }
    }
    assert!(!course.tables[&owner].has_answered(slot, id(5, 1)), "it was dropped");
}
