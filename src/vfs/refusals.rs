//! What a refusal by the server means to an operation: one question a function, answered from the [`Refusal`] alone.
//! A failure without a refusal, such as a lost session, answers each question with no. `share/refusal` makes a
//! [`Refusal`] of an NTSTATUS; [`errno`](super::errno) makes an errno of it.

use crate::share::{Refusal, ShareError};

fn is_one_of(error: &ShareError, refusals: &[Refusal]) -> bool {
    error.refusal().is_some_and(|refusal| refusals.contains(&refusal))
}

/// Whether no file has this name, none can have it, or the file of this name is being deleted.
pub(crate) fn is_absent(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Absent, Refusal::FolderAbsent, Refusal::NameInvalid, Refusal::DeletePending])
}

/// Whether a folder of the path is missing: another client has removed or renamed it.
pub(crate) fn is_folder_absent(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::FolderAbsent])
}

/// Whether the file of this name is being deleted.
pub(crate) fn is_pending(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::DeletePending])
}

/// Whether the directory is not empty.
pub(crate) fn is_not_empty(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty])
}

/// Whether the new name of a rename that replaces nothing is in use.
pub(crate) fn is_collision(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Exists])
}

/// Whether the name is in use, by a file or a directory, or the directory is not empty. What is in the way may be in
/// the course of deletion.
pub(crate) fn is_occupied(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty, Refusal::Exists, Refusal::IsDirectory, Refusal::NotDirectory])
}

/// Whether a close that has not reached the server yet may be the reason.
pub(crate) fn may_be_closing(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty, Refusal::Busy, Refusal::Denied])
}

/// Whether the user may not do this, or the server does not let the user know whether the name is there.
pub(crate) fn is_denied(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Denied])
}

/// Whether the reason why a rename of a directory was refused may be that something below it is open.
pub(crate) fn may_be_open_below(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Denied, Refusal::Busy])
}

/// Whether the target may be the reason why a rename was refused.
pub(crate) fn refuses_target(error: &ShareError) -> bool {
    let target = [
        Refusal::Exists,
        Refusal::Denied,
        Refusal::Busy,
        Refusal::ReadOnly,
        Refusal::IsDirectory,
        Refusal::NotEmpty,
        Refusal::NotDirectory,
    ];
    is_one_of(error, &target)
}

/// Whether the read-only attribute may be the reason why a delete was refused.
pub(crate) fn may_be_read_only(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::ReadOnly, Refusal::Denied])
}

/// Whether the medium of the file is write-protected.
pub(crate) fn is_write_protected(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::WriteProtected])
}

/// Whether this user may not write the file.
pub(crate) fn forbids_writing(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::WriteProtected, Refusal::Denied])
}

/// Whether the name of a file to be opened means another file now: a directory, or a file that does not have this
/// lease.
pub(crate) fn is_another_file(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::IsDirectory, Refusal::InvalidArgument])
}
