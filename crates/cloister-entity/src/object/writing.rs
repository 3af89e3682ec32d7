//! Writing the state of an entity.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use cloister_core::Epoch;
use cloister_table::service::{Accepted, Bytes, Committed};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::handler::text_of;
use super::{Encoded, Left, Object, Surroundings, Turn, drop_unwritten, load, not_served, restore};
use crate::answer;
use crate::entity::Entity;
use crate::error::Failure;
use crate::options::Durability;
use crate::store::StoreError;

/// Writes what a message has left; `None` removes the state.
pub(super) async fn write<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    epoch: Epoch,
    message: &Accepted,
    answer: Bytes,
    left: Option<Left>,
) -> Turn {
    let Some(present) = object.as_mut() else { return Turn::Uncertain };
    let is_forgotten = left.is_none();
    let left = left.unwrap_or_default();
    let encoded = &left.encoded;
    let may_be_attempted = present.attempted.is_some();
    let mut is_saved = false;
    if let Some(store) = &with.options.store
        && (encoded.saved != present.written.saved || may_be_attempted)
    {
        let saved = encoded.saved.clone();
        let limit = with.options.handler_timeout;
        if let Err(error) = caught(limit, async { store.save(with.id::<E>(), epoch, saved).await }).await {
            match &error {
                StoreError::Fenced(_) => lose(object, with, "another node has saved it meanwhile"),
                StoreError::Failed(_) => fail(object, with, Some(left.encoded)),
            }
            return of_store(error, Failure::NotSaved);
        }
        is_saved = true;
    }
    // Where nothing is to be written into the row the node must serve it still, as for a read, and it must be the same.
    let is_stored = with.options.store.is_some();
    if encoded.row == present.written.row
        && (is_stored || with.table.read(&message.key).as_ref() == Some(&encoded.row))
    {
        match is_forgotten {
            true => forget(object, with, message, &answer),
            false => present.is_written(left),
        }
        return Turn::Done(answer);
    }
    let (before, after) = (present.written.row.clone(), encoded.row.clone());
    let committed = with.table.commit(message, before, after, Bytes::clone(&answer)).await;
    match &committed {
        Committed::Done(_) if is_forgotten => forget(object, with, message, &answer),
        Committed::Done(_) => present.is_written(left),
        Committed::Changed => lose(object, with, "another node has written it meanwhile"),
        Committed::Full { .. } | Committed::Refused(_) => {
            fail(object, with, is_saved.then_some(left.encoded))
        }
        Committed::Uncertain => fail(object, with, Some(left.encoded)),
    }
    match of_commit(committed) {
        // The timers are as they were, but the state is not.
        Turn::NotDone(_) if is_saved => Turn::Uncertain,
        turn => turn,
    }
}

/// The entity is as a new one. Where states are written lazily it knows the answers of before: their messages may be sent again.
fn forget<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    message: &Accepted,
    answer: &Bytes,
) {
    let Some(before) = object.take() else { return };
    if matches!(with.options.durability, Durability::Each) && before.recent.is_empty() {
        return;
    }
    // One that cannot be encoded fails at its next message.
    if let Ok(mut new) = Object::load(Encoded::default(), with, before.epoch, before.awaited) {
        new.recent = before.recent;
        for id in message.ids() {
            new.recent.add(id, message, answer);
        }
        new.recent.are_written();
        *object = Some(new);
    }
}

/// A state was not written, or may be: this one. What messages have left that were answered stays.
fn fail<E: Entity>(object: &mut Option<Object<E>>, with: &Surroundings<'_>, attempted: Option<Encoded>) {
    if let Some(present) = object {
        if attempted.is_some() {
            present.attempted = attempted;
        }
        if let Some(unwritten) = &mut present.unwritten {
            unwritten.has_failed = true;
        }
    }
    restore(object, with);
}

/// Another node has the key.
fn lose<E: Entity>(object: &mut Option<Object<E>>, with: &Surroundings<'_>, cause: &str) {
    drop_unwritten(object, with, cause);
    *object = None;
}

/// Writes what is not written yet.
pub(crate) async fn flush<E: Entity>(
    object: &mut Option<Object<E>>,
    with: &Surroundings<'_>,
    key: &Bytes,
) -> Turn {
    if object.as_ref().is_none_or(|object| object.unwritten.is_none()) {
        return Turn::Done(Bytes::default());
    }
    let Some(epoch) = with.table.claim() else { return not_served(object, with, key) };
    let Some(row) = with.table.read(key) else { return not_served(object, with, key) };
    // In another view another node may have had it meanwhile.
    if let Err(turn) = load(object, with, epoch, key, row).await {
        return turn;
    }
    let Some((present, unwritten)) =
        object.as_ref().and_then(|object| object.unwritten.as_ref().map(|unwritten| (object, unwritten)))
    else {
        return Turn::Done(Bytes::default());
    };
    let (encoded, is_changed) = (unwritten.encoded.clone(), unwritten.is_changed);
    let left = Left { encoded, is_changed, named: None };
    // Under the number of a message that it has: its sender is answered the same if it asks again, also by the next owner.
    let (message, answer) = present
        .recent
        .last()
        .unwrap_or_else(|| (Accepted::own(Bytes::clone(key), Bytes::default()), Bytes::default()));
    let turn = write(object, with, epoch, &message, answer, Some(left)).await;
    if let (Turn::NotDone(_), Some(object)) = (&turn, object) {
        // The number may be the reason. The next time it is written under none.
        object.recent.are_written();
    }
    turn
}

/// Why something was not written.
pub(crate) fn in_words(turn: Turn) -> Result<(), String> {
    match turn {
        Turn::Done(answer) => answer::failed(&answer).map_or(Ok(()), |failure| Err(failure.to_string())),
        Turn::NotDone(cause) => Err(cause),
        Turn::Uncertain => Err("its view ended before all copies had it".to_owned()),
    }
}

/// A store that panics has failed, and so has one that does not end in time: it may have saved what it should.
pub(super) async fn caught<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(StoreError::Failed(format!("it panicked: {}", text_of(panic.as_ref())))),
        Err(_) => Err(StoreError::Failed(format!(
            "it did not end within {limit:?} (`EntityOptions::handler_timeout`)"
        ))),
    }
}

pub(super) fn of_store(error: StoreError, failed: fn(String) -> Failure) -> Turn {
    match error {
        StoreError::Fenced(_) => Turn::NotDone(format!(
            "{error}: another node has the entity, or another cluster has used the store; give each cluster a store of its own"
        )),
        StoreError::Failed(cause) => Turn::Done(answer::failure(&failed(cause))),
    }
}

pub(super) fn of_commit(committed: Committed) -> Turn {
    match committed {
        Committed::Done(answer) => Turn::Done(answer),
        Committed::Full { bytes, max } => Turn::Done(answer::failure(&Failure::Full { bytes, max })),
        Committed::Changed => Turn::NotDone("another node has written the state meanwhile".to_owned()),
        Committed::Refused(cause) => Turn::NotDone(cause),
        Committed::Uncertain => Turn::Uncertain,
    }
}

impl<E: Entity> Object<E> {
    fn is_written(&mut self, Left { encoded, is_changed, named }: Left) {
        if is_changed {
            self.new = None;
        }
        if let Some(named) = named {
            self.named = named;
        }
        self.written = encoded;
        (self.unwritten, self.attempted) = (None, None);
        self.recent.are_written();
    }
}
