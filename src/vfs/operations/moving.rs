//! Renaming a directory although something below it is open here.
//!
//! A server refuses to rename a directory while something below it is open, which POSIX allows. Kept opens and watches
//! are closed before each rename (`rename`). What remains are opens of programs: listings are read to their end, and
//! files are put aside: their data is drained, and the share closes them for the moment of the rename and opens them
//! again by their new paths. Files that were removed while they are open have a hidden name below the directory and move
//! with it.
//!
//! A file without a name (it was replaced while it is open) cannot be opened again and so is not closed: while it is
//! open below the directory, a server may refuse the rename.

use super::list;
use crate::share::{FileIdentity, RemotePath, Share, ShareError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Open};
use crate::vfs::{Vfs, refusals};
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::Arc;

/// Attempts while programs keep opening files below the directory.
const ATTEMPTS: usize = 3;

/// What is open below a directory: each file once, and each open of a file at the server once.
struct OpenBelow<S: Share> {
    files: Vec<FileOf<S>>,
    opens: Vec<Open<S>>,
}

impl<S: Share> OpenBelow<S> {
    fn find(vfs: &Vfs<S>, directory: u64) -> OpenBelow<S> {
        let (mut seen_files, mut seen_opens) = (HashSet::new(), HashSet::new());
        let (mut files, mut opens) = (Vec::new(), Vec::new());
        for open in vfs.handles.files_where(|open| vfs.names.is_within(open.file.ino, directory)) {
            if seen_files.insert(open.file.key) {
                files.push(Arc::clone(&open.file));
            }
            if seen_opens.insert(Arc::as_ptr(&open.open) as usize) {
                opens.push(Arc::clone(&open.open));
            }
        }
        OpenBelow { files, opens }
    }

    /// Whether there is an open that is not among these others.
    fn has_other_than(&self, others: &OpenBelow<S>) -> bool {
        self.opens.iter().any(|open| !others.opens.iter().any(|other| Arc::ptr_eq(open, other)))
    }
}

/// Renames a directory that the server refused to rename, with this refusal.
///
/// # Errors
/// The refusal, if nothing below the directory is open here; otherwise what the share answered.
pub(super) async fn rename_around<S: Share>(
    vfs: &Vfs<S>,
    (from, ino): (&RemotePath, u64),
    to: &RemotePath,
    known: Option<FileIdentity>,
    mut refusal: ShareError,
) -> std::result::Result<(), ShareError> {
    let mut before = OpenBelow { files: Vec::new(), opens: Vec::new() };
    for _ in 0..ATTEMPTS {
        let has_listings = end_listings(vfs, ino).await;
        let below = OpenBelow::find(vfs, ino);
        if !has_listings && !below.has_other_than(&before) {
            break;
        }
        match rename_once(vfs, &below, from, to, known).await {
            Err(error) if refusals::may_be_open_below(&error) => refusal = error,
            result => return result,
        }
        before = below;
    }
    Err(refusal)
}

/// Reads all listings in progress at and below a directory to their end. Returns whether there were any.
async fn end_listings<S: Share>(vfs: &Vfs<S>, directory: u64) -> bool {
    let mut any = false;
    for listed in vfs.handles.directories_where(|ino| vfs.names.is_within(ino, directory)) {
        any |= listed.pages.lock().await.listing.is_some();
        list::read_to_end(vfs, &listed).await;
    }
    any
}

async fn rename_once<S: Share>(
    vfs: &Vfs<S>,
    below: &OpenBelow<S>,
    from: &RemotePath,
    to: &RemotePath,
    known: Option<FileIdentity>,
) -> std::result::Result<(), ShareError> {
    // From here on nothing becomes dirty: data that is held back must not be written after another client could.
    below.files.iter().for_each(|file| vfs.files.event(file, Event::PutAside));
    join_all(below.files.iter().map(|file| vfs.files.drain(file))).await;
    let renamed = vfs.names.with_room(|| vfs.share.rename_around(from, to, known, &below.opens)).await;
    below.files.iter().for_each(|file| taken_up(vfs, file));
    renamed
}

/// The opens of a file were made again, without their lease: another client may have changed the file in between.
fn taken_up<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>) {
    vfs.files.event(file, Event::TakenUp);
    let lease = file.lock().lease();
    if let Some(lease) = lease {
        vfs.files.event(file, Event::Granted { lease, granted: vfs.share.granted(lease) });
    }
    vfs.files.forget_in_time(file);
}
