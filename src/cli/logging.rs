//! The log: how much of it, and where it goes.
//!
//! Nothing here needs a thread, so a log that was begun before the process goes to the background
//! goes on there. The invariant: below `info`, nothing of the authentication library is logged,
//! whatever the filter says, since its traces show the messages of the sign-in.

use super::error::CliError;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing::Level;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// What is logged, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// What is logged, in the language of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// Where it goes.
    pub target: LogTarget,
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// The standard error output, for as long as the process has one.
    Stderr,
    /// The system's log (syslog(3)), which is the journal where systemd runs.
    Syslog,
    /// Both: what a mount in the background does when it is not told otherwise. Its user sees the
    /// beginning, and the administrator the rest.
    StderrAndSyslog,
    /// A file, which is appended to; an absolute path.
    File(PathBuf),
}

const PLAIN_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter for a level or a filter as the user writes it. A plain level is about this program;
/// of the libraries it uses, warnings are enough.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let level = text.trim().to_ascii_lowercase();
    if PLAIN_LEVELS.contains(&level.as_str()) {
        return Ok(match level.as_str() {
            "off" | "error" | "warn" => level,
            _ => format!("warn,cifs_fuse={level}"),
        });
    }
    let is_filter = text.contains(['=', ',']) && EnvFilter::try_new(text).is_ok();
    is_filter.then(|| text.to_owned()).ok_or(format!(
        "'{text}' is no log level; expected {} or a filter such as cifs_fuse::wire=trace",
        PLAIN_LEVELS.join(", ")
    ))
}

/// `stderr`, `syslog` or `file:PATH`; a relative path is one from `directory`.
pub(super) fn target(text: &str, directory: &Path) -> Result<LogTarget, String> {
    match text.strip_prefix("file:") {
        _ if text == "stderr" => Ok(LogTarget::Stderr),
        _ if text == "syslog" => Ok(LogTarget::Syslog),
        Some(path) if !path.is_empty() => Ok(LogTarget::File(directory.join(path))),
        _ => Err(format!("'{text}' is no log target; expected stderr, syslog or file:PATH")),
    }
}

/// Begins to log.
///
/// # Errors
/// The file can't be opened, or something else in this process logs already.
pub(super) fn start(settings: &LogSettings) -> Result<(), CliError> {
    let problem = |what: String| CliError::System(format!("the log can't be opened: {what}"));
    let asked = EnvFilter::try_new(&settings.filter).map_err(|error| problem(error.to_string()))?;
    let discreet = filter_fn(|event| !event.target().starts_with("sspi") || *event.level() <= Level::INFO);
    let layer = fmt::layer().with_target(true).with_ansi(std::io::stderr().is_terminal());
    let layer = match &settings.target {
        LogTarget::Stderr => layer.with_writer(std::io::stderr).boxed(),
        LogTarget::Syslog => system_log().boxed(),
        LogTarget::StderrAndSyslog => layer.with_writer(std::io::stderr).and_then(system_log()).boxed(),
        LogTarget::File(path) => {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            let file = file.map_err(|error| problem(format!("{}: {error}", path.display())))?;
            layer.with_ansi(false).with_writer(Mutex::new(file)).boxed()
        }
    };
    let registry = tracing_subscriber::registry().with(layer.with_filter(asked.and(discreet)));
    registry.try_init().map_err(|error| problem(error.to_string()))
}

/// Lines for syslog(3), which adds time and level by itself. Nobody else in this process calls it.
fn system_log<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    use syslog_tracing::{Facility, Options, Syslog};
    let syslog = Syslog::new(c"cifs-fuse", Options::LOG_PID, Facility::Daemon);
    syslog.map(|writer| fmt::layer().with_ansi(false).without_time().with_level(false).with_writer(writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_about_this_program() {
        assert_eq!(filter("WARN").as_deref(), Ok("warn"));
        assert_eq!(filter("off").as_deref(), Ok("off"));
        assert_eq!(filter("debug").as_deref(), Ok("warn,cifs_fuse=debug"));
        assert_eq!(filter("cifs_fuse::wire=trace,info").as_deref(), Ok("cifs_fuse::wire=trace,info"));
        for text in ["", "loud", "wanr", "cifs_fuse=loud"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_target_is_stderr_the_system_or_a_file() {
        let here = Path::new("/here");
        assert_eq!(target("stderr", here), Ok(LogTarget::Stderr));
        assert_eq!(target("syslog", here), Ok(LogTarget::Syslog));
        assert_eq!(target("file:/var/log/x", here), Ok(LogTarget::File("/var/log/x".into())));
        assert_eq!(target("file:x", here), Ok(LogTarget::File("/here/x".into())));
        for text in ["", "file:", "journal", "/var/log/x"] {
            assert!(target(text, here).is_err(), "{text}");
        }
    }
}
