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
//! | [`prompts`] | questions on a terminal, and the line that says what was mounted |
//! | [`failing`] | the message of each mount that must fail |
//! | [`mistakes`] | what users do wrong, as a table, and what the program says |
//! | [`systemd`], [`installing`] | the unit files, an fstab line; manual pages, completions, licences |
//! | [`shares`], [`discover`], [`doctor`] | the shares of a server; the servers of the network; the diagnosis of a mount |
//! | [`unmounting`], [`signals`], [`stacked`] | every end of a mount, signals, several mounts at one path |
//! | [`guardian`], [`restarting`] | a killed process: its mount is removed, or made again with `--restart` |
//! | [`killed`] | a killed program while the server does not answer |
//! | [`dialects`], [`buffers`], [`channels`], [`netbios`] | dialects, protection, sizes, multichannel, NetBIOS |
//! | [`reading`], [`writing`], [`writeback`], [`copying`] | file data: reads, writes, dirty data, server-side copies |
//! | [`creating`], [`directories`], [`renaming`], [`listing`], [`names`] | names, listings |
//! | [`renaming_folders`] | renaming folders with open files below |
//! | [`removing`], [`removing_open`] | removing and replacing files that are open here or at another client |
//! | [`metadata`], [`times`], [`permissions`], [`owners`], [`locks`], [`xattrs`] | attributes, times, owners and modes, locks, extended attributes |
//! | [`oddities`] | what programs expect of a local file system and find differently here |
//! | [`previous`] | previous versions |
//! | [`drop_boxes`] | what may be created and not read, entered and not listed |
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
//! | [`programs`] | real programs: npm, pip, git, make, tar, rsync, vim |
//! | [`round_trips`] | the number of frames of everyday jobs |
//! | [`status`], [`metrics`] | what a running mount tells: status, metrics |
//! | [`changing`] | what can be changed on a running mount: log level, remount |
//! | [`telemetry`] | the log: requests, frames, failures, losses, counters |
//! | [`documents`], [`one_build`], [`fixtures`] | README and docs/, the build, and the fixtures themselves |

mod support;

mod buffers;
mod cache_modes;
mod changing;
mod channels;
mod coherence;
mod command_line;
mod copying;
mod creating;
mod dialects;
mod directories;
mod discover;
mod doctor;
mod documents;
mod drop_boxes;
mod engine;
mod engine_removal;
mod failing;
mod fixtures;
mod foreign_changes;
mod guardian;
mod guests;
mod hidden_arguments;
mod hostile;
mod installing;
mod kernel_view;
mod keyring;
mod killed;
mod leases;
mod limits;
mod links;
mod listing;
mod locks;
mod long_listings;
mod lost_sessions;
mod metadata;
mod metrics;
mod mistakes;
mod names;
mod names_coherence;
mod netbios;
mod oddities;
mod one_build;
mod open_files;
mod outages;
mod owners;
mod permissions;
mod previous;
mod programs;
mod prompts;
mod reading;
mod refusals;
mod refusing_servers;
mod removing;
mod removing_open;
mod renaming;
mod renaming_folders;
mod replay;
mod restarting;
mod round_trips;
mod secrets;
mod shares;
mod signals;
mod special_files;
mod stacked;
mod status;
mod storms;
mod symlinks;
mod systemd;
mod telemetry;
mod times;
mod together;
mod unmounting;
mod ways_in;
mod writeback;
mod writing;
mod xattrs;
