//! Answers from what is known of a name, and how long that may be believed.

use super::Names;
use super::namespace::{Known, ROOT};
use crate::share::{Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::presentation::Attr;
use crate::vfs::{name_encoding, refusals};
use std::ffi::OsStr;

impl<S: Share> Names<S> {
    /// What `name` in the directory `parent` is, if that is known without asking; the inode gets one more lookup.
    /// To be called within the runtime.
    pub(crate) fn known_entry(&self, parent: u64, name: &OsStr) -> Option<Result<Attr>> {
        let name = name_encoding::encode(name).ok()?;
        Some(match self.with(|namespace, now| namespace.known(parent, &name, now))? {
            Known::File(attr) => Ok(attr),
            Known::Absent => {
                Err(VfsError { level: tracing::Level::DEBUG, ..VfsError::rule(libc::ENOENT, "there is no such name") })
            }
        })
    }

    /// The server says that a node's name is not what it was taken for.
    pub(crate) fn doubt_name(&self, ino: u64) {
        self.with(|namespace, now| namespace.doubt_name(ino, now));
    }

    /// Attributes, as far as they are known and not too old.
    pub(crate) fn known_attributes(&self, ino: u64) -> Option<Attr> {
        self.with(|namespace, now| {
            let attr = namespace.believed(ino, now)?;
            namespace.shown_to_kernel(ino, now);
            Some(attr)
        })
    }

    /// An entry was found or made, which counts as a lookup, and the kernel was not answered.
    pub(crate) fn entry_unanswered(&self, ino: u64) {
        self.attributes_unanswered(ino);
        self.forget(ino, 1);
    }

    /// Attributes of an inode were found, and the kernel was not answered.
    pub(crate) fn attributes_unanswered(&self, ino: u64) {
        if let Some(file) = self.file(ino) {
            file.lock().not_shown_to_kernel();
        }
    }

    /// Whether the attributes are known and not too old.
    pub(crate) fn is_known(&self, ino: u64) -> bool {
        self.with(|namespace, now| namespace.believed(ino, now)).is_some()
    }

    /// Whether the name of a file, and its attributes, are known well enough to use an open of it that is there.
    pub(crate) fn may_share_open(&self, ino: u64) -> bool {
        self.with(|namespace, now| namespace.believes_name(ino, now) && namespace.believed(ino, now).is_some())
    }

    /// What is known, whatever its age: for the answer to an operation that has just changed it.
    pub(crate) fn attr(&self, ino: u64) -> Result<Attr> {
        self.with(|namespace, now| {
            let attr = namespace.attr(ino, now)?;
            namespace.shown_to_kernel(ino, now);
            Some(attr)
        })
        .ok_or_else(VfsError::stale)
    }

    /// The server says that nothing is where a node was, or that something else is. That is no answer to a program: the
    /// kernel may have believed an old name, and looks it up again when it is told `ESTALE`. The server is asked then.
    pub(crate) fn stale_if_absent(&self, ino: u64, error: ShareError) -> VfsError {
        // The root has no name that could be looked up again.
        if !refusals::is_absent(&error) || ino == ROOT {
            return error.into();
        }
        self.doubt_name(ino);
        VfsError { errno: libc::ESTALE, level: tracing::Level::DEBUG, ..error.into() }
    }
}
