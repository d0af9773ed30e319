use super::*;
use crate::share::types::Attributes;

const SECOND: u64 = 10_000_000;
/// When the request was sent, and when its connection ended, by the server's clock. Neither is a whole second.
const FROM: u64 = 1_000 * SECOND + 7;
const UNTIL: u64 = 1_001 * SECOND + 7;
const WINDOW: Option<Window> = Some(Window { from: FileTime(FROM), until: FileTime(UNTIL) });
const BEFORE: u64 = FROM - 5 * SECOND;
const WITHIN: u64 = FROM + 3;
const AFTER: u64 = UNTIL + 1;

const COLLISION: Verdict = Verdict::Refused(NtStatus::OBJECT_NAME_COLLISION);
const NOT_FOUND: Verdict = Verdict::Refused(NtStatus::OBJECT_NAME_NOT_FOUND);
fn file(file_id: u64, created: u64) -> Metadata {
    Metadata { file_id, created: FileTime(created), ..Metadata::default() }
}

/// The verdict that it was created.
fn ours(found: Metadata) -> Verdict {
    Verdict::Done(Done { found, ..Done::default() })
}

fn folder(file_id: u64, created: u64) -> Metadata {
    Metadata { attributes: Attributes(Attributes::DIRECTORY), ..file(file_id, created) }
}

fn there(found: Metadata) -> Seen {
    Seen::There(found, true)
}

fn known(file_id: u64, created: u64) -> Option<FileIdentity> {
    Some(file(file_id, created).identity())
}

/// The verdict about a removal of this file.
fn removal(known: Option<FileIdentity>, seen: Seen) -> Verdict {
    Doubt::Removal { kind: FileKind::File, known }.decide(seen, Seen::Absent, WINDOW)
}

/// The verdict about a rename of file 7, which was created before the request.
fn rename(source: Seen, target: Seen) -> Verdict {
    Doubt::Rename { known: known(7, BEFORE) }.decide(source, target, WINDOW)
}

#[test]
fn a_creation_is_repeated_if_the_name_is_absent() {
    for doubt in [Doubt::Directory, Doubt::File] {
        assert_eq!(doubt.decide(Seen::Absent, Seen::Absent, WINDOW), Verdict::Again);
    }
}

#[test]
fn what_is_there_empty_and_from_that_time_is_ours() {
    let (directory, new) = (folder(7, WITHIN), file(7, WITHIN));
    let decide = |doubt: Doubt, found| doubt.decide(there(found), Seen::Absent, WINDOW);
    assert_eq!(decide(Doubt::Directory, directory), ours(directory));
    assert_eq!(decide(Doubt::File, new), ours(new));
    assert_eq!(decide(Doubt::Directory, new), COLLISION, "another kind");
    assert_eq!(decide(Doubt::File, directory), COLLISION, "another kind");
}

#[test]
fn what_others_have_made_is_not_ours() {
    for doubt in [Doubt::Directory, Doubt::File] {
        let made = |created| if doubt == Doubt::File { file(7, created) } else { folder(7, created) };
        let decide = |seen, window| doubt.decide(seen, Seen::Absent, window);
        assert_eq!(decide(there(made(BEFORE)), WINDOW), COLLISION, "it was there before");
        assert_eq!(decide(there(made(AFTER)), WINDOW), COLLISION, "created after this client's session had ended");
        assert_eq!(decide(Seen::There(made(WITHIN), false), WINDOW), COLLISION, "something is in it");
        assert_eq!(decide(there(made(0)), WINDOW), COLLISION, "nothing shows that this client created it");
        assert_eq!(decide(there(made(WITHIN)), None), COLLISION, "nothing shows that this client created it");
        assert_eq!(decide(Seen::Pending, WINDOW), COLLISION);
    }
}

#[test]
fn times_cut_off_to_seconds_match_in_the_second_of_the_request() {
    let decide = |created| Doubt::Directory.decide(there(folder(7, created)), Seen::Absent, WINDOW);
    let second = FROM / SECOND * SECOND;
    assert!(matches!(decide(second), Verdict::Done(_)));
    assert_eq!(decide(second - SECOND), COLLISION);
    assert_eq!(decide(second - 1), COLLISION, "a server with finer times made it before");
}

#[test]
fn a_file_renamed_aside_counts_as_removed_and_is_deleted_there_if_it_stayed() {
    let aside =
        |seen, target| Doubt::Removal { kind: FileKind::File, known: known(7, BEFORE) }.decide(seen, target, WINDOW);
    let left = Verdict::Done(Done { is_free: true, ..Done::default() });
    assert_eq!(aside(Seen::Absent, Seen::Absent), gone(true));
    assert_eq!(aside(Seen::Absent, Seen::Pending), gone(true));
    assert_eq!(aside(Seen::Absent, there(file(7, BEFORE))), left);
    assert_eq!(aside(there(file(8, AFTER)), there(file(7, BEFORE))), left, "another client has used the name again");
    assert_eq!(aside(there(file(8, 0)), Seen::Pending), gone(true), "which needs no proof then");
    assert_eq!(aside(there(file(7, BEFORE)), Seen::Absent), Verdict::Again);
}

#[test]
fn a_file_that_is_gone_was_removed() {
    assert_eq!(removal(known(7, BEFORE), Seen::Absent), gone(true));
    assert_eq!(removal(known(7, BEFORE), Seen::Pending), Verdict::Again, "its deletion may have died with the server");
    assert_eq!(removal(None, Seen::Absent), gone(true));
}

#[test]
fn a_removal_is_repeated_on_the_same_file() {
    assert_eq!(removal(known(7, BEFORE), there(file(7, BEFORE))), Verdict::Again);
    assert_eq!(removal(known(0, BEFORE), there(file(0, BEFORE))), Verdict::Again, "a server without ids");
    assert_eq!(
        removal(known(7, BEFORE), there(file(7, BEFORE - 1))),
        Verdict::Again,
        "a server that derives that time"
    );
    assert_eq!(removal(None, there(file(7, BEFORE))), Verdict::Again, "it was there before");
}

#[test]
fn another_file_under_the_name_is_never_removed() {
    assert_eq!(removal(known(7, BEFORE), there(file(8, WITHIN))), gone(true));
    assert_eq!(removal(known(7, BEFORE), there(file(8, BEFORE - 1))), gone(true), "another one was renamed here");
    assert_eq!(removal(known(7, BEFORE), there(file(7, WITHIN))), gone(true), "the id was used again");
    assert_eq!(removal(known(7, BEFORE), there(file(7, AFTER))), gone(true), "the id was used again");
    assert_eq!(removal(known(0, BEFORE), there(file(0, AFTER))), gone(true));
    assert_eq!(removal(known(7, BEFORE), there(folder(7, BEFORE))), gone(true), "it is a directory now");
    assert_eq!(removal(None, there(file(7, AFTER))), gone(true));
}

#[test]
fn what_may_be_another_file_is_neither_removed_nor_called_removed() {
    assert_eq!(removal(known(7, BEFORE), there(file(8, BEFORE))), Verdict::Unclear, "a server that changes ids");
    assert_eq!(removal(known(7, 0), there(file(7, 0))), Verdict::Again, "the id is all that this server gives");
    assert_eq!(removal(known(7, 0), there(file(8, 0))), Verdict::Unclear);
    assert_eq!(removal(known(0, 0), there(file(0, 0))), Verdict::Unclear, "this server gives nothing");
    assert_eq!(removal(None, there(file(7, WITHIN))), Verdict::Unclear);
    let doubt = Doubt::Removal { kind: FileKind::File, known: known(7, BEFORE) };
    let decide = |created| doubt.decide(there(file(7, created)), Seen::Absent, None);
    assert_eq!(decide(WITHIN), Verdict::Unclear, "no clock shows whether the id was used again");
    assert_eq!(decide(BEFORE), Verdict::Again);
}

#[test]
fn the_removal_of_a_directory_follows_the_same_rules() {
    let doubt = Doubt::Removal { kind: FileKind::Directory, known: known(7, BEFORE) };
    let decide = |seen| doubt.decide(seen, Seen::Absent, WINDOW);
    assert_eq!(decide(there(folder(7, BEFORE))), Verdict::Again);
    assert_eq!(decide(Seen::There(folder(7, BEFORE), false)), Verdict::Again, "the server itself refuses to remove it");
    assert_eq!(decide(there(folder(8, AFTER))), gone(true));
    assert_eq!(decide(there(file(7, BEFORE))), gone(true));
}

#[test]
fn a_file_under_its_new_name_was_renamed() {
    assert_eq!(rename(Seen::Absent, there(file(7, BEFORE))), gone(true));
    assert_eq!(rename(Seen::Pending, there(file(7, BEFORE))), gone(true));
    assert_eq!(rename(Seen::Absent, there(file(8, BEFORE))), gone(true), "the server has changed its id");
    let again = there(file(9, WITHIN));
    assert!(matches!(rename(again, there(file(7, BEFORE))), Verdict::Done(_)), "the old name was used again");
}

#[test]
fn a_file_under_its_old_name_is_renamed_again() {
    let source = there(file(7, BEFORE));
    assert_eq!(rename(source, Seen::Absent), Verdict::Again);
    assert_eq!(rename(source, Seen::Pending), Verdict::Again);
    // The server refuses or replaces the target, as it was asked to.
    assert_eq!(rename(source, there(file(8, BEFORE))), Verdict::Again);
    assert_eq!(rename(source, there(file(7, BEFORE))), Verdict::Again, "two names of one file");
}

#[test]
fn another_file_is_never_renamed_in_its_place() {
    let other = there(file(9, WITHIN));
    assert_eq!(rename(other, Seen::Absent), NOT_FOUND);
    assert_eq!(rename(other, there(file(8, WITHIN))), NOT_FOUND);
    assert_eq!(rename(there(file(8, BEFORE)), Seen::Absent), Verdict::Unclear);
}

#[test]
fn a_file_that_another_client_removed_was_not_renamed() {
    assert_eq!(rename(Seen::Absent, Seen::Absent), NOT_FOUND);
    assert_eq!(rename(Seen::Absent, Seen::Pending), NOT_FOUND);
    assert_eq!(rename(Seen::Absent, there(file(8, BEFORE - 1))), NOT_FOUND, "another file has the new name");
}

#[test]
fn a_link_was_made_if_the_new_name_means_the_file() {
    let known = known(7, BEFORE);
    let link = |target| Doubt::Link { known }.decide(there(file(7, BEFORE)), target, WINDOW);
    assert_eq!(link(Seen::Absent), Verdict::Again);
    assert_eq!(link(there(file(7, BEFORE))), ours(file(7, BEFORE)));
    assert_eq!(link(there(file(8, WITHIN))), COLLISION, "another file has the name");
    assert_eq!(link(Seen::Pending), COLLISION);
    let unknown = |source| Doubt::Link { known: None }.decide(source, there(file(7, BEFORE)), WINDOW);
    assert_eq!(unknown(there(file(7, BEFORE))), ours(file(7, BEFORE)));
    assert_eq!(unknown(Seen::Absent), Verdict::Unclear);
}

#[test]
fn a_rename_of_an_unknown_file_is_judged_by_the_names() {
    let decide = |source, target| Doubt::Rename { known: None }.decide(source, target, WINDOW);
    assert_eq!(decide(Seen::Absent, there(file(7, BEFORE))), gone(true));
    assert_eq!(decide(Seen::Absent, there(file(7, AFTER))), gone(true));
    assert_eq!(decide(Seen::Absent, Seen::Absent), NOT_FOUND);
    assert_eq!(decide(there(file(7, BEFORE)), Seen::Absent), Verdict::Again);
    assert_eq!(decide(there(file(7, WITHIN)), Seen::Absent), Verdict::Unclear);
    assert_eq!(decide(there(file(7, AFTER)), Seen::Absent), NOT_FOUND);
}

/// Two sessions: the first begins at a moment of this test, the second a minute later.
fn window(slack: Duration, jump: i64) -> (Option<Window>, u64) {
    let (start, then) = (Instant::now(), 500 * SECOND);
    let minute = Duration::from_secs(60);
    let first = ServerClock::showing(then, start, slack);
    let next = ServerClock::showing((then + 60 * SECOND).strict_add_signed(jump), start + minute, Duration::ZERO);
    let sent = start + Duration::from_secs(10);
    let window = Window::of(first, (sent, sent + Duration::from_secs(1)), next, start + 2 * minute);
    (window, then + 10 * SECOND)
}

#[test]
fn the_window_lasts_from_the_request_to_the_end_of_its_connection() {
    let (window, sent) = window(Duration::ZERO, 0);
    let place = |time| Window::place(window, FileTime(time));
    assert_eq!(place(sent - SECOND / 10 + 1), Place::Before);
    assert_eq!(place(sent + 1), Place::Within);
    assert_eq!(place(sent + SECOND + SECOND / 5 + 1), Place::Within);
    assert_eq!(place(sent + SECOND + SECOND / 3 + 1), Place::After);
}

#[test]
fn a_slowly_reported_clock_widens_the_window_and_a_clock_that_was_set_ends_it() {
    let place = |slack| {
        let (window, sent) = window(slack, 0);
        Window::place(window, FileTime(sent - SECOND / 2 + 1))
    };
    assert_eq!((place(Duration::ZERO), place(Duration::from_millis(600))), (Place::Before, Place::Within));
    for jump in [-3_i64, 3] {
        assert_eq!(window(Duration::ZERO, jump * SECOND as i64).0, None);
    }
    let unknown = ServerClock::unknown();
    let now = Instant::now();
    assert_eq!(Window::of(unknown, (now, now), unknown, now), None);
}
