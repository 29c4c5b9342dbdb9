//! One access token for everybody: bought once, renewed before it ends, and once if it is refused. The other side is real HTTP; of the
//! clock, whole hours are skipped while nothing is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use samvad::models::Platform;
use samvad::outside::{Fcm, FcmPush, Sent};
use serde_json::json;

use crate::support::outside::{Outside, Reply};

const CALLERS: usize = 100;

/// All of them at once; the bearer of each request, in the order they came.
async fn send_all(fcm: &Fcm, outside: &Outside) -> Vec<String> {
    let before = outside.heard("messages:send").len();
    let data = BTreeMap::from([("type", "message".to_owned())]);
    let push = FcmPush { notification: None, data, tag: None, ttl_seconds: 60, expires_at_seconds: 0 };
    let devices: Vec<String> = (0..CALLERS).map(|n| format!("phone-{n}")).collect();
    let sent = join_all(devices.iter().map(|device| fcm.send(device, Platform::Android, &push))).await;
    assert!(sent.iter().all(|sent| *sent == Sent::Accepted), "{sent:?}");
    outside.heard("messages:send")[before..].iter().map(|heard| heard.header("authorization").to_owned()).collect()
}

fn bought(outside: &Outside) -> usize {
    outside.heard("/token").len()
}

/// Nothing may be under way: what waits for an answer would run out of time.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn one_access_token_serves_a_hundred_at_once_and_is_renewed_by_the_clock() {
    let outside = Outside::start().await;
    let fcm = outside.sender();
    // All of them wait for the same purchase.
    outside.script("token", [Reply::Late(Duration::from_millis(300), 200, json!({ "access_token": "t1", "expires_in": 3599 }))]);
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    assert_eq!(bought(&outside), 1);
    // Five minutes before its end it is renewed, and not before that.
    pass(Duration::from_secs(3599 - 300 - 30)).await;
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    assert_eq!(bought(&outside), 1);
    pass(Duration::from_secs(30)).await;
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t2"; CALLERS]);
    assert_eq!(bought(&outside), 2);
}

#[tokio::test]
async fn a_token_that_still_holds_is_used_while_no_other_is_to_be_had() {
    let outside = Outside::start().await;
    let fcm = outside.sender();
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    pass(Duration::from_secs(3599 - 200)).await;
    outside.script("token", [Reply::Text(503, "not now"), Reply::Text(503, "nor now")]);
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    assert_eq!(bought(&outside), 2, "asked once for all of them");
    pass(Duration::from_secs(60)).await;
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    assert_eq!(bought(&outside), 3);
    pass(Duration::from_secs(60)).await;
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t4"; CALLERS]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_for_all_who_used_it() {
    let outside = Outside::start().await;
    let fcm = outside.sender();
    assert_eq!(send_all(&fcm, &outside).await, vec!["Bearer t1"; CALLERS]);
    outside.distrust("t1");
    // The refusals come one after the other, most of them when the next token is there already.
    let no = json!({ "error": { "code": 401, "message": "no", "status": "UNAUTHENTICATED" } });
    for n in 0..CALLERS as u64 {
        outside.script(&format!("phone-{n}"), [Reply::Late(Duration::from_millis(100 + 5 * n), 401, no.clone())]);
    }
    let bearers = send_all(&fcm, &outside).await;
    for token in ["Bearer t1", "Bearer t2"] {
        assert_eq!(bearers.iter().filter(|bearer| *bearer == token).count(), CALLERS, "{token}");
    }
    assert_eq!(bearers.len(), 2 * CALLERS);
    assert_eq!(bought(&outside), 2);
    // All at the same moment.
    outside.distrust("t2");
    outside.delay(Duration::from_millis(200));
    let bearers = send_all(&fcm, &outside).await;
    assert_eq!((bearers.len(), bought(&outside)), (2 * CALLERS, 3));
}
