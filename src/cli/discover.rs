//! `cifs-fuse discover`: the SMB servers that announce themselves in the local network.

use super::CliError;
use super::journal;
use super::text::printable;
use crate::mount::discovery::{Machine, SMB_PORT, discover};
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The first argument.
pub(super) const COMMAND: &str = "discover";

const NONE: &str = "\
no server has answered
Samba answers if Avahi or wsdd runs beside it, Windows in a private network.
If you know a server's name or address: cifs-fuse shares HOST
Firewalls must let UDP ports 5353 and 3702 through; guest networks and VPNs
often do not carry multicast.
";

/// Lists the SMB servers that announce themselves in the local network
///
/// They answer over multicast DNS (_smb._tcp) or WS-Discovery (Windows). The answers are not authenticated: check that
/// a server is yours before you sign in.
#[derive(Parser, Debug)]
#[command(
    name = "cifs-fuse discover",
    bin_name = "cifs-fuse discover",
    after_help = "Exit codes: 0, also if none was found; 2 if multicast cannot be used."
)]
struct DiscoverArgs {
    /// How long to wait for answers, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The definition of the arguments.
pub(super) fn definition() -> clap::Command {
    DiscoverArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    // The second word is the name of the subcommand, which the parser takes for that of the program.
    let parsed = definition().try_get_matches_from(&arguments[1..]);
    let args = match parsed.and_then(|found| DiscoverArgs::from_arg_matches(&found)) {
        Ok(args) => args,
        Err(error) => return CliError::from(error).report(),
    };
    match discover(Duration::from_secs(args.timeout)) {
        Ok(machines) if args.json => CliError::Answer(json(&machines)).report(),
        Ok(machines) => CliError::Answer(shown(&machines)).report(),
        Err(error) => journal::fail(error.exit_code(), error),
    }
}

/// Each machine with the command that lists its shares.
fn shown(machines: &[Machine]) -> String {
    if machines.is_empty() {
        return NONE.to_owned();
    }
    let mut text = String::new();
    for machine in machines {
        let address = machine.addresses.first().map_or("without an address", String::as_str);
        // Writing to a string does not fail.
        let name = machine.name.as_deref().unwrap_or("a computer that tells no name (WS-Discovery)");
        let _ = writeln!(text, "{}", printable(name));
        // A machine without a host name is listed by its address.
        let host = if machine.host == address { String::new() } else { format!("{}, ", printable(&machine.host)) };
        let _ = writeln!(text, "    {host}{}, port {}", printable(address), machine.port);
        if let Some(server) = server(machine) {
            let _ = writeln!(text, "    cifs-fuse shares {server}");
        }
    }
    text + "\nIf a name does not resolve, take the address, or install the package libnss-mdns.\n"
}

/// The server as the first argument of `shares`: its host name, or its address if the name has characters that no host
/// name has. `None` if there is no address either.
fn server(machine: &Machine) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = match machine.host.starts_with(|c: char| c.is_ascii_alphanumeric()) && machine.host.chars().all(is_plain)
    {
        true => machine.host.clone(),
        false => match machine.addresses.first()? {
            address if address.contains(':') => format!("'[{}]'", address.replace('%', "%25")),
            address => address.clone(),
        },
    };
    let is_usual = machine.port == SMB_PORT;
    Some(if is_usual { host } else { format!("{host}:{}", machine.port) })
}

fn json(machines: &[Machine]) -> String {
    let machine = |machine: &Machine| {
        let Machine { name, host, addresses, port } = machine;
        serde_json::json!({ "name": name, "host": host, "addresses": addresses, "port": port })
    };
    let machines: Vec<_> = machines.iter().map(machine).collect();
    format!("{:#}\n", serde_json::json!({ "machines": machines }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, address: &str, port: u16) -> Machine {
        Machine { name: Some("My\u{1b}[2J NAS".into()), host: host.into(), addresses: vec![address.into()], port }
    }

    #[test]
    fn each_machine_has_the_command_that_lists_its_shares() {
        let text = shown(&[machine("nas.local", "192.168.1.5", 445)]);
        assert!(
            text.starts_with(
                "My\\u{1b}[2J NAS\n    nas.local, 192.168.1.5, port 445\n    cifs-fuse shares nas.local\n"
            ),
            "{text}"
        );
        assert!(shown(&[]).contains("cifs-fuse shares HOST"));
        assert!(shown(&[]).lines().all(|line| line.len() <= 80));
        let unnamed = Machine { name: None, ..machine("10.0.0.2", "10.0.0.2", 445) };
        assert!(shown(&[unnamed]).contains("\n    10.0.0.2, port 445\n    cifs-fuse shares 10.0.0.2\n"));
    }

    #[test]
    fn a_name_that_a_shell_would_interpret_is_no_part_of_the_command() {
        for host in ["$(reboot).local", "a b", "-o", "a\nb", ""] {
            assert_eq!(server(&machine(host, "10.0.0.1", 4450)).as_deref(), Some("10.0.0.1:4450"), "{host:?}");
        }
        assert_eq!(server(&machine("", "fe80::1%eth0", 445)).as_deref(), Some("'[fe80::1%25eth0]'"));
        let without = Machine { addresses: Vec::new(), ..machine("", "", 445) };
        assert_eq!(server(&without), None);
        assert!(shown(&[without]).contains("without an address"));
    }

    #[test]
    fn json_has_all_addresses_and_escapes_names() {
        let text = json(&[machine("nas.local", "192.168.1.5", 445)]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["machines"][0]["addresses"][0], "192.168.1.5");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
