//! Changing attributes: size, times, the write bit.

use super::Vfs;
use super::errno::{Result, VfsError};
use super::file::Event;
use super::file::driver::{FileOf, Open};
use super::presentation::Attr;
use crate::share::{Attributes, Change, FileKind, FileTime, Share, Target};
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

impl<S: Share> Vfs<S> {
    /// Changes attributes, all in one call of the share, and answers what they are then.
    ///
    /// # Errors
    /// `EPERM` for another owner or group than the file has, with nothing changed; `EISDIR` for a
    /// directory's size; `EROFS`, `ESTALE`; what the share answered.
    pub async fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Attr> {
        self.check_writable()?;
        let foreign = |wanted: Option<u32>, own: u32| wanted.is_some_and(|wanted| wanted != own);
        if foreign(set.uid, self.options.uid) || foreign(set.gid, self.options.gid) {
            return Err(VfsError::rule(libc::EPERM, "owner and group are set for the whole mount"));
        }
        let file = self.with_inodes(|inodes| inodes.file(ino).cloned()).ok_or_else(VfsError::stale)?;
        if let Some(attr) = self.hold_back(&file, set)? {
            return Ok(attr);
        }
        // A size or a time that is set comes after what was written.
        self.drain_file(ino).await;
        // The attributes beside the read-only one have to be known, or they would be lost.
        if set.mode.is_some() && !self.is_known(ino) {
            self.refresh(ino).await?;
        }
        let change = self.change_for(&file, set)?;
        if change == Change::default() {
            return self.getattr(ino).await;
        }
        if change.size.is_some() {
            self.space_changes();
            self.close_deferred(ino).await;
        }
        // Samba notes the time of the last write when a file is closed, over what was set before.
        self.settle_closes(ino).await;
        // Servers leave the time of the last write alone where the size stays as it is; truncate(2) and ftruncate(2) do not.
        let touched = keeps_size(file.lock().size(), &change).then(|| self.share.clock());
        self.apply(&file, &change, touched, set.handle).await?;
        self.attr(ino)
    }

    /// Times and attributes that are set while written data is held back go to the server behind it. Not
    /// the size: what was written beyond it must not come after.
    fn hold_back(&self, file: &FileOf<S>, set: &SetAttr) -> Result<Option<Attr>> {
        if set.size.is_some() || !file.lock().has_dirty_data() {
            return Ok(None);
        }
        let change = self.change_for(file, set)?;
        let is_deferred = self.files.with(file, |state, now| {
            let may = state.has_dirty_data() && self.policy.may_write_back(state.caching());
            (may, if may { state.on(Event::Deferred(change), now) } else { Vec::new() })
        });
        if is_deferred { Ok(Some(self.attr(file.ino)?)) } else { Ok(None) }
    }

    fn change_for(&self, file: &FileOf<S>, set: &SetAttr) -> Result<Change> {
        let (kind, attributes) = {
            let state = file.lock();
            (state.metadata().kind(), state.metadata().attributes)
        };
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

    async fn apply(&self, file: &FileOf<S>, change: &Change, touched: Option<FileTime>, by: Option<u64>) -> Result<()> {
        let (ino, sized) = (file.ino, *change);
        let change = Change { modified: change.modified.or(touched), ..*change };
        let result = match self.writer_for(file, by) {
            // Through a handle that has written: a server that notes the time of the last write later
            // (Samba does) would set it over a time that was set by path.
            Some((handle, writer)) => {
                file.lock().mark_changed(handle);
                let set = self.share.set(Target::File(&writer), &sized).await;
                match (touched, self.path(ino)) {
                    // By path: a time that is set through a handle is the last one that its writes move.
                    (Some(modified), Ok(path)) if set.is_ok() => {
                        let touch = Change { modified: Some(modified), ..Change::default() };
                        self.share.set(Target::Path(&path), &touch).await
                    }
                    _ => set,
                }
            }
            None => self.share.set(Target::Path(&self.path(ino)?), &change).await,
        };
        self.files.event(file, Event::Changed { change, done: result.is_ok() });
        result.map_err(|error| self.stale_if_absent(ino, error))
    }

    /// A handle that can be written through, and its open: the one that the program used, if it can.
    fn writer_for(&self, file: &FileOf<S>, by: Option<u64>) -> Option<(u64, Open<S>)> {
        let own = by.and_then(|handle| self.handles.file(handle).ok()).filter(|open| open.access.write);
        own.map(|open| (open.handle, Arc::clone(&open.open))).or_else(|| file.lock().writer())
    }
}

/// Whether a size is set that the file has, and no time with it.
fn keeps_size(size: u64, change: &Change) -> bool {
    change.size == Some(size) && change.modified.is_none()
}
