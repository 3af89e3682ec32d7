//! What a node that leaves knows of views that went on without it.

mod course;

use cloister_table_proto::Event;
use course::{Course, node};

/// Of two nodes one leaves, and has lost its link to the other one. That goes on alone, acknowledges a write, and ends. The one that leaves hands
/// over what it has.
#[test]
fn a_write_that_a_leaver_has_not_heard_of_is_a_loss_that_is_not_certain() {
    let nodes = [1, 2].map(node);
    let mut course = Course::new(None);
    let [leaves, stays]: [_; 2] = course.copies_in(course.slot, &nodes).try_into().expect("two copies");
    course.view(1, 0, &nodes);
    course.acknowledged(course.slot, &nodes, "key", "old");
    course.claims.remove(&leaves);
    course.give(&leaves, Event::Leaves);
    for (at, peer) in [(&leaves, &stays), (&stays, &leaves)] {
        course.give(at, Event::Unlinked(peer.clone()));
    }
    course.view(2, 1, std::slice::from_ref(&stays));
    let token = course.insert(&stays, "key", "new");
    course.settle(|_, _, _| false);
    assert!(course.answered.contains(&token));
    course.ends(&stays);
    let joins = node(3);
    course.view(3, 1, std::slice::from_ref(&joins));
    assert_eq!((course.read(&joins, "key"), course.losses), (Some("old".to_owned()), vec![false]));
}
