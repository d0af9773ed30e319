//! Fixtures: servers, mounts, a fault proxy, and watchdogs.
//!
//! | file | idea |
//! |---|---|
//! | [`apart`] | the thread that starts every program, with a file descriptor table of its own |
//! | [`command`] | how a program is run with a deadline, and its result |
//! | [`scratch`] | the folder and the ports of this test run, and what is cleaned up at its end |
//! | [`server`] | what the servers have in common: settings, URL, user and password, shared instances |
//! | [`smbd`], [`embedded`] | how Samba's `smbd`, and the crate `smb-server`, are configured and started |
//! | [`new_samba`] | a second smbd, newer than the installed one, with directory leases |
//! | [`engine`] | a connected share without a mount, as the library provides it |
//! | [`proxy`], [`frames`] | a TCP proxy that records, counts, stalls, cuts, resets and delays |
//! | [`netbios`] | a NetBIOS session and name service |
//! | [`mountinfo`], [`processes`], [`watchdog`], [`mount`] | a mount by the program that cannot hang the test run |
//! | [`line`] | a new folder mounted through a proxy |
//! | [`scene`] | a new folder on a shared server, mounted: the start of most tests |
//! | [`pair`] | two mounts of one folder |
//! | [`terminal`] | a program at a terminal, with a user who types |
//! | [`stranger`] | servers that do not speak SMB |
//! | [`silent`] | a FUSE mount of another file system, on which every stat hangs |
//! | [`files`] | checksums, trees, contents that a test can verify |
//!
//! Invariant: soon after a test has ended, whatever it did and however it ended, its mounts are gone and its processes
//! have ended. No wait is endless.

pub(crate) mod apart;
pub(crate) mod command;
pub(crate) mod desktop;
pub(crate) mod embedded;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod line;
pub(crate) mod mount;
pub(crate) mod mountinfo;
pub(crate) mod netbios;
pub(crate) mod new_samba;
pub(crate) mod pair;
pub(crate) mod processes;
pub(crate) mod proxy;
pub(crate) mod scene;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod silent;
pub(crate) mod smbd;
pub(crate) mod stranger;
pub(crate) mod terminal;
pub(crate) mod watchdog;

use std::time::{Duration, Instant};

/// Polls `condition` every 5 ms until it is true. Returns `false` if it is still false after `limit`.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
