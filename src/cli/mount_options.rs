//! Splits `-o a,b=c`, and turns the words into the long options with the same meaning.
//!
//! mount(8) passes the text unchanged, so quoting is done here. A backslash before a comma, a quote or a backslash
//! makes that an ordinary character; before anything else the backslash is one itself, as in `WORKGROUP\ann`. Between a
//! pair of double quotes commas are ordinary characters too, and a backslash means the same as outside.

use super::args::{is_switch, mount_option_names, mount_options};
use super::error::CliError;
use super::mount_cifs::{self, Meaning};
use super::secrets::PASSWORD_NAMES;
use crate::config::nearest;
use crate::config::url::option_name;
use secrecy::SecretString;
use std::ops::Range;
use zeroize::Zeroizing;

/// Words of mount(8) and fstab(5) that are accepted without effect: those that the kernel or mount(8) handles, and
/// those that have no meaning for a share.
const TOLERATED: [&str; 34] = [
    "defaults",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "async",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "fail",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
];

/// What the kernel shows of a FUSE mount, and mount(8) passes on for a remount.
const SHOWN_BY_KERNEL: [&str; 6] = ["user_id", "group_id", "default_permissions", "max_read", "blksize", "seclabel"];

/// What all the `-o` options of a command line request.
#[derive(Default)]
pub(super) struct MountWords {
    /// The long options, in their order.
    pub(super) long: Vec<String>,
    /// The password, for which there is no long option.
    pub(super) password: Option<SecretString>,
    /// Whether an existing mount is to be changed.
    pub(super) remount: bool,
    /// Whether the mount needs the network (systemd.mount(5)).
    pub(super) netdev: bool,
    /// Options of mount.cifs without effect, each with how it works here.
    ignored: Vec<String>,
    /// Options of mount.cifs that would matter, each with what to use instead.
    refused: Vec<String>,
    /// Messages on the options that nothing is known of.
    unknown: Vec<String>,
}

impl MountWords {
    /// Adds the options in `text`. With `sloppy`, those that are unknown or refused are ignored. What is wrong with
    /// the others is kept for [`MountWords::check`].
    pub(super) fn add(&mut self, text: &str, sloppy: bool) -> Result<(), CliError> {
        self.remount |= items(text).into_iter().any(|item| &text[item] == "remount");
        for item in items(text) {
            let item = unquoted(&text[item])?;
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (item.as_str(), None),
            };
            self.add_one(name, value, sloppy);
        }
        Ok(())
    }

    /// Refuses all options at once that cannot be used, so that an old line of fstab(5) needs one correction only.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let mut problems = self.unknown.clone();
        match &self.refused[..] {
            [] => {}
            [one] => problems.push(format!("an option of mount.cifs in -o cannot be used here: {one}")),
            many => problems.push(format!("options of mount.cifs in -o cannot be used here:\n  {}", many.join("\n  "))),
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(CliError::Usage(problems.join("\n"))),
        }
    }

    /// One warning that names all ignored options of mount.cifs; `None` if there are none.
    pub(super) fn ignored(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| format!("ignored options of mount.cifs: {}", self.ignored.join(", ")))
    }

    fn add_one(&mut self, name: &str, value: Option<&str>, sloppy: bool) {
        let known = option_name(name);
        match (name, value) {
            ("", None) => {}
            // The value may be a password.
            ("", Some(_)) => self.unknown.push("an option in -o has no name before its '='".to_owned()),
            ("_netdev", _) => self.netdev = true,
            ("remount", _) => {}
            (word, _) if self.remount && SHOWN_BY_KERNEL.contains(&word) => {}
            ("rw", None) => self.long.push("--ro=false".to_owned()),
            ("exec", None) => self.long.push("--noexec=false".to_owned()),
            (word, None) if TOLERATED.contains(&word) => {}
            (word, _) if word.starts_with("x-") || word.starts_with("X-") || word == "comment" => {}
            (_, value) if PASSWORD_NAMES.contains(&known.as_str()) => {
                self.password = Some(SecretString::from(value.unwrap_or("")));
            }
            (_, value) => match mount_cifs::meaning(&known, value) {
                Some((listed, meaning)) => self.add_foreign(listed, meaning, value, sloppy),
                None if mount_option_names().contains(&known) => self.long.extend(long_option(&known, value)),
                None if sloppy => {}
                None => self.unknown.push(unknown(name, &known)),
            },
        }
    }

    /// Adds an option of mount.cifs. Messages show it as the table does, never with the value that was given.
    fn add_foreign(&mut self, listed: &str, meaning: Meaning, value: Option<&str>, sloppy: bool) {
        let is_flag = !listed.contains('=');
        let (list, shown) = match meaning {
            // An empty value is that of no option.
            _ if value == Some("") => return,
            Meaning::Same(_) if is_flag && value.is_some() => (&mut self.refused, format!("{listed} takes no value")),
            Meaning::Same(words) => return self.long.extend(words.iter().map(|word| (*word).to_owned())),
            Meaning::WithValue(long) => return self.long.extend(long_option(long, value)),
            Meaning::Ignored("") => (&mut self.ignored, listed.to_owned()),
            Meaning::Ignored(how) => (&mut self.ignored, format!("{listed} ({how})")),
            Meaning::Refused(instead) if sloppy => (&mut self.ignored, format!("{listed} ({instead})")),
            Meaning::Refused(instead) => (&mut self.refused, format!("{listed}: {instead}")),
        };
        if !list.contains(&shown) {
            list.push(shown);
        }
    }
}

/// The option as `--name=value`; `None` for an option that needs a value and has none, or an empty one.
pub(super) fn long_option(name: &str, value: Option<&str>) -> Option<String> {
    match value {
        Some("") => None,
        Some(value) => Some(format!("--{name}={value}")),
        None => mount_options()
            .iter()
            .find(|arg| arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name)))
            .filter(|arg| is_switch(arg))
            .map(|_| format!("--{name}")),
    }
}

fn unknown(name: &str, spelled: &str) -> String {
    let names = mount_option_names();
    let hint = match nearest(spelled, names.iter().map(String::as_str)) {
        Some(nearest) => format!("; did you mean '{nearest}'?"),
        None => String::new(),
    };
    format!("unknown option '{name}' in -o{hint}")
}

/// The ranges of the options in a text, in bytes. They are separated by commas that are not quoted.
pub(super) fn items(text: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                items.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(start..text.len());
    items
}

/// An option without its quotes and backslashes.
fn unquoted(item: &str) -> Result<Zeroizing<String>, CliError> {
    let mut plain = Zeroizing::new(String::with_capacity(item.len()));
    let mut quoted = false;
    let mut chars = item.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next_if(|next| matches!(next, ',' | '"' | '\\')).unwrap_or('\\')),
            '"' => quoted = !quoted,
            other => plain.push(other),
        }
    }
    match quoted {
        false => Ok(plain),
        true => Err(CliError::Usage("a double quote in -o is not closed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn added(text: &str, sloppy: bool) -> Result<MountWords, CliError> {
        let mut words = MountWords::default();
        words.add(text, sloppy)?;
        words.check()?;
        Ok(words)
    }

    fn long(text: &str) -> Vec<String> {
        added(text, false).unwrap_or_else(|error| panic!("{text}: {error}")).long
    }

    fn refused(text: &str) -> String {
        added(text, false).err().unwrap_or_else(|| panic!("{text} must be refused")).to_string()
    }

    #[test]
    fn options_become_long_options() {
        assert_eq!(long("ro,uid=5,read_buffer_size=65536"), ["--ro", "--uid=5", "--read-buffer-size=65536"]);
        assert_eq!(long("rw,exec"), ["--ro=false", "--noexec=false"]);
        assert_eq!(long("vers=3.0,cred=/etc/nas,user=ann"), ["--vers=3.0", "--cred=/etc/nas", "--user=ann"]);
        assert_eq!(long("ro,,"), ["--ro"]);
        // An option that needs a value is ignored if the value is missing or empty.
        assert_eq!(long("transport=,username,uid="), Vec::<String>::new());
    }

    #[test]
    fn the_words_of_mount_and_fstab_are_accepted() {
        for text in [
            "",
            "rw,noexec,nosuid,nodev,uid=1000,read-buffer-size=65536,_netdev,nofail,user",
            "rw,uid=5,allow_other,dev,suid",
            "defaults,noauto,users,x-systemd.automount,x-gvfs-show,X-mount.mkdir=0755,comment=hi",
            "atime,noatime,relatime,strictatime,nodiratime,lazytime",
        ] {
            long(text);
        }
        let mut words = MountWords::default();
        words.add("_netdev,remount", false).unwrap();
        assert!(words.netdev && words.remount);
    }

    #[test]
    fn commas_may_be_quoted() {
        assert_eq!(long(r"username=a\,b,ro"), ["--username=a,b", "--ro"]);
        assert_eq!(long(r#"username="a,b",ro"#), ["--username=a,b", "--ro"]);
        assert_eq!(long(r#"domain=say \"hi\",ro"#), ["--domain=say \"hi\"", "--ro"]);
        assert_eq!(long(r"username=WG\ann"), [r"--username=WG\ann"]);
        assert_eq!(long(r"username=WG\\ann"), [r"--username=WG\ann"]);
        let error = MountWords::default().add("username=\"a,b", false).unwrap_err();
        assert!(error.to_string().contains("not closed"));
    }

    #[test]
    fn a_password_becomes_no_long_option() {
        let mut words = MountWords::default();
        words.add(r#"ro,password="a,b=c",uid=5"#, false).unwrap();
        assert_eq!(words.long, ["--ro", "--uid=5"]);
        assert_eq!(words.password.unwrap().expose_secret(), "a,b=c");
    }

    #[test]
    fn an_unknown_option_is_an_error_that_names_it_and_the_nearest() {
        assert_eq!(refused("ro,file_mod=0600"), "unknown option 'file_mod' in -o; did you mean 'file-mode'?");
        // Options that control the call are not mount options.
        assert_eq!(refused("foreground"), "unknown option 'foreground' in -o");
        assert_eq!(added("file_mod=0600,zzz,ro", true).unwrap().long, ["--ro"]);
    }

    #[test]
    fn options_of_mount_cifs_mean_the_same_where_they_can() {
        assert_eq!(long("seal,sign"), ["--encryption=required", "--signing=required"]);
        assert_eq!(long("sec=ntlmssp,forceuid,max_channels=4,strictsync"), ["--connections=4"]);
        assert_eq!(long("sec=ntlmsspi,sec=NTLMv2i"), ["--signing=required", "--signing=required"]);
        assert_eq!(long("sec=none,SEC=,max_channels="), ["--anonymous"]);
        assert_eq!(added("seal,sec=ntlmssp,forcegid", false).unwrap().ignored(), None);
        // Nothing of this kind has a value, and what was meant by one is not guessed.
        let said = refused("seal=0");
        assert!(said.contains("seal takes no value"), "{said}");
    }

    #[test]
    fn harmless_options_of_mount_cifs_are_ignored_with_one_warning() {
        let words = added("vers=3.0,iocharset=utf8,noperm,nobrl,soft,nobrl,echo_interval=30,ro", false).unwrap();
        assert_eq!(words.long, ["--vers=3.0", "--ro"]);
        assert_eq!(
            words.ignored().unwrap(),
            "ignored options of mount.cifs: iocharset=utf8, noperm (file_mode and dir_mode decide who has access), \
             nobrl, soft, echo_interval"
        );
    }

    #[test]
    fn options_of_mount_cifs_that_matter_are_refused_together_without_their_values() {
        let said = refused("sec=krb5,multiuser,snapshot=hunter2,nobrl,iocharset=hunter2,password2=hunter2,zzz=hunter2");
        for part in ["sec=krb5: Kerberos", "multiuser: ", "snapshot: ", "iocharset: ", "password2: ", "option 'zzz'"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("nobrl"), "{said}");
        let said = refused("hard");
        assert!(said.contains("hard: ") && said.contains("request-timeout") && !said.contains('\n'), "{said}");
        // With -s they are ignored, but not silently.
        let warning = added("sec=krb5,multiuser,ro", true).unwrap().ignored().unwrap();
        assert!(warning.contains("sec=krb5") && warning.contains("multiuser"), "{warning}");
    }
}
