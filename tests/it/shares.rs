//! `cifs-fuse shares`: the shares of a server.

use crate::support::command::{Run, run};
use crate::support::mount::program;
use crate::support::server::{Kind, PASSWORD, Server, Settings, user};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn shares(server: &Server, password: &str, more: &[&str]) -> Run {
    let address = format!("127.0.0.1:{}", server.port());
    let mut command = program(["shares", &address].into_iter().chain(more.iter().copied()));
    run(command.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", password), LIMIT)
}

#[test]
fn the_shares_of_a_server_are_listed() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let mut configuration = "comment = the first\n".to_owned();
    for number in 0..200 {
        let path = server.folder().display();
        configuration += &format!("[films-{number:03}]\npath = {path}\ncomment = shelf {number}\n");
    }
    configuration += &format!("[secret$]\npath = {}\n", server.folder().display());
    server.smbd().configure(&configuration);

    let listed = shares(&server, PASSWORD, &[]).success();
    let lines: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["share", "disk", "the", "first"]), "{listed}");
    for number in [0, 99, 199] {
        let (name, shelf) = (format!("films-{number:03}"), number.to_string());
        assert!(lines.contains(&vec![&*name, "disk", "shelf", &*shelf]), "{name}: {listed}");
    }
    assert!(!listed.stdout.contains("secret$"), "{listed}");
    assert!(listed.stdout.contains(&format!("cifs-fuse 'cifs://127.0.0.1:{}/", server.port())), "{listed}");

    let all = shares(&server, PASSWORD, &["--all", "--encryption", "required"]).success();
    assert!(all.stdout.contains("secret$"), "{all}");
}

#[test]
fn a_refused_sign_in_has_the_exit_code_of_a_mount() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let refused = shares(&server, "wrong", &[]);
    assert_eq!(refused.code, Some(33), "{refused}");
    refused.says("sign-in");
}
