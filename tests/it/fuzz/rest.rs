//! Group 5, REST: every route with paths, queries and bodies nobody meant; the answer is always the envelope, and never 500.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::TestCaseResult;
use samvad::models::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::support::http::{Answer, local, send};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores;

use super::garbage::{World, json_text, object, text, value};
use super::sockets::furnish;
use super::{CODES, Group};

/// A request as it is written.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    target: String,
    who: usize,
    body: Vec<u8>,
    content_type: &'static str,
}

/// What the body or query of a route holds.
fn fields_of(path: &str) -> &'static [&'static str] {
    match path {
        "/api/admin/relations" => &["userId", "astrologerId", "consultationId"],
        "/api/admin/sessions/revoke" => &["userId", "type"],
        "/api/calls/admin/token" => &["callId"],
        "/api/conversations" => &["recipientId", "recipientType", "contextType", "contextId", "page", "limit", "before"],
        "/api/calls/initiate" | "/api/admin/calls/initiate" => &["calleeId", "calleeType", "callType", "consultationId", "astrologerId"],
        "/api/calls/history" => &["page", "limit", "before", "callType", "status"],
        path if path.ends_with("/messages") => &[
            "content",
            "messageType",
            "mediaUrl",
            "mediaSize",
            "mediaDuration",
            "replyTo",
            "clientMessageId",
            "recipientId",
            "recipientType",
            "page",
            "limit",
            "before",
            "after",
        ],
        path if path.ends_with("/end") => &["reason", "duration"],
        path if path.ends_with("/feedback") => &["rating", "comment"],
        _ => &["page", "limit", "before", "after"],
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What stands for `{id}`: an id that is there, any text, or a piece of a path that is no text at all.
fn segments(world: &World) -> BoxedStrategy<String> {
    let known = [&world.messages[..], &world.conversations[..], &world.calls[..]].concat();
    let broken =
        ["%FF", "%C3%28", "%ED%A0%80", "%", "%zz", "%00", "..", ".", "%2e%2e", "%2F", "a%2Fb", "a;b", "*", "~", "@", "a=b&c", "\u{7e}"];
    let known_names = ["admin_a1", "admin", "user_u1_a1", "a1"].map(str::to_owned);
    prop_oneof![
        4 => select(known),
        2 => select(known_names.to_vec()),
        3 => text().prop_map(|text| encoded(&text.chars().take(300).collect::<String>())),
        1 => select(broken.to_vec()).prop_map(str::to_owned),
    ]
    .boxed()
}

/// Pairs, or something that begins with a question mark.
fn queries(fields: BoxedStrategy<Value>) -> BoxedStrategy<String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = fields.prop_map(move |fields| {
        let fields = fields.as_object().cloned().unwrap_or_default();
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(&plain(value)))).collect();
        pairs.join("&").chars().take(6_000).collect()
    });
    let broken = "[a-z=&%+;?/:@!$'()*,0-9.~_-]{0,40}";
    prop_oneof![5 => pairs, 1 => broken, 1 => Just("page=1&page=&page=x".to_owned()), 2 => Just(String::new())].boxed()
}

fn requests(world: &World) -> BoxedStrategy<Request> {
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];
    let route = |(method, path, _): (&'static str, &'static str, _)| {
        let fields = object(fields_of(path), world);
        let bodies = prop_oneof![
            6 => json_text(fields.clone(), 5).prop_map(String::into_bytes),
            1 => json_text(value(), 5).prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..60),
            1 => Just(Vec::new()),
        ];
        let methods = prop_oneof![15 => Just(method), 1 => select(methods.to_vec())];
        let types = select(vec!["application/json", "application/json", "text/plain", "multipart/form-data; boundary=x", ""]);
        (methods, segments(world), queries(fields), 0usize..5, bodies, types).prop_map(
            move |(method, segment, query, who, body, content_type)| {
                let path =
                    path.split('/').map(|part| if part.starts_with('{') { segment.as_str() } else { part }).collect::<Vec<_>>().join("/");
                let target = if query.is_empty() { path } else { format!("{path}?{query}") };
                let body = if method == "GET" { Vec::new() } else { body };
                Request { method, target, who, body, content_type }
            },
        )
    };
    Union::new(samvad::rest::operations().into_iter().map(route)).boxed()
}

struct House {
    server: TestServer,
    tokens: Vec<String>,
}

impl House {
    async fn ask(&self, request: &Request) -> TestCaseResult {
        let credential = match request.who {
            who @ 0..=1 => ("Authorization", format!("Bearer {}", self.tokens[who])),
            2 => ("x-admin-key", ADMIN_KEY.to_owned()),
            3 => ("Authorization", "Bearer a.b.c".to_owned()),
            _ => ("X-Nobody", "1".to_owned()),
        };
        let headers = [(credential.0, credential.1.as_str()), ("Content-Type", request.content_type)];
        let answer = send(&self.server.url, local(1), request.method, &request.target, &headers, &request.body).await;
        check_answer(request, &answer)
    }
}

fn check_answer(request: &Request, answer: &Answer) -> TestCaseResult {
    // This one belongs to CORS.
    if request.method == "OPTIONS" {
        prop_assert!(answer.status < 500);
        return Ok(());
    }
    // Not for apps, and not in the envelope.
    if answer.status == 200 && request.target.split('?').next() == Some("/metrics") {
        return Ok(());
    }
    let parsed = serde_json::from_str::<Value>(&answer.body);
    prop_assert!(parsed.is_ok(), "not JSON: {answer:?}");
    let body = parsed.unwrap_or_default();
    prop_assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer:?}");
    prop_assert_eq!(answer.header("cache-control"), Some("no-store"));
    let code = body["code"].as_str().unwrap_or_default();
    let path = request.target.split('?').next().unwrap_or_default();
    if [200, 201].contains(&answer.status) {
        let probes = ["/health", "/api/health", "/ready"];
        prop_assert!(probes.contains(&path) || body["success"] == true && !body["data"].is_null(), "{answer:?}");
        return Ok(());
    }
    prop_assert_eq!(&body["success"], &json!(false), "{:?}", answer);
    prop_assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    prop_assert!(CODES.contains(&code), "an unknown code: {answer:?}");
    prop_assert_eq!(answer.status, status_of(code), "{:?}", answer);
    prop_assert!(code != "INTERNAL" && code != "UNAVAILABLE", "our fault: {answer:?}");
    Ok(())
}

/// The column HTTP of docs/protocol.md#error-codes.
fn status_of(code: &str) -> u16 {
    match code {
        "auth.suspended" | "NOT_RELATED" | "DM_JOIN_FORBIDDEN" | "FORBIDDEN" => 403,
        code if code.starts_with("auth.") => 401,
        "INVALID_PAYLOAD" | "INVALID_ID" | "SELF_CONVERSATION_BLOCKED" => 400,
        "CONTENT_TOO_LONG" | "PAYLOAD_TOO_LARGE" => 413,
        "CONVERSATION_NOT_FOUND" | "MESSAGE_NOT_FOUND" | "CALL_NOT_FOUND" | "MEDIA_NOT_FOUND" | "NOT_FOUND" => 404,
        "CALL_NOT_RINGING" | "CALL_OVER" | "ANSWERED_ELSEWHERE" | "CONFLICT" => 409,
        "MEDIA_REFUSED" => 422,
        "RATE_LIMITED" => 429,
        "OVERLOADED" | "UNAVAILABLE" => 503,
        _ => 500,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_in_the_envelope_whatever_it_is_asked() {
    tokio::task::spawn_blocking(|| {
        let handle = Handle::current();
        let (store, _folder) = stores::sqlite();
        let (house, world) = handle.block_on(async {
            let agora = "0123456789abcdef0123456789abcdef";
            let settings = [
                ("RATE_PROFILE", "off"),
                ("RELATION_CHECK", "off"),
                ("AGORA_APP_ID", agora),
                ("AGORA_APP_CERTIFICATE", agora),
                ("RING_TIMEOUT_SECONDS", "2"),
            ];
            let server = TestServer::start_with(store, &settings).await;
            let world = furnish(&server).await;
            // Issued in the future, so that a generated revocation does not end the test.
            let now = Timestamp::now().as_millis() / 1000;
            let token =
                |id: &str, kind: &str| server.sign(&json!({ "id": id, "type": kind, "iat": now + 1_000_000, "exp": now + 2_000_000 }));
            let tokens = vec![token("u1", "user"), token("a1", "astrologer")];
            (House { server, tokens }, world)
        });
        let group = Group::new("rest", include_str!("seeds/rest.txt"), 1);
        group.check("requests", 500, &requests(&world), |request| handle.block_on(house.ask(&request)));
        handle.block_on(house.server.stop());
    })
    .await
    .expect("the requests are answered");
}
