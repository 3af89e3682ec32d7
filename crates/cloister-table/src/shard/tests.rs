//! A shard of a node that is alone, whose view may have a second member that is not there: its copy answers nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_core::{Config, ManagerArguments, Ring};
use cloister_table_proto::{OnLoss, Placement, Seen, SlotReport, Stamp};
use ractor::concurrency::{OneshotReceiver, oneshot};

use super::*;
use crate::core::SHARDS;
use crate::delivery::{Accepted, Commit};
use crate::message::RequestId;
use crate::options::{decode, encode};
use crate::row;
use crate::service::Purpose;
use crate::start::start_with;

/// How many bytes the tables of the node may have.
const MAX_BYTES: u64 = 128 << 20;

/// A node that runs, and the table whose parts are tested.
struct Alone {
    core: Arc<Core>,
    epoch: Epoch,
}

impl Alone {
    async fn start() -> Self {
        let port = cloister_testkit::obedient::ports(1)[0];
        let mut arguments =
            ManagerArguments::new(Config::new("shards").port(port).table_bytes(MAX_BYTES)).unwrap();
        let twice = |_: Option<String>, times: usize| (None::<String>, "x".repeat(times));
        let options = TableOptions::default().max_value_bytes(1_000).function("repeat", twice);
        let core = start_with(&mut arguments, "table", options, Purpose::Table).unwrap();
        let cloister = cloister::start_with_arguments(arguments).await.unwrap();
        let epoch = cloister.epoch().unwrap();
        Self { core, epoch }
    }

    /// A shard that serves its slots, and a key in one of them.
    fn shard(&self, has_silent_copy: bool) -> (Shard, Bytes) {
        let me = self.core.cloister.node();
        let other = NodeId::new("shards@10.0.0.9:1".parse().unwrap(), cloister_core::Incarnation(1), 1);
        let mut members = vec![me.clone()];
        members.extend(has_silent_copy.then(|| other.clone()));
        let ring = Ring::new(&members);
        let placement = Placement::new(self.epoch, Epoch::ZERO, members.into(), Arc::new(ring.replicas(2)));
        let mut shard = Shard::new(0, SHARDS, me.clone(), &self.core.options);
        let slots = Slot::all().filter(|slot| slot.number().is_multiple_of(u16::from(SHARDS))).collect();
        let options = Options { slots, on_loss: OnLoss::Empty, chunk_bytes: CHUNK_BYTES };
        let mut copy = Table::new(other.clone(), options);
        shard.clients.up(&placement);
        let claim = Some(self.epoch);
        for (table, peer) in [(&mut shard.table, &other), (&mut copy, &me)] {
            table.handle(claim, Event::Linked(peer.clone()));
            table.handle(claim, Event::Promised(placement.clone()));
        }
        exchange(claim, (&me, &mut shard.table), (&other, &mut copy));
        for table in [&mut shard.table, &mut copy] {
            table.handle(claim, Event::Up(placement.clone()));
        }
        exchange(claim, (&me, &mut shard.table), (&other, &mut copy));
        let is_here = |key: &Bytes| {
            let slot = Slot::of(key);
            slot.number().is_multiple_of(u16::from(SHARDS)) && ring.owner(slot) == Some(&me)
        };
        let key = (0_u64..).map(|n| Bytes::from(encode(&n).unwrap())).find(is_here).unwrap();
        (shard, key)
    }

    fn operate(
        &self,
        shard: &mut Shard,
        key: &Bytes,
        id: (u64, u64),
        operation: Operation,
    ) -> OneshotReceiver<Answer> {
        let (port, answer) = oneshot();
        let id = Some(self.id(id));
        let request = Request { epoch: self.epoch.as_u64(), key: Blob(Bytes::clone(key)), id, operation };
        shard.operate(&self.core, Slot::of(key), request, Reply::from(port));
        answer
    }

    fn id(&self, (number, settled): (u64, u64)) -> RequestId {
        RequestId { client: self.core.cloister.node().incarnation().0, number, settled }
    }
}

/// The tables say to each other what they have to say.
fn exchange(
    claim: Option<Epoch>,
    (one, first): (&NodeId, &mut Table),
    (other, second): (&NodeId, &mut Table),
) {
    let mut is_quiet = false;
    while !is_quiet {
        is_quiet = !pass(claim, one, first, second) & !pass(claim, other, second, first);
    }
}

/// Returns whether there was a message.
fn pass(claim: Option<Epoch>, from: &NodeId, sender: &mut Table, receiver: &mut Table) -> bool {
    let mut has_any = false;
    while let Some(action) = sender.next_action() {
        if let Action::Send { message, .. } = action {
            has_any = true;
            receiver.handle(claim, Event::Received { from: from.clone(), message });
        }
    }
    has_any
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_has_bounds() {
    let alone = Alone::start().await;
    writes_that_wait_for_a_silent_copy_have_a_bound(&alone);
    what_a_function_returns_has_a_bound(&alone);
    a_message_that_was_given_up_is_not_committed(&alone);
    a_message_from_before_another_node_owned_its_slot_is_not_committed(&alone);
    a_message_that_was_passed_on_is_committed_once(&alone);
    a_slot_that_waits_for_a_copy_is_not_shown(&alone);
    answers_count_and_go_in_all_parts_of_a_table(&alone);
    the_limit_is_not_passed_while_entries_are_counted(&alone);
    alone.core.cloister.leave().await;
}

fn writes_that_wait_for_a_silent_copy_have_a_bound(alone: &Alone) {
    let (max, max_bytes) = MAX_WAITING;
    for value_bytes in [100, 1 << 20] {
        let (mut shard, key) = alone.shard(true);
        let value: Bytes = row::encode(&"x".repeat(value_bytes)).unwrap().into();
        let mut answers = Vec::new();
        let insert = |shard: &mut Shard, number: u64| {
            let operation = Operation::Insert { value: Blob(Bytes::clone(&value)), for_ms: None };
            alone.operate(shard, &key, (number, number), operation)
        };
        let busy = (1..=2 * max as u64).find_map(|number| {
            let mut answer = insert(&mut shard, number);
            let answered = answer.try_recv().ok();
            answers.push(answer);
            answered.map(|answer| (number, answer))
        });
        let (begun, answer) = busy.unwrap();
        assert!(matches!(answer, Answer::Busy), "{answer:?}");
        let begun = usize::try_from(begun).unwrap() - 1;
        assert!(
            begun <= max && begun * value_bytes <= max_bytes + 4 * value_bytes,
            "{begun} writes of {value_bytes} bytes"
        );
        assert!(begun == max || begun * value_bytes * 4 > max_bytes, "{begun} writes of {value_bytes} bytes");
        // It goes on as soon as the copy has them, or is gone.
        shard.handle(&alone.core, Event::Down);
        assert!(
            answers.iter_mut().take(begun).all(|answer| matches!(answer.try_recv(), Ok(Answer::Uncertain)))
        );
        assert_eq!((shard.under_way.len(), shard.under_way_bytes), (0, 0));
    }
}

fn what_a_function_returns_has_a_bound(alone: &Alone) {
    let (mut shard, key) = alone.shard(false);
    let mut repeat = |number: u64, times: usize| {
        let argument = encode(&times).unwrap().into();
        let operation = Operation::Update { function: "repeat".to_owned(), argument };
        match alone.operate(&mut shard, &key, (number, number), operation).try_recv() {
            Ok(Answer::Written(outcome)) => decode::<Outcome>(&outcome.0).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(repeat(1, 500), Outcome::Returned(_)));
    let failed = repeat(2, 2_000);
    assert!(
        matches!(&failed, Outcome::Failed(cause) if cause.contains("over the limit of 1000")),
        "{failed:?}"
    );
}

fn a_message_that_was_given_up_is_not_committed(alone: &Alone) {
    let (mut shard, key) = alone.shard(false);
    let other = (0_u64..).map(|n| Bytes::from(encode(&n).unwrap()));
    let is_beside = |its: &Bytes| *its != key && Slot::of(its).number().is_multiple_of(u16::from(SHARDS));
    let other = other.into_iter().find(is_beside).unwrap();
    let commit = |shard: &mut Shard, number: u64, one_way: bool, value: &str| {
        let message = Accepted {
            key: Bytes::clone(&key),
            message: Bytes::default(),
            id: Some(alone.id((number, number))),
            names: Vec::new(),
            epoch: alone.epoch,
            one_way,
        };
        let expected = shard.read(&alone.core, Slot::of(&key), &key).unwrap();
        let new = Some(row::encode(value).unwrap().into());
        let (port, mut answer) = oneshot();
        let commit = Commit { expected, new, answer: Bytes::default() };
        shard.commit(&alone.core, Slot::of(&key), &message, commit, Reply::from(port));
        let answer = answer.try_recv();
        matches!(answer, Ok(Answer::Written(outcome)) if matches!(decode(&outcome.0), Ok(Outcome::Returned(_))))
    };
    assert!(commit(&mut shard, 1, false, "first"));
    // What the client does next, with another key, says that it is done with the first two.
    drop(alone.operate(&mut shard, &other, (3, 3), Operation::Remove));
    assert!(!commit(&mut shard, 1, false, "again") && !commit(&mut shard, 2, false, "late"));
    assert!(commit(&mut shard, 2, true, "accepted"), "its sender waited until it was accepted only");
    assert!(commit(&mut shard, 3, false, "third"));
    // One that no message can bring to a copy is not begun.
    assert!(!commit(&mut shard, 4, false, &"x".repeat(cloister_core::MAX_MESSAGE_LEN)));
    assert!(commit(&mut shard, 5, false, "fifth"));
}

/// Another node had the slot meanwhile, and may have answered it.
fn a_message_from_before_another_node_owned_its_slot_is_not_committed(alone: &Alone) {
    let (mut shard, key) = alone.shard(false);
    let me = alone.core.cloister.node();
    let slot = Slot::of(&key);
    let other = |n: u64| NodeId::new("shards@10.0.0.9:1".parse().unwrap(), cloister_core::Incarnation(n), n);
    let with = |n: u64| [me.clone(), other(n)];
    let taker = (1..).find(|n| Ring::new(&with(*n)).owner(slot) != Some(&me)).unwrap();
    let committed = |shard: &mut Shard| {
        let message = Accepted {
            key: Bytes::clone(&key),
            message: Bytes::default(),
            id: Some(alone.id((1, 1))),
            names: Vec::new(),
            epoch: alone.epoch,
            one_way: false,
        };
        let (port, mut answer) = oneshot();
        let commit = Commit { expected: None, new: None, answer: Bytes::default() };
        shard.commit(&alone.core, slot, &message, commit, Reply::from(port));
        answer.try_recv().expect("an answer")
    };
    assert!(matches!(committed(&mut shard), Answer::Written(_)));
    let mut before = alone.epoch;
    for members in [with(taker).to_vec(), vec![me.clone()]] {
        let epoch = Epoch::from_u64(before.as_u64() + 1);
        let replicas = Arc::new(Ring::new(&members).replicas(2));
        let placement =
            Placement::new(epoch, std::mem::replace(&mut before, epoch), members.into(), replicas);
        shard.handle(&alone.core, Event::Promised(placement.clone()));
        shard.handle(&alone.core, Event::Up(placement));
    }
    let refused = committed(&mut shard);
    assert!(
        matches!(&refused, Answer::Refused(cause) if cause.contains("another node owned it")),
        "{refused:?}"
    );
}

/// Its sender and the node that passed it on may each repeat it, under names of their own.
fn a_message_that_was_passed_on_is_committed_once(alone: &Alone) {
    let (mut shard, key) = alone.shard(false);
    let slot = Slot::of(&key);
    let commit = |shard: &mut Shard, names: &[RequestId], id: RequestId| {
        let (names, key, one_way) = (names.to_vec(), Bytes::clone(&key), true);
        let message =
            Accepted { key, message: Bytes::default(), id: Some(id), names, epoch: alone.epoch, one_way };
        let expected = shard.read(&alone.core, slot, &message.key).unwrap();
        let mut lines = expected.as_ref().map_or(0, |row| decode::<u64>(row).unwrap());
        lines += 1;
        let new = Some(encode(&lines).unwrap().into());
        let (port, mut answer) = oneshot();
        let commit = Commit { expected, new, answer: Bytes::default() };
        shard.commit(&alone.core, slot, &message, commit, Reply::from(port));
        assert!(matches!(answer.try_recv(), Ok(Answer::Written(_))));
        let row = shard.read(&alone.core, slot, &message.key).unwrap().unwrap();
        decode::<u64>(&row).unwrap()
    };
    let id = |client, number, settled| RequestId { client, number, settled };
    let (sender, passer) = (7, 8);
    // It is passed on, then its sender sends it again; and the other way round.
    assert_eq!(commit(&mut shard, &[id(sender, 1, 1)], id(passer, 1, 1)), 1);
    assert_eq!(commit(&mut shard, &[], id(sender, 1, 1)), 1);
    assert_eq!(commit(&mut shard, &[], id(sender, 2, 1)), 2);
    assert_eq!(commit(&mut shard, &[id(sender, 2, 1)], id(passer, 2, 1)), 2);
    // Its sender has gone on. What passed it on repeats it, or the node that has it from there passes it on once more.
    assert_eq!(commit(&mut shard, &[id(sender, 3, 1)], id(passer, 3, 1)), 3);
    assert_eq!(commit(&mut shard, &[], id(sender, 9, 9)), 4);
    assert_eq!(commit(&mut shard, &[id(sender, 3, 1)], id(passer, 3, 1)), 4);
    assert_eq!(commit(&mut shard, &[id(sender, 3, 1), id(passer, 3, 1)], id(9, 1, 1)), 4);
    // Its sender had heard that it was accepted.
    assert_eq!(commit(&mut shard, &[id(sender, 4, 1)], id(passer, 4, 1)), 5);
}

fn a_slot_that_waits_for_a_copy_is_not_shown(alone: &Alone) {
    let me = alone.core.cloister.node();
    let other = NodeId::new("shards@10.0.0.9:1".parse().unwrap(), cloister_core::Incarnation(1), 1);
    let members = [me.clone(), other.clone()];
    let (ring, epoch, claim) = (Ring::new(&members), alone.epoch, Some(alone.epoch));
    let placement = Placement::new(epoch, Epoch::ZERO, members.into(), Arc::new(ring.replicas(1)));
    let mut shard = Shard::new(0, SHARDS, me.clone(), &alone.core.options.clone().on_loss(OnLoss::Wait));
    let is_mine =
        |slot: &Slot| slot.number().is_multiple_of(u16::from(SHARDS)) && ring.owner(*slot) == Some(&me);
    let slot = Slot::all().find(is_mine).unwrap();
    shard.table.handle(claim, Event::Linked(other.clone()));
    shard.table.handle(claim, Event::Promised(placement.clone()));
    // A view before wrote to the slot, and neither of the two has what it wrote.
    let seen = Seen { writes: Epoch::from_u64(1), ..Seen::NOTHING };
    let report = SlotReport { slot, stamp: Stamp::NONE, seen, knows: Arc::default() };
    let reports = std::iter::once(report).collect();
    let message = Message::Reports { epoch, installed: Epoch::ZERO, views: Some(Vec::new()), reports };
    shard.table.handle(claim, Event::Received { from: other, message });
    shard.table.handle(claim, Event::Up(placement));
    let (served, losses) = shard.perform_all(&alone.core);
    assert_eq!((losses.waiting, losses.lost), (vec![slot], vec![]));
    assert!(!served.contains(&slot), "watchers are told that it is empty");
}

fn answers_count_and_go_in_all_parts_of_a_table(alone: &Alone) {
    const KEYS: u64 = 100;
    const VALUE_BYTES: u64 = 100 << 10;
    let core = &alone.core;
    let bytes = || {
        core.look_at_status();
        core.bytes()
    };
    let before = bytes();
    let value: Bytes = row::encode(&"x".repeat(VALUE_BYTES as usize)).unwrap().into();
    let insert = |key: u64, number: u64| {
        let operation = Operation::Insert { value: Blob(Bytes::clone(&value)), for_ms: None };
        let (port, mut answer) = oneshot();
        let (key, id) = (Blob(encode(&key).unwrap().into()), Some(alone.id((number, number))));
        let request = Request { epoch: alone.epoch.as_u64(), key, id, operation };
        core.operate(request, Reply::from(port));
        assert!(matches!(answer.try_recv(), Ok(Answer::Written(_))));
    };
    (0..KEYS).for_each(|key| insert(key, 1_000 + key));
    (0..KEYS).for_each(|key| insert(key, 2_000 + key));
    let last = core.bytes() - before;
    // A tick may have dropped some of them.
    assert!(last > KEYS * VALUE_BYTES * 3 / 2, "{last} bytes are known before they are counted");
    // The parts of a table hear of all that is settled, whichever of them the last operation was for.
    (0..10).for_each(|_| core.tick());
    let rows = bytes() - before;
    let (min, max) = (KEYS * VALUE_BYTES, (KEYS + 1) * VALUE_BYTES + VALUE_BYTES / 2);
    assert!((min..max).contains(&rows), "{rows} bytes, where {min} are those of rows");
}

fn the_limit_is_not_passed_while_entries_are_counted(alone: &Alone) {
    const VALUE_BYTES: usize = 128 << 10;
    let core = &alone.core;
    core.look_at_status();
    let is_over = AtomicBool::new(false);
    let value: Bytes = row::encode(&"x".repeat(VALUE_BYTES)).unwrap().into();
    // Each writer goes on when it is refused.
    let write = |writer: u64| {
        for number in (1_u64..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
            let key = Blob(encode(&(writer, number)).unwrap().into());
            let operation = Operation::Insert { value: Blob(Bytes::clone(&value)), for_ms: None };
            let (port, mut answer) = oneshot();
            let request = Request { epoch: alone.epoch.as_u64(), key, id: None, operation };
            core.operate(request, Reply::from(port));
            let answer = answer.try_recv();
            assert!(matches!(answer, Ok(Answer::Written(_))), "{answer:?}");
        }
    };
    std::thread::scope(|scope| {
        let write = &write;
        (0..3).for_each(|writer| drop(scope.spawn(move || write(writer))));
        while core.bytes() + 4 * (VALUE_BYTES as u64) < MAX_BYTES {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            core.look_at_status();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    core.look_at_status();
    let bytes = core.status().all.bytes as u64;
    assert!(bytes <= MAX_BYTES, "{bytes} bytes, and {MAX_BYTES} may be");
    assert!(bytes + 8 * VALUE_BYTES as u64 > MAX_BYTES, "{bytes} bytes, and {MAX_BYTES} may be");
}
