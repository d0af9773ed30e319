//! What users do, and what they see, over a share in memory.
//!
//! | part | what is tested there |
//! |---|---|
//! | `open`, `create`, `close`, `unanswered` | opens and handles, kept opens, answers that do not reach the kernel |
//! | `read`, `write`, `writeback`, `copy` | data: through the cache, through to the server, held dirty under a lease |
//! | `coherence` | how old data and attributes may be |
//! | `lookup`, `setattr`, `xattr` | names, inode numbers, attributes and extended attributes |
//! | `readdir`, `mkdir`, `rmdir`, `unlink`, `rename`, `links` | directories and names |
//! | `special` | symbolic links, fifos, sockets and devices |
//! | `directories`, `watches`, `ahead` | directories that are known from a watch, or listed ahead |
//! | `model` | random operations, compared with a model of POSIX |

mod ahead;
mod close;
mod coherence;
mod copy;
mod create;
mod directories;
mod links;
mod lookup;
mod mkdir;
mod model;
mod open;
mod owners;
mod read;
mod readdir;
mod rename;
mod rmdir;
mod setattr;
mod special;
mod unanswered;
mod unlink;
mod watches;
mod write;
mod writeback;
mod xattr;

use super::background::{follow_watches, handle_breaks};
use super::operations::{Listed, Maker, Opened, Position, SetAttr, SetTime};
use super::*;
use crate::config::{CacheMode, OwnerOptions};
use crate::share::FileKind;
use crate::share::memory::{Behaviour, MemoryShare};
use bytes::Bytes;
use std::ffi::OsStr;
use std::time::Duration;

/// An attribute timeout longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// A user with a mount.
pub(crate) struct User {
    pub share: Arc<MemoryShare>,
    pub vfs: Arc<Vfs<MemoryShare>>,
}

/// The user of the mount makes a file with this mode.
pub(crate) fn by(mode: u32) -> Maker {
    Maker { uid: 1000, gid: 100, mode }
}

/// Ordinary options.
pub(crate) fn options() -> VfsOptions {
    VfsOptions {
        uid: 1000,
        gid: 100,
        file_mode: 0o644,
        dir_mode: 0o755,
        owner: OwnerOptions::default(),
        read_only: false,
        cache: CacheMode::Strict,
        attr_timeout: LONG,
        cache_size: 1 << 20,
    }
}

impl User {
    /// A user with an ordinary server and ordinary options.
    pub(crate) fn new() -> User {
        User::on(MemoryShare::new())
    }

    /// A user of this share.
    pub(crate) fn on(share: Arc<MemoryShare>) -> User {
        User::with(share, options())
    }

    /// A user of a server with this behaviour.
    pub(crate) fn behaving(behaviour: Behaviour) -> User {
        User::on(MemoryShare::with(behaviour))
    }

    /// Another mount of the same share, with a timeout of zero: it asks the server each time.
    pub(crate) fn mounted_with_zero_timeout(self) -> User {
        User::with(self.share, VfsOptions { attr_timeout: Duration::ZERO, ..options() })
    }

    /// A user of this share, with these options.
    pub(crate) fn with(share: Arc<MemoryShare>, options: VfsOptions) -> User {
        let vfs = Arc::new(Vfs::new(Arc::clone(&share), options, RemotePath::root()));
        User { share, vfs }
    }

    /// As [`User::new`], with a timeout of zero: it asks the server each time.
    pub(crate) fn with_zero_timeout() -> User {
        User::with(MemoryShare::new(), VfsOptions { attr_timeout: Duration::ZERO, ..options() })
    }

    /// Looks a path up, one name after the other, as the kernel does.
    pub(crate) async fn look(&self, path: &str) -> Result<Attr> {
        let mut attr = None;
        let mut at = ROOT;
        for name in path.split('/') {
            if attr.is_some_and(|attr: Attr| attr.kind != FileKind::Directory) {
                return Err(VfsError::rule(libc::ENOTDIR, "the kernel looks for nothing in a file"));
            }
            let found = operations::lookup(&self.vfs, at, OsStr::new(name)).await?;
            at = found.ino;
            attr = Some(found);
        }
        attr.ok_or_else(VfsError::stale)
    }

    /// The inode number of a path.
    pub(crate) async fn ino(&self, path: &str) -> u64 {
        self.look(path).await.unwrap().ino
    }

    /// The inode number of the directory of a path, and the last name of the path.
    pub(crate) async fn split<'a>(&self, path: &'a str) -> (u64, &'a OsStr) {
        match path.rsplit_once('/') {
            Some((directory, name)) => (self.ino(directory).await, OsStr::new(name)),
            None => (ROOT, OsStr::new(path)),
        }
    }

    /// `open(2)`
    pub(crate) async fn open(&self, path: &str, flags: i32) -> Result<Opened> {
        let ino = self.look(path).await?.ino;
        operations::open(&self.vfs, ino, flags).await
    }

    /// `open(2)` with `O_CREAT`
    pub(crate) async fn create(&self, path: &str, flags: i32) -> Result<(Attr, Opened)> {
        let (parent, name) = self.split(path).await;
        operations::create(&self.vfs, parent, name, by(0o644), flags | libc::O_CREAT).await
    }

    /// Releases a handle, as the kernel does after `close(2)`.
    pub(crate) async fn close(&self, opened: Opened) {
        operations::release(&self.vfs, opened.handle).await;
    }

    /// `pwrite(2)`
    pub(crate) async fn write(&self, opened: Opened, offset: u64, data: &[u8]) -> Result<u32> {
        let writing =
            operations::begin_write(&self.vfs, opened.handle, self.position(opened, offset), data.len() as u64)?;
        operations::finish_write(&self.vfs, writing, Bytes::copy_from_slice(data)).await
    }

    /// Where the kernel sends a write: to the end of a file that was opened to append.
    pub(crate) fn position(&self, opened: Opened, offset: u64) -> Position {
        let appends = self.vfs.handles.file(opened.handle).is_ok_and(|open| open.access.append);
        if appends { Position::End } else { Position::At(offset) }
    }

    /// `pread(2)`
    pub(crate) async fn read(&self, opened: Opened, offset: u64, length: u32) -> Result<Vec<u8>> {
        let reading = operations::begin_read(&self.vfs, opened.handle, offset, length)?;
        Ok(operations::finish_read(&self.vfs, reading).await?.to_vec())
    }

    /// The data that is answered without asking the server.
    pub(crate) fn cached(&self, opened: Opened, offset: u64, length: u32) -> Option<Bytes> {
        operations::cached(&self.vfs, &operations::begin_read(&self.vfs, opened.handle, offset, length).ok()?)
    }

    /// `cat`
    pub(crate) async fn cat(&self, path: &str) -> Result<Vec<u8>> {
        let opened = self.open(path, libc::O_RDONLY).await?;
        let data = self.read(opened, 0, 1 << 20).await;
        self.close(opened).await;
        data
    }

    /// `cat > path`
    pub(crate) async fn save(&self, path: &str, data: &[u8]) -> Result<()> {
        let (_, opened) = self.create(path, libc::O_WRONLY | libc::O_TRUNC).await?;
        if !data.is_empty() {
            self.write(opened, 0, data).await?;
        }
        self.close(opened).await;
        Ok(())
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<Attr> {
        let (parent, name) = self.split(path).await;
        operations::mkdir(&self.vfs, parent, name, by(0o755)).await
    }

    pub(crate) async fn rm(&self, path: &str) -> Result<()> {
        let (parent, name) = self.split(path).await;
        operations::unlink(&self.vfs, parent, name).await
    }

    pub(crate) async fn rmdir(&self, path: &str) -> Result<()> {
        let (parent, name) = self.split(path).await;
        operations::rmdir(&self.vfs, parent, name).await
    }

    pub(crate) async fn mv(&self, from: &str, to: &str) -> Result<()> {
        self.rename(from, to, 0).await
    }

    pub(crate) async fn rename(&self, from: &str, to: &str, flags: u32) -> Result<()> {
        let ((parent, name), (new_parent, new_name)) = (self.split(from).await, self.split(to).await);
        operations::rename(&self.vfs, parent, name, new_parent, new_name, flags).await
    }

    /// `ls`, without `.` and `..`.
    pub(crate) async fn ls(&self, path: &str) -> Result<Vec<String>> {
        let ino = if path.is_empty() { ROOT } else { self.look(path).await?.ino };
        let handle = operations::opendir(&self.vfs, ino);
        let mut names = Vec::new();
        let mut take = |entry: Listed<'_>| {
            names.push(entry.name.to_string_lossy().into_owned());
            false
        };
        let listed = operations::readdir(&self.vfs, handle, 2, false, &mut take).await;
        operations::releasedir(&self.vfs, handle);
        listed.map(|()| names)
    }
}

/// The errno of a call that must fail.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    result.expect_err("this should have failed").errno
}

impl Vfs<MemoryShare> {
    pub(crate) fn kernel_view(&self) -> &KernelView {
        &self.kernel_view
    }
}

/// Ends all notifications that wait in a lane, and returns what the kernel was to forget.
pub(crate) fn forgotten_by(lane: &Lane) -> Vec<Forgotten> {
    std::iter::from_fn(|| {
        let task = lane.next()?;
        let what = task.what().clone();
        lane.done(task);
        Some(what)
    })
    .collect()
}

/// A kernel that forgets at once what the lanes ask for, and records it.
pub(crate) struct Kernel {
    forgotten: Arc<Mutex<Vec<Forgotten>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Kernel {
    pub(crate) fn of(user: &User) -> Kernel {
        let lanes = user.vfs.forgotten().expect("it has no kernel yet");
        let forgotten = Arc::<Mutex<Vec<_>>>::default();
        let record = Arc::clone(&forgotten);
        let task = tokio::spawn(async move {
            loop {
                record.lock().extend(forgotten_by(&lanes.names));
                record.lock().extend(forgotten_by(&lanes.pages));
                tokio::task::yield_now().await;
            }
        });
        Kernel { forgotten, task }
    }

    /// What it has forgotten since the last call, in this order.
    pub(crate) fn take(&self) -> Vec<Forgotten> {
        std::mem::take(&mut *self.forgotten.lock())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.task.abort();
    }
}
