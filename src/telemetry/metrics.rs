//! The metrics of a mount as OpenMetrics text: another form of its [`Status`] and its counters.
//!
//! Each metric is in one of the three tables here, and in docs/metrics.md; a test compares them. A label is an operation
//! of the kernel, a command of SMB2, a stage, or describes server and share. No path, user or password is in it.

use super::counters::{Sample, Value};
use super::latency::{BOUNDS, Summary};
use super::status::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// The type of the text, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The first part of each name.
const PREFIX: &str = "cifs_fuse";

/// A family of values that are counted or timed: the name of its [`Sample`]s, its own name, its label and its meaning.
struct Family(&'static str, &'static str, Option<&'static str>, &'static str);

const COUNTERS: [Family; 13] = [
    Family(
        "requests_waited",
        "cache_misses",
        OPERATION,
        "Kernel requests that waited for the server or another request",
    ),
    Family("requests_failed", "requests_failed", OPERATION, "Kernel requests answered with an errno"),
    Family("request_bytes", "request_bytes", OPERATION, "Bytes of file data read, written or copied by programs"),
    Family("messages", "messages", COMMAND, "SMB2 requests sent, alone or in a compound"),
    Family("round_trips_failed", "round_trips_failed", COMMAND, "Chains of requests whose replies did not arrive"),
    Family("frames_sent", "frames_sent", None, "Frames sent"),
    Family("frames_received", "frames_received", None, "Frames received"),
    Family("breaks", "lease_breaks", None, "Lease and oplock breaks received"),
    Family("losses", "session_losses", None, "Losses of the session"),
    Family("reconnects", "reconnects", None, "Sessions made again after a loss"),
    Family("retries", "retries", None, "Operations sent again or verified after a loss"),
    Family("refused_sign_ins", "refused_sign_ins", None, "Sign-ins that the server refused"),
    Family("failed_connects", "connect_failures", Some("stage"), "Failed attempts to make the session again"),
];

const HISTOGRAMS: [Family; 2] = [
    Family("requests", "request_duration_seconds", OPERATION, "Time from a kernel request to its reply"),
    Family("round_trips", "round_trip_duration_seconds", COMMAND, "Time from a chain of requests to its last reply"),
];

const OPERATION: Option<&str> = Some("operation");
const COMMAND: Option<&str> = Some("command");

/// A value of the moment, its name and its meaning.
struct Level(&'static str, &'static str, fn(&Snapshot) -> f64);

const LEVELS: [Level; 15] = [
    Level("mount_age_seconds", "How long the mount has existed", |now| now.status.age as f64),
    Level("read_only", "Whether the mount is read-only", |now| f64::from(now.status.read_only)),
    Level("requests_in_flight", "Kernel requests being worked on", |now| now.level("requests_in_flight")),
    Level("cache_budget_bytes", "The memory budget of the cache", |now| now.status.cache.budget as f64),
    Level("cache_used_bytes", "Memory of the cache in use", |now| now.status.cache.used as f64),
    Level("cache_dirty_bytes", "Bytes that the server does not have yet", |now| now.status.cache.dirty as f64),
    Level("leases", "Files and directories with a lease or an oplock", |now| now.status.cache.leases as f64),
    Level("watches", "Directories whose changes the server reports", |now| now.status.cache.watches as f64),
    Level("connections", "Connections of the session", |now| now.status.server.connections as f64),
    Level("credits_available", "Credits that are free", |now| f64::from(now.status.server.credits_available)),
    Level("credits_in_use", "Credits in use by requests in flight", |now| f64::from(now.status.server.credits_in_use)),
    Level("server_away", "Whether there is no session with the server", |now| {
        f64::from(now.status.server.away.is_some())
    }),
    Level("server_away_seconds", "How long the outage has lasted, or 0", |now| {
        now.status.server.away.as_ref().map_or(0.0, |away| away.seconds as f64)
    }),
    Level("read_buffer_bytes", "Size of READs", |now| f64::from(now.status.buffers.read.bytes)),
    Level("write_buffer_bytes", "Size of WRITEs", |now| f64::from(now.status.buffers.write.bytes)),
];

/// A mount at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Its status.
    pub status: Status,
    /// Its counters.
    pub samples: Vec<Sample>,
    /// The server, as the URL names it.
    pub server: String,
    /// The share.
    pub share: String,
}

impl Snapshot {
    /// The metrics as text.
    pub fn text(self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut encoded = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut encoded, &registry);
        encoded
    }

    fn samples<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(|sample| sample.name == family.0)
    }

    fn level(&self, name: &str) -> f64 {
        let found = self.samples.iter().find(|sample| sample.name == name);
        found.map_or(0.0, |sample| sample.value.number() as f64)
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in &COUNTERS {
            let Family(_, name, label, help) = family;
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            match label {
                // A counter that counted nothing yet has no sample.
                None => {
                    let count = self.samples(family).next().map_or(0, |sample| sample.value.number());
                    metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
                Some(label) => {
                    for sample in self.samples(family) {
                        let labels = [(*label, sample.of.unwrap_or_default())];
                        let count = sample.value.number();
                        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in &HISTOGRAMS {
            let Family(_, name, label, help) = family;
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for sample in self.samples(family) {
                let Value::Latency(Summary { count, total, within, .. }) = sample.value else { continue };
                let labels = [(label.unwrap_or_default(), sample.of.unwrap_or_default())];
                let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64()).chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(within).collect();
                let mut metric = metric.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(total.as_secs_f64(), count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn levels(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for Level(name, help, value) in &LEVELS {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value(self))?;
        }
        Ok(())
    }

    /// What is constant, or a name: as labels of the number 1.
    fn descriptions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Status { program, server, cache, .. } = &self.status;
        let none = || "none".to_owned();
        let build = vec![("version", program.clone())];
        let mount = vec![
            ("server", self.server.clone()),
            ("share", self.share.clone()),
            ("dialect", server.dialect.clone()),
            ("signing", server.signing.clone().unwrap_or_else(none)),
            ("encryption", server.encryption.clone().unwrap_or_else(none)),
            ("cache", cache.mode.clone()),
        ];
        for (name, help, labels) in [
            ("build_info", "The program, as labels of the number 1", build),
            ("mount_info", "Server, share and session, as labels of the number 1", mount),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_family(&labels)?.encode_gauge(&1_u32)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.descriptions(&mut encoder)?;
        self.levels(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.histograms(&mut encoder)
    }
}
