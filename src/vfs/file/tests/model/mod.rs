//! A model of clients, their kernels and a server, which drives [`FileState`](super::FileState) and the share's values for
//! leases and lost sessions in memory, under a virtual clock.
//!
//! | part | what it is |
//! |---|---|
//! | `server`, `leases` | disks, opens and leases at the server |
//! | `remote`, `requests` | requests of a client that outlive its session |
//! | `client` | files of a client, and what is done for their actions |
//! | `kernel` | pages that a client's kernel keeps |
//! | `programs`, `calls` | what programs call |
//! | `steps`, `run` | what may happen, one thing after the other |
//! | `promises`, `owed` | what is compared after each step |
//!
//! A run is a seed. `CIFS_FUSE_MODEL_RUNS` has more of them tried, from `CIFS_FUSE_MODEL_SEED` on.

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
fn every_promise_is_kept_whatever_happens_in_whatever_order() {
    every_run_is_right::<Setting>();
}
