//! Traces on their way to a collector: OTLP over HTTP, protobuf. Built with the feature `otel` only.
//!
//! The exporter collects in a thread of its own and gives nobody a reason to wait: what does not fit into its queue is dropped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use reqwest::{Client, Url};
use tokio::runtime::Handle;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

use super::http::{client, read};
use crate::observability::{Listener, Notice};
use crate::traces;

/// How long a batch may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How long the last batches may take when the server ends.
const LAST_TIME_LIMIT: Duration = Duration::from_secs(3);
/// How long a span waits for others to go with.
const GATHER_FOR: Duration = Duration::from_secs(2);
/// Spans of one batch.
const BATCH: usize = 512;
/// Spans that wait; further ones are dropped.
const MAX_WAITING: usize = 16_384;

/// Where traces go, and how many of them.
pub struct TraceTarget {
    /// The whole address, as `http://127.0.0.1:4318/v1/traces`.
    pub url: Url,
    /// What is sent along, as a vendor asks for.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What this server is called there.
    pub service_name: String,
    /// The part of all traces that is recorded, 0 to 1.
    pub ratio: f64,
}

/// Traces that are recorded and sent, until it is ended.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to send. Must be called inside the runtime that carries the requests. Errors: a text.
    pub fn start(target: TraceTarget) -> Result<Self, String> {
        let carrier = Carrier {
            client: client(TIME_LIMIT)?.build().map_err(|e| e.to_string())?,
            headers: target.headers.into_iter().collect(),
            runtime: Handle::current(),
            problems: Arc::default(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(carrier)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(target.url)
            .with_timeout(TIME_LIMIT)
            .build()
            .map_err(|e| e.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(GATHER_FOR)
            .build();
        // Not the library's detectors: they read the environment, which is for `config` alone.
        let about = Resource::builder_empty()
            .with_service_name(target.service_name)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // By the trace's id, so that all spans of a trace share one fate.
            .with_sampler(Sampler::TraceIdRatioBased(target.ratio))
            .with_resource(about)
            .build();
        Ok(Self(provider))
    }

    /// What hears of our spans, and of nothing else: what libraries note may hold anything.
    pub fn listener(&self) -> Listener {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("samvad"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(|what| what.is_span() && traces::is_ours(what)))
            .boxed()
    }

    /// Sends what still waits, for three seconds at most. Waits; must not be called on a thread of the runtime.
    pub fn end(self) {
        if let Err(e) = self.0.shutdown_with_timeout(LAST_TIME_LIMIT) {
            tracing::warn!("the last traces were not sent: {e}");
        }
    }
}

/// Carries the exporter's requests. It asks from a thread without a runtime, so the work is done in ours.
struct Carrier {
    client: Client,
    headers: HeaderMap,
    runtime: Handle,
    problems: Arc<Notice>,
}

// Not derived: the headers may hold a credential.
impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carrier")
    }
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers.extend(self.headers.clone());
        let asked = self.client.post(parts.uri.to_string()).headers(headers).body(body);
        let carried = self.runtime.spawn(async move {
            let answer = asked.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, read(answer).await?))
        });
        // The library retries what is worth it, and is built without a voice of its own.
        let (status, headers, text) = match carried.await? {
            Ok(answer) => answer,
            Err(e) => {
                let e = e.without_url();
                let causes = std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source());
                let why = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
                self.problems.give(|| format!("traces do not reach OTEL_EXPORTER_OTLP_ENDPOINT: {why}"));
                return Err(why.into());
            }
        };
        if !status.is_success() {
            self.problems.give(|| format!("traces are not taken by OTEL_EXPORTER_OTLP_ENDPOINT: it answers {status}"));
        }
        let mut answer = Response::new(Bytes::from(text));
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }
}
