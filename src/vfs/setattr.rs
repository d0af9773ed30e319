//! Changing attributes: size, times, the write bit.

use super::Vfs;
use super::attributes::Attr;
use super::errno::{Result, VfsError};
use super::handles::OpenFile;
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
        if let Some(attr) = self.hold_back(ino, set)? {
            return Ok(attr);
        }
        // A size or a time that is set comes after what was written.
        self.drain_file(ino).await;
        // The attributes beside the read-only one have to be known, or they would be lost.
        if set.mode.is_some() && !self.is_known(ino) {
            self.refresh(ino).await?;
        }
        let change = self.change_for(ino, set)?;
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
        let touched = self.keeps_size(ino, &change).then(|| self.share.clock());
        self.apply(ino, &change, touched, set.handle).await?;
        self.attr(ino)
    }

    /// Times and attributes that are set while written data is held back go to the server behind it. Not
    /// the size: what was written beyond it must not come after.
    fn hold_back(&self, ino: u64, set: &SetAttr) -> Result<Option<Attr>> {
        let key = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.key)).ok_or_else(VfsError::stale)?;
        let held = self.files.get(key).filter(|file| file.back.is_dirty() && self.vouched_to(file.lease).writes());
        let Some(file) = held.filter(|_| set.size.is_none()) else { return Ok(None) };
        let change = self.change_for(ino, set)?;
        {
            let mut pending = file.pending.lock();
            pending.accessed = change.accessed.or(pending.accessed);
            pending.modified = change.modified.or(pending.modified);
            pending.attributes = change.attributes.or(pending.attributes);
        }
        self.with_inodes(|inodes| inodes.get_mut(ino).map(|node| node.attributes.holds_back(&change)));
        Ok(Some(self.attr(ino)?))
    }

    fn change_for(&self, ino: u64, set: &SetAttr) -> Result<Change> {
        let (kind, attributes) = self
            .with_inodes(|inodes| inodes.get(ino).map(|node| (node.kind, node.attributes.metadata().attributes)))
            .ok_or_else(VfsError::stale)?;
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

    /// Whether a size is set that the file has, as far as is known, and no time with it.
    fn keeps_size(&self, ino: u64, change: &Change) -> bool {
        let size = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.attributes.metadata().size));
        change.size.is_some() && change.size == size && change.modified.is_none()
    }

    async fn apply(&self, ino: u64, change: &Change, touched: Option<FileTime>, handle: Option<u64>) -> Result<()> {
        let (sized, change) = (*change, &Change { modified: change.modified.or(touched), ..*change });
        let result = match self.writer_for(ino, handle) {
            // Through a handle that has written: a server that notes the time of the last write later
            // (Samba does) would set it over a time that was set by path.
            Some(writer) => {
                writer.remote.changes();
                let set = self.share.set(Target::File(&writer.remote.file), &sized).await;
                match (touched, self.path(ino)) {
                    // By path: a time that is set through a handle is the last one that its writes move.
                    (Some(modified), Ok(path)) if set.is_ok() => {
                        self.share
                            .set(Target::Path(&path), &Change { modified: Some(modified), ..Change::default() })
                            .await
                    }
                    _ => set,
                }
            }
            None => self.share.set(Target::Path(&self.path(ino)?), change).await,
        };
        let key = self.with_inodes(|inodes| {
            let node = inodes.get_mut(ino)?;
            match &result {
                Ok(()) => node.attributes.applied(change),
                Err(_) => node.attributes.changed(),
            }
            if change.size.is_some() {
                node.data.changed();
            }
            Some(node.key)
        });
        if let (Some(size), Some(key)) = (change.size, key) {
            self.cache.invalidate(key, size..u64::MAX);
        }
        result.map_err(|error| self.stale_if_absent(ino, error))
    }

    fn writer_for(&self, ino: u64, handle: Option<u64>) -> Option<Arc<OpenFile<S>>> {
        let own = handle.and_then(|handle| self.handles.file(handle).ok()).filter(|file| file.access.write);
        own.or_else(|| self.writer(ino))
    }
}
