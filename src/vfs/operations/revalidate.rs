//! Attributes as the server has them now, fetched unless they are valid.

use crate::share::Share;
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
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
        return Ok(());
    }
    let (path, asked) = (vfs.names.path(ino)?, vfs.names.asking());
    let metadata =
        vfs.names.with_room(|| vfs.share.stat(&path)).await.map_err(|error| vfs.names.stale_if_absent(ino, error))?;
    vfs.names.name_fetched(ino, metadata, asked);
    vfs.names.fetched(&file, metadata, token)?;
    Ok(())
}

/// The size of an open file, fetched unless it is valid: the kernel's size may be old.
///
/// # Errors
/// Those of [`refresh`].
pub(super) async fn end_of<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>) -> Result<u64> {
    let valid = open.file.lock().valid_size(vfs.terms.policy, Instant::now());
    if valid.is_none() {
        refresh(vfs, open.file.ino).await?;
    }
    Ok(valid.unwrap_or_else(|| open.file.lock().size()))
}
