//! The terms of a mount: what it shows, and what it may do. A plain value.

use super::errno::{Result, VfsError};
use super::policy::Policy;
use super::presentation::Presentation;
use crate::config::CacheMode;
use crate::share::RemotePath;
use std::time::Duration;

/// What a mount is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsOptions {
    /// Owner of all files.
    pub uid: u32,
    /// Group of all files.
    pub gid: u32,
    /// Permission bits of files.
    pub file_mode: u32,
    /// Permission bits of directories.
    pub dir_mode: u32,
    /// Nothing may be changed.
    pub read_only: bool,
    /// What is cached.
    pub cache: CacheMode,
    /// How long attributes, names and cached data of open files are believed.
    pub attr_timeout: Duration,
    /// The most that the page cache keeps, in bytes.
    pub cache_size: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub options: VfsOptions,
    /// What of the share the mount shows.
    pub root: RemotePath,
    pub show: Presentation,
    pub policy: Policy,
}

impl Terms {
    /// The terms of a mount of `root`, on a share whose READs bring at most `read_limit` bytes.
    pub(crate) fn new(options: VfsOptions, root: RemotePath, read_limit: u32) -> Terms {
        let show = Presentation {
            uid: options.uid,
            gid: options.gid,
            file_mode: (options.file_mode & 0o7777) as u16,
            dir_mode: (options.dir_mode & 0o7777) as u16,
            // Programs size their buffers by it: no less than a page, no more than a request of the kernel.
            block_size: read_limit.clamp(4096, 1 << 20),
        };
        let policy = Policy { mode: options.cache, timeout: options.attr_timeout };
        Terms { options, root, show, policy }
    }

    /// # Errors
    /// `EROFS` on a read-only mount.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(VfsError::rule(libc::EROFS, "the mount is read-only"));
        }
        Ok(())
    }
}
