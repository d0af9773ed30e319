//! Listing directories before they are asked for: those that a [walk](super::walk) is going to reach, and those
//! of which one name after the other is asked for.
//!
//! Invariant: a directory is listed ahead by one at a time, and whoever wants to list it meanwhile waits for that.

use super::Vfs;
use super::file::driver::Open;
use super::inodes::{Inodes, Node};
use crate::share::Share;
use crate::waiting::until;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// A directory with more entries than this is not listed ahead to its end.
const SHORT: usize = 10_000;
/// So many directories are looked at to find those that a walk reaches next.
const LOOKED_AT: usize = 200;

/// Directories that are being listed ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Their inode numbers by their keys. Always locked after the inodes.
    underway: Mutex<HashMap<u64, u64>>,
    ended: Notify,
}

/// A listing ahead, until dropped.
struct Underway {
    ahead: Arc<Ahead>,
    key: u64,
}

impl Ahead {
    /// Begins one; `None` if it is under way.
    fn begin(self: &Arc<Self>, key: u64, ino: u64) -> Option<Underway> {
        let is_first = self.underway.lock().insert(key, ino).is_none();
        is_first.then(|| Underway { ahead: Arc::clone(self), key })
    }

    /// Waits for a directory that is being listed.
    pub(super) async fn settle(&self, key: u64) {
        until(&self.ended, || !self.underway.lock().contains_key(&key)).await;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.ahead.underway.lock().remove(&self.key);
        self.ahead.ended.notify_waiters();
    }
}

impl<S: Share> Vfs<S> {
    /// A name of `parent` has to be asked for. If that happens again and again, the directory is listed instead: whether it
    /// was.
    pub(super) async fn list_for_names(&self, parent: u64, name: &[u16]) -> bool {
        if self.options.attr_timeout.is_zero() {
            return false;
        }
        let wanted = self.with_inodes(|inodes| {
            let key = inodes.get(parent)?.key();
            self.with_catalogue(|catalogue| catalogue.missed((key, parent), name)).then_some(key)
        });
        let Some(key) = wanted else { return false };
        // Others ask for their names meanwhile.
        let Some(_underway) = self.ahead.begin(key, parent) else { return false };
        let listed = self.list_short(parent).await;
        if listed.is_none() {
            self.with_catalogue(|catalogue| catalogue.spare(key));
        }
        listed.is_some()
    }

    /// Waits for directories that are being listed ahead, of a directory and all below it: they are open at the server
    /// until then.
    pub(super) async fn settle_ahead_below(&self, directory: u64) {
        let is_within = |inodes: &mut Inodes<Open<S>>| {
            let underway = self.ahead.underway.lock();
            underway.values().any(|ino| inodes.is_within(*ino, directory))
        };
        until(&self.ahead.ended, || !self.with_inodes(is_within)).await;
    }

    /// Lists a directory that is not too long.
    async fn list_short(&self, ino: u64) -> Option<()> {
        let (mut listing, mut gathered) = self.begin_listing(ino).await.ok()?;
        loop {
            let entries = self.share.next_entries(&mut listing).await.ok()?;
            if entries.is_empty() {
                self.enter(gathered);
                return Some(());
            }
            gathered.add(&entries);
            if gathered.len() > SHORT {
                return None;
            }
        }
    }

    /// A program begins to list a directory.
    pub(super) fn walks_to(&self, ino: u64) {
        self.with_inodes(|inodes| {
            let mut walk = self.walk.lock();
            let continues = walk.last().is_some_and(|last| {
                last == ino || inodes.parent(ino).is_some_and(|parent| inodes.is_within(last, parent))
            });
            walk.step(ino, continues);
        });
    }

    /// Lists directories that a walk, which is at this one, is going to reach.
    pub(super) fn list_ahead(self: &Arc<Self>, ino: u64) {
        if self.options.attr_timeout.is_zero() {
            return;
        }
        let open = self.handles.open_directories();
        let next = self.with_inodes(|inodes| {
            let room = self.walk.lock().room();
            if room == 0 {
                return Vec::new();
            }
            let next = self.next_unlisted(inodes, ino, room, &open).into_iter();
            // From now on the walk waits for them.
            let next: Vec<_> = next.filter_map(|(ino, key)| Some((ino, self.ahead.begin(key, ino)?))).collect();
            let mut walk = self.walk.lock();
            next.iter().for_each(|(ino, _)| walk.lists(*ino));
            next
        });
        for (ino, underway) in next {
            let vfs = Arc::clone(self);
            tokio::spawn(async move {
                vfs.list_short(ino).await;
                drop(underway);
            });
        }
    }

    /// The directories that come next in a walk, as far as the kernel knows them, and are not known yet: those in `ino`, then
    /// those after it, then those after its parent, and so on. Not those that are `open`: programs that list several
    /// directories at a time list them.
    fn next_unlisted(&self, inodes: &Inodes<Open<S>>, ino: u64, most: usize, open: &HashSet<u64>) -> Vec<(u64, u64)> {
        let (now, timeout) = (Instant::now(), self.options.attr_timeout);
        let catalogue = self.catalogue.lock();
        let mut found = Vec::new();
        let (mut directory, mut after, mut looked_at) = (ino, None, 0);
        loop {
            let Some(key) = inodes.get(directory).map(Node::key) else { return found };
            for name in catalogue.subdirectories(key, after) {
                looked_at += 1;
                let child = inodes.at(directory, name).and_then(|ino| Some((ino, inodes.get(ino)?.key())));
                let is_next = |ino, key| !open.contains(&ino) && !catalogue.is_listed(key, now, timeout);
                found.extend(child.filter(|(ino, key)| is_next(*ino, *key)));
                if found.len() >= most || looked_at >= LOOKED_AT {
                    return found;
                }
            }
            let Some(place) = inodes.place(directory) else { return found };
            (directory, after) = (place.parent, Some(place.name.as_slice()));
        }
    }
}
