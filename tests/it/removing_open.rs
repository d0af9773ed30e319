//! Removing and replacing files that are open, at another client or here. The name is free at once, the open handles
//! still work, and no hidden file is left on the server.

use crate::support::files::{names, noise};
use crate::support::mount::Request;
use crate::support::new_samba::both_sambas;
use crate::support::pair::Pair;
use crate::support::processes::is_running;
use crate::support::scene::Scene;
use crate::support::server::Kind;
use crate::support::wait_until;
use rustix::process::Signal;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

both_sambas!(
    a_file_that_another_client_reads_is_removed_and_its_name_is_free,
    a_folder_with_files_that_are_open_here_is_removed,
    a_name_always_exists_while_its_open_file_is_replaced,
    a_killed_client_leaves_nothing_of_a_file_that_was_removed_while_open,
    a_killed_client_leaves_nothing_of_a_file_that_was_replaced_while_open,
);

const SOON: Duration = Duration::from_secs(20);
const LARGE: usize = 3_000_000;

/// Waits until a folder contains exactly these names, hidden ones included.
#[track_caller]
fn only(folder: &Path, wanted: &[&str]) {
    wait_until(SOON, || names(folder) == wanted);
    assert_eq!(names(folder), wanted, "in {}", folder.display());
}

fn written(path: &Path, data: &[u8]) {
    fs::write(path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What gets the name of the removed file.
const ANEW: [&str; 3] = ["a file", "a folder", "another file, by a rename"];

fn a_file_that_another_client_reads_is_removed_and_its_name_is_free(kind: Kind) {
    let pair = Pair::on(kind);
    let (here, other, there) = (pair.here("file"), pair.other("file"), pair.there("file"));
    for (round, anew) in ANEW.iter().cycle().enumerate().take(12) {
        let old = noise(round as u64, if round < 6 { LARGE } else { 10 });
        written(&here, &old);
        assert!(wait_until(SOON, || fs::read(&other).is_ok_and(|read| read == old)), "round {round}");
        let mut open = File::open(&other).unwrap();
        let mut begin = vec![0; 5];
        open.read_exact(&mut begin).unwrap();

        fs::remove_file(&here).unwrap_or_else(|error| panic!("round {round}: rm: {error}"));
        let made = match *anew {
            "a file" => fs::write(&here, "new"),
            "a folder" => fs::create_dir(&here),
            _ => fs::write(pair.here("new"), "new").and_then(|()| fs::rename(pair.here("new"), &here)),
        };
        made.unwrap_or_else(|error| panic!("round {round}: {anew} in its place: {error}"));

        open.read_to_end(&mut begin).unwrap_or_else(|error| panic!("round {round}: the open file: {error}"));
        assert!(begin == old, "round {round}: the open file reads {} bytes of {}", begin.len(), old.len());
        drop(open);
        only(&pair.scene.folder, &["file"]);
        if *anew == "a folder" {
            assert_eq!(names(&there), Vec::<String>::new());
            fs::remove_dir(&here).unwrap();
        } else {
            assert_eq!(fs::read(&there).unwrap(), b"new", "round {round}");
            fs::remove_file(&here).unwrap();
        }
    }
    pair.end();
}

/// Like `rm -rf`: the files first, then the folder.
fn a_folder_with_files_that_are_open_here_is_removed(kind: Kind) {
    let scene = Scene::on(kind);
    let folder = scene.here("folder");
    for open in [&["file"][..], &["file", "other", "third"], &["file", "deep/er/file", "deep/file"]] {
        for write in [false, true] {
            let how = format!("{open:?}, open for writing: {write}");
            fs::create_dir_all(folder.join("deep/er")).unwrap();
            let files: Vec<File> = open
                .iter()
                .map(|name| {
                    written(&folder.join(name), b"content");
                    OpenOptions::new().read(true).write(write).open(folder.join(name)).unwrap()
                })
                .collect();
            fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("rm -rf, {how}: {error}"));
            fs::create_dir(&folder).unwrap_or_else(|error| panic!("mkdir, {how}: {error}"));
            written(&folder.join("file"), b"new");
            for file in &files {
                let mut text = [0; 7];
                file.read_exact_at(&mut text, 0).unwrap_or_else(|error| panic!("read, {how}: {error}"));
                assert_eq!(&text, b"content", "{how}");
                if write {
                    file.write_all_at(b"CON", 0).and_then(|()| file.sync_all()).unwrap();
                    file.read_exact_at(&mut text, 0).unwrap();
                    assert_eq!(&text, b"CONtent", "{how}");
                }
            }
            drop(files);
            only(&scene.folder, &["folder"]);
            only(&scene.there("folder"), &["file"]);
            assert_eq!(fs::read(scene.there("folder/file")).unwrap(), b"new", "{how}");
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    scene.mount.unmount();
}

/// Looks up or opens the name in a loop until `done`. Returns the number of attempts, and the number of those that
/// found no name.
///
/// ESTALE does not count as missing: a program gets it if the file was replaced between the lookup and the open, and
/// again during the kernel's one retry. The name existed all the time.
fn watch(path: &Path, done: &AtomicBool) -> (usize, usize) {
    let look = |open: bool| if open { File::open(path).map(drop) } else { fs::metadata(path).map(drop) };
    let is_stale = |error: &io::Error| error.kind() == ErrorKind::StaleNetworkFileHandle;
    let (mut looks, mut gaps) = (0, 0);
    while !done.load(Ordering::SeqCst) {
        let mut found = look(looks % 2 == 0);
        for _ in 0..3 {
            if found.as_ref().is_err_and(is_stale) {
                found = look(looks % 2 == 0);
            }
        }
        match found {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => gaps += 1,
            Err(error) => panic!("{}: {error}", path.display()),
        }
        looks += 1;
    }
    (looks, gaps)
}

/// Another client, and a program on the server's disk, look at the name all the time.
fn a_name_always_exists_while_its_open_file_is_replaced(kind: Kind) {
    const TIMES: usize = 300;
    let pair = Pair::on(kind);
    written(&pair.here("file"), b"content 0");
    assert!(wait_until(SOON, || pair.other("file").exists()));
    let (done, replaced) = (AtomicBool::new(false), AtomicUsize::new(0));
    let replace = || {
        for number in 0..TIMES {
            let write = number % 2 == 1;
            let open = OpenOptions::new().read(true).write(write).open(pair.here("file")).unwrap();
            if write {
                open.write_all_at(b"CON", 0).unwrap();
            }
            written(&pair.here("new"), format!("content {}", number + 1).as_bytes());
            fs::rename(pair.here("new"), pair.here("file")).unwrap_or_else(|error| panic!("mv {number}: {error}"));
            let mut text = String::new();
            (&open).read_to_string(&mut text).unwrap();
            let begin = if write { "CON" } else { "con" };
            assert_eq!(text, format!("{begin}tent {number}"), "the open file must be readable");
            replaced.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (client, disk) = thread::scope(|scope| {
        let client = scope.spawn(|| watch(&pair.other("file"), &done));
        let disk = scope.spawn(|| watch(&pair.there("file"), &done));
        let replacing = scope.spawn(replace);
        let replaced = replacing.join();
        done.store(true, Ordering::SeqCst);
        replaced.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (client.join().unwrap(), disk.join().unwrap())
    });
    assert_eq!(replaced.into_inner(), TIMES);
    eprintln!("{TIMES} replacements, (looks, gaps): the other client {client:?}, the disk {disk:?}");
    assert!(client.0 > 0 && disk.0 > 0, "no attempts were made");
    assert_eq!((client.1, disk.1), (0, 0), "the name was missing, at the other client and on the disk");
    only(&pair.scene.folder, &["file"]);
    pair.end();
}

/// Kills the process of the mount and waits for its end.
fn killed(scene: &mut Scene) {
    scene.mount.signal(Signal::KILL);
    let pid = scene.mount.process();
    assert!(wait_until(SOON, || !is_running(pid)), "the process survived SIGKILL");
}

fn a_killed_client_leaves_nothing_of_a_file_that_was_removed_while_open(kind: Kind) {
    let mut scene = Scene::on(kind);
    let other = Request::new(scene.url()).mount();
    fs::create_dir(scene.here("folder")).unwrap();
    written(&scene.here("folder/file"), b"secret");
    written(&scene.here("folder/other"), b"text");
    let open = File::open(scene.here("folder/file")).unwrap();
    let mut write = OpenOptions::new().write(true).open(scene.here("folder/other")).unwrap();
    write.write_all(b"more").unwrap();
    fs::remove_file(scene.here("folder/file")).unwrap();
    fs::remove_file(scene.here("folder/other")).unwrap();
    assert!(wait_until(SOON, || other.join("folder").is_dir()));
    let shown = || names(&other.join("folder"));
    assert!(wait_until(SOON, || shown().is_empty()), "while they are open, another client sees {:?}", shown());

    killed(&mut scene);
    drop((open, write));
    let removed = || fs::remove_dir_all(other.join("folder"));
    // The server learns that the client is gone from the end of the connection.
    let mut last = removed();
    wait_until(SOON, || {
        last = if last.is_err() { removed() } else { Ok(()) };
        last.is_ok()
    });
    let left = fs::read_dir(scene.there("folder")).map(|_| names(&scene.there("folder")));
    assert!(last.is_ok(), "rm -r of the folder: {last:?}; seen: {:?}; on the server: {left:?}", shown());
    only(&scene.folder, &[]);
    other.unmount();
}

fn a_killed_client_leaves_nothing_of_a_file_that_was_replaced_while_open(kind: Kind) {
    let mut scene = Scene::on(kind);
    for number in 0..10 {
        written(&scene.here(format!("{number}")), b"old");
    }
    let open: Vec<File> = (0..10)
        .map(|number| {
            let name = scene.here(format!("{number}"));
            let file = OpenOptions::new().read(true).write(number % 2 == 1).open(&name).unwrap();
            written(&scene.here("new"), b"new");
            fs::rename(scene.here("new"), &name).unwrap();
            file
        })
        .collect();
    let wanted: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    killed(&mut scene);
    drop(open);
    wait_until(SOON, || names(&scene.folder) == wanted);
    assert_eq!(names(&scene.folder), wanted, "the names on the server's disk after the kill");
    for name in &wanted {
        assert_eq!(fs::read(scene.there(name)).unwrap(), b"new");
    }
}
