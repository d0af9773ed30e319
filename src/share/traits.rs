//! What the rooms above see of a share: four traits, and all of them together.

use super::types::{
    After, Again, Change, CreateAction, DirChange, DirEntry, FileIdentity, FileKind, FileTime, Granted, IoLimits,
    LeaseKey, Metadata, OpenHow, RemotePath, Space, Target,
};
use super::{Broken, Events, Result};
use crate::telemetry::Counters;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;

/// A remote share. Every operation ends: each network wait has a deadline.
///
/// Futures may be dropped at any point; what the operation had begun is then finished or undone in
/// the background (an open that nobody waits for any more is closed again).
pub trait Share: Files + Names + Watches + Leases {}

impl<S: Files + Names + Watches + Leases> Share for S {}

/// Files that are opened, read, written and closed.
///
/// # Errors
/// [`ShareError`](super::ShareError) with the server's status; [`Cause::Stale`] where the name of an open file means another one after a lost
/// session, [`Cause::Conflict`] where another client has changed it meanwhile, [`Cause::Lost`] where the server has lost what
/// it had taken; [`Cause::Unverified`] where nothing shows whether a new file was made. All of them, as those of the other
/// traits: [`Cause::Away`] and [`Cause::NotLetIn`] while there is no session, [`Cause::LostAgain`] and [`Cause::Uncertain`]
/// where it is lost too often or hangs, [`Cause::TimedOut`], [`Cause::Malformed`].
///
/// [`Cause::Stale`]: super::error::Cause::Stale
/// [`Cause::Conflict`]: super::error::Cause::Conflict
/// [`Cause::Lost`]: super::error::Cause::Lost
/// [`Cause::Unverified`]: super::error::Cause::Unverified
/// [`Cause::Away`]: super::error::Cause::Away
/// [`Cause::NotLetIn`]: super::error::Cause::NotLetIn
/// [`Cause::LostAgain`]: super::error::Cause::LostAgain
/// [`Cause::Uncertain`]: super::error::Cause::Uncertain
/// [`Cause::TimedOut`]: super::error::Cause::TimedOut
/// [`Cause::Malformed`]: super::error::Cause::Malformed
pub trait Files: Send + Sync + 'static {
    /// An open file. Dropping it without [`Files::close`] closes it in the background.
    type File: Send + Sync + 'static;

    /// What is counted of this share, and by those who use it.
    fn counters(&self) -> &Arc<Counters>;

    /// How much one READ or WRITE may carry.
    fn limits(&self) -> IoLimits;

    /// Opens (and, depending on `how`, creates or truncates) a file. What of the lease that `how` asks for
    /// was granted, [`Leases::granted`] says. A file that had to be opened again after its connection was
    /// lost has no lease any more.
    fn open(
        &self,
        path: &RemotePath,
        how: OpenHow,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction)>> + Send;

    /// As [`Files::open`], for a file that exists, and reads up to `length` of its first bytes in the same round trip.
    /// No bytes if the file is empty, or it could be opened and not be read.
    fn open_and_read(
        &self,
        path: &RemotePath,
        how: OpenHow,
        length: u32,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction, Bytes)>> + Send;

    /// Metadata of an open file, asked from the server.
    fn metadata(&self, file: &Self::File) -> impl Future<Output = Result<Metadata>> + Send;

    /// Reads up to `length` bytes. Fewer bytes than asked for mean that the file ended there.
    fn read(&self, file: &Self::File, offset: u64, length: u32) -> impl Future<Output = Result<Bytes>> + Send;

    /// Writes all of `data`, which is at most [`IoLimits::write`] long.
    fn write(&self, file: &Self::File, offset: u64, data: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// As [`Files::write`], and then what is to come after it, in the same round trip.
    fn write_and(
        &self,
        file: &Self::File,
        offset: u64,
        data: Bytes,
        after: After,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Has the server copy up to `length` bytes from one file to another, or within one. How many it has
    /// copied: as many as it does well in time in one request, since a long copy is to be made of several;
    /// 0 where the source ends. `from` must be open for reading, `to` for writing; the ranges must not overlap.
    ///
    /// Fails with [`Cause::Unsupported`](super::error::Cause::Unsupported) where the server cannot do it; then nothing was copied.
    fn copy(
        &self,
        from: &Self::File,
        from_offset: u64,
        to: &Self::File,
        to_offset: u64,
        length: u32,
    ) -> impl Future<Output = Result<u32>> + Send;

    /// Asks the server to put the file's data on stable storage: when this succeeds, all that was written to the file before
    /// is there. After a lost session that is checked, since the server may have lost what it had taken.
    fn flush(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;

    /// Whether the server may have lost data that it had taken: the session was lost in which that was answered.
    fn is_in_doubt(&self, file: &Self::File) -> bool;

    /// Looks whether a file that is in doubt is still as long as what was written to it.
    fn confirm(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;

    /// Closes the file; the metadata that the server reports with the close, if it does. For a moment (a shorter one if it
    /// was written) it waits for others to be closed in the same frame, unless [`Files::send_closes`] is called.
    fn close(&self, file: &Self::File) -> impl Future<Output = Result<Option<Metadata>>> + Send;

    /// Closes at once what waits to be closed with others: it is not open any more for whatever is asked of the
    /// share after this call. To be called within the runtime.
    fn send_closes(&self);

    /// Changes size, times or attributes.
    fn set(&self, target: Target<'_, Self::File>, change: &Change) -> impl Future<Output = Result<()>> + Send;
}

/// What names mean: they are looked up, listed, made, removed and renamed.
///
/// # Errors
/// [`ShareError`](super::ShareError) with the server's status; where the answer to a change is lost with its session, and nothing shows whether
/// it was made, [`Cause::Unverified`](super::error::Cause::Unverified). Those of every operation are named at [`Files`].
pub trait Names: Send + Sync + 'static {
    /// A directory listing in progress.
    type Listing: Send + Sync + 'static;

    /// Metadata of what `path` names. A symbolic link or other reparse point is not followed.
    fn stat(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Creates a directory that must not exist yet. Where the answer is lost with the session, what the server has then tells
    /// whether it was made; the same holds for a file that must not exist yet, for [`Names::remove`] and [`Names::rename`].
    fn create_directory(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Removes a file or an empty directory; which of both it must be is said. What waits to be closed is closed when this
    /// returns, and before anything is renamed by [`Names::rename`]. A file that is being closed goes with its CLOSE;
    /// `lease` is the one that it was opened with. `known` is the file that is meant: if the answer is lost, another file
    /// that has the name then is left alone.
    ///
    /// `aside` is a name that nothing has, nor does its last part in the file's own directory, where the file stays if it
    /// cannot be renamed out of it. A file that others have open is renamed so and is gone
    /// when they close it; its own name is free at once. A file that nobody else has open is never renamed. Without
    /// `aside` such a file, and a directory that another client has open, keeps its name until it is closed. Says whether
    /// the name is free.
    fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
        aside: Option<&RemotePath>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whether nobody has a file open, this client included. An open that a client keeps for its cache only is closed for
    /// that.
    fn is_unused(&self, path: &RemotePath) -> impl Future<Output = Result<bool>> + Send;

    /// Renames a file or directory; `replace` allows an existing target file to be replaced. `known` is the file that is
    /// meant, as for [`Names::remove`].
    fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        known: Option<FileIdentity>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Renames a file over one that this client has open, which [`Names::rename`] cannot do on many servers. The open goes
    /// on, on a file without a name, until it is closed; once its session is lost it is stale. `known` is the file that is
    /// renamed, as for [`Names::remove`].
    ///
    /// Where the server can do it the file is replaced atomically. Otherwise the one that is replaced gets the name
    /// `aside` for as long as it is open, and for a moment, between two requests of one frame, `to` names nothing.
    fn replace(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        aside: &RemotePath,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Begins to list a directory. The listing may already hold its first entries.
    fn list(&self, path: &RemotePath) -> impl Future<Output = Result<Self::Listing>> + Send;

    /// The next entries in the server's order, without `.` and `..`; none when the listing has ended.
    fn next_entries(&self, listing: &mut Self::Listing) -> impl Future<Output = Result<Vec<DirEntry>>> + Send;

    /// Metadata of the directory itself, as it was when its listing began.
    fn listed(&self, listing: &Self::Listing) -> Metadata;

    /// What the server's clock shows about now.
    fn clock(&self) -> FileTime;

    /// Size and free space of the file system behind the share.
    fn space(&self) -> impl Future<Output = Result<Space>> + Send;
}

/// Directories that the server watches.
///
/// # Errors
/// [`ShareError`](super::ShareError) with the server's status: a watch that has ended says so at its next question. Those of every operation are
/// named at [`Files`].
pub trait Watches: Names {
    /// A directory that the server watches. Dropping it ends that in the background.
    type Watch: Send + Sync + 'static;

    /// As [`Names::list`], and has the directory watched; `None` where the server does not. Unless it is watched
    /// by a lease, the watch begins some time after the listing: see [`Watches::look_again`].
    fn list_watched(
        &self,
        path: &RemotePath,
    ) -> impl Future<Output = Result<(Self::Listing, Option<Self::Watch>)>> + Send;

    /// What is in a watched directory now, or whether that has changed since it was listed. To be asked once, when the
    /// watch has begun for certain; many that ask at about the same time share a round trip.
    fn look_again(&self, watch: &Self::Watch) -> impl Future<Output = Result<Again>> + Send;

    /// Whether the server is asked for the next change of the directory from its listing on: otherwise the first
    /// [`Watches::changes`] does that.
    fn is_armed(&self, watch: &Self::Watch) -> bool;

    /// The lease by which a directory is watched, where the server grants leases on directories: the first change by
    /// somebody else breaks it, and that is the end of the watch. Changes by this client are not told.
    fn lease(&self, watch: &Self::Watch) -> Option<LeaseKey>;

    /// Waits for the next changes of what is in the directory, those by this client among them: what changed since
    /// [`Watches::list_watched`] or the last call. However long nobody calls this, nothing is lost, but `None` says that
    /// the server lost count: anything may have changed. To be called by one at a time. `armed` is called when the server is
    /// asked: from then on it reports a change as soon as it happens, and the report may be on its way.
    ///
    /// Fails when the directory is not watched any more: it was deleted, the connection was lost, or
    /// [`Watches::unwatch`] was called.
    fn changes(
        &self,
        watch: &Self::Watch,
        armed: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<Option<Vec<DirChange>>>> + Send;

    /// Whether a watched directory is being removed.
    fn is_being_removed(&self, watch: &Self::Watch) -> impl Future<Output = Result<bool>> + Send;

    /// Ends a watch: its directory is not open any more for whatever is asked of the share after this call.
    fn unwatch(&self, watch: &Self::Watch);
}

/// What this client may cache, and what the share reports of its own accord.
///
/// # Errors
/// [`ShareError`](super::ShareError) with the server's status. The loss of the session is none: all leases go with it.
pub trait Leases: Send + Sync + 'static {
    /// What may be cached under this key at this moment, as far as is known here: what the server granted to
    /// the key's opens that are live now, without what it has taken away since. A break counts from when it
    /// is received, which is before [`Events::next`] tells it; the end of the connection counts at once.
    /// [`Caching::NONE`](super::Caching::NONE) for a key that has no open.
    fn granted(&self, key: LeaseKey) -> Granted;

    /// What the share reports of its own accord, for the first caller; `None` afterwards. A caller that asks for
    /// leases must read it, and acknowledge each break as soon as it is obeyed: another client waits for that at
    /// the server.
    fn events(&self) -> Option<Events>;

    /// Tells the server that a break was obeyed, if it wants to know: only [`Broken::left`] is cached now.
    /// A server that did not want to know is no error.
    fn acknowledge(&self, broken: Broken) -> impl Future<Output = Result<()>> + Send;
}
