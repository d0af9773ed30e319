//! Attributes, and changes of them: size, times, and the write bit.

use super::revalidate;
use crate::share::{Attributes, Change, FileKind, FileTime, Metadata, Share, Target};
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Open};
use crate::vfs::presentation::Attr;
use std::sync::Arc;
use std::time::SystemTime;

/// Changes of attributes; `None` leaves an attribute as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission bits, of which only the owner's write bit of a file has an effect.
    pub mode: Option<u32>,
    /// The owner, which has to be the mount's.
    pub uid: Option<u32>,
    /// The group, which has to be the mount's.
    pub gid: Option<u32>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The time of the last access.
    pub accessed: Option<SetTime>,
    /// The time of the last write.
    pub modified: Option<SetTime>,
    /// The handle that the program used, if it used one.
    pub handle: Option<u64>,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The present, by this client's clock.
    Now,
    /// This time.
    At(FileTime),
}

impl SetTime {
    fn resolve(self) -> FileTime {
        match self {
            SetTime::Now => FileTime::from(SystemTime::now()),
            SetTime::At(time) => time,
        }
    }
}

/// The attributes of an inode, if they are valid without asking the server.
pub fn known_attributes<S: Share>(vfs: &Vfs<S>, ino: u64) -> Option<Attr> {
    vfs.names.known_attributes(ino)
}

/// The attributes of an inode, fetched from the server unless they are valid.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more, or its name means another file; otherwise what the share answered.
pub async fn getattr<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Attr> {
    revalidate::current(vfs, ino).await
}

/// Changes attributes, and returns the attributes after the change. All changes are sent in one request; only a size
/// that stays the same and is set through a handle needs a second one, for the time.
///
/// # Errors
/// `EPERM` for another owner or group than the file has, with nothing changed; `EISDIR` for a directory's size;
/// `EROFS`; `ESTALE` as [`getattr`]; otherwise what the share answered.
pub async fn setattr<S: Share>(vfs: &Vfs<S>, ino: u64, set: &SetAttr) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let foreign = |wanted: Option<u32>, own: u32| wanted.is_some_and(|wanted| wanted != own);
    if foreign(set.uid, vfs.terms.options.uid) || foreign(set.gid, vfs.terms.options.gid) {
        return Err(VfsError::rule(libc::EPERM, "owner and group are set for the whole mount"));
    }
    let file = vfs.names.file(ino).ok_or_else(VfsError::stale)?;
    if let Some(attr) = hold_back(vfs, &file, set)? {
        return Ok(attr);
    }
    // A size or a time is set after the data that was written before.
    vfs.files.drain(&file).await;
    // The other attributes have to be known, or the request would clear them.
    if set.mode.is_some() && !vfs.names.is_known(ino) {
        revalidate::refresh(vfs, ino).await?;
    }
    let change = change_for(file.lock().metadata(), set)?;
    if change == Change::default() {
        return revalidate::current(vfs, ino).await;
    }
    if change.size.is_some() {
        vfs.names.space_changes();
        vfs.names.close_kept(ino).await;
    }
    // Samba sets the last write time when a file is closed, over a time that was set before.
    vfs.handles.finish_closes_of(&file).await;
    // Servers do not change the last write time if the size stays the same; truncate(2) and ftruncate(2) do.
    let touched = keeps_size(file.lock().size(), &change).then(|| vfs.share.clock());
    apply(vfs, &file, &change, touched, set.handle).await?;
    vfs.names.attr(ino)
}

/// Defers times and attributes that are set while data is dirty: they are sent after that data. A size is never
/// deferred: dirty data beyond it must not be sent later. `None` if nothing was deferred.
///
/// # Errors
/// `ESTALE` if the inode is gone.
fn hold_back<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, set: &SetAttr) -> Result<Option<Attr>> {
    if set.size.is_some() || !file.lock().has_dirty_data() {
        return Ok(None);
    }
    let (change, clock) = (change_for(file.lock().metadata(), set)?, vfs.share.clock());
    let is_deferred = vfs.files.with(file, |state, now| {
        let may = state.has_dirty_data() && vfs.terms.policy.decide(state.caching()).holds_writes;
        (may, if may { state.on(Event::Deferred { change, clock }, now) } else { Vec::new() })
    });
    if is_deferred { Ok(Some(vfs.names.attr(file.ino)?)) } else { Ok(None) }
}

/// The change of the share that sets these attributes on a file whose metadata is `known`.
fn change_for(known: &Metadata, set: &SetAttr) -> Result<Change> {
    let (kind, attributes) = (known.kind(), known.attributes);
    if kind == FileKind::Directory && set.size.is_some() {
        return Err(VfsError::rule(libc::EISDIR, "a directory's size cannot be set"));
    }
    let readonly = set.mode.filter(|_| kind == FileKind::File).map(|mode| mode & libc::S_IWUSR == 0);
    Ok(Change {
        size: set.size,
        created: None,
        accessed: set.accessed.map(SetTime::resolve),
        modified: set.modified.map(SetTime::resolve),
        attributes: readonly
            .filter(|readonly| *readonly != attributes.has(Attributes::READONLY))
            .map(|readonly| attributes.with_readonly(readonly)),
    })
}

/// Sends a change, and records its outcome. `touched` is the last write time to set beside it.
async fn apply<S: Share>(
    vfs: &Vfs<S>,
    file: &FileOf<S>,
    change: &Change,
    touched: Option<FileTime>,
    by: Option<u64>,
) -> Result<()> {
    // The clock is read before the change, so that a server that keeps ChangeTimes reports none earlier.
    let (ino, sized, clock) = (file.ino, *change, vfs.share.clock());
    let change = Change { modified: change.modified.or(touched), ..*change };
    let result = match writer_for(vfs, file, by) {
        // Through a handle that has written: a server that records the last write time late (Samba does) would set it
        // over a time that was set by path.
        Some((handle, writer)) => {
            file.lock().mark_changed(handle);
            let set = vfs.share.set(Target::File(&writer), &sized).await;
            match (touched, vfs.names.path(ino)) {
                // By path: if a time was set through a handle, later writes through it would not move the time any
                // more.
                (Some(modified), Ok(path)) if set.is_ok() => {
                    let touch = Change { modified: Some(modified), ..Change::default() };
                    vfs.names.with_room(|| vfs.share.set(Target::Path(&path), &touch)).await
                }
                _ => set,
            }
        }
        None => {
            let path = vfs.names.path(ino)?;
            vfs.names.with_room(|| vfs.share.set(Target::Path(&path), &change)).await
        }
    };
    vfs.files.event(file, Event::Changed { change, clock, done: result.is_ok() });
    result.map_err(|error| vfs.names.stale_if_absent(ino, error))
}

/// A handle that may write, and its open: preferably the handle that the program used.
fn writer_for<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, by: Option<u64>) -> Option<(u64, Open<S>)> {
    let own = by.and_then(|handle| vfs.handles.file(handle).ok()).filter(|open| open.access.write);
    own.map(|open| (open.handle, Arc::clone(&open.open))).or_else(|| file.lock().writer())
}

/// Whether the size is set to the one that the file has, with no time beside it.
fn keeps_size(size: u64, change: &Change) -> bool {
    change.size == Some(size) && change.modified.is_none()
}
