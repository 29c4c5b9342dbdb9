//! Google's access token: bought with a signed statement of who we are, kept for its hour, and renewed once for all who wait.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Sent;
use super::http;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// How long our statement holds.
const STATEMENT_LIFETIME: Duration = Duration::from_secs(3600);
/// A token is renewed this long before its end.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// Longer than this none is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token that could not be renewed is used until so long before its end.
const NOT_USED_BEFORE_END: Duration = Duration::from_secs(10);
/// After a failure everybody is told the same for so long.
const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// The token of one service account.
pub(super) struct AccessToken {
    client: Client,
    url: Url,
    email: String,
    key_id: Option<String>,
    key: EncodingKey,
    // Held while a token is fetched: whoever else needs one waits for the same.
    state: Mutex<State>,
}

struct Token {
    text: String,
    renew_at: Instant,
    good_until: Instant,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Sent, Instant)>,
}

#[derive(Serialize)]
struct Statement<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl State {
    /// A token past the time to renew it.
    fn still_good(&self, now: Instant) -> Option<String> {
        self.token.as_ref().filter(|token| now < token.good_until).map(|token| token.text.clone())
    }
}

impl AccessToken {
    pub fn new(client: Client, url: Url, email: String, key_id: Option<String>, key: EncodingKey) -> Self {
        Self { client, url, email, key_id, key, state: Mutex::default() }
    }

    /// A token that holds for a while. Errors: what that means for whatever was to be sent.
    pub async fn get(&self) -> Result<String, Sent> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = &state.token
            && now < token.renew_at
        {
            return Ok(token.text.clone());
        }
        if let Some((failure, until)) = &state.failed
            && now < *until
        {
            return state.still_good(now).ok_or_else(|| failure.clone());
        }
        match self.fetch().await {
            Ok(Granted { access_token, expires_in }) => {
                debug!("Google gave an access token for {expires_in} s");
                let lifetime = Duration::from_secs(expires_in).min(LONGEST_LIFETIME);
                // A very short one is used for half its life.
                let renew_at = now + lifetime.saturating_sub(RENEWED_BEFORE).max(lifetime / 2);
                let good_until = now + lifetime.saturating_sub(NOT_USED_BEFORE_END);
                *state = State { token: Some(Token { text: access_token.clone(), renew_at, good_until }), failed: None };
                Ok(access_token)
            }
            Err(failure) => {
                if let Sent::Later { why, .. } = &failure
                    && state.failed.is_none()
                {
                    warn!("Google gives no access token: {why}");
                }
                let now = Instant::now();
                state.failed = Some((failure.clone(), now + FAILURE_KEPT));
                state.still_good(now).ok_or(failure)
            }
        }
    }

    /// A token was refused: the next one who asks gets another, unless somebody has renewed it already.
    pub async fn refused(&self, token: &str) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|known| known.text == token) {
            state.token = None;
        }
    }

    async fn fetch(&self) -> Result<Granted, Sent> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
        let exp = iat + STATEMENT_LIFETIME.as_secs();
        let statement = Statement { iss: &self.email, scope: SCOPE, aud: self.url.as_str(), iat, exp };
        let header = Header { kid: self.key_id.clone(), ..Header::new(Algorithm::RS256) };
        let assertion = jsonwebtoken::encode(&header, &statement, &self.key)
            .map_err(|e| Sent::Refused(format!("the service account's key does not sign: {e}")))?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
        let not_sent = |failure| match failure {
            Sent::Later { why, after, .. } => Sent::Later { why, after, maybe_taken: false },
            other => other,
        };
        let answer = self.client.post(self.url.clone()).form(&form).send().await.map_err(|e| not_sent(http::no_answer(e)))?;
        let (status, after) = (answer.status(), http::retry_after(answer.headers()));
        let body = http::read(answer).await.map_err(|e| not_sent(http::no_answer(e)))?;
        if status.is_success()
            && let Ok(granted) = serde_json::from_str(&body)
        {
            return Ok(granted);
        }
        // `invalid_grant` is a wrong key or a wrong clock: somebody mends it, and then what waits is sent.
        let word = serde_json::from_str::<serde_json::Value>(&body).ok();
        let word = word.as_ref().and_then(|body| body["error"].as_str()).unwrap_or("no reason given");
        Err(Sent::Later { why: format!("the token service answers {status}: {word}"), after, maybe_taken: false })
    }
}
