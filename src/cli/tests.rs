//! Command lines as users, mount(8) and systemd write them.

use super::*;
use crate::config::ownership::Fixed;
use crate::config::{
    CacheMode, Dialect, Identity, Keeping, OwnerOptions, OwnerSource, Protection, Symlinks, Transport,
};
use secrecy::ExposeSecret;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn environment() -> Environment {
    Environment {
        current_directory: PathBuf::from("/here"),
        find_in_keyring: Some(|server, _| {
            let username = Some(format!("ann of {server}"));
            Ok(Some(Credentials { username, password: Some("kept".into()), domain: None }))
        }),
        ..Environment::default()
    }
}

fn parse_in(environment: &Environment, arguments: &[&str]) -> Result<Invocation, CliError> {
    parse(arguments.iter().map(OsString::from).collect(), environment)
}

/// Parses a call by hand, with these arguments after the program's name.
fn parsed(arguments: &[&str]) -> Invocation {
    let all = [&["cifs-fuse"], arguments].concat();
    parse_in(&environment(), &all).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn options_of(more: &[&str]) -> MountOptions {
    parsed(&[&["cifs://nas/media", "/mnt"], more].concat()).spec.options
}

/// The exit code and the message for a call with these arguments after the program's name.
fn refused(arguments: &[&str]) -> (u8, String) {
    let error = parse_in(&environment(), &[&["cifs-fuse"], arguments].concat()).expect_err("this must be refused");
    (error.exit_code(), error.to_string())
}

fn password_of(invocation: &Invocation) -> (String, String) {
    match &invocation.spec.identity {
        Identity::Anonymous => panic!("the session is anonymous"),
        Identity::User { username, password, .. } => (username.clone(), password.expose_secret().to_owned()),
    }
}

#[test]
fn a_url_and_a_directory_are_enough_and_leave_the_defaults() {
    let invocation = parsed(&["cifs://nas/media/films", "/mnt/films"]);
    assert_eq!(invocation.spec.url.to_string(), "cifs://nas/media/films");
    assert_eq!(invocation.spec.mountpoint, Path::new("/mnt/films"));
    assert_eq!(invocation.spec.options, MountOptions::default());
    assert_eq!(password_of(&invocation), ("guest".to_owned(), String::new()));
    assert!(!invocation.foreground && !invocation.fake && !invocation.verbose);
    assert_eq!(
        invocation.log,
        LogSettings { level: LogLevel::Fixed("warn".to_owned()), target: LogTarget::StderrAndSyslog }
    );
    let [warning] = &invocation.warnings[..] else { panic!("{:?}", invocation.warnings) };
    assert!(warning.contains("no user is named") && warning.contains("--username"), "{warning}");
    assert_eq!(parsed(&["cifs://nas/media", "/mnt", "--guest"]).warnings, Vec::<String>::new());
}

#[test]
fn the_attribute_timeout_depends_on_the_cache_mode_unless_it_is_set() {
    let timeout = |options: &[&str]| options_of(options).attr_timeout;
    assert_eq!(timeout(&[]), Duration::from_secs(1));
    assert_eq!(timeout(&["--cache=none"]), Duration::ZERO);
    assert_eq!(timeout(&["-o", "cache=loose"]), Duration::from_secs(30));
    assert_eq!(timeout(&["--cache=loose", "--attr-timeout=5"]), Duration::from_secs(5));
}

#[test]
fn every_long_option_has_an_effect() {
    let options = options_of(&[
        "--uid=5",
        "--gid=6",
        "--file-mode=0600",
        "--dir-mode=700",
        "--owner=server",
        "--chmod=ignore",
        "--chown=deny",
        "--ro",
        "--noexec",
        "--allow-other",
        "--cache=loose",
        "--symlinks=mfsymlinks",
        "--cache-size=64M",
        "--attr-timeout=0.5",
        "--read-buffer-size=65536",
        "--write-buffer-size=99999999999",
        "--connections=7",
        "--connect-timeout=3",
        "--request-timeout=4s",
        "--min-dialect=2.1",
        "--max-dialect=3.0.2",
        "--signing=required",
        "--encryption=off",
        "--transport=NetBIOS",
        "--metrics=:9311",
    ]);
    let expected = MountOptions {
        metrics: MetricsAddress::parse(":9311", Path::new("/")).ok(),
        uid: 5,
        gid: 6,
        file_mode: 0o600,
        dir_mode: 0o700,
        owner: OwnerOptions {
            source: OwnerSource::Server,
            chmod: Keeping::Ignore,
            chown: Keeping::Deny,
            fixed: Fixed { uid: true, gid: true, file_mode: true, dir_mode: true },
        },
        read_only: true,
        allow_other: true,
        kernel: KernelFlags { no_suid: true, no_dev: true, no_exec: true },
        cache_size: 64 << 20,
        cache: CacheMode::Loose,
        symlinks: Symlinks::MfSymlinks,
        attr_timeout: Duration::from_millis(500),
        read_buffer_size: Some(65536),
        write_buffer_size: Some(u32::MAX),
        connections: 7,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(4),
        dialects: DialectRange { lowest: Dialect::Smb210, highest: Dialect::Smb302 },
        signing: Protection::Required,
        encryption: Protection::Off,
        transport: Transport::NetBios,
    };
    assert_eq!(options, expected);
}

#[test]
fn every_mount_option_has_the_same_effect_in_all_three_places() {
    // A value for each option other than its default.
    let file = tempfile::NamedTempFile::new().unwrap();
    let value = |name: &str| match name {
        "username" | "domain" => "ann".to_owned(),
        "credentials" => file.path().to_str().unwrap().to_owned(),
        "password-fd" => "0".to_owned(),
        "transport" => "netbios".to_owned(),
        "min-dialect" | "max-dialect" | "vers" => "3.0".to_owned(),
        "signing" | "encryption" => "required".to_owned(),
        "file-mode" | "dir-mode" => "0700".to_owned(),
        "owner" => "server".to_owned(),
        "chmod" | "chown" => "ignore".to_owned(),
        "cache" => "none".to_owned(),
        "symlinks" => "off".to_owned(),
        "cache-size" | "read-buffer-size" | "write-buffer-size" => "20000000".to_owned(),
        "log-level" => "trace".to_owned(),
        "log-target" => "file:/tmp/x".to_owned(),
        "metrics" => ":9311".to_owned(),
        "connections" => "9".to_owned(),
        "uid" | "gid" | "connect-timeout" | "request-timeout" | "attr-timeout" => "77".to_owned(),
        "guest" | "anonymous" | "keyring" | "ro" | "noexec" | "allow-other" | "restart" => "true".to_owned(),
        other => panic!("no value is defined for {other}"),
    };
    // The debug form shows everything that an option can change. An option that reads a descriptor is skipped.
    let shown = |url: &str, more: &[&str]| {
        let invocation = parsed(&[&[url, "/mnt", "-f"], more].concat());
        let mut spec = invocation.spec;
        spec.url.overrides.clear();
        // The command line itself differs, so it is not compared.
        spec.restart = spec.restart.map(|_| MountCommand::default());
        format!("{spec:?} {:?} {:?}", invocation.log, invocation.warnings)
    };
    let plain = shown("cifs://nas/m", &[]);
    for arg in args::mount_options() {
        let name = arg.get_long().unwrap();
        if name == "password-fd" {
            continue;
        }
        let value = value(name);
        let long = shown("cifs://nas/m", &[&format!("--{name}={value}")]);
        assert_eq!(shown("cifs://nas/m", &["-o", &format!("{}={value}", name.replace('-', "_"))]), long, "{name}");
        if name != "transport" {
            assert_eq!(shown(&format!("cifs://nas/m?{name}={value}"), &[]), long, "{name}");
        }
        // These are the exceptions: a guest signs in anyway, and an empty credentials file changes nothing.
        assert!(long != plain || ["guest", "credentials"].contains(&name), "{name} changes nothing");
    }
}

#[test]
fn options_in_the_url_override_the_command_line() {
    let url = "cifs://nas/media?transport=netbios&read-buffer-size=65536&ro=false&file_mode=0600&uid=";
    let options =
        parsed(&[url, "/mnt", "--transport=directtcp", "--read-buffer-size=20000", "--ro", "--uid=5"]).spec.options;
    assert_eq!(options.transport, Transport::NetBios);
    assert_eq!(options.read_buffer_size, Some(65536));
    assert_eq!(options.file_mode, 0o600);
    assert!(!options.read_only);
    // An empty value is ignored.
    assert_eq!(options.uid, 5);
    assert!(parsed(&["cifs://nas/media?ro", "--", "/mnt"]).spec.options.read_only);
}

#[test]
fn the_last_of_several_options_counts() {
    assert!(!options_of(&["-o", "ro", "-o", "rw"]).read_only);
    assert!(options_of(&["-o", "rw,ro"]).read_only);
    assert_eq!(options_of(&["--uid=1", "-o", "uid=2"]).uid, 2);
    assert_eq!(options_of(&["-o", "uid=2", "--uid", "1"]).uid, 1);
}

#[test]
fn vers_is_a_range_that_min_and_max_dialect_narrow() {
    let range =
        |more: &[&str]| options_of(more).dialects.dialects().map(|d| d.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(range(&["-o", "vers=3"]), "3.0 3.0.2 3.1.1");
    assert_eq!(range(&["-o", "vers=2.1"]), "2.1");
    assert_eq!(range(&["-o", "vers=3,max-dialect=3.0.2"]), "3.0 3.0.2");
    assert!(refused(&["cifs://nas/m", "/mnt", "--min-dialect=3.0", "--max-dialect=2.1"]).1.contains("newer"));
}

#[test]
fn a_mount_helper_accepts_the_arguments_of_mount() {
    // Calls of helpers by util-linux 2.38.
    for arguments in [
        &["/sbin/mount.fuse.cifs", "cifs://nas/m", "/mnt", "-o", "rw"][..],
        &["/sbin/mount.fuse.cifs", "cifs://nas/m", "/mnt", "-s", "-f", "-n", "-v", "-o", "rw,zzz"],
        &["/sbin/mount.fuse.cifs", "cifs://nas/m", "/mnt", "-o", "rw", "-t", "fuse.cifs"],
        &["/sbin/mount.fuse.cifs", "cifs://nas/m", "/mnt", "-sfnv", "-o", "rw"],
        &["cifs-fuse", "cifs://nas/m", "/mnt", "-o", "rw,uid=5,allow_other,dev,suid"],
    ] {
        parse_in(&environment(), arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
    let fstab = "rw,noexec,nosuid,nodev,uid=1000,read-buffer-size=65536,_netdev,nofail,user";
    let invocation =
        parse_in(&environment(), &["/sbin/mount.x", "cifs://nas/m", "/mnt", "-f", "-v", "-o", fstab]).unwrap();
    let options = invocation.spec.options;
    assert_eq!((options.uid, options.read_buffer_size), (1000, Some(65536)));
    assert_eq!(options.kernel, KernelFlags { no_suid: true, no_dev: true, no_exec: true });
    assert!(invocation.fake && invocation.verbose);
}

#[test]
fn suid_and_dev_are_accepted_without_effect() {
    assert_eq!(options_of(&["-o", "rw,dev,suid"]).kernel, KernelFlags::default());
    assert!(!options_of(&["-o", "noexec,exec"]).kernel.no_exec);
}

#[test]
fn a_line_of_fstab_for_mount_cifs_mounts_with_one_warning() {
    let line = "vers=3.0,sec=ntlmssp,iocharset=utf8,noperm,nobrl,serverino,soft,nounix,mfsymlinks,file_mode=0644,seal";
    let invocation = parsed(&["cifs://nas/m", "/mnt", "--guest", "-o", line, "-o", "nobrl,multichannel"]);
    let [warning] = &invocation.warnings[..] else { panic!("{:?}", invocation.warnings) };
    for name in ["iocharset=utf8", "noperm", "nobrl", "serverino", "soft", "nounix", "multichannel"] {
        assert_eq!(warning.matches(name).count(), 1, "{warning}");
    }
    assert_eq!(invocation.spec.options.encryption, Protection::Required);
    assert_eq!(invocation.spec.options.file_mode, 0o644);
    assert_eq!(invocation.spec.options.symlinks, Symlinks::MfSymlinks);
    // What is refused in several -o is said at once.
    let (code, said) = refused(&["cifs://nas/m", "/mnt", "-o", "multiuser", "-o", "sec=krb5,zzz"]);
    assert!(code == 1 && ["multiuser", "sec=krb5", "zzz"].iter().all(|name| said.contains(name)), "{said}");
}

#[test]
fn a_remount_is_no_mount_and_another_namespace_is_refused() {
    let (code, said) = refused(&["cifs://nas/m", "/mnt", "-o", "ro,remount"]);
    assert!(code == 1 && said.contains("remount changes a running mount"), "{said}");
    let (code, said) = refused(&["cifs://nas/m", "/mnt", "-N", "12", "-o", "rw"]);
    assert!(code == 1 && said.contains("nsenter"), "{said}");
}

#[test]
fn a_helper_under_systemd_warns_of_a_mount_that_systemd_treats_as_local() {
    let environment = Environment { systemd: true, ..environment() };
    let warned = |arguments: &[&str]| {
        let warnings = parse_in(&environment, arguments).unwrap().warnings;
        warnings.iter().any(|warning| warning.contains("_netdev"))
    };
    assert!(warned(&["/sbin/mount.cifs-fuse", "cifs://nas/m", "/mnt", "-o", "rw"]));
    assert!(!warned(&["/sbin/mount.cifs-fuse", "cifs://nas/m", "/mnt", "-o", "rw,_netdev"]));
    assert!(!warned(&["/sbin/mount.fuse.cifs", "cifs://nas/m", "/mnt", "-o", "rw"]));
    assert!(!warned(&["/sbin/mount.fuse", "cifs://nas/m", "/mnt", "-o", "rw", "-t", "fuse.cifs"]));
    assert!(!warned(&["cifs-fuse", "cifs://nas/m", "/mnt", "-o", "rw"]));
}

#[test]
fn a_wrong_command_line_is_a_usage_error_that_names_the_problem() {
    for (arguments, said) in [
        (&[][..], "nothing to mount"),
        (&["statsu", "/mnt"], "no command 'statsu'; did you mean 'status'?"),
        (&["//nas/m", "/mnt"], "write the share as 'cifs://nas/m'"),
        (&[r"\\nas\my m", "/mnt"], "write the share as 'cifs://nas/my%20m'"),
        (&["/nas/m", "/mnt"], "expected cifs://host"),
        (&["/mnt", "cifs://nas/m"], "The URL comes first"),
        (&["cifs://nas/m"], "no directory to mount on"),
        (&["cifs://nas/m", ""], "value is required for '[DIR]'"),
        (&["cifs://nas/m?auth-username=ann"], "single quotes"),
        (&["cifs://nas", "/mnt"], "names no share"),
        (&["cifs://nas/m", "/mnt", "/more"], "unexpected argument '/more'"),
        (&["cifs://nas/m", "/mnt", "--transport=quic"], "Transport must be one of: directtcp, netbios"),
        (&["cifs://nas/m?transport=quic", "/mnt"], "Transport must be one of: directtcp, netbios"),
        (&["cifs://nas/m", "/mnt", "-o", "transport=quic"], "Transport must be one of: directtcp, netbios"),
        (&["cifs://nas/m", "/mnt", "--read-buffer-size=64q"], "'64q' for '--read-buffer-size"),
        (&["cifs://nas/m", "/mnt", "-o", "write_buffer_size=1e6"], "'1e6' for '--write-buffer-size"),
        (&["cifs://nas/m?Write-Buffer-Size=lots", "/mnt"], "'lots' for '--write-buffer-size"),
        (&["cifs://nas/m?cachesize=1", "/mnt"], "did you mean 'cache-size'?"),
        (&["cifs://nas/m?cache=1", "/mnt"], "must be one of: strict, none, loose"),
        (&["cifs://nas/m", "/mnt", "-o", "allow_othre"], "did you mean 'allow-other'?"),
        (&["cifs://nas/m", "/mnt", "-o"], "-o needs a value"),
        (&["cifs://nas/m", "/mnt", "--guest", "--anonymous"], "exclude each other"),
        (&["cifs://nas/m", "/mnt", "-o", "guest,username=ann"], "exclude each other"),
        (&["cifs://ann@nas/m", "/mnt"], "no password for the user 'ann'"),
        (&["cifs://nas/m", "/mnt", "--log-level=loud"], "'loud' is no log level"),
        (&["cifs://nas/m", "/mnt", "--log-target=journal"], "'journal' is no log target"),
        (&["cifs://nas/m", "/mnt", "--file-mode=4755"], "octal"),
        (&["cifs://nas/m", "/mnt", "--vers=1.0"], "SMB 1"),
    ] {
        let (code, message) = refused(arguments);
        assert_eq!(code, 1, "{arguments:?}");
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
}

#[test]
fn a_missing_credentials_file_is_a_system_error() {
    let (code, said) = refused(&["cifs://nas/m", "/mnt", "--credentials=/nowhere/nas"]);
    assert_eq!(code, 2);
    assert!(said.contains("/nowhere/nas"), "{said}");
}

#[test]
fn help_and_version_are_answers() {
    for (argument, said) in [
        ("-h", "--credentials"),
        ("--help", "Exit codes:"),
        ("help", "Exit codes:"),
        ("-V", "cifs-fuse 0."),
        ("--version", "cifs-fuse"),
    ] {
        let (code, text) = refused(&[argument]);
        assert_eq!(code, 0);
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(refused(&["--print-options-table"]), (0, options_table()));
}

#[test]
fn a_password_comes_from_the_place_of_highest_priority() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nas");
    fs::write(&file, "username=ann\npassword=from file\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let credentials = format!("credentials={}", file.display());
    let mut environment = environment();
    environment.credentials.password = Some(SecretString::from("from environment"));
    let who = |arguments: &[&str]| {
        let invocation = parse_in(&environment, &[&["cifs-fuse"], arguments].concat()).unwrap();
        assert!(invocation.spec.url.password.is_none(), "the URL's password is not kept twice");
        (password_of(&invocation), invocation.warnings)
    };
    let answer = |user: &str, password: &str| ((user.to_owned(), password.to_owned()), Vec::<String>::new());
    assert_eq!(who(&["cifs://nas/m", "/mnt", "--username=ann"]), answer("ann", "from environment"));
    assert_eq!(who(&["cifs://nas/m", "/mnt", "-o", &credentials]), answer("ann", "from file"));
    let url = "cifs://nas/m?auth-username=ann&auth-password=from+url";
    assert_eq!(who(&[url, "/mnt", "-o", &credentials]), answer("ann", "from url"));
    assert_eq!(who(&["cifs://bob:from%20userinfo@nas/m", "/mnt"]), answer("bob", "from userinfo"));

    let ((user, password), warnings) = who(&["cifs://nas/m", "/mnt", "-o", "username=ann,pass=\"from, fstab\""]);
    assert_eq!((&*user, &*password), ("ann", "from, fstab"));
    assert!(warnings.iter().any(|warning| warning.contains("/etc/fstab")), "{warnings:?}");
}

#[test]
fn a_mount_that_restarts_keeps_its_command_line_without_a_password() {
    let restart = |arguments: &[&str]| parsed(arguments).spec.restart;
    let words = ["cifs://nas/m", "mnt", "--guest", "-o", "ro,restart"];
    assert_eq!(restart(&words[..3]), None);
    let kept = restart(&words).unwrap();
    assert_eq!(kept.directory, Path::new("/here"));
    assert_eq!(kept.words, ["cifs-fuse", "cifs://nas/m", "mnt", "--guest", "--ro", "--restart"]);
    // Parsed again, the words mean the same.
    let again: Vec<&str> = kept.words.iter().map(|word| word.to_str().unwrap()).collect();
    assert_eq!(parse_in(&environment(), &again).unwrap().spec.restart, Some(kept.clone()));

    for words in [
        &["cifs://ann:hunter2@nas/m", "/mnt", "--restart"][..],
        &["cifs://nas/m?auth-username=ann&auth-password=hunter2&restart", "/mnt"],
        &["cifs://nas/m", "/mnt", "-o", "restart,username=ann,password=hunter2"],
        &["cifs://nas/m", "/mnt", "--restart", "--username=ann", "--password-fd=99"],
    ] {
        let (code, said) = refused(words);
        assert!(code == 1 && said.contains("--credentials FILE") && !said.contains("hunter2"), "{said}");
    }
    let (code, said) = refused(&["cifs://nas/m", "/mnt", "--restart", "--foreground"]);
    assert!(code == 1 && said.contains("Restart=on-failure"), "{said}");
}

#[test]
fn a_domain_is_accepted_before_the_name_in_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    for (number, separator) in ["\\", "/"].iter().enumerate() {
        let ann = format!("WG{separator}ann");
        let encoded = ann.replace('\\', "%5C").replace('/', "%2F");
        let credentials = file(&number.to_string(), format!("username={ann}\npassword=pw\n"));
        let arguments = [
            vec![format!("cifs://{encoded}:pw@nas/m")],
            vec![format!("cifs://nas/m?auth-username={ann}&auth-password=pw")],
            vec![format!("cifs://nas/m?auth-username={encoded}&auth-password=pw")],
            vec!["cifs://nas/m".to_owned(), format!("--username={ann}")],
            vec!["cifs://nas/m".to_owned(), "-o".to_owned(), format!("username={ann}")],
            vec!["cifs://nas/m".to_owned(), "-o".to_owned(), format!("user={ann},ro")],
            vec!["cifs://nas/m".to_owned(), format!("--credentials={credentials}")],
            vec!["cifs://nas/m".to_owned()],
        ];
        for words in arguments {
            // The environment has the password for every call, and names the user for the last one.
            let environment = Environment {
                credentials: Credentials {
                    username: (words.len() == 1 && !words[0].contains("ann")).then(|| ann.clone()),
                    password: Some(SecretString::from("pw")),
                    domain: None,
                },
                ..environment()
            };
            let mut line = vec!["cifs-fuse", words[0].as_str(), "/mnt"];
            line.extend(words[1..].iter().map(String::as_str));
            match parse_in(&environment, &line).unwrap_or_else(|error| panic!("{line:?}: {error}")).spec.identity {
                Identity::User { username, domain, .. } => {
                    assert_eq!((&*username, domain.as_deref()), ("ann", Some("WG")), "{line:?}");
                }
                Identity::Anonymous => panic!("{line:?}"),
            }
        }
    }
}

#[test]
fn nobody_is_asked_for_a_mount_that_cannot_work_or_is_not_made() {
    let environment = Environment { ask: Some(|_, _| panic!("the terminal must not be used")), ..environment() };
    for url in ["cifs://ann@127.0.0.1:1/m", "cifs://127.0.0.1:1/m"] {
        parse_in(&environment, &["cifs-fuse", url, "/mnt", "-f"]).unwrap();
        let error = parse_in(&environment, &["cifs-fuse", url, "/no/such/directory"]).unwrap_err();
        assert!(error.exit_code() == 32 && error.to_string().starts_with("mountpoint: "), "{error}");
        let free = tempfile::tempdir().unwrap();
        let error = parse_in(&environment, &["cifs-fuse", url, free.path().to_str().unwrap()]).unwrap_err();
        assert!(error.exit_code() == 32 && error.to_string().starts_with("connect: "), "{error}");
    }
    let restarting = ["cifs-fuse", "cifs://nas/m", "/mnt", "--restart"];
    assert_eq!(password_of(&parse_in(&environment, &restarting).unwrap()).0, "guest");
}

#[test]
fn a_relative_mountpoint_refers_to_the_current_directory() {
    assert_eq!(parsed(&["cifs://nas/m", "films"]).spec.mountpoint, Path::new("/here/films"));
}

#[test]
fn the_log_is_set_by_the_option_then_by_the_environment_then_by_v() {
    let filter = |environment: &Environment, more: &[&str]| {
        let invocation =
            parse_in(environment, &[&["cifs-fuse", "cifs://nas/m", "/mnt", "--guest"], more].concat()).unwrap();
        let LogLevel::Fixed(filter) = invocation.log.level else { panic!("the level is not in a file") };
        (filter, invocation.warnings.len())
    };
    let said = |text: &str| Environment { log_filter: Some(text.to_owned()), ..environment() };
    assert_eq!(filter(&environment(), &["-v"]), ("warn,cifs_fuse=info".to_owned(), 0));
    assert_eq!(filter(&said("cifs_fuse::wire=trace"), &["-v"]), ("warn,cifs_fuse::wire=trace".to_owned(), 0));
    assert_eq!(filter(&said("debug"), &["--log-level=error"]), ("error".to_owned(), 0));
    assert_eq!(filter(&said("loud"), &[]), ("warn".to_owned(), 1));
}

#[test]
fn a_negative_buffer_size_is_ignored_with_a_warning_and_a_small_one_is_passed_on() {
    let invocation = parsed(&["cifs://nas/m", "/mnt", "--guest", "--read-buffer-size=-5", "--write-buffer-size=4096"]);
    assert_eq!(invocation.spec.options.read_buffer_size, None);
    assert_eq!(invocation.spec.options.write_buffer_size, Some(4096));
    assert!(invocation.warnings[0].contains("read-buffer-size=-5"), "{:?}", invocation.warnings);
}

#[test]
fn no_error_and_no_debug_form_shows_a_password() {
    for arguments in [
        &["cifs://ann:hunter2@nas/m?transport=quic", "/mnt"][..],
        &["nas/m?auth-password=hunter2", "/mnt"],
        &["http://ann:hunter2@nas/m", "/mnt"],
        &["cifs://nas/m", "/mnt", "cifs://ann:hunter2@nas/m"],
        &["cifs://nas/m", "/mnt", "-o", "password=hunter2,zzz"],
        &["cifs://nas/m", "/mnt", "-o", "password=\"hunter2"],
        &["cifs://nas/m", "/mnt", "-o", "password=hunter2"],
        &["cifs://nas/m", "/mnt", "--password=hunter2"],
        &["cifs://ann:hunter2@nas/m", "--read-buffer-size=x", "/mnt"],
    ] {
        let (_, said) = refused(arguments);
        assert!(!said.contains("hunter2"), "{said}");
    }
    let invocation = parsed(&["cifs://ann:hunter2@nas/m", "/mnt", "-o", "password=hunter2"]);
    assert!(!format!("{invocation:?}").contains("hunter2"));
}
