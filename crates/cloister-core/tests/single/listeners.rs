//! What listeners hear, and what they hold.

use std::time::Instant;

use cloister_core::ractor::{Actor, ActorProcessingErr, ActorRef};
use cloister_core::ractor_cluster::RactorMessage;
use cloister_core::{Change, Config, Hold, HoldEnd, ManagerArguments, Slot, StateChange, Status, Timing};
use cloister_testkit::alone;

use crate::{Node, WHILE, arguments, ear, until};

#[tokio::test]
async fn a_listener_hears_the_present_state_and_then_everything_without_a_gap() {
    alone!();
    let (early, mut heard_early) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&early)).await;
    let changes = until(Status::Up, &mut heard_early).await;
    let (late, mut heard_late) = ear().await;
    node.cloister.subscribe(&late);
    let present = until(Status::Up, &mut heard_late).await;
    let last = changes.last().unwrap();
    assert_eq!(present.len(), 1);
    assert_eq!((present[0].seq, present[0].from), (last.seq, Status::Up));
    assert!(present[0].changes.is_empty());

    assert_eq!((changes[0].seq, changes[0].to), (0, Status::Down));
    let me = node.cloister.node();
    node.end().await;
    let changes = [changes, until(Status::Stopped, &mut heard_early).await].concat();
    for (change, next) in changes.iter().zip(&changes[1..]) {
        assert_eq!(next.seq, change.seq + 1);
        assert_eq!(next.from, change.to);
    }
    assert!(changes.iter().all(|change| change.seq == change.state.seq));
    let ups = changes.iter().flat_map(|change| change.changes.iter());
    assert_eq!(ups.filter(|change| **change == Change::NodeUp { node: me.clone() }).count(), 1);
    let gained: usize = changes
        .iter()
        .filter(|change| change.to == Status::Up)
        .map(|change| change.moved[0].gained[0].slots.len())
        .sum();
    assert_eq!(gained, 16_384, "all slots come to the only node");
    let late = until(Status::Stopped, &mut heard_late).await;
    assert_eq!(late[0].seq, present[0].seq + 1);
}

#[tokio::test]
async fn a_new_view_begins_only_when_the_last_clone_of_a_hold_is_dropped() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    let hold: Hold = changes.last().unwrap().hold().expect("a round that waits can be held");
    let second = hold.clone();
    drop(hold);
    tokio::time::sleep(WHILE).await;
    assert_eq!(node.cloister.status(), Status::Rehashing);
    assert!(!node.cloister.is_mine("any key"));
    drop(second);
    until(Status::Up, &mut heard).await;
    node.end().await;
}

#[tokio::test]
async fn a_hold_that_is_never_dropped_delays_a_view_by_rehash_timeout_at_most() {
    alone!();
    let timing = Timing { rehash_timeout: WHILE, ..Timing::default() };
    let arguments = ManagerArguments::new(Config::new("alone").timing(timing)).unwrap();
    let (ear, mut heard) = ear().await;
    let began = Instant::now();
    let node = Node::start(arguments, async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    let kept = changes.last().unwrap().hold().expect("a round that waits can be held");
    assert!(kept.until() >= began + WHILE);
    assert_eq!(kept.over().await, HoldEnd::TimedOut);
    assert!(began.elapsed() >= WHILE);
    until(Status::Up, &mut heard).await;
    drop(kept);
    node.end().await;
}

#[tokio::test]
async fn a_hold_ends_when_its_node_gives_the_view_up() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    let hold = changes.last().unwrap().hold().expect("a round that waits can be held");
    let (ended, ()) = tokio::join!(hold.over(), node.cloister.leave());
    assert_eq!(ended, HoldEnd::Abandoned);
    node.end().await;
}

#[tokio::test]
async fn a_change_has_the_ring_of_the_view_before_the_view_begins() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe(&ear)).await;
    let changes = until(Status::Rehashing, &mut heard).await;
    assert!(changes[0].ring(None).is_none(), "there is no view yet");
    let change = changes.last().unwrap();
    let hold = change.hold().expect("a round that waits can be held");
    let key = Slot::of(b"user:42");
    assert_eq!((node.cloister.whois("user:42"), node.cloister.claim().is_some()), (None, false));
    let planned = change.ring(None).expect("a view is being agreed on");
    assert_eq!(planned.owner(key), Some(&node.cloister.node()));
    assert_eq!((change.predecessor(), change.ring(Some("cache")).is_none()), (None, true));
    drop(hold);
    let changes = until(Status::Up, &mut heard).await;
    let installed = changes.last().unwrap().ring(None).expect("a view is installed");
    assert_eq!(installed.owner(key), planned.owner(key));
    node.end().await;
}

#[tokio::test]
async fn a_claim_is_of_one_view_and_ends_with_it() {
    alone!();
    let node = Node::start(arguments(), async |_| {}).await;
    node.cloister.wait_until_up(10 * WHILE).await.unwrap();
    let claim = node.cloister.claim().expect("it is up");
    assert_eq!(Some(claim.epoch()), node.cloister.epoch());
    assert!(claim.holds() && claim.owns(Slot::of(b"user:42")) && claim.is_sentry());
    assert!(!claim.owns_of("cache", Slot::of(b"user:42")), "there is no such ring");
    assert!(claim.members().eq([&node.cloister.node()]));
    assert!(claim.left() > std::time::Duration::ZERO);
    node.cloister.leave().await;
    assert!(!claim.holds() && !claim.owns(Slot::of(b"user:42")) && !claim.is_sentry());
    assert_eq!(claim.left(), std::time::Duration::ZERO);
    assert!(node.cloister.claim().is_none());
    node.end().await;
}

#[tokio::test]
async fn a_listener_that_does_not_take_its_hold_in_time_is_not_waited_for() {
    alone!();
    let (ear, mut heard) = ear().await;
    let grace = WHILE;
    let began = Instant::now();
    let node =
        Node::start(arguments(), async move |cloister| cloister.subscribe_with_grace(&ear, grace)).await;
    // As in a mailbox: the message is there, and the hold is not taken.
    let unread = until(Status::Rehashing, &mut heard).await;
    assert_eq!(until(Status::Up, &mut heard).await.len(), 1);
    assert!(began.elapsed() >= grace, "it had its time");
    assert!(unread.last().unwrap().hold().is_none(), "it is too late");
    node.end().await;
}

#[tokio::test]
async fn a_hold_taken_in_time_outlives_the_time_to_take_it_and_the_message() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node =
        Node::start(arguments(), async move |cloister| cloister.subscribe_with_grace(&ear, WHILE)).await;
    let mut changes = until(Status::Rehashing, &mut heard).await;
    let change = changes.pop().unwrap();
    let hold = change.hold().expect("a round that waits can be held");
    assert!(change.clone().hold().is_some(), "as often as it likes");
    drop((change, changes));
    tokio::time::sleep(3 * WHILE).await;
    assert_eq!(node.cloister.status(), Status::Rehashing);
    drop(hold);
    until(Status::Up, &mut heard).await;
    node.end().await;
}

#[tokio::test]
async fn an_observer_gets_no_hold_and_delays_nobody() {
    alone!();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| cloister.subscribe_without_hold(&ear)).await;
    let changes = until(Status::Up, &mut heard).await;
    assert!(changes.iter().any(|change| change.to == Status::Rehashing));
    assert!(changes.iter().all(|change| change.hold().is_none()));
    node.end().await;
}

#[tokio::test]
async fn a_dead_listener_is_dropped_and_others_hear_on() {
    alone!();
    let (dead, _) = ear().await;
    let (alive, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| {
        cloister.subscribe(&dead);
        cloister.subscribe(&alive);
        dead.stop_and_wait(None, None).await.unwrap();
    })
    .await;
    until(Status::Up, &mut heard).await;
    node.end().await;
}

/// Cannot be told anything.
struct Brittle;

#[derive(RactorMessage)]
struct Never;

impl From<StateChange> for Never {
    fn from(_: StateChange) -> Self {
        panic!("this message cannot be made")
    }
}

impl Actor for Brittle {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_whose_message_panics_takes_nobody_with_it() {
    alone!();
    let (brittle, _) = Actor::spawn(None, Brittle, ()).await.unwrap();
    let (ear, mut heard) = ear().await;
    let node = Node::start(arguments(), async move |cloister| {
        cloister.subscribe(&brittle);
        cloister.subscribe(&ear);
    })
    .await;
    until(Status::Up, &mut heard).await;
    node.end().await;
}
