//! Asks mounts for their status, and requests changes.
//!
//! The invariant: an answer counts only if the mount that it names is, by its device number in the kernel's table, a
//! mount of this program that belongs to the user whose socket answered. So no user can speak for another user's mount.

use super::exchange::Address;
use super::{Answer, DRAIN_LIMIT, Done, Request, directory, place};
use crate::config::MountCommand;
use crate::mount::deadline::within;
use crate::mount::mountinfo::{MountEntry, MountTable};
use crate::mount::point::{Probe, probe};
use crate::mount::{CurrentLevel, MountError, Stage};
use crate::telemetry::status::Status;
use futures_util::{StreamExt, stream};
use nix::unistd::{Uid, User, geteuid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The time that a mount has for an answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The most mounts that are asked at once.
const AT_ONCE: usize = 128;

/// A socket with what it answered.
type Answered = (Address, Result<Status, String>);

/// What the mounts of this user, or of all users for root, answered.
#[derive(Debug, Default)]
pub struct Found {
    /// The mounts that answered.
    pub mounts: Vec<Status>,
    /// The sockets that did not, or whose answer does not count.
    pub silent: Vec<Silent>,
    /// The mounts in the kernel's table that no answer is about.
    pub unreachable: Vec<Unreachable>,
}

/// A socket without an answer.
#[derive(Debug, Serialize)]
pub struct Silent {
    /// Its path.
    pub socket: String,
    /// Why there is no answer.
    pub error: String,
}

/// A mount whose process cannot be asked.
#[derive(Debug, Serialize)]
pub struct Unreachable {
    /// What is mounted.
    pub url: String,
    /// The directory that it is mounted on.
    pub mountpoint: String,
    /// What is known of it.
    pub error: String,
}

/// Asks all mounts of this user, or of all users for root. Many are asked at once, so that one that does not answer
/// delays the others only once. A socket that a killed process of this user has left is removed and not reported.
///
/// # Errors
///
/// The table of mounts cannot be read.
pub fn all() -> Result<Found, MountError> {
    let before = table()?;
    let addresses = directory::users().into_iter().flat_map(|user| sockets(user, &before)).collect();
    let answers = ask(addresses)?;
    let table = table()?;
    let mut found = Found::default();
    let mut answered = HashSet::new();
    for (address, answer) in answers {
        match answer.and_then(|status| credible(status, address.owner(), &table)) {
            Ok((entry, status)) if answered.insert(entry.device) => found.mounts.push(status),
            Ok(_) => {}
            Err(error) => found.silent.push(Silent { socket: address.shown().display().to_string(), error }),
        }
    }
    let is_visible = |entry: &&MountEntry| {
        place::is_of_this_program(entry) && (geteuid().is_root() || place::owner(entry) == Some(geteuid().as_raw()))
    };
    for entry in table.entries().filter(is_visible) {
        // A file system can be mounted in several places.
        if answered.insert(entry.device) {
            found.unreachable.push(Unreachable {
                url: entry.source.to_string_lossy().into_owned(),
                mountpoint: entry.mountpoint.display().to_string(),
                error: "its process does not answer here: it was killed, or its socket is elsewhere".to_owned(),
            });
        }
    }
    Ok(found)
}

fn table() -> Result<MountTable, MountError> {
    MountTable::read().map_err(|error| MountError::system("/proc/self/mountinfo", error))
}

/// The sockets of a user. Another user's directory can be on a file system that does not answer.
fn sockets(user: u32, table: &MountTable) -> Vec<Address> {
    let table = table.clone();
    let open = move || directory::of(user, &table).into_iter().flat_map(Address::all).collect();
    within(LIMIT, open).unwrap_or_default()
}

/// What each of these sockets answers; those of dead processes are left out.
fn ask(addresses: Vec<Address>) -> Result<Vec<Answered>, MountError> {
    let asking = stream::iter(addresses).map(|address| async {
        let answer = address.status(LIMIT).await?;
        Some((address, answer))
    });
    wait_for(asking.buffered(AT_ONCE).filter_map(async |answer| answer).collect())
}

/// Runs a task in this thread.
fn wait_for<T>(task: impl Future<Output = T>) -> Result<T, MountError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| MountError::system("waiting for answers", error))?.block_on(task))
}

/// The status with its mount, if the kernel's table has that mount, and as one of this program and of `user`. The
/// mountpoint is then the kernel's.
fn credible(mut status: Status, user: u32, table: &MountTable) -> Result<(MountEntry, Status), String> {
    let is_named = |entry: &&MountEntry| {
        entry.device.to_string() == status.device
            && place::is_of_this_program(entry)
            && place::owner(entry) == Some(user)
    };
    let claimed = Path::new(&status.mountpoint);
    let places: Vec<_> = table.entries().filter(is_named).collect();
    let entry = places.iter().find(|entry| entry.mountpoint == claimed).or(places.first());
    let entry = (*entry.ok_or("the mount that it names is not, or no longer, a mount of that user here")?).clone();
    status.mountpoint = entry.mountpoint.display().to_string();
    Ok((entry, status))
}

/// A running mount, for changes.
#[derive(Debug)]
pub struct Running {
    address: Address,
    /// The mount in the kernel's table, in the place that it was looked for.
    pub(in crate::mount) entry: MountEntry,
    /// Its status when it was found.
    pub status: Status,
}

impl Running {
    /// The mount that a path is in. The path is absolute. The mount itself is not looked at, since it may not answer.
    ///
    /// # Errors
    ///
    /// No mount of this program is there, it is another user's, its process does not answer, or it is dead.
    pub fn at(path: &Path) -> Result<Running, MountError> {
        let table = table()?;
        let (known, searched) = (table.clone(), path.to_owned());
        let found = within(LIMIT, move || place::find(&known, &searched)).map_err(|_| {
            MountError::new(Stage::MountPoint, format!("the file system of {} does not answer", path.display()))
        })?;
        let entry = found.ok_or_else(|| {
            MountError::new(Stage::MountPoint, format!("{} is not in a mount of this program", path.display()))
                .remedy("`cifs-fuse status` lists the mounts of this user; root sees those of all users")
        })?;
        let owner = place::owner(&entry).unwrap_or_default();
        if !geteuid().is_root() && owner != geteuid().as_raw() {
            let name = User::from_uid(Uid::from_raw(owner)).ok().flatten().map_or(owner.to_string(), |user| user.name);
            let what = format!("was mounted by {name}; only that user and root can ask or change it");
            return Err(MountError::new(Stage::MountPoint, format!("{} {what}", entry.mountpoint.display())));
        }
        let mut silent = Vec::new();
        for (address, answer) in ask(sockets(owner, &table))? {
            match answer.and_then(|status| credible(status, owner, &table)) {
                Ok((named, status)) if named.device == entry.device => return Ok(Running { address, entry, status }),
                Ok(_) => {}
                Err(error) => silent.push(Silent { socket: address.shown().display().to_string(), error }),
            }
        }
        Err(unreachable(&entry, silent.first()))
    }

    /// The user who mounted, and that user's group.
    pub fn owner(&self) -> (Option<u32>, Option<u32>) {
        (place::owner(&self.entry), place::group(&self.entry))
    }

    /// What the mount logs.
    ///
    /// # Errors
    ///
    /// The mount does not answer.
    pub fn log_level(&self) -> Result<CurrentLevel, MountError> {
        self.request(&Request::Log { set: None }, LIMIT)
    }

    /// Changes what the mount logs, to a level or a filter, or back to `configured`.
    ///
    /// # Errors
    ///
    /// This is no level, and nothing has changed; or the mount does not answer.
    pub fn set_log_level(&self, level: &str) -> Result<CurrentLevel, MountError> {
        self.request(&Request::Log { set: Some(level.to_owned()) }, LIMIT)
    }

    /// The command line of the mount.
    ///
    /// # Errors
    ///
    /// The mount does not answer.
    pub fn command(&self) -> Result<MountCommand, MountError> {
        self.request(&Request::Command, LIMIT)
    }

    /// Has the mount send all dirty data to the server.
    ///
    /// # Errors
    ///
    /// The server does not take it in time, or the mount does not answer.
    pub(in crate::mount) fn drain(&self) -> Result<(), MountError> {
        self.request(&Request::Drain, DRAIN_LIMIT + LIMIT).map(|Done { .. }| ())
    }

    /// Reports to the mount that the kernel lets programs change it from now on, or not.
    ///
    /// # Errors
    ///
    /// The mount does not answer.
    pub(in crate::mount) fn set_access(&self, read_only: bool) -> Result<(), MountError> {
        self.request(&Request::Access { read_only }, LIMIT).map(|Done { .. }| ())
    }

    fn request<T: DeserializeOwned>(&self, request: &Request, limit: Duration) -> Result<T, MountError> {
        let mountpoint = &self.status.mountpoint;
        match wait_for(self.address.ask(request, limit))? {
            Ok(Answer::Is(answer)) => Ok(answer),
            Ok(Answer::Failed { error }) => Err(MountError::new(Stage::Running, error)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(MountError::new(Stage::Running, error.to_string()))
            }
            Err(error) => Err(MountError::new(Stage::MountPoint, format!("{mountpoint} does not answer: {error}"))),
        }
    }
}

/// Why a mount of this program cannot be asked.
fn unreachable(entry: &MountEntry, silent: Option<&Silent>) -> MountError {
    let mountpoint = entry.mountpoint.display();
    let failed = |what: String| MountError::new(Stage::MountPoint, format!("{mountpoint} {what}"));
    match silent {
        Some(Silent { socket, error }) => failed(format!("may not answer: {socket}: {error}")),
        None if probe(&entry.mountpoint, LIMIT) == Probe::Dead => failed("has no process any more".to_owned())
            .remedy(format!("cifs-fuse cleanup {mountpoint}, and mount it again")),
        None => {
            failed("is mounted, and its process cannot be reached: its socket is not where it is looked for".into())
                .remedy("use the XDG_RUNTIME_DIR of the mount; if it has no socket, its log says why")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::status::example;

    #[test]
    fn only_the_owner_of_a_mount_speaks_for_it() {
        let table = MountTable::parse(
            b"22 1 254:0 / / rw - ext4 /dev/root rw\n\
              45 22 0:41 / /mnt/a rw - fuse.cifs x rw,user_id=7\n\
              46 22 0:41 / /mnt/bound rw - fuse.cifs x rw,user_id=7\n\
              47 22 0:42 / /mnt/b rw - fuse.sshfs x rw,user_id=7\n",
        );
        let named = |device: &str, mountpoint: &str, user| {
            let status = Status { device: device.to_owned(), mountpoint: mountpoint.to_owned(), ..example() };
            credible(status, user, &table).ok().map(|(_, status)| status.mountpoint)
        };
        assert_eq!(named("0:41", "/mnt/a", 7).as_deref(), Some("/mnt/a"));
        assert_eq!(named("0:41", "/mnt/bound", 7).as_deref(), Some("/mnt/bound"));
        // The mountpoint that a user claims does not count.
        assert_eq!(named("0:41", "/mnt/of-another", 7).as_deref(), Some("/mnt/a"));
        for (device, user) in [("0:41", 8), ("0:41", 0), ("0:42", 7), ("254:0", 0), ("", 7)] {
            assert_eq!(named(device, "/mnt/a", user), None, "{device} {user}");
        }
    }
}
