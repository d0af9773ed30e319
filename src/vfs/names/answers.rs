//! What an operation knows of a name before it asks the server, and what it has learnt from the answer.

use super::Names;
use super::namespace::node::NameId;
use super::namespace::{Admission, Asked};
use crate::share::{FileKind, Metadata, RemotePath, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::file::driver::FileOf;
use std::sync::Arc;

/// A file that the server reports under a new name, as it is known under its old one.
pub(crate) struct Elsewhere {
    ino: u64,
    name: NameId,
    /// The old name.
    pub path: RemotePath,
}

impl<S: Share> Names<S> {
    /// To be taken before the server is asked about a name that is known.
    pub(crate) fn asking(&self) -> Asked {
        self.with(|namespace, now| namespace.asking(now))
    }

    /// The path to ask the server for, and what is known of the name until it answers.
    ///
    /// # Errors
    /// `ESTALE` if the directory's name is no longer its own.
    pub(crate) fn before_asking(&self, parent: u64, name: &[u16]) -> Result<(RemotePath, Asked)> {
        let (directory, asked) = self.with(|namespace, now| {
            (namespace.path(parent, &self.terms.root), namespace.asking_about(parent, name, now))
        });
        Ok((directory.ok_or_else(VfsError::stale)?.join(name), asked))
    }

    /// What is known to have a name.
    pub(crate) fn occupant(&self, parent: u64, name: &[u16]) -> Option<(FileOf<S>, FileKind)> {
        self.with(|namespace, _| {
            let node = namespace.node(namespace.at(parent, name)?)?;
            Some((Arc::clone(&node.file), node.kind))
        })
    }

    /// The file of an inode, and what it is.
    pub(crate) fn file_and_kind(&self, ino: u64) -> Option<(FileOf<S>, FileKind)> {
        self.with(|namespace, _| namespace.node(ino).map(|node| (Arc::clone(&node.file), node.kind)))
    }

    /// The server has found something under a name: the inode, which gets one more lookup. `None` if this mount changed the
    /// name's meaning meanwhile.
    pub(crate) fn found(&self, parent: u64, name: &[u16], metadata: Metadata, asked: Asked) -> Option<u64> {
        match self.with(|namespace, now| namespace.found(parent, name, metadata, asked, now)) {
            Admission::Node(ino) => Some(ino),
            Admission::Overtaken => None,
        }
    }

    /// The server has found nothing under a name.
    pub(crate) fn not_found(&self, parent: u64, name: &[u16], asked: Asked) {
        self.with(|namespace, _| namespace.absent(parent, name, asked));
    }

    /// The file that the server has found under a name, if it is known under another one.
    pub(crate) fn elsewhere(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<Elsewhere> {
        self.with(|namespace, _| {
            let ino = namespace.elsewhere(parent, name, found)?;
            let path = namespace.path(ino, &self.terms.root)?;
            Some(Elsewhere { ino, name: namespace.name_of(ino)?.clone(), path })
        })
    }

    /// The old name of a file does not mean it any more, but what is `there` now, if anything is: the inode moves to its new
    /// name. Says whether it did.
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
                namespace.relocate(old.ino, parent, name, now);
                namespace.learn(old.name.directory, &old.name.name, there, asked);
            }
            is_still
        })
    }

    /// The server was asked by its name for the attributes of a file, or has opened it. Whether its size is another one than
    /// was known.
    ///
    /// # Errors
    /// `ESTALE` if the name is another file's now.
    pub(crate) fn fetched(&self, file: &FileOf<S>, metadata: Metadata, token: FetchToken) -> Result<bool> {
        let is_resized = self.with(|namespace, now| {
            let is_still = namespace.is_still(file.ino, &metadata);
            let is_resized = file.lock().size() != metadata.size;
            if is_still {
                namespace.store(file.ino, metadata, token, now);
            } else {
                namespace.doubt_name(file.ino, now);
            }
            is_still.then_some(is_resized)
        });
        is_resized.ok_or_else(VfsError::stale)
    }

    /// The server was asked by its name for the attributes of an inode.
    pub(crate) fn name_fetched(&self, ino: u64, metadata: Metadata, asked: Asked) {
        self.with(|namespace, _| {
            if let Some(id) = namespace.name_of(ino).cloned() {
                namespace.learn(id.directory, &id.name, Some(metadata), asked);
            }
        });
    }
}
