//! Names and directories, through the real kernel.

use super::*;
use std::collections::BTreeSet;

#[test]
fn directories_are_made_listed_and_removed() {
    let Some(mounted) = Mounted::new() else { return };
    fs::create_dir_all(mounted.path("d/e")).unwrap();
    fs::write(mounted.path("d/e/a"), "1").unwrap();
    assert_eq!(fs::remove_dir(mounted.path("d")).unwrap_err().raw_os_error(), Some(libc::ENOTEMPTY));
    fs::rename(mounted.path("d/e"), mounted.path("f")).unwrap();
    assert_eq!(fs::read(mounted.path("f/a")).unwrap(), b"1");
    fs::remove_dir(mounted.path("d")).unwrap();
    assert_eq!(mounted.share.names(""), ["f"]);
    fs::remove_dir_all(mounted.path("f")).unwrap();
    assert_eq!(mounted.share.names(""), Vec::<String>::new());
}

#[test]
fn a_large_directory_is_listed_with_each_name_once_and_its_files_need_no_lookup() {
    let Some(mounted) = Mounted::new() else { return };
    for number in 0..5000 {
        mounted.share.put(&format!("file number {number}"), b"x");
    }
    mounted.share.forget_log();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(mounted.directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().len(), 1);
        assert!(names.insert(entry.file_name()));
    }
    assert_eq!(names.len(), 5000);
    assert!(mounted.share.count("STAT") < 10, "{} lookups", mounted.share.count("STAT"));
}

#[test]
fn a_tree_is_removed_while_it_is_listed() {
    let Some(mounted) = Mounted::new() else { return };
    for directory in 0..3 {
        mounted.share.put_directory(&format!("d{directory}"));
        for number in 0..1000 {
            mounted.share.put(&format!("d{directory}/{number}"), b"x");
        }
    }
    for directory in 0..3 {
        fs::remove_dir_all(mounted.path(&format!("d{directory}"))).unwrap();
    }
    assert_eq!(mounted.share.names(""), Vec::<String>::new());
}

#[test]
fn a_tree_is_removed_right_after_it_was_made() {
    let Some(mounted) = Mounted::new() else { return };
    for round in 0..20 {
        let top = mounted.path(&format!("d{round}"));
        for directory in ["a", "b/c"] {
            fs::create_dir_all(top.join(directory)).unwrap();
            for number in 0..10 {
                fs::write(top.join(directory).join(number.to_string()), "x").unwrap();
            }
        }
        fs::remove_dir_all(top).unwrap();
    }
    assert_eq!(mounted.share.names(""), Vec::<String>::new());
}

#[test]
fn a_file_is_replaced_while_a_program_reads_it() {
    let Some(mounted) = Mounted::new() else { return };
    fs::write(mounted.path("a"), "old").unwrap();
    let reader = File::open(mounted.path("a")).unwrap();
    fs::write(mounted.path("new"), "new").unwrap();
    fs::rename(mounted.path("new"), mounted.path("a")).unwrap();
    assert_eq!(io::read_to_string(reader).unwrap(), "old");
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"new");
    assert_eq!(fs::read_dir(mounted.directory.path()).unwrap().count(), 1);
}

#[test]
fn the_case_of_a_name_is_changed() {
    let share = MemoryShare::with(Behaviour { ignores_case: true, ..Behaviour::default() });
    let Some(mounted) = Mounted::with(share, options()) else { return };
    fs::write(mounted.path("readme"), "1").unwrap();
    fs::rename(mounted.path("readme"), mounted.path("README")).unwrap();
    assert_eq!(mounted.share.names(""), ["README"]);
    assert_eq!(fs::read(mounted.path("README")).unwrap(), b"1");
}

#[test]
fn many_programs_work_at_the_same_time() {
    let Some(mounted) = Mounted::new() else { return };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let mounted = &mounted;
            scope.spawn(move || {
                let directory = mounted.path(&format!("t{thread}"));
                fs::create_dir(&directory).unwrap();
                for number in 0..50 {
                    let path = directory.join(number.to_string());
                    let data = vec![number as u8; 1000 * (number + 1)];
                    fs::write(&path, &data).unwrap();
                    assert!(fs::read(&path).unwrap() == data);
                    fs::rename(&path, directory.join(format!("{number} done"))).unwrap();
                }
            });
        }
    });
    assert_eq!(mounted.share.names("t3").len(), 50);
}

#[test]
fn a_file_replaced_by_another_client_is_the_new_one_at_the_next_open() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.share.put("a", b"old");
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"old");
    mounted.share.remove_as_other_client_at_once("a");
    mounted.share.put("a", b"new");
    // The kernel still keeps the name's old inode. The open finds another file, and the kernel looks the name up again.
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"new");
}

#[test]
fn the_space_of_the_server_is_shown() {
    let Some(mounted) = Mounted::new() else { return };
    let path = c_path(mounted.directory.path());
    // SAFETY: an all-zero statvfs is a valid value of a plain structure of numbers.
    let mut space: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid until the call returns.
    assert_eq!(unsafe { libc::statvfs(path.as_ptr(), &mut space) }, 0);
    assert_eq!(space.f_blocks as u64 * space.f_frsize as u64, 1 << 40);
    assert_eq!(space.f_bavail as u64 * space.f_frsize as u64, 1 << 38);
    assert_eq!(space.f_namemax, 255);
}
