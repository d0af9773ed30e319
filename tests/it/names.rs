//! File names: Unicode, names that Windows reserves, and names that no server can store.

use crate::command_line::encoded;
use crate::support::files::names;
use crate::support::mount::Request;
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

both_servers!(
    unicode_names_are_the_same_on_the_mount_and_on_the_server,
    names_that_windows_reserves_are_stored_as_mac_clients_store_them,
    reserved_names_stored_by_a_mac_client_are_shown_decoded,
    folders_can_have_names_that_windows_reserves,
    a_name_that_is_not_utf8_is_refused,
    the_url_can_name_a_folder_with_special_characters,
    every_folder_of_a_mount_can_be_mounted_itself,
);

fn unicode_names_are_the_same_on_the_mount_and_on_the_server(kind: Kind) {
    let scene = Scene::on(kind);
    let mut made = vec![
        "übergröße",
        "日本語のファイル",
        "Ελληνικά",
        "русский",
        "עברית",
        "🦀 crab 👩‍👩‍👧",
        "e\u{301} (two parts)",
        "é (one part)",
        "100% [a] {b} #1 & 'c' ;d=e,f+g!~@^`$()",
        ".hidden",
        "...three dots first",
        " space first",
    ];
    for name in &made {
        fs::write(scene.here(name), name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    made.sort_unstable();
    assert_eq!(names(scene.mount.path()), made);
    assert_eq!(names(&scene.folder), made, "on the server's disk");
    for name in &made {
        assert_eq!(fs::read_to_string(scene.here(name)).unwrap(), *name);
    }
}

/// Names that POSIX allows and SMB does not, each with the name stored on the server. Reserved characters are
/// mapped to the Unicode private use area, as introduced by Services for Macintosh and used by macOS, Samba's
/// vfs_fruit and cifs.ko.
const RESERVED: [(&str, &str); 11] = [
    ("a:b", "a\u{f022}b"),
    ("a*b", "a\u{f021}b"),
    ("a?b", "a\u{f025}b"),
    ("a\"b", "a\u{f020}b"),
    ("a<b", "a\u{f023}b"),
    ("a>b", "a\u{f024}b"),
    ("a|b", "a\u{f027}b"),
    ("a\\b", "a\u{f026}b"),
    ("space at the end ", "space at the end\u{f028}"),
    ("dot at the end.", "dot at the end\u{f029}"),
    ("a\tb\u{1}c", "a\u{f009}b\u{f001}c"),
];

fn names_that_windows_reserves_are_stored_as_mac_clients_store_them(kind: Kind) {
    let scene = Scene::on(kind);
    for (name, _) in RESERVED {
        fs::write(scene.here(name), name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    assert_eq!(names(scene.mount.path()), sorted(RESERVED.map(|(name, _)| name).to_vec()));
    assert_eq!(names(&scene.folder), sorted(RESERVED.map(|(_, stored)| stored).to_vec()));
    for (name, _) in RESERVED {
        assert_eq!(fs::read_to_string(scene.here(name)).unwrap(), name);
        fs::remove_file(scene.here(name)).unwrap();
    }
    assert!(names(&scene.folder).is_empty());
}

fn reserved_names_stored_by_a_mac_client_are_shown_decoded(kind: Kind) {
    let scene = Scene::on(kind);
    for (name, stored) in RESERVED {
        fs::write(scene.there(stored), name).unwrap();
    }
    for name in names(scene.mount.path()) {
        assert_eq!(fs::read_to_string(scene.here(&name)).unwrap(), name);
    }
}

fn folders_can_have_names_that_windows_reserves(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("12:30/what?")).unwrap();
    fs::write(scene.here("12:30/what?/file"), "x").unwrap();
    fs::rename(scene.here("12:30"), scene.here("12:45.")).unwrap();
    assert_eq!(fs::read(scene.here("12:45./what?/file")).unwrap(), b"x");
    fs::remove_dir_all(scene.here("12:45.")).unwrap();
    assert!(names(&scene.folder).is_empty());
}

fn a_name_that_is_not_utf8_is_refused(kind: Kind) {
    let scene = Scene::on(kind);
    let made = fs::write(scene.here(OsStr::from_bytes(b"bad \xff name")), "x");
    let error = Errno::from_io_error(&made.unwrap_err());
    assert!(matches!(error, Some(Errno::ILSEQ | Errno::INVAL)), "{error:?}");
    assert!(names(&scene.folder).is_empty());
}

fn the_url_can_name_a_folder_with_special_characters(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.there("50% été & more/in+side")).unwrap();
    fs::write(scene.there("50% été & more/in+side/file"), "x").unwrap();
    let mount = Request::new(format!("{}/50%25%20%C3%A9t%C3%A9%20%26%20more/in+side/", scene.url())).mount();
    assert_eq!(names(mount.path()), ["file"]);
    mount.unmount();
}

/// The URL names a folder as the mount shows it, not as it is stored on the server.
fn every_folder_of_a_mount_can_be_mounted_itself(kind: Kind) {
    let scene = Scene::on(kind);
    let shown = RESERVED.map(|(name, _)| name).into_iter().chain(["\u{7f}", "...", " ", "C1 \u{80}", "100%25"]);
    for name in shown {
        fs::create_dir_all(scene.here(name).join("in it?")).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        fs::write(scene.here(name).join("in it?/file"), name).unwrap();
        let mount = Request::new(format!("{}/{}/in%20it%3F", scene.url(), encoded(name))).arg("--ro").mount();
        assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), name);
        mount.unmount();
    }
    let too_long = Request::new(format!("{}/{}", scene.url(), "x".repeat(256)));
    too_long.fails(32).says("path: ").says("longer than 255");
}
