//! docs/promises.md, "Who promises what": every line of its tables names the tests that check it, and these tests
//! exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/promises.md");
/// The macros that turn each listed function into a test on two servers.
const LISTINGS: [&str; 2] = ["both_servers!(", "both_sambas!("];

/// The tests that a text names: `` `module::name` `` as a filter of `cargo test`, but without the module of the server
/// kind.
fn named(text: &str) -> BTreeSet<&str> {
    let is_path =
        |word: &&str| word.contains("::") && word.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
    text.split('`').skip(1).step_by(2).filter(is_path).collect()
}

/// The files that may contain the functions of a module: one part is a file of these tests, more parts are a module of
/// the library or its tests.
fn sources(modules: &[&str]) -> Vec<String> {
    if let [module] = modules {
        return vec![format!("tests/it/{module}.rs")];
    }
    let path = modules.join("/");
    let mut sources = vec![format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
    if let [above @ .., module, "tests"] = modules {
        let above = above.join("/");
        sources.extend([
            format!("src/{above}/{module}.rs"),
            format!("src/{above}/{module}/mod.rs"),
            format!("src/{above}/tests/{module}.rs"),
        ]);
    }
    sources
}

/// Whether a source has a test of this name, for one server or for two.
fn has_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut before = "";
    for line in source.lines().map(str::trim_start) {
        if line.strip_prefix("async ").unwrap_or(line).starts_with(&function) {
            let is_listed = |list: &str| list.split(',').any(|listed| listed.trim() == name);
            let lists = |listing| source.split_once(listing).and_then(|(_, list)| Some(list.split_once(");")?.0));
            let on_both = LISTINGS.into_iter().filter_map(lists).any(is_listed);
            return on_both || before.starts_with("#[test]") || before.starts_with("#[tokio::test");
        }
        before = line;
    }
    false
}

#[test]
fn every_test_that_the_page_names_exists() {
    let tests = named(PAGE);
    assert!(tests.len() > 20, "only {} tests are found in the page", tests.len());
    for test in tests {
        let modules: Vec<&str> = test.split("::").collect();
        let (name, modules) = modules.split_last().unwrap();
        let sources = sources(modules);
        let exists = |source: &String| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
            fs::read_to_string(source).is_ok_and(|source| has_test(&source, name))
        };
        assert!(sources.iter().any(exists), "there is no test {test} in {sources:?}");
    }
}

#[test]
fn every_line_of_the_tables_names_a_test() {
    let mut lines = PAGE.lines().filter(|line| line.starts_with('|')).peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if !is_head && !line.starts_with("|---") {
            assert!(!named(line).is_empty(), "this line names no test: {line}");
            count += 1;
        }
    }
    assert!(count > 20, "only {count} lines are found in the page");
}

#[test]
fn the_readme_links_to_the_page() {
    assert!(include_str!("../../README.md").contains("(docs/promises.md)"));
}

#[test]
fn only_functions_that_are_tests_count_as_tests() {
    let source = "both_servers!(on_both);\nfn on_both(kind: Kind) {}\nboth_sambas!(\n    on_sambas,\n);\n\
        fn on_sambas(kind: Kind) {}\n#[test]\nfn alone() {}\nfn helper() {}\n\
        #[tokio::test(start_paused = true)]\nasync fn waits() {}\n";
    let found = ["on_both", "on_sambas", "alone", "helper", "waits", "none"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, true, false, true, false]);
    assert_eq!(named("of `a::b` and `c`, `d::e::f`; not a::g"), BTreeSet::from(["a::b", "d::e::f"]));
}
