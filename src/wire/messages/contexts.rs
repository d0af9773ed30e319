//! The create contexts (MS-SMB2 2.2.13.2, 2.2.14.2): what an open asks for besides the fixed fields, and the answers.
//!
//! A context of a request is a variant of [`Context`], with its name and its data. A context of a response is a field
//! of [`Answers`]. There are no others: durable and persistent handles and POSIX extensions are not
//! requested.
//!
//! Each context of a response is optional. A context with unusable data is ignored, so that the caller receives the
//! open and can close it. A list with a part outside of its bounds is malformed.

use super::lease::{Granted, Wanted};
use super::snapshots::Snapshot;
use crate::wire::codec::{Entries, Fields, Linked, Malformed, Put};

/// The name of a context: four bytes.
type Name = [u8; 4];

/// `SMB2_CREATE_QUERY_ON_DISK_ID`
const QUERY_ON_DISK_ID: Name = *b"QFid";
/// `SMB2_CREATE_REQUEST_LEASE` and `SMB2_CREATE_REQUEST_LEASE_V2`, which have the same name.
const LEASE: Name = *b"RqLs";
/// `SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST`
const MAXIMAL_ACCESS: Name = *b"MxAc";

/// `SMB2_CREATE_TIMEWARP_TOKEN`
const TIMEWARP: Name = *b"TWrp";

/// The size of the fixed fields, in bytes: Next, NameOffset, NameLength, Reserved, DataOffset and DataLength.
const FIXED: u16 = 16;
/// The offset of the data of a context, in bytes: behind a name of four bytes, at a multiple of eight.
const DATA_AT: u16 = 24;
/// The entries of a list of contexts, in either direction.
const LIST: Entries = Entries { least: FIXED as usize, alignment: 8 };
/// The most contexts that are accepted in a response: MS-SMB2 has about a dozen kinds.
const MOST: usize = 64;

/// A context of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// Asks for the file's id on disk (MS-SMB2 2.2.13.2.9).
    OnDiskId,
    /// Asks for a lease (MS-SMB2 2.2.13.2.8, 2.2.13.2.10). An oplock needs no context, because a field of the request
    /// names it.
    Lease(Wanted),
    /// Asks for the most access that the user could open the file with (MS-SMB2 2.2.13.2.5).
    MaximalAccess,
    /// Opens the file as it was at this time (MS-SMB2 2.2.13.2.7).
    Timewarp(Snapshot),
}

impl Context {
    fn name(self) -> Name {
        match self {
            Context::OnDiskId => QUERY_ON_DISK_ID,
            Context::Lease(_) => LEASE,
            Context::MaximalAccess => MAXIMAL_ACCESS,
            Context::Timewarp(_) => TIMEWARP,
        }
    }

    /// Its data, which may be empty; `None` if the context is not needed.
    fn data(self) -> Option<Vec<u8>> {
        match self {
            Context::OnDiskId | Context::MaximalAccess => Some(Vec::new()),
            Context::Lease(wanted) => wanted.context(),
            Context::Timewarp(at) => Some(at.0.to_le_bytes().to_vec()),
        }
    }
}

/// The list of contexts of a request, as bytes.
pub fn list(contexts: &[Context]) -> Vec<u8> {
    let mut list = Vec::with_capacity(112);
    let mut last = None;
    for context in contexts {
        let Some(data) = context.data() else { continue };
        list.align(LIST.alignment);
        let at = list.len();
        if let Some(last) = last.replace(at) {
            let mut next = Vec::with_capacity(4);
            next.put_count(at - last).put_u16(0);
            list[last..last + 4].copy_from_slice(&next);
        }
        let data_at = if data.is_empty() { 0 } else { DATA_AT };
        list.put_u32(0).put_u16(FIXED).put_count(context.name().len()).put_u16(0).put_u16(data_at);
        // DataLength has 32 bits; no data needs more than 16.
        list.put_count(data.len()).put_u16(0).put_bytes(&context.name()).align(8).put_bytes(&data);
    }
    list
}

/// The understood contexts of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answers {
    /// The file's id on disk.
    pub disk_id: Option<u64>,
    /// The state of the lease.
    pub lease: Option<Granted>,
    /// The most access that the user can have; `None` too if the server could not find it out.
    pub maximal_access: Option<u32>,
}

impl Answers {
    /// Parses the list of a response. Of several contexts with the same name the first usable one counts.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if a context, its name or its data lies outside of its bounds, or if there are more than 64
    /// contexts.
    pub fn parse(list: &[u8]) -> Result<Answers, Malformed> {
        let mut answers = Answers::default();
        for (number, context) in Linked::new(list, LIST).enumerate() {
            if number >= MOST {
                return Err(Malformed("more contexts of an open than there are kinds"));
            }
            let context = context?;
            let name = context.bytes(usize::from(context.u16(4)?), usize::from(context.u16(6)?))?;
            let data = || context.bytes(usize::from(context.u16(10)?), context.u32(12)? as usize);
            answers.take(name, data)?;
        }
        Ok(answers)
    }

    /// Applies one context.
    fn take<'a>(&mut self, name: &[u8], data: impl Fn() -> Result<&'a [u8], Malformed>) -> Result<(), Malformed> {
        if name == QUERY_ON_DISK_ID {
            // DiskFileId, VolumeId, 16 reserved bytes.
            let found = Fields(data()?).u64(0).ok();
            self.disk_id = self.disk_id.or(found);
        } else if name == LEASE {
            let found = Granted::parse(data()?).ok();
            self.lease = self.lease.or(found);
        } else if name == MAXIMAL_ACCESS {
            // QueryStatus, MaximalAccess (MS-SMB2 2.2.14.2.5).
            let data = Fields(data()?);
            let found = data.u32(4).ok().filter(|_| data.u32(0) == Ok(0));
            self.maximal_access = self.maximal_access.or(found);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context(next: u32, name: &[u8], data: &[u8]) -> Vec<u8> {
        let data_at = (16 + name.len()).next_multiple_of(8) as u16;
        let mut context = Vec::new();
        context.put_u32(next).put_u16(16).put_count(name.len()).put_u16(0).put_u16(data_at).put_u32(data.len() as u32);
        context.put_bytes(name).align(8).put_bytes(data).align(8);
        context
    }

    fn lease(state: u32) -> Vec<u8> {
        Wanted::LeaseV1 { key: 7, state }.context().unwrap()
    }

    fn granted(state: u32) -> Option<Granted> {
        Some(Granted { key: 7, state, break_in_progress: false, epoch: None })
    }

    #[test]
    fn the_maximal_access_counts_only_if_the_server_knows_it() {
        let parsed = |data: &[u8]| Answers::parse(&context(0, b"MxAc", data)).unwrap().maximal_access;
        assert_eq!(parsed(&[0, 0, 0, 0, 0xff, 1, 0x1f, 0]), Some(0x001f_01ff));
        assert_eq!(parsed(&[0x22, 0, 0, 0xc0, 0xff, 1, 0x1f, 0]), None, "STATUS_ACCESS_DENIED");
        assert_eq!(parsed(&[0, 0, 0, 0]), None);
    }

    #[test]
    fn a_time_is_a_context_of_eight_bytes() {
        let list = list(&[Context::Timewarp(Snapshot(0x0102_0304_0506_0708))]);
        let expected =
            [&[0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 24, 0, 8, 0, 0, 0][..], b"TWrp", &[0; 4], &[8, 7, 6, 5, 4, 3, 2, 1]];
        assert_eq!(list, expected.concat());
    }

    fn id(id: u64) -> Vec<u8> {
        [&id.to_le_bytes()[..], &[0; 24]].concat()
    }

    #[test]
    fn a_context_that_is_not_needed_is_not_in_the_list() {
        let alone = list(&[Context::OnDiskId]);
        assert_eq!(alone, [&[0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], b"QFid", &[0; 4]].concat());
        assert_eq!(list(&[Context::OnDiskId, Context::Lease(Wanted::Nothing)]), alone);
        assert_eq!(list(&[Context::Lease(Wanted::Oplock(9)), Context::OnDiskId]), alone);
        assert!(list(&[]).is_empty());
    }

    #[test]
    fn each_context_but_the_last_points_to_the_next() {
        let wanted = Wanted::LeaseV2 { key: 7, state: 3, parent: None };
        let first = list(&[Context::Lease(wanted), Context::OnDiskId]);
        assert_eq!(
            (&first[..4], first.len()),
            (&[80, 0, 0, 0][..], 80 + 24),
            "24 + 52 bytes, and 4 to a multiple of 8"
        );
        let last = list(&[Context::OnDiskId, Context::Lease(wanted)]);
        assert_eq!((&last[..4], last.len()), (&[24, 0, 0, 0][..], 24 + 24 + 52));
    }

    #[test]
    fn contexts_are_found_in_any_order_among_others() {
        let (id, lease) = (id(77), lease(3));
        let other = context(32, b"MxAc", &[0; 8]);
        for contexts in [
            [other.clone(), context(56, b"QFid", &id), context(0, b"RqLs", &lease)].concat(),
            [context(56, b"RqLs", &lease), other, context(0, b"QFid", &id)].concat(),
        ] {
            assert_eq!(
                Answers::parse(&contexts),
                Ok(Answers { disk_id: Some(77), lease: granted(3), maximal_access: Some(0) })
            );
        }
        assert_eq!(Answers::parse(&[]), Ok(Answers::default()));
    }

    #[test]
    fn a_context_with_unusable_data_is_ignored() {
        for data in [0, 1, 7, 31, 33, 40, 53] {
            let answers = Answers::parse(&context(0, b"RqLs", &vec![1; data])).unwrap();
            assert_eq!(answers, Answers::default(), "a lease of {data} bytes");
        }
        assert_eq!(Answers::parse(&context(0, b"QFid", &[1; 7])), Ok(Answers::default()));
        for name in [&b""[..], b"QFi", b"QFid\0", b"a longer name"] {
            assert_eq!(Answers::parse(&context(0, name, &[1; 32])), Ok(Answers::default()), "{name:?}");
        }
    }

    #[test]
    fn of_two_contexts_with_one_name_the_first_counts() {
        let contexts = [context(56, b"RqLs", &lease(1)), context(0, b"RqLs", &lease(7))].concat();
        assert_eq!(Answers::parse(&contexts).unwrap().lease, granted(1));
        let contexts = [context(56, b"QFid", &id(1)), context(0, b"QFid", &id(2))].concat();
        assert_eq!(Answers::parse(&contexts).unwrap().disk_id, Some(1));
    }

    #[test]
    fn a_context_outside_of_its_list_is_refused() {
        for next in [1, 8, 15, 4000, u32::MAX] {
            assert!(Answers::parse(&context(next, b"QFid", &[0; 32])).is_err(), "{next}");
        }
        for (at, value) in [(4, 60u16), (6, u16::MAX), (10, 60), (12, 60)] {
            let mut contexts = context(0, b"QFid", &[0; 32]);
            contexts[at..at + 2].copy_from_slice(&value.to_le_bytes());
            assert!(Answers::parse(&contexts).is_err(), "{value} at {at}");
        }
        let many = context(24, b"none", &[]).repeat(MOST + 1);
        assert!(Answers::parse(&many).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answers::parse(&bytes);
        }

        #[test]
        fn a_damaged_list_never_yields_another_lease(at in 0..56usize, bit in 0..8u32) {
            let mut contexts = [context(56, b"QFid", &id(77)), context(0, b"RqLs", &lease(3))].concat();
            contexts[at] ^= 1 << bit;
            // Damage to one context leaves the other, or refuses both.
            if let Ok(answers) = Answers::parse(&contexts) {
                prop_assert!(answers.lease.is_none() || answers.lease == granted(3));
            }
        }
    }
}
