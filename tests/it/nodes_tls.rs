//! Nodes whose Redis speaks TLS and asks for a user and a password; and what is said when it is not let in.

use std::process::Stdio;

use serde_json::json;
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::http::{get, local};
use crate::support::nodes::{Nodes, RECOVERY, to_astrologer};
use crate::support::program::{Place, Program, command, token};
use crate::support::redis_tls::{PASSWORD, RedisTls};
use crate::support::stores;
use samvad::models::ParticipantKind;

const NOT_TRUSTED: &str = "the certificate is not trusted";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_each_other_over_tls_as_a_user_with_a_password() {
    let (redis, tls) = RedisTls::start();
    let (url, authority) = (tls.url("samvad"), tls.authority());
    let mut nodes = Nodes::on(redis);
    for _ in 0..2 {
        nodes.add(&[("REDIS_URL", &url), ("REDIS_CA_FILE", &authority), ("RATE_PROFILE", "default")]);
    }
    for n in 0..2 {
        nodes.sees(n, 1).await;
    }
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    for n in 0..5 {
        assert_eq!(user.call("dm:send_message", &to_astrologer("a1", &n.to_string())).await["ok"], true);
    }
    for n in 0..5 {
        assert_eq!(astrologer.expect("dm:new_message").await["content"], n.to_string());
    }
    // Presence, calls kept in mind and limits are keys and scripts.
    let called = user.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await;
    assert_eq!((&called["ok"], &called["status"]), (&json!(true), &json!("ringing")), "a socket on the other node counts: {called}");
    assert_eq!(astrologer.expect("call:incoming").await["callId"], called["callId"]);
    for n in 0..2 {
        assert!(nodes.bus(n).await.get("why").is_none());
    }

    nodes.redis.kill();
    nodes.is_cut_off(1).await;
    assert_eq!(user.call("dm:send_message", &to_astrologer("a1", "meanwhile")).await["ok"], true);
    nodes.redis.start_again();
    for n in 0..2 {
        nodes.sees(n, 1).await;
    }
    timeout(RECOVERY, astrologer.expect("resync")).await.expect("a hint");
    assert_eq!(user.call("dm:send_message", &to_astrologer("a1", "after")).await["ok"], true);
    while astrologer.expect("dm:new_message").await["content"] != "after" {}
    nodes.done().await;
}

/// A node that Redis does not let in, or the other way round, says so and serves its own; `samvad check` finds the same.
async fn says_why(settings: &[(&str, &str)], why: &str) {
    let (mongo, folder) = ((stores::mongo_uri(), stores::fresh_database()), tempfile::tempdir().expect("a folder"));
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let node = Program::start_logging_to(Stdio::from(file), folder.path(), Some(&mongo), settings);
    let known = async {
        loop {
            let ready = get(&node.url, local(1), "/ready", &[]).await;
            assert_eq!(ready.status, 200, "it serves all the same: {ready:?}");
            let bus = &ready.json()["bus"];
            assert_eq!(bus["status"], "down", "{bus}");
            if bus["why"].as_str().is_some_and(|said| said.contains(why)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(RECOVERY, known).await.unwrap_or_else(|_| panic!("/ready never says: {why}"));
    let mut user = Client::connect(&node.url, &token(ParticipantKind::User, "u1")).await;
    let mut astrologer = Client::connect(&node.url, &token(ParticipantKind::Astrologer, "a1")).await;
    assert_eq!(user.call("dm:send_message", &to_astrologer("a1", "hello")).await["ok"], true);
    assert_eq!(astrologer.expect("dm:new_message").await["content"], "hello");
    node.kill();
    let said = std::fs::read_to_string(&log).expect("readable");
    assert!(said.contains(why), "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains("what%20"), "{said}");
    stores::drop_database(&mongo.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_trust_redis_says_so_and_serves_its_own() {
    let (_redis, tls) = RedisTls::start();
    let (url, stranger) = (tls.url("samvad"), tls.stranger());
    says_why(&[("REDIS_URL", &url), ("REDIS_CA_FILE", &stranger)], NOT_TRUSTED).await;
    // The public authorities did not sign it either.
    says_why(&[("REDIS_URL", &url)], NOT_TRUSTED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_redis_does_not_let_in_or_listen_says_so_and_serves_its_own() {
    let (_redis, tls) = RedisTls::start();
    let authority = tls.authority();
    let (wrong, nobody) = (tls.url("samvad").replace("only", "all"), format!("rediss://127.0.0.1:{}", tls.port));
    says_why(&[("REDIS_URL", &wrong), ("REDIS_CA_FILE", &authority)], "user or password are refused").await;
    says_why(&[("REDIS_URL", &nobody), ("REDIS_CA_FILE", &authority)], "a password is needed").await;
    says_why(&[("REDIS_URL", &tls.url("deaf")), ("REDIS_CA_FILE", &authority)], "may not do what is needed").await;
}

#[test]
fn check_tells_what_is_wrong_with_the_way_to_redis_and_shows_no_password() {
    let (_redis, tls) = RedisTls::start();
    let place = Place::mongodb();
    let check = |url: &str, authority: &str| {
        let settings = [("PORT", "0"), ("REDIS_URL", url), ("REDIS_CA_FILE", authority)];
        let said = command(&["check"], place.folder.path(), place.mongo.as_ref(), &settings);
        let text = format!("{}{}", said.out, said.err);
        assert!(!text.contains(PASSWORD) && !text.contains("what%20"), "{text}");
        (said.ok, text)
    };
    let redis = |said: &str| said.lines().find(|line| line.contains("redis  ")).unwrap_or_default().to_owned();
    let (url, authority) = (tls.url("samvad"), tls.authority());
    let (ok, said) = check(&url, &authority);
    assert!(ok && redis(&said).starts_with("ok"), "{said}");
    for (url, authority, why) in [
        (&url, tls.stranger(), NOT_TRUSTED),
        (&url, String::new(), NOT_TRUSTED),
        (&url.replace("only", "all"), authority.clone(), "user or password are refused"),
        // The certificate is for the address in numbers.
        (&url.replace("127.0.0.1", "localhost"), authority.clone(), NOT_TRUSTED),
    ] {
        let (ok, said) = check(url, &authority);
        assert!(!ok && redis(&said).starts_with("WRONG") && redis(&said).contains(why), "{said}");
    }
    // What is wrong with the file is a mistake in the settings.
    let empty = place.folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").expect("written");
    for (url, authority) in
        [(&url, "/nowhere.pem"), (&url, empty.to_str().expect("text")), (&"redis://127.0.0.1:1".to_owned(), authority.as_str())]
    {
        let (ok, said) = check(url, authority);
        assert!(!ok && said.contains("REDIS_CA_FILE"), "{said}");
    }
}
