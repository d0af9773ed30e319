//! What a directory handle has read so far.
//!
//! A handle keeps what it has read, so that it can be read again from any earlier offset: all names in one vector,
//! and sixteen bytes per entry. Metadata is kept only for entries that were not returned to the kernel yet.

use super::errno::VfsError;
use super::file::attributes::FetchToken;
use super::names::{Gathered, Listing};
use crate::share::{FileKind, Metadata, Share};
use std::collections::VecDeque;
use std::time::Instant;

/// The entries that a directory handle has read so far.
pub(crate) struct Pages<S: Share> {
    /// The listing at the server; `None` before it begins.
    pub listing: Option<Listing<S>>,
    /// The server has listed all entries.
    pub ended: bool,
    /// Why the listing could not continue. An incomplete listing must not look complete.
    pub failed: Option<VfsError>,
    /// The names of all entries, in UTF-16 code units, one after the other.
    names: Vec<u16>,
    pub entries: Vec<Entry>,
    /// Metadata of the last entries, those not returned to the kernel yet.
    fresh: VecDeque<(Metadata, Snapshot)>,
    /// All entries so far, for the namespace; `None` before the listing begins and after it ends, and when they are too
    /// many to keep.
    pub gathered: Option<Gathered>,
}

/// The state when entries were fetched.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    /// When the entries were fetched.
    pub at: Instant,
    /// The directory's token of that time. If this mount has changed the directory since, an entry may be gone.
    pub directory: Option<FetchToken>,
}

/// An entry that was read.
pub(crate) struct Entry {
    /// The server's id of the file.
    pub file_id: u64,
    /// Where its name ends in the vector of names, in units. It begins where the name before it ends.
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

    /// Appends an entry.
    pub(crate) fn push(&mut self, name: &[u16], metadata: Metadata, fetched: Snapshot) {
        self.names.extend_from_slice(name);
        let end = self.names.len() as u32;
        self.entries.push(Entry { file_id: metadata.file_id, end, kind: metadata.kind() });
        self.fresh.push_back((metadata, fetched));
    }

    /// The name of the entry with this index, in UTF-16 code units.
    pub(crate) fn name(&self, index: usize) -> &[u16] {
        let start = if index == 0 { 0 } else { self.entries[index - 1].end as usize };
        &self.names[start..self.entries[index].end as usize]
    }

    /// The metadata of an entry, if it was not returned to the kernel yet. Metadata of earlier entries is dropped.
    pub(crate) fn take_fresh(&mut self, index: usize) -> Option<(Metadata, Snapshot)> {
        while self.entries.len() - self.fresh.len() < index {
            self.fresh.pop_front();
        }
        if self.entries.len() - self.fresh.len() == index { self.fresh.pop_front() } else { None }
    }

    /// Puts back the metadata of an entry that did not fit into the reply and will be asked for again.
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
    fn an_entry_that_was_returned_to_the_kernel_takes_sixteen_bytes_and_its_name() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn metadata_is_kept_only_for_entries_not_returned_to_the_kernel() {
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
