//! Credits and message ids (MS-SMB2 3.2.4.1.2, 3.2.4.1.3, 3.2.4.1.5, 3.2.4.1.6, 3.2.5.1.4).
//!
//! A client may have as many message ids in use as the server has granted credits. Each request uses as many
//! consecutive ids as it costs credits. Each response grants new credits, interim responses included.
//! [`CreditWindow::take`] allocates the ids of a request, and its caller sends the request without waiting: a gap in
//! the ids would close the server's window for good.
//!
//! Requests are sent in two lanes, so that a lookup does not wait for 64 MiB of file data. Each lane is a queue: first
//! in, first out. Between the lanes two rules hold. Bulk leaves a reserve of credits to small requests. While both
//! lanes wait, the one that has waited longer is served first, except that small requests may use the reserve. So
//! neither lane starves the other, however many requests it has and however few credits the server grants.

/// The largest payload that one credit pays for, in bytes (MS-SMB2 3.1.5.2).
pub const CREDIT_PAYLOAD: u32 = 65_536;

/// Credits that bulk leaves to small requests: enough for about ten opens at a time, or for one large listing.
const RESERVE: u32 = 32;

/// The CreditCharge of a request whose larger direction carries `payload` bytes (MS-SMB2 3.1.5.2); at least 1.
pub fn charge_for(payload: u32) -> u16 {
    u16::try_from(payload.div_ceil(CREDIT_PAYLOAD)).unwrap_or(u16::MAX).max(1)
}

/// The lane of a request: requests of one lane are sent in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Requests that a program waits for: opens, lookups, listings, short reads and writes.
    Small,
    /// Reads and writes of much data, many at a time, and requests whose answer no program waits for.
    Bulk,
}

/// The cost of a request or of a chain of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// The number of credits.
    pub credits: u32,
    /// The lane that spends them.
    pub lane: Lane,
}

/// The first waiting request of a lane: its cost and its order of arrival.
#[derive(Clone, Copy, Debug)]
struct Place {
    credits: u32,
    arrival: u64,
}

/// The credits of one connection, as a plain value.
#[derive(Debug)]
pub struct CreditWindow {
    /// Credits that can be spent now.
    available: u32,
    /// Credits of requests in flight.
    in_use: u32,
    /// The part of `in_use` that small requests hold.
    small_in_use: u32,
    /// The next message id.
    next_id: u64,
    /// The number of credits that the window grows to.
    target: u32,
    /// The first waiting request of each lane.
    lines: [Option<Place>; 2],
    /// How many requests have begun to wait so far.
    arrivals: u64,
}

impl CreditWindow {
    /// The window of a new connection: one credit, id 0 (MS-SMB2 3.2.4.1.6). It requests credits until it has `target`.
    pub fn new(target: u32) -> CreditWindow {
        CreditWindow { available: 1, in_use: 0, small_in_use: 0, next_id: 0, target, lines: [None; 2], arrivals: 0 }
    }

    /// Spends the cost of a request and returns the first of its consecutive message ids; `None` if the request must
    /// wait.
    pub fn take(&mut self, cost: Cost) -> Option<u64> {
        if !self.admits(cost) {
            return None;
        }
        self.available -= cost.credits;
        self.in_use += cost.credits;
        if cost.lane == Lane::Small {
            self.small_in_use += cost.credits;
        }
        let first = self.next_id;
        // 2^64 ids do not run out in the lifetime of a connection.
        self.next_id = self.next_id.wrapping_add(u64::from(cost.credits));
        Some(first)
    }

    /// Whether a request may be sent now.
    fn admits(&self, cost: Cost) -> bool {
        let [small, bulk] = self.lines;
        let arrival = |place: Option<Place>| place.map_or(u64::MAX, |place| place.arrival);
        match cost.lane {
            Lane::Small => {
                let within_reserve =
                    |bulk: Place| self.small_in_use + cost.credits <= self.reserve_beside(bulk.credits);
                let bulk = bulk.filter(|bulk| bulk.arrival < arrival(small));
                self.available >= cost.credits && bulk.is_none_or(within_reserve)
            }
            Lane::Bulk => {
                // The credits that small requests hold are the part of the reserve that is in use already.
                let left = self.reserve_beside(cost.credits).saturating_sub(self.small_in_use);
                let overtakes = small.is_some_and(|small| small.arrival < arrival(bulk));
                self.available >= cost.credits.saturating_add(left) && !overtakes
            }
        }
    }

    /// Credits that bulk leaves to small requests: at most a quarter of the capacity.
    fn reserve(&self) -> u32 {
        RESERVE.min(self.capacity() / 4)
    }

    /// The reserve while a bulk request of cost `bulk` waits: small enough that the request can be sent at some time.
    fn reserve_beside(&self, bulk: u32) -> u32 {
        self.reserve().min(self.capacity().saturating_sub(bulk))
    }

    /// Records that the first request of a lane waits. No effect if the lane has one recorded already.
    pub fn stand(&mut self, cost: Cost) {
        let place = &mut self.lines[cost.lane as usize];
        if place.is_none() {
            *place = Some(Place { credits: cost.credits, arrival: self.arrivals });
            self.arrivals += 1;
        }
    }

    /// Records that the first request of this lane no longer waits: it was sent, or its caller gave up.
    pub fn leave(&mut self, lane: Lane) {
        self.lines[lane as usize] = None;
    }

    /// The credits that a request of cost `charge` should request, so that the window grows to its target and stays
    /// there (MS-SMB2 3.2.4.1.2).
    pub fn to_request(&self, charge: u16) -> u16 {
        let missing = self.target.saturating_sub(self.capacity());
        u16::try_from(missing.saturating_add(u32::from(charge))).unwrap_or(u16::MAX)
    }

    /// Adds credits that the server granted in a final or interim response (MS-SMB2 3.2.5.1.4).
    pub fn grant(&mut self, credits: u16) {
        self.available = self.available.saturating_add(u32::from(credits));
    }

    /// Records that the use of these credits has ended: their request got its final response or, if it waits for a
    /// change, its interim response.
    pub fn finish(&mut self, cost: Cost) {
        self.in_use = self.in_use.saturating_sub(cost.credits);
        if cost.lane == Lane::Small {
            self.small_in_use = self.small_in_use.saturating_sub(cost.credits);
        }
    }

    /// Credits that can be spent now.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// Credits of requests in flight.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The most credits that a single request can get: the available ones and those of requests in flight.
    pub fn capacity(&self) -> u32 {
        self.available.saturating_add(self.in_use)
    }

    /// The most credits that a bulk request should cost, so that the reserve remains.
    pub fn bulk_capacity(&self) -> u32 {
        self.capacity() - self.reserve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn small(credits: u32) -> Cost {
        Cost { credits, lane: Lane::Small }
    }

    fn bulk(credits: u32) -> Cost {
        Cost { credits, lane: Lane::Bulk }
    }

    fn window(credits: u16) -> CreditWindow {
        let mut window = CreditWindow::new(512);
        window.grant(credits - 1);
        window
    }

    #[test]
    fn a_request_costs_a_credit_per_64_kib() {
        assert_eq!(charge_for(0), 1);
        assert_eq!(charge_for(65_536), 1);
        assert_eq!(charge_for(65_537), 2);
        assert_eq!(charge_for(8 << 20), 128);
        assert_eq!(charge_for(u32::MAX), u16::MAX);
    }

    #[test]
    fn a_new_connection_may_send_one_message() {
        let mut window = CreditWindow::new(512);
        assert_eq!(window.take(small(2)), None);
        assert_eq!(window.take(small(1)), Some(0));
        assert_eq!(window.take(small(1)), None);
    }

    #[test]
    fn ids_are_consecutive_whatever_the_charge() {
        let mut window = window(100);
        assert_eq!(window.take(bulk(16)), Some(0));
        assert_eq!(window.take(small(1)), Some(16));
        assert_eq!(window.take(small(3)), Some(17));
    }

    #[test]
    fn credits_of_an_interim_response_count_at_once() {
        let mut window = CreditWindow::new(512);
        window.take(small(1));
        window.grant(8);
        assert_eq!(window.available(), 8);
        window.finish(small(1));
        window.grant(0);
        assert_eq!((window.available(), window.in_use()), (8, 0));
    }

    #[test]
    fn the_window_requests_credits_up_to_its_target_and_then_what_it_spends() {
        let mut window = CreditWindow::new(64);
        assert_eq!(window.to_request(1), 64, "1 is available, 63 are missing, 1 will be spent");
        window.take(small(1));
        assert_eq!(window.to_request(1), 64);
        window.grant(64);
        window.finish(small(1));
        assert_eq!(window.to_request(4), 4);
    }

    #[test]
    fn a_server_that_grants_without_end_does_not_overflow_the_window() {
        let mut window = CreditWindow::new(64);
        for _ in 0..100_000 {
            window.grant(u16::MAX);
        }
        assert_eq!(window.available(), u32::MAX);
        assert!(window.take(bulk(16)).is_some());
    }

    #[test]
    fn a_server_that_grants_one_credit_leaves_a_capacity_of_one() {
        let mut window = CreditWindow::new(64);
        window.take(small(1));
        window.grant(1);
        window.finish(small(1));
        assert_eq!((window.capacity(), window.bulk_capacity()), (1, 1));
    }

    #[test]
    fn bulk_leaves_the_reserve_to_small_requests() {
        let mut window = window(512);
        let sent = std::iter::from_fn(|| window.take(bulk(16))).count();
        assert_eq!((sent, window.available()), (30, RESERVE));
        window.stand(bulk(16));
        let sent = std::iter::from_fn(|| window.take(small(2))).count();
        assert_eq!((sent, window.available()), (16, 0));
    }

    #[test]
    fn credits_held_by_small_requests_are_not_reserved_twice() {
        let mut window = window(512);
        while window.take(small(2)).is_some() {}
        window.finish(small(16));
        window.grant(16);
        assert!(window.take(bulk(16)).is_some());
    }

    #[test]
    fn a_bulk_request_that_costs_every_credit_waits_for_small_ones_and_is_sent() {
        let mut window = window(16);
        window.take(small(1));
        assert_eq!(window.take(bulk(16)), None);
        window.stand(bulk(16));
        assert_eq!(window.take(small(1)), None, "it arrived later");
        window.finish(small(1));
        window.grant(1);
        assert!(window.take(bulk(16)).is_some());
    }

    #[test]
    fn a_request_that_gives_up_no_longer_blocks_the_other_lane() {
        let mut window = window(16);
        window.take(small(1));
        window.stand(bulk(16));
        assert_eq!(window.take(small(1)), None);
        window.leave(Lane::Bulk);
        assert!(window.take(small(1)).is_some());
    }

    /// Both lanes always have more to send and the server answers in order: each lane is served.
    #[test]
    fn neither_lane_starves_however_few_credits_there_are() {
        for capacity in [1, 2, 3, 4, 8, 16, 33, 64, 512] {
            for (small_cost, bulk_cost) in [(1, 1), (2, 16), (1, 512), (19, 16)] {
                let costs = [small(small_cost.min(capacity)), bulk(bulk_cost.min(capacity))];
                let mut window = window(capacity as u16);
                let mut in_flight = VecDeque::new();
                let mut sent = [0; 2];
                for _ in 0..2000 {
                    for cost in costs {
                        window.stand(cost);
                        while window.take(cost).is_some() {
                            in_flight.push_back(cost);
                            sent[cost.lane as usize] += 1;
                            window.leave(cost.lane);
                            window.stand(cost);
                        }
                    }
                    let answered = in_flight.pop_front().expect("something is always in flight");
                    window.finish(answered);
                    window.grant(answered.credits as u16);
                }
                assert!(sent.iter().all(|sent| *sent >= 200), "{sent:?} of {costs:?} with {capacity} credits");
            }
        }
    }
}
