//! Answers that are given from the cache without asking the server, and the error for a file that the server no longer
//! finds.

use super::Names;
use super::namespace::{Known, Namespace, ROOT};
use crate::share::{Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::driver::Open;
use crate::vfs::presentation::Attr;
use crate::vfs::{name_encoding, refusals};
use std::ffi::OsStr;
use std::time::Instant;

impl<S: Share> Names<S> {
    /// What `name` in the directory `parent` means, if that is known without asking the server. The inode has one more
    /// lookup. To be called within the runtime.
    ///
    /// # Errors
    /// `ENOENT` if the name is known to be absent.
    pub(crate) fn known_entry(&self, parent: u64, name: &OsStr) -> Option<Result<Attr>> {
        let name = name_encoding::encode(name).ok()?;
        Some(match self.with(|namespace, now| namespace.known(parent, &name, now))? {
            Known::File(attr) => Ok(attr),
            Known::Absent => {
                Err(VfsError { level: tracing::Level::DEBUG, ..VfsError::rule(libc::ENOENT, "there is no such name") })
            }
        })
    }

    /// Records that the server contradicts the name of a node: the next lookup of the name asks the server.
    pub(crate) fn doubt_name(&self, ino: u64) {
        self.with(|namespace, now| namespace.doubt_name(ino, now));
    }

    /// The attributes of an inode, if they are valid without asking the server.
    pub(crate) fn known_attributes(&self, ino: u64) -> Option<Attr> {
        self.attributes_by(ino, Namespace::exact)
    }

    /// The attributes of an inode, if they are valid but for times, which may be estimated.
    pub(crate) fn estimated_attributes(&self, ino: u64) -> Option<Attr> {
        self.attributes_by(ino, Namespace::believed)
    }

    /// Attributes that the kernel gets.
    fn attributes_by(
        &self,
        ino: u64,
        known: impl FnOnce(&mut Namespace<Open<S>>, u64, Instant) -> Option<Attr>,
    ) -> Option<Attr> {
        self.with(|namespace, now| {
            let attr = known(namespace, ino, now)?;
            namespace.shown_to_kernel(&attr, now);
            Some(attr)
        })
    }

    /// Undoes the lookup of an entry that was found or made, because the kernel was not answered.
    pub(crate) fn entry_unanswered(&self, ino: u64) {
        self.attributes_unanswered(ino);
        self.forget(ino, 1);
    }

    /// Records that attributes of an inode were found, but the kernel was not answered.
    pub(crate) fn attributes_unanswered(&self, ino: u64) {
        if let Some(file) = self.file(ino) {
            file.lock().not_shown_to_kernel();
        }
    }

    /// Whether the attributes of an inode are valid without asking the server.
    pub(crate) fn is_known(&self, ino: u64) -> bool {
        self.with(|namespace, now| namespace.believed(ino, now)).is_some()
    }

    /// Whether the name of a file and its attributes are valid, so that a live open of the file may serve another
    /// open(2).
    pub(crate) fn may_share_open(&self, ino: u64) -> bool {
        self.with(|namespace, now| namespace.believes_name(ino, now) && namespace.believed(ino, now).is_some())
    }

    /// The cached attributes, whatever their age: for the answer to an operation that has just changed or fetched them.
    ///
    /// # Errors
    /// `ESTALE` if the inode has no node any more.
    pub(crate) fn attr(&self, ino: u64) -> Result<Attr> {
        self.with(|namespace, now| {
            let attr = namespace.attr(ino, now)?;
            namespace.shown_to_kernel(&attr, now);
            Some(attr)
        })
        .ok_or_else(VfsError::stale)
    }

    /// As [`Names::attr`], for this mount's own use: the kernel does not get them. `None` if the inode has no node.
    pub(crate) fn shown(&self, ino: u64) -> Option<Attr> {
        self.with(|namespace, now| namespace.attr(ino, now))
    }

    /// The error for a failed request by the path of a node. If the server finds nothing there, or something else, the
    /// program gets `ESTALE` instead of `ENOENT`: the kernel may have used an old name, and looks the name up again
    /// after `ESTALE`. That lookup asks the server.
    pub(crate) fn stale_if_absent(&self, ino: u64, error: ShareError) -> VfsError {
        // The root has no name that the kernel could look up again.
        if !refusals::is_absent(&error) || ino == ROOT {
            return error.into();
        }
        self.doubt_name(ino);
        VfsError { errno: libc::ESTALE, level: tracing::Level::DEBUG, ..error.into() }
    }
}
