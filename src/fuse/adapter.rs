//! [`Adapter`]: the kernel's requests, each in a few lines: decode, call the file system, reply.

use super::abandoned::Watch;
use super::answer::{Asked, Filled, ReplyValue, Respond, refuse, respond};
use super::begin::begin;
use super::call::Call;
use super::claims::{Claim, Claims};
use super::convert::{device, kills_set_id, maker, set_time};
use super::init;
use super::system_call::{self, Shown};
use crate::share::Share;
use crate::telemetry::{Operation, Span};
use crate::vfs::operations::{self, Position, SetAttr, Xattr};
use crate::vfs::{Attr, Result, Vfs, VfsError};
use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long the end of a session waits for open files to be closed. Each CLOSE has a deadline of its own, which the
/// runtime enforces; this one applies if the runtime is gone.
const DRAIN_DEADLINE: Duration = Duration::from_secs(90);

/// How long the kernel may use the attributes of a directory in which it is about to change an entry, so that its second
/// check of permissions does not ask again.
const UNTIL_CHANGE: Duration = Duration::from_millis(1);

/// The file system of a share, as fuser calls it.
pub struct Adapter<S: Share> {
    vfs: Arc<Vfs<S>>,
    /// The name of the mountpoint.
    root_name: Option<OsString>,
    runtime: Handle,
    watch: Arc<Watch>,
    claims: Arc<Claims>,
}

impl<S: Share> Adapter<S> {
    /// An adapter that continues on `runtime` every request that cannot be answered at once.
    pub fn new(vfs: Arc<Vfs<S>>, mountpoint: &Path, runtime: Handle) -> Adapter<S> {
        let root_name = mountpoint.file_name().map(OsStr::to_owned);
        Adapter { vfs, root_name, watch: Watch::of_processes(runtime.clone()), runtime, claims: Arc::default() }
    }

    /// The name by which programs know a directory, as far as it is known.
    fn name_of(&self, ino: INodeNo) -> Option<OsString> {
        if ino == INodeNo::ROOT { self.root_name.clone() } else { operations::name_of(&self.vfs, ino.0) }
    }

    /// A request of the kernel begins.
    fn call(&self, operation: Operation, request: &Request, ino: INodeNo) -> Call {
        Call::new(self.vfs.counters(), operation, request, ino.0)
    }

    /// Starts work that may wait, and that sends the reply. (If the reply were dropped, fuser would answer `EIO`.) The
    /// first poll happens here, so the request is sent to the server without waiting for another thread to wake up.
    fn spawn<F, W>(&self, call: Call, work: W)
    where
        W: FnOnce(Arc<Vfs<S>>, Call) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let span = call.span;
        let waits = begin(&self.runtime, span.run(work(Arc::clone(&self.vfs), call)));
        self.began(span, waits);
    }

    /// Starts the work of a request that is answered EINTR when its program is killed. The claim says what the work
    /// needs exclusively.
    fn answer<T, R, F, W>(&self, call: Call, claim: Claim, reply: R, work: W)
    where
        T: Send + 'static,
        R: Respond<S, T>,
        F: Future<Output = Result<T>> + Send + 'static,
        W: FnOnce(Arc<Vfs<S>>) -> F,
    {
        let span = call.span;
        let asked = Asked {
            call,
            claim,
            vfs: Arc::clone(&self.vfs),
            watch: Arc::clone(&self.watch),
            claims: Arc::clone(&self.claims),
        };
        let waits = begin(&self.runtime, span.run(asked.answer(work(Arc::clone(&self.vfs)), reply)));
        self.began(span, waits);
    }

    /// Counts a request that could not be answered at once.
    fn began(&self, span: Span, waits: bool) {
        if waits {
            self.vfs.counters().requests(span.operation).waited.count();
            let _entered = span.enter();
            tracing::trace!("waits");
        }
    }

    /// Answers FUSE_GETATTR with attributes that are fetched from the server unless they are valid.
    fn fetched(&self, call: Call, ino: INodeNo, reply: ReplyAttr) {
        self.answer(call, Claim::NONE, reply, move |vfs| async move { operations::getattr(&vfs, ino.0).await });
    }

    /// A request that is always refused with the same errno, which is returned.
    fn refused(&self, operation: Operation, request: &Request, ino: INodeNo, errno: Errno) -> Errno {
        self.call(operation, request, ino).refused(errno);
        errno
    }
}

impl<S: Share> Filesystem for Adapter<S> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let missing = init::negotiate(config, self.vfs.lists_attributes());
        if !missing.contains(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP) {
            self.vfs.kernel_allows_direct_mappings();
        }
        Ok(())
    }

    fn destroy(&mut self) {
        let (done, wait) = mpsc::channel();
        let vfs = Arc::clone(&self.vfs);
        begin(&self.runtime, async move {
            operations::drain(&vfs).await;
            let _ = done.send(());
        });
        if wait.recv_timeout(DRAIN_DEADLINE).is_err() {
            tracing::warn!("not all open files could be closed before the end; dirty data may be lost");
        }
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let call = self.call(Operation::Lookup, request, parent);
        let _context = self.runtime.enter();
        if operations::is_other_spelling(&self.vfs, parent.0, name) {
            let (name, thread) = (name.to_owned(), request.pid());
            return self.answer(call, Claim::NONE, reply, move |vfs| async move {
                if system_call::renames_to(thread, &name).await {
                    let absent = VfsError::rule(libc::ENOENT, "a rename to this name replaces nothing");
                    return Err(VfsError { level: tracing::Level::DEBUG, ..absent });
                }
                match operations::known_entry(&vfs, parent.0, &name) {
                    Some(known) => known,
                    None => operations::lookup(&vfs, parent.0, &name).await,
                }
            });
        }
        if let Some(known) = operations::known_entry(&self.vfs, parent.0, name) {
            return respond::<S, _, _>(&call, reply, known);
        }
        let name = name.to_owned();
        self.answer(call, Claim::NONE, reply, |vfs| async move { operations::lookup(&vfs, parent.0, &name).await });
    }

    fn forget(&self, request: &Request, ino: INodeNo, lookups: u64) {
        let call = self.call(Operation::Forget, request, ino);
        let _context = self.runtime.enter();
        operations::forget(&self.vfs, ino.0, lookups);
        call.replied();
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let call = self.call(Operation::Getattr, request, ino).uncrossed(self.vfs.answers(ino.0));
        let _context = self.runtime.enter();
        if let Some(attr) = operations::known_attributes(&self.vfs, ino.0) {
            return respond::<S, _, _>(&call, reply, Ok(attr));
        }
        let Some(estimate) = operations::estimated_attributes(&self.vfs, ino.0) else {
            return self.fetched(call, ino, reply);
        };
        match system_call::shown_to(request.pid()) {
            Shown::Nothing => respond::<S, _, _>(&call, reply, Ok(estimate)),
            Shown::Change => {
                let ttl = estimate.ttl.max(UNTIL_CHANGE);
                respond::<S, _, _>(&call, reply, Ok(Attr { ttl, ..estimate }));
            }
            Shown::Anything => self.fetched(call, ino, reply),
            Shown::Path(address) => {
                let (thread, name) = (request.pid(), self.name_of(ino));
                self.answer(call, Claim::NONE, reply, move |vfs| async move {
                    match system_call::may_be_of(thread, address, name).await {
                        true => operations::getattr(&vfs, ino.0).await,
                        false => Ok(estimate),
                    }
                });
            }
        }
    }

    fn setattr(
        &self,
        request: &Request,
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
        let call = self.call(Operation::Setattr, request, ino).on(handle.map_or(0, |handle| handle.0));
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            accessed: atime.map(set_time),
            modified: mtime.map(set_time),
            handle: handle.map(|handle| handle.0),
            kills_set_id: kills_set_id(request.uid(), mode, uid.or(gid), size),
        };
        let claim = handle.map_or(Claim::changes(ino.0), |handle| Claim::changes(ino.0).uses(handle.0));
        self.answer(call, claim, reply, |vfs| async move { operations::setattr(&vfs, ino.0, &set).await });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let call = self.call(Operation::Mknod, request, parent);
        let (name, maker, device) = (name.to_owned(), maker(request, mode), device(rdev));
        let claim = Claim::changes(parent.0);
        self.answer(
            call,
            claim,
            reply,
            |vfs| async move { operations::mknod(&vfs, parent.0, &name, maker, device).await },
        );
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let call = self.call(Operation::Mkdir, request, parent);
        let (name, maker) = (name.to_owned(), maker(request, mode));
        let claim = Claim::changes(parent.0);
        self.answer(call, claim, reply, |vfs| async move { operations::mkdir(&vfs, parent.0, &name, maker).await });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let call = self.call(Operation::Unlink, request, parent);
        let name = name.to_owned();
        let claim = Claim::changes(parent.0);
        self.answer(call, claim, reply, |vfs| async move { operations::unlink(&vfs, parent.0, &name).await });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let call = self.call(Operation::Rmdir, request, parent);
        let name = name.to_owned();
        let claim = Claim::changes(parent.0);
        self.answer(call, claim, reply, |vfs| async move { operations::rmdir(&vfs, parent.0, &name).await });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let call = self.call(Operation::Symlink, request, parent);
        let (name, target) = (name.to_owned(), target.as_os_str().as_bytes().to_owned());
        let (claim, maker) = (Claim::changes(parent.0), maker(request, 0o777));
        self.answer(call, claim, reply, |vfs| async move {
            operations::symlink(&vfs, parent.0, &name, &target, maker).await
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let call = self.call(Operation::Readlink, request, ino);
        self.answer(call, Claim::NONE, reply, |vfs| async move { operations::readlink(&vfs, ino.0).await });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Operation::Rename, request, parent);
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let claim = Claim::changes_both(parent.0, new_parent.0);
        self.answer(call, claim, reply, |vfs| async move {
            operations::rename(&vfs, parent.0, &name, new_parent.0, &new_name, flags.bits()).await
        });
    }

    fn link(&self, request: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let call = self.call(Operation::Link, request, ino);
        let name = name.to_owned();
        let claim = Claim::changes_both(ino.0, parent.0);
        self.answer(call, claim, reply, |vfs| async move { operations::link(&vfs, ino.0, parent.0, &name).await });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let call = self.call(Operation::Create, request, parent);
        let (name, maker) = (name.to_owned(), maker(request, mode));
        let claim = Claim::changes(parent.0);
        self.answer(
            call,
            claim,
            reply,
            |vfs| async move { operations::create(&vfs, parent.0, &name, maker, flags).await },
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let call = self.call(Operation::Open, request, ino);
        let _context = self.runtime.enter();
        if let Some(Ok(opened)) = operations::open_now(&self.vfs, ino.0, flags.0) {
            return respond::<S, _, _>(&call, reply, Ok(opened));
        }
        let (truncates, uid) = (flags.0 & libc::O_TRUNC != 0, request.uid());
        let claim = if truncates { Claim::changes(ino.0) } else { Claim::NONE };
        self.answer(call, claim, reply, move |vfs| async move {
            let opened = operations::open(&vfs, ino.0, flags.0).await?;
            if truncates {
                operations::written_by(&vfs, opened.handle, uid);
            }
            Ok(opened)
        });
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let call = self.call(Operation::Read, request, ino).on(handle.0);
        let _context = self.runtime.enter();
        let reading = match operations::begin_read(&self.vfs, handle.0, offset, size) {
            Ok(reading) => reading,
            Err(error) => return refuse::<S, _>(&call, reply, &error),
        };
        if let Some(data) = operations::cached(&self.vfs, &reading) {
            return respond::<S, _, _>(&call, reply, Ok(data));
        }
        let claim = Claim::NONE.uses(handle.0);
        self.answer(call, claim, reply, |vfs| async move { operations::finish_read(&vfs, reading).await });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let call = self.call(Operation::Write, request, ino).on(handle.0);
        let _context = self.runtime.enter();
        // Pages that programs have mapped are written back at their own offset, through any handle of the file. The flags
        // are those of the moment: fcntl(2) can set and clear O_APPEND.
        let is_of_pages = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let appends = !is_of_pages && flags.0 & libc::O_APPEND != 0;
        let to = if appends { Position::End } else { Position::At(offset) };
        if !is_of_pages {
            operations::written_by(&self.vfs, handle.0, request.uid());
        }
        let claim = Claim::changes(ino.0).uses(handle.0);
        if self.claims.admit(&claim)
            && let Some(written) = operations::write_now(&self.vfs, handle.0, to, data)
        {
            return respond::<S, _, _>(&call, reply, written);
        }
        let writing = match operations::begin_write(&self.vfs, handle.0, to, data.len() as u64) {
            Ok(writing) => writing,
            Err(error) => return refuse::<S, _>(&call, reply, &error),
        };
        let data = Bytes::copy_from_slice(data);
        self.answer(call, claim, reply, |vfs| async move { operations::finish_write(&vfs, writing, data).await });
    }

    /// `EOPNOTSUPP`, if the server cannot copy, makes the kernel copy by reading and writing (fs/fuse/file.c).
    fn copy_file_range(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        target: INodeNo,
        target_handle: FileHandle,
        target_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let call = self.call(Operation::CopyFileRange, request, ino).on(handle.0);
        let copying = match operations::begin_copy(&self.vfs, handle.0, offset, target_handle.0, target_offset, length)
        {
            Ok(copying) => copying,
            Err(error) => return refuse::<S, _>(&call, reply, &error),
        };
        operations::written_by(&self.vfs, target_handle.0, request.uid());
        let claim = Claim::changes(target.0).uses(handle.0).uses(target_handle.0);
        self.answer(call, claim, reply, |vfs| async move { operations::finish_copy(&vfs, copying).await });
    }

    fn flush(&self, request: &Request, ino: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        let call = self.call(Operation::Flush, request, ino).on(handle.0);
        match operations::flushed(&self.vfs, handle.0) {
            Some(flushed) => respond::<S, _, _>(&call, reply, flushed),
            None => self.spawn(call, |vfs, call| async move {
                respond::<S, _, _>(&call, reply, operations::flush(&vfs, handle.0).await);
            }),
        }
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let call = self.call(Operation::Release, request, ino).on(handle.0);
        let _context = self.runtime.enter();
        if !self.claims.is_unused(handle.0) {
            let claims = Arc::clone(&self.claims);
            return self.spawn(call, |vfs, call| async move {
                claims.unused(handle.0).await;
                operations::release(&vfs, handle.0).await;
                respond::<S, _, _>(&call, reply, Ok(()));
            });
        }
        // The handle leaves the table before the next request is decoded.
        let released = operations::release(&self.vfs, handle.0);
        self.spawn(call, |_, call| async move {
            released.await;
            respond::<S, _, _>(&call, reply, Ok(()));
        });
    }

    fn fsync(&self, request: &Request, ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let call = self.call(Operation::Fsync, request, ino).on(handle.0);
        self.spawn(call, |vfs, call| async move {
            respond::<S, _, _>(&call, reply, operations::fsync(&vfs, handle.0).await);
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let call = self.call(Operation::Opendir, request, ino);
        reply.opened(FileHandle(operations::opendir(&self.vfs, ino.0)), FopenFlags::empty());
        call.replied();
    }

    fn readdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let call = self.call(Operation::Readdir, request, ino).on(handle.0);
        let (filled, mut add) = Filled::new(reply);
        self.answer(call, Claim::NONE, filled, |vfs| async move {
            operations::readdir(&vfs, handle.0, offset, false, &mut add).await
        });
    }

    fn readdirplus(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let call = self.call(Operation::Readdirplus, request, ino).on(handle.0);
        let (filled, mut add) = Filled::new(reply);
        self.answer(call, Claim::NONE, filled, |vfs| async move {
            operations::readdir(&vfs, handle.0, offset, true, &mut add).await
        });
    }

    fn releasedir(&self, request: &Request, ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        let call = self.call(Operation::Releasedir, request, ino).on(handle.0);
        let _context = self.runtime.enter();
        operations::releasedir(&self.vfs, handle.0);
        respond::<S, _, _>(&call, reply, Ok(()));
    }

    /// Changes of names are on the server when their requests are answered, so nothing is sent. Whether they are on its
    /// disk is not asked.
    fn fsyncdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let call = self.call(Operation::Fsyncdir, request, ino).on(handle.0);
        respond::<S, _, _>(&call, reply, Ok(()));
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let call = self.call(Operation::Statfs, request, ino);
        self.answer(call, Claim::NONE, reply, |vfs| async move { operations::statfs(&vfs, ino.0).await });
    }

    /// `EOPNOTSUPP` for a name without a value: after it ls(1) and others do not ask for the same name of other files,
    /// which they do after `ENODATA`. After `ENOSYS` the kernel would ask for no name any more.
    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let Some(xattr) = Xattr::named(name) else {
            return reply.error(self.refused(Operation::Getxattr, request, ino, Errno::EOPNOTSUPP));
        };
        let (call, reply) = (self.call(Operation::Getxattr, request, ino), ReplyValue { reply, size });
        let _context = self.runtime.enter();
        match operations::known_xattr(&self.vfs, ino.0, xattr) {
            Some(known) => respond::<S, _, _>(&call, reply, known),
            None => self
                .answer(call, Claim::NONE, reply, |vfs| async move { operations::getxattr(&vfs, ino.0, xattr).await }),
        }
    }

    /// None: those that [`Adapter::getxattr`] answers are not to be copied. It is no error: tar(1) would warn of it.
    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let call = self.call(Operation::Listxattr, request, ino);
        respond::<S, _, _>(&call, ReplyValue { reply, size }, Ok(Vec::new()));
    }

    // Unsupported operations. After ENOSYS the kernel does not send the same kind of request again; EOPNOTSUPP and
    // ENOTTY are the errors that programs know for the last two.

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refused(Operation::Setxattr, request, ino, Errno::ENOSYS));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.refused(Operation::Removexattr, request, ino, Errno::ENOSYS));
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(self.refused(Operation::Lseek, request, ino, Errno::ENOSYS));
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refused(Operation::Fallocate, request, ino, Errno::EOPNOTSUPP));
    }

    fn ioctl(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(self.refused(Operation::Ioctl, request, ino, Errno::ENOTTY));
    }
}
