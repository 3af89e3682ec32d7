use cloister_testkit::alone;

use super::*;
use crate::testing::{Node, Sum};

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
