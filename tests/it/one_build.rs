//! The demo, the tests and the program share one build: a crate compiled for one of them is not compiled again for
//! another.

use crate::support::command::run;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// The crates of a build, each with the sets of features that it is compiled with. A crate that is compiled for the
/// program and also for a macro has two sets.
fn crates(kinds: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--offline", "--locked", "--prefix=none"]);
    let tree = run(tree.args(["--edges", kinds, "--format={p}|{f}"]), LIMIT).success();
    let mut crates = BTreeMap::<String, BTreeSet<String>>::new();
    for line in tree.stdout.lines() {
        let (name, features) = line.trim_end_matches(" (*)").split_once('|').expect("the format that was requested");
        crates.entry(name.to_owned()).or_default().insert(features.to_owned());
    }
    assert!(crates.keys().any(|name| name.starts_with("tokio v")), "no tree: {:?}", crates.keys());
    crates
}

/// After tests/demo, `cargo build` compiles the program but none of its dependencies again.
#[test]
fn the_demo_and_the_tests_compile_crates_with_the_features_of_the_program() {
    let (program, everything) = (crates("normal,build"), crates("normal,build,dev"));
    assert!(everything.len() > program.len(), "the demo's server must be a development dependency");
    for (name, features) in &program {
        let other = &everything[name];
        assert!(features.is_subset(other), "{name}: built with {other:?}, but [dependencies] has only {features:?}");
    }
}

/// The minimum version of Rust is in the manifest, which cargo and tests/packages.sh read, and in the README.
#[test]
fn the_readme_names_the_minimum_version_of_rust() {
    let least = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(include_str!("../../README.md").contains(&least), "the README does not say {least:?}");
}
