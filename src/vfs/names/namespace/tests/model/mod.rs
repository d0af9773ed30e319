//! A model of clients, their kernels and a server, which drives [`Namespace`](super::Namespace) in memory under a
//! virtual clock.
//!
//! | file | what is decided there |
//! |---|---|
//! | `tree` | the files on the server's disk, and what each name meant at each moment |
//! | `server` | how the server answers requests, and what watches and directory leases report |
//! | `world` | the clock, and which requests and tasks are in flight |
//! | `client` | what a client asks the server, and how it follows watches |
//! | `kernel` | which names the kernel of a client caches |
//! | `programs` | the system calls of programs |
//! | `steps` | which steps a run is made of, and the setting of a run |
//! | `run` | how a step is carried out, and how a run ends |
//! | `promises` | which answers of a client are right |
//!
//! A run follows from its seed. `CIFS_FUSE_NAMES_MODEL_RUNS` sets the number of runs, `CIFS_FUSE_NAMES_MODEL_SEED` the
//! first seed.
//!
//! Invariant: whatever happens in whatever order, a client's answer was true at the server at some moment since the
//! oldest change that the client could not know.

mod client;
mod kernel;
mod programs;
mod promises;
mod run;
mod server;
mod steps;
mod tree;
mod world;

use crate::vfs::model_runs::every_run_is_right;
use steps::Setting;

#[test]
fn a_name_means_what_it_means_at_the_server_whatever_the_order_of_events() {
    every_run_is_right::<Setting>();
}
