use cloister_testkit::alone;

use super::*;
use crate::testing::{Around, Node, Sum};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_applied_before_the_entity_was_forgotten_is_not_applied_again() {
    alone!();
    let lazily = Durability::Lazy(std::time::Duration::from_secs(3_600));
    let options = EntityOptions::default().durability(lazily);
    let mut node = Node::start("forgotten", options.table.clone()).await;
    node.settles_nothing().await;
    let around = Around::new(options, |_: &str, _: &str| {});
    let (add, forget, add_two) = (node.sent(&7_u64).await, node.sent(&0_u64).await, node.sent(&2_u64).await);
    let with = around.surroundings(&node.table);
    let object = &mut None::<Object<Sum>>;
    let mut answer = async |message: &Accepted| match handle(object, &with, message).await {
        Turn::Done(answer) => answer::read::<u64>(&answer).unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!([answer(&add).await, answer(&forget).await], [7, 7]);
    // Each is answered as it was then, and changes nothing.
    assert_eq!([answer(&add).await, answer(&forget).await], [7, 7]);
    assert_eq!(answer(&add_two).await, 2);
    assert_eq!([answer(&add).await, answer(&add_two).await], [7, 2]);
    assert_eq!(node.table.read(&node.key), Some(None), "nothing is written for an hour");
    node.cloister.leave().await;
}
