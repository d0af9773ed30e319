//! Files, through the real kernel: data, times, locks, copies, and the end of a mount.

use super::*;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn a_file_is_written_and_read() {
    let Some(mounted) = Mounted::new() else { return };
    let data: Vec<u8> = (0..3_000_000u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    fs::write(mounted.path("a"), &data).unwrap();
    assert!(mounted.share.data("a").unwrap() == data);
    assert!(fs::read(mounted.path("a")).unwrap() == data);
    let status = fs::metadata(mounted.path("a")).unwrap();
    assert_eq!((status.len(), status.mode(), status.nlink()), (3_000_000, 0o100_644, 1));
    assert_eq!(status.ino(), mounted.share.look("a").unwrap().file_id);
}

#[test]
fn files_are_appended_to_and_cut() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.path("log");
    for line in ["one\n", "two\n"] {
        File::options().append(true).create(true).open(&path).unwrap().write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(3).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one");
    file.set_len(5).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\0\0");
    assert_eq!(mounted.share.count("FLUSH"), 1);
}

#[test]
fn a_file_longer_than_4_gib_is_written_and_read() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = File::options().read(true).write(true).create_new(true).open(mounted.path("big")).unwrap();
    file.write_at(b"end", 5 << 30).unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).unwrap();
    assert_eq!(tail, b"\0end");
}

#[test]
fn a_file_can_be_read_through_a_mapping() {
    let Some(mounted) = Mounted::new() else { return };
    let data: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    mounted.share.put("a", &data);
    let file = File::open(mounted.path("a")).unwrap();
    // SAFETY: a new read-only mapping of an open file, at an address chosen by the kernel.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), data.len(), libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    assert_ne!(address, libc::MAP_FAILED);
    // SAFETY: the mapping is as long as the file, which is not truncated, and stays mapped until the end.
    let mapped = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), data.len()) };
    assert!(mapped == data);
}

#[test]
fn direct_io_reads_and_writes() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.share.put("a", &[1; 5000]);
    let file = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(mounted.path("a")).unwrap();
    file.write_all_at(&[2; 1000], 4500).unwrap();
    let mut data = vec![0; 8192];
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 5500);
    assert!(data[..4500].iter().all(|byte| *byte == 1) && data[4500..5500].iter().all(|byte| *byte == 2));
}

#[test]
fn times_and_the_write_bit_are_set() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.path("a");
    fs::write(&path, "1").unwrap();
    let time = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_700);
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
    assert_eq!(SystemTime::from(mounted.share.look("a").unwrap().modified), time);

    let before_1970 = UNIX_EPOCH - Duration::from_nanos(1_500_000_100);
    File::options().write(true).open(&path).unwrap().set_modified(before_1970).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before_1970);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn an_unlinked_file_can_be_used_while_it_is_open() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = File::options().read(true).write(true).create_new(true).open(mounted.path("a")).unwrap();
    fs::remove_file(mounted.path("a")).unwrap();
    file.write_all(b"still here").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10);
    file.set_len(5).unwrap();
    let mut data = [0; 10];
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 5);
    assert_eq!(fs::read_dir(mounted.directory.path()).unwrap().count(), 0);
}

#[test]
fn data_that_another_client_writes_is_seen() {
    let Some(mounted) = Mounted::caching_no_attributes() else { return };
    mounted.share.put("a", b"old");
    let file = File::open(mounted.path("a")).unwrap();
    let mut data = [0; 10];
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 3);
    mounted.share.put("a", b"longer");
    assert_eq!(file.metadata().unwrap().len(), 6);
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 6);
    assert_eq!(&data[..6], b"longer");
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"longer");
}

#[test]
fn an_unchanged_file_is_read_from_the_server_once() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.share.put("a", &[7; 10_000]);
    for _ in 0..3 {
        assert_eq!(fs::read(mounted.path("a")).unwrap(), [7; 10_000]);
    }
    assert_eq!(mounted.share.count("READ"), 1);
}

#[test]
fn locks_hold_between_programs_on_one_machine() {
    let Some(mounted) = Mounted::new() else { return };
    let one = File::create(mounted.path("a")).unwrap();
    let other = File::open(mounted.path("a")).unwrap();
    one.lock().unwrap();
    assert!(other.try_lock().is_err());
    one.unlock().unwrap();
    other.try_lock().unwrap();
}

#[test]
fn operations_that_a_share_lacks_fail_with_the_right_error() {
    let Some(mounted) = Mounted::new() else { return };
    fs::write(mounted.path("a"), "").unwrap();
    let path = c_path(&mounted.path("a"));
    // SAFETY: both pointers are to zero-terminated strings; with a size of 0 no value is written.
    let result = unsafe { libc::getxattr(path.as_ptr(), c"user.a".as_ptr(), std::ptr::null_mut(), 0) };
    assert_eq!((result, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EOPNOTSUPP)));
}

#[test]
fn an_extended_attribute_is_read_at_once_or_after_its_length() {
    let Some(mounted) = Mounted::new() else { return };
    fs::write(mounted.path("a"), "").unwrap();
    let path = c_path(&mounted.path("a"));
    let read = |value: &mut [u8]| {
        // SAFETY: the strings end with zero, and the kernel writes no more bytes than the value has.
        let length = unsafe {
            let name = c"user.cifs.creationtime".as_ptr();
            libc::getxattr(path.as_ptr(), name, value.as_mut_ptr().cast(), value.len())
        };
        if length < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(length) }
    };
    let mut value = [0; 20];
    assert_eq!((read(&mut value[..0]), read(&mut value[..7])), (Ok(8), Err(libc::ERANGE)));
    assert_eq!((read(&mut value[..8]), read(&mut value)), (Ok(8), Ok(8)));
    assert_eq!(value[..8], mounted.share.look("a").unwrap().created.0.to_le_bytes());
}

#[test]
fn links_fifos_and_devices_reach_the_kernel_as_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
    let Some(mounted) = Mounted::new() else { return };
    symlink("a/b", mounted.path("link")).unwrap();
    let device = crate::share::Device { major: 7, minor: 300 };
    mounted.share.make_as_other_client("device", crate::share::NewSpecial::BlockDevice(device));
    mounted.share.make_as_other_client("fifo", crate::share::NewSpecial::Fifo);
    let found = |name: &str| fs::symlink_metadata(mounted.path(name)).unwrap();
    assert_eq!(fs::read_link(mounted.path("link")).unwrap(), std::path::Path::new("a/b"));
    assert_eq!((found("link").file_type().is_symlink(), found("link").len()), (true, 3));
    assert_eq!((found("device").file_type().is_block_device(), found("device").rdev()), (true, libc::makedev(7, 300)));
    assert!(found("fifo").file_type().is_fifo());
}

#[test]
fn all_open_files_are_closed_at_unmount() {
    let Some(mut mounted) = Mounted::new() else { return };
    let mut file = File::create(mounted.path("a")).unwrap();
    file.write_all(b"saved").unwrap();
    fs::write(mounted.path("b"), "").unwrap();
    drop(file);
    mounted.unmount().unwrap();
    assert_eq!(mounted.share.open_files(), 0);
    assert_eq!(mounted.share.data("a").unwrap(), b"saved");
}

#[test]
fn an_abort_is_an_ordinary_end_and_open_files_are_closed() {
    let Some(mut mounted) = Mounted::new() else { return };
    let file = File::create(mounted.path("a")).unwrap();
    let number = connection(mounted.directory.path()).unwrap();
    fs::write(format!("/sys/fs/fuse/connections/{number}/abort"), "1").unwrap();
    assert_eq!(file.metadata().unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    mounted.unmount().unwrap();
    assert_eq!(mounted.share.open_files(), 0);
}

#[test]
fn cp_makes_the_server_copy() {
    let Some(mounted) = Mounted::new() else { return };
    let data: Vec<u8> = (0..300_000u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    mounted.share.put("a", &data);
    assert_eq!(fs::copy(mounted.path("a"), mounted.path("b")).unwrap(), 300_000);
    assert!(mounted.share.data("b").unwrap() == data);
    assert!(fs::read(mounted.path("b")).unwrap() == data);
    assert!(mounted.share.count("COPY") > 1);
    assert_eq!((mounted.share.count("READ"), mounted.share.count("WRITE")), (5, 0), "only b was read, and once");
}

#[test]
fn cp_works_where_the_server_cannot_copy() {
    let behaviour = Behaviour { copies: None, ..Behaviour::default() };
    let Some(mounted) = Mounted::with(MemoryShare::with(behaviour), options()) else { return };
    let data: Vec<u8> = (0..300_000u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    mounted.share.put("a", &data);
    assert_eq!(fs::copy(mounted.path("a"), mounted.path("b")).unwrap(), 300_000);
    assert!(mounted.share.data("b").unwrap() == data);
}
