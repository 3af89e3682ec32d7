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

#[allow(dead_code)]
pub(crate) struct LinkSettings {
    pub(crate) me: Member,
    pub(crate) hello: Hello,
    pub(crate) cookie: String,
    pub(crate) cluster: String,
    pub(crate) bind: std::net::SocketAddr,
    pub(crate) timing: cloister_proto::Timing,
    pub(crate) strategies: std::sync::Arc<dyn Strategies>,
    pub(crate) max_frame: u64,
}

pub(crate) type Sink = std::sync::Arc<dyn Fn(LinkEvent) + Send + Sync>;

pub(crate) type Finding<'a> =
    std::pin::Pin<Box<dyn std::future::Future<Output = Vec<Answer>> + Send + 'a>>;

pub(crate) trait Strategies: Send + Sync + 'static {
    fn find(&self) -> Finding<'_>;
}

#[allow(dead_code)]
pub(crate) struct Answer {
    pub(crate) seed: String,
    pub(crate) found: Result<BTreeSet<std::net::SocketAddr>, String>,
}

#[allow(dead_code)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum DialState {
    Linked,
    Dialling,
    Refused,
    Unreachable,
    Myself,
}

#[derive(Debug)]
#[allow(dead_code)]
pub(crate) struct DialReport {
    pub(crate) address: Address,
    pub(crate) name: Option<cloister_proto::NodeName>,
    pub(crate) state: DialState,
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
        _: Sink,
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
