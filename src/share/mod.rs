//! The remote share as typed operations.
//!
//! [`Share`] is what the rooms above see: paths and handles in, metadata and bytes out, an
//! [`ShareError`] with its NTSTATUS otherwise. It knows no inode and no errno. Each operation is one
//! round trip wherever the protocol allows.

mod attempts;
mod backoff;
mod breaks;
mod changing;
mod copying;
mod creating;
mod directory_leases;
pub mod error;
mod events;
mod extents;
mod file;
mod gathering;
mod leases;
mod limits;
mod link;
mod listing;
#[cfg(test)]
pub(crate) mod memory;
mod opening;
mod operations;
mod pieces;
mod places;
mod read_back;
mod readonly;
mod record;
mod records;
mod refusals;
mod reopen;
mod replay;
mod session;
mod slices;
mod smb;
mod task;
pub mod types;
mod unflushed;
mod verify;
mod watch;

use bytes::Bytes;
use std::future::Future;

pub use error::ShareError;
pub use events::{Event, Events};
pub use file::SmbFile;
pub use leases::Broken;
pub use link::IdentitySource;
pub use listing::SmbListing;
pub use session::SessionState;
pub use smb::SmbShare;
pub use types::{
    After, Again, Attributes, Caching, Change, ChangeKind, CreateAction, DirChange, DirEntry, Disposition,
    FileIdentity, FileKind, FileTime, Granted, IoLimits, Lease, LeaseKey, Metadata, OpenHow, RemotePath, Space, Target,
};
pub use watch::SmbWatch;

/// The result of an operation on the share.
pub type Result<T> = std::result::Result<T, ShareError>;

/// A remote share. Every operation ends: each network wait has a deadline.
///
/// Futures may be dropped at any point; what the operation had begun is then finished or undone in
/// the background (an open that nobody waits for any more is closed again).
pub trait Share: Send + Sync + 'static {
    /// An open file. Dropping it without [`Share::close`] closes it in the background.
    type File: Send + Sync + 'static;
    /// A directory listing in progress.
    type Listing: Send + Sync + 'static;
    /// A directory that the server watches. Dropping it ends that in the background.
    type Watch: Send + Sync + 'static;

    /// How much one READ or WRITE may carry.
    fn limits(&self) -> IoLimits;

    /// Metadata of what `path` names. A symbolic link or other reparse point is not followed.
    fn stat(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Opens (and, depending on `how`, creates or truncates) a file. What of the lease that `how` asks for
    /// was granted, [`Share::caching`] says. A file that had to be opened again after its connection was
    /// lost has no lease any more.
    fn open(
        &self,
        path: &RemotePath,
        how: OpenHow,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction)>> + Send;

    /// As [`Share::open`], for a file that exists, and reads up to `length` of its first bytes in the same round trip.
    /// No bytes if the file is empty, or it could be opened and not be read.
    fn open_and_read(
        &self,
        path: &RemotePath,
        how: OpenHow,
        length: u32,
    ) -> impl Future<Output = Result<(Self::File, Metadata, CreateAction, Bytes)>> + Send;

    /// What may be cached under this key at this moment, as far as is known here: what the server granted to
    /// the key's opens that are live now, without what it has taken away since. A break counts from when it
    /// is received, which is before [`Events::next`] tells it; the end of the connection counts at once.
    /// [`Caching::NONE`] for a key that has no open.
    fn granted(&self, key: LeaseKey) -> Granted;

    /// What the share reports of its own accord, for the first caller; `None` afterwards. A caller that asks for
    /// leases must read it, and acknowledge each break as soon as it is obeyed: another client waits for that at
    /// the server.
    fn events(&self) -> Option<Events>;

    /// Tells the server that a break was obeyed, if it wants to know: only [`Broken::left`] is cached now.
    /// A server that did not want to know is no error.
    fn acknowledge(&self, broken: Broken) -> impl Future<Output = Result<()>> + Send;

    /// Metadata of an open file, asked from the server.
    fn metadata(&self, file: &Self::File) -> impl Future<Output = Result<Metadata>> + Send;

    /// Reads up to `length` bytes. Fewer bytes than asked for mean that the file ended there.
    fn read(&self, file: &Self::File, offset: u64, length: u32) -> impl Future<Output = Result<Bytes>> + Send;

    /// Writes all of `data`, which is at most [`IoLimits::write`] long.
    fn write(&self, file: &Self::File, offset: u64, data: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// As [`Share::write`], and then what is to come after it, in the same round trip.
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
    /// Fails with [`error::Cause::Unsupported`] where the server cannot do it; then nothing was copied.
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
    /// was written) it waits for others to be closed in the same frame, unless [`Share::send_closes`] is called.
    fn close(&self, file: &Self::File) -> impl Future<Output = Result<Option<Metadata>>> + Send;

    /// Closes at once what waits to be closed with others: it is not open any more for whatever is asked of the
    /// share after this call. To be called within the runtime.
    fn send_closes(&self);

    /// Changes size, times or attributes.
    fn set(&self, target: Target<'_, Self::File>, change: &Change) -> impl Future<Output = Result<()>> + Send;

    /// Creates a directory that must not exist yet. Where the answer is lost with the session, what the server has then tells
    /// whether it was made; the same holds for a file that must not exist yet, for [`Share::remove`] and [`Share::rename`].
    fn create_directory(&self, path: &RemotePath) -> impl Future<Output = Result<Metadata>> + Send;

    /// Removes a file or an empty directory; which of both it must be is said. What waits to be closed is closed when this
    /// returns, and before anything is renamed by [`Share::rename`]. A file that is being closed goes with its CLOSE;
    /// `lease` is the one that it was opened with. Says whether the name is free: another client that has a directory open
    /// keeps its name taken until it closes it. `known` is the file that is meant: if the answer is lost, another file that
    /// has the name then is left alone.
    fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Renames a file or directory; `replace` allows an existing target file to be replaced. `known` is the file that is
    /// meant, as for [`Share::remove`].
    fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        known: Option<FileIdentity>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Begins to list a directory. The listing may already hold its first entries.
    fn list(&self, path: &RemotePath) -> impl Future<Output = Result<Self::Listing>> + Send;

    /// The next entries in the server's order, without `.` and `..`; none when the listing has ended.
    fn next_entries(&self, listing: &mut Self::Listing) -> impl Future<Output = Result<Vec<DirEntry>>> + Send;

    /// Metadata of the directory itself, as it was when its listing began.
    fn listed(&self, listing: &Self::Listing) -> Metadata;

    /// As [`Share::list`], and has the directory watched; `None` where the server does not. Unless it is watched
    /// by a lease, the watch begins some time after the listing: see [`Share::look_again`].
    fn list_watched(
        &self,
        path: &RemotePath,
    ) -> impl Future<Output = Result<(Self::Listing, Option<Self::Watch>)>> + Send;

    /// What is in a watched directory now, or whether that has changed since it was listed. To be asked once, when the
    /// watch has begun for certain; many that ask at about the same time share a round trip.
    fn look_again(&self, watch: &Self::Watch) -> impl Future<Output = Result<Again>> + Send;

    /// Whether nothing has changed in the directory by now that [`Share::changes`] has not told of, as far as can be known
    /// here: a change may be on its way. Never waits.
    fn is_armed(&self, watch: &Self::Watch) -> bool;

    /// The lease by which a directory is watched, where the server grants leases on directories: the first change by
    /// somebody else breaks it, and that is the end of the watch. Changes by this client are not told.
    fn lease(&self, watch: &Self::Watch) -> Option<LeaseKey>;

    /// Waits for the next changes of what is in the directory, those by this client among them: what changed since
    /// [`Share::list_watched`] or the last call. However long nobody calls this, nothing is lost, but `None` says that
    /// the server lost count: anything may have changed. To be called by one at a time.
    ///
    /// Fails when the directory is not watched any more: it was deleted, the connection was lost, or
    /// [`Share::unwatch`] was called.
    fn changes(&self, watch: &Self::Watch) -> impl Future<Output = Result<Option<Vec<DirChange>>>> + Send;

    /// Ends a watch: its directory is not open any more for whatever is asked of the share after this call.
    fn unwatch(&self, watch: &Self::Watch);

    /// What the server's clock shows about now.
    fn clock(&self) -> FileTime;

    /// Size and free space of the file system behind the share.
    fn space(&self) -> impl Future<Output = Result<Space>> + Send;
}
