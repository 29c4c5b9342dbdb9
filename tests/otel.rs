//! Traces as a collector gets them: the real program, and a receiver of OTLP that decodes what comes. Needs `--features otel`.

#[allow(dead_code, unused_imports, unused_macros, reason = "shared with tests/it, which uses all of it")]
#[path = "it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fs::File;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use samvad::models::ParticipantKind;
use serde_json::json;

use support::client::Client;
use support::http::{get, local, send};
use support::program::{Program, token};

const TEXT: &str = "the planted text of a message";
const CREDENTIAL: &str = "the planted credential";

/// What a collector was sent: bodies as they came, and the headers of each.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Collector {
    /// Listens, and returns where.
    async fn start(&self) -> String {
        let take = |State(this): State<Self>, headers: HeaderMap, body: Bytes| async move {
            this.0.lock().expect("not poisoned").push((headers, body));
            (StatusCode::OK, [("content-type", "application/x-protobuf")], ExportTraceServiceResponse::default().encode_to_vec())
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (headers, body) in self.0.lock().expect("not poisoned").iter() {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["authorization"], CREDENTIAL);
            let asked = ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
            for resource in asked.resource_spans {
                let about = resource.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
                assert_eq!(about["service.name"], "chat");
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        spans
    }
}

fn attributes(pairs: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> HashMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let mut all = HashMap::new();
    for pair in pairs {
        let before = all.insert(pair.key.clone(), text(pair.value.clone().and_then(|value| value.value)));
        assert!(before.is_none(), "{} is there twice: {pairs:?}", pair.key);
    }
    all
}

/// The spans of this name, each with its attributes.
fn named(spans: &[Span], name: &str) -> Vec<(Span, HashMap<String, String>)> {
    spans.iter().filter(|span| span.name == name).map(|span| (span.clone(), attributes(&span.attributes))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_a_span_of_each_event_and_request_with_ids_and_without_texts() {
    let (collector, folder) = (Collector::default(), tempfile::tempdir().expect("a folder"));
    let endpoint = collector.start().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=the%20planted%20credential"),
        ("OTEL_SERVICE_NAME", "chat"),
        ("RUST_LOG", "error"),
    ];
    let program = Program::start(folder.path(), None, &settings);
    let (user_token, astrologer_token) = (token(ParticipantKind::User, "u1"), token(ParticipantKind::Astrologer, "a1"));
    let mut user = Client::connect(&program.url, &user_token).await;
    let mut astrologer = Client::connect(&program.url, &astrologer_token).await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT });
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    assert_eq!(user.call("dm:history", &json!({ "conversationId": TEXT })).await["code"], "INVALID_ID");
    assert_eq!(user.call(TEXT, &json!({})).await["code"], "UNKNOWN_EVENT");
    let ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    let call = user.call("call:initiate", &ring).await["callId"].as_str().expect("an id").to_owned();
    assert_eq!(astrologer.call("call:reject", &json!({ "callId": call, "reason": TEXT })).await["ok"], true);
    let bearer = format!("Bearer {astrologer_token}");
    let page = get(&program.url, local(1), "/api/conversations/user_u1_a1/messages?limit=5", &[("Authorization", &bearer)]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let refused = send(&program.url, local(1), "POST", "/api/calls/initiate", &[("Authorization", &bearer)], "{}").await;
    assert_eq!(refused.status, 400);
    assert_eq!(get(&program.url, local(1), "/health", &[]).await.status, 200);
    // At once: what waited is sent before the program ends.
    program.end();

    let spans = collector.spans();
    let [(sent, of_send)] = &named(&spans, "dm:send_message")[..] else { panic!("one send: {spans:?}") };
    for (name, value) in [("participant", "user:u1"), ("event", "dm:send_message"), ("conversation.key", "user_u1_a1"), ("outcome", "ok")] {
        assert_eq!(of_send.get(name).map(String::as_str), Some(value), "{of_send:?}");
    }
    assert!(sent.parent_span_id.is_empty() && sent.end_time_unix_nano > sent.start_time_unix_nano, "{sent:?}");
    // The call that was rejected left a message, too, which no event asked for.
    let commits = named(&spans, "commit message");
    let (_, commit) = commits.iter().find(|(commit, _)| commit.parent_span_id == sent.span_id).expect("its write is part of it");
    assert_eq!(commit["outcome"], "stored");
    assert!(commits.iter().filter(|(commit, _)| commit.trace_id == sent.trace_id).count() == 1, "{commits:?}");
    let outcome = |event: &str| named(&spans, event)[0].1["outcome"].clone();
    assert_eq!((outcome("dm:history"), outcome("call:reject")), ("INVALID_ID".into(), "ok".into()));
    for event in ["call:initiate", "call:reject"] {
        assert_eq!(named(&spans, event)[0].1["call.id"], call, "{event}");
    }
    assert!(!named(&spans, "commit call").is_empty());
    let [(_, page)] = &named(&spans, "GET /api/conversations/{id}/messages")[..] else { panic!("one page: {spans:?}") };
    for (name, value) in [("participant", "astrologer:a1"), ("conversation.key", "user_u1_a1"), ("http.response.status_code", "200")] {
        assert_eq!(page.get(name).map(String::as_str), Some(value), "{page:?}");
    }
    assert_eq!(named(&spans, "POST /api/calls/initiate")[0].1["http.response.status_code"], "400");
    assert!(spans.iter().all(|span| !span.name.contains("/health")), "probes are not traced");
    assert!(spans.iter().all(|span| span.events.is_empty()), "log lines are not part of spans");
    let bodies: Vec<u8> = collector.0.lock().expect("not poisoned").iter().flat_map(|(_, body)| body.to_vec()).collect();
    let everything = String::from_utf8_lossy(&bodies).into_owned();
    let signature = |token: &str| token.rsplit('.').next().expect("three parts").to_owned();
    for private in [TEXT, &signature(&user_token), &signature(&astrologer_token)] {
        assert!(!everything.contains(private), "{private:?} was sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_said_and_keeps_nobody_from_writing_or_from_ending() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    // Bound and let go: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let endpoint = format!("http://{nobody}");
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x=the%20planted%20credential")];
    let program = Program::start_logging_to(Stdio::from(File::create(&log).expect("a file")), folder.path(), None, &settings);
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT });
    for _ in 0..20 {
        assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    }
    program.end();
    let said = std::fs::read_to_string(log).expect("a log");
    assert!(said.contains("traces do not reach OTEL_EXPORTER_OTLP_ENDPOINT"), "{said}");
    assert!(!said.contains("planted"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_no_traces_none_are_sent() {
    let (collector, folder) = (Collector::default(), tempfile::tempdir().expect("a folder"));
    let endpoint = collector.start().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let program = Program::start(folder.path(), None, &settings);
    let mut user = Client::connect(&program.url, &token(ParticipantKind::User, "u1")).await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": TEXT });
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    program.end();
    assert!(collector.0.lock().expect("not poisoned").is_empty());
}
