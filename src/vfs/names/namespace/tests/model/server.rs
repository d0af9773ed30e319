//! The server: requests, watches, and leases on directories. A change is reported to watches and breaks leases of other
//! clients; changes of which a client may not know are kept in [`Server::unseen`].

use super::tree::Tree;
use crate::share::{ChangeKind, DirChange, LeaseKey, Metadata};
use std::collections::BTreeMap;

/// The most changes that are kept for a watch without a CHANGE_NOTIFY; with more it has lost count.
const ROOM: usize = 4;

pub(super) type Path = Vec<String>;

/// A request of a client.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Stat(Path),
    /// A path, and the number of the watch if one is asked for.
    List(Path, Option<u64>),
    Make {
        path: Path,
        is_folder: bool,
    },
    Remove {
        path: Path,
        is_folder: bool,
    },
    Rename(Path, Path),
    LookAgain(u64),
    /// CHANGE_NOTIFY.
    Notify(u64),
    CloseWatch(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Found(Metadata),
    Absent,
    /// A folder of the path is missing.
    NoFolder,
    Listed {
        entries: Vec<(String, Metadata)>,
        watch: Granted,
    },
    /// No name has appeared or disappeared since the listing.
    Same,
    Changed,
    Done,
    Refused,
    NoRoom,
}

/// What a listing was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Granted {
    Nothing,
    Notify,
    Lease(LeaseKey),
}

/// The time of a change: its number, and milliseconds.
pub(super) type Moment = (u64, u64);

/// A message of a watch.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Armed,
    Reported(Vec<DirChange>),
    Overflowed,
    Ended,
    Broken(LeaseKey),
}

/// A message in flight, and the changes that it reports.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) client: usize,
    pub(super) folder: u64,
    pub(super) watch: u64,
    pub(super) message: Message,
    pub(super) moments: Vec<Moment>,
}

/// A directory that is open to be watched.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) client: usize,
    pub(super) folder: u64,
    lease: Option<LeaseKey>,
    is_broken: bool,
    /// When the watch begins, in milliseconds.
    begins: u64,
    /// Whether a CHANGE_NOTIFY is at the server.
    is_at_server: bool,
    changes: Vec<DirChange>,
    moments: Vec<Moment>,
    has_lost_count: bool,
    /// The number of the last change before the listing.
    listed: u64,
}

/// What the server can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) ignores_case: bool,
    pub(super) watches: bool,
    pub(super) leases: bool,
    /// The most directories that a client can have open.
    pub(super) room: usize,
    /// Whether directories are too long to be listed again at a second look.
    pub(super) is_long: bool,
}

/// Why a client may not know of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// Its watch had not begun, or is a lease, which does not cover the server's own disk.
    Gap,
    /// It had no watch, or the watch ended before the report was read.
    NoWatch,
    /// Its watch has still to report the change.
    LaterReported,
}

/// A change of which a client may not know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    pub(super) moment: u64,
    pub(super) at: u64,
    pub(super) folder: u64,
    pub(super) client: usize,
    pub(super) why: Why,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) tree: Tree,
    pub(super) manner: Manner,
    pub(super) watches: BTreeMap<u64, Watch>,
    pub(super) sent: Vec<Sent>,
    pub(super) unseen: Vec<Unseen>,
    pub(super) clients: usize,
    /// The time in milliseconds.
    pub(super) now: u64,
}

/// A program on the server itself.
pub(super) const STRANGER: usize = usize::MAX;

impl Server {
    pub(super) fn new(manner: Manner, clients: usize) -> Server {
        let tree = Tree::new(manner.ignores_case);
        Server { tree, manner, watches: BTreeMap::new(), sent: Vec::new(), unseen: Vec::new(), clients, now: 0 }
    }

    /// Answers a request; `None` if it has to wait for the break of a lease.
    pub(super) fn work(&mut self, client: usize, request: &Request) -> Option<Reply> {
        if self.breaks_leases(client, request) {
            return None;
        }
        Some(match request {
            Request::Stat(path) => match self.tree.resolve(path) {
                Some(id) => Reply::Found(self.tree.metadata(id)),
                None if self.tree.resolve(&path[..path.len().saturating_sub(1)]).is_none() => Reply::NoFolder,
                None => Reply::Absent,
            },
            Request::List(path, watch) => self.list(client, path, *watch),
            Request::Make { path, is_folder } => self.make(client, path, *is_folder),
            Request::Remove { path, is_folder } => self.remove(client, path, *is_folder),
            Request::Rename(from, to) => self.rename(client, from, to),
            Request::LookAgain(watch) => self.look_again(*watch),
            Request::Notify(watch) => self.notify(*watch),
            Request::CloseWatch(watch) => {
                if let Some(watch) = self.watches.remove(watch) {
                    self.lost(watch.client, watch.folder, &watch.moments);
                }
                Reply::Done
            }
        })
    }

    fn folder_of<'a>(&self, path: &'a [String]) -> Option<(u64, &'a String)> {
        let (name, folder) = path.split_last()?;
        Some((self.tree.resolve(folder)?, name))
    }

    /// Breaks the leases of other clients that a request requires to be broken. A lease on a directory covers the names
    /// in it, and its own name. Returns whether the request has to wait.
    fn breaks_leases(&mut self, client: usize, request: &Request) -> bool {
        let paths: Vec<&Path> = match request {
            Request::Make { path, .. } | Request::Remove { path, .. } => vec![path],
            Request::Rename(from, to) => vec![from, to],
            _ => return false,
        };
        let folders = paths.iter().filter_map(|path| self.folder_of(path).map(|(folder, _)| folder));
        let itself = paths.iter().filter_map(|path| self.tree.resolve(path));
        let changed: Vec<u64> = folders.chain(itself).collect();
        let mut waits = false;
        for (number, watch) in &mut self.watches {
            let Some(lease) = watch.lease.filter(|_| watch.client != client && changed.contains(&watch.folder)) else {
                continue;
            };
            waits = true;
            if !std::mem::replace(&mut watch.is_broken, true) {
                let message = Message::Broken(lease);
                self.sent.push(Sent {
                    client: watch.client,
                    folder: watch.folder,
                    watch: *number,
                    message,
                    moments: Vec::new(),
                });
            }
        }
        waits
    }

    fn list(&mut self, client: usize, path: &Path, watch: Option<u64>) -> Reply {
        let Some(folder) = self.tree.resolve(path).filter(|id| self.tree.is_folder(*id)) else { return Reply::Absent };
        let open = self.watches.values().filter(|watch| watch.client == client).count();
        if open >= self.manner.room {
            return Reply::NoRoom;
        }
        let watch = match watch {
            Some(number) if self.manner.leases || self.manner.watches => self.watch(client, folder, number),
            _ => Granted::Nothing,
        };
        Reply::Listed { entries: self.entries(folder), watch }
    }

    fn watch(&mut self, client: usize, folder: u64, number: u64) -> Granted {
        let lease = self.manner.leases.then(|| LeaseKey(u128::from(number)));
        let watch = Watch {
            client,
            folder,
            lease,
            is_broken: false,
            begins: self.now + number.wrapping_mul(0x9E37_79B9) % 600,
            is_at_server: true,
            changes: Vec::new(),
            moments: Vec::new(),
            has_lost_count: false,
            listed: self.tree.moment(),
        };
        self.watches.insert(number, watch);
        lease.map_or(Granted::Notify, Granted::Lease)
    }

    fn entries(&self, folder: u64) -> Vec<(String, Metadata)> {
        let entries = self.tree.entries(folder).into_iter();
        entries.map(|(name, id)| (name, self.tree.metadata(id))).collect()
    }

    fn look_again(&mut self, watch: u64) -> Reply {
        let Some(watch) = self.watches.get(&watch) else { return Reply::Absent };
        let is_same = self.tree.latest(watch.folder) <= watch.listed;
        match self.manner.is_long {
            false => Reply::Listed { entries: self.entries(watch.folder), watch: Granted::Nothing },
            true if is_same => Reply::Same,
            true => Reply::Changed,
        }
    }

    fn notify(&mut self, number: u64) -> Reply {
        let Some(watch) = self.watches.get_mut(&number) else { return Reply::Absent };
        watch.is_at_server = true;
        if watch.changes.is_empty() && !watch.has_lost_count {
            let (client, folder) = (watch.client, watch.folder);
            self.sent.push(Sent { client, folder, watch: number, message: Message::Armed, moments: Vec::new() });
        } else {
            self.report(number);
        }
        Reply::Done
    }

    fn report(&mut self, number: u64) {
        let Some(watch) = self.watches.get_mut(&number).filter(|watch| watch.is_at_server) else { return };
        watch.is_at_server = false;
        let changes = std::mem::take(&mut watch.changes);
        let message = match std::mem::take(&mut watch.has_lost_count) {
            true => Message::Overflowed,
            false => Message::Reported(changes),
        };
        self.sent.push(Sent {
            client: watch.client,
            folder: watch.folder,
            watch: number,
            message,
            moments: std::mem::take(&mut watch.moments),
        });
    }

    /// Records a change of names in a folder by the client `by`, and reports it to the watches of the folder.
    pub(super) fn changed(&mut self, folder: u64, changes: &[(&str, ChangeKind)], by: usize) {
        let (now, moment) = (self.now, self.tree.moment());
        let mut why: Vec<Why> = vec![Why::NoWatch; self.clients];
        let mut reports = Vec::new();
        for (number, watch) in self.watches.iter_mut().filter(|(_, watch)| watch.folder == folder) {
            if watch.lease.is_some() || now < watch.begins {
                self.unseen.push(Unseen { moment, at: now, folder, client: watch.client, why: Why::Gap });
                continue;
            }
            why[watch.client] = Why::LaterReported;
            for (name, kind) in changes {
                watch.changes.push(DirChange { name: name.encode_utf16().collect(), kind: *kind });
            }
            watch.has_lost_count |= watch.changes.len() > ROOM;
            watch.moments.push((moment, now));
            reports.push(*number);
        }
        for client in (0..self.clients).filter(|client| *client != by) {
            self.unseen.push(Unseen { moment, at: now, folder, client, why: why[client] });
        }
        reports.into_iter().for_each(|number| self.report(number));
    }

    /// Records that these changes will not be reported to a client any more.
    pub(super) fn lost(&mut self, client: usize, folder: u64, moments: &[Moment]) {
        let unseen = moments.iter().map(|(moment, at)| (*moment, *at));
        self.unseen.extend(unseen.map(|(moment, at)| Unseen { moment, at, folder, client, why: Why::NoWatch }));
    }

    pub(super) fn make(&mut self, client: usize, path: &[String], is_folder: bool) -> Reply {
        let Some((folder, name)) = self.folder_of(path).filter(|(folder, _)| self.tree.is_folder(*folder)) else {
            return Reply::Absent;
        };
        if self.tree.find(folder, name).is_some() {
            return Reply::Refused;
        }
        self.tree.begin();
        let id = self.tree.make(is_folder);
        self.tree.put(folder, name, id);
        self.changed(folder, &[(name, ChangeKind::Added)], client);
        Reply::Found(self.tree.metadata(id))
    }

    pub(super) fn remove(&mut self, client: usize, path: &[String], is_folder: bool) -> Reply {
        let found = self.folder_of(path).and_then(|(folder, name)| Some((folder, self.tree.find(folder, name)?)));
        let Some((folder, (name, id))) = found else { return Reply::Absent };
        if self.tree.is_folder(id) != is_folder || !self.tree.entries(id).is_empty() {
            return Reply::Refused;
        }
        self.tree.begin();
        self.tree.take(folder, &name);
        self.gone(id);
        self.changed(folder, &[(&name, ChangeKind::Removed)], client);
        Reply::Done
    }

    /// A file or folder has no name any more: its watches end.
    fn gone(&mut self, id: u64) {
        self.tree.delete(id);
        let ended: Vec<u64> = self.watches.iter().filter(|(_, watch)| watch.folder == id).map(|(n, _)| *n).collect();
        for number in ended {
            if let Some(watch) = self.watches.remove(&number) {
                self.sent.push(Sent {
                    client: watch.client,
                    folder: watch.folder,
                    watch: number,
                    message: Message::Ended,
                    moments: Vec::new(),
                });
            }
        }
    }

    pub(super) fn rename(&mut self, client: usize, from: &[String], to: &[String]) -> Reply {
        let source = self.folder_of(from).and_then(|(folder, name)| Some((folder, self.tree.find(folder, name)?)));
        let target = self.folder_of(to).filter(|(folder, _)| self.tree.is_folder(*folder));
        let (Some((old, (name, id))), Some((new, new_name))) = (source, target) else { return Reply::Absent };
        let replaced = self.tree.find(new, new_name).filter(|(_, replaced)| *replaced != id);
        let is_folder = self.tree.is_folder(id);
        let may_replace = |(_, replaced): &(String, u64)| !is_folder && !self.tree.is_folder(*replaced);
        if replaced.as_ref().is_some_and(|replaced| !may_replace(replaced)) || self.tree.is_within(new, id) {
            return Reply::Refused;
        }
        if old == new && name == *new_name {
            return Reply::Done;
        }
        self.tree.begin();
        self.tree.take(old, &name);
        let new_name = match replaced {
            Some((spelling, replaced)) => {
                self.tree.take(new, &spelling);
                self.gone(replaced);
                spelling
            }
            None => new_name.clone(),
        };
        self.tree.put(new, &new_name, id);
        if old == new {
            self.changed(old, &[(&name, ChangeKind::Removed), (&new_name, ChangeKind::Added)], client);
        } else {
            self.changed(old, &[(&name, ChangeKind::Removed)], client);
            self.changed(new, &[(&new_name, ChangeKind::Added)], client);
        }
        Reply::Done
    }
}
