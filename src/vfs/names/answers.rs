//! The state that is recorded before the server is asked about a name, and how its answer is recorded.
//!
//! Invariant: an answer is applied only as far as nothing newer is known ([`Asked`]).

use super::Names;
use super::namespace::node::{NameId, Node};
use super::namespace::{Admission, Asked};
use crate::share::{FileKind, Metadata, RemotePath, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::file::driver::FileOf;
use crate::vfs::file::version::DataVersion;
use std::sync::Arc;

/// A file that the server reports under a new name, and the old name under which this mount knows it.
pub(crate) struct Elsewhere {
    ino: u64,
    name: NameId,
    /// The path under the old name.
    pub path: RemotePath,
}

impl<S: Share> Names<S> {
    /// To be called before a request that is not a lookup of one name. Returns the state against which the answer is
    /// weighed.
    pub(crate) fn asking(&self) -> Asked {
        self.with(|namespace, now| namespace.asking(now))
    }

    /// To be called before the server is asked about a name: the name's path, and the state against which the answer is
    /// weighed.
    ///
    /// # Errors
    /// `ESTALE` if no name leads to the directory any more.
    pub(crate) fn before_asking(&self, parent: u64, name: &[u16]) -> Result<(RemotePath, Asked)> {
        let (directory, asked) = self.with(|namespace, now| {
            (namespace.path(parent, &self.terms.root), namespace.asking_about(parent, name, now))
        });
        Ok((directory.ok_or_else(VfsError::stale)?.join(name), asked))
    }

    /// The file that a name means, and its kind, if the name has a node.
    pub(crate) fn occupant(&self, parent: u64, name: &[u16]) -> Option<(FileOf<S>, FileKind)> {
        self.with(|namespace, _| {
            let node = namespace.node(namespace.at(parent, name)?)?;
            Some((Arc::clone(&node.file), node.kind))
        })
    }

    /// The file of an inode, and its kind.
    pub(crate) fn file_and_kind(&self, ino: u64) -> Option<(FileOf<S>, FileKind)> {
        self.with(|namespace, _| namespace.node(ino).map(|node| (Arc::clone(&node.file), node.kind)))
    }

    /// Records that the server has found a file under a name. Returns its inode, which has one more lookup; `None` if
    /// this mount changed the meaning of the name meanwhile, or the directory has another node or none.
    pub(crate) fn found(&self, parent: u64, name: &[u16], metadata: Metadata, asked: Asked) -> Option<u64> {
        match self.with(|namespace, now| namespace.found(parent, name, metadata, asked, now)) {
            Admission::Node(ino) => Some(ino),
            Admission::Overtaken => None,
        }
    }

    /// Whether a listing or the watch has shown a name, and nothing has shown since that it is gone.
    pub(crate) fn seems_there(&self, parent: u64, name: &[u16]) -> bool {
        self.with(|namespace, _| namespace.seems_there(parent, name))
    }

    /// Records that the server has found nothing under a name.
    pub(crate) fn not_found(&self, parent: u64, name: &[u16], asked: Asked) {
        self.with(|namespace, _| namespace.absent(parent, name, asked));
    }

    /// Whether what the server has found in a directory is that directory itself, or one that contains it.
    pub(crate) fn is_ancestor(&self, parent: u64, found: &Metadata) -> bool {
        self.with(|namespace, _| namespace.is_ancestor(parent, found))
    }

    /// An inode under another name that may be of what the server has found, if its attributes are out of date.
    pub(crate) fn doubtful_twin(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<u64> {
        self.with(|namespace, _| namespace.doubtful_twin(parent, name, found))
    }

    /// Whether the file of an inode has several names, as far as is known.
    pub(crate) fn has_several_names(&self, ino: u64) -> bool {
        self.with(|namespace, _| namespace.node(ino).is_some_and(Node::has_several_names))
    }

    /// The file that the server has found under a name, if this mount knows it under another name.
    pub(crate) fn elsewhere(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<Elsewhere> {
        self.with(|namespace, _| {
            let ino = namespace.elsewhere(parent, name, found)?;
            let path = namespace.path(ino, &self.terms.root)?;
            Some(Elsewhere { ino, name: namespace.name_of(ino)?.clone(), path })
        })
    }

    /// Records that the server contradicts the name of the directory of an old name.
    pub(crate) fn doubt_directory_of(&self, old: &Elsewhere) {
        self.doubt_name(old.name.directory);
    }

    /// Records that another client has renamed a file: the inode moves to its new name. The old name now means `there`,
    /// or nothing. Returns whether the inode has moved: it does not if either name has changed its meaning meanwhile.
    pub(crate) fn follow(
        &self,
        old: &Elsewhere,
        (parent, name): (u64, &[u16]),
        there: Option<Metadata>,
        asked: Asked,
    ) -> bool {
        self.with(|namespace, now| {
            let is_still = namespace.name_of(old.ino) == Some(&old.name) && namespace.at(parent, name).is_none();
            if is_still {
                namespace.relocate((old.name.directory, &old.name.name), (parent, name), now);
                namespace.learn(old.name.directory, &old.name.name, there, asked);
            }
            is_still
        })
    }

    /// Records attributes of a file that were fetched by its name, or with an open of that name. Returns whether its size
    /// or times differ from the cached ones.
    ///
    /// # Errors
    /// `ESTALE` if the name means another file now.
    pub(crate) fn fetched(&self, file: &FileOf<S>, metadata: Metadata, token: FetchToken) -> Result<bool> {
        let differs = self.with(|namespace, now| {
            let is_still = namespace.is_still(file.ino, &metadata);
            let differs = {
                let state = file.lock();
                // This mount does not know which times the server gives to its own changes.
                let is_known = state.known_since().is_some();
                state.size() != metadata.size
                    || (is_known && DataVersion::from(state.metadata()) != DataVersion::from(&metadata))
            };
            if is_still {
                namespace.store(file.ino, metadata, token, now);
            } else {
                namespace.doubt_name(file.ino, now);
            }
            is_still.then_some(differs)
        });
        differs.ok_or_else(VfsError::stale)
    }

    /// Records that the name of an inode means a file with these attributes.
    pub(crate) fn name_fetched(&self, ino: u64, metadata: Metadata, asked: Asked) {
        self.with(|namespace, _| {
            if let Some(id) = namespace.name_of(ino).cloned() {
                namespace.learn(id.directory, &id.name, Some(metadata), asked);
            }
        });
    }
}
