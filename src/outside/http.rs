//! The one way we make HTTP clients, and how their errors and answers are read.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Sent;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The most of an answer that is read; what counts is short.
const READ_AT_MOST: usize = 16 * 1024;
/// Longer than this nobody is left alone: clocks may be wrong.
const LONGEST_REST: Duration = Duration::from_secs(24 * 3600);

/// A client that follows no redirects and takes no proxy from the environment; `time_limit` is for a whole request.
///
/// Errors: a text, when there is no TLS.
pub(super) fn client(time_limit: Duration) -> Result<ClientBuilder, String> {
    // The same roots as everywhere in this program, so that a bare container works too.
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(time_limit)
        .connect_timeout(CONNECT_WITHIN)
        // Both services want their connections kept.
        .http2_keep_alive_interval(Duration::from_secs(60))
        .user_agent(concat!("samvad/", env!("CARGO_PKG_VERSION")));
    Ok(client)
}

/// What no answer means: not now. Addresses are left out, they hold device tokens.
pub(super) fn no_answer(error: reqwest::Error) -> Sent {
    // Who was never connected has sent nothing.
    let maybe_taken = !error.is_connect() && !error.is_builder();
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let why = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    Sent::Later { why, after: None, maybe_taken }
}

/// The first part of an answer's body, as text.
pub(super) async fn read(mut answer: Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < READ_AT_MOST
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(READ_AT_MOST);
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// `Retry-After`, in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            // Dates of HTTP say GMT, which RFC 2822 knows as an older word for +0000.
            let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            Duration::from_secs(u64::try_from(at.unix_timestamp()).ok()?).saturating_sub(now)
        }
    };
    Some(wait.min(LONGEST_REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]))
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("99999999"), Some(LONGEST_REST));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(asked("Fri, 31 Dec 2286 23:59:59 GMT") == Some(LONGEST_REST));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }
}
