//! What the link layer is started with.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use cloister_discovery::Discovery;
use cloister_proto::{Hello, Member, Timing};

use crate::runtime::Application;
use crate::tls::Tls;

/// The settings of the link layer, fixed at its start.
#[derive(Clone)]
pub struct LinkSettings {
    /// This node, with the address it advertises.
    pub me: Member,
    /// What this node sends about itself on each new link.
    pub hello: Hello,
    /// The secret that all nodes of the cluster share.
    pub cookie: String,
    /// What connections are secured with; `None` for connections as they are.
    pub tls: Option<Tls>,
    /// The name of the cluster. Nodes of another name are refused, whatever their cookie.
    pub cluster: String,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How long things take.
    pub timing: Timing,
    /// Where to look for peers; each is asked by itself.
    pub strategies: Vec<Arc<dyn Discovery>>,
    /// The longest frame that is accepted from a peer, in bytes.
    pub max_frame: u64,
    /// How many bytes may wait to be sent to a peer before messages to it are refused.
    pub link_bytes: u64,
    /// The runtime that ractor's sessions and their sockets are on.
    pub application: Application,
}

impl fmt::Debug for LinkSettings {
    /// Without the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkSettings")
            .field("me", &self.me)
            .field("cluster", &self.cluster)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}
