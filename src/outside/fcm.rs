//! Firebase Cloud Messaging, HTTP v1: one request for each device. What its answers mean: docs/push.md#answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::EncodingKey;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use tracing::error;

use crate::models::Platform;

use super::access_token::AccessToken;
use super::{Sent, http};

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long to rest when the quota is used up and nothing else is said.
const QUOTA_REST: Duration = Duration::from_secs(60);

/// Who we are to Google.
#[derive(Clone)]
pub struct ServiceAccount {
    /// The Firebase project.
    pub project_id: String,
    /// The account's name.
    pub client_email: String,
    /// Which of its keys this is.
    pub key_id: Option<String>,
    /// The key.
    pub key: EncodingKey,
    /// Where access tokens are to be had.
    pub token_url: Url,
}

/// One thing for one device.
#[derive(Clone, Debug)]
pub struct FcmPush {
    /// Title and text the phone shows; none if the app is to be woken instead.
    pub notification: Option<(String, String)>,
    /// For the app.
    pub data: BTreeMap<&'static str, String>,
    /// Whatever was shown or waits under this word is replaced.
    pub tag: Option<String>,
    /// Whole seconds it is kept for a device that is off.
    pub ttl_seconds: u64,
    /// The same as a moment, in seconds since the epoch.
    pub expires_at_seconds: i64,
}

/// Sends by FCM. Cheap to clone.
#[derive(Clone)]
pub struct Fcm(Arc<Inner>);

struct Inner {
    client: Client,
    url: Url,
    project_id: String,
    token: AccessToken,
}

impl Fcm {
    /// Sends for this account; `base` is where FCM is.
    ///
    /// Errors: a text, when there can be no client or the project's name is none.
    pub fn new(account: ServiceAccount, base: &Url) -> Result<Self, String> {
        let ServiceAccount { project_id, client_email, key_id, key, token_url } = account;
        let client = http::client(ANSWER_WITHIN)?.build().map_err(|e| e.to_string())?;
        let url = base.join(&format!("/v1/projects/{project_id}/messages:send")).map_err(|e| e.to_string())?;
        let token = AccessToken::new(client.clone(), token_url, client_email, key_id, key);
        Ok(Self(Arc::new(Inner { client, url, project_id, token })))
    }

    /// Sends to one device.
    pub async fn send(&self, token: &str, platform: Platform, push: &FcmPush) -> Sent {
        let body = json!({ "message": message(token, platform, push) });
        let first = match self.attempt(&body).await {
            Attempt::Over(sent) => return sent,
            Attempt::Unauthenticated(used) => used,
        };
        // Once: a key that is no good does not become better.
        self.0.token.refused(&first).await;
        match self.attempt(&body).await {
            Attempt::Over(sent) => sent,
            Attempt::Unauthenticated(_) => Sent::later("FCM does not believe the access token"),
        }
    }

    async fn attempt(&self, body: &Value) -> Attempt {
        let access = match self.0.token.get().await {
            Ok(access) => access,
            Err(sent) => return Attempt::Over(sent),
        };
        let answer = match self.0.client.post(self.0.url.clone()).bearer_auth(&access).json(body).send().await {
            Ok(answer) => answer,
            Err(e) => return Attempt::Over(http::no_answer(e)),
        };
        let (status, after) = (answer.status(), http::retry_after(answer.headers()));
        if status.is_success() {
            return Attempt::Over(Sent::Accepted);
        }
        let body = match http::read(answer).await {
            Ok(body) => body,
            Err(e) => return Attempt::Over(http::no_answer(e)),
        };
        let fault = Fault::read(&body);
        if status == StatusCode::UNAUTHORIZED && !fault.is("THIRD_PARTY_AUTH_ERROR") {
            return Attempt::Unauthenticated(access);
        }
        Attempt::Over(self.meaning(status, after, &fault))
    }

    fn meaning(&self, status: StatusCode, after: Option<Duration>, fault: &Fault) -> Sent {
        let why = || format!("FCM answers {} {}", status.as_u16(), fault.word.as_deref().unwrap_or("without a reason"));
        match status {
            StatusCode::NOT_FOUND if fault.from_fcm && fault.is("UNREGISTERED") => Sent::gone("UNREGISTERED"),
            StatusCode::FORBIDDEN if fault.from_fcm && fault.is("SENDER_ID_MISMATCH") => Sent::gone("SENDER_ID_MISMATCH"),
            // Only if it is the token that is meant: our own mistakes must not cost anybody his.
            StatusCode::BAD_REQUEST if fault.from_fcm && fault.is("INVALID_ARGUMENT") && fault.names_the_token => {
                Sent::gone("INVALID_ARGUMENT")
            }
            StatusCode::TOO_MANY_REQUESTS => Sent::Later { why: why(), after: after.or(Some(QUOTA_REST)), maybe_taken: false },
            status if status.is_server_error() => Sent::Later { why: why(), after, maybe_taken: false },
            _ => {
                error!(project = self.0.project_id, "{}: {}", why(), configuration_hint(status, fault));
                Sent::Refused(why())
            }
        }
    }
}

enum Attempt {
    Over(Sent),
    /// The access token was not believed: this one.
    Unauthenticated(String),
}

fn configuration_hint(status: StatusCode, fault: &Fault) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "the project in Firebase has no key for Apple or for web push",
        StatusCode::FORBIDDEN => "the service account may not send: it lacks the role",
        StatusCode::NOT_FOUND if !fault.from_fcm => "the project is not known: FIREBASE_PROJECT_ID is wrong",
        _ => "the push was not understood; this is a mistake of the server",
    }
}

/// What an answer says went wrong.
#[derive(Default)]
struct Fault {
    word: Option<String>,
    /// Whether FCM itself says so, and not something on the way.
    from_fcm: bool,
    names_the_token: bool,
}

impl Fault {
    fn read(body: &str) -> Self {
        // A proxy's answer may be no JSON.
        let Ok(body) = serde_json::from_str::<Value>(body) else { return Self::default() };
        let error = &body["error"];
        let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        let fcm = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError");
        let word = fcm.and_then(|detail| detail["errorCode"].as_str()).or(error["status"].as_str()).map(str::to_owned);
        let text = error["message"].as_str().unwrap_or_default().to_ascii_lowercase();
        Self { word, from_fcm: fcm.is_some(), names_the_token: text.contains("registration token") }
    }

    fn is(&self, word: &str) -> bool {
        self.word.as_deref() == Some(word)
    }
}

/// The message as FCM wants it: only the block of the platform the device has.
fn message(token: &str, platform: Platform, push: &FcmPush) -> Value {
    let mut message = json!({ "token": token, "data": push.data });
    if let Some((title, body)) = &push.notification {
        message["notification"] = json!({ "title": title, "body": body });
    }
    let shown = push.notification.is_some();
    match platform {
        Platform::Android => {
            let mut android = json!({ "priority": "HIGH", "ttl": format!("{}s", push.ttl_seconds) });
            if shown {
                android["notification"] = json!({
                    "channel_id": "messages",
                    "sound": "default",
                    "click_action": "FLUTTER_NOTIFICATION_CLICK",
                    "tag": push.tag,
                });
            } else {
                android["collapse_key"] = json!(push.tag);
            }
            message["android"] = android;
        }
        Platform::Ios => {
            // Apple refuses priority 10 for what is not shown.
            let (kind, priority) = if shown { ("alert", "10") } else { ("background", "5") };
            let mut headers = json!({
                "apns-push-type": kind,
                "apns-priority": priority,
                "apns-expiration": push.expires_at_seconds.to_string(),
            });
            if let Some(tag) = push.tag.as_ref().filter(|tag| tag.len() <= 64) {
                headers["apns-collapse-id"] = json!(tag);
            }
            let mut aps = json!({ "content-available": 1 });
            if shown {
                aps = json!({ "sound": "default", "badge": 1, "mutable-content": 1, "thread-id": push.tag });
            }
            message["apns"] = json!({ "headers": headers, "payload": { "aps": aps } });
        }
        Platform::Web => {
            message["webpush"] = json!({ "headers": { "Urgency": "high", "TTL": push.ttl_seconds.to_string() } });
        }
    }
    message
}
