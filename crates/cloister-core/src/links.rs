//! Links to peers: the interface only, until the branch that builds them is merged.

use std::collections::BTreeSet;
use std::time::Duration;

use cloister_proto::{Address, CloseReason, Hello, LinkId, Member, Message, NodeId, Time};
use ractor::ActorCell;

use crate::clock::Clock;

/// What happens on links.
#[derive(Debug)]
#[allow(missing_docs, dead_code)]
pub(crate) enum LinkEvent {
    Linked { link: LinkId, peer: Member, lease: Duration, hello: Hello },
    Unlinked { link: LinkId },
    Received { link: LinkId, message: Message },
    Refused { address: Address, began: Time },
    Surveyed { unaccounted: BTreeSet<Address>, complete: bool },
    Failed(LinkError),
}

#[derive(Debug, thiserror::Error)]
#[error("links are not built yet")]
pub(crate) struct LinkError;

#[derive(Debug)]
pub(crate) struct LinkSettings {}

#[derive(Debug)]
#[allow(dead_code)]
pub(crate) struct DialReport {
    pub(crate) address: Address,
    pub(crate) name: Option<String>,
    pub(crate) state: &'static str,
    pub(crate) last_error: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Links;

#[allow(clippy::unused_async)]
impl Links {
    pub(crate) async fn start(
        _: LinkSettings,
        _: ActorCell,
        _: Clock,
        _: impl Fn(LinkEvent) + Send + Sync + 'static,
    ) -> Result<Links, LinkError> {
        Err(LinkError)
    }
    pub(crate) fn send(&self, _: LinkId, _: &Message) {}
    pub(crate) fn close(&self, _: LinkId, _: CloseReason) {}
    pub(crate) fn meet(&self, _: &NodeId) {}
    pub(crate) fn heard(&self) -> Vec<(LinkId, Time)> {
        Vec::new()
    }
    pub(crate) fn dials(&self) -> Vec<DialReport> {
        Vec::new()
    }
    pub(crate) fn remote_node(&self, _: &NodeId) -> Option<u64> {
        None
    }
    pub(crate) fn assembled(&self, _: bool) {}
    pub(crate) async fn stop(&self) {}
}
