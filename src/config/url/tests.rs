//! URLs as users write them.

use super::*;
use proptest::prelude::*;
use secrecy::ExposeSecret;

const OPTIONS: [&str; 4] = ["read-buffer-size", "write-buffer-size", "ro", "file-mode"];

fn parse(text: &str) -> Result<ShareUrl, UrlError> {
    ShareUrl::parse(text, &OPTIONS)
}

fn password(url: &ShareUrl) -> Option<&str> {
    url.password.as_ref().map(|password| password.expose_secret())
}

#[test]
fn a_url_yields_host_port_share_and_path() {
    for (text, host, port, share, path) in [
        ("cifs://nas/media", "nas", None, "media", ""),
        ("smb://nas/media/", "nas", None, "media", ""),
        ("CIFS://NAS/media/films/old", "NAS", None, "media", "films/old"),
        ("Smb://nas/media/films///", "nas", None, "media", "films"),
        ("cifs://nas//media//films", "nas", None, "media", "films"),
        ("cifs://nas:4450/media", "nas", Some(4450), "media", ""),
        ("cifs://nas:/media", "nas", None, "media", ""),
        ("cifs://192.168.1.7/media", "192.168.1.7", None, "media", ""),
        ("cifs://[fd00::1]/media", "fd00::1", None, "media", ""),
        ("cifs://[FD00:0::1]:4450/media", "fd00::1", Some(4450), "media", ""),
        ("cifs://[fe80::1%25eth0]/media", "fe80::1%eth0", None, "media", ""),
        ("cifs://[fe80::1%eth0]/media", "fe80::1%eth0", None, "media", ""),
        ("cifs://nas\\media\\films\\old", "nas", None, "media", "films/old"),
        ("cifs://nas/media/films\\old", "nas", None, "media", "films/old"),
        ("cifs://nas/my%20media/a%20b", "nas", None, "my media", "a b"),
        ("cifs://nas/my media/a+b", "nas", None, "my media", "a+b"),
        ("cifs://nas/media/%2B%23%25%3F", "nas", None, "media", "+#%?"),
        ("cifs://nas/media/C#/x", "nas", None, "media", "C#/x"),
        ("cifs://nas/media/%C3%A4/ä", "nas", None, "media", "ä/ä"),
        ("cifs://nas/media/a@b:c;d", "nas", None, "media", "a@b:c;d"),
        ("cifs://nas/media/./x", "nas", None, "media", "x"),
        ("cifs://nas/media/a%5Cb", "nas", None, "media", "a\\b"),
        ("cifs://nas/media/a%2Fb", "nas", None, "media", "a/b"),
        ("cifs://nas/media/a%3Ab%3F%7C%22/ c. ", "nas", None, "media", "a:b?|\"/ c. "),
        ("cifs://nas/media/%01%1F%7F%C2%80", "nas", None, "media", "\x01\x1f\x7f\u{80}"),
        ("cifs://nas/media?", "nas", None, "media", ""),
        ("cifs://büro/media", "büro", None, "media", ""),
    ] {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((&*url.host, url.port, &*url.share, &*url.path), (host, port, share, path), "{text}");
    }
}

#[test]
fn a_url_yields_the_account() {
    for (text, username, secret, domain) in [
        ("cifs://nas/m", None, None, None),
        ("cifs://nas/m?auth-username=ann&auth-password=pw&auth-domain=WG", Some("ann"), Some("pw"), Some("WG")),
        ("cifs://nas/m?AUTH-UserName=ann&Auth_Password=pw", Some("ann"), Some("pw"), None),
        ("cifs://nas/m?auth-username=ann+b%20c%2Bd", Some("ann b c+d"), None, None),
        ("cifs://nas/m?auth-username=&auth-password=&auth-domain=", None, None, None),
        ("cifs://nas/m?auth-password=a=b,c;d#e$f", None, Some("a=b,c;d#e$f"), None),
        ("cifs://nas/m?auth-password=%26%25%3D+%2B", None, Some("&%= +"), None),
        ("cifs://ann:pw@nas/m", Some("ann"), Some("pw"), None),
        ("cifs://ann@nas/m", Some("ann"), None, None),
        ("cifs://ann:@nas/m", Some("ann"), Some(""), None),
        ("cifs://WG;ann:pw@nas/m", Some("ann"), Some("pw"), Some("WG")),
        ("cifs://WG%5Cann:pw@nas/m", Some("WG\\ann"), Some("pw"), None),
        ("cifs://ann:p@w:x@nas/m", Some("ann"), Some("p@w:x"), None),
        ("cifs://ann:a+b%2F%3F%40@nas/m", Some("ann"), Some("a+b/?@"), None),
        ("cifs://ann%40example.org:pw@nas/m", Some("ann@example.org"), Some("pw"), None),
        ("cifs://@nas/m", None, None, None),
        // The query has priority, and the password of another user is not used.
        ("cifs://ann:pw@nas/m?auth-password=other", Some("ann"), Some("other"), None),
        ("cifs://ann:pw@nas/m?auth-username=bob", Some("bob"), None, None),
        ("cifs://ann:pw@nas/m?auth-username=ANN", Some("ANN"), Some("pw"), None),
    ] {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (url.username.as_deref(), password(&url), url.domain.as_deref()),
            (username, secret, domain),
            "{text}"
        );
    }
}

#[test]
fn the_transport_is_read_in_any_case_and_an_empty_one_is_ignored() {
    for (query, transport) in [
        ("", None),
        ("?transport=", None),
        ("?transport", None),
        ("?transport=directtcp", Some(Transport::DirectTcp)),
        ("?Transport=NetBIOS", Some(Transport::NetBios)),
    ] {
        assert_eq!(parse(&format!("cifs://nas/m{query}")).unwrap().transport, transport, "{query}");
    }
    let error = parse("cifs://nas/m?transport=quic").unwrap_err();
    assert_eq!(error.to_string(), "Transport must be one of: directtcp, netbios");
}

#[test]
fn other_options_in_the_query_override_the_command_line() {
    let url = parse("cifs://nas/m?Read_Buffer_Size=65536&ro&file-mode=&transport=netbios&&").unwrap();
    let expected = [("read-buffer-size".to_owned(), Some("65536".to_owned())), ("ro".to_owned(), None)];
    assert_eq!(url.overrides, expected);
}

#[test]
fn the_error_names_what_is_wrong_with_the_url() {
    for (text, said) in [
        ("nas/media", "expected cifs://host[:port]/share"),
        ("//nas/media", "not a URL"),
        ("http://nas/media", "must begin with cifs:// or smb://"),
        ("cifs://", "names no host"),
        ("cifs:///media", "names no host"),
        ("cifs://:445/media", "names no host"),
        ("cifs://ann:pw@/media", "names no host"),
        ("cifs://nas", "names no share"),
        ("cifs://nas/", "names no share"),
        ("cifs://nas/?transport=directtcp", "names no share"),
        ("cifs://nas/./", "names no share"),
        ("cifs://n as/media", "not a host name"),
        ("cifs://n%2Fas/media", "not a host name"),
        ("cifs://nas:0/media", "from 1 to 65535"),
        ("cifs://nas:65536/media", "from 1 to 65535"),
        ("cifs://nas:smb/media", "from 1 to 65535"),
        ("cifs://nas:+445/media", "from 1 to 65535"),
        ("cifs://fd00::1/media", "in brackets"),
        ("cifs://[fd00::1/media", "in brackets"),
        ("cifs://[nas]/media", "in brackets"),
        ("cifs://[fe80::1%25]/media", "in brackets"),
        ("cifs://:pw@nas/media", "no user name"),
        ("cifs://nas/media/a%zz", "two hexadecimal digits"),
        ("cifs://nas/media/a%2", "two hexadecimal digits"),
        ("cifs://nas/media?auth-password=50%", "auth-password, a % is not followed"),
        ("cifs://nas/media/%ff", "path is not UTF-8"),
        ("cifs://nas/media/a%00b", "path holds a control character"),
        ("cifs://nas/me%01dia", "share holds a control character"),
        ("cifs://nas/media/../x", "'..'"),
        ("cifs://nas/%2E%2E/x", "'..'"),
        ("cifs://nas/m?transprot=netbios", "unknown option 'transprot'; did you mean 'transport'?"),
        ("cifs://nas/m?readbuffersize=1", "'readbuffersize'; did you mean 'read-buffer-size'?"),
        ("cifs://nas/m?zzz=1", "unknown option 'zzz'"),
        ("cifs://nas/m?ro&RO", "'ro' twice"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn an_error_never_quotes_a_password_that_is_not_encoded() {
    for text in [
        "cifs://ann:hunter/2@nas/media",
        "cifs://ann:hunter?2@nas/media",
        "cifs://ann:hunter\\2@nas/media",
        "cifs://ann:[hunter/2@nas/media",
        "cifs://[hunter/2@nas/media",
        "cifs://ann:hunter%2@nas/media",
        "cifs://:hunter2@nas/media",
        "cifs://nas/m?auth-password=x&hunter2",
        "cifs://nas/m?auth-password=x&hunter2=y",
        "cifs://nas/m?auth-password=x&hunter%",
        "cifs://nas/m?auth-password=hunter%zz",
        "cifs://nas/m?auth-password=hunter%ff",
        "cifs://nas/m?auth-password=hunter&auth-password=hunter",
    ] {
        let error = parse(text).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("hunter"), "{text}: {error:?}");
    }
    let said = parse("cifs://ann:hunter/2@nas/media").unwrap_err().to_string();
    assert!(said.contains("percent-encoded"), "{said}");
    let said = parse("cifs://nas/m?auth-password=x&hunter2").unwrap_err().to_string();
    assert!(said.contains("%26"), "{said}");
    // A mistyped key after a password is still named.
    let said = parse("cifs://nas/m?auth-password=x&transprot=netbios").unwrap_err().to_string();
    assert!(said.contains("'transprot'"), "{said}");
}

#[test]
fn a_url_is_shown_without_its_credentials() {
    for (text, shown) in [
        ("smb://ann:hunter2@nas:4450/my%20media/a b/?auth-domain=WG", "cifs://nas:4450/my%20media/a%20b"),
        ("cifs://[fe80::1%eth0]:139/m", "cifs://[fe80::1%25eth0]:139/m"),
        ("cifs://nas/m$/a&b?auth-username=ann&auth-password=hunter2", "cifs://nas/m$/a%26b"),
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}

#[test]
fn a_url_with_a_single_key_may_have_been_cut() {
    assert!(cut_hint("cifs://nas/m?auth-username=ann").unwrap().contains("quote"));
    for whole in ["cifs://nas/m", "cifs://nas/m?", "cifs://nas/m?auth-username=ann&auth-password=pw"] {
        assert_eq!(cut_hint(whole), None, "{whole}");
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn any_password_survives_percent_encoding(name in "[a-z]{1,8}", secret in "\\PC+") {
        let url = parse(&format!("cifs://nas/m?auth-password={}", encoded(&secret))).unwrap();
        prop_assert_eq!(password(&url), Some(&*secret));
        let url = parse(&format!("cifs://{name}:{}@nas/m", encoded(&secret))).unwrap();
        prop_assert_eq!(password(&url), Some(&*secret));
    }

    #[test]
    fn any_path_survives_being_shown_and_parsed_again(
        share in "[^/\\x00-\\x1f\\x7f-\\x9f]{1,12}",
        path in prop::collection::vec("[^/\\x00]{1,12}", 0..4)
    ) {
        let components: Vec<_> = std::iter::once(share).chain(path).collect();
        prop_assume!(components.iter().all(|component| component != "." && component != ".."));
        let text = format!("cifs://nas/{}", components.iter().map(|c| encoded(c)).collect::<Vec<_>>().join("/"));
        let url = parse(&text).unwrap();
        prop_assert_eq!(&url.share, &components[0]);
        prop_assert_eq!(&url.path, &components[1..].join("/"));
        let again = parse(&url.to_string()).unwrap();
        prop_assert_eq!((again.share, again.path), (url.share, url.path));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(cifs://)?[a-z:@/?&=%+;\\[\\]\\\\ä#.-]{0,40}") {
        let _ = parse(&text);
    }
}

#[test]
fn a_share_in_the_notation_of_mount_cifs_or_windows_becomes_a_url() {
    let url = |text| url_of_unc(text);
    assert_eq!(url("//nas/media/films").as_deref(), Some("cifs://nas/media/films"));
    assert_eq!(url(r"\\nas\my media\a&b").as_deref(), Some("cifs://nas/my%20media/a%26b"));
    assert_eq!(url("//nas:4450/media/").as_deref(), Some("cifs://nas:4450/media"));
    for other in ["//nas", r"\\nas\", "nas/media", "/mnt", "cifs://nas/media"] {
        assert_eq!(url(other), None, "{other}");
    }
}
