//! A model of clients, their kernels and a server. It drives [`FileState`](super::FileState), and the share's values
//! for leases and lost sessions, in memory under a virtual clock.
//!
//! | part | what is decided there |
//! |---|---|
//! | `server`, `leases` | disks, opens and leases at the server, and which requests wait for an acknowledgement |
//! | `remote`, `requests` | requests of a client that outlive its session |
//! | `client` | files of a client, and what their actions do; checks of leases and breaks |
//! | `kernel` | pages that a client's kernel keeps |
//! | `programs` | open, close, READ and WRITE, as the operations of the file system do them |
//! | `calls` | system calls of programs, as the kernel turns them into those requests |
//! | `steps`, `run` | which steps a run may have, and what each does |
//! | `world` | the clock, and what is under way |
//! | `promises`, `owed` | what each step is checked against |
//!
//! Invariant: after each step, every promise to a program holds.
//!
//! A run is a seed. `CIFS_FUSE_MODEL_RUNS` sets the number of runs, and `CIFS_FUSE_MODEL_SEED` the first seed.

mod calls;
mod client;
mod kernel;
mod leases;
mod owed;
mod programs;
mod promises;
mod remote;
mod requests;
mod run;
mod server;
mod steps;
mod world;

use crate::vfs::model_runs::every_run_is_right;
use steps::Setting;

#[test]
fn every_promise_holds_whatever_happens_in_whatever_order() {
    every_run_is_right::<Setting>();
}
