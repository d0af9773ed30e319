//! Which ways are tried, and what is learnt of them.

use super::*;
use crate::share::types::FileTime;

const OWNER: Ownership = Ownership { uid: Some(5), gid: Some(6), mode: None };
const MODE: Ownership = Ownership { uid: None, gid: None, mode: Some(0o600) };

/// The descriptor of a server without own users, and without a list.
fn foreign() -> Descriptor {
    Descriptor::of_owner(None, None)
}

fn samba() -> Descriptor {
    Descriptor::of_owner(Some(Sid::samba_user(1)), Some(Sid::samba_group(2)))
}

const STORED: Way = Way { owner: Some(Form::Stored), mode: None };
const ENTRY: Way = Way { owner: None, mode: Some(Place::Entry) };

#[test]
fn owner_and_mode_are_sent_together_and_then_alone() {
    let known = OwnersKept::default();
    let both = Way { owner: Some(Form::Stored), mode: Some(Place::Entry) };
    assert_eq!(known.ways(&foreign(), OWNER.over(MODE)), [both, ENTRY]);
    assert_eq!(known.ways(&foreign(), MODE), [ENTRY]);
    let as_own = Way { owner: Some(Form::Samba), mode: None };
    assert_eq!(known.ways(&samba(), OWNER), [as_own, STORED]);
}

#[test]
fn what_the_server_cannot_keep_is_not_sent_again() {
    let known = OwnersKept::default();
    known.answered(STORED, Answer::Impossible);
    assert_eq!(known.ways(&foreign(), OWNER.over(MODE)), [ENTRY]);
    known.answered(STORED, Answer::Stored);
    assert_eq!(known.ways(&foreign(), OWNER), [], "it stays so");
    known.answered(Way { owner: Some(Form::Samba), mode: None }, Answer::Impossible);
    assert!(!known.may_keep(OWNER) && known.may_keep(MODE), "not even the descriptor is read");
}

#[test]
fn a_denial_counts_only_in_a_row_with_others() {
    let known = OwnersKept::default();
    for _ in 0..3 * DENIALS {
        known.answered(ENTRY, Answer::Denied);
        known.answered(ENTRY, Answer::Stored);
    }
    assert_eq!(known.ways(&foreign(), MODE), [ENTRY], "another file's list may allow it");
    for _ in 0..DENIALS {
        known.answered(ENTRY, Answer::Denied);
    }
    assert_eq!(known.ways(&foreign(), MODE), []);
}

#[test]
fn descriptors_are_kept_for_a_short_time_and_in_a_bounded_number() {
    let (known, now) = (OwnersKept::default(), Instant::now());
    let file = |file_id| FileIdentity { file_id, created: FileTime(1) };
    let descriptor = Arc::new(foreign());
    for id in 0..=KEPT as u64 + 1 {
        known.learn(file(id), &descriptor, now);
    }
    assert_eq!(known.recent.lock().len(), KEPT);
    assert!(known.fresh(file(KEPT as u64), now).is_some());
    assert!(known.fresh(file(0), now).is_none(), "without an id no file is known");
    assert!(known.fresh(file(1), now).is_none(), "the oldest");
    assert!(known.fresh(file(KEPT as u64), now + FRESH).is_none());
}
