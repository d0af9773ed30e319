//! Listing directories.
//!
//! A handle keeps what it has read, so that any earlier offset can be read again: names in one row
//! and sixteen bytes an entry. Metadata is kept of those entries only that were not handed on yet.
//! Offset 0 begins anew. The offset of an entry is its index; `.` and `..` are the first two.

use super::catalogue::MAX_ENTRIES as MAX_ENTRIES_IN_ALL;
use super::directories::Gathered;
use super::errno::{Result, VfsError};
use super::file::attributes::FetchToken;
use super::handles::OpenDirectory;
use super::inodes::{Admission, Node, ROOT};
use super::names::hidden;
use super::presentation::Attr;
use super::{Vfs, names};
use crate::share::{FileKind, Metadata, Share};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a program sees in place of an inode number that is not known: as libfuse has it.
const UNKNOWN_NUMBER: u64 = 0xFFFF_FFFF;
/// The most entries that a handle keeps: a few hundred megabytes. A server that goes on listing for
/// ever must not take all memory.
const MAX_ENTRIES: usize = 8_000_000;
/// A directory with more entries than this is listed anew each time.
const MAX_ENTRIES_KNOWN: usize = MAX_ENTRIES_IN_ALL / 2;
/// `.` and `..`.
const DOTS: u64 = 2;

/// One entry of a listing, as the kernel gets it.
#[derive(Debug)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a OsStr,
    /// The offset of the entry after this one.
    pub next: u64,
    /// The inode number to show.
    pub ino: u64,
    /// File or directory.
    pub kind: FileKind,
    /// Attributes, if they were asked for and are known; the inode has one more lookup then.
    pub attr: Option<Attr>,
}

/// What a directory handle has read so far.
pub(crate) struct Pages<S: Share> {
    listing: Option<S::Listing>,
    ended: bool,
    /// Why the listing could not go on: an incomplete one must not look complete.
    failed: Option<VfsError>,
    names: Vec<u16>,
    entries: Vec<Entry>,
    /// Metadata of the last entries, those that were not handed on yet.
    fresh: VecDeque<(Metadata, Snapshot)>,
    /// All of it, on its way into the catalogue, unless it is too much.
    gathered: Option<Gathered<S>>,
}

/// The state of things when entries were fetched.
#[derive(Clone, Copy)]
struct Snapshot {
    at: Instant,
    /// Of the directory: if this mount has changed it since, an entry may be gone.
    directory: Option<FetchToken>,
}

/// An entry that was read.
struct Entry {
    file_id: u64,
    /// Where its name ends in the row of names; it begins where the one before ends.
    end: u32,
    kind: FileKind,
}

impl<S: Share> Pages<S> {
    fn new() -> Pages<S> {
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

    fn push(&mut self, name: &[u16], metadata: Metadata, fetched: Snapshot) {
        self.names.extend_from_slice(name);
        let end = self.names.len() as u32;
        self.entries.push(Entry { file_id: metadata.file_id, end, kind: metadata.kind() });
        self.fresh.push_back((metadata, fetched));
    }

    fn name(&self, index: usize) -> &[u16] {
        let start = if index == 0 { 0 } else { self.entries[index - 1].end as usize };
        &self.names[start..self.entries[index].end as usize]
    }

    /// Metadata of an entry, if it has not been handed on yet. That of entries before goes.
    fn take_fresh(&mut self, index: usize) -> Option<(Metadata, Snapshot)> {
        while self.entries.len() - self.fresh.len() < index {
            self.fresh.pop_front();
        }
        if self.entries.len() - self.fresh.len() == index { self.fresh.pop_front() } else { None }
    }

    /// An entry did not fit: it will be asked for again.
    fn put_back(&mut self, index: usize, fresh: Option<(Metadata, Snapshot)>) {
        if let Some(fresh) = fresh.filter(|_| self.entries.len() - self.fresh.len() == index + 1) {
            self.fresh.push_front(fresh);
        }
    }
}

/// What became of an entry.
enum Handed {
    On,
    /// It is not there any more.
    Skipped,
    /// There was no room for it.
    Full,
    /// There is none.
    End,
}

impl<S: Share> Vfs<S> {
    /// Opens a directory. The server is asked when it is read.
    pub fn opendir(&self, ino: u64) -> u64 {
        self.handles.add_directory(OpenDirectory { ino, pages: tokio::sync::Mutex::new(Pages::new()) })
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        self.handles.remove_directory(handle);
    }

    /// Hands on the entries from `offset` on, until `take` says that there is no room for one more or
    /// the directory ends. With `attributes`, entries bring theirs where they are known.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered.
    pub async fn readdir(
        self: &Arc<Self>,
        handle: u64,
        offset: u64,
        attributes: bool,
        take: &mut (dyn FnMut(Listed<'_>) -> bool + Send),
    ) -> Result<()> {
        let directory = self.handles.directory(handle)?;
        let mut pages = directory.pages.lock().await;
        if offset == 0 {
            *pages = Pages::new();
            self.walks_to(directory.ino);
            self.list_ahead(directory.ino);
        }
        for at in offset..DOTS {
            if take(self.dot(directory.ino, at)) {
                return Ok(());
            }
        }
        let mut index = offset.saturating_sub(DOTS);
        let mut handed_on = offset < DOTS;
        loop {
            match self.hand_on(directory.ino, &mut pages, index, attributes, take).await {
                Ok(Handed::On) => handed_on = true,
                Ok(Handed::Skipped) => {}
                Ok(Handed::Full) => return Ok(()),
                Ok(Handed::End) => {
                    // Now the kernel knows what is in it.
                    self.list_ahead(directory.ino);
                    return Ok(());
                }
                // It will be answered when the kernel asks for what comes after.
                Err(_) if handed_on => return Ok(()),
                Err(error) => return Err(error),
            }
            index += 1;
        }
    }

    fn dot(&self, directory: u64, at: u64) -> Listed<'static> {
        let parent = self.with_inodes(|inodes| inodes.parent(directory)).unwrap_or(ROOT);
        let (name, ino) = if at == 0 { (".", directory) } else { ("..", parent) };
        Listed { name: OsStr::new(name), next: at + 1, ino, kind: FileKind::Directory, attr: None }
    }

    /// Hands one entry on.
    async fn hand_on(
        &self,
        directory: u64,
        pages: &mut Pages<S>,
        index: u64,
        attributes: bool,
        take: &mut (dyn FnMut(Listed<'_>) -> bool + Send),
    ) -> Result<Handed> {
        while index >= pages.entries.len() as u64 {
            if !self.read_more(directory, pages).await? {
                return Ok(Handed::End);
            }
        }
        let at = index as usize;
        let Entry { file_id, kind, .. } = pages.entries[at];
        // Only names that can be shown were kept.
        let shown = names::decode(pages.name(at)).unwrap_or_default();
        let fresh = pages.take_fresh(at);
        let attr = if attributes {
            match self.entry_attr(directory, pages.name(at), &shown, fresh).await {
                Ok(attr) => Some(attr),
                Err(error) if error.errno == libc::ENOENT => return Ok(Handed::Skipped),
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let ino = match &attr {
            Some(attr) => attr.ino,
            None => self.with_inodes(|inodes| inodes.number_of(directory, pages.name(at), file_id)),
        };
        let shown_ino = if ino == 0 { UNKNOWN_NUMBER } else { ino };
        let kind = attr.map_or(kind, |attr| attr.kind);
        let full = take(Listed { name: &shown, next: index + DOTS + 1, ino: shown_ino, kind, attr });
        if !full {
            return Ok(Handed::On);
        }
        if attr.is_some() {
            self.with_inodes(|inodes| inodes.file(ino).map(|file| file.lock().not_shown_to_kernel()));
            self.forget(ino, 1);
        }
        pages.put_back(at, fresh);
        Ok(Handed::Full)
    }

    /// Attributes for an entry, whose inode gets one more lookup: from the listing, or asked of the
    /// server where the listing does not tell, as when an earlier offset is read again.
    async fn entry_attr(
        &self,
        directory: u64,
        name: &[u16],
        shown: &OsStr,
        fresh: Option<(Metadata, Snapshot)>,
    ) -> Result<Attr> {
        let now = Instant::now();
        let listed = fresh.and_then(|(metadata, fetched)| {
            self.with_inodes(|inodes| {
                let is_kept = inodes.at(directory, name).is_some_and(|ino| self.is_kept(inodes, ino));
                let overtaken = is_kept || inodes.token(directory) != fetched.directory;
                match inodes.admit_listed(directory, name, metadata, fetched.at, overtaken) {
                    Admission::Node(ino) => self.shown(inodes, ino, now),
                    Admission::Overtaken => None,
                }
            })
        });
        match listed.map(Ok).or_else(|| self.known_entry(directory, shown)) {
            Some(known) => known,
            None => self.lookup(directory, shown).await,
        }
    }

    /// Reads the next entries. Says whether there were any.
    async fn read_more(&self, directory: u64, pages: &mut Pages<S>) -> Result<bool> {
        if let Some(error) = &pages.failed {
            return Err(error.clone());
        }
        let result = self.read_batch(directory, pages).await;
        pages.failed = result.as_ref().err().cloned();
        result
    }

    async fn read_batch(&self, directory: u64, pages: &mut Pages<S>) -> Result<bool> {
        if pages.listing.is_none() && !pages.ended {
            if let Some(key) = self.with_inodes(|inodes| inodes.get(directory).map(Node::key)) {
                self.ahead.settle(key).await;
            }
            if self.take_known(directory, pages) {
                return Ok(!pages.entries.is_empty());
            }
        }
        while !pages.ended {
            let fetched = self.snapshot(directory, Instant::now());
            if pages.listing.is_none() {
                let (listing, gathered) = self.begin_listing(directory).await?;
                (pages.listing, pages.gathered) = (Some(listing), Some(gathered));
            }
            let Some(listing) = pages.listing.as_mut() else { break };
            let entries = self.share.next_entries(listing).await?;
            pages.ended = entries.is_empty();
            match pages.gathered.take() {
                Some(gathered) if pages.ended => self.enter(gathered),
                Some(mut gathered) if gathered.len() <= MAX_ENTRIES_KNOWN => {
                    gathered.add(&entries);
                    pages.gathered = Some(gathered);
                }
                _ => {}
            }
            let before = pages.entries.len();
            for entry in entries {
                if hidden::is_hidden(&entry.name) {
                    continue;
                }
                if names::decode(&entry.name).is_none() {
                    self.log_hostile(&entry.name);
                    continue;
                }
                if pages.entries.len() >= MAX_ENTRIES {
                    return Err(VfsError::rule(libc::EOVERFLOW, "the directory has too many entries"));
                }
                pages.push(&entry.name, entry.metadata, fetched);
            }
            if pages.entries.len() > before {
                return Ok(true);
            }
        }
        pages.listing = None;
        Ok(false)
    }

    /// Takes what is known of the directory, if that is everything.
    fn take_known(&self, directory: u64, pages: &mut Pages<S>) -> bool {
        let now = Instant::now();
        let known = self.with_inodes(|inodes| {
            let key = inodes.get(directory)?.key();
            self.with_catalogue(|catalogue| catalogue.everything(key, now, self.options.attr_timeout))
        });
        let Some(known) = known else { return false };
        let token = self.snapshot(directory, now);
        for (name, metadata, at) in known {
            pages.push(&name, metadata, Snapshot { at, ..token });
        }
        pages.ended = true;
        true
    }

    fn snapshot(&self, directory: u64, at: Instant) -> Snapshot {
        Snapshot { at, directory: self.with_inodes(|inodes| inodes.token(directory)) }
    }

    fn log_hostile(&self, name: &[u16]) {
        if !self.hostile_name_logged.swap(true, Ordering::Relaxed) {
            let name = String::from_utf16_lossy(name);
            tracing::warn!(?name, "the server lists a name that could lead out of its directory; it is left out");
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
