//! What the rooms above see of a share: the traits [`Files`], [`Names`], [`Watches`], [`Leases`] and [`Owners`], and
//! [`Share`] for all five.
//!
//! Every fallible method says its errors by [`Refusal`](super::Refusal), as
//! [`ShareError::refusal`](super::ShareError::refusal) returns it, and by [`Cause`](super::error::Cause). The errors
//! that each operation can have are listed once, at [`Share`].

use super::types::{
    After, Again, Change, CreateAction, DirChange, DirEntry, FileIdentity, FileKind, FileTime, Granted, IoLimits,
    LeaseKey, Metadata, NewSpecial, OpenHow, RemotePath, Space, Target,
};
use super::{Broken, Events, Ownership, Result, Rights};
use crate::telemetry::Counters;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;

/// A remote share. Every operation ends, because each network wait has a deadline; except [`Watches::changes`], which
/// waits for a change.
///
/// A future may be dropped at any point. What it had begun is then finished or undone in the background: an open
/// whose caller is gone is closed again.
///
/// # Errors
/// Each fallible method of the five traits can fail with a [`ShareError`](super::ShareError) of these causes, besides
/// those that it lists itself:
///
/// - [`Cause::Status`]: the server refused the operation. The method lists the refusals that matter to a caller; the
///   server may answer any other, for example [`Refusal::ServerBusy`], [`Refusal::NoMemory`] or [`Refusal::Failed`].
/// - [`Cause::Away`]: there is no session, and it did not come back in the time that operations wait for it.
/// - [`Cause::AccessRefused`]: there is no session, because the server refuses the sign-in or the share.
/// - [`Cause::LostAgain`]: the session was lost too often during this operation.
/// - [`Cause::Uncertain`]: the session that a change was sent on hangs at the server, which may still make the change.
/// - [`Cause::TimedOut`]: no answer came before the deadline.
/// - [`Cause::Malformed`]: the answer broke the protocol.
/// - [`Cause::TooLong`]: the request does not fit into the protocol's fields. Nothing was sent.
/// - [`Cause::Disconnected`]: the share was left, or a request that is not sent again lost its connection.
///
/// Methods that use an open file open it again after a lost session. They can fail with [`Cause::Stale`] if the
/// file's name then means another file or nothing, and with the server's refusal of the new open.
///
/// [`Refusal::ServerBusy`]: super::Refusal::ServerBusy
/// [`Refusal::NoMemory`]: super::Refusal::NoMemory
/// [`Refusal::Failed`]: super::Refusal::Failed
/// [`Cause::Status`]: super::error::Cause::Status
/// [`Cause::Away`]: super::error::Cause::Away
/// [`Cause::AccessRefused`]: super::error::Cause::AccessRefused
/// [`Cause::LostAgain`]: super::error::Cause::LostAgain
/// [`Cause::Uncertain`]: super::error::Cause::Uncertain
/// [`Cause::TimedOut`]: super::error::Cause::TimedOut
/// [`Cause::Malformed`]: super::error::Cause::Malformed
/// [`Cause::TooLong`]: super::error::Cause::TooLong
/// [`Cause::Disconnected`]: super::error::Cause::Disconnected
/// [`Cause::Stale`]: super::error::Cause::Stale
pub trait Share: Files + Names + Watches + Leases + Owners {}

impl<S: Files + Names + Watches + Leases + Owners> Share for S {}

/// Files that are opened, read, written and closed.
///
/// # Errors
/// Those of every operation are listed at [`Share`].
pub trait Files: Send + Sync + 'static {
    /// An open file. Dropping it without [`Files::close`] closes it in the background.
    type File: Send + Sync + 'static;

    /// What is counted of this share, and by those who use it.
    fn counters(&self) -> &Arc<Counters>;

    /// The largest READ and WRITE, in bytes. Callers align their requests to these sizes.
    fn limits(&self) -> IoLimits;

    /// Opens a file and, depending on `how`, creates or truncates it. [`Leases::granted`] says how much of the lease
    /// that `how` requests was granted. A file that was opened again after a lost connection has no lease.
    ///
    /// # Errors
    /// - `Refusal::Absent`: the file does not exist (dispositions that do not create), or a folder of its path does
    ///   not.
    /// - `Refusal::Exists`: the file exists and `how` says [`Disposition::Create`](super::Disposition::Create). Also if
    ///   the answer was lost and the state of the share does not show that this client created the file.
    /// - `Refusal::IsDirectory`, `NotDirectory`, `ReparsePoint`, `NameInvalid`, `NameTooLong`: `path` names no file
    ///   that can be opened.
    /// - `Refusal::DeletePending`: the file is deleted and still open at a client.
    /// - `Refusal::Busy`: another open does not share the file in the requested way.
    /// - `Refusal::Denied`: the user, or the file's read-only attribute, does not allow it. `WriteProtected` instead
    ///   if the whole share is read-only and `how` changes something.
    /// - `Refusal::InvalidArgument`: among others, the lease key belongs to another name (MS-SMB2 3.3.5.9.8).
    /// - `Refusal::NoSpace`, `Quota`, `TooManyOpen`: the server has no room.
    /// - Those of [`Share`].
    fn open(
        &self,
        path: &RemotePath,
        how: OpenHow,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction)>> + Send;

    /// As [`Files::open`], and reads up to `length` of the file's first bytes in the same round trip. The bytes are
    /// empty if the file is, or if it could be opened but not read.
    ///
    /// # Errors
    /// Those of [`Files::open`]. A READ that fails is no error.
    fn open_and_read(
        &self,
        path: &RemotePath,
        how: OpenHow,
        length: u32,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction, Bytes)>> + Send;

    /// Asks the server for the metadata of an open file.
    ///
    /// # Errors
    /// Those of [`Share`].
    fn metadata(&self, file: &Self::File) -> impl Future<Output = Result<Metadata>> + Send;

    /// Reads up to `length` bytes at `offset`. Fewer bytes mean that the file ended there; a read past the end
    /// returns none.
    ///
    /// # Errors
    /// - `Refusal::Denied`: the file is not open for reading.
    /// - `Refusal::Locked`: a byte-range lock of another open covers a part of the range.
    /// - Those of [`Share`].
    fn read(&self, file: &Self::File, offset: u64, length: u32) -> impl Future<Output = Result<Bytes>> + Send;

    /// Writes all of `data`, at most [`IoLimits::write`] bytes, at `offset`.
    ///
    /// # Errors
    /// A write that fails may have been done in part.
    ///
    /// - `Refusal::NoSpace`, `Quota`: the volume is full, or the user's quota is used up.
    /// - `Refusal::FileTooLarge`: the file system does not allow so long a file.
    /// - `Refusal::Denied`, `WriteProtected`: the file is not open for writing, or the server opened it for reading
    ///   only after a lost session.
    /// - `Refusal::Locked`: a byte-range lock of another open covers a part of the range.
    /// - `Cause::Conflict`: another client changed the file while the session was lost, and this data is from before.
    ///   The data is not sent after that. Every later change through this open fails in the same way.
    /// - `Cause::Lost`: the write caused a FLUSH (see [`Files::flush`]), which found acknowledged data missing.
    /// - Those of [`Share`].
    fn write(&self, file: &Self::File, offset: u64, data: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// As [`Files::write`], followed in the same round trip by the changes and the FLUSH that `after` requests.
    ///
    /// # Errors
    /// Those of [`Files::write`], of [`Files::set`] if `after` changes something, and of [`Files::flush`] if it
    /// flushes. The data may have been written although what follows failed.
    fn write_and(
        &self,
        file: &Self::File,
        offset: u64,
        data: Bytes,
        after: After,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Has the server copy up to `length` bytes from one file to another, or within one file. Returns how many bytes
    /// it copied: as many as one request copies well before its deadline, so a long copy takes several calls; 0 where
    /// the source ends. `from` must be open for reading, `to` for writing. The ranges must not overlap.
    ///
    /// # Errors
    /// - `Cause::Unsupported` (as a refusal, `Refusal::Unsupported`): the server cannot copy, or not these files.
    ///   Nothing was copied; the data may still be copied by reading and writing it.
    /// - `Refusal::InvalidArgument`, `Cause::Malformed`: the server keeps refusing a range that its limits and the
    ///   source's size allow.
    /// - `Refusal::NoSpace`, `Quota`, `Locked`: as for [`Files::write`].
    /// - Those of [`Share`].
    fn copy(
        &self,
        from: &Self::File,
        from_offset: u64,
        to: &Self::File,
        to_offset: u64,
        length: u32,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// Asks the server to put the file's data on stable storage. After success everything that was written to the
    /// file before is there. After a lost session the unflushed data is read back and compared, since the server may
    /// have lost data that it had acknowledged.
    ///
    /// # Errors
    /// - `Cause::Lost`: the server does not have all data that it had acknowledged, does not let it be read back, or
    ///   had copied a part of it ([`Files::copy`]), which cannot be compared. Reported once; the next flush covers what
    ///   is written from then on.
    /// - `Refusal::Denied`, `WriteProtected`: the server opened the file for reading only after a lost session, and
    ///   unflushed data is left; or the file is not open for writing (MS-SMB2 3.3.5.11).
    /// - `Refusal::NoSpace`, `Quota`: from servers that allocate space late.
    /// - Those of [`Share`].
    fn flush(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;

    /// Whether the server may have lost data that it had acknowledged: it acknowledged the data in a session that was
    /// lost, and the data is not flushed.
    fn is_in_doubt(&self, file: &Self::File) -> bool;

    /// Checks whether a file that is in doubt is at least as long as acknowledged writes had made it. Opens the file
    /// again if its connection was lost.
    ///
    /// # Errors
    /// - `Cause::Lost`: the file is shorter.
    /// - Those of [`Share`].
    fn confirm(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;

    /// Closes the file. Returns the metadata that the server reports with the CLOSE, or `None` if it reports none,
    /// the file was closed before, or the connection has ended, which closes the file too. The CLOSE waits up to 100
    /// ms for others to share its frame (10 ms if the file was written), unless [`Files::send_closes`] is called.
    ///
    /// # Errors
    /// - The server's refusal of the CLOSE, or `Cause::Malformed`. A lost connection and a missing answer are no
    ///   errors.
    fn close(&self, file: &Self::File) -> impl Future<Output = Result<Option<Metadata>>> + Send;

    /// Sends all CLOSE requests that wait for others to share their frame. A request on a name that is sent after this
    /// call finds these files closed, if the credits allowed their CLOSE to be sent at once. Must be called within the
    /// runtime.
    fn send_closes(&self);

    /// As [`Names::rename`] without `replace`, for a directory with these open files below it: they are closed at the
    /// server before the rename and opened again after it, by their new paths or, if the rename failed, by their old
    /// ones. Requests on them wait meanwhile. They have no lease afterwards. A file that cannot be opened again, or
    /// whose path means another file then, fails each later request; that is logged and is no error of this one. To be
    /// called when no data of the files is held back.
    ///
    /// # Errors
    /// Those of [`Names::rename`].
    fn rename_around(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        open: &[Arc<Self::File>],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Changes size, times or attributes.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `NotDirectory`, `DeletePending`: the target is a path that names nothing.
    /// - `Refusal::IsDirectory`: the size of a directory was to be set.
    /// - `Refusal::Denied`: the user may not change this, or the size of a read-only file was to be set;
    ///   `WriteProtected` instead if the whole share is read-only.
    /// - `Refusal::Busy`: another open does not share the file in the requested way (target is a path).
    /// - `Refusal::NoSpace`, `Quota`, `FileTooLarge`: the size cannot be set.
    /// - `Cause::Conflict`: as for [`Files::write`] (target is an open file).
    /// - Those of [`Share`].
    fn set(&self, target: Target<'_, Self::File>, change: &Change) -> impl Future<Output = Result<()>> + Send;
}

/// Names: looked up, listed, created, removed and renamed.
///
/// # Errors
/// Those of every operation are listed at [`Share`]. A change whose answer was lost with the session is verified by
/// the state of the share. If that does not show whether the change was made, a removal or rename fails with
/// `Cause::Unverified`, and a creation with `Refusal::Exists`.
pub trait Names: Send + Sync + 'static {
    /// A directory listing in progress.
    type Listing: Send + Sync + 'static;

    /// Metadata of the file or directory at `path`. A symbolic link or other reparse point is not followed.
    /// A link or special file needs a second round trip, unless this version of it is known.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `NotDirectory`: nothing has the name, or a part of the path is no directory.
    /// - `Refusal::DeletePending`: the file is deleted and still open at a client.
    /// - `Refusal::Denied`: the user may not read its attributes.
    /// - `Refusal::ReparsePoint`: the path leads through a symbolic link.
    /// - `Refusal::NameInvalid`, `NameTooLong`, `TooManyOpen`.
    /// - Those of [`Share`].
    fn stat(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Creates a directory that must not exist yet.
    ///
    /// # Errors
    /// - `Refusal::Exists`: the name exists. Also if the answer was lost and the state of the share does not show that
    ///   this client created the directory.
    /// - `Refusal::Absent`, `NotDirectory`: the folder does not exist, or is no directory.
    /// - `Refusal::DeletePending`: the name belongs to a deleted file that is still open at a client.
    /// - `Refusal::Denied`, or `WriteProtected` if the whole share is read-only.
    /// - `Refusal::NameInvalid`, `NameTooLong`, `NoSpace`, `Quota`.
    /// - Those of [`Share`].
    fn create_directory(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Makes a symbolic link, fifo, socket or device that must not exist yet.
    ///
    /// # Errors
    /// - `Refusal::Exists`, `Absent`, `NotDirectory`, `DeletePending`, `Denied`, `WriteProtected`, `NameInvalid`,
    ///   `NameTooLong`, `NoSpace`, `Quota`: as for [`Names::create_directory`].
    /// - `Cause::Unsupported` (as a refusal, `Refusal::Unsupported`): the server cannot store it, or the user does not
    ///   want links. There is nothing under the name.
    /// - `Cause::TooLong`: the target of a link is too long.
    /// - `Cause::Unverified`: the answer was lost, and the file was not made completely.
    /// - Those of [`Share`].
    fn create_special(&self, path: &RemotePath, new: NewSpecial<'_>) -> impl Future<Output = Result<Metadata>> + Send;

    /// The target of the symbolic link at `path`, as it is to be shown; `None` if there is no link. Needs no round trip
    /// if the version that `known` describes was looked at before.
    ///
    /// # Errors
    /// - `Cause::Malformed`: the link has no target that a program could use.
    /// - Those of [`Share`].
    fn read_link(&self, path: &RemotePath, known: &Metadata) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Removes a file, or an empty directory, as `kind` says: a link or special file is what the server stores it as
    /// ([`Metadata::stored_kind`]), and its target stays. Returns whether the name is free.
    ///
    /// Files whose CLOSE is waiting are closed when this returns; [`Names::rename`] closes them before it renames. A
    /// file that is being closed is deleted by its CLOSE. `lease` is the lease key that the file was opened with.
    /// `known` identifies the file: if the answer is lost, a different file that has the name by then is left alone.
    ///
    /// `aside` is a name that nothing has. No entry of the file's own directory may have its last component either:
    /// the file gets that name there if it cannot be moved out of the directory. A file that is open is renamed to
    /// `aside`: its own name is free at once, and the file is gone when its last open is closed. A file that is not
    /// open is never renamed, nor is one that only this client has open, if `lease` shows that (WRITE caching).
    /// Without `aside` a file that is open keeps its name until it is closed; so does a directory that another client
    /// has open.
    ///
    /// # Errors
    /// - `Refusal::Absent`: nothing has the name.
    /// - `Refusal::IsDirectory`, `NotDirectory`: `kind` is wrong.
    /// - `Refusal::NotEmpty`: the directory is not empty.
    /// - `Refusal::ReadOnly`: the file has the read-only attribute.
    /// - `Refusal::Busy`: another open does not share deletion.
    /// - `Refusal::DeletePending`: the file is already deleted and still open at a client.
    /// - `Refusal::Denied`, or `WriteProtected` if the whole share is read-only.
    /// - `Cause::Unverified`: the answer was lost, and whether the file under the name is the known one cannot be
    ///   shown.
    /// - Those of [`Share`].
    fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
        aside: Option<&RemotePath>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whether no client, this one included, has the file open. The query breaks handle leases: an open that a
    /// client keeps only under such a lease is closed first, and does not count.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `IsDirectory`, `Denied`, as for [`Names::remove`]. A file that is being deleted is no
    ///   error: it is in use.
    /// - Those of [`Share`].
    fn is_unused(&self, path: &RemotePath) -> impl Future<Output = Result<bool>> + Send;

    /// Renames a file or directory; `replace` allows an existing target file to be replaced. `known` identifies the
    /// source, as for [`Names::remove`].
    ///
    /// # Errors
    /// - `Refusal::Absent`: the source, or a folder of the target, does not exist; or, after a lost answer, another
    ///   file has the source's name.
    /// - `Refusal::Exists`: the target exists and `replace` is false.
    /// - `Refusal::Denied`: the user may not do it, the target is a directory, read-only or open (on many servers),
    ///   or the source is a folder with open files below it.
    /// - `Refusal::Busy`: another open does not share deletion, or this client has the target open and its open was
    ///   not made again yet after a lost session.
    /// - `Refusal::OtherVolume`, `NameInvalid`, `NameTooLong`, `NoSpace`.
    /// - `Cause::Unverified`: the answer was lost, and nothing shows whether the file was renamed.
    /// - Those of [`Share`].
    fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        known: Option<FileIdentity>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives a file one more name (a hard link), which must not exist yet. `known` identifies the file, as for
    /// [`Names::remove`]. Returns the file's metadata, with its number of links if the server tells; times may be from
    /// before the change.
    ///
    /// # Errors
    /// - `Refusal::Absent`: the file, or the folder of the new name, does not exist.
    /// - `Refusal::Exists`: the new name exists.
    /// - `Refusal::TooManyLinks`: the file has as many names as the file system allows.
    /// - `Refusal::Unsupported`, `InvalidArgument`, `NotPermitted`: the file system has no hard links.
    /// - `Refusal::OtherVolume`, `IsDirectory`, `Denied`, `NameInvalid`, `NameTooLong`, `NoSpace`.
    /// - `Cause::Unverified`: the answer was lost, and nothing shows whether the link was made.
    /// - Those of [`Share`].
    fn link(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
    ) -> impl Future<Output = Result<Metadata>> + Send;

    /// What the user may do in a directory; `None` if the server does not say.
    ///
    /// # Errors
    /// Those of [`Names::stat`].
    fn rights(&self, directory: &RemotePath) -> impl Future<Output = Result<Option<Rights>>> + Send;

    /// Renames a file over one that this client has open, which [`Names::rename`] cannot do on many servers. The open
    /// continues, on a file without a name, until it is closed; once its session is lost it is stale. `known`
    /// identifies the file that is renamed, as for [`Names::remove`].
    ///
    /// The file is replaced atomically where the server can do that. Otherwise the replaced file has the name `aside`
    /// while it is open, and between two requests of one frame `to` names nothing.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `Busy`, `Denied`, `ReadOnly`, `IsDirectory`: as for [`Names::rename`] and
    ///   [`Names::remove`]. `WriteProtected` instead of `Denied` if the whole share is read-only.
    /// - `Cause::Unverified`, `Uncertain`: the answer was lost on the auxiliary session or on the share's own, and
    ///   nothing shows whether the file was replaced.
    /// - Those of [`Share`].
    fn replace(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        aside: &RemotePath,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Begins to list a directory. The listing may already hold its first entries.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `NotDirectory`: there is no such directory.
    /// - `Refusal::Denied`: the user may not list it.
    /// - `Refusal::DeletePending`, `ReparsePoint`, `NameInvalid`, `TooManyOpen`.
    /// - Those of [`Share`].
    fn list(&self, path: &RemotePath) -> impl Future<Output = Result<Self::Listing>> + Send;

    /// The next entries in the server's order, without `.` and `..`; none when the listing has ended.
    ///
    /// # Errors
    /// - `Cause::Disconnected`: the connection was lost. The listing does not continue; begin a new one.
    /// - `Refusal::Denied`, `DeletePending`, `OpenGone`: the server's refusal of the query.
    /// - `Cause::TimedOut`, `Malformed`.
    fn next_entries(&self, listing: &mut Self::Listing) -> impl Future<Output = Result<Vec<DirEntry>>> + Send;

    /// Metadata of the directory itself at the time when its listing began.
    fn listed(&self, listing: &Self::Listing) -> Metadata;

    /// The current time by the server's clock, or by the local clock if the server does not report one.
    fn clock(&self) -> FileTime;

    /// Size and free space of the file system that a directory is on, in bytes. If the directory may not be opened,
    /// those of the path that the share was connected with.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `Denied`: the path does not exist, or neither may be opened.
    /// - Those of [`Share`].
    fn space(&self, directory: &RemotePath) -> impl Future<Output = Result<Space>> + Send;
}

/// Directories that the server watches.
///
/// # Errors
/// Those of every operation are listed at [`Share`]. After [`Watches::unwatch`] every fallible method of the watch
/// fails with `Cause::Stale`.
pub trait Watches: Names {
    /// A watched directory. Dropping it ends the watch in the background.
    type Watch: Send + Sync + 'static;

    /// As [`Names::list`], and watches the directory; `None` if the server does not. Without a lease the watch begins
    /// some time after the listing: see [`Watches::look_again`].
    ///
    /// # Errors
    /// Those of [`Names::list`]. A server that cannot watch is no error.
    fn list_watched(
        &self,
        path: &RemotePath,
    ) -> impl Future<Output = Result<(Self::Listing, Option<Self::Watch>)>> + Send;

    /// Lists a watched directory again; if it is too long for that, says whether it has changed since it was listed.
    /// Call it once, when the watch is known to have begun. Calls of about the same time share a round trip.
    ///
    /// # Errors
    /// - `Cause::Stale`: [`Watches::unwatch`] was called.
    /// - `Cause::Disconnected`: the connection was lost, or no answer came in time.
    /// - `Refusal::Denied`, `DeletePending`: the server's refusal to list it.
    /// - `Cause::TimedOut`, `Malformed`.
    fn look_again(&self, watch: &Self::Watch) -> impl Future<Output = Result<Again>> + Send;

    /// Whether the watch is armed: its lease is not broken, or its CHANGE_NOTIFY waits at the server, which reports the
    /// next change. A CHANGE_NOTIFY that is not armed is armed by the next [`Watches::changes`].
    fn is_armed(&self, watch: &Self::Watch) -> bool;

    /// The key of the directory lease that the watch uses, where the server grants leases on directories. The first
    /// change by another client breaks the lease, which ends the watch. Changes by this client are not reported.
    fn lease(&self, watch: &Self::Watch) -> Option<LeaseKey>;

    /// Waits for the next changes in the directory, changes by this client included: everything since
    /// [`Watches::list_watched`] or the last call. Changes between two calls are not lost, however long the pause;
    /// but `None` says that the server lost count, and anything may have changed. Only one caller at a time. `armed`
    /// is called when the request is at the server: from then on the server reports a change as soon as it happens,
    /// and the report may already be in flight.
    ///
    /// A watch by a lease reports no changes. The break of its lease arrives by [`Leases::events`]. This call returns
    /// when [`Watches::unwatch`] is called, or at once if the lease was broken before.
    ///
    /// # Errors
    /// - `Cause::Stale`: [`Watches::unwatch`] was called, or the lease of the watch was broken.
    /// - `Refusal::DeletePending`, or the status NOTIFY_CLEANUP (`Refusal::NoRefusal`): the directory was deleted.
    /// - `Cause::Disconnected`: the connection was lost.
    /// - `Cause::TimedOut`, `Malformed`: the watch cannot be armed, or its report is not valid.
    fn changes(
        &self,
        watch: &Self::Watch,
        armed: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<Option<Vec<DirChange>>>> + Send;

    /// Whether a watched directory is being removed.
    ///
    /// # Errors
    /// - `Cause::Stale`: [`Watches::unwatch`] was called.
    /// - `Cause::Disconnected`: the connection was lost, or no answer came in time.
    /// - `Cause::Malformed`, or the server's refusal of the query.
    fn is_being_removed(&self, watch: &Self::Watch) -> impl Future<Output = Result<bool>> + Send;

    /// Ends a watch. The CLOSE of its directory waits for others as in [`Files::close`], unless [`Files::send_closes`]
    /// is called. While a listing continues in the directory, it stays open.
    fn unwatch(&self, watch: &Self::Watch);
}

/// What this client may cache, and the events that the share reports unasked.
///
/// # Errors
/// Those of every operation are listed at [`Share`]. A lost session is no error here: all leases end with it.
pub trait Leases: Send + Sync + 'static {
    /// What may be cached under this key now, by what was received so far: what the server granted to the key's live
    /// opens, less what breaks took away since. A break counts from its receipt, which is before [`Events::next`]
    /// returns it. The end of the connection counts at once. [`Caching::NONE`](super::Caching::NONE) for a key without
    /// an open.
    fn granted(&self, key: LeaseKey) -> Granted;

    /// The stream of events, for the first caller; `None` afterwards. A caller that requests leases must read it, and
    /// must acknowledge each break as soon as it has been carried out, because another client waits for that at the
    /// server.
    fn events(&self) -> Option<Events>;

    /// Acknowledges a break, if the server waits for that: only [`Broken::left`] is cached from now on.
    ///
    /// # Errors
    /// `Cause::TimedOut`, `Malformed`. Neither the server's refusal of the acknowledgement nor a lost connection is
    /// an error.
    fn acknowledge(&self, broken: Broken) -> impl Future<Output = Result<()>> + Send;
}

/// Owner, group and mode at the server.
///
/// # Errors
/// Those of every operation are listed at [`Share`].
pub trait Owners: Send + Sync + 'static {
    /// As [`Names::stat`], with what the file's security descriptor says of owner, group and mode; nothing where the user
    /// may not read the descriptor. `lease` is the lease key that the file was opened with.
    ///
    /// # Errors
    /// Those of [`Names::stat`].
    fn stat_with_owner(
        &self,
        path: &RemotePath,
        lease: Option<LeaseKey>,
    ) -> impl Future<Output = Result<(Metadata, Ownership)>> + Send;

    /// Stores owner, group or mode, and returns what the server has kept of them: nothing of what it refuses. `known`
    /// identifies the file, and `lease` is the lease key that it was opened with.
    ///
    /// # Errors
    /// - `Refusal::Absent`, `NotDirectory`, `DeletePending`: the path names nothing.
    /// - Those of [`Share`].
    fn store_owner(
        &self,
        path: &RemotePath,
        known: FileIdentity,
        lease: Option<LeaseKey>,
        set: Ownership,
    ) -> impl Future<Output = Result<Ownership>> + Send;
}
