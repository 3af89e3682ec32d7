//! The baseline: nodes of ractor_cluster and nothing else, each a process, and plain TCP beside them.
//!
//! Each node dials the nodes with smaller addresses: connections that are dialled from both ends flap. There is no
//! identity that survives a restart, no view, no detection of silence. It is the least that a cluster can cost.

mod mesh;
mod node;
mod tcp;

pub(crate) use mesh::Mesh;
pub(crate) use node::{Options, run};
