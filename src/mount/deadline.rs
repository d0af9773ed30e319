//! Steps that may meet a file system that does not answer, bounded in time.
//!
//! A process that waits in a system call for a hung FUSE or network file system cannot be woken by
//! anyone but that file system. So the wait is left to a thread, and the caller goes on without it.
//! The invariant: [`within`] returns by its deadline, whatever the step does.
//!
//! What remains is that a process ends only when all of its threads have. A thread that is stuck
//! keeps the process from ending until the file system answers or its connection is aborted, which
//! is why everything that needs no answer (the table of mounts) is asked first.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The step did not end in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

/// Runs `step` in a thread of its own, and returns its result if that comes within `limit`.
///
/// # Errors
///
/// [`TimedOut`]: the step goes on in its thread, and nobody takes its result.
pub fn within<T: Send + 'static>(limit: Duration, step: impl FnOnce() -> T + Send + 'static) -> Result<T, TimedOut> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // The receiver is gone if the deadline has passed.
        let _ = sender.send(step());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            // It has nothing left to do, and a fork must not find it still there.
            let _ = thread.join();
            Ok(result)
        }
        Err(mpsc::RecvTimeoutError::Timeout) => Err(TimedOut),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the step's thread sends before it ends"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_never_ends_does_not_hold_its_caller() {
        let (_open, never) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || never.recv().is_ok()), Err(TimedOut));
        assert_eq!(within(Duration::from_secs(60), || 7), Ok(7));
    }
}
