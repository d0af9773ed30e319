//! Which account signs in, for all places of credentials.

use super::*;
use secrecy::ExposeSecret;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

fn says(username: &str, password: &str, domain: &str) -> Credentials {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Credentials { username: some(username), password: some(password).map(SecretString::from), domain: some(domain) }
}

fn sources() -> Sources {
    Sources {
        url: Credentials::default(),
        options: Credentials::default(),
        file: None,
        password_fd: None,
        directory: None,
        environment: Credentials::default(),
        keyring: None,
        sign_in_as: SignInAs::Named,
        when_missing: WhenMissing::Refuse,
        remembered: None,
    }
}

/// `domain\user:password`, or `nobody` for an anonymous session.
fn resolved(sources: Sources) -> String {
    match identity(sources).unwrap().0 {
        Identity::Anonymous => "nobody".to_owned(),
        Identity::User { username, domain, password } => {
            format!("{}\\{username}:{}", domain.unwrap_or_default(), password.expose_secret())
        }
    }
}

#[test]
fn the_place_of_highest_priority_counts_and_others_complete_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "username=ann\npassword=file\ndomain=FILE\n").unwrap();
    fs::write(folder.path().join("password"), "folder\n").unwrap();

    // From all places to fewer and fewer.
    let mut places = Sources {
        url: says("ann", "url", ""),
        options: says("ann", "options", "OPT"),
        file: Some(file),
        directory: Some(folder.path().into()),
        environment: says("ann", "environment", "ENV"),
        ..sources()
    };
    let all = |places: &Sources| Sources {
        file: places.file.clone(),
        directory: places.directory.clone(),
        url: places.url.clone(),
        options: places.options.clone(),
        environment: places.environment.clone(),
        ..sources()
    };
    assert_eq!(resolved(all(&places)), "OPT\\ann:url");
    places.url = Credentials::default();
    assert_eq!(resolved(all(&places)), "OPT\\ann:options");
    places.options = Credentials::default();
    assert_eq!(resolved(all(&places)), "FILE\\ann:file");
    places.file = None;
    assert_eq!(resolved(all(&places)), "ENV\\ann:folder");
    places.directory = None;
    assert_eq!(resolved(all(&places)), "ENV\\ann:environment");
}

#[test]
fn a_place_that_names_another_user_is_skipped() {
    let places = Sources { url: says("bob", "", ""), environment: says("ann", "hers", "HERS"), ..sources() };
    assert!(matches!(identity(places), Err(CredentialsError::NoPassword { username }) if username == "bob"));
    let places = Sources { url: says("bob", "", ""), environment: says("", "his", "HIS"), ..sources() };
    assert_eq!(resolved(places), "HIS\\bob:his");
    for bob in ["WG\\Bob", "WG/Bob"] {
        let places = Sources { url: says(bob, "", ""), environment: says("bob", "his", ""), ..sources() };
        assert_eq!(resolved(places), "WG\\Bob:his");
    }
}

#[test]
fn without_a_user_the_terminal_is_asked_or_else_the_guest_account_signs_in() {
    let (guest, warnings) = identity(sources()).unwrap();
    assert!(guest.is_guest_or_anonymous() && warnings[0].contains("no user is named"), "{warnings:?}");
    let asking = Sources { when_missing: WhenMissing::Ask, ..sources() };
    for (typed, expected) in
        [("", "\\guest:"), (" Guest ", "\\guest:"), ("ann", "\\ann:typed"), ("WG\\ann", "WG\\ann:typed")]
    {
        let (Account::Asked(unanswered), warnings) = account(asking.clone()).unwrap() else { panic!("{typed}") };
        assert_eq!(warnings, Vec::<String>::new());
        let identity = unanswered.ask("nas", |question, echo| match echo {
            Echo::On => {
                assert_eq!(question, "User name on nas (empty for guest): ");
                Ok(SecretString::from(typed))
            }
            Echo::Off => Ok(SecretString::from("typed")),
        });
        let again = asking.clone().read_again(&identity.unwrap());
        assert_eq!(resolved(again), expected, "{typed}");
    }
    let named = Sources { url: says("Guest", "", "WG"), ..asking };
    assert_eq!(resolved(named), "WG\\guest:", "a guest has no password to ask for");
}

#[test]
fn guest_and_anonymous_apply_unless_the_url_names_a_user() {
    let environment = says("ann", "pw", "");
    for (sign_in_as, expected) in [(SignInAs::Guest, "\\guest:"), (SignInAs::Anonymous, "nobody")] {
        let places = Sources { sign_in_as, environment: environment.clone(), ..sources() };
        assert_eq!(resolved(places), expected);
        let places = Sources { sign_in_as, url: says("bob", "his", ""), ..sources() };
        assert_eq!(resolved(places), "\\bob:his");
    }
}

#[test]
fn a_domain_before_the_name_is_split_off_and_a_principal_name_is_not() {
    let user = |name: &str, domain: &str| resolved(Sources { options: says(name, "pw", domain), ..sources() });
    assert_eq!(user("WG\\ann", ""), "WG\\ann:pw");
    assert_eq!(user("WG\\ann", "OTHER"), "OTHER\\ann:pw");
    assert_eq!(user("\\ann", ""), "\\ann:pw");
    assert_eq!(user("WG/ann", ""), "WG\\ann:pw");
    assert_eq!(user("WG/ann", "OTHER"), "OTHER\\ann:pw");
    assert_eq!(user("/ann", ""), "\\ann:pw");
    assert_eq!(user("ann@example.org", ""), "\\ann@example.org:pw");
}

#[test]
fn a_missing_password_is_asked_for_or_is_an_error() {
    let ann = || says("WG\\ann", "", "");
    let asking = Sources { options: ann(), when_missing: WhenMissing::Ask, ..sources() };
    let (Account::Asked(unanswered), _) = account(asking).unwrap() else { panic!("the password is missing") };
    let answered = unanswered.ask("nas", |question, echo| {
        assert_eq!((question, echo), ("Password for ann: ", Echo::Off));
        Ok(SecretString::from("typed"))
    });
    assert!(matches!(answered.unwrap(), Identity::User { domain: Some(domain), .. } if domain == "WG"));
    let error = identity(Sources { options: ann(), ..sources() }).unwrap_err().to_string();
    assert!(error.contains("'ann'") && error.contains("--credentials"), "{error}");
    let ignored = Sources { options: ann(), when_missing: WhenMissing::Ignore, ..sources() };
    assert_eq!(resolved(ignored), "WG\\ann:");
}

#[test]
fn the_keyring_is_asked_only_for_a_missing_password() {
    let with = |find: FindInKeyring, environment: Credentials| Sources {
        keyring: Some(Keyring { server: "nas".to_owned(), find }),
        environment,
        ..sources()
    };
    let one: FindInKeyring = |server, username| {
        assert!(server == "nas" && username.is_none_or(|name| name == "ann"));
        Ok(Some(says("DOM\\ann", "kept", "")))
    };
    assert_eq!(resolved(with(one, says("", "", ""))), "DOM\\ann:kept");
    assert_eq!(resolved(with(one, says("ann", "", ""))), "DOM\\ann:kept");
    assert_eq!(resolved(with(|_, _| panic!("asked"), says("ann", "known", ""))), "\\ann:known");

    let error = identity(with(|_, _| Ok(None), says("ann", "", ""))).unwrap_err().to_string();
    assert!(
        error.contains("no password of 'ann' for nas") && error.contains("cifs-fuse login nas --username 'ann'"),
        "{error}"
    );
    let error = identity(with(|_, _| Ok(None), says("", "", ""))).unwrap_err().to_string();
    assert!(error.starts_with("keyring: no password for nas"), "not silently a guest: {error}");
    let error = identity(with(|_, _| Err("it is locked".to_owned()), says("ann", "", ""))).unwrap_err().to_string();
    assert_eq!(error, "keyring: it is locked");
}

#[test]
fn a_password_without_a_user_is_an_error() {
    let error = identity(Sources { environment: says("", "pw", ""), ..sources() }).unwrap_err();
    assert!(matches!(error, CredentialsError::NoUser), "{error}");
}

#[test]
fn a_credentials_file_is_read_as_mount_cifs_does() {
    for (text, expected) in [
        ("username=ann\npassword=pw\ndomain=WG\n", "WG\\ann:pw"),
        ("user=ann\r\npass=pw\r\ndom=WG", "WG\\ann:pw"),
        ("\u{feff}# mine\n\n  username=ann\n\tpassword=a=b,c#d \n", "\\ann:a=b,c#d "),
        ("username = ann\npassword = p w\nworkgroup = WG\n", "WG\\ann:p w"),
        ("username=ann\npassword= pw\n", "\\ann: pw"),
        ("username=ann\npassword=\n", "\\ann:"),
        ("password=ünï\nusername=WG\\ann\n", "WG\\ann:ünï"),
        ("username=WG/ann\npassword=p/w\\\n", "WG\\ann:p/w\\"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        let (who, warnings) = identity(Sources { file: Some(file.path().into()), ..sources() }).unwrap();
        let Identity::User { username, domain, password } = who else { panic!("{text:?}") };
        let shown = format!("{}\\{username}:{}", domain.unwrap_or_default(), password.expose_secret());
        assert_eq!(shown, expected, "{text:?}");
        assert_eq!(warnings, Vec::<String>::new());
    }
}

#[test]
fn a_readable_or_malformed_credentials_file_causes_a_warning_that_does_not_quote_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "username=ann\nhunter2\npassword=hunter2\n").unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let read = CredentialsFile::read(file.path()).unwrap();
    assert!(read.warnings.iter().any(|warning| warning.contains("line 2")), "{:?}", read.warnings);
    assert!(read.warnings.iter().any(|warning| warning.contains("chmod 600")), "{:?}", read.warnings);
    assert!(!format!("{read:?}").contains("hunter2"));
}

#[test]
fn an_unusable_credentials_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let said = || identity(Sources { file: Some(path.clone()), ..sources() }).unwrap_err().to_string();
    assert!(said().contains("secret") && said().contains("No such file"), "{}", said());
    fs::write(&path, b"password=\xff\xfe").unwrap();
    assert!(said().contains("not UTF-8"), "{}", said());
    fs::write(&path, vec![b'x'; 70_000]).unwrap();
    assert!(said().contains("64 KiB"), "{}", said());
}

#[test]
fn a_password_is_read_from_a_descriptor_to_its_end() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "p w\n").unwrap();
    let open = fs::File::open(&file).unwrap();
    let number = Some(open.as_raw_fd() as u32);
    assert_eq!(resolved(Sources { options: says("ann", "", ""), password_fd: number, ..sources() }), "\\ann:p w");

    let (reader, mut writer) = io::pipe().unwrap();
    io::Write::write_all(&mut writer, b"piped").unwrap();
    drop(writer);
    let number = Some(reader.as_raw_fd() as u32);
    assert_eq!(resolved(Sources { options: says("ann", "", ""), password_fd: number, ..sources() }), "\\ann:piped");

    let closed = Sources { options: says("ann", "", ""), password_fd: Some(99_999), ..sources() };
    assert!(identity(closed).unwrap_err().to_string().contains("99999"));
}

#[test]
fn systemds_credentials_are_one_file_per_value_or_one_file_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let from_folder = || resolved(Sources { directory: Some(folder.path().into()), ..sources() });
    assert_eq!(from_folder(), "\\guest:");
    write("credentials", "username=ann\npassword=pw\ndomain=WG\n");
    assert_eq!(from_folder(), "WG\\ann:pw");
    write("password", " single \n");
    assert_eq!(from_folder(), "WG\\ann: single ");
    write("username", "bob\n");
    assert_eq!(from_folder(), "\\bob: single ");
}

#[test]
fn a_second_reading_finds_a_changed_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "username=ann\npassword=old\n").unwrap();
    let places = Sources { file: Some(file.clone()), ..sources() };
    let (first, _) = identity(places.clone()).unwrap();
    fs::write(&file, "username=ann\npassword=new\n").unwrap();
    assert_eq!(resolved(places.clone().read_again(&first)), "\\ann:new");
    fs::write(&file, "username=ann\n").unwrap();
    assert!(identity(places.read_again(&first)).is_err(), "a password that was removed is not used");
}

#[test]
fn a_second_reading_uses_neither_the_terminal_nor_the_descriptor_again() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "first\n").unwrap();
    let open = fs::File::open(&secret).unwrap();
    let descriptor = Sources { password_fd: Some(open.as_raw_fd() as u32), ..sources() };
    let question = Sources { when_missing: WhenMissing::Ask, ..sources() };
    for places in [descriptor, question] {
        let places = Sources { url: says("ann", "", ""), ..places };
        let first = match account(places.clone()).unwrap().0 {
            Account::Known(identity) => identity,
            Account::Asked(unanswered) => unanswered.ask("nas", |_, _| Ok(SecretString::from("first"))).unwrap(),
        };
        fs::write(&secret, "second\n").unwrap();
        let again = places.read_again(&first);
        assert_eq!(resolved(again.clone()), "\\ann:first");
        // The password belongs to ann and to no other user.
        assert!(identity(Sources { url: says("bob", "", ""), ..again }).is_err());
    }
}

#[test]
fn only_a_password_that_a_later_process_can_read_is_lasting() {
    let folder = tempfile::tempdir().unwrap();
    let (file, pipe) = (folder.path().join("credentials"), folder.path().join("pipe"));
    fs::write(&file, "username=ann\npassword=pw\n").unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let in_file = Sources { file: Some(file), ..sources() };
    let ann = Sources { options: says("ann", "", ""), when_missing: WhenMissing::Ask, ..sources() };
    let environment = says("", "pw", "");
    for (sources, place) in [
        (sources(), None),
        (Sources { sign_in_as: SignInAs::Anonymous, ..ann.clone() }, None),
        (in_file.clone(), None),
        (Sources { directory: Some(folder.path().into()), ..ann.clone() }, None),
        // The file has priority.
        (Sources { environment: environment.clone(), ..in_file.clone() }, None),
        (Sources { environment, ..ann.clone() }, Some("AUTH_PASSWORD")),
        (ann.clone(), Some("terminal")),
        (Sources { file: Some(pipe), ..ann.clone() }, Some("pipe")),
        (Sources { password_fd: Some(3), ..ann }, Some("descriptor")),
        // The command line is kept for the restart, so it must not contain a password, used or not.
        (Sources { url: says("ann", "pw", ""), ..in_file.clone() }, Some("URL")),
        (Sources { options: says("ann", "pw", ""), ..in_file }, Some("-o")),
    ] {
        let said = sources.check_lasting().map_err(|error| error.to_string());
        match place {
            None => assert_eq!(said, Ok(())),
            Some(place) => {
                let said = said.unwrap_err();
                assert!(said.contains(place) && said.contains("--credentials FILE"), "{place}: {said}");
            }
        }
    }
}
