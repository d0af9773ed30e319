//! Calls of programs on open files: read, write, fsync, truncate and touch, as the kernel turns them into requests.

use super::client::{Client, ClientFile, Handle, until};
use super::promises::Synced;
use super::remote::Result;
use super::server::Origin;
use crate::share::error::Cause;
use crate::share::{Caching, Change, FileTime};
use crate::vfs::file::event::Event;
use crate::vfs::file::handle::Occasion;
use std::rc::Rc;

/// The calls of programs.
impl Client {
    /// read(2), checked against the promises.
    pub(super) async fn call_read(self: &Rc<Self>, handle: &Handle, offset: u64, length: u64) {
        let (file, promises) = (&handle.file, &self.world.promises);
        let began = promises.borrow_mut().tick();
        let sure = handle.sure.max(promises.borrow().sure(self.index, file.file));
        let data = match handle.access.direct {
            true => self.read(handle, offset, length).await.ok(),
            false => self.read_pages(handle, offset, length).await,
        };
        if let Some(data) = data {
            promises.borrow_mut().read(self.index, file.file, (offset, length), &data, (began, sure));
            promises.borrow_mut().count("read");
        }
    }

    /// write(2).
    pub(super) async fn call_write(self: &Rc<Self>, handle: &Handle, offset: u64, data: &[u8]) {
        let kernel = &handle.file.kernel;
        kernel.lock().await;
        let bypasses = handle.access.bypasses_kernel();
        if bypasses {
            self.forget_pages(&handle.file).await;
        }
        let call = self.world.number();
        self.world.promises.borrow_mut().begins(self.index, handle.file.file, call, (offset, data));
        let missing = if bypasses { Vec::new() } else { kernel.begin_write(offset, data).await };
        let began = self.world.promises.borrow_mut().tick();
        let origin = Origin { held: false, call: Some(call), born: Some(began) };
        let result = self.write(handle, offset, data, origin).await;
        self.world.promises.borrow_mut().ends(handle.file.file, call);
        kernel.end_write(&missing);
        if bypasses || result.is_err() {
            self.forget_pages(&handle.file).await;
        }
        kernel.unlock();
    }

    /// fsync(2), checked against the promises.
    pub(super) async fn call_sync(self: &Rc<Self>, handle: &Handle) {
        let (file, number) = (&handle.file, handle.number);
        let began = self.world.promises.borrow_mut().tick();
        self.write_back(file).await;
        let is_failed = file.kernel.report(number);
        let synced = match self.sync(handle).await {
            Synced::Yes if is_failed => Synced::Failed,
            synced => synced,
        };
        self.world.count(if synced == Synced::Yes { "fsync 0" } else { "fsync failed" });
        let server = self.world.server.borrow();
        let disk = &server.disks[file.file].data;
        self.world.promises.borrow_mut().synced(self.index, file.file, (number, began, synced), disk);
    }

    async fn sync(self: &Rc<Self>, handle: &Handle) -> Synced {
        let (file, number) = (&handle.file, handle.number);
        let mark = file.state.borrow_mut().want_flush();
        self.drain(file).await;
        let flushed = file.state.borrow_mut().is_flushed_since(mark);
        if file.state.borrow_mut().report(number, Occasion::Sync).is_some() {
            return Synced::Failed;
        }
        if flushed {
            return Synced::Yes;
        }
        let writer = if handle.access.write {
            Some(Rc::clone(&handle.open))
        } else {
            file.state.borrow().writer().map(|(_, open)| open)
        };
        let flushed = match writer {
            Some(writer) => self.remote.flush(&writer).await,
            None => self.sync_by_path(file).await,
        };
        if let Err(error) = flushed {
            let is_lost = error.cause == Cause::Lost;
            self.event(file, Event::Failed(error));
            file.state.borrow_mut().report(number, Occasion::Sync);
            return if is_lost { Synced::Lost } else { Synced::Failed };
        }
        // Another call may have reported the loss meanwhile.
        let reported = file.state.borrow_mut().report(number, Occasion::Sync);
        if reported.is_some() { Synced::Failed } else { Synced::Yes }
    }

    async fn sync_by_path(self: &Rc<Self>, file: &Rc<ClientFile>) -> Result<()> {
        let lease = file.state.borrow().lease().map(|key| (key, Caching::NONE));
        let (open, _) = self.remote.open(file.file, (true, false), lease).await?;
        let flushed = self.remote.flush(&open).await;
        self.remote.close(&open).await;
        flushed
    }

    /// truncate(2).
    pub(super) async fn call_truncate(self: &Rc<Self>, file: &Rc<ClientFile>, size: u64) {
        file.kernel.lock().await;
        // Data that other programs write beyond the new size meanwhile may be cut.
        self.world.promises.borrow_mut().cut(self.index, file.file, size..u64::MAX);
        self.write_back(file).await;
        self.drain(file).await;
        if file.state.borrow().has_kept_open() {
            self.close_kept(file).await;
        }
        until(|| !file.state.borrow().is_closing()).await;
        let writer = file.state.borrow().writer();
        let result = match writer {
            Some((handle, open)) => {
                file.state.borrow_mut().mark_changed(handle);
                self.remote.resize(&open, size).await
            }
            None => self.remote.resize_by_path(file.file, size).await,
        };
        let change = Change { size: Some(size), ..Change::default() };
        self.event(file, Event::Changed { change, clock: self.world.clock(), done: result.is_ok() });
        self.cut_pages(file, size).await;
        if result.is_ok() {
            self.world.promises.borrow_mut().resized(self.index, file.file, size);
            self.world.count("truncated");
        }
        file.kernel.unlock();
    }

    /// utimensat(2), with a time that does not matter.
    pub(super) async fn call_touch(self: &Rc<Self>, file: &Rc<ClientFile>) {
        let change = Change { modified: Some(FileTime(77)), ..Change::default() };
        let is_deferred = self.with(file, |state, now| {
            let may = state.has_dirty_data() && self.policy.decide(state.caching()).holds_writes;
            (may, if may { state.on(Event::Deferred { change, clock: self.world.clock() }, now) } else { Vec::new() })
        });
        if is_deferred {
            return self.world.count("deferred");
        }
        self.drain(file).await;
        let writer = file.state.borrow().writer();
        if let Some((handle, open)) = writer {
            file.state.borrow_mut().mark_changed(handle);
            let result = self.remote.touch(&open).await;
            self.event(file, Event::Changed { change, clock: self.world.clock(), done: result.is_ok() });
        }
    }
}
