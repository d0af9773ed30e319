//! How many bytes should be in flight: the bandwidth-delay product, measured from the answers.
//!
//! With less in flight than bandwidth times round trip, the line is idle at times; much more only fills queues and
//! memory. Both factors are measured: the round trip is the shortest time from a request to its answer, the bandwidth
//! is the highest number of bytes per second that arrived while an answer was awaited (the "delivery rate" sample of
//! draft-cardwell-iccrg-bbr). The window is twice their product. While it limits the rate, it therefore doubles with
//! each round trip.
//!
//! Invariant: the window is at most [`CEILING`], and at least the smaller of [`FLOOR`] and what the line carries in
//! four seconds.

use std::time::{Duration, Instant};

/// Smallest window of a fast line, in bytes: enough to keep client and server busy at the same time, and small enough
/// to stay in the processor's caches.
pub const FLOOR: u64 = 4 << 20;
/// Largest number of bytes in flight for one file: 600 MB/s at a round trip of 50 ms.
pub const CEILING: u64 = 32 << 20;
/// On a slow line no more is in flight than it carries in this time, so that waiting in the queue alone does not make
/// an answer miss its deadline.
const PATIENCE: Duration = Duration::from_secs(4);
/// Length of an epoch. A measurement counts during its own epoch and the next; an epoch ends with the first answer
/// after this time.
const EPOCH: Duration = Duration::from_secs(60);

/// The measurements of one direction.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The bytes of all answered requests.
    delivered: u64,
    current: Epoch,
    previous: Epoch,
    /// When the current epoch began.
    since: Option<Instant>,
}

/// The extreme values of one epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    /// The shortest time from a request to its answer.
    delay: Option<Duration>,
    /// The highest rate, in bytes per second.
    rate: f64,
}

/// A request in flight, as [`Pace::answered`] needs it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    at: Instant,
    /// The bytes delivered when it was sent.
    delivered: u64,
}

impl Pace {
    /// Records that a request is sent.
    pub fn sent(&self, now: Instant) -> Sent {
        Sent { at: now, delivered: self.delivered }
    }

    /// Records that the request `departure` was answered, at `now`, and carried `bytes` bytes of data.
    pub fn answered(&mut self, departure: Sent, bytes: u64, now: Instant) {
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

    /// The number of bytes to have in flight.
    pub fn window(&self) -> u64 {
        let delay = [self.current.delay, self.previous.delay].into_iter().flatten().min();
        let Some(delay) = delay else { return FLOOR };
        let rate = self.current.rate.max(self.previous.rate);
        // Twice the product: one half is on the line while the next half is being requested.
        let wanted = (2.0 * rate * delay.as_secs_f64()) as u64;
        wanted.clamp(FLOOR, CEILING).min((rate * PATIENCE.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Simulates a line that answers each request of `CHUNK` bytes after `delay`, at `rate` bytes a second, and that is
    /// always filled to the window. Returns the window after `rounds` answers.
    fn after(rounds: usize, delay: Duration, rate: f64) -> u64 {
        const CHUNK: u64 = 1 << 20;
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let mut free_at = now;
        let mut flying: VecDeque<(Sent, Instant)> = VecDeque::new();
        for _ in 0..rounds {
            while (flying.len() as u64) < (pace.window() / CHUNK).max(1) {
                free_at = free_at.max(now + delay) + Duration::from_secs_f64(CHUNK as f64 / rate);
                flying.push_back((pace.sent(now), free_at));
            }
            let (departure, arrival) = flying.pop_front().unwrap();
            now = now.max(arrival);
            pace.answered(departure, CHUNK, now);
        }
        pace.window()
    }

    #[test]
    fn the_window_without_measurements_is_the_floor() {
        assert_eq!(Pace::default().window(), FLOOR);
    }

    #[test]
    fn a_short_round_trip_keeps_the_window_at_the_floor() {
        assert_eq!(after(1000, Duration::from_micros(300), 1e9), FLOOR);
    }

    #[test]
    fn a_line_with_a_long_round_trip_is_filled_within_a_few_of_them() {
        let window = after(64, Duration::from_millis(20), 600e6);
        assert!(window as f64 >= 600e6 * 0.020, "{window}");
        assert!(window <= CEILING);
    }

    #[test]
    fn a_slow_line_gets_no_more_than_it_carries_before_the_deadline() {
        let window = after(32, Duration::from_millis(50), 100e3);
        assert!((50_000..=400_000).contains(&window), "{window}");
    }

    #[test]
    fn old_measurements_expire_after_two_epochs() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let fast = pace.sent(at(0));
        pace.answered(fast, 64 << 20, at(0) + Duration::from_millis(100));
        assert!(pace.window() > FLOOR);
        for minute in 1..4 {
            let slow = pace.sent(at(61 * minute));
            pace.answered(slow, 1 << 20, at(61 * minute) + Duration::from_millis(10));
        }
        assert_eq!(pace.window(), FLOOR);
    }
}
