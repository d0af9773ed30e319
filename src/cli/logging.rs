//! The log: what is logged, and where.
//!
//! Logging needs no thread of its own, so a log that was started before the process goes to the background continues
//! there. The invariant: no `debug` or `trace` event of the authentication library (`sspi`) is logged, whatever the
//! filter, since those show the messages of the sign-in.

use super::error::CliError;
use super::journal::{self, WithPriority};
use crate::mount::{CurrentLevel, RunningLog};
use crate::telemetry::{self, recent};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// What is logged, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// What is logged.
    pub level: LogLevel,
    /// Where it is logged.
    pub target: LogTarget,
}

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// A fixed filter, in the syntax of `tracing_subscriber::EnvFilter`.
    Fixed(String),
    /// The level or filter in this file, as a user writes it; an absolute path.
    File(PathBuf),
}

impl LogLevel {
    /// Parses a level, a filter, or `file:PATH`; a relative path refers to `directory`. The file is not read yet.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<LogLevel, String> {
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(LogLevel::File(directory.join(path))),
            _ => filter(text).map(LogLevel::Fixed),
        }
    }

    /// The filter at present.
    fn filter(&self) -> Result<String, String> {
        match self {
            LogLevel::Fixed(text) => Ok(text.clone()),
            LogLevel::File(path) => {
                let error = |error: String| format!("{}: {error}", path.display());
                let mut text = String::new();
                let file = File::open(path).map_err(|e| error(e.to_string()))?;
                file.take(LONGEST_LEVEL).read_to_string(&mut text).map_err(|e| error(e.to_string()))?;
                filter(&text).map_err(error)
            }
        }
    }
}

/// Where it is logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// The standard error output, as long as the process has one.
    Stderr,
    /// The system's log (syslog(3)), which is the journal under systemd.
    Syslog,
    /// Standard error and the system's log: the default of a mount in the background. Its user sees the first messages,
    /// the administrator the others. The system's log alone if standard error is the journal, which would otherwise get
    /// the first messages twice.
    StderrAndSyslog,
    /// A file, which is appended to; an absolute path.
    File(PathBuf),
}

/// The most that is read of a level file, in bytes.
const LONGEST_LEVEL: u64 = 4096;

const PLAIN_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter for a level or a filter as a user writes it. `off`, `error` and `warn` apply to everything; `info`,
/// `debug` and `trace` apply to this program, and its libraries log warnings.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let level = text.trim().to_ascii_lowercase();
    if PLAIN_LEVELS.contains(&level.as_str()) {
        return Ok(match level.as_str() {
            "off" | "error" | "warn" => level,
            _ => format!("warn,cifs_fuse={level}"),
        });
    }
    let text = text.trim();
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    if !directives.iter().all(|directive| is_directive(directive)) || EnvFilter::try_new(text).is_err() {
        return Err(format!(
            "'{text}' is no log level; expected {} or a filter such as cifs_fuse::wire=trace",
            PLAIN_LEVELS.join(", ")
        ));
    }
    // A filter that is about some modules only leaves the others as they are by default.
    let has_level = directives.iter().any(|directive| is_level(directive));
    Ok(if has_level { text.to_owned() } else { format!("warn,{text}") })
}

/// Whether a part of a filter is a level, or a module with its level. EnvFilter accepts more, and ignores some of it
/// silently.
fn is_directive(part: &str) -> bool {
    match part.split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(part),
    }
}

fn is_level(text: &str) -> bool {
    PLAIN_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

/// Parses `stderr`, `syslog` or `file:PATH`; a relative path refers to `directory`.
pub(super) fn target(text: &str, directory: &Path) -> Result<LogTarget, String> {
    match text.strip_prefix("file:") {
        _ if text == "stderr" => Ok(LogTarget::Stderr),
        _ if text == "syslog" => Ok(LogTarget::Syslog),
        Some(path) if !path.is_empty() => Ok(LogTarget::File(directory.join(path))),
        _ => Err(format!("'{text}' is no log target; expected stderr, syslog or file:PATH")),
    }
}

/// The filter of the debug switch: that of the level `debug`.
const DEBUG: &str = "warn,cifs_fuse=debug";

/// What a change back to the configured level is called.
const CONFIGURED: &str = "configured";

/// The log of this process.
pub(super) struct Log {
    level: LogLevel,
    state: Mutex<State>,
    filter: reload::Handle<EnvFilter, Registry>,
    file: Option<LogFile>,
}

/// Which filter is in effect.
struct State {
    /// The filter in effect.
    present: String,
    /// The configured filter, as last read.
    configured: String,
    /// Whether the debug switch is on.
    is_debug: bool,
}

impl RunningLog for Log {
    /// What failed stays as it was; after a failure of the log file the level is not read.
    fn renew(&self) -> Result<(), String> {
        let mut state = self.state();
        if let Some(file) = &self.file {
            file.open_again()?;
        }
        let configured = self.level.filter()?;
        self.apply(&configured)?;
        *state = State { present: configured.clone(), configured, is_debug: false };
        Ok(())
    }

    fn toggle_debug(&self) -> Result<String, String> {
        let mut state = self.state();
        let filter = if state.is_debug { state.configured.clone() } else { DEBUG.to_owned() };
        self.change(&filter)?;
        state.present.clone_from(&filter);
        state.is_debug = !state.is_debug;
        Ok(filter)
    }

    fn set(&self, level: &str) -> Result<(), String> {
        let mut state = self.state();
        let filter = match level.trim() {
            CONFIGURED => state.configured.clone(),
            level => filter(level).map_err(|error| format!("{error}, or {CONFIGURED}"))?,
        };
        self.change(&filter)?;
        (state.present, state.is_debug) = (filter, false);
        Ok(())
    }

    fn level(&self) -> CurrentLevel {
        let State { present, configured, .. } = &*self.state();
        CurrentLevel { filter: present.clone(), configured: configured.clone() }
    }
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs that this filter is in effect from now on, and applies it. The line is logged under the debug filter, so
    /// that it is visible with any filter before and after the change.
    fn change(&self, filter: &str) -> Result<(), String> {
        self.apply(DEBUG)?;
        tracing::info!("the log level is now {filter}");
        self.apply(filter)
    }

    fn apply(&self, filter: &str) -> Result<(), String> {
        self.filter.reload(parsed(filter)?).map_err(|error| error.to_string())
    }
}

fn parsed(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

/// Starts the log.
///
/// # Errors
/// The log file cannot be opened, the level file cannot be read or parsed, or a log has been started already.
pub(super) fn start(settings: &LogSettings) -> Result<Log, CliError> {
    let problem = |what: String| CliError::System(format!("the log can't be opened: {what}"));
    let unusable = |what: String| CliError::System(format!("--log-level: {what}"));
    let configured = settings.level.filter().map_err(unusable)?;
    let (asked, filter) = reload::Layer::new(parsed(&configured).map_err(unusable)?);
    let discreet = filter_fn(|event| !event.target().starts_with("sspi") || *event.level() <= Level::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_target(true)
        .with_ansi(std::io::stderr().is_terminal())
        .map_event_format(WithSpan);
    let is_journal = journal::is_stderr();
    let mut opened = None;
    let layer = match &settings.target {
        LogTarget::Stderr if is_journal => journal_log().boxed(),
        LogTarget::Stderr => layer.with_writer(std::io::stderr).boxed(),
        LogTarget::StderrAndSyslog if is_journal => system_log().boxed(),
        LogTarget::Syslog => system_log().boxed(),
        LogTarget::StderrAndSyslog => layer.with_writer(std::io::stderr).and_then(system_log()).boxed(),
        LogTarget::File(path) => {
            let file = LogFile::open(path).map_err(problem)?;
            opened = Some(file.clone());
            layer.with_ansi(false).with_writer(move || file.clone()).boxed()
        }
    };
    let registry = tracing_subscriber::registry().with(layer.with_filter(asked.and(discreet).and(Relevant)));
    let registry = registry.with(recent::Layer.with_filter(filter_fn(recent::is_kept)));
    registry.try_init().map_err(|error| problem(error.to_string()))?;
    let state = Mutex::new(State { present: configured.clone(), configured, is_debug: false });
    Ok(Log { level: settings.level.clone(), state, filter, file: opened })
}

/// A format that appends to each line of another format the kernel request that the line belongs to, if there is one.
struct WithSpan<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithSpan<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(span) = telemetry::span::current() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, "{} {span}", line.trim_end_matches('\n'))
    }
}

/// Omits fuser's errors about replies whose request is gone ([`crate::fuse::is_late_reply`]): nothing has failed.
struct Relevant;

impl<S> Filter<S> for Relevant {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        // fuser logs through the crate `log`, whose records keep their target in a field.
        if event.metadata().target() != "log" {
            return true;
        }
        let mut record = Record::default();
        event.record(&mut record);
        !crate::fuse::is_late_reply(&record.target, &record.message)
    }
}

/// A record of the crate `log`.
#[derive(Default)]
struct Record {
    target: String,
    message: String,
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

/// A log file that can be opened again while it is in use.
#[derive(Clone)]
struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> Result<LogFile, String> {
        Ok(LogFile { path: path.to_owned(), file: Arc::new(Mutex::new(appending(path)?)) })
    }

    fn open_again(&self) -> Result<(), String> {
        let file = appending(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn appending(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(|error| format!("{}: {error}", path.display()))
}

/// A layer for a standard error that is the journal, which adds the time itself.
fn journal_log<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .map_event_format(|format| WithPriority(WithSpan(format)))
        .with_writer(std::io::stderr)
}

/// A layer for syslog(3), which adds time and level itself. It can be created only once in a process.
fn system_log<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    use syslog_tracing::{Facility, Options, Syslog};
    let syslog = Syslog::new(c"cifs-fuse", Options::LOG_PID, Facility::Daemon);
    syslog.map(|writer| {
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .map_event_format(WithSpan)
            .with_writer(writer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_applies_to_this_program() {
        assert_eq!(filter("WARN").as_deref(), Ok("warn"));
        assert_eq!(filter("off").as_deref(), Ok("off"));
        assert_eq!(filter("debug").as_deref(), Ok("warn,cifs_fuse=debug"));
        assert_eq!(filter("cifs_fuse::wire=trace,info").as_deref(), Ok("cifs_fuse::wire=trace,info"));
        assert_eq!(filter("cifs_fuse::wire=trace").as_deref(), Ok("warn,cifs_fuse::wire=trace"));
        for text in ["", "loud", "wanr", "cifs_fuse=loud", "bogus=", "nonsense=,,", "=debug", "info,,debug"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_level_file_is_read_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("level");
        let level = LogLevel::parse("file:level", folder.path()).unwrap();
        assert_eq!(level, LogLevel::File(path.clone()));
        assert!(level.filter().unwrap_err().starts_with(&format!("{}: ", path.display())));
        for (text, filter) in [("debug\n", DEBUG), (" cifs_fuse::wire=trace,info\n", "cifs_fuse::wire=trace,info")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(level.filter().as_deref(), Ok(filter));
        }
        std::fs::write(&path, "loud\n").unwrap();
        assert!(level.filter().unwrap_err().contains("'loud' is no log level"));
    }

    /// A log whose filter has no subscriber that it could be installed in twice.
    fn log(level: LogLevel) -> (Log, reload::Layer<EnvFilter, Registry>) {
        let configured = level.filter().unwrap();
        let (layer, filter) = reload::Layer::new(parsed(&configured).unwrap());
        let state = Mutex::new(State { present: configured.clone(), configured, is_debug: false });
        (Log { level, state, filter, file: None }, layer)
    }

    fn in_effect(log: &Log) -> String {
        log.filter.with_current(EnvFilter::to_string).unwrap()
    }

    const IN_DEBUG: &str = "cifs_fuse=debug,warn";

    #[test]
    fn the_debug_switch_goes_to_debug_and_back_to_the_configured_level() {
        let (log, _layer) = log(LogLevel::Fixed("error".to_owned()));
        for _ in 0..2 {
            assert_eq!(log.toggle_debug().as_deref(), Ok(DEBUG));
            assert_eq!(in_effect(&log), IN_DEBUG);
            assert_eq!(log.toggle_debug().as_deref(), Ok("error"));
            assert_eq!(in_effect(&log), "error");
        }
    }

    #[test]
    fn a_level_that_is_set_counts_until_the_next_switch() {
        let (log, _layer) = log(LogLevel::Fixed("error".to_owned()));
        log.toggle_debug().unwrap();
        log.set("trace").unwrap();
        assert_eq!(log.level().filter, "warn,cifs_fuse=trace");
        assert_eq!(in_effect(&log), "cifs_fuse=trace,warn");
        assert!(log.set("loud").unwrap_err().contains("'loud' is no log level"));
        assert_eq!(in_effect(&log), "cifs_fuse=trace,warn");
        assert_eq!(log.toggle_debug().as_deref(), Ok(DEBUG));
        assert_eq!(log.toggle_debug().as_deref(), Ok("error"));
        log.set("trace").unwrap();
        log.set("configured").unwrap();
        assert_eq!((in_effect(&log), log.level().filter), ("error".to_owned(), "error".to_owned()));
    }

    #[test]
    fn a_renewal_ends_the_debug_switch_if_the_level_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("level");
        std::fs::write(&path, "error").unwrap();
        let (log, _layer) = log(LogLevel::File(path.clone()));
        log.toggle_debug().unwrap();
        std::fs::write(&path, "loud").unwrap();
        assert!(log.renew().is_err());
        assert_eq!(in_effect(&log), IN_DEBUG);
        std::fs::write(&path, "warn").unwrap();
        assert_eq!(log.renew(), Ok(()));
        assert_eq!(in_effect(&log), "warn");
        assert_eq!(log.toggle_debug().as_deref(), Ok(DEBUG));
        assert_eq!(log.toggle_debug().as_deref(), Ok("warn"));
    }

    #[test]
    fn a_log_file_that_was_moved_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut file = LogFile::open(&path).unwrap();
        file.write_all(b"before\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        file.clone().open_again().unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"before\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
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
