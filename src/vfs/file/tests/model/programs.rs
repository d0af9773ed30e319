//! Opening, closing, reading and writing a file of a client, as the operations of the file system do it.

use super::client::{CLOSING, Client, ClientFile, GRID, Handle, metadata, until};
use super::remote::Result;
use super::server::Origin;
use crate::share::{Caching, Granted, LeaseKey};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::file::event::Event;
use crate::vfs::file::handle::{Access, Occasion};
use bytes::Bytes;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

/// The outcome of an attempt to hold a write dirty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The data is dirty now.
    Yes,
    /// There is no room for it until other data has been sent.
    NoRoom,
    /// No lease allows it: the write goes through.
    MayNot,
}

/// Opening and closing.
impl Client {
    /// open(2).
    pub(super) async fn open(self: Rc<Self>, file: Rc<ClientFile>, access: Access) {
        file.users.set(file.users.get() + 1);
        file.opening.set(file.opening.get() + 1);
        self.open_file(&file, access).await;
        file.opening.set(file.opening.get() - 1);
        file.users.set(file.users.get() - 1);
    }

    async fn open_file(self: &Rc<Self>, file: &Rc<ClientFile>, access: Access) {
        self.drain(file).await;
        let token = file.state.borrow().token();
        if let Some((handle, keeps)) = self.open_shared(file, access) {
            if file.state.borrow().is_resized() || !keeps {
                self.forget_pages(file).await;
            }
            self.handles.borrow_mut().push(handle);
            return;
        }
        if file.state.borrow().has_kept_open() && !self.is_known(file) {
            self.close_kept(file).await;
        }
        until(|| !file.state.borrow().is_closing()).await;
        let lease = file.state.borrow_mut().begin_open(|| LeaseKey(u128::from(self.world.number())));
        self.open_with(file, access, token, lease).await;
        file.state.borrow_mut().open_ended();
    }

    async fn open_with(self: &Rc<Self>, file: &Rc<ClientFile>, access: Access, token: FetchToken, lease: LeaseKey) {
        let asked = Some((lease, Caching::ALL));
        let Ok((open, info)) = self.remote.open(file.file, (access.modifies(), access.truncate), asked).await else {
            return self.world.count("open failed");
        };
        let (now, metadata) = (self.world.now(), metadata(&info));
        let known = *file.state.borrow().metadata();
        if (known.file_id, known.created) != (info.id, info.created) {
            self.remote.close(&open).await;
            return self.world.count("open found another file");
        }
        let differs = file.state.borrow().size() != metadata.size;
        if file.state.borrow_mut().store(metadata, token, now) {
            file.cache.borrow_mut().invalidate(&(0..u64::MAX));
        }
        let granted = self.granted(file, lease);
        // Another thread may hand on a break before the file knows of this open.
        self.world.pause().await;
        let alone = self.is_alone(granted.caching);
        let is_resized = !access.truncate && (differs || file.state.borrow().is_resized());
        let (handle, at_server) = (self.world.number(), open.at_server());
        let keeps = self.with(file, |state, now| {
            if access.truncate {
                state.replaced(crate::share::FileTime(0), now);
            }
            let keeps = state.kernel_opens(handle, access, &metadata, alone);
            let event = Event::Opened { handle, access, open: Rc::clone(&open), lease, granted, grid: GRID as u32 };
            (keeps, state.on(event, now))
        });
        let sure = self.world.promises.borrow_mut().handle_opened(self.index, file.file, handle, Some(at_server));
        if file.state.borrow().is_older_than(granted) {
            let granted = self.remote.granted(lease);
            self.event(file, Event::Granted { lease, granted });
        }
        if access.truncate {
            self.cut_pages(file, 0).await;
            self.world.promises.borrow_mut().resized(self.index, file.file, 0);
        }
        if is_resized || !alone {
            self.forget_pages(file).await;
        }
        if !alone {
            self.forget_in_time(file);
        }
        if !keeps {
            self.forget_pages(file).await;
        }
        let handle = Handle { number: handle, file: Rc::clone(file), open, access, sure, busy: Cell::new(0) };
        self.handles.borrow_mut().push(Rc::new(handle));
        self.world.count("opened");
    }

    fn open_shared(self: &Rc<Self>, file: &Rc<ClientFile>, access: Access) -> Option<(Rc<Handle>, bool)> {
        if !self.is_known(file) {
            return None;
        }
        let number = self.world.number();
        let (open, keeps) = self.with(file, |state, now| {
            let Some((id, open)) = state.shareable(access, self.policy) else { return (None, Vec::new()) };
            let found = *state.metadata();
            let keeps = state.kernel_opens(number, access, &found, true);
            (Some((open, keeps)), state.on(Event::Joined { handle: number, access, open: id }, now))
        })?;
        let sure = self.world.promises.borrow_mut().handle_opened(self.index, file.file, number, None);
        self.world.count("joined");
        Some((Rc::new(Handle { number, file: Rc::clone(file), open, access, sure, busy: Cell::new(0) }), keeps))
    }

    fn is_known(&self, file: &ClientFile) -> bool {
        file.state.borrow().remaining(self.world.now(), self.policy.timeout, None).is_some()
    }

    fn is_alone(&self, granted: Caching) -> bool {
        self.policy.trusts_version(granted, self.grants_leases.get())
    }

    fn granted(self: &Rc<Self>, file: &Rc<ClientFile>, lease: LeaseKey) -> Granted {
        self.lease(lease, file);
        let granted = self.remote.granted(lease);
        self.grants_leases.set(self.grants_leases.get() || granted.caching != Caching::NONE);
        if !self.is_alone(granted.caching) {
            file.cache.borrow_mut().invalidate(&(0..u64::MAX));
        }
        granted
    }

    fn forget_in_time(self: &Rc<Self>, file: &Rc<ClientFile>) {
        let expires = !self.policy.decide(file.state.borrow().caching()).believes_data
            && file.state.borrow_mut().begin_expiring();
        if !expires {
            return;
        }
        let (this, file, end) = (Rc::clone(self), Rc::clone(file), self.world.now() + self.policy.timeout);
        self.world.spawn(async move {
            until(|| this.world.now() >= end).await;
            file.state.borrow_mut().expired();
            this.forget_pages(&file).await;
        });
    }

    /// close(2) of the last descriptor, and the kernel's RELEASE after it.
    pub(super) async fn close_handle(self: Rc<Self>, handle: Rc<Handle>) {
        let (file, number) = (&handle.file, handle.number);
        let began = self.world.promises.borrow_mut().tick();
        self.write_back(file).await;
        let is_failed = file.kernel.report(number);
        if file.state.borrow().is_dirty() || self.remote.is_in_doubt(&handle.open) {
            self.drain(file).await;
            if self.remote.is_in_doubt(&handle.open)
                && let Err(error) = self.remote.confirm(&handle.open).await
            {
                self.event(file, Event::Failed(error));
            }
        }
        let reported = file.state.borrow_mut().report(number, Occasion::Close);
        if reported.is_none() && !is_failed {
            self.world.count("close 0");
            self.world.promises.borrow_mut().closed(self.index, file.file, number, began);
        }
        // Until now other processes may have dirtied mapped pages. The last mapping is gone now.
        if handle.access.may_map_for_writing() {
            self.write_back(file).await;
        }
        self.handles.borrow_mut().retain(|other| other.number != number);
        until(|| handle.busy.get() == CLOSING).await;
        self.event(file, Event::HandleReleased { handle: number });
        if file.state.borrow().is_dirty() {
            self.drain(file).await;
        }
        self.world.promises.borrow_mut().handle_closed(self.index, file.file, number);
        self.with(file, |state, now| {
            let keep = state.may_keep(number, self.policy);
            ((), state.on(Event::HandleClosed { handle: number, keep }, now))
        });
        until(|| !file.state.borrow().is_closing()).await;
    }

    /// The kernel forgets a file that no program uses, and the client evicts it.
    pub(super) fn forget(self: &Rc<Self>, index: usize) {
        let file = Rc::clone(&self.files.borrow()[index]);
        let is_used =
            file.users.get() > 0 || self.handles.borrow().iter().any(|handle| Rc::ptr_eq(&handle.file, &file));
        if is_used || !file.state.borrow().is_idle() || file.state.borrow().has_handles() {
            return;
        }
        let info = self.world.server.borrow().info(file.file);
        let (alive, is_quiet) = {
            let line = self.remote.line.borrow();
            let alive = line.session.is_some_and(|session| line.at_server == Some(session.number));
            (alive, line.up.is_empty() && line.waiting.is_empty() && line.down.is_empty())
        };
        let opens = self.world.server.borrow().opens_on(self.index, file.file);
        if file.kernel.has_dirty() || (alive && opens > 0 && is_quiet) {
            self.world.fail(format!("client {} evicts file {} with {opens} opens", self.index, file.file));
        }
        self.world.count("evicted");
        self.files.borrow_mut()[index] = ClientFile::new(file.file, &info);
    }
}

/// Reading and writing.
impl Client {
    /// A READ from the kernel.
    pub(super) async fn read(self: &Rc<Self>, handle: &Handle, offset: u64, length: u64) -> Result<Vec<u8>> {
        let (file, range) = (&handle.file, offset..offset + length);
        let known = {
            let state = file.state.borrow();
            if state.writes_touch(&range) {
                None
            } else if state.touches_dirty(&range) {
                state.dirty_range(&range).map(|data| data.to_vec())
            } else {
                let size = state.valid_size(self.policy, self.world.now());
                size.and_then(|size| self.cached(file, &range, size))
            }
        };
        if let Some(data) = known {
            self.world.count("read from the cache");
            return Ok(data);
        }
        self.until_written(file, &range).await;
        if file.state.borrow().touches_dirty(&range) {
            self.drain_data(file).await;
        }
        for _ in 0..4 {
            let valid = file.state.borrow().valid_size(self.policy, self.world.now());
            if valid.is_none() {
                self.refresh(file).await?;
            }
            let size = valid.unwrap_or_else(|| file.state.borrow().size());
            let end = range.end.min(size);
            let mut data = Vec::new();
            for chunk in offset / GRID..end.div_ceil(GRID) {
                let found = self.chunk(handle, chunk, size).await?;
                let from = (offset.saturating_sub(chunk * GRID) as usize).min(found.len());
                let to = ((end - chunk * GRID) as usize).min(found.len());
                data.extend_from_slice(&found[from.min(to)..to]);
                if (found.len() as u64) < (end - chunk * GRID).min(GRID) {
                    break;
                }
            }
            if data.len() as u64 >= end.saturating_sub(offset) {
                return Ok(data);
            }
            let was_dirty = file.state.borrow().has_dirty_data();
            self.drain_data(file).await;
            file.cache.borrow_mut().invalidate(&(offset + data.len() as u64..u64::MAX));
            if !was_dirty {
                file.state.borrow_mut().touch(self.world.now());
                self.refresh(file).await?;
            }
        }
        Err(super::remote::refused("READ"))
    }

    fn cached(&self, file: &ClientFile, range: &Range<u64>, size: u64) -> Option<Vec<u8>> {
        let (cache, end) = (file.cache.borrow(), range.end.min(size));
        let mut data = Vec::new();
        for chunk in range.start / GRID..end.div_ceil(GRID) {
            let found = cache.get(chunk, size)?;
            let from = range.start.saturating_sub(chunk * GRID) as usize;
            let to = ((end - chunk * GRID) as usize).min(found.len());
            data.extend_from_slice(found.get(from..to)?);
        }
        Some(data)
    }

    async fn chunk(self: &Rc<Self>, handle: &Handle, chunk: u64, size: u64) -> Result<Vec<u8>> {
        if let Some(found) = handle.file.cache.borrow().get(chunk, size) {
            return Ok(found.to_vec());
        }
        let number = self.world.number();
        handle.file.cache.borrow_mut().begin(number, chunk);
        let length = (size - chunk * GRID).min(GRID);
        let data = self.remote.read(&handle.open, chunk * GRID, length).await?;
        handle.file.cache.borrow_mut().end(number, &data);
        Ok(data)
    }

    /// A WRITE from the kernel.
    pub(super) async fn write(
        self: &Rc<Self>,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        origin: Origin,
    ) -> Result<()> {
        let (file, range) = (&handle.file, offset..offset + data.len() as u64);
        if let Some(error) = file.state.borrow_mut().report(handle.number, Occasion::Write) {
            return Err(error);
        }
        let may_wait = file.state.borrow().writes_touch(&range);
        if !may_wait && self.take(handle, offset, data) == Taken::Yes {
            return Ok(());
        }
        let number = self.begin_write(file, range);
        let result = self.finish_write(handle, offset, data, origin).await;
        self.event(file, Event::WriteEnded { number });
        result
    }

    fn take(self: &Rc<Self>, handle: &Handle, offset: u64, data: &[u8]) -> Taken {
        let (file, length) = (&handle.file, data.len() as u64);
        let clock = self.world.clock();
        let size = file.state.borrow().size();
        self.reserve(file, length);
        let taken = {
            let state = file.state.borrow();
            let may = self.policy.decide(state.caching()).holds_writes;
            let room = state.has_room(length, 2 * GRID);
            if !may {
                Taken::MayNot
            } else if room {
                Taken::Yes
            } else {
                Taken::NoRoom
            }
        };
        if taken != Taken::Yes {
            self.release(file, length);
        }
        match taken {
            Taken::MayNot => {}
            Taken::NoRoom => self.event(file, Event::Drain),
            Taken::Yes => {
                self.check_may_write_back(file);
                self.world.promises.borrow_mut().held(self.index, file.file, (offset, data), size);
                self.event(file, Event::Wrote { handle: handle.number, offset, data, clock });
                self.world.count("held");
            }
        }
        taken
    }

    async fn finish_write(self: &Rc<Self>, handle: &Handle, offset: u64, data: &[u8], origin: Origin) -> Result<()> {
        let file = &handle.file;
        loop {
            match self.take(handle, offset, data) {
                Taken::Yes => return Ok(()),
                Taken::MayNot => break,
                Taken::NoRoom => {
                    let length = data.len() as u64;
                    until(|| {
                        let state = file.state.borrow();
                        state.has_room(length, 2 * GRID) || !self.policy.decide(state.caching()).holds_writes
                    })
                    .await;
                }
            }
        }
        self.drain_data(file).await;
        let result = self.write_through(handle, offset, data, origin).await;
        let end = offset + data.len() as u64;
        if result.is_ok() {
            self.event(file, Event::WroteThrough { end, clock: self.world.clock() });
            let server = self.world.server.borrow();
            let disk = &server.disks[file.file].data;
            let call = origin.call.unwrap_or_default();
            self.world.promises.borrow_mut().done(self.index, file.file, call, (offset, data), disk);
            self.world.promises.borrow_mut().count("written through");
        }
        file.state.borrow_mut().written(self.world.now());
        file.cache.borrow_mut().invalidate(&(offset..end));
        result
    }

    async fn write_through(self: &Rc<Self>, handle: &Handle, offset: u64, data: &[u8], origin: Origin) -> Result<()> {
        handle.file.state.borrow_mut().mark_changed(handle.number);
        let (mut at, end) = (offset, offset + data.len() as u64);
        while at < end {
            let stop = ((at / GRID + 1) * GRID).min(end);
            let piece = Bytes::copy_from_slice(&data[(at - offset) as usize..(stop - offset) as usize]);
            self.remote.write(&handle.open, (at, piece), (false, false), origin).await?;
            at = stop;
        }
        Ok(())
    }
}
