//! Folders with very many names: the mount answers other requests while such a folder is listed.

use crate::support::command::run;
use crate::support::scene::Scene;
use crate::support::server::Kind;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const NAMES: usize = 65_000;
const BESIDE: usize = 50;

/// The time when a request began, and the time when it was answered.
type Answer = (Instant, Instant);

/// Opens and stats one file after the other until `done`. Each open is a request to the program, but not to the server.
fn use_files(folder: &Path, done: &AtomicBool) -> Vec<Answer> {
    let mut answers = Vec::new();
    for number in (0..BESIDE).cycle().take_while(|_| !done.load(Ordering::SeqCst)) {
        let begun = Instant::now();
        let file = File::open(folder.join(format!("{number}"))).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4, "file {number}");
        answers.push((begun, Instant::now()));
    }
    answers
}

#[test]
fn listing_65000_cached_names_does_not_block_the_mount() {
    let scene = Scene::with(Kind::Smbd, |request| request.for_at_most(LIMIT * 3));
    for folder in ["many", "beside"] {
        fs::create_dir(scene.there(folder)).unwrap();
    }
    let touch = format!("seq -f 'a name of some length %g' {NAMES} | xargs -d '\\n' touch");
    run(Command::new("sh").args(["-c", &touch]).current_dir(scene.there("many")), LIMIT).success();
    for number in 0..BESIDE {
        fs::write(scene.there(format!("beside/{number}")), "text").unwrap();
    }
    for number in 0..BESIDE {
        assert_eq!(fs::read(scene.here(format!("beside/{number}"))).unwrap(), b"text");
    }
    let list = || {
        let begun = Instant::now();
        let listed = run(Command::new("ls").arg("-l").arg(scene.here("many")), LIMIT).success();
        assert_eq!(listed.stdout.lines().count(), NAMES + 1);
        (begun, Instant::now())
    };
    list();
    let done = AtomicBool::new(false);
    let (listed, answers) = thread::scope(|scope| {
        let answers = scope.spawn(|| use_files(&scene.here("beside"), &done));
        let listed = scope.spawn(list).join();
        done.store(true, Ordering::SeqCst);
        (listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), answers.join().unwrap())
    });
    let meanwhile = answers.iter().filter(|(begun, answered)| *begun > listed.0 && *answered < listed.1);
    let took: Vec<Duration> = meanwhile.map(|(begun, answered)| *answered - *begun).collect();
    let longest = took.iter().max().copied().unwrap_or_default();
    eprintln!(
        "{} requests were answered during a listing of {:?}, the slowest after {longest:?}",
        took.len(),
        listed.1 - listed.0
    );
    assert!(!took.is_empty(), "no other request was answered during the listing");
    // Removed on the server's disk, not through the mount.
    fs::remove_dir_all(&scene.folder).unwrap();
}
