//! Removes passwords from what the kernel shows of this process: /proc/PID/cmdline, which `ps` prints for every user,
//! and /proc/PID/environ.
//!
//! Both files show memory of the process itself, at the top of its first stack, so the passwords are overwritten there.
//! Until then they can be read; only a file, a descriptor or a prompt avoids this moment.
//!
//! The invariant: bytes are overwritten in place, and no NUL is added or removed, so a pointer to such a string still
//! points to a string of the same length. Nothing is changed while the process has more than one thread.

use super::secrets::secret_ranges;
use std::{fs, slice};
use zeroize::Zeroizing;

const MASK: u8 = b'*';

/// Overwrites the passwords in this process's own arguments.
pub(super) fn mask_arguments() {
    let Some((start, end)) = argument_area() else { return };
    if !is_single_threaded() {
        return;
    }
    // SAFETY: proc(5) gives [start, end) as the place of the argument strings: readable and writable memory of this
    // process that lives as long as it does. No Rust reference points into it (the standard library keeps a raw pointer
    // and copies), and no second thread can read it meanwhile.
    let area = unsafe { slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(start), end - start) };
    // If the area does not hold the arguments, it is left unchanged.
    let is_ours = area.split(|byte| *byte == 0).zip(std::env::args_os()).all(|(found, expected)| {
        let expected = Zeroizing::new(expected.into_encoded_bytes());
        found == expected.as_slice()
    });
    if !is_ours {
        return;
    }
    for argument in area.split_mut(|byte| *byte == 0) {
        let ranges = std::str::from_utf8(argument).map(secret_ranges).unwrap_or_default();
        for range in ranges {
            argument[range].fill(MASK);
        }
    }
}

/// `arg_start` and `arg_end` of proc_pid_stat(5): the addresses of the argument strings.
fn argument_area() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field can contain spaces and ends at the last parenthesis; the third is the state.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(48 - 3);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start != 0 && start < end).then_some((start, end))
}

/// Overwrites the value of an environment variable in place, then removes the variable.
pub(super) fn wipe_variable(name: &str) {
    if std::env::var_os(name).is_none() || !is_single_threaded() {
        return;
    }
    // SAFETY: no second thread can read or change the environment. `environ` is null or points to an array of pointers
    // to NUL-terminated strings that ends with a null pointer (environ(7)). The strings are in writable memory: the
    // kernel's, or a copy made by setenv(3). Only bytes before the NUL are written.
    unsafe {
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            let length = libc::strlen(*entry);
            let text = slice::from_raw_parts_mut((*entry).cast::<u8>(), length);
            if let Some([b'=', value @ ..]) = split_prefix(text, name.as_bytes()) {
                value.fill(MASK);
            }
            entry = entry.add(1);
        }
        std::env::remove_var(name);
    }
}

fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

fn split_prefix<'a>(text: &'a mut [u8], prefix: &[u8]) -> Option<&'a mut [u8]> {
    if text.starts_with(prefix) { Some(&mut text[prefix.len()..]) } else { None }
}
