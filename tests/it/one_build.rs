//! The demo, the tests and the program are one build: what one of them has compiled, the others use.

use crate::support::command::run;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Every crate of a build with the features that it is compiled with. A crate that is compiled for the program and for a macro too
/// has two sets.
fn crates(kinds: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--offline", "--locked", "--prefix=none"]);
    let tree = run(tree.args(["--edges", kinds, "--format={p}|{f}"]), LIMIT).success();
    let mut crates = BTreeMap::<String, BTreeSet<String>>::new();
    for line in tree.stdout.lines() {
        let (name, features) = line.trim_end_matches(" (*)").split_once('|').expect("the format that was asked for");
        crates.entry(name.to_owned()).or_default().insert(features.to_owned());
    }
    assert!(crates.keys().any(|name| name.starts_with("tokio v")), "no tree: {:?}", crates.keys());
    crates
}

/// `cargo build` after tests/demo compiles the program, and none of its dependencies a second time.
#[test]
fn the_demo_and_the_tests_compile_no_crate_of_the_program_otherwise() {
    let (program, everything) = (crates("normal,build"), crates("normal,build,dev"));
    assert!(everything.len() > program.len(), "the demo's server is a development dependency");
    for (name, features) in &program {
        let other = &everything[name];
        assert!(features.is_subset(other), "{name}: with {other:?}, in [dependencies] with {features:?} only");
    }
}

/// The least version of Rust stands in the manifest, from where cargo and tests/packages.sh take it, and in the README.
#[test]
fn the_readme_names_the_least_version_of_rust() {
    let least = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(include_str!("../../README.md").contains(&least), "the README does not say {least:?}");
}
