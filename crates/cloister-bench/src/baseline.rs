//! The baseline: nodes of ractor_cluster and nothing else, each a process, and plain TCP beside them.
//!
//! Each dials the nodes whose addresses are smaller than its own: dialled from both ends, links flap. There is no
//! identity that survives a restart, no view, no detection of silence. It is the least that a cluster can cost.

mod mesh;
mod node;
mod tcp;

pub(crate) use mesh::Mesh;
pub(crate) use node::{Options, run};
