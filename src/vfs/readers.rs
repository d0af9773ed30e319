//! The sequential readers of one handle, and the chunks that are being read ahead for them.
//!
//! Invariant: a READ ahead that nobody will want, since its stream is over or its handle closed, is
//! given up.

use crate::cache::{Advice, ReadAhead, Terms};
use tokio::task::AbortHandle;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    ahead: ReadAhead,
    /// Chunks on their way, by the stream that wants them.
    tasks: Vec<(u64, AbortHandle)>,
}

impl Readers {
    /// As [`ReadAhead::observe`]; what streams that are over wanted is given up.
    pub(crate) fn observe(&mut self, offset: u64, length: u64, terms: Terms) -> Advice {
        let advice = self.ahead.observe(offset, length, terms);
        if !advice.over.is_empty() {
            self.tasks.retain(|(stream, task)| {
                let over = advice.over.contains(stream);
                if over {
                    task.abort();
                }
                !over
            });
        }
        advice
    }

    /// A chunk is on its way for a stream.
    pub(crate) fn expect(&mut self, stream: u64, task: AbortHandle) {
        self.tasks.retain(|(_, task)| !task.is_finished());
        self.tasks.push((stream, task));
    }

    /// The handle is closed: nothing more is wanted.
    pub(crate) fn give_up(&mut self) {
        self.tasks.drain(..).for_each(|(_, task)| task.abort());
    }

    /// See [`ReadAhead::pressed`].
    pub(crate) fn pressed(&mut self, stream: u64, chunk: u64, chunk_size: u64) {
        self.ahead.pressed(stream, chunk, chunk_size);
    }
}
