//! `samvad webhooks`: events the receiver did not take in their whole life are listed, sent again and arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use samvad::models::Timestamp;
use samvad::services::Clock;
use serde_json::json;

use crate::support::nodes::to_astrologer;
use crate::support::outside::{Heard, Outside, Reply, WEBHOOK_SECRET};
use crate::support::program::{Place, Program};
use crate::support::server::TestServer;

/// As a receiver checks it who has read docs/webhooks.md and nothing of ours.
fn is_signed(heard: &Heard) -> bool {
    let header = heard.header("x-samvad-signature");
    let (time, signature) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("both parts");
    let age = Timestamp::now().as_millis() / 1000 - time.parse::<i64>().expect("seconds");
    let digit = |at: usize| u8::from_str_radix(&signature[at..at + 2], 16).expect("hex");
    let signature: Vec<u8> = (0..signature.len()).step_by(2).map(digit).collect();
    let key = Key::new(HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    age.abs() <= 300 && verify(&key, format!("{time}.{}", heard.text).as_bytes(), &signature).is_ok()
}

async fn what_nobody_took_is_listed_and_sent_again(place: Place) {
    let outside = Outside::start().await;
    let settings: Vec<(&str, String)> = outside.webhook();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(place.done(&["webhooks", "list"]), "");
    let store = place.store().await;
    let later = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&later);
    let clock: Clock = Arc::new(move || Timestamp::now().plus(Duration::from_secs(clock.load(Ordering::Relaxed))));
    let free = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")];
    let all: Vec<(&str, &str)> = free.into_iter().chain(settings.iter().copied()).collect();
    let server = TestServer::start_by(Arc::clone(&store), &all, clock).await;
    let mut user = server.user("u1").await;
    outside.wait(1, |o| o.heard("/hook")).await;
    outside.script("hook", vec![Reply::Text(500, "the receiver is being mended"); 100]);
    let mut ids = Vec::new();
    for n in 0..2 {
        let sent = user.call("dm:send_message", &to_astrologer("a1", &format!("message {n}"))).await;
        ids.push(format!("event:message.created:{}", sent["message"]["_id"].as_str().expect("an id")));
    }
    // Both were tried; then their day is over.
    outside.wait(3, |o| o.heard("/hook")).await;
    assert!(store.dead_outbox(10).await.expect("read").is_empty());
    later.store(24 * 3600, Ordering::Relaxed);
    let give_up = Instant::now() + Duration::from_secs(30);
    while store.dead_outbox(10).await.expect("read").len() < 2 {
        assert!(Instant::now() < give_up, "they are given up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
    drop((user, store));

    let listed = place.done(&["webhooks", "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    for id in &ids {
        let line = listed.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("{id} is not listed: {listed}"));
        assert!(line.contains("500"), "it says why: {line}");
    }
    assert_eq!(place.done(&["webhooks", "list", "--limit", "1"]).lines().count(), 1);
    assert_eq!(place.done(&["webhooks", "replay", "event:message.created:nothing"]), "0 will be sent again\n");
    assert!(!place.command(&["webhooks", "replay"]).ok, "one or all has to be said");
    // The receiver is mended. What it heard before does not count.
    let outside = Outside::start().await;
    let settings: Vec<(&str, String)> = outside.webhook();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let serve = || Program::start(place.folder.path(), place.mongo.as_ref(), &settings);
    // The database may be replayed into while it is served, the folder not.
    let mut program = place.mongo.is_some().then(serve);
    for which in [ids[1].as_str(), "--all"] {
        assert_eq!(place.done(&["webhooks", "replay", which]), "1 will be sent again\n");
    }
    program.get_or_insert_with(serve);
    let heard = outside.wait(2, |o| o.heard("/hook")).await;
    for (n, id) in ids.iter().enumerate() {
        let heard = heard.iter().find(|heard| heard.header("x-samvad-delivery") == id).expect("it came");
        assert!(is_signed(heard), "{}", heard.header("x-samvad-signature"));
        assert_eq!((heard.header("x-samvad-attempt"), heard.header("x-samvad-event")), ("1", "message.created"));
        let body = heard.json();
        assert_eq!((&body["id"], &body["data"]["message"]["content"]), (&json!(id), &json!(format!("message {n}"))));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(outside.heard("/hook").len(), 2, "each once");
    drop(program);
    assert_eq!(place.done(&["webhooks", "list"]), "");
    assert_eq!(place.done(&["webhooks", "replay", "--all"]), "0 will be sent again\n");
    place.done_with().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_is_listed_and_sent_again_on_sqlite() {
    what_nobody_took_is_listed_and_sent_again(Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_is_listed_and_sent_again_on_mongodb() {
    what_nobody_took_is_listed_and_sent_again(Place::mongodb()).await;
}
