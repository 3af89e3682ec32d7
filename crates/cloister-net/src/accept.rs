//! Incoming connections: the accept loop, and the cap on connections that are not authenticated yet.

pub(crate) mod acceptor;
pub(crate) mod pending;
