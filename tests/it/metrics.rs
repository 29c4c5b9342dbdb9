//! What the server says about itself: figures that move by exactly what a client did, and who may read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use samvad::delivery::{Audience, Delivery, Resync, ServerEvent};
use samvad::metrics::Metrics;
use samvad::models::{Participant, ParticipantKind, Timestamp};
use samvad::store::Store;
use serde_json::{Value, json};

use crate::support::client::{Client, Handshake};
use crate::support::http::{Answer, get, local, request};
use crate::support::nodes::Nodes;
use crate::support::recorder::Recorder;
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores::{self, on_every_driver};

/// Every sample of a scrape, by its name with labels.
struct Figures(BTreeMap<String, f64>);

impl Figures {
    async fn of(url: &str) -> Self {
        Self::read(&get(url, local(1), "/metrics", &[]).await)
    }

    fn read(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
        Self(
            samples
                .map(|line| line.rsplit_once(' ').expect("name and value"))
                .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
                .collect(),
        )
    }

    /// A sample; nothing is said of what never happened.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn since(&self, earlier: &Self, name: &str) -> f64 {
        self.get(name) - earlier.get(name)
    }
}

/// Waits until a sample has this value: what follows an answer is counted a moment after it.
async fn until(url: &str, name: &str, value: f64) -> Figures {
    let wait = async {
        loop {
            let figures = Figures::of(url).await;
            if (figures.get(name) - value).abs() < 1e-9 {
                return figures;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{name} never was {value}"))
}

async fn counters_move_by_exactly_what_a_client_did(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let (mut user, mut astrologer) = (server.user("u1").await, server.astrologer("a1").await);
    let mut left = server.user("u2").await;
    left.raw("41").await;
    drop(left);
    until(&server.url, "samvad_disconnects_total{reason=\"on_purpose\"}", 1.0).await;
    let Handshake::Refused(_) = Client::handshake(&server.url, &json!({ "token": "nonsense" })).await else { panic!("let in") };
    let before = Figures::of(&server.url).await;
    assert_eq!(before.get("samvad_handshakes_total{outcome=\"ok\"}"), 3.0);
    assert_eq!(before.get("samvad_handshakes_total{outcome=\"auth.invalid\"}"), 1.0);
    assert_eq!(before.get("samvad_refused_credentials_total{code=\"auth.invalid\"}"), 1.0);
    assert_eq!(before.get("samvad_connections{transport=\"websocket\",type=\"user\"}"), 1.0);
    assert_eq!(before.get("samvad_connections{transport=\"websocket\",type=\"astrologer\"}"), 1.0);
    assert_eq!(before.get("samvad_connections{transport=\"polling\",type=\"user\"}"), 0.0);
    let version =
        format!("samvad_build_info{{store=\"{}\",version=\"{}\"}}", server.services.core().store.engine(), env!("CARGO_PKG_VERSION"));
    assert_eq!(before.get(&version), 1.0, "{version}");

    let message =
        |text: &str, id: &str| json!({ "recipientId": "a1", "recipientType": "astrologer", "content": text, "clientMessageId": id });
    for n in 0..3 {
        assert_eq!(user.call("dm:send_message", &message("hello", &format!("m{n}"))).await["ok"], true);
        astrologer.expect("dm:new_message").await;
    }
    assert_eq!(user.call("dm:send_message", &message("hello", "m0")).await["ok"], true, "a repeat");
    assert_eq!(user.call("dm:send_message", &message(&"x".repeat(50_000), "m9")).await["code"], "CONTENT_TOO_LONG");
    assert_eq!(user.call("dm:history", &json!({ "conversationId": "user_u8_a8" })).await["code"], "CONVERSATION_NOT_FOUND");
    assert_eq!(user.call("no:such_event", &json!({})).await["code"], "UNKNOWN_EVENT");
    assert_eq!(astrologer.call("dm:mark_read", &json!({ "conversationId": "user_u1_a1" })).await["ok"], true);
    let token = server.token(ParticipantKind::User, "u1");
    let (status, _) =
        request(&server.url, "POST", "/api/conversations/user_u1_a1/messages", Some(&token), Some(&json!({ "content": "by REST" }))).await;
    assert_eq!(status, 201);
    request(&server.url, "GET", "/api/nowhere/u1", Some(&token), None).await;

    let after = Figures::of(&server.url).await;
    let moved = |name: &str| after.since(&before, name);
    for (name, by) in [
        ("samvad_events_total{event=\"dm:send_message\",outcome=\"ok\"}", 4.0),
        ("samvad_events_total{event=\"dm:send_message\",outcome=\"CONTENT_TOO_LONG\"}", 1.0),
        ("samvad_events_total{event=\"dm:history\",outcome=\"CONVERSATION_NOT_FOUND\"}", 1.0),
        ("samvad_events_total{event=\"dm:mark_read\",outcome=\"ok\"}", 1.0),
        ("samvad_events_total{event=\"unknown\",outcome=\"UNKNOWN_EVENT\"}", 1.0),
        ("samvad_event_seconds_count{event=\"dm:send_message\"}", 5.0),
        ("samvad_messages_total{outcome=\"stored\"}", 4.0),
        ("samvad_messages_total{outcome=\"repeated\"}", 1.0),
        ("samvad_send_commit_seconds_count", 5.0),
        ("samvad_messages_read_total", 3.0),
        ("samvad_http_requests_total{method=\"POST\",route=\"/api/conversations/{id}/messages\",status=\"201\"}", 1.0),
        ("samvad_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        ("samvad_limit_hits_total{rule=\"messages\"}", 0.0),
    ] {
        assert_eq!(moved(name), by, "{name}");
    }
    // The astrologer: 3 + 1 new messages and his own mark. The user: 3 answers to sends, what REST sent, one refused send and one
    // refused history, and the mark.
    let expected = 4.0 + 1.0 + 3.0 + 1.0 + 2.0 + 1.0;
    // And what depends on who is faster: that the other one came, and that messages were delivered before they were read.
    let (mut came, mut asked, mut delivered) = (0.0, 0.0, f64::NAN);
    for _ in 0..50 {
        for client in [&mut user, &mut astrologer] {
            // Asking is answered with an event.
            asked += 1.0;
            came += client
                .heard_so_far()
                .await
                .iter()
                .filter(|(event, _)| event == "presence:changed" || event == "dm:messages_delivered")
                .map(|_| 1.0)
                .sum::<f64>();
        }
        delivered = Figures::of(&server.url).await.since(&before, "samvad_deliveries_total");
        if delivered == expected + came + asked {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(delivered, expected + came + asked);
    assert!(moved("samvad_store_commit_seconds_count") >= 1.0 && moved("samvad_store_batch_size_sum") >= 4.0);
    assert_eq!(
        (after.get("samvad_store_healthy"), after.get("samvad_store_queue_depth"), after.get("samvad_bus_configured")),
        (1.0, 0.0, 0.0)
    );
    #[cfg(target_os = "linux")]
    assert!(after.get("process_resident_memory_bytes") > 1e6 && after.get("process_open_fds") > 3.0);

    let board = get(&server.url, local(1), "/api/admin/board", &[("x-admin-key", ADMIN_KEY)]).await.json();
    let data = &board["data"];
    assert_eq!(board["success"], true);
    assert_eq!(
        data["connections"],
        json!({ "total": 2, "websocket": 2, "polling": 0, "byType": { "user": 1, "astrologer": 1, "admin": 0 } })
    );
    assert_eq!(data["messages"], json!({ "accepted": 5, "refused": 0 }));
    assert_eq!(data["deliveries"].as_f64(), Some(before.get("samvad_deliveries_total") + delivered));
    assert_eq!((&data["calls"], &data["writeQueue"]), (&json!({ "ringing": 0, "active": 0 }), &json!({ "depth": 0 })));
    assert_eq!(data["bus"], json!({ "configured": false, "healthy": false }));
    assert_eq!((&data["store"]["healthy"], &data["limits"]["hits"]), (&json!(true), &json!(0)));
    let commit = |percentile: &str| data["store"]["commitMs"][percentile].as_f64().expect("a number");
    assert!(commit("p50") > 0.0 && commit("p50") <= commit("p99"), "{board}");
    assert!(data["uptimeSeconds"].is_u64() && Timestamp::parse(data["at"].as_str().expect("a time")).is_some(), "{board}");
    server.stop().await;
}

async fn calls_are_counted_by_their_end(store: Arc<dyn Store>) {
    let server = TestServer::start_with(store, &[("RATE_PROFILE", "off"), ("RELATION_CHECK", "off"), ("RING_TIMEOUT_SECONDS", "1")]).await;
    let (mut user, mut astrologer) = (server.user("u1").await, server.astrologer("a1").await);
    let ring = json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" });
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    assert_eq!(Figures::of(&server.url).await.get("samvad_calls{state=\"ringing\"}"), 1.0);
    assert_eq!(astrologer.call("call:accept", &json!({ "callId": call })).await["ok"], true);
    assert_eq!(Figures::of(&server.url).await.get("samvad_calls{state=\"active\"}"), 1.0);
    assert_eq!(user.call("call:end", &json!({ "callId": call })).await["ok"], true);
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    assert_eq!(astrologer.call("call:reject", &json!({ "callId": call })).await["ok"], true);
    let call = user.call("call:initiate", &ring).await["callId"].clone();
    assert_eq!(user.call("call:end", &json!({ "callId": call })).await["ok"], true);
    assert_eq!(user.call("call:initiate", &ring).await["ok"], true);
    let after = until(&server.url, "samvad_calls_ended_total{outcome=\"missed\"}", 1.0).await;
    for outcome in ["completed", "rejected", "cancelled"] {
        assert_eq!(after.get(&format!("samvad_calls_ended_total{{outcome=\"{outcome}\"}}")), 1.0, "{outcome}");
    }
    assert_eq!(after.get("samvad_calls_begun_total"), 4.0);
    assert_eq!((after.get("samvad_call_ring_seconds_count"), after.get("samvad_call_talk_seconds_count")), (4.0, 1.0));
    assert!(after.get("samvad_call_ring_seconds_sum") >= 1.0, "the missed one rang for a second");
    assert_eq!((after.get("samvad_calls{state=\"ringing\"}"), after.get("samvad_calls{state=\"active\"}")), (0.0, 0.0));
    server.stop().await;
}

on_every_driver!(counters_move_by_exactly_what_a_client_did, calls_are_counted_by_their_end);

#[tokio::test]
async fn limits_and_cuts_are_counted_by_what_was_reached() {
    let (store, _folder) = stores::sqlite();
    let settings =
        [("RELATION_CHECK", "off"), ("LIMIT_MESSAGES_PER_MINUTE", "2"), ("MAX_SOCKETS_PER_IDENTITY", "1"), ("HANDSHAKES_PER_MINUTE", "3")];
    let server = TestServer::start_with(store, &settings).await;
    let mut first = server.user("u1").await;
    let mut user = server.user("u1").await;
    first.closed().await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "hello" });
    for code in [Value::Null, Value::Null, "RATE_LIMITED".into(), "RATE_LIMITED".into()] {
        assert_eq!(user.call("dm:send_message", &message).await["code"], code);
    }
    let polling = "/socket.io/?EIO=4&transport=polling";
    for status in [200, 429] {
        assert_eq!(get(&server.url, local(1), polling, &[]).await.status, status);
    }
    let after = until(&server.url, "samvad_disconnects_total{reason=\"cut\"}", 1.0).await;
    assert_eq!(after.get("samvad_limit_hits_total{rule=\"messages\"}"), 2.0);
    assert_eq!(after.get("samvad_messages_total{outcome=\"RATE_LIMITED\"}"), 2.0);
    assert_eq!(after.get("samvad_limit_hits_total{rule=\"handshakes\"}"), 1.0);
    assert_eq!(after.get("samvad_cuts_total{reason=\"too_many_sockets\"}"), 1.0);
    let revoke = json!({ "userId": "u1", "type": "user" });
    request(&server.url, "POST", "/api/admin/sessions/revoke", Some(ADMIN_KEY), Some(&revoke)).await;
    user.closed().await;
    let after = until(&server.url, "samvad_disconnects_total{reason=\"cut\"}", 2.0).await;
    assert_eq!(after.get("samvad_cuts_total{reason=\"revoked\"}"), 1.0);
    let board = get(&server.url, local(1), "/api/admin/board", &[("x-admin-key", ADMIN_KEY)]).await.json();
    assert_eq!((&board["data"]["limits"]["hits"], &board["data"]["messages"]), (&json!(3), &json!({ "accepted": 2, "refused": 2 })));
    server.stop().await;
}

#[test]
fn a_client_that_does_not_read_is_counted_once_and_what_it_did_not_get_is_no_delivery() {
    let metrics = Arc::new(Metrics::default());
    let delivery = Delivery::default().counting(Arc::clone(&metrics));
    let person = Participant::new(ParticipantKind::User, "u1").expect("legal");
    let [reads, deaf] = [(); 2].map(|()| Recorder::connect(&delivery, &person));
    deaf.1.stop_reading();
    let event = ServerEvent::Resync(Resync { since: Timestamp::now() });
    for reached in [1, 1] {
        assert_eq!(delivery.emit(&Audience::people([person.clone()]), &event).count(), reached);
    }
    delivery.close(&deaf.0, samvad::delivery::Cut::Draining);
    assert_eq!((metrics.deliveries.get(), reads.1.take().len()), (2, 2));
    assert_eq!(metrics.cuts.with_label_values(&["full_buffer"]).get(), 1);
    assert_eq!(metrics.cuts.with_label_values(&["draining"]).get(), 0, "it was cut already");
}

#[tokio::test]
async fn only_this_machine_and_who_shows_the_token_or_an_admin_key_read_the_figures() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let read = async |headers: &[(&str, &str)]| get(&server.url, local(1), "/metrics", headers).await;
    let open = read(&[]).await;
    assert_eq!((open.status, open.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    let user = format!("Bearer {}", server.token(ParticipantKind::User, "u1"));
    for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        assert_eq!(read(&[(header, "127.0.0.1")]).await.status, 401, "{header}: somebody else asks through a proxy on this machine");
    }
    assert_eq!(read(&[("X-Forwarded-For", "9.9.9.9"), ("Authorization", &user)]).await.status, 403);
    assert_eq!(read(&[("X-Forwarded-For", "9.9.9.9"), ("x-admin-key", ADMIN_KEY)]).await.status, 200);
    server.stop().await;

    let (store, _folder) = stores::sqlite();
    let server = TestServer::start_with(store, &[("METRICS_TOKEN", "a token for the scraper")]).await;
    let read = async |headers: &[(&str, &str)]| get(&server.url, local(1), "/metrics", headers).await.status;
    assert_eq!(read(&[]).await, 401);
    assert_eq!(read(&[("Authorization", "Bearer a token for the scrapes")]).await, 401);
    assert_eq!(read(&[("Authorization", "Bearer a token for the scraper")]).await, 200);
    assert_eq!(read(&[("x-admin-key", ADMIN_KEY)]).await, 200);
    assert_eq!(read(&[("x-admin-key", "not an admin key at all")]).await, 401);
    server.stop().await;
}

#[tokio::test]
async fn an_admin_sees_the_sockets_of_one_person_or_all_and_that_he_looked_is_noted() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(Arc::clone(&store)).await;
    let user = server.user("u1").await;
    let (_second, _astrologer, _admin) = (server.user("u1").await, server.astrologer("a1").await, server.admin().await);
    let list = async |query: &str| get(&server.url, local(1), &format!("/api/admin/sessions{query}"), &[("x-admin-key", ADMIN_KEY)]).await;
    let own = list("?type=user&id=u1").await.json();
    assert_eq!((own["success"].as_bool(), own["total"].as_u64(), own["data"].as_array().map(Vec::len)), (Some(true), Some(2), Some(2)));
    for session in own["data"].as_array().expect("a list") {
        assert_eq!(
            (&session["userId"], &session["userType"], &session["transport"], &session["address"]),
            (&json!("u1"), &json!("user"), &json!("websocket"), &json!("127.0.0.1"))
        );
        assert!(
            Timestamp::parse(session["connectedAt"].as_str().expect("a time")).is_some()
                && session["socketId"].as_str().is_some_and(|id| id.len() > 8)
        );
    }
    assert_eq!(list("").await.json()["total"], 4);
    assert_eq!(list("?type=astrologer").await.json()["data"][0]["userId"], "a1");
    assert_eq!(list("?type=admin").await.json()["total"], 1);
    assert_eq!(list("?type=nobody").await.status, 400);
    let token = server.token(ParticipantKind::User, "u1");
    assert_eq!(request(&server.url, "GET", "/api/admin/sessions", Some(&token), None).await.0, 403);
    drop(user);
    server.stop().await;
    let trail =
        samvad::store::sqlite::SqliteStore::open(_folder.path()).expect("opens again").audit_trail(None, None, 10).await.expect("readable");
    assert!(trail.iter().any(|entry| entry.subject == "sessions of user:u1"), "{trail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_how_they_hear_each_other() {
    let nodes = Nodes::start(2, &[]).await;
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "hello" });
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    astrologer.expect("dm:new_message").await;
    for (node, counted) in [(0, "samvad_bus_told_total"), (1, "samvad_bus_heard_total")] {
        let figures = Figures::of(nodes.url(node)).await;
        assert_eq!(["configured", "healthy", "nodes"].map(|n| figures.get(&format!("samvad_bus_{n}"))), [1.0; 3]);
        // What is told is counted once Redis has it, which the other node may have heard by then.
        let counts = async {
            while Figures::of(nodes.url(node)).await.get(counted) < 1.0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), counts).await.unwrap_or_else(|_| panic!("{counted} never moved"));
    }
    nodes.done().await;
}

/// The rows of the table of metrics.
fn rows() -> BTreeSet<String> {
    let label = |labels: &[&str]| labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    Metrics::tables().map(|m| format!("| `{}` | {} | {} | {} |", m.name, m.kind, label(m.labels), m.about)).collect()
}

#[test]
fn the_documents_have_every_metric_as_the_code_has_it() {
    let text = include_str!("../../docs/operations.md");
    let told: BTreeSet<String> = text.lines().filter(|line| line.starts_with("| `samvad_")).map(str::to_owned).collect();
    let rows = rows();
    let missing: Vec<_> = rows.difference(&told).map(String::as_str).collect();
    let wrong: Vec<_> = told.difference(&rows).map(String::as_str).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "put into docs/operations.md:\n{}\n\ntake out:\n{}",
        missing.join("\n"),
        wrong.join("\n")
    );
}

/// Every `samvad_…` or `process_…` name in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("samvad_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_of_the_dashboard_and_the_alerts_exists_with_the_labels_used() {
    let (store, _folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let scraped: BTreeSet<String> = names_in(&get(&server.url, local(1), "/metrics", &[]).await.body);
    server.stop().await;
    // What has labels says nothing before it happens.
    let known = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        scraped.contains(name) || Metrics::tables().any(|m| m.name == name || (m.kind == "histogram" && m.name == base))
    };
    let labels: BTreeSet<&str> = Metrics::tables().flat_map(|m| m.labels).copied().chain(["le", "job", "instance"]).collect();
    for (file, text) in [
        ("samvad-dashboard.json", include_str!("../../packaging/grafana/samvad-dashboard.json")),
        ("samvad-alerts.yaml", include_str!("../../packaging/prometheus/samvad-alerts.yaml")),
    ] {
        let names = names_in(text);
        assert!(names.len() > 10, "{file} names only {names:?}");
        let unknown: Vec<_> = names.iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
        // Grouped by what exists.
        for group in text.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
            let unknown: Vec<_> = group.split(',').map(str::trim).filter(|label| !labels.contains(label)).collect();
            assert!(unknown.is_empty(), "{file}: by ({group})");
        }
    }
    // And the other way: what is measured can be seen.
    let shown = names_in(include_str!("../../packaging/grafana/samvad-dashboard.json"));
    let is_shown =
        |m: &str| shown.iter().any(|name| name.strip_prefix(m).is_some_and(|end| ["", "_bucket", "_sum", "_count"].contains(&end)));
    let unseen: Vec<_> = Metrics::tables().map(|m| m.name).filter(|name| !is_shown(name)).collect();
    assert!(unseen.is_empty(), "in no panel of the dashboard: {unseen:?}");
    let dashboard: Value = serde_json::from_str(include_str!("../../packaging/grafana/samvad-dashboard.json")).expect("JSON");
    let titles: Vec<&str> = dashboard["panels"].as_array().expect("panels").iter().filter_map(|p| p["title"].as_str()).collect();
    assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len(), "{titles:?}");
}
