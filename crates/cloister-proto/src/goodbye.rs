//! What a node that leaves hands over to the others.

use crate::name::NodeId;
use crate::view::View;

/// That a node has left in order, and what it hands over.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Goodbye {
    /// The node.
    pub node: NodeId,
    /// The view that it installed last, and those that it acknowledged since. A view without members is the one of this
    /// epoch that the receiver has installed.
    pub base_views: Vec<View>,
}
