//! Three programs on one database, with Redis between them: what is said on one is heard on the others, and what was missed is made good.

use std::process::Stdio;
use std::time::{Duration, Instant};

use samvad::models::{ParticipantKind, Timestamp};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::client::{Client, Handshake};
use crate::support::http::{local, send as request};
use crate::support::nodes::{ADMIN_KEY, Nodes, RECOVERY, to_astrologer};
use crate::support::program::{Program, token};
use crate::support::redis::Line;
use crate::support::stores;

async fn send(client: &mut Client, content: &str) -> Value {
    let sent = client.call("dm:send_message", &to_astrologer("a1", content)).await;
    assert_eq!(sent["ok"], true, "{sent}");
    sent["message"].clone()
}

/// What was said in a conversation, oldest first.
async fn synced(client: &mut Client, conversation: &str) -> Vec<String> {
    let page = client.call("dm:sync", &json!({ "conversationId": conversation, "limit": 200 })).await;
    assert_eq!(page["ok"], true, "{page}");
    page["messages"].as_array().expect("a list").iter().map(|m| m["content"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_on_one_node_is_heard_once_on_the_others_in_order() {
    let nodes = Nodes::start(3, &[]).await;
    let mut user = nodes.user(0, "u1").await;
    let (mut in_room, mut outside) = (nodes.astrologer(1, "a1").await, nodes.astrologer(2, "a1").await);
    let first = send(&mut user, "0").await;
    let key = first["conversationKey"].as_str().expect("text").to_owned();
    assert_eq!(in_room.expect("dm:new_message").await["content"], "0");
    let joined = in_room.call("dm:join_conversation", &json!({ "conversationId": first["conversationRef"] })).await;
    assert_eq!(joined["ok"], true, "{joined}");
    let asks: Vec<u64> = {
        let mut asks = Vec::new();
        for n in 1..50 {
            asks.push(user.ask("dm:send_message", &to_astrologer("a1", &n.to_string())).await);
        }
        asks
    };
    for ask in asks {
        assert_eq!(user.answer(ask).await["ok"], true);
    }
    for n in 1..50 {
        let heard = in_room.expect("dm:message_received").await;
        assert_eq!(heard["content"], n.to_string());
        assert_eq!(heard["conversationId"], first["conversationRef"], "as this socket calls it");
    }
    for n in 0..50 {
        let heard = outside.expect("dm:new_message").await;
        assert_eq!((&heard["content"], &heard["conversationId"]), (&json!(n.to_string()), &json!(key)));
    }
    // Handed to a socket elsewhere is delivered.
    let mut delivered = 0;
    while delivered < 50 {
        delivered += user.expect("dm:messages_delivered").await["messageIds"].as_array().expect("a list").len();
    }
    in_room.emit("dm:typing_start", &json!({ "conversationId": first["conversationRef"] })).await;
    user.call("dm:join_conversation", &json!({ "conversationId": key })).await;
    in_room.emit("dm:typing_stop", &json!({ "conversationId": first["conversationRef"] })).await;
    assert_eq!(user.expect("dm:typing_stop").await["conversationId"], key);
    let read = in_room.call("dm:mark_read", &json!({ "conversationId": key })).await;
    assert_eq!(read["ok"], true, "{read}");
    assert_eq!(user.expect("dm:messages_read").await["messageIds"].as_array().expect("a list").len(), 50);
    for client in [&mut in_room, &mut outside] {
        let more = client.heard_so_far().await;
        assert!(more.iter().all(|(name, _)| !name.contains("message_received") && !name.contains("new_message")), "{more:?}");
    }
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_from_one_node_finds_his_rooms_and_what_he_missed_on_another() {
    let nodes = Nodes::start(2, &[]).await;
    let (mut user, mut expert) = (nodes.user(0, "u1").await, nodes.astrologer(0, "a1").await);
    let first = send(&mut user, "before").await;
    expert.expect("dm:new_message").await;
    let joined = expert.call("dm:join_conversation", &json!({ "conversationId": first["conversationRef"] })).await;
    assert_eq!(joined["ok"], true, "{joined}");
    // Rooms are written a second later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(expert);
    send(&mut user, "missed").await;
    let mut expert = nodes.astrologer(1, "a1").await;
    let mut told = expert.expect("dm:message_received").await;
    if told["content"] == "before" {
        // Nobody may know yet how much it heard; `_id` tells what it has.
        told = expert.expect("dm:message_received").await;
    }
    assert_eq!((&told["content"], &told["conversationId"]), (&json!("missed"), &first["conversationRef"]));
    send(&mut user, "live").await;
    let live = expert.expect("dm:message_received").await;
    assert_eq!((&live["content"], &live["conversationId"]), (&json!("live"), &first["conversationRef"]));
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_a_round_robin_talk_as_with_one_server() {
    let nodes = Nodes::start(2, &[]).await;
    let url = round_robin(vec![nodes.url(0).to_owned(), nodes.url(1).to_owned()]).await;
    let mut people = Vec::new();
    for n in 0..4 {
        let (user, astrologer) = (token(ParticipantKind::User, &format!("u{n}")), token(ParticipantKind::Astrologer, "a1"));
        // One after the other, so that each pair sits on two nodes.
        people.push((Client::connect(&url, &user).await, Client::connect(&url, &astrologer).await));
    }
    for (n, (user, _)) in people.iter_mut().enumerate() {
        send(user, &format!("from u{n}")).await;
    }
    for (_, astrologer) in &mut people {
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(astrologer.expect("dm:new_message").await["content"].as_str().expect("text").to_owned());
        }
        heard.sort_unstable();
        assert_eq!(heard, ["from u0", "from u1", "from u2", "from u3"]);
    }
    for (user, _) in &mut people {
        user.expect("dm:messages_delivered").await;
    }
    for n in 0..2 {
        let bus = nodes.bus(n).await;
        assert!(bus["told"].as_u64().is_some_and(|told| told > 0), "both nodes had clients: {bus}");
    }
    nodes.done().await;
}

/// A balancer that knows nothing of sessions: each connection goes to the next node.
async fn round_robin(urls: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for url in urls.iter().cycle() {
            let Ok((mut near, _)) = listener.accept().await else { return };
            let node = url.trim_start_matches("http://").to_owned();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(node).await.expect("a node");
                // Ends with either side.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_others_wait_for_is_known_to_every_node() {
    let nodes = Nodes::start(2, &[]).await;
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    assert_eq!(astrologer.call("dm:join_conversation", &json!({ "conversationId": "our-chat" })).await["ok"], true);
    let mut message = to_astrologer("a1", "hello");
    message["conversationId"] = json!("our-chat");
    assert_eq!(user.call("dm:send_message", &message).await["ok"], true);
    let heard = astrologer.expect("dm:message_received").await;
    assert_eq!((&heard["content"], &heard["conversationId"]), (&json!("hello"), &json!("our-chat")));
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restarts_and_clients_are_told_to_fetch_what_they_missed() {
    let mut nodes = Nodes::start(3, &[]).await;
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let mut beside = nodes.user(0, "u1").await;
    let key = send(&mut user, "before").await["conversationKey"].as_str().expect("text").to_owned();
    assert_eq!(astrologer.expect("dm:new_message").await["content"], "before");
    nodes.redis.kill();
    nodes.is_cut_off(0).await;
    // Those on the same node hear it all the same.
    send(&mut user, "meanwhile").await;
    while beside.expect("dm:new_message").await["content"] != "meanwhile" {}
    assert_eq!(beside.heard_so_far().await, []);
    nodes.redis.start_again();
    for n in 0..3 {
        nodes.sees(n, 2).await;
    }
    let hint = timeout(RECOVERY, astrologer.expect("resync")).await.expect("a hint");
    assert!(Timestamp::parse(hint["since"].as_str().expect("text")).is_some(), "{hint}");
    assert_eq!(synced(&mut astrologer, &key).await, ["before", "meanwhile"]);
    assert!(nodes.bus(0).await["lost"].as_u64().expect("a number") >= 1);
    // Subscriptions are back.
    send(&mut user, "after").await;
    loop {
        let content = astrologer.expect("dm:new_message").await["content"].clone();
        if content == "after" {
            break;
        }
    }
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_from_redis_serves_its_own_and_makes_good_afterwards() {
    let mut nodes = Nodes::none();
    let line = Line::to(&nodes.redis).await;
    nodes.add(&[("REDIS_URL", &line.url())]);
    nodes.add(&[]);
    nodes.add(&[]);
    for n in 0..3 {
        nodes.sees(n, 2).await;
    }
    let (mut user, mut beside, mut astrologer) = (nodes.user(0, "u1").await, nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let key = send(&mut user, "before").await["conversationKey"].as_str().expect("text").to_owned();
    assert_eq!(astrologer.expect("dm:new_message").await["content"], "before");
    line.cut();
    nodes.is_cut_off(0).await;
    send(&mut user, "from inside").await;
    while beside.expect("dm:new_message").await["content"] != "from inside" {}
    let answer = json!({ "conversationId": key, "content": "from outside" });
    assert_eq!(astrologer.call("dm:send_message", &answer).await["ok"], true);
    // The others count the silent node as dead, and go on without it.
    nodes.sees(1, 1).await;
    line.mend();
    for n in 0..3 {
        nodes.sees(n, 2).await;
    }
    for client in [&mut user, &mut astrologer] {
        timeout(RECOVERY, client.expect("resync")).await.expect("a hint");
        assert_eq!(synced(client, &key).await, ["before", "from inside", "from outside"]);
    }
    send(&mut user, "after").await;
    while astrologer.expect("dm:new_message").await["content"] != "after" {}
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_while_messages_flow_and_nothing_acknowledged_is_lost() {
    let mut nodes = Nodes::start(3, &[]).await;
    let (mut user, mut doomed, mut astrologer) = (nodes.user(0, "u1").await, nodes.user(2, "u1").await, nodes.astrologer(1, "a1").await);
    let key = send(&mut user, "first").await["conversationKey"].as_str().expect("text").to_owned();
    let mut acknowledged = vec!["first".to_owned()];
    for n in 0..30 {
        for (from, client) in [("u", &mut user), ("d", &mut doomed)] {
            let content = format!("{from}{n}");
            send(client, &content).await;
            acknowledged.push(content);
        }
    }
    for n in 30..60 {
        doomed.ask("dm:send_message", &to_astrologer("a1", &format!("d{n}"))).await;
    }
    nodes.kill(2);
    for n in 30..60 {
        let content = format!("u{n}");
        send(&mut user, &content).await;
        acknowledged.push(content);
    }
    timeout(RECOVERY, astrologer.expect("resync")).await.expect("a hint that something may be missing");
    let stored = synced(&mut astrologer, &key).await;
    for content in &acknowledged {
        assert_eq!(stored.iter().filter(|one| *one == content).count(), 1, "{content}");
    }
    // Everybody else heard each message once, in the order of the store.
    let mut heard = Vec::new();
    for (name, event) in astrologer.heard_so_far().await {
        if name == "dm:new_message" {
            heard.push(event["content"].as_str().expect("text").to_owned());
        }
    }
    let of_user = |all: &[String]| all.iter().filter(|c| !c.starts_with('d')).cloned().collect::<Vec<_>>();
    assert_eq!(of_user(&heard), of_user(&stored));
    nodes.done().await;
}

/// How often a client is told to catch up until it has been told `count` times; the first `since`.
async fn told_to_catch_up(client: &mut Client, count: usize, heard: &mut Vec<(String, Value)>) -> Timestamp {
    let told = async {
        loop {
            heard.extend(client.heard_so_far().await);
            let hints: Vec<&Value> = heard.iter().filter(|(name, _)| name == "resync").map(|(_, hint)| &hint["since"]).collect();
            assert!(hints.len() <= count, "{heard:?}");
            if hints.len() == count {
                return Timestamp::parse(hints[count - 1].as_str().expect("text")).expect("a time");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(2 * RECOVERY, told).await.expect("a hint")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_stored_that_was_cut_off_and_killed_is_made_good() {
    let mut nodes = Nodes::none();
    let line = Line::to(&nodes.redis).await;
    nodes.add(&[("REDIS_URL", &line.url())]);
    nodes.add(&[]);
    nodes.add(&[]);
    for n in 0..3 {
        nodes.sees(n, 2).await;
    }
    let (mut user, mut astrologer) = (nodes.user(0, "u1").await, nodes.astrologer(1, "a1").await);
    let key = send(&mut user, "before").await["conversationKey"].as_str().expect("text").to_owned();
    assert_eq!(astrologer.expect("dm:new_message").await["content"], "before");
    // Who says goodbye has told everything.
    nodes.end(2);
    line.cut();
    let mut heard = Vec::new();
    told_to_catch_up(&mut astrologer, 1, &mut heard).await;
    let last = send(&mut user, "told to nobody").await;
    nodes.kill(0);
    let since = told_to_catch_up(&mut astrologer, 2, &mut heard).await;
    assert!(since < Timestamp::parse(last["createdAt"].as_str().expect("text")).expect("a time"));
    assert_eq!(synced(&mut astrologer, &key).await, ["before", "told to nobody"]);
    assert!(!heard.iter().any(|(_, event)| event["content"] == "told to nobody"), "that is what the hint is for: {heard:?}");
    // Once is enough, and the one that said goodbye is missed by nobody.
    tokio::time::sleep(Duration::from_secs(20)).await;
    heard.extend(astrologer.heard_so_far().await);
    assert_eq!(heard.iter().filter(|(name, _)| name == "resync").count(), 2, "{heard:?}");
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_revoked_on_one_node_end_on_the_others_within_a_second() {
    let nodes = Nodes::start(3, &[]).await;
    let token = token(ParticipantKind::User, "u1");
    let mut clients = Vec::new();
    for n in 0..3 {
        clients.push(Client::connect(nodes.url(n), &token).await);
    }
    let mut stays = nodes.user(2, "u2").await;
    let headers = [("x-admin-key", ADMIN_KEY), ("content-type", "application/json")];
    let body = json!({ "userId": "u1", "type": "user" }).to_string();
    let began = Instant::now();
    let answer = request(nodes.url(0), local(1), "POST", "/api/admin/sessions/revoke", &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for client in &mut clients {
        client.closed().await;
    }
    // Without the bus it is ten seconds.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    for n in 0..3 {
        match Client::handshake(nodes.url(n), &json!({ "token": token })).await {
            Handshake::Refused(why) => assert_eq!(why, "auth.expired"),
            Handshake::Accepted(_) => panic!("node {n} lets a revoked token in"),
        }
    }
    assert_eq!(stays.call("get_stats", &json!({})).await["ok"], true);
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_count_what_is_sent_on_all_nodes_together() {
    // A window, and a bucket that drips.
    for profile in ["strict", "default"] {
        is_limited_on_all_nodes(profile).await;
    }
}

async fn is_limited_on_all_nodes(profile: &str) {
    let nodes = Nodes::start(2, &[("RATE_PROFILE", profile)]).await;
    let mut first = nodes.user(0, "u1").await;
    for n in 0..10 {
        send(&mut first, &n.to_string()).await;
    }
    let mut second = nodes.user(1, "u1").await;
    // Counted together four times a second; this node alone would let ten through.
    let mut refused = Value::Null;
    for n in 0..9 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        refused = second.call("dm:send_message", &to_astrologer("a1", &format!("too many {n}"))).await;
        if refused["ok"] == false {
            break;
        }
    }
    assert_eq!(refused["code"], "RATE_LIMITED", "{refused}");
    assert!(refused["retryAfterMs"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{refused}");
    // Others are not concerned.
    send(&mut nodes.user(1, "u2").await, "hello").await;
    nodes.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_warns_of_another_one_it_does_not_hear() {
    let mongo = (stores::mongo_uri(), stores::fresh_database());
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let first = Program::start_logging_to(Stdio::from(file), folder.path(), Some(&mongo), &[]);
    // What a process that is gone has left behind is no neighbour.
    let killed = Program::start(folder.path(), Some(&mongo), &[]);
    killed.kill();
    let says_so = || std::fs::read_to_string(&log).expect("readable").contains("REDIS_URL is not set");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(!says_so());
    let second = Program::start(folder.path(), Some(&mongo), &[]);
    let warned = async {
        while !says_so() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(RECOVERY, warned).await.expect("a warning");
    first.kill();
    second.kill();
    stores::drop_database(&mongo.1).await;
}
