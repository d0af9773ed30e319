//! Attributes, and changing them: size, times, the write bit.

use super::revalidate;
use crate::share::{Attributes, Change, FileKind, FileTime, Metadata, Share, Target};
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Open};
use crate::vfs::presentation::Attr;
use std::sync::Arc;
use std::time::SystemTime;

/// What to change; `None` leaves it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub accessed: Option<SetTime>,
    /// Last write.
    pub modified: Option<SetTime>,
    /// The handle that the program used, if it used one.
    pub handle: Option<u64>,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The present.
    Now,
    /// This one.
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

/// Attributes, as far as they are known and not too old.
pub fn known_attributes<S: Share>(vfs: &Vfs<S>, ino: u64) -> Option<Attr> {
    vfs.names.known_attributes(ino)
}

/// Attributes, asked of the server if they are not known.
///
/// # Errors
/// `ESTALE` if the inode's name is another file's now; what the share answered.
pub async fn getattr<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Attr> {
    revalidate::current(vfs, ino).await
}

/// Changes attributes, all in one call of the share, and answers what they are then.
///
/// # Errors
/// `EPERM` for another owner or group than the file has, with nothing changed; `EISDIR` for a
/// directory's size; `EROFS`, `ESTALE`; what the share answered.
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
    // A size or a time that is set comes after what was written.
    vfs.files.drain(&file).await;
    // The attributes beside the read-only one have to be known, or they would be lost.
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
    // Samba notes the time of the last write when a file is closed, over what was set before.
    vfs.handles.finish_closes_of(&file).await;
    // Servers leave the time of the last write alone where the size stays as it is; truncate(2) and ftruncate(2) do not.
    let touched = keeps_size(file.lock().size(), &change).then(|| vfs.share.clock());
    apply(vfs, &file, &change, touched, set.handle).await?;
    vfs.names.attr(ino)
}

/// Times and attributes that are set while written data is held back go to the server behind it. Not
/// the size: what was written beyond it must not come after.
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

async fn apply<S: Share>(
    vfs: &Vfs<S>,
    file: &FileOf<S>,
    change: &Change,
    touched: Option<FileTime>,
    by: Option<u64>,
) -> Result<()> {
    // Of before the change, so that a server that has ChangeTimes reports no earlier one.
    let (ino, sized, clock) = (file.ino, *change, vfs.share.clock());
    let change = Change { modified: change.modified.or(touched), ..*change };
    let result = match writer_for(vfs, file, by) {
        // Through a handle that has written: a server that notes the time of the last write later
        // (Samba does) would set it over a time that was set by path.
        Some((handle, writer)) => {
            file.lock().mark_changed(handle);
            let set = vfs.share.set(Target::File(&writer), &sized).await;
            match (touched, vfs.names.path(ino)) {
                // By path: a time that is set through a handle is the last one that its writes move.
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

/// A handle that can be written through, and its open: the one that the program used, if it can.
fn writer_for<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, by: Option<u64>) -> Option<(u64, Open<S>)> {
    let own = by.and_then(|handle| vfs.handles.file(handle).ok()).filter(|open| open.access.write);
    own.map(|open| (open.handle, Arc::clone(&open.open))).or_else(|| file.lock().writer())
}

/// Whether a size is set that the file has, and no time with it.
fn keeps_size(size: u64, change: &Change) -> bool {
    change.size == Some(size) && change.modified.is_none()
}
