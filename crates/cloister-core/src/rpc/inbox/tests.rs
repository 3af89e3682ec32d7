use cloister_proto::{ClusterState, Incarnation, Member, NodeId, Time, View};

use super::*;
use crate::handle::WaitingLimit;
use crate::placement::{RingPlan, Rings};
use cloister_config::Config;

fn node(n: u64) -> Member {
    let name = format!("shop@10.0.0.{n}:4370").parse().unwrap();
    Member::without_tags(NodeId::new(name, Incarnation(n), n))
}

/// The snapshot of the first of two members, with a lease or without.
fn snapshot(status: Status, epoch: u64, leased: bool) -> Snapshot {
    let view = Arc::new(View::new(Epoch::from_u64(epoch), vec![node(1), node(2)]));
    let rings = Arc::new(Rings::new(&RingPlan::default(), view.members()));
    let mut state = ClusterState::initial(node(1));
    (state.status, state.view) = (status, Some(Arc::clone(&view)));
    let snapshot = Snapshot::new(Arc::new(state), Some((view, rings)));
    snapshot.lease().grant(leased.then_some(Time::from_nanos(u64::MAX)));
    snapshot
}

#[test]
fn a_message_is_delivered_to_the_owner_alone_and_kept_only_while_the_owner_is_not_known() {
    let shared = Shared::new(node(1), RingPlan::default(), &Config::default());
    let ring = cloister_proto::Ring::new(&[node(1).id, node(2).id]);
    let key = |owner: u64| {
        let keys = (0..).map(|n: u32| format!("key-{n}"));
        keys.into_iter().find(|key| ring.owner_of(key.as_bytes()) == Some(&node(owner).id)).unwrap()
    };
    let (own, other) = (key(1), key(2));
    let of = |snapshot: &Snapshot, key: &str, epoch| {
        Disposition::of(snapshot, &shared, key.as_bytes(), (Incarnation(3), Epoch::from_u64(epoch)))
    };
    let not_owner = Disposition::NotOwner(Some(Epoch::from_u64(7)));
    let up = snapshot(Status::Up, 7, true);
    assert_eq!(of(&up, &own, 7), Disposition::Deliver);
    assert_eq!(of(&up, &own, 8), Disposition::Deliver, "its claim holds, whatever the sender knows");
    assert_eq!((of(&up, &other, 7), of(&up, &other, 6)), (not_owner, not_owner));
    assert_eq!(of(&up, &other, 8), Disposition::Keep, "a later view is on its way");
    let from_its_owner = (node(2).id.incarnation(), Epoch::from_u64(7));
    let of_owner = Disposition::of(&up, &shared, other.as_bytes(), from_its_owner);
    assert_eq!(of_owner, Disposition::Keep, "its owner leaves");
    for (status, leased) in [(Status::Up, false), (Status::Rehashing, false), (Status::Assembling, false)] {
        let between = snapshot(status, 7, leased);
        assert_eq!((of(&between, &own, 7), of(&between, &other, 7)), (Disposition::Keep, Disposition::Keep));
    }
    let leaving = snapshot(Status::Stopping, 7, false);
    assert_eq!((of(&leaving, &own, 7), of(&leaving, &other, 8)), (not_owner, not_owner));
}

fn message(n: u16, len: usize, until: Instant) -> Kept {
    let envelope =
        Envelope { key: n.to_be_bytes().to_vec(), direct: false, ..Envelope::direct("", Incarnation(1)) };
    let slot = Slot::of(&envelope.key);
    let message = SerializedMessage::Cast { variant: String::new(), args: vec![0; len], metadata: None };
    Kept { envelope, slot, message, until, own: None }
}

#[test]
fn what_is_kept_is_bounded_in_number_and_bytes_and_its_time_is_over_one_after_the_other() {
    let now = Instant::now();
    let (past, later) = (now, now + Duration::from_secs(60));
    let limits = WaitingLimits { calls: 1_000, bytes: 64 << 20 };
    let mut kept = KeptMessages::new(limits);
    assert!((0..1_000).all(|n| kept.keep(message(n, 1, later)).is_ok()));
    let (_, full) = kept.keep(message(0, 1, later)).unwrap_err();
    assert_eq!(full, TooMany { limit: WaitingLimit::Calls, waiting: 1_000, max: 1_000 });
    assert!(kept.has(message(7, 1, later).lane()) && !kept.has(message(2_000, 1, later).lane()));

    let mut kept = KeptMessages::new(limits);
    assert!((0..64).all(|n| kept.keep(message(n, (1 << 20) - 2, later)).is_ok()));
    let (_, full) = kept.keep(message(64, 1, later)).unwrap_err();
    assert_eq!(full, TooMany { limit: WaitingLimit::Bytes, waiting: (64 << 20) + 3, max: 64 << 20 });

    let mut kept = KeptMessages::new(limits);
    let until = |n: u16| if n.is_multiple_of(2) { past } else { later };
    assert!((0..1_000).all(|n| kept.keep(message(n, 1, until(n))).is_ok()));
    assert_eq!(kept.first_end(), Some(past));
    assert_eq!(kept.take_expired(now).len(), 500);
    assert_eq!((kept.first_end(), kept.take_expired(now).len()), (Some(later), 0));
    assert!(kept.keep(message(1, 1, later)).is_ok());
    assert_eq!((kept.messages.len(), kept.ends.len()), (501, 501));
    assert_eq!(kept.bytes, kept.messages.values().map(Kept::len).sum::<usize>());
    assert_eq!(kept.lanes.values().sum::<usize>(), kept.messages.len());
    assert!(!kept.has(message(2, 1, later).lane()), "all of its lane are gone");
    let order: Vec<_> = kept.take().map(|kept| kept.envelope.key).collect();
    let came: Vec<_> = (0..1_000_u16).filter(|n| n % 2 == 1).chain([1]).collect();
    assert_eq!(order, came.iter().map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_call_is_kept_until_its_sender_can_still_be_told_and_a_cast_to_its_end() {
    let ms = Duration::from_millis;
    for (timeout, call, cast) in [(0, 0, 0), (80, 70, 80), (1_000, 875, 1_000), (10_000, 9_750, 10_000)] {
        assert_eq!((keep_for(ms(timeout), true), keep_for(ms(timeout), false)), (ms(call), ms(cast)));
    }
    assert_eq!(keep_for(Duration::MAX, true), MAX_KEEP);
}

/// An actor may end after it was found: its message is as it was, and nothing counts as in progress.
#[tokio::test]
async fn a_message_that_an_actor_did_not_take_is_taken_back_with_the_port_of_its_caller() {
    let calls = CallsInProgress::default();
    let envelope = Envelope::direct("cart", Incarnation(1));
    let (sender, answered) = ractor::concurrency::oneshot::<Vec<u8>>();
    let reply = (sender, Duration::from_secs(60)).into();
    let message =
        SerializedMessage::Call { variant: "Cart::Add".to_owned(), args: vec![7], reply, metadata: None };
    let (message, callers) = for_actor(&envelope, message, &calls);
    assert_eq!(calls.numbers(), (1, 0));
    let Some(SerializedMessage::Call { variant, args, reply, .. }) = taken_back(message, callers) else {
        panic!("it is a call")
    };
    calls.wait_for_none().await;
    assert_eq!((variant.as_str(), &args[..]), ("Cart::Add", &[7][..]));
    reply.send(Refusal::NoActor.bytes()).unwrap();
    assert_eq!(answered.await, Ok(Refusal::NoActor.bytes()));
}

/// Else an actor that keeps the port of a message without a limit would hold its node for `leave_timeout`.
#[tokio::test]
async fn a_port_without_a_limit_does_not_count_as_a_call_in_progress() {
    let calls = CallsInProgress::default();
    let envelope = Envelope::direct("cart", Incarnation(1));
    let (sender, _answered) = ractor::concurrency::oneshot::<Vec<u8>>();
    let (variant, reply) = ("Cart::Follow".to_owned(), sender.into());
    let message = SerializedMessage::Call { variant, args: Vec::new(), reply, metadata: None };
    let kept = for_actor(&envelope, message, &calls);
    assert_eq!(calls.numbers(), (0, 0));
    drop(kept);
}
