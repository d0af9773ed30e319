//! How links and special files are made.
//!
//! As reparse points where the server takes them, otherwise as regular files ([`mf`](super::mf), [`sfu`](super::sfu)).
//! Either way one compound creates the file and fills it. If the server refuses to fill it, the file is removed again.
//! The first reparse point of a mount shows whether the server takes them: that file stays open for one more frame, and
//! becomes a regular file of the other form if the server refuses. So there is never an empty file that stays.
//!
//! A link to a directory is a directory itself to Windows. If the server makes no such links, it is a file.
//!
//! A link of Windows is relative and text. Other targets are stored as Windows' NFS server stores them.

use super::super::error::Cause;
use super::super::refusal::is_unknown_request;
use super::super::replay::{self, Outcome};
use super::super::smb::{Failure, SmbShare, send};
use super::super::task::{Task, metadata};
use super::super::types::{Attributes, Metadata, NewSpecial, RemotePath, Special};
use super::super::verify::Doubt;
use super::super::{Result, operations::existing};
use super::known::Found;
use super::{Ability, SpecialFiles, mf, sfu, text};
use crate::config::Symlinks;
use crate::wire::NtStatus;
use crate::wire::codec::TooLong;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Create, Created, access, disposition, options};
use crate::wire::messages::reparse::{self, Nfs, tag};
use crate::wire::messages::{FileId, info, io};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// The forms in which a file can be stored; at least one.
#[derive(Debug)]
struct Plan {
    new: Made,
    point: Option<Point>,
    file: Option<Regular>,
}

/// What is made.
#[derive(Clone, Debug)]
struct Made {
    special: Special,
    target: Option<Bytes>,
}

/// A reparse point.
#[derive(Clone, Debug)]
struct Point {
    data: Vec<u8>,
    tag: u32,
    /// A link of Windows to a directory is a directory.
    is_directory: bool,
}

/// A regular file.
#[derive(Clone, Debug)]
struct Regular {
    data: Bytes,
    attributes: u32,
}

/// What became of an attempt.
enum Attempt {
    Done(Metadata, Found),
    /// The server refused to create or to fill the file, for a reason that may be gone the next time.
    Refused(NtStatus),
    /// The server does not take files of this form, now or later.
    Unable(NtStatus),
}

type Sent<T> = std::result::Result<T, Failure>;

/// What is needed to create, fill and if need be remove the file. A WRITE that makes a file longer needs the right to
/// append (MS-SMB2 3.3.5.13).
const RIGHTS: u32 =
    access::WRITE_DATA | access::APPEND_DATA | access::WRITE_ATTRIBUTES | access::READ_ATTRIBUTES | access::DELETE;

impl SpecialFiles {
    fn ability(&self, special: Special) -> Ability {
        let state = self.state.lock();
        if matches!(special, Special::Symlink { .. }) { state.links } else { state.others }
    }

    fn learn_ability(&self, special: Special, ability: Ability) {
        let mut state = self.state.lock();
        let is_link = matches!(special, Special::Symlink { .. });
        *(if is_link { &mut state.links } else { &mut state.others }) = ability;
    }

    fn makes_directories(&self) -> bool {
        self.state.lock().directories != Ability::Cannot
    }

    fn learn_makes_no_directories(&self) {
        self.state.lock().directories = Ability::Cannot;
    }

    /// The forms in which a file can be stored.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] if there is none; [`Cause::TooLong`] if the target of a link is too long for any.
    fn plan(&self, new: NewSpecial<'_>) -> std::result::Result<Plan, Cause> {
        let symlinks = self.symlinks();
        let made = Made {
            special: new.special(),
            target: if let NewSpecial::Symlink(target) = new { Some(Bytes::copy_from_slice(target)) } else { None },
        };
        if let NewSpecial::Symlink(target) = new {
            if symlinks == Symlinks::Off {
                return Err(Cause::Unsupported(NtStatus::NOT_SUPPORTED));
            }
            if target.len() > text::LONGEST {
                return Err(Cause::TooLong(TooLong::Path));
            }
        }
        let file = match new {
            NewSpecial::Symlink(target) => mf::file(target).map(|data| (data, Attributes::NORMAL)),
            other => sfu::file(other).map(|data| (data, Attributes::SYSTEM)),
        };
        let file = file.map(|(data, attributes)| Regular { data: data.into(), attributes });
        let point = (symlinks != Symlinks::MfSymlinks).then(|| point(new)).flatten();
        let can = self.ability(made.special) != Ability::Cannot;
        let (point, file) = (point.filter(|_| can), file.filter(|_| symlinks != Symlinks::Reparse));
        match (&point, &file) {
            (None, None) if mf::file(made.target.as_deref().unwrap_or_default()).is_none() => {
                Err(Cause::TooLong(TooLong::Path))
            }
            (None, None) => Err(Cause::Unsupported(NtStatus::NOT_SUPPORTED)),
            _ => Ok(Plan { new: made, point, file }),
        }
    }
}

/// The reparse point for a new file; `None` if it cannot be one: its target is too long, or no text.
fn point(new: NewSpecial<'_>) -> Option<Point> {
    let nfs = |file: Nfs| Some(Point { data: reparse::nfs_file(&file).ok()?, tag: tag::NFS, is_directory: false });
    match new {
        NewSpecial::Symlink(target) => match text::for_windows(target) {
            Some(relative) => {
                let data = reparse::symlink(&relative, true).ok()?;
                Some(Point { data, tag: tag::SYMLINK, is_directory: text::names_a_directory(target) })
            }
            None => nfs(Nfs::Link(std::str::from_utf8(target).ok()?.encode_utf16().collect())),
        },
        NewSpecial::Fifo => nfs(Nfs::Fifo),
        NewSpecial::Socket => nfs(Nfs::Socket),
        NewSpecial::CharDevice(device) => nfs(Nfs::CharDevice(device.major, device.minor)),
        NewSpecial::BlockDevice(device) => nfs(Nfs::BlockDevice(device.major, device.minor)),
    }
}

impl SmbShare {
    /// Makes a link or special file that must not exist before.
    ///
    /// # Errors
    /// Those of [`Names::create_special`](super::super::Names::create_special).
    pub(in crate::share) async fn make(&self, path: &RemotePath, new: NewSpecial<'_>) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        let plan = self.special.plan(new).map_err(|cause| task.fail(cause))?;
        let attempt = async |tree: Arc<Tree>, deadline| self.try_to_make(&tree, path, &plan, deadline).await;
        let change = replay::Change { doubt: Doubt::Special, path, target: None };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Answered { answer: Attempt::Done(metadata, found), .. } => {
                self.special.learn(path, &metadata, found.clone());
                Ok(found.of(metadata))
            }
            Outcome::Answered { answer: Attempt::Refused(status), .. } => Err(self.refused_change(task.status(status))),
            Outcome::Answered { answer: Attempt::Unable(status), .. } => {
                // What is now known may give a better reason: the target is too long for the other form.
                let cause = self.special.plan(new).err().unwrap_or(Cause::Unsupported(status));
                Err(task.fail(cause))
            }
            Outcome::Verified(done) => self.verified(task, &plan, done.found).await,
        }
    }

    /// The answer was lost, and there is a file that this client has created. It may not be filled.
    async fn verified(&self, task: Task<'_>, plan: &Plan, made: Metadata) -> Result<Metadata> {
        let found = self.recognised(task.path, made).await?;
        let target = self.special.known(task.path, &found).and_then(|found| found.target);
        if found.special == Some(plan.new.special) && target == plan.new.target {
            return Ok(found);
        }
        let tree = self.tree_by(task, self.attempts().deadline).await?;
        let _ = self.remove_made(&tree, task.path, &made, self.attempts().deadline).await;
        Err(task.fail(Cause::Unverified))
    }

    async fn try_to_make(&self, tree: &Arc<Tree>, path: &RemotePath, plan: &Plan, deadline: Instant) -> Sent<Attempt> {
        let made = Making { share: self, tree, path, plan, deadline };
        let link_to_directory = plan.point.as_ref().filter(|point| point.is_directory);
        if let Some(point) = link_to_directory.filter(|_| self.special.makes_directories()) {
            match made.point(point).await? {
                Attempt::Unable(_) => self.special.learn_makes_no_directories(),
                attempt => return Ok(attempt),
            }
        }
        // A concurrent attempt may have found out that the server cannot.
        let ability = self.special.ability(plan.new.special);
        let point = plan.point.as_ref().map(|point| Point { is_directory: false, ..point.clone() });
        match (&point, &plan.file) {
            (Some(point), Some(file)) if ability == Ability::Unknown => made.point_or_file(point, file).await,
            (Some(point), file) if ability != Ability::Cannot || file.is_none() => match made.point(point).await? {
                Attempt::Unable(status) => {
                    self.special.learn_ability(plan.new.special, Ability::Cannot);
                    match file {
                        Some(file) => made.file(file).await,
                        None => Ok(Attempt::Unable(status)),
                    }
                }
                attempt => Ok(attempt),
            },
            (_, Some(file)) => made.file(file).await,
            (_, None) => Ok(Attempt::Unable(NtStatus::NOT_SUPPORTED)),
        }
    }

    /// Removes a file that this client has made, if its name still means it.
    async fn remove_made(&self, tree: &Arc<Tree>, path: &RemotePath, made: &Metadata, deadline: Instant) -> Sent<()> {
        let open = existing(path, access::DELETE | access::READ_ATTRIBUTES, 0, self.wanted_for(path));
        let replies = send(tree, vec![open], deadline).await?;
        let Some(created) = created(&replies) else { return Ok(()) };
        let is_same = metadata(created.info, created.disk_id, 0).identity() == made.identity();
        let mut requests = vec![create::close(created.file)];
        if is_same {
            requests.insert(0, info::set_delete(created.file));
        }
        send(tree, requests, deadline).await.map(drop)
    }
}

/// One attempt to make a file.
struct Making<'a> {
    share: &'a SmbShare,
    tree: &'a Arc<Tree>,
    path: &'a RemotePath,
    plan: &'a Plan,
    deadline: Instant,
}

impl Making<'_> {
    /// A reparse point, in one frame.
    async fn point(&self, point: &Point) -> Sent<Attempt> {
        let set = reparse::set_reparse_point(RELATED_FILE, Ok(point.data.clone()));
        let kind = if point.is_directory { options::DIRECTORY } else { options::NON_DIRECTORY };
        let requests = vec![self.create(Attributes::NORMAL, kind), set, create::close(RELATED_FILE)];
        let replies = self.share.send_with_closes(self.tree, requests, &[], self.deadline).await?;
        self.point_made(point, &replies).await
    }

    /// A regular file, in one frame.
    async fn file(&self, file: &Regular) -> Sent<Attempt> {
        let write = io::write(RELATED_FILE, 0, file.data.clone());
        let requests = vec![self.create(file.attributes, options::NON_DIRECTORY), write, create::close(RELATED_FILE)];
        let replies = self.share.send_with_closes(self.tree, requests, &[], self.deadline).await?;
        let Some(created) = created(&replies) else { return Ok(refused(&replies)) };
        self.file_made(file, &created, &replies[1..]).await
    }

    /// The first reparse point: a regular file if the server refuses it. Two frames.
    async fn point_or_file(&self, point: &Point, file: &Regular) -> Sent<Attempt> {
        let set = reparse::set_reparse_point(RELATED_FILE, Ok(point.data.clone()));
        let requests = vec![self.create(Attributes::NORMAL, options::NON_DIRECTORY), set];
        let mut replies = self.share.send_with_closes(self.tree, requests, &[], self.deadline).await?;
        let Some(created) = created(&replies) else { return Ok(refused(&replies)) };
        let status = replies.get(1).map_or(NtStatus::UNSUCCESSFUL, Reply::status);
        if status == NtStatus::SUCCESS {
            replies.extend(send(self.tree, vec![create::close(created.file)], self.deadline).await?);
            return self.point_made(point, &replies).await;
        }
        if !is_inability(status) {
            let removal = vec![info::set_delete(created.file), create::close(created.file)];
            send(self.tree, removal, self.deadline).await?;
            return Ok(Attempt::Refused(status));
        }
        tracing::info!(%status, "the server takes no reparse points for this kind of file: regular files are used");
        self.share.special.learn_ability(self.plan.new.special, Ability::Cannot);
        let replies = send(self.tree, fill(file, created.file), self.deadline).await?;
        self.file_made(file, &created, &replies).await
    }

    fn create(&self, attributes: u32, kind: u32) -> Request {
        let create = Create {
            path: self.path.as_utf16(),
            access: RIGHTS,
            attributes,
            disposition: disposition::CREATE,
            options: options::REPARSE_POINT | kind,
        };
        create.request_caching(self.share.wanted_for(self.path))
    }

    /// The result, from the replies to CREATE, the reparse point, and CLOSE.
    async fn point_made(&self, point: &Point, replies: &[Reply]) -> Sent<Attempt> {
        let Some(created) = created(replies) else { return Ok(refused(replies)) };
        let Some(made) = all(replies).then(|| closed(&created, replies)) else {
            self.undo(&created).await?;
            let status = first_refusal(replies);
            return Ok(if is_inability(status) { Attempt::Unable(status) } else { Attempt::Refused(status) });
        };
        if !made.attributes.has(Attributes::REPARSE_POINT) {
            // A server that agrees and stores nothing.
            self.undo(&created).await?;
            return Ok(Attempt::Unable(NtStatus::NOT_SUPPORTED));
        }
        self.share.special.learn_ability(self.plan.new.special, Ability::Can);
        Ok(Attempt::Done(made, self.found(point.tag)))
    }

    /// The result, from the replies to requests that end with WRITE and CLOSE.
    async fn file_made(&self, file: &Regular, created: &Created, replies: &[Reply]) -> Sent<Attempt> {
        let is_system = file.attributes == Attributes::SYSTEM;
        let Some(made) = all(replies).then(|| closed(created, replies)) else {
            self.undo(created).await?;
            let status = first_refusal(replies);
            // The system attribute was refused.
            let is_unable = is_system && is_inability(status);
            return Ok(if is_unable { Attempt::Unable(status) } else { Attempt::Refused(status) });
        };
        let lacks_attribute = is_system && !made.attributes.has(Attributes::SYSTEM);
        if lacks_attribute || made.size != file.data.len() as u64 {
            // Without the attribute, or with other content, nobody would recognise the file.
            self.undo(created).await?;
            return Ok(Attempt::Unable(NtStatus::NOT_SUPPORTED));
        }
        Ok(Attempt::Done(made, self.found(0)))
    }

    fn found(&self, tag: u32) -> Found {
        let Made { special, target } = self.plan.new.clone();
        Found { special: Some(special), target, tag }
    }

    /// Removes the file that was created and not filled.
    async fn undo(&self, created: &Created) -> Sent<()> {
        let made = metadata(created.info, created.disk_id, 0);
        self.share.remove_made(self.tree, self.path, &made, self.deadline).await
    }
}

/// The requests that fill an open file and close it.
fn fill(file: &Regular, open: FileId) -> Vec<Request> {
    let mut requests = Vec::with_capacity(3);
    if file.attributes != Attributes::NORMAL {
        requests.push(info::set_basic(open, 0, 0, 0, file.attributes));
    }
    requests.extend([io::write(open, 0, file.data.clone()), create::close(open)]);
    requests
}

fn created(replies: &[Reply]) -> Option<Created> {
    Created::parse(replies.first().filter(|reply| reply.status() == NtStatus::SUCCESS)?).ok()
}

fn all(replies: &[Reply]) -> bool {
    replies.iter().all(|reply| reply.status() == NtStatus::SUCCESS)
}

fn refused(replies: &[Reply]) -> Attempt {
    Attempt::Refused(first_refusal(replies))
}

fn first_refusal(replies: &[Reply]) -> NtStatus {
    let mut statuses = replies.iter().map(Reply::status);
    statuses.find(|status| *status != NtStatus::SUCCESS).unwrap_or(NtStatus::UNSUCCESSFUL)
}

/// The metadata in the answer to the CLOSE, which comes last.
fn closed(created: &Created, replies: &[Reply]) -> Metadata {
    let closed = replies.last().and_then(|reply| create::parse_close(reply).ok().flatten());
    metadata(closed.unwrap_or(created.info), created.disk_id, 0)
}

/// Whether this answer means that the server does not take such a reparse point, now or later, from this user.
fn is_inability(status: NtStatus) -> bool {
    let is_refusal = matches!(
        status,
        NtStatus::NOT_A_REPARSE_POINT
            | NtStatus::IO_REPARSE_TAG_NOT_HANDLED
            | NtStatus::ACCESS_DENIED
            | NtStatus::PRIVILEGE_NOT_HELD
            | NtStatus::FS_DRIVER_REQUIRED
    );
    is_refusal || is_unknown_request(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::types::Device;

    fn plan(symlinks: Symlinks, new: NewSpecial<'_>) -> std::result::Result<(Option<u32>, bool), Cause> {
        let special = SpecialFiles::default();
        special.set_symlinks(symlinks);
        special.plan(new).map(|plan| (plan.point.map(|point| point.tag), plan.file.is_some()))
    }

    #[test]
    fn links_are_stored_as_the_option_says() {
        let link = NewSpecial::Symlink(b"a/b");
        let unsupported = Err(Cause::Unsupported(NtStatus::NOT_SUPPORTED));
        assert_eq!(plan(Symlinks::Auto, link), Ok((Some(tag::SYMLINK), true)));
        assert_eq!(plan(Symlinks::Reparse, link), Ok((Some(tag::SYMLINK), false)));
        assert_eq!(plan(Symlinks::MfSymlinks, link), Ok((None, true)));
        assert_eq!(plan(Symlinks::Off, link), unsupported);
        assert_eq!(plan(Symlinks::Auto, NewSpecial::Symlink(b"/etc")), Ok((Some(tag::NFS), true)));
        assert_eq!(plan(Symlinks::Reparse, NewSpecial::Symlink(b"\xFF")), unsupported);
    }

    #[test]
    fn special_files_do_not_depend_on_how_links_are_stored_except_in_their_form() {
        let device = NewSpecial::CharDevice(Device { major: 1, minor: 3 });
        assert_eq!(plan(Symlinks::Auto, device), Ok((Some(tag::NFS), true)));
        assert_eq!(plan(Symlinks::Off, device), Ok((Some(tag::NFS), true)));
        assert_eq!(plan(Symlinks::MfSymlinks, device), Ok((None, true)));
        assert_eq!(plan(Symlinks::Reparse, device), Ok((Some(tag::NFS), false)));
    }

    #[test]
    fn a_long_target_needs_a_reparse_point_and_the_longest_needs_none() {
        let long = vec![b'x'; 1025];
        assert_eq!(plan(Symlinks::Auto, NewSpecial::Symlink(&long)), Ok((Some(tag::SYMLINK), false)));
        assert_eq!(plan(Symlinks::MfSymlinks, NewSpecial::Symlink(&long)), Err(Cause::TooLong(TooLong::Path)));
        let longer = vec![b'x'; 4096];
        assert_eq!(plan(Symlinks::Auto, NewSpecial::Symlink(&longer)), Err(Cause::TooLong(TooLong::Path)));
    }

    #[test]
    fn a_server_that_refused_once_is_not_asked_again() {
        let special = SpecialFiles::default();
        let new = NewSpecial::Symlink(b"x");
        special.learn_ability(new.special(), Ability::Cannot);
        assert!(special.plan(new).unwrap().point.is_none());
        assert!(special.plan(NewSpecial::Fifo).unwrap().point.is_some());
    }
}
