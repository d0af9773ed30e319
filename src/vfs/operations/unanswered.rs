//! Operations that end after their program was killed. The kernel was answered that they were interrupted, so what it
//! would have learnt from the answer is undone.

use super::close;
use super::opening::Opened;
use crate::share::Share;
use crate::vfs::Vfs;
use std::sync::Arc;

/// Attributes of an inode were found, but the kernel was not answered.
pub fn attributes_unanswered<S: Share>(vfs: &Vfs<S>, ino: u64) {
    vfs.names.attributes_unanswered(ino);
}

/// A name was found or made, which counts as a lookup, but the kernel was not answered.
pub fn entry_unanswered<S: Share>(vfs: &Vfs<S>, ino: u64) {
    vfs.names.entry_unanswered(ino);
}

/// A file was opened, but the kernel was not answered: the handle is closed, and the kernel has dropped no page.
pub async fn open_unanswered<S: Share>(vfs: &Arc<Vfs<S>>, opened: Opened) {
    if let Ok(open) = vfs.handles.file(opened.handle) {
        open.file.lock().kernel_did_not_open(opened.handle);
    }
    close::release(vfs, opened.handle).await;
}
