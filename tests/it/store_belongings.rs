//! What people have beside conversations, messages and calls: the promises of the stores, and `samvad copy`, `export` and `erase` with it.

use std::path::PathBuf;
use std::sync::Arc;

use samvad::models::media::{Attachment, AttachmentState, MediaId, MediaType};
use samvad::models::{ConversationKey, Device, DeviceKind, OutboxEntry, OutboxLane, OutboxState, ParticipantKind, Platform, ProcessId};
use samvad::store::{Belonging, BelongingSort, Store};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::{local, request, send};
use crate::support::people::{admin, astrologer, at, user};
use crate::support::program::{Place, Program, token};
use crate::support::stores::on_every_driver;

on_every_driver!(
    belongings_are_walked_in_order_and_put_back_as_they_were,
    what_is_put_is_what_the_others_find,
    entries_of_the_outbox_are_walked_and_forgotten_in_whatever_state,
);

fn device(token: &str, id: &str) -> Device {
    Device { token: token.into(), kind: DeviceKind::Fcm, owner: user(id), platform: Platform::Android, registered_at: at(5) }
}

fn attachment(id: &str) -> Attachment {
    Attachment {
        id: MediaId::random(),
        conversation: ConversationKey::parse("user_u1_a1").expect("legal"),
        owner: user(id),
        name: "कुंडली.png".into(),
        media_type: MediaType::find("image/png").expect("a kind"),
        size_bytes: 7,
        state: AttachmentState::Ready,
        pixels: Some((3, 4)),
        created_at: at(0),
    }
}

/// A few of each sort.
fn some() -> Vec<Belonging> {
    let pending = Attachment { state: AttachmentState::Pending, pixels: None, ..attachment("u2") };
    vec![
        Belonging::Device(device("token b", "u1")),
        Belonging::Device(device("token a", "u2")),
        Belonging::Device(Device { kind: DeviceKind::Voip, platform: Platform::Ios, ..device("token c", "u1") }),
        Belonging::Attachment(attachment("u1"), true),
        Belonging::Attachment(attachment("u1"), false),
        Belonging::Attachment(pending, false),
        Belonging::MissedSeen(user("u1"), at(1)),
        Belonging::MissedSeen(astrologer("a1"), at(2)),
        Belonging::MissedSeen(admin("ops7").identity(), at(3)),
        Belonging::LastSeen(user("u1"), at(4)),
        Belonging::LastSeen(astrologer("u1"), at(5)),
    ]
}

/// All of a sort, two at a time.
async fn walked(store: &Arc<dyn Store>, sort: BelongingSort) -> Vec<Belonging> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.walk_belongings(sort, after, 2).await.expect("walked");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { return all };
        after = Some(last.id());
        all.extend(page);
    }
}

async fn everything(store: &Arc<dyn Store>) -> Vec<Belonging> {
    let mut all = Vec::new();
    for sort in BelongingSort::ALL {
        all.extend(walked(store, sort).await);
    }
    all
}

async fn belongings_are_walked_in_order_and_put_back_as_they_were(store: Arc<dyn Store>) {
    assert!(everything(&store).await.is_empty());
    let put = some();
    for _ in 0..2 {
        store.put_belongings(put.clone()).await.expect("put");
        let found = everything(&store).await;
        assert!(found.len() == put.len() && put.iter().all(|one| found.contains(one)), "each once, as it was");
    }
    let order: Vec<String> = walked(&store, BelongingSort::Devices).await.iter().map(Belonging::id).collect();
    assert_eq!(order, ["token a", "token b", "token c"]);
    let changed = vec![
        Belonging::Device(device("token a", "u9")),
        Belonging::MissedSeen(user("u1"), at(-7)),
        Belonging::LastSeen(user("u1"), at(-8)),
    ];
    store.put_belongings(changed.clone()).await.expect("put");
    let found = everything(&store).await;
    assert!(found.len() == put.len() && changed.iter().all(|one| found.contains(one)), "in place of what was there, earlier moments too");
}

async fn what_is_put_is_what_the_others_find(store: Arc<dyn Store>) {
    let put = some();
    store.put_belongings(put.clone()).await.expect("put");
    assert_eq!(store.devices_of(&[user("u1")]).await.expect("read").len(), 2);
    let Belonging::Attachment(used, true) = &put[3] else { panic!("the one that is used") };
    assert_eq!(store.find_media(used.id).await.expect("read").as_ref(), Some(used));
    assert!(store.forget_media(&[used.id]).await.expect("asked").is_empty(), "a message names it");
    let seen = store.seen(ProcessId::random(), &[user("u1")], at(0)).await.expect("read");
    assert_eq!(seen.iter().map(|seen| seen.at).collect::<Vec<_>>(), [at(4)]);
    store.note_here(ProcessId::random(), at(9), vec![user("u1")]).await.expect("noted");
    store.put_belongings(vec![Belonging::LastSeen(user("u1"), at(4))]).await.expect("put");
    let left = store.left_behind(ProcessId::random(), at(10), 10).await.expect("read");
    assert_eq!(left.len(), 1, "where he is connected is left alone");
}

fn entry(id: &str, about: &str) -> OutboxEntry {
    OutboxEntry {
        id: id.into(),
        lane: OutboxLane::Webhooks,
        collapse: None,
        recipient: None,
        body: json!({ "job": "event", "event": "message.created", "about": id, "at": at(0), "data": { "message": { "senderId": about, "senderType": "user", "content": format!("words of {about}") } } }).to_string(),
        created_at: at(0),
        due_at: at(0),
        expires_at: at(3_600_000),
        attempts: 0,
        settled: Vec::new(),
        state: OutboxState::Waiting,
        lease: None,
        problem: None,
    }
}

async fn entries_of_the_outbox_are_walked_and_forgotten_in_whatever_state(store: Arc<dyn Store>) {
    let all = ["event:3", "event:1", "event:2"].map(|id| entry(id, "u1"));
    store.put_outbox(all.to_vec()).await.expect("put");
    assert!(store.finish_outbox("event:2").await.expect("finished"));
    let ids = |page: Vec<OutboxEntry>| page.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(ids(store.walk_outbox(None, 2).await.expect("walked")), ["event:1", "event:2"]);
    assert_eq!(ids(store.walk_outbox(Some("event:2".into()), 2).await.expect("walked")), ["event:3"]);
    for _ in 0..2 {
        store.forget_outbox(vec!["event:1".into(), "event:2".into()]).await.expect("forgotten");
        assert_eq!(ids(store.walk_outbox(None, 10).await.expect("walked")), ["event:3"]);
    }
}

const FILE: &str = "%PDF-1.4 the words in a file";

/// Uploads a file and sends it. Its id.
async fn attach(program: &Program, client: &mut Client, bearer: &str) -> String {
    let announce = json!({ "conversationId": "user_u1_a1", "name": "words.pdf", "mimeType": "application/pdf", "size": FILE.len() });
    let (status, answer) = request(&program.url, "POST", "/api/media/uploads", Some(bearer), Some(&announce)).await;
    assert_eq!(status, 201, "{answer}");
    let address = answer["data"]["upload"]["url"].as_str().expect("an address");
    // Without a PUBLIC_URL and with any port it is a path.
    let path = address.find("/api/").map(|from| &address[from..]).expect("a path of ours");
    let put = send(&program.url, local(1), "PUT", path, &[("Content-Type", "application/pdf")], FILE).await;
    assert_eq!(put.status, 200, "{put:?}");
    let id = answer["data"]["mediaId"].as_str().expect("an id").to_owned();
    let (status, answer) = request(&program.url, "POST", &format!("/api/media/{id}/complete"), Some(bearer), None).await;
    assert_eq!(status, 200, "{answer}");
    let sent = client.call("dm:send_message", &json!({ "conversationId": "user_u1_a1", "mediaId": id, "content": "a file of asha" })).await;
    assert_eq!(sent["ok"], true, "{sent}");
    id
}

/// Two people who write and attach, have phones and looked at their calls. The ids of the files: u1's and a1's.
async fn furnish(place: &Place) -> [String; 2] {
    let program = place.serve();
    let (user_token, astrologer_token) = (token(ParticipantKind::User, "u1"), token(ParticipantKind::Astrologer, "a1"));
    let mut client = Client::connect(&program.url, &user_token).await;
    let mut other = Client::connect(&program.url, &astrologer_token).await;
    let message = json!({ "recipientId": "a1", "recipientType": "astrologer", "content": "hello" });
    assert_eq!(client.call("dm:send_message", &message).await["ok"], true);
    let files = [attach(&program, &mut client, &user_token).await, attach(&program, &mut other, &astrologer_token).await];
    for (bearer, phone) in [(&user_token, "asha"), (&astrologer_token, "guru")] {
        let register = json!({ "token": format!("the-secret-token-of-the-phone-of-{phone}"), "platform": "android" });
        let (status, answer) = request(&program.url, "POST", "/api/fcm/register", Some(bearer), Some(&register)).await;
        assert_eq!(status, 200, "{answer}");
        let id = if phone == "asha" { "u1" } else { "a1" };
        let (status, answer) =
            request(&program.url, "PATCH", &format!("/api/communications/{id}/calls/clear-missed"), Some(bearer), None).await;
        assert_eq!(status, 200, "{answer}");
    }
    drop((client, other));
    program.end();
    let store = place.store().await;
    // The server writes it down within a second, if it lives that long.
    let gone = [user("u1"), astrologer("a1")].map(|person| (person, at(0)));
    store.note_gone(ProcessId::random(), gone.to_vec()).await.expect("noted");
    let about = [entry("event:asha", "u1"), entry("event:guru", "u7")];
    store.put_outbox(about.to_vec()).await.expect("put");
    let found = everything(&store).await;
    let of = |kind: fn(&Belonging) -> bool| found.iter().filter(|one| kind(one)).count();
    assert_eq!(of(|one| matches!(one, Belonging::Attachment(_, true))), 2, "both are in messages");
    assert_eq!(of(|one| matches!(one, Belonging::Device(_))), 2);
    assert_eq!((of(|one| matches!(one, Belonging::MissedSeen(..))), of(|one| matches!(one, Belonging::LastSeen(..)))), (2, 2));
    store.close().await;
    files
}

fn file_of(place: &Place, id: &str) -> PathBuf {
    place.folder.path().join(format!("media/media/{id}.pdf"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_have_goes_to_mongodb_and_back_with_the_files() {
    let (place, there, back) = (Place::embedded(), Place::mongodb(), Place::embedded());
    let [file, _] = furnish(&place).await;
    let (uri, database) = there.mongo.clone().expect("a database");
    let (host, query) = uri.split_once('?').map_or((uri.as_str(), String::new()), |(host, query)| (host, format!("?{query}")));
    let address = format!("{}/{database}{query}", host.trim_end_matches('/'));
    for _ in 0..2 {
        let said = place.done(&["copy", "--to", &address]);
        assert!(said.contains("2 devices, 2 attachments, 4 marks") && said.contains("files of attachments stay where they are"), "{said}");
    }
    // Its files are in its own DATA_DIR, as if both were on the same machine.
    let media = |place: &Place| place.folder.path().join("media");
    std::fs::rename(media(&place), media(&there)).expect("moved");
    let folder = back.folder.path().to_str().expect("text").to_owned();
    let said = there.done(&["copy", "--to", &folder]);
    assert!(said.contains("2 files of attachments copied now") && said.contains("; 0 are not in"), "{said}");
    let again = there.done(&["copy", "--to", &folder]);
    assert!(again.contains("0 files of attachments copied now"), "{again}");
    let (before, after) = (place.store().await, back.store().await);
    let (here, home) = (everything(&before).await, everything(&after).await);
    assert!(here.len() == home.len() && here.iter().all(|one| home.contains(one)), "the same, there and back");
    assert!(after.walk_outbox(None, 10).await.expect("walked").is_empty(), "what waits is not copied: it would be told twice");
    before.close().await;
    after.close().await;
    assert_eq!(std::fs::read_to_string(file_of(&back, &file)).expect("there"), FILE);
    // And it is handed out there.
    let program = back.serve();
    let bearer = format!("Bearer {}", token(ParticipantKind::Astrologer, "a1"));
    let led = send(&program.url, local(1), "GET", &format!("/api/media/{file}"), &[("Authorization", &bearer)], "").await;
    let address = led.header("location").unwrap_or_else(|| panic!("led on: {led:?}")).to_owned();
    let path = address.find("/api/").map(|from| &address[from..]).expect("a path of ours");
    assert_eq!(send(&program.url, local(1), "GET", path, &[], "").await.body, FILE);
    program.end();
    // A source that lost a file says so, and goes on.
    std::fs::remove_file(file_of(&there, &file)).expect("removed");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let said = there.done(&["copy", "--to", elsewhere.path().to_str().expect("text")]);
    assert!(said.contains("1 files of attachments copied now") && said.contains("; 1 are not in"), "{said}");
    there.done_with().await;
}

async fn a_person_gets_what_he_has_and_it_can_be_erased_and_others_keep_theirs(place: Place) {
    let [file, others] = furnish(&place).await;
    let exported = place.done(&["export", "--type", "user", "--id", "u1"]);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).map(|line| &line["data"]).collect::<Vec<_>>();
    let [device] = of("device")[..] else { panic!("one device: {exported}") };
    assert!(device["platform"] == "android" && device["registeredAt"].is_string(), "{device}");
    assert!(!exported.contains("the-secret-token"), "{exported}");
    let [attached] = of("attachment")[..] else { panic!("one attachment: {exported}") };
    assert!(attached["id"] == file && attached["name"] == "words.pdf" && attached["file"] == format!("media/{file}.pdf"), "{attached}");
    assert_eq!((of("missedCallsSeen").len(), of("lastSeen").len()), (1, 1), "{exported}");

    let erased = place.done(&["erase", "--type", "user", "--id", "u1", "--yes"]);
    assert!(erased.contains("2 messages, 1 attachments, 1 notices"), "{erased}");
    assert!(!file_of(&place, &file).exists() && file_of(&place, &others).exists(), "his file is gone, the other's stays");
    let store = place.store().await;
    let left = everything(&store).await;
    assert!(left.len() == 4 && left.iter().all(|one| *one.owner() == astrologer("a1")), "one of each, all of the other");
    let waiting: Vec<String> = store.walk_outbox(None, 10).await.expect("walked").into_iter().map(|entry| entry.id).collect();
    assert_eq!(waiting, ["event:guru"], "what is of somebody else still waits");
    store.close().await;
    let left = place.done(&["export", "--type", "user", "--id", "u1"]);
    assert!(!left.contains("words.pdf") && !left.contains(&file), "also not in the messages: {left}");
    assert!(left.contains(&others), "what the other attached stays: {left}");
    assert!(place.done(&["erase", "--type", "user", "--id", "u1", "--yes"]).contains("0 messages, 0 attachments, 0 notices"), "again");
    place.done_with().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_has_on_sqlite() {
    a_person_gets_what_he_has_and_it_can_be_erased_and_others_keep_theirs(Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_has_on_mongodb() {
    a_person_gets_what_he_has_and_it_can_be_erased_and_others_keep_theirs(Place::mongodb()).await;
}
