//! A node that is up on paper, so that what the handle reads and the inbox does can be measured at any size of cluster.

use std::sync::Arc;
use std::time::Duration;

use cloister_config::Config;
use cloister_proto::{ClusterState, Epoch, Member, Status, View};

use ractor::Message;
use ractor::message::SerializedMessage;

use crate::handle::{Cloister, Shared};
use crate::placement::{RingPlan, Rings, Snapshot};
use crate::rpc::{self, InboxState};

/// The handle of a node that is up in a view of `me` and `others` and holds its lease for as long as this. There is no actor and no network
/// behind it. What it answers synchronously costs what it costs in a program.
pub fn placed(me: &Member, others: &[Member], lease: Duration) -> Cloister {
    let shared = Arc::new(Shared::new(me.clone(), RingPlan::default(), &Config::default()));
    let members = std::iter::once(me).chain(others).cloned().collect();
    let view = Arc::new(View::new(Epoch::from_u64(1), members));
    let rings = Arc::new(Rings::new(shared.plan(), view.members()));
    let mut state = ClusterState::initial(me.clone());
    state.status = Status::Up;
    state.members = view.members().to_vec();
    state.sentry = view.sentry().cloned();
    state.view = Some(Arc::clone(&view));
    let incarnation = shared.begin(me.clone());
    shared.publish(&incarnation, Arc::new(Snapshot::new(Arc::new(state), Some((view, rings)))));
    let now = shared.clock().now();
    incarnation.grant(Some(now + lease), now);
    Cloister::new(shared)
}

/// The inbox of a node on paper, without the mailbox before it.
#[derive(Debug)]
pub struct Inbox(InboxState);

impl Inbox {
    /// That of `cloister`. Must be called within a runtime.
    pub fn of(cloister: &Cloister) -> Self {
        Self(InboxState::on_paper(Arc::clone(cloister.shared())))
    }

    /// Does with a message what is to be done: hands it to its actor, if `cloister` owns the key.
    pub fn take_in(&mut self, message: SerializedMessage) {
        self.0.take_in(message, None);
    }
}

/// A message to the actor of this name, by this key, as it comes to the inbox of `cloister`; `None` if it cannot be encoded.
pub fn enveloped<M: Message>(
    cloister: &Cloister,
    name: &str,
    key: &[u8],
    message: M,
) -> Option<SerializedMessage> {
    rpc::enveloped(cloister, name, key, message)
}

#[cfg(test)]
mod tests {
    use cloister_proto::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn a_node_on_paper_answers_as_one_that_is_up_until_its_lease_ends() {
        let member = |n: u64| {
            let name = format!("shop@10.0.0.{n}:4370").parse().unwrap();
            Member::without_tags(NodeId::new(name, Incarnation(n), n))
        };
        let others = [member(2), member(3)];
        let on_paper = placed(&member(1), &others, Duration::from_secs(60));
        assert_eq!(on_paper.status(), Status::Up);
        assert!(on_paper.is_sentry());
        for key in (0..1000).map(|key| format!("key-{key}")) {
            assert_eq!(on_paper.is_mine(&key), on_paper.whois(&key) == Some(on_paper.node()));
        }
        assert!((0..1000).any(|key| on_paper.is_mine(format!("key-{key}"))));
        let expired = placed(&member(1), &others, Duration::ZERO);
        assert!(!(0..1000).any(|key| expired.is_mine(format!("key-{key}"))));
    }
}
