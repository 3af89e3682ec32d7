//! What the actors publish and any thread reads.

use std::sync::{Mutex, PoisonError};

use super::open_links::OpenLinks;
use crate::dial::address_book::AddressBook;

/// What the actors publish for readers on other threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) open: OpenLinks,
    pub(crate) book: Mutex<AddressBook>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
