//! The connection itself: greeting, order, refusals, clients that misbehave, going down.

use std::time::Duration;

use samvad::models::ParticipantKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Client, Handshake};
use crate::support::http::masked_text;
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores;

/// A server over the embedded store; the folder lives as long as the test holds it.
async fn server() -> (TestServer, tempfile::TempDir) {
    let (store, folder) = stores::sqlite();
    (TestServer::start(store).await, folder)
}

async fn refusal(server: &TestServer, auth: Value) -> String {
    match Client::handshake(&server.url, &auth).await {
        Handshake::Refused(why) => why,
        Handshake::Accepted(_) => panic!("accepted: {auth}"),
    }
}

#[tokio::test]
async fn a_refused_client_hears_a_stable_code_and_is_cut() {
    let (server, _folder) = server().await;
    assert_eq!(refusal(&server, json!({})).await, "auth.missing");
    assert_eq!(refusal(&server, json!({ "token": "" })).await, "auth.missing");
    assert_eq!(refusal(&server, json!({ "token": 5 })).await, "auth.invalid");
    assert_eq!(refusal(&server, json!({ "token": "not.a.token" })).await, "auth.invalid");
    assert_eq!(refusal(&server, json!({ "token": format!("{ADMIN_KEY}!") })).await, "auth.invalid");
    server.stop().await;
}

#[tokio::test]
async fn events_sent_before_the_greeting_are_answered_after_it_and_in_order() {
    let (server, _folder) = server().await;
    for _ in 0..10 {
        let auth = json!({ "token": server.token(ParticipantKind::User, "u1") });
        let Handshake::Accepted(mut client) = Client::handshake(&server.url, &auth).await else { panic!("refused") };
        // At once, without waiting for `connected`.
        let mut asked = Vec::new();
        for number in 0..8 {
            let payload = json!({ "recipientType": "admin", "content": format!("message {number}") });
            asked.push(client.ask("dm:send_message", &payload).await);
            asked.push(client.ask("dm:join_conversation", &json!({ "conversationId": "admin_u1" })).await);
        }
        assert_eq!(client.any().await.0, "connected");
        let mut ids = Vec::new();
        for id in asked {
            let answer = client.answer(id).await;
            assert_eq!(answer["ok"], true, "{answer}");
            ids.extend(answer["message"]["_id"].as_str().map(str::to_owned));
        }
        assert_eq!(ids.len(), 8);
        assert!(ids.is_sorted(), "{ids:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_flood_is_bounded_answered_and_survived() {
    let (server, _folder) = server().await;
    let mut client = server.user("u1").await;
    let mut asked = Vec::new();
    for number in 0..2_000 {
        asked.push(client.ask("dm:send_message", &json!({ "recipientType": "admin", "content": format!("{number}") })).await);
    }
    let mut stored = 0;
    for id in asked {
        let answer = client.answer(id).await;
        match answer["ok"].as_bool() {
            Some(true) => stored += 1,
            _ => assert_eq!((&answer["code"], &answer["retryable"]), (&json!("OVERLOADED"), &json!(true)), "{answer}"),
        }
    }
    let history = client.call("dm:history", &json!({ "conversationId": "admin_u1" })).await;
    assert_eq!(history["total"], stored, "what was acknowledged is there, what was refused is not");
    server.stop().await;
}

#[tokio::test]
async fn malformed_packets_cost_their_sender_the_line_and_nobody_else() {
    let (server, _folder) = server().await;
    let mut honest = server.user("u1").await;
    for frame in ["42", "42{}", "42[]", "42[5]", "99", "41x", "451-[\"x\",{\"_placeholder\":true,\"num\":0}]42", "4", "2probe", "\u{1}"] {
        let mut client = server.astrologer("a1").await;
        client.raw(frame).await;
        drop(client);
    }
    // Larger than any packet may be.
    let mut client = server.astrologer("a1").await;
    client.raw(format!("42[\"dm:send_message\",{{\"content\":\"{}\"}}]", "x".repeat(300 * 1024))).await;
    client.closed().await;
    let sent = honest.call("dm:send_message", &json!({ "recipientType": "admin", "content": "still here" })).await;
    assert_eq!(sent["ok"], true);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_event_is_ignored_and_says_so_only_in_its_ack() {
    let (server, _folder) = server().await;
    let mut client = server.user("u1").await;
    for event in ["live:join", "discussion:join", "admin_join_ticket_monitor", "chat:message", ""] {
        client.emit(event, &json!({ "any": "thing" })).await;
    }
    assert_eq!(client.call("live:join", &json!({})).await["code"], "UNKNOWN_EVENT");
    assert!(client.heard_so_far().await.is_empty());
    server.stop().await;
}

/// Opens a websocket by hand, signs in, and never reads again.
async fn client_that_never_reads(server: &TestServer) -> tokio::net::TcpStream {
    let address = server.url.trim_start_matches("http://");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("connects");
    let upgrade = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.expect("written");
    let mut heard = vec![0; 1024];
    let count = stream.read(&mut heard).await.expect("an answer");
    assert!(heard[..count].starts_with(b"HTTP/1.1 101"));
    let auth = format!("40{}", json!({ "token": server.token(ParticipantKind::Astrologer, "a1") }));
    stream.write_all(&masked_text(&auth)).await.expect("written");
    stream
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped_and_does_not_hold_up_a_shutdown() {
    let (server, _folder) = server().await;
    let mut user = server.user("u1").await;
    let stuck = client_that_never_reads(&server).await;
    let delivery = server.services.core().delivery.clone();
    while delivery.connections() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let content = "x".repeat(4_000);
    let mut number = 0;
    // Far more than socket buffers and our queue hold: the connection must be given up, and nobody else is disturbed.
    while delivery.connections() == 2 {
        let payload = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": content });
        assert_eq!(user.call("dm:send_message", &payload).await["ok"], true);
        number += 1;
        assert!(number < 60_000, "the client that never reads is still there");
    }
    let started = std::time::Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10), "going down took {:?}", started.elapsed());
    drop(stuck);
}

#[tokio::test]
async fn going_down_cuts_the_transports_and_keeps_every_acknowledged_message() {
    let (store, folder) = stores::sqlite();
    let server = TestServer::start(store).await;
    let mut user = server.user("u1").await;
    let mut asked = Vec::new();
    for number in 0..50 {
        asked.push(user.ask("dm:send_message", &json!({ "recipientType": "admin", "content": format!("{number}") })).await);
    }
    let first = user.answer(asked[0]).await;
    assert_eq!(first["ok"], true);
    let services = server.services.clone();
    server.stop().await;
    // "transport close" on the client: no Socket.IO disconnect packet (41), which would stop it from coming back.
    user.closed().await;
    assert_eq!(services.core().delivery.connections(), 0);
    drop(services);
    let store = samvad::store::sqlite::SqliteStore::open(folder.path()).expect("the folder is free again");
    let id = samvad::models::MessageId::parse(first["message"]["_id"].as_str().expect("an id")).expect("24 hex digits");
    let kept = samvad::store::Store::find_message(&store, id).await.expect("readable");
    assert_eq!(kept.expect("what was acknowledged is kept").content, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_are_cut_a_few_at_a_time_while_probes_and_newcomers_hear_that_it_goes_down() {
    let (store, _folder) = stores::sqlite();
    let settings = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off"), ("DRAIN_SECONDS", "1"), ("MAX_SOCKETS_PER_IDENTITY", "1000")];
    let server = TestServer::start_with(store, &settings).await;
    let url = server.url.clone();
    let token = server.token(ParticipantKind::User, "u1");
    let clients = futures_util::future::join_all((0..300).map(|_| Client::connect(&url, &token))).await;
    let services = server.services.clone();
    let connections = move || services.core().delivery.connections();
    assert_eq!(connections(), 300);
    let stopping = tokio::spawn(server.stop());
    let (mut seen, mut asked) = (std::collections::BTreeSet::new(), false);
    while connections() > 0 {
        seen.insert(connections());
        // While several batches are still to come, so that the listener is certainly there.
        if connections() < 300 && !asked {
            asked = true;
            for path in ["/ready", "/socket.io/?EIO=4&transport=polling"] {
                let answer = crate::support::http::get(&url, crate::support::http::local(1), path, &[]).await;
                assert_eq!(answer.status, 503, "{path}");
                assert!(path != "/ready" || answer.json()["message"] == "the server is going down", "{}", answer.body);
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(asked && seen.len() > 3, "all were cut at once: {seen:?}");
    stopping.await.expect("it goes down");
    drop(clients);
}
