//! Standard error that is the systemd journal.
//!
//! systemd names the socket of the journal in the variable `JOURNAL_STREAM` (systemd.exec(5)). The journal adds the
//! time itself, and takes the priority of a line from its beginning, `<0>` to `<7>` (sd-daemon(3)).

use nix::sys::stat::fstat;
use std::ffi::OsStr;
use std::fmt;
use std::process::ExitCode;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error is the journal. The variable alone does not say so: a program that was started with another
/// standard error inherits it.
pub(super) fn is_stderr() -> bool {
    let (Some(variable), Ok(stat)) = (std::env::var_os("JOURNAL_STREAM"), fstat(std::io::stderr())) else {
        return false;
    };
    stream(&variable) == Some((stat.st_dev, stat.st_ino))
}

/// Prints warnings for the user.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        print(Level::WARN, format_args!("cifs-fuse: warning: {warning}"));
    }
}

/// Prints why the command failed, and returns the exit code.
pub(super) fn fail(code: u8, error: impl fmt::Display) -> ExitCode {
    print(Level::ERROR, format_args!("cifs-fuse: {error}"));
    ExitCode::from(code)
}

/// Prints a message to standard error, in the journal with its priority.
pub(super) fn print(level: Level, message: impl fmt::Display) {
    let message = message.to_string();
    match is_stderr() {
        true => eprint!("{}", prioritized(level, &message)),
        false => eprintln!("{message}"),
    }
}

/// The device and the inode in the value of `JOURNAL_STREAM`.
fn stream(variable: &OsStr) -> Option<(u64, u64)> {
    let (device, inode) = variable.to_str()?.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// The lines of a message, each with its priority, so that none begins with a priority of its own.
fn prioritized(level: Level, message: &str) -> String {
    let priority = priority(level);
    let lines = message.trim_end_matches('\n').split('\n');
    lines.map(|line| format!("<{priority}>{line}\n")).collect()
}

/// The priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A format that puts the priority before each line of another format.
pub(super) struct WithPriority<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut message = String::new();
        self.0.format_event(context, Writer::new(&mut message), event)?;
        writer.write_str(&prioritized(*event.metadata().level(), &message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn the_variable_names_a_device_and_an_inode() {
        assert_eq!(stream(OsStr::new("8:123456789012")), Some((8, 123_456_789_012)));
        for text in ["", ":", "8", "8:", ":1", "8:1:2", "-8:1", "8: 1", "8:x", "8:99999999999999999999"] {
            assert_eq!(stream(OsStr::new(text)), None, "{text}");
        }
        assert_eq!(stream(OsStr::from_bytes(b"8:\xff")), None);
    }

    #[test]
    fn each_line_has_the_priority_of_its_message() {
        for (level, expected) in [
            (Level::ERROR, "<3>a\n<3><7>b\n"),
            (Level::WARN, "<4>a\n<4><7>b\n"),
            (Level::INFO, "<6>a\n<6><7>b\n"),
            (Level::DEBUG, "<7>a\n<7><7>b\n"),
            (Level::TRACE, "<7>a\n<7><7>b\n"),
        ] {
            assert_eq!(prioritized(level, "a\n<7>b\n"), expected);
        }
        assert_eq!(prioritized(Level::INFO, ""), "<6>\n");
    }
}
