//! The status as text for a person: a list of mounts, or one mount in full. 80 columns are enough for all but long
//! words and the messages of the log.

use crate::cli::text::{WIDTH, printable, wrapped};
use crate::config::size::about;
use crate::mount::socket::client::{Found, Silent, Unreachable};
use crate::telemetry::status::{Counted, Status};
use std::fmt::Write;
use std::iter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The width of the names of rows.
const INDENT: usize = 12;
/// The most sockets without an answer that are named: another user can make many of them.
const MOST_SILENT: usize = 16;

/// The text for these mounts. In full, each mount has its counters and its last messages.
pub(super) fn of(found: &Found, in_full: bool) -> String {
    let Found { mounts, silent, unreachable } = found;
    let mut text = String::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (number, mount) in mounts.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        summary(&mut text, mount);
        if in_full {
            operations(&mut text, mount);
            round_trips(&mut text, mount);
            messages(&mut text, mount, now);
        }
    }
    for Unreachable { url, mountpoint, error } in unreachable {
        if !text.is_empty() {
            text.push('\n');
        }
        line(&mut text, &format!("{:<INDENT$}{url} on {mountpoint}", "mounted"));
        wrapped(error, WIDTH - INDENT).iter().for_each(|row| line(&mut text, &format!("{:<INDENT$}{row}", "")));
    }
    for Silent { socket, error } in silent.iter().take(MOST_SILENT) {
        line(&mut text, &format!("{socket} does not answer: {error}"));
    }
    if silent.len() > MOST_SILENT {
        line(&mut text, &format!("{} more sockets do not answer", silent.len() - MOST_SILENT));
    }
    if text.is_empty() {
        text.push_str("nothing is mounted by this user\n");
    }
    text
}

/// The part of a text that a terminal of this size shows without scrolling: its first lines, and how many are missing.
pub(super) fn cut(text: &str, columns: usize, rows: usize) -> String {
    let rows_of = |line: &str| line.chars().count().div_ceil(columns.max(1)).max(1);
    // The cursor is in the line below the text.
    let room = rows.saturating_sub(1).max(1);
    if text.lines().map(rows_of).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut left = room - 1;
    let fits = |line: &&str| {
        let fits = rows_of(line) <= left;
        left -= if fits { rows_of(line) } else { 0 };
        fits
    };
    let kept: Vec<&str> = text.lines().take_while(fits).collect();
    let missing = text.lines().count() - kept.len();
    kept.into_iter().flat_map(|line| [line, "\n"]).collect::<String>()
        + &format!("({})\n", plural(missing as u64, "more line"))
}

/// Adds a line. A name in it cannot change what a terminal shows elsewhere.
fn line(text: &mut String, added: &str) {
    text.push_str(&printable(added.trim_end()));
    text.push('\n');
}

fn summary(text: &mut String, mount: &Status) {
    let Status { server, cache, buffers, .. } = mount;
    let mut row = |name: &str, value: String| line(text, &format!("{name:<INDENT$}{value}"));
    row("mounted", format!("{} on {}", mount.url, mount.mountpoint));
    let access = match (mount.read_only, server.share_read_only) {
        (true, _) => "read-only",
        (false, true) => "read-only for this user on the server",
        (false, false) => "read and write",
    };
    let user = mount.user.as_deref().map_or("anonymous".to_owned(), |user| format!("as {user}"));
    row("", format!("{user}, {access}, for {}, process {}", span(mount.age), mount.process));
    row("server", format!("{}, {}", server.address, session(mount)));
    match &server.away {
        Some(away) => {
            let lines = wrapped(&format!("for {}: {}", span(away.seconds), away.why), WIDTH - INDENT);
            ["away"].into_iter().chain(iter::repeat("")).zip(lines).for_each(|(name, value)| row(name, value));
        }
        None if server.state != "live" => row("session", server.state.clone()),
        None => {}
    }
    let (connections, in_use, free) = (server.connections, server.credits_in_use, server.credits_available);
    row("requests", format!("{}, {in_use} credits in use, {free} free", plural(connections as u64, "connection")));
    row("reads", buffers.read.reason.clone());
    row("writes", buffers.write.reason.clone());
    row(
        "cache",
        format!(
            "{}: {} of {}, {} dirty; names for {} s",
            cache.mode,
            about(cache.used),
            about(cache.budget),
            about(cache.dirty),
            cache.attr_timeout
        ),
    );
    row("current by", vouched(mount));
    let count = |name| mount.count(name, None);
    row(
        "losses",
        format!(
            "{}, {} made again, {}, {}",
            plural(count("losses"), "session"),
            count("reconnects"),
            plural(count("retries"), "retry"),
            plural(count("refused_sign_ins"), "refused sign-in")
        ),
    );
}

/// What was negotiated for the session.
fn session(mount: &Status) -> String {
    let server = &mount.server;
    let protection = match (&server.encryption, &server.signing) {
        (Some(cipher), _) => format!("encrypted with {cipher}"),
        (None, Some(signing)) => format!("signed with {signing}"),
        (None, None) => "not signed".to_owned(),
    };
    let guest = if server.guest { ", as guest" } else { "" };
    format!("SMB {}, {protection}{guest}", server.dialect)
}

/// What tells this mount of changes by other clients.
fn vouched(mount: &Status) -> String {
    let (files, directories) = (plural(mount.cache.leases as u64, "file"), mount.cache.watches);
    let directories = match directories {
        1 => "1 directory".to_owned(),
        many => format!("{many} directories"),
    };
    let leases = if mount.server.leasing { "leases" } else { "oplocks" };
    // A lease on a directory is in both numbers: it is what watches the directory.
    let holders = if mount.server.directory_leasing { " and directories" } else { "" };
    format!("{leases} on {files}{holders}, watches on {directories}")
}

fn plural(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}

fn operations(text: &mut String, mount: &Status) {
    let rows = mount.counters.iter().filter(|counted| counted.name == "requests");
    table(text, "operation", "cached", mount, rows, |mount, counted| {
        let waited = mount.count("requests_waited", counted.of.as_deref());
        let cached = counted.value.saturating_sub(waited);
        (
            format!("{} %", cached.saturating_mul(100).checked_div(counted.value).unwrap_or(0)),
            mount.count("requests_failed", counted.of.as_deref()),
        )
    });
}

fn round_trips(text: &mut String, mount: &Status) {
    let rows = mount.counters.iter().filter(|counted| counted.name == "round_trips");
    table(text, "round trip", "messages", mount, rows, |mount, counted| {
        (
            mount.count("messages", counted.of.as_deref()).to_string(),
            mount.count("round_trips_failed", counted.of.as_deref()),
        )
    });
}

/// A table of latencies; `more` gives the second number of a row, and how many failed.
fn table<'a>(
    text: &mut String,
    first: &str,
    second: &str,
    mount: &Status,
    rows: impl Iterator<Item = &'a Counted>,
    more: impl Fn(&Status, &Counted) -> (String, u64),
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push('\n');
    line(
        text,
        &format!(
            "{first:<16}{:>10}{second:>10}{:>10}{:>10}{:>10}{:>8}",
            "count", "median", "99 %", "longest", "failed"
        ),
    );
    for row in rows {
        let (number, failed) = more(mount, row);
        let [median, p99, longest] = match row.latency {
            Some(latency) => [latency.median_micros, latency.p99_micros, latency.longest_micros].map(short),
            None => Default::default(),
        };
        let name = row.of.as_deref().unwrap_or_default();
        line(text, &format!("{name:<16}{:>10}{number:>10}{median:>10}{p99:>10}{longest:>10}{failed:>8}", row.value));
    }
}

fn messages(text: &mut String, mount: &Status, now: u64) {
    if mount.recent.is_empty() {
        return;
    }
    text.push_str("\nlast warnings and errors\n");
    for recent in &mount.recent {
        let mut row = String::new();
        // Writing to a string does not fail.
        let _ = write!(row, "{:>10} ago {:<5} {}", span(now.saturating_sub(recent.time)), recent.level, recent.message);
        line(text, &row);
    }
}

/// A number of seconds for a person, in at most two units.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// A number of microseconds with two or three digits and a unit.
fn short(micros: u64) -> String {
    let time = Duration::from_micros(micros);
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        1_000_000..100_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{:.0} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recent::Recent;
    use crate::telemetry::status::{Away, example};

    fn only(mount: Status) -> Found {
        Found { mounts: vec![mount], ..Found::default() }
    }

    #[test]
    fn a_mount_fits_80_columns() {
        let text = of(&only(example()), true);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for shown in [
            "cifs://nas/media on /mnt/films\n",
            "            as ann, read and write, for 2 h 3 min, process 4711\n",
            "server      192.0.2.7:445, SMB 3.1.1, signed with AES-GMAC\n",
            "requests    2 connections, 12 credits in use, 500 free\n",
            "reads       1 MiB: chosen, the server supports up to 8 MiB\n",
            "cache       strict: 11.8 MiB of 256 MiB, 0 bytes dirty; names for 1 s\n",
            "current by  leases on 1 file, watches on 3 directories\n",
            "losses      0 sessions, 0 made again, 0 retries, 0 refused sign-ins\n",
            "lookup                 200      75 %      8 us    1.2 ms     1.5 s       0\n",
            "CREATE                  50         0      8 us    1.2 ms     1.5 s       0\n",
        ] {
            assert!(text.contains(shown), "{shown} is not in\n{text}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_shown_with_its_time_and_reason() {
        let mut mount = example();
        mount.server.state = "lost".to_owned();
        mount.server.away = Some(Away { seconds: 75, why: "reset by peer; ".repeat(9) });
        let text = of(&only(mount), false);
        assert!(text.contains("away        for 1 min 15 s: reset by peer;"), "{text}");
        assert!(text.contains("\n            reset by peer;"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut mount = example();
        mount.url = "cifs://nas/\x1b[2J".to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        mount.recent = vec![Recent { time: now + 60, level: "WARN".to_owned(), message: "a\nb".to_owned() }];
        let text = of(&only(mount), true);
        assert!(text.contains("cifs://nas/\\u{1b}[2J") && text.contains("0 s ago WARN  a\\nb\n"), "{text}");
    }

    #[test]
    fn without_a_mount_that_is_said() {
        assert_eq!(of(&Found::default(), false), "nothing is mounted by this user\n");
    }

    #[test]
    fn a_mount_whose_process_does_not_answer_is_shown() {
        let mount = Unreachable {
            url: "cifs://nas/media".to_owned(),
            mountpoint: "/mnt/\u{1b}films".to_owned(),
            error: "its process does not answer here".to_owned(),
        };
        let text = of(&Found { unreachable: vec![mount], ..Found::default() }, false);
        assert_eq!(
            text,
            "mounted     cifs://nas/media on /mnt/\\u{1b}films\n            its process does not answer here\n"
        );
    }

    #[test]
    fn the_first_lines_of_a_text_fit_a_terminal() {
        assert_eq!(cut("one\ntwo\n", 80, 3), "one\ntwo\n");
        assert_eq!(cut("one\ntwo\nthree\nfour\n", 80, 4), "one\ntwo\n(2 more lines)\n");
        // A line that is longer than the terminal is wide takes several rows.
        assert_eq!(cut("one\nlonger\nlast\n", 3, 4), "one\n(2 more lines)\n");
        assert_eq!(cut("one\ntwo\n", 80, 1), "(2 more lines)\n");
    }
}
