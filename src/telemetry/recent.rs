//! The last warnings and errors of this process, whatever the log's filter is.
//!
//! A process serves one mount, so there is one list. [`Layer`] adds to it; [`recent`] reads it.
//!
//! Invariant: the list keeps at most `MOST` messages of at most `LONGEST` bytes each.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

/// The most messages that are kept: enough for a screen.
const MOST: usize = 20;
/// The longest message, in bytes; the rest of a longer one is cut.
const LONGEST: usize = 1_000;

static RECENT: Mutex<VecDeque<Recent>> = Mutex::new(VecDeque::new());

/// A warning or an error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recent {
    /// When it was logged, in seconds since 1970, by this machine's clock.
    pub time: u64,
    /// `ERROR` or `WARN`.
    pub level: String,
    /// The message with its fields.
    pub message: String,
}

/// The last warnings and errors, the newest last.
pub fn recent() -> Vec<Recent> {
    RECENT.lock().iter().cloned().collect()
}

fn add(recent: Recent) {
    let mut list = RECENT.lock();
    if list.len() == MOST {
        list.pop_front();
    }
    list.push_back(recent);
}

/// A layer of the log that keeps the last warnings and errors of this program. To be used with a filter that passes
/// those only ([`is_kept`]).
#[derive(Debug)]
pub struct Layer;

/// Whether events of this kind are kept: warnings and errors of this program, not those of its libraries.
pub fn is_kept(metadata: &tracing::Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN && metadata.target().starts_with("cifs_fuse")
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        add(Recent { time: now.as_secs(), level: event.metadata().level().to_string(), message: text.whole() });
    }
}

/// The message of an event, and its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        let mut whole = self.message;
        whole.push_str(&self.fields);
        whole.truncate(whole.floor_char_boundary(LONGEST));
        whole
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn the_last_warnings_and_errors_are_kept_with_their_fields() {
        let subscriber = tracing_subscriber::registry().with(Layer.with_filter(filter_fn(is_kept)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("quiet");
            tracing::warn!(target: "elsewhere", "of a library");
            for number in 0..MOST {
                tracing::warn!(number, "late");
            }
            tracing::error!(path = "a/b", "lost {}", "ß".repeat(LONGEST));
        });
        let kept = recent();
        assert_eq!(kept.len(), MOST);
        assert_eq!((&kept[0].message[..], &kept[0].level[..]), ("late number=1", "WARN"));
        let last = kept.last().unwrap();
        assert!(last.message.starts_with("lost ßß") && last.message.len() <= LONGEST && last.level == "ERROR");
    }
}
