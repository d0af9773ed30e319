//! How files that can be links or special files are looked at.
//!
//! Each look is one frame: open, read, close. The looks of a listing are sent together, in frames of their own: an open
//! that breaks another client's lease must be the first of its frame ([`SmbShare::send_with_closes`]).

use super::super::operations::existing;
use super::super::smb::SmbShare;
use super::super::task::{Task, metadata};
use super::super::types::{Device, DirEntry, Metadata, RemotePath, Special};
use super::super::{Result, error::Cause};
use super::known::Found;
use super::{Candidate, of_reparse_point};
use crate::config::Symlinks;
use crate::wire::frame::{RELATED_FILE, Reply};
use crate::wire::messages::create::{self, access, options};
use crate::wire::messages::{info, io, reparse};
use bytes::Bytes;
use futures_util::future::join_all;

/// The number of looks that are sent together.
const TOGETHER: usize = 32;

impl SmbShare {
    /// Sets how symbolic links are stored, for this share.
    pub fn use_symlinks(&self, symlinks: Symlinks) {
        self.special.set_symlinks(symlinks);
    }

    /// The metadata of the file at a path, with what the file is. Asks the server only if it may be a link or special
    /// file and this version of it was not looked at before.
    ///
    /// # Errors
    /// Those of [`Share`](super::super::Share). A file that the server does not let this user read is a regular file.
    pub(in crate::share) async fn recognised(&self, path: &RemotePath, listed: Metadata) -> Result<Metadata> {
        let Some(candidate) = self.special.candidate(&listed) else { return Ok(listed) };
        // The folder that is mounted may be a link: the server follows it.
        if *path == self.space_path || self.records.at(path).is_some() {
            return Ok(listed);
        }
        match self.special.known(path, &listed) {
            Some(found) => Ok(found.of(listed)),
            None => self.look(path, listed, candidate).await,
        }
    }

    /// The same for the entries of a directory.
    ///
    /// # Errors
    /// Those of [`SmbShare::recognised`].
    pub(in crate::share) async fn recognise(&self, directory: &RemotePath, entries: &mut [DirEntry]) -> Result<()> {
        let mut candidates: Vec<&mut DirEntry> =
            entries.iter_mut().filter(|entry| self.special.candidate(&entry.metadata).is_some()).collect();
        for together in candidates.chunks_mut(TOGETHER) {
            let listed: Vec<_> = together.iter().map(|entry| (directory.join(&entry.name), entry.metadata)).collect();
            let looks = listed.iter().map(|(path, metadata)| self.recognised(path, *metadata));
            for (entry, found) in together.iter_mut().zip(join_all(looks).await) {
                entry.metadata = found?;
            }
        }
        Ok(())
    }

    /// The target of the symbolic link at a path, whose metadata is `listed`. `None` if there is no link any more.
    ///
    /// # Errors
    /// [`Cause::Malformed`] if the link has no target that a program could use; those of [`SmbShare::recognised`].
    pub(in crate::share) async fn target_of(&self, path: &RemotePath, listed: Metadata) -> Result<Option<Bytes>> {
        let unknown = Metadata { special: None, ..listed };
        let metadata = self.recognised(path, unknown).await?;
        if !matches!(metadata.special, Some(Special::Symlink { .. })) {
            return Ok(None);
        }
        let target = self.special.known(path, &metadata).and_then(|found| found.target);
        let nothing = || Cause::Malformed("a symbolic link without a target that can be used".into());
        target.map(Some).ok_or_else(|| Task { operation: "READLINK", path }.fail(nothing()))
    }

    async fn look(&self, path: &RemotePath, listed: Metadata, candidate: Candidate) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        let (wanted, kind) = match candidate {
            Candidate::ReparsePoint => (access::READ_ATTRIBUTES, 0),
            Candidate::Data(_) => (access::READ_ATTRIBUTES | access::READ_DATA, options::NON_DIRECTORY),
        };
        let requests = |_: &_| {
            let open = existing(path, wanted, kind, self.wanted_for(path));
            let read = match candidate {
                Candidate::ReparsePoint => reparse::get_reparse_point(RELATED_FILE),
                Candidate::Data(length) => io::read(RELATED_FILE, 0, length),
            };
            vec![open, read, create::close(RELATED_FILE)]
        };
        let (_, replies) = self.run(task, requests).await?;
        if let Err(error) = task.reply(&replies, 0).and_then(|_| task.reply(&replies, 1)) {
            tracing::debug!(%error, %path, "the file may be a link or a special file, but cannot be looked at");
            return Ok(unseen(listed));
        }
        let created = task.created(&replies)?;
        let now = metadata(created.info, created.disk_id, listed.reparse_tag);
        if now.identity() != listed.identity() {
            return Ok(listed);
        }
        let found = match candidate {
            Candidate::ReparsePoint => self.seen_point(task, &replies).await?,
            Candidate::Data(length) => {
                let data = task.parsed(io::parse_read(task.reply(&replies, 1)?, length))?;
                // Another client may be writing the file.
                let is_whole = now.size == u64::from(length) && data.len() as u64 == now.size;
                if is_whole { self.special.of_data(&now, &data) } else { Found::default() }
            }
        };
        let now = Metadata { reparse_tag: 0, ..now };
        self.special.learn(path, &now, found.clone());
        Ok(found.of(now))
    }

    /// What a reparse point is. A device of the Windows Subsystem for Linux has its numbers in an extended attribute,
    /// which costs another frame.
    async fn seen_point(&self, task: Task<'_>, replies: &[Reply]) -> Result<Found> {
        let Ok(point) = reparse::parse_reparse_point(task.reply(replies, 1)?) else { return Ok(Found::default()) };
        let found = of_reparse_point(&point);
        let with: fn(Device) -> Special = match (found.special, found.tag) {
            (Some(Special::CharDevice(_)), reparse::tag::LX_CHR) => Special::CharDevice,
            (Some(Special::BlockDevice(_)), reparse::tag::LX_BLK) => Special::BlockDevice,
            _ => return Ok(found),
        };
        let requests = |_: &_| {
            let wanted = access::READ_ATTRIBUTES | access::READ_EA;
            let open = existing(task.path, wanted, 0, self.wanted_for(task.path));
            vec![open, info::query_extended_attributes(RELATED_FILE), create::close(RELATED_FILE)]
        };
        let (_, replies) = self.run(task, requests).await?;
        let numbers = task.reply(&replies, 1).ok().and_then(|reply| reparse::parse_device(reply).ok().flatten());
        let device = numbers.map_or_else(Device::default, |(major, minor)| Device { major, minor });
        Ok(Found { special: Some(with(device)), ..found })
    }
}

/// What is shown of a file that could not be looked at: what its tag says.
fn unseen(listed: Metadata) -> Metadata {
    Metadata { special: super::by_tag(listed.reparse_tag), ..listed }
}
