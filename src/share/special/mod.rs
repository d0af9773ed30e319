//! Symbolic links, fifos, sockets and devices: how they are recognised on the share, and how they are made.
//!
//! | file | what is decided there |
//! |---|---|
//! | `mod` | which files can be special ones, so that it is worth a look; what the server can do |
//! | `look` | how such files are looked at: each in one frame, those of a listing at the same time |
//! | `making` | in which form a new one is stored, and what happens if only a part of that succeeds |
//! | `mf` | symbolic links in regular files (Minshall and French) |
//! | `sfu` | special files in regular files with the system attribute (Services for Unix) |
//! | `text` | targets as programs see them, and as Windows stores them |
//! | `known` | which files need no look, because they had one |
//!
//! A file is a candidate if it is a reparse point with a known tag, or has the size of a link of Minshall and French, or
//! has the system attribute and a size that fits. Everything else costs no request. A candidate that this client has
//! open is a regular file: special files are never opened.
//!
//! Whether a server takes reparse points is found out by the first one that is made, and remembered.

mod known;
mod look;
mod making;
mod mf;
#[cfg(test)]
mod scripted;
mod sfu;
mod text;

use super::types::{Attributes, Metadata, RemotePath, Special};
use crate::config::Symlinks;
use crate::wire::messages::reparse::{self, Content, Nfs, tag};
use bytes::Bytes;
use known::{Found, Known};
use parking_lot::Mutex;

/// What this client knows of the links and special files of a share, and of the server's abilities.
#[derive(Debug, Default)]
pub(super) struct SpecialFiles {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    symlinks: Symlinks,
    /// Whether the server takes reparse points for symbolic links, and for other special files.
    links: Ability,
    others: Ability,
    /// Whether a directory can become a symbolic link: Samba 4.22 takes files only.
    directories: Ability,
}

/// Whether the server takes a kind of reparse point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Ability {
    /// None was made yet.
    #[default]
    Unknown,
    /// One was made.
    Can,
    /// The server refused one.
    Cannot,
}

/// A file that has to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Candidate {
    /// Its reparse point.
    ReparsePoint,
    /// This many bytes of its data.
    Data(u32),
}

impl SpecialFiles {
    fn symlinks(&self) -> Symlinks {
        self.state.lock().symlinks
    }

    /// Sets how symbolic links are stored.
    pub(super) fn set_symlinks(&self, symlinks: Symlinks) {
        self.state.lock().symlinks = symlinks;
    }

    /// What has to be looked at to know what a file is; nothing for most files.
    fn candidate(&self, metadata: &Metadata) -> Option<Candidate> {
        let has = |bits| metadata.attributes.has(bits);
        if has(Attributes::REPARSE_POINT) {
            return may_be_special(metadata.reparse_tag).then_some(Candidate::ReparsePoint);
        }
        let links = self.symlinks() != Symlinks::Off;
        let is_mf = links && metadata.size == mf::SIZE as u64;
        let is_sfu = has(Attributes::SYSTEM) && sfu::may_be(metadata.size, links);
        ((is_mf || is_sfu) && !has(Attributes::DIRECTORY)).then_some(Candidate::Data(metadata.size as u32))
    }

    /// What a file was found to be before.
    fn known(&self, path: &RemotePath, metadata: &Metadata) -> Option<Found> {
        self.state.lock().known.get(path, metadata)
    }

    fn learn(&self, path: &RemotePath, metadata: &Metadata, found: Found) {
        self.state.lock().known.put(path, metadata, found);
    }

    /// What a regular file with this content is.
    fn of_data(&self, metadata: &Metadata, data: &Bytes) -> Found {
        let links = self.symlinks() != Symlinks::Off;
        if links && let Some(target) = mf::target(data) {
            return link(Some(target), 0);
        }
        let parsed = sfu::parse(data).filter(|_| metadata.attributes.has(Attributes::SYSTEM));
        match parsed {
            Some((Special::Symlink { .. }, target)) if links => link(target, 0),
            Some((special, _)) if !matches!(special, Special::Symlink { .. }) => {
                Found { special: Some(special), ..Found::default() }
            }
            _ => Found::default(),
        }
    }
}

/// Whether a reparse point can be a link or special file. 0 is an unknown tag.
fn may_be_special(reparse_tag: u32) -> bool {
    reparse_tag == 0 || reparse_tag == tag::NFS || by_tag(reparse_tag).is_some()
}

/// What a reparse point is by its tag alone; `None` if the tag does not tell, or is unknown.
fn by_tag(reparse_tag: u32) -> Option<Special> {
    match reparse_tag {
        tag::SYMLINK | tag::MOUNT_POINT | tag::LX_SYMLINK => Some(Special::Symlink { length: 0 }),
        tag::AF_UNIX => Some(Special::Socket),
        tag::LX_FIFO => Some(Special::Fifo),
        tag::LX_CHR => Some(Special::CharDevice(Default::default())),
        tag::LX_BLK => Some(Special::BlockDevice(Default::default())),
        _ => None,
    }
}

fn link(target: Option<Bytes>, tag: u32) -> Found {
    let length = target.as_ref().map_or(0, |target| target.len() as u32);
    Found { special: Some(Special::Symlink { length }), target, tag }
}

/// What a reparse point is. One whose data breaks the rules of its tag is what the tag says, without details.
fn of_reparse_point(found: &reparse::Reparse) -> Found {
    let Ok(content) = &found.content else {
        return Found { special: by_tag(found.tag), target: None, tag: found.tag };
    };
    let device = |major: &u32, minor: &u32| super::types::Device { major: *major, minor: *minor };
    let special = match content {
        Content::Symlink { target, .. } | Content::Junction(target) => {
            return link(text::of_windows(target), found.tag);
        }
        Content::Nfs(Nfs::Link(target)) => return link(text::plain(target), found.tag),
        Content::LxSymlink(target) => return link(text::usable(Bytes::copy_from_slice(target)), found.tag),
        Content::Nfs(Nfs::CharDevice(major, minor)) => Some(Special::CharDevice(device(major, minor))),
        Content::Nfs(Nfs::BlockDevice(major, minor)) => Some(Special::BlockDevice(device(major, minor))),
        Content::Nfs(Nfs::Fifo) => Some(Special::Fifo),
        Content::Nfs(Nfs::Socket) => Some(Special::Socket),
        Content::Other => by_tag(found.tag),
    };
    Found { special, target: None, tag: found.tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, attributes: u32, reparse_tag: u32) -> Metadata {
        Metadata { size, attributes: Attributes(attributes), reparse_tag, ..Metadata::default() }
    }

    #[test]
    fn ordinary_files_are_not_looked_at() {
        let special = SpecialFiles::default();
        for metadata in [
            file(0, 0, 0),
            file(1066, 0, 0),
            file(24, 0, 0),
            file(0, Attributes::SYSTEM, 0),
            file(100_000, Attributes::SYSTEM, 0),
            file(1067, Attributes::DIRECTORY, 0),
            file(1067, Attributes::REPARSE_POINT, 0x8000_0013),
        ] {
            assert_eq!(special.candidate(&metadata), None, "{metadata:?}");
        }
    }

    #[test]
    fn candidates_are_looked_at_as_far_as_the_option_allows() {
        let special = SpecialFiles::default();
        let mf = file(1067, Attributes::ARCHIVE, 0);
        let sfu = file(24, Attributes::SYSTEM, 0);
        assert_eq!(special.candidate(&mf), Some(Candidate::Data(1067)));
        assert_eq!(special.candidate(&sfu), Some(Candidate::Data(24)));
        for known in [0, tag::SYMLINK, tag::NFS, tag::LX_CHR] {
            let point = file(0, Attributes::REPARSE_POINT, known);
            assert_eq!(special.candidate(&point), Some(Candidate::ReparsePoint));
        }
        special.set_symlinks(Symlinks::Off);
        assert_eq!(special.candidate(&mf), None);
        assert_eq!(special.candidate(&sfu), Some(Candidate::Data(24)));
        assert_eq!(special.candidate(&file(0, Attributes::REPARSE_POINT, 0)), Some(Candidate::ReparsePoint));
    }

    #[test]
    fn a_special_file_needs_the_system_attribute() {
        let special = SpecialFiles::default();
        let data = Bytes::from_static(b"LnxFIFO\0");
        assert_eq!(special.of_data(&file(8, Attributes::SYSTEM, 0), &data).special, Some(Special::Fifo));
        assert_eq!(special.of_data(&file(8, 0, 0), &data), Found::default());
    }

    #[test]
    fn a_hostile_link_is_a_link_without_a_target() {
        let hostile = reparse::Reparse { tag: tag::SYMLINK, content: Err(crate::wire::codec::Malformed("bad")) };
        let found = of_reparse_point(&hostile);
        assert_eq!((found.special, found.target), (Some(Special::Symlink { length: 0 }), None));
        let too_long = Content::LxSymlink(vec![b'x'; 5000]);
        let found = of_reparse_point(&reparse::Reparse { tag: tag::LX_SYMLINK, content: Ok(too_long) });
        assert_eq!((found.special, found.target), (Some(Special::Symlink { length: 0 }), None));
    }
}
