//! Size and free space.

use crate::share::{Share, Space};
use crate::vfs::Vfs;
use crate::vfs::errno::Result;
use std::time::Instant;

/// Size and free space of the disk that an inode is on, in the units of [`Space`]: the server may have other disks
/// below the share. Cached for five seconds at most, and until this mount changes the free space.
///
/// # Errors
/// `ESTALE` if no name leads to the directory any more; otherwise what the share answered.
pub async fn statfs<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Space> {
    let (directory, known) = vfs.names.known_space(ino);
    if let Some(space) = known {
        return Ok(space);
    }
    let (path, asked) = (vfs.names.path(directory)?, Instant::now());
    let space = vfs.names.with_room(|| vfs.share.space(&path)).await?;
    vfs.names.learn_space(directory, space, asked);
    Ok(space)
}
