//! Tests of the built program as a user runs it: real servers, real mounts.
//!
//! [`support`] has the fixtures: servers, mounts, a fault proxy, watchdogs. Most tests run on two servers:
//! Samba's `smbd`, and the crate `smb-server` inside this process. Invariant: every wait for a result has a
//! condition and a deadline. A test sleeps only where time itself is the condition, for example until a watch
//! is armed or two timestamps differ.
//!
//! | module | what is tested |
//! |---|---|
//! | [`command_line`], [`ways_in`] | arguments, forms of the URL, `-o`, the mount helper |
//! | [`secrets`], [`hidden_arguments`] | sources of a password, and that it appears nowhere |
//! | [`failing`] | the message of each mount that must fail |
//! | [`systemd`] | the unit files, and an fstab line |
//! | [`shares`] | the list of the shares of a server |
//! | [`unmounting`], [`signals`], [`stacked`] | every end of a mount, signals, several mounts at one path |
//! | [`guardian`], [`restarting`] | a killed process: its mount is removed, or made again with `--restart` |
//! | [`killed`] | a killed program while the server does not answer |
//! | [`dialects`], [`buffers`], [`channels`], [`netbios`] | dialects, protection, sizes, multichannel, NetBIOS |
//! | [`reading`], [`writing`], [`writeback`], [`copying`] | file data: reads, writes, dirty data, server-side copies |
//! | [`creating`], [`directories`], [`renaming`], [`listing`], [`names`] | names, listings |
//! | [`removing`], [`removing_open`] | removing and replacing files that are open here or at another client |
//! | [`metadata`], [`times`], [`permissions`], [`locks`] | attributes, times, owners and modes, locks |
//! | [`together`], [`limits`], [`long_listings`], [`kernel_view`] | concurrency, limits, no blocking |
//! | [`cache_modes`] | what `strict`, `none` and `loose` guarantee |
//! | [`coherence`], [`names_coherence`], [`foreign_changes`] | what a client sees of the changes of another client |
//! | [`guests`] | files that are kept open, and watches, disturb no other client (guest accounts: [`dialects`]) |
//! | [`outages`], [`storms`], [`refusals`] | servers that are away, end connections, hang, or refuse the user |
//! | [`lost_sessions`], [`open_files`] | data and open files when a session is lost |
//! | [`refusing_servers`] | servers that accept no data after an outage |
//! | [`replay`] | changes of names whose request or answer is lost |
//! | [`hostile`] | a server that violates the protocol |
//! | [`engine`], [`engine_removal`], [`leases`] | the library without a mount |
//! | [`round_trips`] | the number of frames of everyday jobs |
//! | [`telemetry`] | the log: requests, frames, failures, losses, counters |
//! | [`documents`], [`one_build`], [`fixtures`] | README and docs/, the build, and the fixtures themselves |

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
mod documents;
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
mod shares;
mod signals;
mod stacked;
mod status;
mod storms;
mod systemd;
mod telemetry;
mod times;
mod together;
mod unmounting;
mod ways_in;
mod writeback;
mod writing;
