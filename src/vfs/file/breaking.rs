//! Breaks of a lease on their way to the acknowledgement. A plain value.
//!
//! The order is what makes a break safe: from the moment it is known nothing becomes dirty any more. Then the kernel sends
//! the dirty pages that programs have mapped, what is dirty here is drained, what was read is dropped here and by the
//! kernel, kept opens are closed, and only then the server is answered (MS-SMB2 3.2.5.19.2).

use super::event::Action;
use crate::share::Caching;

/// What a break waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The kernel sends dirty mapped pages, and drops them.
    Unmapping,
    /// The server answers for what is dirty.
    Draining,
    /// The kernel drops the pages that it has read.
    Forgetting,
    /// Kept opens are closed.
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Break {
    number: u64,
    left: Caching,
    stage: Stage,
    /// The kernel's writes up to this number are waited for.
    writes: u64,
}

/// The breaks of one file.
#[derive(Debug, Default)]
pub(super) struct Breaks(Vec<Break>);

impl Breaks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A break has come. Writes of the kernel up to the number `writes` are under way.
    pub(super) fn begin(&mut self, number: u64, left: Caching, unmaps: bool, writes: u64) {
        let stage = if unmaps { Stage::Unmapping } else { Stage::Draining };
        self.0.push(Break { number, left, stage, writes });
    }

    /// The kernel has dropped the pages for this break, and has sent those that were dirty by writes up to the number `writes`.
    pub(super) fn forgotten(&mut self, number: u64, writes: u64) {
        for broken in self.0.iter_mut().filter(|broken| broken.number == number) {
            broken.stage = match broken.stage {
                Stage::Unmapping => {
                    broken.writes = writes;
                    Stage::Draining
                }
                Stage::Forgetting => Stage::Closing,
                other => other,
            };
        }
    }

    /// Whether one waits for the kernel to send dirty mapped pages.
    pub(super) fn is_unmapping(&self) -> bool {
        self.0.iter().any(|broken| broken.stage == Stage::Unmapping)
    }

    /// Whether one takes the right to write back, and waits until the server has everything.
    pub(super) fn is_draining(&self) -> bool {
        self.0.iter().any(|broken| broken.stage == Stage::Draining && !broken.left.writes())
    }

    /// Takes on those that wait for nothing but data on its way: `is_drained` says of a number whether nothing is dirty, and
    /// the kernel's writes up to that number have ended. Says whether the right to read is lost with one.
    pub(super) fn drained<O>(&mut self, is_drained: impl Fn(u64) -> bool, actions: &mut Vec<Action<O>>) -> bool {
        let mut loses_reads = false;
        for broken in self.0.iter_mut().filter(|broken| broken.stage == Stage::Draining) {
            if !broken.left.writes() && !is_drained(broken.writes) {
                continue;
            }
            if broken.left.reads() {
                broken.stage = Stage::Closing;
            } else {
                broken.stage = Stage::Forgetting;
                loses_reads = true;
                actions.push(Action::Drop(0..u64::MAX));
                actions.push(Action::ForgetPages { number: broken.number });
            }
        }
        loses_reads
    }

    pub(super) fn is_ready_to_close(&self) -> bool {
        self.0.iter().any(|broken| broken.stage == Stage::Closing)
    }

    /// Acknowledges those that wait for nothing any more.
    pub(super) fn acknowledge<O>(&mut self, is_closed: bool, actions: &mut Vec<Action<O>>) {
        self.0.retain(|broken| {
            let is_done = broken.stage == Stage::Closing && is_closed;
            if is_done {
                actions.push(Action::Acknowledge { number: broken.number });
            }
            !is_done
        });
    }
}
