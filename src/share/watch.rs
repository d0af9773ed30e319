//! Watching directories.

/// A directory that is watched.
#[derive(Debug)]
pub enum SmbWatch {}
