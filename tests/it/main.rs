//! The built program, used as a user uses it: real servers, real mounts.
//!
//! [`support`] starts servers, mounts and watches; every other module is one kind of thing that a
//! user does. Most tests run on both servers: Samba's `smbd`, and the crate `smb-server` inside this
//! process. Nothing here sleeps in order to be right: a wait always has a condition and a deadline.

mod support;

mod buffers;
mod cache_modes;
mod channels;
mod coherence;
mod command_line;
mod copying;
mod creating;
mod dialects;
mod directories;
mod engine;
mod engine_removal;
mod failing;
mod fixtures;
mod foreign_changes;
mod guardian;
mod guests;
mod hidden_arguments;
mod hostile;
mod kernel_view;
mod killed;
mod leases;
mod limits;
mod listing;
mod locks;
mod long_listings;
mod lost_sessions;
mod metadata;
mod names;
mod names_coherence;
mod netbios;
mod one_build;
mod open_files;
mod outages;
mod permissions;
mod promises;
mod reading;
mod refusals;
mod refusing_servers;
mod removing;
mod removing_open;
mod renaming;
mod replay;
mod restarting;
mod round_trips;
mod secrets;
mod signals;
mod stacked;
mod storms;
mod systemd;
mod telemetry;
mod times;
mod together;
mod unmounting;
mod ways_in;
mod writeback;
mod writing;
