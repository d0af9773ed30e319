//! The files on the server's disk, and what each name meant at each moment. A moment is the number of changes so far.

use crate::share::{Attributes, FileTime, Metadata};
use std::collections::{BTreeMap, HashMap};

/// The root's id.
pub(super) const TOP: u64 = 2;

/// A file or a folder.
#[derive(Debug)]
struct Item {
    is_folder: bool,
    entries: BTreeMap<String, u64>,
}

/// The moment from which on a name meant a file, or nothing.
type Meant = (u64, Option<u64>);

#[derive(Debug)]
pub(super) struct Tree {
    items: BTreeMap<u64, Item>,
    ignores_case: bool,
    next: u64,
    moment: u64,
    /// What each name of a folder has meant, with the first moment of each meaning.
    history: HashMap<(u64, String), Vec<Meant>>,
    /// The moment of the last change in each folder.
    latest: HashMap<u64, u64>,
}

impl Tree {
    pub(super) fn new(ignores_case: bool) -> Tree {
        let top = Item { is_folder: true, entries: BTreeMap::new() };
        Tree {
            items: BTreeMap::from([(TOP, top)]),
            ignores_case,
            next: TOP,
            moment: 0,
            history: HashMap::new(),
            latest: HashMap::new(),
        }
    }

    /// The form that all spellings of a name share at the server.
    pub(super) fn key(&self, name: &str) -> String {
        if self.ignores_case { name.to_lowercase() } else { name.to_owned() }
    }

    pub(super) fn moment(&self) -> u64 {
        self.moment
    }

    pub(super) fn latest(&self, folder: u64) -> u64 {
        self.latest.get(&folder).copied().unwrap_or_default()
    }

    /// Begins a change: everything until the next one belongs to the same moment.
    pub(super) fn begin(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub(super) fn make(&mut self, is_folder: bool) -> u64 {
        self.next += 1;
        self.items.insert(self.next, Item { is_folder, entries: BTreeMap::new() });
        self.next
    }

    pub(super) fn is_folder(&self, id: u64) -> bool {
        self.items.get(&id).is_some_and(|item| item.is_folder)
    }

    pub(super) fn entries(&self, folder: u64) -> Vec<(String, u64)> {
        let entries = self.items.get(&folder).map(|item| &item.entries);
        entries.into_iter().flatten().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// The spelling of a name in a folder, and the file that it means.
    pub(super) fn find(&self, folder: u64, name: &str) -> Option<(String, u64)> {
        let key = self.key(name);
        let entries = &self.items.get(&folder)?.entries;
        entries.iter().find(|(other, _)| self.key(other) == key).map(|(name, id)| (name.clone(), *id))
    }

    pub(super) fn resolve(&self, path: &[String]) -> Option<u64> {
        path.iter().try_fold(TOP, |folder, name| Some(self.find(folder, name)?.1))
    }

    pub(super) fn put(&mut self, folder: u64, name: &str, id: u64) {
        if let Some(item) = self.items.get_mut(&folder) {
            item.entries.insert(name.to_owned(), id);
        }
        self.note(folder, name, Some(id));
    }

    pub(super) fn take(&mut self, folder: u64, name: &str) {
        if let Some(item) = self.items.get_mut(&folder) {
            item.entries.remove(name);
        }
        self.note(folder, name, None);
    }

    /// Deletes a file or folder that has no name any more.
    pub(super) fn delete(&mut self, id: u64) {
        self.items.remove(&id);
    }

    fn note(&mut self, folder: u64, name: &str, id: Option<u64>) {
        let (key, moment) = (self.key(name), self.moment);
        self.history.entry((folder, key)).or_default().push((moment, id));
        self.latest.insert(folder, moment);
    }

    /// What a name meant at a moment.
    pub(super) fn at(&self, folder: u64, name: &str, moment: u64) -> Option<u64> {
        let history = self.history.get(&(folder, self.key(name)))?;
        history.iter().rev().find(|(since, _)| *since <= moment).and_then(|(_, id)| *id)
    }

    /// Whether a name has meant `id` at some moment from `from` on.
    pub(super) fn has_meant(&self, folder: u64, name: &str, id: Option<u64>, from: u64) -> bool {
        let history = self.history.get(&(folder, self.key(name)));
        let later = history.into_iter().flatten().rev().take_while(|(moment, _)| *moment > from);
        self.at(folder, name, from) == id || later.into_iter().any(|(_, meant)| *meant == id)
    }

    /// The same for a path.
    pub(super) fn path_has_meant(&self, path: &[String], id: Option<u64>, from: u64) -> bool {
        let meant = |moment| path.iter().try_fold(TOP, |folder, name| self.at(folder, name, moment));
        (from..=self.moment).any(|moment| meant(moment) == id)
    }

    pub(super) fn metadata(&self, id: u64) -> Metadata {
        let attributes = Attributes(if self.is_folder(id) { Attributes::DIRECTORY } else { Attributes::NORMAL });
        Metadata { file_id: id, created: FileTime(id + 1), size: id, attributes, ..Metadata::default() }
    }

    /// Whether a folder is `ancestor` or below it.
    pub(super) fn is_within(&self, folder: u64, ancestor: u64) -> bool {
        let below = |folder: u64| self.entries(folder).into_iter().map(|(_, id)| id);
        folder == ancestor || below(ancestor).any(|id| self.is_within(folder, id))
    }
}
