//! FLUSH requests sent in one compound with the last WRITE of a file: one request serves all fsync(2) calls that
//! wait. A plain value.

/// The FLUSH requests of a file, numbered in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    wanted: bool,
    begun: u64,
    done: u64,
}

impl Flushes {
    /// An fsync wants all data that is dirty now to be flushed. Returns the mark for [`Flushes::is_done_since`].
    pub(super) fn want(&mut self) -> u64 {
        self.wanted = true;
        self.begun
    }

    /// The last WRITE is about to be sent: the number of the FLUSH sent with it, if one is wanted.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.begun += u64::from(self.wanted);
        std::mem::take(&mut self.wanted).then_some(self.begun)
    }

    /// The server has answered a FLUSH and the WRITE before it.
    pub(super) fn done(&mut self, number: u64) {
        self.done = self.done.max(number);
    }

    /// Whether a FLUSH sent after the mark is done: it covered all data that was dirty at the mark. If not, no WRITE
    /// was left to carry it, or its WRITE failed. In both cases no FLUSH with a WRITE is wanted any more.
    pub(super) fn is_done_since(&mut self, mark: u64) -> bool {
        self.wanted = false;
        self.done > mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_was_sent_before_an_fsync_began_does_not_serve_it() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.take(), None);
        let first = flushes.want();
        let number = flushes.take().unwrap();
        let second = flushes.want();
        flushes.done(number);
        assert!(flushes.is_done_since(first));
        assert!(!flushes.is_done_since(second), "something may have been written after it was sent");
        assert_eq!(flushes.take(), None, "no fsync waits");
    }

    #[test]
    fn one_flush_serves_all_fsync_calls_that_wait() {
        let mut flushes = Flushes::default();
        let marks = [flushes.want(), flushes.want()];
        let number = flushes.take().unwrap();
        assert_eq!(flushes.take(), None);
        assert!(!flushes.is_done_since(marks[0]));
        flushes.done(number);
        assert!(marks.iter().all(|mark| flushes.is_done_since(*mark)));
    }
}
