//! Page invalidations: the pages of one file, whose READ is not answered, delay no other file.

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

/// Another client writes two files. The kernel reads pages of one of them and its READ is not answered, so invalidating
/// these pages blocks. Each open of the other file must invalidate pages as well, and must not wait.
#[test]
fn a_read_that_gets_no_answer_does_not_delay_other_files() {
    let server = Server::shared(Kind::Smbd);
    let line = Line::to(server.clone(), &["--connections=2"]);
    let name = line.folder.file_name().unwrap().to_string_lossy();
    let other_client = Request::new(server.url(&name)).mount();
    fs::write(line.there("big"), noise(1, 8 << 20)).unwrap();
    fs::write(line.there("other"), "0").unwrap();
    assert!(wait_until(LIMIT, || line.proxy.living().len() == 2), "no second connection");
    let bulk = line.proxy.living()[1];

    let open = File::open(line.here("big")).unwrap();
    let other = File::options().write(true).open(other_client.join("other")).unwrap();
    line.proxy.hold(bulk..bulk + 1);
    let before = line.proxy.requests(command::READ);
    thread::scope(|scope| {
        let reading = scope.spawn(|| checksum(&line.here("big")));
        assert!(wait_until(LIMIT, || line.proxy.requests(command::READ) > before), "no READ");
        // Breaks the lease of this client.
        let big = File::options().write(true).open(other_client.join("big")).unwrap();
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
        // If each open of the other file waited for the pages of the big one, it would take five seconds.
        let is_held_up = ended.recv_timeout(LIMIT).is_err();
        let is_stalled = !reading.is_finished();
        line.proxy.release();
        assert!(!is_held_up, "an unanswered READ of one file delays another file");
        assert!(is_stalled, "the READ must still be unanswered");
        reading.join().unwrap();
    });
    assert_eq!(fs::read(line.there("log")).unwrap(), b"line\n".repeat(6));
    drop((open, other));
    assert!(wait_until(LIMIT, || fs::read(line.here("big")).unwrap().starts_with(b"new")));
    line.mount.unmount();
    other_client.unmount();
}
