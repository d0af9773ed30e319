//! A mount from the moment it is made to its end.
//!
//! The order matters: the guardian is there before the mount, and is dismissed after it; only when the kernel has an answering
//! file system is the user told that it works. At the end it goes backwards: unmounted, everything closed on the server,
//! the session left. Every step is bounded, so that a server that has gone cannot keep the process.

use super::daemon::Ready;
use super::guardian::Guardian;
use super::kernel::{self, MountRequest, Mounted};
use super::renewal::Renewal;
use super::signals::{Meaning, Signals};
use super::{MountError, Stage, notify};
use crate::config::{MountOptions, MountSpec, Restart};
use crate::share::{RemotePath, SmbShare};
use crate::vfs::{Vfs, VfsOptions, background, operations};
use crate::{cache, fuse};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long an unmount may wait for users of the mount to finish.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);
/// How long the end of the FUSE session and the farewell to the server may take.
const FAREWELL: Duration = Duration::from_secs(10);
/// How far the kernel reads ahead of a sequential reader, in KiB.
const KERNEL_READ_AHEAD: u32 = 4096;

/// A mount, and the guardian that ends it if this process cannot.
pub(super) struct Guarded {
    mounted: Mounted,
    guardian: Option<Guardian>,
    /// No thread of this process serves the mount, now or later.
    is_over: bool,
}

impl Guarded {
    /// Mounts, with a guardian if the system has one; `restarts` if that one may have to mount again.
    pub(super) fn mount(request: &MountRequest, restarts: bool) -> Result<Guarded, MountError> {
        let mut guardian = Guardian::start(restarts)
            .inspect_err(|error| {
                tracing::warn!(%error, "no guardian can be started: if this process is killed, the mount stays behind, dead");
            })
            .ok();
        if let Some(guardian) = &mut guardian {
            guardian.mounting(request.mountpoint.path());
        }
        match kernel::mount(request) {
            Ok(mounted) => {
                if let Some(guardian) = &mut guardian {
                    guardian.mounted(&mounted);
                }
                if !mounted.can_be_aborted() {
                    tracing::warn!(
                        "the FUSE control file system is not mounted: if this process is killed at a bad moment, only root can free \
                         what waits for the mount\nas root, once: mount -t fusectl none /sys/fs/fuse/connections"
                    );
                }
                Ok(Guarded { mounted, guardian, is_over: true })
            }
            Err(error) => {
                if let Some(guardian) = guardian {
                    guardian.end();
                }
                Err(error)
            }
        }
    }

    /// The mount works: from now on it is made again, in this way, if this process is killed.
    fn working(&mut self, restart: &Restart) {
        if let Some(guardian) = &mut self.guardian {
            guardian.working(restart);
        }
    }

    /// The mount is being ended, and is not made again whatever happens.
    fn ending(&mut self) {
        if let Some(guardian) = &mut self.guardian {
            guardian.ending();
        }
    }

    /// Dismisses the guardian if nothing is left for it to end.
    pub(super) fn end(self) {
        let Guarded { mounted, guardian, is_over } = self;
        if mounted.is_mounted() {
            tracing::warn!(mountpoint = %mounted.mountpoint().display(), "detaching a mount that nobody unmounted");
            if let Err(error) = mounted.detach() {
                tracing::error!(%error, "it stays behind");
            }
        }
        if let Some(guardian) = guardian
            && is_over
            && !mounted.is_mounted()
        {
            guardian.end();
        }
    }
}

/// What serves a mount.
pub(super) struct Service<'a> {
    pub(super) spec: &'a MountSpec,
    /// The folder that is mounted.
    pub(super) root: RemotePath,
    pub(super) renewal: &'a Renewal,
    pub(super) share: Arc<SmbShare>,
    pub(super) runtime: &'a Runtime,
}

impl Service<'_> {
    /// Serves the mount to its end. `ready` is taken when the mount works.
    pub(super) fn run(
        &self,
        guarded: &mut Guarded,
        signals: &mut Signals,
        ready: Option<&mut Option<Ready>>,
    ) -> Result<(), MountError> {
        let (runtime, share) = (self.runtime, &self.share);
        let vfs = Arc::new(Vfs::new(share.clone(), vfs_options(&self.spec.options), self.root.clone()));
        runtime.spawn(cache::allocator::give_back());
        runtime.spawn(background::count_names(vfs.clone()));
        runtime.spawn(background::handle_breaks(vfs.clone()));
        runtime.spawn(background::close_idle(vfs.clone()));
        runtime.spawn(background::follow_watches(vfs.clone()));
        let descriptor =
            guarded.mounted.take_descriptor().ok_or_else(|| MountError::system("the mount", "has no descriptor"))?;
        let mut session = fuse::serve(vfs.clone(), descriptor, runtime.handle().clone())
            .map_err(|error| MountError::new(Stage::Mount, format!("the FUSE handshake failed: {error}")))?;
        guarded.is_over = false;
        let outcome = self.announce(guarded, signals, ready).and_then(|()| {
            let ending = runtime.block_on(self.until_end(signals, &mut session));
            end(ending, guarded, &mut session, runtime)
        });
        runtime.block_on(async {
            let drained = tokio::time::timeout(FAREWELL, operations::drain(&vfs)).await;
            if drained.is_err() {
                tracing::error!("the server did not let open files be closed in time");
            }
            share.leave(Duration::from_secs(2)).await;
        });
        for sample in vfs.counters().samples() {
            tracing::debug!("counted: {sample}");
        }
        outcome
    }

    /// The mount works: says so, and goes to the background if `ready` is given.
    fn announce(
        &self,
        guarded: &mut Guarded,
        signals: &mut Signals,
        ready: Option<&mut Option<Ready>>,
    ) -> Result<(), MountError> {
        let mounted = &guarded.mounted;
        raise_read_ahead(mounted);
        let terms = &self.share.tree().terms;
        let status = format!("{} on {}: {terms}", self.spec.url, mounted.mountpoint().display());
        tracing::info!("mounted {status}");
        notify::ready(&status);
        if let Some(ready) = ready.and_then(Option::take) {
            signals.forget_terminal();
            if let Some(restart) = &self.spec.restart {
                guarded.working(restart);
            }
            ready.ok().map_err(|error| MountError::system("going to the background", error))?;
        }
        Ok(())
    }

    /// Waits for what ends the mount, and heeds SIGHUP meanwhile.
    async fn until_end(&self, signals: &mut Signals, session: &mut fuse::Session) -> Ending {
        loop {
            let meaning = tokio::select! {
                meaning = signals.next() => meaning,
                result = session.ended() => return Ending::Session(result),
            };
            match meaning {
                Meaning::End(name) => return Ending::Signal(name),
                Meaning::Reload => {
                    // Reading files blocks. Answers to the kernel do not wait for this task.
                    if let Some(identity) = tokio::task::block_in_place(|| self.renewal.renew()) {
                        self.share.renew_identity(identity);
                    }
                }
                Meaning::Ignored => {}
            }
        }
    }
}

/// What ended a mount.
enum Ending {
    Signal(&'static str),
    /// It was unmounted, or something broke.
    Session(std::io::Result<()>),
}

/// Ends the mount, if it has not ended by itself.
fn end(
    ending: Ending,
    guarded: &mut Guarded,
    session: &mut fuse::Session,
    runtime: &Runtime,
) -> Result<(), MountError> {
    match ending {
        Ending::Session(result) => {
            guarded.is_over = true;
            result.map_err(|error| MountError::system("the FUSE session broke off", error))
        }
        Ending::Signal(name) => {
            guarded.ending();
            notify::stopping("unmounting");
            tracing::info!("{name}: unmounting {}", guarded.mounted.mountpoint().display());
            unmount(&guarded.mounted)?;
            guarded.is_over = join(&guarded.mounted, session, runtime);
            Ok(())
        }
    }
}

/// Unmounts, and detaches what is still in use.
fn unmount(mounted: &Mounted) -> Result<(), MountError> {
    mounted.unmount(UNMOUNT_LIMIT).or_else(|error| {
        tracing::warn!(%error, "the mount is still in use: detaching it");
        mounted.detach()
    })
}

/// Waits for the session's end; programs that keep files of the mount open are cut off. Whether it has ended.
fn join(mounted: &Mounted, session: &mut fuse::Session, runtime: &Runtime) -> bool {
    if runtime.block_on(session.join(FAREWELL)).is_ok() {
        return true;
    }
    tracing::warn!("programs still have files of the mount open: cutting them off");
    if let Err(error) = mounted.abort() {
        // The end of this process closes the device, which has the same effect.
        tracing::info!(%error, "the FUSE connection cannot be aborted; it ends with this process");
        return false;
    }
    let result = runtime.block_on(session.join(FAREWELL));
    if let Err(error) = &result {
        tracing::warn!(%error, "the FUSE session does not end");
    }
    result.is_ok()
}

/// More read-ahead lets one sequential reader keep several READs in flight. It is a wish: only root may.
fn raise_read_ahead(mounted: &Mounted) {
    match mounted.set_read_ahead(KERNEL_READ_AHEAD) {
        Ok(()) => tracing::debug!(kib = KERNEL_READ_AHEAD, "the kernel's read-ahead is raised"),
        Err(error) => tracing::info!(%error, "the kernel's read-ahead stays as it is"),
    }
}

fn vfs_options(options: &MountOptions) -> VfsOptions {
    VfsOptions {
        uid: options.uid,
        gid: options.gid,
        file_mode: options.file_mode,
        dir_mode: options.dir_mode,
        read_only: options.read_only,
        cache: options.cache,
        attr_timeout: options.attr_timeout,
        cache_size: options.cache_size,
    }
}
