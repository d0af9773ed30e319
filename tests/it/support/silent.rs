//! A FUSE mount of somebody else, that never answers.

use super::command::run;
use super::{mountinfo, scratch, wait_until};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A mount whose file system answers nothing but the greeting of the kernel. It is no mount of the
/// program's: its type is plain `fuse`.
pub(crate) struct Silent {
    /// Where it is mounted.
    pub(crate) mountpoint: PathBuf,
    _session: fuser::BackgroundSession,
}

struct Nothing;

impl fuser::Filesystem for Nothing {
    fn getattr(&self, _: &fuser::Request, _: fuser::INodeNo, _: Option<fuser::FileHandle>, reply: fuser::ReplyAttr) {
        // A reply that is dropped says EIO.
        std::mem::forget(reply);
    }
}

impl Silent {
    /// Mounts one.
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
