//! How long something took: a histogram of microseconds.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::fmt;
use std::time::Duration;

/// The longest time that is distinguished from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// The upper bounds of the buckets that a [`Summary`] counts in. Times beyond the last are in one more bucket.
pub const BOUNDS: [Duration; 16] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Significant decimal digits of a recorded time. One digit keeps a histogram at 4 KiB; a percentile is right within a
/// tenth.
const DIGITS: u8 = 1;

/// A histogram of times, from one microsecond to an hour.
pub struct Latency(Mutex<Times>);

struct Times {
    histogram: Histogram<u64>,
    /// The sum of the recorded times.
    total: Duration,
}

/// The count and the percentiles of a [`Latency`] at one moment. All times are zero if nothing was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// The number of recorded times.
    pub count: u64,
    /// Half of the times are no longer than this.
    pub median: Duration,
    /// 99 of 100 times are no longer than this.
    pub p99: Duration,
    /// The longest time.
    pub longest: Duration,
    /// The sum of the times.
    pub total: Duration,
    /// The number of times in each bucket: above the bound before, up to that in [`BOUNDS`]. A time is in the next lower
    /// bucket if it is above the bound by less than a tenth.
    pub within: [u64; BOUNDS.len() + 1],
}

impl Latency {
    /// Records a time. Times below a microsecond count as a microsecond, times beyond an hour as an hour.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        let mut times = self.0.lock();
        times.histogram.saturating_record(micros.max(1));
        times.total = times.total.saturating_add(took);
    }

    /// The percentiles at this moment.
    pub fn summary(&self) -> Summary {
        let times = self.0.lock();
        let histogram = &times.histogram;
        let at = |quantile| match histogram.is_empty() {
            true => Duration::ZERO,
            false => Duration::from_micros(histogram.value_at_quantile(quantile)),
        };
        let mut within = [0; BOUNDS.len() + 1];
        for slot in histogram.iter_recorded() {
            let shortest = Duration::from_micros(histogram.lowest_equivalent(slot.value_iterated_to()));
            within[BOUNDS.partition_point(|bound| *bound < shortest)] += slot.count_at_value();
        }
        let count = histogram.len();
        Summary { count, median: at(0.5), p99: at(0.99), longest: at(1.0), total: times.total, within }
    }
}

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("constant bounds");
        Latency(Mutex::new(Times { histogram, total: Duration::ZERO }))
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_a_tenth() {
        let latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let Summary { count, median, p99, longest, .. } = latency.summary();
        let near = |time: Duration, micros: u128| time.as_micros().abs_diff(micros) * 10 <= micros;
        assert_eq!(count, 1000);
        assert!(near(median, 500) && near(p99, 990) && near(longest, 1000), "{:?}", latency.summary());
    }

    #[test]
    fn each_time_is_in_one_bucket_and_the_sum_is_exact() {
        let latency = Latency::default();
        for took in
            [Duration::from_micros(7), Duration::from_micros(100), Duration::from_secs(2), Duration::from_secs(60)]
        {
            latency.record(took);
        }
        let Summary { count, total, within, .. } = latency.summary();
        let bucket = |bound: Duration| within[BOUNDS.iter().position(|other| *other == bound).unwrap()];
        assert_eq!((count, within.iter().sum::<u64>(), total), (4, 4, Duration::from_micros(62_000_107)));
        assert_eq!((within[0], bucket(Duration::from_micros(100)), bucket(Duration::from_secs(5))), (1, 1, 1));
        assert_eq!(within[BOUNDS.len()], 1);
    }

    #[test]
    fn a_time_of_zero_counts_as_a_microsecond_and_a_too_long_one_as_an_hour() {
        let latency = Latency::default();
        assert_eq!(latency.summary(), Summary::default());
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        let Summary { count, median, longest, .. } = latency.summary();
        assert_eq!((count, median), (2, Duration::from_micros(1)));
        assert!(longest >= Duration::from_secs(3600));
    }
}
