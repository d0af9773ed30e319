//! How many entries, directories and watches are kept, and which are dropped first.

use super::*;
use crate::vfs::names::namespace::bounds::{IDLE, MAX_DIRECTORIES, MAX_FREE, MAX_WATCHES};

impl Names {
    /// A namespace with `count` watched directories, numbered as their watches.
    fn with_watches(count: u64) -> (Names, Vec<u64>) {
        let mut known = Names::strict();
        let watched = (0..count).map(|number| known.watched_folder(number)).collect();
        (known, watched)
    }

    /// Makes the directory `d<number>`, watched and listed.
    fn watched_folder(&mut self, number: u64) -> u64 {
        self.directory = ROOT;
        let ino = self.found(&format!("d{number}"), folder(10 + number), 0);
        self.directory = ino;
        self.watch(number, None, 0);
        self.list(&["a"], 0);
        ino
    }

    /// The watches to end at the server since the last call.
    fn ended(&mut self) -> Vec<u64> {
        self.space.take_effects().ended_watches
    }
}

#[test]
fn the_watches_that_were_not_used_for_longest_end_first() {
    let (mut known, watched) = Names::with_watches(MAX_WATCHES as u64);
    known.directory = watched[0];
    known.look("a", 10);
    known.watched_folder(5000);
    known.watched_folder(5001);
    assert_eq!(known.ended(), [1, 2]);
    assert!(known.space.is_watched(watched[0]) && !known.space.is_watched(watched[1]));
}

#[test]
fn directories_and_names_have_bounds() {
    let mut known = Names::strict();
    for number in 0..MAX_DIRECTORIES as u64 + 5 {
        let ino = known.found(&format!("d{number}"), folder(10 + number), 0);
        known.space.made_directory(ino, known.at(0));
    }
    let listed = known.space.directories.values().filter(|directory| directory.complete.is_some()).count();
    assert_eq!(listed, MAX_DIRECTORIES);
    let mut known = Names::strict();
    let d = known.found("d", folder(10), 0);
    known.list(&["a"], 0);
    let many = (0..MAX_FREE as u64).map(|number| (units(&format!("{number}")), file(number)));
    let asked = known.space.asking(known.at(10));
    known.space.listed(d, many, asked);
    assert_eq!(known.space.bounds.free, MAX_FREE, "the root's names were dropped");
    known.space.changed(d, &units("more"), Change::Made(file(1)), CLOCK, known.at(20));
    assert!(known.space.bounds.free <= MAX_FREE);
    assert!(known.space.node(d).is_some());
}

#[test]
fn the_counts_match_the_entries_and_nodes() {
    let mut known = Names::unwatchable(CacheMode::Strict, &["a", "b", "c"]);
    let a = known.found("a", file(id("a")), 10);
    known.create("new", file(5), 20);
    known.remove("b", 30);
    known.space.forget(a, 1);
    known.list(&["c", "new"], 40);
    known.absent("x", 50);
    let directory = &known.space.directories[&ROOT];
    let nodes = directory.entries.values().filter(|entry| entry.node.is_some()).count();
    assert_eq!((directory.nodes, known.space.bounds.free), (nodes, directory.entries.len() - nodes));
}

#[test]
fn idle_watches_end() {
    let (mut known, watched) = Names::with_watches(3);
    let idle = IDLE.as_millis() as u64;
    known.directory = watched[1];
    known.look("a", 1000);
    known.space.end_idle_watches(known.at(idle - 1));
    assert_eq!(known.ended(), [] as [u64; 0]);
    known.space.end_idle_watches(known.at(idle));
    assert_eq!(known.ended(), [0, 2]);
    assert_eq!(known.look("a", idle), None);
    known.space.end_idle_watches(known.at(2 * idle));
    assert_eq!(known.ended(), [1]);
}

#[test]
fn when_the_server_has_no_room_half_of_the_watches_end() {
    let (mut known, watched) = Names::with_watches(20);
    assert_eq!(known.space.end_half_of_watches(known.at(100)), 10);
    let mut ended = known.ended();
    ended.sort_unstable();
    assert_eq!(ended, (0..10).collect::<Vec<_>>());
    known.directory = watched[0];
    assert_eq!((known.look("a", 200), known.look("b", 200)), (Some(true), None), "valid for the timeout only");
    assert_eq!(known.look("a", 1000), None);
    // The bound is learnt from the refusal, and grows with time.
    for number in 100..105 {
        known.watched_folder(number);
    }
    assert_eq!(known.ended().len(), 5);
    known.space.end_idle_watches(known.at(100));
    known.watched_folder(200);
    assert_eq!(known.ended().len(), 1);
    known.space.end_idle_watches(known.at(130_000));
    known.ended();
    let count = (300..315).map(|number| known.watched_folder(number)).count();
    assert!(count - known.ended().len() > 10, "the bound has grown by a quarter");
}

#[test]
fn a_server_with_hardly_any_room_gets_at_least_four_watches() {
    let (mut known, _) = Names::with_watches(1);
    assert_eq!(known.space.end_half_of_watches(known.at(0)), 1);
    assert_eq!(known.space.end_half_of_watches(known.at(0)), 0, "no watch is left");
    known.watched_folder(7);
    assert!(known.space.is_watched(known.directory));
}
