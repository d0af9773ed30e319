//! Which version of a file's data is cached, here and by the kernel. Plain values.

use crate::share::{FileTime, Metadata};
use std::time::Instant;

/// What stays the same as long as a file's data does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DataVersion {
    size: u64,
    modified: FileTime,
    changed: FileTime,
}

impl From<&Metadata> for DataVersion {
    fn from(metadata: &Metadata) -> DataVersion {
        DataVersion { size: metadata.size, modified: metadata.modified, changed: metadata.changed }
    }
}

/// Whether the data that is cached of a file may still be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataValidity {
    /// The version that the cached data is of; `None` after a write by this mount.
    version: Option<DataVersion>,
    /// When that was last known to be the server's version.
    validated: Option<Instant>,
    /// The version that the kernel's own cached pages are of.
    kernel: Option<DataVersion>,
    /// By opening this handle the kernel drops the pages of other versions.
    kernel_drops: Option<(u64, DataVersion)>,
}

impl DataValidity {
    /// Of a file of which nothing is cached yet.
    pub(crate) fn of(version: DataVersion, now: Instant) -> DataValidity {
        DataValidity { version: Some(version), validated: Some(now), kernel: None, kernel_drops: None }
    }

    /// When the version was last compared with the server's; `None` since it was found to be in doubt.
    pub(crate) fn validated(&self) -> Option<Instant> {
        self.validated
    }

    /// The server's version is this one. Says whether cached data has to be dropped.
    #[must_use]
    pub(crate) fn validate(&mut self, version: DataVersion, now: Instant) -> bool {
        let changed = self.version != Some(version);
        self.version = Some(version);
        self.validated = Some(now);
        changed
    }

    /// The server was asked while this mount was writing: its answer may be of before or after. All
    /// that is cached has to be dropped.
    pub(crate) fn validate_blindly(&mut self, now: Instant) {
        self.version = None;
        self.validated = Some(now);
    }

    /// This mount has changed the data.
    pub(crate) fn changed(&mut self) {
        self.version = None;
        self.kernel = None;
        self.kernel_drops = None;
    }

    /// The server does not vouch for the data any more.
    pub(crate) fn expire(&mut self) {
        self.validated = None;
    }

    /// The kernel opens the file, and the server says that its data has this version, and whether nobody else has it
    /// open: while others write, versions do not tell. Says whether the pages that the kernel has from earlier are of
    /// the same version: all of them were read when or after it was this one, and it still is.
    pub(crate) fn kernel_opens(&mut self, handle: u64, version: DataVersion, alone: bool) -> bool {
        let keeps = alone && self.kernel == Some(version);
        if !keeps {
            self.kernel = None;
            self.kernel_drops = alone.then_some((handle, version));
        }
        keeps
    }

    /// A handle was opened and the kernel was not told, so it has dropped nothing.
    pub(crate) fn kernel_did_not_open(&mut self, handle: u64) {
        self.kernel_drops.take_if(|(by, _)| *by == handle);
    }

    /// The kernel closes a handle: when it had opened it, it dropped its pages if it was told to.
    pub(crate) fn kernel_closes(&mut self, handle: u64) {
        if let Some((_, version)) = self.kernel_drops.take_if(|(by, _)| *by == handle) {
            self.kernel = Some(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn metadata(size: u64) -> Metadata {
        Metadata { size, modified: FileTime(size + 100), ..Metadata::default() }
    }

    fn version(size: u64) -> DataVersion {
        DataVersion::from(&metadata(size))
    }

    #[test]
    fn data_is_dropped_when_its_version_differs() {
        let start = Instant::now();
        let mut data = DataValidity::default();
        assert_eq!(data.validated(), None);
        assert!(data.validate(version(1), start), "of data from before nothing is known");
        assert!(!data.validate(version(1), start + TIMEOUT));
        assert_eq!(data.validated(), Some(start + TIMEOUT));
        assert!(data.validate(version(2), start));
        data.changed();
        assert!(data.validate(version(2), start), "after an own write no version is known");
        data.expire();
        assert_eq!(data.validated(), None);
    }

    #[test]
    fn the_kernel_keeps_its_pages_only_while_nothing_changed() {
        let mut data = DataValidity::default();
        assert!(!data.kernel_opens(1, version(1), true), "the first open");
        assert!(!data.kernel_opens(2, version(1), true), "the first may still be about to drop them");
        data.kernel_closes(1);
        assert!(!data.kernel_opens(3, version(1), true), "that was the second's to do");
        data.kernel_closes(3);
        assert!(data.kernel_opens(4, version(1), true));
        assert!(!data.kernel_opens(5, version(2), true), "changed by somebody else");
        data.kernel_closes(5);
        assert!(data.kernel_opens(6, version(2), true));
        assert!(!data.kernel_opens(7, version(2), false), "somebody else may be changing it");
        data.kernel_closes(7);
        assert!(!data.kernel_opens(8, version(2), true));
        data.kernel_did_not_open(8);
        data.kernel_closes(8);
        assert!(!data.kernel_opens(8, version(2), true), "the kernel was not told to drop them");
        data.changed();
        data.kernel_closes(8);
        assert!(!data.kernel_opens(9, version(2), true), "changed by this mount");
    }
}
