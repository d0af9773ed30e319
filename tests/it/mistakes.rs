//! What users do wrong, and what the program says: one table. Each message names the stage or the place of the mistake,
//! the cause, and the right remedy. Each row is a run of the program against a real server or a scripted one.
//!
//! In a row, `{name}` stands for a place or a server of [`World`]; words such as `AUTH_PASSWORD=x` before the others
//! are variables of the environment, and `as:nobody` runs the program as an ordinary user.

use crate::support::command::run;
use crate::support::mount::{PROGRAM, program_for_all};
use crate::support::mountinfo;
use crate::support::scratch;
use crate::support::server::{Demand, Kind, PASSWORD, PASSWORD_MARK, SHARE, Server, Settings, user};
use crate::support::stranger::Stranger;
use cifs_fuse::config::Dialect;
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The most time of a row: a message that comes later is of no use. Rows with silent servers set a time limit of 1 s.
const LIMIT: Duration = Duration::from_secs(20);
/// Lines of a message: what happened, and what to do; the usage after a mistake in the URL.
const MOST_LINES: usize = 7;
const NOBODY: u32 = 65_534;

/// What the user does, the command line, the exit code, and words of the message.
type Row = (&'static str, &'static str, i32, &'static [&'static str]);

const USAGE: &str = "Usage: cifs-fuse URL DIR";
const LOGON: &str = "STATUS_LOGON_FAILURE";

#[rustfmt::skip]
const COMMAND_LINES: &[Row] = &[
    ("calls the program without arguments", "", 1, &["nothing to mount", USAGE]),
    ("forgets the directory", "cifs://nas/media", 1, &["no directory to mount on", USAGE]),
    ("does not quote the &", "cifs://nas/media?auth-username=ann", 1, &["looks cut", "'single quotes'"]),
    ("does not quote the & before the directory", "AUTH_USERNAME=ann cifs://nas/media?transport=directtcp {mnt}", 1, &["no password", "looks cut", "&"]),
    ("swaps the arguments", "{mnt} cifs://nas/media", 1, &["not a URL", "The URL comes first"]),
    ("writes //host/share", "//nas/media {mnt}", 1, &["is not a URL", "'cifs://nas/media'"]),
    ("writes \\\\host\\share", r"\\nas\my-media {mnt}", 1, &["is not a URL", "'cifs://nas/my-media'"]),
    ("writes host:/share as for NFS", "nas:/media {mnt}", 1, &["not a URL", "expected cifs://"]),
    ("writes http://", "http://nas/media {mnt}", 1, &["begin with cifs:// or smb://"]),
    ("names a device", "/dev/sda1 {mnt}", 1, &["not a URL", "expected cifs://"]),
    ("forgets the host", "cifs:///media {mnt}", 1, &["names no host"]),
    ("forgets the share", "cifs://nas {mnt}", 1, &["names no share", "cifs://host"]),
    ("forgets the share behind a slash", "cifs://nas/ {mnt}", 1, &["names no share"]),
    ("writes a bad percent-encoding", "cifs://nas/100% {mnt}", 1, &["path", "%25"]),
    ("writes a word as port", "cifs://nas:smb/media {mnt}", 1, &["port", "1 to 65535"]),
    ("writes too large a port", "cifs://nas:70000/media {mnt}", 1, &["port", "1 to 65535"]),
    ("writes IPv6 without brackets", "cifs://fd00::1/media {mnt}", 1, &["IPv6", "brackets", "[fd00::1]"]),
    ("writes a / in the password", "cifs://ann:{mark}/x@nas/media {mnt}", 1, &["percent-encoded", "%2F"]),
    ("writes an & in the password", "cifs://nas/media?auth-username=ann&auth-password=a&b=c {mnt}", 1, &["auth-password", "%26"]),
    ("goes up in the path", "cifs://nas/media/../other {mnt}", 1, &["path", "'..'"]),
    ("misspells a key of the query", "cifs://nas/media?transprot=netbios {mnt}", 1, &["unknown option 'transprot'", "did you mean 'transport'?"]),
    ("gives a key twice", "cifs://nas/media?uid=1&uid=2 {mnt}", 1, &["'uid' twice"]),
    ("names no transport", "cifs://nas/media?transport=quic {mnt}", 1, &["Transport must be one of: directtcp, netbios"]),
    ("misspells an option", "cifs://nas/media {mnt} --readbuffersize=65536", 1, &["--readbuffersize", "--read-buffer-size"]),
    ("misspells an -o option", "cifs://nas/media {mnt} -o allow_othr", 1, &["allow_othr", "allow-other"]),
    ("gives no value", "cifs://nas/media {mnt} --username", 1, &["--username", "value is required"]),
    ("gives no -o value", "cifs://nas/media {mnt} -o", 1, &["-o needs a value"]),
    ("gives a third word", "cifs://nas/media {mnt} other", 1, &["unexpected argument 'other'"]),
    ("writes mount", "mount cifs://nas/media {mnt}", 1, &["no command 'mount'", "cifs-fuse URL DIR mounts"]),
    ("writes umount", "umount {mnt}", 1, &["no command 'umount'", "fusermount3 -u DIR"]),
    ("misspells a command", "staus", 1, &["no command 'staus'", "did you mean 'status'?"]),
    ("lists shares without a server", "shares", 1, &["no server", "URL_OR_HOST"]),
    ("lists shares on a directory", "shares nas {mnt}", 1, &["one server, and no directory"]),
    ("writes a size with a wrong unit", "cifs://nas/media {mnt} --read-buffer-size 64x", 1, &["--read-buffer-size", "64M, 1GiB"]),
    ("writes a cache without a number", "cifs://nas/media {mnt} --cache-size big", 1, &["--cache-size", "64M, 1GiB"]),
    ("wants a tiny cache", "cifs://nas/media {mnt} --cache-size 1M", 1, &["--cache-size", "at least 16 MiB"]),
    ("writes a time without a number", "cifs://nas/media {mnt} --connect-timeout soon", 1, &["--connect-timeout", "30 or 0.5"]),
    ("wants no time", "cifs://nas/media {mnt} --request-timeout 0", 1, &["--request-timeout", "more than 0"]),
    ("writes a decimal mode", "cifs://nas/media {mnt} --file-mode 0999", 1, &["--file-mode", "octal"]),
    ("names an unknown owner", "cifs://nas/media {mnt} --uid nosuchuser", 1, &["--uid", "no such user"]),
    ("wants SMB1", "cifs://nas/media {mnt} -o vers=1.0", 1, &["SMB 1 is not supported", "2.0.2"]),
    ("wants no dialect that exists", "cifs://nas/media {mnt} --min-dialect 4", 1, &["--min-dialect", "3.1.1"]),
    ("wants an empty range of dialects", "cifs://nas/media {mnt} --min-dialect 3.0 --max-dialect 2.1", 1, &["oldest dialect (3.0)", "newest (2.1)"]),
    ("uses port= of mount.cifs", "cifs://nas/media {mnt} -o port=4450", 1, &["port", "part of the URL", "cifs://host:port/share"]),
    ("wants Kerberos", "cifs://nas/media {mnt} -o sec=krb5", 1, &["sec=krb5", "Kerberos"]),
    ("uses ro of the cache", "cifs://nas/media {mnt} -o cache=ro", 1, &["cache=ro", "use ro,cache=loose"]),
    ("remounts what is not mounted", "cifs://nas/media {mnt} -o remount,ro", 32, &["is not in a mount"]),
    ("writes a log target without file:", "cifs://guest@nas/media {mnt} --log-target /tmp/log", 1, &["--log-target", "file:PATH"]),
    ("logs into a directory that is missing", "cifs://guest@{nas}/{share} {mnt} --log-target file:{missing}/log", 2, &["{missing}/log", "No such file"]),
    ("restarts in the foreground", "cifs://guest@nas/media {mnt} --restart --foreground", 1, &["--restart", "--foreground", "Restart=on-failure"]),
    ("restarts with a password of the environment", "AUTH_PASSWORD=x cifs://ann@nas/media {mnt} --restart", 1, &["--restart", "AUTH_PASSWORD", "--credentials FILE"]),
];

#[rustfmt::skip]
const CREDENTIALS: &[Row] = &[
    ("names a missing file", "cifs://{nas}/{share} {mnt} --credentials {missing}", 2, &["credentials file", "{missing}", "No such file"]),
    ("names a directory", "cifs://{nas}/{share} {mnt} --credentials {mnt}", 2, &["credentials file", "{mnt}", "directory"]),
    ("names a file of another user", "as:nobody cifs://{nas}/{share} {his} --credentials {private}", 2, &["credentials file", "{private}", "Permission denied"]),
    ("names an empty file for a user", "cifs://ann@{nas}/{share} {mnt} --credentials {empty}", 1, &["no password for the user 'ann'", "--credentials"]),
    ("names a file that is no text", "cifs://{nas}/{share} {mnt} --credentials {binary}", 1, &["{binary}", "not UTF-8"]),
    ("misspells the password's key", "cifs://{nas}/{share} {mnt} --credentials {misspelt}", 1, &["no password for the user 'ann'", "line 2 is neither username=, password= nor domain="]),
    ("misspells the user's key", "cifs://{nas}/{share} {mnt} --credentials {nameless}", 1, &["no user name", "line 1 is neither"]),
    ("lets others read the file", "cifs://{nas}/{share} {mnt} --credentials {readable}", 33, &["can be read by other users", "chmod 600", LOGON]),
    ("gives a wrong password", "AUTH_PASSWORD=wrong cifs://{user}@{nas}/{share} {mnt}", 33, &["sign-in: ", "wrong user name or password", LOGON, "check the user name, the password"]),
    ("names an unknown user", "AUTH_PASSWORD=wrong cifs://stranger@{nas}/{share} {mnt}", 33, &["sign-in: ", "stranger", LOGON]),
    ("gives a wrong domain and password", "AUTH_PASSWORD=wrong AUTH_DOMAIN=ELSEWHERE cifs://{user}@{nas}/{share} {mnt}", 33, &["sign-in: ", "ELSEWHERE", "domain"]),
    ("signs in as guest where none are", "cifs://{nas}/{share} {mnt} --guest", 33, &["sign-in: ", "guest", LOGON, "--username"]),
    ("names no user", "cifs://{nas}/{share} {mnt}", 33, &["no user is named", "--username NAME", "sign-in: "]),
    ("gives a password without a user", "AUTH_PASSWORD=x cifs://{nas}/{share} {mnt}", 1, &["no user name", "--username NAME"]),
    ("gives a user without a password", "cifs://ann@{nas}/{share} {mnt}", 1, &["no password for the user 'ann'", "--credentials FILE", "AUTH_PASSWORD"]),
    ("gives the password on the command line", "cifs://{nas}/{share} {mnt} --password={mark}", 1, &["ps", "--credentials FILE"]),
    ("names a closed descriptor", "cifs://ann@{nas}/{share} {mnt} --password-fd 99", 2, &["descriptor 99", "No such file"]),
    ("is guest and a user", "cifs://{nas}/{share} {mnt} --guest --username ann", 1, &["guest and a user name exclude each other"]),
    ("is guest and anonymous", "cifs://{nas}/{share} {mnt} --guest --anonymous", 1, &["guest and anonymous exclude each other"]),
];

#[rustfmt::skip]
const MOUNTPOINTS: &[Row] = &[
    ("mounts on nothing", "{as-user} cifs://{nas}/{share} {missing}", 32, &["mountpoint: ", "{missing} does not exist", "mkdir -p {missing}"]),
    ("mounts on a file", "{as-user} cifs://{nas}/{share} {file}", 32, &["mountpoint: ", "is not a directory"]),
    ("mounts on a full directory", "{as-user} cifs://{nas}/{share} {full}", 32, &["mountpoint: ", "is not empty", "empty directory"]),
    ("mounts on a dangling link", "{as-user} cifs://{nas}/{share} {dangling}", 32, &["mountpoint: ", "a symbolic link to {missing}, which does not exist", "connect or create"]),
    ("mounts on a mountpoint", "{as-user} cifs://{nas}/{share} /proc", 32, &["mountpoint: ", "already a mountpoint", "type proc"]),
    ("mounts on a directory of another user", "as:nobody {as-user} cifs://{nas}/{share} {mnt}", 32, &["mount: ", "belongs to you"]),
    ("mounts on a directory that is closed to the user", "as:nobody {as-user} cifs://{nas}/{share} {closed-directory}", 32, &["mountpoint: ", "cannot be read by this user", "belongs to you"]),
    ("lets others in without permission", "as:nobody {as-user} cifs://{nas}/{share} {his} --allow-other", 32, &["mount: ", "user_allow_other", "/etc/fuse.conf"]),
    ("has no fusermount3", "as:nobody FUSERMOUNT_PATH={missing} {as-user} cifs://{nas}/{share} {his}", 32, &["mount: ", "FUSERMOUNT_PATH"]),
];

#[rustfmt::skip]
const SERVERS: &[Row] = &[
    ("misspells the host", "cifs://guest@no-such-host.invalid/media {mnt}", 32, &["name resolution: ", "no-such-host.invalid", "check the host's name"]),
    ("uses a port without a server", "cifs://guest@{closed}/media {mnt}", 32, &["connect: ", "refused", "server is up", "port"]),
    ("uses the port of a web server", "cifs://guest@{http}/media {mnt}", 32, &["dialect: ", "not an SMB server", "HTTP", "445"]),
    ("uses the port of SSH", "cifs://guest@{ssh}/media {mnt}", 32, &["dialect: ", "not an SMB server", "SSH", "445"]),
    ("uses the port of TLS", "cifs://guest@{tls}/media {mnt}", 32, &["dialect: ", "not an SMB server", "TLS", "445"]),
    ("uses the port of garbage", "cifs://guest@{garbage}/media {mnt}", 32, &["dialect: ", "not an SMB server", "445"]),
    ("uses the port of a silent server", "cifs://guest@{silent}/media {mnt} --connect-timeout 1", 32, &["dialect: ", "never answered", "445"]),
    ("uses the port of a server that hangs up", "cifs://guest@{closing}/media {mnt}", 32, &["dialect: ", "closed the connection", "SMB1", "445"]),
    ("mounts from an SMB1 server", "cifs://guest@{smb1}/media {mnt}", 32, &["dialect: ", "speaks only SMB1", "enable SMB2 or SMB3"]),
    ("uses netbios on another port", "cifs://guest@{ssh}/media?transport=netbios {mnt} --connect-timeout 1", 32, &["connect: ", "NetBIOS", "leave out transport=netbios"]),
    ("wants SMB 3.1.1 from an old server", "{as-user} cifs://{old}/{share} {mnt} --min-dialect 3.1.1", 32, &["dialect: ", "none of the offered dialects", "leave out", "--min-dialect"]),
    ("wants encryption from an old server", "{as-user} cifs://{old}/{share} {mnt} -o seal", 32, &["dialect: ", "encryption is required", "leave out --encryption required"]),
    ("switches encryption off where it is required", "{as-user} cifs://{sealed}/{share} {mnt} --encryption off", 33, &["require encryption", "leave out --encryption off"]),
    ("uses SMB 2 where encryption is required", "{as-user} cifs://{sealed}/{share} {mnt} --vers 2.1", 33, &["require encryption", "leave out --vers"]),
    ("is guest where encryption is required", "cifs://{sealed}/{share} {mnt} --guest", 33, &["encryption", "guest", "--username NAME"]),
    ("is guest and requires signing", "cifs://{open}/{share} {mnt} --guest --signing required", 32, &["sign-in: ", "no key to sign with", "leave out --signing required"]),
    ("is guest and requires encryption", "cifs://{open}/{share} {mnt} --guest --encryption required", 32, &["sign-in: ", "no key", "leave out --encryption required"]),
    ("misspells the share", "{as-user} cifs://{nas}/shaer {mnt}", 32, &["share: ", "STATUS_BAD_NETWORK_NAME", "did you mean \"share\"?", "cifs-fuse shares 'cifs://{nas}' --username {user}"]),
    ("names another share", "{as-user} cifs://{nas}/xyz {mnt}", 32, &["share: ", "no share \"xyz\"", "It has \"share\"", "cifs-fuse shares"]),
    ("names the pipes", "{as-user} cifs://{nas}/IPC$ {mnt}", 32, &["share: ", "not a share of files", "cifs-fuse shares"]),
    ("misspells the folder", "{as-user} cifs://{nas}/{share}/nowhere {mnt}", 32, &["path: ", "no folder \"nowhere\"", "after the share's name"]),
    ("names a file", "{as-user} cifs://{nas}/{share}/a-file {mnt}", 32, &["path: ", "\"a-file\" is a file", "folder on the share"]),
    ("lists the shares with a wrong password", "AUTH_USERNAME={user} AUTH_PASSWORD=wrong shares {nas}", 33, &["sign-in: ", LOGON]),
    ("mounts with a wrong size", "AUTH_USERNAME={user} AUTH_PASSWORD=wrong cifs://{nas}/{share} {mnt} --write-buffer-size=-1", 33, &["write-buffer-size=-1 is ignored"]),
];

/// The servers and places of the table.
struct World {
    names: HashMap<String, String>,
    servers: Vec<Arc<Server>>,
}

impl World {
    fn new() -> World {
        let start = |settings| Arc::new(Server::start(Kind::Smbd, settings));
        let guests = Settings { guests: true, ..Settings::default() };
        let servers = vec![
            Server::shared(Kind::Smbd),
            start(Settings { dialects: Some((Dialect::Smb202, Dialect::Smb210)), ..Settings::default() }),
            start(Settings { encryption: Demand::Required, ..guests.clone() }),
            start(guests),
        ];
        let mut world = World { names: HashMap::new(), servers };
        for (index, name) in ["nas", "old", "sealed", "open"].into_iter().enumerate() {
            world.is(name, format!("127.0.0.1:{}", world.servers[index].port()));
        }
        fs::write(world.servers[0].folder().join("a-file"), "x").unwrap();
        world.is("share", SHARE);
        world.is("user", user());
        world.is("mark", PASSWORD_MARK);
        world.is("as-user", format!("AUTH_USERNAME={} AUTH_PASSWORD={}", user(), escaped(PASSWORD)));
        // smbd starts the program that lists its shares at the first call, which can take seconds.
        let mut listing = crate::support::mount::program(["shares", &*world.filled("{nas}")]);
        run(listing.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", PASSWORD), LIMIT).success();
        world.has_scripted_servers();
        world.has_places();
        world
    }

    fn is(&mut self, name: &str, value: impl Into<String>) {
        self.names.insert(format!("{{{name}}}"), value.into());
    }

    fn has_scripted_servers(&mut self) {
        // An SMB_COM_NEGOTIATE response (MS-CIFS 2.2.4.52.2) that chose no dialect.
        let smb1 =
            b"\0\0\0\x25\xffSMB\x72\0\0\0\0\x80\x01\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\0\0";
        for (name, stranger) in [
            ("http", Stranger::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            ("ssh", Stranger::Answers(b"SSH-2.0-OpenSSH_9.2\r\n")),
            ("tls", Stranger::Answers(b"\x15\x03\x01\0\x02\x02\x46")),
            ("garbage", Stranger::Answers(b"\x9f\x8e\x7d\x6c\x5b\x4a\x39\x28")),
            ("smb1", Stranger::Answers(smb1)),
            ("closing", Stranger::Closes),
            ("silent", Stranger::IsSilent),
        ] {
            self.is(name, format!("127.0.0.1:{}", stranger.start()));
        }
        self.is("closed", format!("127.0.0.1:{}", scratch::free_port()));
    }

    fn has_places(&mut self) {
        let folder = scratch::folder("mistakes");
        let make = |name: &str| {
            let path = folder.join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        fs::write(make("full").join("precious"), "x").unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        symlink(folder.join("missing"), folder.join("dangling")).unwrap();
        make("mnt");
        let wrong = format!("username={}\npassword=wrong\n", user());
        for (name, content, mode) in [
            ("private", &*wrong, 0o600),
            ("readable", &*wrong, 0o644),
            ("empty", "", 0o600),
            ("misspelt", "username=ann\npasword=x\n", 0o600),
            ("nameless", "usrname=ann\npassword=x\n", 0o600),
        ] {
            fs::write(folder.join(name), content).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::write(folder.join("binary"), [0xff, 0xfe, 0]).unwrap();
        fs::set_permissions(make("closed-directory"), Permissions::from_mode(0o700)).unwrap();
        // Only root can make a place of another user; without root the rows of another user are skipped.
        let _ = std::os::unix::fs::chown(make("his"), Some(NOBODY), Some(NOBODY));
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            self.is(entry.file_name().to_str().unwrap(), entry.path().to_str().unwrap());
        }
        self.is("missing", folder.join("missing").to_str().unwrap());
    }

    fn filled(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        // Values contain names too.
        for _ in 0..2 {
            for (name, value) in &self.names {
                filled = filled.replace(name, value);
            }
        }
        filled
    }

    /// Runs the row's command line; what is wrong with the message, or nothing.
    fn problem(&self, (does, line, code, says): &Row) -> Option<String> {
        let filled = self.filled(line);
        let mut words: Vec<String> = filled.split_whitespace().map(unescaped).collect();
        let is_other = words.first().is_some_and(|word| word == "as:nobody");
        if is_other {
            words.remove(0);
            if !rustix::process::geteuid().is_root() {
                eprintln!("skipped: only root can run the program as another user: {does}");
                return None;
            }
        }
        let is_variable = |word: &String| {
            word.split('=').next().is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
                && word.contains('=')
        };
        let variables = words.iter().take_while(|word| is_variable(word)).count();
        let mut command = Command::new(if is_other { program_for_all() } else { Path::new(PROGRAM) });
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(words[..variables].iter().filter_map(|word| word.split_once('=')));
        command.args(&words[variables..]);
        if is_other {
            command.uid(NOBODY).gid(NOBODY);
        }
        let outcome = run(&mut command, LIMIT);
        eprintln!("--- {does}: {:?} after {:?}\n{}", outcome.code, outcome.took, outcome.stderr.trim_end());
        let mounted = ["{mnt}", "{his}"].map(|place| self.filled(place)).into_iter();
        for place in mounted.filter(|place| mountinfo::at(Path::new(place)).is_some()) {
            run(Command::new("umount").args(["-l", &*place]), LIMIT);
        }
        let text = outcome.stderr.to_lowercase();
        let missing: Vec<String> =
            says.iter().map(|word| self.filled(word)).filter(|word| !text.contains(&word.to_lowercase())).collect();
        let wrong = [
            (outcome.code != Some(*code), "the exit code"),
            (!outcome.stderr.starts_with("cifs-fuse: "), "the beginning"),
            (outcome.stderr.lines().count() > MOST_LINES, "the length"),
            (!outcome.stdout.is_empty(), "standard output"),
            (text.contains("panicked") || outcome.stderr.contains(PASSWORD_MARK), "a panic or a password"),
            (!missing.is_empty(), "missing words"),
        ];
        let wrong: Vec<&str> = wrong.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
        (!wrong.is_empty()).then(|| format!("{does}: {wrong:?} {missing:?} in {outcome}"))
    }

    #[track_caller]
    fn all_are_answered(&self, table: &[Row]) {
        let problems: Vec<String> = table.iter().filter_map(|row| self.problem(row)).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    }
}

/// A word without the spaces that separate the words of a row.
fn escaped(text: &str) -> String {
    text.replace(' ', "\u{1}")
}

fn unescaped(word: &str) -> String {
    word.replace('\u{1}', " ")
}

#[test]
fn every_mistake_is_answered_with_its_stage_its_cause_and_its_remedy() {
    let rows = [COMMAND_LINES, CREDENTIALS, MOUNTPOINTS, SERVERS].concat();
    assert!(rows.len() >= 100, "{}", rows.len());
    World::new().all_are_answered(&rows);
}
