//! One entity, as an object in memory: it handles one message after the other.

mod handler;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_core::{Epoch, Slot};
use cloister_table::service::{Accepted, Bytes, ServiceTable, decode, encode};

pub(crate) use self::handler::text_of;
use self::handler::{Ran, Stopped, close, run};
use self::writing::{caught, of_commit, of_store, write};
pub(crate) use self::writing::{flush, in_words};
use crate::answer;
use crate::context::TimerId;
use crate::entity::Entity;
use crate::error::Failure;
use crate::later::{Awaited, Names, Replies, in_state};
use crate::options::{Durability, EntityOptions};
use crate::recent::Recent;
use crate::row;
use crate::saved;
use crate::store::EntityId;
use crate::timers::{Paused, Timers, now};
use crate::views::Views;

/// What is logged where that happens.
pub(crate) const LOST: &str = "what was not written of a state is lost";
const CLAIM_LOST: &str = "the node could not act for the key any more while it handled the message";

/// The state of an entity, and what it comes from. As long as that is the same, no other node has changed the state.
pub(crate) struct Object<E> {
    state: E,
    timers: Timers,
    /// What is written of it.
    written: Encoded,
    /// The view in which this node looked last whether the state is still that. A store has seen its epoch.
    epoch: Epoch,
    /// The encoded state of a new entity: one that has not changed is not written.
    new: Option<Vec<u8>>,
    /// What messages have left that were answered, if that is not written yet.
    unwritten: Option<Unwritten>,
    /// What was to be written, and may be.
    attempted: Option<Encoded>,
    /// The answers of messages that may be sent again: the table has only those under whose numbers it was written.
    recent: Recent,
    awaited: Awaited,
    /// The replies whose names are in the state that a message which fails is taken back to.
    named: Names,
}

/// A state and its timers, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Encoded {
    /// Its row: with the state, or without where that is kept in a store. `None` if there is nothing to be kept in it.
    row: Option<Bytes>,
    /// What the store has.
    saved: Option<Vec<u8>>,
}

/// What a message has left.
#[derive(Default)]
struct Left {
    encoded: Encoded,
    /// Whether the state is not that of a new entity.
    is_changed: bool,
    /// The replies whose names are in it. `None` if they are as before.
    named: Option<Names>,
}

/// What messages have left that were answered, and is not written yet.
struct Unwritten {
    since: Instant,
    encoded: Encoded,
    /// Whether the state is not that of a new entity.
    is_changed: bool,
    /// It could not be written, so what changes it further is written before it is answered.
    has_failed: bool,
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
    /// The entity of what is written.
    fn load(
        written: Encoded,
        with: &Surroundings<'_>,
        epoch: Epoch,
        mut awaited: Awaited,
    ) -> Result<Self, Failure> {
        let is_stored = with.options.store.is_some();
        let (decoded, named) = in_state(with.replies, &mut awaited, || decoded(&written, is_stored));
        let (state, timers) = decoded?;
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
            written,
            epoch,
            new,
            unwritten: None,
            attempted: None,
            recent: Recent::default(),
            awaited,
            named,
        })
    }

    /// Since when the state differs from what is written.
    pub(crate) fn dirty(&self) -> Option<Instant> {
        self.unwritten.as_ref().map(|unwritten| unwritten.since)
    }

    /// Whether a reply is to be given later, for which a caller may still wait.
    pub(crate) fn is_awaited(&self, timeout: Duration) -> bool {
        self.awaited.is_awaited(timeout)
    }

    /// Its timers, if it has any.
    pub(crate) fn timers(&self) -> Option<&Timers> {
        self.timers.earliest().map(|_| &self.timers)
    }

    /// The state and the timers, encoded, after the message of this timer, if it was one.
    fn encoded(&mut self, with: &Surroundings<'_>, timer: Option<TimerId>) -> Result<Left, Failure> {
        let options = with.options;
        let (state, named) = in_state(with.replies, &mut self.awaited, || encode(&self.state));
        let state = state.map_err(Failure::NotWritable)?;
        within_limits(state.len(), options)?;
        let is_changed = self.new.as_ref() != Some(&state);
        let row = self.to_row(is_changed.then_some(&state), options)?;
        let saved = match is_changed && options.store.is_some() {
            true => Some(self.to_saved(state, timer).map_err(Failure::NotWritable)?),
            false => None,
        };
        Ok(Left { encoded: Encoded { row, saved }, is_changed, named: Some(named) })
    }

    /// The row of this encoded state, `None` if it is that of a new entity, and of the timers.
    fn to_row(&self, state: Option<&Vec<u8>>, options: &EntityOptions) -> Result<Option<Bytes>, Failure> {
        if self.timers.earliest().is_none() && state.is_none() {
            return Ok(None);
        }
        // An entity that has timers, and is as new otherwise.
        let state = match (state, &options.store) {
            (Some(state), None) => state.as_slice(),
            (None, None) => self.new.as_deref().unwrap_or_default(),
            (_, Some(_)) if self.timers.earliest().is_none() => return Ok(None),
            (_, Some(_)) => &[],
        };
        let row = row::write(state, &self.timers).map_err(Failure::NotWritable)?;
        within_limits(row.len().saturating_sub(row::HEAD), options)?;
        Ok(Some(match &self.written.row {
            Some(known) if **known == *row => Bytes::clone(known),
            _ => row.into(),
        }))
    }

    /// What is saved of this encoded state.
    fn to_saved(&self, state: Vec<u8>, timer: Option<TimerId>) -> Result<Vec<u8>, String> {
        match &self.written.saved {
            Some(known) if saved::read(known)?.1 == state => Ok(known.clone()),
            _ => saved::write(state, &self.applied(timer)?),
        }
    }

    /// The timers that were applied to the state, and are still in the row that is written.
    fn applied(&self, timer: Option<TimerId>) -> Result<Vec<TimerId>, String> {
        let mut applied = match &self.kept().saved {
            Some(saved) => saved::read(saved)?.0,
            None => Vec::new(),
        };
        applied.extend(timer);
        match &self.written.row {
            Some(row) if !applied.is_empty() => {
                let (_, timers) = row::read(row)?;
                applied.retain(|timer| timers.has(*timer));
            }
            Some(_) => {}
            None => applied.clear(),
        }
        Ok(applied)
    }

    /// What messages have left that were answered.
    fn kept(&self) -> &Encoded {
        self.unwritten.as_ref().map_or(&self.written, |unwritten| &unwritten.encoded)
    }

    /// Keeps what an answered message has left, to be written later.
    fn keep(&mut self, Left { encoded, is_changed, named }: Left) {
        if let Some(named) = named {
            self.named = named;
        }
        if *self.kept() == encoded {
            return;
        }
        let (since, has_failed) =
            self.unwritten.as_ref().map_or((Instant::now(), false), |known| (known.since, known.has_failed));
        self.unwritten = Some(Unwritten { since, encoded, is_changed, has_failed });
    }
}

/// The state and the timers; no state if it is that of a new entity.
fn decoded<E: Entity>(encoded: &Encoded, is_stored: bool) -> Result<(Option<E>, Timers), Failure> {
    let (of_row, mut timers) = match &encoded.row {
        Some(row) => row::read(row).map(|(state, timers)| (Some(state), timers)).map_err(Failure::State)?,
        None => (None, Timers::default()),
    };
    let known = match (is_stored, &encoded.saved) {
        (true, Some(saved)) => {
            let (applied, state) = saved::read(saved).map_err(Failure::State)?;
            // Its row was not written when they were applied.
            for timer in applied {
                timers.remove(timer);
            }
            Some(state)
        }
        (true, None) => None,
        (false, _) => of_row,
    };
    Ok((known.map(decode).transpose().map_err(Failure::State)?, timers))
}

/// Takes back what a message has left that is not applied. The state is again as those have left it that were.
pub(crate) fn restore<E: Entity>(object: &mut Option<Object<E>>, with: &Surroundings<'_>) {
    let Some(mut present) = object.take() else { return };
    if present.unwritten.is_none() && present.recent.is_empty() && present.named.is_empty() {
        // The next message loads it.
        return;
    }
    let is_stored = with.options.store.is_some();
    let mut awaited = std::mem::take(&mut present.awaited);
    let kept = present.kept();
    let before = AssertUnwindSafe(|| {
        let (decoded, _) = in_state(with.replies, &mut awaited, || decoded::<E>(kept, is_stored));
        let (state, timers) = decoded?;
        Ok::<_, Failure>((state.unwrap_or_default(), timers))
    });
    let cause = match catch_unwind(before) {
        Ok(Ok((state, timers))) => {
            (present.state, present.timers, present.awaited) = (state, timers, awaited);
            *object = Some(present);
            return;
        }
        Ok(Err(failure)) => failure.to_string(),
        Err(panic) => text_of(panic.as_ref()),
    };
    if present.unwritten.is_some() {
        (with.warn)(LOST, &cause);
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
    turn(object, with, message.clone(), None).await
}

/// Handles the message of a timer, if one is due that is not paused.
pub(crate) async fn handle_timer<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    key: &Bytes,
    paused: &mut Paused,
) -> Turn {
    // Which one is known when the state is there.
    turn(object, with, Accepted::own(key.clone(), Bytes::default()), Some(paused)).await
}

async fn turn<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    mut message: Accepted,
    timer: Option<&mut Paused>,
) -> Turn {
    let (table, is_timer) = (with.table, timer.is_some());
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
    let mut tried = None;
    if let Some(paused) = timer {
        match present.timers.take_due(now(), paused) {
            Some(due) => message.message = due,
            // It was cancelled, or handled, and then its row may still have it.
            None => {
                return match present.applied(None) {
                    Ok(applied) if !applied.is_empty() => {
                        apply(object, with, epoch, &message, (Bytes::default(), None), false).await
                    }
                    _ => Turn::Done(Bytes::default()),
                };
            }
        }
        tried = paused.tried();
    }
    let Ran { answer, is_forgotten, later } = match run(present, with, epoch, &message).await {
        Ok(ran) => ran,
        Err(Stopped::Failed(failure)) => {
            // No handler has begun with a message that cannot be decoded.
            if is_timer || !matches!(failure, Failure::Message(_)) {
                restore(object, with);
            }
            return Turn::Done(answer::failure(&failure));
        }
        Err(Stopped::ClaimLost) => {
            restore(object, with);
            return Turn::NotDone(CLAIM_LOST.to_owned());
        }
    };
    let turn = apply(object, with, epoch, &message, (answer, tried), is_forgotten).await;
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

/// Writes what a message has left, or keeps it until it is written.
async fn apply<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    epoch: Epoch,
    message: &Accepted,
    (answer, timer): (Bytes, Option<TimerId>),
    is_forgotten: bool,
) -> Turn {
    let Some(present) = object.as_mut() else { return Turn::Uncertain };
    if is_forgotten {
        return write(object, with, epoch, message, answer, None).await;
    }
    let left = match present.encoded(with, timer) {
        Ok(left) => left,
        Err(failure) => {
            restore(object, with);
            return Turn::Done(answer::failure(&failure));
        }
    };
    let has_failed = present.unwritten.as_ref().is_some_and(|unwritten| unwritten.has_failed);
    let is_lazy = matches!(with.options.durability, Durability::Lazy(_)) && !with.writes_through;
    if !is_lazy || (has_failed && *present.kept() != left.encoded) {
        return write(object, with, epoch, message, answer, Some(left)).await;
    }
    // Another node may have the key by now, and nothing but this look tells.
    if with.table.claim() != Some(epoch) {
        restore(object, with);
        return Turn::NotDone(CLAIM_LOST.to_owned());
    }
    present.keep(left);
    for id in message.ids() {
        present.recent.add(id, message, &answer);
    }
    Turn::Done(answer)
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
    if object.take_if(|object| object.unwritten.is_some()).is_some() {
        (with.warn)(LOST, cause);
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
    if let Some(unwritten) =
        object.as_ref().filter(|object| object.unwritten.is_some() && object.epoch != epoch)
    {
        let (node, slot) = (with.table.cloister().node(), Slot::of(key));
        match with.views.has_owned(&node, slot, unwritten.epoch, epoch) {
            Some(true) => {}
            // It may have read the state that was written, so what is not written must not come back.
            Some(false) => drop_unwritten(object, with, "another node may have had the key meanwhile"),
            None => return Err(Turn::NotDone("the node is about to hear of its view".to_owned())),
        }
    }
    if let Some(object) = object.as_mut().filter(|object| object.written.row == row)
        && (store.is_none() || object.epoch == epoch)
    {
        object.epoch = epoch;
        return Ok(());
    }
    let mut saved = None;
    if let Some(store) = store {
        let ended = || Turn::NotDone("the view ended while the state was loaded".to_owned());
        let limit = with.options.handler_timeout;
        saved = tokio::select! {
            biased;
            saved = caught(limit, async { store.load(with.id::<E>(), epoch).await }) => {
                saved.map_err(|error| of_store(error, Failure::NotLoaded))?
            }
            () = with.table.claim_ends(epoch) => return Err(ended()),
        };
        if with.table.claim() != Some(epoch) {
            return Err(ended());
        }
    }
    let written = Encoded { row, saved };
    if let Some(object) = object.as_mut().filter(|object| object.written == written) {
        object.epoch = epoch;
        return Ok(());
    }
    // What this node was to write when a view ended is written.
    let mut before = object.take_if(|object| object.attempted.as_ref() == Some(&written));
    drop_unwritten(object, with, "another node has written it meanwhile");
    let awaited = before.as_mut().map(|before| std::mem::take(&mut before.awaited)).unwrap_or_default();
    let loaded = Object::load(written, with, epoch, awaited);
    let mut loaded = loaded.map_err(|failure| Turn::Done(answer::failure(&failure)))?;
    if let Some(before) = before {
        loaded.recent = before.recent;
        loaded.recent.are_written();
    }
    *object = Some(loaded);
    Ok(())
}

#[cfg(test)]
mod tests;
