//! Which node a name means, which number it has, and when it is evicted.

use super::*;
use crate::share::Granted;
use crate::vfs::file::Event;
use crate::vfs::file::event::Action;
use crate::vfs::file::handle::Access;

impl Names {
    fn found_in(&mut self, parent: u64, name: &str, metadata: Metadata) -> u64 {
        let before = std::mem::replace(&mut self.directory, parent);
        let ino = self.found(name, metadata, 0);
        self.directory = before;
        ino
    }

    fn rename(&mut self, from: (u64, &str), to: (u64, &str)) {
        let (old, new, now) = (units(from.1), units(to.1), self.at(10));
        self.space.renamed((from.0, &old), (to.0, &new), CLOCK, now);
    }

    /// Opens a handle of a node.
    fn open(&self, ino: u64, handle: u64) {
        let access = Access::from_flags(libc::O_RDWR, CacheMode::Strict).unwrap();
        let (lease, granted) = (LeaseKey(1), Granted::NOTHING);
        let event = Event::Opened { handle, access, open: 1, lease, granted, grid: 1024 };
        assert_eq!(self.space.file(ino).unwrap().lock().on(event, self.start), []);
    }

    /// Closes a handle, and its open at the server if no other handle uses that. Returns whether the file is to be
    /// removed now.
    fn close(&mut self, ino: u64, handle: u64) -> bool {
        {
            let mut file = self.space.file(ino).unwrap().lock();
            for action in file.on(Event::HandleClosed { handle, keep: false }, self.start) {
                let Action::Close { id, .. } = action else { panic!("{action:?}") };
                assert_eq!(file.on(Event::Closed { open: id }, self.start), []);
            }
        }
        !self.space.closed(ino).is_empty()
    }
}

#[test]
fn inode_numbers_are_the_servers_ids_where_these_are_usable() {
    let mut names = Names::strict();
    assert_eq!(names.found("a", file(77), 0), 77);
    for (text, id) in [("none", 0), ("the root's", 1), ("too large", 1 << 63), ("in use", 77)] {
        let ino = names.found(text, file(id), 0);
        assert!(ino > 1 << 63, "{text}");
    }
    assert_eq!(names.space.len(), 6);
    assert_eq!(names.space.number_of(ROOT, &units("a"), 5), 77);
    assert_eq!(names.space.number_of(ROOT, &units("new"), 78), 78);
    assert_eq!(names.space.number_of(ROOT, &units("new"), 77), 0, "another file has it");
}

#[test]
fn paths_follow_renames() {
    let mut names = Names::strict();
    let d = names.found("d", folder(10), 0);
    let a = names.found_in(d, "a", file(11));
    assert_eq!(names.path(a).unwrap(), "\\d\\a");
    names.rename((ROOT, "d"), (ROOT, "e"));
    assert_eq!(names.path(a).unwrap(), "\\e\\a");
    assert_eq!((names.space.at(ROOT, &units("d")), names.space.at(ROOT, &units("e"))), (None, Some(d)));
    assert!(names.space.is_within(a, d) && !names.space.is_within(d, a));
    let e = names.found("other", folder(12), 20);
    names.rename((d, "a"), (e, "b"));
    assert_eq!(names.path(a).unwrap(), "\\other\\b");
    assert_eq!((names.space.parent(a), names.space.parent(ROOT)), (Some(e), None));
}

#[test]
fn a_node_stays_while_it_has_lookups_is_open_or_has_nodes_below_it() {
    let mut names = Names::strict();
    let d = names.found("d", folder(10), 0);
    let a = names.found_in(d, "a", file(11));
    names.open(a, 1);
    names.space.forget(d, 1);
    names.space.forget(a, 1);
    assert_eq!(names.path(a).unwrap(), "\\d\\a");
    assert!(!names.close(a, 1));
    assert_eq!(names.space.len(), 1);
    assert_eq!(names.space.take_effects().dropped.len(), 2, "their cached data is dropped");
}

#[test]
fn the_root_stays_however_many_lookups_are_returned() {
    let mut names = Names::strict();
    names.space.forget(ROOT, 100);
    assert_eq!(names.path(ROOT).unwrap(), "\\");
}

#[test]
fn a_file_replaced_by_another_client_gets_a_new_node_and_the_old_one_has_no_name() {
    let mut names = Names::strict();
    let old = names.found("a", file(10), 0);
    names.open(old, 1);
    let new = names.found("a", file(11), 10);
    assert_ne!(old, new);
    assert_eq!((names.path(old), names.space.at(ROOT, &units("a"))), (None, Some(new)));
    let unwanted_opens: Vec<u64> = names.space.take_effects().unwanted_opens.iter().map(|file| file.ino).collect();
    assert_eq!(unwanted_opens, [old], "its kept open is to be closed");
    names.space.forget(old, 1);
    assert!(names.space.node(old).is_some(), "it is open");
    names.close(old, 1);
    assert!(names.space.node(old).is_none());
}

#[test]
fn a_file_that_this_mount_removed_shows_no_links() {
    let mut names = Names::strict();
    let a = names.found("a", file(10), 0);
    names.open(a, 1);
    names.remove("a", 10);
    let attr = names.space.attr(a, names.at(20)).unwrap();
    assert_eq!((attr.links, names.path(a)), (0, None));
    assert!(!names.space.node(a).unwrap().is_gone(), "it is open");
    names.close(a, 1);
    assert!(names.space.node(a).unwrap().is_gone());
    names.space.forget(a, 1);
    assert!(names.space.node(a).is_none());
}

#[test]
fn a_file_that_is_renamed_over_has_no_name_and_one_renamed_to_itself_keeps_its_name() {
    let mut names = Names::strict();
    let (a, b) = (names.found("a", file(10), 0), names.found("b", file(11), 0));
    names.rename((ROOT, "a"), (ROOT, "b"));
    assert_eq!((names.path(a).as_deref(), names.path(b)), (Some("\\b"), None));
    names.rename((ROOT, "b"), (ROOT, "b"));
    assert_eq!((names.path(a).as_deref(), names.space.at(ROOT, &units("a"))), (Some("\\b"), None));
}

#[test]
fn a_directory_in_place_of_a_file_is_another_node_even_without_ids() {
    let mut names = Names::strict();
    let old = names.found("a", file(0), 0);
    assert_eq!(names.found("a", file(0), 10), old);
    assert_ne!(names.found("a", folder(0), 20), old);
}

#[test]
fn an_inode_number_that_is_used_again_has_another_generation() {
    let mut names = Names::strict();
    let first = names.found("a", file(10), 0);
    let key = names.space.node(first).unwrap().key();
    names.space.forget(first, 1);
    let second = names.found("a", file(10), 10);
    assert_eq!(second, first);
    assert_ne!(names.space.node(second).unwrap().key(), key);
}

#[test]
fn an_answer_that_a_rename_has_overtaken_is_asked_for_again() {
    let mut names = Names::strict();
    let a = names.found("a", file(10), 0);
    let asked = names.asking_about("b", 5);
    names.rename((ROOT, "a"), (ROOT, "b"));
    names.space.absent(ROOT, &units("b"), asked);
    assert_eq!(names.space.at(ROOT, &units("b")), Some(a));
    assert_eq!(names.found_as_of("b", file(99), asked), Admission::Overtaken);
    assert_eq!(names.found_as_of("b", file(10), asked), Admission::Node(a));
}

#[test]
fn an_answer_from_before_the_last_change_is_overtaken_even_when_the_entry_was_dropped() {
    let mut names = Names::unwatchable(CacheMode::Strict, &[]);
    let asked = names.asking_about("a", 0);
    let a = names.create("a", file(10), 5);
    names.remove("a", 10);
    names.space.forget(a, 1);
    names.space.drop_known(ROOT);
    assert_eq!(names.found_as_of("a", file(10), asked), Admission::Overtaken);
    names.list_as_of(&["a"], asked);
    assert_eq!(names.look("a", 20), None, "the listing was asked for before the change too");
}

#[test]
fn a_listing_of_a_directory_that_was_forgotten_meanwhile_is_ignored() {
    let mut names = Names::strict();
    let d = names.found("d", folder(10), 0);
    let asked = names.space.asking(names.at(5));
    names.space.forget(d, 1);
    assert_eq!(names.found("d", folder(10), 10), d);
    names.space.is_unwatchable(d);
    names.directory = d;
    names.list_as_of(&["a"], asked);
    assert_eq!(names.look("a", 20), None);
    names.list(&["a"], 20);
    assert_eq!(names.look("a", 30), Some(true));
}

#[test]
fn an_old_lookup_does_not_shrink_a_file_that_was_written_since() {
    let mut names = Names::strict();
    let a = names.found("a", file(10), 0);
    let asked = names.asking_about("a", 5);
    let event = Event::WroteThrough { end: 100, clock: crate::share::FileTime(0) };
    assert_eq!(names.space.file(a).unwrap().lock().on(event, names.at(6)), []);
    assert_eq!(names.found_as_of("a", file(10), asked), Admission::Node(a));
    assert_eq!(names.space.file(a).unwrap().lock().size(), 100);
}

#[test]
fn a_hidden_file_is_removed_when_its_last_handle_is_closed() {
    let mut names = Names::strict();
    let a = names.found("a", file(10), 0);
    names.open(a, 1);
    names.open(a, 2);
    names.space.hidden((ROOT, &units("a")), (ROOT, &units(".hidden")), CLOCK, names.at(10));
    assert_eq!(names.space.attr(a, names.at(20)).unwrap().links, 0);
    assert!(!names.close(a, 1));
    assert!(names.close(a, 2));
    assert_eq!(names.path(a).unwrap(), "\\.hidden", "the path by which it is removed");
}

#[test]
fn what_has_the_id_of_a_node_and_another_time_of_creation_may_be_of_the_same_file() {
    let mut names = Names::strict();
    let d = names.found("d", folder(10), 0);
    let a = names.found_in(d, "a", file(11));
    let later = |metadata: Metadata| Metadata { created: FileTime(metadata.created.0 + 1), ..metadata };
    let twin = |parent, name: &str, found: Metadata| names.space.doubtful_twin(parent, &units(name), &found);
    assert_eq!(twin(d, "self", later(folder(10))), Some(d), "a folder below itself");
    assert_eq!(twin(ROOT, "b", later(file(11))), Some(a), "another name of a file");
    assert_eq!(twin(d, "a", later(file(11))), None, "the name itself");
    assert_eq!(twin(ROOT, "b", file(11)), None, "certainly the same file");
    assert_eq!(twin(ROOT, "b", later(folder(11))), None, "of another kind");
    assert_eq!(twin(ROOT, "b", later(file(12))), None, "of another id");
}

#[test]
fn a_file_whose_id_alone_changes_is_the_same_and_ids_do_not_count_any_more() {
    let mut names = Names::strict();
    let a = names.found("a", file(10), 0);
    assert_eq!(names.found("a", Metadata { file_id: 20, ..file(10) }, 10), a);
    assert!(names.found("b", file(30), 20) > 1 << 63);
}

#[test]
fn a_file_under_another_name_is_recognised_by_id_and_creation_time() {
    let mut names = Names::strict();
    let (d, a) = (names.found("d", folder(10), 0), names.found("a", file(11), 0));
    let elsewhere = |names: &Names, parent, name: &str, found| names.space.elsewhere(parent, &units(name), &found);
    assert_eq!(elsewhere(&names, ROOT, "b", file(11)), Some(a));
    assert_eq!(elsewhere(&names, d, "b", file(11)), Some(a));
    assert_eq!(elsewhere(&names, ROOT, "b", Metadata { created: FileTime(9), ..file(11) }), None, "a later file");
    assert_eq!(elsewhere(&names, ROOT, "b", folder(11)), None);
    assert_eq!(elsewhere(&names, ROOT, "A", file(11)), None, "another spelling");
    assert_eq!(elsewhere(&names, d, "d", folder(10)), None, "not below itself");
    names.found("b", file(12), 10);
    assert_eq!(elsewhere(&names, ROOT, "b", file(11)), None, "the name means another file");
}

#[test]
fn attributes_of_a_file_stay_with_its_name_when_the_kernel_forgets_it() {
    let mut names = Names::unwatchable(CacheMode::Strict, &["a"]);
    let found = Metadata { size: 99, ..file(10) };
    let a = names.found("a", found, 10);
    names.space.forget(a, 1);
    let now = names.at(20);
    let Some(Known::File(attr)) = names.space.known(ROOT, &units("a"), now) else { panic!("it is known") };
    assert_eq!((attr.ino, attr.size), (a, 99));
    names.space.doubt(a, now);
    names.space.forget(a, 1);
    assert_eq!(names.look("a", 30), None, "its attributes were in doubt");
}
