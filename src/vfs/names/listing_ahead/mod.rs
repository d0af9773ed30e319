//! Lists directories before a program lists them: the directories that a [walk] reaches next, and a directory whose
//! names are looked up one after the other. Nothing is listed ahead while the attribute timeout is 0.
//!
//! | file | what is decided there |
//! |---|---|
//! | `mod` | which directories are listed ahead, and up to which length |
//! | [`walk`] | how many directories are listed ahead of a program that lists one after the other |
//! | [`underway`] | which directories are being listed ahead at the moment |
//!
//! Invariant: a directory is listed ahead by one task at a time, and an operation that lists it waits for that task.

pub(crate) mod underway;
pub(crate) mod walk;

use super::Names;
use super::namespace::Namespace;
use crate::share::Share;
use crate::waiting::until;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// The length, in entries, above which a directory is not listed ahead to its end. (`SHORT` in `namespace/belief.rs` is
/// the length up to which one missing name is reason enough to list a directory.)
const SHORT: usize = 10_000;
/// The most names of directories that are examined to find those that a walk reaches next.
const LOOKED_AT: usize = 200;

impl<S: Share> Names<S> {
    /// A name of `parent` is not cached, so the server has to be asked. After several such names
    /// ([`Namespace::missed`]) the directory is listed instead. Returns whether it was listed.
    pub(crate) async fn list_for_names(&self, parent: u64, name: &[u16]) -> bool {
        if self.terms.options.attr_timeout.is_zero() || !self.with(|namespace, _| namespace.missed(parent, name)) {
            return false;
        }
        // While another lookup lists the directory, this one asks for its single name.
        let Some(_underway) = self.ahead.begin(parent) else { return false };
        let listed = self.list_short(parent).await;
        if listed.is_none() {
            self.with(|namespace, _| namespace.is_too_long(parent));
        }
        listed.is_some()
    }

    /// Waits for the listings ahead of a directory and of all directories below it, which are open at the server until
    /// then.
    pub(crate) async fn until_listed_ahead_below(&self, directory: u64) {
        let is_within = |namespace: &mut Namespace<_>, _| {
            let underway = self.ahead.underway();
            underway.iter().any(|ino| namespace.is_within(*ino, directory))
        };
        until(self.ahead.ended(), || !self.with(is_within)).await;
    }

    /// Waits for the listing ahead of a directory.
    pub(crate) async fn until_listed_ahead(&self, directory: u64) {
        self.ahead.until_ended(directory).await;
    }

    /// Lists a directory, and records the entries unless they are more than [`SHORT`]. `None` if they are, or if the
    /// listing failed.
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

    /// Records that a program begins to list a directory.
    pub(crate) fn walks_to(&self, ino: u64) {
        let last = self.walk.lock().last();
        let continues = last.is_some_and(|last| {
            last == ino
                || self
                    .with(|namespace, _| namespace.parent(ino).is_some_and(|parent| namespace.is_within(last, parent)))
        });
        self.walk.lock().step(ino, continues);
    }

    /// Begins to list the directories that the walk reaches after `ino`, except those in `open`.
    pub(crate) fn list_ahead(self: &Arc<Self>, ino: u64, open: &HashSet<u64>) {
        let room = self.walk.lock().room();
        if room == 0 || self.terms.options.attr_timeout.is_zero() {
            return;
        }
        let next = self.with(|namespace, now| next_unlisted(namespace, (ino, room), open, now));
        for ino in next {
            // From now on a program that reaches the directory waits for this listing.
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

/// The directories that come next in a walk and are not listed yet: those in `ino`, then those after `ino` in its
/// parent, then those after its parent, and so on; at most `most`. Only directories that the kernel knows count. The
/// `open` ones are left out: programs that list several directories at a time list these.
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
