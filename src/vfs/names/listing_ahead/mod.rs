//! Listing directories before they are asked for: those that a [walk] is going to reach, and those of which one name after
//! the other is asked for.

pub(crate) mod underway;
pub(crate) mod walk;

use super::Names;
use super::namespace::Namespace;
use crate::share::Share;
use crate::waiting::until;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// A directory with more entries than this is not listed ahead to its end.
const SHORT: usize = 10_000;
/// So many directories are looked at to find those that a walk reaches next.
const LOOKED_AT: usize = 200;

impl<S: Share> Names<S> {
    /// A name of `parent` has to be asked for. If that happens again and again, the directory is listed instead: whether it
    /// was.
    pub(crate) async fn list_for_names(&self, parent: u64, name: &[u16]) -> bool {
        if self.terms.options.attr_timeout.is_zero() || !self.with(|namespace, _| namespace.missed(parent, name)) {
            return false;
        }
        // Others ask for their names meanwhile.
        let Some(_underway) = self.ahead.begin(parent) else { return false };
        let listed = self.list_short(parent).await;
        if listed.is_none() {
            self.with(|namespace, _| namespace.is_too_long(parent));
        }
        listed.is_some()
    }

    /// Waits for directories that are being listed ahead, of a directory and all below it: they are open at the server
    /// until then.
    pub(crate) async fn until_listed_ahead_below(&self, directory: u64) {
        let is_within = |namespace: &mut Namespace<_>, _| {
            let underway = self.ahead.underway();
            underway.iter().any(|ino| namespace.is_within(*ino, directory))
        };
        until(self.ahead.ended(), || !self.with(is_within)).await;
    }

    /// Waits until a directory is not being listed ahead.
    pub(crate) async fn until_listed_ahead(&self, directory: u64) {
        self.ahead.until_ended(directory).await;
    }

    /// Lists a directory that is not too long.
    async fn list_short(&self, ino: u64) -> Option<()> {
        let (mut listing, mut gathered) = self.begin_listing(ino).await.ok()?;
        loop {
            let entries = self.next_entries(&mut listing).await.ok()?;
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
    pub(crate) fn walks_to(&self, ino: u64) {
        let last = self.walk.lock().last();
        let continues = last.is_some_and(|last| {
            last == ino
                || self
                    .with(|namespace, _| namespace.parent(ino).is_some_and(|parent| namespace.is_within(last, parent)))
        });
        self.walk.lock().step(ino, continues);
    }

    /// Lists directories that a walk, which is at this one, is going to reach.
    pub(crate) fn list_ahead(self: &Arc<Self>, ino: u64, open: &HashSet<u64>) {
        let room = self.walk.lock().room();
        if room == 0 || self.terms.options.attr_timeout.is_zero() {
            return;
        }
        let next = self.with(|namespace, now| next_unlisted(namespace, (ino, room), open, now));
        for ino in next {
            // From now on the walk waits for it.
            let Some(underway) = self.ahead.begin(ino) else { continue };
            self.walk.lock().lists(ino);
            let names = Arc::clone(self);
            tokio::spawn(async move {
                names.list_short(ino).await;
                drop(underway);
            });
        }
    }
}

/// The directories that come next in a walk, as far as the kernel knows them, and are not known yet: those in `ino`, then
/// those after it, then those after its parent, and so on; so many at the most. Not those that are `open`: programs that list
/// several directories at a time list them.
fn next_unlisted<O: Clone>(
    namespace: &Namespace<O>,
    (ino, most): (u64, usize),
    open: &HashSet<u64>,
    now: Instant,
) -> Vec<u64> {
    let mut found = Vec::new();
    let (mut directory, mut after, mut looked_at) = (ino, None, 0);
    loop {
        for name in namespace.subdirectories(directory, after) {
            looked_at += 1;
            let child = namespace.at(directory, name);
            found.extend(child.filter(|child| !open.contains(child) && !namespace.is_listed(*child, now)));
            if found.len() >= most || looked_at >= LOOKED_AT {
                return found;
            }
        }
        let Some(id) = namespace.name_of(directory) else { return found };
        (directory, after) = (id.directory, Some(&id.name[..]));
    }
}
