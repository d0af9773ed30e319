//! What the kernel is told to forget: one file's pages hold up no other file.

use crate::support::files::{checksum, noise};
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::mount::Request;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// Another client writes two files. The kernel reads pages of the one and gets no answer, so that it cannot forget them.
/// Of the other one, it has pages to forget at each open.
#[test]
fn a_read_under_way_holds_up_nothing_of_other_files() {
    let server = Server::shared(Kind::Smbd);
    let line = Line::to(server.clone(), &["--connections=2"]);
    let name = line.folder.file_name().unwrap().to_string_lossy();
    let stranger = Request::new(server.url(&name)).mount();
    fs::write(line.there("big"), noise(1, 8 << 20)).unwrap();
    fs::write(line.there("other"), "0").unwrap();
    assert!(wait_until(LIMIT, || line.proxy.living().len() == 2), "no second connection");
    let bulk = line.proxy.living()[1];

    let open = File::open(line.here("big")).unwrap();
    let other = File::options().write(true).open(stranger.join("other")).unwrap();
    line.proxy.hold(bulk..bulk + 1);
    let before = line.proxy.requests(command::READ);
    thread::scope(|scope| {
        let reading = scope.spawn(|| checksum(&line.here("big")));
        assert!(wait_until(LIMIT, || line.proxy.requests(command::READ) > before), "no READ");
        // Takes the lease back.
        let big = File::options().write(true).open(stranger.join("big")).unwrap();
        big.write_at(b"new", 0).unwrap();

        let (done, ended) = mpsc::channel();
        let (line, other) = (&line, &other);
        scope.spawn(move || {
            for round in 1..=6 {
                other.write_at(format!("{round}").as_bytes(), 0).unwrap();
                assert_eq!(fs::read_to_string(line.here("other")).unwrap(), format!("{round}"));
                assert_eq!(fs::metadata(line.here("other")).unwrap().len(), 1);
                let mut log = File::options().append(true).create(true).open(line.here("log")).unwrap();
                log.write_all(b"line\n").unwrap();
            }
            done.send(()).unwrap();
        });
        // Each open of the other file would wait for five seconds if it waited for the pages of the big one.
        let is_held_up = ended.recv_timeout(LIMIT).is_err();
        let is_stalled = !reading.is_finished();
        line.proxy.release();
        assert!(!is_held_up, "other files are held up by a READ that is not answered");
        assert!(is_stalled, "the READ was to be held back");
        reading.join().unwrap();
    });
    assert_eq!(fs::read(line.there("log")).unwrap(), b"line\n".repeat(6));
    drop((open, other));
    assert!(wait_until(LIMIT, || fs::read(line.here("big")).unwrap().starts_with(b"new")));
    line.mount.unmount();
    stranger.unmount();
}
