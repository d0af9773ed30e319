//! [`Remembered`]: owners and modes that programs have set, of files whose nodes were evicted. A plain value.
//!
//! While a file has a node, the file itself has these values. The kernel drops inodes whenever it needs memory; without
//! this table a file would then show another owner than the one a program has set. Files are found by the server's id
//! and their creation time: an id is used again for other files, but not at the same time of creation.

use crate::share::{FileIdentity, FileTime, Ownership};
use std::collections::{HashMap, VecDeque};

/// The most files in the table; beyond, the values of those that were evicted first are dropped. A file takes about 100
/// bytes.
const MOST: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    files: HashMap<(u64, FileTime), (Ownership, u64)>,
    /// The files in the order of their eviction, each with the number of that eviction. An entry whose number is not
    /// the file's is outdated.
    order: VecDeque<((u64, FileTime), u64)>,
    next: u64,
}

impl Remembered {
    /// The node of a file is evicted. Without an id or a creation time the file could not be found again.
    pub(super) fn put(&mut self, file: FileIdentity, owner: Ownership) {
        let key = (file.file_id, file.created);
        if file.file_id == 0 || file.created == FileTime(0) || owner.is_nothing() {
            return;
        }
        self.next += 1;
        self.files.insert(key, (owner, self.next));
        self.order.push_back((key, self.next));
        while self.files.len() > MOST {
            self.drop_first();
        }
        // Outdated entries are at most as many as the others.
        while self.order.len() > 2 * self.files.len().max(1) {
            self.drop_outdated();
        }
    }

    /// The file has a node again, which has the values from now on.
    pub(super) fn take(&mut self, file: FileIdentity) -> Ownership {
        if self.files.is_empty() {
            return Ownership::NOTHING;
        }
        self.files.remove(&(file.file_id, file.created)).map_or(Ownership::NOTHING, |(owner, _)| owner)
    }

    fn drop_first(&mut self) {
        while let Some((key, number)) = self.order.pop_front() {
            if self.is_current(&key, number) {
                self.files.remove(&key);
                return;
            }
        }
    }

    fn drop_outdated(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.retain(|(key, number)| self.is_current(key, *number));
        self.order = order;
    }

    fn is_current(&self, key: &(u64, FileTime), number: u64) -> bool {
        self.files.get(key).is_some_and(|(_, current)| *current == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: u64) -> FileIdentity {
        FileIdentity { file_id: id, created: FileTime(id + 1) }
    }

    fn owner(uid: u32) -> Ownership {
        Ownership { uid: Some(uid), ..Ownership::NOTHING }
    }

    #[test]
    fn a_file_is_found_again_once_and_only_by_id_and_creation() {
        let mut table = Remembered::default();
        table.put(file(5), owner(7));
        assert_eq!(table.take(FileIdentity { created: FileTime(1), ..file(5) }), Ownership::NOTHING);
        assert_eq!(table.take(file(5)), owner(7));
        assert_eq!(table.take(file(5)), Ownership::NOTHING);
        table.put(FileIdentity { file_id: 0, created: FileTime(1) }, owner(7));
        table.put(FileIdentity { file_id: 1, created: FileTime(0) }, owner(7));
        assert!(table.files.is_empty(), "such a file could not be told from others");
    }

    #[test]
    fn the_table_is_bounded_and_drops_what_was_evicted_first() {
        let mut table = Remembered::default();
        for id in 1..=MOST as u64 + 10 {
            table.put(file(id), owner(id as u32));
        }
        assert_eq!(table.files.len(), MOST);
        assert_eq!(table.take(file(10)), Ownership::NOTHING);
        assert_eq!(table.take(file(11)), owner(11));
        for _ in 0..3 * MOST {
            let kept = table.take(file(20));
            table.put(file(20), kept);
        }
        assert!(table.order.len() <= 2 * MOST + 1, "{}", table.order.len());
        assert_eq!(table.take(file(20)), owner(20));
    }
}
