//! Attributes as the server has them now.

use crate::share::Share;
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::handles::OpenFile;
use crate::vfs::presentation::Attr;
use std::time::Instant;

/// Attributes, asked of the server if they are not known.
///
/// # Errors
/// `ESTALE` if the inode's name is another file's now; what the share answered.
pub(super) async fn current<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Attr> {
    match vfs.names.known_attributes(ino) {
        Some(attr) => Ok(attr),
        None => {
            refresh(vfs, ino).await?;
            vfs.names.attr(ino)
        }
    }
}

/// Asks the server for the attributes of an inode: through an open handle, which cannot mean
/// another file, or by path.
///
/// # Errors
/// `ESTALE` if the inode's name is another file's now; what the share answered.
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

/// Where a file ends: the kernel's idea of that may be old.
///
/// # Errors
/// What the share answered.
pub(super) async fn end_of<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>) -> Result<u64> {
    let valid = open.file.lock().valid_size(vfs.terms.policy, Instant::now());
    if valid.is_none() {
        refresh(vfs, open.file.ino).await?;
    }
    Ok(valid.unwrap_or_else(|| open.file.lock().size()))
}
