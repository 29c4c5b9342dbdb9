//! Operators instead of values, other people's ids, and tokens that were tampered with: on both stores nothing matches more than it should.

use std::collections::BTreeSet;
use std::sync::Arc;

use samvad::models::ParticipantKind;
use samvad::store::Store;
use serde_json::{Map, Value, json};

use crate::support::client::{Client, Handshake};
use crate::support::http::{get, local, request};
use crate::support::server::TestServer;
use crate::support::stores::on_every_driver;

/// What only the victims may hear.
const SECRET: &str = "between u1 and a1 alone";
/// What an honest request never gets as an answer.
const FAULTS: [&str; 2] = ["INTERNAL", "UNAVAILABLE"];

/// Every event with a payload that is right for mallory, and the fields it reads.
fn events(message: &str, call: &str) -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let (own, to) = ("user_mallory_a1", json!({ "recipientId": "a1", "recipientType": "astrologer" }));
    let in_own = json!({ "conversationId": own });
    let mut send = to.clone();
    send["content"] = json!("x");
    let send_fields = vec![
        "conversationId",
        "recipientId",
        "recipientType",
        "calleeId",
        "calleeType",
        "content",
        "message",
        "text",
        "messageType",
        "mediaUrl",
        "mediaSize",
        "mediaDuration",
        "thumbnailUrl",
        "replyTo",
        "replyToId",
        "clientMessageId",
        "tempId",
        "localId",
    ];
    let call_fields = vec!["callId", "_id", "id", "reason", "endReason", "duration", "contactId"];
    let about_call = json!({ "callId": call });
    let mut ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    ring["conversationId"] = json!(own);
    let mut events = vec![
        ("dm:send_message", send, send_fields),
        ("dm:typing_start", in_own.clone(), vec!["conversationId"]),
        ("dm:typing_stop", in_own.clone(), vec!["conversationId"]),
        ("dm:mark_read", in_own.clone(), vec!["conversationId", "messageIds", "messageId"]),
        ("dm:read", in_own.clone(), vec!["conversationId", "messageIds", "messageId"]),
        ("dm:join_conversation", in_own.clone(), vec!["conversationId", "after", "limit"]),
        ("dm:history", in_own.clone(), vec!["conversationId", "page", "limit", "before", "after", "markRead", "response"]),
        ("dm:sync", in_own.clone(), vec!["conversationId", "after", "limit", "since"]),
        ("dm:delete_message", json!({ "messageId": message }), vec!["messageId", "conversationId", "scope"]),
        ("dm:leave_conversation", in_own, vec!["conversationId"]),
        ("get_stats", json!({}), vec!["any"]),
        ("presence:get", json!({ "ids": ["a1"] }), vec!["ids"]),
        ("auth:refresh", json!({}), vec!["token"]),
        ("call:initiate", ring, vec!["calleeId", "recipientId", "calleeType", "recipientType", "callType", "consultationId"]),
    ];
    let about =
        ["call:accept", "call:accepted", "call:reject", "call:rejected", "call:connected", "call:end", "call:ended", "call:token", "call"];
    events.extend(about.map(|event| (event, about_call.clone(), call_fields.clone())));
    events
}

/// What is put in the place of a value.
fn operators() -> Vec<Value> {
    vec![
        json!({ "$gt": "" }),
        json!({ "$ne": null }),
        json!({ "$where": "sleep(5000) || true" }),
        json!({ "$regex": ".*", "$options": "s" }),
        json!({ "__proto__": { "isAdmin": true }, "constructor": {} }),
        json!([{ "$gt": "" }]),
        json!({ "$in": ["user_u1_a1"] }),
        json!("{\"$gt\":\"\"}"),
        json!("$where"),
        json!("user_u1_a1' OR '1'='1' --"),
        json!("user_u1_%"),
        json!("user_u1_a1\u{0}"),
    ]
}

/// The payload under other names: operators, dotted paths, and what JavaScript takes for a prototype.
fn renamed(payload: &Value, field: &str) -> Vec<Value> {
    ["$where", "$or", "$expr", "participants.0.id", "__proto__", "constructor.prototype", &format!("{field}.$gt"), &format!("{field}[$gt]")]
        .into_iter()
        .map(|name| {
            let mut fields: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
            fields.insert(name.to_owned(), json!("user_u1_a1"));
            Value::Object(fields)
        })
        .collect()
}

/// The conversation of the victims as they see it: its messages, what is unread, and no call.
async fn state(server: &TestServer) -> Value {
    let token = server.token(ParticipantKind::Astrologer, "a1");
    let (_, messages) = request(&server.url, "GET", "/api/conversations/user_u1_a1/messages", Some(&token), None).await;
    let (_, conversation) = request(&server.url, "GET", "/api/conversations/user_u1_a1", Some(&token), None).await;
    let token = server.token(ParticipantKind::User, "u1");
    let (_, calls) = request(&server.url, "GET", "/api/calls/history", Some(&token), None).await;
    json!([messages, conversation, calls])
}

struct Crime {
    server: TestServer,
    victim: Client,
    mallory: Client,
    before: Value,
    message: String,
    call: String,
}

impl Crime {
    /// u1 and a1 have talked and called; mallory knows the ids of both.
    async fn scene(store: Arc<dyn Store>) -> Self {
        let server = TestServer::start(store).await;
        let (mut victim, mallory) = (server.user("u1").await, server.user("mallory").await);
        let sent = victim.call("dm:send_message", &json!({ "recipientId": "a1", "recipientType": "astrologer", "content": SECRET })).await;
        let message = sent["message"]["_id"].as_str().expect("sent").to_owned();
        let ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
        let call = victim.call("call:initiate", &ring).await["callId"].as_str().expect("a call").to_owned();
        assert_eq!(victim.call("call:end", &json!({ "callId": call })).await["ok"], true);
        // The call's log is written after the answer.
        victim.expect("dm:message_received").await;
        let before = state(&server).await;
        victim.heard_so_far().await;
        Self { server, victim, mallory, before, message, call }
    }

    /// The victims see and have heard nothing of it.
    async fn end(mut self) {
        assert_eq!(state(&self.server).await, self.before);
        let mut heard = self.victim.heard_so_far().await;
        // That a partner comes or goes is told some seconds later, and true.
        heard.retain(|(name, _)| name != "presence:changed");
        assert!(heard.is_empty(), "{heard:?}");
        self.server.stop().await;
    }
}

/// What an answer or event to mallory must never be.
fn check(what: &str, answer: &Value) {
    let code = answer["code"].as_str().unwrap_or_default();
    assert!(!FAULTS.contains(&code), "{what}: {answer}");
    assert!(!answer.to_string().contains(SECRET), "{what}: {answer}");
}

async fn no_operator_in_any_field_of_any_event_matches_anything(store: Arc<dyn Store>) {
    let mut crime = Crime::scene(store).await;
    let all = events(&crime.message, &crime.call);
    let covered: BTreeSet<_> = all.iter().map(|(event, ..)| *event).collect();
    let known: BTreeSet<_> = samvad::handlers::events::operations().map(|(event, _)| event).collect();
    assert_eq!(covered, known, "every event there is");
    for (event, payload, fields) in all {
        let mut asked = Vec::new();
        for field in fields {
            for value in operators() {
                let mut wrong = payload.clone();
                wrong[field] = value;
                asked.push(wrong);
            }
            asked.extend(renamed(&payload, field));
        }
        // As many at once as a mailbox surely holds.
        for payloads in asked.chunks(100) {
            let mut ids = Vec::new();
            for payload in payloads {
                ids.push((crime.mallory.ask(event, payload).await, payload));
            }
            for (id, payload) in ids {
                let answer = crime.mallory.answer(id).await;
                check(&format!("{event} {payload}"), &answer);
                assert_ne!(answer["code"], "OVERLOADED");
            }
            for (name, heard) in crime.mallory.heard_so_far().await {
                check(&format!("{event}: {name}"), &heard);
            }
        }
    }
    crime.end().await;
}

async fn no_operator_in_a_path_query_or_body_matches_anything(store: Arc<dyn Store>) {
    let crime = Crime::scene(store).await;
    let token = crime.server.token(ParticipantKind::User, "mallory");
    let words = [
        "%7B%22$gt%22:%22%22%7D",
        "$where",
        "__proto__",
        "user_u1_%25",
        "a1'%20OR%20'1'='1",
        "..%2F..%2Fadmin",
        "%00",
        "%FF%FE",
        "*",
        "null",
    ];
    let mut requests: Vec<(&str, String, Option<Value>)> = Vec::new();
    for (method, path, _) in samvad::rest::operations().into_iter().filter(|(_, path, _)| *path != "/metrics") {
        for word in words {
            let path = path.replace("{id}", word).replace("{astrologer_id}", word);
            for field in ["page", "limit", "before", "after", "status", "callType", "markRead"] {
                for query in
                    [format!("{field}[$gt]="), format!("{field}=%7B%22$gt%22:%22%22%7D"), format!("{field}=$where&$or=1&__proto__[a]=1")]
                {
                    // A path without a parameter is the same for every word.
                    if method == "GET" && (path.contains(word) || word == words[0]) {
                        requests.push((method, format!("{path}?{query}"), None));
                    }
                }
            }
        }
        if method == "POST" {
            let path = path.replace("{id}", "user_mallory_a1").replace("{astrologer_id}", "a1");
            let fields = [
                "recipientId",
                "recipientType",
                "calleeId",
                "calleeType",
                "callType",
                "consultationId",
                "content",
                "messageType",
                "mediaUrl",
                "mediaSize",
                "replyTo",
                "clientMessageId",
                "contextType",
                "contextId",
                "rating",
                "comment",
                "reason",
                "duration",
                "userId",
                "astrologerId",
                "type",
                "callId",
            ];
            let right = json!({ "recipientId": "a1", "recipientType": "astrologer", "callType": "voice", "content": "x", "rating": 3 });
            for field in fields {
                for value in operators() {
                    let mut wrong = right.clone();
                    wrong[field] = value;
                    requests.push((method, path.clone(), Some(wrong)));
                }
            }
            requests.extend(renamed(&right, "content").into_iter().map(|body| (method, path.clone(), Some(body))));
        }
    }
    for requests in requests.chunks(16) {
        let answers = futures_util::future::join_all(
            requests.iter().map(|(method, path, body)| request(&crime.server.url, method, path, Some(&token), body.as_ref())),
        );
        for ((status, answer), (method, path, body)) in answers.await.into_iter().zip(requests) {
            assert!(status < 500, "{method} {path} {body:?}: {status} {answer}");
            check(&format!("{method} {path} {body:?}"), &answer);
        }
    }
    crime.end().await;
}

async fn whoever_a_payload_claims_to_be_the_credential_decides(store: Arc<dyn Store>) {
    let mut crime = Crime::scene(store).await;
    let mut astrologer = crime.server.astrologer("a1").await;
    let claims = json!({
        "senderId": "u1", "senderType": "admin", "senderName": "u1", "userId": "u1", "userType": "admin", "type": "admin", "role": "admin", "isAdmin": true,
        "callerId": "u1", "callerType": "admin", "callerName": "u1", "adminId": "admin", "sub": "u1", "from": "u1", "contactId": "u1", "readBy": "u1",
        "deletedBy": "u1", "user": { "id": "u1", "type": "admin" }, "token": "u1", "status": "read", "createdAt": "2001-01-01T00:00:00.000Z",
        "isDeleted": true, "socketId": "x", "sessionId": "x",
    });
    let with = |own: Value| {
        let mut payload = claims.clone();
        payload.as_object_mut().expect("an object").extend(own.as_object().expect("an object").clone());
        payload
    };
    let to = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "from mallory" });
    let sent = crime.mallory.call("dm:send_message", &with(to.clone())).await;
    assert_eq!((&sent["message"]["senderId"], &sent["message"]["senderType"]), (&json!("mallory"), &json!("user")), "{sent}");
    let heard = astrologer.expect("dm:new_message").await;
    assert_eq!((&heard["senderId"], &heard["status"], &heard["isDeleted"]), (&json!("mallory"), &json!("sent"), &json!(false)), "{heard}");
    assert!(!heard["createdAt"].as_str().expect("a date").starts_with("2001"));

    let own = json!({ "conversationId": "user_mallory_a1" });
    assert_eq!(astrologer.call("dm:join_conversation", &own).await["ok"], true);
    assert_eq!(crime.mallory.call("dm:typing_start", &with(own)).await["ok"], true);
    assert_eq!(astrologer.expect("dm:user_typing").await["userId"], "mallory");

    let ring =
        crime.mallory.call("call:initiate", &with(json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" }))).await;
    assert_eq!(ring["ok"], true, "{ring}");
    let incoming = astrologer.expect("call:incoming").await;
    assert_eq!((&incoming["callerId"], &incoming["callerType"]), (&json!("mallory"), &json!("user")), "{incoming}");
    assert_ne!(incoming["callerName"], "u1");

    let (message, call) = (crime.message.clone(), crime.call.clone());
    for (event, payload, code) in [
        ("dm:history", json!({ "conversationId": "user_u1_a1" }), "CONVERSATION_NOT_FOUND"),
        ("dm:sync", json!({ "conversationId": "user_u1_a1" }), "CONVERSATION_NOT_FOUND"),
        ("dm:mark_read", json!({ "conversationId": "user_u1_a1" }), "CONVERSATION_NOT_FOUND"),
        ("dm:join_conversation", json!({ "conversationId": "user_u1_a1" }), "DM_JOIN_FORBIDDEN"),
        ("dm:send_message", json!({ "conversationId": "user_u1_a1", "content": "x" }), "CONVERSATION_NOT_FOUND"),
        ("dm:delete_message", json!({ "messageId": message, "scope": "everyone" }), "MESSAGE_NOT_FOUND"),
        ("dm:delete_message", json!({ "messageId": message }), "MESSAGE_NOT_FOUND"),
        ("call:end", json!({ "callId": call }), "CALL_NOT_FOUND"),
        ("call:token", json!({ "callId": call }), "CALL_NOT_FOUND"),
        ("call:accept", json!({ "callId": call }), "CALL_NOT_FOUND"),
        ("auth:refresh", json!({}), "auth.invalid"),
    ] {
        let answer = crime.mallory.call(event, &with(payload)).await;
        assert_eq!(answer["code"], code, "{event}: {answer}");
    }
    let token = crime.server.token(ParticipantKind::User, "mallory");
    for (path, body, status) in [
        ("/api/conversations/user_u1_a1/messages", to.clone(), 404),
        ("/api/admin/conversations/a1/messages", to, 403),
        ("/api/admin/sessions/revoke", json!({ "userId": "u1", "type": "user" }), 403),
        ("/api/admin/relations", json!({ "userId": "mallory", "astrologerId": "a1" }), 403),
        ("/api/calls/admin/token", json!({}), 403),
    ] {
        let (got, answer) = request(&crime.server.url, "POST", path, Some(&token), Some(&with(body))).await;
        assert_eq!(got, status, "{path}: {answer}");
    }
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("X-User-Id", "u1"), ("X-User-Type", "admin"), ("X-Forwarded-User", "admin")];
    let answer = get(&crime.server.url, local(1), "/api/conversations/user_u1_a1?userId=u1&type=admin&token=x", &headers).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    crime.end().await;
}

async fn no_character_of_a_token_can_be_changed(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let token = server.token(ParticipantKind::User, "mallory");
    let admin = server.token(ParticipantKind::Admin, "admin");
    let part = |token: &str, at: usize| token.split('.').nth(at).expect("three parts").to_owned();
    let mut tampered: Vec<String> = (0..token.len())
        .map(|at| {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).expect("ASCII")
        })
        .collect();
    tampered.extend([
        format!("{}.{}.{}", part(&token, 0), part(&admin, 1), part(&token, 2)),
        format!("{}.{}.", part(&token, 0), part(&token, 1)),
        format!("{}.{}", part(&token, 0), part(&token, 1)),
        format!("{token}.{token}"),
        format!("{token}="),
        format!("{token}A"),
        format!("{token}."),
        format!(".{token}"),
        token[..token.len() - 1].to_owned(),
        "..".to_owned(),
        ".".repeat(8_000),
        "A".repeat(100_000),
        "null".to_owned(),
        "{\"$gt\":\"\"}".to_owned(),
    ]);
    for wrong in tampered {
        let answer = get(&server.url, local(1), "/api/conversations", &[("Authorization", &format!("Bearer {wrong}"))]).await;
        // Longer than headers may be: the connection is refused before anybody looks at the token.
        let expected = if wrong.len() > 16_000 { 431 } else { 401 };
        assert_eq!(answer.status, expected, "{wrong}");
        assert!(wrong.len() < 20 || !answer.body.contains(&wrong), "an answer never repeats a credential: {}", answer.body);
    }
    for wrong in [json!({ "$gt": "" }), json!([token]), json!({ "token": token }), json!(true), json!(1e300), json!("x".repeat(9_000))] {
        match Client::handshake(&server.url, &json!({ "token": wrong })).await {
            Handshake::Refused(why) => assert_eq!(why, "auth.invalid", "{wrong}"),
            Handshake::Accepted(_) => panic!("accepted: {wrong}"),
        }
    }
    assert_eq!(get(&server.url, local(1), "/api/conversations", &[("Authorization", &format!("Bearer {token}"))]).await.status, 200);
    server.stop().await;
}

on_every_driver!(
    no_operator_in_any_field_of_any_event_matches_anything,
    no_operator_in_a_path_query_or_body_matches_anything,
    whoever_a_payload_claims_to_be_the_credential_decides,
    no_character_of_a_token_can_be_changed,
);
