//! What an owner knows of the clients that are members of its view.

use std::collections::BTreeMap;

use cloister_proto::Epoch;

use crate::operation::OperationId;
use crate::placement::Placement;

/// What an owner knows of the clients that are members of its view: which operations they have given up, and since which view their
/// operations are remembered.
///
/// Answers of a client are forgotten in a view that it is no member of. So an operation that an owner accepted and commits in a later view
/// may have been applied before, and its answer may be gone. That is not so if the client has been a member of every view in between.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// The view that this node was up in last.
    epoch: Epoch,
    members: BTreeMap<u64, Client>,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    /// The first of the views without a gap that it is a member of, and this node was up in.
    since: Epoch,
    /// It repeats nothing below this number.
    settled: u64,
}

impl Clients {
    /// This node is up in the view of this placement.
    pub fn up(&mut self, placement: &Placement) {
        let epoch = placement.epoch();
        if epoch == self.epoch {
            return;
        }
        let follows = placement.predecessor() == std::mem::replace(&mut self.epoch, epoch);
        let before = std::mem::take(&mut self.members);
        let known = |incarnation| before.get(&incarnation).copied().filter(|_| follows);
        let incarnations = placement.members().iter().map(|member| member.incarnation().0);
        self.members = incarnations
            .map(|its| (its, known(its).unwrap_or(Client { since: epoch, settled: 0 })))
            .collect();
    }

    /// A client sends an operation, and says by its name which others are over.
    pub fn settle(&mut self, id: OperationId) {
        if let Some(client) = self.members.get_mut(&id.client) {
            client.settled = client.settled.max(id.settled);
        }
    }

    /// Whether its client has given an operation up, or has been answered.
    #[must_use]
    pub fn is_settled(&self, id: OperationId) -> bool {
        self.members.get(&id.client).is_some_and(|client| id.number < client.settled)
    }

    /// Whether all that this client has done since the view of `epoch` is remembered, but for what it has given up.
    #[must_use]
    pub fn are_remembered(&self, client: u64, epoch: Epoch) -> bool {
        self.members.get(&client).is_some_and(|client| client.since <= epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloister_proto::{Incarnation, NodeId, Ring};

    use super::*;

    fn up(clients: &mut Clients, view: u64, predecessor: u64, members: &[u64]) {
        let id = |n: &u64| NodeId::new(format!("a@h{n}:1").parse().expect("a name"), Incarnation(*n), *n);
        let members: Vec<NodeId> = members.iter().map(id).collect();
        let replicas = Arc::new(Ring::new(&members).replicas(1));
        let epoch = Epoch::from_u64;
        clients.up(&Placement::new(epoch(view), epoch(predecessor), members.into(), replicas));
    }

    #[test]
    fn what_a_client_did_is_remembered_while_it_is_a_member_and_this_node_sees_every_view() {
        let mut clients = Clients::default();
        let remembered = |clients: &Clients, since: u64| {
            [1, 2].map(|client| clients.are_remembered(client, Epoch::from_u64(since)))
        };
        up(&mut clients, 3, 2, &[1, 2]);
        assert_eq!((remembered(&clients, 3), remembered(&clients, 2)), ([true, true], [false, false]));
        up(&mut clients, 5, 3, &[1]);
        assert_eq!(remembered(&clients, 3), [true, false]);
        up(&mut clients, 6, 5, &[1, 2]);
        assert_eq!((remembered(&clients, 3), remembered(&clients, 6)), ([true, false], [true, true]));
        // A view lies between that this node was not up in.
        up(&mut clients, 9, 8, &[1, 2]);
        assert_eq!((remembered(&clients, 6), remembered(&clients, 9)), ([false, false], [true, true]));
    }

    #[test]
    fn what_is_settled_is_known_of_members_only() {
        let mut clients = Clients::default();
        let id = |client, number, settled| OperationId { client, number, settled };
        up(&mut clients, 3, 2, &[1, 2]);
        for (client, settled) in [(1, 5), (1, 4), (2, 7), (3, 9)] {
            clients.settle(id(client, settled, settled));
        }
        let settled = |clients: &Clients| {
            [(1, 4), (1, 5), (2, 6), (3, 1)].map(|(c, n)| clients.is_settled(id(c, n, 0)))
        };
        assert_eq!(settled(&clients), [true, false, true, false]);
        up(&mut clients, 4, 3, &[2, 3]);
        assert_eq!((settled(&clients), clients.members.len()), ([false, false, true, false], 2));
    }
}
