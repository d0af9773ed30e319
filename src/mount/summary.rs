//! The one line that says what was mounted.

use crate::config::{Identity, MountSpec};
use crate::wire::Terms;
use std::path::Path;

/// What is mounted where, on which terms, as whom, for whom, and whether it can be written:
/// `cifs://nas/media on /mnt/media: SMB 3.1.1, signed, as ann, read-only (the share is)`.
pub(super) fn summary(spec: &MountSpec, mountpoint: &Path, terms: &Terms) -> String {
    let protection = match (terms.cipher, terms.signing) {
        (Some(_), _) => "encrypted",
        (None, Some(_)) => "signed",
        (None, None) => "not signed",
    };
    let who = match &spec.identity {
        Identity::Anonymous => "anonymously".to_owned(),
        _ if terms.guest => "as guest".to_owned(),
        Identity::User { username, .. } => format!("as {username}"),
    };
    let access = match (spec.options.read_only, terms.read_only) {
        (true, _) => ", read-only",
        (false, true) => ", read-only (the share is)",
        (false, false) => "",
    };
    let users = if spec.options.allow_other { ", for all local users" } else { "" };
    format!("{} on {}: SMB {}, {protection}, {who}{users}{access}", spec.url, mountpoint.display(), terms.dialect)
}
