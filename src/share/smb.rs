//! A share on a real server: the session under all operations, and how they are sent on it.

use super::Result;
use super::attempts::Attempts;
use super::auxiliary::Auxiliary;
use super::breaks::Leases;
use super::directory_leases::DirectoryLeases;
use super::extents::Extents;
use super::file::{Open, SmbFile};
use super::gathering::Gathering;
use super::link::{IdentitySource, Link};
use super::records::Records;
use super::slices::Slices;
use super::task::{Task, compound};
use super::types::{Disposition, IoLimits, OpenHow, RemotePath};
use crate::telemetry::Counters;
use crate::wire::NtStatus;
use crate::wire::connect::{ConnectConfig, Terms, Tree};
use crate::wire::connection::{Pending, session_is_gone};
use crate::wire::credits::CREDIT_PAYLOAD;
use crate::wire::error::{ConnectError, WireError};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::Command;
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
    pub(super) link: Link,
    /// What is counted of this share.
    pub(super) counters: Arc<Counters>,
    /// For what another client has to ask.
    pub(super) auxiliary: Auxiliary,
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
    /// What is known of files that are open.
    pub(super) records: Records,
    /// What was learnt about copies on the server.
    pub(super) slices: Mutex<Slices>,
    /// What was learnt about sharing blocks on the server.
    pub(super) extents: Mutex<Extents>,
}

/// A line is probed no sooner than after so long a silence, however short the request timeout is.
const LEAST_ECHO_INTERVAL: Duration = Duration::from_secs(2);
/// The least time that a request is given to be answered.
const GRACE: Duration = Duration::from_secs(1);
/// CLOSEs are gathered: up to `CLOSES` are a frame, sent after `CLOSES_WAIT` at the latest, because another client may be
/// waiting for the file.
pub(super) const CLOSES_WAIT: Duration = Duration::from_millis(100);
const CLOSES: usize = 32;
/// How long the CLOSE of a file that was written waits: Samba takes the time of the close for the time of the last write, so
/// it must not be noticeably late. The next CREATE of a program that writes one file after the other comes sooner, and
/// takes the CLOSE along, which keeps a new file at two frames.
pub(super) const WRITTEN_CLOSE_WAIT: Duration = Duration::from_millis(10);
/// The same for questions: nobody is held up by them.
const QUESTIONS: usize = 192;
const QUESTIONS_WAIT: Duration = Duration::from_millis(150);

/// Whether an operation may be sent again when its connection was lost before the answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// Twice has the same effect as once.
    Harmless,
    /// It may have been done, and doing it again could fail or do harm: what the server has now tells
    /// ([`super::verify`]).
    Verify,
}

impl SmbShare {
    /// Connects. `limits` chooses the sizes of READ and WRITE from what was agreed on.
    pub async fn connect(
        mut config: ConnectConfig,
        request_timeout: Duration,
        space_path: RemotePath,
        limits: impl FnOnce(&Terms) -> IoLimits,
    ) -> std::result::Result<SmbShare, ConnectError> {
        let leases = Arc::<Leases>::default();
        // A server that has gone is noticed before operations give up a second time.
        config.echo_interval = config.echo_interval.min((request_timeout / 2).max(LEAST_ECHO_INTERVAL));
        let counters = Arc::clone(&config.counters);
        let link = Link::connect(config, Arc::clone(&leases), request_timeout).await?;
        let limits = limits(&link.current().terms);
        let slices = Mutex::new(Slices::new(request_timeout));
        let extents = Mutex::new(Extents::Unknown);
        Ok(SmbShare {
            link,
            counters,
            auxiliary: Auxiliary::default(),
            leases,
            limits,
            closes: Gathering::new(CLOSES, CLOSES_WAIT, request_timeout),
            questions: Gathering::new(QUESTIONS, QUESTIONS_WAIT, request_timeout),
            can_watch: true.into(),
            directory_leases: Arc::default(),
            request_timeout,
            space_path,
            records: Records::default(),
            slices,
            extents,
        })
    }

    /// The tree on the current connection, with what was agreed on for it.
    pub fn tree(&self) -> Arc<Tree> {
        self.link.current()
    }

    /// Where the session stands.
    pub fn session_state(&self) -> super::SessionState {
        self.link.state()
    }

    /// Leaves the share in order, within `deadline`; nothing connects again afterwards.
    pub async fn leave(&self, deadline: Duration) {
        let auxiliary = tokio::time::timeout(deadline, self.auxiliary.leave());
        let _ = tokio::join!(self.link.leave(deadline), auxiliary);
    }

    /// Who signs in the next time. Sign-ins that were refused are tried again at once, also if nothing has changed;
    /// a session that works goes on.
    pub fn renew_identity(&self, identity: crate::config::Identity) {
        self.link.renew_identity(identity);
    }

    /// Where to look for other credentials while the server refuses those at hand: when an operation comes, at most once
    /// a second. To be called once.
    pub fn read_identity_from(&self, source: IdentitySource) {
        self.link.read_identity_from(source);
    }

    /// Sends a compound that opens what it works on, on whatever connection works. Twice must have the same effect as once;
    /// for what has not there is [`SmbShare::carry_out`].
    pub(super) async fn run(
        &self,
        task: Task<'_>,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>)> {
        let mut attempts = self.attempts();
        loop {
            let tree = self.tree_by(task, attempts.deadline).await?;
            let requests = build(&tree);
            attempts.send(&requests, tree.lineage).map_err(|cause| task.fail(cause))?;
            match send(&tree, requests, attempts.deadline).await {
                Ok(replies) => return Ok((tree, replies)),
                Err(failure) => failure.allows(Repeat::Harmless, task, &tree, &mut attempts)?,
            }
        }
    }

    /// The same for a compound that begins with a CREATE; see [`SmbShare::send_with_closes`].
    pub(super) async fn run_with_closes(
        &self,
        task: Task<'_>,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>)> {
        let mut attempts = self.attempts();
        loop {
            let tree = self.tree_by(task, attempts.deadline).await?;
            let requests = build(&tree);
            attempts.send(&requests, tree.lineage).map_err(|cause| task.fail(cause))?;
            match self.send_with_closes(&tree, requests, &[], attempts.deadline).await {
                Ok(replies) => return Ok((tree, replies)),
                Err(failure) => failure.allows(Repeat::Harmless, task, &tree, &mut attempts)?,
            }
        }
    }

    /// Sends a compound that begins with a CREATE. CLOSEs that are gathered travel behind it, as unrelated requests, and are
    /// answered when this returns. Never ahead of it: a CREATE that breaks a lease and is not the first request makes smbd
    /// (4.17 to 4.22) answer the requests before it with stray bytes behind them, and with a wrong signature. `after` comes
    /// behind them, and must not break a lease.
    pub(super) async fn send_with_closes(
        &self,
        tree: &Arc<Tree>,
        mut requests: Vec<Request>,
        after: &[Request],
        deadline: Instant,
    ) -> std::result::Result<Vec<Reply>, Failure> {
        let (closes, waiting) = self.closes.take(tree);
        let closes_at = requests.len();
        requests.extend(closes);
        requests.extend_from_slice(after);
        let mut replies = send(tree, requests, deadline).await?;
        waiting.answer(&mut replies, closes_at);
        Ok(replies)
    }

    /// The same as [`SmbShare::run`], with a last request that may be answered at any time. It may be sent again.
    pub(super) async fn run_open_ended(
        &self,
        task: Task<'_>,
        build: impl Fn(&Tree) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>, Pending)> {
        let mut attempts = self.attempts();
        loop {
            let tree = self.tree_by(task, attempts.deadline).await?;
            match send_open_ended(&tree, build(&tree), attempts.deadline).await {
                Ok((replies, pending)) => return Ok((tree, replies, pending)),
                Err(failure) => failure.allows(Repeat::Harmless, task, &tree, &mut attempts)?,
            }
        }
    }

    /// Sends requests that look at an open file, which is opened again if its connection was lost. Those that change it are
    /// for [`SmbShare::change_on`].
    pub(super) async fn run_on(
        &self,
        file: &SmbFile,
        operation: &'static str,
        build: impl Fn(&Open) -> Vec<Request>,
    ) -> Result<Vec<Reply>> {
        let task = Task { operation, path: &file.path };
        let mut attempts = self.attempts();
        loop {
            let open = self.live(file, task, attempts.deadline).await?;
            let requests = build(&open);
            attempts.send(&requests, open.tree.lineage).map_err(|cause| task.fail(cause))?;
            match send(&open.tree, requests, attempts.deadline).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => failure.allows(Repeat::Harmless, task, &open.tree, &mut attempts)?,
            }
        }
    }

    /// The tree on a connection that works, within an operation's deadline.
    pub(super) async fn tree_by(&self, task: Task<'_>, deadline: Instant) -> Result<Arc<Tree>> {
        self.link.tree(deadline).await.map_err(|cause| task.fail(cause))
    }

    /// The tries of an operation that begins now.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts::until(Instant::now() + self.request_timeout)
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
    /// The server forgot the session before it did anything; its connection is ended here.
    SessionGone,
    Wire(WireError),
}

impl Failure {
    /// Whether what failed on this tree may be sent again.
    pub(super) fn allows(self, repeat: Repeat, task: Task<'_>, tree: &Tree, attempts: &mut Attempts) -> Result<()> {
        let allowed = match self {
            Failure::SessionGone => attempts.refused(&why_ended(tree)),
            Failure::Wire(WireError::Closed(reason)) => match repeat {
                Repeat::Harmless => attempts.lost(&reason),
                Repeat::Verify => attempts.lost_in_doubt(&reason),
            },
            Failure::Wire(error) => return Err(task.wire(error)),
        };
        tree.channels.counters().retries.count();
        allowed.map_err(|cause| task.fail(cause))
    }

    /// Why the session was lost.
    ///
    /// # Errors
    /// What failed, if that is not the loss of the session.
    pub(super) fn why(self, task: Task<'_>, tree: &Tree) -> Result<Arc<str>> {
        match self {
            Failure::SessionGone => Ok(why_ended(tree)),
            Failure::Wire(WireError::Closed(reason)) => Ok(reason),
            Failure::Wire(error) => Err(task.wire(error)),
        }
    }
}

pub(super) fn why_ended(tree: &Tree) -> Arc<str> {
    tree.channels.ended().unwrap_or_else(|| "it ended".into())
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
    let Some(status) = gone(&replies) else { return Ok(replies) };
    let reason = format!("the server has ended the session ({status})");
    tree.channels.end(&reason);
    // It has done nothing if it says so at the first request.
    let nothing_done = replies.first().is_some_and(|reply| session_is_gone(reply.status()));
    Err(if nothing_done { Failure::SessionGone } else { Failure::Wire(WireError::Closed(reason.into())) })
}

/// The status that says that the session or its tree is gone. What is related to a CREATE that failed does not say so: where
/// the user may not enter the share's folder, smbd refuses the CREATE and answers the rest as if there were no tree.
fn gone(replies: &[Reply]) -> Option<NtStatus> {
    let mut create_failed = false;
    replies.iter().find_map(|reply| {
        let (status, is_gone) = (reply.status(), session_is_gone(reply.status()));
        if reply.header.command == Command::Create as u16 {
            create_failed = status.is_error() && !is_gone;
        }
        (is_gone && !create_failed).then_some(status)
    })
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
