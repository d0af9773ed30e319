//! Names to inodes, and their attributes.

use super::errno::{Result, VfsError};
use super::file::Event;
use super::inodes::Admission;
use super::presentation::Attr;
use super::{ROOT, Vfs, names};
use crate::share::{Metadata, Share, ShareError};
use crate::wire::NtStatus;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

/// So often a name is asked for again when this mount changed it meanwhile.
const ATTEMPTS: usize = 4;

impl<S: Share> Vfs<S> {
    /// What the name `shown` in the directory `parent` is, asked of the server. The inode gets one more lookup.
    ///
    /// # Errors
    /// `ENOENT` if there is nothing, or the server takes no such name; what the share answered.
    pub async fn lookup(&self, parent: u64, shown: &OsStr) -> Result<Attr> {
        let name = names::encode(shown)?;
        if self.list_for_names(parent, &name).await
            && let Some(known) = self.known_entry(parent, shown)
        {
            return known;
        }
        if let Some(ino) = self.with_inodes(|inodes| inodes.at(parent, &name)) {
            self.close_doubtful(ino).await;
        }
        for _ in 0..ATTEMPTS {
            let asked = self.asking();
            let (directory, before) =
                self.with_inodes(|inodes| (inodes.path(parent, &self.root), inodes.glimpse(parent, &name)));
            let path = directory.ok_or_else(VfsError::stale)?.join(&name);
            let metadata = match self.share.stat(&path).await {
                Ok(metadata) => metadata,
                Err(error) if is_absent(&error) => {
                    self.with_inodes(|inodes| inodes.vanished(parent, &name, before));
                    self.saw(parent, &name, None, asked);
                    return Err(VfsError { errno: libc::ENOENT, level: tracing::Level::DEBUG, ..error.into() });
                }
                Err(error) => return Err(error.into()),
            };
            if self.follow_rename(parent, &name, &metadata).await {
                continue;
            }
            let now = Instant::now();
            let admission = self.with_inodes(|inodes| inodes.admit(parent, &name, metadata, before, now));
            if let Admission::Node(ino) = admission {
                self.saw(parent, &name, Some(metadata), asked);
                return self.attr(ino);
            }
        }
        Err(VfsError::stale())
    }

    /// The server reports a file under a name, and this mount knows the same file under another one. Where that name does not
    /// mean it any more, another client has renamed it: the inode moves to its new name, with all that is open and cached of
    /// it. Says whether it did. Where both names mean it, it has two links, or the server gives one id to two files: as long
    /// as the number of links is not known, these are two inodes.
    async fn follow_rename(&self, parent: u64, name: &[u16], found: &Metadata) -> bool {
        let Some((ino, place, old)) = self.with_inodes(|inodes| {
            let ino = inodes.elsewhere(parent, name, found)?;
            Some((ino, inodes.place(ino)?.clone(), inodes.path(ino, &self.root)?))
        }) else {
            return false;
        };
        let asked = self.asking();
        let is_gone = match self.share.stat(&old).await {
            Ok(there) => there.identity() != found.identity(),
            Err(error) => is_absent(&error),
        };
        let is_followed = is_gone
            && self.with_inodes(|inodes| {
                let is_still = inodes.place(ino) == Some(&place) && inodes.at(parent, name).is_none();
                if is_still {
                    inodes.relocate(ino, parent, name, Instant::now());
                }
                is_still
            });
        if is_followed {
            self.saw(place.parent, &place.name, None, asked);
        }
        is_followed
    }

    /// The kernel gives back lookups of an inode.
    pub fn forget(&self, ino: u64, lookups: u64) {
        self.with_inodes(|inodes| inodes.forget(ino, lookups));
    }

    /// Attributes, as far as they are known and not too old.
    pub fn known_attributes(&self, ino: u64) -> Option<Attr> {
        self.with_inodes(|inodes| {
            let attr = self.believed(inodes, ino, Instant::now())?;
            inodes.file(ino)?.lock().shown_to_kernel();
            Some(attr)
        })
    }

    /// Whether the attributes are known and not too old.
    pub(super) fn is_known(&self, ino: u64) -> bool {
        self.with_inodes(|inodes| self.believed(inodes, ino, Instant::now())).is_some()
    }

    /// Attributes, asked of the server if they are not known.
    ///
    /// # Errors
    /// `ESTALE` if the inode's name is another file's now; what the share answered.
    pub async fn getattr(&self, ino: u64) -> Result<Attr> {
        match self.known_attributes(ino) {
            Some(attr) => Ok(attr),
            None => {
                self.refresh(ino).await?;
                self.attr(ino)
            }
        }
    }

    /// Asks the server for the attributes of an inode: through an open handle, which cannot mean
    /// another file, or by path.
    pub(super) async fn refresh(&self, ino: u64) -> Result<()> {
        // The answer is to be of after them: see `settle_closes`.
        self.close_doubtful(ino).await;
        self.settle_closes(ino).await;
        let (file, path) = self
            .with_inodes(|inodes| Some((Arc::clone(inodes.file(ino)?), inodes.path(ino, &self.root))))
            .ok_or_else(VfsError::stale)?;
        let (token, open) = {
            let state = file.lock();
            (state.token(), state.live_open())
        };
        if let Some(open) = open {
            let metadata = self.share.metadata(&open).await?;
            self.files.event(&file, Event::Fetched { metadata, token });
            let granted = file.lock().caching();
            if !self.is_alone(granted) && !self.policy.believes_data(granted) {
                self.cache.drop_file(file.key);
                self.forget_in_time(&file);
            }
            return Ok(());
        }
        let asked = self.asking();
        let metadata = self
            .share
            .stat(&path.ok_or_else(VfsError::stale)?)
            .await
            .map_err(|error| self.stale_if_absent(ino, error))?;
        if let Some(place) = self.with_inodes(|inodes| inodes.place(ino).cloned()) {
            self.saw(place.parent, &place.name, Some(metadata), asked);
        }
        let same = self.with_inodes(|inodes| {
            let same = inodes.is_still(ino, &metadata);
            if same {
                inodes.store(ino, metadata, token, Instant::now());
            }
            same
        });
        if !same {
            self.doubt_name(ino);
            return Err(VfsError::stale());
        }
        Ok(())
    }

    /// The server says that nothing is where a node was, or that something else is. That is no answer to a program: the
    /// kernel may have believed an old name, and looks it up again when it is told `ESTALE`. The server is asked then.
    pub(super) fn stale_if_absent(&self, ino: u64, error: ShareError) -> VfsError {
        // The root has no name that could be looked up again.
        if !is_absent(&error) || ino == ROOT {
            return error.into();
        }
        self.doubt_name(ino);
        VfsError { errno: libc::ESTALE, level: tracing::Level::DEBUG, ..error.into() }
    }

    /// What is known, whatever its age: for the answer to an operation that has just changed it.
    pub(super) fn attr(&self, ino: u64) -> Result<Attr> {
        self.with_inodes(|inodes| {
            let attr = self.shown(inodes, ino, Instant::now())?;
            inodes.file(ino)?.lock().shown_to_kernel();
            Some(attr)
        })
        .ok_or_else(VfsError::stale)
    }
}

/// Whether the server says that nothing has this name, or that nothing can have it.
pub(super) fn is_absent(error: &ShareError) -> bool {
    matches!(
        error.nt_status(),
        Some(
            NtStatus::NO_SUCH_FILE
                | NtStatus::OBJECT_NAME_NOT_FOUND
                | NtStatus::OBJECT_PATH_NOT_FOUND
                | NtStatus::OBJECT_NAME_INVALID
                | NtStatus::DELETE_PENDING
                | NtStatus::FILE_DELETED
        )
    )
}
