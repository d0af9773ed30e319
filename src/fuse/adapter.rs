//! The kernel's requests, each in a few lines: decode, call the file system, reply.

use super::begin::begin;
use super::convert::{add_entry, file_attr, file_type, open_flags, report, set_time};
use super::init;
use crate::share::Share;
use crate::vfs::{Listed, SetAttr, Vfs};
use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long the end of a session waits for open files to be closed. Each close has a deadline of its
/// own; this one holds if there is no runtime left to keep it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// The longest name, in bytes: what Linux allows. Names of 255 UTF-16 units can be longer in UTF-8,
/// but no program could ask for them.
const NAME_MAX: u32 = 255;

/// A file system on a share as fuser wants it.
pub struct Adapter<S: Share> {
    vfs: Arc<Vfs<S>>,
    runtime: Handle,
}

impl<S: Share> Adapter<S> {
    /// Answers requests on `runtime` where an answer needs waiting.
    pub fn new(vfs: Arc<Vfs<S>>, runtime: Handle) -> Adapter<S> {
        Adapter { vfs, runtime }
    }

    /// Runs what needs waiting. The reply goes with it; if it were dropped unanswered, fuser would
    /// answer `EIO`. What can be done at once is done here: so the server has the request before another thread is awake.
    fn spawn<F, W>(&self, work: W)
    where
        W: FnOnce(Arc<Vfs<S>>) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        begin(&self.runtime, work(Arc::clone(&self.vfs)));
    }
}

/// Replies with a new entry, or with the error.
macro_rules! reply_entry {
    ($operation:literal, $reply:ident, $result:expr) => {
        match $result {
            Ok(attr) => $reply.entry(&attr.ttl, &file_attr(&attr), Generation(attr.generation)),
            Err(error) => $reply.error(report($operation, &error)),
        }
    };
}

/// Replies that it is done, or with the error.
macro_rules! reply_empty {
    ($operation:literal, $reply:ident, $result:expr) => {
        match $result {
            Ok(()) => $reply.ok(),
            Err(error) => $reply.error(report($operation, &error)),
        }
    };
}

/// Replies with attributes, or with the error.
macro_rules! reply_attr {
    ($operation:literal, $reply:ident, $result:expr) => {
        match $result {
            Ok(attr) => $reply.attr(&attr.ttl, &file_attr(&attr)),
            Err(error) => $reply.error(report($operation, &error)),
        }
    };
}

impl<S: Share> Filesystem for Adapter<S> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(config);
        Ok(())
    }

    fn destroy(&mut self) {
        let (done, wait) = mpsc::channel();
        self.spawn(|vfs| async move {
            vfs.drain().await;
            let _ = done.send(());
        });
        if wait.recv_timeout(DRAIN_DEADLINE).is_err() {
            tracing::warn!("not all open files could be closed before the end");
        }
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _context = self.runtime.enter();
        if let Some(known) = self.vfs.known_entry(parent.0, name) {
            return reply_entry!("lookup", reply, known);
        }
        let name = name.to_owned();
        self.spawn(|vfs| async move { reply_entry!("lookup", reply, vfs.lookup(parent.0, &name).await) });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, lookups: u64) {
        let _context = self.runtime.enter();
        self.vfs.forget(ino.0, lookups);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let _context = self.runtime.enter();
        match self.vfs.known_attributes(ino.0) {
            Some(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
            None => self.spawn(|vfs| async move { reply_attr!("getattr", reply, vfs.getattr(ino.0).await) }),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            accessed: atime.map(set_time),
            modified: mtime.map(set_time),
            handle: handle.map(|handle| handle.0),
        };
        self.spawn(|vfs| async move { reply_attr!("setattr", reply, vfs.setattr(ino.0, &set).await) });
    }

    fn mknod(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let name = name.to_owned();
        self.spawn(|vfs| async move { reply_entry!("mknod", reply, vfs.mknod(parent.0, &name, mode).await) });
    }

    fn mkdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let name = name.to_owned();
        self.spawn(|vfs| async move { reply_entry!("mkdir", reply, vfs.mkdir(parent.0, &name).await) });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.spawn(|vfs| async move { reply_empty!("unlink", reply, vfs.unlink(parent.0, &name).await) });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.spawn(|vfs| async move { reply_empty!("rmdir", reply, vfs.rmdir(parent.0, &name).await) });
    }

    fn symlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.spawn(|vfs| async move {
            let renamed = vfs.rename(parent.0, &name, new_parent.0, &new_name, flags.bits()).await;
            reply_empty!("rename", reply, renamed);
        });
    }

    fn link(&self, _request: &Request, _ino: INodeNo, _parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.to_owned();
        self.spawn(|vfs| async move {
            match vfs.create(parent.0, &name, mode, flags).await {
                Ok((attr, opened)) => reply.created(
                    &attr.ttl,
                    &file_attr(&attr),
                    Generation(attr.generation),
                    FileHandle(opened.handle),
                    open_flags(&opened),
                ),
                Err(error) => reply.error(report("create", &error)),
            }
        });
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _context = self.runtime.enter();
        if let Some(Ok(opened)) = self.vfs.open_now(ino.0, flags.0) {
            return reply.opened(FileHandle(opened.handle), open_flags(&opened));
        }
        self.spawn(|vfs| async move {
            match vfs.open(ino.0, flags.0).await {
                Ok(opened) => reply.opened(FileHandle(opened.handle), open_flags(&opened)),
                Err(error) => reply.error(report("open", &error)),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _context = self.runtime.enter();
        let reading = match self.vfs.begin_read(handle.0, offset, size) {
            Ok(reading) => reading,
            Err(error) => return reply.error(report("read", &error)),
        };
        if let Some(data) = self.vfs.cached(&reading) {
            return reply.data(&data);
        }
        self.spawn(|vfs| async move {
            match vfs.finish_read(reading).await {
                Ok(data) => reply.data(&data),
                Err(error) => reply.error(report("read", &error)),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _context = self.runtime.enter();
        match self.vfs.take_write(handle.0, offset, data) {
            Some(Ok(written)) => return reply.written(written),
            Some(Err(error)) => return reply.error(report("write", &error)),
            None => {}
        }
        let writing = match self.vfs.begin_write(handle.0, offset, data.len() as u64) {
            Ok(writing) => writing,
            Err(error) => return reply.error(report("write", &error)),
        };
        let data = Bytes::copy_from_slice(data);
        self.spawn(|vfs| async move {
            match vfs.finish_write(writing, data).await {
                Ok(written) => reply.written(written),
                Err(error) => reply.error(report("write", &error)),
            }
        });
    }

    /// If the server cannot copy, `EOPNOTSUPP` makes the kernel copy by reading and writing (fs/fuse/file.c).
    fn copy_file_range(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        _target: INodeNo,
        target_handle: FileHandle,
        target_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copying = match self.vfs.begin_copy(handle.0, offset, target_handle.0, target_offset, length) {
            Ok(copying) => copying,
            Err(error) => return reply.error(report("copy_file_range", &error)),
        };
        self.spawn(|vfs| async move {
            match vfs.finish_copy(copying).await {
                Ok(copied) => reply.written(copied),
                Err(error) => reply.error(report("copy_file_range", &error)),
            }
        });
    }

    fn flush(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        match self.vfs.flushed(handle.0) {
            Some(flushed) => reply_empty!("flush", reply, flushed),
            None => self.spawn(|vfs| async move { reply_empty!("flush", reply, vfs.flush(handle.0).await) }),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _context = self.runtime.enter();
        // The handle is off the table before the next request is looked at.
        let released = self.vfs.release(handle.0);
        self.spawn(|_| async move {
            released.await;
            reply.ok();
        });
    }

    fn fsync(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.spawn(|vfs| async move { reply_empty!("fsync", reply, vfs.fsync(handle.0).await) });
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.vfs.opendir(ino.0)), FopenFlags::empty());
    }

    fn readdir(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.spawn(|vfs| async move {
            let mut take =
                |entry: Listed<'_>| reply.add(INodeNo(entry.ino), entry.next, file_type(entry.kind), entry.name);
            match vfs.readdir(handle.0, offset, false, &mut take).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(report("readdir", &error)),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.spawn(|vfs| async move {
            let mut take = |entry: Listed<'_>| add_entry(&mut reply, &entry);
            match vfs.readdir(handle.0, offset, true, &mut take).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(report("readdirplus", &error)),
            }
        });
    }

    fn releasedir(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        let _context = self.runtime.enter();
        self.vfs.releasedir(handle.0);
        reply.ok();
    }

    /// Changes of names are on the server when they are answered.
    fn fsyncdir(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.spawn(|vfs| async move {
            match vfs.statfs().await {
                Ok(space) => {
                    let unit = space.unit.max(512);
                    let units = |bytes: u64| bytes / u64::from(unit);
                    let (total, free, available) = (units(space.total), units(space.free), units(space.available));
                    // SMB does not count files.
                    reply.statfs(total, free, available, 0, 0, unit, NAME_MAX, unit);
                }
                Err(error) => reply.error(report("statfs", &error)),
            }
        });
    }

    // ENOSYS: the kernel does not ask again.

    fn setxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}
