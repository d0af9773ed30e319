//! Opening files.
//!
//! One open at the server may serve several open(2)s, one after the other or at the same time. A live open serves
//! another open(2) while no other client can open the file without a break of this client's lease
//! ([`Decision::shares_open`]) and while its attributes are valid. The attributes matter because no lease covers
//! changes on the server's own disk. When the last handle is released, the open is kept for a bounded time, if nothing
//! was changed through it and no other client can touch the file without a break.
//!
//! Invariant: an operation of this mount that a kept open would obstruct closes it before, and a break of its lease
//! closes it at once.
//!
//! [`Decision::shares_open`]: crate::vfs::policy::Decision::shares_open

use super::opening::{self, New, Opened};
use super::revalidate::NamesTried;
use crate::share::{Change, CreateAction, Disposition, FileKind, OpenHow, RemotePath, Share, Target};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::file::driver::{FileOf, Open, Opening};
use crate::vfs::file::handle::Access;
use crate::vfs::file::{Event, FileState};
use crate::vfs::{Vfs, refusals};
use std::time::Instant;

/// The size in bytes below which a file is read together with its open. A READ of this length does not count as bulk;
/// bulk requests are sent on another connection.
const SMALL_FILE: u64 = 64 * 1024;

/// Opens a file with the flags of open(2). The server is asked unless a live open serves the handle.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more, or its name means another file; `EROFS`; `EISDIR` for a directory;
/// `ELOOP` for a link or special file; `EINVAL` for an access mode that does not exist; otherwise what the share answered.
pub async fn open<S: Share>(vfs: &Vfs<S>, ino: u64, flags: i32) -> Result<Opened> {
    let access = Access::from_flags(flags, vfs.terms.options.cache)?;
    if access.modifies() {
        vfs.terms.check_writable()?;
    }
    // Dirty data is drained first, so that the server's answer includes it.
    vfs.names.drain(ino).await;
    let (file, kind) = vfs.names.file_and_kind(ino).ok_or_else(VfsError::stale)?;
    if kind == FileKind::Directory {
        return Err(VfsError::rule(libc::EISDIR, "a directory cannot be opened as a file"));
    }
    // The kernel follows links, and opens fifos, sockets and devices itself.
    if kind != FileKind::File {
        return Err(VfsError::rule(libc::ELOOP, "a link or special file cannot be opened as a file"));
    }
    let known = {
        let state = file.lock();
        Known { token: state.token(), size: state.size(), recent_size: state.recent_size(Instant::now()) }
    };
    if let Some(opened) = open_shared(vfs, &file, access) {
        if file.lock().is_resized() {
            vfs.files.kernel_forgets_attributes(&file).await;
        }
        return Ok(opened);
    }
    vfs.names.close_doubtful(ino).await;
    vfs.handles.finish_closes_of(&file).await;
    let mut names = NamesTried::of(vfs, ino)?;
    loop {
        match open_anew(vfs, &file, &names.path, access, known).await {
            Err(error) => names.go_on(vfs, error)?,
            opened => return opened,
        }
    }
}

/// What is known of a file before the server is asked to open it.
#[derive(Clone, Copy, Debug)]
struct Known {
    token: FetchToken,
    size: u64,
    /// The size, if the server has reported it within the last moments.
    recent_size: Option<u64>,
}

/// Opens a file at the server.
///
/// # Errors
/// `ESTALE` if the file is gone or its name means another file; otherwise what the share answered.
async fn open_anew<S: Share>(
    vfs: &Vfs<S>,
    file: &FileOf<S>,
    path: &RemotePath,
    access: Access,
    Known { token, size, recent_size }: Known,
) -> Result<Opened> {
    // The path may be of another name than the one that the program used, and that name may mean another file by now:
    // then the file is emptied only once it is known to be the right one.
    let empties_later = access.truncate && vfs.names.has_several_names(file.ino);
    let disposition = if access.truncate && !empties_later { Disposition::Overwrite } else { Disposition::Open };
    let guard = Opening::<S>::begin(file);
    let lease = guard.lease;
    let how = opening::how(vfs, access, disposition, false, lease);
    // A small file is read with the open.
    let reads_all = access.read && !access.truncate && !access.direct && (1..SMALL_FILE).contains(&size);
    let wanted = if reads_all { vfs.share.limits().read.min(size as u32) } else { 0 };
    let opened = match opening::open_on_share(vfs, path, how, wanted).await {
        // The lease belongs to the name that the file's other opens have, or had (MS-SMB2 3.3.5.9.8). The answer's file
        // id shows whether this is the file.
        Err(error) if refusals::is_another_file(&error) && file.lock().metadata().file_id != 0 => {
            opening::open_on_share(vfs, path, OpenHow { lease: None, ..how }, wanted).await
        }
        opened => opened,
    };
    let (open, metadata, action, data) = opened.map_err(|error| {
        if refusals::is_another_file(&error) {
            vfs.names.doubt_name(file.ino);
            return VfsError::stale();
        }
        vfs.names.stale_if_absent(file.ino, error)
    })?;
    let differs = match vfs.names.fetched(file, metadata, token) {
        Ok(differs) => differs,
        Err(stale) => {
            opening::close_unused(vfs, open).await;
            return Err(stale);
        }
    };
    let granted = opening::granted(vfs, file, lease);
    let is_unchanged = file.lock().token() == token;
    if is_unchanged && data.len() as u64 == metadata.size && !data.is_empty() {
        vfs.cache.fill(file.key, data);
    }
    if !access.truncate && is_unchanged && recent_size.is_some_and(|recent| recent != metadata.size) {
        file.lock().changes_elsewhere(Instant::now());
    }
    // The kernel knows the size after its own truncation.
    let is_changed_elsewhere = !access.truncate && (differs || file.lock().is_resized());
    if empties_later && let Err(error) = empty(vfs, file, &open).await {
        opening::close_unused(vfs, open).await;
        return Err(error);
    }
    let is_changed = action != CreateAction::Opened || empties_later;
    Ok(opening::opened(vfs, file, open, New { access, lease, granted, metadata, is_changed }, is_changed_elsewhere)
        .await)
}

/// Sets the size of a file to 0 through an open.
///
/// # Errors
/// What the share answered.
async fn empty<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, open: &S::File) -> Result<()> {
    let (change, clock) = (Change { size: Some(0), ..Change::default() }, vfs.share.clock());
    let result = vfs.share.set(Target::File(open), &change).await;
    vfs.files.event(file, Event::Changed { change, clock, done: result.is_ok() });
    Ok(result?)
}

/// As [`open`], if no request to the server is needed; `None` otherwise.
///
/// # Errors
/// None so far: what would fail is left to [`open`].
pub fn open_now<S: Share>(vfs: &Vfs<S>, ino: u64, flags: i32) -> Option<Result<Opened>> {
    let access = Access::from_flags(flags, vfs.terms.options.cache).ok()?;
    let (file, kind) = vfs.names.file_and_kind(ino)?;
    if access.truncate || kind != FileKind::File || (access.modifies() && vfs.terms.is_read_only()) {
        return None;
    }
    let is_ready = {
        let state = file.lock();
        !state.is_dirty() && !state.is_resized() && state.shareable(access, vfs.terms.policy).is_some()
    };
    if is_ready { open_shared(vfs, &file, access).map(Ok) } else { None }
}

/// Opens a file through a live open at the server, if one can serve.
fn open_shared<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, access: Access) -> Option<Opened> {
    if !vfs.names.may_share_open(file.ino) {
        return None;
    }
    let handle = vfs.handles.number();
    let (open, keep_cache) = vfs.files.with(file, |state: &mut FileState<Open<S>>, now| {
        let Some((id, open)) = state.shareable(access, vfs.terms.policy) else { return (None, Vec::new()) };
        let found = *state.metadata();
        let keep_cache = state.kernel_opens(handle, access, &found, true);
        (Some((open, keep_cache)), state.on(Event::Joined { handle, access, open: id }, now))
    })?;
    opening::register(vfs, handle, file, open, access);
    Some(Opened { handle, direct: opening::bypasses_kernel(vfs, file, access), keep_cache })
}
