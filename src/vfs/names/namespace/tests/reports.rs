//! What reports of watches and breaks of directory leases cause.

use super::*;
use crate::vfs::names::hidden;

#[test]
fn a_name_that_another_client_changed_is_asked_for() {
    let mut known = Names::watched(&["a", "b"]);
    assert!(known.reported(&[change("a", ChangeKind::Modified), change("new", ChangeKind::Added)], 5000));
    assert_eq!((known.look("a", 5000), known.look("new", 5000)), (None, None));
    assert_eq!((known.look("b", 5000), known.look("c", 5000)), (Some(true), Some(false)));
    known.found("a", file(5), 5100);
    known.found("new", file(6), 5100);
    assert_eq!((known.look("a", 20_000), known.look("new", 20_000)), (Some(true), Some(true)));
}

#[test]
fn the_kernel_forgets_names_and_attributes_that_another_client_changed() {
    let mut known = Names::watched(&["a", "b"]);
    let (a, b) = (known.found("a", file(id("a")), 10), known.found("b", file(id("b")), 10));
    let _ = known.space.take_effects();
    [a, b, ROOT].into_iter().for_each(|ino| known.show(ino, 10));
    known.reported(&[change("b", ChangeKind::Modified)], 20);
    let effects = known.space.take_effects();
    assert_eq!(effects.forgotten, [Forgotten::Attributes(b)]);
    assert_eq!(
        effects.unwanted_opens.iter().map(|file| file.ino).collect::<Vec<_>>(),
        [b],
        "its kept open is to be closed"
    );
    known.reported(&[change("a", ChangeKind::Removed), change("new", ChangeKind::Added)], 30);
    let effects = known.space.take_effects();
    for name in ["a", "new"] {
        assert!(effects.forgotten.contains(&Forgotten::Entry { parent: ROOT, name: name.into() }), "{name}");
    }
    assert!(effects.forgotten.contains(&Forgotten::Attributes(ROOT)), "its times have changed");
    assert_eq!(effects.unwanted_opens.iter().map(|file| file.ino).collect::<Vec<_>>(), [a]);
    assert!(!known.space.believes_name(a, known.at(30)));
}

#[test]
fn the_kernel_is_told_once_of_a_file_that_another_client_keeps_changing() {
    let mut known = Names::watched(&["a"]);
    let a = known.found("a", file(id("a")), 10);
    known.show(a, 10);
    let _ = known.space.take_effects();
    let forgotten = |known: &mut Names, ms| {
        known.reported(&[change("a", ChangeKind::Modified)], ms);
        known.space.take_effects().forgotten
    };
    assert_eq!(forgotten(&mut known, 20), [Forgotten::Attributes(a)]);
    for ms in (30..4000).step_by(500) {
        known.show(a, ms);
        assert_eq!(known.space.attr(a, known.at(ms)).unwrap().ttl, Duration::ZERO, "the kernel asks each time");
        assert_eq!(forgotten(&mut known, ms + 1), [], "a reply that it crosses would be ignored");
    }
    known.show(a, 6000);
    assert_ne!(known.space.attr(a, known.at(6000)).unwrap().ttl, Duration::ZERO);
    assert_eq!(forgotten(&mut known, 6001), [Forgotten::Attributes(a)]);
}

#[test]
fn a_hidden_file_of_another_client_is_not_shown_but_its_removal_changes_the_directory() {
    let mut known = Names::watched(&["a"]);
    let hidden = String::from_utf16(&hidden::Owner::random().next_name()).unwrap();
    known.reported(&[change(&hidden, ChangeKind::Added)], 10);
    assert_eq!(known.space.take_effects().forgotten, []);
    known.show(ROOT, 10);
    known.reported(&[change(&hidden, ChangeKind::Removed)], 20);
    assert_eq!(known.space.take_effects().forgotten, [Forgotten::Attributes(ROOT)]);
    assert_eq!(known.names(30).unwrap(), ["a"]);
}

#[test]
fn the_report_of_an_own_change_changes_nothing() {
    let mut known = Names::watched(&["a"]);
    known.create("mine", file(id("mine")), 5000);
    known.remove("a", 5000);
    assert_eq!(known.forgotten(), [] as [&str; 0]);
    let echo =
        [change("mine", ChangeKind::Added), change("mine", ChangeKind::Modified), change("a", ChangeKind::Removed)];
    assert!(!known.reported(&echo, 5600));
    assert_eq!((known.look("mine", 5900), known.look("a", 5900)), (Some(true), Some(false)));
    assert!(known.forgotten().is_empty(), "the kernel need not forget anything");
    // The report may have been of another client's change.
    assert_eq!((known.look("mine", 6000), known.look("a", 6000)), (None, None));
    known.list(&["mine"], 6000);
    assert_eq!((known.look("mine", 20_000), known.look("a", 20_000)), (Some(true), Some(false)));
    assert!(known.reported(&[change("mine", ChangeKind::Removed)], 20_000), "no report of an own change is so late");
}

#[test]
fn a_rename_by_another_client_over_an_own_name_is_not_counted_as_an_own_change() {
    let mut known = Names::watched(&[]);
    known.create("mine", file(5), 5000);
    assert!(!known.reported(&[change("mine", ChangeKind::Added), change("mine", ChangeKind::Modified)], 5100));
    assert!(known.reported(&[change("mine", ChangeKind::Added)], 5200), "this mount made the name appear only once");
    assert_eq!((known.look("mine", 5300), known.forgotten().as_slice()), (None, &["mine".to_owned()][..]));
    known.remove("mine", 9000);
    known.create("mine", file(6), 9100);
    let echoes = [change("mine", ChangeKind::Removed), change("mine", ChangeKind::Added)];
    assert!(!known.reported(&echoes, 9200));
    assert!(known.reported(&[change("mine", ChangeKind::Removed)], 9300));
    assert_eq!(known.look("mine", 9400), None);
}

#[test]
fn an_own_change_reported_under_the_servers_spelling_is_not_expected_again() {
    let mut known = Names::watched(&["a"]);
    known.remove("A", 5000);
    known.reported(&[change("a", ChangeKind::Removed)], 5100);
    assert!(known.reported(&[change("A", ChangeKind::Removed)], 5200));
    assert_eq!(known.look("A", 5300), None);
}

#[test]
fn a_report_that_came_before_the_answer_to_an_own_change_may_be_of_a_later_change() {
    let mut known = Names::watched(&[]);
    let asked = known.asking_about("mine", 5000);
    known.space.changing(ROOT, &units("mine"), Echo::Added, asked.at);
    // The report of the own change, and another client's rename over the name.
    known.reported(&[change("mine", ChangeKind::Added), change("mine", ChangeKind::Added)], 5100);
    let now = known.at(5200);
    let made = known.space.made(ROOT, &units("mine"), file(5), (asked, CLOCK), now);
    let Admission::Node(ino) = made else { panic!("this mount changed nothing else") };
    assert_eq!(known.look("mine", 5300), None);
    assert_eq!(known.space.attr(ino, now).unwrap().name_ttl, Duration::ZERO);
    assert!(known.reported(&[change("mine", ChangeKind::Added)], 5400), "the own change was reported already");
}

#[test]
fn an_overflow_makes_the_kernel_forget_every_name_of_the_directory() {
    let mut known = Names::watched(&["a", "b"]);
    let a = known.found("a", file(id("a")), 10);
    known.show(a, 10);
    assert!(known.on(WatchEvent::Overflowed, 20));
    assert_eq!(known.forgotten(), ["a"], "the kernel has no other names");
}

#[test]
fn an_answer_from_before_an_overflow_is_returned_but_not_cached() {
    let mut known = Names::watched(&["a"]);
    let asked = known.asking_about("b", 10);
    known.on(WatchEvent::Overflowed, 20);
    known.on(WatchEvent::Armed, 30);
    let Admission::Node(b) = known.found_as_of("b", file(5), asked) else { panic!("this mount changed nothing") };
    assert_eq!(known.space.attr(b, known.at(40)).unwrap().name_ttl, Duration::ZERO);
    assert_eq!(known.look("b", 40), None);
}

#[test]
fn a_broken_lease_ends_the_watch_of_its_directory_and_no_other() {
    let mut known = Names::strict();
    let d = known.found("d", folder(10), 0);
    let a = {
        known.directory = d;
        known.found("a", file(id("a")), 0)
    };
    [a, d].into_iter().for_each(|ino| known.show(ino, 0));
    for (directory, number) in [(ROOT, 1), (d, 2)] {
        known.directory = directory;
        known.watch(number, Some(LeaseKey(u128::from(number))), 0);
        known.list(if directory == d { &["a"] } else { &[] }, 0);
    }
    assert_eq!(known.look("a", 500), Some(true));
    let _ = known.space.take_effects();
    assert!(known.space.lease_broken(LeaseKey(2), known.at(600)));
    assert_eq!((known.look("a", 700), known.look("b", 700)), (None, None));
    assert_eq!((known.space.is_watched(d), known.space.is_watched(ROOT)), (false, true));
    let effects = known.space.take_effects();
    assert_eq!(effects.ended_watches, [2]);
    assert!(effects.forgotten.contains(&Forgotten::Entry { parent: d, name: "a".into() }));
    assert!(effects.forgotten.contains(&Forgotten::Attributes(d)));
    assert!(!known.space.lease_broken(LeaseKey(2), known.at(800)), "a break that comes twice");
}

#[test]
fn the_watches_of_a_removed_directory_and_of_all_below_it_end() {
    let mut known = Names::watched(&[]);
    let d = known.found("d", folder(10), 0);
    known.directory = d;
    known.watch(2, None, 0);
    let below = known.found("below", folder(11), 0);
    known.directory = below;
    known.watch(3, None, 0);
    let _ = known.space.take_effects();
    known.reported(&[change("other", ChangeKind::Removed)], 10);
    assert!(known.space.take_effects().ended_watches.is_empty());
    known.reported(&[change("d", ChangeKind::Removed)], 20);
    let mut ended = known.space.take_effects().ended_watches;
    ended.sort_unstable();
    assert_eq!(ended, [2, 3]);
    assert!(known.space.is_watched(ROOT));
}
