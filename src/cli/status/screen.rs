//! The status as text for a person: a list of mounts, or one mount in full. 80 columns are enough for all but long
//! names and messages.

use crate::config::size::about;
use crate::mount::status::client::Silent;
use crate::telemetry::status::{Counted, Status};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The text for these mounts. In full, each mount has its counters and its last messages.
pub(super) fn of(mounts: &[Status], silent: &[Silent], in_full: bool) -> String {
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
    for Silent { socket, error } in silent {
        line(&mut text, &format!("{socket} does not answer: {error}"));
    }
    if mounts.is_empty() && silent.is_empty() {
        text.push_str("nothing is mounted by this user\n");
    }
    text
}

/// Adds a line. Control characters become `?`: a name must not change what a terminal shows elsewhere.
fn line(text: &mut String, added: &str) {
    text.extend(added.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }));
    text.push('\n');
}

fn summary(text: &mut String, mount: &Status) {
    let Status { server, cache, buffers, .. } = mount;
    let mut row = |name: &str, value: String| line(text, &format!("{name:<12}{value}"));
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
        Some(away) => row("away", format!("for {}: {}", span(away.seconds), away.why)),
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
pub(super) mod tests {
    use super::*;
    use crate::telemetry::recent::Recent;
    use crate::telemetry::status::{Away, Buffer, Buffers, Cache, Latency, Server, VERSION};

    pub(in super::super) fn example() -> Status {
        let buffer = Buffer { bytes: 1 << 20, reason: "1 MiB: chosen, the server supports up to 8 MiB".to_owned() };
        let counted = |name: &str, of: &str, value| Counted {
            name: name.to_owned(),
            of: Some(of.to_owned()),
            value,
            latency: Some(Latency { median_micros: 8, p99_micros: 1_250, longest_micros: 1_500_000 }),
        };
        Status {
            version: VERSION,
            program: "0.1.0".to_owned(),
            process: 4711,
            url: "cifs://nas/media".to_owned(),
            mountpoint: "/mnt/films".to_owned(),
            user: Some("ann".to_owned()),
            age: 7_384,
            read_only: false,
            server: Server {
                address: "192.0.2.7:445".to_owned(),
                state: "live".to_owned(),
                away: None,
                dialect: "3.1.1".to_owned(),
                signing: Some("AES-GMAC".to_owned()),
                encryption: None,
                guest: false,
                share_read_only: false,
                leasing: true,
                directory_leasing: false,
                connections: 2,
                credits_available: 500,
                credits_in_use: 12,
            },
            buffers: Buffers { read: buffer.clone(), write: buffer },
            cache: Cache {
                mode: "strict".to_owned(),
                attr_timeout: 1.0,
                budget: 256 << 20,
                used: 12_345_678,
                dirty: 0,
                leases: 1,
                watches: 3,
            },
            counters: vec![
                counted("requests", "lookup", 200),
                Counted { latency: None, ..counted("requests_waited", "lookup", 50) },
                counted("round_trips", "CREATE", 50),
            ],
            recent: Vec::new(),
        }
    }

    #[test]
    fn a_mount_fits_80_columns() {
        let text = of(&[example()], &[], true);
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
        mount.server.away = Some(Away { seconds: 75, why: "reset by peer".to_owned() });
        assert!(of(&[mount], &[], false).contains("away        for 1 min 15 s: reset by peer\n"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut mount = example();
        mount.url = "cifs://nas/\x1b[2J".to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        mount.recent = vec![Recent { time: now + 60, level: "WARN".to_owned(), message: "a\nb".to_owned() }];
        let text = of(&[mount], &[], true);
        assert!(text.contains("cifs://nas/?[2J") && text.contains("0 s ago WARN  a?b\n"), "{text}");
    }

    #[test]
    fn without_a_mount_that_is_said() {
        assert_eq!(of(&[], &[], false), "nothing is mounted by this user\n");
    }
}
