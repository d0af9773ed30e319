use super::*;
use proptest::prelude::*;

const KEY: LeaseKey = LeaseKey(7);
const OTHER: LeaseKey = LeaseKey(8);
const READ: Caching = Caching::READ;
const ALL: Caching = Caching::ALL;
const FILE: FileId = [1; 16];

fn read_handle() -> Caching {
    Caching::READ | Caching::HANDLE
}

fn lease(caching: Caching) -> Lease {
    Lease { key: KEY, caching }
}

fn granted(state: Caching, epoch: Option<u16>) -> Grant {
    Grant::Lease { key: KEY, state, break_in_progress: false, epoch }
}

fn broken(left: Caching, epoch: Option<u16>, acknowledge: bool) -> LeaseBreak {
    LeaseBreak { key: KEY, left, epoch, acknowledge }
}

/// A table with one open in session 1 that was granted everything.
fn holding(epoch: Option<u16>) -> (LeaseTable, u64) {
    let mut table = LeaseTable::default();
    let open = table.begin(lease(ALL));
    assert_eq!(table.opened(open, 1, granted(ALL, epoch)), []);
    assert_eq!(table.caching(KEY), ALL);
    (table, open)
}

fn with_oplock(caching: Caching) -> (LeaseTable, u64) {
    let mut table = LeaseTable::default();
    let open = table.begin(lease(caching));
    assert_eq!(table.opened(open, 1, Grant::Oplock { file: FILE, caching }), []);
    (table, open)
}

const OF_LEASE: Owed = Owed { session: 1, holder: Holder::Lease(KEY) };
const OF_OPLOCK: Owed = Owed { session: 1, holder: Holder::Oplock(FILE) };

#[test]
fn a_lease_lasts_until_its_last_open_is_closed() {
    let (mut table, first) = holding(Some(1));
    let second = table.begin(lease(ALL));
    table.opened(second, 1, granted(ALL, Some(1)));
    table.closed(first);
    assert_eq!(table.caching(KEY), ALL);
    assert_eq!(table.caching(OTHER), Caching::NONE);
    table.closed(second);
    assert_eq!(table.caching(KEY), Caching::NONE);
    table.closed(second);
}

#[test]
fn a_break_counts_before_it_is_reported_and_is_acknowledged_once() {
    let (mut table, _) = holding(Some(1));
    assert_eq!(table.lease_broken(1, broken(read_handle(), Some(2), true)), None);
    assert_eq!(table.caching(KEY), read_handle());
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.key, reported.left, &reported.owed[..]), (KEY, read_handle(), &[OF_LEASE][..]));
    assert_eq!(table.next_broken(), None);
    assert_eq!(table.caching(KEY), read_handle());
}

#[test]
fn breaks_that_were_not_read_yet_are_reported_as_one() {
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(read_handle(), Some(2), true));
    table.lease_broken(1, broken(READ, Some(3), true));
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (READ, vec![OF_LEASE]));
    table.lease_broken(1, broken(Caching::NONE, Some(4), false));
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (Caching::NONE, vec![]));
}

#[test]
fn a_second_break_before_the_first_is_acknowledged_is_reported_apart() {
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(read_handle(), Some(2), true));
    let first = table.next_broken().unwrap();
    table.lease_broken(1, broken(Caching::NONE, Some(3), true));
    table.carried_out(&first);
    let second = table.next_broken().unwrap();
    assert_eq!((first.kept(), second.kept()), (read_handle(), Caching::NONE));
    assert_eq!(second.owed, [OF_LEASE]);
}

#[test]
fn more_can_be_given_up_than_a_break_takes_but_no_more_kept_than_it_leaves() {
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(read_handle(), Some(2), true));
    let mut reported = table.next_broken().unwrap();
    reported.left = READ | Caching::WRITE;
    table.carried_out(&reported);
    assert_eq!(reported.kept(), READ);
    assert_eq!(table.caching(KEY), READ);
}

#[test]
fn a_grant_that_is_older_than_a_break_restores_nothing() {
    for epochs in [Some((0xffff, 0)), Some((1, 2)), None] {
        let mut table = LeaseTable::default();
        let open = table.begin(lease(ALL));
        table.lease_broken(1, broken(READ, epochs.map(|(_, of_break)| of_break), true));
        table.opened(open, 1, granted(ALL, epochs.map(|(of_grant, _)| of_grant)));
        assert_eq!(table.caching(KEY), READ, "{epochs:?}");
        assert_eq!(table.next_broken().unwrap().owed, [OF_LEASE]);
    }
}

#[test]
fn a_grant_that_is_newer_than_a_break_counts_once_the_break_is_reported() {
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(READ, Some(2), false));
    let open = table.begin(lease(ALL));
    table.opened(open, 1, granted(ALL, Some(3)));
    assert_eq!(table.caching(KEY), READ, "data cached before the break may still be there");
    let reported = table.next_broken().unwrap();
    assert_eq!(reported.left, READ);
    assert_eq!(table.caching(KEY), ALL);
    table.carried_out(&reported);
    assert_eq!(table.caching(KEY), ALL);
}

#[test]
fn without_epochs_an_answer_after_the_break_was_seen_counts() {
    let (mut table, _) = holding(None);
    table.lease_broken(1, broken(READ, None, true));
    let _ = table.next_broken();
    let open = table.begin(lease(ALL));
    table.opened(open, 1, granted(ALL, None));
    assert_eq!(table.caching(KEY), ALL);
}

#[test]
fn a_grant_that_skips_an_epoch_means_a_break_in_flight() {
    let (mut table, _) = holding(Some(1));
    let open = table.begin(lease(ALL));
    table.opened(open, 1, granted(ALL, Some(3)));
    assert_eq!(table.caching(KEY), Caching::NONE);
    assert_eq!(table.next_broken().unwrap().left, Caching::NONE);
    let late = table.lease_broken(1, broken(Caching::NONE, Some(2), false));
    assert_eq!(late, None);
    assert_eq!(table.caching(KEY), Caching::NONE);
}

#[test]
fn an_open_can_raise_the_lease_of_all_opens_of_its_key() {
    let mut table = LeaseTable::default();
    let first = table.begin(lease(READ));
    table.opened(first, 1, granted(READ, Some(1)));
    let second = table.begin(lease(ALL));
    table.opened(second, 1, granted(ALL, Some(2)));
    table.closed(second);
    assert_eq!(table.caching(KEY), ALL);
}

#[test]
fn a_new_open_during_a_break_is_granted_no_more_than_before() {
    let breaking = Grant::Lease { key: KEY, state: ALL, break_in_progress: true, epoch: Some(2) };
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(READ, Some(2), true));
    let second = table.begin(lease(ALL));
    table.opened(second, 1, breaking);
    let _ = table.next_broken();
    assert_eq!(table.caching(KEY), READ);

    let mut table = LeaseTable::default();
    let first = table.begin(lease(ALL));
    table.opened(first, 1, breaking);
    assert_eq!(table.caching(KEY), Caching::NONE);
}

#[test]
fn a_lease_state_that_an_answer_lowers_is_reported() {
    let (mut table, _) = holding(Some(1));
    let open = table.begin(lease(ALL));
    table.opened(open, 1, granted(READ, Some(2)));
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (READ, vec![]));
}

#[test]
fn a_grant_that_was_not_requested_is_ignored() {
    let hostile = [
        granted(ALL, Some(1)),
        Grant::Lease { key: OTHER, state: READ, break_in_progress: false, epoch: Some(1) },
        Grant::Oplock { file: FILE, caching: ALL },
        Grant::Nothing,
    ];
    for grant in hostile {
        let mut table = LeaseTable::default();
        let open = table.begin(lease(READ));
        table.opened(open, 1, grant);
        assert_eq!((table.caching(KEY), table.caching(OTHER)), (Caching::NONE, Caching::NONE), "{grant:?}");
        assert_eq!(table.next_broken(), None);
        table.closed(open);
    }
}

#[test]
fn a_break_of_an_unknown_lease_is_given_up_at_once_if_the_server_waits() {
    let mut table = LeaseTable::default();
    assert_eq!(table.lease_broken(1, broken(READ, Some(1), true)), Some(OF_LEASE));
    assert_eq!(table.lease_broken(1, broken(READ, Some(1), false)), None);
    assert_eq!(table.oplock_broken(1, FILE, READ), Some(OF_OPLOCK));
    assert!(table.waiting() == 0);
}

#[test]
fn a_break_of_an_open_that_failed_is_given_up() {
    let mut table = LeaseTable::default();
    let open = table.begin(lease(ALL));
    assert_eq!(table.lease_broken(1, broken(READ, Some(1), true)), None);
    assert_eq!(table.abandon(open), [OF_LEASE]);
    assert_eq!(table.abandon(open), []);
}

#[test]
fn a_close_is_an_acknowledgement_too() {
    let (mut table, open) = holding(Some(1));
    table.lease_broken(1, broken(READ, Some(2), true));
    table.closed(open);
    let reported = table.next_broken().unwrap();
    assert_eq!(reported.owed, [], "but the break is still reported");

    let (mut table, open) = with_oplock(ALL);
    let second = table.begin(lease(READ));
    table.opened(second, 1, Grant::Oplock { file: [2; 16], caching: READ });
    table.oplock_broken(1, FILE, READ);
    table.closed(open);
    assert_eq!(table.next_broken().unwrap().owed, []);
}

#[test]
fn the_end_of_a_session_ends_every_lease_and_needs_no_acknowledgement() {
    let (mut table, open) = holding(Some(1));
    table.lease_broken(1, broken(read_handle(), Some(2), true));
    table.lost(1);
    assert_eq!(table.caching(KEY), Caching::NONE);
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (Caching::NONE, vec![]));
    table.closed(open);
    assert_eq!(table.next_broken(), None);
}

#[test]
fn a_lease_of_the_next_session_is_a_new_lease() {
    let (mut table, old) = holding(Some(9));
    let open = table.begin(lease(ALL));
    table.opened(open, 2, granted(ALL, Some(1)));
    assert_eq!(table.caching(KEY), Caching::NONE, "until the loss of the old one is reported");
    assert_eq!(table.next_broken().unwrap().left, Caching::NONE);
    assert_eq!(table.caching(KEY), ALL);
    table.closed(old);
    table.lost(1);
    assert_eq!(table.caching(KEY), ALL);
    assert_eq!(table.next_broken(), None);
}

#[test]
fn with_oplocks_a_key_may_cache_what_all_its_opens_may() {
    let (mut table, open) = with_oplock(ALL);
    let second = table.begin(lease(ALL));
    assert_eq!(table.oplock_broken(1, FILE, READ), None);
    table.opened(second, 1, Grant::Oplock { file: [2; 16], caching: READ });
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (READ, vec![OF_OPLOCK]));
    assert_eq!(table.caching(KEY), READ);
    let third = table.begin(lease(READ));
    table.opened(third, 1, Grant::Oplock { file: [3; 16], caching: Caching::NONE });
    assert_eq!(table.caching(KEY), Caching::NONE);
    table.closed(third);
    assert_eq!(table.caching(KEY), Caching::NONE, "until that was reported");
    let _ = table.next_broken();
    assert_eq!(table.caching(KEY), READ);
    table.closed(open);
    table.closed(second);
    assert_eq!(table.caching(KEY), Caching::NONE);
}

#[test]
fn the_loss_of_a_level_ii_oplock_is_not_acknowledged() {
    let (mut table, _) = with_oplock(READ);
    assert_eq!(table.oplock_broken(1, FILE, Caching::NONE), None);
    let reported = table.next_broken().unwrap();
    assert_eq!((reported.left, reported.owed), (Caching::NONE, vec![]));
}

#[test]
fn the_break_of_an_oplock_can_overtake_its_grant() {
    let mut table = LeaseTable::default();
    let open = table.begin(lease(ALL));
    assert_eq!(table.oplock_broken(1, FILE, READ), None);
    assert_eq!(table.opened(open, 1, Grant::Oplock { file: FILE, caching: ALL }), []);
    assert_eq!(table.caching(KEY), READ);
    assert_eq!(table.next_broken().unwrap().owed, [OF_OPLOCK]);
}

#[test]
fn the_break_of_an_unknown_oplock_waits_only_for_opens_sent_before_it() {
    let mut table = LeaseTable::default();
    let before = table.begin(lease(ALL));
    assert_eq!(table.oplock_broken(1, FILE, READ), None);
    assert_eq!(table.oplock_broken(1, [2; 16], READ).map(|owed| owed.holder), Some(Holder::Oplock([2; 16])));
    let after = table.begin(lease(ALL));
    assert_eq!(table.abandon(before), [OF_OPLOCK]);
    assert_eq!(table.abandon(after), []);
}

#[test]
fn a_refused_acknowledgement_leaves_nothing_to_cache() {
    let (mut table, _) = holding(Some(1));
    table.lease_broken(1, broken(read_handle(), Some(2), true));
    let reported = table.next_broken().unwrap();
    table.carried_out(&reported);
    table.refused(reported.key);
    assert_eq!(table.caching(KEY), Caching::NONE);
    assert_eq!(table.next_broken().unwrap().left, Caching::NONE);
    table.refused(OTHER);
    assert!(table.waiting() == 0);
}

#[test]
fn epochs_go_round() {
    assert!(is_newer(0, 0xffff) && is_newer(1, 0) && is_newer(0x7fff, 0));
    assert!(!is_newer(0xffff, 0) && !is_newer(5, 5) && !is_newer(0x8000, 0));
}

/// A server with one file that keeps to the rules, and the messages in flight from it.
#[derive(Debug, Default)]
struct Server {
    state: Caching,
    epoch: u16,
    /// What the lease will be once the client has acknowledged.
    breaking: Option<Caching>,
    opens: usize,
    answers: VecDeque<(u64, Grant)>,
    breaks: VecDeque<LeaseBreak>,
}

impl Server {
    fn open(&mut self, open: u64, asked: Caching, epochs: bool) {
        self.opens += 1;
        let raised = self.state | asked;
        if self.breaking.is_none() && raised != self.state {
            self.state = raised;
            self.epoch = self.epoch.wrapping_add(1);
        }
        let break_in_progress = self.breaking.is_some();
        let epoch = epochs.then_some(self.epoch);
        self.answers.push_back((open, Grant::Lease { key: KEY, state: self.state, break_in_progress, epoch }));
    }

    fn take(&mut self, left: Caching, epochs: bool) {
        let left = self.state.and(left);
        if self.breaking.is_some() || left == self.state {
            return;
        }
        self.epoch = self.epoch.wrapping_add(1);
        let acknowledge = self.state != READ;
        match acknowledge {
            true => self.breaking = Some(left),
            false => self.state = left,
        }
        self.breaks.push_back(broken(left, epochs.then_some(self.epoch), acknowledge));
    }

    /// Whether the server accepts the acknowledgement. One of an earlier break, from before all opens were closed,
    /// may keep too much, or may come when no break waits for one.
    fn acknowledged(&mut self, kept: Caching) -> bool {
        let taken = self.breaking.is_some_and(|left| left.covers(kept));
        if taken {
            (self.state, self.breaking) = (kept, None);
        }
        taken
    }

    fn close(&mut self) {
        self.opens -= 1;
        if self.opens == 0 {
            (self.state, self.breaking) = (Caching::NONE, None);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(Caching),
    Answer,
    Take(Caching),
    Break,
    Obey,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let caching = || prop::sample::select(vec![Caching::NONE, READ, read_handle(), READ | Caching::WRITE, ALL]);
    prop_oneof![
        caching().prop_map(Step::Open),
        Just(Step::Answer),
        caching().prop_map(Step::Take),
        Just(Step::Break),
        Just(Step::Obey),
        Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// In whatever order answers and breaks arrive: once all have come, no more is cached than the server granted,
    /// and the server does not wait.
    #[test]
    fn the_client_never_caches_more_than_the_server_granted(
        steps in prop::collection::vec(step(), 1..40),
        epochs: bool,
        first_epoch: u16,
    ) {
        let mut table = LeaseTable::default();
        let mut server = Server { epoch: first_epoch, ..Server::default() };
        let mut opens = Vec::new();
        let end = [Step::Answer, Step::Break, Step::Obey, Step::Obey].repeat(steps.len() + 1);
        for step in steps.into_iter().chain(end) {
            match step {
                Step::Open(asked) => server.open(table.begin(lease(asked)), asked, epochs),
                Step::Answer => if let Some((open, grant)) = server.answers.pop_front() {
                    prop_assert_eq!(table.opened(open, 1, grant), []);
                    opens.push(open);
                }
                Step::Take(left) => server.take(left, epochs),
                Step::Break => if let Some(broken) = server.breaks.pop_front()
                    && table.lease_broken(1, broken).is_some() {
                    server.acknowledged(Caching::NONE);
                }
                Step::Obey => if let Some(reported) = table.next_broken() {
                    table.carried_out(&reported);
                    if !reported.owed.is_empty() && !server.acknowledged(reported.kept()) {
                        table.refused(KEY);
                    }
                }
                Step::Close => if let Some(open) = opens.pop() {
                    table.closed(open);
                    server.close();
                }
            }
            prop_assert!(opens.len() == table.opens.len());
        }
        prop_assert!(server.state.covers(table.caching(KEY)), "{:?} of {:?}", table.caching(KEY), server);
        prop_assert!(table.waiting() == 0 && server.breaking.is_none());
        prop_assert_eq!(opens.is_empty(), table.keys.is_empty());
    }
}
