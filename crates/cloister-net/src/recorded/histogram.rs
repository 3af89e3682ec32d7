//! A histogram of durations. Threads that record at the same time do not wait for each other: each call of a program is recorded.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// One for each bound, and one for what is longer than all.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl DurationHistogram {
    /// One without a duration, with these upper bounds in seconds, ascending.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Buckets {
            bounds,
            bounds_ns: bounds.iter().map(|bound| nanos(Duration::from_secs_f64(*bound))).collect(),
            counts: std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect(),
            sum_ns: AtomicU64::default(),
        }))
    }

    /// Records one.
    pub(crate) fn observe(&self, duration: Duration) {
        let Buckets { bounds_ns, counts, sum_ns, .. } = &*self.0;
        let ns = nanos(duration);
        counts[bounds_ns.partition_point(|bound| *bound < ns)].fetch_add(1, Ordering::Relaxed);
        sum_ns.fetch_add(ns, Ordering::Relaxed);
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
        let Buckets { bounds, counts, sum_ns, .. } = &*self.0;
        // The last one is `+Inf`.
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let (sum, count) = (sum_ns.load(Ordering::Relaxed), buckets.iter().map(|(_, count)| count).sum());
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
}
