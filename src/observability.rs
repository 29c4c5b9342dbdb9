//! Log lines: structured, and without tokens or message text.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// Libraries that would log payloads or credentials when asked for details; they may say no more than warnings.
const CAPPED: &[&str] = &["socketioxide", "engineioxide", "hyper", "mongodb", "tungstenite", "rustls"];

/// Starts logging to standard error. Errors: the filter cannot be understood, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let mut layered = EnvFilter::try_new(filter).map_err(|e| format!("RUST_LOG: {e}"))?;
    for target in CAPPED {
        let directive = format!("{target}=warn").parse().map_err(|e| format!("RUST_LOG: {e}"))?;
        layered = layered.add_directive(directive);
    }
    let builder = fmt().with_env_filter(layered).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|e| format!("logging: {e}"))
}
