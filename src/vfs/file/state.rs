//! [`FileState`]: all that is known of one file, and the requests that it still needs. A plain value without I/O.
//!
//! The driver locks the file, hands an [`Event`] in, unlocks the file, and does what the [`Action`]s say. Later
//! events may overtake actions. So an action that must follow another one is returned only by the event that reports
//! the other's end: `Acknowledge` comes from `Sent`, `Set`, `WriteEnded`, `PagesForgotten` or `Closed`, or from
//! `Broken` itself where nothing has to be done first. It never comes together with a `Write`.
//!
//! Invariants:
//! - A break is acknowledged when the server has answered for everything that was dirty when it arrived, everything
//!   cached under the lost right is dropped here and in the kernel (if the kernel drops it in time), and no kept open
//!   is left.
//! - Nothing becomes dirty without the right to write back at that moment.
//! - An open is closed only when no handle uses it, and its dirty data has been sent through it.
//! - A failure is reported to each handle that was open when it happened.

use super::active::Active;
use super::attributes::{FetchToken, KnownAttributes, StillTrue, Stored};
use super::event::{Action, Event};
use super::handle::{Access, Occasion};
use super::kernel_pages::{KernelPages, Mark};
use super::ownership::KnownOwner;
use super::server_open::Use;
use super::version::DataValidity;
use crate::share::{Caching, Change, FileTime, Granted, LeaseKey, Metadata, Ownership, ShareError};
use crate::vfs::policy::Policy;
use bytes::Bytes;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How long after a change by another client its next one is expected. Samba reports the time of a write after up to two
/// seconds.
const CONTESTED: Duration = Duration::from_secs(2);

/// All that is known of one file. `O` is the driver's object for requests on an open at the server.
#[derive(Debug)]
pub(crate) struct FileState<O> {
    /// What the server has reported of the file.
    pub(super) attributes: KnownAttributes,
    /// Its owner, group and mode, beside the options.
    owner: KnownOwner,
    /// Which version of its data is cached.
    pub(super) version: DataValidity,
    /// Whether the kernel may have pages.
    kernel_pages: KernelPages,
    /// The caching granted under the file's lease, as last reported.
    pub(super) granted: Granted,
    /// The server has reported another size, which was not accepted because this mount was changing the file.
    size_in_doubt: bool,
    /// When another client was last seen to change the file.
    changed_elsewhere: Option<Instant>,
    /// The lease that opens on their way to the server ask for, and the number of those opens.
    opening: Option<(LeaseKey, u32)>,
    /// The part that exists only while the file is open here or at the server.
    pub(super) active: Option<Box<Active<O>>>,
}

impl<O: Clone> FileState<O> {
    /// A file whose metadata the server has just reported.
    pub(crate) fn fetched(metadata: Metadata, now: Instant) -> FileState<O> {
        let version = DataValidity::of((&metadata).into(), now);
        FileState { version, ..FileState::with(KnownAttributes::fetched(metadata, now)) }
    }

    /// A file of which only the identity and kind are known.
    pub(crate) fn unknown(metadata: Metadata) -> FileState<O> {
        FileState::with(KnownAttributes::unknown(metadata))
    }

    fn with(attributes: KnownAttributes) -> FileState<O> {
        FileState {
            attributes,
            owner: KnownOwner::default(),
            version: DataValidity::default(),
            kernel_pages: KernelPages::default(),
            granted: Granted::NOTHING,
            size_in_doubt: false,
            changed_elsewhere: None,
            opening: None,
            active: None,
        }
    }

    /// Applies an event, and returns the actions that follow.
    #[must_use = "the actions are to be done"]
    pub(crate) fn on(&mut self, event: Event<'_, O>, now: Instant) -> Vec<Action<O>> {
        let mut actions = Vec::new();
        self.apply(event, now, &mut actions);
        self.advance_breaks(now, &mut actions);
        if actions.iter().any(|action| matches!(action, Action::Close { .. })) {
            // The other opens may be of a lost session, and then do not hold the lease. The driver asks the share what
            // they hold.
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
                    // Needed also while data is dirty, when the server's reports are not accepted.
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
            Event::Owned { stored, remembered, clock } => {
                self.attributes.owner_changed(clock, now);
                self.own(stored, remembered, now);
            }
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
            Event::Broken { number, left, serial } => self.broken(number, left, serial, now, actions),
            Event::SessionLost => {
                self.with_active(|active| active.close_kept(actions));
                self.doubt(now);
            }
            Event::PutAside => self.with_active(|active| active.is_aside = true),
            Event::TakenUp => {
                self.with_active(|active| active.is_aside = false);
                self.granted.caching = Caching::NONE;
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

    /// Accepts a grant of the file's lease, unless a newer one is known: a break may have arrived before the answer
    /// to the open.
    fn learn(&mut self, lease: LeaseKey, granted: Granted) {
        if self.lease() == Some(lease) && granted.serial >= self.granted.serial {
            self.granted = granted;
        }
    }

    /// If no data is dirty any more, the server's times are unknown from now on.
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

    fn broken(&mut self, number: u64, left: Caching, serial: u64, now: Instant, actions: &mut Vec<Action<O>>) {
        let before = self.granted.caching;
        if before.reads() && !left.reads() {
            self.changes_elsewhere(now);
        }
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

    /// Advances each break as far as possible.
    fn advance_breaks(&mut self, now: Instant, actions: &mut Vec<Action<O>>) {
        let Some(active) = self.active.as_mut() else { return };
        if active.advance_breaks(actions) {
            // Another client may be changing the file from here on.
            self.attributes.changed(now);
            self.version.expire();
        }
    }
}

/// Metadata from listings and replies, and changes that other rooms report.
impl<O: Clone> FileState<O> {
    /// Accepts what the server reported. Does nothing while data is dirty. If this mount has changed the file since the
    /// token, nothing is accepted. If it has, or the file was put in doubt since, all cached data must be dropped.
    /// Returns whether cached data must be dropped.
    #[must_use]
    pub(crate) fn store(&mut self, metadata: Metadata, token: FetchToken, now: Instant) -> bool {
        // While data is dirty, the server reports the state before it.
        if self.is_dirty() {
            return false;
        }
        let is_resized = metadata.size != self.size();
        if self.attributes.store(metadata, token, now) == Stored::Valid {
            self.size_in_doubt = false;
            return self.version.validate((&metadata).into(), now);
        }
        self.size_in_doubt |= is_resized;
        self.version.validate_blindly(now);
        true
    }

    /// The server has reported the number of links; 0 if its answer does not tell.
    pub(crate) fn links_reported(&mut self, links: u32) {
        self.attributes.links_reported(links);
    }

    /// Accepts what a listing that began at `fetched` reported, unless the file is open here or at the server, since
    /// servers list open files with stale metadata, or has several links. Returns whether cached data must be dropped.
    #[must_use]
    pub(crate) fn store_listed(&mut self, metadata: Metadata, fetched: Instant) -> bool {
        // A listing does not tell how many links are left.
        self.active.is_none()
            && self.attributes.metadata().links <= 1
            && self.attributes.store_older(metadata, fetched)
            && self.version.validate((&metadata).into(), fetched)
    }

    /// A listing that began at `fetched` has reported the access time.
    pub(crate) fn accessed(&mut self, listed: &Metadata, fetched: Instant) {
        self.attributes.accessed(listed, fetched);
    }

    /// Remembers owner, group and mode, which the server does not keep.
    pub(crate) fn remember(&mut self, owner: Ownership) {
        self.owner.remember(owner);
    }

    /// Owner, group and mode of a new file: `stored` at the server, `remembered` here.
    pub(crate) fn own(&mut self, stored: Ownership, remembered: Ownership, now: Instant) {
        self.owner.stored(stored, now);
        self.owner.remember(remembered);
    }

    /// The server, asked at `at`, has reported owner, group and mode.
    pub(crate) fn owner_reported(&mut self, owner: Ownership, at: Instant) {
        self.owner.is_reported(owner, at);
    }

    /// A program without privileges writes the file.
    pub(crate) fn written_without_privileges(&mut self) {
        self.owner.is_written();
    }

    /// The known metadata is no longer valid: this mount changed the file in a way whose effect only the server knows,
    /// or found that another client has cut it.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.attributes.changed(now);
    }

    /// This mount changed an entry of the directory, at `clock` by the server's clock.
    pub(crate) fn entries_changed(&mut self, clock: FileTime, now: Instant) {
        self.attributes.entries_changed(clock, now);
    }

    /// Another client may have changed the file. Without effect while data is dirty.
    pub(crate) fn doubt(&mut self, now: Instant) {
        if !self.is_dirty() {
            self.attributes.doubt(now);
            self.version.expire();
        }
    }

    /// The size that the server has reported within the last moments, if this mount is not writing.
    pub(crate) fn recent_size(&self, now: Instant) -> Option<u64> {
        let since = self.known_since().filter(|_| !self.writes_touch(&(0..u64::MAX)))?;
        (now.saturating_duration_since(since) < CONTESTED).then(|| self.size())
    }

    /// Another client has changed the file.
    pub(crate) fn changes_elsewhere(&mut self, now: Instant) {
        self.changed_elsewhere = Some(now);
    }

    /// Data was written at the server, in whole or in part: its version is unknown.
    pub(crate) fn written(&mut self, now: Instant) {
        self.attributes.changed(now);
        self.version.changed();
    }

    /// An open has truncated the file at `clock` by the server's clock, and its answer already describes the changed
    /// file.
    pub(crate) fn replaced(&mut self, clock: FileTime, now: Instant) {
        self.version.changed();
        self.attributes.replaced(clock, now);
    }

    /// The lease for an open that is about to be sent. All opens of a file ask for the same lease, or they would
    /// break each other's. The caller ends it with [`FileState::open_ended`].
    pub(crate) fn begin_open(&mut self, new: impl FnOnce() -> LeaseKey) -> LeaseKey {
        let (key, others) = self.opening.unwrap_or_else(|| (self.lease().unwrap_or_else(new), 0));
        self.opening = Some((key, others + 1));
        key
    }

    /// An open from [`FileState::begin_open`] has ended, after its [`Event::Opened`] or without one.
    pub(crate) fn open_ended(&mut self) {
        self.opening =
            self.opening.and_then(|(key, count)| Some((key, count.checked_sub(1).filter(|left| *left > 0)?)));
    }

    /// The kernel opens the file with this handle. Returns whether it may keep its pages; see
    /// [`DataValidity::kernel_opens`].
    pub(crate) fn kernel_opens(&mut self, handle: u64, access: Access, found: &Metadata, alone: bool) -> bool {
        self.kernel_pages.opens(access.read);
        self.version.kernel_opens(handle, found.into(), alone)
    }

    /// A handle was opened but its open was not returned to the kernel, so the kernel has dropped no pages.
    pub(crate) fn kernel_did_not_open(&mut self, handle: u64) {
        self.version.kernel_did_not_open(handle);
    }

    /// The mark for [`FileState::kernel_forgot`], read before the kernel is notified. `None` if the kernel has
    /// no pages.
    pub(crate) fn kernel_pages(&self) -> Option<Mark> {
        self.kernel_pages.mark()
    }

    /// The kernel has dropped its pages. If the file is open, the kernel may already have read new ones.
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

/// Queries.
impl<O: Clone> FileState<O> {
    /// The metadata that is known, without estimated times.
    pub(crate) fn metadata(&self) -> &Metadata {
        self.attributes.metadata()
    }

    /// What is known of owner, group and mode.
    pub(crate) fn owner(&self) -> &KnownOwner {
        &self.owner
    }

    /// What stat(2) shows; see [`KnownAttributes::shown`].
    pub(crate) fn shown(&self, now: Instant) -> Metadata {
        self.attributes.shown(now)
    }

    /// The size that is known, with dirty data, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.attributes.metadata().size
    }

    /// To be read before the server is asked for metadata, for [`FileState::store`].
    pub(crate) fn token(&self) -> FetchToken {
        self.attributes.token()
    }

    /// For how much longer the attributes are valid; `None` if they are not. While data is dirty, for `timeout`.
    pub(crate) fn remaining(&self, now: Instant, timeout: Duration, still_true: Option<StillTrue>) -> Option<Duration> {
        if self.is_dirty() { Some(timeout) } else { self.attributes.remaining(now, timeout, still_true) }
    }

    /// When the server reported all of the metadata; `None` while data is dirty, or if any of the metadata has been
    /// changed, estimated or put in doubt since.
    pub(crate) fn known_since(&self) -> Option<Instant> {
        self.attributes.known_since().filter(|_| !self.is_dirty())
    }

    /// Whether times are estimated since a change of an entry of the directory.
    pub(crate) fn has_estimated_times(&self) -> bool {
        self.attributes.has_estimated_times()
    }

    /// When this mount last changed the file.
    pub(crate) fn changed_at(&self) -> Option<Instant> {
        self.attributes.changed_at()
    }

    /// Whether the kernel may have another size of the file.
    pub(crate) fn is_resized(&self) -> bool {
        self.attributes.is_resized()
    }

    /// Whether another client is probably still changing the file.
    pub(crate) fn is_contested(&self, now: Instant) -> bool {
        self.changed_elsewhere.is_some_and(|at| now.saturating_duration_since(at) < CONTESTED)
    }

    /// Whether the server lacks data or a change from a program.
    pub(crate) fn is_dirty(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_dirty())
    }

    /// Whether written data is dirty. Deferred changes do not count.
    pub(crate) fn has_dirty_data(&self) -> bool {
        self.active.as_ref().is_some_and(|active| !active.dirty.is_clean())
    }

    /// The number of dirty bytes.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.dirty.bytes())
    }

    /// The mark of all data that is dirty now, for [`FileState::is_drained`]. Read after [`Event::Drain`].
    pub(crate) fn drain_mark(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.mark)
    }

    /// Whether the server has answered for all data that was dirty at the mark.
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

    /// Whether a kernel WRITE of the range is under way.
    pub(crate) fn writes_touch(&self, range: &Range<u64>) -> bool {
        self.active.as_ref().is_some_and(|active| active.writes.touches(range))
    }

    /// Whether a kernel WRITE of the range is under way that began no later than the WRITE `latest`.
    pub(crate) fn writes_touch_until(&self, latest: u64, range: &Range<u64>) -> bool {
        self.active.as_ref().is_some_and(|active| active.writes.touches_until(latest, range))
    }

    /// The caching granted to opens with the file's lease; none if no open has the lease.
    pub(crate) fn caching(&self) -> Caching {
        let is_leased = self.active.as_ref().is_some_and(|active| active.is_leased() && !active.is_aside);
        if is_leased { self.granted.caching } else { Caching::NONE }
    }

    /// Whether the file knows a newer grant than this one, because a break arrived in between.
    pub(crate) fn is_older_than(&self, granted: Granted) -> bool {
        self.granted.serial > granted.serial
    }

    /// Whether the kernel is sending dirty mapped pages because of a break.
    pub(crate) fn is_unmapping(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.breaks.is_unmapping())
    }

    /// The lease that opens of the file ask for, while the file is open here or at the server.
    pub(crate) fn lease(&self) -> Option<LeaseKey> {
        self.active.as_ref().map(|active| active.lease)
    }

    /// The file's lease, if an open that is not being closed has it.
    pub(crate) fn shared_lease(&self) -> Option<LeaseKey> {
        self.active.as_ref().filter(|active| active.is_leased()).map(|active| active.lease)
    }

    /// Whether there is room to hold a write of `length` bytes dirty, if `window` bytes may be in flight.
    pub(crate) fn has_room(&self, length: u64, window: u64) -> bool {
        // Twice the window: the next job is ready when one is answered.
        let dirty = self.dirty_bytes();
        dirty == 0 || dirty + length <= 2 * window
    }

    /// Sets the most bytes in flight.
    pub(crate) fn set_window(&mut self, window: u64) {
        self.with_active(|active| active.window = window);
    }

    /// The size, if cached data of that size may be used without asking the server.
    pub(crate) fn valid_size(&self, policy: Policy, now: Instant) -> Option<u64> {
        let is_believed =
            policy.decide(self.caching()).believes_data || policy.is_recent(self.version.validated(), now);
        let is_current = self.is_dirty() || (is_believed && !self.size_in_doubt);
        is_current.then(|| self.size())
    }

    /// The size, if no other client can have changed it. A read lease is not enough: the server breaks it when another
    /// client has written, and the break may be on its way.
    pub(crate) fn certain_size(&self, policy: Policy) -> Option<u64> {
        let is_certain = self.is_dirty() || (policy.decide(self.caching()).holds_writes && !self.size_in_doubt);
        is_certain.then(|| self.size())
    }

    /// An open at the server that a new handle can share under the lease: its number, and the open.
    pub(crate) fn shareable(&self, access: Access, policy: Policy) -> Option<(u64, O)> {
        let active = self.active.as_ref()?;
        let allowed = !access.truncate && policy.decide(self.caching()).shares_open;
        let open = active.opens.iter().find(|open| allowed && open.serves(access))?;
        Some((open.id, open.open.clone()))
    }

    /// The open of a handle that is not being closed.
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

    /// Whether there is no handle, no open at the server, no dirty data, no deferred change, no kernel WRITE under way
    /// and no break. Then only the kernel's lookups keep the file in the table.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none()
    }

    /// Whether the open of a handle may be kept, if this is its last handle.
    pub(crate) fn may_keep(&self, handle: u64, policy: Policy) -> bool {
        let Some(active) = self.active.as_ref() else { return false };
        policy.decide(self.caching()).keeps_open && active.is_unchanged_through(handle)
    }

    /// Something has been changed, or is being changed, through a handle: its open is not kept.
    pub(crate) fn mark_changed(&mut self, handle: u64) {
        self.with_active(|active| active.mark_changed(handle));
    }

    /// The failure that is due through a handle on this occasion.
    pub(crate) fn report(&mut self, handle: u64, occasion: Occasion) -> Option<ShareError> {
        self.active.as_mut()?.report(handle, occasion)
    }

    /// An fsync wants the data flushed. Returns the mark for [`FileState::is_flushed_since`].
    pub(crate) fn want_flush(&mut self) -> u64 {
        self.active.as_mut().map_or(0, |active| active.flushes.want())
    }

    /// Whether a FLUSH sent after the mark is done. No FLUSH with a WRITE is wanted afterwards.
    pub(crate) fn is_flushed_since(&mut self, mark: u64) -> bool {
        self.active.as_mut().is_some_and(|active| active.flushes.is_done_since(mark))
    }

    /// The change deferred behind dirty data, and the open to send it on now. The caller reports [`Event::Set`]
    /// afterwards.
    pub(crate) fn take_deferred(&mut self) -> Option<(O, Change)> {
        self.active.as_mut()?.take_deferred()
    }

    /// Whether a deferred change waits or is under way.
    pub(crate) fn has_deferred(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.has_deferred())
    }

    /// Bounds the validity of data read from now on. Returns whether the caller must schedule [`FileState::expired`];
    /// not if that is scheduled already.
    pub(crate) fn begin_expiring(&mut self) -> bool {
        self.active.as_mut().is_some_and(|active| !std::mem::replace(&mut active.expires, true))
    }

    /// The validity bounded by [`FileState::begin_expiring`] has ended: data must be revalidated.
    pub(crate) fn expired(&mut self) {
        self.version.expire();
        self.with_active(|active| active.expires = false);
    }
}

#[cfg(test)]
#[path = "tests/state.rs"]
mod tests;
