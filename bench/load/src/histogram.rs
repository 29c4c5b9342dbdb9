//! Latencies in logarithmic buckets: about 3 % wide, one microsecond to twelve days, shared by all tasks without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

/// Each power of two is cut into this many buckets (a power of two itself).
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const LARGEST_POWER: u32 = 40;
const BUCKETS: usize = ((LARGEST_POWER - STEP_BITS + 1) as usize + 1) * STEPS as usize;

/// Counts of durations. One for a whole run rather than one for each socket: a thousand private ones would not fit in a cache.
pub struct Histogram {
    buckets: Vec<AtomicU64>,
    max_us: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max_us: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min((1 << LARGEST_POWER) - 1);
        self.buckets[bucket(us)].fetch_add(1, Relaxed);
        self.max_us.fetch_max(us, Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }

    /// The duration below which the given share (0 to 1) lies, in milliseconds: the middle of its bucket. 0 when empty.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += count.load(Relaxed);
            if below >= rank {
                return middle_us(index).min(self.max_us.load(Relaxed) as f64) / 1000.0;
            }
        }
        0.0
    }

    /// p50, p90, p99, max in milliseconds and the count, as it goes into the JSON line.
    pub fn summary(&self) -> Value {
        let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
        json!({
            "p50": rounded(self.quantile_ms(0.5)),
            "p90": rounded(self.quantile_ms(0.9)),
            "p99": rounded(self.quantile_ms(0.99)),
            "max": self.max_us.load(Relaxed) as f64 / 1000.0,
            "count": self.count(),
        })
    }
}

fn bucket(us: u64) -> usize {
    if us < 2 * STEPS {
        return us as usize;
    }
    let power = us.ilog2() - STEP_BITS;
    (u64::from(power) * STEPS + (us >> power)) as usize
}

fn middle_us(index: usize) -> f64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index as f64;
    }
    let power = index / STEPS - 1;
    let low = (index % STEPS + STEPS) << power;
    low as f64 + ((1_u64 << power) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_never_further_than_two_percent_from_what_fell_into_it() {
        for us in (0..4096).chain((12..40).map(|power| (1 << power) + 12345 % (1 << power))) {
            let off = (middle_us(bucket(us)) - us as f64).abs();
            assert!(off <= us as f64 * 0.02, "{us} us is told as {} us", middle_us(bucket(us)));
        }
        assert!(bucket((1 << LARGEST_POWER) - 1) < BUCKETS);
    }

    #[test]
    fn quantiles_are_ranks() {
        let histogram = Histogram::new();
        (1..=100).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        assert!((histogram.quantile_ms(0.5) - 50.0).abs() < 1.5);
        assert!((histogram.quantile_ms(0.99) - 99.0).abs() < 2.5);
        assert_eq!(histogram.count(), 100);
    }
}
