//! Ports whose answers pass through a task: framed on the way out, unframed on the way in.
//!
//! Each task ends with the limit of its port: an actor may keep a port for ever.

use std::time::Duration;

use ractor::RpcReplyPort;
use ractor::concurrency::oneshot;
use tokio::time::timeout;

use super::refusal::{Refusal, answer, refusal_of};

/// A port for the bytes of an answer, which go to `reply` in a frame; one that is dropped becomes a refusal. What the code of the macro answers is
/// framed already.
/// `until_answered` is dropped when the answer is on its way, or is waited for no longer.
pub(crate) fn framing(
    reply: RpcReplyPort<Vec<u8>>,
    by_macro: bool,
    until_answered: impl Send + 'static,
) -> RpcReplyPort<Vec<u8>> {
    before_while(reply, until_answered, move |bytes: Option<Vec<u8>>| {
        Some(match bytes {
            Some(bytes) if by_macro => bytes,
            Some(bytes) => answer(bytes),
            None => Refusal::Died.bytes(),
        })
    })
}

/// A port for a frame, of which `reply` gets what is in it, or all of it if `by_macro`: the code of the macro takes the frame off itself. After a
/// refusal, which `refused` gets, `reply` is dropped.
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
    before_while(reply, (), change)
}

/// The same; `kept` is dropped at the end.
fn before_while<T: Send + 'static, R: Send + 'static>(
    reply: RpcReplyPort<R>,
    kept: impl Send + 'static,
    change: impl FnOnce(Option<T>) -> Option<R> + Send + 'static,
) -> RpcReplyPort<T> {
    let (sender, answered) = oneshot::<T>();
    let limit = reply.get_timeout();
    tokio::spawn(async move {
        let Ok(answered) = timeout(limit.unwrap_or(Duration::MAX), answered).await else { return };
        if let Some(answer) = change(answered.ok()) {
            // The caller may have given up.
            let _ = reply.send(answer);
        }
        drop(kept);
    });
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
        framing(unframing(sender.into(), false, |_| ()), false, ()).send(vec![7, 8]).unwrap();
        assert_eq!(answered.await, Ok(vec![7, 8]));
        let (sender, answered) = oneshot();
        framing(unframing(sender.into(), true, |_| ()), false, ()).send(vec![7, 8]).unwrap();
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
    async fn a_port_that_is_kept_costs_no_task_past_its_limit() {
        let (sender, answered) = oneshot::<Vec<u8>>();
        let kept = framing((sender, Duration::from_millis(10)).into(), false, ());
        assert!(answered.await.is_err(), "the task has ended");
        drop(kept);
    }
}
