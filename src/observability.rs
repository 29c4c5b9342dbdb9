//! Log lines: structured, and without tokens or message text.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata, warn};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use crate::config::LogFormat;
use crate::traces;

/// Libraries that see payloads, credentials or commands; they may say no more than warnings.
const CAPPED: &[&str] = &[
    "socketioxide",
    "engineioxide",
    "hyper",
    "hyper_util",
    "h2",
    "axum",
    "tower_http",
    "tungstenite",
    "tokio_tungstenite",
    "mongodb",
    "hickory_proto",
    "hickory_net",
    "hickory_resolver",
    "rustls",
    "reqwest",
];

/// Who hears of spans beside the log. `None` costs nothing.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging to standard error. Errors: the filter cannot be understood, or logging was started before.
pub fn start(filter: &str, format: LogFormat, listener: Option<Listener>) -> Result<(), String> {
    let filter: Targets = filter.parse().map_err(|e| format!("RUST_LOG: {e}"))?;
    // Not targets added to the filter: a longer one in RUST_LOG (`socketioxide::client=trace`) would win over them. The hint leaves the
    // highest level to the other filter; without it every frame's trace lines would come as far as here.
    let filter = filter.and(filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE));
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    registry().with(listener).with(lines.with_filter(filter)).try_init().map_err(|e| format!("logging: {e}"))
}

/// Whether a line may be written at all, whatever RUST_LOG asks for: details only of ourselves, who know what is in them.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    if traces::is_ours(line) {
        return false;
    }
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level()
        <= match library {
            "samvad" => Level::TRACE,
            capped if CAPPED.contains(&capped) => Level::WARN,
            _ => Level::INFO,
        }
}

/// How long nothing more is said about the same thing.
const SILENCE: Duration = Duration::from_secs(60);

/// A line about something that may happen thousands of times a second: says the first of many, then how many there were, once a minute at
/// most.
#[derive(Default)]
pub struct Notice(Mutex<Option<(Instant, u64)>>);

impl Notice {
    /// Something happened; `what` describes it.
    pub fn give(&self, what: impl FnOnce() -> String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match &mut *last {
            Some((at, unsaid)) if at.elapsed() < SILENCE => {
                *unsaid += 1;
                return;
            }
            Some((_, unsaid)) => *unsaid,
            None => 0,
        };
        *last = Some((Instant::now(), 0));
        drop(last);
        warn!(unsaid, "{}; further ones are counted and not written for a minute", what());
    }
}
