//! What the actors publish and any thread reads.

use std::sync::{Mutex, PoisonError};

use super::open_links::OpenLinks;
use crate::dial::address_book::AddressBook;

/// What the actors publish for readers on other threads.
#[derive(Debug)]
pub(crate) struct PublishedLinks {
    pub(crate) open: OpenLinks,
    pub(crate) book: Mutex<AddressBook>,
    /// The seeds that name no node.
    pub(crate) failing_seeds: Mutex<Vec<SeedReport>>,
}

/// A seed that names no node, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedReport {
    /// The seed, as it is configured.
    pub seed: String,
    /// Why, and what to do.
    pub error: String,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
