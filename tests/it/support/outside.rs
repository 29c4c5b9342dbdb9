//! A local server that plays Google, Apple and a webhook's receiver: it writes down what it is sent and answers from a script.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use samvad::outside::{Apns, ApnsKey, Fcm, ServiceAccount};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::PATIENCE;

/// The project of the service account.
pub const PROJECT: &str = "samvad-test";
/// The app's bundle id.
pub const BUNDLE: &str = "com.example.app";
/// What the webhook is signed with.
pub const WEBHOOK_SECRET: &str = "a secret of the webhook tests";

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub path: String,
    pub headers: HeaderMap,
    pub version: Version,
    pub text: String,
    pub at: Instant,
    /// When it was answered; none while it is not.
    pub answered_at: Option<Instant>,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What the app would read.
    pub fn data(&self) -> Value {
        self.json()["message"]["data"].clone()
    }

    /// The device it is for; the path for others.
    pub fn device(&self) -> String {
        match self.json()["message"]["token"].as_str() {
            Some(token) => token.to_owned(),
            None => self.path.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }
}

/// How to answer.
#[derive(Clone)]
pub enum Reply {
    Json(u16, Value),
    RetryAfter(u16, Value, &'static str),
    Text(u16, &'static str),
    /// Elsewhere, by `location`.
    Moved(u16, String),
    /// JSON, so long after the request.
    Late(Duration, u16, Value),
    Hang,
}

#[derive(Default)]
struct Played {
    heard: Mutex<Vec<Heard>>,
    script: Mutex<HashMap<String, VecDeque<Reply>>>,
    delay: Mutex<Duration>,
    distrusted: Mutex<Option<String>>,
    news: Notify,
}

/// The server. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Outside {
    pub url: String,
    played: Arc<Played>,
    /// Holds the key for Apple.
    folder: Arc<tempfile::TempDir>,
}

struct Keys {
    rsa_private: String,
    rsa_public: String,
    p256_private: String,
    p256_public: Vec<u8>,
}

// Made on the spot, once: RSA takes a while.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let private: Pkcs8V1Der = rsa.as_der().expect("encodable");
    let public: PublicKeyX509Der = rsa.public_key().as_der().expect("encodable");
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("readable");
    let p256_public: PublicKeyX509Der = pair.public_key().as_der().expect("encodable");
    Keys {
        rsa_private: pem("PRIVATE KEY", private.as_ref()),
        rsa_public: pem("PUBLIC KEY", public.as_ref()),
        p256_private: pem("PRIVATE KEY", document.as_ref()),
        p256_public: p256_public.as_ref().to_vec(),
    }
});

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Outside {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let played = Arc::new(Played::default());
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&played));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key.p8"), &KEYS.p256_private).expect("written");
        Self { url, played, folder: Arc::new(folder) }
    }

    /// The service account as Google writes it down.
    pub fn service_account(&self) -> String {
        json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "k1", "private_key": KEYS.rsa_private,
            "client_email": "push@samvad-test.example", "token_uri": format!("{}/token", self.url),
        })
        .to_string()
    }

    /// What sends by FCM to here.
    pub fn sender(&self) -> Fcm {
        let account = ServiceAccount {
            project_id: PROJECT.into(),
            client_email: "push@samvad-test.example".into(),
            key_id: None,
            key: EncodingKey::from_rsa_pem(KEYS.rsa_private.as_bytes()).expect("a key"),
            token_url: format!("{}/token", self.url).parse().expect("an address"),
        };
        Fcm::new(account, &self.url.parse().expect("an address")).expect("a client")
    }

    /// What rings by way of Apple, which is here.
    pub fn ringer(&self) -> Apns {
        let key = ApnsKey {
            team_id: "TEAM123456".into(),
            key_id: "KEY1234567".into(),
            bundle_id: BUNDLE.into(),
            key: EncodingKey::from_ec_pem(KEYS.p256_private.as_bytes()).expect("a key"),
        };
        Apns::new(key, self.url.parse().expect("an address")).expect("a client")
    }

    /// Settings that send by FCM to here.
    pub fn fcm(&self) -> Vec<(&'static str, String)> {
        vec![("FIREBASE_SERVICE_ACCOUNT_JSON", self.service_account()), ("FCM_URL", self.url.clone())]
    }

    /// Settings that ring iPhones by way of here.
    pub fn apns(&self) -> Vec<(&'static str, String)> {
        let file = self.folder.path().join("key.p8").display().to_string();
        let named = [("APNS_KEY_FILE", file.as_str()), ("APNS_KEY_ID", "KEY1234567"), ("APNS_TEAM_ID", "TEAM123456")];
        let named = named.into_iter().chain([("APNS_BUNDLE_ID", BUNDLE), ("APNS_URL", self.url.as_str())]);
        named.map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// Settings that tell the webhook here.
    pub fn webhook(&self) -> Vec<(&'static str, String)> {
        vec![("WEBHOOK_URL", format!("{}/hook", self.url)), ("WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned())]
    }

    /// Answers for a device (or `token`, `hook`), one after the other; then 200 again.
    pub fn script(&self, whom: &str, replies: impl IntoIterator<Item = Reply>) {
        self.played.script.lock().expect("not poisoned").entry(whom.to_owned()).or_default().extend(replies);
    }

    /// From now on every answer takes so long.
    pub fn delay(&self, delay: Duration) {
        *self.played.delay.lock().expect("not poisoned") = delay;
    }

    /// From now on this access token is refused.
    pub fn distrust(&self, token: &str) {
        *self.played.distrusted.lock().expect("not poisoned") = Some(format!("Bearer {token}"));
    }

    /// Everything heard under paths that contain this.
    pub fn heard(&self, path: &str) -> Vec<Heard> {
        self.played.heard.lock().expect("not poisoned").iter().filter(|heard| heard.path.contains(path)).cloned().collect()
    }

    /// Everything sent by FCM whose `data.type` is this.
    pub fn pushes(&self, kind: &str) -> Vec<Heard> {
        self.heard("messages:send").into_iter().filter(|heard| heard.data()["type"] == kind).collect()
    }

    /// Waits until `what` finds at least `count`.
    pub async fn wait(&self, count: usize, what: impl Fn(&Self) -> Vec<Heard>) -> Vec<Heard> {
        let until = Instant::now() + PATIENCE * 2;
        loop {
            let news = self.played.news.notified();
            let found = what(self);
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < until, "only {} of {count} came: {found:#?}", found.len());
            let _ = timeout(Duration::from_millis(200), news).await;
        }
    }

    /// Claims of a statement to Google, checked with its public key.
    pub fn google_claims(statement: &str) -> Value {
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(KEYS.rsa_public.as_bytes()).expect("a key");
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.validate_aud = false;
        jsonwebtoken::decode::<Value>(statement, &key, &rules).expect("signed by the service account").claims
    }

    /// Claims of a token for Apple, checked with its public key.
    pub fn apple_claims(token: &str) -> Value {
        let key = jsonwebtoken::DecodingKey::from_ec_der(&KEYS.p256_public[26..]);
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        jsonwebtoken::decode::<Value>(token, &key, &rules).expect("signed by the key").claims
    }
}

async fn answer(State(played): State<Arc<Played>>, uri: Uri, version: Version, headers: HeaderMap, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    let heard = Heard { path: uri.path().to_owned(), headers, version, text, at: Instant::now(), answered_at: None };
    let whom = heard.device();
    let delay = *played.delay.lock().expect("not poisoned");
    let reply = played.script.lock().expect("not poisoned").get_mut(&whom).and_then(VecDeque::pop_front);
    let (place, number) = {
        let mut all = played.heard.lock().expect("not poisoned");
        all.push(heard.clone());
        (all.len() - 1, all.iter().filter(|one| one.path == "/token").count())
    };
    played.news.notify_waiters();
    if heard.path != "/token" {
        tokio::time::sleep(delay).await;
    }
    let is_distrusted = played.distrusted.lock().expect("not poisoned").as_deref() == Some(heard.header("authorization"));
    let json = |status: u16, body: Value| (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response();
    let response = match reply {
        Some(Reply::Json(status, body)) => json(status, body),
        Some(Reply::RetryAfter(status, body, after)) => {
            let mut response = json(status, body);
            response.headers_mut().insert("retry-after", after.parse().expect("a value"));
            response
        }
        Some(Reply::Late(late, status, body)) => {
            tokio::time::sleep(late).await;
            json(status, body)
        }
        Some(Reply::Text(status, text)) => (StatusCode::from_u16(status).expect("a status"), text).into_response(),
        Some(Reply::Moved(status, to)) => (StatusCode::from_u16(status).expect("a status"), [("location", to)], "it moved").into_response(),
        Some(Reply::Hang) => std::future::pending().await,
        None if is_distrusted => json(401, json!({ "error": { "code": 401, "message": "no", "status": "UNAUTHENTICATED" } })),
        None if heard.path == "/token" => {
            json(200, json!({ "access_token": format!("t{number}"), "expires_in": 3599, "token_type": "Bearer" }))
        }
        None => json(200, json!({ "name": "projects/x/messages/1" })),
    };
    played.heard.lock().expect("not poisoned")[place].answered_at = Some(Instant::now());
    response
}

/// An error of FCM, in its words.
pub fn fcm_error(status: u16, word: &str, text: &str) -> Reply {
    let detail = json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": word });
    Reply::Json(status, json!({ "error": { "code": status, "message": text, "status": "X", "details": [detail] } }))
}

/// An error of Google's, but not of FCM itself.
pub fn google_error(status: u16, word: &str) -> Reply {
    Reply::Json(status, json!({ "error": { "code": status, "message": "no", "status": word } }))
}
