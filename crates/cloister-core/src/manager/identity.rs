//! Who this node is to others.

use cloister_proto::{Incarnation, Member, NodeId, NodeName, Settings};

use crate::config::{Config, ConfigError, Naming as NamingChoice, Seeding};
use crate::handle::Shared;
use crate::links::LinkSettings;

/// What is known beforehand of how this node is addressed.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    alone: bool,
}

/// Who this node is to others.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    name: NodeName,
}

impl Naming {
    /// Reads the seeds; fails with what is wrong with them.
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { alone: config.naming == NamingChoice::None || config.seeds.is_empty() })
    }

    /// How many nodes the seeds speak of.
    pub(super) fn seeding(&self) -> Seeding {
        Seeding::None
    }

    /// The identity of a node without a network, for which nothing has to be looked up.
    pub(super) fn at_once(&self, config: &Config) -> Option<Identity> {
        if !self.alone {
            return None;
        }
        Some(Identity { name: NodeName::without_network(&config.name).ok()? })
    }

    /// Looks up until it is known; fails when looking again cannot help.
    pub(super) async fn resolve(&self, _: &Shared) -> Result<Identity, String> {
        Err("discovery is not merged yet".to_owned())
    }
}

impl Identity {
    pub(super) fn name(&self) -> &NodeName {
        &self.name
    }

    /// How to link with others; `None` for a node without a network.
    pub(super) fn links(&self, _: &Config, _: &Settings) -> Result<Option<LinkSettings>, String> {
        Ok(None)
    }
}

/// What a node is called until it knows better.
pub(super) fn provisional(config: &Config) -> Member {
    // The name has been checked; one that is not a name cannot come here.
    let name = NodeName::without_network(&config.name)
        .or_else(|_| NodeName::without_network("cloister"))
        .expect("invariant: `cloister` is a name");
    Member::untagged(NodeId::new(name, Incarnation(0), 0))
}
