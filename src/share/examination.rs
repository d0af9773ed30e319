//! What a share and its server can do, found out without changing anything: for a diagnosis. A mount finds out the same
//! by using it.

use super::operations::existing;
use super::smb::SmbShare;
use super::task::Task;
use super::types::RemotePath;
use super::watch::BUFFER;
use super::{Result, error::Cause};
use crate::wire::NtStatus;
use crate::wire::frame::{Chain, RELATED_FILE, Request};
use crate::wire::header::Command;
use crate::wire::messages::create::{Create, access, close, disposition, options};
use crate::wire::messages::info::{self, Volume};
use crate::wire::messages::lease::Wanted;
use crate::wire::messages::notify;
use std::time::{Duration, Instant};

/// What the user may do in a folder, as the server says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Listing it (FILE_LIST_DIRECTORY).
    pub list: bool,
    /// Making files in it (FILE_ADD_FILE).
    pub create_files: bool,
    /// Making folders in it (FILE_ADD_SUBDIRECTORY).
    pub create_folders: bool,
    /// Reaching what is in it by its name (FILE_TRAVERSE).
    pub traverse: bool,
}

impl Rights {
    /// The rights of an access mask (MS-SMB2 2.2.13.1.2: those of a directory have the bits of those of a file).
    fn of(access: u32) -> Rights {
        let has = |bit: u32| access & bit != 0;
        Rights {
            list: has(access::READ_DATA),
            create_files: has(access::WRITE_DATA),
            create_folders: has(access::APPEND_DATA),
            traverse: has(access::EXECUTE),
        }
    }
}

/// How long a server may take to refuse a CHANGE_NOTIFY or to say that it keeps it.
const WATCH_PATIENCE: Duration = Duration::from_secs(2);
/// Interval between looks at whether a CHANGE_NOTIFY is kept.
const TICK: Duration = Duration::from_millis(5);

impl SmbShare {
    /// See [`Names::rights`](super::Names::rights).
    ///
    /// # Errors
    /// Those of [`Names::stat`](super::Names::stat).
    pub(super) async fn rights_in(&self, folder: &RemotePath) -> Result<Option<Rights>> {
        let task = Task { operation: "CREATE", path: folder };
        let create = Create {
            path: folder.as_utf16(),
            access: access::READ_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::OPEN,
            options: options::DIRECTORY,
        };
        let requests = |_: &_| vec![create.request_asking_access(), close(RELATED_FILE)];
        let (tree, replies) = self.run(task, requests).await?;
        let rights = task.created(&replies)?.maximal_access.map(Rights::of);
        Ok(rights.map(|rights| match tree.terms.read_only {
            true => Rights { create_files: false, create_folders: false, ..rights },
            false => rights,
        }))
    }

    /// What the file system behind a folder says about itself.
    ///
    /// # Errors
    /// Those of [`Names::space`](super::Names::space).
    pub async fn volume(&self, folder: &RemotePath) -> Result<Volume> {
        let task = Task { operation: "QUERY_INFO", path: folder };
        let requests = |_: &_| {
            let open = existing(folder, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
            vec![open, info::query_abilities(RELATED_FILE), close(RELATED_FILE)]
        };
        let (_, replies) = self.run(task, requests).await?;
        task.reply(&replies, 0)?;
        task.parsed(info::parse_volume(task.reply(&replies, 1)?))
    }

    /// Whether the server reports changes in a folder: it takes a CHANGE_NOTIFY, which is cancelled then.
    ///
    /// # Errors
    /// The server's refusal to open the folder; those of every operation ([`Share`](super::Share)).
    pub async fn watches(&self, folder: &RemotePath) -> Result<bool> {
        let task = Task { operation: "CHANGE_NOTIFY", path: folder };
        let requests = |_: &_| {
            let open =
                existing(folder, access::READ_DATA | access::READ_ATTRIBUTES, options::DIRECTORY, Wanted::Nothing);
            vec![open, notify::change_notify(RELATED_FILE, BUFFER)]
        };
        let (tree, replies, mut pending) = self.run_open_ended(task, requests).await?;
        let created = task.created(&replies)?;
        let probe = pending.probe();
        let kept = async {
            while !probe.is_kept() {
                tokio::time::sleep(TICK).await;
            }
        };
        let taken = tokio::select! {
            // A change that has just happened is an answer, too.
            reply = pending.reply() => reply.map_err(|error| task.wire(error))?.status() == NtStatus::SUCCESS,
            () = kept => true,
            // A server need not say that it keeps the request.
            () = tokio::time::sleep(WATCH_PATIENCE) => true,
        };
        drop(pending);
        let closing = super::task::compound(&tree, vec![close(created.file)]);
        let _ = tree.channels.send(&closing, self.request_timeout).await;
        Ok(taken)
    }

    /// The times of `count` round trips to the server and back, one after the other. Fewer if they take more than
    /// `limit` together, but at least one.
    ///
    /// # Errors
    /// [`Cause::Disconnected`], [`Cause::TimedOut`].
    pub async fn round_trips(&self, count: usize, limit: Duration) -> Result<Vec<Duration>> {
        let root = RemotePath::root();
        let task = Task { operation: "ECHO", path: &root };
        let (tree, started) = (self.tree(), Instant::now());
        let echo = Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0]));
        let mut times = Vec::with_capacity(count);
        while times.len() < count && (times.is_empty() || started.elapsed() < limit) {
            let sent = Instant::now();
            let replies = tree.channels.send(&echo, self.request_timeout).await.map_err(|error| task.wire(error))?;
            if replies.is_empty() {
                return Err(task.fail(Cause::Malformed("a reply is missing".into())));
            }
            times.push(sent.elapsed());
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_the_bits_of_the_maximal_access() {
        let everything = Rights { list: true, create_files: true, create_folders: true, traverse: true };
        assert_eq!(Rights::of(0x001f_01ff), everything);
        let reading = Rights { list: true, create_files: false, create_folders: false, traverse: true };
        assert_eq!(Rights::of(0x0012_00a9), reading);
        assert_eq!(Rights::of(0x0010_00a0), Rights { list: false, ..reading });
        assert_eq!(Rights::of(0x0010_0080), Rights { list: false, traverse: false, ..reading });
    }
}
