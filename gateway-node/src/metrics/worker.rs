//! The counters of one worker, and of every delivery.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// The number of buckets of a histogram, without the last one, which has no bound.
const BUCKETS: usize = 20;

/// The bound of the first bucket, in microseconds. Each bound is twice the one before, up to 8.4 s.
const FIRST_MICROS: u64 = 16;

/// What one worker counts. Only its own thread writes, so a count costs no locked instruction and no cache line that
/// another worker writes too. A scrape adds up the workers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Bytes read from WebSockets.
    pub bytes_in: WorkerCounter,
    /// Frames read from WebSockets.
    pub frames_in: WorkerCounter,
    /// Bytes that WebSockets have taken.
    pub bytes_out: WorkerCounter,
    /// Frames that WebSockets have taken.
    pub frames_out: WorkerCounter,
    /// Entries put into an outbox.
    pub deliveries: WorkerCounter,
    /// Passes in which entries that had waited together were delivered.
    pub passes: WorkerCounter,
    /// Waits after a long pass, so that more entries are delivered together.
    pub join_windows: WorkerCounter,
    /// Slow clients closed because more bytes waited for them than may wait for one client.
    pub evicted_for_bytes: WorkerCounter,
    /// Slow clients closed because a byte has waited for too long.
    pub evicted_for_age: WorkerCounter,
    /// Slow clients closed because too much waited for all clients together.
    pub evicted_for_total: WorkerCounter,
    /// From the acceptance of an entry, or its arrival from another node, until it was in the outboxes of the worker.
    pub delivery: WorkerHistogram,
    /// How long the first byte of each write had waited in its outbox.
    pub write: WorkerHistogram,
    /// From the arrival of a heartbeat until its answer was written.
    pub heartbeat: WorkerHistogram,
}

/// A counter with a single writer.
#[derive(Debug, Default)]
pub struct WorkerCounter(AtomicU64);

impl WorkerCounter {
    /// Adds `count`. Only the thread of the worker may call this: counts of two threads would overwrite each other.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A histogram of durations with a single writer.
#[derive(Debug, Default)]
pub struct WorkerHistogram {
    /// The number of durations up to each bound and above the one before. The last one has no bound.
    buckets: [WorkerCounter; BUCKETS + 1],
    /// The sum, in nanoseconds.
    sum: WorkerCounter,
}

impl WorkerHistogram {
    /// Adds a duration.
    #[inline]
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos.div_ceil(1000);
        let bucket = micros
            .div_ceil(FIRST_MICROS)
            .max(1)
            .next_power_of_two()
            .trailing_zeros() as usize;
        self.buckets[bucket.min(BUCKETS)].add(1);
        self.sum.add(nanos);
    }

    /// Adds `count` durations of zero.
    #[inline]
    pub fn observe_none(&self, count: u64) {
        self.buckets[0].add(count);
    }
}

/// The sum of the histograms of all workers.
#[derive(Debug, Clone)]
pub(super) struct HistogramSum {
    buckets: [u64; BUCKETS + 1],
    nanos: u64,
}

impl HistogramSum {
    /// Adds up histograms.
    pub(super) fn of<'a>(histograms: impl Iterator<Item = &'a WorkerHistogram>) -> Self {
        let mut sum = Self {
            buckets: [0; BUCKETS + 1],
            nanos: 0,
        };
        for histogram in histograms {
            for (bucket, own) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *bucket += own.get();
            }
            sum.nanos = sum.nanos.wrapping_add(histogram.sum.get());
        }
        sum
    }
}

#[allow(clippy::cast_precision_loss, reason = "durations of years are exact enough")]
impl EncodeMetric for HistogramSum {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut micros = FIRST_MICROS;
        let buckets = self.buckets.iter().enumerate().map(|(index, count)| {
            let bound = if index < BUCKETS {
                micros as f64 / 1e6
            } else {
                f64::INFINITY
            };
            micros *= 2;
            (bound, *count)
        });
        let buckets: Vec<_> = buckets.collect();
        let count = self.buckets.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(self.nanos as f64 / 1e9, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let bucket = |micros: f64| {
            let histogram = WorkerHistogram::default();
            histogram.observe(Duration::from_secs_f64(micros / 1e6));
            let found = histogram.buckets.iter().position(|bucket| bucket.get() == 1);
            found.unwrap()
        };
        for (micros, expected) in [
            (0.0, 0),
            (0.5, 0),
            (16.0, 0),
            (16.001, 1),
            (32.0, 1),
            (33.0, 2),
            (8_388_608.0, BUCKETS - 1),
            (8_388_609.0, BUCKETS),
            (1e12, BUCKETS),
        ] {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
    }

    #[test]
    fn histograms_of_workers_are_added_up() {
        let workers = [WorkerHistogram::default(), WorkerHistogram::default()];
        workers[0].observe(Duration::from_micros(10));
        workers[0].observe_none(3);
        workers[1].observe(Duration::from_micros(40));
        let sum = HistogramSum::of(workers.iter());
        assert_eq!((sum.buckets[0], sum.buckets[2], sum.nanos), (4, 1, 50_000));
    }
}
