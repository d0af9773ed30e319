//! File contents that a test can verify, checksums, and trees of files.

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::ptr;

/// Pseudo-random bytes, equal for equal seeds (xorshift64*).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The first `length` bytes of a file, read through a memory mapping.
pub(crate) fn mapped(file: &File, length: usize, kind: MapFlags) -> Vec<u8> {
    // SAFETY: the mapping is new, at an address of the kernel's choice. No test changes or truncates the file
    // before the mapping is unmapped below, and the slice does not outlive the mapping.
    unsafe {
        let map = mmap(ptr::null_mut(), length, ProtFlags::READ, kind, file, 0).unwrap();
        let data = std::slice::from_raw_parts(map.cast::<u8>(), length).to_vec();
        munmap(map, length).unwrap();
        data
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn checksum(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
        .map(|entry| entry.file_name().into_string().expect("names in UTF-8"))
        .collect();
    names.sort();
    names
}

/// The paths below a folder: each file with its checksum, each folder with `None`.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", next.display()));
            let path = entry.path();
            let name = path.strip_prefix(folder).expect("below the folder").to_owned();
            if entry.file_type().expect("a listing has the type of each entry").is_dir() {
                folders.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(checksum(&path)));
            }
        }
    }
    found
}

/// Copies a folder and everything below it, file by file, as `cp -r` does.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let failed = |what: &str, path: &Path, error: io::Error| -> ! { panic!("{what} {}: {error}", path.display()) };
    fs::create_dir(to).unwrap_or_else(|error| failed("mkdir", to, error));
    for entry in fs::read_dir(from).unwrap_or_else(|error| failed("list", from, error)) {
        let entry = entry.unwrap_or_else(|error| failed("list", from, error));
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap_or_else(|error| failed("stat", &entry.path(), error)).is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap_or_else(|error| failed("copy to", &target, error));
        }
    }
}

/// Makes a tree like a program's sources: nested folders, many small files, one in a hundred with 300 KB, one
/// in a hundred empty, and names with spaces and accents. Returns the number of files.
pub(crate) fn source_tree(root: &Path, files: usize) -> usize {
    for number in 0..files {
        let folder = root.join(format!("module {}", number % 40)).join(format!("dépôt-{}", number % 7));
        fs::create_dir_all(&folder).expect("a writable folder");
        let length = match number % 100 {
            0 => 0,
            1 => 300_000 + number,
            _ => 200 + (number * 7919) % 12_000,
        };
        fs::write(folder.join(format!("source_{number}.rs")), noise(number as u64, length)).expect("a writable folder");
    }
    files
}

/// Asserts that a call failed with this error.
#[track_caller]
pub(crate) fn fails_with<T>(result: Result<T, impl Into<io::Error>>, expected: Errno) {
    match result.map_err(Into::into) {
        Ok(_) => panic!("succeeded, but {expected:?} was expected"),
        Err(error) => {
            assert!(Errno::from_io_error(&error) == Some(expected), "{error}, but {expected:?} was expected")
        }
    }
}
