//! A store whose data follows the ring, written by hand: its listener takes a `Hold`, with which a new view waits until the entries have
//! moved. A table does all of this without code of the program, and keeps copies: see `examples/sessions.rs` and the guide
//! `crates/cloister/guide/tables.md`. This example is for data that a table cannot keep, such as files or open connections.
//!
//! Each key lives on the node that owns it, and moves before a new view begins. So each node that is up in the view has what it
//! owns. Start one, and it is alone; start three, stop one, start it again, and no entry is lost:
//!
//! ```sh
//! cargo run -p cargo-cloister -- run -n 3 -p cloister-examples --example store
//! ```
//!
//! Nothing is replicated: what a node that is *killed* had is gone. `owners(key, n)` says where copies would belong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::{Cloister, ManagerArguments, Message, NodeId, Slot, StateChange, Status};

const NAME: &str = "store";
const LIMIT: Duration = Duration::from_secs(5);
const ENTRIES: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Of ractor only what is wrong, unless `RUST_LOG` asks for more of it by name.
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(format!("ractor=warn,ractor_cluster=error,{asked}"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    // The store must be there before the node joins: the others hand over entries while it does.
    let arguments = ManagerArguments::load()?;
    let cloister = arguments.handle();
    let shelf = Shelf::default();
    let (store, _) = Actor::spawn(None, Store, (cloister.clone(), shelf.clone())).await?;
    cloister.register(NAME, &store)?;
    let (mover, _) = Actor::spawn(None, Mover, (cloister.clone(), shelf.clone())).await?;
    cloister.subscribe(&mover);
    cloister::start_with_arguments(arguments).await?;

    if cloister.is_sentry() {
        for number in 0..ENTRIES {
            let (key, value) = (format!("key-{number}"), format!("value {number}"));
            let put = |reply| StoreMessage::Put(key.clone(), value.clone(), reply);
            // While its owner is changing no node takes it: ask again, as every writer must.
            while cloister.call(NAME, &key, put, LIMIT).await.is_err() && cloister.status() != Status::Stopped
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let mut every = tokio::time::interval(Duration::from_secs(2));
    let stopped = cloister.wait_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = every.tick() => {
                let (mut found, mut busy) = (0, 0);
                for key in (0..ENTRIES).map(|number| format!("key-{number}")) {
                    match cloister.call(NAME, &key, |reply| StoreMessage::Get(key.clone(), reply), LIMIT).await {
                        Ok(value) => found += usize::from(!value.is_empty()),
                        Err(_) => busy += 1, // its owner is changing: ask again
                    }
                }
                println!("{} entries are here; {found} found anywhere, {busy} on the move", shelf.lock().len());
            }
            ended = &mut stopped => { println!("{ended}"); return Ok(()) }
        }
    }
}

/// The entries of this node.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Entries>>);

type Entries = BTreeMap<String, String>;

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries whose keys are in these slots.
    fn in_slots(&self, slots: &[u16]) -> Entries {
        let slots: BTreeSet<u16> = slots.iter().copied().collect();
        let entries = self.lock();
        let inside = entries.iter().filter(|(key, _)| slots.contains(&Slot::of(key.as_bytes()).number()));
        inside.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Answers every node of the cluster.
struct Store;

#[derive(Message)]
enum StoreMessage {
    /// Keep this. No answer if this node may not act for the key.
    Put(String, String, RpcReplyPort<()>),
    /// The value, empty if there is none. No answer if this node may not act for the key.
    Get(String, RpcReplyPort<String>),
    /// The entries of these slots, please: they are to be mine.
    Give(Vec<u16>, RpcReplyPort<Entries>),
    /// Entries that are to be yours.
    Take(Entries, RpcReplyPort<()>),
    /// Entries that should be with you already.
    Missed(Entries, RpcReplyPort<()>),
}

impl Actor for Store {
    type Msg = StoreMessage;
    type State = (Cloister, Shelf);
    type Arguments = (Cloister, Shelf);

    async fn pre_start(
        &self,
        _: ActorRef<StoreMessage>,
        arguments: (Cloister, Shelf),
    ) -> Result<(Cloister, Shelf), ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _: ActorRef<StoreMessage>,
        message: StoreMessage,
        (cloister, shelf): &mut (Cloister, Shelf),
    ) -> Result<(), ActorProcessingErr> {
        // The caller may have given up: then the reply has no receiver.
        match message {
            StoreMessage::Put(key, value, reply) if cloister.is_mine(&key) => {
                shelf.lock().insert(key, value);
                let _ = reply.send(());
            }
            StoreMessage::Get(key, reply) if cloister.is_mine(&key) => {
                let value = shelf.lock().get(&key).cloned();
                let _ = reply.send(value.unwrap_or_default());
            }
            StoreMessage::Put(..) | StoreMessage::Get(..) => {}
            StoreMessage::Give(slots, reply) => {
                let _ = reply.send(shelf.in_slots(&slots));
            }
            StoreMessage::Take(entries, reply) => {
                shelf.lock().extend(entries);
                let _ = reply.send(());
            }
            StoreMessage::Missed(entries, reply) => {
                for (key, value) in entries {
                    shelf.lock().entry(key).or_insert(value); // what was written since is newer
                }
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

/// Moves entries when the ring changes.
struct Mover;

#[derive(Message)]
#[message(local)]
struct Changed(StateChange);

impl From<StateChange> for Changed {
    fn from(change: StateChange) -> Self {
        Self(change)
    }
}

impl Actor for Mover {
    type Msg = Changed;
    type State = (Cloister, Shelf);
    type Arguments = (Cloister, Shelf);

    async fn pre_start(
        &self,
        _: ActorRef<Changed>,
        arguments: (Cloister, Shelf),
    ) -> Result<(Cloister, Shelf), ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _: ActorRef<Changed>,
        Changed(change): Changed,
        (cloister, shelf): &mut (Cloister, Shelf),
    ) -> Result<(), ActorProcessingErr> {
        // As long as this is held, no node is up in the new view, so no node writes to what moves.
        if let Some(_hold) = change.hold() {
            for ring in change.moved.iter().filter(|ring| ring.ring.is_none()) {
                for lost in &ring.lost {
                    let Some(to) = &lost.to else { continue };
                    send(cloister, to, shelf.in_slots(&numbers(&lost.slots)), StoreMessage::Take).await;
                }
                // A node that is no longer a member gives nothing by itself. If it leaves in order, it still runs.
                for gained in &ring.gained {
                    let from = gained.from.as_ref().filter(|from| !is_member(&change, from));
                    let Some(from) = from else { continue };
                    let give = |reply| StoreMessage::Give(numbers(&gained.slots), reply);
                    if let Ok(entries) = cloister.call_on(NAME, from, give, LIMIT).await {
                        shelf.lock().extend(entries);
                    }
                }
            }
        }
        // What was handed over is there now. What was not, since a round failed or this node was too busy, goes after.
        if change.to == Status::Up {
            let mut misplaced = BTreeMap::<NodeId, Entries>::new();
            for (key, value) in shelf.lock().iter() {
                if let Some(owner) = cloister.whois(key).filter(|owner| *owner != cloister.node()) {
                    misplaced.entry(owner).or_default().insert(key.clone(), value.clone());
                }
            }
            for (owner, entries) in misplaced {
                if send(cloister, &owner, entries.clone(), StoreMessage::Missed).await {
                    shelf.lock().retain(|key, _| !entries.contains_key(key));
                }
            }
        }
        Ok(())
    }
}

fn numbers(slots: &[Slot]) -> Vec<u16> {
    slots.iter().map(|slot| slot.number()).collect()
}

fn is_member(change: &StateChange, node: &NodeId) -> bool {
    change.state.proposed.as_ref().is_some_and(|view| view.contains(node))
}

/// Sends entries to the store of a node; whether it has them now.
async fn send(
    cloister: &Cloister,
    to: &NodeId,
    entries: Entries,
    message: fn(Entries, RpcReplyPort<()>) -> StoreMessage,
) -> bool {
    cloister.call_on(NAME, to, |reply| message(entries, reply), LIMIT).await.is_ok()
}
