//! What a refusal of the share can mean to an operation.

use crate::share::{Refusal, ShareError};

fn is_one_of(error: &ShareError, refusals: &[Refusal]) -> bool {
    error.refusal().is_some_and(|refusal| refusals.contains(&refusal))
}

/// Whether nothing has this name, or nothing can have it.
pub(crate) fn is_absent(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Absent, Refusal::NameInvalid, Refusal::DeletePending])
}

/// Whether what has a name is being deleted.
pub(crate) fn is_pending(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::DeletePending])
}

/// Whether something is in a directory.
pub(crate) fn is_not_empty(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty])
}

/// Whether something has the new name of a rename that replaces nothing.
pub(crate) fn is_collision(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::Exists])
}

/// Whether something has the name, or is in the directory: it may be being deleted.
pub(crate) fn is_occupied(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty, Refusal::Exists, Refusal::IsDirectory, Refusal::NotDirectory])
}

/// Whether a close that has not arrived yet can be the reason.
pub(crate) fn may_be_closing(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::NotEmpty, Refusal::Busy, Refusal::Denied])
}

/// Whether the target can be the reason why a rename was refused.
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

/// Whether the read-only attribute can be the reason why something was not deleted.
pub(crate) fn may_be_read_only(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::ReadOnly, Refusal::Denied])
}

/// Whether nothing can be changed where the file is.
pub(crate) fn is_write_protected(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::WriteProtected])
}

/// Whether a file may not be written by this user.
pub(crate) fn forbids_writing(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::WriteProtected, Refusal::Denied])
}

/// Whether the name of a file that was to be opened means another one now: a directory, or a file that this lease is not of.
pub(crate) fn is_another_file(error: &ShareError) -> bool {
    is_one_of(error, &[Refusal::IsDirectory, Refusal::InvalidArgument])
}
