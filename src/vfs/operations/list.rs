//! Listing directories.
//!
//! Offset 0 begins a new listing. The offset of an entry is its index; `.` and `..` are the first two.

use super::lookup;
use crate::share::{FileKind, Metadata, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::handles::OpenDirectory;
use crate::vfs::names::namespace::directory::SharedIds;
use crate::vfs::names::namespace::{MAX_FREE, ROOT};
use crate::vfs::pages::{Entry, Pages, Snapshot};
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding};
use std::ffi::OsStr;
use std::time::Instant;

/// The inode number that a program sees if none is known: that of libfuse.
const UNKNOWN_NUMBER: u64 = 0xFFFF_FFFF;
/// The most entries that a handle keeps: a few hundred megabytes. A server that lists without end must not use up all
/// memory.
const MAX_ENTRIES: usize = 8_000_000;
/// The most entries of a listing that is recorded in the namespace: a longer directory is listed again each time.
const MAX_ENTRIES_KNOWN: usize = MAX_FREE / 2;
/// The number of entries before those of the server: `.` and `..`.
const DOTS: u64 = 2;

/// An entry of a listing, as the kernel gets it.
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
    /// The attributes, if they were requested; the inode has one more lookup then. `.` and `..` have none.
    pub attr: Option<Attr>,
}

/// What became of an entry.
enum Handed {
    /// It was returned to the kernel.
    On,
    /// The file is gone.
    Skipped,
    /// The kernel's buffer has no room for it.
    Full,
    /// The directory has no more entries.
    End,
}

/// Opens a directory. The server is asked when the directory is read. Returns the number of the handle.
pub fn opendir<S: Share>(vfs: &Vfs<S>, ino: u64) -> u64 {
    vfs.handles.add_directory(OpenDirectory { ino, pages: tokio::sync::Mutex::new(Pages::new()) })
}

/// Closes a directory.
pub fn releasedir<S: Share>(vfs: &Vfs<S>, handle: u64) {
    vfs.handles.remove_directory(handle);
}

/// Passes the entries from `offset` on to `add`, until `add` returns that there was no room for one or the directory
/// ends. With `attributes`, entries have their attributes, which are looked up if the listing does not have them.
///
/// # Errors
/// `EBADF` if the handle is not open; `EOVERFLOW` if the directory has too many entries; `ESTALE` if no name leads to
/// the directory any more; otherwise what the share answered.
pub async fn readdir<S: Share>(
    vfs: &Vfs<S>,
    handle: u64,
    offset: u64,
    attributes: bool,
    add: &mut (dyn FnMut(Listed<'_>) -> bool + Send),
) -> Result<()> {
    let directory = vfs.handles.directory(handle)?;
    let mut pages = directory.pages.lock().await;
    if offset == 0 {
        *pages = Pages::new();
        vfs.names.walks_to(directory.ino);
        vfs.names.list_ahead(directory.ino, &vfs.handles.open_directories());
    }
    for at in offset..DOTS {
        if add(dot(vfs, directory.ino, at)) {
            return Ok(());
        }
    }
    let mut index = offset.saturating_sub(DOTS);
    let mut handed_on = offset < DOTS;
    loop {
        match hand_on(vfs, directory.ino, &mut pages, index, attributes, add).await {
            Ok(Handed::On) => handed_on = true,
            Ok(Handed::Skipped) => {}
            Ok(Handed::Full) => return Ok(()),
            Ok(Handed::End) => {
                // The kernel knows all entries now.
                vfs.names.list_ahead(directory.ino, &vfs.handles.open_directories());
                return Ok(());
            }
            // The error is returned when the kernel asks for the next entries.
            Err(_) if handed_on => return Ok(()),
            Err(error) => return Err(error),
        }
        index += 1;
    }
}

/// Reads the rest of a listing in progress, so that the directory is not open at the server any more. A failure is
/// returned when the kernel asks for the next entries.
pub(super) async fn read_to_end<S: Share>(vfs: &Vfs<S>, directory: &OpenDirectory<S>) {
    let mut pages = directory.pages.lock().await;
    while pages.listing.is_some() {
        if !read_more(vfs, directory.ino, &mut pages).await.unwrap_or(false) {
            pages.listing = None;
        }
    }
}

/// The entry `.` (offset 0) or `..` (offset 1).
fn dot<S: Share>(vfs: &Vfs<S>, directory: u64, at: u64) -> Listed<'static> {
    let parent = vfs.names.parent(directory).unwrap_or(ROOT);
    let (name, ino) = if at == 0 { (".", directory) } else { ("..", parent) };
    Listed { name: OsStr::new(name), next: at + 1, ino, kind: FileKind::Directory, attr: None }
}

/// Passes one entry on.
async fn hand_on<S: Share>(
    vfs: &Vfs<S>,
    directory: u64,
    pages: &mut Pages<S>,
    index: u64,
    attributes: bool,
    add: &mut (dyn FnMut(Listed<'_>) -> bool + Send),
) -> Result<Handed> {
    while index >= pages.entries.len() as u64 {
        if !read_more(vfs, directory, pages).await? {
            return Ok(Handed::End);
        }
    }
    let at = index as usize;
    let Entry { file_id, kind, .. } = pages.entries[at];
    // Only names that can be shown were kept.
    let shown = name_encoding::decode(pages.name(at)).unwrap_or_default();
    let fresh = pages.take_fresh(at);
    let attr = if attributes {
        match entry_attr(vfs, directory, pages.name(at), &shown, fresh).await {
            Ok(attr) => Some(attr),
            Err(error) if error.errno == libc::ENOENT => return Ok(Handed::Skipped),
            // A folder that is shown below itself: it is listed, and cannot be entered.
            Err(error) if error.errno == libc::ELOOP => None,
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    let ino = match &attr {
        Some(attr) => attr.ino,
        None => vfs.names.number_of(directory, pages.name(at), file_id),
    };
    let shown_ino = if ino == 0 { UNKNOWN_NUMBER } else { ino };
    let kind = attr.map_or(kind, |attr| attr.kind);
    let full = add(Listed { name: &shown, next: index + DOTS + 1, ino: shown_ino, kind, attr });
    if !full {
        return Ok(Handed::On);
    }
    if attr.is_some() {
        vfs.names.entry_unanswered(ino);
    }
    pages.put_back(at, fresh);
    Ok(Handed::Full)
}

/// The attributes of an entry, whose inode has one more lookup: from the listing, or looked up if the listing does not
/// have them, for example because an earlier offset is read again.
async fn entry_attr<S: Share>(
    vfs: &Vfs<S>,
    directory: u64,
    name: &[u16],
    shown: &OsStr,
    fresh: Option<(Metadata, Snapshot)>,
) -> Result<Attr> {
    let listed = fresh.and_then(|(metadata, fetched)| {
        vfs.names.listed_attr((directory, name), metadata, fetched.at, fetched.directory)
    });
    match listed.map(Ok).or_else(|| vfs.names.known_entry(directory, shown)) {
        Some(known) => known,
        None => lookup::lookup(vfs, directory, shown).await,
    }
}

/// Reads the next entries. Returns whether there were any. Once this has failed, it fails with the same error again.
async fn read_more<S: Share>(vfs: &Vfs<S>, directory: u64, pages: &mut Pages<S>) -> Result<bool> {
    if let Some(error) = &pages.failed {
        return Err(error.clone());
    }
    let result = read_batch(vfs, directory, pages).await;
    pages.failed = result.as_ref().err().cloned();
    result
}

/// Reads entries from the cache if all are valid, and otherwise the next part of the server's listing.
async fn read_batch<S: Share>(vfs: &Vfs<S>, directory: u64, pages: &mut Pages<S>) -> Result<bool> {
    if pages.listing.is_none() && !pages.ended {
        vfs.names.until_listed_ahead(directory).await;
        if add_known(vfs, directory, pages) {
            return Ok(!pages.entries.is_empty());
        }
    }
    while !pages.ended {
        let fetched = snapshot(vfs, directory, Instant::now());
        if pages.listing.is_none() {
            let (listing, gathered) = vfs.names.begin_listing(directory).await?;
            (pages.listing, pages.gathered) = (Some(listing), Some(gathered));
        }
        let Some(listing) = pages.listing.as_mut() else { break };
        let entries = vfs.names.next_entries(listing).await?;
        pages.ended = entries.is_empty();
        match pages.gathered.take() {
            Some(gathered) if pages.ended => vfs.names.enter(gathered),
            Some(mut gathered) if gathered.len() <= MAX_ENTRIES_KNOWN => {
                gathered.add(&entries);
                pages.gathered = Some(gathered);
            }
            _ => {}
        }
        let before = pages.entries.len();
        let ids = SharedIds::of(entries.iter().map(|entry| &entry.metadata));
        for entry in entries {
            if pages.entries.len() >= MAX_ENTRIES {
                return Err(VfsError::rule(libc::EOVERFLOW, "the directory has too many entries"));
            }
            push(pages, &ids, &entry.name, entry.metadata, fetched);
        }
        if pages.entries.len() > before {
            return Ok(true);
        }
    }
    pages.listing = None;
    Ok(false)
}

/// Adds the cached entries of the directory, if all of them are known and valid.
fn add_known<S: Share>(vfs: &Vfs<S>, directory: u64, pages: &mut Pages<S>) -> bool {
    let now = Instant::now();
    let Some(known) = vfs.names.everything(directory) else { return false };
    let token = snapshot(vfs, directory, now);
    let ids = SharedIds::of(known.iter().map(|(_, metadata, _)| metadata));
    for (name, metadata, at) in known {
        push(pages, &ids, &name, metadata, Snapshot { at, ..token });
    }
    pages.ended = true;
    true
}

/// Appends an entry. A listing does not tell the number of a file's links: if several entries have one file id, the
/// server is asked for the attributes of that file.
fn push<S: Share>(pages: &mut Pages<S>, ids: &SharedIds, name: &[u16], metadata: Metadata, fetched: Snapshot) {
    let may_have_links = metadata.links == 0 && ids.has(metadata.file_id);
    let directory = fetched.directory.filter(|_| !may_have_links);
    pages.push(name, metadata, Snapshot { directory, ..fetched });
}

/// When entries are fetched, and the token of the directory's attributes at that time.
fn snapshot<S: Share>(vfs: &Vfs<S>, directory: u64, at: Instant) -> Snapshot {
    Snapshot { at, directory: vfs.names.token(directory) }
}
