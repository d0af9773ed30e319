//! Credits and message ids (MS-SMB2 3.2.4.1.2, 3.2.4.1.5, 3.2.5.1.4).
//!
//! A client may have as many message ids in use as the server has granted credits. Each request
//! takes as many consecutive ids as it costs credits; each response, interim ones included, grants
//! new credits. Ids are taken in the same step that queues the request for sending, so none is ever
//! left out: a gap would close the server's window for good.
//!
//! Requests come in two lanes, so that a lookup does not wait for 64 MiB of file data. In each lane
//! the first in line goes first. Between the lanes two rules hold: bulk leaves a reserve of credits to
//! small requests; and while both lanes wait, the one that has waited longer goes first, except that
//! small requests may have the reserve. So neither lane can keep the other from its turn for ever,
//! however many requests it brings and however few credits the server grants.

/// The largest payload that one credit pays for, in bytes (MS-SMB2 3.1.5.2).
pub const CREDIT_PAYLOAD: u32 = 65_536;

/// Credits that bulk leaves to small requests. Some ten opens at a time, or a large listing, fit in.
const RESERVE: u32 = 32;

/// How many credits a request costs whose larger direction carries `payload` bytes.
pub fn charge_for(payload: u32) -> u16 {
    u16::try_from(payload.div_ceil(CREDIT_PAYLOAD)).unwrap_or(u16::MAX).max(1)
}

/// Which requests wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Everything that somebody waits for: opens, lookups, listings, short reads and writes.
    Small,
    /// Reads and writes of much data, of which there are many at a time, and what nobody waits for.
    Bulk,
}

/// What a request, or a chain of them, costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Credits.
    pub credits: u32,
    /// In which lane they are paid.
    pub lane: Lane,
}

/// The first in line of a lane.
#[derive(Clone, Copy, Debug)]
struct Place {
    credits: u32,
    arrival: u64,
}

/// The credits of one connection, as a plain value.
#[derive(Debug)]
pub struct CreditWindow {
    available: u32,
    in_use: u32,
    /// The part of `in_use` that small requests hold.
    small_in_use: u32,
    next_id: u64,
    target: u32,
    /// The first in line of each lane, if it waits.
    lines: [Option<Place>; 2],
    arrivals: u64,
}

impl CreditWindow {
    /// The window of a new connection: one credit (MS-SMB2 3.2.5.1). It will ask for credits until
    /// it has `target` of them.
    pub fn new(target: u32) -> CreditWindow {
        CreditWindow { available: 1, in_use: 0, small_in_use: 0, next_id: 0, target, lines: [None; 2], arrivals: 0 }
    }

    /// Takes what a request costs, if it may go now, and answers the first of as many consecutive message ids.
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
        // 2^64 ids do not run out at any speed of this world.
        self.next_id = self.next_id.wrapping_add(u64::from(cost.credits));
        Some(first)
    }

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
                // What small requests hold is a part of the reserve that is in use already.
                let left = self.reserve_beside(cost.credits).saturating_sub(self.small_in_use);
                let overtakes = small.is_some_and(|small| small.arrival < arrival(bulk));
                self.available >= cost.credits.saturating_add(left) && !overtakes
            }
        }
    }

    /// What bulk leaves to small requests: less where the server grants few credits.
    fn reserve(&self) -> u32 {
        RESERVE.min(self.capacity() / 4)
    }

    /// The reserve while a bulk request of this cost waits: not so much that it could never go.
    fn reserve_beside(&self, bulk: u32) -> u32 {
        self.reserve().min(self.capacity().saturating_sub(bulk))
    }

    /// The first of its lane could not go, and waits.
    pub fn stand(&mut self, cost: Cost) {
        let place = &mut self.lines[cost.lane as usize];
        if place.is_none() {
            *place = Some(Place { credits: cost.credits, arrival: self.arrivals });
            self.arrivals += 1;
        }
    }

    /// The first of this lane waits no longer: it went, or it gave up.
    pub fn leave(&mut self, lane: Lane) {
        self.lines[lane as usize] = None;
    }

    /// What a request that costs `charge` should ask for, so that the window grows to its target and stays there.
    pub fn to_request(&self, charge: u16) -> u16 {
        let missing = self.target.saturating_sub(self.capacity());
        u16::try_from(missing.saturating_add(u32::from(charge))).unwrap_or(u16::MAX)
    }

    /// The server granted credits, in any kind of response.
    pub fn grant(&mut self, credits: u16) {
        self.available = self.available.saturating_add(u32::from(credits));
    }

    /// A request got its final response: its ids are used up.
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

    /// The most that a single request can hope to get: what is here and what is on its way back.
    pub fn capacity(&self) -> u32 {
        self.available.saturating_add(self.in_use)
    }

    /// The most that a bulk request should cost, so that the reserve stays.
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
    fn it_asks_until_the_target_is_reached_and_then_for_what_it_spends() {
        let mut window = CreditWindow::new(64);
        assert_eq!(window.to_request(1), 64, "1 is here, 63 are missing, 1 will be spent");
        window.take(small(1));
        assert_eq!(window.to_request(1), 64);
        window.grant(64);
        window.finish(small(1));
        assert_eq!(window.to_request(4), 4);
    }

    #[test]
    fn a_server_that_grants_without_end_does_not_overflow_it() {
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
    fn what_small_requests_hold_is_not_reserved_twice() {
        let mut window = window(512);
        while window.take(small(2)).is_some() {}
        window.finish(small(16));
        window.grant(16);
        assert!(window.take(bulk(16)).is_some());
    }

    #[test]
    fn a_bulk_request_that_costs_everything_waits_for_the_small_ones_and_then_goes() {
        let mut window = window(16);
        window.take(small(1));
        assert_eq!(window.take(bulk(16)), None);
        window.stand(bulk(16));
        assert_eq!(window.take(small(1)), None, "it came later");
        window.finish(small(1));
        window.grant(1);
        assert!(window.take(bulk(16)).is_some());
    }

    #[test]
    fn whoever_gives_up_stands_in_nobodys_way() {
        let mut window = window(16);
        window.take(small(1));
        window.stand(bulk(16));
        assert_eq!(window.take(small(1)), None);
        window.leave(Lane::Bulk);
        assert!(window.take(small(1)).is_some());
    }

    /// Both lanes always have more to send, the server answers in order: each lane gets its turns.
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
