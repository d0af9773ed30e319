//! `cifs-fuse completions SHELL`: the script with which a shell completes options and subcommands.

use super::args;
use super::error::CliError;
use super::subcommands::SUBCOMMANDS;
use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;
use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument.
pub(super) const COMMAND: &str = "completions";

/// Prints the script that completes this program's arguments in a shell
///
/// bash: cifs-fuse completions bash >/usr/share/bash-completion/completions/cifs-fuse
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse completions", bin_name = "cifs-fuse completions")]
struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The definition of the arguments.
pub(super) fn definition() -> Command {
    CompletionsArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    match CompletionsArgs::try_parse_from(&arguments[1..]) {
        Ok(CompletionsArgs { shell }) => CliError::Answer(script(shell)).report(),
        Err(error) => CliError::from(error).report(),
    }
}

fn script(shell: Shell) -> String {
    let definitions = SUBCOMMANDS.iter().map(|subcommand| (subcommand.definition)());
    // The generator also completes hidden options, so they are left out.
    let all = args::command();
    let shown = all.get_arguments().filter(|arg| !arg.is_hide_set());
    let command = Command::new("cifs-fuse").version(env!("CARGO_PKG_VERSION")).args(shown).subcommands(definitions);
    let mut command = command.disable_help_flag(true).disable_version_flag(true).disable_help_subcommand(true);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cifs-fuse", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_every_option_and_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            let names =
                args::mount_options().iter().filter_map(|arg| arg.get_long().map(str::to_owned)).collect::<Vec<_>>();
            let subcommands = SUBCOMMANDS.iter().map(|subcommand| subcommand.name.to_owned());
            for name in names.into_iter().chain(subcommands) {
                assert!(script.contains(&name), "{shell}: {name}");
            }
            assert!(!script.contains("print-options-table"), "{shell} shows a hidden option");
        }
    }
}
