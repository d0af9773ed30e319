//! Which version of a file's data is cached, here and by the kernel. Plain values.
//!
//! Invariant: `kernel` is set only while all pages of the kernel are of that version.

use crate::share::{FileTime, Metadata};
use std::time::Instant;

/// The metadata by which versions of a file's data are compared.
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

/// The versions of the data cached here and by the kernel, and when the server last confirmed them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataValidity {
    /// The version that the cached data is of; `None` after a write by this mount.
    version: Option<DataVersion>,
    /// When the server last reported this version. `None` after it was put in doubt.
    validated: Option<Instant>,
    /// The version of the kernel's pages.
    kernel: Option<DataVersion>,
    /// The handle whose open makes the kernel drop pages of other versions, and the version from then on.
    kernel_drops: Option<(u64, DataVersion)>,
}

impl DataValidity {
    /// The validity for a file with this version of which no data is cached yet.
    pub(crate) fn of(version: DataVersion, now: Instant) -> DataValidity {
        DataValidity { version: Some(version), validated: Some(now), kernel: None, kernel_drops: None }
    }

    /// When the server last reported the version; `None` while it is in doubt.
    pub(crate) fn validated(&self) -> Option<Instant> {
        self.validated
    }

    /// The server has reported this version. Returns whether cached data must be dropped.
    #[must_use]
    pub(crate) fn validate(&mut self, version: DataVersion, now: Instant) -> bool {
        let changed = self.version != Some(version);
        self.version = Some(version);
        self.validated = Some(now);
        changed
    }

    /// The server has answered while this mount was writing: the answer may be from before or after the write. The
    /// caller drops all cached data.
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

    /// The data may be stale from now on: it must be revalidated.
    pub(crate) fn expire(&mut self) {
        self.validated = None;
    }

    /// The kernel opens the file. The server reports this version of the data. `alone` says that no other client has
    /// the file open: while other clients write, versions prove nothing. Returns whether the kernel may keep its pages:
    /// all of them were read while this version was current.
    pub(crate) fn kernel_opens(&mut self, handle: u64, version: DataVersion, alone: bool) -> bool {
        let keeps = alone && self.kernel == Some(version);
        if !keeps {
            self.kernel = None;
            self.kernel_drops = alone.then_some((handle, version));
        }
        keeps
    }

    /// A handle was opened but its open was not returned to the kernel, so the kernel has dropped no pages.
    pub(crate) fn kernel_did_not_open(&mut self, handle: u64) {
        self.kernel_drops.take_if(|(by, _)| *by == handle);
    }

    /// The kernel closes a handle. If the open of the handle made the kernel drop pages, they have been dropped by now.
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
        assert!(data.validate(version(1), start), "the version of earlier data is unknown");
        assert!(!data.validate(version(1), start + TIMEOUT));
        assert_eq!(data.validated(), Some(start + TIMEOUT));
        assert!(data.validate(version(2), start));
        data.changed();
        assert!(data.validate(version(2), start), "after a write by this mount the version is unknown");
        data.expire();
        assert_eq!(data.validated(), None);
    }

    #[test]
    fn the_kernel_keeps_its_pages_only_while_the_data_is_unchanged() {
        let mut data = DataValidity::default();
        assert!(!data.kernel_opens(1, version(1), true), "the first open");
        assert!(!data.kernel_opens(2, version(1), true), "the first may still be about to drop them");
        data.kernel_closes(1);
        assert!(!data.kernel_opens(3, version(1), true), "the second open has to drop them");
        data.kernel_closes(3);
        assert!(data.kernel_opens(4, version(1), true));
        assert!(!data.kernel_opens(5, version(2), true), "changed by another client");
        data.kernel_closes(5);
        assert!(data.kernel_opens(6, version(2), true));
        assert!(!data.kernel_opens(7, version(2), false), "another client may be changing it");
        data.kernel_closes(7);
        assert!(!data.kernel_opens(8, version(2), true));
        data.kernel_did_not_open(8);
        data.kernel_closes(8);
        assert!(!data.kernel_opens(8, version(2), true), "the open did not make the kernel drop them");
        data.changed();
        data.kernel_closes(8);
        assert!(!data.kernel_opens(9, version(2), true), "changed by this mount");
    }
}
