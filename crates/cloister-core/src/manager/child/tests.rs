//! Children that end in the moment that they are started.

use cloister_config::Config;
use cloister_proto::{Incarnation, Member, NodeId};
use ractor::{Actor, ActorProcessingErr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::handle::Shared;
use crate::manager::mailbox::Mailbox;
use crate::placement::RingPlan;

struct Worker;

impl Actor for Worker {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// One child that is being started, and what its manager gets.
async fn children() -> (Children, UnboundedReceiver<Command>) {
    let (sender, commands) = unbounded_channel();
    let (manager, _) = Actor::spawn(None, Mailbox(sender), ()).await.unwrap();
    let child = ChildSpec::new("worker", |_, _| async { std::future::pending().await });
    let mut children = Children::new(vec![child], handle(), manager);
    children.start();
    (children, commands)
}

fn handle() -> Cloister {
    let id = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(1), 1);
    let me = Member::new(id, Arc::default());
    Cloister::new(Arc::new(Shared::new(me, RingPlan::default(), &Config::default())))
}

/// A supervisor starts the next manager as soon as it hears of the failure, which is before ractor drops what the first one had.
#[tokio::test]
async fn calls_wait_for_a_registered_child_also_when_the_manager_before_is_dropped_late() {
    let cloister = handle();
    let children = async || {
        let (manager, _) = Actor::spawn(None, Mailbox(unbounded_channel().0), ()).await.unwrap();
        let child = ChildSpec::named("cart".into(), true, |_, _| Box::pin(std::future::pending()));
        Children::new(vec![child], cloister.clone(), manager)
    };
    let is_supervised = || cloister.shared().registered().is_supervised("cart");
    let (first, second) = (children().await, children().await);
    drop(first);
    assert!(is_supervised());
    drop(second);
    assert!(!is_supervised());
}

/// The report of its end is on its way when its start is heard of.
#[tokio::test]
async fn a_child_that_ends_by_itself_as_it_is_started_is_not_started_again() {
    let (mut children, mut commands) = children().await;
    let (actor, ended) = Actor::spawn_linked(None, Worker, (), children.manager.get_cell()).await.unwrap();
    actor.stop(None);
    ended.await.unwrap();
    assert_eq!(children.started(0, Ok(actor.get_cell())), Consequence::None);
    assert_eq!(children.ended(actor.get_id(), None), Some(Consequence::None));
    let Some(Command::ChildOver { actor: over }) = commands.recv().await else { panic!("it is over") };
    assert_eq!((over, children.over(over)), (actor.get_id(), None));
    assert!(matches!(children.slots[0].state, ChildState::Finished));
}

/// Nothing reports the end of an actor without a supervisor.
#[tokio::test]
async fn a_child_that_ended_before_it_was_linked_is_started_again() {
    let (mut children, mut commands) = children().await;
    let (actor, ended) = Actor::spawn(None, Worker, ()).await.unwrap();
    actor.stop(None);
    ended.await.unwrap();
    assert_eq!(children.started(0, Ok(actor.get_cell())), Consequence::None);
    let Some(Command::ChildOver { actor: over }) = commands.recv().await else { panic!("it is over") };
    assert_eq!(children.over(over), Some(Consequence::None));
    assert!(matches!(commands.recv().await, Some(Command::StartChild { child: 0 })));
}
