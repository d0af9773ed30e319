use super::*;
use crate::config::CacheMode;
use crate::share::{FileTime, Granted, LeaseKey};
use crate::vfs::file::Event;
use crate::vfs::file::event::Action;
use crate::vfs::file::handle::Access;

const TIMEOUT: Duration = Duration::from_secs(1);

fn file(file_id: u64) -> Metadata {
    Metadata { file_id, created: FileTime(file_id + 1), ..Metadata::default() }
}

fn directory(file_id: u64) -> Metadata {
    Metadata { attributes: Attributes(Attributes::DIRECTORY), ..file(file_id) }
}

fn name(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// As if the server had been asked and had answered at once.
fn admit(inodes: &mut Inodes<u32>, parent: u64, text: &str, metadata: Metadata) -> u64 {
    let before = inodes.glimpse(parent, &name(text));
    match inodes.admit(parent, &name(text), metadata, before, Instant::now()) {
        Admission::Node(ino) => ino,
        Admission::Overtaken => panic!("nothing came between"),
    }
}

/// A handle of a node is open from now on.
fn open(inodes: &Inodes<u32>, ino: u64, handle: u64) {
    let access = Access::from_flags(libc::O_RDWR, CacheMode::Strict).unwrap();
    let (lease, granted) = (LeaseKey(1), Granted::NOTHING);
    let event = Event::Opened { handle, access, open: 1, lease, granted, grid: 1024 };
    assert_eq!(inodes.file(ino).unwrap().lock().on(event, Instant::now()), []);
}

/// And here it is closed, at the server as well if it was the last of its open.
fn close(inodes: &mut Inodes<u32>, ino: u64, handle: u64) -> Option<RemotePath> {
    {
        let mut file = inodes.file(ino).unwrap().lock();
        let closes = file.on(Event::HandleClosed { handle, keep: false }, Instant::now());
        for action in closes {
            let Action::Close { id, .. } = action else { panic!("{action:?}") };
            assert_eq!(file.on(Event::Closed { open: id }, Instant::now()), []);
        }
    }
    inodes.closed(ino, &RemotePath::root())
}

fn path(inodes: &Inodes<u32>, ino: u64) -> Option<String> {
    inodes.path(ino, &RemotePath::root()).map(|path| path.to_string())
}

#[test]
fn numbers_are_the_servers_where_they_can_be() {
    let mut inodes = Inodes::new();
    assert_eq!(admit(&mut inodes, ROOT, "a", file(77)), 77);
    for (text, id) in [("none", 0), ("the root's", 1), ("too large", 1 << 63), ("taken", 77)] {
        let ino = admit(&mut inodes, ROOT, text, file(id));
        assert!(ino > 1 << 63, "{text}");
    }
    assert_eq!(inodes.len(), 6);
}

#[test]
fn paths_follow_renames() {
    let mut inodes = Inodes::new();
    let d = admit(&mut inodes, ROOT, "d", directory(10));
    let a = admit(&mut inodes, d, "a", file(11));
    assert_eq!(path(&inodes, a).unwrap(), "\\d\\a");
    inodes.relocate(d, ROOT, &name("e"), Instant::now());
    assert_eq!(path(&inodes, a).unwrap(), "\\e\\a");
    assert_eq!((inodes.at(ROOT, &name("d")), inodes.at(ROOT, &name("e"))), (None, Some(d)));
    assert!(inodes.is_within(a, d) && !inodes.is_within(d, a));
}

#[test]
fn a_node_stays_while_it_is_looked_up_open_or_lived_in() {
    let mut inodes = Inodes::new();
    let d = admit(&mut inodes, ROOT, "d", directory(10));
    let a = admit(&mut inodes, d, "a", file(11));
    open(&inodes, a, 1);
    inodes.forget(d, 1);
    inodes.forget(a, 1);
    assert_eq!(path(&inodes, a).unwrap(), "\\d\\a");
    assert_eq!(close(&mut inodes, a, 1), None);
    assert_eq!(inodes.len(), 1);
    assert_eq!(inodes.take_stale().len(), 2, "nothing of them stays cached");
}

#[test]
fn the_root_stays_whatever_is_forgotten() {
    let mut inodes = Inodes::new();
    inodes.forget(ROOT, 100);
    assert_eq!(path(&inodes, ROOT).unwrap(), "\\");
}

#[test]
fn a_replaced_entry_is_another_node_and_the_old_one_has_no_place() {
    let mut inodes = Inodes::new();
    let old = admit(&mut inodes, ROOT, "a", file(10));
    open(&inodes, old, 1);
    let new = admit(&mut inodes, ROOT, "a", file(11));
    assert_ne!(old, new);
    assert_eq!((path(&inodes, old), inodes.at(ROOT, &name("a"))), (None, Some(new)));
    inodes.forget(old, 1);
    assert!(inodes.get(old).is_some(), "it is open");
    close(&mut inodes, old, 1);
    assert!(inodes.get(old).is_none());
}

#[test]
fn a_directory_in_place_of_a_file_is_another_node_even_without_ids() {
    let mut inodes = Inodes::new();
    let old = admit(&mut inodes, ROOT, "a", file(0));
    assert_eq!(admit(&mut inodes, ROOT, "a", file(0)), old);
    assert_ne!(admit(&mut inodes, ROOT, "a", directory(0)), old);
}

#[test]
fn a_number_that_comes_back_has_another_generation() {
    let mut inodes = Inodes::new();
    let first = admit(&mut inodes, ROOT, "a", file(10));
    let key = inodes.get(first).unwrap().key();
    inodes.forget(first, 1);
    let second = admit(&mut inodes, ROOT, "a", file(10));
    assert_eq!(second, first);
    assert_ne!(inodes.get(second).unwrap().key(), key);
}

#[test]
fn an_answer_that_a_rename_has_overtaken_is_asked_for_again() {
    let mut inodes = Inodes::new();
    let a = admit(&mut inodes, ROOT, "a", file(10));
    let before = inodes.glimpse(ROOT, &name("b"));
    inodes.relocate(a, ROOT, &name("b"), Instant::now());
    inodes.vanished(ROOT, &name("b"), before);
    assert_eq!(inodes.at(ROOT, &name("b")), Some(a));
    assert_eq!(inodes.admit(ROOT, &name("b"), file(99), before, Instant::now()), Admission::Overtaken);
    assert_eq!(inodes.admit(ROOT, &name("b"), file(10), before, Instant::now()), Admission::Node(a));
}

#[test]
fn a_lookup_that_is_old_does_not_shrink_what_was_written_since() {
    let mut inodes = Inodes::new();
    let a = admit(&mut inodes, ROOT, "a", file(10));
    let before = inodes.glimpse(ROOT, &name("a"));
    assert_eq!(inodes.file(a).unwrap().lock().on(Event::WroteThrough { end: 100 }, Instant::now()), []);
    assert_eq!(inodes.admit(ROOT, &name("a"), file(10), before, Instant::now()), Admission::Node(a));
    assert_eq!(inodes.file(a).unwrap().lock().size(), 100);
}

#[test]
fn the_last_handle_of_a_hidden_file_says_what_to_remove() {
    let mut inodes = Inodes::new();
    let a = admit(&mut inodes, ROOT, "a", file(10));
    open(&inodes, a, 1);
    open(&inodes, a, 2);
    inodes.relocate(a, ROOT, &name(".hidden"), Instant::now());
    inodes.get_mut(a).unwrap().hidden = true;
    assert_eq!(close(&mut inodes, a, 1), None);
    let remove = close(&mut inodes, a, 2);
    assert_eq!(remove.unwrap().to_string(), "\\.hidden");
    assert_eq!(inodes.at(ROOT, &name(".hidden")), None);
}

#[test]
fn a_file_whose_id_alone_changes_is_the_same_and_ids_are_no_longer_believed() {
    let mut inodes = Inodes::new();
    let a = admit(&mut inodes, ROOT, "a", file(10));
    let same = Metadata { file_id: 20, ..file(10) };
    assert_eq!(admit(&mut inodes, ROOT, "a", same), a);
    assert!(admit(&mut inodes, ROOT, "b", file(30)) > 1 << 63);
}

#[test]
fn what_the_kernel_may_believe_ends_with_the_timeout() {
    let mut inodes = Inodes::new();
    let a = admit(&mut inodes, ROOT, "a", file(10));
    let show = Presentation { uid: 0, gid: 0, file_mode: 0o644, dir_mode: 0o755, block_size: 4096 };
    let now = Instant::now();
    assert!(inodes.attr(a, &show, now, TIMEOUT, None).unwrap().ttl > Duration::ZERO);
    assert_eq!(inodes.attr(a, &show, now + TIMEOUT * 2, TIMEOUT, None).unwrap().ttl, Duration::ZERO);
}
