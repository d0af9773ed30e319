//! The options of mount.cifs that have another name here, or none: what each means for a mount of this program.
//!
//! An option is ignored only if the mount without it still does what the user expects of it: how data is transferred,
//! what is chosen automatically, what works this way in any case. It is refused if without it the mount would have
//! another account, other permissions, other names of files, less protection, or other data. What fails with an error at
//! its first use (making a link, for example) does not count among these.

use Meaning::{Ignored, Refused, Same, WithValue};

/// What an option of mount.cifs means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// The same as these long options; without any, what it requests is the case anyway.
    Same(&'static [&'static str]),
    /// The same as this long option with the same value.
    WithValue(&'static str),
    /// It has no effect, and needs none. The text says how it works here, or is empty.
    Ignored(&'static str),
    /// It matters and has no effect here. The text says what to use instead.
    Refused(&'static str),
}

const IN_THE_URL: &str = "it is part of the URL, cifs://host:port/share/path";
const KERBEROS: &str = "Kerberos is not supported; sign in with a user name and a password, as in credentials=FILE";
const NTLM_1: &str = "NTLM version 1 is not supported; use sec=ntlmssp";
/// Owners and modes from security descriptors, in whatever form the server has them.
const FROM_SERVER: &[&str] = &["--owner=server"];
const LINKS: &str = "symlinks chooses how links are stored; special files are stored as the server allows";
const LOCAL_LOCKS: &str = "locks are not sent to the server; only programs on this mount see them";
const ONE_TIMEOUT: &str = "files and directories have one time limit; use actimeo=SECONDS";

/// Each option as `name`, or as `name=value` if it means this with that value only.
const OPTIONS: &[(&str, Meaning)] = &[
    // Signing in, and what protects the messages.
    ("sec=ntlmssp", Same(&[])),
    ("sec=ntlmv2", Same(&[])),
    ("sec=ntlmsspi", Same(&["--signing=required"])),
    ("sec=ntlmv2i", Same(&["--signing=required"])),
    ("sec=none", Same(&["--anonymous"])),
    ("sec=ntlm", Refused(NTLM_1)),
    ("sec=ntlmi", Refused(NTLM_1)),
    ("sec=krb5", Refused(KERBEROS)),
    ("sec=krb5i", Refused(KERBEROS)),
    ("sec", Refused("it must be one of: ntlmssp, ntlmsspi, ntlmv2, ntlmv2i, none")),
    ("sign", Same(&["--signing=required"])),
    ("seal", Same(&["--encryption=required"])),
    ("signloosely", Ignored("")),
    ("ignore_signature", Refused("signatures are verified; use signing=off")),
    ("domainauto", Ignored("")),
    ("cruid", Refused(KERBEROS)),
    ("upcall_target", Refused(KERBEROS)),
    ("password2", Refused("there is one password; put it into the file of credentials, which SIGHUP reads again")),
    ("multiuser", Refused("a mount has one account; mount once for each user")),
    ("backupuid", Refused("backup rights are not requested; use an account that may read the files")),
    ("backupgid", Refused("backup rights are not requested; use an account that may read the files")),
    // The server and the connections.
    ("port", Refused(IN_THE_URL)),
    ("ip", Refused(IN_THE_URL)),
    ("addr", Refused(IN_THE_URL)),
    ("unc", Refused(IN_THE_URL)),
    ("target", Refused(IN_THE_URL)),
    ("path", Refused(IN_THE_URL)),
    ("prefixpath", Refused(IN_THE_URL)),
    ("srcaddr", Refused("the routing table chooses the own address; use a route with a src")),
    ("netbiosname", Ignored("")),
    ("servern", Ignored("")),
    ("ver", Ignored("")),
    ("max_channels", WithValue("connections")),
    ("nomultichannel", Same(&["--connections=1"])),
    ("multichannel", Ignored("")),
    ("rdma", Refused("the connection uses TCP; remove it if the server listens on TCP too")),
    ("dfs", Refused("referrals are not followed; write the server and the share that they lead to into the URL")),
    ("nodfs", Ignored("")),
    ("sync", Refused("use cache=none, with which each write is on the server when it returns")),
    ("dirsync", Ignored("changes of names are always sent at once")),
    ("hard", Refused("calls do not wait for ever; request-timeout=SECONDS says how long they wait for a server")),
    ("soft", Ignored("")),
    ("retrans", Ignored("")),
    ("intr", Ignored("")),
    ("nointr", Ignored("")),
    ("echo_interval", Ignored("")),
    ("handletimeout", Ignored("")),
    ("persistenthandles", Ignored("")),
    ("nopersistenthandles", Ignored("")),
    ("resilienthandles", Ignored("")),
    ("noresilienthandles", Ignored("")),
    ("sharesock", Ignored("")),
    ("nosharesock", Ignored("")),
    ("tcpnodelay", Ignored("")),
    ("noblocksend", Ignored("")),
    ("noautotune", Ignored("")),
    ("max_credits", Ignored("")),
    ("min_enc_offload", Ignored("")),
    ("compress", Ignored("")),
    ("witness", Ignored("")),
    ("nowitness", Ignored("")),
    // Owners, permissions and locks.
    ("forceuid", Same(&[])),
    ("forcegid", Same(&[])),
    ("noforceuid", Ignored("")),
    ("noforcegid", Ignored("")),
    ("dirmode", WithValue("dir-mode")),
    ("fmask", Refused("use file_mode, the permissions themselves")),
    ("dmask", Refused("use dir_mode, the permissions themselves")),
    ("perm", Same(&[])),
    ("noperm", Ignored("file_mode and dir_mode decide who has access")),
    ("dynperm", Same(&[])),
    ("nodynperm", Ignored("")),
    ("setuids", Ignored("")),
    ("nosetuids", Ignored("")),
    ("cifsacl", Same(FROM_SERVER)),
    ("nocifsacl", Ignored("")),
    ("setuidfromacl", Same(FROM_SERVER)),
    ("modefromsid", Same(FROM_SERVER)),
    ("idsfromsid", Same(FROM_SERVER)),
    ("acl", Ignored("")),
    ("noacl", Ignored("")),
    ("nodelete", Refused("use ro, or take the right to delete away on the server")),
    ("nobrl", Ignored("")),
    ("nolock", Ignored("")),
    ("brl", Refused(LOCAL_LOCKS)),
    ("lock", Refused(LOCAL_LOCKS)),
    ("forcemand", Refused(LOCAL_LOCKS)),
    ("forcemandatorylock", Refused(LOCAL_LOCKS)),
    ("locallease", Ignored("")),
    // Names and kinds of files.
    ("iocharset=utf8", Ignored("")),
    ("iocharset=utf-8", Ignored("")),
    ("iocharset", Refused("names are UTF-8; use a UTF-8 locale and iocharset=utf8")),
    ("mapposix", Ignored("")),
    ("nomapposix", Ignored("characters that the server refuses are mapped")),
    ("mapchars", Refused("names are mapped as by mapposix, so names that mapchars made look different")),
    ("nomapchars", Ignored("")),
    ("nocase", Refused("names are looked up as the server does; most servers ignore the case anyway")),
    ("ignorecase", Refused("names are looked up as the server does; most servers ignore the case anyway")),
    ("serverino", Ignored("")),
    ("noserverino", Ignored("")),
    ("unix", Refused("extensions for Unix are not used; use uid, gid, file_mode and dir_mode")),
    ("linux", Refused("extensions for Unix are not used; use uid, gid, file_mode and dir_mode")),
    ("posix", Refused("extensions for Unix are not used; use uid, gid, file_mode and dir_mode")),
    ("nounix", Ignored("")),
    ("nolinux", Ignored("")),
    ("noposix", Ignored("")),
    ("posixpaths", Ignored("")),
    ("noposixpaths", Ignored("")),
    ("mfsymlinks", Same(&["--symlinks=mfsymlinks"])),
    ("nomfsymlinks", Ignored("")),
    ("symlink=none", Same(&["--symlinks=off"])),
    ("symlink=mfsymlinks", Same(&["--symlinks=mfsymlinks"])),
    ("symlink", Ignored(LINKS)),
    ("reparse", Ignored(LINKS)),
    ("sfu", Ignored(LINKS)),
    ("symlinkroot", Ignored("")),
    ("user_xattr", Ignored("no extended attributes are stored")),
    ("nouser_xattr", Ignored("")),
    ("nosparse", Ignored("")),
    ("snapshot", Refused("use the path @GMT-YYYY.MM.DD-HH.MM.SS in the URL (UTC)")),
    // The cache.
    ("cache=ro", Refused("use ro,cache=loose")),
    ("cache=singleclient", Refused("use cache=loose")),
    ("noac", Refused("use cache=none, or actimeo=0")),
    ("acregmax", Refused(ONE_TIMEOUT)),
    ("acdirmax", Refused(ONE_TIMEOUT)),
    ("nolease", Refused("use cache=none")),
    ("lease", Ignored("")),
    ("strictsync", Same(&[])),
    ("nostrictsync", Ignored("fsync reaches the server's disk")),
    ("fsc", Ignored("the cache is in memory, and cache-size sets its size")),
    ("nofsc", Ignored("")),
    ("handlecache", Ignored("")),
    ("nohandlecache", Ignored("")),
    ("max_cached_dirs", Ignored("")),
    ("closetimeo", Ignored("")),
    ("rasize", Ignored("")),
    ("bsize", Ignored("")),
    ("esize", Ignored("")),
];

/// An option of mount.cifs as the table has it, and what it means. `name` is in the canonical spelling, with dashes.
pub(super) fn meaning(name: &str, value: Option<&str>) -> Option<(&'static str, Meaning)> {
    let with_value = value.map(|value| value.trim().to_ascii_lowercase());
    let find = |wanted: Option<&str>| {
        let is_it = |listed: &str| match listed.split_once('=') {
            Some((listed, value)) => wanted == Some(value) && is_name(listed, name),
            None => wanted.is_none() && is_name(listed, name),
        };
        OPTIONS.iter().copied().find(|(listed, _)| is_it(listed))
    };
    with_value.as_deref().and_then(|value| find(Some(value))).or_else(|| find(None))
}

fn is_name(listed: &str, name: &str) -> bool {
    listed.len() == name.len() && listed.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::super::args::{Args, mount_option_names};
    use super::*;
    use crate::config::url::option_name;
    use std::collections::BTreeSet;

    #[test]
    fn a_value_can_change_what_an_option_means() {
        assert_eq!(meaning("sec", Some("NTLMSSP")), Some(("sec=ntlmssp", Same(&[]))));
        assert_eq!(meaning("sec", Some("krb5")), Some(("sec=krb5", Refused(KERBEROS))));
        assert!(matches!(meaning("sec", Some("zzz")), Some(("sec", Refused(_)))));
        assert!(matches!(meaning("iocharset", Some("utf8")), Some((_, Ignored(_)))));
        assert!(matches!(meaning("iocharset", Some("iso8859-1")), Some(("iocharset", Refused(_)))));
        assert_eq!(meaning("max-channels", Some("4")), Some(("max_channels", WithValue("connections"))));
        assert!(matches!(meaning("snapshot", None), Some((_, Refused(_)))));
        // The other values of this one are those of an option of this program.
        assert_eq!(meaning("cache", Some("loose")), None);
        assert_eq!(meaning("zzz", Some("1")), None);
    }

    #[test]
    fn every_option_is_listed_once_and_is_no_option_of_this_program() {
        let names: BTreeSet<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), OPTIONS.len());
        let own = mount_option_names();
        assert!(names.iter().all(|name| !own.contains(&option_name(name))));
    }

    #[test]
    fn every_long_option_that_one_stands_for_is_accepted() {
        for (name, meaning) in OPTIONS {
            let words = match meaning {
                Same(words) => words.iter().map(|word| (*word).to_owned()).collect(),
                WithValue(long) => vec![format!("--{long}=7")],
                Ignored(_) => continue,
                Refused(instead) => {
                    assert!(!instead.is_empty(), "{name}");
                    continue;
                }
            };
            let line = [vec!["cifs-fuse".to_owned()], words].concat();
            Args::read(line.into_iter().map(Into::into).collect()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
