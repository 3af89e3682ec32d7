use std::sync::Mutex;

use cloister_core::Epoch;
use cloister_table::service::{Committed, Service};
use cloister_testkit::alone;
use cloister_testkit::wait::until_async;

use super::*;
use crate::row;
use crate::store::{EntityId, Store, StoreError, StoreFuture};
use crate::testing::{Around, Node, Sum};

fn objects(options: EntityOptions) -> Arc<Objects<Sum>> {
    Objects::new(options, Arc::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cast_that_waits_is_there_once_though_it_comes_from_its_sender_and_from_the_owner_before() {
    alone!();
    let mut node = Node::start("twice", cloister_table::TableOptions::default()).await;
    for is_passed_on_first in [true, false] {
        let objects = objects(EntityOptions::default());
        // A task works on something else for long.
        objects.part(&node.key).entry(Bytes::clone(&node.key)).or_default().task = Some(1_000);
        let first = node.sent(&1_u64).await;
        let other = node.sent(&2_u64).await;
        let passed_on = node.passed_on(&first).await;
        let again = node.passed_on(&passed_on).await;
        let mut copies = vec![first, passed_on, again];
        if is_passed_on_first {
            copies.reverse();
        }
        for message in copies.iter().chain([&other]).chain(&copies) {
            let one_way = Some(objects.one_ways.add());
            let waiting = Waiting { message: message.clone(), one_way, since: Instant::now(), reply: None };
            objects.give(&node.table, &node.key, Work::Message(waiting));
        }
        let mut running = Running::new(Arc::clone(&objects), 1_000, Bytes::clone(&node.key));
        let mut waiting = Vec::new();
        while let Some(work) = running.next() {
            let Work::Message(Waiting { message, .. }) = work else { panic!("no message") };
            running.sender_of(&message);
            waiting.push(decode::<u64>(&message.message).unwrap());
        }
        assert_eq!(waiting, [1, 2], "passed on first: {is_passed_on_first}");
        assert!(objects.part(&node.key).is_empty());
    }
    node.cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn casts_that_wait_at_a_node_that_begins_anew_are_counted() {
    alone!();
    let mut node = Node::start("anew", cloister_table::TableOptions::default()).await;
    let objects = objects(EntityOptions::default());
    objects.part(&node.key).entry(Bytes::clone(&node.key)).or_default().task = Some(1_000);
    for number in 0..5_u64 {
        let message = node.sent(&number).await;
        // Two of them are calls, which their clients send again.
        let one_way = (number < 3).then(|| objects.one_ways.add());
        let waiting = Waiting { message, one_way, since: Instant::now(), reply: None };
        objects.give(&node.table, &node.key, Work::Message(waiting));
    }
    assert_eq!(objects.drop_waiting(), 3);
    assert_eq!((objects.active(), objects.waiting_bytes.load(Ordering::Relaxed)), (0, 0));
    node.cloister.leave().await;
}

/// A store that a later view has used.
struct Fenced;

impl Store for Fenced {
    fn load<'a>(&'a self, _: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move { Err(StoreError::Fenced(epoch)) })
    }

    fn save<'a>(&'a self, _: EntityId<'a>, epoch: Epoch, _: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async move { Err(StoreError::Fenced(epoch)) })
    }
}

/// A store that refuses the first loads, as those of a node that is about to lose the key.
#[derive(Clone, Default)]
struct Refuses(Arc<AtomicUsize>);

impl Store for Refuses {
    fn load<'a>(&'a self, _: EntityId<'a>, epoch: Epoch) -> StoreFuture<'a, Option<Vec<u8>>> {
        let refuses = self.0.fetch_add(1, Ordering::SeqCst) < 2;
        Box::pin(async move { if refuses { Err(StoreError::Fenced(epoch)) } else { Ok(None) } })
    }

    fn save<'a>(&'a self, _: EntityId<'a>, _: Epoch, _: Option<Vec<u8>>) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cast_that_has_waited_for_long_in_its_inbox_is_not_lost_for_that() {
    alone!();
    let timeout = Duration::from_secs(20);
    let options = EntityOptions::default().timeout(timeout).store(Refuses::default());
    let mut node = Node::start("long", options.table.clone()).await;
    let message = node.sent(&1_u64).await;
    let objects = objects(options);
    let (one_way, since) = (Some(objects.one_ways.add()), Instant::now().checked_sub(timeout).unwrap());
    objects.give(
        &node.table,
        &node.key,
        Work::Message(Waiting { message: message.clone(), one_way, since, reply: None }),
    );
    let is_idle = || objects.part(&node.key).get(&node.key).is_some_and(|place| place.task.is_none());
    until_async("it is handled", async || is_idle()).await;
    node.cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_of_a_cast_that_the_next_owner_may_have_that_it_may_be_lost() {
    alone!();
    let options = EntityOptions::default().timeout(Duration::from_millis(500)).store(Fenced);
    let mut node = Node::start("may_be", options.table.clone()).await;
    let message = node.sent(&1_u64).await;
    node.drops();
    let warned = Mutex::new(Vec::new());
    let around =
        Around::new(options.clone(), |what: &str, _: &str| warned.lock().unwrap().push(what.to_owned()));
    let objects = objects(options);
    // This node has begun anew since, so the message is passed on.
    let mut running = Running::new(Arc::clone(&objects), 0, Bytes::clone(&node.key));
    objects.handle_one_way(&mut running, &around.surroundings(&node.table), &message).await;
    let may_be_lost =
        "a message without a waiting sender may be lost; read the entity before it is sent again";
    assert_eq!(*warned.lock().unwrap(), [may_be_lost]);
    node.cloister.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_not_looked_through_for_timers_while_a_slot_begins_to_be_served() {
    alone!();
    let mut node = Node::start("timed", cloister_table::TableOptions::default()).await;
    let mut timers = crate::timers::Timers::default();
    timers.add(0, u64::MAX, Vec::new().into());
    let row = Bytes::from(row::write(b"state", &timers).unwrap());
    let message = node.sent(&1_u64).await;
    let done = node.table.commit(&message, None, Some(Bytes::clone(&row)), Bytes::default()).await;
    assert_eq!(done, Committed::Done(Bytes::default()));
    let objects = objects(EntityOptions::default());
    let read = std::cell::Cell::new(0);
    let mut rows = (0..100_000).map(|_| {
        read.set(read.get() + 1);
        (&*node.key, &*row)
    });
    objects.serves(&node.table, Slot::of(&node.key), &mut rows);
    assert!(read.get() <= 10_000, "{} rows were read under the lock of the shard", read.get());
    until_async("the timer is found", async || objects.schedule.next() == Some(u64::MAX)).await;
    node.cloister.leave().await;
}
