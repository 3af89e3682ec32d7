//! One entity, as an object in memory: it handles one message after the other.

mod handler;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use cloister_core::{Epoch, Slot};
use cloister_table::service::{Accepted, Bytes, Committed, ServiceTable, decode, encode};
use futures_util::FutureExt;

pub(crate) use self::handler::text_of;
use self::handler::{Ran, Stopped, close, run};
use crate::answer;
use crate::entity::Entity;
use crate::error::Failure;
use crate::later::Replies;
use crate::options::{Durability, EntityOptions};
use crate::recent::Recent;
use crate::row;
use crate::store::{EntityId, StoreError};
use crate::timers::{Timers, now};
use crate::views::Views;

/// The state of an entity, and what it comes from. As long as that is the same, no other node has changed the state.
pub(crate) struct Object<E> {
    state: E,
    timers: Timers,
    /// Its row: with the state, or without where that is kept in a store.
    row: Option<Bytes>,
    /// What the store has.
    saved: Option<Vec<u8>>,
    /// The view in which this node looked last whether the state is still that. A store has seen its epoch.
    epoch: Epoch,
    /// The encoded state of a new entity: one that has not changed is not written.
    new: Option<Vec<u8>>,
    /// Since when the state differs from what is written.
    dirty: Option<Instant>,
    /// The answers of messages that may be sent again: the table has only those under whose numbers it was written.
    recent: Recent,
    /// As long as another one has it, a reply is to be given.
    awaited: Option<Arc<()>>,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It was handled, or failed, with this answer.
    Done(Bytes),
    /// It was not begun, or has left nothing behind.
    NotDone(String),
    /// It may have been applied.
    Uncertain,
}

/// What an object works with.
pub(crate) struct Surroundings<'a> {
    pub(crate) table: &'a ServiceTable,
    pub(crate) options: &'a EntityOptions,
    pub(crate) key: &'a str,
    pub(crate) replies: &'a Arc<Replies>,
    /// Whether another node may have served the entity meanwhile.
    pub(crate) views: &'a Views,
    /// Write before each answer, whatever the options say: the entity is about to move.
    pub(crate) writes_through: bool,
    /// Tells the operator what happened, and why.
    pub(crate) warn: &'a (dyn Fn(&str, &str) + Sync),
}

impl Surroundings<'_> {
    fn id<E: Entity>(&self) -> EntityId<'_> {
        EntityId { entity: E::NAME, key: self.key }
    }
}

impl<E: Entity> Object<E> {
    /// The entity of a row, and of what the store has if there is one.
    fn load(
        row: Option<Bytes>,
        saved: Option<Vec<u8>>,
        is_stored: bool,
        epoch: Epoch,
    ) -> Result<Self, Failure> {
        let (of_row, timers) = match &row {
            Some(row) => {
                row::read(row).map(|(state, timers)| (Some(state), timers)).map_err(Failure::State)?
            }
            None => (None, Timers::default()),
        };
        let known = if is_stored { saved.as_deref() } else { of_row };
        let state = known.map(decode).transpose().map_err(Failure::State)?;
        let (state, new) = match state {
            Some(state) => (state, None),
            None => {
                let state = E::default();
                let new = encode(&state).map_err(Failure::NotWritable)?;
                (state, Some(new))
            }
        };
        Ok(Self {
            state,
            timers,
            row,
            saved,
            epoch,
            new,
            dirty: None,
            recent: Recent::default(),
            awaited: None,
        })
    }

    /// Since when the state differs from what is written.
    pub(crate) fn dirty(&self) -> Option<Instant> {
        self.dirty
    }

    /// Whether a reply is to be given later.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.as_ref().is_some_and(|awaited| Arc::strong_count(awaited) > 1)
    }

    /// When its first timer is due.
    pub(crate) fn due(&self) -> Option<u64> {
        self.timers.earliest()
    }

    /// The encoded state; `None` if it is that of a new entity.
    fn encoded(&self, options: &EntityOptions) -> Result<Option<Vec<u8>>, Failure> {
        let state = encode(&self.state).map_err(Failure::NotWritable)?;
        within_limits(state.len(), options)?;
        Ok((self.new.as_ref() != Some(&state)).then_some(state))
    }

    /// The row of this encoded state and of the timers; `None` if there is nothing to be kept in it.
    fn to_row(&self, state: Option<&[u8]>, options: &EntityOptions) -> Result<Option<Bytes>, Failure> {
        if self.timers.earliest().is_none() && state.is_none() {
            return Ok(None);
        }
        // An entity that has timers, and is as new otherwise.
        let state = match (state, &options.store) {
            (Some(state), None) => state,
            (None, None) => self.new.as_deref().unwrap_or_default(),
            (_, Some(_)) if self.timers.earliest().is_none() => return Ok(None),
            (_, Some(_)) => &[],
        };
        let row = row::write(state, &self.timers).map_err(Failure::NotWritable)?;
        within_limits(row.len().saturating_sub(row::HEAD), options)?;
        Ok(Some(match &self.row {
            Some(known) if **known == *row => Bytes::clone(known),
            _ => row.into(),
        }))
    }
}

/// A state and its timers have so many bytes.
fn within_limits(len: usize, options: &EntityOptions) -> Result<(), Failure> {
    let max = options.max_state_bytes;
    if len > max { Err(Failure::TooLarge { len, max }) } else { Ok(()) }
}

/// Handles a message: loads the state if it is not there, and writes it.
pub(crate) async fn handle<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    message: &Accepted,
) -> Turn {
    turn(object, with, message.clone(), false).await
}

/// Handles the message of a timer, if one is due.
pub(crate) async fn handle_timer<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    key: &Bytes,
) -> Turn {
    // Which one is known when the state is there.
    turn(object, with, Accepted::own(key.clone(), Bytes::default()), true).await
}

async fn turn<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    mut message: Accepted,
    is_timer: bool,
) -> Turn {
    let Surroundings { table, options, .. } = *with;
    let Some(epoch) = table.claim() else { return not_served(object, with, &message.key) };
    let Some(row) = table.read(&message.key) else { return not_served(object, with, &message.key) };
    if table.is_committed(&message) {
        return of_commit(table.commit(&message, None, None, Bytes::default()).await);
    }
    if let Err(turn) = load(object, with, epoch, &message.key, row).await {
        return turn;
    }
    let Some(present) = object.as_mut() else { return not_served(object, with, &message.key) };
    if let Some(answer) = message.ids().find_map(|id| present.recent.get(id)) {
        return Turn::Done(answer);
    }
    if is_timer {
        match present.timers.take_due(now()) {
            Some(due) => message.message = due,
            // It was cancelled, or handled.
            None => return Turn::Done(Bytes::default()),
        }
    }
    let Ran { answer, is_forgotten, later } = match run(present, with, epoch, &message).await {
        Ok(ran) => ran,
        Err(Stopped::Failed(failure)) => {
            *object = None;
            return Turn::Done(answer::failure(&failure));
        }
        Err(Stopped::ClaimLost) => {
            *object = None;
            return Turn::NotDone(
                "the node could not act for the key any more while it handled the message".to_owned(),
            );
        }
    };
    if let (Durability::Lazy(_), false, false) = (options.durability, with.writes_through, is_forgotten) {
        present.dirty.get_or_insert_with(Instant::now);
        for id in message.ids() {
            present.recent.add(id, &message, &answer);
        }
        return Turn::Done(answer);
    }
    let turn = write(object, with, epoch, &message, answer, is_forgotten).await;
    let is_open = match &turn {
        Turn::Done(answer) => answer::is_later(answer),
        Turn::NotDone(_) => false,
        // If it was written, its sender asks for the reply again, under the same number.
        Turn::Uncertain => true,
    };
    if !is_open {
        close(with, later);
    }
    turn
}

/// This node does not serve the key at this moment. What it has not written of the state is void if another node does.
fn not_served<E: Entity>(object: &mut Option<Object<E>>, with: &Surroundings<'_>, key: &[u8]) -> Turn {
    let cloister = with.table.cloister();
    if cloister.whois(key) != Some(cloister.node()) {
        drop_unwritten(object, with, "another node has the key");
    }
    Turn::NotDone("the node does not serve the key any more".to_owned())
}

fn drop_unwritten<E: Entity>(object: &mut Option<Object<E>>, with: &Surroundings<'_>, cause: &str) {
    if object.take_if(|object| object.dirty.is_some()).is_some() {
        (with.warn)("what was not written of a state is lost", cause);
    }
}

/// Loads the state, unless what there is is still that.
async fn load<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    epoch: Epoch,
    key: &[u8],
    row: Option<Bytes>,
) -> Result<(), Turn> {
    let store = with.options.store.as_ref();
    if let Some(unwritten) = object.as_ref().filter(|object| object.dirty.is_some() && object.epoch != epoch)
    {
        let (node, slot) = (with.table.cloister().node(), Slot::of(key));
        match with.views.has_owned(&node, slot, unwritten.epoch, epoch) {
            Some(true) => {}
            // It may have read the state that was written, so what is not written must not come back.
            Some(false) => drop_unwritten(object, with, "another node may have had the key meanwhile"),
            None => return Err(Turn::NotDone("the node is about to hear of its view".to_owned())),
        }
    }
    if let Some(object) = object.as_mut().filter(|object| object.row == row)
        && (store.is_none() || object.epoch == epoch)
    {
        object.epoch = epoch;
        return Ok(());
    }
    let mut saved = None;
    if let Some(store) = store {
        saved = match caught(async { store.load(with.id::<E>(), epoch).await }).await {
            Ok(saved) => saved,
            Err(error) => return Err(of_store(error, Failure::NotLoaded)),
        };
        if with.table.claim() != Some(epoch) {
            return Err(Turn::NotDone("the view ended while the state was loaded".to_owned()));
        }
        if let Some(object) = object.as_mut().filter(|object| object.row == row && object.saved == saved) {
            object.epoch = epoch;
            return Ok(());
        }
    }
    drop_unwritten(object, with, "another node has written it meanwhile");
    let loaded = Object::load(row, saved, store.is_some(), epoch);
    *object = Some(loaded.map_err(|failure| Turn::Done(answer::failure(&failure)))?);
    Ok(())
}

/// Writes what has changed, for a message.
async fn write<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    epoch: Epoch,
    message: &Accepted,
    answer: Bytes,
    is_forgotten: bool,
) -> Turn {
    let Some(present) = object.as_mut() else { return Turn::Uncertain };
    let prepared = match is_forgotten {
        true => Ok((None, None)),
        false => present.encoded(with.options).and_then(|state| {
            let row = present.to_row(state.as_deref(), with.options)?;
            Ok((state, row))
        }),
    };
    let (state, row) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            *object = None;
            return Turn::Done(answer::failure(&failure));
        }
    };
    let mut is_saved = false;
    if let Some(store) = &with.options.store
        && state != present.saved
    {
        if let Err(error) = caught(async { store.save(with.id::<E>(), epoch, state.clone()).await }).await {
            *object = None;
            return of_store(error, Failure::NotSaved);
        }
        is_saved = true;
    }
    // Where nothing is to be written into the row the node must serve it still, as for a read, and it must be the same.
    let is_stored = with.options.store.is_some();
    if row == present.row && (is_stored || with.table.read(&message.key).as_ref() == Some(&row)) {
        match is_forgotten {
            true => *object = None,
            false => present.is_written(row, state, is_stored),
        }
        return Turn::Done(answer);
    }
    let committed = with.table.commit(message, present.row.clone(), row.clone(), answer).await;
    match (&committed, is_forgotten) {
        (Committed::Done(_), false) => present.is_written(row, state, is_stored),
        _ => *object = None,
    }
    match of_commit(committed) {
        // The timers are as they were, but the state is not.
        Turn::NotDone(_) if is_saved => Turn::Uncertain,
        turn => turn,
    }
}

/// Writes what is not written yet.
pub(crate) async fn flush<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    key: &Bytes,
) -> Turn {
    if object.as_ref().is_none_or(|object| object.dirty.is_none()) {
        return Turn::Done(Bytes::default());
    }
    let Some(epoch) = with.table.claim() else { return not_served(object, with, key) };
    let Some(row) = with.table.read(key) else { return not_served(object, with, key) };
    // In another view another node may have had it meanwhile.
    if let Err(turn) = load(object, with, epoch, key, row).await {
        return turn;
    }
    if object.as_ref().is_none_or(|object| object.dirty.is_none()) {
        return Turn::Done(Bytes::default());
    }
    // Under the number of a message that it has: its sender is answered the same if it asks again, also by the next owner.
    let last = object.as_mut().and_then(|object| object.recent.take_last());
    let (message, answer) =
        last.unwrap_or_else(|| (Accepted::own(key.clone(), Bytes::default()), Bytes::default()));
    write(object, with, epoch, &message, answer, false).await
}

/// Why something was not written.
pub(crate) fn in_words<E: Entity>(turn: Turn) -> Result<(), String> {
    match turn {
        Turn::Done(answer) => match answer::read::<E::Reply>(&answer) {
            Ok(Err(failure)) => Err(failure.to_string()),
            // An empty answer is none.
            _ => Ok(()),
        },
        Turn::NotDone(cause) => Err(cause),
        Turn::Uncertain => Err("its view ended before all copies had it".to_owned()),
    }
}

/// A store that panics has failed: it may have saved what it should.
async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(StoreError::Failed(format!("it panicked: {}", text_of(panic.as_ref())))))
}

fn of_store(error: StoreError, failed: fn(String) -> Failure) -> Turn {
    match error {
        StoreError::Fenced(_) => Turn::NotDone(format!(
            "{error}: another node has the entity, or another cluster has used the store; give each cluster a store of its own"
        )),
        StoreError::Failed(cause) => Turn::Done(answer::failure(&failed(cause))),
    }
}

fn of_commit(committed: Committed) -> Turn {
    match committed {
        Committed::Done(answer) => Turn::Done(answer),
        Committed::Full { bytes, max } => Turn::Done(answer::failure(&Failure::Full { bytes, max })),
        Committed::Changed => Turn::NotDone("another node has written the state meanwhile".to_owned()),
        Committed::Refused(cause) => Turn::NotDone(cause),
        Committed::Uncertain => Turn::Uncertain,
    }
}

impl<E: Entity> Object<E> {
    fn is_written(&mut self, row: Option<Bytes>, state: Option<Vec<u8>>, is_stored: bool) {
        if state.is_some() {
            self.new = None;
        }
        self.row = row;
        self.saved = state.filter(|_| is_stored);
        self.dirty = None;
    }
}
