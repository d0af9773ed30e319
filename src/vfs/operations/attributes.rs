//! Attributes, and changes of them: size, times, owner, group and mode.

use super::revalidate;
use crate::share::{Attributes, Change, FileKind, FileTime, Ownership, Share, Target};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Open};
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding, ownership};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::SystemTime;

/// Changes of attributes; `None` leaves an attribute as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The time of the last access.
    pub accessed: Option<SetTime>,
    /// The time of the last write.
    pub modified: Option<SetTime>,
    /// The handle that the program used, if it used one.
    pub handle: Option<u64>,
    /// Whether the change clears the set-id bits of anything but a directory.
    pub kills_set_id: bool,
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

/// The attributes of an inode, if they are valid but for the times of a directory, which are estimated while only the
/// server knows them. They are right for the check of permissions that precedes most uses of a name: after each change
/// in a directory the kernel asks for its attributes again, whether a program wants the times or not.
pub fn estimated_attributes<S: Share>(vfs: &Vfs<S>, ino: u64) -> Option<Attr> {
    vfs.names.estimated_attributes(ino)
}

/// A name of an inode; `None` for the root, and if none is known.
pub fn name_of<S: Share>(vfs: &Vfs<S>, ino: u64) -> Option<OsString> {
    vfs.names.with(|namespace, _| name_encoding::decode(&namespace.name_of(ino)?.name))
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
/// `EPERM` for another owner, group or mode than the file has, with nothing changed, if the mount denies it; `EISDIR`
/// for a directory's size; `EROFS`; `ESTALE` as [`getattr`]; otherwise what the share answered.
pub async fn setattr<S: Share>(vfs: &Vfs<S>, ino: u64, set: &SetAttr) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let file = vfs.names.file(ino).ok_or_else(VfsError::stale)?;
    if let Ok(path) = vfs.names.path(ino) {
        vfs.terms.check_changeable(&path)?;
    }
    let set = &with_stored_mode(vfs, &file, set);
    if let Some(attr) = hold_back(vfs, &file, set)? {
        return Ok(attr);
    }
    // A size or a time is set after the data that was written before.
    vfs.files.drain(&file).await;
    // The other attributes have to be known, or the request would clear them.
    if set.mode.is_some() && !vfs.names.is_known(ino) {
        revalidate::refresh(vfs, ino).await?;
    }
    let owner = keep(vfs, &file, wanted_owner(vfs, &file, set)?).await?;
    let change = change_for(vfs, &file, set, owner)?;
    if change == Change::default() {
        owned(vfs, &file, set, owner);
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
    owned(vfs, &file, set, owner);
    vfs.names.attr(ino)
}

/// The change with the mode that remains without set-id bits, if it clears them and the server keeps modes: they must
/// not stay there for the new owner.
fn with_stored_mode<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, set: &SetAttr) -> SetAttr {
    if !set.kills_set_id || !ownership::stores_modes(&vfs.terms.options) {
        return *set;
    }
    let state = file.lock();
    let left = state.owner().without_set_id().filter(|_| state.metadata().kind() != FileKind::Directory);
    SetAttr { mode: set.mode.or(left.map(u32::from)), ..*set }
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
    let owner = Kept { remembered: wanted_owner(vfs, file, set)?, ..Kept::default() };
    // The server stores an owner by the file's path, after the data.
    if !ownership::storable(&vfs.terms.options, owner.remembered).is_nothing() {
        return Ok(None);
    }
    let (change, clock) = (change_for(vfs, file, set, owner)?, vfs.share.clock());
    let is_deferred = vfs.files.with(file, |state, now| {
        let may = state.has_dirty_data() && vfs.terms.policy.decide(state.caching()).holds_writes;
        (may, if may { state.on(Event::Deferred { change, clock }, now) } else { Vec::new() })
    });
    if is_deferred {
        owned(vfs, file, set, owner);
    }
    if is_deferred { Ok(Some(vfs.names.attr(file.ino)?)) } else { Ok(None) }
}

/// What is to change of the owner, group and mode that are shown.
///
/// # Errors
/// `EPERM` if the mount denies it; `ESTALE` if the inode is gone.
fn wanted_owner<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, set: &SetAttr) -> Result<Ownership> {
    if (set.uid, set.gid, set.mode) == (None, None, None) {
        return Ok(Ownership::NOTHING);
    }
    let shown = vfs.names.shown(file.ino).ok_or_else(VfsError::stale)?;
    ownership::wanted(&vfs.terms.options, set, &shown, file.lock().owner().remembered())
}

/// Where owner, group and mode are kept that a program has set.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// At the server.
    stored: Ownership,
    /// By this mount.
    remembered: Ownership,
}

/// Stores at the server what it keeps.
///
/// # Errors
/// `ESTALE` if the file's name means nothing any more; otherwise what the share answered.
async fn keep<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, owner: Ownership) -> Result<Kept> {
    let storable = ownership::storable(&vfs.terms.options, owner);
    let stored = match storable.is_nothing() {
        true => Ownership::NOTHING,
        false => {
            revalidate::certain_path(vfs, file).await?;
            let stored = vfs.names.store_owner(file, storable).await;
            stored.map_err(|error| vfs.names.stale_if_absent(file.ino, error))?
        }
    };
    Ok(Kept { stored, remembered: owner.without(stored) })
}

/// Records owner, group and mode that a program has set, and that set-id bits are gone.
fn owned<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, set: &SetAttr, Kept { stored, remembered }: Kept) {
    if !stored.over(remembered).is_nothing() {
        vfs.files.event(file, Event::Owned { stored, remembered, clock: vfs.share.clock() });
    }
    let mut state = file.lock();
    // The set-group-id bit of a directory means something else.
    if set.kills_set_id && set.mode.is_none() && state.metadata().kind() != FileKind::Directory {
        state.written_without_privileges();
    }
}

/// A user writes or truncates a file: set-id bits go, unless the user is root. The kernel does not clear them
/// (FUSE_HANDLE_KILLPRIV_V2).
pub fn written_by<S: Share>(vfs: &Vfs<S>, handle: u64, uid: u32) {
    if uid != 0
        && let Ok(open) = vfs.handles.file(handle)
    {
        open.file.lock().written_without_privileges();
    }
}

/// Makes a new file of `wanted` show it: the mode is stored where the server keeps it. A failure leaves it remembered:
/// the file exists, and the program expects it to have this mode. Owner and group are not stored: the server has made
/// the account that signed in the owner, whose rights may depend on that.
pub(super) async fn own_new<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, wanted: Ownership) {
    let mode = Ownership { mode: wanted.mode, ..Ownership::NOTHING };
    let stored = keep(vfs, file, mode).await.unwrap_or_default().stored;
    let Some(shown) = vfs.names.shown(file.ino) else { return };
    let remembered = ownership::differing(wanted.without(stored), &shown);
    vfs.files.with(file, |state, now| {
        state.own(stored, remembered, now);
        ((), Vec::new())
    });
}

/// The change of the share that sets these attributes on a file. A mode without any write bit sets the read-only
/// attribute, unless the server has the mode itself.
fn change_for<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, set: &SetAttr, owner: Kept) -> Result<Change> {
    let (known, reported) = {
        let state = file.lock();
        (*state.metadata(), state.owner().reported())
    };
    let (kind, attributes) = (known.kind(), known.attributes);
    if kind == FileKind::Directory && set.size.is_some() {
        return Err(VfsError::rule(libc::EISDIR, "a directory's size cannot be set"));
    }
    let is_stored = ownership::stores_modes(&vfs.terms.options)
        && (owner.stored.mode.is_some() || reported.mode.map(u32::from) == set.mode.map(|mode| mode & 0o7777));
    // Where the server has the mode, the attribute must not forbid what the mode allows.
    let readonly = set.mode.filter(|_| kind == FileKind::File);
    let readonly = readonly.and_then(|mode| ownership::readonly(&vfs.terms.options, mode));
    let readonly = readonly.map(|readonly| readonly && !is_stored);
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
            let path = match touched {
                Some(_) if set.is_ok() => revalidate::certain_path(vfs, file).await.ok(),
                _ => None,
            };
            match path {
                // By path: if a time was set through a handle, later writes through it would not move the time any
                // more.
                Some(path) => {
                    let touch = Change { modified: touched, ..Change::default() };
                    vfs.names.with_room(|| vfs.share.set(Target::Path(&path), &touch)).await
                }
                None => set,
            }
        }
        None => {
            let path = revalidate::certain_path(vfs, file).await?;
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
