//! Owner, group and mode at the server: read from security descriptors, and stored in them where the server keeps them.
//!
//! A descriptor is read in the compound that fetches the attributes. What is stored is read back in the same compound,
//! because servers differ, and some accept a descriptor without keeping it:
//!
//! | server | owner and group | mode |
//! |---|---|---|
//! | NTFS | SIDs of Linux's client | an entry of its own, beside all others |
//! | Samba with `acl_xattr` | its own users, if the account may give files away; otherwise SIDs of Linux's client | the entries of its lists: `rwx` |
//! | Samba | its own users, if the account may give files away | the same |
//!
//! Samba refuses SIDs that it does not know, and leaves a list as it is that has an entry of Linux's client. A way that
//! a server does not take is learnt for the mount, so that later changes do not try it.
//!
//! A list was read at most [`FRESH`] ago when it is changed; otherwise it is read first, in a frame of its own.

use super::Result;
use super::error::Cause;
use super::error::ShareError;
use super::operations::existing;
use super::ownership::Ownership;
use super::refusal::Refusal;
use super::smb::SmbShare;
use super::task::{Task, metadata};
use super::traits::{Names, Owners};
use super::types::{FileIdentity, LeaseKey, Metadata, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, access};
use crate::wire::messages::info;
use crate::wire::messages::security::{self, Descriptor, Sid, part};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long a list that was read may be changed and sent back without reading it again: another client's change of the
/// list in between is lost. It is the time for which attributes are cached by default.
const FRESH: Duration = Duration::from_secs(1);
/// The most descriptors that are kept for [`FRESH`]. A program changes the mode of a file that it has just looked up.
const KEPT: usize = 64;
/// The number of files in a row whose access control lists deny a change, after which none is tried any more.
const DENIALS: u8 = 8;
/// The value of a [`Kept`] that nothing is sent for any more.
const NEVER: u8 = u8::MAX;

/// What is known of how this server keeps owners and modes.
#[derive(Debug, Default)]
pub(super) struct OwnersKept {
    /// Owners and groups as users of the server's machine.
    samba_owner: Kept,
    /// Owners and groups in the form that Linux's client stores.
    stored_owner: Kept,
    /// Modes in the entries of a list of Samba's.
    classes: Kept,
    /// Modes in an entry of their own.
    entry: Kept,
    /// Security descriptors at all.
    descriptors: Kept,
    recent: Mutex<VecDeque<(FileIdentity, Instant, Arc<Descriptor>)>>,
}

/// Whether the server keeps one kind of value: the number of denials in a row, or [`NEVER`].
#[derive(Debug, Default)]
struct Kept(AtomicU8);

impl Kept {
    fn is_tried(&self) -> bool {
        self.0.load(Ordering::Relaxed) < DENIALS
    }

    fn answered(&self, answer: Answer) {
        let next = match (answer, self.0.load(Ordering::Relaxed)) {
            (_, NEVER) => NEVER,
            (Answer::Stored, _) => 0,
            (Answer::Denied, denials) => denials.saturating_add(1).min(NEVER - 1),
            (Answer::Impossible, _) => NEVER,
        };
        self.0.store(next, Ordering::Relaxed);
    }
}

/// What a server has done with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// It has stored it.
    Stored,
    /// It does not let this user change this file's descriptor.
    Denied,
    /// It does not keep such values.
    Impossible,
}

impl OwnersKept {
    fn learn(&self, file: FileIdentity, descriptor: &Arc<Descriptor>, now: Instant) {
        if file.file_id == 0 {
            return;
        }
        let mut recent = self.recent.lock();
        recent.retain(|(other, at, _)| *other != file && now.saturating_duration_since(*at) < FRESH);
        while recent.len() >= KEPT {
            recent.pop_front();
        }
        recent.push_back((file, now, Arc::clone(descriptor)));
    }

    fn fresh(&self, file: FileIdentity, now: Instant) -> Option<Arc<Descriptor>> {
        let recent = self.recent.lock();
        let (_, at, descriptor) = recent.iter().find(|(other, ..)| *other == file)?;
        (now.saturating_duration_since(*at) < FRESH).then(|| Arc::clone(descriptor))
    }

    /// Whether there is any way left in which the server may keep something of `set`.
    fn may_keep(&self, set: Ownership) -> bool {
        let has_owner = set.uid.is_some() || set.gid.is_some();
        let has_way = (has_owner && (self.samba_owner.is_tried() || self.stored_owner.is_tried()))
            || (set.mode.is_some() && (self.classes.is_tried() || self.entry.is_tried()));
        has_way && self.descriptors.is_tried()
    }

    fn of_owner(&self, form: Form) -> &Kept {
        match form {
            Form::Samba => &self.samba_owner,
            Form::Stored => &self.stored_owner,
        }
    }

    fn of_mode(&self, place: Place) -> &Kept {
        match place {
            Place::Classes => &self.classes,
            Place::Entry => &self.entry,
        }
    }

    /// The ways to store `set` in this descriptor that may succeed, the best one first.
    fn ways(&self, descriptor: &Descriptor, set: Ownership) -> Vec<Way> {
        let place = if descriptor.with_classes(0).is_some() { Place::Classes } else { Place::Entry };
        let place = Some(place).filter(|place| set.mode.is_some() && self.of_mode(*place).is_tried());
        let forms = [(Form::Samba, descriptor.is_of_samba()), (Form::Stored, true)];
        let forms = forms.into_iter().filter(|(form, may)| *may && self.of_owner(*form).is_tried());
        let has_owner = set.uid.is_some() || set.gid.is_some();
        let mut ways: Vec<Way> =
            forms.filter(|_| has_owner).map(|(form, _)| Way { owner: Some(form), mode: None }).collect();
        match ways.first_mut() {
            Some(first) if place.is_some() => {
                first.mode = place;
                // A server that keeps one of them may refuse both together.
                ways.push(Way { owner: None, mode: place });
            }
            Some(_) => {}
            None => ways.extend(place.map(|place| Way { owner: None, mode: Some(place) })),
        }
        ways
    }

    fn answered(&self, way: Way, answer: Answer) {
        if let Some(form) = way.owner {
            self.of_owner(form).answered(answer);
        }
        if let Some(place) = way.mode {
            self.of_mode(place).answered(answer);
        }
    }
}

/// The form of SIDs in which owner and group are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As users and groups of the server's machine, to which Samba gives the file on its disk.
    Samba,
    /// As Linux's client stores them, which says nothing to the server.
    Stored,
}

/// Where a mode is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the entries of a list of Samba's.
    Classes,
    /// In an entry of its own.
    Entry,
}

/// A way to store owner and group, mode, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    owner: Option<Form>,
    mode: Option<Place>,
}

impl Way {
    /// The part of `set` that is stored in this way.
    fn part_of(self, set: Ownership) -> Ownership {
        Ownership {
            uid: set.uid.filter(|_| self.owner.is_some()),
            gid: set.gid.filter(|_| self.owner.is_some()),
            mode: set.mode.filter(|_| self.mode.is_some()),
        }
    }

    /// What to send: the parts, and a descriptor with them. `None` if the list cannot have them.
    fn change(self, before: &Descriptor, set: Ownership) -> Option<(u32, Descriptor)> {
        let (user, group) = match self.owner {
            Some(Form::Samba) => (set.uid.map(Sid::samba_user), set.gid.map(Sid::samba_group)),
            Some(Form::Stored) => (set.uid.map(Sid::unix_user), set.gid.map(Sid::unix_group)),
            None => (None, None),
        };
        let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        let owner_parts = bit(user.is_some(), part::OWNER) | bit(group.is_some(), part::GROUP);
        let with_mode = |list: &Descriptor, mode: u16| match self.mode {
            Some(Place::Classes) => list.with_classes(mode),
            _ => list.with_mode(mode),
        };
        // The entries for owner and group follow them, so that nothing is left to those before.
        let list = match self.owner {
            Some(Form::Samba) => before.handed_over(user, group),
            _ => None,
        };
        match (set.mode.filter(|_| self.mode.is_some()), list) {
            (Some(mode), list) => {
                let list = with_mode(list.as_ref().unwrap_or(before), mode)?;
                Some((owner_parts | part::DACL, list.owned_by(user, group)))
            }
            (None, Some(list)) => Some((owner_parts | part::DACL, list)),
            (None, None) => Some((owner_parts, Descriptor::of_owner(user, group))),
        }
    }
}

fn ownership(descriptor: &Descriptor) -> Ownership {
    Ownership { uid: descriptor.uid(), gid: descriptor.gid(), mode: descriptor.mode() }
}

impl Owners for SmbShare {
    async fn stat_with_owner(&self, path: &RemotePath, lease: Option<LeaseKey>) -> Result<(Metadata, Ownership)> {
        if !self.owners.descriptors.is_tried() {
            return Ok((self.stat(path).await?, Ownership::NOTHING));
        }
        self.reach(Task { operation: "CREATE", path }).await?;
        match self.read_descriptor(File { path, lease }).await {
            Ok((found, descriptor)) => {
                let found = self.recognised(path, found).await?;
                Ok((found, descriptor.map_or(Ownership::NOTHING, |found| ownership(&found))))
            }
            // The user may see the file, but not its descriptor.
            Err(error) if error.refusal() == Some(Refusal::Denied) => Ok((self.stat(path).await?, Ownership::NOTHING)),
            Err(error) => {
                let shown = |tokens: Vec<_>| (super::previous::folder_of(&tokens), Ownership::NOTHING);
                self.or_versions(path, Err(error), shown).await
            }
        }
    }

    async fn store_owner(
        &self,
        path: &RemotePath,
        known: FileIdentity,
        lease: Option<LeaseKey>,
        set: Ownership,
    ) -> Result<Ownership> {
        self.may_change("SET_INFO", [path])?;
        let file = File { path, lease };
        let mut kept = Ownership::NOTHING;
        if !self.owners.may_keep(set) {
            return Ok(kept);
        }
        let Some(mut descriptor) = self.descriptor(file, known).await? else { return Ok(kept) };
        let mut is_given = false;
        for way in self.owners.ways(&descriptor, set) {
            let left = way.part_of(set.without(kept));
            // The server may show an owner whom it has accepted as a user of its domain, who has no number here.
            if left.is_nothing() || (is_given && way.owner.is_some()) {
                continue;
            }
            let Some(change) = way.change(&descriptor, left) else { continue };
            if let Some(after) = self.send_descriptor(file, way, &change).await? {
                let now_kept = kept_of(&after, left, way);
                self.answered(way, left, now_kept, &after);
                is_given |= way.owner == Some(Form::Samba);
                (kept, descriptor) = (now_kept.over(kept), after);
            }
        }
        Ok(kept)
    }
}

/// Whether a refusal means that the server cannot do it with any file.
fn impossible(error: &ShareError) -> bool {
    matches!(
        error.refusal(),
        Some(Refusal::Failed | Refusal::Unsupported | Refusal::InvalidArgument | Refusal::NotPermitted)
    )
}

/// The part of what was sent that a descriptor has.
fn kept_of(descriptor: &Descriptor, sent: Ownership, way: Way) -> Ownership {
    let mode = match way.mode {
        Some(Place::Entry) => descriptor.stored_mode(),
        _ => descriptor.mode(),
    };
    Ownership {
        uid: sent.uid.filter(|uid| descriptor.uid() == Some(*uid)),
        gid: sent.gid.filter(|gid| descriptor.gid() == Some(*gid)),
        mode: sent.mode.filter(|sent| mode == Some(*sent)),
    }
}

impl SmbShare {
    /// Opens a file for such work, and does it, in one frame. An open of this kind breaks leases; under the lease of this
    /// client's own opens it does not break that one. Twice has the same effect as once.
    async fn within_open(&self, task: Task<'_>, file: File<'_>, access: u32, work: &[Request]) -> Result<Vec<Reply>> {
        let requests = |tree: &Tree, lease: Option<LeaseKey>| {
            let wanted = match lease {
                Some(key) => self.wanted_under(key, file.path, &tree.terms),
                None => self.wanted_for(file.path),
            };
            std::iter::once(existing(file.path, access, 0, wanted)).chain(work.iter().cloned()).collect()
        };
        let (_, replies) = self.run(task, |tree| requests(tree, file.lease)).await?;
        // The lease belongs to another name, or another file has the name by now (MS-SMB2 3.3.5.9.8).
        let is_of_another = replies.first().is_some_and(|reply| reply.status() == NtStatus::INVALID_PARAMETER);
        if file.lease.is_none() || !is_of_another {
            return Ok(replies);
        }
        let (_, replies) = self.run(task, |tree| requests(tree, None)).await?;
        Ok(replies)
    }

    /// The metadata of a file and its security descriptor, in one frame. No descriptor if the server does not give it,
    /// or gives one that cannot be understood.
    async fn read_descriptor(&self, file: File<'_>) -> Result<(Metadata, Option<Arc<Descriptor>>)> {
        let task = Task { operation: "CREATE", path: file.path };
        let asked = Instant::now();
        let work =
            [security::query_security(RELATED_FILE), info::query_standard(RELATED_FILE), create::close(RELATED_FILE)];
        let replies = self.within_open(task, file, access::READ_ATTRIBUTES | access::READ_CONTROL, &work).await?;
        let created = task.created(&replies)?;
        let found = Metadata { links: task.links(&replies, 2), ..metadata(created.info, created.disk_id, 0) };
        let descriptor = parsed(task, &replies, 1);
        match &descriptor {
            Some(descriptor) => {
                self.owners.descriptors.answered(Answer::Stored);
                self.owners.learn(found.identity(), descriptor, asked);
            }
            // A server without security descriptors.
            None if task.reply(&replies, 1).is_err_and(|error| impossible(&error)) => {
                self.owners.descriptors.answered(Answer::Impossible);
            }
            None => {}
        }
        Ok((found, descriptor))
    }

    /// The descriptor of a file, which is read unless it is fresh; `None` if the user may not read it.
    async fn descriptor(&self, file: File<'_>, known: FileIdentity) -> Result<Option<Arc<Descriptor>>> {
        if let Some(descriptor) = self.owners.fresh(known, Instant::now()) {
            return Ok(Some(descriptor));
        }
        match self.read_descriptor(file).await {
            Ok((found, _)) if known.file_id != 0 && found.file_id != known.file_id => {
                Err(Task { operation: "CREATE", path: file.path }.fail(Cause::Stale))
            }
            Ok((_, descriptor)) => Ok(descriptor),
            Err(error) if error.refusal() == Some(Refusal::Denied) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a change of a descriptor, and reads back what became of it; `None` if the server refuses it. Twice has the
    /// same effect as once.
    async fn send_descriptor(
        &self,
        file: File<'_>,
        way: Way,
        (parts, change): &(u32, Descriptor),
    ) -> Result<Option<Arc<Descriptor>>> {
        let task = Task { operation: "SET_INFO", path: file.path };
        let asked = Instant::now();
        let mut wanted = access::READ_ATTRIBUTES | access::READ_CONTROL;
        if parts & (part::OWNER | part::GROUP) != 0 {
            wanted |= access::WRITE_OWNER;
        }
        if parts & part::DACL != 0 {
            wanted |= access::WRITE_DAC;
        }
        let work = [
            security::set_security(RELATED_FILE, *parts, change),
            security::query_security(RELATED_FILE),
            create::close(RELATED_FILE),
        ];
        let replies = self.within_open(task, file, wanted, &work).await?;
        if let Err(error) = task.reply(&replies, 0).and_then(|_| task.reply(&replies, 1)) {
            let answer = match error.refusal() {
                Some(Refusal::Denied | Refusal::WriteProtected) => Answer::Denied,
                _ if impossible(&error) => Answer::Impossible,
                _ => return Err(error),
            };
            tracing::debug!(%error, ?way, "the server does not store the owner or mode in this way");
            // Of two values the refusal does not show which is meant; each is tried alone.
            if way.owner.is_none() || way.mode.is_none() {
                self.owners.answered(way, answer);
            }
            return Ok(None);
        }
        let created = task.created(&replies)?;
        let descriptor = parsed(task, &replies, 2);
        if let Some(descriptor) = &descriptor {
            self.owners.learn(metadata(created.info, created.disk_id, 0).identity(), descriptor, asked);
        }
        Ok(descriptor)
    }

    /// Records whether the server has what was sent to it.
    fn answered(&self, way: Way, sent: Ownership, kept: Ownership, after: &Descriptor) {
        let owner = Way { mode: None, ..way };
        let has_no_number = after.uid().is_none() || after.gid().is_none();
        match (kept.uid, kept.gid) == (sent.uid, sent.gid) {
            true => self.owners.answered(owner, Answer::Stored),
            false if way.owner == Some(Form::Samba) && has_no_number => {}
            false => self.owners.answered(owner, Answer::Impossible),
        }
        let mode = Way { owner: None, ..way };
        match (sent.mode, way.mode) {
            (None, _) => {}
            (sent, _) if kept.mode == sent => self.owners.answered(mode, Answer::Stored),
            (_, Some(Place::Entry)) => self.owners.answered(mode, Answer::Impossible),
            // Entries for classes have no set-id and sticky bits, and Samba lets an owner always read: such a mode says
            // nothing about others.
            (sent, _) if sent.is_some_and(|sent| sent > 0o777 || sent & 0o400 == 0) => {}
            _ => self.owners.answered(mode, Answer::Denied),
        }
    }
}

/// A file whose descriptor is read or changed: its path, and the lease key that it was opened with.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a RemotePath,
    lease: Option<LeaseKey>,
}

/// The descriptor in one of these replies, if there is one that can be understood.
fn parsed(task: Task<'_>, replies: &[Reply], index: usize) -> Option<Arc<Descriptor>> {
    let reply = task.reply(replies, index).ok()?;
    match Descriptor::parse_reply(reply) {
        Ok(descriptor) => Some(Arc::new(descriptor)),
        Err(malformed) => {
            tracing::debug!(path = %task.path, %malformed, "the security descriptor is not understood");
            None
        }
    }
}

#[cfg(test)]
#[path = "owners/tests.rs"]
mod tests;
