//! Lease breaks on their way to the acknowledgement. A plain value.
//!
//! Invariant: the order of the steps. From the moment a break is known, nothing becomes dirty under the lost right.
//! Each break waits until the kernel has sent the dirty pages that programs have mapped; then until the server has
//! answered for the dirty data; then until cached data is dropped here and by the kernel, if the right to read is lost;
//! then until kept opens are closed. Only then it is acknowledged (MS-SMB2 3.2.5.19.2). Dirty data is sent when the
//! break arrives, if the right to write is lost.

use super::event::Action;
use crate::share::Caching;

/// The step that a break waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The kernel sends dirty mapped pages, and drops all pages.
    Unmapping,
    /// The server answers for the dirty data.
    Draining,
    /// The kernel drops its pages, because the right to read is lost.
    Forgetting,
    /// The CLOSE of each kept open is answered.
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Break {
    number: u64,
    left: Caching,
    stage: Stage,
    /// The break waits for kernel WRITEs up to this number.
    writes: u64,
}

/// The breaks of one file.
#[derive(Debug, Default)]
pub(super) struct Breaks(Vec<Break>);

impl Breaks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A break has arrived, while kernel WRITEs up to the number `writes` are under way.
    pub(super) fn begin(&mut self, number: u64, left: Caching, unmaps: bool, writes: u64) {
        let stage = if unmaps { Stage::Unmapping } else { Stage::Draining };
        self.0.push(Break { number, left, stage, writes });
    }

    /// The kernel has dropped the pages for this break. It has sent the dirty ones as WRITEs up to the number
    /// `writes`.
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

    /// Whether a break waits for the kernel to send dirty mapped pages.
    pub(super) fn is_unmapping(&self) -> bool {
        self.0.iter().any(|broken| broken.stage == Stage::Unmapping)
    }

    /// Whether a break that ends the right to write back waits until the server has answered for all data.
    pub(super) fn is_draining(&self) -> bool {
        self.0.iter().any(|broken| broken.stage == Stage::Draining && !broken.left.writes())
    }

    /// Advances the breaks that wait only for data on its way. `is_drained` says whether nothing is dirty and the
    /// kernel WRITEs up to a number have ended. Returns whether a break ends the right to read.
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

    /// Acknowledges the breaks that wait for nothing.
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
