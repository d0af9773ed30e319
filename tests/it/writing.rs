//! Writing files in every way: afterwards the data is on the server.

use crate::support::files::{checksum, fails_with, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

both_servers!(
    written_data_is_on_the_server_after_close,
    written_data_is_on_the_server_after_fsync,
    written_data_is_read_back_before_the_file_is_closed,
    appended_data_is_at_the_end_of_the_file,
    two_handles_that_append_in_turn_lose_no_data,
    the_middle_can_be_overwritten,
    a_gap_reads_as_zeros,
    a_file_can_be_made_shorter_and_longer,
    a_file_can_be_truncated_by_its_name,
    opening_with_o_trunc_empties_the_file,
    a_dot_file_can_be_emptied,
    writing_in_odd_pieces_gives_the_same_bytes,
    random_writes_and_reads_agree_with_a_local_file,
    data_beyond_4_gib_does_not_overwrite_other_data,
    writing_through_a_read_only_handle_fails,
    cp_keeps_the_content,
    mapped_pages_of_a_file_that_is_open_to_append_stay_where_they_are,
    a_handle_appends_as_its_flags_say_at_the_moment,
);

fn written_data_is_on_the_server_after_close(kind: Kind) {
    let scene = Scene::on(kind);
    for length in [0, 1, 4096, 65_537, (1 << 20) + 1, 5_000_003] {
        let data = noise(length as u64, length);
        fs::write(scene.here("file"), &data).unwrap();
        assert!(fs::read(scene.there("file")).unwrap() == data, "{length} bytes");
        assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), length as u64);
    }
}

fn written_data_is_on_the_server_after_fsync(kind: Kind) {
    let scene = Scene::on(kind);
    let mut file = File::create(scene.here("file")).unwrap();
    for round in 1..=3 {
        file.write_all(&noise(round, 300_001)).unwrap();
        file.sync_all().unwrap();
        assert_eq!(fs::metadata(scene.there("file")).unwrap().len(), round * 300_001);
    }
    file.sync_data().unwrap();
    File::open(scene.mount.path()).unwrap().sync_all().unwrap();
}

fn written_data_is_read_back_before_the_file_is_closed(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(6, 2_500_000);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    file.write_all(&data).unwrap();
    assert_eq!(file.metadata().unwrap().len(), data.len() as u64);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == data);
    assert!(fs::read(scene.here("file")).unwrap() == data, "through another handle");
}

fn appended_data_is_at_the_end_of_the_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("log"), "begun\n").unwrap();
    for number in 0..20 {
        let mut log = OpenOptions::new().append(true).open(scene.here("log")).unwrap();
        writeln!(log, "line {number}").unwrap();
    }
    let text = fs::read_to_string(scene.there("log")).unwrap();
    assert_eq!(text.lines().count(), 21);
    assert!(text.starts_with("begun\nline 0\n") && text.ends_with("line 19\n"));
}

fn two_handles_that_append_in_turn_lose_no_data(kind: Kind) {
    let scene = Scene::on(kind);
    let open = || OpenOptions::new().append(true).create(true).open(scene.here("log")).unwrap();
    let (mut first, mut second) = (open(), open());
    for _ in 0..10 {
        first.write_all(b"a").unwrap();
        second.write_all(b"b").unwrap();
    }
    drop((first, second));
    assert_eq!(fs::read_to_string(scene.there("log")).unwrap(), "ab".repeat(10));
}

fn the_middle_can_be_overwritten(kind: Kind) {
    let scene = Scene::on(kind);
    let mut data = noise(7, 3_000_000);
    fs::write(scene.there("file"), &data).unwrap();
    let file = OpenOptions::new().write(true).open(scene.here("file")).unwrap();
    for (at, length) in [(0, 10), (999_990, 100), (1 << 20, 4096), (2_000_001, 123_457), (2_999_999, 1)] {
        let piece = noise(at as u64, length);
        file.write_all_at(&piece, at as u64).unwrap();
        data[at..at + length].copy_from_slice(&piece);
    }
    drop(file);
    assert!(fs::read(scene.there("file")).unwrap() == data);
    assert!(fs::read(scene.here("file")).unwrap() == data);
}

fn a_gap_reads_as_zeros(kind: Kind) {
    let scene = Scene::on(kind);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", 3_000_000).unwrap();
    let mut gap = vec![1; 2_000_000];
    file.read_exact_at(&mut gap, 500_000).unwrap();
    assert!(gap.iter().all(|byte| *byte == 0));
    drop(file);
    let there = fs::read(scene.there("file")).unwrap();
    assert_eq!(there.len(), 3_000_003);
    assert!(there.starts_with(b"begin\0") && there.ends_with(b"\0end"));
    assert!(there[5..3_000_000].iter().all(|byte| *byte == 0));
}

fn a_file_can_be_made_shorter_and_longer(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(8, 200_000);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    file.write_all_at(&data, 0).unwrap();
    file.set_len(150_001).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 150_001);
    file.set_len(180_000).unwrap();
    let mut read = vec![1; 180_000];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read[..150_001] == data[..150_001]);
    assert!(read[150_001..].iter().all(|byte| *byte == 0), "bytes that were truncated are readable again");
    drop(file);
    assert!(fs::read(scene.there("file")).unwrap() == read);
}

fn a_file_can_be_truncated_by_its_name(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "0123456789").unwrap();
    let path = scene.here("file");
    let cut = |length| {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        rustix::fs::ftruncate(&file, length).unwrap();
    };
    assert_eq!(fs::read(&path).unwrap(), b"0123456789");
    cut(4);
    assert_eq!(fs::read(&path).unwrap(), b"0123");
    cut(6);
    assert_eq!(fs::read(&path).unwrap(), b"0123\0\0");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path that lives through the call.
    assert_eq!(unsafe { libc::truncate(name.as_ptr(), 2) }, 0);
    assert_eq!(fs::read(&path).unwrap(), b"01");
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"01");
}

/// Samba gives dot files the hidden attribute, and a server refuses an open with an overwriting disposition
/// of a hidden file.
fn a_dot_file_can_be_emptied(kind: Kind) {
    let scene = Scene::on(kind);
    for content in ["long content", "short"] {
        fs::write(scene.here(".profile"), content).unwrap();
        assert_eq!(fs::read(scene.there(".profile")).unwrap(), content.as_bytes());
    }
}

fn opening_with_o_trunc_empties_the_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), noise(9, 100_000)).unwrap();
    assert_eq!(fs::read(scene.here("file")).unwrap().len(), 100_000);
    let file = File::create(scene.here("file")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(fs::metadata(scene.there("file")).unwrap().len(), 0);
    drop(file);
    assert!(fs::read(scene.here("file")).unwrap().is_empty());
}

fn writing_in_odd_pieces_gives_the_same_bytes(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(10, 1_500_007);
    let mut file = File::create(scene.here("file")).unwrap();
    let (mut rest, mut size) = (&data[..], 1);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        file.write_all(piece).unwrap();
        rest = after;
        size = size * 3 % 70_001 + 1;
    }
    drop(file);
    assert!(fs::read(scene.there("file")).unwrap() == data);
}

/// The same random operations on a file of the mount and on a local file; the two must never differ.
fn random_writes_and_reads_agree_with_a_local_file(kind: Kind) {
    let scene = Scene::on(kind);
    let open = |path| OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    let local = crate::support::scratch::folder("local").join("file");
    let files = [open(scene.here("file")), open(local.clone())];
    let choices = noise(kind as u64, 400 * 4);
    for (round, choice) in choices.chunks(4).enumerate() {
        let at = u64::from(choice[0]) * 9_001;
        let length = usize::from(choice[1]) * 251;
        match choice[2] % 8 {
            0..4 => {
                let data = noise(round as u64, length);
                files.iter().for_each(|file| file.write_all_at(&data, at).unwrap());
            }
            4..7 => {
                let read = files.each_ref().map(|file| {
                    let mut buffer = vec![0; length];
                    let count = file.read_at(&mut buffer, at).unwrap();
                    buffer.truncate(count);
                    buffer
                });
                assert!(read[0] == read[1], "round {round}: different bytes at {at}");
            }
            _ => files.iter().for_each(|file| file.set_len(at).unwrap()),
        }
        let lengths = files.each_ref().map(|file| file.metadata().unwrap().len());
        assert_eq!(lengths[0], lengths[1], "round {round}");
    }
    drop(files);
    assert_eq!(checksum(&scene.there("file")), checksum(&local));
}

fn data_beyond_4_gib_does_not_overwrite_other_data(kind: Kind) {
    const GIB: u64 = 1 << 30;
    let scene = Scene::on(kind);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("image")).unwrap();
    let pieces = [0, GIB, 2 * GIB - 3, 4 * GIB - 5, 4 * GIB + GIB / 2, 5 * GIB];
    for at in pieces {
        file.write_all_at(&noise(at, 10_000), at).unwrap();
    }
    file.sync_all().unwrap();
    assert_eq!(fs::metadata(scene.there("image")).unwrap().len(), 5 * GIB + 10_000);
    drop(file);
    assert_eq!(fs::metadata(scene.here("image")).unwrap().len(), 5 * GIB + 10_000);
    let (here, there) = (File::open(scene.here("image")).unwrap(), File::open(scene.there("image")).unwrap());
    for at in pieces {
        for file in [&here, &there] {
            let mut read = vec![0; 10_000];
            file.read_exact_at(&mut read, at).unwrap();
            assert!(read == noise(at, 10_000), "at {at}");
        }
    }
    fs::remove_file(scene.there("image")).unwrap();
}

fn writing_through_a_read_only_handle_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "safe").unwrap();
    fails_with(File::open(scene.here("file")).unwrap().write(b"x"), Errno::BADF);
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"safe");
}

fn cp_keeps_the_content(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("a"), noise(11, 3_333_333)).unwrap();
    assert_eq!(fs::copy(scene.here("a"), scene.here("b")).unwrap(), 3_333_333);
    assert_eq!(checksum(&scene.there("a")), checksum(&scene.there("b")));
    assert!(fs::metadata(scene.here("b")).unwrap().size() == 3_333_333);
}

/// O_APPEND is for write(2). The kernel writes mapped pages back at their own offset, through any handle of the file.
fn mapped_pages_of_a_file_that_is_open_to_append_stay_where_they_are(kind: Kind) {
    let scene = Scene::on(kind);
    let path = scene.here("file");
    fs::write(&path, vec![b'x'; 3000]).unwrap();
    let appender = File::options().read(true).append(true).open(&path).unwrap();
    let plain = File::options().read(true).write(true).open(&path).unwrap();
    for (file, at) in [(&appender, 5), (&plain, 7)] {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the mapping is new, at an address of the kernel's choice, and within the file, which nothing truncates
        // before the mapping is unmapped.
        unsafe {
            let map = mmap(std::ptr::null_mut(), 3000, protection, MapFlags::SHARED, file, 0).unwrap();
            map.cast::<u8>().add(at).write(b'M');
            msync(map, 3000, MsyncFlags::SYNC).unwrap();
            munmap(map, 3000).unwrap();
        }
        file.sync_all().unwrap();
    }
    let content = fs::read(scene.there("file")).unwrap();
    assert_eq!((content.len(), content[5], content[7]), (3000, b'M', b'M'));
}

fn a_handle_appends_as_its_flags_say_at_the_moment(kind: Kind) {
    let scene = Scene::on(kind);
    let path = scene.here("file");
    let file = File::options().read(true).append(true).create(true).open(&path).unwrap();
    (&file).write_all(b"0123456789").unwrap();
    fcntl_setfl(&file, OFlags::empty()).unwrap();
    file.write_all_at(b"M", 5).unwrap();
    fcntl_setfl(&file, OFlags::APPEND).unwrap();
    (&file).write_all(b"end").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(scene.there("file")).unwrap(), "01234M6789end");
}
