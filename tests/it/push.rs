//! Push and webhooks through a running server, against a local one that plays Google, Apple and the webhook's receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use samvad::models::{OutboxState, ParticipantKind};
use samvad::store::Store;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::request;
use crate::support::outside::{BUNDLE, Outside, PROJECT, Reply, WEBHOOK_SECRET, fcm_error, google_error};
use crate::support::people::{astrologer, user};
use crate::support::server::TestServer;
use crate::support::stores::{self, on_every_driver};

on_every_driver!(
    a_phone_is_told_of_a_message_in_the_words_of_the_app,
    a_phone_rings_and_stops_ringing_however_the_call_goes_on,
    who_hung_up_on_is_told_if_he_has_no_socket,
    each_answer_keeps_or_drops_the_token_and_is_tried_again_or_not,
    a_device_has_one_owner_and_is_shown_masked,
    events_are_posted_signed_and_tried_again,
);

const FREE: [(&str, &str); 2] = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")];

async fn serve(store: &Arc<dyn Store>, settings: &[(&'static str, String)], more: &[(&str, &str)]) -> TestServer {
    let pairs = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let pairs: Vec<(&str, &str)> = FREE.into_iter().chain(pairs).chain(more.iter().copied()).collect();
    TestServer::start_with(store.clone(), &pairs).await
}

async fn register(server: &TestServer, kind: ParticipantKind, id: &str, body: Value) {
    let token = server.token(kind, id);
    let (status, answer) = request(&server.url, "POST", "/api/fcm/register", Some(&token), Some(&body)).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
}

/// The device of the astrologer `ravi`.
async fn phone_of_ravi(server: &TestServer, token: &str) {
    register(server, ParticipantKind::Astrologer, "ravi", json!({ "fcmToken": token, "platform": "android" })).await;
}

async fn say(client: &mut Client, text: &str) -> Value {
    let answer = client.call("dm:send_message", &json!({ "recipientId": "ravi", "recipientType": "astrologer", "content": text })).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["message"].clone()
}

async fn call(client: &mut Client) -> Value {
    let answer = client.call("call:initiate", &json!({ "calleeId": "ravi", "calleeType": "astrologer", "callType": "video" })).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer
}

async fn a_phone_is_told_of_a_message_in_the_words_of_the_app(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[]).await;
    phone_of_ravi(&server, "android-phone").await;
    register(&server, ParticipantKind::Astrologer, "ravi", json!({ "fcmToken": "ios-phone", "platform": "ios" })).await;
    let mut asha = server.user("asha").await;
    let long = "नमस्ते ".repeat(200);
    let message = say(&mut asha, &long).await;
    let pushes = outside.wait(2, |o| o.pushes("message")).await;
    let android = pushes.iter().find(|push| push.device() == "android-phone").unwrap();
    assert_eq!(android.path, format!("/v1/projects/{PROJECT}/messages:send"));
    assert_eq!(android.header("authorization"), "Bearer t1");
    assert!(android.text.len() < 4096, "{}", android.text.len());
    let data = android.data();
    let content = data["content"].as_str().unwrap();
    assert!(content.len() <= 512 && content.len() > 500 && long.starts_with(content.trim_end_matches('…')), "{content}");
    assert_eq!(
        android.json()["message"],
        json!({
            "token": "android-phone",
            "notification": { "title": "Name of asha", "body": content },
            "data": {
                "type": "message", "messageId": message["id"], "conversationId": "user_asha_ravi", "senderId": "asha",
                "senderName": "Name of asha", "senderType": "user", "senderAvatar": "", "messageType": "text", "content": content,
                "timestamp": message["createdAt"], "expiresAt": data["expiresAt"],
            },
            "android": {
                "priority": "HIGH", "ttl": android.json()["message"]["android"]["ttl"],
                "notification": {
                    "channel_id": "messages", "sound": "default", "click_action": "FLUTTER_NOTIFICATION_CLICK",
                    "tag": "user_asha_ravi",
                },
            },
        })
    );
    let ios = pushes.iter().find(|push| push.device() == "ios-phone").unwrap().json();
    assert_eq!(ios["message"]["apns"]["headers"]["apns-push-type"], "alert");
    assert_eq!(ios["message"]["apns"]["headers"]["apns-priority"], "10");
    assert!(ios["message"]["android"].is_null());
    // Nothing goes to admins, nothing for oneself, nothing of a call log.
    let answer = asha.call("dm:send_message", &json!({ "recipientType": "admin", "content": "help" })).await;
    assert_eq!(answer["ok"], true);
    say(&mut asha, "second").await;
    outside.wait(4, |o| o.pushes("message")).await;
    assert_eq!(outside.heard("messages:send").len(), 4);
    let [bought] = &outside.heard("/token")[..] else { panic!("one access token for all") };
    let statement = form_urlencoded::parse(bought.text.as_bytes()).find(|(name, _)| name == "assertion").unwrap().1.into_owned();
    let claims = Outside::google_claims(&statement);
    assert_eq!(claims["iss"], "push@samvad-test.example");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
    assert_eq!(claims["aud"], format!("{}/token", outside.url));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    server.stop().await;
}

async fn a_phone_rings_and_stops_ringing_however_the_call_goes_on(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let agora = [
        ("AGORA_APP_ID", "0123456789abcdef0123456789abcdef"),
        ("AGORA_APP_CERTIFICATE", "fedcba9876543210fedcba9876543210"),
        ("RING_TIMEOUT_SECONDS", "3"),
    ];
    let server = serve(&store, &outside.fcm(), &agora).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    let mut asha = server.user("asha").await;
    // Nobody is there: it counts as ringing once Google took it, and is missed.
    let offered = call(&mut asha).await;
    let ring = outside.wait(1, |o| o.pushes("video_call")).await.remove(0);
    let message = ring.json()["message"].clone();
    assert!(message["notification"].is_null());
    assert_eq!(message["android"]["priority"], "HIGH");
    assert_eq!(message["android"]["collapse_key"], offered["callId"]);
    assert!(["2s", "3s"].contains(&message["android"]["ttl"].as_str().unwrap()), "{message}");
    let data = ring.data();
    for (key, value) in data.as_object().unwrap() {
        assert!(value.is_string(), "{key}");
    }
    assert_eq!(data["callId"], offered["callId"]);
    assert_eq!(data["channelName"], offered["channelName"]);
    assert_eq!(data["callerName"], "Name of asha");
    assert_eq!(data["callerType"], "user");
    assert_eq!(data["callType"], "video");
    assert_eq!(data["agoraAppId"], "0123456789abcdef0123456789abcdef");
    assert!(data["agoraToken"].as_str().unwrap().starts_with("007"));
    assert!(data.get("callerAvatar").is_some() && data.get("expiresAt").is_some());
    let entry = store.find_outbox(&format!("ring:{}", offered["callId"].as_str().unwrap())).await.unwrap().unwrap();
    assert!(!entry.body.contains(data["agoraToken"].as_str().unwrap()) && !entry.body.contains("phone-of-ravi"));
    let stop = outside.wait(1, |o| o.pushes("call_cancel")).await.remove(0);
    assert_eq!((&stop.data()["callId"], &stop.data()["reason"]), (&offered["callId"], &json!("missed")));
    let shown = store.find_call(samvad::models::CallId::parse(offered["callId"].as_str().unwrap()).unwrap()).await.unwrap().unwrap();
    assert!(shown.ringing_at.is_some(), "Google took it, so it rang");
    // Cancelled, rejected, answered: the phone is told each time, after the ring.
    let mut ravi = server.astrologer("ravi").await;
    for (number, (who, event, reason)) in
        [("asha", "call:end", "cancelled"), ("ravi", "call:reject", "declined"), ("ravi", "call:accept", "answered_elsewhere")]
            .into_iter()
            .enumerate()
    {
        let offered = call(&mut asha).await;
        outside.wait(number + 2, |o| o.pushes("video_call")).await;
        let client = if who == "asha" { &mut asha } else { &mut ravi };
        assert_eq!(client.call(event, &json!({ "callId": offered["callId"] })).await["ok"], true);
        let stop = outside.wait(number + 2, |o| o.pushes("call_cancel")).await.pop().unwrap();
        assert_eq!((&stop.data()["callId"], &stop.data()["reason"]), (&offered["callId"], &json!(reason)));
    }
    assert_eq!(outside.pushes("video_call").len(), 4);
    assert_eq!(outside.pushes("call_cancel").len(), 4);
    server.stop().await;
}

async fn who_hung_up_on_is_told_if_he_has_no_socket(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[]).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    let (mut asha, mut ravi) = (server.user("asha").await, server.astrologer("ravi").await);
    let offered = call(&mut asha).await;
    assert_eq!(ravi.call("call:accept", &json!({ "callId": offered["callId"] })).await["ok"], true);
    drop(ravi);
    let until = Instant::now() + Duration::from_secs(10);
    while server.services.core().delivery.is_connected(&astrologer("ravi")) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asha.call("call:end", &json!({ "callId": offered["callId"] })).await["ok"], true);
    let end = outside.wait(1, |o| o.pushes("call_end")).await.remove(0);
    assert_eq!(end.data(), json!({ "type": "call_end", "callId": offered["callId"], "duration": end.data()["duration"] }));
    server.stop().await;
}

async fn each_answer_keeps_or_drops_the_token_and_is_tried_again_or_not(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[]).await;
    let unknown = || json!({ "error": { "code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND" } });
    // Of each: what FCM answers, whether the token stays, and how many requests there are.
    let table: Vec<(&str, Vec<Reply>, bool, usize)> = vec![
        ("unregistered", vec![fcm_error(404, "UNREGISTERED", "gone")], false, 1),
        ("other-sender", vec![fcm_error(403, "SENDER_ID_MISMATCH", "no")], false, 1),
        ("malformed", vec![fcm_error(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token")], false, 1),
        ("our-fault", vec![fcm_error(400, "INVALID_ARGUMENT", "Invalid value at 'message.data'")], true, 1),
        ("no-role", vec![google_error(403, "PERMISSION_DENIED")], true, 1),
        ("wrong-project", vec![Reply::Json(404, unknown())], true, 1),
        ("no-apple-key", vec![fcm_error(401, "THIRD_PARTY_AUTH_ERROR", "no key")], true, 1),
        ("not-json", vec![Reply::Text(502, "<html>Bad Gateway</html>")], true, 2),
        ("unavailable", vec![fcm_error(503, "UNAVAILABLE", "later"), fcm_error(500, "INTERNAL", "oh")], true, 3),
        ("busy", vec![Reply::RetryAfter(503, json!({}), "2")], true, 2),
        ("expired-access", vec![google_error(401, "UNAUTHENTICATED")], true, 2),
    ];
    for (number, (name, replies, ..)) in table.iter().enumerate() {
        register(
            &server,
            ParticipantKind::Astrologer,
            &format!("a{number}"),
            json!({ "fcmToken": format!("{name}-token"), "platform": "android" }),
        )
        .await;
        outside.script(&format!("{name}-token"), replies.clone());
    }
    let mut asha = server.user("asha").await;
    for number in 0..table.len() {
        let to = json!({ "recipientId": format!("a{number}"), "recipientType": "astrologer", "content": "hello" });
        assert_eq!(asha.call("dm:send_message", &to).await["ok"], true);
    }
    let expected: usize = table.iter().map(|(.., count)| count).sum();
    outside.wait(expected, |o| o.pushes("message")).await;
    for (number, (name, _, stays, count)) in table.iter().enumerate() {
        let of_it: Vec<_> = outside.pushes("message").into_iter().filter(|push| push.device() == format!("{name}-token")).collect();
        assert_eq!(of_it.len(), *count, "{name}");
        // What is written down follows the answer.
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let devices = store.devices_of(&[astrologer(&format!("a{number}"))]).await.unwrap();
            if devices.len() == usize::from(*stays) {
                break;
            }
            assert!(Instant::now() < until, "{name}: the token should {}", if *stays { "stay" } else { "go" });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if *name == "busy" {
            let pause = of_it[1].at.duration_since(of_it[0].at);
            assert!(pause >= Duration::from_secs(2), "Retry-After was not kept: {pause:?}");
        }
        if *name == "expired-access" {
            assert_ne!(of_it[0].header("authorization"), of_it[1].header("authorization"));
        }
    }
    // One at the start, one after the 401.
    assert_eq!(outside.heard("/token").len(), 2);
    server.stop().await;
}

async fn a_device_has_one_owner_and_is_shown_masked(store: Arc<dyn Store>) {
    let server = serve(&store, &[], &[]).await;
    let (asha, ravi, admin) = (
        server.token(ParticipantKind::User, "asha"),
        server.token(ParticipantKind::Astrologer, "ravi"),
        server.token(ParticipantKind::Admin, "ops7"),
    );
    let ask = async |method: &str, path: &str, token: Option<&str>, body: Value| {
        let body = (method == "POST").then_some(body);
        request(&server.url, method, &format!("/api/fcm/{path}"), token, body.as_ref()).await
    };
    let token = "fcm-token-0123456789-abcdef";
    let registered = ask("POST", "register", Some(&asha), json!({ "fcmToken": token, "platform": "android" })).await;
    assert_eq!((registered.0, &registered.1["success"]), (200, &json!(true)));
    assert!(registered.1["message"].is_string());
    let voip = "ab".repeat(32);
    assert_eq!(ask("POST", "register", Some(&asha), json!({ "voipToken": voip, "platform": "ios" })).await.0, 200);
    let (status, list) = ask("GET", "tokens", Some(&asha), Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains(token) && !list.to_string().contains(&voip), "{list}");
    assert_eq!(list["data"][1]["token"], "fcm-to…cdef");
    assert_eq!(ask("POST", "register", Some(&ravi), json!({ "fcmToken": token, "platform": "web" })).await.0, 200);
    assert_eq!(ask("GET", "tokens", Some(&asha), Value::Null).await.1["data"].as_array().unwrap().len(), 1);
    assert_eq!(ask("POST", "unregister", Some(&asha), json!({ "fcmToken": token })).await.0, 200);
    assert_eq!(ask("GET", "tokens", Some(&ravi), Value::Null).await.1["data"][0]["platform"], "web");
    assert_eq!(ask("POST", "unregister", Some(&ravi), json!({ "fcmToken": token })).await.0, 200);
    assert!(ask("GET", "tokens", Some(&ravi), Value::Null).await.1["data"].as_array().unwrap().is_empty());
    for (body, code) in [
        (json!({}), "INVALID_PAYLOAD"),
        (json!({ "fcmToken": 7 }), "INVALID_PAYLOAD"),
        (json!({ "fcmToken": "short" }), "INVALID_PAYLOAD"),
        (json!({ "fcmToken": "with a space in it" }), "INVALID_PAYLOAD"),
        (json!({ "fcmToken": token, "platform": "nokia" }), "INVALID_PAYLOAD"),
        (json!({ "voipToken": voip, "platform": "android" }), "INVALID_PAYLOAD"),
        (json!({ "voipToken": "../../../3/device/x/../../../../etc", "platform": "ios" }), "INVALID_PAYLOAD"),
    ] {
        let (status, answer) = ask("POST", "register", Some(&asha), body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}: {answer}");
    }
    assert_eq!(ask("POST", "register", Some(&admin), json!({ "fcmToken": token })).await.0, 403);
    assert_eq!(ask("POST", "register", None, json!({ "fcmToken": token })).await.0, 401);
    server.stop().await;
}

async fn events_are_posted_signed_and_tried_again(store: Arc<dyn Store>) {
    let outside = Outside::start().await;
    let server = serve(&store, &outside.webhook(), &[]).await;
    let mut asha = server.user("asha").await;
    let came = outside.wait(1, |o| o.heard("/hook")).await[0].json();
    assert_eq!((&came["type"], &came["data"]["id"]), (&json!("presence.online"), &json!("asha")));
    outside.script("hook", [Reply::Text(500, "oh"), Reply::RetryAfter(429, json!({}), "1")]);
    let message = say(&mut asha, "hello").await;
    let tries = outside.wait(4, |o| o.heard("/hook")).await.split_off(1);
    let ids: Vec<&str> = tries.iter().map(|one| one.header("x-samvad-delivery")).collect();
    assert_eq!(ids, [ids[0]; 3]);
    assert_eq!(tries.iter().map(|one| one.header("x-samvad-attempt")).collect::<Vec<_>>(), ["1", "2", "3"]);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    for one in &tries {
        let seconds = one.header("x-samvad-signature").strip_prefix("t=").unwrap().split(',').next().unwrap();
        assert_eq!(one.header("x-samvad-signature"), samvad::outside::signature(&key, seconds.parse().unwrap(), &one.text));
        assert_eq!((&one.json()["type"], one.header("x-samvad-event")), (&json!("message.created"), "message.created"));
        assert_eq!(one.json()["data"]["message"]["id"], message["id"]);
        assert_eq!(one.json()["id"], one.header("x-samvad-delivery"));
    }
    let offered = call(&mut asha).await;
    assert_eq!(asha.call("call:end", &json!({ "callId": offered["callId"] })).await["ok"], true);
    let events = outside.wait(6, |o| o.heard("/hook")).await;
    let mut kinds: Vec<String> = events[4..].iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["call.cancelled", "call.initiated"]);
    server.services.push().presence_changed(&user("asha"), false, samvad::models::Timestamp::now());
    let last = outside.wait(7, |o| o.heard("/hook")).await.pop().unwrap().json();
    assert_eq!(
        (&last["type"], &last["data"]["id"], &last["data"]["isOnline"]),
        (&json!("presence.offline"), &json!("asha"), &json!(false))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_google() {
    let (store, _folder) = stores::sqlite();
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[]).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    outside.script("phone-of-ravi", vec![Reply::Hang; 3]);
    let mut asha = server.user("asha").await;
    // Each is answered while the requests before it hang; a client's patience is what would run out otherwise.
    for n in 0..3 {
        say(&mut asha, &format!("m{n}")).await;
    }
    outside.wait(3, |o| o.pushes("message")).await;
    let offered = call(&mut asha).await;
    // A call is not held up by them either.
    outside.wait(1, |o| o.pushes("video_call")).await;
    assert_eq!(asha.call("call:end", &json!({ "callId": offered["callId"] })).await["ok"], true);
    outside.wait(1, |o| o.pushes("call_cancel")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_hangs_is_given_up_when_it_stops_and_never_comes_late() {
    let (store, _folder) = stores::sqlite();
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[("RING_TIMEOUT_SECONDS", "2")]).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    outside.script("phone-of-ravi", [Reply::Hang]);
    let mut asha = server.user("asha").await;
    let offered = call(&mut asha).await;
    outside.wait(1, |o| o.pushes("video_call")).await;
    let stop = outside.wait(1, |o| o.pushes("call_cancel")).await.remove(0);
    assert_eq!(stop.data()["callId"], offered["callId"]);
    // 429 for longer than it rings: no second try after the ring.
    outside.script("phone-of-ravi", [Reply::RetryAfter(429, json!({}), "3")]);
    call(&mut asha).await;
    outside.wait(2, |o| o.pushes("call_cancel")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(outside.pushes("video_call").len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iphone_rings_by_way_of_apple() {
    let (store, _folder) = stores::sqlite();
    let outside = Outside::start().await;
    let settings = [outside.fcm(), outside.apns()].concat();
    let server = serve(&store, &settings, &[]).await;
    let voip = "c0ffee".repeat(11);
    register(&server, ParticipantKind::Astrologer, "ravi", json!({ "fcmToken": "iphone-of-ravi", "voipToken": voip, "platform": "ios" }))
        .await;
    let mut asha = server.user("asha").await;
    let offered = call(&mut asha).await;
    let id = format!("ring:{}", offered["callId"].as_str().unwrap());
    let until = Instant::now() + Duration::from_secs(5);
    while store.find_outbox(&id).await.unwrap().is_none_or(|entry| entry.attempts == 0) {
        assert!(Instant::now() < until, "the ring is carried out");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let entry = store.find_outbox(&id).await.unwrap().unwrap();
    let counted = |outcome: &str| server.services.core().metrics.sent_outside.with_label_values(&["apns", outcome]).get();
    assert_eq!((entry.problem, counted("accepted"), counted("later")), (None, 1, 0));
    let ring = outside.wait(1, |o| o.heard("/3/device/")).await.remove(0);
    assert_eq!(ring.path, format!("/3/device/{voip}"));
    assert_eq!(ring.version, axum::http::Version::HTTP_2);
    assert_eq!(ring.json()["callId"], offered["callId"]);
    for (name, value) in
        [("apns-push-type", "voip"), ("apns-topic", &format!("{BUNDLE}.voip")), ("apns-priority", "10"), ("apns-expiration", "0")]
    {
        assert_eq!(ring.header(name), value, "{name}");
    }
    let token = ring.header("authorization").strip_prefix("bearer ").or(ring.header("authorization").strip_prefix("Bearer ")).unwrap();
    assert_eq!(jsonwebtoken::decode_header(token).unwrap().kid.as_deref(), Some("KEY1234567"));
    assert_eq!(Outside::apple_claims(token)["iss"], "TEAM123456");
    assert_eq!(asha.call("call:end", &json!({ "callId": offered["callId"] })).await["ok"], true);
    // Apple would have a VoIP push show a call, so the end comes by FCM, and not in a hurry.
    let stop = outside.wait(1, |o| o.pushes("call_cancel")).await.remove(0);
    assert_eq!(stop.json()["message"]["apns"]["headers"]["apns-priority"], "5");
    assert!(outside.pushes("video_call").is_empty());
    call(&mut asha).await;
    let again = outside.wait(2, |o| o.heard("/3/device/")).await;
    assert_eq!(again[0].header("authorization"), again[1].header("authorization"), "one token is used for a while");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_which_messages_a_phone_is_told_is_a_setting() {
    for (setting, expected) in [("not_in_room", &["away", "elsewhere"][..]), ("offline", &["away"][..])] {
        let (store, _folder) = stores::sqlite();
        let outside = Outside::start().await;
        let server = serve(&store, &outside.fcm(), &[("PUSH_MESSAGES", setting)]).await;
        phone_of_ravi(&server, "phone-of-ravi").await;
        let mut asha = server.user("asha").await;
        say(&mut asha, "away").await;
        outside.wait(1, |o| o.pushes("message")).await;
        let mut ravi = server.astrologer("ravi").await;
        say(&mut asha, "elsewhere").await;
        let joined = ravi.call("dm:join_conversation", &json!({ "conversationId": "user_asha_ravi" })).await;
        assert_eq!(joined["ok"], true);
        say(&mut asha, "here").await;
        // What came later is told after what came before it.
        outside.wait(expected.len(), |o| o.pushes("message")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut told: Vec<String> =
            outside.pushes("message").iter().map(|push| push.data()["content"].as_str().unwrap().to_owned()).collect();
        told.sort();
        assert_eq!(told, expected, "{setting}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_messages_that_wait_only_the_newest_of_each_conversation_is_sent() {
    let (store, _folder) = stores::sqlite();
    let outside = Outside::start().await;
    let server = serve(&store, &outside.fcm(), &[]).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    outside.script("phone-of-ravi", [Reply::RetryAfter(429, json!({}), "2")]);
    let (mut asha, mut maya) = (server.user("asha").await, server.user("maya").await);
    let first = say(&mut asha, "first").await;
    let first = format!("message:{}", first["id"].as_str().unwrap());
    let until = Instant::now() + Duration::from_secs(5);
    while store.find_outbox(&first).await.unwrap().is_none_or(|entry| entry.attempts == 0) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The quota is used up: everybody waits, and what waits is overtaken.
    let answer = say(&mut asha, "second").await;
    let second = format!("message:{}", answer["id"].as_str().unwrap());
    while store.find_outbox(&second).await.unwrap().is_none() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    say(&mut asha, "third").await;
    say(&mut maya, "of maya").await;
    outside.wait(3, |o| o.pushes("message")).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut told: Vec<String> = outside.pushes("message").iter().map(|push| push.data()["content"].as_str().unwrap().to_owned()).collect();
    told.sort();
    assert_eq!(told, ["first", "of maya", "third"]);
    assert_eq!(store.find_outbox(&second).await.unwrap().unwrap().state, OutboxState::Done);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anybody_to_tell_nothing_is_written() {
    let (store, _folder) = stores::sqlite();
    let server = serve(&store, &[], &[]).await;
    phone_of_ravi(&server, "phone-of-ravi").await;
    let mut asha = server.user("asha").await;
    let message = say(&mut asha, "hello").await;
    let offered = call(&mut asha).await;
    asha.call("call:end", &json!({ "callId": offered["callId"] })).await;
    server.stop().await;
    // The store is closed; a new one on the same folder shows what there is.
    drop(store);
    let store: Arc<dyn Store> = Arc::new(samvad::store::sqlite::SqliteStore::open(_folder.path()).unwrap());
    for id in [format!("message:{}", message["id"].as_str().unwrap()), format!("ring:{}", offered["callId"].as_str().unwrap())] {
        assert!(store.find_outbox(&id).await.unwrap().is_none(), "{id}");
    }
}
