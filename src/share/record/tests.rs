use super::*;
use proptest::prelude::*;
use std::time::Duration;

const SECOND: u64 = 10_000_000;
/// The server's clock when the tests begin.
const START: u64 = 1000 * SECOND;

fn at(tenths: u64) -> FileTime {
    FileTime(START + tenths * SECOND / 10)
}

fn known(size: u64, tenths: u64) -> Known {
    Known { size, changed: at(tenths) }
}

/// The session was lost at this time; the next one began a minute later.
fn lost(tenths: u64) -> Loss {
    Loss { lost: Some(at(tenths)), renewed: Some(at(tenths + 600)..=at(tenths + 601)) }
}

fn write(offset: u64, data: &[u8]) -> OwnChange {
    OwnChange::Write { offset, data: Bytes::copy_from_slice(data) }
}

/// A file of 100 bytes, last changed at second 0.
struct Story {
    record: FileRecord,
    now: Instant,
}

impl Story {
    fn new() -> Story {
        Story { record: FileRecord::new(known(100, 0)), now: Instant::now() }
    }

    /// A WRITE that the server acknowledged at this time.
    fn wrote(&mut self, offset: u64, data: &[u8], tenths: u64) {
        let number = self.record.begin(write(offset, data));
        let sent = Sent { sums: Checksums::of(offset, data), mark: None };
        self.record.answered(number, Some(sent), Some(at(tenths)), self.now);
    }
}

#[test]
fn a_file_that_no_client_has_changed_is_unchanged() {
    let mut story = Story::new();
    assert_eq!(story.record.judge(known(100, 0), &lost(50)), Judgement::Unchanged);
    story.record.begin(write(50, b"in flight"));
    assert_eq!(story.record.judge(known(100, 0), &lost(50)), Judgement::Unchanged, "it has not arrived");
}

#[test]
fn the_time_of_a_write_may_be_noted_two_seconds_after_it() {
    let mut story = Story::new();
    story.wrote(0, b"written", 10);
    story.wrote(7, b" again", 15);
    assert_eq!(story.record.judge(known(100, 30), &lost(50)), Judgement::Unchanged, "two seconds after the first");
    for tenths in [25, 33, 35, 48] {
        assert_eq!(story.record.judge(known(100, tenths), &lost(60)), Judgement::Conflict, "{tenths}");
    }
    story.wrote(20, b"later", 45);
    assert_eq!(story.record.judge(known(100, 65), &lost(90)), Judgement::Unchanged, "the next delay begins then");
}

#[test]
fn another_clients_change_is_a_conflict_in_place_appended_or_truncated() {
    let story = Story::new();
    for found in [known(100, 20), known(150, 20), known(50, 20)] {
        assert_eq!(story.record.judge(found, &lost(50)), Judgement::Conflict, "{found:?}");
    }
}

#[test]
fn own_acknowledged_writes_explain_size_and_time() {
    let mut story = Story::new();
    story.wrote(90, &[1; 30], 20);
    assert_eq!(story.record.judge(known(120, 19), &lost(50)), Judgement::Unchanged);
    assert_eq!(story.record.judge(known(120, 50), &lost(50)), Judgement::Unchanged, "closed when the line broke");
    assert_eq!(story.record.judge(known(120, 651), &lost(50)), Judgement::Unchanged, "closed for the new session");
    assert_eq!(story.record.judge(known(120, 37), &lost(50)), Judgement::Conflict, "another client, before the loss");
    assert_eq!(story.record.judge(known(120, 60), &lost(50)), Judgement::Conflict, "another client, after the loss");
    assert_eq!(story.record.judge(known(119, 20), &lost(50)), Judgement::Conflict, "what was answered is not there");
    assert_eq!(story.record.judge(known(121, 20), &lost(50)), Judgement::Conflict);
}

#[test]
fn without_the_servers_clock_a_file_is_judged_by_its_size() {
    let mut record = FileRecord::new(known(100, 0));
    let number = record.begin(write(90, &[1; 30]));
    record.answered(number, None, None, Instant::now());
    let loss = Loss::default();
    assert_eq!(record.judge(known(120, 40), &loss), Judgement::Unchanged);
    assert_eq!(record.judge(known(130, 40), &loss), Judgement::Conflict);
}

#[test]
fn a_write_in_flight_explains_the_change_if_it_arrived() {
    let mut story = Story::new();
    let number = story.record.begin(write(90, &[1; 30]));
    let found = known(120, 40);
    assert_eq!(story.record.judge(found, &lost(50)), Judgement::ReadBack);
    let there = [&[0; 90][..], &[1; 30]].concat();
    let verdict = |there: &[u8]| story.record.weigh(found, &[(number, Bytes::copy_from_slice(there))], &lost(50));
    assert_eq!(verdict(&there), Judgement::Unchanged);
    assert_eq!(verdict(&[9; 120]), Judgement::Conflict, "another client has written the same bytes");
    assert_eq!(story.record.weigh(found, &[], &lost(50)), Judgement::Conflict, "it could not be read");
    assert_eq!(story.record.judge(known(130, 40), &lost(50)), Judgement::Conflict, "it cannot have become so long");
}

#[test]
fn a_killed_server_may_have_carried_out_a_part_of_a_write() {
    let mut story = Story::new();
    let number = story.record.begin(write(4096, &[1; 10_000]));
    let found = known(4096 + 5000, 40);
    assert_eq!(story.record.judge(found, &lost(40)), Judgement::ReadBack);
    assert_eq!(story.record.weigh(found, &[(number, Bytes::from(vec![1; 5000]))], &lost(40)), Judgement::Unchanged);
}

#[test]
fn a_lost_session_in_the_middle_of_a_copy_is_no_conflict() {
    let mut story = Story::new();
    story.wrote(0, &[1; 100_000], 20);
    let (first, second) =
        (story.record.begin(write(100_000, &[2; 9000])), story.record.begin(write(109_000, &[3; 9000])));
    // Neither has arrived, and the server closed the file when it noticed the loss.
    let page = Bytes::from(vec![1; 100_000 % 4096]);
    for changed in [20, 50] {
        let found = known(100_000, changed);
        assert_eq!(story.record.judge(found, &lost(50)), Judgement::ReadBack);
        let read = [(first, page.clone()), (second, Bytes::new())];
        assert_eq!(story.record.weigh(found, &read, &lost(50)), Judgement::Unchanged);
    }
    // The second one has arrived, and the first one is a hole.
    let found = known(118_000, 30);
    let hole = Bytes::from([vec![1; 100_000 % 4096], vec![0; 9000]].concat());
    let tail = Bytes::from([vec![0; 109_000 % 4096], vec![3; 9000]].concat());
    assert_eq!(story.record.weigh(found, &[(first, hole), (second, tail)], &lost(50)), Judgement::Unchanged);
}

#[test]
fn foreign_data_in_a_known_page_is_a_conflict_though_another_write_has_arrived() {
    let mut story = Story::new();
    story.wrote(0, &[1; 8192], 10);
    let (first, second) = (story.record.begin(write(0, &[2; 4096])), story.record.begin(write(4096, &[2; 4096])));
    let found = known(8192, 50);
    let verdict = |one: u8, other: u8| {
        let read = [(first, Bytes::from(vec![one; 4096])), (second, Bytes::from(vec![other; 4096]))];
        story.record.weigh(found, &read, &lost(50))
    };
    assert_eq!(verdict(2, 2), Judgement::Unchanged);
    assert_eq!(verdict(1, 2), Judgement::Unchanged, "the first one has not arrived");
    assert_eq!(verdict(9, 2), Judgement::Conflict);
}

#[test]
fn a_write_that_was_given_up_may_have_made_the_file_longer() {
    let mut story = Story::new();
    let number = story.record.begin(write(100, &[1; 50]));
    story.record.give_up(number, story.now);
    assert_ne!(story.record.judge(known(151, 0), &lost(50)), Judgement::Unchanged);
    story.wrote(0, b"x", 20);
    assert_eq!(story.record.judge(known(150, 20), &lost(50)), Judgement::Unchanged);
    assert_eq!(story.record.judge(known(151, 20), &lost(50)), Judgement::Conflict);
}

#[test]
fn sizes_that_were_set_are_own_changes() {
    let mut story = Story::new();
    let number = story.record.begin(OwnChange::Resize(10));
    story.record.answered(number, None, Some(at(20)), story.now);
    assert_eq!(story.record.judge(known(10, 20), &lost(50)), Judgement::Unchanged);
    assert_eq!(story.record.judge(known(100, 20), &lost(50)), Judgement::Conflict);
    let number = story.record.begin(OwnChange::Resize(5));
    assert_eq!(story.record.judge(known(5, 20), &lost(50)), Judgement::Unchanged, "it may have arrived");
    story.record.give_up(number, story.now);
    assert_eq!(story.record.judge(known(5, 20), &lost(50)), Judgement::Unchanged);
}

#[test]
fn a_conflict_counts_for_every_open_that_is_older() {
    let mut story = Story::new();
    assert_eq!(story.record.conflicts(), 0);
    story.record.adopt(known(150, 20), Judgement::Conflict);
    assert_eq!(story.record.conflicts(), 1);
    assert_eq!(story.record.judge(known(150, 20), &lost(900)), Judgement::Unchanged, "that is its state now");
}

#[test]
fn a_report_of_the_server_does_not_undo_a_change_made_since_it_was_asked() {
    let mut story = Story::new();
    let asked = story.now;
    story.now += Duration::from_secs(1);
    story.wrote(100, b"later", 20);
    story.record.reported(known(100, 10), asked);
    assert_eq!(story.record.judge(known(105, 20), &lost(50)), Judgement::Unchanged);
    story.record.reported(known(105, 20), story.now + Duration::from_secs(1));
    assert_eq!(story.record.judge(known(105, 30), &lost(90)), Judgement::Conflict);
}

#[test]
fn data_acknowledged_before_a_loss_is_doubtful_until_it_is_verified() {
    let mut story = Story::new();
    story.record.adopt(known(100, 0), Judgement::Unchanged);
    assert!(!story.record.is_doubtful(), "nothing is unflushed");
    story.wrote(100, &[1; 50], 20);
    story.record.adopt(known(150, 20), Judgement::Unchanged);
    assert!(story.record.is_doubtful() && !story.record.is_short());
    let mark = story.record.unflushed.begin_flush();
    story.record.resolve(mark);
    assert!(!story.record.is_doubtful() && story.record.unflushed.is_empty());
    story.wrote(150, &[1; 50], 20);
    story.record.adopt(known(120, 20), Judgement::Conflict);
    assert!(story.record.is_short(), "the server had answered for 200 bytes");
}

#[test]
fn a_write_that_ends_within_a_page_of_older_data_is_no_conflict() {
    let mut story = Story::new();
    story.wrote(0, &[1; 100_000], 10);
    for (offset, length) in [(0, 100), (500, 100), (4000, 200), (8191, 2)] {
        let number = story.record.begin(write(offset, &vec![2; length]));
        let found = known(100_000, 40);
        let pages = (offset as usize + length).next_multiple_of(4096) - offset as usize / 4096 * 4096;
        let verdict = |byte: u8| {
            let read = [(number, Bytes::from(vec![byte; pages]))];
            story.record.weigh(found, &read, &lost(40))
        };
        assert_eq!(verdict(1), Judgement::Unchanged, "{length} at {offset} have not arrived");
        assert_eq!(verdict(9), Judgement::Conflict, "{length} at {offset}");
        story.record.under_way.clear();
    }
}

#[test]
fn writes_in_flight_to_the_same_page_are_no_conflict_of_each_other() {
    let mut story = Story::new();
    story.wrote(0, &[1; 4096], 10);
    let (first, second) = (story.record.begin(write(0, &[2; 100])), story.record.begin(write(200, &[3; 100])));
    let mut page = vec![1; 4096];
    page[200..300].fill(3);
    let read = [(first, Bytes::from(page.clone())), (second, Bytes::from(page))];
    assert_eq!(story.record.weigh(known(4096, 20), &read, &lost(20)), Judgement::Unchanged);
}

#[test]
fn a_size_that_was_set_without_an_answer_is_no_loss_of_data() {
    let mut story = Story::new();
    story.wrote(0, &[1; 300_000], 10);
    story.record.begin(OwnChange::Resize(100_000));
    let found = known(100_000, 20);
    assert_eq!(story.record.judge(found, &lost(20)), Judgement::Unchanged);
    story.record.adopt(found, Judgement::Unchanged);
    assert!(!story.record.is_short());
    assert!(story.record.unflushed.ranges(1 << 30).iter().all(|range| range.end <= 100_000));
}

#[test]
fn a_time_that_was_set_back_is_a_conflict_unless_this_client_sets_times() {
    let mut story = Story::new();
    story.record.reported(known(100, 30), story.now);
    story.wrote(0, b"x", 40);
    assert_eq!(story.record.judge(known(100, 35), &lost(50)), Judgement::Unchanged);
    assert_eq!(story.record.judge(known(100, 20), &lost(50)), Judgement::Conflict);
    let number = story.record.begin(OwnChange::Attributes);
    story.record.answered(number, None, Some(at(41)), story.now);
    assert_eq!(story.record.judge(known(100, 20), &lost(50)), Judgement::Unchanged);
}

#[test]
fn a_write_that_arrived_does_not_explain_another_one() {
    let mut record = FileRecord::new(known(8192, 0));
    let (first, second) = (record.begin(write(0, &[2; 4096])), record.begin(write(4096, &[2; 4096])));
    let read = [(first, Bytes::from(vec![2; 4096])), (second, Bytes::from(vec![9; 4096]))];
    let verdict = |changed| record.weigh(known(8192, changed), &read, &lost(50));
    assert_eq!(verdict(40), Judgement::Unchanged, "before the loss: the first one changed the time");
    assert_eq!(verdict(300), Judgement::Conflict, "after the loss: what the second one is to replace may be newer");
    let only = &read[..1];
    assert_eq!(record.weigh(known(8192, 300), only, &lost(50)), Judgement::Conflict, "the other could not be read");
}

#[test]
fn a_write_that_arrived_does_not_explain_a_change_in_the_new_session() {
    let mut story = Story::new();
    let number = story.record.begin(write(0, &[2; 100]));
    let read = [(number, Bytes::from(vec![2; 100]))];
    assert_eq!(story.record.weigh(known(100, 601), &read, &lost(50)), Judgement::Unchanged);
    assert_eq!(story.record.weigh(known(100, 700), &read, &lost(50)), Judgement::Conflict);
}

#[test]
fn attributes_that_were_set_without_an_answer_explain_a_time_until_the_loss() {
    let mut story = Story::new();
    let number = story.record.begin(OwnChange::Attributes);
    for _ in ["in flight", "given up"] {
        assert_eq!(story.record.judge(known(100, 30), &lost(50)), Judgement::Unchanged);
        assert_eq!(story.record.judge(known(100, 90), &lost(50)), Judgement::Conflict);
        assert_eq!(story.record.judge(known(101, 30), &lost(50)), Judgement::Conflict, "they set no size");
        story.record.give_up(number, story.now);
    }
    story.record.reported(known(100, 20), story.now + Duration::from_secs(1));
    assert_eq!(story.record.judge(known(100, 30), &lost(50)), Judgement::Conflict, "the server reported the result");
}

#[test]
fn data_from_before_a_close_is_verified_unless_another_client_wrote_since() {
    for (found, is_asked_for) in [(known(200, 20), true), (known(0, 5), true), (known(200, 90), false)] {
        let mut story = Story::new();
        story.wrote(100, &[1; 100], 10);
        story.record.reported(known(200, 20), story.now + Duration::from_secs(1));
        story.record.resumed(found);
        assert_eq!(!story.record.unflushed.is_empty(), is_asked_for, "{found:?}");
    }
}

/// The content of a page that is read back.
#[derive(Clone, Copy, Debug)]
enum Page {
    Sent,
    Before,
    Foreign,
    CutShort(usize),
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        4 => Just(Page::Sent),
        4 => Just(Page::Before),
        1 => Just(Page::Foreign),
        1 => (0..4096usize).prop_map(Page::CutShort),
    ]
}

proptest! {
    /// A file of which every page is known, with a WRITE in flight to each: whatever is read back, the file is never
    /// called unchanged if a page holds neither what was sent nor what was there before.
    #[test]
    fn no_answer_to_a_verification_hides_foreign_data(pages in prop::collection::vec(page(), 1..6), changed in 0..900u64) {
        let mut story = Story::new();
        story.wrote(0, &vec![1; pages.len() * 4096], 10);
        let mut read = Vec::new();
        for (index, page) in pages.iter().enumerate() {
            let number = story.record.begin(write(index as u64 * 4096, &[2; 4096]));
            let (byte, length) = match *page {
                Page::Sent => (2, 4096),
                Page::Before => (1, 4096),
                Page::Foreign => (9, 4096),
                Page::CutShort(length) => (2, length),
            };
            read.push((number, Bytes::from(vec![byte; length])));
        }
        let found = known(pages.len() as u64 * 4096, changed);
        let judgement = story.record.weigh(found, &read, &lost(50));
        if pages.iter().any(|page| matches!(page, Page::Foreign)) || changed > 652 {
            prop_assert_eq!(judgement, Judgement::Conflict);
        } else if changed <= 11 || (changed <= 50 && pages.iter().any(|page| matches!(page, Page::Sent))) {
            prop_assert_eq!(judgement, Judgement::Unchanged);
        }
    }

    /// Numbers of WRITEs that were not asked for, and data of any length.
    #[test]
    fn any_answer_to_a_verification_is_judged(
        answers in prop::collection::vec((0..6u64, prop::collection::vec(any::<u8>(), 0..9000)), 0..6),
        size in any::<u64>(),
        changed in any::<u64>(),
    ) {
        let mut story = Story::new();
        story.wrote(5000, &[1; 9000], 10);
        (0..3u64).for_each(|index| { story.record.begin(write(index * 3000, &[2; 5000])); });
        let read: Vec<_> = answers.into_iter().map(|(number, data)| (number, Bytes::from(data))).collect();
        let found = Known { size, changed: FileTime(changed) };
        let first = story.record.judge(found, &lost(50));
        let judgement = story.record.weigh(found, &read, &lost(50));
        story.record.adopt(found, if first == Judgement::ReadBack { judgement } else { first });
        prop_assert_eq!(story.record.conflicts(), u64::from(first == Judgement::Conflict || (first == Judgement::ReadBack && judgement == Judgement::Conflict)));
    }
}
