//! Previous versions: which of them the server has, and how they are shown.
//!
//! A path with a component `@GMT-…` leads to a previous version ([`snapshots`](crate::wire::messages::snapshots)). Each
//! folder also seems to have a folder [`FOLDER`], with one folder for each previous version, unless something of the
//! server's has this name or the server has no previous version of the folder.
//!
//! Invariants: nothing is opened in a previous version before the server has listed that version, because a server that
//! does not know SMB2_CREATE_TIMEWARP_TOKEN ignores it and opens the live file. No change is sent to a previous
//! version. A file of a previous version has no file id here: Windows reports that of the live file, which is another
//! file with other data.

use super::listing::SmbListing;
use super::smb::SmbShare;
use super::task::Task;
use super::types::{Attributes, DirEntry, FileTime, Metadata, RemotePath};
use super::{Refusal, Result};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::credits::CREDIT_PAYLOAD;
use crate::wire::frame::RELATED_FILE;
use crate::wire::messages::create::{self, access, options};
use crate::wire::messages::lease::Wanted;
use crate::wire::messages::snapshots::{self, MOST, Previous, Snapshot, Snapshots};
use parking_lot::Mutex;
use std::collections::HashSet;

#[cfg(doc)]
use crate::wire::messages::snapshots::FOLDER;
/// Whether a name may mean something although no listing shows it: previous versions, and the folder that has them.
pub use crate::wire::messages::snapshots::is_name as is_unlisted_name;

/// Space for the list of previous versions, in bytes: what one credit carries is enough for 1,300, and the second size
/// for [`MOST`].
const SPACE: [u32; 2] = [CREDIT_PAYLOAD, 4 * CREDIT_PAYLOAD];

/// The previous versions that the server has listed, at most [`MOST`].
#[derive(Debug, Default)]
pub(super) struct PreviousVersions(Mutex<HashSet<Snapshot>>);

impl PreviousVersions {
    fn learn(&self, tokens: &[Vec<u16>]) {
        let mut known = self.0.lock();
        if known.len() + tokens.len() > MOST {
            known.clear();
        }
        known.extend(tokens.iter().filter_map(|token| Snapshot::parse(token)));
    }

    fn has(&self, at: Snapshot) -> bool {
        self.0.lock().contains(&at)
    }
}

impl SmbShare {
    /// Checks that the server has the previous version that the path leads to, if it leads to one. To be called before
    /// anything below a path is looked at, listed or opened.
    ///
    /// # Errors
    /// `Refusal::Absent` if the server has no such version; those of [`SmbShare::versions_of`].
    pub(super) async fn reach(&self, task: Task<'_>) -> Result<()> {
        let Some(previous) = Previous::parse(task.path.as_utf16()) else { return Ok(()) };
        if !self.previous.has(previous.at) {
            self.versions_of(&RemotePath::root().join(&previous.folder)).await?;
        }
        match self.previous.has(previous.at) {
            true => Ok(()),
            false => Err(task.status(NtStatus::OBJECT_NAME_NOT_FOUND)),
        }
    }

    /// Checks that no path of a change leads to a previous version.
    ///
    /// # Errors
    /// `Refusal::WriteProtected`.
    pub(super) fn may_change<'a>(
        &self,
        operation: &'static str,
        paths: impl IntoIterator<Item = &'a RemotePath>,
    ) -> Result<()> {
        match paths.into_iter().find(|path| path.is_previous()) {
            Some(path) => Err(Task { operation, path }.status(NtStatus::MEDIA_WRITE_PROTECTED)),
            None => Ok(()),
        }
    }

    /// The tokens of the previous versions of a folder, newest first; none if the server has none, or none for this
    /// user.
    ///
    /// # Errors
    /// Those of every operation ([`Share`](super::Share)), except for the server's refusal.
    async fn versions_of(&self, folder: &RemotePath) -> Result<Vec<Vec<u16>>> {
        let task = Task { operation: "ENUMERATE_SNAPSHOTS", path: folder };
        for space in SPACE {
            let requests = |tree: &Tree| {
                let rights = access::READ_DATA | access::READ_ATTRIBUTES;
                let open = super::operations::existing(folder, rights, options::DIRECTORY, Wanted::Nothing);
                let list = snapshots::enumerate(RELATED_FILE, space.min(tree.terms.max_transact));
                vec![open, list, create::close(RELATED_FILE)]
            };
            let (_, replies) = self.run(task, requests).await?;
            let answer = task.reply(&replies, 0).and_then(|_| task.reply(&replies, 1));
            match answer.and_then(|reply| task.parsed(Snapshots::parse(reply))) {
                Ok(found) if !found.is_cut => {
                    self.previous.learn(&found.tokens);
                    return Ok(found.tokens);
                }
                Ok(_) => {}
                Err(error) => match error.nt_status() {
                    Some(NtStatus::BUFFER_OVERFLOW | NtStatus::BUFFER_TOO_SMALL) => {}
                    Some(_) => {
                        tracing::debug!(%error, "the server lists no previous versions");
                        return Ok(Vec::new());
                    }
                    None => return Err(error),
                },
            }
        }
        tracing::warn!(path = %folder, "the server has more previous versions than can be listed: none is shown");
        Ok(Vec::new())
    }

    /// What was asked about a path, or, if the server has nothing there and the path is that of a folder of previous
    /// versions, `shown` of their tokens.
    ///
    /// # Errors
    /// That of `asked`; those of [`SmbShare::versions_of`].
    pub(super) async fn or_versions<T>(
        &self,
        path: &RemotePath,
        asked: Result<T>,
        shown: impl FnOnce(Vec<Vec<u16>>) -> T,
    ) -> Result<T> {
        let error = match asked {
            Err(error) if error.refusal() == Some(Refusal::Absent) => error,
            asked => return asked,
        };
        let Some(folder) = path.parent().filter(|_| path.is_folder_of_previous()) else { return Err(error) };
        let tokens = self.versions_of(&folder).await?;
        if tokens.is_empty() { Err(error) } else { Ok(shown(tokens)) }
    }
}

/// The metadata of a folder of previous versions: its times are those of the newest one.
pub(super) fn folder_of(tokens: &[Vec<u16>]) -> Metadata {
    folder_at(tokens.first().and_then(|token| Snapshot::parse(token)))
}

/// The listing of a folder of previous versions.
pub(super) fn listing_of(path: &RemotePath, tokens: Vec<Vec<u16>>) -> SmbListing {
    let itself = folder_of(&tokens);
    let entry = |name: Vec<u16>| DirEntry { metadata: folder_at(Snapshot::parse(&name)), name };
    SmbListing::complete(path, itself, tokens.into_iter().map(entry).collect())
}

/// A folder all of whose times are this one.
fn folder_at(time: Option<Snapshot>) -> Metadata {
    let time = FileTime(time.map_or(0, |time| time.0));
    Metadata {
        attributes: Attributes(Attributes::DIRECTORY),
        created: time,
        accessed: time,
        modified: time,
        changed: time,
        ..Metadata::default()
    }
}
