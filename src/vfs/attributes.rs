//! Attributes: what the server says of a file, how long that is believed, and what a program sees.
//!
//! [`KnownAttributes`] is what is known of one file: the server's metadata, when it was fetched, and
//! what this mount has changed since. A fetch that was under way while this mount changed the file
//! may tell of the time before the change; [`KnownAttributes::store`] recognises it by the
//! [`FetchToken`] taken before the fetch and keeps what is known instead.
//!
//! [`DataVersion`] is what has to stay the same for cached data to be right.
//!
//! [`Presentation`] makes POSIX attributes of metadata. Owner, group and permission bits come from
//! the mount's options. The read-only attribute of a file takes its write bits away; on a directory
//! it means something else to every server, and nothing here.

use super::catalogue::Vouched;
use crate::share::{Attributes, Change, FileKind, FileTime, Metadata};
use std::time::{Duration, Instant};

/// Attributes as stat(2) shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Never the same for two files that had this inode number one after the other.
    pub generation: u64,
    /// File or directory.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes on the server's disk.
    pub blocks: u64,
    /// Last access.
    pub accessed: FileTime,
    /// Last write.
    pub modified: FileTime,
    /// Last change of data or metadata.
    pub changed: FileTime,
    /// Creation.
    pub created: FileTime,
    /// Permission bits.
    pub permissions: u16,
    /// 1 for files. 2 for directories, whose subdirectories are not counted.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The size that suits reading and writing best, in bytes.
    pub block_size: u32,
    /// How long the kernel may believe this, and the name it came with.
    pub ttl: Duration,
}

/// How metadata is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presentation {
    pub uid: u32,
    pub gid: u32,
    pub file_mode: u16,
    pub dir_mode: u16,
    pub block_size: u32,
}

impl Presentation {
    pub(crate) fn attr(&self, ino: u64, generation: u64, metadata: &Metadata, ttl: Duration) -> Attr {
        let kind = metadata.kind();
        let permissions = match kind {
            FileKind::Directory => self.dir_mode,
            FileKind::File if metadata.attributes.has(Attributes::READONLY) => self.file_mode & !0o222,
            FileKind::File => self.file_mode,
        };
        // Servers leave out times that they do not keep.
        let or_modified = |time: FileTime| if time == FileTime(0) { metadata.modified } else { time };
        Attr {
            ino,
            generation,
            kind,
            // The kernel takes no larger one, whatever the server says.
            size: metadata.size.min(i64::MAX as u64),
            blocks: metadata.allocation.div_ceil(512),
            accessed: or_modified(metadata.accessed),
            modified: metadata.modified,
            changed: or_modified(metadata.changed),
            created: or_modified(metadata.created),
            permissions: permissions & 0o7777,
            links: if kind == FileKind::Directory { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            block_size: self.block_size,
            ttl,
        }
    }
}

/// Taken before metadata is fetched, so that what comes back can be weighed against what this mount
/// did meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FetchToken(u64);

/// What is known of a file's attributes.
#[derive(Clone, Debug)]
pub(crate) struct KnownAttributes {
    metadata: Metadata,
    /// When the server said all of it; `None` once this mount has changed something whose outcome
    /// only the server knows.
    fetched: Option<Instant>,
    /// Counts changes by this mount.
    changes: u64,
    /// Written data is on its way: this mount knows better than the server how the file is.
    held: bool,
    /// The times are a guess, after a change by this mount whose time only the server knows.
    estimated: bool,
    /// The last change by this mount.
    changed_at: Option<Instant>,
    /// Since when it is not known how the file is.
    unknown_since: Option<Instant>,
    /// The server has told of a size that the kernel may not have been told of.
    resized: bool,
}

impl KnownAttributes {
    /// As the server just said.
    pub(crate) fn fetched(metadata: Metadata, now: Instant) -> KnownAttributes {
        KnownAttributes { fetched: Some(now), ..KnownAttributes::unknown(metadata) }
    }

    /// Nothing but a guess: to be fetched before anyone sees it.
    pub(crate) fn unknown(metadata: Metadata) -> KnownAttributes {
        KnownAttributes {
            metadata,
            fetched: None,
            changes: 0,
            held: false,
            estimated: false,
            changed_at: None,
            unknown_since: None,
            resized: false,
        }
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// When the server said all of it; `None` if that is not what is known.
    pub(crate) fn known_since(&self) -> Option<Instant> {
        self.fetched.filter(|_| !self.held && !self.estimated)
    }

    /// For how much longer all of it may be believed; `None` if not at all. `vouched` says of what was fetched
    /// that it is still true.
    pub(crate) fn remaining(&self, now: Instant, timeout: Duration, vouched: Option<Vouched>) -> Option<Duration> {
        if self.held {
            return Some(timeout);
        }
        let fetched = self.fetched?;
        let vouched = vouched.filter(|vouched| vouched.since <= fetched && !self.estimated);
        let age = now.saturating_duration_since(vouched.map_or(fetched, |vouched| vouched.until.max(fetched)));
        timeout.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    pub(crate) fn token(&self) -> FetchToken {
        FetchToken(self.changes)
    }

    /// Takes what the server said, unless this mount changed the file meanwhile. Says whether it did.
    pub(crate) fn store(&mut self, metadata: Metadata, token: FetchToken, now: Instant) -> bool {
        let takes = token.0 == self.changes && !self.held;
        if takes {
            self.take(metadata, now);
        }
        takes
    }

    /// Takes what a listing said that began at `fetched`, if nothing newer is known and nothing was changed since. Says
    /// whether it did.
    pub(crate) fn store_older(&mut self, metadata: Metadata, fetched: Instant) -> bool {
        let known = self.fetched.or(self.unknown_since);
        let takes = !self.held && known.is_some_and(|known| known < fetched);
        if takes {
            self.take(metadata, fetched);
        }
        takes
    }

    fn take(&mut self, metadata: Metadata, fetched: Instant) {
        self.resized |= self.metadata.size != metadata.size;
        self.metadata = metadata;
        self.fetched = Some(fetched);
        self.estimated = false;
    }

    /// The kernel is told of the size, or will ask for it.
    pub(crate) fn told(&mut self) {
        self.resized = false;
    }

    /// What the kernel was to be told it was not.
    pub(crate) fn not_told(&mut self) {
        self.resized = true;
    }

    /// Whether the kernel may believe that the file has another size.
    pub(crate) fn is_resized(&self) -> bool {
        self.resized
    }

    /// This mount wrote, and what it wrote ends at `end`. Times are the server's to tell.
    pub(crate) fn wrote(&mut self, end: u64) {
        self.metadata.size = self.metadata.size.max(end);
        self.metadata.allocation = self.metadata.allocation.max(self.metadata.size);
        self.changed();
    }

    /// A program wrote up to `end`, and the server will have it later. Until [`KnownAttributes::released`]
    /// the server is not asked: it would tell of the time before.
    pub(crate) fn holds(&mut self, end: u64, now: FileTime) {
        self.wrote(end);
        (self.metadata.modified, self.metadata.changed) = (now, now);
        self.held = true;
    }

    /// A program changed this much, and the server will have it after what was written.
    pub(crate) fn holds_back(&mut self, change: &Change) {
        self.applied(change);
        self.held = true;
    }

    /// The server has everything that was written.
    pub(crate) fn released(&mut self) {
        if std::mem::take(&mut self.held) {
            self.changed();
        }
    }

    /// Whether written data is on its way.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// This mount changed this much. What the server does besides is not known.
    pub(crate) fn applied(&mut self, change: &Change) {
        let metadata = &mut self.metadata;
        if let Some(size) = change.size {
            metadata.size = size;
            metadata.allocation = metadata.allocation.min(size.next_multiple_of(512));
        }
        metadata.created = change.created.unwrap_or(metadata.created);
        metadata.accessed = change.accessed.unwrap_or(metadata.accessed);
        metadata.modified = change.modified.unwrap_or(metadata.modified);
        metadata.attributes = change.attributes.unwrap_or(metadata.attributes);
        self.changed();
    }

    /// This mount changed something about the file; only the server knows what that did to its times.
    pub(crate) fn changed(&mut self) {
        self.changed_at = Some(Instant::now());
        self.doubt();
    }

    /// This mount changed the file, and the server has said how it is since.
    pub(crate) fn changed_as_told(&mut self) {
        self.changed_at = Some(Instant::now());
    }

    /// Somebody else may have changed it.
    pub(crate) fn doubt(&mut self) {
        self.changes += 1;
        self.fetched = None;
        self.unknown_since = Some(Instant::now());
    }

    /// This mount changed what is in a directory, about now as the server's clock has it. That is shown until
    /// the server is asked, which is not put off for it.
    pub(crate) fn entries_changed(&mut self, now: FileTime) {
        self.changes += 1;
        self.changed_at = Some(Instant::now());
        self.estimated = true;
        let latest = self.metadata.modified.max(now);
        (self.metadata.modified, self.metadata.changed) = (latest, latest);
    }

    /// When this mount changed the file last.
    pub(crate) fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }
}

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

    /// Whether the server was asked not longer than `timeout` ago.
    pub(crate) fn is_valid(&self, now: Instant, timeout: Duration) -> bool {
        self.validated.is_some_and(|validated| now.saturating_duration_since(validated) < timeout)
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

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn metadata(size: u64) -> Metadata {
        Metadata { size, modified: FileTime(size + 100), ..Metadata::default() }
    }

    fn version(size: u64) -> DataVersion {
        DataVersion::from(&metadata(size))
    }

    fn presentation() -> Presentation {
        Presentation { uid: 5, gid: 6, file_mode: 0o640, dir_mode: 0o750, block_size: 4096 }
    }

    fn shown(attributes: u32) -> Attr {
        let metadata = Metadata { attributes: Attributes(attributes), ..metadata(1000) };
        presentation().attr(9, 3, &metadata, TIMEOUT)
    }

    #[test]
    fn modes_come_from_the_options_and_the_read_only_attribute() {
        assert_eq!(shown(0).permissions, 0o640);
        assert_eq!(shown(Attributes::READONLY).permissions, 0o440);
        assert_eq!(shown(Attributes::DIRECTORY).permissions, 0o750);
        assert_eq!(shown(Attributes::DIRECTORY | Attributes::READONLY).permissions, 0o750);
        assert_eq!((shown(0).uid, shown(0).gid, shown(0).links), (5, 6, 1));
        assert_eq!(shown(Attributes::DIRECTORY).links, 2);
    }

    #[test]
    fn times_that_the_server_does_not_keep_are_the_time_of_the_last_write() {
        assert_eq!(shown(0).changed, FileTime(1100));
        assert_eq!(shown(0).created, FileTime(1100));
    }

    #[test]
    fn blocks_are_what_is_allocated() {
        let metadata = Metadata { allocation: 4096, ..metadata(1) };
        assert_eq!(presentation().attr(9, 3, &metadata, TIMEOUT).blocks, 8);
    }

    #[test]
    fn attributes_are_believed_until_the_timeout() {
        let start = Instant::now();
        let known = KnownAttributes::fetched(metadata(1), start);
        assert_eq!(known.remaining(start + TIMEOUT / 4, TIMEOUT, None), Some(TIMEOUT * 3 / 4));
        assert_eq!(known.remaining(start + TIMEOUT, TIMEOUT, None), None);
        assert_eq!(known.remaining(start, Duration::ZERO, None), None);
    }

    #[test]
    fn a_fetch_that_crossed_a_write_does_not_shrink_the_file() {
        let start = Instant::now();
        let mut known = KnownAttributes::fetched(metadata(1), start);
        let token = known.token();
        known.wrote(500);
        assert!(!known.store(metadata(1), token, start));
        assert_eq!(known.metadata().size, 500);
        assert_eq!(known.remaining(start, TIMEOUT, None), None, "its times are not known");
        assert!(known.store(metadata(400), known.token(), start), "what comes after is believed");
        assert_eq!(known.metadata().size, 400);
    }

    #[test]
    fn while_written_data_is_on_its_way_the_server_is_not_believed() {
        let start = Instant::now();
        let mut known = KnownAttributes::fetched(metadata(1), start);
        known.holds(500, FileTime(9));
        assert!(!known.store(metadata(1), known.token(), start), "it does not have the data yet");
        assert_eq!((known.metadata().size, known.metadata().modified), (500, FileTime(9)));
        assert_eq!(known.remaining(start + 9 * TIMEOUT, TIMEOUT, None), Some(TIMEOUT));
        let token = known.token();
        known.released();
        assert_eq!(known.remaining(start, TIMEOUT, None), None);
        assert!(!known.store(metadata(1), token, start), "it was asked before it had the data");
        assert!(known.store(metadata(500), known.token(), start));
    }

    #[test]
    fn changes_by_this_mount_are_seen_at_once() {
        let mut known = KnownAttributes::fetched(metadata(5000), Instant::now());
        known.applied(&Change { size: Some(10), modified: Some(FileTime(7)), ..Change::default() });
        assert_eq!((known.metadata().size, known.metadata().modified), (10, FileTime(7)));
    }

    #[test]
    fn data_is_dropped_when_its_version_differs() {
        let start = Instant::now();
        let mut data = DataValidity::default();
        assert!(!data.is_valid(start, TIMEOUT));
        assert!(data.validate(version(1), start), "of data from before nothing is known");
        assert!(!data.validate(version(1), start + TIMEOUT / 2));
        assert!(data.is_valid(start + TIMEOUT, TIMEOUT));
        assert!(!data.is_valid(start + TIMEOUT * 2, TIMEOUT));
        assert!(data.validate(version(2), start));
        data.changed();
        assert!(data.validate(version(2), start), "after an own write no version is known");
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
