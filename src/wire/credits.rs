//! Credits and message ids (MS-SMB2 3.2.4.1.2, 3.2.4.1.5, 3.2.5.1.4).
//!
//! A client may have as many message ids in use as the server has granted credits. Each request
//! takes as many consecutive ids as it costs credits; each response, interim ones included, grants
//! new credits. Ids are taken in the same step that queues the request for sending, so none is ever
//! left out: a gap would close the server's window for good.

/// The largest payload that one credit pays for, in bytes (MS-SMB2 3.1.5.2).
pub const CREDIT_PAYLOAD: u32 = 65_536;

/// How many credits a request costs whose larger direction carries `payload` bytes.
pub fn charge_for(payload: u32) -> u16 {
    payload.div_ceil(CREDIT_PAYLOAD).clamp(1, u32::from(u16::MAX)) as u16
}

/// The credits of one connection, as a plain value.
#[derive(Debug)]
pub struct CreditWindow {
    available: u32,
    in_use: u32,
    next_id: u64,
    target: u32,
}

impl CreditWindow {
    /// The window of a new connection: one credit (MS-SMB2 3.2.5.1). It will ask for credits until
    /// it has `target` of them.
    pub fn new(target: u32) -> CreditWindow {
        CreditWindow { available: 1, in_use: 0, next_id: 0, target }
    }

    /// Takes `charge` credits, and answers the first of as many consecutive message ids.
    pub fn take(&mut self, charge: u32) -> Option<u64> {
        self.available = self.available.checked_sub(charge)?;
        self.in_use += charge;
        let first = self.next_id;
        // 2^64 ids do not run out at any speed of this world.
        self.next_id = self.next_id.wrapping_add(u64::from(charge));
        Some(first)
    }

    /// What a request that costs `charge` should ask for, so that the window grows to its target and stays there.
    pub fn to_request(&self, charge: u16) -> u16 {
        let missing = self.target.saturating_sub(self.capacity());
        (missing + u32::from(charge)).min(u32::from(u16::MAX)) as u16
    }

    /// The server granted credits, in any kind of response.
    pub fn grant(&mut self, credits: u16) {
        self.available = self.available.saturating_add(u32::from(credits));
    }

    /// A request that had cost `charge` got its final response: its ids are used up.
    pub fn finish(&mut self, charge: u32) {
        self.in_use = self.in_use.saturating_sub(charge);
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(window.take(2), None);
        assert_eq!(window.take(1), Some(0));
        assert_eq!(window.take(1), None);
    }

    #[test]
    fn ids_are_consecutive_whatever_the_charge() {
        let mut window = CreditWindow::new(512);
        window.grant(100);
        assert_eq!(window.take(16), Some(0));
        assert_eq!(window.take(1), Some(16));
        assert_eq!(window.take(3), Some(17));
    }

    #[test]
    fn credits_of_an_interim_response_count_at_once() {
        let mut window = CreditWindow::new(512);
        window.take(1);
        window.grant(8);
        assert_eq!(window.available(), 8);
        window.finish(1);
        window.grant(0);
        assert_eq!((window.available(), window.in_use()), (8, 0));
    }

    #[test]
    fn it_asks_until_the_target_is_reached_and_then_for_what_it_spends() {
        let mut window = CreditWindow::new(64);
        assert_eq!(window.to_request(1), 64, "1 is here, 63 are missing, 1 will be spent");
        window.take(1);
        assert_eq!(window.to_request(1), 64);
        window.grant(64);
        window.finish(1);
        assert_eq!(window.to_request(4), 4);
    }

    #[test]
    fn a_server_that_grants_without_end_does_not_overflow_it() {
        let mut window = CreditWindow::new(64);
        for _ in 0..100_000 {
            window.grant(u16::MAX);
        }
        assert_eq!(window.available(), u32::MAX);
    }

    #[test]
    fn a_server_that_grants_one_credit_leaves_a_capacity_of_one() {
        let mut window = CreditWindow::new(64);
        window.take(1);
        window.grant(1);
        window.finish(1);
        assert_eq!(window.capacity(), 1);
    }
}
