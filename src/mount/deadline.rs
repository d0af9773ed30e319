//! Bounds the time of steps that may meet a file system that does not answer.
//!
//! A process that waits in a system call for a hung FUSE or network file system can be woken only by that file system.
//! So the step runs in a thread of its own, and the caller continues without it. The invariant: [`within`] returns by
//! its deadline, whatever the step does.
//!
//! The process still ends only when all of its threads have. A stuck thread keeps it from ending until the file system
//! answers or its connection is aborted. Therefore the table of mounts, which needs no answer, is always checked first.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The step did not end in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

/// Runs `step` in a thread of its own, and returns its result if it ends within `limit`. A panic of `step` is passed
/// on.
///
/// # Errors
///
/// [`TimedOut`]: the step continues in its thread, and its result is dropped.
pub fn within<T: Send + 'static>(limit: Duration, step: impl FnOnce() -> T + Send + 'static) -> Result<T, TimedOut> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // The receiver is gone if the deadline has passed.
        let _ = sender.send(step());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            // The thread has nothing left to do, and must be gone before a fork.
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
    fn a_step_that_never_ends_does_not_block_its_caller() {
        let (_open, never) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || never.recv().is_ok()), Err(TimedOut));
        assert_eq!(within(Duration::from_secs(60), || 7), Ok(7));
    }
}
