//! One TCP connection: the socket, TLS, authentication, and what ractor reads and writes of it.

pub(crate) mod authentication;
pub(crate) mod backlog;
pub(crate) mod codec;
pub(crate) mod oversize;
pub(crate) mod reader;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod transport;
pub(crate) mod writer;
