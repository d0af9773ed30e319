//! Fixtures: servers, mounts, a proxy that makes faults, and what watches over them.
//!
//! | file | idea |
//! |---|---|
//! | [`apart`] | the thread that starts every program, with a table of file descriptors of its own |
//! | [`command`] | a program that is run with a deadline |
//! | [`scratch`] | the folder, the ports and the end of this test run |
//! | [`server`] | what the two servers have in common: settings, URL, shared instances |
//! | [`smbd`], [`embedded`] | the two servers |
//! | [`new_samba`] | a second smbd, newer than the machine's |
//! | [`engine`] | the share without a mount, as the library gives it |
//! | [`proxy`], [`frames`] | a TCP proxy that records, counts, stalls, cuts, resets and delays |
//! | [`netbios`] | a NetBIOS session and name service |
//! | [`mountinfo`], [`processes`], [`watchdog`], [`mount`] | a mount by the built program that can never hang the test run |
//! | [`scene`] | a folder on a shared server, mounted: what most tests start from |
//! | [`pair`] | two mounts of one folder |
//! | [`silent`] | a mount of somebody else, that hangs |
//! | [`files`] | checksums, trees, contents that can be checked |
//!
//! Invariant: whatever a test does, and however it ends, its mounts are gone and its processes have
//! ended soon afterwards, and no wait is endless.

pub(crate) mod apart;
pub(crate) mod command;
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
pub(crate) mod watchdog;

use std::time::{Duration, Instant};

/// Polls `condition` until it holds; `false` when it did not within `limit`.
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
