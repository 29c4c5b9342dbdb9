//! Somebody who issues tokens: key pairs made on the spot, and a server that publishes them and counts who asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use samvad::models::Timestamp;
use serde_json::{Value, json};

/// A key pair and what is published of it.
#[derive(Clone)]
pub struct SigningKey {
    pub kid: String,
    pub algorithm: Algorithm,
    /// The public half as a SubjectPublicKeyInfo.
    pub public: Vec<u8>,
    private: EncodingKey,
}

impl SigningKey {
    /// RSA of 2048 bits. All of one number share a key, because making one takes a while.
    pub fn rsa(kid: &str, number: usize) -> Self {
        static KEYS: LazyLock<[(Vec<u8>, Vec<u8>); 2]> = LazyLock::new(|| [rsa_pair(KeySize::Rsa2048), rsa_pair(KeySize::Rsa2048)]);
        let (private, public) = &KEYS[number];
        Self { kid: kid.into(), algorithm: Algorithm::RS256, public: public.clone(), private: EncodingKey::from_rsa_der(private) }
    }

    pub fn p256(kid: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("readable");
        let public: PublicKeyX509Der = pair.public_key().as_der().expect("encodable");
        let private = EncodingKey::from_ec_der(document.as_ref());
        Self { kid: kid.into(), algorithm: Algorithm::ES256, public: public.as_ref().to_vec(), private }
    }

    pub fn ed25519(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("readable");
        let public: PublicKeyX509Der = pair.public_key().as_der().expect("encodable");
        let private = EncodingKey::from_ed_der(document.as_ref());
        Self { kid: kid.into(), algorithm: Algorithm::EdDSA, public: public.as_ref().to_vec(), private }
    }

    /// The public half as the file `JWT_PUBLIC_KEY` names.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.public)
    }

    /// The public half as it is published.
    pub fn jwk(&self) -> Value {
        // The library refuses to do this for Ed25519; what is before the key in its SubjectPublicKeyInfo is always 12 bytes.
        let mut jwk = match self.algorithm {
            Algorithm::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": URL_SAFE_NO_PAD.encode(&self.public[12..]) }),
            other => serde_json::to_value(Jwk::from_encoding_key(&self.private, other).expect("a key")).expect("JSON"),
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with this key's id, signed by it.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_under(Some(&self.kid), claims)
    }

    /// A token under another id, or none.
    pub fn sign_under(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private).expect("signs")
    }
}

/// The private key as PKCS#1, which is what the tokens' library wants, and the public one.
fn rsa_pair(size: KeySize) -> (Vec<u8>, Vec<u8>) {
    let pair = RsaKeyPair::generate(size).expect("a key");
    let public: PublicKeyX509Der = pair.public_key().as_der().expect("encodable");
    let pkcs8: Pkcs8V1Der = pair.as_der().expect("encodable");
    // What PKCS#8 puts in front: a sequence (4 bytes), the version (3), the algorithm (15), an octet string (4).
    (pkcs8.as_ref()[26..].to_vec(), public.as_ref().to_vec())
}

/// A PEM section.
pub fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Claims of the user `u1`, good for ten minutes.
pub fn claims() -> Value {
    let now = Timestamp::now().as_millis() / 1000;
    json!({ "id": "u1", "type": "user", "iat": now, "exp": now + 600 })
}

/// What the address answers.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    delay: Duration,
}

/// A server on 127.0.0.1 that publishes keys.
pub struct Issuer {
    pub url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// Publishes these keys.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let answer = Arc::new(Mutex::new(Answer { status: StatusCode::OK, body: Vec::new(), delay: Duration::ZERO }));
        let asked = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
            move || async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let Answer { status, body, delay } = answer.lock().expect("not poisoned").clone();
                tokio::time::sleep(delay).await;
                (status, body)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", get(handler))).await });
        let issuer = Self { url, answer, asked };
        issuer.publish(keys);
        issuer
    }

    /// From now on, these.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.answer_with(&json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string());
    }

    /// From now on, this text.
    pub fn answer_with(&self, body: &str) {
        *self.answer.lock().expect("not poisoned") = Answer { status: StatusCode::OK, body: body.into(), delay: Duration::ZERO };
    }

    /// From now on, 503.
    pub fn fail(&self) {
        self.answer.lock().expect("not poisoned").status = StatusCode::SERVICE_UNAVAILABLE;
    }

    /// From now on, that late.
    pub fn delay(&self, delay: Duration) {
        self.answer.lock().expect("not poisoned").delay = delay;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
