//! How much may usefully be in flight: the bandwidth-delay product, measured from what arrives.
//!
//! Less in flight than the bandwidth times the round trip leaves the line idle; much more only fills
//! queues and memory. Neither number is known beforehand. Both show in the answers: the shortest time
//! that one took, and the most bytes that came per second while one was awaited (the sample of
//! draft-cardwell-iccrg-bbr, "delivery rate"). While the window is what limits the rate, each round
//! trip finds twice the rate, and the window doubles.
//!
//! Invariant: the window lies between [`FLOOR`], or what the line carries in four seconds where that is
//! less, and [`CEILING`].

use std::time::{Duration, Instant};

/// The window of a line on which the round trip costs next to nothing, in bytes: enough that client and
/// server work at the same time, and little enough to stay in the processor's caches.
pub const FLOOR: u64 = 4 << 20;
/// The most that is ever in flight for one file, in bytes: 600 MB/s over 50 ms.
pub const CEILING: u64 = 32 << 20;
/// On a slow line no more is in flight than it carries in this time, so that no answer misses its
/// deadline for the queue alone.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a measurement is believed, at least; at most twice as long.
const EPOCH: Duration = Duration::from_secs(60);

/// What was measured of one direction.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    delivered: u64,
    current: Epoch,
    previous: Epoch,
    since: Option<Instant>,
}

/// The extremes of one span of time.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    /// The shortest time from a request to its answer.
    delay: Option<Duration>,
    /// The highest rate, in bytes per second.
    rate: f64,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    at: Instant,
    /// What had arrived by then.
    delivered: u64,
}

impl Pace {
    /// A request leaves.
    pub fn depart(&self, now: Instant) -> Departure {
        Departure { at: now, delivered: self.delivered }
    }

    /// It was answered, and carried so many bytes.
    pub fn arrive(&mut self, departure: Departure, bytes: u64, now: Instant) {
        self.delivered = self.delivered.saturating_add(bytes);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= EPOCH) {
            self.previous = std::mem::take(&mut self.current);
            self.since = Some(now);
        }
        let delay = now.saturating_duration_since(departure.at).max(Duration::from_micros(10));
        let rate = (self.delivered - departure.delivered) as f64 / delay.as_secs_f64();
        let epoch = &mut self.current;
        epoch.delay = Some(epoch.delay.map_or(delay, |least| least.min(delay)));
        epoch.rate = epoch.rate.max(rate);
    }

    /// How many bytes to have in flight.
    pub fn window(&self) -> u64 {
        let delay = [self.current.delay, self.previous.delay].into_iter().flatten().min();
        let Some(delay) = delay else { return FLOOR };
        let rate = self.current.rate.max(self.previous.rate);
        // Twice the product: one half is on the line while the other is being asked for.
        let wanted = (2.0 * rate * delay.as_secs_f64()) as u64;
        wanted.clamp(FLOOR, CEILING).min((rate * PATIENCE.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A line on which each request of `CHUNK` bytes takes `delay` and its turn at `rate` bytes a second,
    /// always as full as the window allows: the window after `rounds` answers.
    fn after(rounds: usize, delay: Duration, rate: f64) -> u64 {
        const CHUNK: u64 = 1 << 20;
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let mut free_at = now;
        let mut flying: VecDeque<(Departure, Instant)> = VecDeque::new();
        for _ in 0..rounds {
            while (flying.len() as u64) < (pace.window() / CHUNK).max(1) {
                free_at = free_at.max(now + delay) + Duration::from_secs_f64(CHUNK as f64 / rate);
                flying.push_back((pace.depart(now), free_at));
            }
            let (departure, arrival) = flying.pop_front().unwrap();
            now = now.max(arrival);
            pace.arrive(departure, CHUNK, now);
        }
        pace.window()
    }

    #[test]
    fn nothing_measured_is_the_floor() {
        assert_eq!(Pace::default().window(), FLOOR);
    }

    #[test]
    fn a_short_way_stays_at_the_floor() {
        assert_eq!(after(1000, Duration::from_micros(300), 1e9), FLOOR);
    }

    #[test]
    fn a_long_way_is_filled_within_a_few_round_trips() {
        let window = after(64, Duration::from_millis(20), 600e6);
        assert!(window as f64 >= 600e6 * 0.020, "{window}");
        assert!(window <= CEILING);
    }

    #[test]
    fn a_slow_line_is_not_given_more_than_it_carries_in_time() {
        let window = after(32, Duration::from_millis(50), 100e3);
        assert!((50_000..=400_000).contains(&window), "{window}");
    }

    #[test]
    fn what_was_measured_long_ago_is_forgotten() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let fast = pace.depart(at(0));
        pace.arrive(fast, 64 << 20, at(0) + Duration::from_millis(100));
        assert!(pace.window() > FLOOR);
        for minute in 1..4 {
            let slow = pace.depart(at(61 * minute));
            pace.arrive(slow, 1 << 20, at(61 * minute) + Duration::from_millis(10));
        }
        assert_eq!(pace.window(), FLOOR);
    }
}
