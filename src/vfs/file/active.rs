//! What a file has only while it is open here or at the server: opens, handles, dirty data, failures and breaks. A
//! plain value, a part of [`FileState`](super::state::FileState).
//!
//! Invariant: an open at the server is closed only when no handle uses it.

use super::breaking::Breaks;
use super::event::Action;
use super::flushes::Flushes;
use super::handle::{Access, Failures, Handle, Occasion};
use super::in_flight::InFlight;
use super::server_open::{ServerOpen, Use};
use crate::cache::dirty::{Dirty, Job};
use crate::share::{Caching, Change, LeaseKey, ShareError};

/// The state of a file that is open here or at the server.
#[derive(Debug)]
pub(super) struct Active<O> {
    /// The lease that opens of the file ask for.
    pub(super) lease: LeaseKey,
    pub(super) opens: Vec<ServerOpen<O>>,
    next_open: u64,
    pub(super) handles: Vec<Handle>,
    /// Dirty data, with the open through which it was last written.
    pub(super) dirty: Dirty<u64>,
    /// The mark of the last drain.
    pub(super) mark: u64,
    /// The most bytes in flight.
    pub(super) window: u64,
    /// FLUSH requests under way: for each, the job of the WRITE that carries it, and its own number.
    flushing: Vec<(u64, u64)>,
    pub(super) flushes: Flushes,
    /// Times and attributes that were set while data was dirty, for the last WRITE or a SET_INFO.
    deferred: Change,
    /// SET_INFO requests with deferred changes that the server has not answered.
    setting: u32,
    /// An [`Event::Lingered`](super::event::Event::Lingered) is scheduled.
    lingers: bool,
    pub(super) failures: Failures,
    pub(super) writes: InFlight,
    pub(super) breaks: Breaks,
    /// Data that is read is valid for the timeout only, and the end of its validity is scheduled.
    pub(super) expires: bool,
    /// Its opens are closed at the server for a moment, and have no lease.
    pub(super) is_aside: bool,
}

impl<O: Clone> Active<O> {
    pub(super) fn new(lease: LeaseKey, chunk: u32) -> Active<O> {
        Active {
            lease,
            opens: Vec::new(),
            next_open: 1,
            handles: Vec::new(),
            dirty: Dirty::new(chunk),
            mark: 0,
            window: 0,
            flushing: Vec::new(),
            flushes: Flushes::default(),
            deferred: Change::default(),
            setting: 0,
            lingers: false,
            failures: Failures::default(),
            writes: InFlight::default(),
            breaks: Breaks::default(),
            expires: false,
            is_aside: false,
        }
    }

    /// Whether nothing needs this value any more.
    pub(super) fn is_idle(&self) -> bool {
        self.opens.is_empty()
            && self.handles.is_empty()
            && !self.is_dirty()
            && self.writes.is_empty()
            && self.breaks.is_empty()
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_clean() || self.has_deferred()
    }

    pub(super) fn has_deferred(&self) -> bool {
        self.setting > 0 || self.deferred != Change::default()
    }

    /// Whether an open at the server that is not being closed has the file's lease.
    pub(super) fn is_leased(&self) -> bool {
        self.opens.iter().any(|open| open.lease == self.lease && open.usage != Use::Closing)
    }

    pub(super) fn open(&self, id: u64) -> Option<&ServerOpen<O>> {
        self.opens.iter().find(|open| open.id == id)
    }

    fn open_mut(&mut self, id: u64) -> Option<&mut ServerOpen<O>> {
        self.opens.iter_mut().find(|open| open.id == id)
    }

    fn open_id_of(&self, handle: u64) -> Option<u64> {
        Some(self.handles.iter().find(|other| other.number == handle)?.open)
    }

    pub(super) fn opened(&mut self, handle: u64, access: Access, open: O, lease: LeaseKey) {
        let id = self.next_open;
        self.next_open += 1;
        self.opens.push(ServerOpen::new(id, open, access, lease));
        self.handles.push(Handle::new(handle, id, access, &self.failures));
    }

    pub(super) fn joined(&mut self, handle: u64, access: Access, open: u64) {
        if let Some(joined) = self.open_mut(open) {
            joined.usage = Use::Used;
            self.handles.push(Handle::new(handle, open, access, &self.failures));
        }
    }

    pub(super) fn report(&mut self, handle: u64, occasion: Occasion) -> Option<ShareError> {
        let Active { handles, failures, .. } = self;
        handles.iter_mut().find(|other| other.number == handle)?.report(failures, occasion)
    }

    pub(super) fn mark_changed(&mut self, handle: u64) {
        if let Some(open) = self.open_id_of(handle).and_then(|id| self.open_mut(id)) {
            open.changed = true;
        }
    }

    pub(super) fn is_unchanged_through(&self, handle: u64) -> bool {
        self.open_id_of(handle).and_then(|id| self.open(id)).is_some_and(|open| !open.changed)
    }
}

/// Sending dirty data.
impl<O: Clone> Active<O> {
    pub(super) fn wrote(&mut self, handle: u64, offset: u64, data: &[u8], actions: &mut Vec<Action<O>>) {
        let Some(open) = self.open_id_of(handle) else { return };
        let added = self.dirty.write(offset, data, &open);
        let length = data.len() as u64;
        if added < length {
            actions.push(Action::Release(length - added));
        }
        // Data that was read from this range, or is being read, is older than the written data.
        actions.push(Action::Drop(offset..offset + length));
        if self.dirty.bytes() > self.window {
            self.dirty.send_all();
        }
        if !std::mem::replace(&mut self.lingers, true) {
            actions.push(Action::Linger);
        }
        self.send(actions);
    }

    /// Schedules all data that is dirty now, and sends as much of it as may be in flight.
    pub(super) fn send_all(&mut self, actions: &mut Vec<Action<O>>) {
        self.mark = self.dirty.send_all();
        self.send(actions);
    }

    pub(super) fn lingered(&mut self, actions: &mut Vec<Action<O>>) {
        self.lingers = false;
        self.send_all(actions);
    }

    /// Sends as many jobs as may be in flight.
    fn send(&mut self, actions: &mut Vec<Action<O>>) {
        while let Some(Job { number, offset, data, by, last }) = self.dirty.take(self.window) {
            let (change, flush) =
                if last { (std::mem::take(&mut self.deferred), self.flushes.take()) } else { Default::default() };
            // A handle keeps its open until its data has been sent. If the open is gone, any other open that may
            // write will do.
            let writer = self.open(by).or_else(|| self.opens.iter().find(|open| open.can_write()));
            let Some(writer) = writer.map(|writer| (writer.id, writer.open.clone())) else { return };
            self.flushing.extend(flush.map(|flush| (number, flush)));
            if let Some(open) = self.open_mut(writer.0) {
                open.changed = true;
            }
            let (open, flush) = (writer.1, flush.is_some());
            actions.push(Action::Write { job: number, open, offset, data, change, flush });
        }
    }

    /// The server has answered a WRITE.
    pub(super) fn sent(&mut self, job: u64, result: Result<(), ShareError>, actions: &mut Vec<Action<O>>) {
        let flush = self.flushing.iter().position(|(other, _)| *other == job).map(|at| self.flushing.swap_remove(at).1);
        match result {
            Ok(()) => flush.into_iter().for_each(|number| self.flushes.done(number)),
            Err(error) => self.failures.add(error),
        }
        let freed = self.dirty.done(job);
        if freed > 0 {
            actions.push(Action::Release(freed));
        }
        self.send(actions);
    }

    /// Defers a change of times and attributes until the dirty data is sent.
    pub(super) fn defer(&mut self, change: Change) {
        let deferred = &mut self.deferred;
        deferred.accessed = change.accessed.or(deferred.accessed);
        deferred.modified = change.modified.or(deferred.modified);
        deferred.attributes = change.attributes.or(deferred.attributes);
    }

    pub(super) fn take_deferred(&mut self) -> Option<(O, Change)> {
        if self.deferred == Change::default() {
            return None;
        }
        let writer = self.opens.iter_mut().find(|open| open.can_write() && open.usage == Use::Used)?;
        writer.changed = true;
        self.setting += 1;
        Some((writer.open.clone(), std::mem::take(&mut self.deferred)))
    }

    pub(super) fn set_answered(&mut self, result: Result<(), ShareError>) {
        self.setting = self.setting.saturating_sub(1);
        if let Err(error) = result {
            self.failures.add(error);
        }
    }
}

/// Handles and opens that end.
impl<O: Clone> Active<O> {
    pub(super) fn released(&mut self, handle: u64) {
        if let Some(handle) = self.handles.iter_mut().find(|other| other.number == handle) {
            handle.closing = true;
        }
    }

    pub(super) fn handle_closed(&mut self, handle: u64, keep: bool, actions: &mut Vec<Action<O>>) {
        let Some(at) = self.handles.iter().position(|other| other.number == handle) else { return };
        let id = self.handles.swap_remove(at).open;
        if self.handles.iter().any(|other| other.open == id) {
            return;
        }
        if keep {
            // One kept open is enough.
            self.close_kept(actions);
            if let Some(open) = self.open_mut(id) {
                open.usage = Use::Kept;
            }
        } else {
            self.close(id, actions);
        }
    }

    pub(super) fn close_kept(&mut self, actions: &mut Vec<Action<O>>) {
        let kept: Vec<u64> = self.opens.iter().filter(|open| open.usage == Use::Kept).map(|open| open.id).collect();
        kept.into_iter().for_each(|id| self.close(id, actions));
    }

    fn close(&mut self, id: u64, actions: &mut Vec<Action<O>>) {
        if let Some(open) = self.open_mut(id) {
            open.usage = Use::Closing;
            actions.push(Action::Close { id, open: open.open.clone() });
        }
    }

    pub(super) fn closed(&mut self, id: u64) {
        self.opens.retain(|open| open.id != id);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.opens.iter().any(|open| open.usage == Use::Closing)
    }
}

/// Breaks of the file's lease.
impl<O: Clone> Active<O> {
    pub(super) fn broken(&mut self, number: u64, left: Caching, actions: &mut Vec<Action<O>>) {
        let is_mapped = self.handles.iter().any(|handle| handle.access.may_map_for_writing());
        // The break waits first for the kernel to send the mapped dirty pages of programs. Dirty data here is sent at
        // the same time.
        let unmaps = !left.writes() && is_mapped;
        if unmaps {
            actions.push(Action::ForgetPages { number });
        }
        if !left.writes() {
            self.send_all(actions);
        }
        self.breaks.begin(number, left, unmaps, self.writes.latest());
    }

    /// Advances each break as far as possible. Returns whether another client may be changing the file from now on.
    pub(super) fn advance_breaks(&mut self, actions: &mut Vec<Action<O>>) -> bool {
        if self.breaks.is_empty() {
            return false;
        }
        if self.breaks.is_draining() && !self.dirty.is_clean() {
            self.send_all(actions);
        }
        if self.breaks.is_draining()
            && self.dirty.is_clean()
            && let Some((open, change)) = self.take_deferred()
        {
            actions.push(Action::Set { open, change });
        }
        let (is_clean, everything) = (!self.is_dirty(), 0..u64::MAX);
        let mut breaks = std::mem::take(&mut self.breaks);
        let loses_reads = breaks.drained(|latest| is_clean && !self.writes.touches_until(latest, &everything), actions);
        if breaks.is_ready_to_close() {
            self.close_kept(actions);
        }
        breaks.acknowledge(!self.is_closing(), actions);
        self.breaks = breaks;
        loses_reads
    }
}
