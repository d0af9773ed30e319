//! Listing a directory.
//!
//! Most directories are small: open, two queries and close go as one compound, and the second query reports the end.
//! A directory that does not end there is opened again and listed through that open, one large buffer at a time. A
//! watched directory stays open anyway, and its listing continues through the same open.

use super::Result;
use super::directory::Directory;
use super::error::Cause;
use super::file::Open;
use super::smb::SmbShare;
use super::task::{Task, compound, metadata};
use super::types::{DirEntry, Metadata, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::credits::CREDIT_PAYLOAD;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::FileId;
use crate::wire::messages::create::{self, Create, access, disposition, options};
use crate::wire::messages::info::{self, Scan};
use crate::wire::messages::lease::Wanted;
use std::collections::VecDeque;
use std::sync::Arc;

/// The largest buffer for a query, in bytes: about 8,000 entries.
const BUFFER: u32 = 1 << 20;
/// The number of queries in the first compound.
const QUERIES: usize = 2;

/// A listing in progress.
#[derive(Debug)]
pub struct SmbListing {
    path: RemotePath,
    /// The directory itself.
    itself: Metadata,
    /// Entries that were received and not returned yet, by answer.
    ready: VecDeque<Vec<DirEntry>>,
    /// The open through which the rest is listed; `None` when there is no rest.
    directory: Option<Arc<Directory>>,
}

/// The compound that lists a small directory.
pub(super) struct Whole;

impl Whole {
    /// CREATE and two queries. The caller adds what follows.
    pub(super) fn requests(tree: &Tree, path: &RemotePath, wanted: Wanted) -> Vec<Request> {
        let queries: [u32; QUERIES] = [buffer(tree), CREDIT_PAYLOAD.min(buffer(tree))];
        let queries = queries.map(|buffer| info::query_directory(RELATED_FILE, buffer, Scan::Continues));
        std::iter::once(open_request(path, wanted)).chain(queries).collect()
    }

    /// The queries for all entries of a short directory that is open. They cost one credit each.
    pub(super) fn again(directory: FileId) -> [Request; QUERIES] {
        [Scan::Restarts, Scan::Continues].map(|scan| info::query_directory(directory, CREDIT_PAYLOAD, scan))
    }

    /// All entries, from the answers to [`Whole::again`]; `None` if the answers do not reach the end.
    pub(super) fn everything(task: Task<'_>, replies: &[Reply]) -> Result<Option<Vec<DirEntry>>> {
        let mut everything = Vec::new();
        for reply in replies {
            match entries(task, Some(reply))? {
                Some(more) => everything.extend(more),
                None => return Ok(Some(everything)),
            }
        }
        Ok(None)
    }
}

impl SmbListing {
    /// Begins to list a directory.
    ///
    /// # Errors
    /// Those of [`Names::list`](super::Names::list).
    pub(super) async fn begin(share: &SmbShare, path: &RemotePath) -> Result<SmbListing> {
        let task = Task { operation: "QUERY_DIRECTORY", path };
        let whole = |tree: &Tree| {
            let mut requests = Whole::requests(tree, path, Wanted::Nothing);
            requests.push(create::close(RELATED_FILE));
            requests
        };
        let (_, replies) = share.run(task, whole).await?;
        let mut listing = SmbListing::of(task, &replies)?;
        if listing.ready.len() < QUERIES {
            return Ok(listing);
        }
        listing.ready.clear();
        let open = |tree: &Tree| {
            let query = info::query_directory(RELATED_FILE, buffer(tree), Scan::Continues);
            vec![open_request(path, Wanted::Nothing), query]
        };
        let (tree, replies) = share.run(task, open).await?;
        listing.directory = Some(Directory::new(Open::new(tree, task.created(&replies)?.file)));
        listing.take(entries(task, replies.get(1))?);
        Ok(listing)
    }

    /// The listing in the answers to [`Whole::requests`], which continues in `directory` if that was not everything.
    pub(super) fn from_whole(task: Task<'_>, replies: &[Reply], directory: Arc<Directory>) -> Result<SmbListing> {
        let mut listing = SmbListing::of(task, replies)?;
        listing.directory = (listing.ready.len() == QUERIES).then_some(directory);
        Ok(listing)
    }

    /// The listing in the answers of the first frame. It is complete if fewer than [`QUERIES`] of them have entries.
    pub(super) fn of(task: Task<'_>, replies: &[Reply]) -> Result<SmbListing> {
        let created = task.created(replies)?;
        let itself = metadata(created.info, created.disk_id, 0);
        let mut ready = VecDeque::new();
        for reply in replies.iter().skip(1).take(QUERIES) {
            match entries(task, Some(reply))? {
                Some(entries) => ready.push_back(entries),
                None => break,
            }
        }
        Ok(SmbListing { path: task.path.clone(), itself, ready, directory: None })
    }

    /// A listing with these entries, of a directory that the server does not have.
    pub(super) fn complete(path: &RemotePath, itself: Metadata, entries: Vec<DirEntry>) -> SmbListing {
        SmbListing { path: path.clone(), itself, ready: VecDeque::from([entries]), directory: None }
    }

    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    pub(super) fn itself(&self) -> Metadata {
        self.itself
    }

    /// Whether the listing is complete with at most this many entries.
    pub(super) fn is_within(&self, most: usize) -> bool {
        self.directory.is_none() && self.ready.iter().map(Vec::len).sum::<usize>() <= most
    }

    /// The next entries, received before or now; none at the end.
    ///
    /// # Errors
    /// Those of [`Names::next_entries`](super::Names::next_entries).
    pub(super) async fn next(&mut self, share: &SmbShare) -> Result<Vec<DirEntry>> {
        loop {
            match self.ready.pop_front() {
                Some(entries) if entries.is_empty() => continue,
                Some(entries) => return Ok(entries),
                None => {}
            }
            let Some(directory) = self.directory.clone() else { return Ok(Vec::new()) };
            let Some(open) = directory.open() else { return Ok(Vec::new()) };
            let path = self.path.clone();
            let task = Task { operation: "QUERY_DIRECTORY", path: &path };
            self.take(query(share, task, (&open.tree, open.file), Scan::Continues).await?);
        }
    }

    /// The next entries have come, or there are no more.
    fn take(&mut self, entries: Option<Vec<DirEntry>>) {
        match entries {
            Some(entries) => self.ready.push_back(entries),
            None => self.directory = None,
        }
    }
}

/// The next entries of an open directory; `None` if there are no more.
///
/// # Errors
/// The server's refusal; [`Cause::Disconnected`], [`Cause::TimedOut`], [`Cause::Malformed`].
pub(super) async fn query(
    share: &SmbShare,
    task: Task<'_>,
    (tree, directory): (&Tree, FileId),
    scan: Scan,
) -> Result<Option<Vec<DirEntry>>> {
    let chain = compound(tree, vec![info::query_directory(directory, buffer(tree), scan)]);
    let replies = tree.channels.send(&chain, share.request_timeout).await.map_err(|error| task.wire(error))?;
    entries(task, replies.first())
}

fn open_request(path: &RemotePath, wanted: Wanted) -> Request {
    let create = Create {
        path: path.as_utf16(),
        access: access::READ_DATA | access::READ_ATTRIBUTES,
        attributes: 0,
        disposition: disposition::OPEN,
        options: options::DIRECTORY,
    };
    create.request_caching(wanted)
}

/// The size of the buffer for a query, in bytes: at most [`BUFFER`], MaxTransactSize, and a quarter of what the
/// credits carry.
fn buffer(tree: &Tree) -> u32 {
    let credits = tree.channels.credit_capacity().saturating_mul(CREDIT_PAYLOAD / 4).max(CREDIT_PAYLOAD);
    BUFFER.min(tree.terms.max_transact).min(credits)
}

/// The entries in a response; `None` if it reports the end.
fn entries(task: Task<'_>, reply: Option<&Reply>) -> Result<Option<Vec<DirEntry>>> {
    const DOT: u16 = b'.' as u16;
    let reply = reply.ok_or_else(|| task.fail(Cause::Malformed("a reply is missing".into())))?;
    // Some servers answer NO_SUCH_FILE for an empty directory without "." and "..".
    if matches!(reply.status(), NtStatus::NO_MORE_FILES | NtStatus::NO_SUCH_FILE) {
        return Ok(None);
    }
    if reply.status() != NtStatus::SUCCESS {
        return Err(task.status(reply.status()));
    }
    let found = task.parsed(info::parse_entries(reply))?;
    if found.is_empty() {
        // A listing that keeps succeeding without an entry would never end.
        return Err(task.fail(Cause::Malformed("a listing response without an entry".into())));
    }
    let found = found.into_iter().filter(|entry| !matches!(entry.name[..], [DOT] | [DOT, DOT]));
    Ok(Some(
        found
            .map(|entry| DirEntry {
                metadata: metadata(entry.info, task.file_id(entry.disk_id), entry.reparse_tag),
                name: entry.name,
            })
            .collect(),
    ))
}
