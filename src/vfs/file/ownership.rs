//! What is known of a file's owner, group and mode beside the options. A plain value.
//!
//! What a program of this mount has set, and the server does not keep, is remembered and shown above what the server
//! reports. What the server reports is valid for the attribute timeout: no watch reports a change of it, and the
//! ChangeTime does not show one, because Samba reports the write time instead.

use crate::share::Ownership;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownOwner {
    remembered: Ownership,
    /// What the server has, as it reported it or as this mount stored it.
    reported: Ownership,
    /// When the server was asked for it.
    asked: Option<Instant>,
    /// When this mount last stored something at the server.
    stored_at: Option<Instant>,
}

impl KnownOwner {
    /// What is shown instead of the values of the options.
    pub(crate) fn shown(&self) -> Ownership {
        self.remembered.over(self.reported)
    }

    /// What the server does not have.
    pub(crate) fn remembered(&self) -> Ownership {
        self.remembered
    }

    /// What the server has, as far as it was asked.
    pub(crate) fn reported(&self) -> Ownership {
        self.reported
    }

    /// For how much longer what the server has reported is valid; `None` if it is not, or nothing was reported.
    pub(crate) fn remaining(&self, now: Instant, timeout: Duration) -> Option<Duration> {
        let age = now.saturating_duration_since(self.asked?);
        timeout.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// A program has set these values, and the server does not keep them.
    pub(crate) fn remember(&mut self, set: Ownership) {
        self.remembered = set.over(self.remembered);
    }

    /// A program has set these values, and the server has stored them.
    pub(crate) fn stored(&mut self, set: Ownership, now: Instant) {
        if !set.is_nothing() {
            self.stored_at = Some(now);
            self.remembered = self.remembered.without(set);
            self.reported = set.over(self.reported);
        }
    }

    /// The server, asked at `at`, has reported this. Not accepted if this mount has stored something since, or the answer
    /// to a later question is known.
    pub(crate) fn is_reported(&mut self, owner: Ownership, at: Instant) {
        if self.stored_at.is_none_or(|stored| stored < at) && self.asked.is_none_or(|asked| asked <= at) {
            (self.reported, self.asked) = (owner, Some(at));
        }
    }

    /// The mode without its set-id bits: the set-user-id bit, and the set-group-id bit if the group may execute the file
    /// (POSIX, write()). `None` if the mode has none of them, or is not known.
    pub(crate) fn without_set_id(&self) -> Option<u16> {
        let mode = self.shown().mode?;
        let group = if mode & 0o010 != 0 { 0o2000 } else { 0 };
        Some(mode & !(0o4000 | group)).filter(|left| *left != mode)
    }

    /// A program without privileges has written the file: set-id bits go.
    pub(crate) fn is_written(&mut self) {
        if let Some(mode) = self.without_set_id() {
            self.remember(Ownership { mode: Some(mode), ..Ownership::NOTHING });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn owner(uid: u32, mode: u16) -> Ownership {
        Ownership { uid: Some(uid), gid: None, mode: Some(mode) }
    }

    #[test]
    fn what_was_set_here_is_shown_above_what_the_server_reports() {
        let (mut known, now) = (KnownOwner::default(), Instant::now());
        known.is_reported(owner(1, 0o644), now);
        known.remember(Ownership { uid: Some(5), ..Ownership::NOTHING });
        assert_eq!(known.shown(), owner(5, 0o644));
        known.is_reported(owner(2, 0o600), now);
        assert_eq!(known.shown(), owner(5, 0o600));
        known.stored(owner(6, 0o640), now);
        assert_eq!((known.shown(), known.remembered()), (owner(6, 0o640), Ownership::NOTHING));
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_accepted() {
        let (mut known, now) = (KnownOwner::default(), Instant::now());
        known.is_reported(owner(1, 0o644), now);
        known.stored(owner(6, 0o640), now + TIMEOUT);
        known.is_reported(owner(1, 0o644), now + TIMEOUT / 2);
        assert_eq!(known.shown(), owner(6, 0o640));
    }

    #[test]
    fn it_is_valid_for_the_timeout() {
        let (mut known, now) = (KnownOwner::default(), Instant::now());
        assert_eq!(known.remaining(now, TIMEOUT), None);
        known.is_reported(owner(1, 0o644), now);
        assert_eq!(known.remaining(now + TIMEOUT / 4, TIMEOUT), Some(TIMEOUT * 3 / 4));
        assert_eq!(known.remaining(now + TIMEOUT, TIMEOUT), None);
    }

    #[test]
    fn a_write_takes_set_id_bits_away() {
        let mut known = KnownOwner::default();
        known.is_written();
        assert_eq!(known.shown(), Ownership::NOTHING);
        for (before, after) in [(0o6755, 0o755), (0o2745, 0o2745), (0o1777, 0o1777)] {
            known.remember(owner(1, before));
            known.is_written();
            assert_eq!(known.shown().mode, Some(after));
        }
    }
}
