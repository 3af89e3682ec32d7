//! What a service of a node that leaves still passes on.
//!
//! Such a node is up in no view, so it sends no operations. It asks the others for the view that they are up in without it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloister_core::{Epoch, Ring, Slot, Status};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::blob::Blob;
use crate::client::ask;
use crate::core::Core;
use crate::delivery::Accepted;
use crate::error::{TableError, shown};
use crate::holds::Waits;
use crate::message::{Answer, Request};
use crate::service::ServiceTable;

/// How long the others may take to say in which view they are.
const LOOK: Duration = Duration::from_secs(1);

/// The pause before they are asked again, or a message that was not taken is sent again.
const PAUSE: Duration = Duration::from_millis(20);

/// A node that leaves. It stays linked until this is dropped, or `timing.leave_timeout` is over.
pub struct Leaving {
    table: ServiceTable,
    /// The view that others are up in without this node.
    next: Mutex<Option<NextView>>,
}

#[derive(Clone)]
struct NextView {
    epoch: Epoch,
    ring: Arc<Ring>,
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaving").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.table.core.holds.release(Waits::Leave, Core::SERVICE);
    }
}

impl Leaving {
    pub(crate) fn new(table: ServiceTable) -> Self {
        Self { table, next: Mutex::default() }
    }

    /// Passes a message that was accepted here on to the owner of its key in the view without this node, once there is one.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not accepted there. After [`TableError::Uncertain`] it may have been: the answers of a node that is
    /// no member are not remembered, so it is not sent again.
    pub async fn pass_on(&self, message: &Accepted) -> Result<(), TableError> {
        let (core, cloister, began) = (&self.table.core, self.table.cloister(), Instant::now());
        let number = core.numbers.open();
        let slot = Slot::of(&message.key);
        let (mut node, mut epoch) = (None, None);
        let mut cause = "no view without this node has begun".to_owned();
        let place = |node, epoch| (core.table.clone(), shown(&message.key), node, epoch, began.elapsed());
        while began.elapsed() < core.options.timeout {
            if cloister.status() == Status::Stopped {
                cause = "this node has left".to_owned();
                break;
            }
            let next =
                self.next(epoch).await.and_then(|next| Some((next.ring.owner(slot)?.clone(), next.epoch)));
            let Some((owner, view)) = next else {
                sleep(PAUSE).await;
                continue;
            };
            (node, epoch) = (Some(owner.clone()), Some(view));
            let request = Request {
                epoch: view.as_u64(),
                key: Blob(message.key.clone()),
                id: Some(number.id(cloister.node().incarnation().0)),
                operation: message.passed_on(),
            };
            let left = core.options.timeout.saturating_sub(began.elapsed());
            let uncertain = match ask(core, &owner, request, left).await {
                Ok(Answer::Done(_) | Answer::Written(_)) => return Ok(()),
                Ok(Answer::Busy) => {
                    let (table, key, node, epoch, waited) = place(node, epoch);
                    return Err(TableError::Busy { table, key, node, epoch, waited });
                }
                Ok(Answer::Uncertain | Answer::Dropped) => Some("its view or its table ended".to_owned()),
                Err((why, true)) => Some(why),
                Ok(Answer::Refused(why)) | Err((why, false)) => {
                    cause = why;
                    None
                }
                Ok(Answer::Lost) => {
                    cause = "all copies are gone".to_owned();
                    None
                }
            };
            if let Some(cause) = uncertain {
                let (table, key, node, epoch, waited) = place(node, epoch);
                return Err(TableError::Uncertain { table, key, node, epoch, waited, cause });
            }
            sleep(PAUSE).await;
        }
        let (table, key, node, epoch, waited) = place(node, epoch);
        Err(TableError::Unavailable { table, key, node, epoch, waited, cause })
    }

    /// The view that others are up in without this node. That of `refused` is looked for anew.
    async fn next(&self, refused: Option<Epoch>) -> Option<NextView> {
        let mut known = self.next.lock().await;
        if let Some(known) = known.as_ref().filter(|known| Some(known.epoch) != refused) {
            return Some(known.clone());
        }
        let cloister = self.table.cloister();
        let me = cloister.node();
        let states = cloister.member_states(LOOK).await;
        let others = states.ok.into_iter().map(|(_, state)| state);
        let is_next = |members: &[_]| !members.contains(&me) && !members.is_empty();
        let up = others.filter(|state| state.status == Some(Status::Up) && is_next(&state.members));
        let last = up.filter_map(|state| Some((state.epoch?, state.members))).max_by_key(|(epoch, _)| *epoch);
        *known = last.map(|(epoch, members)| NextView { epoch, ring: Arc::new(Ring::new(&members)) });
        known.clone()
    }
}
