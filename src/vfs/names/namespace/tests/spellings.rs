//! Names that differ only in case.

use super::*;

#[test]
fn another_spelling_of_a_known_name_is_recognised() {
    let mut known = Names::unwatchable(CacheMode::Strict, &["Photos", "a", "A"]);
    let is_other = |known: &Names, name: &str| known.space.is_other_spelling(ROOT, &units(name));
    assert!(is_other(&known, "photos"));
    // On a server that ignores case, it is found under the other spelling too, and still is another spelling.
    known.found("photos", file(id("Photos")), 1);
    assert!(is_other(&known, "photos"));
    for name in ["Photos", "a", "A", "other"] {
        assert!(!is_other(&known, name), "{name}");
    }
    known.remove("Photos", 2);
    known.absent("photos", 3);
    assert!(!is_other(&known, "PHOTOS"), "nothing has any of these names");
}

#[test]
fn the_kernel_does_not_cache_another_spelling() {
    let mut known = Names::unwatchable(CacheMode::Strict, &["Photos"]);
    let photos = known.found("Photos", folder(5), 1);
    let respelt = known.found("photos", folder(5), 1);
    assert_ne!(photos, respelt);
    let ttl = |known: &Names, ino| known.space.attr(ino, known.at(2)).unwrap().name_ttl;
    assert!(!ttl(&known, photos).is_zero());
    assert!(ttl(&known, respelt).is_zero());
}

#[test]
fn a_directory_is_within_itself_by_any_spelling() {
    let mut known = Names::strict();
    let photos = known.found("Photos", folder(5), 0);
    let respelt = known.found("photos", folder(5), 0);
    let other = known.found("other", folder(9), 0);
    known.directory = respelt;
    let below = known.found("below", folder(8), 0);
    for inside in [photos, respelt, below] {
        assert!(known.space.is_within_any_spelling(inside, photos));
    }
    assert!(!known.space.is_within_any_spelling(other, photos) && !known.space.is_within_any_spelling(ROOT, photos));
}
