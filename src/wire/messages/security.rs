//! Security descriptors (MS-DTYP 2.4) of files: QUERY_INFO and SET_INFO of SMB2_0_INFO_SECURITY (MS-SMB2 2.2.37, 2.2.39),
//! and the SIDs in which owners and modes of POSIX are kept.
//!
//! Two forms of SIDs have numbers of POSIX. `S-1-5-88-1-UID`, `S-1-5-88-2-GID` and an ACE for `S-1-5-88-3-MODE` are
//! those of Linux's client (fs/smb/client/cifsacl.c) and of macOS; a server keeps them without knowing the users. Samba
//! has `S-1-22-1-UID` and `S-1-22-2-GID` for users and groups of its own machine.
//!
//! Samba leaves a whole list as it is that has an entry of the first form. Its own lists have entries for the owner, the
//! group and everyone, of which it makes the mode on its disk; these are changed instead.
//!
//! Invariant: ACEs are copied byte for byte, so that no access control list loses what this program does not know.

use super::FileId;
use super::info::{output, query_of, set_of};
use crate::wire::codec::{Fields, Malformed, Put};
use crate::wire::frame::{Reply, Request};

/// InfoType `SMB2_0_INFO_SECURITY` (MS-SMB2 2.2.37)
const INFO_SECURITY: u8 = 3;

/// The bits of SECURITY_INFORMATION (MS-DTYP 2.4.7).
pub mod part {
    /// `OWNER_SECURITY_INFORMATION`
    pub const OWNER: u32 = 1;
    /// `GROUP_SECURITY_INFORMATION`
    pub const GROUP: u32 = 2;
    /// `DACL_SECURITY_INFORMATION`
    pub const DACL: u32 = 4;
}

/// The bits of a descriptor's Control (MS-DTYP 2.4.6).
mod control {
    pub(super) const DACL_PRESENT: u16 = 0x0004;
    pub(super) const DACL_AUTO_INHERIT_REQUEST: u16 = 0x0100;
    pub(super) const DACL_AUTO_INHERITED: u16 = 0x0400;
    pub(super) const DACL_PROTECTED: u16 = 0x1000;
    pub(super) const SELF_RELATIVE: u16 = 0x8000;
}

const ACCESS_ALLOWED: u8 = 0;
const ACCESS_DENIED: u8 = 1;
/// The ACE concerns only what is made in the directory.
const INHERIT_ONLY: u8 = 0x08;
/// The ACE concerns also what is made in the directory: OBJECT_INHERIT_ACE and CONTAINER_INHERIT_ACE.
const INHERITABLE: u8 = 0x03;
/// The largest descriptor that is read, in bytes: what one credit pays for (MS-SMB2 3.1.5.2). A longer one, which no
/// file has in practice, is refused by the server with STATUS_BUFFER_TOO_SMALL.
const LARGEST: u32 = 0x0001_0000;
/// The most sub-authorities of a SID (MS-DTYP 2.4.2).
const MOST_PARTS: usize = 15;
/// The fixed part of a descriptor, of an ACL, and of an ACE with an access mask, in bytes.
const FIXED: usize = 20;
const ACL_HEADER: usize = 8;
const ACE_HEADER: usize = 4;

/// A security identifier (MS-DTYP 2.4.2), of revision 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sid {
    authority: u64,
    count: u8,
    parts: [u32; MOST_PARTS],
}

impl Sid {
    const fn new<const N: usize>(authority: u64, given: [u32; N]) -> Sid {
        let mut parts = [0; MOST_PARTS];
        let (mut at, mut count) = (0, 0);
        while at < N {
            parts[at] = given[at];
            (at, count) = (at + 1, count + 1);
        }
        Sid { authority, count, parts }
    }

    /// `S-1-5-88-1-UID`
    pub fn unix_user(uid: u32) -> Sid {
        Sid::new(5, [88, 1, uid])
    }

    /// `S-1-5-88-2-GID`
    pub fn unix_group(gid: u32) -> Sid {
        Sid::new(5, [88, 2, gid])
    }

    /// `S-1-22-1-UID`: a user of a Samba server's machine
    pub fn samba_user(uid: u32) -> Sid {
        Sid::new(22, [1, uid])
    }

    /// `S-1-22-2-GID`: a group of a Samba server's machine
    pub fn samba_group(gid: u32) -> Sid {
        Sid::new(22, [2, gid])
    }

    /// Whether this is a user or group in the form that Linux's client stores.
    fn is_stored_form(&self) -> bool {
        self.authority == 5 && self.parts().first() == Some(&88)
    }

    fn unix_mode(mode: u16) -> Sid {
        Sid::new(5, [88, 3, u32::from(mode)])
    }

    fn parse(bytes: Fields<'_>) -> Result<Sid, Malformed> {
        let (revision, count) = (bytes.u8(0)?, bytes.u8(1)?);
        if revision != 1 || usize::from(count) > MOST_PARTS {
            return Err(Malformed("a SID of an unknown form"));
        }
        let authority = bytes.bytes(2, 6)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let mut parts = [0; MOST_PARTS];
        for (at, part) in parts.iter_mut().enumerate().take(usize::from(count)) {
            *part = bytes.u32(8 + 4 * at)?;
        }
        Ok(Sid { authority, count, parts })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 4 * MOST_PARTS);
        bytes.put_u8(1).put_u8(self.count).put_bytes(&self.authority.to_be_bytes()[2..]);
        self.parts().iter().for_each(|part| {
            bytes.put_u32(*part);
        });
        bytes
    }

    fn parts(&self) -> &[u32] {
        &self.parts[..usize::from(self.count)]
    }

    /// The user id, if this is a user of POSIX. The largest number means "none" (chown(2)).
    fn uid(&self) -> Option<u32> {
        match (self.authority, self.parts()) {
            (5, [88, 1, uid]) | (22, [1, uid]) => Some(*uid).filter(|uid| *uid != u32::MAX),
            _ => None,
        }
    }

    /// The group id, if this is a group of POSIX.
    fn gid(&self) -> Option<u32> {
        match (self.authority, self.parts()) {
            (5, [88, 2, gid]) | (22, [2, gid]) => Some(*gid).filter(|gid| *gid != u32::MAX),
            _ => None,
        }
    }

    fn mode(&self) -> Option<u16> {
        match (self.authority, self.parts()) {
            (5, [88, 3, mode]) => Some((mode & 0o7777) as u16),
            _ => None,
        }
    }
}

/// `S-1-1-0`: Everyone.
const EVERYONE: Sid = Sid::new(1, [0]);

/// An entry of an access control list (MS-DTYP 2.4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ace {
    /// The entry as the server sent it.
    bytes: Vec<u8>,
    /// Its trustee and access mask, if it allows or denies.
    simple: Option<(Sid, u32)>,
}

impl Ace {
    fn parse(bytes: &[u8]) -> Ace {
        let fields = Fields(bytes);
        let is_simple = bytes.first().is_some_and(|kind| matches!(*kind, ACCESS_ALLOWED | ACCESS_DENIED));
        let simple = || Some((Sid::parse(Fields(bytes.get(ACE_HEADER + 4..)?)).ok()?, fields.u32(ACE_HEADER).ok()?));
        Ace { bytes: bytes.to_vec(), simple: if is_simple { simple() } else { None } }
    }

    /// An entry that allows or denies, and is not inherited.
    fn new(kind: u8, mask: u32, sid: Sid) -> Ace {
        let trustee = sid.bytes();
        let length = ACE_HEADER + 4 + trustee.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.put_u8(kind).put_u8(0).put_count(length).put_u32(mask).put_bytes(&trustee);
        Ace { bytes, simple: Some((sid, mask)) }
    }

    /// An entry that changes no access, and says the mode: it denies nothing to a SID that nobody has, as Linux's client
    /// writes it.
    fn of_mode(mode: u16) -> Ace {
        Ace::new(ACCESS_DENIED, 0, Sid::unix_mode(mode))
    }

    /// An entry that allows a SID what these permission bits (`rwx`) mean, as Samba writes it.
    fn of_class(sid: Sid, bits: u16, is_owner: bool) -> Ace {
        // DELETE, READ_CONTROL, WRITE_DAC, WRITE_OWNER, SYNCHRONIZE and both kinds of attributes: what an owner may do
        // under any mode.
        const OWNER: u32 = 0x001f_0180;
        const READ: u32 = 0x0012_0089;
        const WRITE: u32 = 0x0012_0116;
        const EXECUTE: u32 = 0x0012_00a0;
        let rights = |bit: u16, mask: u32| if bits & bit != 0 { mask } else { 0 };
        let allowed = rights(4, READ) | rights(2, WRITE) | rights(1, EXECUTE);
        let mask = match (is_owner, bits) {
            (true, 7) => 0x001f_01ff,
            (true, _) => OWNER | allowed,
            (false, _) => allowed,
        };
        Ace::new(ACCESS_ALLOWED, mask, sid)
    }

    /// The same entry for what is made in the directory, and not for the directory itself.
    fn only_inherited(&self) -> Ace {
        let mut ace = self.clone();
        ace.bytes[1] |= INHERIT_ONLY;
        ace
    }

    fn mode(&self) -> Option<u16> {
        self.simple.and_then(|(sid, _)| sid.mode())
    }

    fn has(&self, flag: u8) -> bool {
        self.bytes.get(1).is_some_and(|flags| flags & flag != 0)
    }
}

/// The permission bits (`rwx`) of an access mask (MS-DTYP 2.4.3, MS-SMB2 2.2.13.1).
fn permissions(mask: u32) -> u16 {
    const GENERIC_ALL: u32 = 0x1000_0000;
    let bit =
        |generic: u32, specific: u32, bit: u16| if mask & (GENERIC_ALL | generic | specific) != 0 { bit } else { 0 };
    bit(0x8000_0000, 0x01, 4) | bit(0x4000_0000, 0x02, 2) | bit(0x2000_0000, 0x20, 1)
}

/// A security descriptor, as the server sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    control: u16,
    owner: Option<Sid>,
    group: Option<Sid>,
    /// The revision of the access control list, and its entries; `None` if there is none: everyone has all access.
    dacl: Option<(u8, Vec<Ace>)>,
}

impl Descriptor {
    /// The answer to [`query_security`].
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the response is not that of a QUERY_INFO, or a part lies outside of its bounds.
    pub fn parse_reply(reply: &Reply) -> Result<Descriptor, Malformed> {
        Descriptor::parse(output(reply)?)
    }

    fn parse(bytes: &[u8]) -> Result<Descriptor, Malformed> {
        let fields = Fields(bytes);
        let control = fields.u16(2)?;
        let at = |offset: u32| -> Result<Option<Fields<'_>>, Malformed> {
            match offset as usize {
                0 => Ok(None),
                offset if offset < FIXED => Err(Malformed("a part of a security descriptor in its header")),
                offset => Ok(Some(Fields(bytes.get(offset..).ok_or(Malformed("a part outside of its descriptor"))?))),
            }
        };
        let sid = |offset| at(offset)?.map(Sid::parse).transpose();
        let dacl = at(fields.u32(16)?)?.filter(|_| control & control::DACL_PRESENT != 0);
        Ok(Descriptor {
            control,
            owner: sid(fields.u32(4)?)?,
            group: sid(fields.u32(8)?)?,
            dacl: dacl.map(parse_acl).transpose()?,
        })
    }

    /// The user id of the owner, if the owner is a user of POSIX.
    pub fn uid(&self) -> Option<u32> {
        self.owner.and_then(|owner| owner.uid())
    }

    /// The group id, if the group is a group of POSIX.
    pub fn gid(&self) -> Option<u32> {
        self.group.and_then(|group| group.gid())
    }

    /// The mode that an ACE says.
    pub fn stored_mode(&self) -> Option<u16> {
        self.aces().iter().find_map(Ace::mode)
    }

    /// The mode: the one that an ACE says, or else what the list allows to the owner, the group, and everyone. `None` if
    /// the list has an entry for none of them.
    pub fn mode(&self) -> Option<u16> {
        self.stored_mode().or_else(|| self.mode_of_classes()).or_else(|| {
            let everyone = self.granted(Some(EVERYONE));
            let [owner, group] = [self.owner, self.group].map(|sid| self.granted(sid).or(everyone));
            if owner.is_none() && group.is_none() {
                return None;
            }
            let bits = |granted: Option<u16>| granted.unwrap_or(0);
            Some(bits(owner) << 6 | bits(group) << 3 | bits(everyone))
        })
    }

    /// The trustees of the entries for the owner and the group, in a list of Samba's: one that has no other entries than
    /// for these two and everyone, beside those that are only inherited. An owner or group in the stored form has no
    /// entry of its own: the entry is of the owner on the server's disk.
    fn classes(&self) -> Option<[Sid; 2]> {
        let (mut found, mut has_everyone) = ([None, None], false);
        for ace in self.aces().iter().filter(|ace| !ace.has(INHERIT_ONLY)) {
            let is_plain = ace.bytes.first() == Some(&ACCESS_ALLOWED) && !ace.has(!INHERITABLE);
            let (sid, _) = ace.simple.filter(|_| is_plain)?;
            let is_of = |class: Option<Sid>, found: Option<Sid>| match class {
                Some(class) if class.is_stored_form() => found.is_none_or(|found| found == sid),
                class => class == Some(sid),
            };
            match () {
                () if sid == EVERYONE => has_everyone = true,
                () if is_of(self.owner, found[0]) => found[0] = Some(sid),
                () if is_of(self.group, found[1]) => found[1] = Some(sid),
                () => return None,
            }
        }
        Some([found[0]?, found[1]?]).filter(|_| has_everyone)
    }

    fn mode_of_classes(&self) -> Option<u16> {
        let [owner, group] = self.classes()?;
        let bits = |sid| self.granted(Some(sid)).unwrap_or(0);
        Some(bits(owner) << 6 | bits(group) << 3 | bits(EVERYONE))
    }

    /// A list of Samba's for this owner and group with these permission bits. What is inherited stays as it is. `None`
    /// if there is no list, or it would be too long.
    fn rebuilt(&self, owner: Sid, group: Sid, mode: u16) -> Option<Descriptor> {
        let mut aces = vec![
            Ace::of_class(owner, mode >> 6 & 7, true),
            Ace::of_class(group, mode >> 3 & 7, false),
            Ace::of_class(EVERYONE, mode & 7, false),
        ];
        aces.extend(self.aces().iter().filter(|ace| ace.has(INHERIT_ONLY | INHERITABLE)).map(Ace::only_inherited));
        self.with_list(aces)
    }

    /// Whether the server is a Samba, as far as this shows it: by users or groups of the server's machine, or by the form
    /// of the list.
    pub fn is_of_samba(&self) -> bool {
        self.classes().is_some() || [self.owner, self.group].into_iter().flatten().any(|sid| sid.authority == 22)
    }

    /// A list of Samba's with these permission bits instead of its own; `None` for any other list.
    #[must_use]
    pub fn with_classes(&self, mode: u16) -> Option<Descriptor> {
        let [owner, group] = self.classes()?;
        self.rebuilt(owner, group, mode)
    }

    /// A list of Samba's with the same permission bits for a new owner and group; `None` for any other list.
    #[must_use]
    pub fn handed_over(&self, owner: Option<Sid>, group: Option<Sid>) -> Option<Descriptor> {
        let [old_owner, old_group] = self.classes()?;
        let list = self.rebuilt(owner.unwrap_or(old_owner), group.unwrap_or(old_group), self.mode_of_classes()?)?;
        Some(list.owned_by(owner, group))
    }

    /// The permission bits that the list gives to a SID; `None` if it has no entry for it.
    fn granted(&self, sid: Option<Sid>) -> Option<u16> {
        let (mut allowed, mut denied, mut is_listed) = (0, 0, false);
        for ace in self.aces().iter().filter(|ace| !ace.has(INHERIT_ONLY)) {
            let Some((_, mask)) = ace.simple.filter(|(trustee, _)| Some(*trustee) == sid) else { continue };
            is_listed = true;
            match ace.bytes.first() {
                Some(&ACCESS_DENIED) => denied |= permissions(mask) & !allowed,
                _ => allowed |= permissions(mask) & !denied,
            }
        }
        is_listed.then_some(allowed)
    }

    fn aces(&self) -> &[Ace] {
        self.dacl.as_ref().map_or(&[], |(_, aces)| aces)
    }

    /// The same access control list with this mode in an ACE, instead of the ACE that had one. `None` where that would
    /// change who has access, since there is no list, or it would be too long.
    #[must_use]
    pub fn with_mode(&self, mode: u16) -> Option<Descriptor> {
        let others = self.aces().iter().filter(|ace| ace.mode().is_none()).cloned();
        self.with_list(std::iter::once(Ace::of_mode(mode)).chain(others).collect())
    }

    /// The descriptor with these entries in its list; `None` if it has no list, or the entries do not fit into one.
    fn with_list(&self, aces: Vec<Ace>) -> Option<Descriptor> {
        let (revision, _) = self.dacl.as_ref()?;
        u16::try_from(length_of(&aces)).ok()?;
        Some(Descriptor { dacl: Some((*revision, aces)), ..self.clone() })
    }

    /// A descriptor for [`set_security`] of an owner and a group alone.
    pub fn of_owner(owner: Option<Sid>, group: Option<Sid>) -> Descriptor {
        Descriptor { control: 0, owner, group, dacl: None }
    }

    /// This access control list with this owner and group.
    #[must_use]
    pub fn owned_by(self, owner: Option<Sid>, group: Option<Sid>) -> Descriptor {
        Descriptor { owner: owner.or(self.owner), group: group.or(self.group), ..self }
    }

    /// The descriptor in self-relative form, with the parts of these bits of [`part`].
    fn bytes(&self, parts: u32) -> Vec<u8> {
        let sid = |sid: Option<Sid>, bit| sid.filter(|_| parts & bit != 0).map(|sid| sid.bytes()).unwrap_or_default();
        let (owner, group) = (sid(self.owner, part::OWNER), sid(self.group, part::GROUP));
        let dacl = self.dacl.as_ref().filter(|_| parts & part::DACL != 0).map(|(revision, aces)| acl(*revision, aces));
        let mut control = control::SELF_RELATIVE;
        if dacl.is_some() {
            control |=
                control::DACL_PRESENT | (self.control & (control::DACL_AUTO_INHERITED | control::DACL_PROTECTED));
            // Without the request the server would drop the mark of an inherited list (MS-DTYP 2.5.3.4).
            if self.control & control::DACL_AUTO_INHERITED != 0 {
                control |= control::DACL_AUTO_INHERIT_REQUEST;
            }
        }
        let dacl = dacl.unwrap_or_default();
        let mut end = FIXED;
        let mut place = |bytes: &[u8]| {
            let at = if bytes.is_empty() { 0 } else { end };
            end += bytes.len();
            // The parts before are two SIDs: some hundred bytes.
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let (owner_at, group_at, dacl_at) = (place(&owner), place(&group), place(&dacl));
        let mut bytes = Vec::with_capacity(end);
        bytes.put_u8(1).put_u8(0).put_u16(control);
        bytes.put_u32(owner_at).put_u32(group_at).put_u32(0).put_u32(dacl_at);
        bytes.put_bytes(&owner).put_bytes(&group).put_bytes(&dacl);
        bytes
    }
}

/// An access control list in these bytes: its revision and its entries (MS-DTYP 2.4.5).
fn parse_acl(bytes: Fields<'_>) -> Result<(u8, Vec<Ace>), Malformed> {
    let (revision, size, count) = (bytes.u8(0)?, usize::from(bytes.u16(2)?), bytes.u16(4)?);
    let list = Fields(bytes.bytes(0, size)?);
    let mut aces = Vec::new();
    let mut at = ACL_HEADER;
    for _ in 0..count {
        let length = usize::from(list.u16(at.checked_add(2).ok_or(Malformed("an ACE past the end of its list"))?)?);
        if length < ACE_HEADER {
            return Err(Malformed("an ACE that is shorter than its header"));
        }
        aces.push(Ace::parse(list.bytes(at, length)?));
        at += length;
    }
    Ok((revision, aces))
}

/// The length of an access control list with these entries, in bytes.
fn length_of(aces: &[Ace]) -> usize {
    ACL_HEADER + aces.iter().map(|ace| ace.bytes.len()).sum::<usize>()
}

fn acl(revision: u8, aces: &[Ace]) -> Vec<u8> {
    let length = length_of(aces);
    let mut bytes = Vec::with_capacity(length);
    bytes.put_u8(revision).put_u8(0).put_count(length).put_count(aces.len()).put_u16(0);
    aces.iter().for_each(|ace| {
        bytes.put_bytes(&ace.bytes);
    });
    bytes
}

/// A query for owner, group and access control list of an open file. The open needs READ_CONTROL.
pub fn query_security(file: FileId) -> Request {
    query_of((INFO_SECURITY, 0), part::OWNER | part::GROUP | part::DACL, file, LARGEST).with_response(LARGEST)
}

/// Sets the parts of a descriptor that these bits of [`part`] name. The open needs WRITE_OWNER for owner and group,
/// WRITE_DAC for the access control list.
pub fn set_security(file: FileId, parts: u32, descriptor: &Descriptor) -> Request {
    set_of((INFO_SECURITY, 0), parts, file, &descriptor.bytes(parts))
}

#[cfg(test)]
#[path = "security/tests.rs"]
mod tests;
