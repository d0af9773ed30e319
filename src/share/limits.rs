//! Refusals that servers express by a status of another meaning.
//!
//! On a share that is read-only for this user, as its maximal access shows (MS-SMB2 2.2.10), the server denies access
//! to every change, as it does for one file that the user may not change. Here such a refusal becomes
//! [`NtStatus::MEDIA_WRITE_PROTECTED`].
//!
//! Servers have no common status for a file that would be longer than its file system allows. Samba answers that the
//! disk is full when a size is set, and that a parameter is invalid when data is written. Here such an
//! answer becomes [`NtStatus::FILE_SYSTEM_LIMITATION`] if the length explains it.

use super::error::{Cause, ShareError};
use super::smb::SmbShare;
use crate::wire::NtStatus;

/// The smallest maximum length of a file among file systems, in bytes: FAT's.
const LEAST: u64 = u32::MAX as u64;
/// The usual maximum length, in bytes: ext4, and NTFS with its usual clusters. Hardly any file system allows much more.
const USUAL: u64 = (1 << 44) - (1 << 16);

impl SmbShare {
    /// The error of a refused change, with WRITE_PROTECTED for a denial on a read-only share.
    pub(super) fn refused_change(&self, error: ShareError) -> ShareError {
        match error.nt_status() {
            Some(NtStatus::ACCESS_DENIED) if self.tree().terms.read_only => {
                ShareError { cause: Cause::Status(NtStatus::MEDIA_WRITE_PROTECTED), ..error }
            }
            _ => error,
        }
    }

    /// The error of a refused change that would have made the file `end` bytes long, with FILE_SYSTEM_LIMITATION if
    /// that is too long. Between the two limits "disk full" is believed unless the free space would hold the file.
    pub(super) async fn refused_size(&self, error: ShareError, end: u64) -> ShareError {
        let is_too_long = match error.nt_status() {
            Some(NtStatus::INVALID_PARAMETER) => end > LEAST,
            Some(NtStatus::DISK_FULL) if end > USUAL => true,
            Some(NtStatus::DISK_FULL) if end > LEAST => {
                self.space_of(&error.path).await.is_ok_and(|space| space.available >= end)
            }
            _ => false,
        };
        if is_too_long {
            return ShareError { cause: Cause::Status(NtStatus::FILE_SYSTEM_LIMITATION), ..error };
        }
        error
    }
}
