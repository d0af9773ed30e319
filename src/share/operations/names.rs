//! Names: each operation as the compound that carries it out. A change whose answer is lost is verified ([`replay`]).

use super::existing;
use super::removal::{Removal, is_removed_before};
use super::replacing::Replacing;
use crate::share::file::Open;
use crate::share::listing::SmbListing;
use crate::share::previous;
use crate::share::replay::{self, Outcome};
use crate::share::smb::{Failure, SmbShare, send};
use crate::share::task::{Task, metadata};
use crate::share::types::*;
use crate::share::verify::Doubt;
use crate::share::{Files, Names, Refusal, Result, Rights};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Create, Created, access, disposition, options};
use crate::wire::messages::info;
use crate::wire::messages::lease::Wanted;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

impl Names for SmbShare {
    type Listing = SmbListing;

    async fn stat(&self, path: &RemotePath) -> Result<Metadata> {
        self.reach(Task { operation: "CREATE", path }).await?;
        let found = self.stat_at(path).await;
        self.or_versions(path, found, |tokens| previous::folder_of(&tokens)).await
    }

    async fn create_special(&self, path: &RemotePath, new: NewSpecial<'_>) -> Result<Metadata> {
        self.may_change("CREATE", [path])?;
        self.make(path, new).await
    }

    async fn read_link(&self, path: &RemotePath, known: &Metadata) -> Result<Option<Bytes>> {
        self.target_of(path, *known).await
    }

    async fn create_directory(&self, path: &RemotePath) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        self.may_change(task.operation, [path])?;
        let create = Create {
            path: path.as_utf16(),
            access: access::READ_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::CREATE,
            options: options::DIRECTORY,
        };
        let wanted = self.wanted_for(path);
        let requests = [create.request_caching(wanted), create::close(RELATED_FILE)];
        let attempt = async |tree, deadline| self.send_with_closes(&tree, requests.to_vec(), &[], deadline).await;
        let change = replay::Change { doubt: Doubt::Directory, path, target: None };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Verified(done) => Ok(done.found),
            Outcome::Answered { answer: replies, .. } => {
                let created = task.created(&replies).map_err(|error| self.refused_change(error))?;
                Ok(metadata(created.info, created.disk_id, 0))
            }
        }
    }

    async fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
        aside: Option<&RemotePath>,
    ) -> Result<bool> {
        self.may_change("DELETE", [path].into_iter().chain(aside))?;
        let removal = Removal { path, lease, known, aside };
        let removed = match kind {
            FileKind::Directory => self.remove_directory(removal).await,
            _ => self.remove_file(removal).await,
        };
        let removed = match removed {
            // The lease belongs to another file, which had this name.
            Err(error) if lease.is_some() && error.nt_status() == Some(NtStatus::INVALID_PARAMETER) => {
                self.remove_file(Removal { lease: None, ..removal }).await
            }
            result => result,
        };
        removed.map_err(|error| self.refused_change(error))
    }

    async fn is_unused(&self, path: &RemotePath) -> Result<bool> {
        self.is_file_unused(path).await
    }

    async fn replace(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        aside: &RemotePath,
    ) -> Result<()> {
        self.may_change("REPLACE", [from, to])?;
        self.replace_file(Replacing { from, to, known, aside }).await
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        known: Option<FileIdentity>,
    ) -> Result<()> {
        let task = Task { operation: "RENAME", path: from };
        self.may_change(task.operation, [from, to])?;
        let open = existing(from, access::DELETE | access::READ_ATTRIBUTES, 0, self.wanted_for(from));
        let rename = info::set_name(RELATED_FILE, to.as_utf16(), replace);
        let renaming = self.records.renaming(from, to);
        // Servers refuse to replace a file that this client has open, and to rename a folder with open files below it.
        self.send_closes();
        let attempt = async |tree: Arc<Tree>, deadline| {
            // The target is open here, but its open was lost and not made again yet. The server would refuse if it
            // still knew that open; now it would replace a file that is in use. So the refusal is made here.
            if replace && self.records.at(to).is_some_and(|record| record.is_older_than(&tree)) {
                return Ok(Err(NtStatus::SHARING_VIOLATION));
            }
            let requests = vec![open.clone(), rename.clone(), create::close(RELATED_FILE)];
            let replies = send(&tree, requests, deadline).await?;
            let refusal = replies.iter().map(Reply::status).find(|status| *status != NtStatus::SUCCESS);
            // smbd up to 4.17 does not wait in the middle of a compound until other clients have given up their leases.
            let is_apart = refusal == Some(NtStatus::INTERNAL_ERROR);
            Ok(Ok(if is_apart { rename_apart(tree, &open, &rename, deadline).await? } else { replies }))
        };
        let doubt = Doubt::Rename { known };
        let change = replay::Change { doubt, path: from, target: Some(to) };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Answered { answer: Ok(replies), .. } => {
                task.all(&replies).map_err(|error| self.refused_change(error))?
            }
            Outcome::Answered { answer: Err(status), .. } => return Err(task.status(status)),
            Outcome::Verified(_) => {}
        }
        renaming.done(&self.tree());
        Ok(())
    }

    async fn link(&self, from: &RemotePath, to: &RemotePath, known: Option<FileIdentity>) -> Result<Metadata> {
        let task = Task { operation: "LINK", path: from };
        self.may_change(task.operation, [from, to])?;
        // An open for attributes alone breaks no lease.
        let open = existing(from, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
        let requests = [
            open,
            info::set_link(RELATED_FILE, to.as_utf16()),
            info::query_standard(RELATED_FILE),
            create::close(RELATED_FILE),
        ];
        let attempt = async |tree: Arc<Tree>, deadline| send(&tree, requests.to_vec(), deadline).await;
        let change = replay::Change { doubt: Doubt::Link { known }, path: from, target: Some(to) };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Verified(done) => self.recognised(to, done.found).await,
            Outcome::Answered { answer: replies, .. } => {
                let created = task.created(&replies).map_err(|error| self.refused_change(error))?;
                task.reply(&replies, 1).map_err(|error| self.refused_change(error))?;
                let found = Metadata { links: task.links(&replies, 2), ..metadata(created.info, created.disk_id, 0) };
                self.recognised(from, found).await
            }
        }
    }

    async fn rights(&self, directory: &RemotePath) -> Result<Option<Rights>> {
        self.rights_in(directory).await
    }

    async fn list(&self, path: &RemotePath) -> Result<SmbListing> {
        self.reach(Task { operation: "QUERY_DIRECTORY", path }).await?;
        let listing = SmbListing::begin(self, path).await;
        self.or_versions(path, listing, |tokens| previous::listing_of(path, tokens)).await
    }

    async fn next_entries(&self, listing: &mut SmbListing) -> Result<Vec<DirEntry>> {
        let mut entries = listing.next(self).await?;
        self.recognise(listing.path(), &mut entries).await?;
        Ok(entries)
    }

    fn listed(&self, listing: &SmbListing) -> Metadata {
        listing.itself()
    }

    fn clock(&self) -> FileTime {
        let clock = self.tree().terms.clock.at_least(std::time::Instant::now());
        clock.map_or_else(|| FileTime::from(std::time::SystemTime::now()), FileTime)
    }

    async fn space(&self, directory: &RemotePath) -> Result<Space> {
        match self.space_of(directory).await {
            Err(error) if error.refusal() == Some(Refusal::Denied) && *directory != self.space_path => {
                self.space_of(&self.space_path).await
            }
            // A folder of previous versions is on the disk of its own folder.
            Err(error) if error.refusal() == Some(Refusal::Absent) && directory.is_folder_of_previous() => {
                self.space_of(&directory.parent().unwrap_or_default()).await
            }
            result => result,
        }
    }
}

impl SmbShare {
    /// The metadata of what the server has at a path.
    async fn stat_at(&self, path: &RemotePath) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        let requests = |_: &_| {
            let open = existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
            vec![open, info::query_standard(RELATED_FILE), create::close(RELATED_FILE)]
        };
        let (_, replies) = self.run(task, requests).await?;
        let created = task.created(&replies)?;
        let found = Metadata { links: task.links(&replies, 1), ..metadata(created.info, created.disk_id, 0) };
        self.recognised(path, found).await
    }

    /// Removes an empty directory. Returns whether its name is free: another client may have the directory open,
    /// which keeps the name in use.
    async fn remove_directory(&self, removal: Removal<'_>) -> Result<bool> {
        let Removal { path, known, .. } = removal;
        let task = Task { operation: "DELETE", path };
        // This client's own opens of the directory are closed by their CLOSE requests, which follow the removal. Where
        // directories have leases, the removal would break the lease of such an open: there the CLOSE must come first,
        // in a frame of its own.
        if self.tree().terms.directory_leasing {
            self.send_closes();
        }
        // Shows whether the name is still in use. An open for attributes alone breaks no lease.
        let look = existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
        let after = [look.unrelated(), create::close(RELATED_FILE)];
        let requests = || {
            let open =
                existing(path, access::DELETE | access::READ_ATTRIBUTES, options::DIRECTORY, self.wanted_for(path));
            vec![open, info::set_delete(RELATED_FILE), create::close(RELATED_FILE)]
        };
        let attempt =
            async |tree: Arc<Tree>, deadline| self.send_with_closes(&tree, requests(), &after, deadline).await;
        let doubt = Doubt::Removal { kind: FileKind::Directory, known };
        let change = replay::Change { doubt, path, target: None };
        let (mut replies, is_repeated) = match self.carry_out(task, change, attempt).await? {
            Outcome::Verified(done) => return Ok(done.is_free),
            Outcome::Answered { answer, is_repeated, .. } => (answer, is_repeated),
        };
        let looked = replies.split_off(replies.len().saturating_sub(after.len()));
        if let Some(is_free) = is_removed_before(is_repeated, &replies) {
            return Ok(is_free);
        }
        task.all(&replies)?;
        Ok(looked.first().is_none_or(|reply| reply.status() != NtStatus::DELETE_PENDING))
    }
}

/// Renames in a frame of its own, after the frame that opens the source.
async fn rename_apart(
    tree: Arc<Tree>,
    open: &Request,
    rename: &Request,
    deadline: Instant,
) -> std::result::Result<Vec<Reply>, Failure> {
    let replies = send(&tree, vec![open.clone()], deadline).await?;
    let Some(Ok(created)) = replies.first().filter(|reply| reply.status() == NtStatus::SUCCESS).map(Created::parse)
    else {
        return Ok(replies);
    };
    let open = Open::new(Arc::clone(&tree), created.file);
    let mut rename = rename.clone();
    rename.works_on(open.file);
    let renamed = send(&tree, vec![rename], deadline).await;
    open.post_close();
    renamed
}
