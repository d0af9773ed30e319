//! A server that refuses the user after the mount: the password was changed, the account was disabled, or the server
//! offers a guest session instead.
//!
//! The tests count logins, not seconds. A login is two SESSION_SETUP requests.

use crate::support::engine::{connect, identity};
use crate::support::files::fails_with;
use crate::support::frames::command;
use crate::support::mount::{Mount, Request};
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::server::{PASSWORD, Settings, url, user};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use cifs_fuse::share::error::Cause;
use cifs_fuse::share::{Names, RemotePath, SmbShare};
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const OTHER: &str = "another-Password1!";

/// A mount through a counting proxy, with its server and its log.
struct Watched {
    server: Smbd,
    proxy: Proxy,
    mount: Mount,
    log: PathBuf,
}

impl Watched {
    fn new(settings: Settings) -> Watched {
        Watched::with(settings, |request| request)
    }

    fn with(settings: Settings, adjust: impl FnOnce(Request) -> Request) -> Watched {
        let server = Smbd::start(settings);
        let proxy = Proxy::to_port(server.port());
        let log = scratch::folder("log").join("messages");
        let request = Request::new(url("127.0.0.1", proxy.port(), "")).arg("--attr-timeout=0");
        let mount = adjust(request.arg(format!("--log-target=file:{}", log.display()))).mount();
        Watched { server, proxy, mount, log }
    }

    fn sign_ins(&self) -> u64 {
        sign_ins(&self.proxy)
    }

    /// Loses the connection, then looks up many names at the same time, several times. All lookups must be refused.
    /// Returns the number of logins.
    #[track_caller]
    fn all_are_refused(&self) -> u64 {
        let before = self.sign_ins();
        self.proxy.cut();
        thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    for round in 0..10 {
                        fails_with(fs::metadata(self.mount.join(format!("{number} {round}"))), Errno::ACCESS);
                    }
                });
            }
        });
        fails_with(fs::read_dir(self.mount.path()).map(|_| ()), Errno::ACCESS);
        self.sign_ins() - before
    }

    /// The one ERROR line of the log. Panics if there are several or none.
    #[track_caller]
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap();
        let said: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(said.len(), 1, "{text}");
        said[0].to_owned()
    }
}

fn sign_ins(proxy: &Proxy) -> u64 {
    proxy.requests(command::SESSION_SETUP).div_ceil(2)
}

#[test]
fn a_changed_password_does_not_cause_a_login_with_every_operation() {
    let watched = Watched::new(Settings::default());
    watched.server.set_password(OTHER);
    assert_eq!(watched.all_are_refused(), 1);
    let said = watched.said();
    for word in ["STATUS_LOGON_FAILURE", "password", "SIGHUP"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    watched.mount.unmount();
}

#[test]
fn a_disabled_account_does_not_cause_a_login_with_every_operation() {
    let watched = Watched::new(Settings::default());
    watched.server.disable_user();
    assert_eq!(watched.all_are_refused(), 1);
    assert!(watched.said().contains("enabled"), "{}", watched.said());
    watched.mount.unmount();
}

/// The server makes a guest session of a wrong password. A mount of a user must not continue as a guest.
#[test]
fn a_mount_does_not_become_a_guest_mount_when_the_password_changes() {
    let watched = Watched::new(Settings { guests_for_wrong_passwords: true, ..Settings::default() });
    watched.server.set_password(OTHER);
    assert_eq!(watched.all_are_refused(), 1);
    assert!(watched.said().contains("--guest"), "{}", watched.said());
    watched.mount.unmount();
}

#[test]
fn a_wrong_password_is_never_a_guest_session() {
    let server = Smbd::start(Settings { guests_for_wrong_passwords: true, ..Settings::default() });
    for options in [&[][..], &["--signing=off"], &["--signing=off", "--vers=2.0"], &["--vers=3.0"]] {
        let request = Request::new(url("127.0.0.1", server.port(), "")).env("AUTH_PASSWORD", "wrong");
        request.args(options).fails_with_any(&[32, 33]).says("sign-in").says("--guest");
    }
    for option in ["--guest", "--anonymous"] {
        let request = Request::new(url("127.0.0.1", server.port(), "")).without_credentials();
        request.arg(option).mount().unmount();
    }
}

/// Writes a credentials file for the user.
fn write_credentials(file: &Path, password: &str) {
    fs::write(file, format!("username={}\npassword={password}\n", user())).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_corrected_credentials_file_is_tried_at_once() {
    let file = scratch::folder("credentials").join("file");
    write_credentials(&file, PASSWORD);
    let watched = Watched::with(Settings::default(), |request| {
        request.without_credentials().arg(format!("--credentials={}", file.display()))
    });
    watched.server.set_password(OTHER);
    assert_eq!(watched.all_are_refused(), 1);
    write_credentials(&file, OTHER);
    // The file is read once a second at most. The next login with unchanged credentials would come only after a minute.
    assert!(wait_until(LIMIT, || fs::read_dir(watched.mount.path()).is_ok()));
    watched.mount.unmount();
}

#[test]
fn after_sighup_the_same_password_is_tried_again() {
    let watched = Watched::new(Settings::default());
    watched.server.disable_user();
    assert_eq!(watched.all_are_refused(), 1);
    watched.server.set_password(PASSWORD);
    watched.mount.signal(Signal::HUP);
    assert!(wait_until(LIMIT, || fs::read_dir(watched.mount.path()).is_ok()));
    watched.mount.unmount();
}

/// A share without a mount, connected through a proxy.
async fn engine(server: &Smbd) -> (Proxy, SmbShare) {
    let proxy = Proxy::to_port(server.port());
    let share = connect(proxy.port(), 2, LIMIT).await;
    (proxy, share)
}

async fn is_refused(share: &SmbShare) -> bool {
    let result = share.stat(&RemotePath::root()).await;
    result.is_err_and(|error| matches!(error.cause, Cause::AccessRefused(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_credentials_are_tried_at_once() {
    let server = Smbd::start(Settings::default());
    let (proxy, share) = engine(&server).await;
    server.set_password(OTHER);
    share.tree().channels.end("ended by the test");
    assert!(is_refused(&share).await && is_refused(&share).await);
    let before = sign_ins(&proxy);
    // Setting the same credentials again causes one more login; SIGHUP relies on that.
    share.renew_identity(identity(PASSWORD));
    assert!(is_refused(&share).await && is_refused(&share).await);
    assert_eq!(sign_ins(&proxy) - before, 1);
    share.renew_identity(identity(OTHER));
    share.stat(&RemotePath::root()).await.unwrap();
    // A working session is not replaced.
    let session = share.tree().channels.session_id();
    share.renew_identity(identity(OTHER));
    share.stat(&RemotePath::root()).await.unwrap();
    assert_eq!(share.tree().channels.session_id(), session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_credentials_is_read_again_only_while_they_are_refused() {
    let server = Smbd::start(Settings::default());
    let (proxy, share) = engine(&server).await;
    let (looks, changed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, switch) = (Arc::clone(&looks), Arc::clone(&changed));
    share.read_identity_from(Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Some(identity(if switch.load(Ordering::SeqCst) { OTHER } else { PASSWORD }))
    }));
    share.stat(&RemotePath::root()).await.unwrap();
    assert_eq!(looks.load(Ordering::SeqCst), 0, "the source must not be read before a refusal");
    server.set_password(OTHER);
    let before = sign_ins(&proxy);
    share.tree().channels.end("ended by the test");
    for _ in 0..20 {
        assert!(is_refused(&share).await);
    }
    assert_eq!(sign_ins(&proxy) - before, 1, "the same credentials must not be tried again");
    assert!(looks.load(Ordering::SeqCst) < 20, "the source is read with every operation");
    changed.store(true, Ordering::SeqCst);
    let works = || tokio::runtime::Handle::current().block_on(share.stat(&RemotePath::root())).is_ok();
    assert!(tokio::task::block_in_place(|| wait_until(LIMIT, works)));
    assert_eq!(sign_ins(&proxy) - before, 3, "one refused, one accepted, and one for the second connection");
}
