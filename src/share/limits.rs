//! What refusals mean that a server has no status of its own for.
//!
//! A share that can only be read, as its maximal access tells (MS-SMB2 2.2.10), denies access to whatever would change
//! something, as it does for one file that this user may not change. Here it becomes [`NtStatus::MEDIA_WRITE_PROTECTED`].
//!
//! A server has no status of its own for a file that would be longer than its file system allows: Samba says that the disk is
//! full when a size is set, and that a parameter is invalid when data is written. Here it becomes
//! [`NtStatus::FILE_SYSTEM_LIMITATION`].

use super::Names;
use super::error::{Cause, ShareError};
use super::smb::SmbShare;
use crate::wire::NtStatus;

/// No file system allows less, in bytes: FAT.
const LEAST: u64 = u32::MAX as u64;
/// Most allow this much, in bytes, and not much more: ext4, and NTFS with its usual clusters.
const USUAL: u64 = (1 << 44) - (1 << 16);

impl SmbShare {
    /// Why something was not changed.
    pub(super) fn refused_change(&self, error: ShareError) -> ShareError {
        match error.nt_status() {
            Some(NtStatus::ACCESS_DENIED) if self.tree().terms.read_only => {
                ShareError { cause: Cause::Status(NtStatus::MEDIA_WRITE_PROTECTED), ..error }
            }
            _ => error,
        }
    }

    /// Why a file was not made as long as `end`.
    pub(super) async fn refused_size(&self, error: ShareError, end: u64) -> ShareError {
        let is_too_long = match error.nt_status() {
            Some(NtStatus::INVALID_PARAMETER) => end > LEAST,
            Some(NtStatus::DISK_FULL) if end > USUAL => true,
            Some(NtStatus::DISK_FULL) if end > LEAST => self.space().await.is_ok_and(|space| space.available >= end),
            _ => false,
        };
        if is_too_long {
            return ShareError { cause: Cause::Status(NtStatus::FILE_SYSTEM_LIMITATION), ..error };
        }
        error
    }
}
