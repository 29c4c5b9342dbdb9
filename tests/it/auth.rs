//! Who is believed: every way to check a token, and every way to cheat that is known.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use samvad::auth::{RefreshPace, Verifier};
use samvad::config::{Config, Raw};
use samvad::models::{ParticipantKind, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::client::{Client, Handshake};
use crate::support::issuer::{Issuer, SigningKey, claims, pem};
use crate::support::server::TestServer;
use crate::support::{people, stores};

const SECRET: &str = "a secret that only tests know";
const ADMIN_KEY: &str = "an:admin,key of the tests";

/// Fetches follow each other quickly here.
const QUICK: RefreshPace = RefreshPace {
    every: Duration::from_secs(600),
    rest: Duration::from_millis(200),
    time_limit: Duration::from_secs(2),
    patience: Duration::from_secs(1),
};

/// A verifier, and what keeps its keys fresh until it is dropped.
struct Checking {
    verifier: Verifier,
    _fresh: DropGuard,
    _folder: tempfile::TempDir,
}

impl Checking {
    fn with(settings: &[(&str, &str)], pace: RefreshPace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().to_str().expect("text");
        let config = Config::parse(&Raw::from_pairs(settings.iter().copied().chain([("DATA_DIR", data)]))).expect("legal settings");
        let verifier = Verifier::from_config(&config, pace).expect("readable keys");
        let stop = CancellationToken::new();
        tokio::spawn(verifier.clone().keep_keys_fresh(stop.clone()));
        Self { verifier, _fresh: stop.drop_guard(), _folder: folder }
    }

    fn secret() -> Self {
        Self::with(&[("JWT_SECRET", SECRET)], QUICK)
    }

    fn public_key(key: &SigningKey, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("issuer.pem");
        std::fs::write(&file, key.pem()).expect("written");
        Self::with(&[&[("JWT_PUBLIC_KEY", file.to_str().expect("text"))], more].concat(), QUICK)
    }

    fn published(issuer: &Issuer, pace: RefreshPace) -> Self {
        Self::with(&[("JWKS_URL", &issuer.url), ("ADMIN_SECRET_KEY", ADMIN_KEY)], pace)
    }

    /// Who it is, or the code of the refusal.
    async fn outcome(&self, credential: &str) -> String {
        self.verifier.verify(credential).await.map_or_else(|e| e.code().to_owned(), |user| user.participant().to_string())
    }
}

fn sign_with_secret(algorithm: Algorithm, secret: &[u8], kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).expect("signs")
}

/// The token with its header replaced, the signature kept.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').expect("three parts");
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test]
async fn a_token_counts_only_for_the_algorithm_and_the_key_a_server_was_given() {
    let keys = [SigningKey::rsa("k", 0), SigningKey::p256("k"), SigningKey::ed25519("k")];
    let others = [SigningKey::rsa("k", 1), SigningKey::p256("k"), SigningKey::ed25519("k")];
    let mut tokens = vec![("HS256", sign_with_secret(Algorithm::HS256, SECRET.as_bytes(), Some("k"), &claims()))];
    tokens.extend(["RS256", "ES256", "EdDSA"].into_iter().zip(keys.iter().map(|key| key.sign(&claims()))));

    let mut servers = vec![("HS256", Checking::secret())];
    for (name, key) in ["RS256", "ES256", "EdDSA"].into_iter().zip(&keys) {
        servers.push((name, Checking::public_key(key, &[])));
        let issuer = Issuer::start(&[key]).await;
        servers.push((name, Checking::published(&issuer, QUICK)));
    }
    for (server, checking) in &servers {
        for (algorithm, token) in &tokens {
            let wanted = if server == algorithm { "user:u1" } else { "auth.invalid" };
            assert_eq!(checking.outcome(token).await, wanted, "a token of {algorithm} at a server of {server}");
            // Under the name the server wants to hear, still signed by somebody else.
            if server != algorithm {
                let renamed = with_header(token, &json!({ "alg": server, "kid": "k", "typ": "JWT" }));
                assert_eq!(checking.outcome(&renamed).await, "auth.invalid", "{algorithm} called {server}");
            }
            let spoilt = format!("{}{}", &token[..token.len() - 6], "AAAAAA");
            assert_eq!(checking.outcome(&spoilt).await, "auth.invalid");
            let (start, _) = token.rsplit_once('.').expect("a signature");
            assert_eq!(checking.outcome(&format!("{start}.")).await, "auth.invalid");
            for none in ["none", "None", "NONE", "nOnE", ""] {
                let (unsigned, _) = with_header(token, &json!({ "alg": none, "kid": "k" }))
                    .rsplit_once('.')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .expect("a signature");
                assert_eq!(checking.outcome(&format!("{unsigned}.")).await, "auth.invalid");
                assert_eq!(checking.outcome(&unsigned).await, "auth.invalid");
            }
        }
        for other in &others {
            assert_eq!(checking.outcome(&other.sign(&claims())).await, "auth.invalid", "a key nobody published");
        }
    }
}

#[tokio::test]
async fn a_public_key_is_never_the_secret_of_a_signature() {
    for key in [SigningKey::rsa("k", 0), SigningKey::p256("k"), SigningKey::ed25519("k")] {
        let issuer = Issuer::start(&[&key]).await;
        let checkings = [Checking::public_key(&key, &[]), Checking::published(&issuer, QUICK)];
        let jwk = key.jwk();
        let component = |name: &str| jwk[name].as_str().map(|text| URL_SAFE_NO_PAD.decode(text).expect("base64")).unwrap_or_default();
        let secrets =
            [key.pem().into_bytes(), key.pem().trim().into(), key.public.clone(), jwk.to_string().into(), component("n"), component("x")];
        for secret in &secrets {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let forged = sign_with_secret(algorithm, secret, Some("k"), &claims());
                for checking in &checkings {
                    assert_eq!(checking.outcome(&forged).await, "auth.invalid");
                    assert_eq!(checking.outcome(&with_header(&forged, &json!({ "alg": "RS256", "kid": "k" }))).await, "auth.invalid");
                }
            }
        }
        assert_eq!(checkings[0].outcome(&key.sign(&claims())).await, "user:u1");
    }
}

#[tokio::test]
async fn a_key_inside_the_token_proves_nothing() {
    let (good, evil) = (SigningKey::p256("k"), SigningKey::p256("evil"));
    let issuer = Issuer::start(&[&good]).await;
    let checking = Checking::published(&issuer, QUICK);
    let body = evil.sign(&claims());
    let (_, rest) = body.split_once('.').expect("three parts");
    for header in
        [json!({ "alg": "ES256", "kid": "k", "jwk": evil.jwk() }), json!({ "alg": "ES256", "kid": "k", "jku": "http://127.0.0.1:1/" })]
    {
        assert_eq!(checking.outcome(&format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))).await, "auth.invalid");
    }
}

#[tokio::test]
async fn issuer_audience_and_dates_are_checked_alike_for_every_kind_of_key() {
    let now = Timestamp::now().as_millis() / 1000;
    let with = |more: Value| {
        let mut all = json!({ "id": "u1", "type": "user", "exp": now + 600, "iss": "https://issuer.example/", "aud": "samvad" });
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        // `null` stands for "not there".
        all.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        all
    };
    let cases = [
        (json!({}), "user:u1"),
        (json!({ "aud": ["other", "samvad"] }), "user:u1"),
        (json!({ "aud": ["other"] }), "auth.invalid"),
        (json!({ "aud": [] }), "auth.invalid"),
        (json!({ "aud": "samvad2" }), "auth.invalid"),
        (json!({ "aud": 5 }), "auth.invalid"),
        (json!({ "aud": null }), "auth.invalid"),
        (json!({ "iss": "https://issuer.example" }), "auth.invalid"),
        (json!({ "iss": 5 }), "auth.invalid"),
        (json!({ "iss": null }), "auth.invalid"),
        (json!({ "exp": null }), "auth.invalid"),
        (json!({ "exp": "9999999999" }), "auth.invalid"),
        (json!({ "exp": -1 }), "auth.invalid"),
        (json!({ "exp": now - 50 }), "user:u1"),
        (json!({ "exp": now - 70 }), "auth.expired"),
        (json!({ "nbf": now + 50 }), "user:u1"),
        (json!({ "nbf": now + 70 }), "auth.invalid"),
        (json!({ "nbf": "soon" }), "auth.invalid"),
    ];
    let expected = [("JWT_ISSUER", "https://issuer.example/"), ("JWT_AUDIENCE", "samvad")];
    let (rsa, p256, ed25519) = (SigningKey::rsa("r", 0), SigningKey::p256("p"), SigningKey::ed25519("e"));
    let issuer = Issuer::start(&[&rsa, &p256, &ed25519]).await;
    let by_secret = Checking::with(&[&[("JWT_SECRET", SECRET)][..], &expected].concat(), QUICK);
    let by_url = Checking::with(&[&[("JWKS_URL", issuer.url.as_str())][..], &expected].concat(), QUICK);
    for (more, wanted) in &cases {
        let token = sign_with_secret(Algorithm::HS256, SECRET.as_bytes(), None, &with(more.clone()));
        assert_eq!(by_secret.outcome(&token).await, *wanted, "{more}");
        for key in [&rsa, &p256, &ed25519] {
            let token = key.sign(&with(more.clone()));
            assert_eq!(by_url.outcome(&token).await, *wanted, "{more}");
            assert_eq!(Checking::public_key(key, &expected).outcome(&token).await, *wanted, "{more}");
        }
    }
    // A server that is not told whom to expect asks nobody.
    assert_eq!(Checking::public_key(&p256, &[]).outcome(&p256.sign(&with(json!({ "iss": null, "aud": ["x"] })))).await, "user:u1");
    // What it signs itself it also believes.
    let minted = by_secret.verifier.mint(&people::user("u7"), None, Duration::from_secs(60)).expect("signs");
    assert_eq!(by_secret.outcome(&minted).await, "user:u7");
    assert!(by_url.verifier.mint(&people::user("u7"), None, Duration::from_secs(60)).is_err() && !by_url.verifier.can_mint());
}

#[tokio::test]
async fn a_checked_token_says_when_it_was_made_when_it_ends_and_to_which_session_it_belongs() {
    let key = SigningKey::ed25519("k");
    let checking = Checking::public_key(&key, &[("ADMIN_KEYS", "asha:0123456789abcdef"), ("ADMIN_SECRET_KEY", ADMIN_KEY)]);
    let now = Timestamp::now().as_millis() / 1000;
    let token = key.sign(&json!({ "astrologerId": "a1", "sessionId": "s-1", "iat": now, "exp": now + 60 }));
    let user = checking.verifier.verify(&token).await.expect("good");
    assert_eq!(
        (user.issued_at(), user.expires_at()),
        (Some(Timestamp::from_millis(now * 1000)), Some(Timestamp::from_millis((now + 60) * 1000)))
    );
    assert_eq!((user.session_id(), user.admin_key_name()), (Some("s-1"), None));
    let asha = checking.verifier.verify("Bearer 0123456789abcdef").await.expect("an admin key");
    assert_eq!((asha.admin_key_name(), asha.expires_at(), asha.kind()), (Some("asha"), None, ParticipantKind::Admin));
    assert!(!format!("{asha:?}{user:?}").contains("0123456789abcdef"));
    assert_eq!(checking.verifier.verify_admin_key(ADMIN_KEY).expect("the opaque key").admin_key_name(), None);
    for not_a_key in ["asha:0123456789abcdef", "asha", "0123456789abcde", "an:admin", "key of the tests"] {
        assert_eq!(checking.outcome(not_a_key).await, "auth.invalid");
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_an_only_key_of_its_algorithm() {
    let (rsa, first, second) = (SigningKey::rsa("r", 0), SigningKey::p256("p1"), SigningKey::p256("p2"));
    let issuer = Issuer::start(&[&rsa, &first, &second]).await;
    let checking = Checking::published(&issuer, QUICK);
    assert_eq!(checking.outcome(&rsa.sign_under(None, &claims())).await, "user:u1");
    assert_eq!(checking.outcome(&first.sign_under(None, &claims())).await, "auth.invalid");
    assert_eq!(checking.outcome(&SigningKey::ed25519("e").sign_under(None, &claims())).await, "auth.invalid");
    assert_eq!(checking.outcome(&second.sign(&claims())).await, "user:u1");
    // The id of one key with the algorithm of another.
    assert_eq!(checking.outcome(&rsa.sign_under(Some("p1"), &claims())).await, "auth.invalid");
    assert_eq!(checking.outcome(&first.sign_under(Some("p2"), &claims())).await, "auth.invalid");
    assert_eq!(issuer.asked(), 1, "nothing of this was worth a fetch");
}

#[tokio::test]
async fn a_new_key_is_fetched_once_when_a_token_names_it() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::ed25519("new"));
    let issuer = Issuer::start(&[&old]).await;
    let checking = Checking::published(&issuer, QUICK);
    assert_eq!(checking.outcome(&old.sign(&claims())).await, "user:u1");
    issuer.publish(&[&old, &new]);
    tokio::time::sleep(QUICK.rest * 2).await;
    let token = new.sign(&claims());
    let (a, b, c) = tokio::join!(checking.outcome(&token), checking.outcome(&token), checking.outcome(&token));
    assert_eq!([a, b, c], ["user:u1"; 3]);
    assert_eq!(checking.outcome(&old.sign(&claims())).await, "user:u1");
    assert_eq!(issuer.asked(), 2);
    // A key that is published no more is believed no more after the next fetch.
    issuer.publish(&[&new]);
    tokio::time::sleep(QUICK.rest * 2).await;
    assert_eq!(checking.outcome(&SigningKey::p256("unknown").sign(&claims())).await, "auth.invalid");
    assert_eq!(checking.outcome(&old.sign(&claims())).await, "auth.invalid");
}

#[tokio::test]
async fn a_thousand_unknown_keys_cause_one_fetch() {
    let key = SigningKey::p256("k");
    let issuer = Issuer::start(&[&key]).await;
    let pace = RefreshPace { rest: Duration::from_secs(20), ..QUICK };
    let checking = Checking::published(&issuer, pace);
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "user:u1");
    let started = std::time::Instant::now();
    for number in 0..1_000 {
        assert_eq!(checking.outcome(&key.sign_under(Some(&format!("unknown{number}")), &claims())).await, "auth.invalid");
    }
    assert_eq!(issuer.asked(), 1, "while it rests nothing is fetched");
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "user:u1");
    assert!(started.elapsed() < Duration::from_secs(10), "nobody waited");

    let checking = Checking::published(&issuer, QUICK);
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "user:u1");
    tokio::time::sleep(QUICK.rest * 2).await;
    let before = issuer.asked();
    issuer.delay(Duration::from_millis(300));
    let flood = (0..1_000).map(|number| {
        let token = key.sign_under(Some(&format!("unknown{number}")), &claims());
        let verifier = checking.verifier.clone();
        tokio::spawn(async move { verifier.verify(&token).await.map_err(|e| e.code()) })
    });
    for outcome in futures_util::future::join_all(flood).await {
        assert_eq!(outcome.expect("no panic").err(), Some("auth.invalid"));
    }
    assert_eq!(issuer.asked(), before + 1);
}

#[tokio::test]
async fn old_keys_stay_while_the_issuer_fails_and_nobody_is_logged_out_by_it() {
    let (key, new) = (SigningKey::p256("k"), SigningKey::p256("new"));
    let issuer = Issuer::start(&[&key]).await;
    let checking = Checking::published(&issuer, RefreshPace { every: Duration::from_millis(300), ..QUICK });
    let good = key.sign(&claims());
    assert_eq!(checking.outcome(&good).await, "user:u1");

    let too_many = json!({ "keys": (0..101).map(|n| SigningKey::p256(&n.to_string()).jwk()).collect::<Vec<_>>() }).to_string();
    let too_large = json!({ "keys": [key.jwk(), new.jwk()], "padding": "x".repeat(256 * 1024) }).to_string();
    let answers = ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1,null,"x",{}]}"#, &too_many, &too_large];
    for answer in answers {
        let before = issuer.asked();
        issuer.answer_with(answer);
        while issuer.asked() < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(checking.outcome(&good).await, "user:u1", "after {:.40}", answer);
        assert_eq!(checking.outcome(&new.sign(&claims())).await, "UNAVAILABLE", "after {:.40}", answer);
    }
    issuer.fail();
    let before = issuer.asked();
    while issuer.asked() < before + 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(checking.outcome(&good).await, "user:u1");
    assert_eq!(checking.outcome(ADMIN_KEY).await, "admin:admin");
    issuer.publish(&[&new]);
    while checking.outcome(&new.sign(&claims())).await == "UNAVAILABLE" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(checking.outcome(&new.sign(&claims())).await, "user:u1");
    assert_eq!(checking.outcome(&good).await, "auth.invalid");
}

#[tokio::test]
async fn published_keys_that_are_not_for_checking_tokens_are_left_out() {
    let good = SigningKey::p256("good");
    let changed = |kid: &str, change: Value| {
        let mut jwk = good.jwk();
        jwk["kid"] = json!(kid);
        jwk.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        jwk
    };
    let short_rsa = |bits: usize| json!({ "kty": "RSA", "kid": "short", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(vec![0xff; bits / 8]) });
    let off_curve = URL_SAFE_NO_PAD.encode([1; 32]);
    let left_out = [
        changed("private", json!({ "d": "AAAA" })),
        changed("encryption", json!({ "use": "enc" })),
        changed("signing only", json!({ "key_ops": ["sign"] })),
        changed("other algorithm", json!({ "alg": "ES384" })),
        changed("other curve", json!({ "crv": "P-384" })),
        changed("secp256k1", json!({ "crv": "secp256k1" })),
        changed("off the curve", json!({ "x": off_curve, "y": off_curve })),
        changed("half", json!({ "y": null })),
        changed("not base64", json!({ "x": "***" })),
        changed("of no type", json!({ "kty": 5 })),
        json!({ "kty": "oct", "kid": "secret", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256" }),
        json!({ "kty": "OKP", "crv": "X25519", "kid": "agreement", "x": URL_SAFE_NO_PAD.encode([9; 32]) }),
        short_rsa(1024),
        short_rsa(2040),
    ];
    let issuer = Issuer::start(&[]).await;
    let mut keys = left_out.to_vec();
    keys.push(changed("good", json!({ "alg": null, "use": null, "x5t": "kept", "key_ops": ["verify"] })));
    issuer.answer_with(&json!({ "keys": keys }).to_string());
    let checking = Checking::published(&issuer, QUICK);
    assert_eq!(checking.outcome(&good.sign(&claims())).await, "user:u1");
    for key in &left_out {
        let kid = key["kid"].as_str().expect("a name");
        assert_eq!(checking.outcome(&good.sign_under(Some(kid), &claims())).await, "auth.invalid", "{kid}");
    }
    let by_secret = sign_with_secret(Algorithm::HS256, SECRET.as_bytes(), Some("secret"), &claims());
    assert_eq!(checking.outcome(&by_secret).await, "auth.invalid");
}

#[tokio::test]
async fn a_slow_issuer_keeps_nobody_waiting_for_long() {
    let key = SigningKey::p256("k");
    let issuer = Issuer::start(&[&key]).await;
    issuer.delay(Duration::from_secs(30));
    let pace = RefreshPace { patience: Duration::from_millis(200), time_limit: Duration::from_millis(500), ..QUICK };
    let checking = Checking::published(&issuer, pace);
    let started = std::time::Instant::now();
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "UNAVAILABLE");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    issuer.delay(Duration::ZERO);
    while checking.outcome(&key.sign(&claims())).await == "UNAVAILABLE" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "user:u1");
    // Somebody who is not there at all; what no key could make good is refused all the same.
    let nobody = Checking::with(&[("JWKS_URL", "http://127.0.0.1:1/")], pace);
    assert_eq!(nobody.outcome(&key.sign(&claims())).await, "UNAVAILABLE");
    assert_eq!(nobody.outcome("not.a.token").await, "auth.invalid");
    assert_eq!(nobody.outcome(&sign_with_secret(Algorithm::HS256, SECRET.as_bytes(), None, &claims())).await, "auth.invalid");
    assert_eq!(nobody.outcome(&"x".repeat(9_000)).await, "auth.invalid");
    assert_eq!(nobody.outcome(" ").await, "auth.missing");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let key = SigningKey::p256("k");
    let issuer = Issuer::start(&[&key]).await;
    let elsewhere = issuer.url.clone();
    let redirect = axum::routing::get(move || async move { axum::response::Redirect::temporary(&elsewhere) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/jwks", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/jwks", redirect)).await });
    let checking = Checking::with(&[("JWKS_URL", &url)], QUICK);
    assert_eq!(checking.outcome(&key.sign(&claims())).await, "UNAVAILABLE");
    assert_eq!(issuer.asked(), 0);
}

#[test]
fn a_file_without_one_usable_public_key_is_refused_without_showing_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    let key = SigningKey::p256("k");
    let contents = [
        String::new(),
        "hunter2".into(),
        pem("PRIVATE KEY", b"hunter2"),
        pem("PUBLIC KEY", b"hunter2"),
        pem("RSA PUBLIC KEY", &key.public),
        key.pem() + &SigningKey::ed25519("e").pem(),
        key.pem().replace("-----END PUBLIC KEY-----", ""),
    ];
    let settings = |path: &str| Config::parse(&Raw::from_pairs([("JWT_PUBLIC_KEY", path)])).expect("legal settings");
    let refusal = |config: &Config| Verifier::from_config(config, QUICK).err().expect("refused").to_string();
    for content in contents {
        std::fs::write(&file, &content).expect("written");
        let text = refusal(&settings(file.to_str().expect("text")));
        assert!(text.starts_with("the PEM file of JWT_PUBLIC_KEY: it") && !text.contains("hunter2"), "{text} for {content}");
    }
    let text = refusal(&settings("-----BEGIN PRIVATE KEY----- hunter2"));
    assert!(text.starts_with("the PEM file of JWT_PUBLIC_KEY: ") && !text.contains("hunter2"), "{text}");
}

/// `GET /api/conversations` with these headers: status and body.
async fn get(server: &TestServer, headers: &str) -> String {
    let address = server.url.strip_prefix("http://").expect("http");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("listening");
    let request = format!("GET /api/conversations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn sockets_and_rest_believe_published_keys_and_ask_clients_to_come_back_when_there_are_none() {
    let key = SigningKey::rsa("k", 0);
    let issuer = Issuer::start(&[&key]).await;
    issuer.fail();
    let (store, _folder) = stores::sqlite();
    let settings = [("PORT", "0"), ("JWKS_URL", issuer.url.as_str()), ("ADMIN_KEYS", "asha:0123456789abcdef")];
    let server = TestServer::start_believing(store, &settings, QUICK).await;
    let token = key.sign(&claims());
    let bearer = format!("Authorization: Bearer {token}");

    let Handshake::Refused(why) = Client::handshake(&server.url, &json!({ "token": token })).await else { panic!("let in") };
    assert_eq!(why, "UNAVAILABLE");
    let answer = get(&server, &bearer).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains(r#""code":"UNAVAILABLE""#) && answer.contains(r#""retryable":true"#), "{answer}");
    // Admin keys need no issuer.
    assert!(get(&server, "x-admin-key: 0123456789abcdef").await.starts_with("HTTP/1.1 200 "));

    issuer.publish(&[&key]);
    let mut client = loop {
        match Client::handshake(&server.url, &json!({ "token": token })).await {
            Handshake::Accepted(client) => break client,
            Handshake::Refused(why) => assert_eq!(why, "UNAVAILABLE"),
        }
    };
    assert_eq!(client.any().await.1["user"]["id"], "u1");
    assert!(get(&server, &bearer).await.starts_with("HTTP/1.1 200 "));
    assert!(get(&server, "Authorization: Bearer x.y.z").await.starts_with("HTTP/1.1 401 "));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_key_is_fetched_leaves_nothing_behind() {
    let key = SigningKey::p256("k");
    let issuer = Issuer::start(&[&key]).await;
    issuer.delay(Duration::from_millis(800));
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_believing(store, &[("PORT", "0"), ("JWKS_URL", &issuer.url)], QUICK).await;
    let auth = json!({ "token": key.sign(&claims()) });
    let left = tokio::time::timeout(Duration::from_millis(200), Client::handshake(&server.url, &auth)).await;
    assert!(left.is_err(), "answered before the keys were there");
    let stayed = Client::handshake(&server.url, &auth).await;
    assert!(matches!(stayed, Handshake::Accepted(_)));
    assert_eq!(server.services.core().delivery.connections(), 1);
    server.stop().await;
}
