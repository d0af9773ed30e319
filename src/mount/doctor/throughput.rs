//! The speed of reading: finds a large file below the folder, and reads it for some seconds as a mount does.
//!
//! Both parts have limits: a search in a large tree, or a read from a slow server, ends in time. The file is opened for
//! reading only, without a lease.

use crate::share::{Attributes, Disposition, FileKind, Files, Names, OpenHow, RemotePath, Result, SmbShare};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A file of this size, in bytes, ends the search: reading it takes some seconds on a fast network.
const LARGE: u64 = 1 << 30;
/// The smallest file that is read, in bytes. The time of a smaller one is mostly that of its round trips.
const LEAST: u64 = 4 << 20;
/// The bounds of the search: its time, the folders that are listed, the entries that are looked at.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);
const FOLDERS: usize = 100;
const ENTRIES: usize = 50_000;
/// How long is read, and the most bytes.
const READ_LIMIT: Duration = Duration::from_secs(4);
const MOST: u64 = 4 << 30;
/// The number of READs in flight.
const IN_FLIGHT: u64 = 8;

/// How much was read, and how long that took.
#[derive(Clone, PartialEq, Debug)]
pub struct Throughput {
    /// The file, from the root of the share.
    pub file: String,
    /// Bytes that were read.
    pub bytes: u64,
    /// The time that it took.
    pub took: Duration,
}

/// Reads the largest file that is found below `folder`; `None` if none is large enough.
///
/// # Errors
/// The folder cannot be listed, or the file not be opened or read.
pub(super) async fn measure(share: &Arc<SmbShare>, folder: &RemotePath) -> Result<Option<Throughput>> {
    let Some((path, size)) = largest(share, folder).await? else { return Ok(None) };
    let how = OpenHow { read: true, write: false, disposition: Disposition::Open, readonly: false, lease: None };
    let (file, ..) = share.open(&path, how).await?;
    let file = Arc::new(file);
    let (next, length) = (Arc::new(AtomicU64::new(0)), share.limits().read);
    let started = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (share, file, next) = (Arc::clone(share), Arc::clone(&file), Arc::clone(&next));
        readers.spawn(async move {
            let mut bytes = 0;
            while started.elapsed() < READ_LIMIT {
                let offset = next.fetch_add(u64::from(length), Ordering::Relaxed);
                if offset >= size.min(MOST) {
                    break;
                }
                bytes += share.read(&file, offset, length).await?.len() as u64;
            }
            Ok(bytes)
        });
    }
    let mut bytes = 0;
    let mut failed = None;
    while let Some(ended) = readers.join_next().await {
        match ended {
            Ok(Ok(read)) => bytes += read,
            Ok(Err(error)) => failed = Some(error),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    let took = started.elapsed();
    share.close(&file).await?;
    match failed {
        Some(error) => Err(error),
        None => Ok(Some(Throughput { file: path.to_string(), bytes, took })),
    }
}

/// The largest file below a folder, within the bounds of the search, with its size in bytes. Folders below the first
/// one that cannot be listed are passed over, and so are links.
async fn largest(share: &SmbShare, folder: &RemotePath) -> Result<Option<(RemotePath, u64)>> {
    let deadline = Instant::now() + SEARCH_LIMIT;
    let mut found: Option<(RemotePath, u64)> = None;
    let (mut folders, mut listed, mut looked_at) = (VecDeque::from([folder.clone()]), 0, 0);
    while let Some(path) = folders.pop_front() {
        let mut listing = match share.list(&path).await {
            Ok(listing) => listing,
            Err(error) if listed == 0 => return Err(error),
            Err(_) => continue,
        };
        listed += 1;
        while let Ok(entries) = share.next_entries(&mut listing).await {
            if entries.is_empty() {
                break;
            }
            looked_at += entries.len();
            for entry in entries.iter().filter(|entry| !entry.metadata.attributes.has(Attributes::REPARSE_POINT)) {
                let (size, largest) = (entry.metadata.size, found.as_ref().map_or(LEAST, |(_, size)| *size + 1));
                match entry.metadata.kind() {
                    FileKind::Directory if folders.len() < FOLDERS => folders.push_back(path.join(&entry.name)),
                    FileKind::File if size >= largest => found = Some((path.join(&entry.name), size)),
                    _ => {}
                }
            }
            let is_large = found.as_ref().is_some_and(|(_, size)| *size >= LARGE);
            if is_large || looked_at >= ENTRIES || Instant::now() >= deadline {
                return Ok(found);
            }
        }
        if listed >= FOLDERS {
            break;
        }
    }
    Ok(found)
}
