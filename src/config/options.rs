//! How to mount, as plain values, with the defaults that hold when nothing is said.

use super::{CacheMode, DialectRange, Identity, Protection, ShareUrl, Transport};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a mount needs to know: what, where, as whom and how.
#[derive(Clone, Debug)]
pub struct MountSpec {
    /// The share and the folder on it.
    pub url: ShareUrl,
    /// The directory to mount on: an absolute path, not looked at yet.
    pub mountpoint: PathBuf,
    /// Who signs in.
    pub identity: Identity,
    /// How to mount.
    pub options: MountOptions,
    /// How to mount again when the process that serves the mount is killed, if that is wanted.
    pub restart: Option<Restart>,
}

/// The command line of a mount, for another process that is to make it again. It holds no password.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restart {
    /// The working directory, to which relative paths refer.
    pub directory: PathBuf,
    /// The words, the program's name first.
    pub words: Vec<OsString>,
}

impl MountSpec {
    /// The port to connect to: the URL's, or the transport's.
    pub fn port(&self) -> u16 {
        self.url.port.unwrap_or(self.options.transport.default_port())
    }
}

/// How to mount. Where the URL says otherwise than the command line, its word is in here.
#[derive(Clone, PartialEq, Debug)]
pub struct MountOptions {
    /// The owner that files show; by default the user who mounts.
    pub uid: u32,
    /// The group that files show; by default the group of the user who mounts.
    pub gid: u32,
    /// The permission bits that files show, at most `0o777`.
    pub file_mode: u32,
    /// The permission bits that directories show, at most `0o777`.
    pub dir_mode: u32,
    /// Nothing on the share is changed.
    pub read_only: bool,
    /// Users other than the one who mounts may come in.
    pub allow_other: bool,
    /// What the kernel is to forbid on the mount.
    pub kernel: KernelFlags,
    /// The memory budget of the page cache, in bytes.
    pub cache_size: u64,
    /// What is cached.
    pub cache: CacheMode,
    /// How long names and attributes are believed without asking the server.
    pub attr_timeout: Duration,
    /// The read buffer size that was asked for, in bytes; see [`super::buffers::effective`].
    pub read_buffer_size: Option<u32>,
    /// The write buffer size that was asked for, in bytes; see [`super::buffers::effective`].
    pub write_buffer_size: Option<u32>,
    /// The most connections to the server, 1 to [`MOST_CONNECTIONS`].
    pub connections: u8,
    /// How long connecting and signing in may take.
    pub connect_timeout: Duration,
    /// How long the server may take to answer a request.
    pub request_timeout: Duration,
    /// The dialects to offer.
    pub dialects: DialectRange,
    /// Whether messages are signed.
    pub signing: Protection,
    /// Whether messages are encrypted.
    pub encryption: Protection,
    /// How messages travel.
    pub transport: Transport,
}

/// What the kernel forbids on the mount (mount(2)).
///
/// `no_suid` and `no_dev` are always set: a share holds neither set-user-id programs nor device
/// nodes that this client could show, so `suid` and `dev` are tolerated as options without effect.
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

/// The most connections that a mount may have.
pub const MOST_CONNECTIONS: u8 = 16;

/// The smallest page cache that still holds a few chunks in each direction, in bytes.
pub const SMALLEST_CACHE: u64 = 16 << 20;

const LARGEST_DEFAULT_CACHE: u64 = 256 << 20;

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            file_mode: 0o755,
            dir_mode: 0o755,
            read_only: false,
            allow_other: false,
            kernel: KernelFlags::default(),
            cache_size: default_cache_size(),
            cache: CacheMode::default(),
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
        }
    }
}

/// 256 MiB, or an eighth of the machine's memory where that is less; in bytes.
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
    fn the_default_cache_is_bounded_whatever_the_machine() {
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
