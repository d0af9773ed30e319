//! Whether a file that is found by name is the one that was open before: plain values.
//!
//! The file id decides, checked against the time of creation because servers use ids again; without ids the time of
//! creation decides alone.

use super::record::INEXACT;
use super::types::FileTime;
use crate::wire::messages::create::Created;

/// What identifies a file: the server's file id (0 where it gives none) and the time of creation. The same in the
/// traits: [`FileIdentity`](super::FileIdentity).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Identity {
    pub(super) disk_id: u64,
    pub(super) created: u64,
}

impl Identity {
    /// The identity of the file that a CREATE opened.
    pub(super) fn of(created: &Created) -> Identity {
        Identity { disk_id: created.disk_id, created: created.info.created }
    }

    /// Whether a file that is found by name in a later session is this one. The id decides, unless the time of
    /// creation contradicts it: file systems give the id of a deleted file to a new one. Where the server has no ids,
    /// the time of creation must be the same.
    pub(super) fn is_same(self, found: Identity, birth: Birth) -> bool {
        let has_same_creation = self.created == found.created;
        if self.disk_id == 0 && found.disk_id == 0 {
            return self.created != 0 && has_same_creation;
        }
        self.disk_id == found.disk_id && (has_same_creation || birth.may_change(found.created))
    }
}

/// What is known about a file's time of creation. Where Samba cannot store it, it reports the earliest of the other
/// times, which may move forward later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Birth {
    /// The time of creation was seen to be earlier than all other times of the file: the server stores it.
    pub(super) is_kept: bool,
    /// When the last session was lost, by the server's clock; `None` if that is not known.
    pub(super) lost: Option<FileTime>,
}

impl Birth {
    /// Whether a different time of creation may belong to the same file.
    fn may_change(self, found: u64) -> bool {
        !self.is_kept && self.lost.is_none_or(|lost| found <= lost.0.saturating_add(INEXACT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(disk_id: u64, created: u64) -> Identity {
        Identity { disk_id, created }
    }

    const UNKNOWN: Birth = Birth { is_kept: false, lost: None };

    #[test]
    fn a_file_is_the_same_by_its_id_or_without_ids_by_its_time_of_creation() {
        assert!(identity(7, 1).is_same(identity(7, 2), UNKNOWN));
        assert!(!identity(7, 1).is_same(identity(8, 1), UNKNOWN));
        assert!(!identity(7, 1).is_same(identity(0, 1), UNKNOWN) && !identity(0, 1).is_same(identity(7, 1), UNKNOWN));
        assert!(identity(0, 5).is_same(identity(0, 5), UNKNOWN) && !identity(0, 5).is_same(identity(0, 6), UNKNOWN));
        assert!(!identity(0, 0).is_same(identity(0, 0), UNKNOWN), "nothing is known, so nothing is the same");
    }

    #[test]
    fn a_new_file_with_the_id_of_a_deleted_one_is_another_file() {
        let kept = Birth { is_kept: true, lost: None };
        assert!(!identity(7, 1).is_same(identity(7, 2), kept), "the server keeps times of creation");
        let lost = Birth { is_kept: false, lost: Some(FileTime(100)) };
        assert!(!identity(7, 1).is_same(identity(7, 101 + INEXACT), lost), "it was made after the session was lost");
        assert!(identity(7, 1).is_same(identity(7, 50), lost), "the earliest time of a file that was written");
        assert!(identity(7, 1).is_same(identity(7, 1), kept));
    }
}
