//! What is answered without asking the server, and for how long.

use super::*;
use crate::share::Space;
use crate::vfs::names::namespace::belief::MISSES;

#[test]
fn without_watches_a_present_name_is_valid_for_the_timeout_and_an_absent_one_is_asked_for() {
    let mut known = Names::unwatchable(CacheMode::Strict, &["a"]);
    assert_eq!((known.look("a", 999), known.look("b", 999)), (Some(true), None));
    assert_eq!(known.names(999).unwrap(), ["a"]);
    assert_eq!((known.look("a", 1000), known.names(1000)), (None, None));
    known.absent("b", 1000);
    assert_eq!(known.look("b", 1001), None);
}

#[test]
fn a_name_that_was_found_is_known_before_its_directory_is_listed() {
    let mut known = Names::strict();
    known.space.is_unwatchable(ROOT);
    let a = known.found("a", file(5), 0);
    assert_eq!(known.look("a", 10), Some(true));
    assert_eq!(known.space.attr(a, known.at(10)).unwrap().name_ttl, TIMEOUT - Duration::from_millis(10));
    let (now, name) = (known.at(20), units("b"));
    let Admission::Node(b) = known.space.admit_listed(ROOT, &name, file(6), now, false) else { panic!("it is new") };
    assert_eq!(known.space.attr(b, now).unwrap().name_ttl, TIMEOUT);
    let name = units("c");
    let Admission::Node(c) = known.space.admit_listed(ROOT, &name, file(7), now, true) else { panic!("it is new") };
    assert_eq!(known.space.attr(c, now).unwrap().name_ttl, Duration::ZERO);
}

#[test]
fn a_node_from_a_listing_in_progress_is_covered_by_the_watch_when_the_listing_ends() {
    let mut known = Names::strict();
    known.watch(WATCH, None, 0);
    known.on(WatchEvent::Begun, 0);
    let asked = known.space.asking(known.at(10));
    known.space.admit_listed(ROOT, &units("a"), file(id("a")), asked.at, false);
    known.list_as_of(&["a"], asked);
    assert_eq!((known.look("a", 20_000), known.names(20_000).unwrap().len()), (Some(true), 1));
}

/// A rename while the directory is listed can show a name twice.
#[test]
fn a_name_that_is_listed_twice_keeps_its_node() {
    let mut known = Names::watched(&["a"]);
    let a = known.found("a", file(id("a")), 10);
    known.list(&["a", "b", "a"], 20);
    assert_eq!(known.space.at(ROOT, &units("a")), Some(a));
    assert_eq!(known.names(30).unwrap().len(), 2);
    let before = known.space.len();
    known.space.forget(a, 1);
    assert_eq!(known.space.len(), before - 1, "the node of a file that is not needed any more is evicted");
}

#[test]
fn in_loose_mode_present_and_absent_names_are_valid_for_the_timeout() {
    let mut known = Names::nothing(CacheMode::Loose);
    known.list(&["a"], 0);
    assert_eq!((known.look("a", 999), known.look("b", 999)), (Some(true), Some(false)));
    assert_eq!((known.look("a", 1000), known.look("b", 1000)), (None, None));
}

#[test]
fn in_a_directory_that_could_be_watched_no_name_is_valid_without_a_watch() {
    let mut known = Names::strict();
    known.list(&["a"], 0);
    assert_eq!((known.look("a", 1), known.look("b", 1), known.names(1)), (None, None, None));
    let a = known.found("a", file(id("a")), 2);
    assert!(!known.space.believes_name(a, known.at(3)));
    assert_eq!(known.space.attr(a, known.at(3)).unwrap().name_ttl, Duration::ZERO);
}

#[test]
fn a_watch_keeps_names_valid_for_a_minute_after_the_listing() {
    let mut known = Names::watched(&["a"]);
    assert_eq!((known.look("a", 50_000), known.look("b", 50_000)), (Some(true), Some(false)));
    assert_eq!((known.look("a", 61_000), known.look("b", 61_000)), (None, None));
    let a = known.found("a", file(id("a")), 61_000);
    assert!(known.space.believes_name(a, known.at(70_000)));
    assert_eq!(known.space.attr(a, known.at(61_000)).unwrap().name_ttl, TIMEOUT);
}

#[test]
fn between_a_report_and_the_next_change_notify_every_name_is_asked_for() {
    let mut known = Names::watched(&["a"]);
    let a = known.found("a", file(id("a")), 0);
    assert!(known.space.believes_name(a, known.at(10)));
    known.on(WatchEvent::Reported(vec![change("c", ChangeKind::Modified)]), 5000);
    assert_eq!((known.look("a", 5001), known.look("b", 5001), known.names(5001)), (None, None, None));
    assert!(!known.space.believes_name(a, known.at(5001)));
    known.on(WatchEvent::Armed, 5002);
    assert_eq!((known.look("a", 5003), known.look("b", 5003)), (Some(true), Some(false)));
    assert!(known.space.believes_name(a, known.at(5003)));
}

#[test]
fn a_watch_that_may_not_have_begun_covers_nothing_after_the_timeout() {
    let mut known = Names::strict();
    known.watch(WATCH, None, 0);
    known.list(&["a"], 0);
    assert_eq!(known.look("a", 2000), None);
    known.list(&["a"], 2000);
    assert_eq!(known.look("a", 9000), None);
    assert!(known.on(WatchEvent::Begun, 9000), "a second look is needed");
    known.list(&["a"], 8999);
    assert_eq!(known.look("a", 10_000), None, "that listing was asked for before the watch had begun");
    known.list(&["a"], 10_000);
    assert_eq!(known.look("a", 20_000), Some(true));
    assert!(!known.on(WatchEvent::Begun, 20_000));
}

#[test]
fn an_unchanged_listing_before_the_watch_proves_absent_names_but_not_present_ones() {
    let mut known = Names::strict();
    known.watch(WATCH, None, 0);
    known.list(&["a"], 0);
    assert!(known.on(WatchEvent::Begun, 700));
    known.on(WatchEvent::Confirmed, 700);
    assert_eq!((known.look("a", 2000), known.look("b", 2000), known.names(2000)), (None, Some(false), None));
    known.list(&["a"], 2000);
    assert_eq!((known.look("a", 9000), known.look("b", 9000)), (Some(true), Some(false)));
}

#[test]
fn a_lease_covers_what_was_listed_under_it() {
    let mut known = Names::strict();
    known.watch(WATCH, Some(LeaseKey(7)), 0);
    known.list(&["a"], 0);
    assert_eq!((known.look("a", 5000), known.look("b", 5000)), (Some(true), Some(false)));
    assert_eq!((known.look("a", 6000), known.look("b", 6000)), (None, None), "the server's own disk is not covered");
}

#[test]
fn a_watch_that_lost_count_covers_nothing_until_the_next_listing() {
    let mut known = Names::watched(&["a"]);
    known.reported(&[], 5000);
    known.on(WatchEvent::Overflowed, 5001);
    known.on(WatchEvent::Armed, 5002);
    assert_eq!((known.look("a", 5003), known.look("b", 5003), known.names(5003)), (None, None, None));
    // A listing that began before the loss of count proves nothing; one that begins now does.
    known.on(WatchEvent::Confirmed, 5004);
    assert_eq!((known.look("a", 5005), known.look("b", 5005)), (None, None));
    known.list(&["a"], 5005);
    assert_eq!((known.look("a", 9000), known.look("b", 9000)), (Some(true), Some(false)));
    known.on(WatchEvent::Ended, 9000);
    assert_eq!((known.look("a", 9001), known.look("b", 9001)), (None, None));
    assert_eq!(known.space.take_effects().ended_watches, [WATCH]);
    assert!(!known.space.is_watched(ROOT));
}

#[test]
fn a_second_watch_replaces_the_first_and_does_not_cover_its_listing() {
    let mut known = Names::watched(&["a"]);
    known.watch(2, None, 5000);
    assert_eq!(known.space.take_effects().ended_watches, [WATCH]);
    known.space.on_watch(2, WatchEvent::Begun, known.at(5001));
    known.space.on_watch(2, WatchEvent::Confirmed, known.at(5001));
    assert_eq!(known.look("a", 9000), None, "listed under the first watch");
    known.list(&["a"], 9000);
    assert_eq!(known.look("a", 12_000), Some(true));
}

#[test]
fn entries_of_a_watch_that_ended_are_not_valid_under_the_next_one() {
    let mut known = Names::strict();
    known.watch(WATCH, Some(LeaseKey(7)), 100);
    known.list(&["a"], 100);
    known.space.lease_broken(LeaseKey(7), known.at(200));
    // The answer to a listing that was asked for earlier, and is overtaken by the other one.
    known.watch(2, Some(LeaseKey(8)), 50);
    known.list(&["b"], 50);
    assert_eq!((known.look("a", 300), known.look("c", 300), known.names(300)), (None, None, None));
    known.list(&["b"], 300);
    assert_eq!((known.look("b", 400), known.look("a", 400)), (Some(true), Some(false)));
}

#[test]
fn own_changes_are_known_at_once() {
    let mut known = Names::watched(&["a"]);
    known.create("mine", file(5), 5000);
    known.remove("a", 5000);
    assert_eq!((known.look("mine", 5500), known.look("a", 5500)), (Some(true), Some(false)));
    assert_eq!(known.names(5500).unwrap(), ["mine"]);
}

#[test]
fn an_answer_from_before_a_change_does_not_replace_the_change() {
    let mut known = Names::watched(&["a"]);
    let asked = known.space.asking(known.at(100));
    known.remove("a", 200);
    let b = known.create("b", file(5), 200);
    known.space.learn(ROOT, &units("a"), Some(file(id("a"))), asked);
    known.space.absent(ROOT, &units("b"), asked);
    assert_eq!((known.look("a", 300), known.look("b", 300)), (Some(false), Some(true)));
    known.list_as_of(&["a", "c"], asked);
    assert_eq!(
        (known.look("a", 300), known.look("b", 300), known.look("c", 300)),
        (Some(false), Some(true), Some(true))
    );
    assert_eq!(known.space.at(ROOT, &units("b")), Some(b));
}

#[test]
fn an_answer_from_before_a_report_is_returned_but_not_cached() {
    let mut known = Names::watched(&["a"]);
    let asked = known.asking_about("a", 100);
    known.reported(&[change("a", ChangeKind::Removed), change("a", ChangeKind::Added)], 200);
    let Admission::Node(ino) = known.found_as_of("a", file(id("a")), asked) else {
        panic!("this mount changed nothing")
    };
    assert_eq!(known.space.attr(ino, known.at(300)).unwrap().name_ttl, Duration::ZERO, "no later report ends it");
    assert_eq!(known.look("a", 300), None);
    let asked = known.asking_about("b", 400);
    known.reported(&[change("b", ChangeKind::Added)], 500);
    known.space.absent(ROOT, &units("b"), asked);
    assert_eq!(known.look("b", 600), None);
}

#[test]
fn a_listing_that_is_overtaken_by_another_is_ignored() {
    let mut known = Names::unwatchable(CacheMode::Strict, &[]);
    known.list(&["a", "b"], 2000);
    known.list(&["a", "c"], 1000);
    assert_eq!((known.look("b", 2500), known.look("c", 2500)), (Some(true), None));
    assert_eq!(known.names(2500).unwrap(), ["a", "b"]);
}

#[test]
fn a_failed_change_leaves_its_name_unknown() {
    let mut known = Names::watched(&["a"]);
    known.changed("a", Change::Unknown, 10);
    known.changed("b", Change::Unknown, 10);
    assert_eq!((known.look("a", 20), known.look("b", 20), known.names(20)), (None, None, None));
}

#[test]
fn a_name_that_the_server_contradicts_is_asked_for() {
    let mut known = Names::watched(&["a"]);
    let a = known.found("a", file(id("a")), 10);
    known.space.doubt_name(a, known.at(20));
    assert_eq!(known.look("a", 30), None);
    assert!(!known.space.believes_name(a, known.at(30)));
}

#[test]
fn other_spellings_of_a_name_are_asked_for() {
    let mut known = Names::watched(&["Readme", "\u{212A}elvin"]);
    for name in ["README", "readme", "kelvin", "Grüße", "LONGNA~1"] {
        assert_eq!(known.look(name, 10), None, "{name}");
    }
    assert_eq!(known.look("readme2", 10), Some(false));
    // The server found the file under another spelling: there is no second entry.
    let respelt = known.found("README", file(id("Readme")), 20);
    assert_eq!(known.names(30).unwrap().len(), 2);
    known.space.forget(respelt, 1);
    assert_eq!(known.names(40).unwrap().len(), 2);
    // This mount has removed the file under another spelling.
    known.changed("ReadMe", Change::Went, 50);
    assert_eq!((known.names(60), known.look("readme2", 60), known.look("Readme", 60)), (None, None, None));
}

#[test]
fn a_change_of_one_spelling_makes_the_kernel_forget_the_others() {
    let mut known = Names::watched(&["Readme"]);
    let readme = known.found("Readme", file(5), 10);
    known.found("README", file(5), 10);
    assert_eq!(known.forgotten(), [] as [&str; 0]);
    known.reported(&[change("README", ChangeKind::Removed)], 20);
    assert_eq!(known.forgotten(), ["README", "Readme"]);
    assert!(!known.space.believes_name(readme, known.at(30)));
    known.found("Readme", file(5), 40);
    known.remove("README", 50);
    assert_eq!(known.forgotten(), ["Readme"]);
    assert_eq!(known.look("Readme", 60), None);
}

#[test]
fn an_answer_about_one_spelling_is_overtaken_by_a_report_of_another() {
    let mut known = Names::watched(&["a"]);
    let asked = known.asking_about("A", 10);
    known.reported(&[change("a", ChangeKind::Removed)], 20);
    let Admission::Node(ino) = known.found_as_of("A", file(5), asked) else { panic!("this mount changed nothing") };
    assert_eq!(known.look("A", 30), None);
    assert_eq!(known.space.attr(ino, known.at(30)).unwrap().name_ttl, Duration::ZERO);
}

#[test]
fn an_absent_name_may_appear_under_another_spelling() {
    let mut known = Names::watched(&["a", "b"]);
    for name in ["a", "b", "c~1"] {
        known.absent(name, 10);
        assert_eq!(known.look(name, 20), Some(false), "{name}");
    }
    assert_eq!((known.look("a", 5000), known.look("c~1", 5000)), (Some(false), None));
    known.reported(&[change("A", ChangeKind::Added)], 5000);
    known.create("B", file(6), 5000);
    assert_eq!((known.look("a", 5000), known.look("b", 5000)), (None, None));
    // Files that the server finds then are no second entries.
    for (name, found) in [("A", 5), ("a", 5), ("b", 6)] {
        known.found(name, file(found), 5010);
    }
    assert_eq!(known.names(5020).unwrap(), ["A", "B"]);
}

#[test]
fn a_directory_that_was_made_is_empty() {
    let mut known = Names::nothing(CacheMode::Loose);
    known.directory = known.create("d", folder(10), 0);
    known.space.made_directory(known.directory, known.at(0));
    assert_eq!(known.look("a", 10), Some(false));
    known.create("a", file(11), 20);
    assert_eq!((known.look("a", 30), known.names(40).unwrap().len()), (Some(true), 1));
    assert_eq!(known.look("b", 1000), None);
}

#[test]
fn after_four_single_lookups_the_directory_is_listed_instead() {
    let mut known = Names::strict();
    let missed = |known: &mut Names, name| known.space.missed(ROOT, &units(name));
    for _ in 0..MISSES {
        assert!(!missed(&mut known, "a"));
    }
    assert!(missed(&mut known, "a"));
    known.space.is_too_long(ROOT);
    assert!((0..9).all(|_| !missed(&mut known, "a")));
    // The directory is known to be short.
    known.list(&["a"], 0);
    assert!(missed(&mut known, "a") && missed(&mut known, "b"));
    assert!(!missed(&mut known, "A") && !missed(&mut known, "a~"), "a listing does not answer other spellings");
}

#[test]
fn the_kernel_may_cache_attributes_as_long_as_they_are_valid() {
    let mut known = Names::unwatchable(CacheMode::Strict, &[]);
    let a = known.found("a", file(10), 0);
    assert_eq!(known.space.attr(a, known.at(400)).unwrap().ttl, Duration::from_millis(600));
    assert_eq!(known.space.attr(a, known.at(2000)).unwrap().ttl, Duration::ZERO);
    assert!(known.space.believed(a, known.at(2000)).is_none());
    let mut known = Names::watched(&["a"]);
    let a = known.found("a", file(id("a")), 10);
    assert_eq!(known.space.believed(a, known.at(20_000)).unwrap().ttl, TIMEOUT);
}

#[test]
fn free_space_that_was_asked_for_before_a_change_is_not_recorded() {
    let mut known = Names::strict();
    let space = Space { total: 100, free: 50, available: 50, unit: 1 };
    let (asked, changed, asked_again) = (known.at(0), known.at(10), known.at(20));
    known.space.space_changes(changed);
    known.space.space_reported(ROOT, space, asked);
    assert_eq!(known.space.space(ROOT, changed), None);
    known.space.space_reported(ROOT, space, asked_again);
    assert_eq!(known.space.space(ROOT, asked_again), Some(space));
}

#[test]
fn names_of_previous_versions_are_asked_for_and_not_listed() {
    for name in [".snapshots", "@GMT-2024.01.01-00.00.00"] {
        let mut known = Names::watched(&["a"]);
        assert_eq!((known.look("b", 10), known.look(name, 10)), (Some(false), None));
        known.absent(name, 20);
        assert_eq!(known.look(name, 30), None);
        known.found(name, file(0), 40);
        assert_eq!(known.look(name, 50), Some(true));
        assert_eq!(known.names(60).unwrap(), ["a"]);
        known.list(&["a"], 70);
        assert_eq!((known.look(name, 80), known.names(90).unwrap()), (None, vec!["a".to_owned()]));
        known.list(&["a", name], 100);
        assert_eq!(known.look(name, 110), Some(true), "a folder that the server shows");
        assert_eq!(known.names(120).unwrap().len(), 2);
    }
}
