//! What the actors publish and any thread reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloister_proto::{Difference, LinkId, NodeId};

use crate::connection::reader::FrameReader;
use crate::connection::socket::TrackedSocket;
use crate::connection::writer::FrameWriter;
use crate::dial::address_book::AddressBook;

/// An open link, as readers on other threads see it.
#[derive(Debug)]
pub(crate) struct OpenLink {
    pub(crate) peer: NodeId,
    /// The number of the session in ractor.
    pub(crate) node: ractor_cluster::NodeId,
    pub(crate) socket: Arc<TrackedSocket>,
    pub(crate) frame_reader: Arc<FrameReader>,
    pub(crate) frame_writer: Arc<FrameWriter>,
    /// What the peer has configured otherwise.
    pub(crate) differs: Arc<[Difference]>,
}

/// What the actors publish for readers on other threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) open: Mutex<BTreeMap<LinkId, OpenLink>>,
    pub(crate) book: Mutex<AddressBook>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
