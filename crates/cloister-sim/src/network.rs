//! What flies over connections: in order, late, or not until the network is healed.

use std::collections::VecDeque;

use cloister_proto::Message;

/// What flies over a connection: messages of the cores and of the applications, in one order.
#[derive(Clone, Debug)]
pub(crate) enum Packet<M> {
    Core(Message),
    Application(M),
}

/// What flies to one end of a connection.
#[derive(Debug)]
pub(crate) struct Incoming<M> {
    /// In order.
    pub(crate) packets: VecDeque<Packet<M>>,
    /// When the last of it arrives.
    pub(crate) arrives: u64,
    /// What was lost to a cut and will be sent again.
    pub(crate) stalled: VecDeque<Packet<M>>,
    pub(crate) stalled_since: u64,
    /// Nothing arrives before: the adversary holds it back.
    pub(crate) held_until: u64,
    /// The other end is closed, and this one does not know it.
    pub(crate) fin_owed: bool,
    /// When the last byte came in, or it was opened.
    pub(crate) last_byte: u64,
}

impl<M> Incoming<M> {
    pub(crate) fn new(now: u64, ready: u64) -> Self {
        Self {
            packets: VecDeque::new(),
            arrives: ready,
            stalled: VecDeque::new(),
            stalled_since: 0,
            held_until: 0,
            fin_owed: false,
            last_byte: now,
        }
    }
}
