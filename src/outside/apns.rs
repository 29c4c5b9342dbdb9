//! Apple's push service, for VoIP pushes only: the one way to make an iPhone ring whose app does not run.
//!
//! HTTP/2, one connection kept; a token of ours signed with ES256 that Apple wants renewed not before 20 minutes and not after 60.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::error;

use crate::models::Timestamp;

use super::{Sent, http};

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long a token of ours is used.
const TOKEN_USED_FOR: Duration = Duration::from_secs(40 * 60);
/// Apple refuses those who renew faster, so a refused token is not renewed before.
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_secs(20 * 60);

/// Who we are to Apple.
#[derive(Clone)]
pub struct ApnsKey {
    /// `APNS_TEAM_ID`.
    pub team_id: String,
    /// `APNS_KEY_ID`.
    pub key_id: String,
    /// The bundle id of the app; `.voip` is added.
    pub bundle_id: String,
    /// The key of the .p8 file.
    pub key: EncodingKey,
}

/// A ring for one iPhone.
#[derive(Clone, Debug)]
pub struct VoipPush {
    /// For the app, which must show the call at once.
    pub payload: Value,
}

/// Sends to Apple. Cheap to clone.
#[derive(Clone)]
pub struct Apns(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    key: ApnsKey,
    token: Mutex<Option<(String, Instant)>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
}

#[derive(Default, Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
    /// Of a 410: milliseconds since the epoch.
    timestamp: Option<i64>,
}

impl Apns {
    /// Sends with this key; `base` is where Apple is. Errors: a text, when there can be no client.
    pub fn new(key: ApnsKey, base: Url) -> Result<Self, String> {
        let mut client = http::client(ANSWER_WITHIN)?;
        if base.scheme() == "http" {
            // Without TLS nobody can agree on HTTP/2 first.
            client = client.http2_prior_knowledge();
        }
        let client = client.build().map_err(|e| e.to_string())?;
        Ok(Self(Arc::new(Inner { client, base, key, token: Mutex::default() })))
    }

    /// Sends to one device; rings now or never.
    pub async fn ring(&self, token: &str, push: &VoipPush) -> Sent {
        let provider = match self.provider_token().await {
            Ok(provider) => provider,
            Err(why) => return Sent::Refused(why),
        };
        // Tokens are hex digits, so the path is what it seems.
        let Ok(url) = self.0.base.join(&format!("/3/device/{token}")) else { return Sent::gone("BadDeviceToken") };
        let request = self
            .0
            .client
            .post(url)
            .bearer_auth(&provider)
            .header("apns-push-type", "voip")
            .header("apns-topic", format!("{}.voip", self.0.key.bundle_id))
            .header("apns-priority", "10")
            .header("apns-expiration", "0")
            .json(&push.payload);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) => return http::no_answer(e),
        };
        let (status, after) = (answer.status(), http::retry_after(answer.headers()));
        if status.is_success() {
            return Sent::Accepted;
        }
        let body = match http::read(answer).await {
            Ok(body) => body,
            Err(e) => return http::no_answer(e),
        };
        self.meaning(status, after, serde_json::from_str(&body).unwrap_or_default()).await
    }

    async fn meaning(&self, status: StatusCode, after: Option<Duration>, Reason { reason, timestamp }: Reason) -> Sent {
        let why = || format!("Apple answers {} {reason}", status.as_u16());
        match (status, reason.as_str()) {
            // The app may have been installed again since Apple found that out, with the same token.
            (StatusCode::GONE, _) => Sent::Gone { why: "Unregistered", known_at: timestamp.map(Timestamp::from_millis) },
            (StatusCode::BAD_REQUEST, "BadDeviceToken") => Sent::gone("BadDeviceToken"),
            (StatusCode::BAD_REQUEST, "DeviceTokenNotForTopic") => Sent::gone("DeviceTokenNotForTopic"),
            (StatusCode::FORBIDDEN, "ExpiredProviderToken") => {
                let mut token = self.0.token.lock().await;
                if token.as_ref().is_some_and(|(_, made)| made.elapsed() >= RENEWED_AT_MOST_EVERY) {
                    *token = None;
                }
                Sent::later(why())
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => Sent::Later { why: why(), after, maybe_taken: false },
            (status, _) if status.is_server_error() => Sent::Later { why: why(), after, maybe_taken: false },
            _ => {
                error!("{}: look at the APNS_ settings", why());
                Sent::Refused(why())
            }
        }
    }

    async fn provider_token(&self) -> Result<String, String> {
        let mut kept = self.0.token.lock().await;
        if let Some((token, made)) = &*kept
            && made.elapsed() < TOKEN_USED_FOR
        {
            return Ok(token.clone());
        }
        let ApnsKey { team_id, key_id, key, .. } = &self.0.key;
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
        let header = Header { kid: Some(key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &Claims { iss: team_id, iat }, key);
        let token = token.map_err(|e| format!("the key for Apple does not sign: {e}"))?;
        *kept = Some((token.clone(), Instant::now()));
        Ok(token)
    }
}
