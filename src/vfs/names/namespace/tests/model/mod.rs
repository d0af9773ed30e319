//! A model of clients, their kernels and a server, which drives [`Namespace`](super::Namespace) in memory, under a virtual
//! clock.
//!
//! | part | what it is |
//! |---|---|
//! | `tree` | the files on the server's disk, and what each name meant at each moment |
//! | `server` | requests, watches, and leases on directories |
//! | `world` | the clock, and what is under way |
//! | `client` | what a client does around its namespace |
//! | `kernel`, `programs` | names that a client's kernel keeps, and what programs call |
//! | `steps`, `run` | what may happen, one thing after the other |
//! | `promises` | what an answer is compared with |
//!
//! A run is a seed. `CIFS_FUSE_NAMES_MODEL_RUNS` has more of them tried, from `CIFS_FUSE_NAMES_MODEL_SEED` on.

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
fn a_name_means_what_it_means_at_the_server_whatever_happens_in_whatever_order() {
    every_run_is_right::<Setting>();
}
