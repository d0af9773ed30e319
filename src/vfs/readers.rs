//! The sequential readers of one handle, and the chunks that are being read ahead for them.
//!
//! Invariant: a READ ahead is aborted when its stream is over or its handle is closed.

use crate::cache::{Advice, ReadAhead, Terms};
use tokio::task::AbortHandle;

/// The streams of a handle and their READs ahead.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    ahead: ReadAhead,
    /// READs ahead under way, by stream.
    tasks: Vec<(u64, AbortHandle)>,
}

impl Readers {
    /// As [`ReadAhead::observe`]; also aborts the READs ahead of streams that are over.
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

    /// Registers a READ ahead that has begun for a stream.
    pub(crate) fn expect(&mut self, stream: u64, task: AbortHandle) {
        self.tasks.retain(|(_, task)| !task.is_finished());
        self.tasks.push((stream, task));
    }

    /// The handle is closed: aborts all READs ahead.
    pub(crate) fn give_up(&mut self) {
        self.tasks.drain(..).for_each(|(_, task)| task.abort());
    }

    /// See [`ReadAhead::pressed`].
    pub(crate) fn pressed(&mut self, stream: u64, chunk: u64, chunk_size: u64) {
        self.ahead.pressed(stream, chunk, chunk_size);
    }
}
