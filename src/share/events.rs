//! The events that the share reports unasked: breaks of leases, and the loss and the return of the session.
//!
//! Order: the loss of a session comes before the breaks of the leases that were lost with it, and its return comes
//! after them. Breaks keep the order of the server. The queue is bounded without dropping anything: until they are
//! read, all breaks of one lease are one event, and so are all losses of the session.

use super::leases::Broken;

/// An event that no operation asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The server broke a lease.
    Broken(Broken),
    /// The session was lost: all its opens, leases, watches and byte-range locks have ended at the server. Reported
    /// again if the session was restored and lost again before the return was read.
    SessionLost,
    /// There is a session again. Each open file is opened again when it is used next.
    SessionRestored,
}

/// The losses and returns of the session that were not read yet: a plain value.
#[derive(Debug, Default)]
pub(super) struct SessionNews {
    /// There is no session.
    is_lost: bool,
    /// A loss was not read yet.
    loss: bool,
    /// A return was not read yet; with the number of breaks that come before it.
    return_after: Option<usize>,
}

impl SessionNews {
    /// The session was lost.
    pub(super) fn lost(&mut self) {
        self.is_lost = true;
        self.loss = true;
        self.return_after = None;
    }

    /// There is a session, and this number of breaks waits to be read. The first session restores nothing.
    pub(super) fn connected(&mut self, breaks: usize) {
        if std::mem::take(&mut self.is_lost) {
            self.return_after = Some(breaks);
        }
    }

    /// Whether something waits to be read.
    pub(super) fn is_waiting(&self) -> bool {
        self.loss || self.return_after.is_some()
    }

    /// The next event; `broken` removes and returns the next break.
    pub(super) fn next(&mut self, broken: impl FnOnce() -> Option<Broken>) -> Option<Event> {
        if std::mem::take(&mut self.loss) {
            return Some(Event::SessionLost);
        }
        if self.return_after == Some(0) {
            self.return_after = None;
            return Some(Event::SessionRestored);
        }
        let broken = broken();
        self.return_after = self.return_after.map(|breaks| if broken.is_some() { breaks - 1 } else { 0 });
        match broken {
            None if self.return_after.take().is_some() => Some(Event::SessionRestored),
            broken => broken.map(Event::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::leases::{Grant, LeaseTable};
    use crate::share::types::{Caching, Lease, LeaseKey};

    /// A table with one lease in each of these sessions.
    fn leases(sessions: &[u64]) -> LeaseTable {
        let mut table = LeaseTable::default();
        for session in sessions {
            let key = LeaseKey((*session).into());
            let open = table.begin(Lease { key, caching: Caching::ALL });
            let grant = Grant::Lease { key, state: Caching::ALL, break_in_progress: false, epoch: Some(1) };
            assert!(table.opened(open, *session, grant).is_empty());
        }
        table
    }

    /// All waiting events: `-` for a loss, `+` for a return, the number of the lease for a break.
    fn all(news: &mut SessionNews, table: &mut LeaseTable) -> String {
        let events = std::iter::from_fn(|| news.next(|| table.next_broken()));
        let words = events.map(|event| match event {
            Event::Broken(broken) => broken.key.0.to_string(),
            Event::SessionLost => "-".into(),
            Event::SessionRestored => "+".into(),
        });
        words.collect()
    }

    #[test]
    fn a_loss_comes_before_its_breaks_and_the_return_after_them() {
        let (mut news, mut table) = (SessionNews::default(), leases(&[1, 2]));
        news.connected(0);
        assert!(!news.is_waiting());
        table.lost(1);
        news.lost();
        news.connected(table.waiting());
        // Broken in the new session.
        table.lost(2);
        assert_eq!(all(&mut news, &mut table), "-1+2");
        assert!(!news.is_waiting());
    }

    #[test]
    fn losses_that_were_not_read_are_reported_as_one() {
        let (mut news, mut table) = (SessionNews::default(), leases(&[1]));
        for _ in 0..3 {
            news.lost();
            news.connected(0);
        }
        table.lost(1);
        assert_eq!(all(&mut news, &mut table), "-+1");
    }

    #[test]
    fn a_loss_is_reported_even_if_the_return_before_it_was_not() {
        let (mut news, mut table) = (SessionNews::default(), leases(&[]));
        news.lost();
        assert_eq!(all(&mut news, &mut table), "-");
        news.connected(0);
        news.lost();
        assert_eq!(all(&mut news, &mut table), "-");
        news.connected(0);
        assert_eq!(all(&mut news, &mut table), "+");
    }

    #[test]
    fn a_break_that_no_longer_exists_does_not_delay_the_return() {
        let (mut news, mut table) = (SessionNews::default(), leases(&[]));
        news.lost();
        news.connected(3);
        assert_eq!(all(&mut news, &mut table), "-+");
    }
}
