//! The report: a file for others, from the same findings as the screen.
//!
//! It is written while the steps are taken, so that it is complete up to the step at which the user stopped it. The
//! invariant: it never overwrites anything and follows no link, others cannot read it, and no part of it has seen a
//! password.

use super::Mark;
use super::screen::told;
use crate::cli::text::printable;
use crate::mount::doctor::{Diagnosis, Facts, Finding};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A report that is being written.
pub(super) struct Report {
    file: File,
    path: String,
    /// The first failure to write.
    failed: Option<io::Error>,
}

impl Report {
    /// Creates the file with mode 0600, and begins it with what is known about the machine.
    ///
    /// # Errors
    /// The message for the user: the file exists, or cannot be created.
    pub(super) fn create(path: &Path, machine: &Facts) -> Result<Report, String> {
        // O_EXCL refuses a link too, wherever it leads.
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let path = path.display().to_string();
        let file = created.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => format!("--report: {path} exists already; name a new file, or remove it"),
            _ => format!("--report: {path} cannot be created: {error}"),
        })?;
        let mut report = Report { file, path, failed: None };
        report.write(&format!("{}\nsteps\n", section("report of cifs-fuse doctor", machine)));
        Ok(report)
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, finding: &Finding) {
        self.write(&line(finding));
    }

    /// Adds what was negotiated.
    ///
    /// # Errors
    /// The message for the user: the report could not be written as a whole.
    pub(super) fn finish(mut self, diagnosis: &Diagnosis) -> Result<(), String> {
        self.write(&format!("\n{}", section("negotiated", &diagnosis.facts)));
        match self.failed {
            None => Ok(()),
            Some(error) => Err(format!("--report: {} is incomplete: {error}", self.path)),
        }
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(text.as_bytes()).err();
        }
    }
}

/// Names and values below a title.
fn section(title: &str, facts: &Facts) -> String {
    let rows = facts.iter().map(|(name, value)| format!("  {name:<20} {}\n", printable(value)));
    format!("{title}\n{}", rows.collect::<String>())
}

/// A finding as one line.
fn line(finding: &Finding) -> String {
    let (text, advice) = told(&finding.outcome);
    let mark = Mark::of(&finding.outcome).text();
    let advice = advice.iter().flat_map(|advice| advice.lines()).map(|line| format!("; {line}"));
    format!("  {mark:<4} {:<11} {}\n", finding.step.name(), printable(&format!("{text}{}", advice.collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::doctor::{Found, Outcome, Step};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn finding() -> Finding {
        Finding { step: Step::Watches, outcome: Outcome::Found(Found::Watches(true)) }
    }

    #[test]
    fn a_report_has_machine_steps_and_negotiation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut report = Report::create(&path, &vec![("kernel", "Linux\n6".to_owned())]).unwrap();
        report.add(&finding());
        let facts = vec![("dialect", "SMB 3.1.1".to_owned())];
        report.finish(&Diagnosis { facts, ..Diagnosis::default() }).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "report of cifs-fuse doctor\n  kernel               Linux\\n6\n\nsteps\n  \
             ok   watches     the server reports changes in folders\n\nnegotiated\n  dialect              SMB 3.1.1\n"
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn nothing_is_overwritten_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, dangling) =
            (folder.path().join("file"), folder.path().join("link"), folder.path().join("dangling"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        symlink(folder.path().join("none"), &dangling).unwrap();
        for path in [&file, &link, &dangling] {
            let problem = Report::create(path, &Facts::new()).err().unwrap();
            assert!(problem.contains("exists already"), "{problem}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn a_report_that_cannot_be_written_is_an_error() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut report = Report { file: full, path: "r".to_owned(), failed: None };
        report.add(&finding());
        assert!(report.finish(&Diagnosis::default()).unwrap_err().contains("incomplete"));
    }
}
