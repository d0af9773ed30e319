//! What a mount reports of itself: the document that `cifs-fuse status` shows, as JSON on the wire.
//!
//! [`VERSION`] changes when a field is removed or gets another meaning. Fields can be added without a new version, so a
//! reader ignores those that it does not know. Times are in seconds or, where the name says so, in microseconds; sizes
//! are in bytes. No field contains a secret.

use super::counters::{Sample, Value};
use super::latency::Summary;
use super::recent::Recent;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version of the document.
pub const VERSION: u32 = 1;

/// A mount at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`] of the program that serves the mount.
    pub version: u32,
    /// The version of the program that serves the mount.
    pub program: String,
    /// The process that serves the mount.
    pub process: u32,
    /// What is mounted: the URL without its password.
    pub url: String,
    /// The directory that it is mounted on.
    pub mountpoint: String,
    /// The device number of the mount, as in /proc/self/mountinfo: `0:53`. It identifies the mount, wherever it is bound.
    #[serde(default)]
    pub device: String,
    /// The account that signs in; `None` for an anonymous session.
    pub user: Option<String>,
    /// How long the mount has existed, in seconds.
    pub age: u64,
    /// Whether the mount is read-only.
    pub read_only: bool,
    /// The connection to the server.
    pub server: Server,
    /// The buffer sizes in use.
    pub buffers: Buffers,
    /// The page cache, and how names and attributes are cached.
    pub cache: Cache,
    /// All counters that are not zero.
    pub counters: Vec<Counted>,
    /// The last warnings and errors, the newest last.
    pub recent: Vec<Recent>,
}

/// The connection to the server. While the server is away, all but `state` and `away` describe the lost session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Server {
    /// The server's address and port.
    pub address: String,
    /// `live`, `lost`, `reconnecting`, `reclaiming` (files are opened again) or `verifying` (changes without an answer).
    pub state: String,
    /// The outage, if the session is lost.
    pub away: Option<Away>,
    /// The dialect, such as `3.1.1`.
    pub dialect: String,
    /// The algorithm that signs every message; `None` if messages are encrypted instead, or not signed.
    pub signing: Option<String>,
    /// The cipher; `None` if messages are not encrypted.
    pub encryption: Option<String>,
    /// Whether it is a guest or anonymous session.
    pub guest: bool,
    /// Whether the server lets this user only read.
    pub share_read_only: bool,
    /// Whether the server grants leases.
    pub leasing: bool,
    /// Whether the server grants leases on directories.
    pub directory_leasing: bool,
    /// How many connections the session has.
    pub connections: usize,
    /// Credits of all connections that are free.
    pub credits_available: u32,
    /// Credits of all connections that are in use by requests in flight.
    pub credits_in_use: u32,
}

/// An outage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Away {
    /// How long it has lasted, in seconds.
    pub seconds: u64,
    /// Why the session was lost, and why it was not made again.
    pub why: String,
}

/// The buffer sizes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Buffers {
    /// The size of READs.
    pub read: Buffer,
    /// The size of WRITEs.
    pub write: Buffer,
}

/// A buffer size.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Buffer {
    /// The size in use, in bytes.
    pub bytes: u32,
    /// The size with its reason, for a person.
    pub reason: String,
}

/// The cache.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cache {
    /// `strict`, `none` or `loose`.
    pub mode: String,
    /// How long names and attributes are cached without a watch or a lease, in seconds.
    pub attr_timeout: f64,
    /// The memory budget, in bytes.
    pub budget: u64,
    /// Memory in use, dirty bytes included.
    pub used: u64,
    /// Bytes that the server does not have yet.
    pub dirty: u64,
    /// Files and directories with a lease or an oplock.
    pub leases: usize,
    /// Directories whose changes the server reports.
    pub watches: usize,
}

/// A counter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// The name, as in [`super::counters::Counters`].
    pub name: String,
    /// The operation of the kernel or the command of SMB2, where a name has one value for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The number, or how many times were measured.
    pub value: u64,
    /// How long it took, where that is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the times are no longer than this.
    pub median_micros: u64,
    /// 99 of 100 times are no longer than this.
    pub p99_micros: u64,
    /// The longest time.
    pub longest_micros: u64,
}

impl From<Sample> for Counted {
    fn from(sample: Sample) -> Counted {
        let latency = match sample.value {
            Value::Count(_) | Value::Level(_) => None,
            Value::Latency(summary) => Some(summary.into()),
        };
        let value = sample.value.number();
        Counted { name: sample.name.to_owned(), of: sample.of.map(str::to_owned), value, latency }
    }
}

impl From<Summary> for Latency {
    fn from(summary: Summary) -> Latency {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Latency {
            median_micros: micros(summary.median),
            p99_micros: micros(summary.p99),
            longest_micros: micros(summary.longest),
        }
    }
}

impl Status {
    /// The value of a counter; 0 if it was not counted.
    pub fn count(&self, name: &str, of: Option<&str>) -> u64 {
        self.counters
            .iter()
            .find(|counted| counted.name == name && counted.of.as_deref() == of)
            .map_or(0, |counted| counted.value)
    }
}

/// The status of a mount, for tests.
#[cfg(test)]
pub(crate) fn example() -> Status {
    let buffer = Buffer { bytes: 1 << 20, reason: "1 MiB: chosen, the server supports up to 8 MiB".to_owned() };
    let counted = |name: &str, of: &str, value| Counted {
        name: name.to_owned(),
        of: Some(of.to_owned()),
        value,
        latency: Some(Latency { median_micros: 8, p99_micros: 1_250, longest_micros: 1_500_000 }),
    };
    Status {
        version: VERSION,
        program: "0.1.0".to_owned(),
        process: 4711,
        url: "cifs://nas/media".to_owned(),
        mountpoint: "/mnt/films".to_owned(),
        device: "0:53".to_owned(),
        user: Some("ann".to_owned()),
        age: 7_384,
        read_only: false,
        server: Server {
            address: "192.0.2.7:445".to_owned(),
            state: "live".to_owned(),
            away: None,
            dialect: "3.1.1".to_owned(),
            signing: Some("AES-GMAC".to_owned()),
            encryption: None,
            guest: false,
            share_read_only: false,
            leasing: true,
            directory_leasing: false,
            connections: 2,
            credits_available: 500,
            credits_in_use: 12,
        },
        buffers: Buffers { read: buffer.clone(), write: buffer },
        cache: Cache {
            mode: "strict".to_owned(),
            attr_timeout: 1.0,
            budget: 256 << 20,
            used: 12_345_678,
            dirty: 0,
            leases: 1,
            watches: 3,
        },
        counters: vec![
            counted("requests", "lookup", 200),
            Counted { latency: None, ..counted("requests_waited", "lookup", 50) },
            counted("round_trips", "CREATE", 50),
        ],
        recent: Vec::new(),
    }
}
