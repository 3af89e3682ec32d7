//! The registers of the keys that this node owns. The rules are in the table of the crate page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use cloister::{Claim, Cloister, Slot};
use tokio::sync::Mutex;

use super::store_client::StoreClient;
use crate::history::{INITIAL, Outcome, Request};
use crate::sabotage::Sabotage;
use crate::wire::StoreAnswer;

/// The registers of a node: a cache of the store, of which each value is good for one epoch.
pub(super) struct Registers {
    cloister: Cloister,
    store: StoreClient,
    node: usize,
    sabotage: Option<Sabotage>,
    entries: Lock<HashMap<u32, Arc<Mutex<StoredValue>>>>,
    /// The last claim that held, for a node that does not look at its lease.
    last: Lock<Option<Claim>>,
}

/// The value of a key in memory.
#[derive(Debug)]
struct StoredValue {
    value: u64,
    /// The epoch in which it was fetched; `None` if the store may have another.
    epoch: Option<u64>,
}

/// By what an operation is served.
struct Served {
    claim: Claim,
    slot: Slot,
    epoch: u64,
}

/// The key as the ring has it.
pub(super) fn name_of(key: u32) -> String {
    format!("key-{key}")
}

impl Registers {
    pub(super) fn new(
        cloister: Cloister,
        store: StoreClient,
        node: usize,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self { cloister, store, node, sabotage, entries: Lock::default(), last: Lock::default() }
    }

    /// Does what is asked, if this node owns the key.
    pub(super) async fn serve(self: Arc<Self>, key: u32, request: Request) -> Outcome {
        let entry = Arc::clone(
            self.entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_insert_with(|| Arc::new(Mutex::new(StoredValue { value: INITIAL, epoch: None }))),
        );
        // One operation of a key after the other. The claim is taken when it is this one's turn.
        let mut locked = entry.lock().await;
        let Some(served) = self.claim(key) else {
            return self.refused(key, "this node does not own the key");
        };
        if locked.epoch != Some(served.epoch)
            && let Err(outcome) = self.fetch(key, &entry, &mut locked, served.epoch).await
        {
            return outcome;
        }
        let found = locked.value;
        let new = match request {
            Request::Write(value) | Request::Update(value) => Some(value),
            Request::Remove => Some(INITIAL),
            Request::Swap { expected, new } => (found == expected).then_some(new),
            Request::Read => None,
        };
        match new {
            Some(new) => self.write(key, &mut locked, &served, new).await,
            // The lease last: what was read is the value of a moment at which no other node wrote.
            None if self.still_owns(&served) => self.done(found, &served),
            None => self.refused(key, "the lease has lapsed"),
        }
    }

    /// Brings the value of the store into memory, for this epoch.
    async fn fetch(
        self: &Arc<Self>,
        key: u32,
        entry: &Arc<Mutex<StoredValue>>,
        locked: &mut StoredValue,
        epoch: u64,
    ) -> Result<(), Outcome> {
        match self.sabotage {
            Some(Sabotage::Handover) => {}
            Some(Sabotage::Ready) => self.fetch_later(key, Arc::clone(entry), epoch),
            Some(Sabotage::Lease | Sabotage::Fence | Sabotage::Copies | Sabotage::Loss | Sabotage::Crash)
            | None => match self.store.ask(key, epoch, None).await {
                Ok(StoreAnswer::Value(value)) => locked.value = value,
                Ok(StoreAnswer::Overtaken { by }) => {
                    return Err(self.refused(key, &format!("epoch {epoch} was overtaken by {by}")));
                }
                Err(error) => return Err(self.refused(key, &format!("no value of the store: {error}"))),
            },
        }
        locked.epoch = Some(epoch);
        Ok(())
    }

    /// The same, while operations are served already.
    fn fetch_later(self: &Arc<Self>, key: u32, entry: Arc<Mutex<StoredValue>>, epoch: u64) {
        let registers = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(StoreAnswer::Value(value)) = registers.store.ask(key, epoch, None).await {
                let mut locked = entry.lock().await;
                if locked.epoch == Some(epoch) {
                    locked.value = value;
                }
            }
        });
    }

    /// Writes to the store, which refuses an earlier epoch, and then to memory.
    async fn write(&self, key: u32, locked: &mut StoredValue, served: &Served, new: u64) -> Outcome {
        match self.store.ask(key, served.epoch, Some(new)).await {
            Ok(StoreAnswer::Value(_)) => {
                let found = std::mem::replace(&mut locked.value, new);
                self.done(found, served)
            }
            Ok(StoreAnswer::Overtaken { by }) => {
                locked.epoch = None;
                self.refused(key, &format!("epoch {} was overtaken by {by}", served.epoch))
            }
            Err(error) => {
                // It may be in the store, or come there later.
                locked.epoch = None;
                Outcome::Uncertain { why: format!("no answer of the store: {error}") }
            }
        }
    }

    /// By what this node may serve the key now.
    fn claim(&self, key: u32) -> Option<Served> {
        let slot = Slot::of(name_of(key).as_bytes());
        let served = |claim: Claim| Served { epoch: claim.epoch().as_u64(), claim, slot };
        let claim = self.cloister.claim();
        if self.sabotage != Some(Sabotage::Lease) {
            return claim.filter(|claim| claim.owns(slot)).map(served);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = claim.or_else(|| last.take());
        let owner =
            last.as_ref().and_then(|claim| claim.ring(None)).and_then(|ring| ring.owner(slot).cloned());
        (owner == Some(self.cloister.node())).then(|| last.clone().map(served)).flatten()
    }

    fn still_owns(&self, served: &Served) -> bool {
        self.sabotage == Some(Sabotage::Lease) || served.claim.owns(served.slot)
    }

    fn done(&self, found: u64, served: &Served) -> Outcome {
        Outcome::Ok { found, epoch: served.epoch, node: self.node }
    }

    /// Refuses, and says which node may serve the key.
    fn refused(&self, key: u32, why: &str) -> Outcome {
        let owner = self.cloister.whois(name_of(key)).map(|owner| owner.name().to_string());
        Outcome::Refused { why: why.to_owned(), owner }
    }
}
