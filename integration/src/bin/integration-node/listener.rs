//! Listeners of several manners, all of which print what they hear.

use std::time::Duration;

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use cloister::ractor_cluster::RactorMessage;
use cloister::{Change, Cloister, NodeId, StateChange, Status};
use cloister_integration::{Changed, Line, Notice};

use crate::print;

/// How a listener behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// No round waits for it.
    Observes,
    /// It takes its time for each message, and does not know of holds.
    Dawdles(Duration),
    /// It ends at the next message after the first.
    Dies,
    /// Rounds wait for it as long as this.
    Holds(Duration),
    /// Announced rounds wait for it as long as this.
    Warms(Duration),
}

/// Prints what it hears.
struct Listener;

struct Setup {
    name: String,
    manner: Manner,
}

#[derive(RactorMessage)]
struct Message(StateChange);

impl From<StateChange> for Message {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

/// Adds a listener under a name of its own.
pub(crate) async fn add(cloister: &Cloister, name: &str, manner: Manner) -> Result<(), SpawnErr> {
    let setup = Setup { name: name.to_owned(), manner };
    let (listener, _) = Actor::spawn(None, Listener, setup).await?;
    match manner {
        Manner::Observes => cloister.subscribe_without_hold(&listener),
        Manner::Dawdles(_) | Manner::Dies | Manner::Holds(_) => cloister.subscribe(&listener),
        Manner::Warms(_) => cloister.subscribe_with_warm_up(&listener),
    }
    Ok(())
}

impl Actor for Listener {
    type Msg = Message;
    type State = Setup;
    type Arguments = Setup;

    async fn pre_start(&self, _: ActorRef<Message>, setup: Setup) -> Result<Setup, ActorProcessingErr> {
        Ok(setup)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        Message(change): Message,
        setup: &mut Setup,
    ) -> Result<(), ActorProcessingErr> {
        let hold = match setup.manner {
            Manner::Holds(_) => change.hold(),
            Manner::Warms(_) if change.state.planned.is_some() => change.hold(),
            Manner::Warms(_) => {
                drop(change.hold());
                None
            }
            Manner::Observes | Manner::Dawdles(_) | Manner::Dies => None,
        };
        print::line(&Line::Notice(notice(&setup.name, &change, hold.is_some())));
        match setup.manner {
            Manner::Observes => {}
            Manner::Dawdles(pause) => tokio::time::sleep(pause).await,
            Manner::Dies if change.changes.is_empty() && change.to != Status::Rehashing => {}
            Manner::Dies => myself.kill(),
            // In a task: the actor hears on while it holds.
            Manner::Holds(pause) | Manner::Warms(pause) => drop(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                drop(hold);
            })),
        }
        Ok(())
    }
}

fn notice(listener: &str, change: &StateChange, held: bool) -> Notice {
    let slots = |moves: &[cloister::SlotTransfer]| moves.iter().map(|one| one.slots.len()).sum::<usize>();
    Notice {
        at: print::now(),
        listener: listener.to_owned(),
        seq: change.seq,
        from: change.from.to_string(),
        to: change.to.to_string(),
        epoch: change.state.epoch().map(|epoch| epoch.as_u64()),
        changes: change.changes.iter().flat_map(changed).collect(),
        members: change.state.members.iter().map(|member| id(&member.id)).collect(),
        sentry: change.state.sentry.as_ref().map(id),
        gained: change.moved.iter().map(|ring| slots(&ring.gained)).sum(),
        lost: change.moved.iter().map(|ring| slots(&ring.lost)).sum(),
        held,
        predecessor: change.predecessor().map(|epoch| epoch.as_u64()),
        rings: named_rings().filter_map(|name| Some((name.clone(), members(change, &name)?))).collect(),
    }
}

/// What `NODE_RINGS` lists.
fn named_rings() -> impl Iterator<Item = String> {
    let names = std::env::var("NODE_RINGS").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn members(change: &StateChange, ring: &str) -> Option<Vec<serde_json::Value>> {
    Some(change.ring(Some(ring))?.members().iter().map(|member| id(member).into()).collect())
}

/// `name#incarnation`.
pub(crate) fn id(node: &NodeId) -> String {
    format!("{}#{}", node.name(), node.incarnation())
}

fn changed(change: &Change) -> Vec<Changed> {
    let one = |kind: &str, node: Option<&NodeId>, reason: Option<&str>| Changed {
        kind: kind.to_owned(),
        node: node.map(id),
        reason: reason.map(str::to_owned),
    };
    match change {
        Change::NodeUp { node } => vec![one("node_up", Some(node), None)],
        Change::NodeDown { node, reason } => vec![one("node_down", Some(node), Some(reason.as_str()))],
        Change::NetworkSplit { unreachable } => {
            unreachable.iter().map(|node| one("network_split", Some(node), None)).collect()
        }
        Change::NetworkHealed { nodes } => {
            nodes.iter().map(|node| one("network_healed", Some(node), None)).collect()
        }
        Change::SentryChanged { to, .. } => vec![one("sentry_changed", to.as_ref(), None)],
        other => vec![one(&format!("{other:?}"), None, None)],
    }
}
