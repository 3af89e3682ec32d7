//! Several futures, polled together in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Waits for all; the results come in the order of the futures.
///
/// For few futures: every wake-up polls all that are not ready.
pub(crate) async fn all<'a, T>(
    futures: impl IntoIterator<Item = impl Future<Output = T> + Send + 'a>,
) -> Vec<T> {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>> = Vec::new();
    for future in futures {
        waiting.push(Box::pin(future));
    }
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut ready = true;
        for (future, slot) in waiting.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *slot = Some(value),
                Poll::Pending => ready = false,
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
