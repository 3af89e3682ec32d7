//! What listeners are told.

use std::sync::Arc;

use super::{Node, Stage};
use crate::action::Action;
use crate::change::Finding;
use crate::name::NodeId;
use crate::peer::Peer;
use crate::status::Status;
use crate::view::{Epoch, Member};

/// Everything that what listeners are told depends on; while it is the same, there is nothing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) status: Status,
    pub(super) reach: u64,
    pub(super) leavers: u64,
    pub(super) installed: Epoch,
    pub(super) promised: Epoch,
}

impl Node {
    pub(super) fn status(&self) -> Status {
        match &self.stage {
            Stage::Assembling => Status::Assembling,
            Stage::Promised(_) => Status::Rehashing,
            Stage::Bound(bound) if bound.until.is_some_and(|until| self.now < until) => Status::Up,
            Stage::Bound(_) => Status::Rehashing,
            Stage::Leaving { .. } => Status::Stopping,
            Stage::Left => Status::Stopped,
        }
    }

    /// What this node is now, for listeners.
    pub(super) fn finding(&self) -> Finding {
        let told = self.record.state();
        let status = self.status();
        let members = match (&self.stage, &self.installed) {
            (Stage::Assembling, _) => self.heard_members(),
            (Stage::Bound(_), Some(view)) if status == Status::Up => view.members().to_vec(),
            _ => told.members.clone(),
        };
        let (view, sentry) = match status {
            Status::Rehashing => (told.view.clone(), told.sentry.clone()),
            Status::Up => {
                (self.installed.clone(), self.installed.as_ref().and_then(|view| view.sentry().cloned()))
            }
            _ => (self.installed.clone(), None),
        };
        let proposed = match &self.stage {
            Stage::Promised(promise) => Some(Arc::clone(&promise.view)),
            Stage::Bound(_) if status == Status::Rehashing => self.installed.clone(),
            _ => None,
        };
        let fates = self.peers.iter().filter_map(|(id, peer)| Some((id.clone(), peer.fate()?))).collect();
        Finding { status, members, view, proposed, sentry, fates, split: false }
    }

    pub(super) fn heard_members(&self) -> Vec<Member> {
        let of = |node: &NodeId| match self.peers.get(node) {
            Some(peer) => peer.member.clone(),
            None => self.settings.me.clone(),
        };
        self.reach.nodes.iter().filter(|node| !self.is_leaving(node)).map(of).collect()
    }

    pub(super) fn is_leaving(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(Peer::is_leaving)
    }

    pub(super) fn tell(&mut self, hold: Option<Epoch>) {
        let telling = Telling {
            status: self.status(),
            reach: self.reach.version,
            leavers: self.leavers,
            installed: self.installed_epoch(),
            promised: self.promised,
        };
        if hold.is_none() && self.told == Some(telling) {
            return;
        }
        self.told = Some(telling);
        if let Some(change) = self.record.tell(self.finding(), hold) {
            self.actions.push_back(Action::Tell(change));
        }
    }

    pub(super) fn tell_split(&mut self) {
        let finding = Finding { split: true, ..self.finding() };
        if let Some(change) = self.record.tell(finding, None) {
            self.actions.push_back(Action::Tell(change));
        }
    }
}
