//! `samvad export` and `erase`: all of one person and nothing of others; partners keep their threads.

use samvad::models::{Device, DeviceKind, Participant, ParticipantKind, Platform, Timestamp};
use serde_json::{Value, json};

use crate::support::client::{Client, Handshake};
use crate::support::program::{Place, token};

async fn a_person_gets_all_of_his_and_can_be_erased_and_others_keep_theirs(place: Place) {
    let program = place.serve();
    let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
    let mut user = Client::connect(&program.url, &named("u1", "Asha Rao")).await;
    let mut other = Client::connect(&program.url, &named("u2", "Bina Das")).await;
    let to_astrologer = |text: &str| json!({ "recipientId": "a1", "recipientType": "astrologer", "content": text });
    for n in 0..3 {
        assert_eq!(user.call("dm:send_message", &to_astrologer(&format!("asha says {n}"))).await["ok"], true);
        assert_eq!(other.call("dm:send_message", &to_astrologer(&format!("bina says {n}"))).await["ok"], true);
    }
    let reply = json!({ "conversationId": "user_u1_a1", "content": "the answer to asha" });
    assert_eq!(astrologer.call("dm:send_message", &reply).await["ok"], true);
    assert_eq!(user.call("dm:send_message", &to_astrologer("asha says last")).await["ok"], true);
    let call = user.call("call:initiate", &json!({ "calleeId": "a1", "calleeType": "astrologer", "callType": "voice" })).await;
    assert_eq!(user.call("call:end", &json!({ "callId": call["callId"] })).await["ok"], true);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    program.kill();
    let device = Device {
        token: "a token of asha's phone".into(),
        kind: DeviceKind::Fcm,
        owner: Participant::new(ParticipantKind::User, "u1").expect("legal"),
        platform: Platform::Android,
        registered_at: Timestamp::now(),
    };
    let store = place.store().await;
    store.register_device(device.clone()).await.expect("stored");
    store.close().await;

    let exported = place.done(&["export", "--type", "user", "--id", "u1"]);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!((of("conversation"), of("call")), (1, 1), "{exported}");
    assert!(of("message") >= 5 && exported.contains("the answer to asha") && exported.contains("asha says 2"), "{exported}");
    assert!(!exported.contains("bina") && !exported.contains("u2"), "nothing of others: {exported}");
    let file = place.folder.path().join("u1.jsonl");
    place.done(&["export", "--type", "user", "--id", "u1", "--file", file.to_str().expect("text")]);
    assert_eq!(std::fs::read_to_string(&file).expect("there"), exported);

    for wrong in
        [&["--type", "admin", "--id", "admin", "--yes"][..], &["--type", "user", "--id", "u1"], &["--type", "user", "--id", "a b", "--yes"]]
    {
        let said = place.command(&[&["erase"], wrong].concat());
        assert!(!said.ok, "{wrong:?}: {}", said.out);
    }
    // Before, for what follows may take minutes on a busy machine.
    let old_token = old_token("u1");
    let erased = place.done(&["erase", "--type", "user", "--id", "u1", "--yes"]);
    assert!(erased.contains("4 messages"), "{erased}");
    assert!(place.done(&["verify"]).contains("0 wrong"));
    let left = place.done(&["export", "--type", "user", "--id", "u1"]);
    assert!(!left.contains("asha says") && !left.contains("Asha Rao"), "{left}");
    assert!(left.contains("the answer to asha"), "what others wrote stays: {left}");
    assert!(place.done(&["export", "--type", "user", "--id", "u2"]).contains("bina says 2"));
    assert!(place.done(&["audit"]).contains("user:u1"), "that it was done is noted");
    let store = place.store().await;
    assert!(store.devices_of(&[device.owner]).await.expect("read").is_empty(), "nothing rings any more");
    store.close().await;
    assert!(place.done(&["erase", "--type", "user", "--id", "u1", "--yes"]).contains("0 messages"), "again");

    let program = place.serve();
    let mut astrologer = Client::connect(&program.url, &token(ParticipantKind::Astrologer, "a1")).await;
    let page = astrologer.call("dm:history", &json!({ "conversationId": "user_u1_a1" })).await;
    let texts: Vec<&str> = page["messages"].as_array().expect("a list").iter().filter_map(|m| m["content"].as_str()).collect();
    assert!(
        texts.contains(&"the answer to asha") && texts.iter().all(|text| !text.contains("says")),
        "the partner keeps the thread: {page}"
    );
    // A token from before is refused, so that nothing writes the name anew.
    let Handshake::Refused(why) = Client::handshake(&program.url, &json!({ "token": old_token })).await else { panic!("let in") };
    assert_eq!(why, "auth.expired");
    program.kill();
    place.done_with().await;
}

fn sign(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(crate::support::program::SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("signs")
}

fn now() -> i64 {
    samvad::models::Timestamp::now().as_millis() / 1000
}

fn named(id: &str, name: &str) -> String {
    sign(&json!({ "id": id, "type": "user", "name": name, "iat": now(), "exp": now() + 600 }))
}

fn old_token(id: &str) -> String {
    sign(&json!({ "id": id, "type": "user", "iat": now() - 60, "exp": now() + 600 }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_on_sqlite() {
    a_person_gets_all_of_his_and_can_be_erased_and_others_keep_theirs(Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_on_mongodb() {
    a_person_gets_all_of_his_and_can_be_erased_and_others_keep_theirs(Place::mongodb()).await;
}
