//! Size and free space.

use crate::share::{Share, Space};
use crate::vfs::Vfs;
use crate::vfs::errno::Result;
use std::time::Instant;

/// Size and free space of the file system behind the share, in the units of [`Space`]. Cached for five
/// seconds at most, and until this mount changes the free space.
///
/// # Errors
/// What the share answered.
pub async fn statfs<S: Share>(vfs: &Vfs<S>) -> Result<Space> {
    if let Some(space) = vfs.names.known_space() {
        return Ok(space);
    }
    let asked = Instant::now();
    let space = vfs.names.with_room(|| vfs.share.space()).await?;
    vfs.names.learn_space(space, asked);
    Ok(space)
}
