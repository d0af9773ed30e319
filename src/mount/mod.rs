//! (being built)

use crate::config::MountSpec;

/// (being built)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunMode {
    /// (being built)
    Foreground,
    /// (being built)
    Background,
}

/// (being built)
#[derive(Debug, thiserror::Error)]
#[error("mounting is being built")]
pub struct MountError;

impl MountError {
    /// (being built)
    pub fn exit_code(&self) -> u8 {
        32
    }
}

/// (being built)
pub fn run(_spec: MountSpec, _mode: RunMode) -> Result<(), MountError> {
    Err(MountError)
}
