//! The gate: who may connect, from where, how often, and that nobody is counted who has gone.

use std::time::Duration;

use samvad::delivery::{Delivery, SocketLimits};
use samvad::models::{Participant, ParticipantKind};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Client, Handshake, PATIENCE};
use crate::support::http::{self, Answer, UPGRADE, connect_from, get, is_closed, local, masked_text, send};
use crate::support::recorder::Recorder;
use crate::support::server::TestServer;
use crate::support::stores;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

async fn server(settings: &[(&str, &str)]) -> (TestServer, TempDir) {
    let (store, folder) = stores::sqlite();
    (TestServer::start_with(store, settings).await, folder)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn one_address_has_its_share_of_connections_and_gets_it_back() {
    let (server, _folder) = server(&[("MAX_CONNECTIONS_PER_ADDRESS", "2"), ("TRUSTED_PROXIES", "127.0.0.9")]).await;
    let held = [connect_from(local(2), &server.url).await, connect_from(local(2), &server.url).await];
    assert!(is_closed(&mut connect_from(local(2), &server.url).await).await);
    assert_eq!(get(&server.url, local(3), "/health", &[]).await.status, 200, "another address has its own share");
    let proxied = [connect_from(local(9), &server.url).await, connect_from(local(9), &server.url).await];
    assert_eq!(get(&server.url, local(9), "/health", &[]).await.status, 200, "a proxy is not counted");
    drop((held, proxied));
    until("all are gone", || server.places.taken() == 0).await;
    assert_eq!(get(&server.url, local(2), "/health", &[]).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_websocket_holds_its_place_until_it_is_gone() {
    let (server, _folder) = server(&[("MAX_CONNECTIONS", "3")]).await;
    let clients = [server.user("u1").await, server.user("u2").await, server.user("u3").await];
    assert_eq!(server.places.taken(), 3);
    assert_eq!(get(&server.url, local(2), POLLING, &[]).await.status, 503);
    drop(clients);
    until("all are gone", || server.places.taken() == 0).await;
    drop(server.user("u1").await);
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_turns_clients_away_and_still_says_that_it_lives() {
    let (server, _folder) = server(&[("MAX_CONNECTIONS", "2")]).await;
    let _held = [connect_from(local(2), &server.url).await, connect_from(local(3), &server.url).await];
    for path in ["/health", "/api/health", "/ready"] {
        let answer = get(&server.url, local(4), path, &[("Connection", "keep-alive")]).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
    }
    for path in [POLLING, WEBSOCKET, "/api/conversations"] {
        let answer = get(&server.url, local(4), path, &UPGRADE).await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("OVERLOADED")), "{path}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // Those who say nothing keep a probe out for no longer than a moment.
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(connect_from(local(5), &server.url).await);
    }
    assert!(is_closed(&mut connect_from(local(4), &server.url).await).await, "every spare place is taken");
    until("the silent ones are gone", || server.places.taken() == 2).await;
    assert_eq!(get(&server.url, local(4), "/health", &[]).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_begins_sessions_too_fast_is_told_when_to_come_back() {
    let (server, _folder) = server(&[("HANDSHAKES_PER_MINUTE", "3")]).await;
    let handshake = async |source, path: &str| get(&server.url, source, path, &[]).await;
    for _ in 0..3 {
        assert_eq!(handshake(local(2), POLLING).await.status, 200);
    }
    let refused = handshake(local(2), POLLING).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("RATE_LIMITED")));
    let wait: u64 = refused.header("retry-after").expect("when to come back").parse().expect("seconds");
    let wait_ms = refused.json()["retryAfterMs"].as_u64().expect("milliseconds");
    assert!((1..=20).contains(&wait) && wait_ms <= 20_000 && wait * 1000 >= wait_ms, "{wait} s, {wait_ms} ms");
    assert_eq!(refused.json().get("retryable"), None);
    assert_eq!(refused.header("cache-control"), Some("no-store"));

    let upgrade = get(&server.url, local(2), WEBSOCKET, &UPGRADE).await;
    assert_eq!(upgrade.status, 429, "a websocket is a session too");
    // What only a form parser takes for a session is a handshake to the library.
    assert_eq!(handshake(local(2), &format!("{POLLING}&s%69d=abc")).await.status, 429);
    assert_eq!(handshake(local(2), &format!("{POLLING}&sid=abc")).await.status, 400, "requests of a session are not counted");
    assert_eq!(handshake(local(2), "/health").await.status, 200);
    assert_eq!(handshake(local(3), POLLING).await.status, 200, "another address has its own rate");
    server.stop().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_counted_and_nobody_else_is_believed() {
    let (server, _folder) = server(&[("HANDSHAKES_PER_MINUTE", "2"), ("TRUSTED_PROXIES", "127.0.0.9, 10.0.0.0/8")]).await;
    let forwarded = async |source, by: &str| get(&server.url, source, POLLING, &[("X-Forwarded-For", by)]).await.status;
    for client in ["1.1.1.1", "6.6.6.6, 2.2.2.2", "2001:db8::1"] {
        assert_eq!((forwarded(local(9), client).await, forwarded(local(9), client).await), (200, 200), "{client}");
    }
    for client in ["7.7.7.7, 1.1.1.1", "8.8.8.8, ::ffff:1.1.1.1, 10.1.2.3", "2.2.2.2:99", "2001:db8::2"] {
        assert_eq!(forwarded(local(9), client).await, 429, "{client}");
    }
    for _ in 0..4 {
        assert_eq!(get(&server.url, local(9), POLLING, &[]).await.status, 200, "the proxy itself is not counted");
    }
    let spoofed = [forwarded(local(2), "3.3.3.1").await, forwarded(local(2), "3.3.3.2").await, forwarded(local(2), "3.3.3.3").await];
    assert_eq!(spoofed, [200, 200, 429]);
    server.stop().await;
}

#[tokio::test]
async fn keys_tried_from_many_addresses_of_one_network_are_noted_once() {
    let (store, folder) = stores::sqlite();
    let server = TestServer::start_with(store.clone(), &[("TRUSTED_PROXIES", "127.0.0.9")]).await;
    for n in 1..=5 {
        let headers = [("X-Forwarded-For", format!("2001:db8:0:7::{n}")), ("x-admin-key", "a guessed admin key".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(get(&server.url, local(9), "/api/conversations", &headers).await.status, 401);
    }
    // What is noted is written a moment later, and at the latest when the server goes down.
    server.stop().await;
    drop(store);
    let reopened = samvad::store::sqlite::SqliteStore::open(folder.path()).expect("opens again");
    let noted = samvad::store::Store::audit_trail(&reopened, None, None, 10).await.expect("readable");
    let actors: Vec<&str> = noted.iter().map(|entry| entry.actor.as_str()).collect();
    assert_eq!(actors, ["2001:db8:0:7::"]);
}

#[tokio::test]
async fn a_polling_body_that_pauses_is_given_up() {
    let (server, _folder) = server(&[]).await;
    let opened = get(&server.url, local(2), POLLING, &[]).await.body;
    let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("the handshake");
    let mut slow = connect_from(local(2), &server.url).await;
    let sid = opened["sid"].as_str().expect("a session");
    let post = format!("POST {POLLING}&sid={sid} HTTP/1.1\r\nHost: samvad\r\nContent-Length: 1000\r\n\r\n4");
    slow.write_all(post.as_bytes()).await.expect("written");
    // The engine session itself would last 45 s.
    let ended = tokio::time::timeout(Duration::from_secs(40), http::answer(&mut slow)).await.expect("given up");
    assert!(ended.is_err() || ended.is_ok_and(|answer| answer.status >= 400));
    server.stop().await;
}

#[tokio::test]
async fn handlers_hear_the_address_of_the_client_and_not_of_the_proxy() {
    let (server, _folder) = server(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let auth = json!({ "token": server.token(ParticipantKind::User, "u1") });
    let mut clients = Vec::new();
    for address in ["1.1.1.1", "1.1.1.1", "2.2.2.2"] {
        let headers = [("user-agent", "Mozilla/5.0"), ("x-forwarded-for", address)];
        let Handshake::Accepted(mut client) = Client::handshake_with(&server.url, &auth, &headers).await else { panic!("refused") };
        assert_eq!(client.any().await.0, "connected");
        clients.push(client);
    }
    let delivery = &server.services.core().delivery;
    until("all are there", || delivery.connections() == 3).await;
    let mut connections = delivery.all_connections();
    connections.sort_by_key(|connection| connection.id());
    assert!(connections[0].may_share_page_with(&connections[1]));
    assert!(!connections[0].may_share_page_with(&connections[2]), "not behind the same address");
    server.stop().await;
}

#[tokio::test]
async fn engine_io_3_can_be_turned_off() {
    let paths =
        |version| [format!("/socket.io/?EIO={version}&transport=polling"), format!("/socket.io/?transport=websocket&EIO={version}")];
    for (setting, [polling, websocket]) in [("off", [400, 400]), ("on", [200, 101])] {
        let (server, _folder) = server(&[("ENGINE_IO_3", setting)]).await;
        for (version, expected) in [(3, [polling, websocket]), (4, [200, 101])] {
            for (path, status) in paths(version).iter().zip(expected) {
                assert_eq!(get(&server.url, local(2), path, &UPGRADE).await.status, status, "{setting}: {path}");
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn only_listed_origins_may_begin_a_session_and_apps_without_an_origin_always() {
    let from = async |server: &TestServer, path: &str, origin: Option<&str>| {
        let mut headers = UPGRADE.to_vec();
        headers.extend(origin.map(|origin| ("Origin", origin)));
        get(&server.url, local(2), path, &headers).await.status
    };
    let (listed, _folder) = server(&[("CORS_ORIGINS", "https://app.example.com, http://Localhost:8080/")]).await;
    let (any, _other_folder) = server(&[]).await;
    for (path, ok) in [(POLLING, 200), (WEBSOCKET, 101), ("/socket.io/?EIO=3&transport=websocket", 101)] {
        for origin in [Some("https://app.example.com"), Some("http://localhost:8080"), None] {
            assert_eq!(from(&listed, path, origin).await, ok, "{path} {origin:?}");
        }
        for origin in ["https://evil.example.com", "http://app.example.com", "https://app.example.com.evil.com", "null", ""] {
            assert_eq!(from(&listed, path, Some(origin)).await, 403, "{path} {origin:?}");
            assert_eq!(from(&any, path, Some(origin)).await, ok, "{path} {origin:?} with *");
        }
    }
    assert_eq!(from(&listed, "/health", Some("https://evil.example.com")).await, 200, "of REST, CORS takes care");
    listed.stop().await;
    any.stop().await;
}

#[tokio::test]
async fn nothing_that_is_answered_may_be_kept_sniffed_or_framed() {
    let (server, _folder) = server(&[("CORS_ORIGINS", "https://app.example.com")]).await;
    let large = "x".repeat(300 * 1024);
    let bearer = format!("Bearer {}", server.token(ParticipantKind::User, "u1"));
    let signed_in = [("Authorization", bearer.as_str())];
    let answers: [(u16, Answer); 6] = [
        (200, get(&server.url, local(2), "/health", &[]).await),
        (200, get(&server.url, local(2), "/ready", &[]).await),
        (200, get(&server.url, local(2), "/api/conversations", &signed_in).await),
        (401, get(&server.url, local(2), "/api/conversations", &[]).await),
        (404, get(&server.url, local(2), "/nowhere", &[]).await),
        (413, send(&server.url, local(2), "POST", "/api/conversations", &signed_in, &large).await),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
    }
    for (path, origin, status) in
        [(POLLING, "https://app.example.com", 200), (POLLING, "null", 403), ("/socket.io/", "https://app.example.com", 400)]
    {
        let answer = get(&server.url, local(2), path, &[("Origin", origin)]).await;
        assert_eq!((answer.status, answer.header("cache-control")), (status, Some("no-store")), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_socket_too_many_closes_the_oldest_of_its_identity_and_nobody_elses() {
    let (server, _folder) = server(&[("MAX_SOCKETS_PER_IDENTITY", "2")]).await;
    let mut bystander = server.astrologer("u1").await;
    let (mut first, mut second) = (server.user("u1").await, server.user("u1").await);
    let mut third = server.user("u1").await;
    // A broken line and no refusal, so that a client that is still there comes back.
    first.closed().await;
    for client in [&mut second, &mut third, &mut bystander] {
        assert_eq!(client.call("get_stats", &json!({})).await["ok"], true);
    }
    assert_eq!(server.services.core().delivery.connections(), 3);
    for _ in 0..4 {
        drop(server.admin().await);
    }
    server.stop().await;
}

#[test]
fn admins_have_many_sockets_because_they_are_one_identity() {
    let delivery = Delivery::new(SocketLimits::new(2), None);
    let connect = |kind, id: &str| Recorder::connect(&delivery, &Participant::new(kind, id).expect("legal")).1;
    let admins: Vec<_> = (0..1_001).map(|n| connect(ParticipantKind::Admin, &format!("a{}", n % 7))).collect();
    let users: Vec<_> = (0..4).map(|_| connect(ParticipantKind::User, "u1")).collect();
    let closed = |recorders: &[Recorder]| recorders.iter().map(Recorder::is_closed).collect::<Vec<_>>();
    assert_eq!(closed(&users), [true, true, false, false]);
    assert!(admins[0].is_closed() && !admins[1..].iter().any(Recorder::is_closed));
    assert_eq!(delivery.connections(), 1_002);
}

#[tokio::test]
async fn what_is_said_together_with_the_request_for_a_websocket_is_heard() {
    let (server, _folder) = server(&[]).await;
    let auth = json!({ "token": server.token(ParticipantKind::User, "u1") });
    let headers: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {WEBSOCKET} HTTP/1.1\r\nHost: samvad\r\n{headers}\r\n");
    let mut stream = connect_from(local(2), &server.url).await;
    stream.write_all(&[request.as_bytes(), &masked_text(&format!("40{auth}"))].concat()).await.expect("written");
    let mut heard = Vec::new();
    let greeted = async {
        while !String::from_utf8_lossy(&heard).contains("\"connected\"") {
            assert!(stream.read_buf(&mut heard).await.expect("heard") > 0, "the server closed");
        }
    };
    tokio::time::timeout(PATIENCE, greeted).await.expect("greeted in time");
    let heard = String::from_utf8_lossy(&heard);
    let at = |what: &str| heard.find(what).unwrap_or_else(|| panic!("{what} is missing in {heard:?}"));
    // The answer of RFC 6455, section 1.3, to this key.
    assert!(heard.starts_with("HTTP/1.1 101 ") && heard.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
    assert!(at("0{\"sid\"") < at("40{\"sid\"") && at("40{\"sid\"") < at("42[\"connected\""));
    drop(stream);
    until("he is gone", || server.services.core().delivery.connections() == 0).await;
    server.stop().await;
}

/// Goes away in the middle of something, as a phone in a tunnel does; `how` says in the middle of what.
async fn vanish(server: &TestServer, how: usize) {
    let token = server.token(ParticipantKind::User, &format!("u{}", how % 50));
    let auth = json!({ "token": token });
    let upgrade = format!(
        "GET {WEBSOCKET} HTTP/1.1\r\nHost: samvad\r\n{}\r\n",
        UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>()
    );
    if how % 6 == 5 {
        let Handshake::Accepted(_client) = Client::handshake(&server.url, &auth).await else { panic!("refused") };
        return;
    }
    let mut stream = connect_from(local(2), &server.url).await;
    match how % 6 {
        0 => stream.write_all(&upgrade.as_bytes()[..40]).await.expect("written"),
        1 => stream.write_all(upgrade.as_bytes()).await.expect("written"),
        // CONNECT goes out with the handshake: the end may come before, during or after the middleware.
        2 => stream.write_all(&[upgrade.as_bytes(), &masked_text(&format!("40{auth}"))].concat()).await.expect("written"),
        3 => {
            stream.write_all(upgrade.as_bytes()).await.expect("written");
            assert_eq!(http::answer(&mut stream).await.expect("an answer").status, 101);
            stream.write_all(&masked_text(&format!("40{auth}"))).await.expect("written");
        }
        // A poll that hangs: the second one, for the first is answered with a ping.
        _ => {
            let opened = get(&server.url, local(2), POLLING, &[]).await.body;
            let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("a handshake");
            let path = format!("{POLLING}&sid={}", opened["sid"].as_str().expect("a session"));
            assert_eq!(get(&server.url, local(2), &path, &[]).await.body, "2");
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: samvad\r\n\r\n").as_bytes()).await.expect("written");
            until("it hangs", || server.links.noted() > 0).await;
        }
    }
    if how.is_multiple_of(2) {
        // A reset instead of an orderly end.
        stream.set_zero_linger().expect("a socket option");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_who_vanish_leave_nothing_behind() {
    let (server, _folder) = server(&[("RATE_PROFILE", "off"), ("MAX_SOCKETS_PER_IDENTITY", "5")]).await;
    for round in 0..10 {
        futures_util::future::join_all((0..50).map(|n| vanish(&server, round * 50 + n))).await;
    }
    let delivery = &server.services.core().delivery;
    let left = || (delivery.connections(), server.links.noted(), server.places.taken());
    until("nothing is left", || left() == (0, 0, 0)).await;
    let mut honest = server.user("u1").await;
    let sent = honest.call("dm:send_message", &json!({ "recipientType": "admin", "content": "still here" })).await;
    assert_eq!(sent["ok"], true);
    server.stop().await;
}
