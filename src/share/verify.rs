//! Whether a change was made whose answer was lost with its session: a plain value.
//!
//! Creating a directory or a new file, removing and renaming are not repeated blindly: done twice they fail, or hit
//! what another client has put under the name meanwhile. Before the names are queried, the server has ended the session
//! on which the request was sent. So the request can no longer be carried out, and what the names mean now shows
//! whether it was.
//!
//! Invariant: a change is reported as done only if the share is now as the program requested, and a request is sent
//! again only if it would work on what the program meant. If neither can be shown, the program gets an error.

use super::types::{FileIdentity, FileKind, FileTime, Metadata};
use crate::wire::NtStatus;
use crate::wire::connect::ServerClock;
use std::time::{Duration, Instant};

/// How far timestamps of a file system may lag behind the server's clock: Linux takes them from its timer tick of up
/// to 10 ms, and FAT stores units of 10 ms.
const TICK: Duration = Duration::from_millis(20);
/// How long a busy server may take for a request that lies in the socket when its connection ends, and is still
/// carried out. A longer time would claim what other clients create soon after.
const LINGER: Duration = Duration::from_millis(250);
/// The unit of the coarsest timestamps (ext3, HFS+), in units of 100 ns: 1 s. These file systems cut off the rest.
const COARSE: u64 = 10_000_000;
/// A server's clock that jumps by more than this between two sessions was set.
const JUMP: Duration = Duration::from_secs(1);

/// A change whose answer did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// The creation of a directory.
    Directory,
    /// The creation of a file that must not exist before.
    File,
    /// The creation of a link or special file that must not exist before. What it contains is the caller's to check.
    Special,
    /// The removal of what the name meant.
    Removal {
        /// What it was.
        kind: FileKind,
        /// Its identity, if it is known.
        known: Option<FileIdentity>,
    },
    /// One more name for a file.
    Link {
        /// The identity of the file, if it is known.
        known: Option<FileIdentity>,
    },
    /// A rename.
    Rename {
        /// The identity of what is renamed, if it is known.
        known: Option<FileIdentity>,
    },
}

/// What a name means now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// Nothing.
    Absent,
    /// Something that is deleted and still open at a client.
    Pending,
    /// A file or directory, and whether it is empty.
    There(Metadata, bool),
}

/// What to do about the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing: it was made.
    Done(Done),
    /// Send the request again.
    Again,
    /// It was not made, and would be refused with this status.
    Refused(NtStatus),
    /// It cannot be decided.
    Unclear,
}

/// The state of the share after a change that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    /// What was created.
    pub(super) found: Metadata,
    /// Whether the name of what was removed or renamed is free.
    pub(super) is_free: bool,
}

/// The time, by the server's clock, within which a request was carried out, if it was: from when it was sent until
/// its connection had ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    from: FileTime,
    until: FileTime,
}

/// Where a moment lies in relation to the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Before,
    Within,
    After,
    Unknown,
}

/// Whether a found file is the one from before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sameness {
    Same,
    Other,
    Unclear,
}

impl Window {
    /// The window of a request that was sent at `sent` in a session that ended at `ended`, computed in the next
    /// session. `None` if the server reports no time, or its clock was set.
    pub(super) fn of(
        clock: ServerClock,
        (sent, ended): (Instant, Instant),
        next: ServerClock,
        now: Instant,
    ) -> Option<Window> {
        let jump = clock.at(now)?.abs_diff(next.at(now)?);
        if jump > ticks(clock.slack() + next.slack() + JUMP) {
            return None;
        }
        let from = clock.at(sent)?.saturating_sub(ticks(clock.slack() + TICK));
        let until = clock.at(ended)?.saturating_add(ticks(TICK + LINGER));
        Some(Window { from: FileTime(from), until: FileTime(until) })
    }

    fn place(window: Option<Window>, moment: FileTime) -> Place {
        let Some(window) = window.filter(|_| moment.0 != 0) else { return Place::Unknown };
        let cut_off = if moment.0.is_multiple_of(COARSE) { COARSE - 1 } else { 0 };
        match moment {
            moment if moment.0.saturating_add(cut_off) < window.from.0 => Place::Before,
            moment if moment > window.until => Place::After,
            _ => Place::Within,
        }
    }
}

impl Doubt {
    /// What to do, given what the names mean now: `seen` for the name that was worked on, `target` for the new name
    /// of a rename or a link or, for a removal, the name that the file was to have until it is gone.
    pub(super) fn decide(self, seen: Seen, target: Seen, window: Option<Window>) -> Verdict {
        match self {
            Doubt::Directory => made(FileKind::Directory, seen, window),
            Doubt::File => made(FileKind::File, seen, window),
            Doubt::Special => match seen {
                Seen::There(found, _) => made(found.stored_kind(), Seen::There(found, true), window),
                _ => made(FileKind::File, seen, window),
            },
            Doubt::Removal { kind, known } => removed((kind, known), seen, target, window),
            Doubt::Link { known } => linked(known, seen, target, window),
            Doubt::Rename { known } => renamed(known, seen, target, window),
        }
    }
}

/// What was found is this client's if it was created within the window and looks as this client would have created
/// it. Another client can have done the same only within that time, and only if this client's request was not carried
/// out.
fn made(kind: FileKind, seen: Seen, window: Option<Window>) -> Verdict {
    match seen {
        Seen::Absent => Verdict::Again,
        Seen::There(found, true)
            if found.stored_kind() == kind && Window::place(window, found.created) == Place::Within =>
        {
            Verdict::Done(Done { found, ..Done::default() })
        }
        Seen::Pending | Seen::There(..) => Verdict::Refused(NtStatus::OBJECT_NAME_COLLISION),
    }
}

/// What the name meant is no longer under it.
fn gone(is_free: bool) -> Verdict {
    Verdict::Done(Done { is_free, ..Done::default() })
}

/// The name `aside`, which a removed file has until it is gone, belongs to this client, so what has this name is the
/// file. The file stays there, or under one of the names on the way there, if the server itself ended before the file was
/// closed: it is the caller's to remove.
fn removed(
    (kind, known): (FileKind, Option<FileIdentity>),
    seen: Seen,
    aside: Seen,
    window: Option<Window>,
) -> Verdict {
    match seen {
        Seen::Absent => gone(true),
        // The server decides: the process that was to delete it may be dead.
        Seen::Pending => Verdict::Again,
        Seen::There(found, _) if found.stored_kind() != kind => gone(true),
        // Another client has created what has the name now.
        Seen::There(..) if aside != Seen::Absent => gone(true),
        Seen::There(found, _) => match sameness(known, &found, window) {
            Sameness::Same => Verdict::Again,
            // Another client has created it under the name, which was free.
            Sameness::Other => gone(true),
            Sameness::Unclear => Verdict::Unclear,
        },
    }
}

fn renamed(known: Option<FileIdentity>, source: Seen, target: Seen, window: Option<Window>) -> Verdict {
    let is = |seen| match seen {
        Seen::There(found, _) => Some(sameness(known, &found, window)),
        Seen::Absent | Seen::Pending => None,
    };
    match (is(source), is(target)) {
        // The server decides again about the new name.
        (Some(Sameness::Same), _) => Verdict::Again,
        (Some(Sameness::Other), Some(Sameness::Same)) => gone(false),
        // What was to be renamed is under neither name. Another file is not renamed in its place.
        (Some(Sameness::Other), _) => Verdict::Refused(NtStatus::OBJECT_NAME_NOT_FOUND),
        (Some(Sameness::Unclear), _) => Verdict::Unclear,
        (None, Some(Sameness::Other)) if known.is_some() => Verdict::Refused(NtStatus::OBJECT_NAME_NOT_FOUND),
        (None, Some(_)) => gone(true),
        (None, None) => Verdict::Refused(NtStatus::OBJECT_NAME_NOT_FOUND),
    }
}

/// The new name is this client's if it means the file. Another client can have made it only if it linked the same file to
/// the same name, which is what the program requested.
fn linked(known: Option<FileIdentity>, source: Seen, target: Seen, window: Option<Window>) -> Verdict {
    let known = known.or(match source {
        Seen::There(found, _) => Some(found.identity()),
        Seen::Absent | Seen::Pending => None,
    });
    match target {
        Seen::Absent => Verdict::Again,
        Seen::There(found, _) if known.is_some() => match sameness(known, &found, window) {
            Sameness::Same => Verdict::Done(Done { found, ..Done::default() }),
            Sameness::Other => Verdict::Refused(NtStatus::OBJECT_NAME_COLLISION),
            Sameness::Unclear => Verdict::Unclear,
        },
        Seen::There(..) => Verdict::Unclear,
        Seen::Pending => Verdict::Refused(NtStatus::OBJECT_NAME_COLLISION),
    }
}

/// Servers use ids again for new files, and times of creation are cut off: neither is enough alone. If nothing is
/// known of the file, it is another one only if it was created after the request.
fn sameness(known: Option<FileIdentity>, found: &Metadata, window: Option<Window>) -> Sameness {
    let place = Window::place(window, found.created);
    let Some(known) = known else {
        return match place {
            Place::Before => Sameness::Same,
            Place::After => Sameness::Other,
            Place::Within | Place::Unknown => Sameness::Unclear,
        };
    };
    let found = found.identity();
    let has_ids = known.file_id != 0 && found.file_id != 0;
    let has_times = known.created.0 != 0 && found.created.0 != 0;
    match (known.file_id == found.file_id, known.created == found.created) {
        (true, true) if has_ids => Sameness::Same,
        // The server derives the time of creation from other times, which programs set.
        (true, false) if has_ids && place == Place::Before => Sameness::Same,
        (true, false) if has_ids && matches!(place, Place::Within | Place::After) => Sameness::Other,
        (false, false) if has_ids && has_times => Sameness::Other,
        (_, true) if !has_ids && has_times => Sameness::Same,
        (_, false) if !has_ids && has_times => Sameness::Other,
        _ => Sameness::Unclear,
    }
}

/// In units of 100 ns, as in a FILETIME.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
