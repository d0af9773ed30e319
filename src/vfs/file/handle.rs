//! A kernel handle of a file: what open(2) asked for, and which failures have been reported through it. Plain values.
//!
//! Invariant: a failed write is reported to each handle that was open at the failure, and to no other.

use crate::config::CacheMode;
use crate::share::ShareError;
use crate::vfs::errno::{Result, VfsError};

/// What a handle may be used for, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub read: bool,
    pub write: bool,
    /// Each write is appended at the end of the file.
    pub append: bool,
    /// Neither this page cache nor the kernel's is used.
    pub direct: bool,
    /// Each write is on the server's disk when it returns.
    pub sync: bool,
    /// The open cuts the file to length 0.
    pub truncate: bool,
}

impl Access {
    /// The access that the flags of open(2) ask for, on a mount with this cache mode.
    ///
    /// # Errors
    /// `EINVAL` for an access mode that does not exist.
    pub(crate) fn from_flags(flags: i32, cache: CacheMode) -> Result<Access> {
        let (read, write) = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            libc::O_RDWR => (true, true),
            _ => return Err(VfsError::rule(libc::EINVAL, "the access mode does not exist")),
        };
        Ok(Access {
            read,
            write,
            append: flags & libc::O_APPEND != 0,
            direct: flags & libc::O_DIRECT != 0 || cache == CacheMode::None,
            sync: flags & libc::O_DSYNC != 0,
            truncate: flags & libc::O_TRUNC != 0,
        })
    }

    /// Whether the kernel keeps no pages for this handle, because nothing is read through it, or nothing is cached.
    /// Without pages the kernel saves a copy, and work for each page. At a write through such a handle the kernel drops
    /// its pages of the range, also those that programs have mapped.
    pub(crate) fn bypasses_kernel(self) -> bool {
        self.direct || !self.read
    }

    /// Whether writes must not stay dirty.
    pub(crate) fn writes_through(self) -> bool {
        self.direct || self.sync
    }

    /// Whether a program can dirty pages of the file through a mapping with this handle.
    pub(crate) fn may_map_for_writing(self) -> bool {
        self.read && self.write && !self.direct
    }

    /// Whether the open or its handle may change the file.
    pub(crate) fn modifies(self) -> bool {
        self.write || self.truncate
    }
}

/// A handle of the kernel.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) number: u64,
    /// The open at the server that it uses.
    pub(super) open: u64,
    pub(super) access: Access,
    /// The kernel has released it, and it is being closed.
    pub(super) closing: bool,
    seen: Seen,
}

impl Handle {
    pub(super) fn new(number: u64, open: u64, access: Access, failures: &Failures) -> Handle {
        Handle { number, open, access, closing: false, seen: failures.seen() }
    }

    /// The failure that is due through this handle on this occasion.
    pub(super) fn report(&mut self, failures: &Failures, occasion: Occasion) -> Option<ShareError> {
        failures.report(&mut self.seen, occasion)
    }
}

/// The occasion on which a failed write is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Occasion {
    /// write(2): each failure once. The kernel may hide it from the program if a part of the data could be written.
    Write,
    /// close(2): each time, because several processes may have inherited the descriptor and close it, and only one of
    /// them looks at the result.
    Close,
    /// fsync(2): each failure once. After that no write and no close of this handle reports it.
    Sync,
}

/// The failures that a handle has reported, or that are older than it: their number for write(2), and for fsync(2).
#[derive(Clone, Copy, Debug)]
struct Seen {
    by_write: u64,
    by_sync: u64,
}

/// The failures of writes that had already been acknowledged to their programs.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: u64,
    last: Option<ShareError>,
}

impl Failures {
    pub(super) fn add(&mut self, error: ShareError) {
        self.count += 1;
        self.last = Some(error);
    }

    fn seen(&self) -> Seen {
        Seen { by_write: self.count, by_sync: self.count }
    }

    fn report(&self, seen: &mut Seen, occasion: Occasion) -> Option<ShareError> {
        let before = match occasion {
            Occasion::Write => std::mem::replace(&mut seen.by_write, self.count),
            Occasion::Close => seen.by_sync,
            Occasion::Sync => {
                seen.by_write = self.count;
                std::mem::replace(&mut seen.by_sync, self.count)
            }
        };
        self.last.clone().filter(|_| before < self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::RemotePath;
    use crate::wire::NtStatus;

    fn handle(failures: &Failures) -> Handle {
        Handle::new(1, 1, Access::from_flags(libc::O_RDWR, CacheMode::Strict).unwrap(), failures)
    }

    #[test]
    fn each_handle_reports_a_failure_once_per_write_and_fsync_and_at_each_close() {
        let mut failures = Failures::default();
        let mut before = handle(&failures);
        failures.add(ShareError::status("WRITE", &RemotePath::root(), NtStatus::DISK_FULL));
        let mut after = handle(&failures);
        let reports = |handle: &mut Handle, occasion| handle.report(&failures, occasion).is_some();
        assert!(reports(&mut before, Occasion::Write) && !reports(&mut before, Occasion::Write));
        assert!(reports(&mut before, Occasion::Close) && reports(&mut before, Occasion::Close));
        assert!(reports(&mut before, Occasion::Sync) && !reports(&mut before, Occasion::Sync));
        assert!(!reports(&mut before, Occasion::Close), "an fsync has reported it");
        for occasion in [Occasion::Write, Occasion::Close, Occasion::Sync] {
            assert!(!reports(&mut after, occasion), "it was opened after the failure");
        }
    }
}
