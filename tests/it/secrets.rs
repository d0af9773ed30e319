//! The sources of a password, and the places where it must not appear.

use crate::command_line::encoded;
use crate::support::mount::{Mount, Request};
use crate::support::processes::command_line;
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, PASSWORD_MARK, Server, user};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn private_file(name: &str, content: &str) -> PathBuf {
    let path = scratch::folder("secret").join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn bare() -> Request {
    Request::new(Server::shared(Kind::Smbd).url("")).without_credentials()
}

fn works(request: Request) {
    let mount = request.mount();
    fs::read_dir(mount.path()).unwrap();
    shows_no_password(&mount, None);
    mount.unmount();
}

/// Searches the places that other users, or readers of a log, can see.
fn shows_no_password(mount: &Mount, log: Option<&Path>) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap() + &fs::read_to_string("/proc/self/mountinfo").unwrap();
    let words = command_line(mount.process()).join(" ");
    let log = log.map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
    for (place, text) in
        [("the mount table", &mounts), ("ps", &words), ("the log", &log), ("the messages", &mount.messages())]
    {
        assert!(!text.contains(PASSWORD_MARK), "{place} contains the password: {text}");
    }
    assert!(
        words.contains(mount.path().to_str().unwrap()),
        "the command line in ps does not name the mountpoint: {words}"
    );
}

#[test]
fn from_the_url() {
    let server = Server::shared(Kind::Smbd);
    let password = encoded(PASSWORD);
    let query = format!("{}?auth-username={}&auth-password={password}", server.url(""), user());
    works(Request::new(query).without_credentials());
    let userinfo = server.url("").replacen("://", &format!("://{}:{password}@", user()), 1);
    works(Request::new(userinfo).without_credentials());
}

#[test]
fn a_password_is_read_from_a_credentials_file() {
    let file = private_file("credentials", &format!("username={}\npassword={PASSWORD}\ndomain=WORKGROUP\n", user()));
    works(bare().arg("--credentials").arg(&file));
    works(bare().args(["-o".to_owned(), format!("ro,credentials={}", file.display())]));
    let odd = private_file("odd", &format!("# a comment\n\npassword={PASSWORD}\r\n  username={}  \n", user()));
    works(bare().arg("--credentials").arg(&odd));
    for separator in ['\\', '/'] {
        let text = format!("username=WORKGROUP{separator}{}\npassword={PASSWORD}\n", user());
        works(bare().arg("--credentials").arg(private_file("with-domain", &text)));
    }
}

#[test]
fn from_a_descriptor() {
    works(bare().args(["--username", user(), "--password-fd=0"]).input(format!("{PASSWORD}\n").as_bytes()));
}

#[test]
fn a_password_is_read_from_systemds_credentials_directory() {
    let folder = private_file("password", PASSWORD).parent().unwrap().to_owned();
    fs::write(folder.join("username"), format!("{}\n", user())).unwrap();
    works(bare().env("CREDENTIALS_DIRECTORY", &folder));
    fs::remove_file(folder.join("username")).unwrap();
    works(bare().env("CREDENTIALS_DIRECTORY", &folder).args(["--username", user()]));
}

#[test]
fn from_the_environment() {
    works(bare().env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", PASSWORD));
    works(bare().arg("--username").arg(user()).env("AUTH_PASSWORD", PASSWORD));
}

/// No source has a password, and there is no terminal to prompt on.
#[test]
fn from_nowhere() {
    bare().arg("--username=ann").fails(1).says("password").says("ann");
    let file = private_file("empty", "domain=WORKGROUP\n");
    bare().arg("--username=ann").arg("--credentials").arg(file).fails(1).says("password");
}

/// The password of one user must not be sent under the name of another.
#[test]
fn the_password_of_another_user_is_not_sent() {
    let request = bare().arg("--username=ann").env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", PASSWORD);
    request.fails(1).says("password");
}

#[test]
fn a_credentials_file_that_other_users_can_read_causes_a_warning() {
    let file = private_file("open", &format!("username={}\npassword={PASSWORD}\n", user()));
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mount = bare().arg("--credentials").arg(&file).mount();
    assert!(mount.messages().contains("chmod 600"), "{}", mount.messages());
    mount.unmount();
}

/// At the highest log level, through a login, file operations, an error and the unmount.
#[test]
fn the_password_is_not_in_a_log_at_trace_level() {
    let log = scratch::folder("log").join("log");
    let password = encoded(PASSWORD);
    let server = Server::shared(Kind::Smbd);
    let url = format!("{}?auth-username={}&auth-password={password}", server.url(""), user());
    let options = ["--log-level=trace".to_owned(), format!("--log-target=file:{}", log.display())];
    let mount = Request::new(url).without_credentials().args(options).mount();
    let file = mount.join("secrets-trace");
    fs::write(&file, "x").unwrap();
    assert!(fs::read(mount.join("missing")).is_err());
    fs::remove_file(&file).unwrap();
    shows_no_password(&mount, Some(&log));
    mount.unmount();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.len() > 1000, "the log is too short for level trace: {text}");
    assert!(!text.contains(PASSWORD_MARK) && !text.contains(&password));
}

#[test]
fn the_password_is_not_in_error_messages() {
    let server = Server::shared(Kind::Smbd);
    let password = encoded(PASSWORD);
    let url = format!("{}?auth-username=stranger&auth-password={password}", server.url(""));
    let trace = "--log-level=trace";
    for outcome in [
        Request::new(&url).without_credentials().arg(trace).fails(33),
        Request::new(format!("{url}&no-such-key=1")).without_credentials().fails(1),
        Request::new(format!("{url}&read-buffer-size=x")).without_credentials().fails(1),
        Request::new(url.replacen("cifs", "http", 1)).without_credentials().fails(1),
        Request::new(format!("cifs://ann:{PASSWORD_MARK}@host:port/share")).without_credentials().fails(1),
        Request::new(format!("cifs://ann:{PASSWORD_MARK}/x@host/share")).without_credentials().fails(1),
        bare().args(["-o", &format!("username=stranger,password={PASSWORD_MARK},no_such=1")]).fails(1),
    ] {
        assert!(!outcome.text().contains(PASSWORD_MARK), "{outcome}");
    }
}

/// The password in memory must not get into a core file, and other processes of the user must not read it.
#[test]
fn the_process_leaves_no_core() {
    let scene = Scene::on(Kind::Smbd);
    let limits = fs::read_to_string(format!("/proc/{}/limits", scene.mount.process())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    scene.mount.unmount();
}
