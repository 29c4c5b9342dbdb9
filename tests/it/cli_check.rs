//! `samvad check`, `backup` and `demo`.

use std::net::TcpListener;

use samvad::models::ParticipantKind;
use serde_json::json;

use crate::support::client::Client;
use crate::support::outside::Outside;
use crate::support::program::{Place, SECRET, command, token};
use crate::support::redis::Redis;

const APP_ID: &str = "970ca35de60c44645bbae8a215061b33";
const CERTIFICATE: &str = "5cfd2fd1755d40ecb72977518be15d3b";

/// The line about this.
fn line<'a>(text: &'a str, what: &str) -> &'a str {
    let lines = || text.lines().filter(|line| line.len() > 6);
    lines().find(|line| line[6..].starts_with(what)).unwrap_or_else(|| panic!("nothing is said of {what}: {text}"))
}

#[test]
fn everything_that_is_well_is_said_to_be_on_both_stores() {
    let redis = Redis::start();
    for place in [Place::embedded(), Place::mongodb()] {
        let mut settings = vec![
            ("PORT", "0"),
            ("AGORA_APP_ID", APP_ID),
            ("AGORA_APP_CERTIFICATE", CERTIFICATE),
            ("ADMIN_SECRET_KEY", "an admin key of the tests"),
            ("CORS_ORIGINS", "https://app.example.com"),
        ];
        let url = redis.url();
        if place.mongo.is_some() {
            settings.push(("REDIS_URL", &url));
        }
        let said = command(&["check"], place.folder.path(), place.mongo.as_ref(), &settings);
        assert!(said.ok, "{}{}", said.out, said.err);
        for what in ["settings", "address", "store", "redis", "tokens", "admin keys", "agora", "browsers", "public url", "webhook"] {
            assert!(line(&said.out, what).starts_with("ok"), "{}", said.out);
        }
        for secret in [CERTIFICATE, "an admin key of the tests", crate::support::program::SECRET] {
            assert!(!said.out.contains(secret) && !said.err.contains(secret), "{}", said.out);
        }
    }
}

#[test]
fn everything_that_is_wrong_is_named_and_the_exit_code_says_so() {
    let place = Place::embedded();
    // Nobody listens there.
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let mongo = (format!("mongodb://127.0.0.1:{nowhere}/?serverSelectionTimeoutMS=300"), "x".to_owned());
    let redis = format!("redis://127.0.0.1:{nowhere}");
    let key_file = place.folder.path().join("no.pem");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let settings = [
        ("JWT_SECRET", ""),
        ("JWT_PUBLIC_KEY", key_file.to_str().expect("text")),
        ("REDIS_URL", redis.as_str()),
        ("PORT", port.as_str()),
        ("MAX_CONNECTIONS", "1000000"),
    ];
    let said = command(&["check"], place.folder.path(), Some(&mongo), &settings);
    assert!(!said.ok && said.err.contains("3 of 13 are wrong"), "{}{}", said.out, said.err);
    for what in ["store", "redis", "tokens"] {
        assert!(line(&said.out, what).starts_with("WRONG"), "{}", said.out);
    }
    assert!(line(&said.out, "address").contains("in use") && line(&said.out, "agora").starts_with("note"), "{}", said.out);

    let said = command(&["check"], place.folder.path(), None, &[("PORT", "none"), ("AGORA_APP_ID", "none")]);
    assert!(!said.ok && said.err.contains("PORT") && said.err.contains("AGORA_APP_ID"), "all mistakes at once: {}", said.err);
    // A JWKS address nobody answers at.
    let jwks = format!("http://127.0.0.1:{nowhere}/keys");
    let said = command(&["check"], place.folder.path(), None, &[("JWT_SECRET", ""), ("JWKS_URL", &jwks), ("PORT", "0")]);
    assert!(!said.ok && line(&said.out, "tokens").starts_with("WRONG"), "{}", said.out);
}

#[tokio::test]
async fn places_of_files_addresses_and_keys_are_tried_out_and_none_of_them_is_given_away() {
    let place = Place::embedded();
    let folder = place.folder.path();
    let check = |settings: &[(&str, &str)]| command(&["check"], folder, None, settings);
    // Nothing is set, on all addresses.
    let said = check(&[("HOST", "0.0.0.0"), ("PORT", "0")]);
    assert!(said.ok, "{}{}", said.out, said.err);
    assert!(line(&said.out, "attachments").starts_with("ok"), "{}", said.out);
    assert!(line(&said.out, "push").starts_with("note"), "{}", said.out);
    let left = std::fs::read_dir(folder.join("media/media")).expect("made").count();
    assert_eq!(left, 0, "what was written was removed");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let said = check(&[("HOST", "0.0.0.0"), ("PORT", &port)]);
    assert!(line(&said.out, "public url").starts_with("note") && said.out.contains("set PUBLIC_URL"), "{}", said.out);
    let said = check(&[("HOST", "0.0.0.0"), ("PORT", &port), ("PUBLIC_URL", "https://chat.example.com")]);
    assert!(line(&said.out, "public url").starts_with("ok"), "{}", said.out);

    // A bucket nobody keeps.
    drop(taken);
    let endpoint = format!("http://127.0.0.1:{port}");
    let bucket = [("S3_ENDPOINT", endpoint.as_str()), ("S3_BUCKET", "b"), ("S3_ACCESS_KEY_ID", "id"), ("S3_SECRET_ACCESS_KEY", "planted")];
    let said = check(&[&bucket[..], &[("PORT", "0")]].concat());
    assert!(!said.ok && line(&said.out, "attachments").starts_with("WRONG"), "{}", said.out);
    assert!(!said.out.contains("planted") && !said.out.contains("X-Amz"), "{}", said.out);

    // Keys and addresses that are good, and that are not.
    let outside = Outside::start().await;
    let mut settings = [outside.fcm(), outside.apns(), outside.webhook()].concat();
    settings.push(("PORT", "0".into()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = check(&settings);
    for what in ["push", "webhook"] {
        assert!(line(&said.out, what).starts_with("ok"), "{}{}", said.out, said.err);
    }
    assert!(!said.out.contains("PRIVATE"), "{}", said.out);
    let said = check(&[("FIREBASE_SERVICE_ACCOUNT_FILE", "nowhere.json"), ("WEBHOOK_URL", "not an address"), ("WEBHOOK_SECRET", SECRET)]);
    assert!(!said.ok && said.err.contains("FIREBASE_SERVICE_ACCOUNT_FILE") && said.err.contains("WEBHOOK_URL"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_server_has_what_was_acknowledged_and_can_be_served_from() {
    let place = Place::embedded();
    let program = place.serve();
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let message = |n: u32| json!({ "recipientId": "a1", "recipientType": "astrologer", "content": format!("message {n}"), "clientMessageId": format!("m{n}") });
    for n in 0..50 {
        assert_eq!(user.call("dm:send_message", &message(n)).await["ok"], true);
    }
    let other = Place::embedded();
    let file = other.folder.path().join("samvad.db");
    let path = file.to_str().expect("text").to_owned();
    // While others go on writing.
    let copying = tokio::task::spawn_blocking(move || {
        let said = place.command(&["backup", &path]);
        let again = place.command(&["backup", &path]);
        (place, said, again)
    });
    for n in 50..100 {
        assert_eq!(user.call("dm:send_message", &message(n)).await["ok"], true);
    }
    let (place, said, again) = copying.await.expect("no panic");
    assert!(said.ok && said.out.contains("1 conversations"), "{}{}", said.out, said.err);
    assert!(!again.ok && again.err.contains("not replaced"), "{}", again.err);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600, "its owner's alone");
    }
    let checked = place.command(&["check"]);
    assert!(checked.out.contains("in use by a running server"), "{}", checked.out);
    program.kill();

    let program = other.serve();
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let page = user.call("dm:history", &json!({ "conversationId": "user_u1_a1", "limit": 200 })).await;
    let texts: Vec<&str> = page["messages"].as_array().expect("a list").iter().filter_map(|m| m["content"].as_str()).collect();
    assert!(texts.len() >= 50, "{page}");
    let expected: Vec<String> = (0..texts.len()).map(|n| format!("message {n}")).collect();
    assert_eq!(texts, expected, "what was acknowledged before, and no hole in what came meanwhile");
    program.kill();
    let said = Place::mongodb().command(&["backup", "x"]);
    assert!(!said.ok && said.err.contains("mongodump"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_is_there_for_the_demo_people_and_never_twice() {
    for place in [Place::embedded(), Place::mongodb()] {
        let said = place.done(&["demo"]);
        assert!(said.contains("Two conversations") && said.contains("demo-user has 2 to read"), "{said}");
        let again = place.command(&["demo"]);
        assert!(!again.ok && again.err.contains("empty store"), "{}", again.err);
        assert!(place.done(&["verify"]).contains("2 conversations looked at, 0 wrong"));
        let program = place.serve();
        let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "demo-user")).await;
        let joined = user.call("dm:join_conversation", &json!({ "conversationId": "user_demo-user_demo-astrologer" })).await;
        assert_eq!(joined["unreadCount"], 2, "{joined}");
        let page = user.call("dm:history", &json!({ "conversationId": "user_demo-user_demo-astrologer" })).await;
        let kinds: Vec<&str> = page["messages"].as_array().expect("a list").iter().filter_map(|m| m["messageType"].as_str()).collect();
        assert_eq!((kinds.len(), kinds.iter().filter(|kind| **kind == "call_log").count()), (9, 1), "{page}");
        program.kill();
        place.done_with().await;
    }
}
