//! What follows from each of Apple's answers, and by which clock our own token for Apple is renewed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use samvad::models::{ParticipantKind, Timestamp};
use samvad::outside::{Apns, Sent, VoipPush};
use samvad::store::Store;
use serde_json::json;

use crate::support::http::request;
use crate::support::outside::{Outside, Reply};
use crate::support::people::astrologer;
use crate::support::server::TestServer;
use crate::support::stores::on_every_driver;

on_every_driver!(each_answer_of_apple_keeps_or_drops_the_token_and_rings_again_or_not,);

fn reason(status: u16, word: &str) -> Reply {
    Reply::Json(status, json!({ "reason": word }))
}

/// Apple knows since then that the app is gone.
fn gone(since: Timestamp) -> Reply {
    Reply::Json(410, json!({ "reason": "Unregistered", "timestamp": since.as_millis() }))
}

async fn each_answer_of_apple_keeps_or_drops_the_token_and_rings_again_or_not(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let settings = outside.apns();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let settings = [&[("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")], &settings[..]].concat();
    let server = TestServer::start_with(store.clone(), &settings).await;
    let (long_ago, in_a_while) = (Timestamp::from_millis(1), Timestamp::now().plus(Duration::from_secs(3600)));
    // Of each: what Apple answers, whether the token stays, and how many requests there are.
    let table: Vec<(&str, Vec<Reply>, bool, usize)> = vec![
        ("gone", vec![Reply::Text(410, "")], false, 1),
        ("gone, and back since", vec![gone(long_ago)], true, 1),
        // Its clock is ahead of ours: what counts is when we asked.
        ("gone an hour from now", vec![gone(in_a_while)], false, 1),
        ("no token", vec![reason(400, "BadDeviceToken")], false, 1),
        ("of another app", vec![reason(400, "DeviceTokenNotForTopic")], false, 1),
        ("our fault", vec![reason(400, "BadTopic")], true, 1),
        ("no key", vec![reason(403, "InvalidProviderToken")], true, 1),
        ("expired", vec![reason(403, "ExpiredProviderToken")], true, 2),
        ("too large", vec![reason(413, "PayloadTooLarge")], true, 1),
        ("too many", vec![reason(429, "TooManyRequests")], true, 2),
        ("busy", vec![Reply::RetryAfter(503, json!({ "reason": "ServiceUnavailable" }), "2")], true, 2),
        ("broken", vec![reason(500, "InternalServerError"), Reply::Text(502, "<html>Bad Gateway</html>")], true, 3),
        ("not json", vec![Reply::Text(400, "<html>Bad Request</html>")], true, 1),
        ("hangs", vec![Reply::Hang], true, 2),
    ];
    let token = |number: usize| format!("{number:064x}");
    for (number, (_, replies, ..)) in table.iter().enumerate() {
        let owner = server.token(ParticipantKind::Astrologer, &format!("a{number}"));
        let body = json!({ "voipToken": token(number), "platform": "ios" });
        assert_eq!(request(&server.url, "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
        outside.script(&token(number), replies.clone());
    }
    let mut callers = Vec::new();
    for number in 0..table.len() {
        let mut caller = server.user(&format!("u{number}")).await;
        let ask = json!({ "calleeId": format!("a{number}"), "calleeType": "astrologer", "callType": "voice" });
        assert_eq!(caller.call("call:initiate", &ask).await["ok"], true);
        callers.push(caller);
    }
    let expected: usize = table.iter().map(|(.., count)| count).sum();
    outside.wait(expected, |o| o.heard("/3/device/")).await;
    for (number, (name, _, stays, count)) in table.iter().enumerate() {
        let of_it: Vec<_> = outside.heard("/3/device/").into_iter().filter(|ring| ring.device() == token(number)).collect();
        assert_eq!(of_it.len(), *count, "{name}");
        let until = Instant::now() + Duration::from_secs(5);
        while store.devices_of(&[astrologer(&format!("a{number}"))]).await.unwrap().len() != usize::from(*stays) {
            assert!(Instant::now() < until, "{name}: the token should {}", if *stays { "stay" } else { "go" });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pause = || of_it[1].at.duration_since(of_it[0].at);
        match *name {
            "busy" => assert!(pause() >= Duration::from_secs(2), "Retry-After was not kept: {:?}", pause()),
            "hangs" => assert!(pause() >= Duration::from_secs(8), "it was not waited for: {:?}", pause()),
            // Apple wants none renewed so soon.
            "expired" => assert_eq!(of_it[0].header("authorization"), of_it[1].header("authorization")),
            _ => {}
        }
    }
    drop(callers);
    server.stop().await;
}

async fn ring(apns: &Apns) -> Sent {
    apns.ring("c0ffee", &VoipPush { payload: json!({ "type": "call" }) }).await
}

/// Nothing may be under way: what waits for an answer would run out of time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// The token of ours that the newest ring came with.
fn shown(outside: &Outside) -> String {
    outside.heard("/3/device/").pop().expect("a ring").header("authorization").to_owned()
}

#[tokio::test]
async fn our_token_for_apple_is_renewed_by_the_clock_and_when_it_is_refused_but_not_too_often() {
    let outside = Outside::start().await;
    let apns = outside.ringer();
    assert_eq!(ring(&apns).await, Sent::Accepted);
    let first = shown(&outside);
    pass(minutes(39)).await;
    assert_eq!(ring(&apns).await, Sent::Accepted);
    assert_eq!(shown(&outside), first, "not before its time");
    pass(minutes(1)).await;
    assert_eq!(ring(&apns).await, Sent::Accepted);
    let second = shown(&outside);
    assert_ne!(second, first, "Apple takes none that is older than an hour");
    // Refused a moment after it was made: a new one would be refused for being one too many.
    let refused = |sent: Sent| matches!(sent, Sent::Later { maybe_taken: false, .. });
    outside.script("c0ffee", [reason(403, "ExpiredProviderToken")]);
    assert!(refused(ring(&apns).await));
    assert_eq!(ring(&apns).await, Sent::Accepted);
    assert_eq!(shown(&outside), second);
    pass(minutes(20)).await;
    outside.script("c0ffee", [reason(403, "ExpiredProviderToken")]);
    assert!(refused(ring(&apns).await));
    assert_eq!(shown(&outside), second);
    assert_eq!(ring(&apns).await, Sent::Accepted);
    let third = shown(&outside);
    assert_ne!(third, second, "renewed, and the next try comes with the new one");
    assert_eq!(ring(&apns).await, Sent::Accepted);
    assert_eq!(shown(&outside), third);
}
