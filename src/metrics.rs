//! What is counted and measured for whoever runs the server. Lies under everything, like `error`: any room may count.
//!
//! A metric is one line in one of the tables below: field, kind, name on the wire, labels, meaning. The line declares it, registers it,
//! and puts it into `docs/operations.md` (a test compares). Labels are words of ours, never ids, addresses or what clients say.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use prometheus::{HistogramOpts, Opts, Registry, TextEncoder};

/// What is written of the text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Waiting: from half a millisecond to ten seconds.
const SHORT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What people do: from a second to two hours.
const LONG: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];
/// How many at once.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// One line of a table, for those who read about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// On the wire. Counters end in `_total`, times in `_seconds`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub about: &'static str,
}

/// A kind of metric.
trait Kind: Clone {
    const WORD: &'static str;

    fn make(metric: &Metric) -> prometheus::Result<Self>;

    fn collector(&self) -> Box<dyn Collector>;
}

macro_rules! kind {
    ($type:ident, $word:literal, |$metric:ident| $make:expr) => {
        impl Kind for $type {
            const WORD: &'static str = $word;

            fn make($metric: &Metric) -> prometheus::Result<Self> {
                $make
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.clone())
            }
        }
    };
}

kind!(IntCounter, "counter", |metric| Self::new(metric.name, metric.about));
kind!(IntCounterVec, "counter", |metric| Self::new(Opts::new(metric.name, metric.about), metric.labels));
kind!(IntGauge, "gauge", |metric| Self::new(metric.name, metric.about));
kind!(IntGaugeVec, "gauge", |metric| Self::new(Opts::new(metric.name, metric.about), metric.labels));

macro_rules! histogram {
    ($(#[$doc:meta])* $type:ident, $of:ident, $buckets:ident $(, $labels:ident)?) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $type($of);

        impl Deref for $type {
            type Target = $of;

            fn deref(&self) -> &$of {
                &self.0
            }
        }

        impl Kind for $type {
            const WORD: &'static str = "histogram";

            fn make(metric: &Metric) -> prometheus::Result<Self> {
                let options = HistogramOpts::new(metric.name, metric.about).buckets($buckets.to_vec());
                Ok(Self(histogram!(@make $of, options $(, metric.$labels)?)?))
            }

            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.0.clone())
            }
        }
    };
    (@make Histogram, $options:ident) => { Histogram::with_opts($options) };
    (@make HistogramVec, $options:ident, $labels:expr) => { HistogramVec::new($options, $labels) };
}

histogram!(
    /// How long something was waited for.
    Waits, Histogram, SHORT
);
histogram!(
    /// How long something was waited for, by labels.
    WaitsBy, HistogramVec, SHORT, labels
);
histogram!(
    /// How long people took over something.
    Spans, Histogram, LONG
);
histogram!(
    /// How many there were at once.
    Sizes, Histogram, SIZES
);

/// Declares a struct of metrics from a table.
macro_rules! metrics {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ident = $wire:literal $([$($label:literal),+])?, $about:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            $(#[doc = $about] pub $field: $kind,)+
        }

        impl $name {
            /// The table, for the documents.
            pub const TABLE: &[Metric] =
                &[$(Metric { name: $wire, kind: <$kind as Kind>::WORD, labels: &[$($($label),+)?], about: $about }),+];

            fn make() -> Self {
                let mut rows = Self::TABLE.iter();
                Self {
                    $($field: {
                        let row = rows.next().expect("the fields and the table are one list");
                        <$kind as Kind>::make(row).unwrap_or_else(|e| panic!("the metric {}: {e}", row.name))
                    },)+
                }
            }

            fn register(&self, registry: &Registry) {
                $(registry.register(self.$field.collector()).expect("no name is used twice");)+
            }
        }
    };
}

metrics! {
    /// What the server counts. One for each server; see [`Metrics`].
    ServerMetrics {
        build_info: IntGaugeVec = "samvad_build_info" ["version", "store"], "Always 1; the labels say which version runs on which store.";
        draining: IntGauge = "samvad_draining", "1 while the server is going down.";
        tcp_connections: IntGauge = "samvad_tcp_connections", "Open TCP connections, of clients, probes and scrapes alike.";
        connections: IntGaugeVec = "samvad_connections" ["transport", "type"],
            "Connected sockets of this node, by transport (websocket, polling) and type of person.";
        handshakes: IntCounterVec = "samvad_handshakes_total" ["outcome"],
            "Handshakes, by outcome: ok, or the code of the refusal (ORIGIN for a wrong origin, DRAINING while going down).";
        disconnects: IntCounterVec = "samvad_disconnects_total" ["reason"],
            "Sockets that ended: on_purpose, dropped (the line broke), silent (no heartbeat), or cut by the server (cut).";
        cuts: IntCounterVec = "samvad_cuts_total" ["reason"],
            "Sockets the server cut: full_buffer (did not read what it was told), flood, too_many_sockets, revoked, ended_token, account, draining.";
        events: IntCounterVec = "samvad_events_total" ["event", "outcome"],
            "Events of clients that were answered, by name (unknown for any other) and outcome: ok or the error code.";
        event_seconds: WaitsBy = "samvad_event_seconds" ["event"],
            "From the moment an event is taken up until its answer is handed to the socket.";
        requests: IntCounterVec = "samvad_http_requests_total" ["method", "route", "status"],
            "REST requests, by method, pattern of the route (none for no route) and status.";
        messages: IntCounterVec = "samvad_messages_total" ["outcome"],
            "Messages sent by socket and REST: stored, repeated (stored before), or the error code.";
        send_commit_seconds: Waits = "samvad_send_commit_seconds",
            "From the moment a message waits for the store until it is stored or refused.";
        messages_read: IntCounter = "samvad_messages_read_total", "Messages that were marked as read.";
        deliveries: IntCounter = "samvad_deliveries_total", "Events handed to sockets of this node; one event to one socket is one.";
        calls: IntGaugeVec = "samvad_calls" ["state"], "Calls this node knows of that are not over: ringing or active.";
        calls_begun: IntCounter = "samvad_calls_begun_total", "Calls that were begun on this node.";
        calls_ended: IntCounterVec = "samvad_calls_ended_total" ["outcome"],
            "Calls this node ended: completed, missed, rejected, busy, cancelled, network_error.";
        ring_seconds: Spans = "samvad_call_ring_seconds", "How long calls rang until they were answered or over.";
        talk_seconds: Spans = "samvad_call_talk_seconds", "How long calls that were answered lasted.";
        limit_hits: IntCounterVec = "samvad_limit_hits_total" ["rule"],
            "Requests refused because a limit was reached, by rule: messages, calls, joins, history, typing, other, answer_kib, uploads, upload_kib, admin_keys, handshakes.";
        refused_credentials: IntCounterVec = "samvad_refused_credentials_total" ["code"],
            "Credentials that were refused on sockets and REST, by code.";
        sent_outside: IntCounterVec = "samvad_sent_outside_total" ["channel", "outcome"],
            "What went to phones and the webhook, by channel (fcm, apns, webhook, outbox) and outcome: accepted, gone, refused, later; too_late and useless for what was not sent.";
        store_healthy: IntGauge = "samvad_store_healthy", "1 if the store took a probing write when it was last asked.";
        bus_configured: IntGauge = "samvad_bus_configured", "1 if REDIS_URL is set.";
        bus_healthy: IntGauge = "samvad_bus_healthy", "1 while messages go to other nodes and come from them.";
        bus_nodes: IntGauge = "samvad_bus_nodes", "Other nodes that live.";
        bus_told: IntCounter = "samvad_bus_told_total", "Messages told to other nodes.";
        bus_heard: IntCounter = "samvad_bus_heard_total", "Messages heard of other nodes.";
        bus_lost: IntCounter = "samvad_bus_lost_total", "Messages other nodes never heard, because Redis was away or the queue was full.";
        bus_gaps: IntCounter = "samvad_bus_gaps_total", "How often messages of other nodes may have been missed.";
    }
}

metrics! {
    /// What a store measures itself.
    StoreTable {
        commit_seconds: Waits = "samvad_store_commit_seconds",
            "One durable write: a transaction of the embedded store, or an acknowledged insert of messages into MongoDB.";
        batch_size: Sizes = "samvad_store_batch_size", "How many waiting writes one durable write took along.";
        failed_commits: IntCounter = "samvad_store_failed_commits_total", "Durable writes that failed as a whole.";
        queue_depth: IntGauge = "samvad_store_queue_depth", "Writes that wait for the store.";
    }
}

/// How many commits the percentiles are of.
const RECENT: usize = 1024;

/// What a store measures: its table, and its latest commits one by one.
pub struct StoreMetrics {
    table: StoreTable,
    // std Mutex: never held across an await.
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    took: Vec<Duration>,
    next: usize,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self { table: StoreTable::make(), recent: Mutex::default() }
    }
}

impl Deref for StoreMetrics {
    type Target = StoreTable;

    fn deref(&self) -> &StoreTable {
        &self.table
    }
}

impl StoreMetrics {
    /// A durable write took so long, and so many waiting ones along.
    pub fn note_commit(&self, took: Duration, writes: usize) {
        self.table.commit_seconds.observe(took.as_secs_f64());
        self.table.batch_size.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let next = recent.next;
        match recent.took.get_mut(next) {
            Some(oldest) => *oldest = took,
            None => recent.took.push(took),
        }
        recent.next = (next + 1) % RECENT;
    }

    /// The median and the 99th percentile of the latest commits, at most 1,024 of them; none before the first.
    pub fn latest_commits(&self) -> Option<[Duration; 2]> {
        let mut took = self.recent.lock().unwrap_or_else(PoisonError::into_inner).took.clone();
        took.sort_unstable();
        let last = took.len().checked_sub(1)?;
        Some([50, 99].map(|percent| took[(last * percent).div_ceil(100)]))
    }

    /// Tells how many writes wait now.
    pub fn note_queue(&self, waiting: usize) {
        self.table.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

/// Everything one server counts and measures.
pub struct Metrics {
    server: ServerMetrics,
    registry: Registry,
}

impl Deref for Metrics {
    type Target = ServerMetrics;

    fn deref(&self) -> &ServerMetrics {
        &self.server
    }
}

impl Default for Metrics {
    /// Those of the server alone.
    #[expect(clippy::expect_used, reason = "once, at start, from a table that a test walks")]
    fn default() -> Self {
        let this = Self { server: ServerMetrics::make(), registry: Registry::new() };
        this.server.register(&this.registry);
        // Memory, processor time and open files of this process, where the system tells.
        #[cfg(target_os = "linux")]
        this.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())).expect("no name is used twice");
        this
    }
}

impl Metrics {
    /// Those of the server and of its store.
    pub fn with(store: &StoreMetrics) -> Self {
        let this = Self::default();
        store.table.register(&this.registry);
        this
    }

    /// Every line of the tables, for the documents.
    pub fn tables() -> impl Iterator<Item = &'static Metric> {
        ServerMetrics::TABLE.iter().chain(StoreTable::TABLE)
    }

    /// All of it as Prometheus reads it.
    pub fn render(&self) -> String {
        // Writing to a string fails only for metrics without a name, and those cannot be registered.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// The sum of a counter over all its labels.
pub fn sum(counter: &IntCounterVec) -> u64 {
    sum_where(counter, |_| true)
}

/// The sum of a counter with one label, over those values of it.
pub fn sum_where(counter: &IntCounterVec, counts: impl Fn(&str) -> bool) -> u64 {
    let families = counter.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let counted = metrics.filter(|metric| metric.get_label().iter().all(|label| counts(label.value())));
    // Counters count up by whole numbers, far below where a float loses them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not negative")]
    counted.map(|metric| metric.get_counter().get_value() as u64).sum()
}

/// Brings a counter to a total that somebody else counts; it never goes back.
pub fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_latest_commits() {
        let store = StoreMetrics::default();
        assert_eq!(store.latest_commits(), None);
        for n in 0..RECENT as u64 {
            store.note_commit(Duration::from_secs(1000 + n), 1);
        }
        for n in 1..=RECENT as u64 {
            store.note_commit(Duration::from_millis(n), 2);
        }
        let [p50, p99] = store.latest_commits().expect("some");
        assert_eq!((p50.as_millis(), p99.as_millis()), (513, 1014));
        assert_eq!(store.commit_seconds.get_sample_count(), 2 * RECENT as u64);
    }

    #[test]
    fn sums_and_totals_of_others_are_whole() {
        let metrics = Metrics::with(&StoreMetrics::default());
        metrics.messages.with_label_values(&["stored"]).inc_by(7);
        metrics.messages.with_label_values(&["OVERLOADED"]).inc_by(2);
        assert_eq!((sum(&metrics.messages), sum_where(&metrics.messages, |outcome| outcome == "stored")), (9, 7));
        raise(&metrics.bus_told, 5);
        raise(&metrics.bus_told, 3);
        assert_eq!(metrics.bus_told.get(), 5);
    }
}
