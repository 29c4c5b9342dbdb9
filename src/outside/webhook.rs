//! The webhook: one POST for each event, signed, so that its receiver knows who speaks and that it is not an old record.
//! Source: docs/webhooks.md.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};

use crate::models::Timestamp;

use super::{Sent, http};

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Tells the operator's own program. Cheap to clone.
#[derive(Clone)]
pub struct Webhook(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    key: hmac::Key,
}

impl Webhook {
    /// Tells whoever listens at `url`, and signs with `secret`. Errors: a text, when there can be no client.
    pub fn new(url: Url, secret: &str) -> Result<Self, String> {
        let client = http::client(ANSWER_WITHIN)?.build().map_err(|e| e.to_string())?;
        Ok(Self(Arc::new(Inner { client, url, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) })))
    }

    /// Sends one event. `body` is JSON; `attempt` counts from 1.
    pub async fn send(&self, event: &str, id: &str, attempt: u32, body: &str, now: Timestamp) -> Sent {
        let request = self
            .0
            .client
            .post(self.0.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("x-samvad-event", event)
            .header("x-samvad-delivery", id)
            .header("x-samvad-attempt", attempt)
            .header("x-samvad-signature", signature(&self.0.key, now.as_millis() / 1000, body))
            .body(body.to_owned());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Sent::Accepted,
            Ok(answer) => Sent::Later {
                why: format!("the webhook answers {}", answer.status().as_u16()),
                after: http::retry_after(answer.headers()),
                maybe_taken: true,
            },
            Err(e) => http::no_answer(e),
        }
    }
}

/// `t=<seconds since the epoch>,v1=<hex>`: HMAC-SHA256 of the seconds, a full stop and the body.
pub fn signature(key: &hmac::Key, seconds: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"an example of a secret");
        assert_eq!(
            signature(&key, 1_766_224_800, r#"{"type":"message.created"}"#),
            "t=1766224800,v1=0dbd4298167c2efa96a128ec311ff0f938c6ed1676751ecbf34b914cadec5cfd"
        );
    }
}
