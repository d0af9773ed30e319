//! Operations that end after their program was killed: the kernel was answered that they were interrupted, and knows nothing
//! of what they found, made or opened.

use super::Vfs;
use super::open::Opened;
use crate::share::Share;
use std::sync::Arc;

impl<S: Share> Vfs<S> {
    /// Attributes of an inode were found, and the kernel was not told.
    pub fn attributes_unanswered(&self, ino: u64) {
        if let Some(file) = self.with_inodes(|inodes| inodes.file(ino).cloned()) {
            file.lock().not_shown_to_kernel();
        }
    }

    /// A name was found or made, which counts as a lookup, and the kernel was not told.
    pub fn entry_unanswered(&self, ino: u64) {
        self.attributes_unanswered(ino);
        self.forget(ino, 1);
    }

    /// A file was opened, and the kernel was not told: it is closed, and no page of it was dropped.
    pub async fn open_unanswered(self: &Arc<Self>, opened: Opened) {
        if let Ok(open) = self.handles.file(opened.handle) {
            open.file.lock().kernel_did_not_open(opened.handle);
        }
        self.release(opened.handle).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::User;

    #[tokio::test]
    async fn a_name_that_the_kernel_was_not_told_of_is_not_counted() {
        let user = User::new();
        user.share.put("a", b"1");
        let known = user.vfs.with_inodes(|inodes| inodes.len());
        let attr = user.look("a").await.unwrap();
        user.vfs.entry_unanswered(attr.ino);
        assert_eq!(user.vfs.with_inodes(|inodes| inodes.len()), known);
    }

    #[tokio::test]
    async fn an_open_that_the_kernel_was_not_told_of_is_closed_and_leaves_its_pages_in_doubt() {
        let user = User::new();
        user.share.put("a", b"1");
        let opened = user.open("a", libc::O_RDONLY).await.unwrap();
        user.vfs.open_unanswered(opened).await;
        assert_eq!(user.share.open_files(), 0);
        let opened = user.open("a", libc::O_RDONLY).await.unwrap();
        assert!(!opened.keep_cache, "the kernel has not dropped the pages of another version");
        user.close(opened).await;
        assert!(user.open("a", libc::O_RDONLY).await.unwrap().keep_cache);
    }

    #[tokio::test]
    async fn attributes_that_the_kernel_was_not_told_of_are_told_at_the_next_open() {
        let user = User::new();
        user.share.put("a", b"1");
        let ino = user.ino("a").await;
        let file = user.vfs.with_inodes(|inodes| inodes.file(ino).cloned()).unwrap();
        assert!(!file.lock().is_resized());
        user.vfs.attributes_unanswered(ino);
        assert!(file.lock().is_resized());
    }
}
