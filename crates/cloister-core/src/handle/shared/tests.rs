use cloister_proto::{Action, Event, Incarnation, Node, NodeId, Settings, Time, Transition};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::handle::Cloister;
use crate::internal;
use crate::listener::{HoldMode, HoldToken, Listener, Placement, StateChange};

const LATER: Time = Time::from_nanos(u64::MAX);
const NOW: Time = Time::from_nanos(1);

fn node() -> Member {
    Member::without_tags(NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1))
}

/// A monitor that is not quite dead decides, publishes and grants; its incarnation was closed under its hands.
#[test]
fn a_incarnation_that_is_over_claims_nothing_whatever_its_monitor_still_publishes() {
    let shared = Shared::new(node(), RingPlan::default(), &Config::default());
    let incarnation = shared.begin(node());
    let publish = || {
        shared.publish(&incarnation, Arc::new(Snapshot::new(Arc::new(ClusterState::initial(node())), None)))
    };
    publish();
    incarnation.grant(Some(LATER), NOW);
    assert!(shared.snapshot().holds(shared.clock()));
    let seen_before = shared.snapshot().clone();
    incarnation.retire();
    for _ in 0..2 {
        incarnation.grant(Some(LATER), NOW);
        assert!(!shared.snapshot().holds(shared.clock()));
        assert!(!seen_before.holds(shared.clock()));
        publish();
    }
}

#[test]
fn a_incarnation_that_was_replaced_claims_nothing_and_the_next_may() {
    let shared = Shared::new(node(), RingPlan::default(), &Config::default());
    let first = shared.begin(node());
    first.grant(Some(LATER), NOW);
    let seen_before = shared.snapshot().clone();
    let second = shared.begin(node());
    first.grant(Some(LATER), NOW);
    assert!(!seen_before.holds(shared.clock()) && !shared.snapshot().holds(shared.clock()));
    second.grant(Some(LATER), NOW);
    assert!(shared.snapshot().holds(shared.clock()));
}

/// The change by which a node that is alone comes up.
fn comes_up() -> Transition {
    let mut core = Node::new(Settings::new(node(), NonZeroUsize::MIN, 1), NOW);
    let (unverified, refusing, named) = Default::default();
    core.handle(NOW, Event::DiscoveryUpdate { unverified, refusing, named, complete: true });
    loop {
        match core.next_action() {
            Some(Action::Notify(change)) if change.to == Status::Up => return change,
            Some(Action::Notify(Transition { hold: Some(held), .. })) => {
                core.handle(NOW, Event::HoldReleased { held })
            }
            Some(_) => {}
            None => core.handle(core.next_timeout().expect("it will come up"), Event::Tick),
        }
    }
}

struct Ear;

#[derive(RactorMessage)]
struct Heard(StateChange);

impl From<StateChange> for Heard {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Ear {
    type Msg = Heard;
    type State = UnboundedSender<Status>;
    type Arguments = UnboundedSender<Status>;

    async fn pre_start(
        &self,
        _: ActorRef<Heard>,
        sender: UnboundedSender<Status>,
    ) -> Result<UnboundedSender<Status>, ActorProcessingErr> {
        Ok(sender)
    }

    async fn handle(
        &self,
        _: ActorRef<Heard>,
        Heard(change): Heard,
        sender: &mut UnboundedSender<Status>,
    ) -> Result<(), ActorProcessingErr> {
        Ok(sender.send(change.to)?)
    }
}

/// Its monitor was computing rings when it was killed, and comes to its end in the middle of the next incarnation.
#[tokio::test]
async fn no_listener_and_no_caller_hears_of_a_change_of_an_incarnation_that_is_over() {
    let shared = Shared::new(node(), RingPlan::default(), &Config::default());
    let (sender, mut heard) = unbounded_channel();
    let (ear, _) = Actor::spawn(None, Ear, sender).await.unwrap();
    shared.listeners().add(Listener::new(ear.clone(), HoldMode::Without));
    let up = |incarnation: &IncarnationState| {
        let placement = Placement { moved: Vec::new(), rings: None, predecessor: None };
        let hold = None::<fn() -> Arc<HoldToken>>;
        let change = comes_up();
        let state = incarnation.numbered(&change.state);
        shared.listeners().notify(&change, state, placement, hold, || incarnation.is_over());
        shared.announce_of(incarnation, Status::Up);
    };
    let first = shared.begin(node());
    up(&first);
    assert_eq!(shared.progress().borrow().status, Status::Up);
    let second = shared.begin(node());
    up(&first);
    assert_eq!(shared.progress().borrow().status, Status::Down);
    up(&second);
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(heard.recv().await.unwrap());
    }
    assert_eq!(all, [Status::Down, Status::Up, Status::Down, Status::Up]);
    ear.stop(None);
    assert_eq!(heard.recv().await, None);
}

#[tokio::test]
async fn a_program_that_asks_for_the_end_at_or_after_it_has_waited_for_it() {
    let shared = || Arc::new(Shared::new(node(), RingPlan::default(), &Config::default()));
    let cloister = Cloister::new(shared());
    let stopped = cloister.wait_stopped();
    assert!(!internal::was_awaited(&cloister, Duration::ZERO).await, "it has not ended");
    cloister.shared().end(ExitReason::Left);
    assert_eq!(stopped.await, ExitReason::Left);
    assert!(internal::was_awaited(&cloister, Duration::ZERO).await, "though nothing waits now");

    let cloister = Cloister::new(shared());
    drop(cloister.wait_stopped());
    cloister.shared().end(ExitReason::Left);
    assert!(!internal::was_awaited(&cloister, Duration::ZERO).await, "it does not wait any more");
    let (awaited, stopped) = tokio::join!(internal::was_awaited(&cloister, Duration::MAX), async {
        cloister.wait_stopped().await
    });
    assert_eq!((awaited, stopped), (true, ExitReason::Left));
}
