//! The subcommands that users call, in the order of the manual. The dispatch, the help, the manual pages and the
//! completions are made from this list. Those that only the program and its units use are in [`super::internal`].

use super::args;
use super::error::CliError;
use super::help::width;
use super::{Environment, cleanup, completions, discover, doctor, log, login, manual, shares, status};
use clap::{Arg, Command};
use std::ffi::OsString;
use std::process::ExitCode;

/// One subcommand. It is the first argument, where every other call has a URL or an option.
pub(super) struct Subcommand {
    /// The first argument.
    pub(super) name: &'static str,
    /// Its arguments, in one line of the help.
    pub(super) arguments: &'static str,
    /// What it does, in the same line.
    pub(super) meaning: &'static str,
    /// The definition of its arguments. The name is [`Self::name`].
    pub(super) definition: fn() -> Command,
    run: fn(&[OsString], &Environment) -> ExitCode,
}

/// All of them.
pub(super) const SUBCOMMANDS: [Subcommand; 10] = [
    Subcommand {
        name: discover::COMMAND,
        arguments: "[--timeout SECONDS] [--json]",
        meaning: "list the servers of this network",
        definition: discover::definition,
        run: |words, _| discover::run(words),
    },
    Subcommand {
        name: shares::COMMAND,
        arguments: "URL_OR_HOST [--all]",
        meaning: "list the shares of a server",
        definition: shares::definition,
        run: shares::run,
    },
    Subcommand {
        name: doctor::COMMAND,
        arguments: "URL [--report FILE] [--throughput]",
        meaning: "find out why a mount fails",
        definition: doctor::definition,
        run: doctor::run,
    },
    Subcommand {
        name: login::LOGIN,
        arguments: "URL_OR_HOST [--username NAME]",
        meaning: "store a password in the keyring",
        definition: login::login_definition,
        run: login::log_in,
    },
    Subcommand {
        name: login::LOGOUT,
        arguments: "URL_OR_HOST [--username NAME]",
        meaning: "remove it",
        definition: login::logout_definition,
        run: |words, _| login::log_out(words),
    },
    Subcommand {
        name: status::COMMAND,
        arguments: "[DIR] [--json] [--watch]",
        meaning: "show what the mounts are doing",
        definition: status::definition,
        run: |words, _| status::run(words),
    },
    Subcommand {
        name: log::COMMAND,
        arguments: "DIR [LEVEL]",
        meaning: "show or change how much it logs",
        definition: log::definition,
        run: |words, _| log::run(words),
    },
    Subcommand {
        name: cleanup::COMMAND,
        arguments: "DIR [URL]",
        meaning: "end what a killed process has left",
        definition: cleanup::definition,
        run: |words, _| cleanup::run(words),
    },
    Subcommand {
        name: completions::COMMAND,
        arguments: "bash|zsh|fish",
        meaning: "print a script for a shell",
        definition: completions::definition,
        run: |words, _| completions::run(words),
    },
    Subcommand {
        name: manual::COMMAND,
        arguments: "[1|8]",
        meaning: "print a manual page",
        definition: manual::definition,
        run: |words, _| manual::run(words),
    },
];

impl Subcommand {
    /// Runs it with the arguments of the process, the program's name first, or shows its help.
    pub(super) fn start(&self, arguments: &[OsString], environment: &Environment) -> ExitCode {
        let words = arguments.iter().skip(2).take_while(|word| *word != "--");
        let long = words.clone().any(|word| word == "--help");
        if long || words.clone().any(|word| word == "-h") {
            return self.help(long).report();
        }
        (self.run)(arguments, environment)
    }

    fn help(&self, long: bool) -> CliError {
        let mut definition = (self.definition)().bin_name(format!("cifs-fuse {}", self.name)).term_width(width());
        let help = if long { definition.render_long_help() } else { definition.render_help() };
        CliError::Answer(help.to_string())
    }
}

/// The subcommand that the arguments of the process call.
pub(super) fn called(arguments: &[OsString]) -> Option<&'static Subcommand> {
    let name = arguments.get(1)?.to_str()?;
    SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name)
}

/// The help of the subcommand that `help NAME` asks for.
pub(super) fn help_asked(arguments: &[OsString]) -> Option<CliError> {
    match arguments {
        [_, help, ..] if help == "help" => called(&arguments[1..]).map(|subcommand| subcommand.help(true)),
        _ => None,
    }
}

/// The definition of a subcommand that signs in to a server: the options of a mount for that, and for the log.
pub(super) fn for_server(name: &'static str, about: &'static str, usage: &'static str) -> Command {
    let counts = |arg: &&Arg| {
        let headings = [args::SIGNING_IN, args::CONNECTION, args::LOG].map(Some);
        headings.contains(&arg.get_help_heading()) || arg.get_id() == "help"
    };
    let options = args::command();
    let command = Command::new(name).about(about).override_usage(usage).disable_help_flag(true);
    command.arg(server_argument()).args(options.get_arguments().filter(counts))
}

/// The first argument of such a subcommand.
pub(super) fn server_argument() -> Arg {
    Arg::new("server").value_name("URL_OR_HOST").required(true).help("The server, by its URL or name")
}

/// The arguments without the name of the subcommand: as those of a mount, the program's name first.
pub(super) fn without_name(arguments: &[OsString]) -> Vec<OsString> {
    let (program, rest) = arguments.split_at(arguments.len().min(1));
    program.iter().chain(rest.iter().skip(1)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_sound_and_has_the_name_that_is_called() {
        for subcommand in &SUBCOMMANDS {
            let definition = (subcommand.definition)();
            assert_eq!(definition.get_name(), subcommand.name);
            assert!(definition.get_about().is_some(), "{} has no description", subcommand.name);
            definition.debug_assert();
            assert!(called(&["cifs-fuse".into(), subcommand.name.into()]).is_some());
        }
        assert!(called(&["cifs-fuse".into(), "cifs://nas/status".into()]).is_none());
        let help = help_asked(&["cifs-fuse", "help", "status"].map(OsString::from)).unwrap();
        assert!(help.exit_code() == 0 && help.to_string().contains("cifs-fuse status"), "{help}");
        assert_eq!(help_asked(&["cifs-fuse", "status", "help"].map(OsString::from)), None);
    }

    #[test]
    fn every_help_fits_a_terminal_of_80_columns() {
        for subcommand in &SUBCOMMANDS {
            let mut definition = (subcommand.definition)().term_width(80);
            for line in definition.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", subcommand.name);
            }
        }
    }
}
