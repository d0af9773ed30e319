//! The system calls of programs. Each follows the operation of the same name, with the same calls of the namespace.

use super::client::{CLOCK, Client};
use super::server::{Reply, Request};
use crate::share::FileKind;
use crate::vfs::names::namespace::Admission;
use crate::vfs::names::namespace::directory::Echo;
use crate::vfs::names::namespace::tests::units;
use std::rc::Rc;

impl Client {
    /// Lists a folder with attributes, as `ls -l` does.
    pub(super) async fn list_folder(self: Rc<Self>, path: Vec<String>) {
        let Some(ino) = self.walk(&path).await else { return };
        if self.kind(ino) != Some(FileKind::Directory) {
            return;
        }
        self.uses(ino);
        let everything = self.with(|space, now| space.everything(ino, now));
        if let Some(known) = everything {
            let known: Vec<_> =
                known.into_iter().map(|(name, metadata, at)| (String::from_utf16_lossy(&name), metadata, at)).collect();
            let from = self.believed_listing(ino, &known, &path);
            let token = self.with(|space, _| space.file(ino).map(|file| file.lock().token()));
            for (name, metadata, at) in known {
                self.shows((ino, &name), metadata, at, token, from);
            }
            return;
        }
        let Some((entries, asked, token, moment)) = self.list(ino).await else { return };
        for (name, metadata) in entries {
            self.shows((ino, &name), metadata, asked.at, token, moment);
        }
    }

    /// The kernel gets an entry of a listing.
    fn shows(
        &self,
        (ino, name): (u64, &str),
        metadata: crate::share::Metadata,
        fetched: std::time::Instant,
        token: Option<crate::vfs::file::attributes::FetchToken>,
        from: u64,
    ) {
        let admission = self.with(|space, _| {
            let is_overtaken = space.file(ino).map(|file| file.lock().token()) != token;
            space.node(ino)?;
            Some(space.admit_listed(ino, &units(name), metadata, fetched, is_overtaken))
        });
        if let Some(Admission::Node(node)) = admission {
            self.install(ino, name, node, from);
        }
    }

    pub(super) fn kind(&self, ino: u64) -> Option<FileKind> {
        Some(self.space.borrow().node(ino)?.kind)
    }

    /// open(2) with `O_CREAT | O_EXCL`, or mkdir(2).
    pub(super) async fn make(self: Rc<Self>, folder: Vec<String>, name: String, is_folder: bool) {
        let Some(parent) = self.walk(&folder).await else { return };
        if self.step(parent, &name, &folder).await.is_some() {
            return;
        }
        self.lock(parent).await;
        if let Some(path) = self.path_in(parent, &name) {
            let asked = self.with(|space, now| space.asking_about(parent, &units(&name), now));
            let moment = self.world.moment();
            self.changing(parent, &name, Echo::Added);
            match self.ask(Request::Make { path, is_folder }).await {
                Reply::Found(metadata) => {
                    let made = self.with(|space, now| space.made(parent, &units(&name), metadata, (asked, CLOCK), now));
                    if let Admission::Node(ino) = made {
                        if is_folder {
                            self.with(|space, now| space.made_directory(ino, now));
                        }
                        self.install(parent, &name, ino, moment);
                    }
                }
                _ => self.failed(parent, &name, Echo::Added),
            }
        }
        self.unlock(parent);
    }

    fn changing(&self, parent: u64, name: &str, echo: Echo) {
        self.with(|space, now| space.changing(parent, &units(name), echo, now));
    }

    fn failed(&self, parent: u64, name: &str, echo: Echo) {
        self.with(|space, now| space.failed(parent, &units(name), echo, CLOCK, now));
    }

    /// unlink(2) or rmdir(2).
    pub(super) async fn remove(self: Rc<Self>, folder: Vec<String>, name: String) {
        let Some(parent) = self.walk(&folder).await else { return };
        let Some(ino) = self.step(parent, &name, &folder).await else { return };
        self.lock(parent).await;
        let is_folder = self.kind(ino) == Some(FileKind::Directory);
        if is_folder {
            self.with(|space, _| space.end_watches_within(ino));
        }
        if let Some(path) = self.path_in(parent, &name) {
            self.changing(parent, &name, Echo::Removed);
            match self.ask(Request::Remove { path, is_folder }).await {
                Reply::Done => {
                    self.with(|space, now| space.removed(parent, &units(&name), CLOCK, now));
                    self.kernel.borrow_mut().drop_name(parent, &name);
                }
                _ => self.failed(parent, &name, Echo::Removed),
            }
        }
        self.unlock(parent);
    }

    /// rename(2).
    pub(super) async fn rename(
        self: Rc<Self>,
        (folder, name): (Vec<String>, String),
        (into, new): (Vec<String>, String),
    ) {
        let Some(from) = self.walk(&folder).await else { return };
        let Some(to) = self.walk(&into).await else { return };
        let Some(ino) = self.step(from, &name, &folder).await else { return };
        let replaced = self.step(to, &new, &into).await;
        self.lock(from).await;
        if to != from {
            self.lock(to).await;
        }
        let ends = [Some(ino), replaced].into_iter().flatten();
        ends.filter(|ino| self.kind(*ino) == Some(FileKind::Directory))
            .for_each(|ino| self.with(|space, _| space.end_watches_within(ino)));
        let is_inside = self.space.borrow().is_within(to, ino);
        if let (Some(old_path), Some(new_path), false) = (self.path_in(from, &name), self.path_in(to, &new), is_inside)
        {
            let is_nothing = old_path == new_path;
            self.changing(from, &name, Echo::Removed);
            self.changing(to, &new, Echo::Added);
            match self.ask(Request::Rename(old_path, new_path)).await {
                Reply::Done if is_nothing => {
                    self.failed(from, &name, Echo::Removed);
                    self.failed(to, &new, Echo::Added);
                }
                Reply::Done => {
                    self.with(|space, now| {
                        space.renamed((from, &units(&name)), (to, &units(&new)), CLOCK, now);
                    });
                    // A real kernel would move its name; but the server may have renamed another file than the kernel
                    // means.
                    self.kernel.borrow_mut().drop_name(from, &name);
                    self.kernel.borrow_mut().drop_name(to, &new);
                }
                _ => {
                    self.failed(from, &name, Echo::Removed);
                    self.failed(to, &new, Echo::Added);
                }
            }
        }
        self.unlock(from);
        self.unlock(to);
    }
}
