//! Group 2, claims: whatever a token says, and however it is spoilt, the verifier lets in who it names and nobody else.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use samvad::auth::Verifier;
use samvad::models::{ParticipantKind, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use super::Group;
use super::garbage::{json_text, text, value};

const SECRET: &str = "a secret of the fuzzers";
const IDS: [&str; 6] = ["astrologerId", "userId", "id", "_id", "sub", "adminId"];
const KINDS: [&str; 3] = ["type", "userType", "role"];

/// Claims that often name somebody, and often somebody else too.
fn claims() -> BoxedStrategy<Value> {
    let id = prop_oneof![
        6 => select(vec!["u1", "u1", "a1", "admin", "7"]).prop_map(|id| json!(id)),
        1 => Just(json!(7)),
        2 => text().prop_map(Value::String),
        2 => value(),
    ];
    let kind = prop_oneof![
        6 => select(vec!["user", "user", "USER", "customer", "admin", "Astrologer"]).prop_map(|kind| json!(kind)),
        1 => text().prop_map(Value::String),
        1 => value(),
    ];
    let now = Timestamp::now().as_millis() / 1000;
    let moment = prop_oneof![
        6 => Just(json!(now + 600)),
        2 => (-200i64..200).prop_map(move |off| json!(now + off)),
        1 => Just(json!(now as f64 + 0.5)),
        2 => value(),
    ];
    let ids = vec((select(&IDS[..]), id), 0..3);
    let kinds = vec((select(&KINDS[..]), kind), 0..3);
    let exp = proptest::option::weighted(0.9, moment.clone());
    let others = vec(
        (select(vec!["nbf", "iat", "name", "phone", "sessionId", "avatar", "iss", "aud", "$where"]), prop_oneof![moment, value()]),
        0..3,
    );
    (ids, kinds, exp, others)
        .prop_map(|(ids, kinds, exp, others)| {
            let exp = exp.map(|exp| ("exp", exp));
            let all = others.into_iter().chain(ids).chain(kinds).chain(exp);
            Value::Object(all.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
        })
        .boxed()
}

/// Signs a text as it is, which need not be JSON.
fn sign_text(header: &Value, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256).expect("signs");
    format!("{message}.{signature}")
}

fn said(claims: &Value, name: &str) -> Option<String> {
    match &claims[name] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => number.as_i64().map(|n| n.to_string()),
        _ => None,
    }
}

struct Checks {
    verifier: Verifier,
    // The verifier waits for nothing with a secret; this is only to ask it.
    runtime: Runtime,
}

impl Checks {
    fn outcome(&self, token: &str) -> Result<samvad::auth::CurrentUser, &'static str> {
        self.runtime.block_on(self.verifier.verify(token)).map_err(|e| e.code())
    }

    /// Who is let in is who docs/protocol.md#tokens says, and nobody else.
    fn signed(&self, text: &str) -> TestCaseResult {
        let asked = Timestamp::now().as_millis();
        let token = sign_text(&json!({ "alg": "HS256", "typ": "JWT" }), text);
        let outcome = self.outcome(&token);
        let Ok(user) = outcome else {
            prop_assert!(["auth.invalid", "auth.expired"].contains(&outcome.unwrap_err()));
            return Ok(());
        };
        prop_assert!(token.len() <= 8 * 1024);
        // Field by field: what nobody reads may hold an escape that is no character.
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|e| TestCaseError::fail(format!("let in by no object: {e}")))?;
        let claims: Value =
            fields.into_iter().map(|(name, raw)| (name, serde_json::from_str::<Value>(raw.get()).unwrap_or_default())).collect();
        let ids: BTreeSet<String> = IDS.iter().filter_map(|name| said(&claims, name)).collect();
        prop_assert_eq!(ids.iter().map(String::as_str).collect::<Vec<_>>(), [user.participant().id()], "one id, and it is this");
        prop_assert!(user.participant().id().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        let word = |kind: String| if kind.eq_ignore_ascii_case("customer") { "user".to_owned() } else { kind.to_ascii_lowercase() };
        let kinds: BTreeSet<String> = KINDS.iter().filter_map(|name| said(&claims, name)).map(word).collect();
        let astrologer = said(&claims, "astrologerId").is_some();
        prop_assert!(!astrologer || user.kind() == ParticipantKind::Astrologer);
        prop_assert!(kinds.is_empty() && astrologer || kinds.iter().eq([user.kind().as_str()]), "one type, and it is this");
        prop_assert!(user.participant().id() != "admin" || user.is_admin());
        prop_assert!(user.admin_key_name().is_none());
        let exp = claims["exp"].as_f64();
        // A fraction is rounded to whole seconds, and so is the clock: up to a second and a half beside the minute.
        prop_assert!(exp.is_some_and(|exp| exp * 1000.0 + 61_500.0 >= asked as f64), "exp is required, and over after a minute: {:?}", exp);
        let expires = user.expires_at().map(|at| at.as_millis() as f64);
        prop_assert!(
            expires.is_some_and(|at| (at - (exp.unwrap_or_default() * 1000.0).min(i64::MAX as f64)).abs() <= at.abs() * 1e-9 + 1.0),
            "{:?}",
            expires
        );
        if let Some(nbf) = claims["nbf"].as_f64() {
            prop_assert!(nbf * 1000.0 <= asked as f64 + 62_000.0, "nbf is honoured");
        }
        Ok(())
    }

    /// A good token in which anything was changed is refused.
    fn tampered(&self, good: &str, other: &str, change: &Change) -> TestCaseResult {
        let spoilt = change.apply(good, other);
        // White space around a credential and `Bearer` in front are no part of it; and nothing may have changed.
        if [good, other].contains(&spoilt.trim()) {
            return Ok(());
        }
        let outcome = self.outcome(&spoilt);
        prop_assert!(matches!(outcome, Err("auth.invalid" | "auth.missing")), "{:?} for {}", outcome, spoilt);
        Ok(())
    }
}

/// What is done to a token.
#[derive(Clone, Debug)]
enum Change {
    Bit(Index, u8),
    Character(Index, char),
    Insert(Index, String),
    Cut(Index, Index),
    Swap(usize),
    Header(Value),
    Claims(Value),
    /// Signed with something else.
    Signed(Algorithm, &'static str),
    Text(String),
}

fn changes() -> BoxedStrategy<Change> {
    let algorithms = ["none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", "", "HS256 ", "A128KW"];
    let header = prop_oneof![
        select(algorithms.to_vec()).prop_map(|alg| json!({ "alg": alg, "typ": "JWT" })),
        select(vec!["jwk", "jku", "x5u", "kid", "crit", "b64", "zip", "cty"])
            .prop_flat_map(|name| value().prop_map(move |v| json!({ "alg": "HS256", name: v }))),
        value(),
    ];
    let keys = ["", "a secret", "a secret of the fuzzers ", "A secret of the fuzzers"];
    prop_oneof![
        4 => (any::<Index>(), 0u8..7).prop_map(|(at, bit)| Change::Bit(at, bit)),
        4 => (any::<Index>(), "[A-Za-z0-9_.=+/ -]").prop_map(|(at, c)| Change::Character(at, c.chars().next().unwrap_or('.'))),
        2 => (any::<Index>(), "[A-Za-z0-9_.=é\u{0} ]{1,3}").prop_map(|(at, text)| Change::Insert(at, text)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Cut(a, b)),
        1 => (0usize..12).prop_map(Change::Swap),
        2 => header.prop_map(Change::Header),
        2 => claims().prop_map(Change::Claims),
        1 => (select(vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]), select(keys.to_vec())).prop_map(|(alg, key)| Change::Signed(alg, key)),
        1 => text().prop_map(Change::Text),
    ]
    .boxed()
}

impl Change {
    fn apply(&self, good: &str, other: &str) -> String {
        let mut bytes = good.as_bytes().to_vec();
        let (parts, others): (Vec<&str>, Vec<&str>) = (good.split('.').collect(), other.split('.').collect());
        match self {
            Self::Bit(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Character(at, c) => {
                let at = at.index(bytes.len());
                format!("{}{c}{}", &good[..at], &good[at + 1..])
            }
            Self::Insert(at, text) => {
                let at = at.index(bytes.len() + 1);
                format!("{}{text}{}", &good[..at], &good[at..])
            }
            Self::Cut(a, b) => {
                let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
                format!("{}{}", &good[..a.min(b)], &good[a.max(b)..])
            }
            Self::Swap(way) => match way % 6 {
                0 => format!("{}.{}.{}", parts[0], others[1], parts[2]),
                1 => format!("{}.{}.{}", parts[0], parts[1], others[2]),
                2 => format!("{}.{}.{}", parts[1], parts[0], parts[2]),
                3 => format!("{}.{}.", parts[0], parts[1]),
                4 => format!("{}.{}", parts[0], parts[1]),
                _ => format!("{good}.{}", parts[2]),
            },
            Self::Header(header) => format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1], parts[2]),
            Self::Claims(claims) => format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]),
            Self::Signed(algorithm, key) => {
                let claims = json!({ "id": "u1", "type": "user", "exp": 9_999_999_999_i64 });
                jsonwebtoken::encode(&Header::new(*algorithm), &claims, &EncodingKey::from_secret(key.as_bytes())).expect("signs")
            }
            Self::Text(text) => text.clone(),
        }
    }
}

#[test]
fn claims_let_in_whom_they_name_and_a_spoilt_token_nobody() {
    let group = Group::new("claims", include_str!("seeds/claims.txt"), 2);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let checks = Checks { verifier: Verifier::new(SECRET, Some("an admin key of the fuzzers".into())), runtime };
    group.check("signed", 2_000, &json_text(claims(), 12), |text| checks.signed(&text));
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let good = sign_text(&header, &json!({ "id": "u1", "type": "user", "name": "Ü", "exp": 9_999_999_999_i64 }).to_string());
    let other = sign_text(&header, &json!({ "id": "ops", "type": "admin", "exp": 9_999_999_999_i64 }).to_string());
    assert!(checks.outcome(&good).is_ok() && checks.outcome(&other).is_ok(), "both are good before they are spoilt");
    group.check("tampered", 2_000, &changes(), |change| checks.tampered(&good, &other, &change));
}
