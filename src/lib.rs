//! `cifs-fuse` mounts an SMB share as a local directory.
//!
//! The rooms from top to bottom. Each room imports only rooms below it:
//!
//! | room | what it is for |
//! |---|---|
//! | [`cli`] | commands, argument forms, exit codes, messages |
//! | [`mount`] | puts the parts together: connect, mount, daemonise, signals, unmount |
//! | [`fuse`] | the only room that names `fuser`: decodes a kernel request, calls [`vfs`], sends the reply |
//! | [`vfs`] | what a POSIX file system means on a share: inodes, handles, attributes, names, errno |
//! | [`cache`] | the page cache: chunk grid, memory budget, read-ahead, dirty data |
//! | [`share`] | the remote share as typed operations over a pooled session |
//! | [`wire`] | one connection: framing, message ids, credits, compounds, signing, encryption, deadlines |
//! | [`config`] | a leaf that every room may import: URL, options, credentials |
//! | [`telemetry`] | a leaf that every room may import: spans of requests, counters, latencies |
//!
//! `waiting` is a leaf too: one function that waits for a condition.

pub mod cache;
pub mod cli;
pub mod config;
pub mod fuse;
pub mod mount;
pub mod share;
pub mod telemetry;
pub mod vfs;
mod waiting;
pub mod wire;
