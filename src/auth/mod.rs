//! Who is speaking: the only place that makes a [`CurrentUser`], from a signed token or an admin key.
//!
//! `keys.rs` checks one token with one key, `jwks.rs` finds the key when an issuer publishes several, `claims.rs` reads who it is.

mod admin_keys;
mod claims;
mod demo;
mod jwks;
mod keys;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::{AdminKey, Config, TokenKeys};
use crate::error::{AuthError, Error};
use crate::models::{Participant, ParticipantKind, Timestamp};

pub use claims::CurrentUser;
pub use demo::{DEMO_TTL, DemoPerson};
pub use jwks::RefreshPace;

use admin_keys::AdminKeys;
use jwks::Jwks;
use keys::{Expected, Key};

/// Clock difference tolerated for `exp` and `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The longest credential looked at, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// Checks credentials. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Checks>);

struct Checks {
    source: KeySource,
    expected: Expected,
    admin_keys: AdminKeys,
}

enum KeySource {
    /// A shared secret; the only one that can also sign.
    Secret {
        key: Key,
        signing: EncodingKey,
        /// What other secrets of this server are made of.
        root: Box<hmac::Key>,
    },
    PublicKey(Key),
    Published(Box<Jwks>),
}

impl KeySource {
    fn secret(secret: &str, expected: &Expected) -> Self {
        Self::Secret {
            key: Key::secret(secret, expected),
            signing: EncodingKey::from_secret(secret.as_bytes()),
            root: Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
        }
    }
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Whoever holds the private key makes the tokens.
    #[error(
        "this server checks tokens with a public key (JWT_PUBLIC_KEY or JWKS_URL) and cannot sign any: get them from whoever issues them"
    )]
    NoSecret,
    /// The secret does not sign.
    #[error("the token cannot be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

impl Verifier {
    /// A secret for one purpose, the same wherever tokens are signed with the same secret. `None` where others hold the signing key.
    pub fn derived_secret(&self, purpose: &str) -> Option<Vec<u8>> {
        match &self.0.source {
            KeySource::Secret { root, .. } => Some(hmac::sign(root, purpose.as_bytes()).as_ref().to_vec()),
            KeySource::PublicKey(_) | KeySource::Published(_) => None,
        }
    }

    /// A verifier for HS256 tokens signed with `jwt_secret`, and for the shared admin key if there is one.
    pub fn new(jwt_secret: &str, admin_key: Option<String>) -> Self {
        let expected = Expected::default();
        let admin_keys: Vec<AdminKey> = admin_key.into_iter().map(|key| AdminKey { name: None, key }).collect();
        let source = KeySource::secret(jwt_secret, &expected);
        Self(Arc::new(Checks { source, expected, admin_keys: AdminKeys::new(&admin_keys) }))
    }

    /// The verifier the settings ask for. With `JWKS_URL` it knows no keys until [`Verifier::keep_keys_fresh`] runs.
    ///
    /// Errors: a file with a key cannot be read or made; the text names the file or the setting.
    pub fn from_config(config: &Config, pace: RefreshPace) -> io::Result<Self> {
        let expected = Expected { issuer: config.jwt_issuer.clone(), audience: config.jwt_audience.clone() };
        let source = match &config.token_keys {
            TokenKeys::Secret(secret) => KeySource::secret(secret, &expected),
            TokenKeys::KeptSecret(path) => {
                let secret = keys::kept_secret(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
                KeySource::secret(&secret, &expected)
            }
            // Without the path: somebody may have put the key itself there.
            TokenKeys::PublicKey(path) => {
                let key = keys::public_key(path, &expected);
                KeySource::PublicKey(key.map_err(|e| io::Error::new(e.kind(), format!("the PEM file of JWT_PUBLIC_KEY: {e}")))?)
            }
            TokenKeys::Published(url) => KeySource::Published(Box::new(Jwks::new(url.clone(), expected.clone(), pace))),
        };
        Ok(Self(Arc::new(Checks { source, expected, admin_keys: AdminKeys::new(&config.admin_keys) })))
    }

    /// Keeps the published keys (`JWKS_URL`) fresh until `stop`; ends at once when there are none.
    pub async fn keep_keys_fresh(self, stop: CancellationToken) {
        if let KeySource::Published(jwks) = &self.0.source {
            stop.run_until_cancelled(jwks.keep_fresh()).await;
        }
    }

    /// Fetches the published keys (`JWKS_URL`) once and says how many can check tokens; none where there are none to fetch.
    ///
    /// Errors: `Unavailable`, with what went wrong.
    pub async fn fetch_keys(&self) -> Result<usize, Error> {
        match &self.0.source {
            KeySource::Published(jwks) => jwks.try_fetch().await,
            KeySource::Secret { .. } | KeySource::PublicKey(_) => Ok(0),
        }
    }

    /// Checks the text of `auth.token` or of a bearer header: an admin key or a token; `Bearer ` in front is ignored.
    ///
    /// Waits for nothing but published keys that are not known yet, and for these a few seconds at most.
    /// Errors: `auth.missing`, `auth.invalid`, `auth.expired`; `Unavailable` when keys are published but cannot be had.
    /// Source: docs/protocol.md#identity.
    pub async fn verify(&self, credential: &str) -> Result<CurrentUser, Error> {
        let credential = credential.trim();
        let credential =
            credential.strip_prefix("Bearer").filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(credential).trim();
        if credential.is_empty() {
            return Err(AuthError::Missing.into());
        }
        if credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(AuthError::Invalid.into());
        }
        if let Some(admin) = self.0.admin_keys.find(credential) {
            return Ok(admin);
        }
        let claims = match &self.0.source {
            KeySource::Secret { key, .. } | KeySource::PublicKey(key) => key.check(credential)?,
            KeySource::Published(jwks) => jwks.key_for(credential).await?.check(credential)?,
        };
        Ok(claims.into_user().ok_or(AuthError::Invalid)?)
    }

    /// Checks an `x-admin-key` header.
    pub fn verify_admin_key(&self, key: &str) -> Result<CurrentUser, AuthError> {
        self.0.admin_keys.find(key.trim()).ok_or(AuthError::Invalid)
    }

    /// Whether it can sign tokens itself.
    pub fn can_mint(&self) -> bool {
        matches!(self.0.source, KeySource::Secret { .. })
    }

    /// Signs a token for demo use and the command line, which this verifier believes.
    ///
    /// Errors: the keys are public; or the secret cannot sign at all.
    pub fn mint(&self, person: &Participant, name: Option<&str>, ttl: Duration) -> Result<String, MintError> {
        #[derive(Serialize)]
        struct Minted<'a> {
            id: &'a str,
            r#type: ParticipantKind,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a str>,
            iat: i64,
            exp: i64,
        }
        let KeySource::Secret { signing, .. } = &self.0.source else { return Err(MintError::NoSecret) };
        let Expected { issuer, audience } = &self.0.expected;
        let iat = Timestamp::now().as_millis() / 1000;
        let exp = iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let (iss, aud) = (issuer.as_deref(), audience.as_deref());
        let claims = Minted { id: person.id(), r#type: person.kind(), name, iss, aud, iat, exp };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, signing)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of tests only";
    const ADMIN_KEY: &str = "an admin key of tests";

    fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signs")
    }

    /// The code of the refusal, or who it is.
    async fn outcome(verifier: &Verifier, credential: &str) -> String {
        verifier.verify(credential).await.map_or_else(|e| e.code().to_owned(), |user| user.participant().to_string())
    }

    #[tokio::test]
    async fn only_a_fresh_hs256_signature_with_our_secret_counts() {
        let now = Timestamp::now().as_millis() / 1000;
        let claims = json!({"id": "u1", "type": "user", "exp": now + 60});
        let signed = |claims: Value| sign(Algorithm::HS256, SECRET, &claims);
        // {"alg":"none","typ":"JWT"} with the same claims and no signature.
        let body = signed(claims.clone()).split('.').nth(1).expect("three parts").to_owned();
        let v = Verifier::new(SECRET, Some(ADMIN_KEY.into()));
        for (credential, wanted) in [
            (signed(claims.clone()), "user:u1"),
            (format!("Bearer {}", signed(claims.clone())), "user:u1"),
            (signed(json!({"id": "u1", "type": "user", "exp": now - 50})), "user:u1"),
            (signed(json!({"id": "u1", "type": "user", "exp": now - 70})), "auth.expired"),
            (signed(json!({"id": "u1", "type": "user"})), "auth.invalid"),
            (signed(json!({"id": "u1", "type": "user", "exp": "soon"})), "auth.invalid"),
            (signed(json!({"id": "u1", "type": "user", "exp": now + 600, "nbf": now + 50})), "user:u1"),
            (signed(json!({"id": "u1", "type": "user", "exp": now + 600, "nbf": now + 120})), "auth.invalid"),
            (signed(json!({"id": "u1", "type": "user", "exp": now + 60, "pad": "x".repeat(MAX_CREDENTIAL_BYTES)})), "auth.invalid"),
            (sign(Algorithm::HS384, SECRET, &claims), "auth.invalid"),
            (sign(Algorithm::HS512, SECRET, &claims), "auth.invalid"),
            (sign(Algorithm::HS256, "another secret", &claims), "auth.invalid"),
            (format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}."), "auth.invalid"),
            (" ".into(), "auth.missing"),
            ("Bearer ".into(), "auth.missing"),
            (ADMIN_KEY.into(), "admin:admin"),
            (format!("{ADMIN_KEY}!"), "auth.invalid"),
        ] {
            assert_eq!(outcome(&v, &credential).await, wanted, "{credential}");
        }
    }

    #[tokio::test]
    async fn a_token_that_says_something_critical_is_refused() {
        let claims = json!({"id": "u1", "type": "user", "exp": 9_999_999_999_i64});
        let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signs");
        assert_eq!(outcome(&Verifier::new(SECRET, None), &token).await, "auth.invalid");
    }

    #[test]
    fn the_admin_header_takes_admin_keys_only() {
        let verifier = Verifier::new(SECRET, Some(ADMIN_KEY.into()));
        assert!(verifier.verify_admin_key(ADMIN_KEY).is_ok());
        assert_eq!(verifier.verify_admin_key("an admin key of testz"), Err(AuthError::Invalid));
        assert_eq!(Verifier::new(SECRET, None).verify_admin_key(""), Err(AuthError::Invalid));
    }
}
