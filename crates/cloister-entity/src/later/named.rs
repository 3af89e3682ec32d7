//! The names of replies in a state.
//!
//! A state has the names of the replies in its fields. So one that is taken back, since a message has failed, has them again: a reply is
//! dropped when neither a [`ReplyLater`] nor a state that is kept has it any more.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Awaited, HandlingId, Replies, ReplyLater};
use crate::entity::Entity;

thread_local! {
    /// Of the state that is encoded or decoded on this thread.
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

struct State {
    replies: Arc<Replies>,
    awaited: Option<Arc<()>>,
    names: Vec<HandlingId>,
}

/// Runs what encodes or decodes a state of an entity. Returns the names of the replies in it.
pub(crate) fn in_state<T>(
    replies: &Arc<Replies>,
    awaited: &mut Awaited,
    work: impl FnOnce() -> T,
) -> (T, Names) {
    /// Also where it panics.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            STATE.take();
        }
    }
    let token = awaited.token.clone();
    STATE.replace(Some(State { replies: Arc::clone(replies), awaited: token, names: Vec::new() }));
    let ends = Ends;
    let done = work();
    let state = STATE.take();
    drop(ends);
    let mut names = Vec::new();
    if let Some(state) = state {
        (awaited.token, names) = (state.awaited, state.names);
    }
    (done, Names::new(replies, names))
}

/// The names of the replies in a state that is kept.
#[derive(Default)]
pub(crate) struct Names(Option<(Arc<Replies>, Vec<HandlingId>)>);

impl Names {
    fn new(replies: &Arc<Replies>, names: Vec<HandlingId>) -> Self {
        if names.is_empty() {
            return Self(None);
        }
        for place in &names {
            replies.change(*place, |reply| reply.named += 1);
        }
        Self(Some((Arc::clone(replies), names)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for (replies, names) in self.0.iter() {
            for place in names {
                replies.change(*place, |reply| reply.named -= 1);
            }
        }
    }
}

/// The node, the sender and the number of the message, and the number of its handling.
type Name = (u64, u64, u64, u64);

impl<E: Entity> Serialize for ReplyLater<E> {
    /// Its name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some(_), Some(place)) = (&self.replies, self.place) {
            STATE.with_borrow_mut(|state| {
                if let Some(state) = state {
                    state.names.push(place);
                }
            });
        }
        let name = self.place.map(|HandlingId { origin, message: (client, number), handling }| -> Name {
            (origin, client, number, handling)
        });
        name.serialize(serializer)
    }
}

impl<'de, E: Entity> Deserialize<'de> for ReplyLater<E> {
    /// The reply of this name, if it is to be given by this node.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Option::<Name>::deserialize(deserializer)?;
        let place = name.map(|(origin, client, number, handling)| HandlingId {
            origin,
            message: (client, number),
            handling,
        });
        let found = place.and_then(|place| {
            STATE.with_borrow_mut(|state| {
                let State { replies, awaited, names } = state.as_mut()?;
                if place.origin != replies.origin || !replies.change(place, |reply| reply.held += 1) {
                    return None;
                }
                names.push(place);
                Some((Arc::clone(replies), Arc::clone(awaited.get_or_insert_default())))
            })
        });
        let (replies, awaited) = found.unzip();
        Ok(Self { replies, place, _awaited: awaited, entity: PhantomData })
    }
}
