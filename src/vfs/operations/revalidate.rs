//! Attributes as the server has them now, fetched unless they are valid.

use crate::share::{RemotePath, Share};
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::file::driver::FileOf;
use crate::vfs::handles::OpenFile;
use crate::vfs::presentation::Attr;
use std::time::Instant;

/// The attributes of an inode, fetched from the server unless they are valid.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more, or its name means another file; otherwise what the share answered.
pub(super) async fn current<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Attr> {
    match vfs.names.known_attributes(ino) {
        Some(attr) => Ok(attr),
        None => {
            refresh(vfs, ino).await?;
            vfs.names.attr(ino)
        }
    }
}

/// Fetches the attributes of an inode: through an open handle, which cannot mean another file, or by path.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more, or its name means another file; otherwise what the share answered.
pub(super) async fn refresh<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<()> {
    vfs.names.close_doubtful(ino).await;
    let file = vfs.names.file(ino).ok_or_else(VfsError::stale)?;
    vfs.handles.finish_closes_of(&file).await;
    let (token, open) = {
        let state = file.lock();
        (state.token(), state.live_open())
    };
    if let Some(open) = open {
        let metadata = vfs.share.metadata(&open).await?;
        vfs.files.event(&file, Event::Fetched { metadata, token });
        let granted = file.lock().caching();
        if !vfs.files.is_alone(granted) && !vfs.terms.policy.decide(granted).believes_data {
            vfs.cache.drop_file(file.key);
            vfs.files.forget_in_time(&file);
        }
        vfs.names.refresh_owner(&file).await;
        return Ok(());
    }
    let mut names = NamesTried::of(vfs, ino)?;
    while let Err(error) = fetch_by_path(vfs, &file, &names.path, token).await {
        names.go_on(vfs, error)?;
    }
    Ok(())
}

/// The names of a file that requests by path try, one after the other, until one leads to it.
pub(super) struct NamesTried {
    ino: u64,
    pub(super) path: RemotePath,
    tried: usize,
}

impl NamesTried {
    /// Begins with the name that requests use first.
    ///
    /// # Errors
    /// `ESTALE` if no name leads to the inode any more.
    pub(super) fn of<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<NamesTried> {
        Ok(NamesTried { ino, path: vfs.names.path(ino)?, tried: 1 })
    }

    /// Goes on to the next name after a failure by the present one, which has taken that name from the inode.
    ///
    /// # Errors
    /// The failure, if it is not that the name means another file or nothing, or no other name is left.
    pub(super) fn go_on<S: Share>(&mut self, vfs: &Vfs<S>, failure: VfsError) -> Result<()> {
        match vfs.names.path(self.ino) {
            Ok(next) if failure.errno == libc::ESTALE && self.tried < MOST_TRIED && next != self.path => {
                (self.path, self.tried) = (next, self.tried + 1);
                Ok(())
            }
            _ => Err(failure),
        }
    }
}

/// Fetches the attributes of a file by its path.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more, or its name means another file; otherwise what the share answered.
async fn fetch_by_path<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, path: &RemotePath, token: FetchToken) -> Result<()> {
    let (ino, asked) = (file.ino, vfs.names.asking());
    let found = vfs.names.ask(path, Some(file)).await.map_err(|error| vfs.names.stale_if_absent(ino, error))?;
    vfs.names.name_fetched(ino, found.metadata, asked);
    vfs.names.fetched(file, found.metadata, token)?;
    vfs.names.learn_owner(ino, &found);
    Ok(())
}

/// The most names of a file that one operation tries.
const MOST_TRIED: usize = 16;

/// The path of an inode, for a request that changes what the path means. If the file has several names, the server is
/// asked first whether this one means it: a program has used another one, perhaps, and this one may mean another file
/// by now.
///
/// # Errors
/// `ESTALE` if no name leads to the inode any more; otherwise what the share answered.
pub(super) async fn certain_path<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>) -> Result<RemotePath> {
    let mut names = NamesTried::of(vfs, file.ino)?;
    while vfs.names.has_several_names(file.ino) {
        let known = file.lock().metadata().identity();
        let found = vfs.names.with_room(|| vfs.share.stat(&names.path)).await;
        let failure = match found {
            Ok(found) if found.identity() == known => break,
            Ok(_) => {
                vfs.names.doubt_name(file.ino);
                VfsError::stale()
            }
            Err(error) => vfs.names.stale_if_absent(file.ino, error),
        };
        names.go_on(vfs, failure)?;
    }
    Ok(names.path)
}

/// The size of an open file, fetched unless it is valid: the kernel's size may be old.
///
/// # Errors
/// Those of [`refresh`].
pub(super) async fn end_of<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>) -> Result<u64> {
    let valid = open.file.lock().valid_size(vfs.terms.policy, Instant::now());
    size_of(vfs, open, valid).await
}

/// The end of an open file for data that is appended: fetched unless no other client can have moved it. A size that is
/// a moment old is not enough: another client may have appended since, and its data would be overwritten.
///
/// # Errors
/// Those of [`refresh`].
pub(super) async fn end_for_append<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>) -> Result<u64> {
    let certain = open.file.lock().certain_size(vfs.terms.policy);
    size_of(vfs, open, certain).await
}

async fn size_of<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>, known: Option<u64>) -> Result<u64> {
    if known.is_none() {
        refresh(vfs, open.file.ino).await?;
    }
    Ok(known.unwrap_or_else(|| open.file.lock().size()))
}
