//! Which files were found to be links or special files, and which were not: by their versions, so that none is read
//! twice. A changed file has another version.

use super::super::types::{Attributes, FileTime, Metadata, RemotePath, Special};
use bytes::Bytes;
use lru::LruCache;
use std::num::NonZeroUsize;

/// The most files.
const FILES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// The most bytes of targets.
const TARGETS: usize = 8 << 20;

/// What a file was found to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// `None` for a regular file or directory.
    pub(super) special: Option<Special>,
    /// The target of a link; `None` if there is none that a program could use.
    pub(super) target: Option<Bytes>,
    /// The reparse tag; 0 if it is no reparse point.
    pub(super) tag: u32,
}

impl Found {
    /// The metadata of the file, with what it is.
    pub(super) fn of(&self, metadata: Metadata) -> Metadata {
        Metadata { special: self.special, reparse_tag: self.tag, ..metadata }
    }
}

/// A version of a file.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Version {
    file_id: u64,
    /// The path, if the server gives no id.
    path: Option<RemotePath>,
    attributes: Attributes,
    size: u64,
    times: [FileTime; 3],
}

impl Version {
    fn of(path: &RemotePath, metadata: &Metadata) -> Version {
        Version {
            file_id: metadata.file_id,
            path: (metadata.file_id == 0).then(|| path.clone()),
            attributes: metadata.attributes,
            size: metadata.size,
            times: [metadata.created, metadata.modified, metadata.changed],
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    found: LruCache<Version, Found>,
    /// The bytes of all targets.
    targets: usize,
}

impl Default for Known {
    fn default() -> Known {
        Known { found: LruCache::new(FILES), targets: 0 }
    }
}

impl Known {
    /// What this version of a file was found to be.
    pub(super) fn get(&mut self, path: &RemotePath, metadata: &Metadata) -> Option<Found> {
        self.found.get(&Version::of(path, metadata)).cloned()
    }

    /// Records what this version of a file is.
    pub(super) fn put(&mut self, path: &RemotePath, metadata: &Metadata, found: Found) {
        self.targets += length(&found);
        let version = Version::of(path, metadata);
        if let Some((_, dropped)) = self.found.push(version, found) {
            self.targets -= length(&dropped);
        }
        while self.targets > TARGETS
            && let Some((_, dropped)) = self.found.pop_lru()
        {
            self.targets -= length(&dropped);
        }
    }
}

fn length(found: &Found) -> usize {
    found.target.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(file_id: u64, modified: u64) -> Metadata {
        Metadata { file_id, modified: FileTime(modified), size: 1067, ..Metadata::default() }
    }

    fn link(target: &'static [u8]) -> Found {
        let special = Some(Special::Symlink { length: target.len() as u32 });
        Found { special, target: Some(Bytes::from_static(target)), tag: 0 }
    }

    #[test]
    fn another_version_of_a_file_is_not_known() {
        let (mut known, path) = (Known::default(), RemotePath::parse("a"));
        known.put(&path, &file(1, 5), link(b"x"));
        let accessed = Metadata { accessed: FileTime(9), ..file(1, 5) };
        assert_eq!(known.get(&RemotePath::parse("renamed"), &accessed), Some(link(b"x")));
        for other in [file(1, 6), file(2, 5), Metadata { size: 3, ..file(1, 5) }] {
            assert_eq!(known.get(&path, &other), None);
        }
    }

    #[test]
    fn a_file_without_an_id_is_known_by_its_path() {
        let (mut known, path) = (Known::default(), RemotePath::parse("a"));
        known.put(&path, &file(0, 5), link(b"x"));
        assert_eq!(known.get(&path, &file(0, 5)), Some(link(b"x")));
        assert_eq!(known.get(&RemotePath::parse("b"), &file(0, 5)), None);
    }

    #[test]
    fn files_and_targets_are_bounded() {
        static LONG: [u8; 4095] = [b'x'; 4095];
        let (mut known, path) = (Known::default(), RemotePath::root());
        for id in 1..=20_000 {
            known.put(&path, &file(id, 0), link(&LONG));
        }
        assert!(known.targets <= TARGETS && known.found.len() == TARGETS / LONG.len());
        known.put(&path, &file(20_000, 0), link(b"replaced"));
        for id in 1..=40_000 {
            known.put(&path, &file(id, 1), Found::default());
        }
        assert_eq!((known.found.len(), known.targets), (FILES.get(), 0));
    }
}
