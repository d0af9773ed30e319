//! What is installed beside the program: manual pages, completions, the licences of the crates.

use crate::support::command::{run, run_with_input};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_cifs-fuse")).args(arguments), LIMIT).success().stdout
}

#[test]
fn the_manual_pages_are_formatted_without_a_warning() {
    for (section, name) in [("1", "CIFS-FUSE(1)"), ("8", "MOUNT.FUSE.CIFS(8)")] {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-Tascii", "-P-cbou"]);
        let page = run_with_input(&mut groff, printed(&["man", section]).as_bytes(), LIMIT).success();
        assert_eq!(page.stderr, "", "page {section}");
        // The text is justified.
        let words = page.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(name) && words.contains("33 the server refused the sign-in"), "{page}");
    }
}

/// The options of the table in docs/options.md.
#[test]
fn the_manual_pages_have_every_option_with_its_meaning() {
    let table = printed(&["--print-options-table"]);
    // The string that groff and mandoc show as an apostrophe.
    let [command, helper] = ["1", "8"].map(|section| printed(&["man", section]).replace("\\*(Aq", "'"));
    let mut count = 0;
    for row in table.lines().filter_map(|line| line.strip_prefix("| `--")) {
        let (head, meaning) = row.split_once("` |").unwrap();
        let name = head.split(' ').next().unwrap();
        let meaning = meaning.split('|').nth(1).unwrap().trim().replace('-', "\\-");
        let begins: String = meaning.chars().take(20).collect();
        assert!(command.contains(&format!("\\-\\-{}", name.replace('-', "\\-"))), "cifs-fuse.1: {name}");
        assert!(helper.contains(&format!("\\fB{}", name.replace('-', "_"))), "mount.fuse.cifs.8: {name}");
        assert!(command.contains(&begins) && helper.contains(&begins), "the meaning of {name}: {begins}");
        count += 1;
    }
    assert!(count > 20, "only {count} options were found in the table");
}

#[test]
fn bash_completes_a_long_option() {
    let script = printed(&["completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(cifs-fuse --read-b); COMP_CWORD=1\n\
         read -r _ _ function _ <<<\"$(complete -p cifs-fuse | sed 's/.* -F/x -F/')\"\n\
         \"$function\" cifs-fuse --read-b cifs-fuse; echo \"${{COMPREPLY[@]}}\"\n"
    );
    let completed = run(Command::new("bash").args(["--norc", "-c", &asked]), LIMIT).success();
    assert_eq!(completed.stdout.trim(), "--read-buffer-size");
}

/// bash is always there; the other shells where they are installed.
#[test]
fn the_shells_accept_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        if shell == "bash" || Path::new("/usr/bin").join(shell).exists() {
            let checked = run_with_input(Command::new(shell).args(["-n", "/dev/stdin"]), script.as_bytes(), LIMIT);
            assert_eq!(checked.success().stderr, "", "{shell}");
        }
    }
}

/// The list at the beginning of THIRD-PARTY-LICENSES is that of the crates in this build.
#[test]
fn the_licences_name_every_crate_of_the_program() {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--offline", "--locked", "--prefix=none"]);
    tree.args(["--target=x86_64-unknown-linux-gnu", "--edges=normal", "--format={p}"]);
    let tree = run(&mut tree, LIMIT).success().stdout;
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ").replace(" v", " ");
    let crates: BTreeSet<String> = tree.lines().map(name).filter(|name| !name.starts_with("cifs-fuse ")).collect();
    let (list, _) = include_str!("../../THIRD-PARTY-LICENSES").split_once("\n====").unwrap();
    let listed: BTreeSet<String> = list.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect();
    assert!(crates.len() > 100, "{} crates", crates.len());
    assert_eq!(listed, crates, "run contrib/third-party-licenses");
}
