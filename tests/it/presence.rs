//! Who is there: what is kept of it, who is told, and who is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use samvad::models::{Pair, ParticipantKind, ProcessId, Profile, Relation};
use samvad::store::presence::LeftBehind;
use samvad::store::{NewConversation, Store};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::request;
use crate::support::nodes::{ADMIN_KEY as NODES_KEY, Nodes, to_astrologer};
use crate::support::outside::Outside;
use crate::support::people::{admin, astrologer, at, user};
use crate::support::program::{Program, token};
use crate::support::server::{ADMIN_KEY, TestServer};
use crate::support::stores::{self, on_every_driver};

on_every_driver!(
    who_is_noted_here_is_seen_elsewhere_until_he_is_gone_or_his_process_is_silent,
    whom_a_dead_process_left_behind_is_found_and_settled_once,
    acquaintances_share_a_conversation_or_a_relation,
    partners_are_those_of_the_latest_conversations,
    partners_of_a_crowd_are_those_of_each,
    those_who_talk_with_somebody_hear_that_he_comes_and_goes_and_strangers_learn_nothing,
);

/// What another process sees of these.
async fn seen(store: &Arc<dyn Store>, people: &[samvad::models::Participant], alive_since: i64) -> Vec<(String, bool, i64)> {
    let seen = store.seen(ProcessId::random(), people, at(alive_since)).await.expect("read");
    let mut seen: Vec<_> = seen.into_iter().map(|s| (s.person.to_string(), s.elsewhere, s.at.as_millis() - at(0).as_millis())).collect();
    seen.sort();
    seen
}

async fn who_is_noted_here_is_seen_elsewhere_until_he_is_gone_or_his_process_is_silent(store: Arc<dyn Store>) {
    let (one, two) = (ProcessId::random(), ProcessId::random());
    let people = [user("u1"), astrologer("a1"), admin("ops7"), user("never")];
    for _ in 0..2 {
        store.note_here(one, at(1_000), people[..3].to_vec()).await.expect("noted");
    }
    store.note_here(two, at(2_000), vec![user("u1")]).await.expect("noted");
    let all = |u1: bool, others: bool, u1_at: i64, others_at: i64| {
        vec![
            ("admin:admin".to_owned(), others, others_at),
            ("astrologer:a1".to_owned(), others, others_at),
            ("user:u1".to_owned(), u1, u1_at),
        ]
    };
    assert_eq!(seen(&store, &people, 500).await, all(true, true, 2_000, 1_000));
    assert_eq!(seen(&store, &people, 1_500).await, all(true, false, 2_000, 1_000), "the first process is silent");
    // Each process knows its own without being asked.
    let own = store.seen(one, &[astrologer("a1")], at(0)).await.expect("read");
    assert!(!own[0].elsewhere);
    store.note_gone(two, vec![(user("u1"), at(9_000))]).await.expect("noted");
    assert_eq!(seen(&store, &people, 500).await, all(true, true, 9_000, 1_000), "the other process still has him");
    let gone = |at_ms| people[..3].iter().map(|p| (p.clone(), at(at_ms))).collect::<Vec<_>>();
    store.note_gone(one, gone(5_000)).await.expect("noted");
    assert_eq!(seen(&store, &people, 0).await, all(false, false, 9_000, 5_000), "the latest counts");
    store.note_gone(one, gone(4_000)).await.expect("noted");
    assert_eq!(seen(&store, &people, 0).await, all(false, false, 9_000, 5_000));
}

async fn whom_a_dead_process_left_behind_is_found_and_settled_once(store: Arc<dyn Store>) {
    let (dead, alive, me) = (ProcessId::random(), ProcessId::random(), ProcessId::random());
    store.note_here(dead, at(1_000), (0..5).map(|n| user(&format!("u{n}"))).collect()).await.expect("noted");
    store.note_here(alive, at(20_000), vec![user("u0"), user("u9")]).await.expect("noted");
    store.note_here(me, at(1_000), vec![user("u8")]).await.expect("noted");
    store.remember_rooms(dead, at(3_000), Vec::new()).await.expect("it said that it lives");
    let mut left = store.left_behind(me, at(10_000), 100).await.expect("read");
    left.sort_by_key(|one| one.person.to_string());
    let expected: Vec<_> =
        (0..5).map(|n| LeftBehind { person: user(&format!("u{n}")), process: dead, at: at(if n == 0 { 20_000 } else { 3_000 }) }).collect();
    assert_eq!(left.len(), 5);
    for (one, expected) in left.iter().zip(&expected) {
        assert_eq!((&one.person, one.process), (&expected.person, expected.process));
    }
    assert!(left[1..].iter().all(|one| one.at == at(3_000)), "when the process was last alive: {left:?}");
    assert_eq!(store.left_behind(me, at(10_000), 2).await.expect("read").len(), 2);
    assert_eq!(store.left_behind(dead, at(10_000), 100).await.expect("read").len(), 1, "only of others");
    store.note_gone(dead, left.into_iter().map(|one| (one.person, one.at)).collect()).await.expect("noted");
    assert_eq!(store.left_behind(me, at(10_000), 100).await.expect("read"), []);
    assert_eq!(seen(&store, &[user("u1"), user("u9")], 10_000).await, [("user:u1".into(), false, 3_000), ("user:u9".into(), true, 20_000)]);
}

async fn open(store: &Arc<dyn Store>, a: &samvad::models::Participant, b: &samvad::models::Participant, at_ms: i64) {
    let new = NewConversation {
        pair: Pair::new(a.clone(), b.clone()).expect("two people"),
        profiles: [Profile::default(), Profile::default()],
        context_type: "general".into(),
        context_id: None,
        alias: None,
        at: at(at_ms),
    };
    store.open_conversation(new).await.expect("opened");
}

fn named(mut people: Vec<samvad::models::Participant>) -> Vec<String> {
    people.sort();
    people.into_iter().map(|person| person.to_string()).collect()
}

async fn acquaintances_share_a_conversation_or_a_relation(store: Arc<dyn Store>) {
    open(&store, &user("u1"), &astrologer("a1"), 0).await;
    open(&store, &user("u2"), &astrologer("a1"), 0).await;
    open(&store, &user("u1"), &admin("ops7"), 0).await;
    let relation = Relation { user: "u3".into(), astrologer: "a1".into(), consultation_id: None, at: at(0) };
    store.add_relation(relation).await.expect("noted");
    let everybody =
        [user("u1"), user("u2"), user("u3"), user("u4"), astrologer("a1"), astrologer("a2"), astrologer("u1"), user("a1"), admin("x")];
    for (person, expected) in [
        (astrologer("a1"), vec!["user:u1", "user:u2", "user:u3"]),
        (user("u1"), vec!["admin:admin", "astrologer:a1"]),
        (user("u3"), vec!["astrologer:a1"]),
        (user("u4"), vec![]),
        // The same id of another kind is somebody else.
        (user("a1"), vec![]),
        (astrologer("u1"), vec![]),
    ] {
        let known = store.acquaintances(&person, &everybody).await.expect("read");
        let known: Vec<_> = named(known).into_iter().filter(|known| *known != person.to_string()).collect();
        assert_eq!(known, expected, "{person}");
    }
    assert_eq!(store.acquaintances(&user("u1"), &[]).await.expect("read"), []);
}

async fn partners_are_those_of_the_latest_conversations(store: Arc<dyn Store>) {
    for n in 0..5 {
        open(&store, &user(&format!("u{n}")), &astrologer("a1"), n).await;
    }
    open(&store, &admin("ops7"), &astrologer("a1"), 9).await;
    // Together with an admin everybody is asked for alone.
    for asked in [vec![astrologer("a1"), user("u1"), user("nobody")], vec![astrologer("a1"), user("u1"), user("nobody"), admin("ops8")]] {
        let partners = store.partners_of(&asked, 3).await.expect("read");
        assert_eq!(partners.len(), asked.len());
        for (person, partners) in partners {
            let expected = match person.id() {
                "a1" => vec!["admin:admin", "user:u3", "user:u4"],
                "u1" => vec!["astrologer:a1"],
                "ops8" => vec!["astrologer:a1"],
                _ => vec![],
            };
            assert_eq!(named(partners), expected, "{person}");
        }
    }
}

async fn partners_of_a_crowd_are_those_of_each(store: Arc<dyn Store>) {
    // More than are asked for at once, and one of them with more conversations than are read for many.
    for n in 0..120 {
        open(&store, &user(&format!("u{n}")), &astrologer(&format!("a{}", n % 7)), n).await;
    }
    for n in 0..501 {
        open(&store, &user(&format!("v{n}")), &astrologer("busy"), n).await;
    }
    let crowd: Vec<_> = (0..120).map(|n| user(&format!("u{n}"))).chain([astrologer("busy"), astrologer("a3")]).collect();
    let partners: HashMap<_, _> = store.partners_of(&crowd, 5).await.expect("read").into_iter().collect();
    assert_eq!(partners.len(), crowd.len());
    for n in 0..120 {
        assert_eq!(named(partners[&user(&format!("u{n}"))].clone()), [format!("astrologer:a{}", n % 7)]);
    }
    assert_eq!(named(partners[&astrologer("busy")].clone()), ["user:v496", "user:v497", "user:v498", "user:v499", "user:v500"]);
    assert_eq!(named(partners[&astrologer("a3")].clone()), ["user:u101", "user:u108", "user:u115", "user:u87", "user:u94"]);
}

/// The rows of an answer, by `type:id`.
fn rows(answer: &Value, list: &str) -> Vec<(String, bool)> {
    let rows = answer[list].as_array().unwrap_or_else(|| panic!("a list: {answer}"));
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let is_online = row["isOnline"].as_bool().expect("a flag");
            assert_eq!(row["presence"], if is_online { "online" } else { "offline" }, "{row}");
            assert!(!is_online || row.get("lastSeen").is_none(), "{row}");
            (format!("{}:{}", row["type"].as_str().expect("text"), row["id"].as_str().expect("text")), is_online)
        })
        .collect();
    rows.sort();
    rows
}

/// The next change that somebody hears of this person.
async fn change(client: &mut Client, id: &str) -> Value {
    loop {
        let event = client.expect("presence:changed").await;
        if let Some(change) = event["changes"].as_array().expect("a list").iter().find(|change| change["id"] == id) {
            return change.clone();
        }
    }
}

/// Asks until the answer is this.
async fn until_known(client: &mut Client, ask: &Value, expected: &[(&str, bool)]) {
    let expected: Vec<_> = expected.iter().map(|(who, is_online)| ((*who).to_owned(), *is_online)).collect();
    for _ in 0..100 {
        if rows(&client.call("presence:get", ask).await, "presence") == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("never {expected:?}");
}

async fn those_who_talk_with_somebody_hear_that_he_comes_and_goes_and_strangers_learn_nothing(store: Arc<dyn Store>) {
    let server = TestServer::start(store).await;
    let (mut client, mut stranger, mut support) = (server.user("u1").await, server.user("u9").await, server.admin().await);
    let sent = client.call("dm:send_message", &to_astrologer("a1", "hello")).await;
    assert_eq!(sent["ok"], true, "{sent}");
    let ask = json!({ "ids": ["a1", "user:u9", "nobody", "not an id", "u1", "admin", "astrologer:nobody"] });
    until_known(&mut client, &ask, &[("admin:admin", true), ("astrologer:a1", false), ("user:u1", true)]).await;

    let expert = server.astrologer("a1").await;
    let heard = change(&mut client, "a1").await;
    assert_eq!(heard, json!({ "id": "a1", "type": "astrologer", "isOnline": true, "presence": "online" }));
    assert_eq!(change(&mut support, "a1").await, heard);
    let status = support.expect("astrologer:status_changed").await;
    assert_eq!((&status["astrologerId"], &status["isOnline"], &status["presence"]), (&json!("a1"), &json!(true), &json!("online")));
    assert!(status["lastSeen"].is_string(), "{status}");
    until_known(&mut client, &ask, &[("admin:admin", true), ("astrologer:a1", true), ("user:u1", true)]).await;

    // A stranger gets the same for somebody who is there and for nobody.
    let [there, nobody] = [json!({ "ids": ["a1"] }), json!({ "ids": ["a404"] })];
    assert_eq!(stranger.call("presence:get", &there).await, json!({ "ok": true, "presence": [] }));
    assert_eq!(stranger.call("presence:get", &nobody).await, json!({ "ok": true, "presence": [] }));
    assert_eq!(
        rows(&support.call("presence:get", &json!({ "ids": ["u1", "u9", "a1", "a404", "user:u404"] })).await, "presence"),
        [("astrologer:a1".to_owned(), true), ("user:u1".to_owned(), true), ("user:u9".to_owned(), true),]
    );

    // By REST it is the same.
    for (token, ids) in [
        (server.token(ParticipantKind::User, "u1"), "a1,user:u9,nobody,u1,admin"),
        (server.token(ParticipantKind::User, "u9"), "a1"),
        (ADMIN_KEY.to_owned(), "u1,a1,u404"),
    ] {
        let (status, answer) = request(&server.url, "GET", &format!("/api/presence?ids={ids}"), Some(&token), None).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        let mut socket = Client::connect(&server.url, &token).await;
        let told = socket.call("presence:get", &json!({ "ids": ids.split(',').collect::<Vec<_>>() })).await;
        assert_eq!(answer["data"], told["presence"]);
    }
    let many = json!({ "ids": vec!["a1"; 201] });
    assert_eq!(client.call("presence:get", &many).await["code"], "INVALID_PAYLOAD");
    assert_eq!(client.call("presence:get", &json!({})).await["code"], "INVALID_PAYLOAD");

    drop(expert);
    let known = server.services.core().delivery.clone();
    while known.is_connected(&astrologer("a1")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A moment without a socket is no absence.
    until_known(&mut client, &there, &[("astrologer:a1", true)]).await;
    until_known(&mut client, &there, &[("astrologer:a1", false)]).await;
    let heard = change(&mut client, "a1").await;
    assert_eq!((&heard["isOnline"], heard["lastSeen"].is_string()), (&json!(false), true), "{heard}");
    let status = loop {
        let status = support.expect("astrologer:status_changed").await;
        if status["isOnline"] == false {
            break status;
        }
    };
    assert_eq!((&status["presence"], &status["lastSeen"]), (&json!("offline"), &heard["lastSeen"]));
    let heard = stranger.heard_so_far().await;
    assert!(heard.iter().all(|(event, _)| event != "presence:changed" && event != "astrologer:status_changed"), "{heard:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_astrologer_who_is_switched_off_counts_as_offline_to_admins_and_is_not_written_to() {
    let database = stores::fresh_database();
    let store = stores::mongodb(&database).await;
    let theirs = ::mongodb::Client::with_uri_str(stores::mongo_uri()).await.expect("a client").database(&database);
    let (on, off) = ("65a000000000000000000001", "65a000000000000000000002");
    let id = |text: &str| ::mongodb::bson::oid::ObjectId::parse_str(text).expect("an id");
    let documents = [(on, true), (off, false)]
        .map(|(who, is_online)| ::mongodb::bson::doc! { "_id": id(who), "isOnline": is_online, "name": format!("Name of {who}") });
    theirs.collection::<::mongodb::bson::Document>("astrologers").insert_many(documents.clone()).await.expect("written");
    let server = TestServer::start(store.clone()).await;
    let mut support = server.admin().await;
    let _sockets = [server.astrologer(on).await, server.astrologer(off).await];
    for _ in 0..2 {
        let status = support.expect("astrologer:status_changed").await;
        assert_eq!((&status["isOnline"], &status["presence"]), (&json!(status["astrologerId"] == on), &json!("online")), "{status}");
        assert_eq!(status["name"], format!("Name of {}", status["astrologerId"].as_str().expect("text")));
    }
    for document in documents {
        let id = document.get("_id").cloned();
        let kept = theirs.collection("astrologers").find_one(::mongodb::bson::doc! { "_id": id }).await.expect("read");
        assert_eq!(kept, Some(document));
    }
    server.stop().await;
    stores::drop_database(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_can_be_reached_counts_for_an_astrologer_who_is_switched_on() {
    let database = stores::fresh_database();
    let store = stores::mongodb(&database).await;
    let theirs = ::mongodb::Client::with_uri_str(stores::mongo_uri()).await.expect("a client").database(&database);
    let documents =
        [("on", true), ("off", false), ("bare", true)].map(|(id, is_online)| ::mongodb::bson::doc! { "_id": id, "isOnline": is_online });
    theirs.collection::<::mongodb::bson::Document>("astrologers").insert_many(documents).await.expect("written");
    let outside = Outside::start().await;
    let settings = outside.fcm();
    let free = [("RATE_PROFILE", "off"), ("RELATION_CHECK", "off")];
    let settings: Vec<(&str, &str)> = free.into_iter().chain(settings.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    let server = TestServer::start_with(store.clone(), &settings).await;
    for id in ["on", "off"] {
        let body = json!({ "fcmToken": format!("phone-of-{id}"), "platform": "android" });
        let owner = server.token(ParticipantKind::Astrologer, id);
        assert_eq!(request(&server.url, "POST", "/api/fcm/register", Some(&owner), Some(&body)).await.0, 200);
    }
    let mut support = server.admin().await;
    async fn told(support: &mut Client) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < 3 {
            let status = support.expect("astrologer:status_changed").await;
            told.push(format!("{} {} {}", status["astrologerId"], status["isOnline"], status["presence"]));
        }
        told.sort();
        told
    }
    let sockets = [server.astrologer("on").await, server.astrologer("off").await, server.astrologer("bare").await];
    assert_eq!(told(&mut support).await, [r#""bare" true "online""#, r#""off" false "online""#, r#""on" true "online""#]);
    drop(sockets);
    let all = ["astrologer:bare", "astrologer:off", "astrologer:on"];
    until_known(&mut support, &json!({ "ids": all }), &all.map(|who| (who, false))).await;
    assert_eq!(told(&mut support).await, [r#""bare" false "offline""#, r#""off" false "offline""#, r#""on" true "offline""#]);
    server.stop().await;
    stores::drop_database(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_several_nodes_somebody_is_there_as_long_as_one_of_them_has_him() {
    let mut nodes = Nodes::start(3, &[]).await;
    let mut client = nodes.user(0, "u1").await;
    let sent = client.call("dm:send_message", &to_astrologer("a1", "hello")).await;
    assert_eq!(sent["ok"], true, "{sent}");
    let ask = json!({ "ids": ["astrologer:a1"] });
    let (phone, tablet) = (nodes.astrologer(1, "a1").await, nodes.astrologer(2, "a1").await);
    assert_eq!(change(&mut client, "a1").await["isOnline"], true);
    until_known(&mut client, &ask, &[("astrologer:a1", true)]).await;
    let mut support = Client::connect(nodes.url(0), NODES_KEY).await;
    drop(phone);
    nodes.is_left(1).await;
    // Longer than the grace.
    tokio::time::sleep(Duration::from_secs(18)).await;
    until_known(&mut client, &ask, &[("astrologer:a1", true)]).await;
    let heard = support.heard_so_far().await;
    assert!(!heard.iter().any(|(_, payload)| payload.to_string().contains("offline")), "{heard:?}");
    // The node that has him dies: the others find out, without his saying goodbye.
    nodes.kill(2);
    drop(tablet);
    until_known(&mut client, &ask, &[("astrologer:a1", false)]).await;
    loop {
        let change = change(&mut client, "a1").await;
        if change["isOnline"] == false {
            assert!(change["lastSeen"].is_string(), "{change}");
            break;
        }
    }
    assert_eq!(support.expect("astrologer:status_changed").await["isOnline"], false);
    // Whoever asks another node gets the same answer.
    let bearer = token(ParticipantKind::User, "u1");
    let (_, there) = request(nodes.url(1), "GET", "/api/presence?ids=astrologer:a1", Some(&bearer), None).await;
    assert_eq!(rows(&there, "data"), [("astrologer:a1".to_owned(), false)]);
    nodes.done().await;
}

/// What the inbox of `u1` shows of somebody.
async fn shown_in_the_inbox(url: &str, contact: &str) -> bool {
    let bearer = token(ParticipantKind::User, "u1");
    let (status, answer) = request(url, "GET", "/api/communications/u1", Some(&bearer), None).await;
    assert_eq!(status, 200, "{answer}");
    let rows = answer["data"].as_array().unwrap_or_else(|| panic!("a list: {answer}"));
    let row = rows.iter().find(|row| row["contactId"] == contact).unwrap_or_else(|| panic!("{contact} in {answer}"));
    row["isOnline"].as_bool().expect("a flag")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_two_nodes_know_each_others_people_by_the_store() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), stores::fresh_database());
    let mongo = (stores::mongo_uri(), database.clone());
    let [here, there] = [0, 1].map(|_| Program::start(folder.path(), Some(&mongo), &[]));
    let mut client = Client::connect(&here.url, &token(ParticipantKind::User, "u1")).await;
    let sent = client.call("dm:send_message", &to_astrologer("a1", "hello")).await;
    assert_eq!(sent["ok"], true, "{sent}");
    let ask = json!({ "ids": ["astrologer:a1"] });
    until_known(&mut client, &ask, &[("astrologer:a1", false)]).await;
    assert!(!shown_in_the_inbox(&here.url, "a1").await);
    let expert = Client::connect(&there.url, &token(ParticipantKind::Astrologer, "a1")).await;
    until_known(&mut client, &ask, &[("astrologer:a1", true)]).await;
    assert!(shown_in_the_inbox(&here.url, "a1").await, "the same by the other road");
    // He leaves. A moment later he is still there, for everybody; then he is not.
    drop(expert);
    tokio::time::sleep(Duration::from_secs(3)).await;
    until_known(&mut client, &ask, &[("astrologer:a1", true)]).await;
    assert!(shown_in_the_inbox(&here.url, "a1").await && shown_in_the_inbox(&there.url, "a1").await);
    until_known(&mut client, &ask, &[("astrologer:a1", false)]).await;
    assert!(!shown_in_the_inbox(&here.url, "a1").await && !shown_in_the_inbox(&there.url, "a1").await);
    // Somebody else comes, and his node dies: its lease ends.
    let sent = client.call("dm:send_message", &to_astrologer("a2", "hello")).await;
    assert_eq!(sent["ok"], true, "{sent}");
    let ask = json!({ "ids": ["astrologer:a2"] });
    let _expert = Client::connect(&there.url, &token(ParticipantKind::Astrologer, "a2")).await;
    until_known(&mut client, &ask, &[("astrologer:a2", true)]).await;
    there.kill();
    until_known(&mut client, &ask, &[("astrologer:a2", false)]).await;
    assert!(!shown_in_the_inbox(&here.url, "a2").await);
    drop(here);
    stores::drop_database(&database).await;
}
