//! The terms of a mount: what it shows, and what it may do. A plain value, fixed at mount time.

use super::errno::{Result, VfsError};
use super::policy::Policy;
use super::presentation::Presentation;
use crate::config::CacheMode;
use crate::share::RemotePath;
use std::time::Duration;

/// The options of a mount that concern the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsOptions {
    /// User id of the owner of all files.
    pub uid: u32,
    /// Group id of all files.
    pub gid: u32,
    /// Permission bits of files; bits beyond `0o7777` are ignored.
    pub file_mode: u32,
    /// Permission bits of directories; bits beyond `0o7777` are ignored.
    pub dir_mode: u32,
    /// The mount changes nothing on the share.
    pub read_only: bool,
    /// The cache mode.
    pub cache: CacheMode,
    /// How long attributes, names and cached data of open files are valid without a lease.
    pub attr_timeout: Duration,
    /// The most memory of the page cache, in bytes.
    pub cache_size: u64,
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
}

impl Terms {
    /// The terms of a mount of `root`, on a share whose READ returns at most `read_limit` bytes.
    pub(crate) fn new(options: VfsOptions, root: RemotePath, read_limit: u32) -> Terms {
        let show = Presentation {
            uid: options.uid,
            gid: options.gid,
            file_mode: (options.file_mode & 0o7777) as u16,
            dir_mode: (options.dir_mode & 0o7777) as u16,
            // Programs size their buffers by it: at least a page (4 KiB), at most the largest kernel request (1 MiB).
            block_size: read_limit.clamp(4096, 1 << 20),
        };
        let policy = Policy { mode: options.cache, timeout: options.attr_timeout };
        Terms { options, root, show, policy }
    }

    /// Checks that the mount may change the share.
    ///
    /// # Errors
    /// `EROFS` on a read-only mount.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(VfsError::rule(libc::EROFS, "the mount is read-only"));
        }
        Ok(())
    }
}
