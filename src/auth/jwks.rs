//! Keys that an issuer publishes (`JWKS_URL`): kept in memory, renewed in the background, old ones better than none.
//!
//! One task fetches; requests only look, and wait a little when a token names a key that is not there yet.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::error::{AuthError, Error};

use super::keys::{Expected, Key};

/// The largest answer read.
const MAX_BYTES: usize = 256 * 1024;
/// The most keys an answer may hold.
const MAX_KEYS: usize = 100;

/// When published keys are fetched. The default is what the server uses.
#[derive(Clone, Copy, Debug)]
pub struct RefreshPace {
    /// From one fetch to the next when nothing asks for it; 10 minutes.
    pub every: Duration,
    /// The least time between two fetches, whatever is asked for; also after a failure. 10 seconds.
    pub rest: Duration,
    /// How long one fetch may take; 8 seconds.
    pub time_limit: Duration,
    /// How long a request waits for a fetch; 3 seconds.
    pub patience: Duration,
}

impl Default for RefreshPace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { every: seconds(600), rest: seconds(10), time_limit: seconds(8), patience: seconds(3) }
    }
}

/// The keys behind one address.
pub(super) struct Jwks {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    expected: Expected,
    pace: RefreshPace,
    state: watch::Sender<State>,
    /// Asks for a fetch before its time. Holds one wish; more would not fetch more.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    keys: KeySet,
    /// Fetches that are over.
    fetches: u64,
    /// Whether the last one failed; `keys` are then what there was before.
    failed: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// A fetch is under way, or the first one is about to begin.
    #[default]
    Fetching,
    /// One was, a moment ago.
    Resting,
    /// One may begin whenever it is wanted.
    Idle,
}

/// What is known about the key a token names.
enum Lookup {
    Found(Arc<Key>),
    /// No fetch can help.
    Refused,
    /// A fetch might.
    Unknown,
}

impl Jwks {
    /// Fetches nothing yet; see [`Jwks::keep_fresh`].
    pub(super) fn new(url: Uri, expected: Expected, pace: RefreshPace) -> Self {
        // Redirects are not followed: one could lead away from https.
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { url, client, expected, pace, state: watch::Sender::default(), wanted: Notify::new() }
    }

    /// The key that signed this token, if its header is right about that.
    ///
    /// Waits only when the key is unknown, and then at most [`RefreshPace::patience`].
    /// Errors: `auth.invalid`; `Unavailable` when the issuer could not be asked.
    pub(super) async fn key_for(&self, token: &str) -> Result<Arc<Key>, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        let mut state = self.state.subscribe();
        let seen = {
            let now = state.borrow_and_update();
            match now.keys.find(&header) {
                Lookup::Found(key) => return Ok(key),
                Lookup::Refused => return Err(AuthError::Invalid.into()),
                Lookup::Unknown => {}
            }
            if now.phase != Phase::Fetching {
                self.wanted.notify_one();
            }
            if now.phase == Phase::Resting {
                return Err(now.refusal());
            }
            now.fetches
        };
        match timeout(self.pace.patience, state.wait_for(|state| state.fetches > seen)).await {
            Ok(Ok(now)) => match now.keys.find(&header) {
                Lookup::Found(key) => Ok(key),
                Lookup::Refused => Err(AuthError::Invalid.into()),
                Lookup::Unknown => Err(now.refusal()),
            },
            Ok(Err(_)) | Err(_) => Err(Error::unavailable("the issuer of the tokens did not send its keys in time")),
        }
    }

    /// Fetches the keys at once and then for ever, so that requests need not.
    pub(super) async fn keep_fresh(&self) {
        loop {
            self.state.send_modify(|state| state.phase = Phase::Fetching);
            let fetched = timeout(self.pace.time_limit, self.fetch()).await.unwrap_or_else(|_| Err("no answer in time".into()));
            let failed = fetched.is_err();
            self.state.send_modify(|state| state.take_in(fetched, &self.url));
            sleep(self.pace.rest).await;
            if !failed {
                self.state.send_modify(|state| state.phase = Phase::Idle);
                let quiet = self.pace.every.saturating_sub(self.pace.rest);
                // Elapsed or wanted: either way it is time.
                let _ = timeout(quiet, self.wanted.notified()).await;
            }
        }
    }

    /// Fetches them once, for somebody who wants to know whether that works. Returns how many can be used.
    pub(super) async fn try_fetch(&self) -> Result<usize, Error> {
        self.fetch().await.map(|keys| keys.0.len()).map_err(Error::unavailable)
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let request = Request::get(self.url.clone()).header(header::ACCEPT, "application/json").body(Empty::new());
        let answer = self.client.request(request.map_err(|e| e.to_string())?).await.map_err(|e| with_causes(&e))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await.map_err(|e| with_causes(&*e))?;
        KeySet::parse(&body.to_bytes(), &self.expected)
    }
}

impl State {
    /// Why a token whose key is unknown is refused. A client must not be logged out because the issuer is down.
    fn refusal(&self) -> Error {
        if self.failed { Error::unavailable("the issuer of the tokens does not send its keys") } else { AuthError::Invalid.into() }
    }

    fn take_in(&mut self, fetched: Result<KeySet, String>, url: &Uri) {
        let host = url.host().unwrap_or_default();
        let failed_before = std::mem::replace(&mut self.failed, fetched.is_err());
        match fetched {
            Ok(keys) => {
                if self.fetches == 0 || failed_before {
                    info!(keys = keys.0.len(), "{host} sent the keys that tokens are checked with");
                }
                self.keys = keys;
            }
            // Said once per outage; it is tried again every few seconds.
            Err(why) if failed_before => debug!("JWKS_URL: {host} still sends no keys: {why}"),
            Err(why) => warn!(kept = self.keys.0.len(), "JWKS_URL: {host} sent no keys, the old ones stay: {why}"),
        }
        self.fetches += 1;
        self.phase = Phase::Resting;
    }
}

/// The text of an error and of what lies underneath; the client's own says only where it happened.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Keys by their id.
#[derive(Default)]
struct KeySet(Vec<(Option<String>, Arc<Key>)>);

impl KeySet {
    /// Reads a JWK Set (RFC 7517) and keeps the keys that can check tokens.
    ///
    /// Errors: it is none, holds more than [`MAX_KEYS`], or not one that can. Nothing of the content is in them.
    fn parse(text: &[u8], expected: &Expected) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let Set { keys } = serde_json::from_slice(text).map_err(|_| "the answer is no set of keys")?;
        let count = keys.len();
        if count > MAX_KEYS {
            return Err(format!("the answer holds {count} keys, at most {MAX_KEYS} are read"));
        }
        let published = keys.into_iter().filter_map(|key| serde_json::from_value::<Published>(key).ok());
        let usable: Vec<_> = published.filter_map(|key| Some((key.kid.clone(), Arc::new(key.into_key(expected)?)))).collect();
        if usable.is_empty() {
            return Err(format!("none of the {count} keys in the answer can check a token"));
        }
        if usable.len() < count {
            debug!("JWKS_URL: {} of {count} keys cannot check tokens and are left out", count - usable.len());
        }
        Ok(Self(usable))
    }

    /// The key with the id and the algorithm of the header; without an id, the only one of the algorithm.
    fn find(&self, header: &Header) -> Lookup {
        // Any other algorithm could not be right, whatever was fetched.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Lookup::Refused;
        }
        let of_algorithm = |(_, key): &&(Option<String>, Arc<Key>)| key.algorithm() == header.alg;
        match &header.kid {
            _ if self.0.is_empty() => Lookup::Unknown,
            None => {
                let mut candidates = self.0.iter().filter(of_algorithm);
                match (candidates.next(), candidates.next()) {
                    (Some((_, key)), None) => Lookup::Found(Arc::clone(key)),
                    _ => Lookup::Refused,
                }
            }
            kid => {
                let mut named = self.0.iter().filter(|(id, _)| id == kid).peekable();
                match (named.peek().is_some(), named.find(of_algorithm)) {
                    (_, Some((_, key))) => Lookup::Found(Arc::clone(key)),
                    (true, None) => Lookup::Refused,
                    (false, None) => Lookup::Unknown,
                }
            }
        }
    }
}

/// A key as it is published. Source: RFC 7517, RFC 7518 section 6, RFC 8037.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Private parts. A key that was published with them proves nothing any more.
    d: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl Published {
    /// `None` if it cannot check tokens, or was published for something else.
    fn into_key(self, expected: &Expected) -> Option<Key> {
        let is_private = self.d.is_some() || self.k.is_some();
        let is_for_signatures = self.r#use.is_none_or(|word| word == "sig");
        let may_verify = self.key_ops.is_none_or(|words| words.iter().any(|word| word == "verify"));
        if is_private || !is_for_signatures || !may_verify {
            return None;
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let key = DecodingKey::from_rsa_components(&self.n?, &self.e?).ok()?;
                let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return None };
                ("RS256", Key::rsa(n, e, expected)?)
            }
            ("EC", Some("P-256")) => {
                let key = DecodingKey::from_ec_components(&self.x?, &self.y?).ok()?;
                ("ES256", Key::p256(key.try_get_as_bytes().ok()?, expected)?)
            }
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_components(&self.x?).ok()?;
                ("EdDSA", Key::ed25519(key.try_get_as_bytes().ok()?, expected)?)
            }
            _ => return None,
        };
        self.alg.is_none_or(|word| word == algorithm).then_some(key)
    }
}
