//! Programs that are killed while the server does not answer.

use super::*;
use crate::share::memory::Gate;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

/// Many times what it takes to notice a kill, and less than [`STUCK`].
const SOON: Duration = Duration::from_secs(20);

fn soon(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + SOON;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

impl Mounted {
    /// Runs a program in the mount until one of its operations is held by the share, and kills it. It must exit
    /// although the operation is still held. Returns the gate that holds the operation.
    #[track_caller]
    fn kill_at(&self, operation: &'static str, script: &str) -> Arc<Gate> {
        let gate = self.share.hold(operation);
        let mut program = self.start(script);
        self.runtime.block_on(gate.reached());
        program.kill().unwrap();
        let end = Instant::now() + SOON;
        while program.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{script:?} cannot be killed while {operation} is not answered");
            thread::sleep(Duration::from_millis(5));
        }
        gate
    }

    fn start(&self, script: &str) -> Child {
        let script = format!("exec {}", script.replace("@", &format!("{}/", self.directory.path().display())));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn mounted() -> Option<Mounted> {
    let mounted = Mounted::caching_no_attributes()?;
    mounted.share.put_directory("d");
    for name in ["a", "b", "d/c"] {
        mounted.share.put(name, &[b'x'; 10_000]);
    }
    Some(mounted)
}

/// What a program does, the operation at which it is killed, and the names that exist when the operation has completed.
const CASES: [(&str, &str, &[&str]); 13] = [
    ("STAT", "stat @a", &["a", "b", "d"]),
    ("CREATE", "cat @a", &["a", "b", "d"]),
    ("CREATE", "dd if=/dev/zero of=@new count=1", &["a", "b", "d", "new"]),
    ("READ", "dd if=@a iflag=direct bs=4096", &["a", "b", "d"]),
    ("WRITE", "dd if=/dev/zero of=@b oflag=direct bs=4096 count=1 conv=notrunc", &["a", "b", "d"]),
    ("SET_INFO", "truncate -s 5 @b", &["a", "b", "d"]),
    ("QUERY_DIRECTORY", "ls @d", &["a", "b", "d"]),
    ("QUERY_DIRECTORY", "ls -l @d", &["a", "b", "d"]),
    ("MKDIR", "mkdir @made", &["a", "b", "d", "made"]),
    ("RENAME", "mv -T @a @z", &["b", "d", "z"]),
    ("REMOVE", "rm -f @a", &["b", "d"]),
    ("SPACE", "df @", &["a", "b", "d"]),
    ("COPY", "cp @b @copied", &["a", "b", "copied", "d"]),
];

#[test]
fn whatever_a_program_waits_for_it_can_be_killed() {
    thread::scope(|scope| {
        for (operation, script, left) in CASES {
            scope.spawn(move || {
                let Some(mounted) = mounted() else { return };
                mounted.kill_at(operation, script).open();
                assert!(soon(|| mounted.share.names("") == left), "{script:?} leaves {:?}", mounted.share.names(""));
                assert!(soon(|| mounted.share.open_files() == 0), "{script:?} leaves a file open at the server");
                assert_eq!(fs::read(mounted.path("d/c")).unwrap(), [b'x'; 10_000], "the mount works after {script:?}");
                fs::write(mounted.path("later"), "works").unwrap();
            });
        }
    });
}

/// When a program is killed, the kernel releases the lock of the file while the program's last write is still in
/// flight.
#[test]
fn the_last_write_of_a_killed_program_does_not_come_after_a_later_one() {
    for (operation, script) in [
        ("WRITE", "dd if=/dev/zero of=@a oflag=direct bs=4096 count=1 conv=notrunc"),
        ("SET_INFO", "truncate -s 3 @a"),
        ("CREATE", "dd of=@a count=0"),
    ] {
        let Some(mounted) = mounted() else { return };
        let gate = mounted.kill_at(operation, script);
        let path = mounted.path("a");
        let writing = thread::spawn(move || {
            let file = File::options().write(true).open(path)?;
            std::os::unix::fs::FileExt::write_all_at(&file, b"later", 0)
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!writing.is_finished(), "{script:?}: a later write overtakes the held operation");
        gate.open();
        writing.join().unwrap().unwrap();
        let data = mounted.share.data("a").unwrap();
        assert!(data.starts_with(b"later"), "{script:?}: {data:?}");
    }
}

#[test]
fn other_programs_still_wait_for_their_answers() {
    let Some(mounted) = mounted() else { return };
    let gate = mounted.share.hold("READ");
    let path = mounted.path("a");
    let reading = thread::spawn(move || fs::read(path));
    mounted.runtime.block_on(gate.reached());
    mounted.kill_at("STAT", "stat @b").open();
    assert!(!reading.is_finished());
    gate.open();
    assert_eq!(reading.join().unwrap().unwrap(), [b'x'; 10_000]);
}
