//! All counters of a mount, and their names.
//!
//! A value is an atomic number or a histogram, so any thread can count at any time. The samples are no snapshot of one
//! moment: a request that is being counted can be missing in one sample and present in the next.

use super::latency::{Latency, Summary};
use super::operation::Operation;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The commands of SMB2 by their numbers (MS-SMB2 2.2.1.2).
const COMMANDS: [&str; 19] = [
    "NEGOTIATE",
    "SESSION_SETUP",
    "LOGOFF",
    "TREE_CONNECT",
    "TREE_DISCONNECT",
    "CREATE",
    "CLOSE",
    "FLUSH",
    "READ",
    "WRITE",
    "LOCK",
    "IOCTL",
    "CANCEL",
    "ECHO",
    "QUERY_DIRECTORY",
    "CHANGE_NOTIFY",
    "QUERY_INFO",
    "SET_INFO",
    "OPLOCK_BREAK",
];

/// The stages of making a session, in their order.
const STAGES: [&str; 5] = ["resolve", "connect", "dialect", "sign_in", "share"];

/// The name of a command; `?` if MS-SMB2 has no command with this number.
pub fn command_name(command: u16) -> &'static str {
    COMMANDS.get(usize::from(command)).copied().unwrap_or("?")
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Subtracts one that was added.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The kernel's requests for one operation.
#[derive(Debug, Default)]
pub struct Requests {
    /// The time from the request to its reply.
    pub latency: Latency,
    /// Requests that could not be answered from what was cached or known: each waited for the server or for another
    /// request. All others are cache hits.
    pub waited: Counter,
    /// Requests that were answered with an errno.
    pub failed: Counter,
    /// Bytes of file data that were read, written or copied.
    pub bytes: Counter,
}

/// Chains of requests that begin with one command, and whose caller waits for the replies: one frame each.
#[derive(Debug, Default)]
pub struct RoundTrips {
    /// The time from the caller's submission, waiting for credits included, to the last reply. An open-ended
    /// CHANGE_NOTIFY is neither timed nor counted here.
    pub latency: Latency,
    /// Chains whose replies did not arrive: deadline, cancellation, or the end of the connection. A chain that was
    /// still waiting for credits counts too.
    pub failed: Counter,
}

/// The requests of each operation, by its number. (std has no default for arrays of more than 32 values.)
#[derive(Debug)]
struct ByOperation([Requests; Operation::ALL.len()]);

impl Default for ByOperation {
    fn default() -> ByOperation {
        ByOperation(std::array::from_fn(|_| Requests::default()))
    }
}

/// The counters of a mount.
#[derive(Debug, Default)]
pub struct Counters {
    requests: ByOperation,
    round_trips: [RoundTrips; COMMANDS.len()],
    messages: [Counter; COMMANDS.len()],
    failed_connects: [Counter; STAGES.len()],
    /// Requests of the kernel that are being worked on.
    pub requests_in_flight: Gauge,
    /// Frames that were sent, CANCELs included. A compound is one frame.
    pub frames_sent: Counter,
    /// Frames that were received.
    pub frames_received: Counter,
    /// Bytes that were written by programs and that the server has not confirmed yet.
    pub dirty_bytes: Gauge,
    /// Lease and oplock breaks that were received.
    pub breaks: Counter,
    /// Losses of the session. Its connections end together and count as one.
    pub losses: Counter,
    /// Sessions that were made again after a loss.
    pub reconnects: Counter,
    /// Operations that were to be sent again, or verified, after a loss; those that then gave up count too.
    pub retries: Counter,
    /// Sign-ins that the server refused.
    pub refused_sign_ins: Counter,
}

/// A value and its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The name: that of the field of [`Counters`] or, for values by operation or command, as in [`Counters::samples`].
    pub name: &'static str,
    /// The operation or the command, where a name has one value for each.
    pub of: Option<&'static str>,
    /// The value.
    pub value: Value,
}

/// The kinds of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number that only grows.
    Count(u64),
    /// A number that grows and shrinks.
    Level(u64),
    /// How long something took.
    Latency(Summary),
}

impl Value {
    /// The number, or how many times were measured.
    pub fn number(self) -> u64 {
        match self {
            Value::Count(number) | Value::Level(number) => number,
            Value::Latency(summary) => summary.count,
        }
    }
}

impl Counters {
    /// The requests of this operation.
    pub fn requests(&self, operation: Operation) -> &Requests {
        &self.requests.0[operation as usize]
    }

    /// The chains that begin with this command; `None` if MS-SMB2 has no command with this number.
    pub fn round_trips(&self, command: u16) -> Option<&RoundTrips> {
        self.round_trips.get(usize::from(command))
    }

    /// Counts a sent request with this command, alone or in a compound.
    pub fn message(&self, command: u16) {
        self.messages.get(usize::from(command)).iter().for_each(|messages| messages.count());
    }

    /// Counts a chain that begins with this command: its replies took this long, or did not arrive (`None`).
    pub fn round_trip(&self, command: u16, took: Option<Duration>) {
        match (self.round_trips(command), took) {
            (Some(trips), Some(took)) => trips.latency.record(took),
            (Some(trips), None) => trips.failed.count(),
            (None, _) => {}
        }
    }

    /// Counts a failed attempt to make the session again, by the name of the stage that failed.
    pub fn connect_failed(&self, stage: &str) {
        let counters = STAGES.iter().zip(&self.failed_connects);
        counters.filter(|(name, _)| **name == stage).for_each(|(_, counter)| counter.count());
    }

    /// All values that are not zero, with their names.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut add = |name, of, value| {
            if !matches!(value, Value::Count(0) | Value::Level(0) | Value::Latency(Summary { count: 0, .. })) {
                samples.push(Sample { name, of, value });
            }
        };
        for (operation, requests) in Operation::ALL.into_iter().zip(&self.requests.0) {
            let of = Some(operation.name());
            add("requests", of, Value::Latency(requests.latency.summary()));
            add("requests_waited", of, Value::Count(requests.waited.get()));
            add("requests_failed", of, Value::Count(requests.failed.get()));
            add("request_bytes", of, Value::Count(requests.bytes.get()));
        }
        for ((command, trips), messages) in COMMANDS.into_iter().zip(&self.round_trips).zip(&self.messages) {
            add("messages", Some(command), Value::Count(messages.get()));
            add("round_trips", Some(command), Value::Latency(trips.latency.summary()));
            add("round_trips_failed", Some(command), Value::Count(trips.failed.get()));
        }
        for (stage, failed) in STAGES.into_iter().zip(&self.failed_connects) {
            add("failed_connects", Some(stage), Value::Count(failed.get()));
        }
        add("requests_in_flight", None, Value::Level(self.requests_in_flight.get()));
        add("frames_sent", None, Value::Count(self.frames_sent.get()));
        add("frames_received", None, Value::Count(self.frames_received.get()));
        add("dirty_bytes", None, Value::Level(self.dirty_bytes.get()));
        add("breaks", None, Value::Count(self.breaks.get()));
        add("losses", None, Value::Count(self.losses.get()));
        add("reconnects", None, Value::Count(self.reconnects.get()));
        add("retries", None, Value::Count(self.retries.get()));
        add("refused_sign_ins", None, Value::Count(self.refused_sign_ins.get()));
        samples
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sample { name, of, value } = self;
        let of = of.map(|of| format!("{{{of}}}")).unwrap_or_default();
        match value {
            Value::Count(count) | Value::Level(count) => write!(f, "{name}{of} {count}"),
            Value::Latency(Summary { count, median, p99, longest, .. }) => {
                write!(f, "{name}{of} {count}, median {median:?}, 99 % {p99:?}, longest {longest:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_is_shown_and_by_its_name() {
        let counters = Counters::default();
        assert_eq!(counters.samples(), []);
        counters.requests(Operation::Read).latency.record(Duration::from_micros(8));
        counters.requests(Operation::Read).waited.count();
        counters.message(5);
        counters.message(6);
        counters.round_trip(5, Some(Duration::from_micros(16)));
        counters.round_trip(8, None);
        counters.dirty_bytes.set(7);
        let shown: Vec<_> = counters.samples().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "requests{read} 1, median 8µs, 99 % 8µs, longest 8µs",
                "requests_waited{read} 1",
                "messages{CREATE} 1",
                "round_trips{CREATE} 1, median 16µs, 99 % 16µs, longest 16µs",
                "messages{CLOSE} 1",
                "round_trips_failed{READ} 1",
                "dirty_bytes 7",
            ]
        );
    }

    #[test]
    fn a_command_that_does_not_exist_is_not_counted() {
        let counters = Counters::default();
        counters.message(19);
        counters.round_trip(u16::MAX, None);
        assert_eq!(counters.samples(), []);
        assert_eq!((command_name(18), command_name(19)), ("OPLOCK_BREAK", "?"));
    }
}
