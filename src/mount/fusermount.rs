//! Mounting for an ordinary user, through the set-user-id program `fusermount3` of libfuse.
//!
//! It opens /dev/fuse and mounts with its own rights, then sends the descriptor back over a socket (`_FUSE_COMMFD`,
//! which here is its standard input). Its output on standard error becomes part of the error message. The invariant: no
//! call exceeds its deadline by more than 1 s, in which the error output is read, and no part of a source can become an
//! option.

use super::deadline::within;
use super::error::{MountError, Stage};
use super::kernel::{MountRequest, SUBTYPE};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for mounting: the program does nothing that waits for a server.
const MOUNT_LIMIT: Duration = Duration::from_secs(10);

/// Interval between checks of whether the program has ended.
const TICK: Duration = Duration::from_millis(5);

/// Where the program is searched, unless `FUSERMOUNT_PATH` names it. The absolute paths are for a mount helper that was
/// started without a PATH.
const PROGRAMS: [&str; 4] = ["fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3", "/usr/local/bin/fusermount3"];

/// Mounts, and returns the descriptor of the FUSE device.
///
/// # Errors
///
/// The program is missing, refuses, or does not end within 10 s; or it sends no descriptor.
pub fn mount(request: &MountRequest) -> Result<OwnedFd, MountError> {
    let failed = |error: io::Error| MountError::new(Stage::System, format!("the fusermount3 socket failed: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let arguments = [OsStr::new("-o"), &options(request), OsStr::new("--"), request.mountpoint.path().as_os_str()];
    let answer = run(&arguments, Some(theirs.into()), MOUNT_LIMIT)?;
    if !answer.status.success() {
        return Err(refusal(&answer));
    }
    receive_descriptor(&ours).map_err(failed)
}

/// Unmounts: at once if `lazy`, otherwise after the kernel has written its dirty pages.
///
/// # Errors
///
/// The program is missing, refuses (busy, not mounted, another user's mount), or does not end within `limit`.
pub fn unmount(mountpoint: &Path, lazy: bool, limit: Duration) -> Result<(), MountError> {
    let how = if lazy { "-uz" } else { "-u" };
    let answer = run(&[OsStr::new(how), OsStr::new("--"), mountpoint.as_os_str()], None, limit)?;
    if answer.status.success() { Ok(()) } else { Err(refusal(&answer)) }
}

/// The value of `-o`: every byte of the source that would end an option is escaped.
fn options(request: &MountRequest) -> OsString {
    let mut options = String::from("fsname=");
    for c in request.source.chars() {
        if matches!(c, ',' | '\\') {
            options.push('\\');
        }
        options.push(c);
    }
    options.push_str(&format!(",subtype={SUBTYPE},nosuid,nodev"));
    for (wanted, name) in [(request.read_only, "ro"), (request.no_exec, "noexec")] {
        if wanted {
            options.push(',');
            options.push_str(name);
        }
    }
    options.push_str(&request.kernel_options());
    options.into()
}

/// The result of the program.
struct Answer {
    status: ExitStatus,
    stderr: String,
}

/// Runs the program to its end, with `stdin` as its descriptor 0.
fn run(arguments: &[&OsStr], stdin: Option<OwnedFd>, limit: Duration) -> Result<Answer, MountError> {
    let mut child = spawn(arguments, stdin)?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Answer { status, stderr: stderr_of(&mut child) }),
            Ok(None) if Instant::now() < deadline => thread::sleep(TICK),
            Ok(None) => {
                give_up(child);
                return Err(MountError::new(Stage::Mount, format!("fusermount3 did not end within {limit:?}")));
            }
            Err(error) => {
                return Err(MountError::new(Stage::System, format!("waiting for fusermount3 failed: {error}")));
            }
        }
    }
}

fn spawn(arguments: &[&OsStr], stdin: Option<OwnedFd>) -> Result<Child, MountError> {
    let named = std::env::var_os("FUSERMOUNT_PATH");
    let programs = match &named {
        Some(program) => vec![program.as_os_str()],
        None => PROGRAMS.map(OsStr::new).to_vec(),
    };
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for program in &programs {
        let stdin = match &stdin {
            Some(socket) => Stdio::from(socket.try_clone().map_err(|error| {
                MountError::new(Stage::System, format!("a descriptor for fusermount3 cannot be made: {error}"))
            })?),
            None => Stdio::null(),
        };
        let mut command = Command::new(program);
        command.args(arguments).env("_FUSE_COMMFD", "0").stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failure = error,
        }
    }
    let program = programs[0].to_string_lossy();
    let error = MountError::new(Stage::Mount, format!("{program} cannot be started: {failure}"));
    Err(match named {
        Some(_) => error.remedy("the environment variable FUSERMOUNT_PATH names the program"),
        None => error.remedy("an ordinary user mounts through it: install the package fuse3"),
    })
}

/// The program's error output. Bounded in time, since a child of the program could keep the pipe open.
fn stderr_of(child: &mut Child) -> String {
    let Some(mut pipe) = child.stderr.take() else { return String::new() };
    let read = move || {
        let mut text = Vec::new();
        // The output before an error is shown as well.
        let _ = pipe.by_ref().take(4096).read_to_end(&mut text);
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    within(Duration::from_secs(1), read).unwrap_or_default()
}

/// Kills a program that took too long, without waiting for its end.
fn give_up(mut child: Child) {
    // It may have ended by itself just now.
    let _ = child.kill();
    thread::spawn(move || child.wait());
}

/// The error for a run of the program that failed, with a remedy if its output names a cause that the user can remove.
fn refusal(answer: &Answer) -> MountError {
    let said = answer.stderr.strip_prefix("fusermount3: ").unwrap_or(&answer.stderr);
    let message = match said {
        "" => format!("fusermount3 ended with {}", answer.status),
        _ => format!("fusermount3 failed: {said}"),
    };
    let error = MountError::new(Stage::Mount, message);
    let has = |text| said.contains(text);
    if has("user_allow_other") {
        error.remedy("add a line with the word user_allow_other to /etc/fuse.conf, or mount without allow-other")
    } else if has("device not found") {
        error.remedy("load the kernel's FUSE module: modprobe fuse; in a container, pass the device /dev/fuse in")
    } else if has("open /dev/fuse") {
        error.remedy("it opens the device with your rights: as root, chmod 666 /dev/fuse, which is what udev does")
    } else if has("mount_max") {
        error.remedy("unmount one, or raise mount_max in /etc/fuse.conf")
    } else if has("not owned by user") || has("no write access") {
        error.remedy("mount on a directory that belongs to you")
    } else if has("busy") {
        error.remedy("a program still uses it: fuser -vm shows which")
    } else if has("Operation not permitted") || has("Permission denied") {
        error.remedy("fusermount3 must be set-user-id root, and nothing may take its rights away (no_new_privs)")
    } else {
        error
    }
}

/// Receives the descriptor that the program sent before it ended.
fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0u8];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    // The program has ended, so the message is there or never arrives.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let [descriptor] = descriptors[..]
        {
            // SAFETY: the kernel has just created this descriptor for this process, and it has no other owner. The
            // buffer has room for one, so no others can leak.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "no descriptor of the FUSE device came back"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::point::MountPoint;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_source_cannot_add_options() {
        let request = MountRequest {
            source: r"cifs://nas/a,allow_other,b\,suid".into(),
            read_only: true,
            max_read: Some(65536),
            ..MountRequest::new(MountPoint::unchecked("/mnt".into()), "")
        };
        assert_eq!(
            options(&request),
            r"fsname=cifs://nas/a\,allow_other\,b\\\,suid,subtype=cifs,nosuid,nodev,ro,default_permissions,max_read=65536"
        );
    }

    #[test]
    fn a_refusal_contains_its_remedy() {
        let answer = |stderr: &str| Answer { status: ExitStatus::from_raw(256), stderr: stderr.into() };
        let said =
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf".to_owned();
        assert!(refusal(&answer(&said)).to_string().contains("\nadd a line with the word user_allow_other"));
        assert_eq!(refusal(&answer("")).to_string(), "mount: fusermount3 ended with exit status: 1");
    }
}
