//! Which owner, group and mode a new file gets, and what chmod(2) and chown(2) change. Plain rules.
//!
//! A new file shows what a local file system would show: the mode that the program asked for, and the program's user
//! and group, or the group of a directory with the set-group-id bit. Programs depend on it: ssh checks the mode of a
//! key that it has just made, git the owner of its repository, and a user must not be locked out of his new file. What
//! the user of the mount has set with `--uid`, `--gid`, `--file-mode` or `--dir-mode` is meant for all files, so new
//! files have that instead.

use super::errno::{Result, VfsError};
use super::operations::{Maker, SetAttr};
use super::presentation::Attr;
use super::terms::VfsOptions;
use crate::config::{Keeping, OwnerSource};
use crate::share::{FileKind, Ownership};

/// Group and set-group-id bit of the directory in which a file is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parent {
    pub gid: u32,
    pub hands_down_group: bool,
}

impl Parent {
    pub(crate) fn of(attr: &Attr) -> Parent {
        Parent { gid: attr.gid, hands_down_group: u32::from(attr.permissions) & libc::S_ISGID != 0 }
    }
}

/// What a new file is to show.
pub(crate) fn of_new(options: &VfsOptions, maker: Maker, kind: FileKind, parent: Parent) -> Ownership {
    let (rules, is_kept) = (options.owner, options.owner.chown.keeps());
    let uid = if is_kept && !rules.fixed.uid { maker.uid } else { options.uid };
    let gid = match parent.hands_down_group {
        true if is_kept => parent.gid,
        _ if is_kept && !rules.fixed.gid => maker.gid,
        _ => options.gid,
    };
    if !rules.chmod.keeps() {
        return Ownership { uid: Some(uid), gid: Some(gid), mode: None };
    }
    let (is_fixed, fixed) = match kind {
        FileKind::Directory => (rules.fixed.dir_mode, options.dir_mode),
        _ => (rules.fixed.file_mode, options.file_mode),
    };
    // The mode that a program asks for is meant for its own user: under another owner it could lock the program out.
    let is_own = maker.uid == uid || maker.uid == 0;
    let handed_down = if kind == FileKind::Directory && parent.hands_down_group { libc::S_ISGID } else { 0 };
    let mode = match is_own && !is_fixed {
        true => Some(maker.mode | handed_down),
        false => Some(fixed | handed_down).filter(|_| handed_down != 0),
    };
    Ownership { uid: Some(uid), gid: Some(gid), mode: mode.map(|mode| (mode & 0o7777) as u16) }
}

/// The values that differ from those that are shown.
pub(crate) fn differing(wanted: Ownership, shown: &Attr) -> Ownership {
    Ownership {
        uid: wanted.uid.filter(|uid| *uid != shown.uid),
        gid: wanted.gid.filter(|gid| *gid != shown.gid),
        mode: wanted.mode.filter(|mode| *mode != shown.permissions),
    }
}

/// What a change of attributes is to change of what is shown, and of what is only `remembered`.
///
/// # Errors
/// `EPERM` for a value that is shown differently, if the mount denies such changes.
pub(crate) fn wanted(options: &VfsOptions, set: &SetAttr, shown: &Attr, remembered: Ownership) -> Result<Ownership> {
    let mode = set.mode.map(|mode| (mode & 0o7777) as u16);
    let set = Ownership { uid: set.uid, gid: set.gid, mode };
    let changed = differing(set, shown);
    let is_chown = changed.uid.is_some() || changed.gid.is_some();
    if is_chown && options.owner.chown == Keeping::Deny {
        return Err(VfsError::rule(libc::EPERM, "owner and group are set for the whole mount"));
    }
    if changed.mode.is_some() && options.owner.chmod == Keeping::Deny {
        return Err(VfsError::rule(libc::EPERM, "modes are set for the whole mount"));
    }
    // A value that is shown because this mount remembers it is stored at last.
    let storable = storable(options, set);
    let missing = Ownership {
        uid: storable.uid.filter(|_| storable.uid == remembered.uid),
        gid: storable.gid.filter(|_| storable.gid == remembered.gid),
        mode: storable.mode.filter(|_| storable.mode == remembered.mode),
    };
    let changed = changed.over(missing);
    Ok(Ownership {
        uid: changed.uid.filter(|_| options.owner.chown.keeps()),
        gid: changed.gid.filter(|_| options.owner.chown.keeps()),
        mode: changed.mode.filter(|_| options.owner.chmod.keeps()),
    })
}

/// The part of these values that is stored at the server, if the server keeps such values.
pub(crate) fn storable(options: &VfsOptions, set: Ownership) -> Ownership {
    let stores_owners = options.owner.source == OwnerSource::Server && options.owner.chown == Keeping::Store;
    Ownership {
        uid: set.uid.filter(|_| stores_owners),
        gid: set.gid.filter(|_| stores_owners),
        mode: set.mode.filter(|_| stores_modes(options)),
    }
}

/// Whether a file with this mode has the read-only attribute: if nobody may write. `None` if the mount leaves the
/// attribute alone.
pub(crate) fn readonly(options: &VfsOptions, mode: u32) -> Option<bool> {
    (options.owner.chmod == Keeping::Store).then_some(mode & 0o222 == 0)
}

/// Whether modes are stored at the server, if the server keeps such values.
pub(crate) fn stores_modes(options: &VfsOptions) -> bool {
    options.owner.source == OwnerSource::Server && options.owner.chmod == Keeping::Store
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ownership::{Fixed, OwnerOptions};
    use crate::vfs::tests::options;

    const PLAIN: Parent = Parent { gid: 7, hands_down_group: false };
    const TEAM: Parent = Parent { gid: 7, hands_down_group: true };

    fn maker(uid: u32, mode: u32) -> Maker {
        Maker { uid, gid: uid + 1, mode }
    }

    fn with(owner: OwnerOptions) -> VfsOptions {
        VfsOptions { owner, ..options() }
    }

    fn shown(uid: u32, gid: u32, mode: Option<u16>) -> Ownership {
        Ownership { uid: Some(uid), gid: Some(gid), mode }
    }

    #[test]
    fn a_new_file_has_the_mode_and_owner_of_its_program() {
        let made = of_new(&options(), maker(5, 0o100_600), FileKind::File, PLAIN);
        assert_eq!(made, shown(5, 6, Some(0o600)));
    }

    #[test]
    fn a_directory_with_the_set_group_id_bit_hands_its_group_down() {
        let file = of_new(&options(), maker(5, 0o640), FileKind::File, TEAM);
        assert_eq!(file, shown(5, 7, Some(0o640)));
        let directory = of_new(&options(), maker(5, 0o750), FileKind::Directory, TEAM);
        assert_eq!(directory, shown(5, 7, Some(0o2750)));
    }

    #[test]
    fn values_set_for_the_mount_are_those_of_new_files() {
        let fixed = Fixed { uid: true, gid: true, file_mode: true, dir_mode: true };
        let options = with(OwnerOptions { fixed, ..OwnerOptions::default() });
        assert_eq!(of_new(&options, maker(0, 0o600), FileKind::File, PLAIN), shown(1000, 100, None));
        let below = of_new(&options, maker(0, 0o700), FileKind::Directory, TEAM);
        assert_eq!(below, shown(1000, 7, Some(0o2755)), "the set-group-id bit is handed down still");
    }

    #[test]
    fn a_program_is_not_locked_out_by_a_mode_under_another_owner() {
        let fixed = Fixed { uid: true, ..Fixed::default() };
        let options = with(OwnerOptions { fixed, ..OwnerOptions::default() });
        assert_eq!(of_new(&options, maker(5, 0o600), FileKind::File, PLAIN).mode, None);
        assert_eq!(of_new(&options, maker(0, 0o600), FileKind::File, PLAIN).mode, Some(0o600), "root is never");
        assert_eq!(of_new(&options, maker(1000, 0o600), FileKind::File, PLAIN).mode, Some(0o600));
    }

    #[test]
    fn nothing_is_kept_where_changes_are_ignored_or_denied() {
        for keeping in [Keeping::Ignore, Keeping::Deny] {
            let options = with(OwnerOptions { chmod: keeping, chown: keeping, ..OwnerOptions::default() });
            assert_eq!(of_new(&options, maker(5, 0o600), FileKind::File, TEAM), shown(1000, 100, None));
        }
    }
}
