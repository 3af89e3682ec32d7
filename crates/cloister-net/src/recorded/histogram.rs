//! A histogram of durations. Threads that record at the same time do not wait for each other: each call of a program is recorded.
//!
//! A thread that records often has counts of its own, see [`ThreadCounts`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// How many durations there were up to each bound, and their sum. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct DurationHistogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// The upper bounds in seconds, ascending, and the same in nanoseconds.
    bounds: &'static [f64],
    bounds_ns: Box<[u64]>,
    counts: Counts,
    /// Those of threads that run. One that ends adds its own to the others.
    of_threads: Mutex<Vec<Arc<Counts>>>,
}

#[derive(Debug)]
struct Counts {
    /// One for each bound, and one for what is longer than all.
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// The part of a histogram that one thread writes, without an exchange that other processors take part in.
#[derive(Debug)]
pub(crate) struct ThreadCounts {
    histogram: DurationHistogram,
    own: Arc<Counts>,
}

impl DurationHistogram {
    /// One without a duration, with these upper bounds in seconds, ascending.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Buckets {
            bounds,
            bounds_ns: bounds.iter().map(|bound| nanos(Duration::from_secs_f64(*bound))).collect(),
            counts: Counts::new(bounds.len() + 1),
            of_threads: Mutex::default(),
        }))
    }

    /// Records one.
    pub(crate) fn observe(&self, duration: Duration) {
        let Counts { buckets, sum_ns } = &self.0.counts;
        let ns = nanos(duration);
        buckets[self.bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Which bucket a duration is in.
    fn bucket_of(&self, ns: u64) -> usize {
        self.0.bounds_ns.partition_point(|bound| *bound < ns)
    }

    fn of_threads(&self) -> MutexGuard<'_, Vec<Arc<Counts>>> {
        self.0.of_threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was recorded: how many are in each bucket, and their sum in nanoseconds.
    pub(super) fn total(&self) -> (Vec<u64>, u64) {
        let of_threads = self.of_threads();
        let all = || std::iter::once(&self.0.counts).chain(of_threads.iter().map(AsRef::as_ref));
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let buckets = (0..self.0.counts.buckets.len())
            .map(|at| all().map(|counts| load(&counts.buckets[at])).sum())
            .collect();
        (buckets, all().map(|counts| load(&counts.sum_ns)).fold(0, u64::wrapping_add))
    }
}

impl Counts {
    fn new(buckets: usize) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(buckets).collect();
        Self { buckets, sum_ns: AtomicU64::default() }
    }
}

impl ThreadCounts {
    /// Those of this thread, which must keep them to itself.
    pub(crate) fn of(histogram: &DurationHistogram) -> Self {
        let own = Arc::new(Counts::new(histogram.0.counts.buckets.len()));
        histogram.of_threads().push(Arc::clone(&own));
        Self { histogram: histogram.clone(), own }
    }

    /// Records one, and returns its bucket.
    pub(crate) fn observe(&self, duration: Duration) -> (usize, u64) {
        let ns = nanos(duration);
        let bucket = self.histogram.bucket_of(ns);
        self.again((bucket, ns));
        (bucket, ns)
    }

    /// Records one like that.
    #[inline]
    pub(crate) fn again(&self, (bucket, ns): (usize, u64)) {
        let add = |to: &AtomicU64, more: u64| {
            // No other thread writes it.
            to.store(to.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&self.own.buckets[bucket], 1);
        add(&self.own.sum_ns, ns);
    }
}

impl Drop for ThreadCounts {
    fn drop(&mut self) {
        let mut of_threads = self.histogram.of_threads();
        let Counts { buckets, sum_ns } = &self.histogram.0.counts;
        for (all, own) in buckets.iter().zip(&self.own.buckets) {
            all.fetch_add(own.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        sum_ns.fetch_add(self.own.sum_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        of_threads.retain(|counts| !Arc::ptr_eq(counts, &self.own));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let (counts, sum) = self.total();
        // The last one is `+Inf`.
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let count = counts.iter().sum();
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        encoder.encode_histogram::<NoLabelSet>(Duration::from_nanos(sum).as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    const BOUNDS: [f64; 3] = [0.000_05, 0.1, 10.0];

    fn text(metric: impl prometheus_client::registry::Metric) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("calls", "Calls", metric);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn it_is_written_as_the_histogram_of_the_crate() {
        let (own, theirs) = (DurationHistogram::new(&BOUNDS), Histogram::new(BOUNDS));
        // On a bound, between two, beyond the last.
        for millis in [0, 100, 250, 250, 10_000, 11_000] {
            let duration = Duration::from_millis(millis);
            own.observe(duration);
            theirs.observe(duration.as_secs_f64());
        }
        assert_eq!(text(own), text(theirs));
    }

    #[test]
    fn threads_that_record_at_once_lose_nothing() {
        let histogram = DurationHistogram::new(&BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(Duration::from_millis(1))));
            }
        });
        assert!(text(histogram).contains("calls_count 40000"));
    }

    #[test]
    fn what_threads_count_by_themselves_is_in_the_histogram_at_once_and_after_they_have_ended() {
        let histogram = DurationHistogram::new(&BOUNDS);
        let barrier = std::sync::Barrier::new(5);
        let meanwhile = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let counts = ThreadCounts::of(&histogram);
                    let like = counts.observe(Duration::from_millis(1));
                    (1..10_000).for_each(|_| counts.again(like));
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let text = text(histogram.clone());
            barrier.wait();
            text
        });
        for text in [meanwhile, text(histogram.clone())] {
            assert!(text.contains("calls_count 40000") && text.contains("calls_sum 40.0"), "{text}");
        }
        assert!(histogram.of_threads().is_empty());
    }
}
