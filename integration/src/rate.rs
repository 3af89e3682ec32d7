//! How fast something goes that is done again and again.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How fast something went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How often it was done, by all together.
    pub done: u64,
    /// In what time, in nanoseconds.
    pub took_ns: u64,
    /// How long the middle one took, in nanoseconds.
    pub p50_ns: u64,
    /// How long all but one in a hundred took at most, in nanoseconds.
    pub p99_ns: u64,
}

impl Rate {
    /// The rate of things that took as long as this each, all of them in `took`.
    pub fn new(mut each: Vec<u64>, took: Duration) -> Self {
        each.sort_unstable();
        let at = |share: usize| each.get(each.len() * share / 100).copied().unwrap_or_default();
        Self { done: each.len() as u64, took_ns: nanos(took), p50_ns: at(50), p99_ns: at(99) }
    }

    /// How often a second.
    pub fn per_second(&self) -> f64 {
        self.done as f64 * 1e9 / self.took_ns.max(1) as f64
    }
}

/// Has `callers` do something again and again for as long as `span`, each by itself; what is under way at the end is
/// finished and counts.
pub async fn rate<F, Fut>(callers: usize, span: Duration, once: F) -> Rate
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let caller = |once: F| async move {
        let mut each = Vec::new();
        while began.elapsed() < span {
            let from = Instant::now();
            once().await;
            each.push(nanos(from.elapsed()));
        }
        each
    };
    let callers: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(once.clone()))).collect();
    let mut each = Vec::new();
    for caller in callers {
        each.extend(caller.await.expect("what is measured does not panic"));
    }
    Rate::new(each, began.elapsed())
}

/// Does two things in turn for as long as `span`, so that whatever disturbs the machine disturbs both alike.
pub async fn in_turn<A, B>(span: Duration, first: impl Fn() -> A, second: impl Fn() -> B) -> (Rate, Rate)
where
    A: Future<Output = ()>,
    B: Future<Output = ()>,
{
    let began = Instant::now();
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    while began.elapsed() < span {
        let from = Instant::now();
        first().await;
        let between = Instant::now();
        second().await;
        firsts.push(nanos(between - from));
        seconds.push(nanos(between.elapsed()));
    }
    let took = |each: &[u64]| Duration::from_nanos(each.iter().sum());
    let (first, second) = (took(&firsts), took(&seconds));
    (Rate::new(firsts, first), Rate::new(seconds, second))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_knows_its_middle_and_its_tail() {
        let rate = Rate::new((1..=200).rev().collect(), Duration::from_secs(2));
        assert_eq!((rate.done, rate.p50_ns, rate.p99_ns), (200, 101, 199));
        assert_eq!(rate.per_second(), 100.0);
        assert_eq!(Rate::new(Vec::new(), Duration::ZERO).per_second(), 0.0);
    }
}
