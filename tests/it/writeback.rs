//! Dirty data: it is visible on this mount at once, other clients get it when they open the file, and none of
//! it is lost.

use crate::support::command::run;
use crate::support::files::{fails_with, noise};
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::mount::Request;
use crate::support::scene::Scene;
use crate::support::server::{Kind, PASSWORD, SHARE, Server, Settings, both_servers, url, user};
use crate::support::smbd::Smbd;
use crate::support::{scratch, wait_until};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

both_servers!(
    small_writes_are_read_back_at_once_through_any_handle,
    a_file_that_is_being_written_shows_its_size,
    a_time_set_after_a_write_is_kept,
    a_size_set_after_a_write_is_kept,
    a_gap_between_written_ranges_reads_as_zeros,
    a_hole_below_a_new_write_reads_as_zeros_and_is_no_end_of_file,
    a_file_renamed_while_it_is_written_has_all_data,
    appending_through_two_handles_loses_nothing,
    synced_data_is_on_the_server_while_the_file_is_open,
);

const MIB: usize = 1 << 20;
const SOON: Duration = Duration::from_secs(10);

fn small_writes_are_read_back_at_once_through_any_handle(kind: Kind) {
    let scene = Scene::on(kind);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    let other = File::open(scene.here("file")).unwrap();
    let data = noise(1, 300_000);
    for (index, piece) in data.chunks(777).enumerate() {
        let at = index as u64 * 777;
        file.write_all_at(piece, at).unwrap();
        for reader in [&file, &other] {
            let mut read = vec![0; piece.len()];
            reader.read_exact_at(&mut read, at).unwrap();
            assert!(read == piece, "at {at}");
        }
    }
    drop(file);
    assert!(fs::read(scene.there("file")).unwrap() == data);
}

fn a_file_that_is_being_written_shows_its_size(kind: Kind) {
    let scene = Scene::on(kind);
    let mut file = File::create(scene.here("file")).unwrap();
    for round in 1..=50 {
        file.write_all(&[round as u8; 1000]).unwrap();
        assert_eq!(file.metadata().unwrap().len(), round * 1000);
        assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), round * 1000);
    }
    let listed = fs::read_dir(scene.mount.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(listed.metadata().unwrap().len(), 50_000);
}

fn a_time_set_after_a_write_is_kept(kind: Kind) {
    let scene = Scene::on(kind);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    let mut file = File::create(scene.here("file")).unwrap();
    file.write_all(&noise(1, 50_000)).unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    assert_eq!(fs::metadata(scene.there("file")).unwrap().modified().unwrap(), time);
    assert_eq!(fs::metadata(scene.here("file")).unwrap().modified().unwrap(), time);
}

fn a_size_set_after_a_write_is_kept(kind: Kind) {
    let scene = Scene::on(kind);
    let file = File::create(scene.here("file")).unwrap();
    let data = noise(1, 100_000);
    file.write_all_at(&data, 0).unwrap();
    file.set_len(30_000).unwrap();
    file.write_all_at(b"end", 40_000).unwrap();
    drop(file);
    let expected = [&data[..30_000], &[0; 10_000], b"end"].concat();
    assert!(fs::read(scene.there("file")).unwrap() == expected);
    assert!(fs::read(scene.here("file")).unwrap() == expected);
}

fn a_gap_between_written_ranges_reads_as_zeros(kind: Kind) {
    let scene = Scene::on(kind);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    file.write_all_at(b"far", 3 * MIB as u64).unwrap();
    let mut hole = vec![1; 8192];
    file.read_exact_at(&mut hole, MIB as u64).unwrap();
    assert!(hole.iter().all(|byte| *byte == 0));
    let mut far = [0; 3];
    file.read_exact_at(&mut far, 3 * MIB as u64).unwrap();
    assert_eq!(&far, b"far");
}

fn a_hole_below_a_new_write_reads_as_zeros_and_is_no_end_of_file(kind: Kind) {
    let scene = Scene::on(kind);
    for round in 0..40 {
        let path = scene.here(format!("file {round}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(&noise(round, 200_000), 6 * MIB as u64 + 333).unwrap();
        std::thread::scope(|scope| {
            for at in [4 * MIB + 900_000, 5 * MIB + 10, 3 * MIB + 700_000, 5 * MIB + 900_000] {
                let file = &file;
                scope.spawn(move || {
                    let mut hole = vec![1; 140_000];
                    file.read_exact_at(&mut hole, at as u64).expect("the file does not end here");
                    assert!(hole.iter().all(|byte| *byte == 0), "round {round}, at {at}");
                });
            }
        });
    }
}

fn a_file_renamed_while_it_is_written_has_all_data(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(1, 200_000);
    let mut file = File::create(scene.here("part")).unwrap();
    file.write_all(&data[..123_456]).unwrap();
    fs::rename(scene.here("part"), scene.here("whole")).unwrap();
    file.write_all(&data[123_456..]).unwrap();
    drop(file);
    assert!(fs::read(scene.there("whole")).unwrap() == data);
}

fn appending_through_two_handles_loses_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    let open = || OpenOptions::new().append(true).create(true).open(scene.here("log")).unwrap();
    let (mut one, mut two) = (open(), open());
    let mut expected = String::new();
    for round in 0..100 {
        for (writer, file) in [("one", &mut one), ("two", &mut two)] {
            let line = format!("{writer} {round}\n");
            file.write_all(line.as_bytes()).unwrap();
            expected += &line;
        }
    }
    drop((one, two));
    assert_eq!(fs::read_to_string(scene.there("log")).unwrap(), expected);
}

fn synced_data_is_on_the_server_while_the_file_is_open(kind: Kind) {
    let scene = Scene::on(kind);
    let file = File::create(scene.here("file")).unwrap();
    let mut data = vec![0; 200 * 4096];
    for round in 0..5_u64 {
        for index in 0..40 {
            let block = (round * 40 + index) * 7 % 200;
            let fill = noise(round * 40 + index, 4096);
            file.write_all_at(&fill, block * 4096).unwrap();
            data[block as usize * 4096..][..4096].copy_from_slice(&fill);
        }
        file.sync_all().unwrap();
        let there = fs::read(scene.there("file")).unwrap();
        assert!(there == data[..there.len()] && data[there.len()..].iter().all(|byte| *byte == 0), "round {round}");
    }
}

#[test]
fn small_writes_under_a_lease_are_sent_as_whole_chunks() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    let data = noise(1, 8 * MIB);
    let before = line.proxy.requests(command::WRITE);
    let mut file = File::create(line.mount.join("file")).unwrap();
    for piece in data.chunks(10_000) {
        file.write_all(piece).unwrap();
    }
    drop(file);
    // Eight chunks, and pieces that were sent after a second because the machine is slow.
    let writes = line.proxy.requests(command::WRITE) - before;
    assert!((8..30).contains(&writes), "{writes} WRITEs");
    assert!(fs::read(line.folder.join("file")).unwrap() == data);
}

#[test]
fn dirty_data_is_sent_soon_though_the_file_stays_open() {
    let scene = Scene::on(Kind::Smbd);
    let mut file = File::create(scene.here("log")).unwrap();
    file.write_all(b"started\n").unwrap();
    assert!(wait_until(SOON, || fs::read(scene.there("log")).unwrap() == b"started\n"));
    file.write_all(b"working\n").unwrap();
    assert!(wait_until(SOON, || fs::read(scene.there("log")).unwrap() == b"started\nworking\n"));
}

#[test]
fn each_write_with_o_dsync_is_on_the_server_when_it_returns() {
    use std::os::unix::fs::OpenOptionsExt;
    let scene = Scene::on(Kind::Smbd);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).custom_flags(libc::O_DSYNC).open(scene.here("file")).unwrap();
    for round in 0..10 {
        file.write_all_at(&[round + 1; 100], u64::from(round) * 100).unwrap();
        assert_eq!(fs::read(scene.there("file")).unwrap().len(), usize::from(round + 1) * 100);
    }
}

/// Runs a command of `smbclient`, a client that is no mount.
pub(crate) fn smbclient(port: u16, command: &str) {
    let mut client = Command::new("smbclient");
    client.args([format!("//127.0.0.1/{SHARE}").as_str(), "-U", &format!("{}%{PASSWORD}", user())]);
    client.args(["-p", &port.to_string(), "-c", command]);
    run(&mut client, Duration::from_secs(30)).success();
}

#[test]
fn another_client_reads_dirty_data_of_a_file_that_is_still_open() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings::default()));
    let scene = Scene::of(server.clone(), |request| request);
    let folder = scratch::folder("fetched");
    let name = scene.there("").file_name().unwrap().to_str().unwrap().to_owned();
    let file = File::create(scene.here("file")).unwrap();
    let data = noise(1, 3 * MIB + 12_345);
    for round in 0..5_u8 {
        file.write_all_at(&data, 0).unwrap();
        file.write_all_at(&[round], data.len() as u64).unwrap();
        let fetched = folder.join("fetched");
        smbclient(server.port(), &format!("get {name}/file {}", fetched.display()));
        assert!(fs::read(fetched).unwrap() == [&data[..], &[round]].concat(), "round {round}");
    }
}

#[test]
fn earlier_dirty_data_does_not_overwrite_the_data_of_another_client() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings::default()));
    let scene = Scene::of(server.clone(), |request| request.arg("--attr-timeout=0"));
    let name = scene.there("").file_name().unwrap().to_str().unwrap().to_owned();
    let theirs = scratch::folder("theirs").join("theirs");
    fs::write(&theirs, noise(2, MIB)).unwrap();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(scene.here("file")).unwrap();
    file.write_all_at(&noise(1, MIB / 2), 0).unwrap();
    smbclient(server.port(), &format!("put {} {name}/file", theirs.display()));
    assert!(fs::read(scene.there("file")).unwrap() == noise(2, MIB));
    let mut read = vec![0; MIB];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == noise(2, MIB), "the new data must be seen on this mount");
    file.write_all_at(b"after", 0).unwrap();
    drop(file);
    assert_eq!(&fs::read(scene.there("file")).unwrap()[..5], b"after");
}

#[test]
fn writes_of_two_mounts_to_one_file_all_reach_the_server() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--attr-timeout=0"));
    let second = scene.second_mount();
    fs::write(scene.here("file"), vec![0; 64 * 4096]).unwrap();
    let open = |path: PathBuf| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (one, two) = (open(scene.here("file")), open(second.join("file")));
    for round in 0..64_u64 {
        let (mine, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let block = noise(round, 4096);
        mine.write_all_at(&block, round * 4096).unwrap();
        mine.sync_all().unwrap();
        let mut seen = vec![0; 4096];
        other.read_exact_at(&mut seen, round * 4096).unwrap();
        assert!(seen == block, "round {round}");
    }
    drop((one, two));
    let expected: Vec<u8> = (0..64).flat_map(|round| noise(round, 4096)).collect();
    assert!(fs::read(scene.there("file")).unwrap() == expected);
    second.unmount();
}

#[test]
fn a_write_that_fails_later_is_reported_once_by_each_handle() {
    let server = Smbd::start(Settings::default());
    let request =
        Request::new(url("127.0.0.1", server.port(), "")).args(["--connect-timeout=2", "--request-timeout=2"]);
    let mount = request.mount();
    let open = || OpenOptions::new().write(true).create(true).truncate(false).open(mount.join("file")).unwrap();
    let (one, two, three) = (open(), open(), open());
    one.write_all_at(b"on its way", 0).unwrap();
    server.kill();
    let failure = one.sync_all().expect_err("the server is away");
    assert!(matches!(failure.raw_os_error(), Some(libc::EHOSTDOWN | libc::ETIMEDOUT)), "{failure}");
    let failure = Errno::from_raw_os_error(failure.raw_os_error().unwrap());
    fails_with(two.sync_all(), failure);
    fails_with(nix::unistd::close(three).map_err(std::io::Error::from), failure);
    server.restart();
    let works = || one.write_all_at(b"again and all of it", 0).and_then(|()| one.sync_all()).is_ok();
    assert!(wait_until(SOON, works));
    assert_eq!(fs::read(server.folder().join("file")).unwrap(), b"again and all of it");
    drop((one, two));
    mount.unmount();
}
