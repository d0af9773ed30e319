//! [`FileState`] alone: events in, actions out, at one time.

use super::*;
use crate::share::{FileTime, RemotePath};
use crate::wire::NtStatus;

const GRID: u32 = 1024;
const KEY: LeaseKey = LeaseKey(7);
const WINDOW: u64 = 1 << 20;

/// A file, and the time of all events.
struct Run {
    state: FileState<&'static str>,
    now: Instant,
    serial: u64,
}

fn access(flags: i32) -> Access {
    Access::from_flags(flags, crate::config::CacheMode::Strict).unwrap()
}

fn strict() -> Policy {
    Policy { mode: crate::config::CacheMode::Strict, timeout: Duration::from_secs(1) }
}

fn disk_full() -> ShareError {
    ShareError::status("WRITE", &RemotePath::root(), NtStatus::DISK_FULL)
}

impl Run {
    fn new() -> Run {
        let now = Instant::now();
        let state = FileState::fetched(Metadata { size: 100, ..Metadata::default() }, now);
        Run { state, now, serial: 1 }
    }

    /// A file with a handle 1 that may read and write, under all rights of a lease.
    fn open() -> Run {
        let mut run = Run::new();
        run.opened(1, libc::O_RDWR, "first", Caching::ALL);
        run
    }

    fn on(&mut self, event: Event<'_, &'static str>) -> Vec<Action<&'static str>> {
        self.state.set_window(WINDOW);
        self.state.on(event, self.now)
    }

    fn opened(&mut self, handle: u64, flags: i32, open: &'static str, caching: Caching) {
        self.serial += 1;
        let (granted, access) = (Granted { caching, serial: self.serial }, access(flags));
        let actions = self.on(Event::Opened { handle, access, open, lease: KEY, granted, grid: GRID });
        assert_eq!(actions, []);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Vec<Action<&'static str>> {
        self.on(Event::Wrote { handle: 1, offset, data, clock: FileTime(5) })
    }

    fn broken(&mut self, number: u64, left: Caching) -> Vec<Action<&'static str>> {
        self.serial += 1;
        let serial = self.serial;
        self.on(Event::Broken { number, left, serial })
    }

    fn sent(&mut self, job: u64) -> Vec<Action<&'static str>> {
        self.on(Event::Sent { job, result: Ok(()) })
    }
}

fn writes(actions: &[Action<&'static str>]) -> Vec<(u64, u64, usize)> {
    let writes = actions.iter().filter_map(|action| match action {
        Action::Write { job, offset, data, .. } => Some((*job, *offset, data.len())),
        _ => None,
    });
    writes.collect()
}

fn acknowledged(actions: &[Action<&'static str>]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Acknowledge { .. }))
}

#[test]
fn dirty_data_is_sent_in_whole_chunks_and_readable_until_the_server_has_it() {
    let mut run = Run::open();
    assert_eq!(writes(&run.write(0, &[1; 512])), [], "half a chunk lingers");
    assert_eq!(run.state.size(), 512);
    let sent = writes(&run.write(512, &[2; 512]));
    assert_eq!(sent, [(0, 0, 1024)]);
    assert!(run.state.is_dirty());
    assert_eq!(run.state.dirty_range(&(510..514)).unwrap().as_ref(), [1, 1, 2, 2], "in flight as well");
    let actions = run.sent(0);
    assert_eq!(actions, [Action::Release(1024)]);
    assert!(!run.state.is_dirty() && !run.state.touches_dirty(&(0..1024)));
}

#[test]
fn data_lingers_once_and_a_drain_sends_all_of_it() {
    let mut run = Run::open();
    assert!(run.write(0, b"abc").contains(&Action::Linger));
    assert!(!run.write(3, b"def").contains(&Action::Linger), "a timer is running already");
    assert_eq!(writes(&run.on(Event::Lingered)), [(0, 0, 6)]);
    run.sent(0);
    assert!(run.write(6, b"ghi").contains(&Action::Linger));
    let actions = run.on(Event::Drain);
    let mark = run.state.drain_mark();
    assert_eq!(writes(&actions), [(1, 6, 3)]);
    assert!(!run.state.is_drained(mark));
    run.sent(1);
    assert!(run.state.is_drained(mark));
}

#[test]
fn while_data_is_dirty_the_metadata_of_the_server_is_not_accepted() {
    let mut run = Run::open();
    let token = run.state.token();
    run.write(0, &[1; 200]);
    let reported = Metadata { size: 100, ..Metadata::default() };
    assert_eq!(run.on(Event::Fetched { metadata: reported, token }), []);
    assert_eq!((run.state.size(), run.state.metadata().modified), (200, FileTime(5)));
    assert!(run.state.remaining(run.now + Duration::from_secs(9), Duration::from_secs(1), None).is_some());
    run.on(Event::Drain);
    run.sent(0);
    assert_eq!(run.state.remaining(run.now, Duration::from_secs(1), None), None, "only the server knows its times");
    let token = run.state.token();
    run.on(Event::Fetched { metadata: Metadata { size: 200, ..reported }, token });
    assert_eq!(run.state.remaining(run.now, Duration::from_secs(1), None), Some(Duration::from_secs(1)));
}

#[test]
fn a_failed_write_is_reported_to_each_handle_that_was_open() {
    let mut run = Run::open();
    run.opened(2, libc::O_RDONLY, "second", Caching::ALL);
    run.write(0, b"abc");
    run.on(Event::Drain);
    run.on(Event::Sent { job: 0, result: Err(disk_full()) });
    run.opened(3, libc::O_RDWR, "third", Caching::ALL);
    assert!(run.state.report(1, Occasion::Write).is_some() && run.state.report(1, Occasion::Write).is_none());
    assert!(run.state.report(2, Occasion::Sync).is_some() && run.state.report(2, Occasion::Close).is_none());
    assert!(run.state.report(3, Occasion::Close).is_none(), "it was opened later");
    assert!(!run.state.is_dirty(), "a refused write is not retried");
}

#[test]
fn times_and_a_flush_are_sent_with_the_last_write() {
    let mut run = Run::open();
    run.write(0, &[1; 500]);
    let change = Change { modified: Some(FileTime(42)), ..Change::default() };
    run.on(Event::Deferred { change, clock: FileTime(6) });
    let mark = run.state.want_flush();
    let actions = run.on(Event::Drain);
    let with = |actions: &[Action<&'static str>]| {
        let writes = actions.iter().filter_map(|action| match action {
            Action::Write { change, flush, .. } => Some((*change, *flush)),
            _ => None,
        });
        writes.collect::<Vec<_>>()
    };
    assert_eq!(with(&actions), [(change, true)]);
    assert!(!run.state.is_flushed_since(mark));
    let again = run.state.want_flush();
    run.sent(0);
    assert!(run.state.is_flushed_since(mark));
    assert!(!run.state.is_flushed_since(again), "it was sent before this fsync began");
}

#[test]
fn a_deferred_change_without_a_write_is_sent_alone_and_counts_as_dirty() {
    let mut run = Run::open();
    run.write(0, b"abc");
    run.on(Event::Drain);
    let change = Change { modified: Some(FileTime(42)), ..Change::default() };
    run.on(Event::Deferred { change, clock: FileTime(6) });
    run.sent(0);
    assert!(run.state.is_dirty());
    assert_eq!(run.state.take_deferred(), Some(("first", change)));
    assert!(run.state.is_dirty() && run.state.take_deferred().is_none(), "it is under way");
    run.on(Event::Set { result: Ok(()) });
    assert!(!run.state.is_dirty());
}

#[test]
fn a_broken_write_lease_is_acknowledged_when_the_server_has_everything() {
    let mut run = Run::new();
    run.opened(1, libc::O_WRONLY, "first", Caching::ALL);
    run.write(0, &[1; 1500]);
    let actions = run.broken(4, Caching::READ | Caching::HANDLE);
    assert!(!acknowledged(&actions));
    assert!(!strict().decide(run.state.caching()).holds_writes, "no write may become dirty");
    assert!(!acknowledged(&run.sent(0)), "the second half is dirty");
    assert!(acknowledged(&run.sent(1)));
    assert!(run.state.caching().reads());
}

#[test]
fn a_break_waits_for_the_dirty_mapped_pages_that_the_kernel_sends() {
    let mut run = Run::open();
    let actions = run.broken(4, Caching::READ);
    assert_eq!(actions, [Action::ForgetPages { number: 4 }]);
    // The kernel sends a page. It goes through to the server.
    run.on(Event::WriteBegan { number: 9, range: 0..4096 });
    assert!(!acknowledged(&run.on(Event::PagesForgotten { number: 4 })));
    run.on(Event::WriteBegan { number: 10, range: 0..4096 });
    assert!(acknowledged(&run.on(Event::WriteEnded { number: 9 })), "the break does not wait for a later write");
}

#[test]
fn a_broken_read_lease_is_acknowledged_when_the_kernel_has_dropped_its_pages() {
    let mut run = Run::new();
    run.opened(1, libc::O_RDONLY, "first", Caching::READ);
    let actions = run.broken(4, Caching::NONE);
    assert_eq!(actions, [Action::Drop(0..u64::MAX), Action::ForgetPages { number: 4 }]);
    assert_eq!(run.state.valid_size(strict(), run.now), None, "it must be revalidated");
    assert_eq!(run.on(Event::PagesForgotten { number: 4 }), [Action::Acknowledge { number: 4 }]);
}

#[test]
fn an_open_answered_after_a_break_gets_only_the_rights_that_the_break_left() {
    let mut run = Run::new();
    run.opened(1, libc::O_RDWR, "first", Caching::ALL);
    let old = Granted { caching: Caching::ALL, serial: run.serial };
    run.broken(4, Caching::READ);
    let access = access(libc::O_RDWR);
    run.on(Event::Opened { handle: 2, access, open: "second", lease: KEY, granted: old, grid: GRID });
    assert_eq!(run.state.caching(), Caching::READ);
    assert!(run.state.is_older_than(old));
    run.serial += 1;
    run.on(Event::Granted { lease: KEY, granted: Granted { caching: Caching::ALL, serial: run.serial } });
    assert_eq!(run.state.caching(), Caching::ALL, "a grant that is newer than the break counts");
}

#[test]
fn a_break_that_overtakes_the_answer_to_the_first_open_ends_its_grant() {
    let mut run = Run::new();
    let actions = run.broken(4, Caching::NONE);
    assert!(acknowledged(&actions));
    let access = access(libc::O_RDWR);
    let granted = Granted { caching: Caching::ALL, serial: 1 };
    run.on(Event::Opened { handle: 1, access, open: "first", lease: KEY, granted, grid: GRID });
    assert_eq!(run.state.caching(), Caching::NONE);
}

#[test]
fn each_of_two_breaks_is_acknowledged() {
    let mut run = Run::new();
    run.opened(1, libc::O_WRONLY, "first", Caching::ALL);
    run.write(0, b"abc");
    run.broken(4, Caching::READ);
    run.broken(5, Caching::NONE);
    let actions = run.sent(0);
    assert!(actions.contains(&Action::Acknowledge { number: 4 }));
    assert!(!actions.contains(&Action::Acknowledge { number: 5 }));
    assert!(run.on(Event::PagesForgotten { number: 5 }).contains(&Action::Acknowledge { number: 5 }));
}

#[test]
fn a_failed_write_does_not_delay_a_break() {
    let mut run = Run::new();
    run.opened(1, libc::O_WRONLY, "first", Caching::ALL);
    run.write(0, b"abc");
    run.broken(4, Caching::READ);
    assert!(acknowledged(&run.on(Event::Sent { job: 0, result: Err(disk_full()) })));
}

#[test]
fn a_kept_open_serves_the_next_handle_and_is_closed_by_a_break() {
    let mut run = Run::open();
    assert!(run.state.may_keep(1, strict()));
    run.on(Event::HandleReleased { handle: 1 });
    assert!(!run.state.has_live_handle());
    assert_eq!(run.on(Event::HandleClosed { handle: 1, keep: true }), []);
    assert!(run.state.has_kept_open() && !run.state.has_handles() && !run.state.is_idle());
    let (id, open) = run.state.shareable(access(libc::O_RDONLY), strict()).unwrap();
    assert_eq!(open, "first");
    run.on(Event::Joined { handle: 2, access: access(libc::O_RDONLY), open: id });
    assert!(!run.state.has_kept_open() && run.state.has_live_handle());
    run.on(Event::HandleClosed { handle: 2, keep: true });
    let actions = run.broken(4, Caching::READ | Caching::HANDLE);
    assert_eq!(actions, [Action::Close { id, open: "first" }], "acknowledged when it is closed");
    assert_eq!(run.on(Event::Closed { open: id }), [Action::Acknowledge { number: 4 }]);
    assert!(run.state.is_idle());
}

#[test]
fn an_open_with_a_change_through_it_is_not_kept() {
    let mut run = Run::open();
    run.write(0, b"abc");
    run.on(Event::Drain);
    run.sent(0);
    assert!(!run.state.may_keep(1, strict()), "its CLOSE reports the new times");
    let mut run = Run::open();
    run.state.mark_changed(1);
    assert!(!run.state.may_keep(1, strict()));
}

#[test]
fn an_open_is_closed_with_its_last_handle() {
    let mut run = Run::open();
    let (id, _) = run.state.shareable(access(libc::O_RDWR), strict()).unwrap();
    run.on(Event::Joined { handle: 2, access: access(libc::O_RDWR), open: id });
    assert_eq!(run.on(Event::HandleClosed { handle: 1, keep: false }), []);
    assert_eq!(run.on(Event::HandleClosed { handle: 2, keep: false }), [Action::Close { id, open: "first" }]);
    assert!(run.state.is_closing() && run.state.shareable(access(libc::O_RDWR), strict()).is_none());
    run.on(Event::Closed { open: id });
    assert!(run.state.is_idle() && run.state.lease().is_none(), "a key is never used for a later open");
}

#[test]
fn an_open_for_reading_cannot_be_shared_by_a_writer() {
    let mut run = Run::new();
    run.opened(1, libc::O_RDONLY, "first", Caching::ALL);
    assert!(run.state.shareable(access(libc::O_RDWR), strict()).is_none());
    assert!(run.state.shareable(access(libc::O_RDONLY | libc::O_TRUNC), strict()).is_none());
    assert!(run.state.shareable(access(libc::O_RDONLY), strict()).is_some());
    run.broken(4, Caching::READ);
    assert!(
        run.state.shareable(access(libc::O_RDONLY), strict()).is_none(),
        "other clients may open it without a break"
    );
}

#[test]
fn a_file_is_idle_only_when_no_open_and_no_request_is_left() {
    let mut run = Run::new();
    assert!(run.state.is_idle());
    run.opened(1, libc::O_RDWR, "first", Caching::ALL);
    run.write(0, b"abc");
    run.on(Event::WriteBegan { number: 1, range: 0..3 });
    run.on(Event::Drain);
    run.sent(0);
    run.on(Event::HandleClosed { handle: 1, keep: false });
    run.on(Event::Closed { open: 1 });
    assert!(!run.state.is_idle(), "a write is under way");
    run.on(Event::WriteEnded { number: 1 });
    assert!(run.state.is_idle());
    run.on(Event::Sent { job: 77, result: Ok(()) });
    run.on(Event::Closed { open: 77 });
    run.on(Event::PagesForgotten { number: 77 });
    assert!(run.state.is_idle(), "stale events change nothing");
}

#[test]
fn a_lost_session_closes_kept_opens_and_leaves_dirty_data_and_handles() {
    let mut run = Run::open();
    let (id, _) = run.state.shareable(access(libc::O_RDWR), strict()).unwrap();
    run.on(Event::Joined { handle: 2, access: access(libc::O_RDWR), open: id });
    run.write(0, b"abc");
    assert_eq!(run.on(Event::SessionLost), []);
    assert!(run.state.is_dirty() && run.state.has_live_handle());
    let mut run = Run::open();
    run.on(Event::HandleClosed { handle: 1, keep: true });
    assert_eq!(run.on(Event::SessionLost), [Action::Close { id: 1, open: "first" }]);
    assert_eq!(run.state.remaining(run.now, Duration::from_secs(1), None), None, "it may have changed meanwhile");
}

#[test]
fn a_lost_lease_without_dirty_data_only_drops_cached_data() {
    let mut run = Run::new();
    run.opened(1, libc::O_RDONLY, "first", Caching::ALL);
    let actions = run.broken(4, Caching::NONE);
    assert!(actions.contains(&Action::Drop(0..u64::MAX)));
    assert!(run.on(Event::PagesForgotten { number: 4 }).contains(&Action::Acknowledge { number: 4 }));
    assert!(run.state.has_live_handle(), "the handle stays open");
}

#[test]
fn an_open_with_another_lease_gives_the_file_no_rights() {
    let mut run = Run::open();
    run.broken(4, Caching::NONE);
    run.serial += 1;
    let (granted, access) = (Granted { caching: Caching::ALL, serial: run.serial }, access(libc::O_RDWR));
    run.on(Event::Opened { handle: 2, access, open: "second", lease: LeaseKey(8), granted, grid: GRID });
    assert_eq!(run.state.caching(), Caching::NONE, "the file's own lease is broken");
    run.on(Event::Granted { lease: LeaseKey(8), granted });
    assert_eq!(run.state.caching(), Caching::NONE);
}

#[test]
fn opens_under_way_at_the_same_time_ask_for_the_same_lease() {
    let mut run = Run::new();
    assert_eq!(run.state.begin_open(|| KEY), KEY);
    assert_eq!(run.state.begin_open(|| LeaseKey(8)), KEY, "another lease would break the first open's");
    run.state.open_ended();
    run.state.open_ended();
    assert_eq!(run.state.begin_open(|| LeaseKey(9)), LeaseKey(9), "a key is never used for a later open");
    run.opened(1, libc::O_RDWR, "first", Caching::ALL);
    run.state.open_ended();
    assert_eq!(run.state.begin_open(|| LeaseKey(10)), KEY, "the file is open with that lease");
}

#[test]
fn after_a_close_the_share_is_asked_what_the_other_opens_hold() {
    let mut run = Run::open();
    run.opened(2, libc::O_RDWR, "second", Caching::ALL);
    run.on(Event::HandleClosed { handle: 2, keep: false });
    assert_eq!(run.state.caching(), Caching::NONE, "the first open may be of a lost session");
    assert_eq!(run.state.shared_lease(), Some(KEY));
    run.on(Event::Granted { lease: KEY, granted: Granted { caching: Caching::ALL, serial: run.serial } });
    assert_eq!(run.state.caching(), Caching::ALL);
    run.on(Event::HandleClosed { handle: 1, keep: false });
    assert_eq!(run.state.shared_lease(), None);
}

#[test]
fn an_open_that_truncates_drops_cached_data_even_while_data_is_dirty() {
    let mut run = Run::open();
    run.write(0, b"abc");
    run.serial += 1;
    let granted = Granted { caching: Caching::ALL, serial: run.serial };
    let access = access(libc::O_RDWR | libc::O_TRUNC);
    let opened = Event::Opened { handle: 2, access, open: "second", lease: KEY, granted, grid: GRID };
    assert_eq!(run.on(opened), [Action::Drop(0..u64::MAX)]);
}

#[test]
fn a_size_that_crossed_a_write_of_this_mount_is_asked_for_again() {
    let mut run = Run::new();
    let token = run.state.token();
    run.on(Event::WroteThrough { end: 50, clock: FileTime(6) });
    let reported = Metadata { size: 700, ..Metadata::default() };
    run.on(Event::Fetched { metadata: reported, token });
    run.opened(1, libc::O_RDWR, "first", Caching::READ);
    assert_eq!(run.state.valid_size(strict(), run.now), None, "another client may have made it longer");
    let token = run.state.token();
    run.on(Event::Fetched { metadata: reported, token });
    assert_eq!(run.state.valid_size(strict(), run.now), Some(700));
}

#[test]
fn a_file_that_is_put_aside_holds_nothing_back_and_has_no_lease_afterwards() {
    let mut run = Run::open();
    run.write(0, b"dirty");
    assert_eq!(run.state.caching(), Caching::ALL);
    assert_eq!(run.on(Event::PutAside), []);
    assert_eq!((run.state.caching(), run.state.is_dirty()), (Caching::NONE, true));
    assert!(run.state.shareable(access(libc::O_RDONLY), strict()).is_none(), "its open is about to be closed");
    let actions = run.on(Event::Drain);
    let [(job, 0, 5)] = writes(&actions)[..] else { panic!("the data is sent before: {actions:?}") };
    run.sent(job);
    run.on(Event::TakenUp);
    assert_eq!(run.state.caching(), Caching::NONE);
    assert!(run.state.valid_size(strict(), run.now).is_none(), "another client may have written in between");
    let granted = Granted { caching: Caching::NONE, serial: 9 };
    run.on(Event::Granted { lease: KEY, granted });
    assert_eq!(run.state.caching(), Caching::NONE);
}

#[test]
fn a_file_is_contested_for_a_while_after_a_change_by_another_client() {
    let is_contested = |change: &dyn Fn(&mut Run)| {
        let mut run = Run::open();
        change(&mut run);
        let at = run.now;
        assert!(!run.state.is_contested(at + Duration::from_secs(2)));
        run.state.is_contested(at)
    };
    assert!(!is_contested(&|_| ()));
    assert!(is_contested(&|run| run.state.changes_elsewhere(run.now)), "a watch has reported it");
    assert!(is_contested(&|run| drop(run.broken(1, Caching::NONE))), "it has broken the right to cache what is read");
    assert!(!is_contested(&|run| drop(run.broken(1, Caching::READ))), "it may only read");
}

#[test]
fn the_size_is_recent_for_a_while_after_the_servers_report_and_not_during_a_write() {
    let mut run = Run::open();
    assert_eq!(run.state.recent_size(run.now), Some(100));
    assert_eq!(run.state.recent_size(run.now + CONTESTED), None);
    run.on(Event::WriteBegan { number: 1, range: 0..10 });
    assert_eq!(run.state.recent_size(run.now), None);
    run.on(Event::WriteEnded { number: 1 });
    assert_eq!(run.state.recent_size(run.now), Some(100));
    run.write(0, &[1; 200]);
    run.on(Event::Drain);
    run.sent(0);
    assert_eq!(run.state.recent_size(run.now), None, "the server has not reported it");
}
