//! What was negotiated with the server, as names and values for a report. They contain no secret.

use crate::config::MountOptions;
use crate::share::{Volume, feature};
use crate::wire::Terms;
use crate::wire::greeting::Greeting;
use crate::wire::negotiate::capabilities;

/// Names and values, in the order in which they were found out.
pub type Facts = Vec<(&'static str, String)>;

/// The names of the server's capabilities (MS-SMB2 2.2.4).
const CAPABILITIES: [(u32, &str); 7] = [
    (0x01, "dfs"),
    (capabilities::LEASING, "leasing"),
    (capabilities::LARGE_MTU, "large-mtu"),
    (capabilities::MULTI_CHANNEL, "multi-channel"),
    (0x10, "persistent-handles"),
    (capabilities::DIRECTORY_LEASING, "directory-leasing"),
    (capabilities::ENCRYPTION, "encryption"),
];

/// The names of the features of a file system (MS-FSCC 2.5.1).
const FEATURES: [(u32, &str); 6] = [
    (feature::CASE_SENSITIVE, "case-sensitive"),
    (feature::SPARSE_FILES, "sparse-files"),
    (feature::REPARSE_POINTS, "reparse-points"),
    (feature::NAMED_STREAMS, "named-streams"),
    (feature::READ_ONLY_VOLUME, "read-only"),
    (feature::SHARED_BLOCKS, "shared-blocks"),
];

/// What the server answered to NEGOTIATE.
pub(super) fn of_greeting(greeting: &Greeting) -> Facts {
    let agreed = &greeting.agreed;
    let answer_to_all = agreed.server_capabilities();
    vec![
        ("dialect", format!("SMB {}", agreed.dialect)),
        ("capabilities", format!("{answer_to_all:#x}{}", named(answer_to_all, &CAPABILITIES))),
        ("signing required", agreed.server_requires_signing.to_string()),
        ("signing algorithm", agreed.signing.to_string()),
        ("cipher", agreed.cipher.map_or("none".to_owned(), |cipher| cipher.to_string())),
        ("large requests", agreed.large_mtu.to_string()),
        ("multichannel", agreed.multi_channel.to_string()),
        ("largest read", agreed.max_read.to_string()),
        ("largest write", agreed.max_write.to_string()),
        ("largest transaction", agreed.max_transact.to_string()),
    ]
}

/// What the session has.
pub(super) fn of_session(terms: &Terms) -> Facts {
    vec![("session", terms.to_string()), ("share read-only", terms.read_only.to_string())]
}

/// What the file system says about itself.
pub(super) fn of_volume(volume: &Volume) -> Facts {
    vec![
        ("file system", volume.name.clone()),
        ("features", format!("{:#x}{}", volume.features, named(volume.features, &FEATURES))),
        ("longest name", volume.longest_name.to_string()),
    ]
}

/// The options that decide about the connection, for a report.
pub(super) fn of_options(options: &MountOptions) -> Facts {
    let size = |size: Option<u32>| size.map_or("default".to_owned(), |size| size.to_string());
    vec![
        ("transport", options.transport.to_string()),
        ("dialects", format!("{} to {}", options.dialects.lowest, options.dialects.highest)),
        ("signing", options.signing.to_string()),
        ("encryption", options.encryption.to_string()),
        ("connections", options.connections.to_string()),
        ("connect timeout", format!("{:?}", options.connect_timeout)),
        ("request timeout", format!("{:?}", options.request_timeout)),
        ("cache", options.cache.to_string()),
        ("cache size", options.cache_size.to_string()),
        ("attribute timeout", format!("{:?}", options.attr_timeout)),
        ("read buffer size", size(options.read_buffer_size)),
        ("write buffer size", size(options.write_buffer_size)),
        ("uid, gid", format!("{}, {}", options.uid, options.gid)),
        ("file mode, dir mode", format!("{:04o}, {:04o}", options.file_mode, options.dir_mode)),
        ("read-only", options.read_only.to_string()),
        ("allow other", options.allow_other.to_string()),
        ("noexec", options.kernel.no_exec.to_string()),
    ]
}

/// The names of the bits that are set, after a blank; nothing if none of them has a name.
fn named(bits: u32, names: &[(u32, &str)]) -> String {
    let set: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { String::new() } else { format!(" {}", set.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_shown_with_their_names() {
        assert_eq!(named(0x46, &CAPABILITIES), " leasing large-mtu encryption");
        assert_eq!(named(0x8000_0000, &FEATURES), "");
    }
}
