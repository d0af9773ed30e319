//! The kernel of a client: the names that it caches, and its lookups of files.

use super::client::{Client, Looked};
use crate::vfs::lane::Forgotten;
use crate::vfs::names::namespace::ROOT;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// A name that the kernel caches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dentry {
    pub(super) ino: u64,
    until: Instant,
    /// The moment from which on the name may mean the file.
    pub(super) from: u64,
    /// The watch of the directory when the kernel got the name.
    pub(super) watch: Option<u64>,
}

#[derive(Default, Debug)]
pub(super) struct Kernel {
    pub(super) names: HashMap<(u64, String), Dentry>,
    lookups: HashMap<u64, u64>,
}

impl Kernel {
    /// The client makes the kernel forget something.
    pub(super) fn forgets(&mut self, what: &Forgotten) {
        if let Forgotten::Entry { parent, name } = what {
            self.names.remove(&(*parent, name.to_string_lossy().into_owned()));
        }
    }

    pub(super) fn drop_name(&mut self, parent: u64, name: &str) {
        self.names.remove(&(parent, name.to_owned()));
    }

    /// A file with lookups that no cached name means, and that is not the directory of one.
    fn unused(&self, choice: u64) -> Option<u64> {
        let is_used = |ino: u64| {
            self.names.iter().any(|((parent, _), dentry)| *parent == ino || dentry.ino == ino) || ino == ROOT
        };
        let mut unused: Vec<u64> = self.lookups.keys().copied().filter(|ino| !is_used(*ino)).collect();
        unused.sort_unstable();
        (!unused.is_empty()).then(|| unused[choice as usize % unused.len()])
    }
}

impl Client {
    /// The kernel caches a name, and has one more lookup of its file.
    pub(super) fn install(&self, parent: u64, name: &str, ino: u64, from: u64) {
        let now = self.world.now();
        let attr = self.with(|space, now| {
            let attr = space.attr(ino, now)?;
            space.shown_to_kernel(&attr, now);
            Some(attr)
        });
        self.world.note(|| {
            let ttl = attr.map(|attr| attr.name_ttl);
            format!("client {} installs {name} in {parent} as {ino} for {ttl:?} as of {from}", self.index)
        });
        let watch = self.watch_of(parent).map(|(number, _)| number);
        let mut kernel = self.kernel.borrow_mut();
        *kernel.lookups.entry(ino).or_default() += 1;
        let Some(attr) = attr else { return };
        kernel.names.insert((parent, name.to_owned()), Dentry { ino, until: now + attr.name_ttl, from, watch });
    }

    /// What a name means to a program: from the kernel's cache, or looked up.
    pub(super) async fn step(self: &Rc<Self>, parent: u64, name: &str, path: &[String]) -> Option<u64> {
        let kept = self.kernel.borrow().names.get(&(parent, name.to_owned())).copied();
        if let Some(dentry) = kept.filter(|dentry| self.world.now() < dentry.until) {
            self.kept(parent, name, dentry, path);
            return Some(dentry.ino);
        }
        match self.lookup(parent, name, path).await {
            Looked::Found(ino, from) => {
                self.install(parent, name, ino, from);
                Some(ino)
            }
            Looked::Absent | Looked::Stale => {
                self.kernel.borrow_mut().drop_name(parent, name);
                None
            }
        }
    }

    /// The node at the end of a path.
    pub(super) async fn walk(self: &Rc<Self>, path: &[String]) -> Option<u64> {
        let mut ino = ROOT;
        for (depth, name) in path.iter().enumerate() {
            ino = self.step(ino, name, &path[..depth]).await?;
        }
        Some(ino)
    }

    /// The kernel is short of memory: it drops a file with its lookups, or a name.
    pub(super) fn forget_some(&self, choice: u64) {
        let unused = self.kernel.borrow().unused(choice).filter(|_| self.calls.get() == 0);
        if let Some(ino) = unused {
            let lookups = self.kernel.borrow_mut().lookups.remove(&ino).unwrap_or_default();
            return self.with(|space, _| space.forget(ino, lookups));
        }
        let mut kernel = self.kernel.borrow_mut();
        let mut names: Vec<_> = kernel.names.keys().cloned().collect();
        names.sort_unstable();
        if !names.is_empty() {
            kernel.names.remove(&names[choice as usize % names.len()]);
        }
    }
}
