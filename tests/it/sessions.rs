//! Credentials that end, are renewed, are revoked, or belong to an account that changed; and limits per person.

use std::time::Duration;

use mongodb::bson::{doc, oid::ObjectId};
use samvad::models::{AuditAction, ParticipantKind, Timestamp};
use serde_json::json;

use crate::support::client::{Client, Handshake};
use crate::support::http::{get, local, request, send};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores;

fn seconds_from_now(seconds: i64) -> i64 {
    Timestamp::now().as_millis() / 1000 + seconds
}

async fn refusal(server: &TestServer, token: &str) -> Option<String> {
    match Client::handshake(&server.url, &json!({ "token": token })).await {
        Handshake::Refused(why) => Some(why),
        Handshake::Accepted(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_closes_at_once_and_refuses_older_tokens_also_after_a_restart() {
    let (store, folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let token = |iat: Option<i64>| server.sign(&json!({ "id": "u1", "type": "user", "iat": iat, "exp": seconds_from_now(600) }));
    let (old, ageless, newer) = (token(Some(seconds_from_now(-5))), token(None), token(Some(seconds_from_now(5))));
    let mut sockets = [Client::connect(&server.url, &old).await, Client::connect(&server.url, &old).await];
    let mut bystander = server.user("u2").await;

    let revoke = json!({ "userId": "u1", "type": "user" });
    let (status, answer) = request(&server.url, "POST", "/api/admin/sessions/revoke", Some(ADMIN_KEY), Some(&revoke)).await;
    assert_eq!((status, &answer["data"]["closedSockets"]), (200, &json!(2)), "{answer}");
    for socket in &mut sockets {
        tokio::time::timeout(Duration::from_secs(5), socket.closed()).await.expect("closed");
    }
    assert_eq!(bystander.call("get_stats", &json!({})).await["ok"], true);
    for token in [&old, &ageless] {
        assert_eq!(refusal(&server, token).await.as_deref(), Some("auth.expired"));
        let (status, answer) = request(&server.url, "GET", "/api/conversations", Some(token), None).await;
        assert_eq!((status, &answer["code"]), (401, &json!("auth.expired")));
    }
    assert_eq!(refusal(&server, &newer).await, None);
    let same_id_other_type = server.sign(&json!({ "id": "u1", "type": "astrologer", "exp": seconds_from_now(600) }));
    assert_eq!(refusal(&server, &same_id_other_type).await, None);
    assert_eq!(refusal(&server, ADMIN_KEY).await, None);
    server.stop().await;

    let store = std::sync::Arc::new(samvad::store::sqlite::SqliteStore::open(folder.path()).expect("opens again"));
    let server = TestServer::start(store).await;
    // Read in the background right after the start.
    let mut refused = None;
    for _ in 0..100 {
        refused = refusal(&server, &old).await;
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(refused.as_deref(), Some("auth.expired"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refused_for_its_age_and_revocations_are_forgotten_by_then() {
    let (store, _folder) = stores::sqlite();
    let person = |id: &str| samvad::models::Participant::new(ParticipantKind::User, id).expect("legal");
    for (id, hours) in [("u1", 2), ("u2", 0)] {
        let until = Timestamp::now().minus(Duration::from_secs(hours * 3600));
        store.revoke(samvad::models::Revocation { person: person(id), until }).await.expect("stored");
    }
    let server = TestServer::start_with(store.clone(), &[("TOKEN_MAX_AGE", "1h"), ("RELATION_CHECK", "off")]).await;
    let token =
        |id: &str, iat: i64| server.sign(&json!({ "id": id, "type": "user", "iat": seconds_from_now(iat), "exp": seconds_from_now(600) }));
    assert_eq!(refusal(&server, &token("u3", -3_000)).await, None);
    assert_eq!(refusal(&server, &token("u3", -3_700)).await.as_deref(), Some("auth.expired"), "too old, though never revoked");
    assert_eq!(refusal(&server, &token("u1", -3_000)).await, None, "made after what was revoked");
    let forgotten = tokio::time::timeout(Duration::from_secs(5), async {
        while store.revocations(None).await.expect("readable").len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    forgotten.await.expect("forgotten");
    assert_eq!(store.revocations(None).await.expect("readable")[0].person, person("u2"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_renewal_messages_show_what_the_newer_token_states() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let token = |name: &str| server.sign(&json!({ "id": "u1", "type": "user", "name": name, "exp": seconds_from_now(600) }));
    let (mut user, mut admin) = (Client::connect(&server.url, &token("Old name")).await, server.admin().await);
    let message = json!({ "recipientType": "admin", "content": "hello" });
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    assert_eq!(admin.expect("dm:new_message").await["senderName"], "Old name");
    assert_eq!(user.call("auth:refresh", &json!({ "token": token("New name") })).await["ok"], true);
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    assert_eq!(admin.expect("dm:new_message").await["senderName"], "New name");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_closes_the_socket_unless_it_was_refreshed() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let token = |id: &str, seconds| {
        server.sign(&json!({ "id": id, "type": "user", "iat": seconds_from_now(-10), "exp": seconds_from_now(seconds) }))
    };
    let mut ends = Client::connect(&server.url, &token("u1", 1)).await;
    let mut stays = Client::connect(&server.url, &token("u1", 1)).await;
    let others = stays.call("auth:refresh", &json!({ "token": token("u2", 600) })).await;
    assert_eq!((&others["ok"], &others["code"]), (&json!(false), &json!("auth.invalid")));
    assert_eq!(stays.call("auth:refresh", &json!({ "token": "not.a.token" })).await["code"], "auth.invalid");
    assert_eq!(stays.call("auth:refresh", &json!({})).await["code"], "INVALID_PAYLOAD");
    let refreshed = stays.call("auth:refresh", &json!({ "token": token("u1", 600) })).await;
    assert_eq!(refreshed["ok"], true, "{refreshed}");
    assert!(Timestamp::parse(refreshed["expiresAt"].as_str().expect("text")).is_some());
    // The server looks every ten seconds.
    tokio::time::timeout(Duration::from_secs(30), async {
        while stays.call("get_stats", &json!({})).await["ok"] == true {
            if tokio::time::timeout(Duration::from_millis(200), ends.closed()).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("the socket with the old token is closed");
    assert_eq!(stays.call("get_stats", &json!({})).await["ok"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_astrologers_session_and_suspension_are_looked_up_where_accounts_are_kept() {
    let database = stores::fresh_database();
    let store = stores::mongodb(&database).await;
    let id = ObjectId::new();
    let accounts =
        mongodb::Client::with_uri_str(stores::mongo_uri()).await.expect("reachable").database(&database).collection("astrologers");
    accounts.insert_one(doc! { "_id": id, "name": "A", "activeSession": { "sessionId": "s1" } }).await.expect("stored");
    let server = TestServer::start(store).await;
    let token = |session: Option<&str>| {
        server.sign(&json!({ "astrologerId": id.to_hex(), "sessionId": session, "iat": seconds_from_now(0), "exp": seconds_from_now(600) }))
    };
    assert_eq!(refusal(&server, &token(Some("s1"))).await, None);
    assert_eq!(refusal(&server, &token(None)).await, None);
    assert_eq!(refusal(&server, &token(Some("s2"))).await.as_deref(), Some("auth.session_replaced"));
    // A new session counts at once, although the answer before is still remembered.
    accounts.update_one(doc! { "_id": id }, doc! { "$set": { "activeSession.sessionId": "s4" } }).await.expect("stored");
    assert_eq!(refusal(&server, &token(Some("s4"))).await, None);
    // One that was refused just now is not looked up again with every attempt.
    accounts.update_one(doc! { "_id": id }, doc! { "$set": { "activeSession.sessionId": "s2" } }).await.expect("stored");
    assert_eq!(refusal(&server, &token(Some("s2"))).await.as_deref(), Some("auth.session_replaced"));
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(refusal(&server, &token(Some("s2"))).await, None);
    let unknown = server.sign(&json!({ "astrologerId": ObjectId::new().to_hex(), "sessionId": "s1", "exp": seconds_from_now(600) }));
    assert_eq!(refusal(&server, &unknown).await.as_deref(), Some("auth.session_replaced"));
    let (status, answer) = request(&server.url, "GET", "/api/conversations", Some(&token(Some("s3"))), None).await;
    assert_eq!((status, &answer["code"]), (401, &json!("auth.session_replaced")));

    let suspended = ObjectId::new();
    accounts.insert_one(doc! { "_id": suspended, "isSuspended": true }).await.expect("stored");
    let token = server.sign(&json!({ "astrologerId": suspended.to_hex(), "exp": seconds_from_now(600) }));
    assert_eq!(refusal(&server, &token).await.as_deref(), Some("auth.suspended"));
    let (status, answer) = request(&server.url, "GET", "/api/conversations", Some(&token), None).await;
    assert_eq!((status, &answer["code"]), (403, &json!("auth.suspended")));
    assert!(answer["message"].as_str().expect("text").contains("suspend"), "the shipped app looks for that word");
    server.stop().await;
    stores::drop_database(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_per_person_over_sockets_and_rest_and_survive_reconnecting() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("RATE_PROFILE", "strict"), ("RELATION_CHECK", "off")]).await;
    let message = json!({ "recipientType": "admin", "content": "hello" });
    let (mut first, mut second) = (server.user("u1").await, server.user("u1").await);
    for n in 0..10 {
        let socket = if n % 2 == 0 { &mut first } else { &mut second };
        assert_eq!(socket.call("dm:send_message", &message).await["ok"], true, "{n}");
    }
    let refused = second.call("dm:send_message", &message).await;
    assert_eq!(refused["code"], "RATE_LIMITED", "{refused}");
    let wait = refused["retryAfterMs"].as_u64().expect("a number");
    assert!((1..=60_000).contains(&wait), "{wait}");
    assert_eq!(second.expect("dm:error").await["retryAfterMs"], wait);
    drop((first, second));
    let mut third = server.user("u1").await;
    assert_eq!(third.call("dm:send_message", &message).await["code"], "RATE_LIMITED");
    let token = server.token(ParticipantKind::User, "u1");
    let (status, answer) =
        request(&server.url, "POST", "/api/conversations/admin/messages", Some(&token), Some(&json!({ "content": "x" }))).await;
    assert_eq!((status, &answer["code"]), (429, &json!("RATE_LIMITED")));
    assert!(answer["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 60_000));
    // Reading goes on, and others are not concerned.
    assert_eq!(third.call("dm:history", &json!({ "conversationId": "admin" })).await["total"], 10);
    assert_eq!(server.user("u2").await.call("dm:send_message", &message).await["ok"], true);
    let call = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    for n in 0..5 {
        assert_eq!(third.call("call:initiate", &call).await["ok"], true, "{n}");
    }
    let refused = third.call("call:initiate", &call).await;
    assert_eq!(refused["code"], "RATE_LIMITED");
    assert!(refused["retryAfterMs"].as_u64().is_some_and(|ms| ms > 60_000));
    let mut admin = server.admin().await;
    for n in 0..20 {
        let sent = admin.call("dm:send_message", &json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "x" })).await;
        assert_eq!(sent["ok"], true, "{n}: {sent}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_leaving_and_opening_are_counted_too() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("LIMIT_OTHER_PER_MINUTE", "3"), ("RELATION_CHECK", "off")]).await;
    let mut renews = server.user("u1").await;
    for _ in 0..3 {
        assert_eq!(renews.call("auth:refresh", &json!({ "token": "not.a.token" })).await["code"], "auth.invalid");
    }
    assert_eq!(renews.call("auth:refresh", &json!({ "token": "not.a.token" })).await["code"], "RATE_LIMITED");
    let mut leaves = server.user("u2").await;
    for n in 0..3 {
        assert_eq!(leaves.call("dm:leave_conversation", &json!({ "conversationId": format!("room{n}") })).await["ok"], true);
    }
    assert_eq!(leaves.call("dm:leave_conversation", &json!({ "conversationId": "room3" })).await["code"], "RATE_LIMITED");

    let bearer = format!("Bearer {}", server.token(ParticipantKind::User, "u3"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for n in 0..3 {
        let body = json!({ "recipientId": format!("a{n}"), "recipientType": "astrologer" }).to_string();
        assert_eq!(send(&server.url, local(1), "POST", "/api/conversations", &headers, &body).await.status, 201);
    }
    let refused = send(&server.url, local(1), "GET", "/api/conversations/admin", &headers, "").await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("RATE_LIMITED")));
    let wait = refused.header("retry-after").expect("a time to wait").to_owned();
    assert!((1..=20).contains(&wait.parse::<u32>().expect("seconds")), "{wait}");
    assert_eq!((refused.header("ratelimit-remaining"), refused.header("ratelimit-reset")), (Some("0"), Some(wait.as_str())));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_flooded_with_typing_and_the_one_who_types_hears_no_error() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("RATE_PROFILE", "default"), ("RELATION_CHECK", "off")]).await;
    let (mut user, mut astrologer) = (server.user("u1").await, server.astrologer("a1").await);
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "hello" });
    let place = json!({ "conversationId": user.call("dm:send_message", &message).await["message"]["conversationId"] });
    assert_eq!(astrologer.call("dm:join_conversation", &place).await["ok"], true);
    // A start after a stop is passed on at once.
    for _ in 0..150 {
        assert_eq!(user.call("dm:typing_start", &place).await["ok"], true);
        assert_eq!(user.call("dm:typing_stop", &place).await["ok"], true);
    }
    let heard = astrologer.heard_so_far().await;
    let typing = heard.iter().filter(|(name, _)| name.contains("typing")).count();
    // 120 at once, and ten more in every second these 300 took.
    assert!((100..290).contains(&typing), "{typing}");
    assert!(user.heard_so_far().await.iter().all(|(name, _)| !name.contains("error")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_admin_key_is_noted_wherever_it_is_tried() {
    for by_header in [true, false] {
        let (store, _folder) = stores::sqlite();
        let server = TestServer::start(std::sync::Arc::clone(&store)).await;
        if by_header {
            // Dots make no token of it: nothing else than a key is taken there.
            let refused = get(&server.url, local(1), "/api/conversations", &[("x-admin-key", "guessed.admin.key")]).await;
            assert_eq!(refused.status, 401);
        } else {
            let refused = server.user("u1").await.call("auth:refresh", &json!({ "token": "a guessed admin key" })).await;
            assert_eq!(refused["code"], "auth.invalid");
        }
        let noted = tokio::time::timeout(Duration::from_secs(5), async {
            while store.audit_trail(Some(AuditAction::RefusedKey), None, 10).await.expect("readable").is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        noted.await.expect("noted");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_come_from_the_hosts_the_operator_named() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("MEDIA_HOSTS", "cdn.example.com,*.images.example")]).await;
    let mut user = server.user("u1").await;
    let token = server.token(ParticipantKind::User, "u2");
    for (field, url, code) in [
        ("mediaUrl", "https://cdn.example.com/a.png", None),
        ("thumbnailUrl", "https://a.images.example/b.png", None),
        ("mediaUrl", "https://evil.example/a.png", Some("INVALID_PAYLOAD")),
        ("mediaUrl", "https://cdn.example.com@evil.example/a.png", Some("INVALID_PAYLOAD")),
        ("thumbnailUrl", "https://evil.example/a.png", Some("INVALID_PAYLOAD")),
    ] {
        let message = json!({ "recipientType": "admin", "content": "look", "messageType": "image", field: url });
        let sent = user.call("dm:send_message", &message).await;
        assert_eq!(sent["code"].as_str(), code, "{url}: {sent}");
        let (status, answer) = request(&server.url, "POST", "/api/conversations/admin/messages", Some(&token), Some(&message)).await;
        assert_eq!((status, answer["code"].as_str()), (if code.is_some() { 400 } else { 201 }, code), "{url}: {answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_out_admin_keys_is_made_to_wait_and_tokens_of_that_address_are_not() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("RELATION_CHECK", "off")]).await;
    let (mut looked_at, mut held_up) = (0, 0);
    for n in 0..15 {
        let guess = format!("a guess of at least sixteen {n}");
        match refusal(&server, &guess).await.as_deref() {
            Some("auth.invalid") => looked_at += 1,
            Some("RATE_LIMITED") => held_up += 1,
            other => panic!("{other:?}"),
        }
        let (status, answer) = request(&server.url, "GET", "/api/conversations", Some(&guess), None).await;
        match status {
            401 => looked_at += 1,
            429 => held_up += 1,
            _ => panic!("{status} {answer}"),
        }
    }
    assert!((20..=22).contains(&looked_at) && held_up >= 8, "{looked_at} looked at, {held_up} held up");
    // The right one too, or holding up would tell which it is.
    assert_eq!(refusal(&server, ADMIN_KEY).await.as_deref(), Some("RATE_LIMITED"));
    assert_eq!(server.user("u1").await.call("get_stats", &json!({})).await["ok"], true);
    server.stop().await;
}
