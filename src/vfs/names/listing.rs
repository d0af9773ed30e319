//! How directories are listed, which entries are shown, and how a listing reaches the namespace.
//!
//! Invariant: a listing is recorded only if the directory's node is the one with which the listing began.

use super::namespace::{Admission, Asked, ListedEntry};
use super::{Names, hidden};
use crate::share::{DirEntry, FileKind, Metadata, RemotePath, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::name_encoding;
use crate::vfs::presentation::Attr;
use std::time::Instant;

/// The most hidden names in one part of a listing that are examined: each costs a request, to see whether the file is
/// open. Those beyond are not shown. This mount's own hidden names count too, though they cost no request.
const LOOKED_AT: usize = 16;

/// A listing in progress.
pub(crate) struct Listing<S: Share> {
    listing: S::Listing,
    path: RemotePath,
}

/// The entries of a directory that were listed so far, to be recorded in the namespace when the listing has ended.
pub(crate) struct Gathered {
    ino: u64,
    /// The key of the directory's node: a later node with the same inode number has another key.
    key: u64,
    asked: Asked,
    entries: Vec<(Vec<u16>, Metadata)>,
}

impl Gathered {
    /// Adds the next entries that were listed.
    pub(crate) fn add(&mut self, entries: &[DirEntry]) {
        self.entries.extend(entries.iter().map(|entry| (entry.name.clone(), entry.metadata)));
    }

    /// The number of entries so far.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<S: Share> Names<S> {
    /// Begins to list a directory, and to watch it unless it is watched already or the attribute timeout is 0.
    ///
    /// # Errors
    /// `ESTALE` if no name leads to the directory any more; otherwise what the share answered.
    pub(crate) async fn begin_listing(&self, ino: u64) -> Result<(Listing<S>, Gathered)> {
        let (path, key, token, is_watched, asked) = self
            .with(|namespace, now| {
                let node = namespace.node(ino)?;
                let (key, token) = (node.key(), node.file.lock().token());
                let path = namespace.path(ino, &self.terms.root)?;
                Some((path, key, token, namespace.is_watched(ino), namespace.asking(now)))
            })
            .ok_or_else(VfsError::stale)?;
        let listing = if is_watched || self.terms.policy.keeps_no_pages() {
            self.with_room(|| self.share.list(&path)).await?
        } else {
            let (listing, watch) = self.with_room(|| self.share.list_watched(&path)).await?;
            match watch {
                Some(watch) => self.watch(ino, watch, asked),
                None => self.with(|namespace, _| namespace.is_unwatchable(ino)),
            }
            listing
        };
        self.learn_directory(ino, self.share.listed(&listing), Some(token), asked.at);
        Ok((Listing { listing, path }, Gathered { ino, key, asked, entries: Vec::new() }))
    }

    /// The next part of a listing, without entries that are not shown; empty when the listing has ended.
    ///
    /// # Errors
    /// What the share answered.
    pub(crate) async fn next_entries(&self, listing: &mut Listing<S>) -> Result<Vec<DirEntry>> {
        loop {
            let listed = self.share.next_entries(&mut listing.listing).await?;
            if listed.is_empty() {
                return Ok(listed);
            }
            let visible = self.visible(&listing.path, listed).await;
            if !visible.is_empty() {
                return Ok(visible);
            }
        }
    }

    /// Leaves out names that cannot be shown, and hidden files. A hidden file of another client that no client has open
    /// was left by a client that crashed: it is shown.
    pub(super) async fn visible(&self, path: &RemotePath, listed: Vec<DirEntry>) -> Vec<DirEntry> {
        let (mut visible, mut looked_at) = (Vec::with_capacity(listed.len()), 0);
        for entry in listed {
            if name_encoding::decode(&entry.name).is_none() {
                self.log_hostile(&entry.name);
                continue;
            }
            if entry.metadata.kind() != FileKind::Directory && hidden::is_hidden(&entry.name) {
                // Those of this mount are in use, and don't count.
                if self.hidden.owns(&entry.name) {
                    continue;
                }
                looked_at += 1;
                if looked_at > LOOKED_AT || !self.share.is_unused(&path.join(&entry.name)).await.unwrap_or(false) {
                    continue;
                }
            }
            visible.push(entry);
        }
        visible
    }

    /// Records the attributes of a directory that its own listing reported.
    pub(super) fn learn_directory(&self, ino: u64, itself: Metadata, token: Option<FetchToken>, asked: Instant) {
        self.with(|namespace, _| {
            if let Some(token) = token.filter(|_| namespace.is_still(ino, &itself)) {
                namespace.store(ino, itself, token, asked);
            }
        });
    }

    /// Records a listing that has come to its end.
    pub(crate) fn enter(&self, listed: Gathered) {
        let Gathered { ino, key, asked, entries, .. } = listed;
        self.with(|namespace, _| {
            if namespace.node(ino).is_some_and(|node| node.key() == key) {
                namespace.listed(ino, entries, asked);
            }
        });
    }

    /// An empty list of entries for a second look at a directory.
    pub(super) fn gathered(&self, ino: u64, asked: Asked) -> Option<Gathered> {
        let key = self.with(|namespace, _| Some(namespace.node(ino)?.key()))?;
        Some(Gathered { ino, key, asked, entries: Vec::new() })
    }

    /// All entries of a directory, if all of them are valid without asking the server.
    pub(crate) fn everything(&self, ino: u64) -> Option<Vec<ListedEntry>> {
        self.with(|namespace, now| namespace.everything(ino, now))
    }

    /// The token of a directory's attributes, which changes when this mount changes an entry of the directory.
    pub(crate) fn token(&self, ino: u64) -> Option<FetchToken> {
        self.with(|namespace, _| Some(namespace.file(ino)?.lock().token()))
    }

    /// The attributes of an entry that was listed while the directory's attributes had the token `token`. The inode has
    /// one more lookup. `None` if the listed entry may be out of date.
    pub(crate) fn listed_attr(
        &self,
        (directory, name): (u64, &[u16]),
        metadata: Metadata,
        fetched: Instant,
        token: Option<FetchToken>,
    ) -> Option<Attr> {
        self.with(|namespace, now| {
            let is_kept = namespace.at(directory, name).is_some_and(|ino| namespace.is_kept(ino));
            let is_overtaken = is_kept || namespace.file(directory).map(|file| file.lock().token()) != token;
            match namespace.admit_listed(directory, name, metadata, fetched, is_overtaken) {
                Admission::Node(ino) => {
                    let attr = namespace.attr(ino, now)?;
                    namespace.shown_to_kernel(&attr, now);
                    Some(attr)
                }
                Admission::Overtaken => None,
            }
        })
    }

    /// The inode number to show for an entry that was listed; 0 if it is not known.
    pub(crate) fn number_of(&self, directory: u64, name: &[u16], file_id: u64) -> u64 {
        self.with(|namespace, _| namespace.number_of(directory, name, file_id))
    }

    /// The directory that contains a directory.
    pub(crate) fn parent(&self, directory: u64) -> Option<u64> {
        self.with(|namespace, _| namespace.parent(directory))
    }
}
