//! [`WriteBack`]: takes what programs write to one file, and brings it to the server in whole chunks.
//!
//! Whether a write may be taken before the server has it is the caller's to say, at the moment it is
//! taken. [`WriteBack::drain`] is how everything that has to come after the writes waits for them.
//!
//! Invariants: what is taken is sent, unless the file's end of the mount comes first. A write that the
//! server refused is reported to each who asks with a [`Seen`] from before it ([`Occasion`]). The dirty bytes of
//! one file are bounded by what the line carries, those of all files by the cache's memory.

use super::chunks::FileKey;
use super::dirty::{Dirty, Job};
use super::pages::PageCache;
use crate::waiting::until;
use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What is written in small pieces is sent after this time, if nothing has it sent before.
pub const SENT_AFTER: Duration = Duration::from_secs(1);

/// Where written data goes.
pub trait Sink: Send + Sync + 'static {
    /// Why a write failed.
    type Error: Clone + Send + Sync;

    /// Writes all of `data`, which is the `last` that is dirty if nobody writes more meanwhile.
    fn write(&self, offset: u64, data: Bytes, last: bool) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The server has answered for everything: what it says of the file now is of after the writes.
    fn cleaned(&self);
}

/// The written data of one file on its way to the server.
#[derive(Debug)]
pub struct WriteBack<K: Sink> {
    file: FileKey,
    cache: Arc<PageCache<K::Error>>,
    state: Mutex<State<K>>,
    /// A job is done.
    progress: Notify,
}

#[derive(Debug)]
struct State<K: Sink> {
    dirty: Dirty<Arc<K>>,
    /// How many writes have failed, and how the last one did.
    failures: u64,
    last_failure: Option<K::Error>,
    /// Someone will send what lingers.
    timer: bool,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is dirty now.
    Yes,
    /// There is no room before something was sent.
    NoRoom,
    /// It may not be taken: it has to go through.
    MayNot,
}

/// Which failures somebody knows of already.
#[derive(Debug)]
pub struct Seen {
    /// Told to a write. The kernel may swallow that, if it could write a part of what it was given.
    by_write: AtomicU64,
    /// Told to an fsync, which nobody overlooks.
    by_sync: AtomicU64,
}

/// On which occasion a failure is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// A write: each failure once.
    Write,
    /// A close. Each time, since a descriptor may be closed by several processes that have inherited
    /// it, and only one of them cares.
    Close,
    /// An fsync: each failure once, and then no close tells it any more.
    Sync,
}

impl<K: Sink> WriteBack<K> {
    /// Of a file on a grid of `chunk` bytes.
    pub fn new(file: FileKey, chunk: u32, cache: Arc<PageCache<K::Error>>) -> WriteBack<K> {
        let state = State { dirty: Dirty::new(chunk), failures: 0, last_failure: None, timer: false };
        WriteBack { file, cache, state: Mutex::new(state), progress: Notify::new() }
    }

    /// Takes a write through `by`, if `may` says so at this moment and there is room. To be called within the runtime.
    pub fn take(self: &Arc<Self>, by: &Arc<K>, offset: u64, data: &[u8], may: impl FnOnce() -> bool) -> Taken {
        let window = self.cache.write_window();
        let length = data.len() as u64;
        {
            let mut state = self.state.lock();
            if !may() || !self.cache.could_soil(length) {
                return Taken::MayNot;
            }
            // As much again as is in flight, so that the next job is ready when one is done.
            let crowded = !state.dirty.is_clean() && state.dirty.bytes() + length > 2 * window;
            if crowded || !self.cache.soil(length) {
                state.dirty.send_all();
                drop(state);
                self.send();
                return Taken::NoRoom;
            }
            let added = state.dirty.write(offset, data, by);
            self.cache.clean(length - added);
            if state.dirty.bytes() > window {
                state.dirty.send_all();
            }
            if !std::mem::replace(&mut state.timer, true) {
                self.start_timer();
            }
        }
        // What was read of this range, or is being read, is older than what was written.
        self.cache.invalidate(self.file, offset..offset + length);
        self.send();
        Taken::Yes
    }

    /// As [`WriteBack::take`], waiting for room.
    pub async fn take_when_room(
        self: &Arc<Self>,
        by: &Arc<K>,
        offset: u64,
        data: &[u8],
        may: impl Fn() -> bool,
    ) -> Taken {
        loop {
            let (progress, room) = (self.progress.notified(), self.cache.room().notified());
            tokio::pin!(progress, room);
            // From here on no change is missed.
            progress.as_mut().enable();
            room.as_mut().enable();
            match self.take(by, offset, data, &may) {
                Taken::NoRoom => {}
                taken => return taken,
            }
            tokio::select! {
                () = progress => {}
                () = room => {}
            }
        }
    }

    /// Waits until the server has answered for all that is dirty now. Each WRITE has a deadline.
    pub async fn drain(self: &Arc<Self>) {
        let mark = self.state.lock().dirty.send_all();
        self.send();
        until(&self.progress, || self.state.lock().dirty.is_sent(mark)).await;
    }

    /// Whether there is something that the server has not answered for.
    pub fn is_dirty(&self) -> bool {
        !self.state.lock().dirty.is_clean()
    }

    /// Whether a byte of `range` is dirty.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        self.state.lock().dirty.touches(range)
    }

    /// The bytes of `range`, if all of them are dirty, and in one piece.
    pub fn covered(&self, range: &Range<u64>) -> Option<Bytes> {
        self.state.lock().dirty.covered(range)
    }

    /// For somebody who is to hear of failures from now on.
    pub fn seen(&self) -> Seen {
        let failures = self.state.lock().failures;
        Seen { by_write: failures.into(), by_sync: failures.into() }
    }

    /// Something went wrong with what was written, beside a write: to be told as a write's failure is.
    pub fn fail(&self, error: K::Error) {
        let mut state = self.state.lock();
        state.failures += 1;
        state.last_failure = Some(error);
    }

    /// The last failure, if there is one to be told on this occasion.
    pub fn failure(&self, seen: &Seen, occasion: Occasion) -> Option<K::Error> {
        let state = self.state.lock();
        let before = match occasion {
            Occasion::Write => seen.by_write.swap(state.failures, Ordering::AcqRel),
            Occasion::Close => seen.by_sync.load(Ordering::Acquire),
            Occasion::Sync => {
                seen.by_write.store(state.failures, Ordering::Release);
                seen.by_sync.swap(state.failures, Ordering::AcqRel)
            }
        };
        state.last_failure.clone().filter(|_| before < state.failures)
    }

    /// Sends what may be sent. To be called within the runtime.
    fn send(self: &Arc<Self>) {
        let window = self.cache.write_window();
        loop {
            let Some(job) = self.state.lock().dirty.take(window) else { return };
            let this = Arc::clone(self);
            tokio::spawn(async move {
                this.run(job).await;
                this.send();
            });
        }
    }

    async fn run(&self, job: Job<Arc<K>>) {
        let Job { number, offset, data, by, last } = job;
        let length = data.len() as u64;
        let departure = self.cache.write_departs();
        let result = by.write(offset, data, last).await;
        if result.is_ok() {
            self.cache.write_arrives(departure, length, Instant::now());
        }
        // What was read meanwhile may be from before this write; nobody was given it.
        self.cache.invalidate(self.file, offset..offset + length);
        let (freed, clean) = {
            if let Err(error) = result {
                self.fail(error);
            }
            let mut state = self.state.lock();
            (state.dirty.done(number), state.dirty.is_clean())
        };
        self.cache.clean(freed);
        if clean {
            by.cleaned();
        }
        self.progress.notify_waiters();
    }

    fn start_timer(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(SENT_AFTER).await;
            if let Some(this) = this.upgrade() {
                {
                    let mut state = this.state.lock();
                    state.timer = false;
                    state.dirty.send_all();
                }
                this.send();
            }
        });
    }
}

#[cfg(test)]
mod tests;
