//! Which answers of a client are right: those that were true at the server at some moment not before the oldest change
//! that the client could not know. [`Client::window`] computes that moment.

use super::client::{Client, TIMEOUT};
use super::kernel::Dentry;
use super::run::NAMES;
use super::server::Why;
use crate::share::Metadata;
use crate::vfs::names::namespace::node::NameId;
use crate::vfs::names::namespace::tests::units;
use std::time::Instant;

/// How long a client under a lease may not know of a change on the server's own disk, in milliseconds.
const LEASE_BELIEVED: u64 = 5000 + TIMEOUT;
/// The time within which an unused watch has to end, in milliseconds.
const IDLE: u64 = 30_000;

/// What an answer relies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cover {
    Watch,
    Lease,
    Timeout,
}

impl Client {
    /// What covers the names of a directory, as far as the client has been notified.
    fn covered(&self, ino: u64) -> Option<Cover> {
        if self.is_loose {
            return Some(Cover::Timeout);
        }
        if let Some((number, is_lease)) = self.watch_of(ino) {
            let cover = if is_lease { Cover::Lease } else { Cover::Watch };
            return self.armed.borrow().contains(&number).then_some(cover);
        }
        let can_watch = {
            let manner = self.world.server.borrow().manner;
            manner.watches || manner.leases
        };
        let is_unwatchable =
            self.space.borrow().directories.get(&ino).is_some_and(|directory| directory.is_unwatchable);
        (is_unwatchable && (!can_watch || self.was_refused.get())).then_some(Cover::Timeout)
    }

    /// The moment from which on an answer may have been true.
    fn window(&self, folder: u64, cover: Cover, kept: Option<Dentry>) -> u64 {
        let (server, now) = (self.world.server.borrow(), self.world.passed());
        let on_the_way = server
            .sent
            .iter()
            .filter(|sent| sent.client == self.index)
            .filter_map(|sent| Some(sent.moments.first()?.0));
        let own = self.world.first_unanswered(self.index);
        let is_loose_lease = self.is_loose && server.manner.leases;
        let unseen = server.unseen.iter().filter(|unseen| unseen.client == self.index && unseen.folder == folder);
        let unseen = unseen.filter(|unseen| {
            let believed = if cover == Cover::Lease || is_loose_lease { LEASE_BELIEVED } else { TIMEOUT };
            let counts = match unseen.why {
                Why::Gap => true,
                Why::NoWatch => kept.is_some() || cover == Cover::Timeout,
                Why::LaterReported => cover == Cover::Timeout,
            };
            // The kernel may have got the name from an answer that was in flight for longer than `believed`.
            let is_since = kept.is_some_and(|dentry| unseen.moment > dentry.from);
            counts && (is_since || now < unseen.at + believed)
        });
        let moments = on_the_way.chain(own).chain(unseen.map(|unseen| unseen.moment));
        moments.map(|moment| moment - 1).min().unwrap_or_else(|| server.tree.moment())
    }

    fn has_meant(&self, (folder, name): (u64, &str), id: Option<u64>, path: &[String], from: u64) -> bool {
        let server = self.world.server.borrow();
        let whole: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
        server.tree.has_meant(folder, name, id, from) || server.tree.path_has_meant(&whole, id, from)
    }

    /// Checks an answer that the client gave from its cache: that a name means this file, or nothing. Returns the
    /// moment from which on that may have been true.
    pub(super) fn believed(&self, parent: u64, name: &str, id: Option<u64>, path: &[String]) -> u64 {
        let Some(cover) = self.covered(parent) else {
            self.world.fail(format!("client {} answers for {name:?} in {path:?} without a watch", self.index));
            return 0;
        };
        self.world.count(match (cover, id) {
            (Cover::Watch, Some(_)) => "a name believed to be there under a watch",
            (Cover::Watch, None) => "a name believed to be absent under a watch",
            (Cover::Lease, _) => "a name believed under a lease",
            (Cover::Timeout, _) => "a name believed for the timeout",
        });
        if cover == Cover::Timeout && id.is_none() && !self.is_loose {
            self.world.fail(format!("client {} believes without a watch that {name:?} is absent", self.index));
        }
        self.check(parent, name, id, path, cover)
    }

    fn check(&self, parent: u64, name: &str, id: Option<u64>, path: &[String], cover: Cover) -> u64 {
        let Some(folder) = self.folder_id(parent) else { return 0 };
        let from = self.window(folder, cover, None);
        if !self.has_meant((folder, name), id, path, from) {
            let index = self.index;
            let entry = self.space.borrow().entry(parent, &units(name)).copied();
            self.world.fail(format!(
                "{cover:?}: client {index} believes {name:?} in {path:?} to be {id:?} since {from}: {parent} {entry:?}"
            ));
        }
        from
    }

    /// Checks a listing that the client gave from its cache.
    pub(super) fn believed_listing(&self, ino: u64, known: &[(String, Metadata, Instant)], path: &[String]) -> u64 {
        self.world.count("a listing believed");
        let Some(cover) = self.covered(ino) else {
            self.world.fail(format!("client {} lists {path:?} without a watch", self.index));
            return 0;
        };
        let key = |name: &str| self.world.server.borrow().tree.key(name);
        let mut from = u64::MAX;
        for name in NAMES.iter().copied().chain(known.iter().map(|(name, ..)| &name[..])) {
            let mut found = known.iter().filter(|(other, ..)| key(other) == key(name));
            let id = found.next().map(|(_, metadata, _)| metadata.file_id);
            if found.next().is_some() {
                self.world.fail(format!("client {} lists {name:?} in {path:?} twice", self.index));
            }
            from = from.min(self.check(ino, name, id, path, cover));
        }
        from
    }

    /// Checks a name that a program used from the kernel's cache.
    pub(super) fn kept(&self, parent: u64, name: &str, dentry: Dentry, path: &[String]) {
        self.world.count("a name that the kernel keeps");
        let (Some(folder), id) = (self.folder_id(parent), self.id(dentry.ino)) else { return };
        let is_same_watch = self.watch_of(parent).map(|(number, _)| number) == dentry.watch;
        let from = match self.covered(parent) {
            Some(cover) if cover != Cover::Timeout && is_same_watch => self.window(folder, cover, Some(dentry)),
            _ => dentry.from.min(self.world.moment()),
        };
        if !self.has_meant((folder, name), id, path, from) {
            let index = self.index;
            self.world.fail(format!("kernel: client {index} uses {name:?} in {path:?} as {id:?} since {from}"));
        }
    }

    /// Checks the name of an open file that another open(2) may share, if the client considers the name valid.
    pub(super) fn uses_open(&self, ino: u64) {
        let name = self.space.borrow().name_of(ino).cloned();
        let Some(name) = name else { return };
        self.uses(name.directory);
        if !self.with(|space, now| space.believes_name(ino, now)) {
            return;
        }
        self.world.count("an open believed");
        let (path, text) = (self.path(name.directory), String::from_utf16_lossy(&name.name));
        self.believed(name.directory, &text, self.id(ino), &path.unwrap_or_default());
    }

    /// Checks the bounds and counts of the namespace.
    pub(super) fn check_bounds(&self) {
        let now = self.world.passed();
        let watched = self.watched_directories();
        if watched.len() > self.most_watches {
            self.world.fail(format!("client {} has {} watches", self.index, watched.len()));
        }
        for ino in watched {
            let number = self.watch_of(ino).map(|(number, _)| number);
            let used = number.and_then(|number| self.watches.borrow().get(&number).copied());
            if used.is_none_or(|used| now > used + IDLE) {
                self.world
                    .fail(format!("client {} has a watch that was used at {used:?}, and it is {now}", self.index));
            }
        }
        self.check_counts();
    }

    fn check_counts(&self) {
        let space = self.space.borrow();
        let mut free = 0;
        for (ino, directory) in &space.directories {
            let nodes = directory.entries.values().filter(|entry| entry.node.is_some()).count();
            free += directory.entries.len() - nodes;
            let is_watched = directory.watch.as_ref().is_none_or(|watch| space.watched.get(&watch.number) == Some(ino));
            if nodes != directory.nodes || !is_watched || !space.nodes.contains_key(ino) {
                self.world.fail(format!("client {} miscounts directory {ino}", self.index));
            }
        }
        let is_named = |ino: u64, id: &NameId| space.at(id.directory, &id.name) == Some(ino);
        if free != space.bounds.free
            || !space.nodes.iter().all(|(ino, node)| node.names.iter().all(|id| is_named(*ino, id)))
        {
            self.world.fail(format!("client {} miscounts names: {free}", self.index));
        }
    }
}
