use super::*;
use crate::share::FileTime;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

const TIMEOUT: Duration = Duration::from_secs(1);
const KEY: u64 = 7;
const INO: u64 = 70;

#[derive(Clone, Debug)]
struct Watcher {
    id: u64,
    armed: Rc<Cell<bool>>,
    lease: Option<LeaseKey>,
}

impl Followed for Watcher {
    fn is_armed(&self) -> bool {
        self.armed.get()
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn lease(&self) -> Option<LeaseKey> {
        self.lease
    }
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn metadata(size: u64) -> Metadata {
    Metadata { size, modified: FileTime(size), ..Metadata::default() }
}

fn change(name: &str, kind: ChangeKind) -> DirChange {
    DirChange { name: units(name), kind }
}

struct Known {
    catalogue: Catalogue<Watcher>,
    start: Instant,
    armed: Rc<Cell<bool>>,
}

impl Known {
    fn nothing() -> Known {
        Known { catalogue: Catalogue::new(), start: Instant::now(), armed: Rc::new(Cell::new(true)) }
    }

    /// A directory that was listed at the start, and is watched.
    fn watched(names: &[&str]) -> Known {
        let mut known = Known::nothing();
        known.list(names, 0, true);
        known.catalogue.begun(KEY, 1, known.start);
        known.list(names, 0, false);
        known
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    fn list(&mut self, names: &[&str], at: u64, watch: bool) {
        let entries: Vec<_> = names.iter().map(|name| (units(name), metadata(name.len() as u64))).collect();
        let begun = (self.catalogue.ticket(), self.at(at));
        let watch = watch.then(|| Watcher { id: 1, armed: Rc::clone(&self.armed), lease: None });
        self.catalogue.listed((KEY, INO), entries, begun, watch);
    }

    fn look(&mut self, name: &str, at: u64) -> Option<bool> {
        let now = self.at(at);
        match self.catalogue.look(KEY, &units(name), now, TIMEOUT) {
            Look::Present { .. } => Some(true),
            Look::Absent => Some(false),
            Look::Unknown => None,
        }
    }

    fn told(&mut self, changes: &[DirChange], at: u64) -> Vec<DirChange> {
        let now = self.at(at);
        self.catalogue.told((KEY, 1), changes.to_vec(), now, |_, own| is_recent(own, now))
    }

    fn create(&mut self, name: &str, at: u64) {
        let now = self.at(at);
        self.catalogue.changed(KEY, &units(name), now, Some(Some(metadata(1))));
    }
}

#[test]
fn what_was_listed_is_believed_for_the_timeout() {
    let mut known = Known::nothing();
    known.list(&["a"], 0, false);
    assert_eq!((known.look("a", 999), known.look("b", 999)), (Some(true), Some(false)));
    assert_eq!((known.look("a", 1000), known.look("b", 1000)), (None, None));
    assert!(known.catalogue.everything(KEY, known.at(999), TIMEOUT).is_some());
    assert!(known.catalogue.everything(KEY, known.at(1000), TIMEOUT).is_none());
}

#[test]
fn a_watch_makes_it_true_for_longer_but_not_for_ever() {
    let mut known = Known::watched(&["a"]);
    assert_eq!((known.look("a", 50_000), known.look("b", 50_000)), (Some(true), Some(false)));
    assert_eq!((known.look("a", 61_000), known.look("b", 61_000)), (None, None));
}

#[test]
fn what_is_too_old_is_not_believed_again_when_the_watch_ends() {
    let mut known = Known::watched(&["a"]);
    assert_eq!(known.told(&[], 100_000), []);
    known.catalogue.lost(KEY, 1);
    assert_eq!((known.look("a", 100_001), known.look("b", 100_001)), (None, None));
}

#[test]
fn a_watch_of_which_nobody_knows_when_it_began_proves_nothing() {
    let mut known = Known::nothing();
    known.list(&["a"], 0, true);
    assert_eq!(known.look("a", 2000), None);
    known.list(&["a"], 2000, false);
    assert_eq!(known.look("a", 9000), None);
    known.catalogue.begun(KEY, 1, known.at(9000));
    known.list(&["a"], 8999, false);
    assert_eq!(known.look("a", 10_000), None, "asked for before");
    known.list(&["a"], 10_000, false);
    assert_eq!(known.look("a", 20_000), Some(true));
}

#[test]
fn names_that_have_not_changed_before_the_watch_began_are_known_but_not_what_they_mean() {
    let mut known = Known::nothing();
    known.list(&["a"], 0, true);
    assert!(known.catalogue.begun(KEY, 1, known.at(700)));
    known.catalogue.confirm(KEY, 1);
    assert_eq!((known.look("a", 2000), known.look("b", 2000)), (None, Some(false)));
    assert!(known.catalogue.everything(KEY, known.at(2000), TIMEOUT).is_none());
    known.list(&["a"], 2000, false);
    assert_eq!((known.look("a", 9000), known.look("b", 9000)), (Some(true), Some(false)));
}

#[test]
fn a_lease_vouches_from_the_listing_on_unless_it_was_broken_meanwhile() {
    for armed in [true, false] {
        let mut known = Known::nothing();
        known.armed.set(armed);
        let lease = Some(LeaseKey(7));
        let watch = Watcher { id: 1, armed: Rc::clone(&known.armed), lease };
        let begun = (known.catalogue.ticket(), known.start);
        known.catalogue.listed((KEY, INO), [(units("a"), metadata(1))], begun, Some(watch));
        assert_eq!(known.look("a", 2000), armed.then_some(true));
        assert_eq!(known.look("a", 6000), None, "the server's own disk is another matter");
    }
}

#[test]
fn between_an_answer_and_the_next_question_time_counts() {
    let mut known = Known::watched(&["a"]);
    assert_eq!(known.told(&[], 5000), []);
    known.armed.set(false);
    assert_eq!(known.look("a", 5999), Some(true));
    assert_eq!(known.look("a", 6000), None);
    known.armed.set(true);
    assert_eq!(known.look("a", 6000), Some(true));
}

#[test]
fn what_somebody_else_changes_is_not_known_any_more() {
    let mut known = Known::watched(&["a", "b"]);
    let changes = [change("a", ChangeKind::Modified), change("new", ChangeKind::Added)];
    assert_eq!(known.told(&changes, 5000), changes);
    assert_eq!((known.look("a", 5000), known.look("new", 5000)), (None, None));
    assert_eq!((known.look("b", 5000), known.look("c", 5000)), (Some(true), Some(false)));
    let asked = (known.catalogue.ticket(), known.at(5100));
    known.catalogue.saw(KEY, &units("a"), Some(metadata(5)), asked);
    known.catalogue.saw(KEY, &units("new"), Some(metadata(6)), asked);
    assert_eq!((known.look("a", 20_000), known.look("new", 20_000)), (Some(true), Some(true)));
}

#[test]
fn own_changes_are_known_and_their_echo_changes_nothing() {
    let mut known = Known::watched(&["a"]);
    known.create("mine", 5000);
    known.catalogue.changed(KEY, &units("a"), known.at(5000), Some(None));
    assert_eq!((known.look("mine", 5500), known.look("a", 5500)), (Some(true), Some(false)));
    let echo = [change("mine", ChangeKind::Added), change("a", ChangeKind::Removed)];
    assert_eq!(known.told(&echo, 5600), []);
    assert_eq!((known.look("mine", 5900), known.look("a", 5900)), (Some(true), Some(false)));
    // It might have been somebody else's after all.
    assert_eq!((known.look("mine", 6000), known.look("a", 6000)), (None, None));
    known.list(&["mine"], 6000, false);
    assert_eq!((known.look("mine", 20_000), known.look("a", 20_000)), (Some(true), Some(false)));
    assert_eq!(known.told(&[change("mine", ChangeKind::Removed)], 20_000).len(), 1, "nothing of mine was so late");
}

#[test]
fn an_answer_from_before_a_change_is_not_believed() {
    let mut known = Known::watched(&["a"]);
    let asked = (known.catalogue.ticket(), known.at(100));
    known.catalogue.changed(KEY, &units("a"), known.at(200), Some(None));
    known.create("b", 200);
    known.catalogue.saw(KEY, &units("a"), Some(metadata(1)), asked);
    known.catalogue.saw(KEY, &units("b"), None, asked);
    assert_eq!((known.look("a", 300), known.look("b", 300)), (Some(false), Some(true)));
    let entries = [(units("a"), metadata(1)), (units("c"), metadata(1))];
    known.catalogue.listed((KEY, INO), entries, asked, None);
    assert_eq!(
        (known.look("a", 300), known.look("b", 300), known.look("c", 300)),
        (Some(false), Some(true), Some(true))
    );
}

#[test]
fn a_listing_that_is_overtaken_by_another_says_nothing() {
    let mut known = Known::nothing();
    known.list(&["a", "b"], 2000, true);
    known.list(&["a", "c"], 1000, false);
    assert_eq!((known.look("b", 2500), known.look("c", 2500)), (Some(true), Some(false)));
    assert_eq!(known.look("a", 9000), None, "the watch began after it");
    known.list(&["a", "c"], 1000, true);
    assert_eq!(known.catalogue.take_ended().len(), 1);
    assert_eq!(known.look("b", 2500), Some(true));
}

#[test]
fn a_failure_leaves_a_name_unknown() {
    let mut known = Known::watched(&["a"]);
    known.catalogue.changed(KEY, &units("a"), known.at(10), None);
    known.catalogue.changed(KEY, &units("b"), known.at(10), None);
    assert_eq!((known.look("a", 20), known.look("b", 20)), (None, None));
    assert!(known.catalogue.everything(KEY, known.at(20), TIMEOUT).is_none());
}

#[test]
fn other_spellings_are_for_the_server_to_judge() {
    let mut known = Known::watched(&["Readme", "\u{212A}elvin"]);
    for name in ["README", "readme", "kelvin", "Grüße", "LONGNA~1"] {
        assert_eq!(known.look(name, 10), None, "{name}");
    }
    assert_eq!(known.look("readme2", 10), Some(false));
    // The server found the file under another spelling: that is no second entry.
    known.catalogue.saw(KEY, &units("README"), Some(metadata(1)), (known.catalogue.ticket(), known.at(20)));
    assert_eq!(known.catalogue.everything(KEY, known.at(30), TIMEOUT).unwrap().len(), 2);
    // It removed it under another spelling.
    known.catalogue.changed(KEY, &units("README"), known.at(40), Some(None));
    assert!(known.catalogue.everything(KEY, known.at(50), TIMEOUT).is_none());
    assert_eq!(known.look("readme2", 50), None);
}

#[test]
fn a_directory_that_was_made_is_empty() {
    let mut known = Known::nothing();
    known.catalogue.made(KEY, INO, known.start);
    assert_eq!(known.look("a", 10), Some(false));
    known.create("a", 20);
    assert_eq!(known.look("a", 30), Some(true));
    assert_eq!(known.catalogue.everything(KEY, known.at(40), TIMEOUT).unwrap().len(), 1);
    assert_eq!(known.look("b", 1000), None);
}

#[test]
fn names_that_are_asked_for_one_by_one_are_counted() {
    let mut known = Known::nothing();
    let missed = |known: &mut Known, name| known.catalogue.missed((KEY, INO), &units(name));
    for _ in 0..MISSES {
        assert!(!missed(&mut known, "a"));
    }
    assert!(missed(&mut known, "a"));
    known.catalogue.spare(KEY);
    assert!((0..9).all(|_| !missed(&mut known, "a")));
    // It is known to be short.
    known.list(&["a"], 0, false);
    assert!(missed(&mut known, "a") && missed(&mut known, "b"));
    assert!(!missed(&mut known, "A") && !missed(&mut known, "a~"), "that is not listed");
}

#[test]
fn an_absent_name_may_come_as_another_spelling() {
    let mut known = Known::watched(&["a", "b"]);
    let asked = (known.catalogue.ticket(), known.at(10));
    for name in ["a", "b", "c~1"] {
        known.catalogue.saw(KEY, &units(name), None, asked);
        assert_eq!(known.look(name, 20), Some(false));
    }
    assert_eq!((known.look("a", 5000), known.look("c~1", 5000)), (Some(false), None));
    known.told(&[change("A", ChangeKind::Added)], 5000);
    known.create("B", 5000);
    assert_eq!((known.look("a", 5000), known.look("b", 5000)), (None, None));
    // What the server then finds is no second entry.
    for name in ["A", "a", "b", "c~1"] {
        let asked = (known.catalogue.ticket(), known.at(5010));
        known.catalogue.saw(KEY, &units(name), Some(metadata(1)), asked);
    }
    let names = known.catalogue.everything(KEY, known.at(5020), TIMEOUT).unwrap();
    assert_eq!(names.into_iter().map(|(name, ..)| name).collect::<Vec<_>>(), [units("A"), units("B")]);
}

#[test]
fn who_loses_count_has_told_until_then() {
    let mut known = Known::watched(&["a"]);
    known.told(&[], 5000);
    known.catalogue.lost(KEY, 1);
    assert_eq!(known.look("a", 5999), Some(true));
    assert_eq!(known.look("a", 6000), None);
    // A listing that began before proves nothing, one that begins now does.
    known.catalogue.confirm(KEY, 1);
    assert_eq!(known.look("a", 6000), None);
    known.list(&["a"], 6000, false);
    assert_eq!(known.look("a", 9000), Some(true));
    known.catalogue.unwatched(KEY, 1);
    assert_eq!(known.look("a", 9000), None);
    assert_eq!(known.catalogue.take_ended().len(), 1);
    assert!(!known.catalogue.is_watched(KEY));
}

#[test]
fn what_a_node_knew_last_is_kept() {
    let mut known = Known::watched(&["a"]);
    known.catalogue.returned(KEY, &units("a"), Some((metadata(99), known.at(10))));
    let found = known.catalogue.look(KEY, &units("a"), known.at(20), TIMEOUT);
    assert_eq!(found, Look::Present { metadata: metadata(99), fetched: known.at(10) });
    known.catalogue.returned(KEY, &units("a"), None);
    assert_eq!(known.look("a", 20), None);
}

#[test]
fn everything_has_bounds() {
    let mut known = Known::nothing();
    let start = known.start;
    for key in 0..MAX_WATCHES as u64 + 5 {
        let watch = Watcher { id: key, armed: Rc::default(), lease: None };
        let asked = (known.catalogue.ticket(), start);
        known.catalogue.listed((key, key), [(units("a"), metadata(1))], asked, Some(watch));
    }
    let ended: Vec<u64> = known.catalogue.take_ended().iter().map(Followed::id).collect();
    assert_eq!(ended, [0, 1, 2, 3, 4]);
    for key in 0..MAX_DIRECTORIES as u64 + 5 {
        known.catalogue.made(10_000 + key, key, start);
    }
    assert_eq!(known.catalogue.take_ended().len(), MAX_WATCHES);
    let many = (0..MAX_ENTRIES as u64).map(|number| (units(&format!("{number}")), metadata(number)));
    known.catalogue.listed((1, 1), many, (known.catalogue.ticket(), start), None);
    assert_eq!(known.catalogue.entries, MAX_ENTRIES);
    known.catalogue.changed(1, &units("more"), start, Some(Some(metadata(1))));
    assert!(known.catalogue.entries <= MAX_ENTRIES);
}

/// What may happen to a directory that is watched.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody else makes or removes a name; the watch tells of it later.
    Foreign(u8, bool),
    /// This mount does.
    Own(u8, bool),
    /// The watch tells what it has to tell.
    Tell,
    /// The directory is listed.
    List,
    /// A name is asked for.
    Ask(u8),
    /// Time passes, in milliseconds.
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, any::<bool>()).prop_map(|(name, there)| Step::Foreign(name, there)),
        (0..4u8, any::<bool>()).prop_map(|(name, there)| Step::Own(name, there)),
        Just(Step::Tell),
        Just(Step::List),
        (0..4u8).prop_map(Step::Ask),
        (0..1500u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is believed was true at some time within the timeout.
    #[test]
    fn nothing_is_believed_that_is_older_than_the_timeout(steps in proptest::collection::vec(step(), 1..60)) {
        let mut known = Known::watched(&["0", "1"]);
        // For each name since when it is there or not there, and what was so before.
        let mut truth: BTreeMap<u8, (bool, u64, bool)> = (0..4).map(|name| (name, (name < 2, 0, name < 2))).collect();
        let (mut untold, mut now) = (Vec::new(), 10_000u64);
        known.told(&[], now);
        for step in steps {
            match step {
                Step::Foreign(name, there) | Step::Own(name, there) => {
                    let is_own = matches!(step, Step::Own(..));
                    let before = truth[&name];
                    if before.0 != there {
                        truth.insert(name, (there, now, before.0));
                        let kind = if there { ChangeKind::Added } else { ChangeKind::Removed };
                        untold.push(change(&name.to_string(), kind));
                        known.armed.set(false);
                    }
                    if is_own {
                        let found = there.then(|| metadata(1));
                        known.catalogue.changed(KEY, &units(&name.to_string()), known.at(now), Some(found));
                    }
                }
                Step::Tell => {
                    known.told(&std::mem::take(&mut untold), now);
                    known.armed.set(true);
                }
                Step::List => {
                    let names: Vec<String> = truth.iter().filter(|(_, state)| state.0).map(|(n, _)| n.to_string()).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    known.list(&names, now, false);
                }
                Step::Ask(name) => {
                    let asked = (known.catalogue.ticket(), known.at(now));
                    let found = truth[&name].0.then(|| metadata(1));
                    known.catalogue.saw(KEY, &units(&name.to_string()), found, asked);
                }
                Step::Wait(milliseconds) => now += u64::from(milliseconds),
            }
            for (name, (there, since, before)) in &truth {
                if let Some(believed) = known.look(&name.to_string(), now) {
                    let was_so = *before == believed && now - since < 1000;
                    prop_assert!(believed == *there || was_so, "{name} at {now}");
                }
            }
        }
    }
}

#[test]
fn a_lease_that_is_broken_ends_its_own_watch() {
    let mut known = Known::nothing();
    for key in [KEY, KEY + 1] {
        let lease = Some(LeaseKey(u128::from(key)));
        let watch = Watcher { id: key, armed: Rc::clone(&known.armed), lease };
        let begun = (known.catalogue.ticket(), known.at(0));
        known.catalogue.listed((key, INO), [(units("a"), metadata(1))], begun, Some(watch));
        known.catalogue.confirm(key, key);
    }
    assert_eq!(known.look("a", 5_000), Some(true));
    let ended = known.catalogue.end_leased(LeaseKey(u128::from(KEY))).map(|watch| watch.id);
    assert_eq!(ended, Some(KEY));
    assert_eq!((known.look("a", 5_000), known.look("b", 5_000)), (None, None), "who knows what has changed");
    assert_eq!((known.catalogue.is_watched(KEY), known.catalogue.is_watched(KEY + 1)), (false, true));
    assert_eq!(known.catalogue.take_ended().len(), 1);
    assert!(known.catalogue.end_leased(LeaseKey(u128::from(KEY))).is_none(), "a break that comes twice");
}
