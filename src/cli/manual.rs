//! `cifs-fuse man [1|8]`: the manual pages, made from the definition of the options and the texts of the help.
//!
//! Page 1 is for the command, page 8 for the mount helper: mount(8) and fstab(5) with `-o`.

use super::args::{self, is_switch, mount_options};
use super::error::CliError;
use super::help::{Block, sections};
use super::subcommands::SUBCOMMANDS;
use clap::{Arg, Command, CommandFactory, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// The first argument.
pub(super) const COMMAND: &str = "man";
/// The heading of the help whose text both pages have.
const EXIT_CODES: &str = "Exit codes";

const HELPER: &str = "\
mount(8) calls this program for the type fuse.cifs, by hand and for the lines of fstab(5). Without the link \
/sbin/mount.fuse.cifs the type is fuse.cifs-fuse, which mount.fuse3(8) knows.
The command returns when the mount works; a process in the background serves it. Put user name and password into a file \
of mode 0600 that credentials= names; /etc/fstab can be read by every user.
_netdev orders the mount after the network. nofail lets the boot continue without it, x-systemd.automount mounts at the \
first use, and restart mounts again if the process is killed.
In fstab(5), a space in the URL or the directory is written \\040; in the URL, %20 works as well.";

const EXAMPLES: &[&str] = &[
    "cifs://nas/media /mnt/media fuse.cifs _netdev,nofail,allow_other,\\",
    "        uid=1000,gid=1000,credentials=/etc/cifs-fuse/nas.credentials 0 0",
    "mount -t fuse.cifs -o ro,guest cifs://nas/media /mnt/media",
];

const FILES: &[(&str, &str)] = &[
    ("/etc/cifs-fuse", "Credentials and the settings of the service, readable by root only."),
    ("/etc/fstab", "The mounts of the machine."),
    ("/etc/fuse.conf", "user_allow_other permits allow_other to ordinary users."),
    ("/sbin/mount.fuse.cifs", "The link to /usr/bin/cifs-fuse by which mount(8) finds it."),
];

/// Prints a manual page, for man(1)
///
/// Show it with: cifs-fuse man | man -l -
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse man", bin_name = "cifs-fuse man")]
struct ManArgs {
    /// 1: cifs-fuse(1), the command; 8: mount.fuse.cifs(8), the mount helper
    #[arg(value_name = "SECTION", default_value = "1", value_parser = ["1", "8"])]
    section: String,
}

/// The definition of the arguments.
pub(super) fn definition() -> Command {
    ManArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let page = ManArgs::try_parse_from(&arguments[1..]).map_err(CliError::from).and_then(|args| {
        let page = if args.section == "8" { helper_page() } else { command_page() };
        page.map_err(|error| CliError::System(format!("man: {error}")))
    });
    page.map_or_else(|error| error, CliError::Answer).report()
}

/// cifs-fuse(1).
fn command_page() -> io::Result<String> {
    // The pages have the texts that only --help shows.
    let shown = |arg: Arg| arg.get_help().cloned().map(|help| arg.clone().long_help(help)).unwrap_or(arg);
    let man = Man::new(args::command().mut_args(shown)).title("CIFS-FUSE").manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    rest.control("SH", ["SUBCOMMANDS"]);
    SUBCOMMANDS.iter().for_each(|subcommand| add_subcommand(&mut rest, (subcommand.definition)()));
    for (title, blocks) in sections() {
        // An option keeps its case.
        rest.control("SH", [if title.starts_with('-') { title.to_owned() } else { title.to_uppercase() }.as_str()]);
        add_blocks(&mut rest, &blocks);
    }
    add_see_also(&mut rest, "mount.fuse.cifs(8), fusermount3(1), mount(8), fstab(5), fuse(4)");
    page.write_all(rest.to_roff().as_bytes())?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// mount.fuse.cifs(8).
fn helper_page() -> io::Result<String> {
    let man = Man::new(args::command()).title("MOUNT.FUSE.CIFS").section("8").manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    let mut rest = Roff::new();
    rest.control("SH", ["NAME"]).text([roman("mount.fuse.cifs - mounts an SMB share for mount(8) and fstab(5)")]);
    rest.control("SH", ["SYNOPSIS"]);
    rest.text([bold("mount -t fuse.cifs "), italic("URL DIR"), roman(" [-o "), italic("OPTIONS"), roman("]")]);
    rest.control("br", []);
    rest.text([bold("mount.fuse.cifs "), italic("URL DIR"), roman(" [-sfnv] [-o "), italic("OPTIONS"), roman("]")]);
    rest.control("SH", ["DESCRIPTION"]);
    HELPER.lines().for_each(|paragraph| add_paragraph(&mut rest, paragraph));
    rest.control("SH", ["OPTIONS"]);
    add_mount_options(&mut rest);
    rest.control("SH", ["EXAMPLES"]);
    add_literal(&mut rest, EXAMPLES);
    rest.control("SH", ["FILES"]);
    FILES.iter().for_each(|(file, use_)| add_item(&mut rest, vec![bold(*file)], use_));
    rest.control("SH", ["EXIT STATUS"]);
    sections().iter().filter(|(title, _)| *title == EXIT_CODES).for_each(|(_, blocks)| add_blocks(&mut rest, blocks));
    add_see_also(&mut rest, "cifs-fuse(1), mount(8), fstab(5), systemd.mount(5), systemd.automount(5)");
    page.write_all(rest.to_roff().as_bytes())?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn add_mount_options(page: &mut Roff) {
    let options = mount_options();
    let mut heading = None;
    for arg in &options {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            page.control("SS", [heading.unwrap_or_default()]);
        }
        let mut name = vec![bold(arg.get_long().unwrap_or_default().replace('-', "_"))];
        if let (false, Some([value, ..])) = (is_switch(arg), arg.get_value_names()) {
            name.extend([roman("="), italic(value.as_str())]);
        }
        add_item(page, name, &meaning(arg));
    }
}

/// A subcommand: how it is called, what it does, and its own options. Those of a mount are described once.
fn add_subcommand(page: &mut Roff, mut definition: Command) {
    let general: Vec<_> = args::command().get_arguments().map(|arg| arg.get_id().clone()).collect();
    page.control("SS", [definition.get_name()]);
    let usage = definition.render_usage().to_string();
    page.text([bold(usage.trim_start_matches("Usage: ").trim())]);
    if let Some(about) = definition.get_long_about().or_else(|| definition.get_about()) {
        let about = about.to_string();
        about.lines().filter(|line| !line.is_empty()).for_each(|paragraph| add_paragraph(page, paragraph));
    }
    let is_own = |arg: &&Arg| arg.is_positional() || !general.contains(arg.get_id());
    for arg in definition.get_arguments().filter(is_own).filter(|arg| !arg.is_hide_set()) {
        let name = match (arg.get_long(), arg.get_value_names()) {
            (None, value) => vec![italic(value.unwrap_or_default().join(" "))],
            (Some(long), Some([value, ..])) if !is_switch(arg) => {
                vec![bold(format!("--{long} ")), italic(value.as_str())]
            }
            (Some(long), _) => vec![bold(format!("--{long}"))],
        };
        add_item(page, name, &meaning(arg));
    }
}

/// The help of an option, with its default.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match arg.get_default_values() {
        [default, ..] if !is_switch(arg) => format!("{help} [default: {}]", default.to_string_lossy()),
        _ => help,
    }
}

/// Adds a section of the help.
fn add_blocks(page: &mut Roff, blocks: &[Block<'_>]) {
    for block in blocks {
        match block {
            Block::Item(name, text) => add_item(page, vec![bold(*name)], text),
            Block::Numbered(number, text) => {
                page.control("IP", [format!("{number}.").as_str(), "4"]).text([roman(text.as_str())]);
            }
            Block::Literal(line) => add_literal(page, &[line]),
            Block::Paragraph(text) => add_paragraph(page, text),
        }
    }
}

fn add_paragraph(page: &mut Roff, text: &str) {
    page.control("P", []).text([roman(text)]);
}

fn add_item(page: &mut Roff, name: Vec<Inline>, text: &str) {
    page.control("TP", []).text(name).text([roman(text)]);
}

/// Lines that are not filled.
fn add_literal(page: &mut Roff, lines: &[&str]) {
    page.control("PP", []).control("nf", []);
    for line in lines {
        page.text([roman(*line)]);
    }
    page.control("fi", []);
}

fn add_see_also(page: &mut Roff, pages: &str) {
    page.control("SH", ["SEE ALSO"]).text([roman(pages)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pages_have_every_mount_option() {
        let (command, helper) = (command_page().unwrap(), helper_page().unwrap());
        for arg in mount_options() {
            let name = arg.get_long().unwrap();
            assert!(command.contains(&format!("\\-\\-{}", name.replace('-', "\\-"))), "cifs-fuse.1: {name}");
            assert!(helper.contains(&format!("\\fB{}\\fR", name.replace('-', "_"))), "mount.fuse.cifs.8: {name}");
        }
    }

    #[test]
    fn the_page_of_the_command_has_the_sections_of_the_help_and_all_subcommands() {
        let page = command_page().unwrap();
        let titles: Vec<&str> = sections().into_iter().map(|(title, _)| title).collect();
        assert!(titles.len() > 4 && titles.contains(&EXIT_CODES), "{titles:?}");
        let subcommands = SUBCOMMANDS.iter().map(|subcommand| format!(".SS {}\n", subcommand.name));
        for wanted in subcommands.chain(["SUBCOMMANDS\n".to_owned(), "SEE ALSO".to_owned()]) {
            assert!(page.contains(&wanted), "{wanted:?} in {page}");
        }
        assert!(helper_page().unwrap().contains("the server refused the sign\\-in"), "the exit codes");
    }
}
