//! The README and the pages below docs/ are true where a machine can check them: each statement of the semantics and of
//! the promises names the tests that check it, and these tests exist; the drawing of the rooms is the one that the imports
//! show; links lead somewhere; the README is short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages whose tables are statements, each with the tests that check it.
const STATEMENTS: [&str; 2] = ["docs/semantics.md", "docs/promises.md"];
/// The most words of the README, as wc(1) counts them: more than that no newcomer reads.
const README_WORDS: usize = 1200;
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

/// A file of this package.
fn file(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: impl AsRef<Path>) -> String {
    let path = file(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and all pages, by their paths.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(file("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([file("README.md"), file("systemd/README.md")]).collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    for page in pages() {
        for test in named(&text(&page)) {
            let modules: Vec<&str> = test.split("::").collect();
            let (name, modules) = modules.split_last().unwrap();
            let sources = sources(modules);
            let exists = |source: &String| fs::read_to_string(file(source)).is_ok_and(|source| has_test(&source, name));
            assert!(sources.iter().any(exists), "{}: there is no test {test} in {sources:?}", page.display());
        }
    }
}

#[test]
fn every_statement_names_a_test() {
    for page in STATEMENTS {
        let text = text(page);
        let mut lines = text.lines().filter(|line| line.starts_with('|')).peekable();
        let mut count = 0;
        while let Some(line) = lines.next() {
            let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
            if !is_head && !line.starts_with("|---") {
                assert!(!named(line).is_empty(), "{page}: this line names no test: {line}");
                count += 1;
            }
        }
        assert!(count > 20, "{page}: only {count} lines are found");
    }
}

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let readme = text("README.md");
    let words = readme.split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
    for page in pages().iter().filter_map(|page| page.strip_prefix(file("docs")).ok().map(Path::to_owned)) {
        let link = format!("(docs/{})", page.display());
        assert!(readme.contains(&link), "the README has no link {link}");
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for page in pages() {
        let text = text(&page);
        for target in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                let target = page.parent().unwrap().join(path);
                assert!(target.exists(), "{}: {path} does not exist", page.display());
            }
        }
    }
}

/// The rooms from top to bottom, as src/lib.rs lists them.
const ROOMS: [&str; 9] = ["cli", "mount", "fuse", "vfs", "cache", "share", "wire", "config", "telemetry"];

/// The source files of a room or of a folder in it, without those that only tests compile.
fn sources_of(folder: &Path) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut only_tests = BTreeSet::from(["tests".to_owned()]);
    for source in files.iter().filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()) {
        let after_test = source.lines().zip(source.lines().skip(1)).filter(|(line, _)| line.trim() == "#[cfg(test)]");
        only_tests.extend(after_test.filter_map(|(_, next)| {
            let (_, module) = next.split_once("mod ")?;
            Some(module.trim_end_matches([';', '{', ' ']).to_owned())
        }));
    }
    let is_product = |path: &&PathBuf| !only_tests.contains(&*path.file_stem().unwrap().to_string_lossy());
    let (folders, files): (Vec<_>, Vec<_>) = files.iter().filter(is_product).partition(|path| path.is_dir());
    files.into_iter().cloned().chain(folders.into_iter().flat_map(|folder| sources_of(folder))).collect()
}

/// The other rooms that the code of a room names.
fn imports(room: &str) -> Vec<&'static str> {
    let sources = sources_of(&file("src").join(room));
    let code: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).map(product).collect();
    let is_named = |other: &&str| *other != room && code.contains(&format!("crate::{other}"));
    let grouped = code.split("use crate::{").skip(1).filter_map(|rest| Some(rest.split_once("};")?.0));
    let grouped: Vec<&str> = grouped.flat_map(|group| group.split([',', '{', ':', ' ', '\n'])).collect();
    ROOMS.into_iter().filter(|other| is_named(other) || (*other != room && grouped.contains(other))).collect()
}

/// The lines of a source that are neither comments nor in its module of tests.
fn product(source: String) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_drawing_of_the_rooms_is_the_one_that_the_imports_show() {
    let page = text("docs/architecture.md");
    let (_, rest) = page.split_once("<!-- rooms: begin -->\n").expect("the beginning of the table");
    let (drawn, _) = rest.split_once("<!-- rooms: end -->").expect("the end of the table");
    let row = |room: &&str| format!("| {room} | {} |\n", imports(room).join(", ")).replace("|  |", "| |");
    let shown: String = ROOMS.iter().map(row).collect();
    assert_eq!(drawn, format!("| room | imports |\n|---|---|\n{shown}"), "the imports of the sources are on the right");
    for (number, room) in ROOMS.iter().enumerate() {
        let above: Vec<_> = imports(room).into_iter().filter(|other| ROOMS[..number].contains(other)).collect();
        assert!(above.is_empty(), "{room} imports {above:?}, which are above it");
    }
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
