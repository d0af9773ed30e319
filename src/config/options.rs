//! How to mount, as plain values, and the defaults.

use super::{
    CacheMode, DialectRange, Identity, MetricsAddress, OwnerOptions, Protection, ShareUrl, Symlinks, Transport,
};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a mount needs: share, directory, identity and options.
#[derive(Clone, Debug)]
pub struct MountSpec {
    /// The share and the folder on it.
    pub url: ShareUrl,
    /// The directory to mount on, as an absolute path. It has not been checked yet.
    pub mountpoint: PathBuf,
    /// The account to sign in with.
    pub identity: Identity,
    /// How to mount.
    pub options: MountOptions,
    /// How to mount again when the process that serves the mount is killed; `None` if the mount is not to be restarted.
    pub restart: Option<MountCommand>,
}

/// The command line of a mount, with which another process can mount again. It contains no password.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MountCommand {
    /// The working directory, which relative paths refer to.
    pub directory: PathBuf,
    /// The arguments, the program's name first.
    pub words: Vec<OsString>,
}

impl MountSpec {
    /// The port to connect to: the URL's, or the transport's.
    pub fn port(&self) -> u16 {
        self.url.port.unwrap_or(self.options.transport.default_port())
    }
}

/// How to mount. Options in the URL have already replaced those of the command line.
#[derive(Clone, PartialEq, Debug)]
pub struct MountOptions {
    /// The owner of files; by default the user who mounts.
    pub uid: u32,
    /// The group of files; by default the group of the user who mounts.
    pub gid: u32,
    /// The permission bits of files, at most `0o777`.
    pub file_mode: u32,
    /// The permission bits of directories, at most `0o777`.
    pub dir_mode: u32,
    /// Where owners and modes come from, and what changes of them do.
    pub owner: OwnerOptions,
    /// Whether the share is mounted read-only.
    pub read_only: bool,
    /// Whether users other than the one who mounts may use the mount.
    pub allow_other: bool,
    /// What the kernel forbids on the mount.
    pub kernel: KernelFlags,
    /// The memory budget of the page cache, in bytes.
    pub cache_size: u64,
    /// What is cached, and how it is kept valid.
    pub cache: CacheMode,
    /// How symbolic links are stored.
    pub symlinks: Symlinks,
    /// How long names, attributes, and data that no lease covers are used without revalidation; longer while a watch or
    /// a lease covers them.
    pub attr_timeout: Duration,
    /// The requested read buffer size, in bytes; see [`super::buffers::effective`].
    pub read_buffer_size: Option<u32>,
    /// The requested write buffer size, in bytes; see [`super::buffers::effective`].
    pub write_buffer_size: Option<u32>,
    /// The largest number of connections to the server, 1 to [`MOST_CONNECTIONS`].
    pub connections: u8,
    /// Time limit for connecting and signing in together. Each round of the sign-in may use all that was left of it
    /// when the sign-in began.
    pub connect_timeout: Duration,
    /// Time limit for the answer to a request. An operation also waits this long for a server that is away.
    pub request_timeout: Duration,
    /// The dialects to offer.
    pub dialects: DialectRange,
    /// Whether messages are signed.
    pub signing: Protection,
    /// Whether messages are encrypted.
    pub encryption: Protection,
    /// The transport of SMB2 messages.
    pub transport: Transport,
    /// Where the mount offers its metrics; `None` if it offers none.
    pub metrics: Option<MetricsAddress>,
}

/// What the kernel forbids on the mount (mount(2)).
///
/// `no_suid` and `no_dev` are always set: the server must not give programs of a share the rights of other users, nor
/// let its device nodes be opened. The options `suid` and `dev` are accepted and have no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelFlags {
    /// `MS_NOSUID`
    pub no_suid: bool,
    /// `MS_NODEV`
    pub no_dev: bool,
    /// `MS_NOEXEC`
    pub no_exec: bool,
}

impl Default for KernelFlags {
    fn default() -> KernelFlags {
        KernelFlags { no_suid: true, no_dev: true, no_exec: false }
    }
}

/// The largest number of connections of a mount.
pub const MOST_CONNECTIONS: u8 = 16;

/// The smallest budget of the page cache, in bytes: 16 chunks of the default buffer size.
pub const SMALLEST_CACHE: u64 = 16 << 20;

/// The largest budget that is chosen by default, in bytes.
const LARGEST_DEFAULT_CACHE: u64 = 256 << 20;

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            file_mode: 0o755,
            dir_mode: 0o755,
            owner: OwnerOptions::default(),
            read_only: false,
            allow_other: false,
            kernel: KernelFlags::default(),
            cache_size: default_cache_size(),
            cache: CacheMode::default(),
            symlinks: Symlinks::default(),
            attr_timeout: CacheMode::default().attr_timeout(),
            read_buffer_size: None,
            write_buffer_size: None,
            connections: 2,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            dialects: DialectRange::default(),
            signing: Protection::Auto,
            encryption: Protection::Auto,
            transport: Transport::DirectTcp,
            metrics: None,
        }
    }
}

/// An eighth of the machine's memory, in bytes, but at least 16 MiB and at most 256 MiB; 256 MiB if the memory is
/// unknown.
fn default_cache_size() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match total_memory(&meminfo) {
        Some(total) => (total / 8).clamp(SMALLEST_CACHE, LARGEST_DEFAULT_CACHE),
        None => LARGEST_DEFAULT_CACHE,
    }
}

/// `MemTotal` of /proc/meminfo (proc(5)), in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:        8000000 kB\nMemFree: 1 kB\n"), Some(8_192_000_000));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        assert_eq!(total_memory("MemTotal: lots kB\n"), None);
    }

    #[test]
    fn the_default_cache_size_is_bounded_on_every_machine() {
        assert!((SMALLEST_CACHE..=LARGEST_DEFAULT_CACHE).contains(&MountOptions::default().cache_size));
    }

    #[test]
    fn the_port_is_the_urls_or_else_the_transports() {
        let spec = |url: &str, transport| MountSpec {
            url: ShareUrl::parse(url, &[]).unwrap(),
            mountpoint: "/mnt".into(),
            identity: Identity::Anonymous,
            options: MountOptions { transport, ..MountOptions::default() },
            restart: None,
        };
        assert_eq!(spec("cifs://nas/media", Transport::DirectTcp).port(), 445);
        assert_eq!(spec("cifs://nas/media", Transport::NetBios).port(), 139);
        assert_eq!(spec("cifs://nas:4450/media", Transport::NetBios).port(), 4450);
    }
}
