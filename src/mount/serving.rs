//! A mount, from its making to its end.
//!
//! The order matters. The guardian starts before the mount is made, and is dismissed after its end. Success is reported
//! to the user only when the file system answers the kernel. The end runs in reverse: unmount, close all files at the
//! server, log off. Every step has a time limit, so that an unreachable server cannot keep the process alive.

use super::daemon::Ready;
use super::guardian::Guardian;
use super::kernel::{self, MountRequest, Mounted};
use super::metrics::{Bound, Serving};
use super::renewal::Renewal;
use super::run::Print;
use super::signals::{Meaning, Signals};
use super::socket::report::Subject;
use super::socket::server::Socket;
use super::summary::summary;
use super::{MountError, Stage, notify};
use crate::config::{MountCommand, MountOptions, MountSpec};
use crate::share::{RemotePath, SmbShare};
use crate::telemetry::status::Buffers;
use crate::vfs::{Vfs, VfsOptions, background, operations};
use crate::{cache, fuse};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Time limit of an unmount, in which the kernel sends its dirty pages. It does not wait for programs: a mount in use
/// is busy at once, and is detached.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for the end of the FUSE session, again for its end after an abort, and again for closing the open files
/// at the server.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Read-ahead of the kernel for a sequential reader, in KiB.
const KERNEL_READ_AHEAD: u32 = 4096;

/// A mount, and the guardian that ends it if this process cannot.
pub(super) struct Guarded {
    mounted: Mounted,
    guardian: Option<Guardian>,
    /// Whether no thread of this process serves the mount, now or later.
    is_over: bool,
}

impl Guarded {
    /// Mounts, with a guardian if one can be started. `restarts` says that it may have to mount again.
    pub(super) fn mount(request: &MountRequest, restarts: bool) -> Result<Guarded, MountError> {
        let mut guardian = Guardian::start(restarts)
            .inspect_err(|error| {
                tracing::warn!(%error, "no guardian can be started: if this process is killed, a dead mount is left behind");
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
                        "the FUSE control file system is not mounted: if this process is killed, only root can free \
                         programs that wait for the mount\nas root, once: mount -t fusectl none /sys/fs/fuse/connections"
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

    /// Reports that the mount works: from now on the guardian mounts again, in this way, if this process is killed.
    fn working(&mut self, restart: &MountCommand) {
        if let Some(guardian) = &mut self.guardian {
            guardian.working(restart);
        }
    }

    /// Reports that the mount was remounted: it is made again with the same access.
    fn remounted(&mut self, restart: &MountCommand, read_only: bool) {
        let mut restart = restart.clone();
        let end = restart.words.iter().position(|word| word == "--").unwrap_or(restart.words.len());
        restart.words.insert(end, if read_only { "--ro" } else { "--ro=false" }.into());
        self.ending();
        self.working(&restart);
    }

    /// Reports that the mount is being ended: from now on the guardian does not mount again.
    fn ending(&mut self) {
        if let Some(guardian) = &mut self.guardian {
            guardian.ending();
        }
    }

    /// Detaches the mount if it is still there, and dismisses the guardian if nothing is left to end. Otherwise the
    /// guardian's pipe is closed, and the guardian ends the mount.
    pub(super) fn end(self) {
        let Guarded { mounted, guardian, is_over } = self;
        if mounted.is_mounted() {
            tracing::warn!(mountpoint = %mounted.mountpoint().display(), "detaching a mount that was not unmounted");
            if let Err(error) = mounted.detach() {
                tracing::error!(%error, "the mount cannot be detached");
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

/// The parts that serve a mount.
pub(super) struct Service<'a> {
    pub(super) spec: &'a MountSpec,
    /// The folder on the share that is mounted.
    pub(super) root: RemotePath,
    pub(super) renewal: &'a Renewal,
    /// Prints the line about the mount when it works.
    pub(super) announce: Option<Print<'a>>,
    pub(super) share: Arc<SmbShare>,
    pub(super) buffers: Buffers,
    pub(super) runtime: &'a Runtime,
}

impl Service<'_> {
    /// Serves the mount until its end, and its metrics if they have an address. `ready` becomes `None` when the mount
    /// works.
    pub(super) fn run(
        &self,
        guarded: &mut Guarded,
        signals: &mut Signals,
        ready: Option<&mut Option<Ready>>,
        metrics: Option<Bound>,
    ) -> Result<(), MountError> {
        let (runtime, share) = (self.runtime, &self.share);
        let vfs = Arc::new(Vfs::new(share.clone(), vfs_options(&self.spec.options), self.root.clone()));
        runtime.spawn(cache::allocator::trim_periodically());
        runtime.spawn(background::count_names(vfs.clone()));
        runtime.spawn(background::handle_breaks(vfs.clone()));
        runtime.spawn(background::close_idle(vfs.clone()));
        runtime.spawn(background::follow_watches(vfs.clone()));
        let descriptor =
            guarded.mounted.take_descriptor().ok_or_else(|| MountError::system("the mount", "has no descriptor"))?;
        let mut session = fuse::serve(vfs.clone(), descriptor, guarded.mounted.mountpoint(), runtime.handle().clone())
            .map_err(|error| MountError::new(Stage::Mount, format!("the FUSE handshake failed: {error}")))?;
        guarded.is_over = false;
        let (access, mut remounts) = watch::channel(self.spec.options.read_only);
        let subject = Arc::new(self.subject(guarded, &vfs, access));
        let socket = self.socket(&subject);
        let metrics = metrics.and_then(|bound| self.offer(bound, &subject));
        let outcome = self.announce(guarded, signals, ready).and_then(|()| {
            let ending = runtime.block_on(self.until_end(signals, &mut session, guarded, &mut remounts));
            end(ending, guarded, &mut session, runtime)
        });
        // A mount that is being ended is not listed any more.
        drop((socket, metrics));
        runtime.block_on(async {
            let drained = tokio::time::timeout(END_LIMIT, operations::drain(&vfs)).await;
            if drained.is_err() {
                tracing::error!("the open files could not be closed at the server in time");
            }
            share.leave(Duration::from_secs(2)).await;
        });
        for sample in vfs.counters().samples() {
            tracing::debug!("counted: {sample}");
        }
        outcome
    }

    /// The parts that the mount reports on, and changes when it is requested.
    fn subject(&self, guarded: &Guarded, vfs: &Arc<Vfs<SmbShare>>, access: watch::Sender<bool>) -> Subject {
        Subject {
            spec: self.spec.clone(),
            mountpoint: guarded.mounted.mountpoint().to_owned(),
            device: guarded.mounted.entry().device,
            began: Instant::now(),
            share: Arc::clone(&self.share),
            buffers: self.buffers.clone(),
            vfs: Arc::clone(vfs),
            log: Arc::clone(&self.renewal.log),
            command: self.renewal.command.clone(),
            access,
        }
    }

    /// The socket on which the mount answers requests. A mount without one works as well.
    fn socket(&self, subject: &Arc<Subject>) -> Option<Socket> {
        Socket::open(Arc::clone(subject), self.runtime)
            .inspect_err(|error| tracing::warn!(%error, "`cifs-fuse status` will not show this mount"))
            .ok()
    }

    /// Offers the metrics.
    fn offer(&self, bound: Bound, subject: &Arc<Subject>) -> Option<Serving> {
        bound
            .serve(Arc::clone(subject), self.runtime)
            .inspect_err(|error| tracing::error!(%error, "the metrics cannot be offered"))
            .ok()
    }

    /// Reports that the mount works, and goes to the background if `ready` is given.
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
        if self.spec.options.allow_other {
            tracing::info!(
                "--allow-other: every local user can use the mount as its modes allow, and acts on the server as the \
                 one account that has signed in"
            );
        }
        // The line for the user says this too.
        if self.announce.is_none() && terms.read_only && !self.spec.options.read_only {
            let share = &self.spec.url.share;
            tracing::warn!(
                "the share {share:?} is read-only for this user, so changes fail; --ro makes that visible to programs"
            );
        }
        notify::ready(&status);
        let line = summary(self.spec, mounted.mountpoint(), terms);
        if let Some(ready) = ready.and_then(Option::take) {
            signals.forget_terminal();
            if let Some(restart) = &self.spec.restart {
                guarded.working(restart);
            }
            ready.ok(&line).map_err(|error| MountError::system("going to the background failed", error))?;
        } else if let Some(announce) = self.announce {
            announce(&line);
        }
        Ok(())
    }

    /// Waits until the mount has to end, and handles SIGHUP, SIGUSR1 and remounts meanwhile.
    async fn until_end(
        &self,
        signals: &mut Signals,
        session: &mut fuse::Session,
        guarded: &mut Guarded,
        remounts: &mut watch::Receiver<bool>,
    ) -> Ending {
        loop {
            let meaning = tokio::select! {
                meaning = signals.next() => meaning,
                result = session.ended() => return Ending::Session(result),
                Ok(()) = remounts.changed() => {
                    let read_only = *remounts.borrow_and_update();
                    tracing::info!("remounted {}", if read_only { "read-only" } else { "writable" });
                    if let Some(restart) = &self.spec.restart {
                        guarded.remounted(restart, read_only);
                    }
                    continue;
                }
            };
            match meaning {
                Meaning::End(name) => return Ending::Signal(name),
                Meaning::Reload => {
                    // Reading files blocks. Replies to the kernel do not wait for this task.
                    if let Some(identity) = tokio::task::block_in_place(|| self.renewal.renew()) {
                        self.share.renew_identity(identity);
                    }
                }
                Meaning::ToggleDebug => self.renewal.toggle_debug(),
                Meaning::Ignored => {}
            }
        }
    }
}

/// Why a mount ends.
enum Ending {
    Signal(&'static str),
    /// It was unmounted, or the session failed.
    Session(std::io::Result<()>),
}

/// Ends the mount, unless it has ended already.
fn end(
    ending: Ending,
    guarded: &mut Guarded,
    session: &mut fuse::Session,
    runtime: &Runtime,
) -> Result<(), MountError> {
    match ending {
        Ending::Session(result) => {
            guarded.is_over = true;
            result.map_err(|error| MountError::system("the FUSE session failed", error))
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

/// Unmounts. A mount that is still in use is detached.
fn unmount(mounted: &Mounted) -> Result<(), MountError> {
    mounted.unmount(UNMOUNT_LIMIT).or_else(|error| {
        tracing::warn!(%error, "the mount is still in use: detaching it");
        mounted.detach()
    })
}

/// Waits for the end of the session, and aborts the connection if it does not come within [`END_LIMIT`]: programs keep
/// files open, or the server does not answer. Returns whether the session has ended.
fn join(mounted: &Mounted, session: &mut fuse::Session, runtime: &Runtime) -> bool {
    if runtime.block_on(session.join(END_LIMIT)).is_ok() {
        return true;
    }
    tracing::warn!(
        "the FUSE session has not ended in time, because programs have files open or the server does not answer: aborting \
         the FUSE connection"
    );
    if let Err(error) = mounted.abort() {
        // The end of this process closes the device, which has the same effect.
        tracing::info!(%error, "the FUSE connection cannot be aborted; it ends with this process");
        return false;
    }
    let result = runtime.block_on(session.join(END_LIMIT));
    if let Err(error) = &result {
        tracing::warn!(%error, "the FUSE session does not end");
    }
    result.is_ok()
}

/// Raises the kernel's read-ahead, so that one sequential reader keeps several READs in flight. Only root may do it; a
/// failure is ignored.
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
        owner: options.owner,
        read_only: options.read_only,
        cache: options.cache,
        attr_timeout: options.attr_timeout,
        cache_size: options.cache_size,
    }
}
