//! Ports whose answers pass through a task: framed on the way out, unframed on the way in.
//!
//! Each task ends with the limit of its port: an actor may keep a port for ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloister_net::runtime;
use ractor::RpcReplyPort;
use ractor::concurrency::oneshot;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::refusal::{Refusal, answer, refusal_of};

/// The port of a caller, as long as no answer went to it: it can be taken back from an actor that did not take the message.
#[derive(Clone, Debug)]
pub(crate) struct CallersPort(Arc<Mutex<Option<RpcReplyPort<Vec<u8>>>>>);

impl CallersPort {
    fn new(reply: RpcReplyPort<Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(Some(reply))))
    }

    /// The port. Later answers go nowhere.
    pub(crate) fn take(&self) -> Option<RpcReplyPort<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A port for the bytes of an answer, which go to `reply` in a frame; one that is dropped becomes a refusal. What the code of the macro answers is
/// framed already.
/// `until_answered` is dropped when the answer is on its way, or is waited for no longer.
pub(crate) fn framing(
    reply: RpcReplyPort<Vec<u8>>,
    by_macro: bool,
    until_answered: impl Send + 'static,
) -> (RpcReplyPort<Vec<u8>>, CallersPort) {
    let limit = reply.get_timeout();
    let callers = CallersPort::new(reply);
    let to = callers.clone();
    let framed = port(limit, until_answered, move |bytes: Option<Vec<u8>>| {
        let Some(reply) = to.take() else { return };
        // The caller may have given up.
        let _ = reply.send(match bytes {
            Some(bytes) if by_macro => bytes,
            Some(bytes) => answer(bytes),
            None => Refusal::Died.bytes(),
        });
    });
    (framed, callers)
}

/// A port for a frame, of which `reply` gets what is in it. If `by_macro`, it gets all of it: the code of the macro takes the frame off
/// itself. After a refusal, which `refused` gets, `reply` is dropped.
pub(crate) fn unframing(
    reply: RpcReplyPort<Vec<u8>>,
    by_macro: bool,
    refused: impl FnOnce(Refusal) + Send + 'static,
) -> RpcReplyPort<Vec<u8>> {
    before(reply, move |bytes: Option<Vec<u8>>| {
        let mut bytes = bytes?;
        match refusal_of(&bytes) {
            Ok(None) if by_macro => Some(bytes),
            Ok(None) => Some(bytes.split_off(1)),
            Ok(Some(refusal)) => {
                refused(refusal);
                None
            }
            // It is of a later version, or of no version.
            Err(_) => None,
        }
    })
}

/// A port of the same limit. `reply` gets what `change` makes of its answer, which is `None` if it was dropped; and is dropped if that is `None`.
pub(super) fn before<T: Send + 'static, R: Send + 'static>(
    reply: RpcReplyPort<R>,
    change: impl FnOnce(Option<T>) -> Option<R> + Send + 'static,
) -> RpcReplyPort<T> {
    port(reply.get_timeout(), (), move |answered| {
        if let Some(answer) = change(answered) {
            // The caller may have given up.
            let _ = reply.send(answer);
        }
    })
}

/// A port of this limit. `answered` gets its answer, `None` if it was dropped; then `kept` is dropped.
fn port<T: Send + 'static>(
    limit: Option<Duration>,
    kept: impl Send + 'static,
    answered: impl FnOnce(Option<T>) + Send + 'static,
) -> RpcReplyPort<T> {
    let (sender, answer) = oneshot::<T>();
    let passes_on = async move {
        let Ok(answer) = timeout(limit.unwrap_or(Duration::MAX), answer).await else { return };
        answered(answer.ok());
        drop(kept);
    };
    // A thread of the program's may have no runtime. Without a thread for that of the node the answer is dropped.
    if let Some(runtime) = Handle::try_current().ok().or_else(|| runtime::handle().ok()) {
        runtime.spawn(passes_on);
    }
    match limit {
        Some(limit) => (sender, limit).into(),
        None => sender.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_framed_and_unframed_and_a_port_that_is_dropped_is_a_refusal() {
        let (sender, answered) = oneshot();
        framing(unframing(sender.into(), false, |_| ()), false, ()).0.send(vec![7, 8]).unwrap();
        assert_eq!(answered.await, Ok(vec![7, 8]));
        let (sender, answered) = oneshot();
        framing(unframing(sender.into(), true, |_| ()), false, ()).0.send(vec![7, 8]).unwrap();
        assert_eq!(answered.await, Ok(answer(vec![7, 8])));
        let (sender, answered) = oneshot();
        drop(framing(sender.into(), true, ()));
        assert_eq!(answered.await, Ok(Refusal::Died.bytes()));
        for by_macro in [true, false] {
            let (sender, answered) = oneshot();
            let (heard, refused) = oneshot();
            let refused_with = |refusal| heard.send(refusal).unwrap();
            drop(framing(unframing(sender.into(), by_macro, refused_with), by_macro, ()));
            assert!(answered.await.is_err(), "a refusal is no answer");
            assert_eq!(refused.await, Ok(Refusal::Died));
        }
    }

    #[tokio::test]
    async fn a_callers_port_that_is_taken_back_hears_nothing_of_the_one_in_its_place() {
        let (sender, mut answered) = oneshot();
        let (framed, callers) = framing(sender.into(), true, ());
        let reply = callers.take().expect("no answer went to it");
        drop(framed);
        tokio::task::yield_now().await;
        assert!(answered.try_recv().is_err());
        reply.send(vec![7]).unwrap();
        assert_eq!(answered.await, Ok(vec![7]));
        assert!(callers.take().is_none());
    }

    #[tokio::test]
    async fn a_port_that_is_kept_costs_no_task_past_its_limit() {
        let (sender, answered) = oneshot::<Vec<u8>>();
        let (kept, callers) = framing((sender, Duration::from_millis(10)).into(), false, ());
        drop(callers);
        assert!(answered.await.is_err(), "the task has ended");
        drop(kept);
    }
}
