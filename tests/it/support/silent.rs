//! A FUSE mount of another file system, on which every stat hangs.

use super::command::run;
use super::{mountinfo, scratch, wait_until};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A mount whose file system never answers GETATTR. It is not a mount of the program under test: its type is
/// plain `fuse`.
pub(crate) struct Silent {
    /// Where it is mounted.
    pub(crate) mountpoint: PathBuf,
    _session: fuser::BackgroundSession,
}

struct Nothing;

impl fuser::Filesystem for Nothing {
    fn getattr(&self, _: &fuser::Request, _: fuser::INodeNo, _: Option<fuser::FileHandle>, reply: fuser::ReplyAttr) {
        // A dropped reply would answer EIO.
        std::mem::forget(reply);
    }
}

impl Silent {
    /// Mounts the file system.
    pub(crate) fn new() -> Silent {
        let mountpoint = scratch::folder("silent");
        let session = fuser::spawn_mount(Nothing, &mountpoint, &fuser::Config::default()).expect("a FUSE mount");
        assert!(wait_until(Duration::from_secs(20), || mountinfo::at(&mountpoint).is_some()));
        Silent { mountpoint, _session: session }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.mountpoint), Duration::from_secs(20));
        let _ = std::fs::remove_dir(&self.mountpoint);
    }
}
