//! Several programs, threads and mounts at the same time.

use crate::support::files::{checksum, copy_tree, names, noise, source_tree, tree};
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, Server, Settings, both_servers};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

both_servers!(
    data_written_through_one_handle_is_read_through_another,
    threads_write_parts_of_one_file,
    readers_never_see_data_that_was_overwritten_before_the_read,
    threads_create_and_delete_files_in_one_folder,
    a_file_closed_on_one_mount_is_read_on_another,
    two_mounts_never_create_the_same_file,
    a_tree_of_3000_files_is_unchanged_after_a_copy_and_back,
    records_that_two_mounts_append_in_turn_are_all_there,
);

fn data_written_through_one_handle_is_read_through_another(kind: Kind) {
    let scene = Scene::on(kind);
    let writer = File::create(scene.here("file")).unwrap();
    let reader = File::open(scene.here("file")).unwrap();
    for round in 0..50_u64 {
        let data = noise(round, 10_000);
        writer.write_all_at(&data, round * 10_000).unwrap();
        let mut read = vec![0; data.len()];
        reader.read_exact_at(&mut read, round * 10_000).unwrap();
        assert!(read == data, "round {round}");
    }
}

fn threads_write_parts_of_one_file(kind: Kind) {
    const PART: usize = 777_777;
    let scene = Scene::on(kind);
    File::create(scene.here("file")).unwrap();
    thread::scope(|scope| {
        for part in 0..8_u64 {
            let path = scene.here("file");
            scope.spawn(move || {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                for (index, piece) in noise(part, PART).chunks(50_000).enumerate() {
                    file.write_all_at(piece, part * PART as u64 + index as u64 * 50_000).unwrap();
                }
            });
        }
    });
    let whole: Vec<u8> = (0..8).flat_map(|part| noise(part, PART)).collect();
    assert!(fs::read(scene.there("file")).unwrap() == whole);
    assert!(fs::read(scene.here("file")).unwrap() == whole);
}

/// A reader sees the data that was written when the read began, or data of a write that began since; never
/// anything older. Reads are not atomic per block: Linux copies pages without a lock.
fn readers_never_see_data_that_was_overwritten_before_the_read(kind: Kind) {
    const BLOCK: usize = 4096;
    const ROUNDS: u8 = 100;
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), vec![0; BLOCK * 16]).unwrap();
    let (begun, ended) = (AtomicU8::new(0), AtomicU8::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let file = File::open(scene.here("file")).unwrap();
                let mut block = vec![0; BLOCK];
                while ended.load(Ordering::SeqCst) < ROUNDS {
                    for number in 0..16 {
                        let oldest = ended.load(Ordering::SeqCst);
                        file.read_exact_at(&mut block, number * BLOCK as u64).unwrap();
                        let newest = begun.load(Ordering::SeqCst);
                        let odd = block.iter().find(|byte| !(oldest..=newest).contains(byte));
                        assert_eq!(odd, None, "between rounds {oldest} and {newest}");
                    }
                }
            });
        }
        let file = OpenOptions::new().write(true).open(scene.here("file")).unwrap();
        for round in 1..=ROUNDS {
            begun.store(round, Ordering::SeqCst);
            for number in 0..16 {
                file.write_all_at(&[round; BLOCK], number * BLOCK as u64).unwrap();
            }
            ended.store(round, Ordering::SeqCst);
        }
    });
    assert!(fs::read(scene.there("file")).unwrap().iter().all(|byte| *byte == ROUNDS));
}

fn threads_create_and_delete_files_in_one_folder(kind: Kind) {
    let scene = Scene::on(kind);
    thread::scope(|scope| {
        for worker in 0..6_u64 {
            let scene = &scene;
            scope.spawn(move || {
                for round in 0..40_u64 {
                    let path = scene.here(format!("{worker}-{round}"));
                    let data = noise(worker * 1000 + round, 3_000);
                    fs::write(&path, &data).unwrap();
                    assert!(fs::read(&path).unwrap() == data);
                    if round % 4 != 0 {
                        fs::remove_file(&path).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(names(&scene.folder).len(), 60);
    assert_eq!(names(scene.mount.path()), names(&scene.folder));
}

/// Close-to-open consistency between clients.
fn a_file_closed_on_one_mount_is_read_on_another(kind: Kind) {
    let scene = Scene::on(kind);
    let other = scene.second_mount();
    for round in 0..10_u64 {
        let data = noise(round, 50_000);
        fs::write(scene.here("file"), &data).unwrap();
        assert!(fs::read(other.join("file")).unwrap() == data, "round {round}");
        let answer = noise(round + 100, 50_000);
        fs::write(other.join("file"), &answer).unwrap();
        assert!(fs::read(scene.here("file")).unwrap() == answer, "round {round}");
    }
    other.unmount();
}

/// Lock files rely on this.
fn two_mounts_never_create_the_same_file(kind: Kind) {
    let scene = Scene::on(kind);
    let other = scene.second_mount();
    for round in 0..30 {
        let name = format!("lock {round}");
        let made = thread::scope(|scope| {
            let tries = [scene.here(&name), other.join(&name)].map(|path| scope.spawn(|| File::create_new(path)));
            tries.map(|attempt| attempt.join().unwrap().is_ok())
        });
        assert!(made[0] != made[1], "round {round}: {made:?}");
    }
    other.unmount();
}

fn a_tree_of_3000_files_is_unchanged_after_a_copy_and_back(kind: Kind) {
    // A server of its own: smb-server 0.8 keeps returning DELETE_PENDING when a new file gets the inode
    // number of a file that another client has just deleted.
    let server = Arc::new(Server::start(kind, Settings::default()));
    let scene = Scene::of(server, |request| request.for_at_most(Duration::from_secs(240)));
    let local = scratch::folder("tree");
    assert_eq!(source_tree(&local.join("source"), 3_000), 3_000);
    copy_tree(&local.join("source"), &scene.here("copy"));
    copy_tree(&scene.here("copy"), &local.join("back"));
    let source = tree(&local.join("source"));
    assert_eq!(source.values().flatten().count(), 3_000);
    assert!(tree(&scene.there("copy")) == source, "on the server's disk");
    assert!(tree(&local.join("back")) == source, "copied back from the mount");
    let sample = "module 1/dépôt-1/source_1.rs";
    assert_eq!(checksum(&scene.here("copy").join(sample)), checksum(&local.join("source").join(sample)));
    fs::remove_dir_all(scene.here("copy")).unwrap();
    assert!(names(&scene.folder).is_empty());
    fs::remove_dir_all(local).unwrap();
}

/// Each record is complete before the other client appends the next one.
fn records_that_two_mounts_append_in_turn_are_all_there(kind: Kind) {
    let scene = Scene::on(kind);
    let other = scene.second_mount();
    fs::write(scene.here("log"), "").unwrap();
    let append = |path| OpenOptions::new().append(true).open(path).unwrap();
    let (here, there) = (append(scene.here("log")), append(other.join("log")));
    let mut expected = String::new();
    for round in 0..40 {
        let record = format!("[{round}]");
        (if round % 2 == 0 { &here } else { &there }).write_all(record.as_bytes()).unwrap();
        expected += &record;
    }
    assert_eq!(fs::read_to_string(scene.there("log")).unwrap(), expected);
    here.set_len(0).unwrap();
    (&there).write_all(b"after the truncation").unwrap();
    drop((here, there));
    let text = fs::read_to_string(scene.there("log")).unwrap();
    assert_eq!(text, "after the truncation");
    other.unmount();
}
