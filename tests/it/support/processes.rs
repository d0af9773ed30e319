//! The processes that serve mounts, found in /proc.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;

/// Whether a process exists and is not a zombie.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The arguments of a process's command line, as `ps` shows them.
pub(crate) fn command_line(pid: i32) -> Vec<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The command name of a process, from /proc/PID/comm.
pub(super) fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The child processes of a process's main thread.
pub(super) fn children(parent: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills the processes whose command line has this argument.
pub(super) fn kill_with_argument(argument: &str) {
    let numbers = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for pid in numbers.filter(|pid| command_line(*pid).iter().any(|word| word == argument)) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The processes of the program that serve this mountpoint. Their command line names it by its full path, or
/// by its last component relative to the folder where the program was started.
pub(super) fn served_by(mountpoint: &Path) -> Vec<i32> {
    let mut found = processes_of(mountpoint);
    if found.is_empty() {
        found = processes_of(Path::new(mountpoint.file_name().unwrap_or_default()));
    }
    found
}

/// The processes whose command line contains this mountpoint, without the `fusermount` helpers.
pub(crate) fn processes_of(mountpoint: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let words = command_line(*pid);
            !words[0].contains("fusermount")
                && words.iter().any(|word| Path::new(word) == mountpoint)
                && is_running(*pid)
        })
        .collect();
    found.sort_unstable();
    found
}

/// Kills a process that did not end by itself.
pub(super) fn kill(pid: i32) {
    eprintln!("process {pid} is still running after its mount has ended: killing it");
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The guardian of this process. A guardian ends the mount if the process is killed.
pub(crate) fn guardian_of(process: i32) -> Option<i32> {
    let process = process.to_string();
    let is_it = |pid: &i32| {
        let words = command_line(*pid);
        words[0] == "cifs-guardian" && words.contains(&process) && is_running(*pid)
    };
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(is_it)
}
