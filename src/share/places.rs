//! The paths under which open files are at the server: plain values without I/O.
//!
//! An open keeps its path at the server and is opened again by it after a lost session. A rename by this client moves
//! the opens of the renamed file or folder and of everything below it. Until a rename is answered a file may have
//! either path; its identity decides which one when it is opened again.
//!
//! Invariant: a place is found by each path that it may have, unless the file at that path was replaced.

use super::types::RemotePath;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The maximum number of paths of one open. Each rename without an answer adds one.
const MOST: usize = 4;

/// The paths of one open, and what is known about its file.
#[derive(Debug)]
pub(super) struct Place<T> {
    pub(super) about: T,
    /// The most likely path first.
    paths: Mutex<Vec<RemotePath>>,
}

impl<T> Place<T> {
    /// The paths that the open may have, the most likely one first.
    pub(super) fn paths(&self) -> Vec<RemotePath> {
        self.paths.lock().clone()
    }

    fn is_most_likely(&self, path: &RemotePath) -> bool {
        self.paths.lock().first() == Some(path)
    }
}

/// The places of all opens.
#[derive(Debug)]
pub(super) struct Places<T>(BTreeMap<RemotePath, Vec<Weak<Place<T>>>>);

impl<T> Default for Places<T> {
    fn default() -> Places<T> {
        Places(BTreeMap::new())
    }
}

impl<T> Places<T> {
    /// A file was opened by this path.
    pub(super) fn opened(&mut self, path: &RemotePath, about: T) -> Arc<Place<T>> {
        let place = Arc::new(Place { about, paths: Mutex::new(vec![path.clone()]) });
        self.index(path, &place);
        place
    }

    /// The open that most likely has this path: the last one that got it.
    pub(super) fn at(&self, path: &RemotePath) -> Option<Arc<Place<T>>> {
        let here = || self.0.get(path).into_iter().flatten().rev().filter_map(Weak::upgrade);
        here().find(|place| place.is_most_likely(path)).or_else(|| here().next())
    }

    /// A rename is about to be sent: opens at or below `from` may be at or below `to` from now on.
    pub(super) fn may_change(&mut self, from: &RemotePath, to: &RemotePath) {
        for (path, place) in self.below(from) {
            let Some(moved) = path.moved(from, to) else { continue };
            let mut paths = place.paths.lock();
            if paths.contains(&moved) {
                continue;
            }
            let surplus = (paths.len() >= MOST).then(|| paths.remove(1));
            paths.push(moved.clone());
            drop(paths);
            if let Some(surplus) = surplus {
                self.forget(&surplus, &place);
            }
            self.index(&moved, &place);
        }
    }

    /// A rename was carried out.
    pub(super) fn moved(&mut self, from: &RemotePath, to: &RemotePath) {
        for (path, place) in self.below(from) {
            let Some(moved) = path.moved(from, to) else { continue };
            {
                let mut paths = place.paths.lock();
                let was_likely = paths.first().is_some_and(|first| *first == path || *first == moved);
                paths.retain(|other| *other != path && *other != moved);
                let index = if was_likely { 0 } else { paths.len() };
                paths.insert(index, moved.clone());
            }
            self.forget(&path, &place);
            self.forget(&moved, &place);
            self.index(&moved, &place);
        }
    }

    /// The file at a path was replaced. The path no longer leads to the opens of the replaced file. They may continue,
    /// but one that is made again by this path finds another file.
    pub(super) fn replaced(&mut self, path: &RemotePath) {
        self.0.remove(path);
    }

    /// The file was found by one of its paths.
    pub(super) fn found(&mut self, place: &Place<T>, path: &RemotePath) {
        let mut paths = place.paths.lock();
        if let Some(index) = paths.iter().position(|other| other == path) {
            paths[..=index].rotate_right(1);
        }
    }

    /// Removes closed opens.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|_, places| {
            places.retain(|place| place.strong_count() > 0);
            !places.is_empty()
        });
    }

    /// The number of known paths.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn index(&mut self, path: &RemotePath, place: &Arc<Place<T>>) {
        let places = self.0.entry(path.clone()).or_default();
        places.retain(|other| other.strong_count() > 0);
        places.push(Arc::downgrade(place));
    }

    fn forget(&mut self, path: &RemotePath, place: &Arc<Place<T>>) {
        if let Some(places) = self.0.get_mut(path) {
            places.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(place)));
            if places.is_empty() {
                self.0.remove(path);
            }
        }
    }

    /// The opens at and below a path, with the paths by which they are found.
    fn below(&self, top: &RemotePath) -> Vec<(RemotePath, Arc<Place<T>>)> {
        let itself = self.0.get_key_value(top).into_iter();
        let inside = self.0.range(top.join(&[])..).take_while(|(path, _)| path.is_below(top));
        let found = itself.chain(inside);
        found
            .flat_map(|(path, places)| places.iter().filter_map(Weak::upgrade).map(move |place| (path.clone(), place)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::parse(text)
    }

    fn paths(place: &Place<u32>) -> Vec<String> {
        place.paths().iter().map(|path| path.to_string().replace('\\', "/")).collect()
    }

    #[test]
    fn a_replaced_file_is_not_found_by_its_path() {
        let [new, old] = ["new", "old"].map(RemotePath::parse);
        let mut places = Places::default();
        let replaced = places.opened(&old, 1);
        let _other = places.opened(&new, 2);
        places.replaced(&old);
        assert!(places.at(&old).is_none());
        places.moved(&new, &old);
        assert_eq!((places.at(&old).map(|place| place.about), replaced.paths()), (Some(2), vec![old]));
    }

    #[test]
    fn a_rename_moves_the_opens_of_the_file_and_of_everything_below_it() {
        let mut places = Places::default();
        let file = places.opened(&path("a/log"), 1);
        let (deep, beside) = (places.opened(&path("a/b/c"), 2), places.opened(&path("a.b"), 3));
        places.may_change(&path("a/log"), &path("a/log.1"));
        assert_eq!(paths(&file), ["/a/log", "/a/log.1"]);
        places.moved(&path("a/log"), &path("a/log.1"));
        assert_eq!(paths(&file), ["/a/log.1"]);
        places.moved(&path("a"), &path("z"));
        assert_eq!((paths(&file), paths(&deep)), (vec!["/z/log.1".into()], vec!["/z/b/c".into()]));
        assert_eq!(paths(&beside), ["/a.b"]);
        assert_eq!(places.at(&path("z/b/c")).unwrap().about, 2);
        assert!(places.at(&path("a/b/c")).is_none());
    }

    #[test]
    fn a_rename_without_an_answer_leaves_both_names_until_one_is_found() {
        let mut places = Places::default();
        let file = places.opened(&path("a"), 1);
        places.may_change(&path("a"), &path("b"));
        places.found(&file, &path("b"));
        assert_eq!(paths(&file), ["/b", "/a"]);
        // Either name may be renamed now.
        places.moved(&path("b"), &path("c"));
        assert_eq!(paths(&file), ["/c", "/a"]);
        places.moved(&path("a"), &path("d"));
        assert_eq!(paths(&file), ["/c", "/d"]);
    }

    #[test]
    fn names_from_unanswered_renames_are_bounded_and_the_likely_one_stays() {
        let mut places = Places::default();
        let file = places.opened(&path("a"), 1);
        (0..20).for_each(|number| places.may_change(&path("a"), &path(&format!("to/{number}"))));
        assert_eq!(paths(&file), ["/a", "/to/17", "/to/18", "/to/19"]);
        assert!(places.at(&path("to/16")).is_none(), "a dropped name no longer leads to the file");
    }

    #[test]
    fn the_name_of_a_replaced_file_leads_to_the_file_that_replaced_it() {
        let mut places = Places::default();
        let (_replaced, _moved) = (places.opened(&path("new"), 1), places.opened(&path("old"), 2));
        places.may_change(&path("old"), &path("new"));
        assert_eq!(places.at(&path("new")).unwrap().about, 1, "not before the answer");
        places.moved(&path("old"), &path("new"));
        assert_eq!(places.at(&path("new")).unwrap().about, 2);
    }

    #[test]
    fn a_closed_file_is_no_longer_found() {
        let mut places = Places::default();
        drop(places.opened(&path("a"), 1));
        let kept = places.opened(&path("b"), 2);
        assert!(places.at(&path("a")).is_none());
        places.sweep();
        assert_eq!((places.len(), kept.about), (1, 2));
    }

    proptest! {
        /// Files that are renamed, with or without an answer, compared with a tree of names.
        #[test]
        fn the_true_path_is_always_among_the_paths_that_are_tried(
            renames in prop::collection::vec((0..6usize, 0..6usize, any::<bool>(), any::<bool>()), 1..4),
        ) {
            let names = ["a", "a/x", "b", "b/x", "c", "c/x/y"].map(path);
            let mut places = Places::default();
            let files: Vec<_> = names.iter().map(|name| (places.opened(name, 0), name.clone())).collect();
            let mut truth: Vec<RemotePath> = files.iter().map(|(_, name)| name.clone()).collect();
            for (from, to, is_done, is_answered) in renames {
                let (from, to) = (&names[from], &path(&format!("new{to}")));
                places.may_change(from, to);
                if is_done {
                    truth.iter_mut().for_each(|path| if let Some(moved) = path.moved(from, to) { *path = moved });
                    if is_answered {
                        places.moved(from, to);
                    }
                }
            }
            for ((file, _), truth) in files.iter().zip(&truth) {
                prop_assert!(file.paths().contains(truth), "{truth} is not in {:?}", file.paths());
            }
        }
    }
}
