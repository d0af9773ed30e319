//! Findings as lines of at most 80 columns: mark, step, what was found; below it what to do.

use super::Mark;
use crate::cli::text::{WIDTH, printable, wrapped};
use crate::config::Protection;
use crate::config::size::about;
use crate::mount::MountError;
use crate::mount::doctor::{Finding, Found, Outcome, Rights, Throughput};
use std::time::Duration;

/// The columns before the text: the mark and the name of the step.
const INDENT: usize = 17;
/// The most shares that are listed by name.
const SHARES: usize = 20;
/// A difference between the clocks that is worth a line, in milliseconds: two minutes.
const CLOCK_OFF: u64 = 120_000;

/// The lines of a finding. `is_coloured` adds the colours of a terminal to the mark.
pub(super) fn shown(finding: &Finding, is_coloured: bool) -> String {
    let (text, advice) = told(&finding.outcome);
    let mark = Mark::of(&finding.outcome);
    let mut lines = wrapped(&printable(&text), WIDTH - INDENT);
    lines.extend(
        advice.iter().flat_map(|advice| advice.lines()).flat_map(|line| wrapped(&printable(line), WIDTH - INDENT)),
    );
    let mut shown = String::new();
    for (number, line) in lines.iter().enumerate() {
        let head = match number {
            0 => format!("{}{:<12}", painted(mark, is_coloured), finding.step.name()),
            _ => " ".repeat(INDENT),
        };
        shown.push_str(format!("{head}{line}").trim_end());
        shown.push('\n');
    }
    shown
}

/// What came of a step as a sentence, and what to do.
pub(super) fn told(outcome: &Outcome) -> (String, Option<String>) {
    match outcome {
        Outcome::Found(found) => (sentence(found), advice(found)),
        Outcome::Minor(error) => (message(error), None),
        Outcome::Failed(error) => (message(error), error.remedy.clone()),
        Outcome::NotTried => ("not tried".to_owned(), None),
    }
}

/// The mark in its column.
fn painted(mark: Mark, is_coloured: bool) -> String {
    let text = format!("{:<5}", mark.text());
    let colour = match mark {
        _ if !is_coloured => return text,
        Mark::Ok => "32",
        Mark::Note => "33",
        Mark::Failed => "1;31",
        Mark::NotTried => "2",
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

fn message(error: &MountError) -> String {
    match error.status {
        Some(status) => format!("{} ({status})", error.message),
        None => error.message.clone(),
    }
}

/// What was found, as a sentence.
fn sentence(found: &Found) -> String {
    match found {
        Found::Url { url, user: Some(user) } => format!("{url}, as {user}"),
        Found::Url { url, user: None } => format!("{url}, anonymous"),
        Found::Addresses(addresses) => listed(addresses.iter().map(ToString::to_string)),
        Found::Open { address, took } => format!("{address} is open, after {}", time(*took)),
        Found::Speaks(address) => format!("{address} is an SMB server"),
        Found::Dialect { chosen, offered } => {
            format!("SMB {chosen} (offered: {} to {})", offered.lowest, offered.highest)
        }
        Found::Signing { server_requires, client, algorithm } => {
            let server = if *server_requires { "requires it" } else { "allows it" };
            format!("the server {server}, here it is {client}; {algorithm}")
        }
        Found::Encryption { cipher: Some(cipher), client } => {
            format!("the server offers {cipher}, here it is {client}")
        }
        Found::Encryption { cipher: None, client: Protection::Off } => "off here".to_owned(),
        Found::Encryption { cipher: None, .. } => "the server offers none".to_owned(),
        Found::Clock(Some(ahead)) => clock(*ahead),
        Found::Clock(None) => "the server does not tell its time".to_owned(),
        Found::SignedIn { user, guest } => {
            let user = user.as_deref().map_or("an anonymous session".to_owned(), |user| format!("as {user}"));
            if *guest == Some(true) { format!("{user}, with the rights of a guest") } else { user }
        }
        Found::Share { name, protection } => format!("{name}, {protection}"),
        Found::Shares(names) if names.is_empty() => "none is named, and the server lists none".to_owned(),
        Found::Shares(names) => {
            let more = names.len().saturating_sub(SHARES);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("none is named; the server lists {}{more}", listed(names.iter().take(SHARES).cloned()))
        }
        Found::Folder(path) if path.is_empty() => "the root of the share".to_owned(),
        Found::Folder(path) => path.clone(),
        Found::Rights { rights: Some(rights), .. } => allowed(*rights),
        Found::Rights { rights: None, .. } => "the server does not tell them".to_owned(),
        Found::Leases { files: true, directories: true } => "on files and on folders".to_owned(),
        Found::Leases { files: true, directories: false } => "on files, not on folders".to_owned(),
        Found::Leases { files: false, .. } => "none; the server grants oplocks at most".to_owned(),
        Found::Watches(true) => "the server reports changes in folders".to_owned(),
        Found::Watches(false) => "the server does not report changes in folders".to_owned(),
        Found::Symlinks(true) => "supported: the file system has reparse points".to_owned(),
        Found::Symlinks(false) => "not supported: the file system has no reparse points".to_owned(),
        Found::Space(space) => format!("{} of {} free", about(space.available), about(space.total)),
        Found::RoundTrip { median, count } => format!("{} (median of {count})", time(*median)),
        Found::Throughput(Some(measured)) => speed(measured),
        Found::Throughput(None) => "not measured: no file of at least 4 MiB was found in the folder".to_owned(),
    }
}

/// What to do about something that works and may not be what the user wants.
pub(super) fn advice(found: &Found) -> Option<String> {
    let advice = match found {
        Found::Clock(Some(ahead)) if ahead.unsigned_abs() >= CLOCK_OFF => {
            "compare both clocks with the time of day: a wrong clock shows wrong times of files, and servers of a \
             domain may refuse the sign-in; timedatectl set-ntp true sets this machine's"
        }
        Found::SignedIn { user: Some(user), guest: Some(true) } if !user.eq_ignore_ascii_case("guest") => {
            "the server does not know this user; sign in with another one for more rights"
        }
        Found::Rights { rights: Some(rights), .. } if !rights.list => {
            "check the folder's permissions on the server: a mount shows no names in it"
        }
        Found::Rights { rights: Some(rights), read_only: false } if !rights.create_files && !rights.create_folders => {
            "changes fail on a mount; --ro makes that visible to programs"
        }
        Found::Leases { files: false, .. } => "file data is cached for a short time only",
        Found::Watches(false) => "changes by others are noticed late: see --attr-timeout",
        Found::Shares(names) if names.is_empty() => "sign in as another user, or ask for the name of the share",
        Found::Space(space) if space.total > 0 && space.available == 0 => {
            "nothing can be written: make room on the server"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn allowed(rights: Rights) -> String {
    let rights =
        [(rights.list, "list"), (rights.create_files, "create files"), (rights.create_folders, "create folders")];
    let (may, may_not): (Vec<_>, Vec<_>) = rights.into_iter().partition(|(allowed, _)| *allowed);
    let names = |rights: Vec<(bool, &str)>| rights.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ");
    match (may.is_empty(), may_not.is_empty()) {
        (_, true) => names(may),
        (true, false) => format!("none of: {}", names(may_not)),
        (false, false) => format!("{}; not: {}", names(may), names(may_not)),
    }
}

/// The difference between the clocks; `ahead` is in milliseconds.
fn clock(ahead: i64) -> String {
    let off = ahead.unsigned_abs();
    if off < 1_000 {
        return "the server's clock and this machine's agree".to_owned();
    }
    let seconds = off / 1_000;
    let span = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    format!("the server's clock is {span} {side} this machine's")
}

/// A time with two or three digits.
fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        0.0..10.0 => format!("{milliseconds:.2} ms"),
        10.0..1_000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn speed(measured: &Throughput) -> String {
    let Throughput { file, bytes, took } = measured;
    let second = took.as_secs_f64().max(1e-6);
    // The loss of precision is far below the digits that are shown.
    #[allow(clippy::cast_precision_loss)]
    let speed = *bytes as f64 / second / 1e6;
    format!("reading: {speed:.0} MB/s ({} in {} from {file})", about(*bytes), time(*took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::Stage;
    use crate::mount::doctor::Step;

    fn found(step: Step, found: Found) -> String {
        shown(&Finding { step, outcome: Outcome::Found(found) }, false)
    }

    #[test]
    fn a_finding_is_a_line_with_mark_and_step() {
        let url = Found::Url { url: "cifs://nas/media".into(), user: Some("ann".into()) };
        assert_eq!(found(Step::Url, url), "ok   URL         cifs://nas/media, as ann\n");
        let finding = Finding { step: Step::Space, outcome: Outcome::NotTried };
        assert_eq!(shown(&finding, false), "-    space       not tried\n");
        assert_eq!(shown(&finding, true), "\x1b[2m-    \x1b[0mspace       not tried\n");
    }

    #[test]
    fn a_failure_has_its_remedy_below_within_80_columns() {
        let message = "no connection to the server: 192.168.100.200:445: Connection refused (os error 111)";
        let error = MountError::new(Stage::Connect, message).remedy("check that the server is up\nor its port");
        let text = shown(&Finding { step: Step::Port, outcome: Outcome::Failed(error) }, false);
        assert!(text.starts_with("FAIL port        no connection to the server:"), "{text}");
        assert!(
            text.ends_with("\n                 check that the server is up\n                 or its port\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn a_clock_that_is_hours_off_is_a_note_and_no_failure() {
        let text = found(Step::Clock, Found::Clock(Some(-3 * 3_600_000)));
        assert!(text.starts_with("note clock       the server's clock is 3 h behind this machine's\n"), "{text}");
        assert!(text.contains("timedatectl"), "{text}");
        let text = found(Step::Clock, Found::Clock(Some(900)));
        assert_eq!(text, "ok   clock       the server's clock and this machine's agree\n");
        assert!(found(Step::Clock, Found::Clock(Some(90_000))).starts_with("ok "));
        assert!(found(Step::Clock, Found::Clock(Some(i64::MIN))).starts_with("note"));
    }

    #[test]
    fn rights_that_are_missing_are_named() {
        let reading = Rights { list: true, create_files: false, create_folders: false, traverse: true };
        let rights = |rights, read_only| found(Step::Rights, Found::Rights { rights: Some(rights), read_only });
        let text = rights(reading, false);
        assert!(text.starts_with("note rights      list; not: create files, create folders\n"), "{text}");
        assert!(text.contains("--ro"), "{text}");
        assert!(rights(reading, true).starts_with("ok "));
        let none = Rights { list: false, ..reading };
        assert!(rights(none, true).starts_with("note rights      none of: list"), "{}", rights(none, true));
    }

    #[test]
    fn names_of_the_server_cannot_control_the_terminal() {
        let text = found(Step::Share, Found::Shares(vec!["a\u{1b}[2J".to_owned()]));
        assert!(text.contains("a\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
        let many = found(Step::Share, Found::Shares(vec!["s".to_owned(); 400]));
        assert!(many.contains("and 380 more") && many.lines().count() < 5, "{many}");
    }

    #[test]
    fn numbers_have_few_digits() {
        assert_eq!(time(Duration::from_micros(412)), "0.41 ms");
        assert_eq!(time(Duration::from_millis(31)), "31 ms");
        assert_eq!(time(Duration::from_millis(2_540)), "2.5 s");
        let measured = Throughput { file: "\\a".into(), bytes: 448 << 20, took: Duration::from_secs(4) };
        assert_eq!(speed(&measured), "reading: 117 MB/s (448 MiB in 4.0 s from \\a)");
    }
}
