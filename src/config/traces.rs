//! Where traces go, for builds that have them.

use super::reader::Reader;
use super::values::outside_url;

/// Where traces go. Has no `Debug`: the headers may hold a credential.
#[derive(Clone)]
pub struct TraceConfig {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, with the path of traces.
    pub url: reqwest::Url,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: String,
    /// `OTEL_TRACES_SAMPLER_ARG`.
    pub ratio: f64,
}

impl Reader<'_> {
    pub(super) fn traces(&mut self) -> Option<TraceConfig> {
        let ratio = self.value("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1", |t| t.parse().ok().filter(|r| (0.0..=1.0).contains(r)));
        let headers = match self.raw.get("OTEL_EXPORTER_OTLP_HEADERS") {
            None => Some(Vec::new()),
            Some(text) => trace_headers(text),
        };
        if headers.is_none() {
            // Without the value, which may be a credential.
            self.mistakes.push("OTEL_EXPORTER_OTLP_HEADERS must be like name=value,name=value, percent-encoded".into());
        }
        let endpoint = self.raw.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let url = traces_url(endpoint);
        match &url {
            // Without the value, which may hold a password.
            None => self.mistakes.push("OTEL_EXPORTER_OTLP_ENDPOINT must be like http://host:4318, without user and password".into()),
            Some(_) if headers.as_ref().is_some_and(|headers| !headers.is_empty()) && outside_url(endpoint).is_none() => {
                self.mistakes
                    .push("OTEL_EXPORTER_OTLP_ENDPOINT must be https or a loopback address when OTEL_EXPORTER_OTLP_HEADERS is set".into());
            }
            Some(_) => {}
        }
        Some(TraceConfig { url: url?, headers: headers?, service_name: self.text("OTEL_SERVICE_NAME"), ratio: ratio? })
    }
}

/// The address of traces at a collector; that is mostly a neighbour in the same cluster, so it need not be encrypted.
fn traces_url(endpoint: &str) -> Option<reqwest::Url> {
    let url: reqwest::Url = format!("{}/v1/traces", endpoint.trim_end_matches('/')).parse().ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (["http", "https"].contains(&url.scheme()) && url.has_host() && is_plain).then_some(url)
}

/// `name=value,name=value`, percent-encoded.
fn trace_headers(text: &str) -> Option<Vec<(http::HeaderName, http::HeaderValue)>> {
    let header = |one: &str| {
        // Read like a pair of a query, in which these two mean more than here.
        let (name, value) = form_urlencoded::parse(one.replace('+', "%2B").replace('&', "%26").as_bytes()).into_owned().next()?;
        let mut value: http::HeaderValue = value.trim().parse().ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse().ok()?, value))
    };
    text.split(',').map(header).collect()
}
