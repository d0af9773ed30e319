//! What a directory handle has read so far.
//!
//! A handle keeps what it has read, so that any earlier offset can be read again: names in one row
//! and sixteen bytes an entry. Metadata is kept of those entries only that were not handed on yet.

use super::errno::VfsError;
use super::file::attributes::FetchToken;
use super::names::{Gathered, Listing};
use crate::share::{FileKind, Metadata, Share};
use std::collections::VecDeque;
use std::time::Instant;

/// What a directory handle has read so far.
pub(crate) struct Pages<S: Share> {
    pub listing: Option<Listing<S>>,
    pub ended: bool,
    /// Why the listing could not go on: an incomplete one must not look complete.
    pub failed: Option<VfsError>,
    names: Vec<u16>,
    pub entries: Vec<Entry>,
    /// Metadata of the last entries, those that were not handed on yet.
    fresh: VecDeque<(Metadata, Snapshot)>,
    /// All of it, on its way into the namespace, unless it is too much.
    pub gathered: Option<Gathered>,
}

/// The state of things when entries were fetched.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    pub at: Instant,
    /// Of the directory: if this mount has changed it since, an entry may be gone.
    pub directory: Option<FetchToken>,
}

/// An entry that was read.
pub(crate) struct Entry {
    pub file_id: u64,
    /// Where its name ends in the row of names; it begins where the one before ends.
    end: u32,
    pub kind: FileKind,
}

impl<S: Share> Pages<S> {
    pub(crate) fn new() -> Pages<S> {
        Pages {
            listing: None,
            ended: false,
            failed: None,
            names: Vec::new(),
            entries: Vec::new(),
            fresh: VecDeque::new(),
            gathered: None,
        }
    }

    pub(crate) fn push(&mut self, name: &[u16], metadata: Metadata, fetched: Snapshot) {
        self.names.extend_from_slice(name);
        let end = self.names.len() as u32;
        self.entries.push(Entry { file_id: metadata.file_id, end, kind: metadata.kind() });
        self.fresh.push_back((metadata, fetched));
    }

    pub(crate) fn name(&self, index: usize) -> &[u16] {
        let start = if index == 0 { 0 } else { self.entries[index - 1].end as usize };
        &self.names[start..self.entries[index].end as usize]
    }

    /// Metadata of an entry, if it has not been handed on yet. That of entries before goes.
    pub(crate) fn take_fresh(&mut self, index: usize) -> Option<(Metadata, Snapshot)> {
        while self.entries.len() - self.fresh.len() < index {
            self.fresh.pop_front();
        }
        if self.entries.len() - self.fresh.len() == index { self.fresh.pop_front() } else { None }
    }

    /// An entry did not fit: it will be asked for again.
    pub(crate) fn put_back(&mut self, index: usize, fresh: Option<(Metadata, Snapshot)>) {
        if let Some(fresh) = fresh.filter(|_| self.entries.len() - self.fresh.len() == index + 1) {
            self.fresh.push_front(fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::memory::MemoryShare;

    #[test]
    fn an_entry_that_was_handed_on_takes_sixteen_bytes_and_its_name() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn metadata_is_kept_of_what_was_not_handed_on_only() {
        let mut pages = Pages::<MemoryShare>::new();
        let fetched = Snapshot { at: Instant::now(), directory: None };
        for size in 0..5 {
            pages.push(&[size as u16 + 65], Metadata { size, ..Metadata::default() }, fetched);
        }
        let size = |fresh: Option<(Metadata, Snapshot)>| fresh.map(|(metadata, _)| metadata.size);
        assert_eq!(size(pages.take_fresh(0)), Some(0));
        let second = pages.take_fresh(1);
        pages.put_back(1, second);
        assert_eq!(size(pages.take_fresh(1)), Some(1));
        assert_eq!(size(pages.take_fresh(3)), Some(3));
        assert_eq!(size(pages.take_fresh(2)), None);
        assert_eq!((pages.name(0), pages.name(4), pages.fresh.len()), ([65].as_slice(), [69].as_slice(), 1));
    }
}
