//! Reading files by read(2), mmap(2) and O_DIRECT, and reading files that change.

use crate::support::files::{checksum, fails_with, mapped, names, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings, both_servers};
use crate::support::wait_until;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

both_servers!(
    a_file_is_read_to_its_last_byte,
    an_empty_file_is_empty,
    any_range_can_be_read,
    reading_past_the_end_gives_nothing,
    reading_in_small_pieces_gives_the_same_bytes,
    a_file_can_be_read_backwards,
    a_file_can_be_mapped_for_reading,
    a_file_can_be_read_without_the_page_cache,
    a_file_changed_by_another_client_is_read_anew_by_the_next_open,
    a_file_changed_on_the_servers_disk_is_read_anew_after_the_timeout,
    an_open_file_that_grows_can_be_read_on,
    reading_a_folder_or_a_missing_file_fails,
);

/// A length in bytes that is not a multiple of any buffer or page.
const LENGTH: usize = 5_000_003;

fn a_file_is_read_to_its_last_byte(kind: Kind) {
    let scene = Scene::on(kind);
    let lengths = [1, 4095, 4096, 4097, 65_536, 1 << 20, (1 << 20) + 1, LENGTH];
    for length in lengths {
        fs::write(scene.there(format!("file-{length}")), noise(length as u64, length)).unwrap();
    }
    for length in lengths {
        let name = format!("file-{length}");
        assert_eq!(checksum(&scene.here(&name)), checksum(&scene.there(&name)), "{length} bytes");
    }
}

fn an_empty_file_is_empty(kind: Kind) {
    let scene = Scene::on(kind);
    File::create(scene.there("empty")).unwrap();
    assert!(fs::read(scene.here("empty")).unwrap().is_empty());
}

fn any_range_can_be_read(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(2, LENGTH);
    fs::write(scene.there("file"), &data).unwrap();
    let file = File::open(scene.here("file")).unwrap();
    let mut at = 12_345_usize;
    for round in 0..300_usize {
        at = (at * 7_919 + round) % LENGTH;
        let length = (round * 5_003) % 200_000;
        let end = (at + length).min(LENGTH);
        let mut buffer = vec![0; end - at];
        file.read_exact_at(&mut buffer, at as u64).unwrap();
        assert!(buffer == data[at..end], "wrong bytes at {at}");
    }
}

fn reading_past_the_end_gives_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "0123456789").unwrap();
    let file = File::open(scene.here("file")).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(file.read_at(&mut buffer, 4).unwrap(), 6);
    assert_eq!(&buffer[..6], b"456789");
    assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
}

fn reading_in_small_pieces_gives_the_same_bytes(kind: Kind) {
    let scene = Scene::on(kind);
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    fs::write(scene.there("file"), &text).unwrap();
    let lines = BufReader::with_capacity(97, File::open(scene.here("file")).unwrap()).lines();
    assert!(lines.map(Result::unwrap).eq(text.lines()));
}

fn a_file_can_be_read_backwards(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(3, 700_000);
    fs::write(scene.there("file"), &data).unwrap();
    let mut file = File::open(scene.here("file")).unwrap();
    let mut buffer = vec![0; 10_000];
    for piece in (0..70).rev() {
        file.seek(SeekFrom::Start(piece * 10_000)).unwrap();
        file.read_exact(&mut buffer).unwrap();
        assert!(buffer == data[piece as usize * 10_000..][..10_000]);
    }
}

fn a_file_can_be_mapped_for_reading(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(4, LENGTH);
    fs::write(scene.there("file"), &data).unwrap();
    let file = File::open(scene.here("file")).unwrap();
    for kind in [MapFlags::PRIVATE, MapFlags::SHARED] {
        assert!(mapped(&file, LENGTH, kind) == data, "{kind:?}");
    }
}

fn a_file_can_be_read_without_the_page_cache(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(5, 100_000);
    fs::write(scene.there("file"), &data).unwrap();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(scene.here("file")).unwrap();
    let mut read = Vec::new();
    // Aligned to a page, since local disks require that and programs do it.
    let mut memory = vec![0_u8; 16_384 + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[start..start + 16_384];
    loop {
        let count = file.read_at(buffer, read.len() as u64).unwrap();
        if count == 0 {
            break;
        }
        read.extend_from_slice(&buffer[..count]);
    }
    assert!(read == data);
}

/// Close-to-open: an open after another client has changed the file reads the change.
fn a_file_changed_by_another_client_is_read_anew_by_the_next_open(kind: Kind) {
    let scene = Scene::on(kind);
    let other = scene.second_mount();
    for round in 0..5_u8 {
        // All versions have the same length, so the size does not show the change.
        let data = vec![b'a' + round; 100_000];
        fs::write(other.join("file"), &data).unwrap();
        assert!(fs::read(scene.here("file")).unwrap() == data, "round {round}");
    }
}

/// A change on the server's own disk breaks no lease. It is found by the file's attributes.
fn a_file_changed_on_the_servers_disk_is_read_anew_after_the_timeout(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0.2"));
    for round in 0..3_u8 {
        let data = vec![b'a' + round; 100_000];
        fs::write(scene.there("file"), &data).unwrap();
        let written = Instant::now();
        crate::support::wait_until(Duration::from_secs(10), || written.elapsed() > Duration::from_millis(250));
        assert!(fs::read(scene.here("file")).unwrap() == data, "round {round}");
    }
}

fn an_open_file_that_grows_can_be_read_on(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0"));
    let mut log = File::create(scene.there("log")).unwrap();
    log.write_all(b"one\n").unwrap();
    let mut reader = File::open(scene.here("log")).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    log.write_all(b"two\n").unwrap();
    let grown = crate::support::wait_until(Duration::from_secs(10), || {
        reader.read_to_string(&mut text).unwrap();
        text.len() >= 8
    });
    assert!(grown, "the appended data is not read, so tail -f would hang");
    assert_eq!(text, "one\ntwo\n");
}

fn reading_a_folder_or_a_missing_file_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.there("folder")).unwrap();
    fails_with(fs::read(scene.here("folder")), Errno::ISDIR);
    fails_with(File::create(scene.here("folder")), Errno::ISDIR);
    fails_with(fs::read(scene.here("missing")), Errno::NOENT);
}

/// A process of its own, smbd-notifyd, watches the server's disk, so reports can be late.
#[test]
fn a_change_on_the_servers_disk_before_the_watch_is_armed_is_seen() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings::default()));
    let scene = Scene::of(Arc::clone(&server), |request| request);
    fs::write(scene.there("file"), "before").unwrap();
    let written = Instant::now();
    // Wait until the new file is more than 500 ms old. The folder's own times do not show changes of its files'
    // content.
    wait_until(Duration::from_secs(9), || written.elapsed() > Duration::from_millis(500));
    let Server::Smbd(smbd) = &*server else { unreachable!("it was started as Kind::Smbd") };
    let stopped = smbd.stop_watching();
    assert_eq!(names(scene.mount.path()), ["file"]);
    let read = || fs::read_to_string(scene.here("file")).unwrap();
    assert_eq!(read(), "before");
    fs::write(scene.there("file"), "afterwards").unwrap();
    drop(stopped);
    assert!(wait_until(Duration::from_secs(20), || read() == "afterwards"));
    assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), 10);
}

/// Changes of a file that was just read here, made on the server's disk where no lease is broken. smbd watches its
/// disk; smb-server does not see changes made there.
#[test]
fn a_change_on_the_servers_disk_is_seen_and_never_mixed_with_old_data() {
    let scene = Scene::on(Kind::Smbd);
    let versions: Vec<Vec<u8>> = (0..4).map(|version| noise(version, 3000 + 500 * version as usize)).collect();
    for folder in ["", "folder"] {
        fs::create_dir_all(scene.here(folder)).unwrap();
        let (here, there) = (scene.here(folder).join("file"), scene.there(folder).join("file"));
        // One call of read(2), because the change may be noticed between two calls.
        let read = || {
            let mut buffer = vec![0; 10_000];
            let count = File::open(&here).unwrap().read(&mut buffer).unwrap();
            buffer.truncate(count);
            buffer
        };
        fs::write(&here, &versions[0]).unwrap();
        for pair in versions.windows(2) {
            // Listing the folder also returns the new size.
            names(&scene.here(folder));
            assert!(read() == pair[0]);
            fs::write(&there, &pair[1]).unwrap();
            let shows = || {
                let read = read();
                // If the new size is not known yet, the read returns as many new bytes as the old size.
                assert!(read == pair[0] || pair[1].starts_with(&read), "{} bytes of both", read.len());
                names(&scene.here(folder));
                read == pair[1]
            };
            assert!(wait_until(Duration::from_secs(20), shows), "{folder:?}");
        }
    }
}
