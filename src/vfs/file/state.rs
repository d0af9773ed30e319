//! [`FileState`]: all that is known of one file, and what waits to be done for it. A plain value without I/O.
//!
//! The driver takes the file's lock, hands an [`Event`] in, releases the lock, and does what the [`Action`]s say. Actions
//! may be overtaken by later events, so an action that must follow another one is only returned by the event that reports
//! the other's end: `Acknowledge` comes from `Sent`, `Set`, `WriteEnded`, `PagesForgotten` or `Closed`, or from `Broken` itself
//! where nothing has to be done first, and never beside a `Write`.
//!
//! Invariants:
//! - A break is acknowledged when everything that was dirty at that moment has been answered by the server, what was cached
//!   under the lost right is dropped here and in the kernel, and no kept open is left.
//! - Nothing becomes dirty without the right to write back at that moment.
//! - An open is closed only when no handle uses it, and what is dirty has been sent through it.
//! - A failure is reported to each handle that was open when it happened.

use super::active::Active;
use super::attributes::{FetchToken, KnownAttributes, StillTrue};
use super::event::{Action, Event};
use super::handle::{Access, Occasion};
use super::kernel_pages::{KernelPages, Mark};
use super::server_open::Use;
use super::version::DataValidity;
use crate::share::{Caching, Change, FileTime, Granted, LeaseKey, Metadata, ShareError};
use crate::vfs::policy::Policy;
use bytes::Bytes;
use std::ops::Range;
use std::time::{Duration, Instant};

/// See the module. `O` is the driver's way to send requests on an open at the server.
#[derive(Debug)]
pub(crate) struct FileState<O> {
    pub(super) attributes: KnownAttributes,
    pub(super) version: DataValidity,
    kernel_pages: KernelPages,
    /// What the server grants under the file's lease, and what was known of that last.
    pub(super) granted: Granted,
    /// The server has reported another size, which was not taken since this mount was changing the file.
    size_in_doubt: bool,
    /// The lease that opens on their way to the server ask for, and how many there are.
    opening: Option<(LeaseKey, u32)>,
    /// What there is only while the file is open here or at the server.
    pub(super) active: Option<Box<Active<O>>>,
}

impl<O: Clone> FileState<O> {
    /// A file that the server has just reported.
    pub(crate) fn fetched(metadata: Metadata, now: Instant) -> FileState<O> {
        let version = DataValidity::of((&metadata).into(), now);
        FileState { version, ..FileState::with(KnownAttributes::fetched(metadata, now)) }
    }

    /// A file of which nothing is known but what it is.
    pub(crate) fn unknown(metadata: Metadata) -> FileState<O> {
        FileState::with(KnownAttributes::unknown(metadata))
    }

    fn with(attributes: KnownAttributes) -> FileState<O> {
        FileState {
            attributes,
            version: DataValidity::default(),
            kernel_pages: KernelPages::default(),
            granted: Granted::NOTHING,
            size_in_doubt: false,
            opening: None,
            active: None,
        }
    }

    /// Takes note of an event: what has to be done now.
    #[must_use = "the actions are to be done"]
    pub(crate) fn on(&mut self, event: Event<'_, O>, now: Instant) -> Vec<Action<O>> {
        let mut actions = Vec::new();
        self.apply(event, now, &mut actions);
        self.advance_breaks(now, &mut actions);
        if actions.iter().any(|action| matches!(action, Action::Close { .. })) {
            // The others may be of a session that was lost, and then do not hold the lease: the share knows.
            self.granted.caching = Caching::NONE;
        }
        if self.active.as_ref().is_some_and(|active| active.is_idle()) {
            self.active = None;
            self.granted.caching = Caching::NONE;
        }
        actions
    }

    fn apply(&mut self, event: Event<'_, O>, now: Instant, actions: &mut Vec<Action<O>>) {
        match event {
            Event::Opened { handle, access, open, lease, granted, grid } => {
                let is_first = self.active.as_ref().is_none_or(|active| active.opens.is_empty());
                let active = self.active.get_or_insert_with(|| Box::new(Active::new(lease, grid)));
                if is_first && std::mem::replace(&mut active.lease, lease) != lease {
                    self.granted.caching = Caching::NONE;
                }
                active.opened(handle, access, open, lease);
                if access.truncate {
                    // Also while data is dirty, when nothing that the server reports is taken.
                    actions.push(Action::Drop(0..u64::MAX));
                }
                self.learn(lease, granted);
            }
            Event::Granted { lease, granted } => self.learn(lease, granted),
            Event::Joined { handle, access, open } => self.with_active(|active| active.joined(handle, access, open)),
            Event::Wrote { handle, offset, data, clock } => {
                self.attributes.wrote_dirty(offset + data.len() as u64, clock, now);
                self.version.changed();
                self.with_active(|active| active.wrote(handle, offset, data, actions));
            }
            Event::WroteThrough { end, clock } => self.attributes.wrote(end, clock, now),
            Event::Deferred { change, clock } => {
                self.attributes.applied(&change, clock, now);
                self.with_active(|active| active.defer(change));
            }
            Event::Changed { change, clock, done } => self.changed(&change, clock, done, now, actions),
            Event::NameChanged { clock } => self.attributes.name_changed(clock, now),
            Event::Drain => self.with_active(|active| active.send_all(actions)),
            Event::Lingered => self.with_active(|active| active.lingered(actions)),
            Event::Sent { job, result } => {
                self.with_active(|active| active.sent(job, result, actions));
                self.cleaned(now);
            }
            Event::Set { result } => {
                self.with_active(|active| active.set_answered(result));
                self.cleaned(now);
            }
            Event::Failed(error) => self.with_active(|active| active.failures.add(error)),
            Event::Broken { number, left, serial } => self.broken(number, left, serial, actions),
            Event::SessionLost => {
                self.with_active(|active| active.close_kept(actions));
                self.doubt(now);
            }
            Event::PagesForgotten { number } => {
                self.with_active(|active| active.breaks.forgotten(number, active.writes.latest()));
            }
            Event::Fetched { metadata, token } => {
                if self.store(metadata, token, now) {
                    actions.push(Action::Drop(0..u64::MAX));
                }
            }
            Event::WriteBegan { number, range } => self.with_active(|active| active.writes.begin(number, range)),
            Event::WriteEnded { number } => self.with_active(|active| active.writes.end(number)),
            Event::HandleReleased { handle } => self.with_active(|active| active.released(handle)),
            Event::HandleClosed { handle, keep } => {
                self.version.kernel_closes(handle);
                self.with_active(|active| active.handle_closed(handle, keep, actions));
            }
            Event::KeptOpenUnwanted => self.with_active(|active| active.close_kept(actions)),
            Event::Closed { open } => self.with_active(|active| active.closed(open)),
        }
    }

    fn with_active(&mut self, work: impl FnOnce(&mut Active<O>)) {
        if let Some(active) = self.active.as_mut() {
            work(active);
        }
    }

    /// A grant counts if it is of the file's lease, unless something newer is known: a break may have come before the answer
    /// to the open.
    fn learn(&mut self, lease: LeaseKey, granted: Granted) {
        if self.lease() == Some(lease) && granted.serial >= self.granted.serial {
            self.granted = granted;
        }
    }

    /// The last dirty byte may have reached the server.
    fn cleaned(&mut self, now: Instant) {
        if !self.is_dirty() {
            self.attributes.sent(now);
        }
    }

    fn changed(&mut self, change: &Change, clock: FileTime, done: bool, now: Instant, actions: &mut Vec<Action<O>>) {
        match done {
            true => self.attributes.applied(change, clock, now),
            false => self.attributes.changed(now),
        }
        if let Some(size) = change.size {
            self.version.changed();
            actions.push(Action::Drop(size..u64::MAX));
        }
    }

    fn broken(&mut self, number: u64, left: Caching, serial: u64, actions: &mut Vec<Action<O>>) {
        let before = self.granted.caching;
        self.granted = Granted { caching: before.and(left), serial: self.granted.serial.max(serial) };
        match self.active.as_mut() {
            Some(active) => active.broken(number, left, actions),
            None => {
                self.version.expire();
                actions.push(Action::Drop(0..u64::MAX));
                actions.push(Action::Acknowledge { number });
            }
        }
    }

    /// Takes each break as far as it can go now.
    fn advance_breaks(&mut self, now: Instant, actions: &mut Vec<Action<O>>) {
        let Some(active) = self.active.as_mut() else { return };
        if active.advance_breaks(actions) {
            // Another client may be changing the file from here on.
            self.attributes.changed(now);
            self.version.expire();
        }
    }
}

/// What a listing reports, and what other rooms change about the attributes.
impl<O: Clone> FileState<O> {
    /// Takes what the server reported, unless this mount has changed the file since the token was taken. Says whether cached
    /// data has to be dropped.
    #[must_use]
    pub(crate) fn store(&mut self, metadata: Metadata, token: FetchToken, now: Instant) -> bool {
        // While data is dirty the server reports the time before it.
        if self.is_dirty() {
            return false;
        }
        if self.attributes.store(metadata, token, now) {
            self.size_in_doubt = false;
            return self.version.validate((&metadata).into(), now);
        }
        self.size_in_doubt |= metadata.size != self.size();
        self.version.validate_blindly(now);
        true
    }

    /// Takes what a listing that began at `fetched` reported, unless the file is open here or at the server: servers are late
    /// with what they list of open files. Says whether cached data has to be dropped.
    #[must_use]
    pub(crate) fn store_listed(&mut self, metadata: Metadata, fetched: Instant) -> bool {
        self.active.is_none()
            && self.attributes.store_older(metadata, fetched)
            && self.version.validate((&metadata).into(), fetched)
    }

    /// A listing that began at `fetched` reported when the file was read last.
    pub(crate) fn accessed(&mut self, listed: &Metadata, fetched: Instant) {
        self.attributes.accessed(listed, fetched);
    }

    /// This mount changed something about the file; only the server knows what that did to its times.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.attributes.changed(now);
    }

    /// This mount changed an entry of the directory, at `clock` by the server's clock.
    pub(crate) fn entries_changed(&mut self, clock: FileTime, now: Instant) {
        self.attributes.entries_changed(clock, now);
    }

    /// Another client may have changed the file.
    pub(crate) fn doubt(&mut self, now: Instant) {
        if !self.is_dirty() {
            self.attributes.doubt(now);
            self.version.expire();
        }
    }

    /// Data was written at the server, in whole or in part: its version is not known any more.
    pub(crate) fn written(&mut self, now: Instant) {
        self.attributes.changed(now);
        self.version.changed();
    }

    /// An open has truncated or created the file, and its answer describes the file since.
    pub(crate) fn replaced(&mut self, now: Instant) {
        self.version.changed();
        self.attributes.changed_as_reported(now);
    }

    /// An open is about to be sent: the lease that it asks for. All opens of a file ask for one and the same, or they would
    /// break each other's. Ends by [`FileState::open_ended`].
    pub(crate) fn begin_open(&mut self, new: impl FnOnce() -> LeaseKey) -> LeaseKey {
        let (key, others) = self.opening.unwrap_or_else(|| (self.lease().unwrap_or_else(new), 0));
        self.opening = Some((key, others + 1));
        key
    }

    /// An open has ended that was announced: after its [`Event::Opened`], or without.
    pub(crate) fn open_ended(&mut self) {
        self.opening =
            self.opening.and_then(|(key, count)| Some((key, count.checked_sub(1).filter(|left| *left > 0)?)));
    }

    /// The kernel opens the file with this handle; see [`DataValidity::kernel_opens`].
    pub(crate) fn kernel_opens(&mut self, handle: u64, access: Access, found: &Metadata, alone: bool) -> bool {
        self.kernel_pages.opens(access.read);
        self.version.kernel_opens(handle, found.into(), alone)
    }

    /// A handle was opened and the kernel was not told, so it has dropped nothing.
    pub(crate) fn kernel_did_not_open(&mut self, handle: u64) {
        self.version.kernel_did_not_open(handle);
    }

    /// To be taken before the kernel is told to drop its pages: `None` if it has none.
    pub(crate) fn kernel_pages(&self) -> Option<Mark> {
        self.kernel_pages.mark()
    }

    /// The kernel has dropped its pages. While the file is open, it may already have read others.
    pub(crate) fn kernel_forgot(&mut self, mark: Mark) {
        let is_open = self.has_handles();
        self.kernel_pages.forgot(mark, is_open);
    }

    /// The kernel gets the size with this answer.
    pub(crate) fn shown_to_kernel(&mut self) {
        self.attributes.shown_to_kernel();
    }

    /// The answer with the size did not reach the kernel.
    pub(crate) fn not_shown_to_kernel(&mut self) {
        self.attributes.not_shown_to_kernel();
    }
}

/// Questions.
impl<O: Clone> FileState<O> {
    pub(crate) fn metadata(&self) -> &Metadata {
        self.attributes.metadata()
    }

    /// What stat(2) shows; see [`KnownAttributes::shown`].
    pub(crate) fn shown(&self, now: Instant) -> Metadata {
        self.attributes.shown(now)
    }

    pub(crate) fn size(&self) -> u64 {
        self.attributes.metadata().size
    }

    /// To be taken before the server is asked for metadata.
    pub(crate) fn token(&self) -> FetchToken {
        self.attributes.token()
    }

    /// For how much longer the attributes may be believed; `None` if not at all.
    pub(crate) fn remaining(&self, now: Instant, timeout: Duration, still_true: Option<StillTrue>) -> Option<Duration> {
        if self.is_dirty() { Some(timeout) } else { self.attributes.remaining(now, timeout, still_true) }
    }

    /// When the server reported all of it; `None` if that is not what is known.
    pub(crate) fn known_since(&self) -> Option<Instant> {
        self.attributes.known_since().filter(|_| !self.is_dirty())
    }

    /// When this mount changed the file last.
    pub(crate) fn changed_at(&self) -> Option<Instant> {
        self.attributes.changed_at()
    }

    /// Whether the kernel may believe that the file has another size.
    pub(crate) fn is_resized(&self) -> bool {
        self.attributes.is_resized()
    }

    /// Whether the server does not have all that programs wrote or set.
    pub(crate) fn is_dirty(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_dirty())
    }

    /// Whether written data is dirty, whatever was set behind it.
    pub(crate) fn has_dirty_data(&self) -> bool {
        self.active.as_ref().is_some_and(|active| !active.dirty.is_clean())
    }

    /// The number of dirty bytes.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.dirty.bytes())
    }

    /// The mark of all that is dirty now: for [`FileState::is_drained`], after [`Event::Drain`].
    pub(crate) fn drain_mark(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.mark)
    }

    /// Whether the server has answered for all that was dirty at the mark.
    pub(crate) fn is_drained(&self, mark: u64) -> bool {
        self.active.as_ref().is_none_or(|active| active.dirty.is_sent(mark))
    }

    /// Whether a byte of the range is dirty.
    pub(crate) fn touches_dirty(&self, range: &Range<u64>) -> bool {
        self.active.as_ref().is_some_and(|active| active.dirty.touches(range))
    }

    /// The bytes of the range within the file, if all of them are dirty and in one piece.
    pub(crate) fn dirty_range(&self, range: &Range<u64>) -> Option<Bytes> {
        let range = range.start..range.end.min(self.size());
        self.active.as_ref().and_then(|active| active.dirty.covered(&range))
    }

    /// Whether a write of the range is under way.
    pub(crate) fn writes_touch(&self, range: &Range<u64>) -> bool {
        self.active.as_ref().is_some_and(|active| active.writes.touches(range))
    }

    /// Whether a write of the range is under way that began no later than the write `latest`.
    pub(crate) fn writes_touch_until(&self, latest: u64, range: &Range<u64>) -> bool {
        self.active.as_ref().is_some_and(|active| active.writes.touches_until(latest, range))
    }

    /// What the server grants to opens with the file's lease.
    pub(crate) fn caching(&self) -> Caching {
        let is_leased = self.active.as_ref().is_some_and(|active| active.is_leased());
        if is_leased { self.granted.caching } else { Caching::NONE }
    }

    /// Whether what is granted is not what the share reported, since a break was seen meanwhile.
    pub(crate) fn is_older_than(&self, granted: Granted) -> bool {
        self.granted.serial > granted.serial
    }

    /// Whether the kernel is sending dirty mapped pages because of a break.
    pub(crate) fn is_unmapping(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.breaks.is_unmapping())
    }

    /// The lease that opens of the file ask for, while it is open at the server.
    pub(crate) fn lease(&self) -> Option<LeaseKey> {
        self.active.as_ref().map(|active| active.lease)
    }

    /// The file's lease, if an open has it that is not being closed.
    pub(crate) fn shared_lease(&self) -> Option<LeaseKey> {
        self.active.as_ref().filter(|active| active.is_leased()).map(|active| active.lease)
    }

    /// Whether a write of this length may become dirty, as far as the room for it here goes.
    pub(crate) fn has_room(&self, length: u64, window: u64) -> bool {
        // As much again as is in flight, so that the next job is ready when one is answered.
        let dirty = self.dirty_bytes();
        dirty == 0 || dirty + length <= 2 * window
    }

    /// How many bytes may be in flight from now on.
    pub(crate) fn set_window(&mut self, window: u64) {
        self.with_active(|active| active.window = window);
    }

    /// The size, if the data of that size may be used without asking the server.
    pub(crate) fn valid_size(&self, policy: Policy, now: Instant) -> Option<u64> {
        let is_believed =
            policy.decide(self.caching()).believes_data || policy.is_recent(self.version.validated(), now);
        let is_current = self.is_dirty() || (is_believed && !self.size_in_doubt);
        is_current.then(|| self.size())
    }

    /// The open at the server that a new handle can share, if the lease allows it: its number, and the open.
    pub(crate) fn shareable(&self, access: Access, policy: Policy) -> Option<(u64, O)> {
        let active = self.active.as_ref()?;
        let allowed = !access.truncate && policy.decide(self.caching()).shares_open;
        let open = active.opens.iter().find(|open| allowed && open.serves(access))?;
        Some((open.id, open.open.clone()))
    }

    /// An open that a live handle uses.
    pub(crate) fn live_open(&self) -> Option<O> {
        let active = self.active.as_ref()?;
        let handle = active.handles.iter().find(|handle| !handle.closing)?;
        Some(active.open(handle.open)?.open.clone())
    }

    /// A handle that can be written through, and its open.
    pub(crate) fn writer(&self) -> Option<(u64, O)> {
        let active = self.active.as_ref()?;
        let handle = active.handles.iter().find(|handle| !handle.closing && handle.access.write)?;
        Some((handle.number, active.open(handle.open)?.open.clone()))
    }

    /// Whether the kernel has a handle, or one is still being closed.
    pub(crate) fn has_handles(&self) -> bool {
        self.active.as_ref().is_some_and(|active| !active.handles.is_empty())
    }

    /// Whether the kernel has a handle that it has not released.
    pub(crate) fn has_live_handle(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.handles.iter().any(|handle| !handle.closing))
    }

    /// Whether a CLOSE is under way.
    pub(crate) fn is_closing(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_closing())
    }

    /// Whether an open is kept that no handle uses.
    pub(crate) fn has_kept_open(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.opens.iter().any(|open| open.usage == Use::Kept))
    }

    /// Whether nothing but what the kernel remembers keeps the file in the table: no handle, open at the server, dirty
    /// data, deferred change, or failure that a handle has not reported.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none()
    }

    /// Whether the open of a handle may be kept when the handle goes, if it is the open's last.
    pub(crate) fn may_keep(&self, handle: u64, policy: Policy) -> bool {
        let Some(active) = self.active.as_ref() else { return false };
        policy.decide(self.caching()).keeps_open && active.is_unchanged_through(handle)
    }

    /// Something was, or is being, changed through a handle.
    pub(crate) fn mark_changed(&mut self, handle: u64) {
        self.with_active(|active| active.mark_changed(handle));
    }

    /// The failure to report through a handle now.
    pub(crate) fn report(&mut self, handle: u64, occasion: Occasion) -> Option<ShareError> {
        self.active.as_mut()?.report(handle, occasion)
    }

    /// An fsync wants the data flushed: the mark for [`FileState::is_flushed_since`].
    pub(crate) fn want_flush(&mut self) -> u64 {
        self.active.as_mut().map_or(0, |active| active.flushes.want())
    }

    /// Whether a FLUSH that was begun after the mark is done.
    pub(crate) fn is_flushed_since(&mut self, mark: u64) -> bool {
        self.active.as_mut().is_some_and(|active| active.flushes.is_done_since(mark))
    }

    /// The change that waits behind dirty data, to be sent on `open` now: the caller reports [`Event::Set`].
    pub(crate) fn take_deferred(&mut self) -> Option<(O, Change)> {
        self.active.as_mut()?.take_deferred()
    }

    /// Whether a deferred change waits or is under way.
    pub(crate) fn has_deferred(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.has_deferred())
    }

    /// Marks the end of belief in what is read from now on, once: says whether it was not marked yet.
    pub(crate) fn begin_expiring(&mut self) -> bool {
        self.active.as_mut().is_some_and(|active| !std::mem::replace(&mut active.expires, true))
    }

    /// That time has come: data is to be compared with the server's again.
    pub(crate) fn expired(&mut self) {
        self.version.expire();
        self.with_active(|active| active.expires = false);
    }
}

#[cfg(test)]
#[path = "tests/state.rs"]
mod tests;
