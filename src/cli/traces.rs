//! Starts and ends traces, where this program was built with them.

#[cfg(feature = "otel")]
use samvad::app::trace_target;
use samvad::config::TraceConfig;
use samvad::observability::Listener;
#[cfg(feature = "otel")]
use samvad::outside;

/// Traces that are sent somewhere, or none.
#[derive(Default)]
pub struct Traces {
    wanted: Option<String>,
    #[cfg(feature = "otel")]
    sent: Option<outside::Traces>,
}

/// Starts to send them, if the settings say where to. Must be called inside the runtime.
#[cfg(feature = "otel")]
pub fn start(config: Option<&TraceConfig>) -> Result<Traces, String> {
    let sent = config.map(|config| outside::Traces::start(trace_target(config))).transpose();
    let sent = sent.map_err(|e| format!("traces cannot be sent: {e}"))?;
    Ok(Traces { wanted: config.map(|config| config.url.to_string()), sent })
}

/// Takes note of what cannot be done.
#[cfg(not(feature = "otel"))]
#[expect(clippy::unnecessary_wraps, reason = "it may fail where traces are built")]
pub fn start(config: Option<&TraceConfig>) -> Result<Traces, String> {
    Ok(Traces { wanted: config.map(|config| config.url.to_string()) })
}

impl Traces {
    /// What is to hear of spans.
    pub fn listener(&self) -> Option<Listener> {
        #[cfg(feature = "otel")]
        return self.sent.as_ref().map(outside::Traces::listener);
        #[cfg(not(feature = "otel"))]
        None
    }

    /// Says it in the log; also that nothing comes of it.
    pub fn say_where_they_go(&self) {
        match &self.wanted {
            None => {}
            Some(url) if cfg!(feature = "otel") => tracing::info!("traces are sent to {url}"),
            Some(_) => {
                tracing::warn!(
                    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this program was built without the feature otel: no traces are sent"
                );
            }
        }
    }

    /// Sends what still waits.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(sent) = self.sent {
            sent.end();
        }
    }
}
