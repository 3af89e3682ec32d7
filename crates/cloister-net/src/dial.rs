//! Outgoing connections: the address book decides when an address is due, the dialer connects.

pub(crate) mod address_book;
pub(crate) mod dialer;
