//! The arguments of the process, prepared for the parser of options.
//!
//! The program is called in three ways: by hand (`cifs-fuse URL DIR [options]`), as a mount helper (`mount.TYPE URL DIR
//! [-sfnv] [-N ns] [-o opts] [-t type]`), and by mount.fuse3 (`cifs-fuse URL DIR -o opts`). All three have one grammar;
//! a mount helper is recognized by the program's name, and a call by mount.fuse3 is not distinguished from one by hand.
//! Options with one dash are split as getopt(3) does, and `-o` is replaced by the long options with the same meaning,
//! in its place; `-r` and `-w` are those of mount(8).
//!
//! The invariant: no word that is passed to the parser contains a password, since the parser keeps copies.

use super::error::CliError;
use super::mount_options::MountWords;
use super::secrets::{PASSWORD_NAMES, redacted, secret_ranges};
use crate::config::url::option_name;
use std::ffi::OsString;
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// The arguments of one call.
#[derive(Default)]
pub(super) struct CommandLine {
    /// The file system type of the mount helper, if the program runs as one: `fuse.cifs` of `mount.fuse.cifs`.
    pub(super) helper_for: Option<String>,
    /// The words for the parser, the program's name first.
    words: Vec<OsString>,
    /// The words after `--`, which are not options.
    plain_words: Vec<OsString>,
    /// What the `-o` options request.
    pub(super) mount_words: MountWords,
    /// The original words of those that were redacted.
    originals: Vec<Zeroizing<String>>,
}

const NO_PASSWORD_HERE: &str = "a password does not belong on the command line, where ps shows it to everyone; \
    give it in a file with --credentials FILE, in AUTH_PASSWORD, or on a descriptor with --password-fd N";

/// A word of the command line, before `-o` is parsed.
enum Word {
    Other(OsString),
    MountOptions(Zeroizing<String>),
}

impl CommandLine {
    /// Reads the arguments of the process, the program's name first. Words with a password are kept in memory that is
    /// wiped.
    pub(super) fn read(arguments: Vec<OsString>) -> Result<CommandLine, CliError> {
        let mut line = CommandLine::default();
        let mut arguments = arguments.into_iter();
        let program = arguments.next().unwrap_or_default();
        line.helper_for =
            Path::new(&program).file_name().and_then(|name| name.to_str()?.strip_prefix("mount.")).map(str::to_owned);
        line.words.push(program);
        if arguments.len() == 1 && arguments.as_slice()[0] == "help" {
            line.words.push("--help".into());
            return Ok(line);
        }
        let mut words = Vec::new();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                line.plain_words = arguments.by_ref().map(|word| hide_passwords(word, &mut line.originals)).collect();
                break;
            }
            if is_password_option(&argument) {
                argument.into_encoded_bytes().zeroize();
                return Err(CliError::Usage(NO_PASSWORD_HERE.to_owned()));
            }
            match short_options(&argument) {
                Some(letters) => {
                    split_letters(letters, &mut arguments, &mut words)?;
                    argument.into_encoded_bytes().zeroize();
                }
                None => words.push(Word::Other(hide_passwords(argument, &mut line.originals))),
            }
        }
        let sloppy = words.iter().any(|word| matches!(word, Word::Other(word) if word == "-s"));
        for word in words {
            match word {
                Word::Other(word) => line.words.push(word),
                Word::MountOptions(text) => {
                    line.mount_words.add(&text, sloppy)?;
                    line.words.extend(line.mount_words.long.drain(..).map(OsString::from));
                }
            }
        }
        line.mount_words.check()?;
        Ok(line)
    }

    /// The words for the parser. `overrides` are added as the last options, so they have priority.
    pub(super) fn words(&self, overrides: impl IntoIterator<Item = String>) -> Vec<OsString> {
        let mut words = self.words.clone();
        words.extend(overrides.into_iter().map(OsString::from));
        if !self.plain_words.is_empty() {
            words.push("--".into());
            words.extend_from_slice(&self.plain_words);
        }
        words
    }

    /// The original of a word that the parser got without its password.
    pub(super) fn original<'a>(&'a self, word: &'a str) -> &'a str {
        self.originals.iter().find(|original| redacted(original) == word).map_or(word, |original| original.as_str())
    }
}

/// Whether the argument is `--password` or an alias of it, with or without a value.
fn is_password_option(argument: &OsString) -> bool {
    let name = argument.to_str().and_then(|text| text.strip_prefix("--")?.split('=').next());
    name.is_some_and(|name| PASSWORD_NAMES.contains(&option_name(name).as_str()))
}

/// The letters after a single dash, as in `-sfnv`; `None` for a long option, a negative number, and any other word.
fn short_options(argument: &OsString) -> Option<&str> {
    let letters = argument.to_str()?.strip_prefix('-')?;
    letters.starts_with(|first: char| first.is_ascii_alphabetic()).then_some(letters)
}

/// Adds one word for each letter. The value of `-o`, `-N` and `-t` is the rest of the letters, or the next argument.
fn split_letters(
    letters: &str,
    arguments: &mut impl Iterator<Item = OsString>,
    words: &mut Vec<Word>,
) -> Result<(), CliError> {
    for (at, letter) in letters.char_indices() {
        if !matches!(letter, 'o' | 'N' | 't') {
            words.push(Word::Other(match letter {
                'r' => "--ro".into(),
                'w' => "--ro=false".into(),
                other => format!("-{other}").into(),
            }));
            continue;
        }
        let value = match &letters[at + letter.len_utf8()..] {
            "" => arguments.next().map(OsString::into_string).transpose(),
            rest => Ok(Some(rest.to_owned())),
        };
        let value = match value {
            Ok(Some(value)) => Zeroizing::new(value),
            Ok(None) => return Err(CliError::Usage(format!("-{letter} needs a value"))),
            Err(mut text) => {
                std::mem::take(&mut text).into_encoded_bytes().zeroize();
                return Err(CliError::Usage(format!("the value of -{letter} is not UTF-8 text")));
            }
        };
        words.extend(match letter {
            'o' => vec![Word::MountOptions(value)],
            _ => vec![Word::Other(format!("-{letter}").into()), Word::Other(value.as_str().into())],
        });
        break;
    }
    Ok(())
}

/// The word without its passwords. A word with passwords is added to `originals`.
fn hide_passwords(word: OsString, originals: &mut Vec<Zeroizing<String>>) -> OsString {
    match word.into_string() {
        Ok(text) if secret_ranges(&text).is_empty() => text.into(),
        Ok(text) => {
            let shown = redacted(&text);
            originals.push(Zeroizing::new(text));
            shown.into()
        }
        Err(word) => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> CommandLine {
        CommandLine::read(arguments.iter().map(OsString::from).collect())
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
    }

    fn words(arguments: &[&str]) -> Vec<OsString> {
        read(arguments).words([])
    }

    #[test]
    fn options_with_one_dash_are_read_as_getopt_does() {
        assert_eq!(
            words(&["p", "URL", "DIR", "-sfnv", "-o", "ro,uid=5", "-Nns"]),
            ["p", "URL", "DIR", "-s", "-f", "-n", "-v", "--ro", "--uid=5", "-N", "ns"]
        );
        assert_eq!(words(&["p", "-Foro", "URL", "DIR"]), ["p", "-F", "--ro", "URL", "DIR"]);
        assert_eq!(words(&["p", "-vr", "URL", "DIR", "-w"]), ["p", "-v", "--ro", "URL", "DIR", "--ro=false"]);
        assert_eq!(words(&["p", "--read-buffer-size", "-15"]), ["p", "--read-buffer-size", "-15"]);
        assert_eq!(words(&["p", "-v", "--", "-o", "x"]), ["p", "-v", "--", "-o", "x"]);
        let error = CommandLine::read(vec!["p".into(), "-o".into()]).err().unwrap();
        assert_eq!(error.to_string(), "-o needs a value");
    }

    #[test]
    fn options_keep_their_order_and_overrides_come_last() {
        let line = read(&["p", "--ro", "URL", "-o", "rw", "--", "DIR"]);
        let overridden = line.words(["--uid=7".to_owned()]);
        assert_eq!(overridden, ["p", "--ro", "URL", "--ro=false", "--uid=7", "--", "DIR"]);
    }

    #[test]
    fn a_mount_helper_is_recognized_by_its_name() {
        assert_eq!(read(&["/sbin/mount.fuse.cifs", "URL", "DIR"]).helper_for.as_deref(), Some("fuse.cifs"));
        assert_eq!(read(&["/usr/bin/cifs-fuse", "URL", "DIR"]).helper_for, None);
    }

    #[test]
    fn unknown_options_are_ignored_with_s_before_or_after_them() {
        assert_eq!(words(&["p", "-o", "zzz,ro", "-s"]), ["p", "--ro", "-s"]);
        assert!(CommandLine::read(["p", "-o", "zzz"].map(OsString::from).into()).is_err());
    }

    #[test]
    fn a_password_option_is_refused_without_quoting_it() {
        for word in ["--password", "--password=hunter2", "--auth-password=hunter2", "--AUTH_PASSWORD", "--pass"] {
            let error = CommandLine::read(vec!["p".into(), word.into(), "hunter2".into()]).err().unwrap().to_string();
            assert!(error.contains("--credentials") && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(words(&["p", "--password-fd=3"]), ["p", "--password-fd=3"]);
    }

    #[test]
    fn no_password_is_passed_to_the_parser() {
        let url = "cifs://ann:hunter2@nas/m?auth-password=hunter2";
        let line = read(&["p", url, "DIR", "-o", "ro,password=hunter2", "--", "cifs://x/y?auth-password=hunter2"]);
        let words = line.words([]);
        assert!(!format!("{words:?}").contains("hunter2"), "{words:?}");
        assert_eq!(line.original(words[1].to_str().unwrap()), url);
        assert!(line.mount_words.password.is_some());
    }
}
