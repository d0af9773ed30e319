//! A share on a real server: what all operations share, and how a compound is sent.
//!
//! Every operation is a compound that is built per attempt, because a new session has other ids. It is sent on the
//! current session, and sent again on the next one if the session is lost ([`Attempts`]). Harmless requests are
//! repeated; for changes that must not be repeated see [`SmbShare::carry_out`].

use super::Result;
use super::attempts::Attempts;
use super::auxiliary::Auxiliary;
use super::breaks::Leases;
use super::directory_leases::DirectoryLeases;
use super::extents::Extents;
use super::file::{Open, SmbFile};
use super::gathering::Gathering;
use super::link::{IdentitySource, Link};
use super::owners::OwnersKept;
use super::previous::PreviousVersions;
use super::records::Records;
use super::slices::Slices;
use super::special::SpecialFiles;
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

/// A share on a server, over one session at a time.
#[derive(Debug)]
pub struct SmbShare {
    pub(super) link: Link,
    /// What is counted of this share.
    pub(super) counters: Arc<Counters>,
    /// The second session, for requests that another client has to send.
    pub(super) auxiliary: Auxiliary,
    pub(super) leases: Arc<Leases>,
    pub(super) limits: IoLimits,
    /// CLOSE requests that wait for others to share their frame.
    pub(super) closes: Arc<Gathering>,
    /// Queries that wait for others to share their frame.
    pub(super) questions: Arc<Gathering>,
    /// False once the server has refused to watch directories.
    pub(super) can_watch: AtomicBool,
    /// The leases on directories that this client has.
    pub(super) directory_leases: Arc<DirectoryLeases>,
    /// How long an operation may take, the wait for a server that is away included.
    pub(super) request_timeout: Duration,
    /// The path at which free space is queried if the user may not open another one; this may not be the root of the
    /// share either.
    pub(super) space_path: RemotePath,
    /// The records of open files.
    pub(super) records: Records,
    /// How much one copy request carries on this server.
    pub(super) slices: Mutex<Slices>,
    /// Whether the server shares blocks between files.
    pub(super) extents: Mutex<Extents>,
    /// Symbolic links and special files.
    pub(super) special: SpecialFiles,
    /// How the server keeps owners and modes.
    pub(super) owners: OwnersKept,
    /// The previous versions that the server has.
    pub(super) previous: PreviousVersions,
}

/// The request timeout shortens the interval between echo requests on a silent connection, but not below this.
const LEAST_ECHO_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time that a request has for its answer, however close the operation's deadline is.
const GRACE: Duration = Duration::from_secs(1);
/// CLOSE requests are gathered: up to `CLOSES` per frame, sent after `CLOSES_WAIT` at the latest, because another
/// client may be waiting for the file.
pub(super) const CLOSES_WAIT: Duration = Duration::from_millis(100);
const CLOSES: usize = 32;
/// How long the CLOSE of a written file waits for others. Samba uses the time of the CLOSE as the time of the last
/// write, so it must not be noticeably late. The next CREATE of a program that writes one file after another comes
/// sooner and carries the CLOSE along, which keeps a new file at two frames.
pub(super) const WRITTEN_CLOSE_WAIT: Duration = Duration::from_millis(10);
/// Queries are gathered too: up to `QUESTIONS` per frame, sent after `QUESTIONS_WAIT` at the latest. No other client
/// waits for them.
const QUESTIONS: usize = 192;
const QUESTIONS_WAIT: Duration = Duration::from_millis(150);

/// What to do with a request whose connection was lost before the answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// It is sent again: twice has the same effect as once.
    Harmless,
    /// It is verified first: the server may have done it, and a repetition could fail or do harm. The state of the
    /// share shows what happened ([`super::verify`]).
    Verify,
}

impl SmbShare {
    /// Connects. An operation may take `request_timeout`, the wait for a server that is away included. `limits`
    /// chooses the sizes of READ and WRITE from the negotiated terms.
    ///
    /// # Errors
    /// The stage at which connecting failed, with the server's status if it answered one.
    pub async fn connect(
        mut config: ConnectConfig,
        request_timeout: Duration,
        space_path: RemotePath,
        limits: impl FnOnce(&Terms) -> IoLimits,
    ) -> std::result::Result<SmbShare, ConnectError> {
        let leases = Arc::<Leases>::default();
        // A server that has gone is noticed before operations time out a second time.
        config.echo_interval = config.echo_interval.min((request_timeout / 2).max(LEAST_ECHO_INTERVAL));
        let counters = Arc::clone(&config.counters);
        let link = Link::connect(config, Arc::clone(&leases), request_timeout).await?;
        let limits = limits(&link.current().terms);
        Ok(SmbShare::over(link, leases, counters, (request_timeout, space_path, limits)))
    }

    /// A share over this link.
    pub(super) fn over(
        link: Link,
        leases: Arc<Leases>,
        counters: Arc<Counters>,
        (request_timeout, space_path, limits): (Duration, RemotePath, IoLimits),
    ) -> SmbShare {
        let slices = Mutex::new(Slices::new(request_timeout));
        let extents = Mutex::new(Extents::Unknown);
        SmbShare {
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
            special: SpecialFiles::default(),
            owners: OwnersKept::default(),
            previous: PreviousVersions::default(),
        }
    }

    /// The tree of the current session, with its negotiated terms. The session may have ended.
    pub fn tree(&self) -> Arc<Tree> {
        self.link.current()
    }

    /// The state of the session, and if it is lost, for how long and why.
    pub fn session_state(&self) -> (super::SessionState, Option<(Duration, String)>) {
        self.link.state()
    }

    /// How many files and directories have a lease or an oplock.
    pub fn leases(&self) -> usize {
        self.leases.count()
    }

    /// Leaves the share: logs off within `deadline` and ends the auxiliary session. Nothing connects again afterwards.
    pub async fn leave(&self, deadline: Duration) {
        let auxiliary = tokio::time::timeout(deadline, self.auxiliary.leave());
        let _ = tokio::join!(self.link.leave(deadline), auxiliary);
    }

    /// Sets the identity for the next sign-in. Refused sign-ins are tried again at once, even if the credentials are
    /// the same. A live session continues.
    pub fn renew_identity(&self, identity: crate::config::Identity) {
        self.link.renew_identity(identity);
    }

    /// Sets the source of other credentials, which is read while the server refuses the current ones: when an
    /// operation needs a session, at most once a second. Call it once.
    pub fn read_identity_from(&self, source: IdentitySource) {
        self.link.read_identity_from(source);
    }

    /// Sends a compound that opens what it works on, on any live session, and sends it again if the session is lost.
    /// It must have the same effect twice as once; for others see [`SmbShare::carry_out`].
    ///
    /// # Errors
    /// Those of every operation ([`Share`](super::Share)). The replies are not checked.
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

    /// As [`SmbShare::run`], for a compound that begins with a CREATE: gathered CLOSE requests go with it, see
    /// [`SmbShare::send_with_closes`].
    ///
    /// # Errors
    /// Those of [`SmbShare::run`].
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

    /// Sends a compound that begins with a CREATE. Gathered CLOSE requests follow it as unrelated requests of the
    /// same frame, and are answered when this returns. They never precede it: a CREATE that breaks a lease and is not
    /// the first request makes smbd (4.17 to 4.22) answer the requests before it with stray bytes behind them and a
    /// wrong signature. `after` follows the CLOSE requests, and must not break a lease.
    ///
    /// # Errors
    /// The loss of the session, or what kept the answer from coming.
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

    /// As [`SmbShare::run`], for requests that change nothing, the last of which may be answered at any time
    /// (CHANGE_NOTIFY): the returned [`Pending`] waits for that answer.
    ///
    /// # Errors
    /// Those of [`SmbShare::run`].
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

    /// Sends requests that read from an open file, which is opened again if its connection was lost. Changes go
    /// through [`SmbShare::change_on`].
    ///
    /// # Errors
    /// Those of every operation, and of opening the file again ([`Share`](super::Share)). The replies are not checked.
    pub(super) async fn run_on(
        &self,
        file: &SmbFile,
        operation: &'static str,
        build: impl Fn(&Open) -> Vec<Request>,
    ) -> Result<Vec<Reply>> {
        let task = Task { operation, path: &file.path };
        let mut attempts = self.attempts();
        loop {
            let _use = file.uses.begin().await;
            let open = self.live(file, task, attempts.deadline).await?;
            let requests = build(&open);
            attempts.send(&requests, open.tree.lineage).map_err(|cause| task.fail(cause))?;
            match send(&open.tree, requests, attempts.deadline).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => failure.allows(Repeat::Harmless, task, &open.tree, &mut attempts)?,
            }
        }
    }

    /// The tree of a live session, by an operation's deadline.
    ///
    /// # Errors
    /// [`Cause::Away`](super::error::Cause::Away), [`Cause::AccessRefused`](super::error::Cause::AccessRefused), or
    /// [`Cause::Disconnected`](super::error::Cause::Disconnected) once the share was left.
    pub(super) async fn tree_by(&self, task: Task<'_>, deadline: Instant) -> Result<Arc<Tree>> {
        self.link.tree(deadline).await.map_err(|cause| task.fail(cause))
    }

    /// The attempts of an operation that begins now.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts::until(Instant::now() + self.request_timeout)
    }

    /// The largest READ or WRITE that can be sent now, in bytes: at most `limit`, and no more than the server's
    /// credits and the smaller one of MaxReadSize and MaxWriteSize allow.
    pub(super) fn piece(&self, file: &SmbFile, limit: u32) -> u32 {
        let tree = file.open().tree;
        let credits = tree.channels.credit_capacity().saturating_mul(CREDIT_PAYLOAD).max(CREDIT_PAYLOAD);
        // A new session may have negotiated smaller sizes.
        limit.min(credits).min(tree.terms.max_read.min(tree.terms.max_write))
    }
}

/// Why a frame has no answer.
pub(super) enum Failure {
    /// The server no longer knew the session and did nothing. This client has ended the connection.
    SessionGone,
    /// Any other failure of the connection or the exchange.
    Wire(WireError),
}

impl Failure {
    /// Counts the failure, and returns if the request may be sent again.
    ///
    /// # Errors
    /// The failure itself, if it is not the loss of the session; [`Cause::LostAgain`](super::error::Cause::LostAgain)
    /// if the session was lost too often.
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

    /// The reason why the session was lost.
    ///
    /// # Errors
    /// The failure itself, if it is not the loss of the session.
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

/// Sends a related compound and returns its replies. They are checked only for the end of the session.
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

/// The time that a request has for its answer: until the operation's deadline, but at least [`GRACE`]. A repeated
/// request may be sent close to the deadline, and a WRITE that times out can end the new session too.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(GRACE)
}

/// The replies, if the server still knows the session. Otherwise the connection is ended.
fn checked(tree: &Tree, replies: Vec<Reply>) -> std::result::Result<Vec<Reply>, Failure> {
    let Some(status) = gone(&replies) else { return Ok(replies) };
    let reason = format!("the server has ended the session ({status})");
    tree.channels.end(&reason);
    // If the first request got this answer, the server did nothing.
    let nothing_done = replies.first().is_some_and(|reply| session_is_gone(reply.status()));
    Err(if nothing_done { Failure::SessionGone } else { Failure::Wire(WireError::Closed(reason.into())) })
}

/// The status that says that the session or its tree is gone. On a request that follows a failed CREATE such a status
/// does not count: where the user may not enter the share's folder, smbd refuses the CREATE and answers the rest
/// as if there were no tree.
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

/// How much access an open requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// With the right to set times and attributes, if the file is to be written.
    Usual,
    /// Only what reading and writing its data need. Times are set, and metadata is queried, by path then. A file that is
    /// written only is opened without any right to read: Samba opens it for reading on its disk if the metadata may be
    /// read through the handle.
    Data,
}

impl Scope {
    /// What to request next, if the server denied the usual access to a file that is to be written: its access control
    /// list may allow data to be written and nothing else.
    pub(super) fn after(how: OpenHow, tree: &Tree, status: Option<NtStatus>) -> Option<Scope> {
        let is_denied = status == Some(NtStatus::ACCESS_DENIED) && !tree.terms.read_only;
        (how.write && is_denied).then_some(Scope::Data)
    }
}

/// The CREATE of a file with the access that `how` requests. Truncation is not part of it: the size is set after the
/// open.
pub(super) fn open_request(path: &RemotePath, how: OpenHow, scope: Scope, wanted: Wanted) -> Request {
    let truncates = matches!(how.disposition, Disposition::Overwrite | Disposition::OverwriteIf);
    let mut access = if how.read { access::READ_DATA } else { 0 };
    if how.read || scope == Scope::Usual {
        access |= access::READ_ATTRIBUTES;
    }
    if how.write || truncates {
        access |= access::WRITE_DATA | access::APPEND_DATA;
        access |= if scope == Scope::Usual { access::WRITE_ATTRIBUTES } else { 0 };
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
