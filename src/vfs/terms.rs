//! The terms of a mount: what it shows, and what it may do. Fixed at mount time, except whether it is read-only.

use super::errno::{Result, VfsError};
use super::policy::Policy;
use super::presentation::Presentation;
use crate::config::{CacheMode, Keeping, OwnerOptions, OwnerSource};
use crate::share::RemotePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The options of a mount that concern the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsOptions {
    /// User id of the owner of files.
    pub uid: u32,
    /// Group id of files.
    pub gid: u32,
    /// Permission bits of files; bits beyond `0o7777` are ignored.
    pub file_mode: u32,
    /// Permission bits of directories; bits beyond `0o7777` are ignored.
    pub dir_mode: u32,
    /// Where owners and modes come from, and what changes of them do.
    pub owner: OwnerOptions,
    /// The mount changes nothing on the share, unless it is remounted.
    pub read_only: bool,
    /// The cache mode.
    pub cache: CacheMode,
    /// How long attributes, names and cached data of open files are valid without a lease.
    pub attr_timeout: Duration,
    /// The most memory of the page cache, in bytes.
    pub cache_size: u64,
}

impl VfsOptions {
    /// Whether the read-only attribute is all that the server keeps of a file's mode: it is set where nobody may write.
    pub(crate) fn stores_write_bit(&self) -> bool {
        self.owner.source == OwnerSource::Options && self.owner.chmod == Keeping::Store
    }
}

/// The options of a mount, and the values made from them.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The options of the mount.
    pub options: VfsOptions,
    /// The path on the share that is the root of the mount.
    pub root: RemotePath,
    /// How metadata is shown.
    pub show: Presentation,
    /// The coherence decisions.
    pub policy: Policy,
    /// Whether the mount may change the share, in all copies of these terms.
    access: Arc<Access>,
}

/// Whether a mount may change the share.
#[derive(Debug)]
struct Access {
    is_writable: AtomicBool,
    /// Whether the mount is writable, or was at some time.
    was_writable: AtomicBool,
}

impl Terms {
    /// The terms of a mount of `root`, on a share whose READ returns at most `read_limit` bytes.
    pub(crate) fn new(options: VfsOptions, root: RemotePath, read_limit: u32) -> Terms {
        let show = Presentation {
            uid: options.uid,
            gid: options.gid,
            file_mode: (options.file_mode & 0o7777) as u16,
            dir_mode: (options.dir_mode & 0o7777) as u16,
            has_write_bit_from_server: options.stores_write_bit(),
            owner_is_fetched: options.owner.source == OwnerSource::Server,
            // Programs size their buffers by it: at least a page (4 KiB), at most the largest kernel request (1 MiB).
            block_size: read_limit.clamp(4096, 1 << 20),
        };
        let policy = Policy { mode: options.cache, timeout: options.attr_timeout };
        let access = Access {
            is_writable: AtomicBool::new(!options.read_only),
            was_writable: AtomicBool::new(!options.read_only),
        };
        Terms { options, root, show, policy, access: Arc::new(access) }
    }

    /// Whether the mount may not change the share.
    pub(crate) fn is_read_only(&self) -> bool {
        !self.access.is_writable.load(Ordering::Relaxed)
    }

    /// Whether there can be data on the server that was written through this mount.
    pub(crate) fn was_writable(&self) -> bool {
        self.access.was_writable.load(Ordering::Relaxed)
    }

    /// The mount was remounted.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.access.was_writable.fetch_or(!read_only, Ordering::Relaxed);
        self.access.is_writable.store(!read_only, Ordering::Relaxed);
    }

    /// Checks that the mount may change the share.
    ///
    /// # Errors
    /// `EROFS` on a read-only mount.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(VfsError::rule(libc::EROFS, "the mount is read-only"));
        }
        Ok(())
    }

    /// Checks that a path may be changed. The share refuses a change of a previous version as well; here nothing is
    /// prepared for it, and no attribute is remembered.
    ///
    /// # Errors
    /// `EROFS` on a read-only mount, and for a path that leads to a previous version.
    pub(crate) fn check_changeable(&self, path: &RemotePath) -> Result<()> {
        self.check_writable()?;
        match path.is_previous() {
            true => Err(VfsError::rule(libc::EROFS, "a previous version cannot be changed")),
            false => Ok(()),
        }
    }
}
