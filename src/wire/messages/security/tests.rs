//! Descriptors from servers, honest and hostile.

use super::*;

/// `S-1-5-21-1-2-3-1000`: a user of a Windows domain.
const ANN: Sid = Sid::new(5, [21, 1, 2, 3, 1000]);
/// `S-1-5-32-544`: the administrators.
const ADMINISTRATORS: Sid = Sid::new(5, [32, 544]);
const ALL: u32 = 0x001f_01ff;
const READ: u32 = 0x0012_0089;
const READ_AND_EXECUTE: u32 = 0x0012_00a9;

fn ace(kind: u8, flags: u8, mask: u32, sid: Sid) -> Ace {
    let mut bytes = Vec::new();
    bytes.put_u8(kind).put_u8(flags).put_count(8 + sid.bytes().len()).put_u32(mask).put_bytes(&sid.bytes());
    Ace::parse(&bytes)
}

fn allow(mask: u32, sid: Sid) -> Ace {
    ace(ACCESS_ALLOWED, 0, mask, sid)
}

fn descriptor(owner: Sid, group: Sid, aces: Vec<Ace>) -> Descriptor {
    Descriptor { control: 0x8004, owner: Some(owner), group: Some(group), dacl: Some((2, aces)) }
}

fn of_samba() -> Descriptor {
    let [user, group] = [Sid::new(22, [1, 1000]), Sid::new(22, [2, 100])];
    descriptor(user, group, vec![allow(ALL, user), allow(READ_AND_EXECUTE, group), allow(0, EVERYONE)])
}

fn of_windows() -> Descriptor {
    // An object ACE, which this program does not know, and an inherited one.
    let object = Ace::parse(&[5, 0, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let aces = vec![object, ace(ACCESS_ALLOWED, 0x10, ALL, ADMINISTRATORS), allow(READ, ANN)];
    Descriptor { control: 0x8404, ..descriptor(ANN, ADMINISTRATORS, aces) }
}

fn whole(descriptor: &Descriptor) -> Vec<u8> {
    descriptor.bytes(part::OWNER | part::GROUP | part::DACL)
}

#[test]
fn samba_says_owner_group_and_mode() {
    let found = Descriptor::parse(&whole(&of_samba())).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode()), (Some(1000), Some(100), Some(0o750)));
    assert_eq!(found.stored_mode(), None, "no ACE says it");
}

#[test]
fn users_and_groups_without_a_number_are_not_known() {
    let windows = of_windows();
    assert_eq!((windows.uid(), windows.gid()), (None, None));
    assert_eq!(descriptor(Sid::unix_user(u32::MAX), Sid::unix_user(5), vec![]).uid(), None, "that means no user");
    assert_eq!(descriptor(Sid::unix_user(5), Sid::unix_user(5), vec![]).gid(), None, "a user is no group");
    assert_eq!(descriptor(ANN, ANN, vec![allow(ALL, ADMINISTRATORS)]).mode(), None, "of no class of POSIX");
}

#[test]
fn a_mode_comes_from_entries_that_allow_and_deny() {
    let mode = |aces| descriptor(ANN, ADMINISTRATORS, aces).mode();
    assert_eq!(mode(vec![allow(ALL, ANN)]), Some(0o700));
    assert_eq!(mode(vec![allow(READ, EVERYONE)]), Some(0o444), "everyone is the owner and the group, too");
    assert_eq!(mode(vec![ace(ACCESS_DENIED, 0, 2, ANN), allow(ALL, ANN)]), Some(0o500));
    assert_eq!(mode(vec![ace(ACCESS_ALLOWED, INHERIT_ONLY, ALL, ANN), allow(READ, ANN)]), Some(0o400));
}

#[test]
fn an_ace_with_a_mode_is_replaced_and_every_other_one_stays() {
    let (before, untouched) = (of_windows(), of_windows().aces().to_vec());
    let once = before.with_mode(0o4751).unwrap();
    assert_eq!(once.mode(), Some(0o4751));
    let twice = once.with_mode(0o600).unwrap();
    assert_eq!(twice.aces().len(), untouched.len() + 1);
    assert_eq!(twice.aces()[1..], untouched[..], "byte for byte");
    assert_eq!(twice.aces()[0].simple, Some((Sid::unix_mode(0o600), 0)), "it gives and takes no access");
    let sent = Descriptor::parse(&twice.bytes(part::DACL)).unwrap();
    assert_eq!((sent.owner, sent.group, sent.dacl.clone()), (None, None, twice.dacl.clone()));
    assert_eq!(sent.control, 0x8504, "inherited entries stay inherited");
}

#[test]
fn a_list_is_not_made_where_everyone_has_access_without_one() {
    let open = Descriptor { dacl: None, ..of_windows() };
    assert_eq!(open.with_mode(0o600), None);
    let long = vec![allow(ALL, ANN); 65_535 / 36];
    assert_eq!(descriptor(ANN, ANN, long).with_mode(0o600), None, "no room for one more");
}

#[test]
fn owner_and_group_are_sent_without_a_list() {
    let owner = Descriptor::of_owner(Some(Sid::unix_user(7)), None);
    let sent = owner.bytes(part::OWNER);
    assert_eq!(sent.len(), FIXED + 8 + 12);
    let found = Descriptor::parse(&sent).unwrap();
    assert_eq!((found.uid(), found.group, found.dacl.clone(), found.control), (Some(7), None, None, 0x8000));
}

#[test]
fn the_entries_of_samba_take_a_mode_and_a_new_owner() {
    for mode in [0o750, 0o640, 0o604, 0o000, 0o777, 0o431] {
        let changed = of_samba().with_classes(mode).unwrap();
        assert_eq!(changed.mode(), Some(mode), "{mode:o}");
        let (_, mask) = changed.aces()[0].simple.unwrap();
        assert_eq!(mask & 0x000d_0000, 0x000d_0000, "the owner may always delete it and change its list");
        let (_, mask) = changed.aces()[2].simple.unwrap();
        assert!(mode & 7 != 0 || mask == 0, "nothing for others");
    }
    let [user, group] = [Sid::samba_user(5), Sid::samba_group(6)];
    let given = of_samba().handed_over(Some(user), None).unwrap();
    assert_eq!((given.uid(), given.gid(), given.mode()), (Some(5), Some(100), Some(0o750)));
    assert_eq!(given.granted(Some(Sid::samba_user(1000))), None, "nothing is left for the owner before");
    assert_eq!(of_samba().handed_over(None, Some(group)).unwrap().gid(), Some(6));
}

#[test]
fn what_a_directory_of_samba_hands_down_stays() {
    let [user, group, creator] = [Sid::samba_user(1), Sid::samba_group(2), Sid::new(3, [0])];
    let handed = ace(ACCESS_ALLOWED, 0x0b, ALL, creator);
    let aces = vec![allow(ALL, user), handed.clone(), allow(READ, group), ace(ACCESS_ALLOWED, 3, READ, EVERYONE)];
    let before = descriptor(user, group, aces);
    let after = before.with_classes(0o700).unwrap();
    assert_eq!((before.mode(), after.mode()), (Some(0o744), Some(0o700)));
    assert_eq!(after.aces()[3..], [handed, ace(ACCESS_ALLOWED, 0x0b, READ, EVERYONE)]);
}

#[test]
fn samba_repeats_the_entries_of_owner_and_group() {
    let [user, group] = [Sid::samba_user(1000), Sid::samba_group(100)];
    let [owner, grouped, everyone] = of_samba().aces().to_vec().try_into().unwrap();
    let twice = descriptor(user, group, vec![owner.clone(), grouped.clone(), grouped, owner, everyone]);
    assert_eq!(twice.mode(), Some(0o750));
    assert_eq!(twice.with_classes(0o640).unwrap().aces().len(), 3);
    let given = twice.handed_over(Some(Sid::samba_user(5)), Some(Sid::samba_group(6))).unwrap();
    assert!(given.granted(Some(user)).is_none() && given.granted(Some(group)).is_none());
}

#[test]
fn an_owner_in_the_stored_form_leaves_the_mode_to_the_entries_of_the_real_one() {
    let stored = of_samba().owned_by(Some(Sid::unix_user(5)), Some(Sid::unix_group(6)));
    assert_eq!((stored.uid(), stored.gid(), stored.mode()), (Some(5), Some(6), Some(0o750)));
    let changed = stored.with_classes(0o600).unwrap();
    assert_eq!(changed.mode(), Some(0o600));
    assert_eq!(changed.classes(), Some([Sid::samba_user(1000), Sid::samba_group(100)]));
}

#[test]
fn other_lists_than_those_of_samba_are_not_rewritten() {
    assert_eq!(of_windows().with_classes(0o600), None);
    assert_eq!(of_windows().handed_over(Some(ANN), None), None);
    let [user, group] = [Sid::samba_user(1), Sid::samba_group(2)];
    let three = |aces: [Ace; 3]| descriptor(user, group, aces.to_vec()).with_classes(0o600);
    assert!(three([allow(ALL, user), allow(READ, group), allow(READ, EVERYONE)]).is_some());
    assert_eq!(three([allow(ALL, user), allow(READ, ANN), allow(READ, EVERYONE)]), None, "of a stranger");
    assert_eq!(three([ace(ACCESS_DENIED, 0, 1, user), allow(READ, group), allow(READ, EVERYONE)]), None);
    assert_eq!(three([ace(0, 0x10, ALL, user), allow(READ, group), allow(READ, EVERYONE)]), None, "inherited");
    assert_eq!(three([allow(ALL, user), allow(READ, EVERYONE), allow(READ, EVERYONE)]), None, "none of the group");
    let named = vec![allow(ALL, user), allow(READ, group), allow(READ, EVERYONE), allow(ALL, ANN)];
    assert_eq!(descriptor(user, group, named).with_classes(0o600), None);
}

#[test]
fn a_mode_needs_all_its_numbers() {
    for sid in [Sid::new(5, [88, 3]), Sid::new(5, [88, 3, 0o600, 1]), Sid::new(6, [88, 3, 0o600])] {
        assert_eq!(descriptor(ANN, ANN, vec![allow(0, sid)]).stored_mode(), None, "{sid:?}");
    }
    let wide = Sid::new(5, [88, 3, 0o100_644]);
    assert_eq!(descriptor(ANN, ANN, vec![allow(0, wide)]).stored_mode(), Some(0o644), "no type of file");
}

#[test]
fn cut_descriptors_are_refused_or_have_no_more_than_they_say() {
    for descriptor in [of_samba(), of_windows()] {
        let bytes = whole(&descriptor);
        for length in 0..bytes.len() {
            assert!(Descriptor::parse(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }
}

#[test]
fn offsets_and_counts_are_not_trusted() {
    let bytes = whole(&of_samba());
    for at in [4, 8, 16] {
        for wrong in [1_u32, 19, bytes.len() as u32, bytes.len() as u32 - 1, u32::MAX] {
            let mut forged = bytes.clone();
            forged[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
            assert!(Descriptor::parse(&forged).is_err(), "{wrong} at {at}");
        }
    }
    let dacl = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    for (at, value) in [(2, u16::MAX), (4, u16::MAX), (ACL_HEADER + 2, 0), (ACL_HEADER + 2, u16::MAX)] {
        let mut forged = bytes.clone();
        forged[dacl + at..dacl + at + 2].copy_from_slice(&value.to_le_bytes());
        assert!(Descriptor::parse(&forged).is_err(), "{value} at {at}");
    }
    let mut forged = bytes;
    let owner = u32::from_le_bytes(forged[4..8].try_into().unwrap()) as usize;
    forged[owner + 1] = 16;
    assert!(Descriptor::parse(&forged).is_err(), "a SID of 16 parts");
}

#[test]
fn random_bytes_do_no_harm() {
    let mut state = 88_u64;
    let mut random = move |below: usize| {
        // A linear congruential generator (Knuth's MMIX), whose high bits are used.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let seeds = [whole(&of_samba()), whole(&of_windows())];
    for round in 0..20_000 {
        let mut bytes = seeds[round % 2].clone();
        for _ in 0..=random(5) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if let Ok(found) = Descriptor::parse(&bytes) {
            let _ = (found.uid(), found.gid(), found.mode());
            if let Some(changed) = found.with_mode(0o640) {
                assert_eq!(Descriptor::parse(&whole(&changed)).unwrap().mode(), Some(0o640));
            }
        }
    }
}

#[test]
fn a_list_without_room_for_another_entry_is_left_alone() {
    let filler = |length: usize| {
        let mut bytes = vec![0; length];
        (bytes[0], bytes[1], bytes[2], bytes[3]) = (ACCESS_ALLOWED, INHERIT_ONLY, length as u8, (length >> 8) as u8);
        Ace::parse(&bytes)
    };
    let own = of_samba();
    let mut aces: Vec<Ace> = own.aces().to_vec();
    for ace in &mut aces {
        ace.bytes[1] = INHERITABLE;
    }
    // What was inheritable stays so beside the new entries.
    let left = usize::from(u16::MAX) - length_of(&aces);
    let full = |length| Descriptor { dacl: Some((2, [&aces[..], &[filler(length)]].concat())), ..own.clone() };
    let (user, group) = (Sid::samba_user(1), Sid::samba_group(1));
    let roomy = full(1000);
    assert!(roomy.with_classes(0o600).is_some() && roomy.handed_over(Some(user), Some(group)).is_some());
    let full = full(left);
    assert_eq!(full.with_classes(0o600), None);
    assert_eq!(full.handed_over(Some(user), Some(group)), None);
    assert_eq!(full.with_mode(0o600), None);
}
