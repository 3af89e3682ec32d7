//! The shell around the pure core: links between nodes, and in time the manager, the monitor and the handle.

#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod links;
