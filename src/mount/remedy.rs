//! What the user can do about a failed connection or a missing folder: the last lines of the message.
//!
//! A remedy follows, in this order, from what `wire` knows of the failure ([`ConnectError::remedy`]), from the server's
//! status together with the options, and from the stage. It is a command or a clause that the user can act on.

use super::{MountError, Stage};
use crate::config::{Dialect, Identity, MountSpec, Protection, Transport, nearest};
use crate::share::{ListedShare, ShareError, ShareKind};
use crate::wire::{self, ConnectError, NtStatus};

/// What the connection was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// A share is mounted.
    Mount,
    /// The shares of the server are listed.
    List,
}

/// The most shares that a message names.
const MOST_NAMES: usize = 10;
/// The longest name of a share that a message shows, in characters (MS-SRVS 3.1.4.7: a name has at most 80).
const LONGEST_NAME: usize = 80;

/// The error for a failed connection, with its remedy.
pub(super) fn explain(spec: &MountSpec, goal: Goal, error: &ConnectError) -> MountError {
    let stage = match error.stage {
        wire::Stage::Resolve => Stage::Resolve,
        wire::Stage::Connect => Stage::Connect,
        wire::Stage::Dialect => Stage::Dialect,
        wire::Stage::SignIn if error.refusal().is_some() => Stage::Refused,
        wire::Stage::SignIn => Stage::SignIn,
        wire::Stage::Share => Stage::Share,
    };
    let explained = MountError::new(stage, &*error.message).remedy(remedy(spec, goal, error));
    match error.status {
        Some(status) => explained.status(status),
        None => explained,
    }
}

fn remedy(spec: &MountSpec, goal: Goal, error: &ConnectError) -> String {
    if let Some(remedy) = error.remedy {
        return remedy.to_owned();
    }
    let is_denied = error.status == Some(NtStatus::ACCESS_DENIED);
    let remedy = match error.stage {
        wire::Stage::Resolve => "check the host's name, or give its address",
        wire::Stage::Connect => {
            "check that the server is up, that a firewall lets the port through, and the port in the URL"
        }
        wire::Stage::Dialect => "check --min-dialect, --max-dialect, --encryption and the server's settings",
        wire::Stage::SignIn | wire::Stage::Share if is_denied && demanded(spec).is_some() => {
            return demanded(spec).unwrap_or_default().to_owned();
        }
        wire::Stage::SignIn if error.refusal().is_some() && spec.identity.is_guest_or_anonymous() => {
            "the server lets no guests in: sign in as a user, with --username NAME"
        }
        wire::Stage::SignIn => wire::signin::remedy(error.status),
        wire::Stage::Share if goal == Goal::List && spec.identity.is_guest_or_anonymous() => {
            "the server may list its shares for other users: sign in with --username"
        }
        wire::Stage::Share if goal == Goal::List => {
            "the server may list no shares at all, or not to this user: ask its administrator for their names"
        }
        wire::Stage::Share => return format!("check the share's name and its permissions\n{}", listing_command(spec)),
    };
    remedy.to_owned()
}

/// What a server may demand that the options exclude. smbd refuses a session without it as ACCESS_DENIED, and says no
/// more.
fn demanded(spec: &MountSpec) -> Option<&'static str> {
    let options = &spec.options;
    if options.encryption == Protection::Off {
        Some("the server may require encryption: leave out --encryption off")
    } else if options.dialects.highest < Dialect::Smb300 {
        Some("the server may require encryption, which begins with SMB 3.0: leave out --vers and --max-dialect")
    } else if spec.identity.is_guest_or_anonymous() {
        Some("the server may require signing or encryption, which guests cannot have: sign in with --username NAME")
    } else {
        None
    }
}

/// The remedy for a share that does not exist on a server with these shares: the most similar name first. Hidden shares
/// are not named.
pub(super) fn other_shares(spec: &MountSpec, shares: &[ListedShare]) -> String {
    let is_shown = |share: &&ListedShare| {
        share.kind == ShareKind::Disk && !share.is_hidden() && share.name.chars().count() <= LONGEST_NAME
    };
    let mut names: Vec<&str> = shares.iter().filter(is_shown).map(|share| share.name.as_str()).collect();
    let wanted = spec.url.share.to_lowercase();
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let similar = nearest(&wanted, lower.iter().map(String::as_str))
        .and_then(|found| lower.iter().position(|name| name == found));
    if let Some(place) = similar {
        names[..=place].rotate_right(1);
    }
    let Some(first) = names.first() else {
        return format!("the server shows this user no shares\n{}", listing_command(spec));
    };
    let guess = if similar.is_some() { format!("did you mean {first:?}? ") } else { String::new() };
    let listed: Vec<String> = names.iter().take(MOST_NAMES).map(|name| format!("{name:?}")).collect();
    let more = match names.len().saturating_sub(MOST_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{guess}It has {}{more}\n{}", listed.join(", "), listing_command(spec))
}

/// The command that lists the server's shares for the same account.
fn listing_command(spec: &MountSpec) -> String {
    let transport = if spec.options.transport == Transport::NetBios { " --transport netbios" } else { "" };
    let account = match &spec.identity {
        Identity::Anonymous => " --anonymous".to_owned(),
        identity if identity.is_guest_or_anonymous() => " --guest".to_owned(),
        Identity::User { username, .. } => format!(" --username {}", quoted(username)),
    };
    format!("to list all shares: cifs-fuse shares '{}'{transport}{account}", spec.url.server())
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    match word.chars().all(|c| c.is_alphanumeric() || "._-@".contains(c)) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The error for a folder that cannot be opened after the share was connected.
pub(super) fn no_folder(spec: &MountSpec, error: &ShareError) -> MountError {
    let path = &spec.url.path;
    match error.nt_status() {
        Some(status @ (NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::OBJECT_PATH_NOT_FOUND)) => {
            MountError::new(Stage::Path, format!("the share {:?} has no folder {path:?}", spec.url.share))
                .status(status)
                .remedy("check the path after the share's name in the URL")
        }
        Some(status @ NtStatus::ACCESS_DENIED) => {
            let what = if path.is_empty() { "the root of the share".to_owned() } else { format!("{path:?}") };
            MountError::new(Stage::Path, format!("this user has no access to {what}"))
                .status(status)
                .remedy("check the folder's permissions on the server")
        }
        _ => MountError::new(Stage::Path, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MountOptions, ShareUrl};

    fn spec(url: &str, identity: Identity) -> MountSpec {
        let url = ShareUrl::parse(url, &[]).unwrap();
        MountSpec { url, mountpoint: "/mnt".into(), identity, options: MountOptions::default(), restart: None }
    }

    fn ann() -> Identity {
        Identity::User { username: "ann".to_owned(), domain: None, password: "pw".to_owned().into() }
    }

    fn disks(names: &[&str]) -> Vec<ListedShare> {
        let disk =
            |name: &&str| ListedShare { name: (*name).to_owned(), kind: ShareKind::Disk, comment: String::new() };
        names.iter().map(disk).collect()
    }

    #[test]
    fn the_most_similar_share_is_named_first_and_hidden_ones_are_not() {
        let said = other_shares(&spec("cifs://nas/MEDAI", ann()), &disks(&["backup", "print$", "Media", "ann\u{1b}"]));
        assert_eq!(
            said,
            "did you mean \"Media\"? It has \"Media\", \"backup\", \"ann\\u{1b}\"\n\
             to list all shares: cifs-fuse shares 'cifs://nas' --username ann"
        );
        let said = other_shares(&spec("cifs://[::1]:4450/xyz", Identity::Anonymous), &disks(&["backup"]));
        assert_eq!(said, "It has \"backup\"\nto list all shares: cifs-fuse shares 'cifs://[::1]:4450' --anonymous");
    }

    #[test]
    fn a_message_names_few_shares_whatever_the_server_has() {
        let names: Vec<String> =
            (0..1000).map(|number| format!("share-{number}")).chain(["x".repeat(10_000)]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = other_shares(&spec("cifs://nas/other", ann()), &disks(&names));
        assert!(said.contains("\"share-9\" and 990 more\n") && said.len() < 400, "{said}");
        assert!(other_shares(&spec("cifs://nas/other", ann()), &[]).contains("no shares"));
    }

    #[test]
    fn a_denied_session_is_explained_by_what_the_options_exclude() {
        let denied = ConnectError::refused(wire::Stage::Share, "refused", NtStatus::ACCESS_DENIED);
        let said = |change: fn(&mut MountSpec)| {
            let mut spec = spec("cifs://nas/media", ann());
            change(&mut spec);
            explain(&spec, Goal::Mount, &denied).to_string()
        };
        assert!(said(|spec| spec.options.encryption = Protection::Off).contains("leave out --encryption off"));
        assert!(said(|spec| spec.options.dialects.highest = Dialect::Smb210).contains("leave out --vers"));
        assert!(said(|spec| spec.identity = Identity::Anonymous).contains("--username NAME"));
        assert!(said(|_| {}).contains("check the share's name and its permissions"));
    }
}
