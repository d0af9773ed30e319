//! A share on a real server: the session under all operations, and how they are sent on it.

use super::Result;
use super::breaks::Leases;
use super::directory_leases::DirectoryLeases;
use super::error::Cause;
use super::extents::Extents;
use super::file::{Identity, Open, SmbFile};
use super::gathering::Gathering;
use super::link::Link;
use super::slices::Slices;
use super::task::{Task, compound};
use super::types::{Disposition, IoLimits, OpenHow, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::{ConnectConfig, Terms, Tree};
use crate::wire::connection::{Pending, session_is_gone};
use crate::wire::credits::CREDIT_PAYLOAD;
use crate::wire::error::{ConnectError, WireError};
use crate::wire::frame::{Chain, Reply, Request};
use crate::wire::messages::create::{Create, access, disposition, options};
use crate::wire::messages::lease::Wanted;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::Instant;

/// A share on a server, over one session.
#[derive(Debug)]
pub struct SmbShare {
    link: Link,
    pub(super) leases: Arc<Leases>,
    pub(super) limits: IoLimits,
    /// What is being closed with others.
    pub(super) closes: Arc<Gathering>,
    /// What is asked together with others.
    pub(super) questions: Arc<Gathering>,
    /// Nothing speaks against watching directories so far.
    pub(super) can_watch: AtomicBool,
    /// How long an operation may take, the wait for a server that is away included.
    pub(super) directory_leases: Arc<DirectoryLeases>,
    pub(super) request_timeout: Duration,
    /// Where free space is asked for: the user may not be allowed to look at the root of the share.
    pub(super) space_path: RemotePath,
    /// What was learnt about copies on the server.
    pub(super) slices: Mutex<Slices>,
    /// What was learnt about sharing blocks on the server.
    pub(super) extents: Mutex<Extents>,
}

/// The least time that a request is given to be answered.
const GRACE: Duration = Duration::from_secs(1);
/// For so long a CLOSE waits for others, and so many are a frame: somebody may wait for that.
const CLOSES_WAIT: Duration = Duration::from_millis(100);
const CLOSES: usize = 32;
/// The same for questions: nobody is held up by them.
const QUESTIONS: usize = 192;
const QUESTIONS_WAIT: Duration = Duration::from_millis(150);

/// Whether an operation may be sent again when its connection was lost before the answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// Twice has the same effect as once.
    Harmless,
    /// It may have been done, and doing it again would fail or do harm.
    Never,
}

impl SmbShare {
    /// Connects. `limits` chooses the sizes of READ and WRITE from what was agreed on.
    pub async fn connect(
        config: ConnectConfig,
        request_timeout: Duration,
        space_path: RemotePath,
        limits: impl FnOnce(&Terms) -> IoLimits,
    ) -> std::result::Result<SmbShare, ConnectError> {
        let leases = Arc::<Leases>::default();
        let link = Link::connect(config, Arc::clone(&leases)).await?;
        let limits = limits(&link.current().terms);
        let slices = Mutex::new(Slices::new(request_timeout));
        let extents = Mutex::new(Extents::Unknown);
        Ok(SmbShare {
            link,
            leases,
            limits,
            closes: Gathering::new(CLOSES, CLOSES_WAIT, request_timeout),
            questions: Gathering::new(QUESTIONS, QUESTIONS_WAIT, request_timeout),
            can_watch: true.into(),
            directory_leases: Arc::default(),
            request_timeout,
            space_path,
            slices,
            extents,
        })
    }

    /// The tree on the current connection, with what was agreed on for it.
    pub fn tree(&self) -> Arc<Tree> {
        self.link.current()
    }

    /// Who signs in the next time that a session is made.
    pub fn renew_identity(&self, identity: crate::config::Identity) {
        self.link.renew_identity(identity);
    }

    /// Leaves the share in order, within `deadline`; nothing connects again afterwards.
    pub async fn leave(&self, deadline: Duration) {
        self.link.leave(deadline).await;
    }

    /// Sends a compound that opens what it works on, on whatever connection works.
    pub(super) async fn run(
        &self,
        task: Task<'_>,
        repeat: Repeat,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>)> {
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let tree = self.link.tree(deadline).await.map_err(|cause| task.fail(cause))?;
            match send(&tree, build(&tree), deadline).await {
                Ok(replies) => return Ok((tree, replies)),
                Err(failure) => failure.allows(repeat, task)?,
            }
        }
    }

    /// The same, behind the closes that wait for others: what it removes or renames must not be open here.
    pub(super) async fn run_after_closes(
        &self,
        task: Task<'_>,
        repeat: Repeat,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<Vec<Reply>> {
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let tree = self.link.tree(deadline).await.map_err(|cause| task.fail(cause))?;
            let (mut requests, closes) = self.closes.take(&tree);
            requests.extend(build(&tree));
            let chain = Chain { related_from: closes.count() + 1, ..compound(&tree, requests) };
            let sent = tree.channels.send(&chain, left(deadline)).await.map_err(Failure::Wire);
            match sent.and_then(|replies| checked(&tree, replies)) {
                Ok(mut replies) => {
                    closes.answer(&mut replies);
                    return Ok(replies);
                }
                Err(failure) => failure.allows(repeat, task)?,
            }
        }
    }

    /// The same as [`SmbShare::run`], with a last request that may be answered at any time. It may be sent again.
    pub(super) async fn run_open_ended(
        &self,
        task: Task<'_>,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>, Pending)> {
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let tree = self.link.tree(deadline).await.map_err(|cause| task.fail(cause))?;
            match send_open_ended(&tree, build(&tree), deadline).await {
                Ok((replies, pending)) => return Ok((tree, replies, pending)),
                Err(failure) => failure.allows(Repeat::Harmless, task)?,
            }
        }
    }

    /// Sends requests on an open file, which is opened again if its connection was lost. All that is
    /// done on open files can be done twice: reads, writes at given places, times and sizes.
    pub(super) async fn run_on(
        &self,
        file: &SmbFile,
        operation: &'static str,
        build: impl Fn(&Open) -> Vec<Request>,
    ) -> Result<Vec<Reply>> {
        let task = Task { operation, path: &file.path };
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let open = self.live(file, task, deadline).await?;
            match send(&open.tree, build(&open), deadline).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => failure.allows(Repeat::Harmless, task)?,
            }
        }
    }

    /// The file's open on a connection that works.
    pub(super) async fn live(&self, file: &SmbFile, task: Task<'_>, deadline: Instant) -> Result<Open> {
        let open = file.open();
        if open.tree.channels.ended().is_none() {
            return Ok(open);
        }
        let _turn = file.reopening.acquire().await.map_err(|_| task.fail(Cause::Stale))?;
        loop {
            let open = file.open();
            if open.tree.channels.ended().is_none() {
                return Ok(open);
            }
            let tree = self.link.tree(deadline).await.map_err(|cause| task.fail(cause))?;
            match self.reopen(file, task, tree, deadline).await? {
                Some(open) => file.replace(open),
                None => continue,
            }
        }
    }

    /// Opens a file by its name once more; `None` if that connection was lost as well.
    async fn reopen(&self, file: &SmbFile, task: Task<'_>, tree: Arc<Tree>, deadline: Instant) -> Result<Option<Open>> {
        let how = OpenHow { disposition: Disposition::Open, ..file.how };
        let replies = match send(&tree, vec![open_request(&file.path, how, Wanted::Nothing)], deadline).await {
            Ok(replies) => replies,
            Err(Failure::SessionGone | Failure::Wire(WireError::Closed(_))) => return Ok(None),
            Err(Failure::Wire(error)) => return Err(task.wire(error)),
        };
        let created = match task.created(&replies) {
            Err(error) if error.nt_status() == Some(NtStatus::OBJECT_NAME_NOT_FOUND) => {
                return Err(task.fail(Cause::Stale));
            }
            created => created?,
        };
        let open = Open::new(tree, created.file);
        let found = Identity { disk_id: created.disk_id, created: created.info.created };
        if !file.identity.is_same(found) {
            open.post_close();
            return Err(task.fail(Cause::Stale));
        }
        tracing::info!(path = %file.path, "opened again after the connection was lost");
        Ok(Some(open))
    }

    /// How much one READ or WRITE may carry now, whatever the limit: a server may grant few credits.
    pub(super) fn piece(&self, file: &SmbFile, limit: u32) -> u32 {
        let tree = file.open().tree;
        let credits = tree.channels.credit_capacity().saturating_mul(CREDIT_PAYLOAD).max(CREDIT_PAYLOAD);
        // A connection that came back may have agreed on less.
        limit.min(credits).min(tree.terms.max_read.min(tree.terms.max_write))
    }
}

pub(super) enum Failure {
    /// The server forgot the session; its connection is ended here.
    SessionGone,
    Wire(WireError),
}

impl Failure {
    /// Whether what failed may be sent again.
    fn allows(self, repeat: Repeat, task: Task<'_>) -> Result<()> {
        match self {
            Failure::SessionGone => Ok(()),
            Failure::Wire(WireError::Closed(_)) if repeat == Repeat::Harmless => Ok(()),
            Failure::Wire(error) => Err(task.wire(error)),
        }
    }
}

pub(super) async fn send(
    tree: &Tree,
    requests: Vec<Request>,
    deadline: Instant,
) -> std::result::Result<Vec<Reply>, Failure> {
    checked(tree, tree.channels.send(&compound(tree, requests), left(deadline)).await.map_err(Failure::Wire)?)
}

async fn send_open_ended(
    tree: &Tree,
    requests: Vec<Request>,
    deadline: Instant,
) -> std::result::Result<(Vec<Reply>, Pending), Failure> {
    let sent = tree.channels.send_open_ended(&compound(tree, requests), left(deadline)).await;
    let (replies, pending) = sent.map_err(Failure::Wire)?;
    Ok((checked(tree, replies)?, pending))
}

/// What is sent again after the connection was lost has a moment, however late it is: a WRITE that
/// is given up takes the new session along.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(GRACE)
}

/// Replies of a server that still knows the session.
fn checked(tree: &Tree, replies: Vec<Reply>) -> std::result::Result<Vec<Reply>, Failure> {
    if replies.iter().any(|reply| session_is_gone(reply.status())) {
        tree.channels.end("the server has ended the session");
        return Err(Failure::SessionGone);
    }
    Ok(replies)
}

/// The CREATE of a file for reading and writing.
pub(super) fn open_request(path: &RemotePath, how: OpenHow, wanted: Wanted) -> Request {
    let truncates = matches!(how.disposition, Disposition::Overwrite | Disposition::OverwriteIf);
    let mut access = access::READ_ATTRIBUTES;
    if how.read {
        access |= access::READ_DATA;
    }
    if how.write || truncates {
        access |= access::WRITE_DATA | access::APPEND_DATA | access::WRITE_ATTRIBUTES;
    }
    let create = Create {
        path: path.as_utf16(),
        access,
        attributes: if how.readonly { super::types::Attributes::READONLY } else { super::types::Attributes::NORMAL },
        disposition: match how.disposition {
            Disposition::Open | Disposition::Overwrite => disposition::OPEN,
            Disposition::Create => disposition::CREATE,
            Disposition::OpenIf | Disposition::OverwriteIf => disposition::OPEN_IF,
        },
        options: options::NON_DIRECTORY,
    };
    create.request_caching(wanted)
}
