//! Where a message for a key goes.

use cloister_proto::{Epoch, NodeId, Status};

use crate::handle::Cloister;
use crate::placement::Snapshot;

/// Where a message for a key can go now.
pub(super) enum Route {
    /// To the actor of this node: it owns the key and holds its lease.
    Own(NodeId),
    /// To the inbox of the owner by the view of this epoch.
    Inbox { owner: NodeId, epoch: Epoch },
    /// Nowhere yet, for this reason.
    Nowhere(&'static str),
    /// Nowhere any more: this node has left, or has ended.
    Ended,
}

impl Route {
    /// Where a message for this key can go now.
    pub(super) fn of(cloister: &Cloister, key: &[u8]) -> Self {
        let shared = cloister.shared();
        let (status, epoch, mine) = shared.look(|snapshot| {
            let state = snapshot.state();
            let owner = snapshot.ring(None).and_then(|ring| ring.owner_of(key));
            // The lease last.
            let mine = (owner == Some(&state.node.id)).then(|| snapshot.holds(shared.clock()));
            (state.status, snapshot.epoch(), mine)
        });
        let why = match (status, mine, epoch) {
            (Status::Up, Some(true), _) => return Self::Own(cloister.node()),
            (Status::Up, None, Some(epoch)) => match shared.owner(None, key) {
                Some(owner) => return Self::Inbox { owner, epoch },
                None => "no member owns it",
            },
            // What its actors still handle may ask others.
            (Status::Stopping, _, Some(epoch)) => {
                match shared.look(|snapshot| owner_without_me(snapshot, key)) {
                    Some(owner) => return Self::Inbox { owner, epoch },
                    None => return Self::Ended,
                }
            }
            (Status::Up, ..) => "the lease of this node has lapsed",
            (Status::Rehashing, ..) => "a new view is being agreed on",
            (Status::Down | Status::Assembling, ..) => {
                "the cluster is not up here; `/readyz` says what is missing"
            }
            // Also of a later version.
            _ => return Self::Ended,
        };
        Self::Nowhere(why)
    }
}

/// The owner of a key in the view that follows the leave of this node: the present owner. If that is this node, the member that comes next by the
/// ring.
fn owner_without_me(snapshot: &Snapshot, key: &[u8]) -> Option<NodeId> {
    let me = &snapshot.state().node.id;
    let owners = snapshot.ring(None)?.owners(key, 2);
    owners.into_iter().find(|owner| *owner != me).cloned()
}
