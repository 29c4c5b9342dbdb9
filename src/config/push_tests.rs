//! The forms of the service account, and where things may be sent.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

// Made on the spot, once: RSA takes a while.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der = pair.as_der().expect("encodable");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
});

fn parse(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::parse(&Raw::from_pairs(pairs.iter().copied()))
}

/// The only mistake there is.
fn mistake(pairs: &[(&str, &str)]) -> String {
    let mut mistakes = parse(pairs).err().unwrap_or_else(|| panic!("it was taken: {:?}", pairs.iter().map(|p| p.0).collect::<Vec<_>>())).0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(!mistakes[0].contains("PRIVATE KEY") && !mistakes[0].contains("hunter2"), "a secret is shown: {mistakes:?}");
    mistakes.remove(0)
}

fn account(key: &str) -> String {
    json!({ "project_id": "p-1", "private_key_id": "k1", "private_key": key, "client_email": "push@p-1.example" }).to_string()
}

#[test]
fn a_service_account_is_taken_in_each_of_its_forms() {
    let (json, folder) = (account(&KEY), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("account.json");
    std::fs::write(&file, &json).expect("written");
    let base64 = STANDARD.encode(&json);
    // As `base64` prints it.
    let wrapped = base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).expect("ASCII")).collect::<Vec<_>>().join("\n");
    let written_out = account(&KEY.replace('\n', "\\n"));
    for (name, value) in [
        ("FIREBASE_SERVICE_ACCOUNT_FILE", file.to_str().expect("text")),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", &json),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", &written_out),
        ("FIREBASE_SERVICE_ACCOUNT_BASE64", &base64),
        ("FIREBASE_SERVICE_ACCOUNT_BASE64", &wrapped),
    ] {
        let firebase = parse(&[(name, value)]).unwrap_or_else(|e| panic!("{name}: {e}")).push.firebase.expect("an account");
        assert_eq!((firebase.project_id.as_str(), firebase.client_email.as_str()), ("p-1", "push@p-1.example"), "{name}");
        assert_eq!(
            (firebase.key_id.as_deref(), firebase.token_url.as_str()),
            (Some("k1"), "https://oauth2.googleapis.com/token"),
            "{name}"
        );
        assert_eq!(firebase.url.as_str(), "https://fcm.googleapis.com/");
    }
    // The three apart, the key as environments keep it.
    let one_line = KEY.replace('\n', "\\n");
    for key in [KEY.clone(), one_line.clone(), format!("\"{one_line}\""), format!("'{one_line}'"), format!("  \"{}\"\n", *KEY)] {
        let trio = [("FIREBASE_PROJECT_ID", "p-1"), ("FIREBASE_CLIENT_EMAIL", "push@p-1.example"), ("FIREBASE_PRIVATE_KEY", &*key)];
        let firebase = parse(&trio).unwrap_or_else(|e| panic!("{e}")).push.firebase.expect("an account");
        assert_eq!((firebase.project_id.as_str(), firebase.client_email.as_str()), ("p-1", "push@p-1.example"));
        assert!(firebase.key_id.is_none());
    }
    assert!(parse(&[("FIREBASE_PROJECT_ID", "p-1")]).expect("legal").push.firebase.is_none(), "the project alone sends nothing");
}

#[test]
fn two_forms_at_once_and_broken_ones_are_mistakes_that_show_no_key() {
    let json = account(&KEY);
    let base64 = STANDARD.encode(&json);
    let forms = [
        ("FIREBASE_SERVICE_ACCOUNT_FILE", "account.json"),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", &json),
        ("FIREBASE_SERVICE_ACCOUNT_BASE64", &base64),
        ("FIREBASE_PRIVATE_KEY", &KEY),
    ];
    for (number, one) in forms.iter().enumerate() {
        for other in &forms[number + 1..] {
            assert_eq!(mistake(&[*one, *other]), format!("{} and {} must not be set together: one service account sends", one.0, other.0));
        }
    }
    for (name, value, what) in [
        ("FIREBASE_SERVICE_ACCOUNT_FILE", "/nowhere/account.json", ""),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", "hunter2", "holds no JSON"),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", &base64, "holds no JSON"),
        ("FIREBASE_SERVICE_ACCOUNT_JSON", &account("hunter2"), "holds no RSA key"),
        ("FIREBASE_SERVICE_ACCOUNT_BASE64", "hunter2!", "is not base64"),
        ("FIREBASE_SERVICE_ACCOUNT_BASE64", &STANDARD.encode("hunter2"), "holds no JSON"),
        ("FIREBASE_PRIVATE_KEY", &KEY, "needs FIREBASE_PROJECT_ID beside it"),
    ] {
        let mistake = mistake(&[(name, value)]);
        assert!(mistake.starts_with(&format!("{name} {what}")), "{mistake}");
    }
    let half = mistake(&[("FIREBASE_PRIVATE_KEY", &KEY), ("FIREBASE_PROJECT_ID", "p-1")]);
    assert_eq!(half, "FIREBASE_PRIVATE_KEY needs FIREBASE_CLIENT_EMAIL beside it");
    let elsewhere = json.replace("p-1\"", "../p-1\"");
    assert_eq!(mistake(&[("FIREBASE_SERVICE_ACCOUNT_JSON", &elsewhere)]), "FIREBASE_SERVICE_ACCOUNT_JSON names no project");
    let asks_in_the_open = json.replacen('{', "{\"token_uri\":\"http://tokens.example/\",", 1);
    assert_eq!(mistake(&[("FIREBASE_SERVICE_ACCOUNT_JSON", &asks_in_the_open)]), "FIREBASE_SERVICE_ACCOUNT_JSON: token_uri must be https");
}

#[test]
fn what_is_sent_outside_goes_encrypted_or_to_this_machine() {
    let json = account(&KEY);
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key.p8");
    let random = aws_lc_rs::rand::SystemRandom::new();
    let signing = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(signing, &random).expect("a key");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document.as_ref()));
    std::fs::write(&key_file, pem).expect("written");
    let google = [("FIREBASE_SERVICE_ACCOUNT_JSON", json.as_str())];
    let apple = [
        ("APNS_KEY_FILE", key_file.to_str().expect("text")),
        ("APNS_KEY_ID", "KEY1234567"),
        ("APNS_TEAM_ID", "TEAM123456"),
        ("APNS_BUNDLE_ID", "com.example.app"),
    ];
    let bucket = [("S3_BUCKET", "chat-media"), ("S3_ACCESS_KEY_ID", "AKIATESTONLY"), ("S3_SECRET_ACCESS_KEY", "a secret key of the tests")];
    let seen_from_outside = [&bucket[..], &[("S3_ENDPOINT", "https://storage.example")]].concat();
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("FCM_URL", &google),
        ("GOOGLE_TOKEN_URL", &google),
        ("APNS_URL", &apple),
        ("WEBHOOK_URL", &[("WEBHOOK_SECRET", "a secret of the webhook")]),
        ("S3_ENDPOINT", &bucket),
        ("S3_PUBLIC_ENDPOINT", &seen_from_outside),
    ];
    for (name, beside) in cases {
        let with = |url: &'static str| [beside, &[(name, url)]].concat();
        for url in ["https://other.example/x", "http://127.0.0.1:9/x", "http://[::1]:9", "http://localhost:80"] {
            if let Err(e) = parse(&with(url)) {
                panic!("{name}={url}: {e}");
            }
        }
        for url in [
            "http://other.example/x",
            "http://10.0.0.1/x",
            "http://169.254.169.254/latest",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "other.example",
            "https://me:hunter2@other.example/",
        ] {
            // An endpoint in the wrong place is one mistake as what the server uses, and one as what clients are given.
            let mistakes = parse(&with(url)).err().unwrap_or_else(|| panic!("{name}={url} was taken")).0;
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(&format!("{name} must be like https://"))),
                "{name}={url}: {mistakes:?}"
            );
            assert!(!mistakes.iter().any(|mistake| mistake.contains("hunter2")), "{mistakes:?}");
        }
    }
}
