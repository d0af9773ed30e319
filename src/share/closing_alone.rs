//! Opens that are being closed under a lease that allows holding writes back: a plain value.
//!
//! Until the CLOSE of such an open has an answer, no other client has the file open, unless the lease is broken in
//! the meantime. A removal uses this to skip the rename that an open by another client would require.

use super::types::LeaseKey;
use std::collections::HashMap;

/// The keys of the opens that are being closed.
#[derive(Debug, Default)]
pub(super) struct ClosingAlone(HashMap<LeaseKey, Closing>);

#[derive(Debug, Default)]
struct Closing {
    opens: usize,
    is_broken: bool,
}

impl ClosingAlone {
    /// An open with this lease is being closed from now on.
    pub(super) fn begin(&mut self, key: LeaseKey) {
        self.0.entry(key).or_default().opens += 1;
    }

    /// The CLOSE of an open with this lease has an answer.
    pub(super) fn end(&mut self, key: LeaseKey) {
        if let Some(closing) = self.0.get_mut(&key) {
            closing.opens -= 1;
            if closing.opens == 0 {
                self.0.remove(&key);
            }
        }
    }

    /// The server breaks this lease; `None` for an oplock whose key is not known, which may be any of them.
    pub(super) fn broken(&mut self, key: Option<LeaseKey>) {
        let meant = |other: &LeaseKey| key.is_none_or(|key| key == *other);
        self.0.iter_mut().filter(|(key, _)| meant(key)).for_each(|(_, closing)| closing.is_broken = true);
    }

    /// Whether an open with this lease is being closed, and no other client has opened the file.
    pub(super) fn is_alone(&self, key: LeaseKey) -> bool {
        self.0.get(&key).is_some_and(|closing| !closing.is_broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_client_has_the_file_open_until_its_close_is_answered_or_its_lease_broken() {
        let (mut closing, [a, b]) = (ClosingAlone::default(), [LeaseKey(1), LeaseKey(2)]);
        [a, a, b].into_iter().for_each(|key| closing.begin(key));
        closing.end(a);
        assert!(closing.is_alone(a) && closing.is_alone(b));
        closing.broken(Some(a));
        assert!(!closing.is_alone(a) && closing.is_alone(b));
        closing.end(a);
        closing.begin(a);
        assert!(closing.is_alone(a), "that is another lease under the same key");
        closing.broken(None);
        assert!(!closing.is_alone(a) && !closing.is_alone(b), "it may concern any key");
        closing.end(b);
        assert!(!closing.is_alone(b));
    }
}
