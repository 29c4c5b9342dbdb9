//! What lies in MongoDB itself about calls: documents of the Node backend (N) and of the original schema (S) are read through the
//! trait, and what we write is what they can read.
//!
//! Needs `TEST_MONGODB_URI`: `scripts/mongod run -- cargo test mongo_calls`.

mod together;

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use samvad::error::Error;
use samvad::models::{Call, CallId, CallStatus, CallType, EndReason, Feedback, NewCall, Notices, Pair, Participant, Timestamp};
use samvad::store::mongo::MongoStore;
use samvad::store::{CallChange, CallEnd, CallQuery, Store, Transitioned};

use crate::support::mongo::Fixture;
use crate::support::people::{admin, astrologer, profile, user};

/// 2025-12-20T10:00:00Z.
const TEN: i64 = 1_766_224_800_000;

fn second(number: i64) -> DateTime {
    DateTime::from_millis(TEN + number * 1_000)
}

fn at(number: i64) -> Timestamp {
    Timestamp::from_millis(TEN + number * 1_000)
}

/// The id of the call that began in this second.
fn id_of(number: i64) -> ObjectId {
    ObjectId::from_parts(u32::try_from(TEN / 1_000 + number).expect("in range"), [7; 5], [0, 0, 1])
}

/// A call as N stores it: user u1 rings astrologer a1.
fn node_call(number: i64, status: &str) -> Document {
    doc! {
        "_id": id_of(number), "callerId": "u1", "callerType": "user", "callerName": "Uma", "callerAvatar": "https://x.test/u.png",
        "recipientId": "a1", "recipientType": "astrologer", "callType": "voice", "status": status, "channelName": format!("channel_{number}"),
        "agoraToken": "secret", "agoraUid": 0, "startedAt": second(number), "duration": 0,
        "recording": { "isEnabled": false }, "quality": { "feedback": "" },
        "createdAt": second(number), "updatedAt": second(number), "__v": 0,
    }
}

/// A call as S stores it: astrologer a1 rings user u1.
fn original_call(number: i64, status: &str) -> Document {
    doc! {
        "_id": id_of(number), "callerId": "a1", "callerType": "astrologer", "calleeId": "u1", "calleeType": "user", "callType": "video",
        "status": status, "agoraChannelName": format!("original_{number}"), "agoraToken": "secret", "agoraUid": 7.0,
        "conversationId": ObjectId::from_bytes([4; 12]), "consultationId": ObjectId::from_bytes([5; 12]), "initiatedAt": second(number),
        "createdAt": second(number), "updatedAt": second(number), "__v": 0,
    }
}

fn with(mut document: Document, more: Document) -> Document {
    document.extend(more);
    document
}

fn new_call(channel: &str) -> NewCall {
    NewCall {
        caller: user("u1"),
        caller_profile: profile("Uma", "https://x.test/u.png"),
        callee: astrologer("a1"),
        callee_profile: profile("Asha", "https://x.test/a.png"),
        call_type: CallType::Voice,
        channel: channel.into(),
        conversation_key: Pair::new(user("u1"), astrologer("a1")).expect("two").key(),
        consultation_id: Some("690000000000000000000005".into()),
        status: CallStatus::Ringing,
        ring_for: Duration::from_secs(60),
        at: at(1_000),
    }
}

fn step(id: CallId, from: &[CallStatus], to: CallStatus, number: i64) -> CallChange {
    CallChange { id, from: from.to_vec(), to, end: None, at: at(number) }
}

fn completed(by: Participant, notices: Notices) -> CallEnd {
    let detail = "completed".into();
    CallEnd { reason: EndReason::Completed, detail, by: Some(by), duration: 40, server_duration: 41, notices }
}

fn all_of(person: &Participant) -> CallQuery {
    CallQuery { person: person.clone(), call_type: None, statuses: Vec::new(), before: None, skip: 0, limit: 50, count_up_to: 1_000 }
}

async fn list(store: &MongoStore, query: CallQuery) -> Vec<Call> {
    let found = store.calls_of(query).await.expect("listed");
    assert_eq!(found.total, found.items.len() as u64);
    found.items
}

async fn find(store: &MongoStore, number: i64) -> Call {
    store.find_call(call_id(number)).await.expect("asked").expect("stored")
}

async fn applied(store: &MongoStore, change: CallChange) -> Call {
    match store.transition_call(change).await.expect("asked") {
        Transitioned::Applied(call) => *call,
        other => panic!("{other:?}"),
    }
}

fn call_id(number: i64) -> CallId {
    CallId::from_bytes(id_of(number).bytes())
}

fn numbers(calls: &[Call]) -> Vec<i64> {
    calls.iter().map(|call| (call.initiated_at.as_millis() - TEN) / 1_000).collect()
}

fn text<'a>(document: &'a Document, name: &str) -> &'a str {
    document.get_str(name).expect("a text")
}

/// Name and type of every field, in the order of the names.
fn shape(document: &Document) -> Vec<String> {
    let mut shape: Vec<String> = document.iter().map(|(name, value)| format!("{name} {:?}", value.element_type())).collect();
    shape.sort();
    shape
}

fn index(keys: Document, unique: bool) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(unique.then_some(true)).build()).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_node_backend_are_read_in_our_words() {
    let fixture = Fixture::new().await;
    // The status and end reason of N, then what they mean; `None` is a document without the field.
    let table = [
        ("initiated", None, CallStatus::Initiated, None, None),
        ("ringing", None, CallStatus::Ringing, None, None),
        ("accepted", None, CallStatus::Answered, None, None),
        ("connected", None, CallStatus::Ongoing, None, None),
        ("ended", Some("completed"), CallStatus::Ended, Some(EndReason::Completed), None),
        ("ended", None, CallStatus::Ended, None, None),
        ("ended", Some("battery died"), CallStatus::Ended, Some(EndReason::Completed), Some("battery died")),
        ("cancelled", Some("cancelled"), CallStatus::Ended, Some(EndReason::Cancelled), None),
        ("cancelled", None, CallStatus::Ended, Some(EndReason::Cancelled), None),
        ("cancelled", Some("oops"), CallStatus::Ended, Some(EndReason::Cancelled), Some("oops")),
        ("rejected", Some("declined"), CallStatus::Rejected, Some(EndReason::Rejected), Some("declined")),
        ("rejected", Some("busy"), CallStatus::Rejected, Some(EndReason::Rejected), Some("busy")),
        ("missed", Some("timeout"), CallStatus::Missed, Some(EndReason::NoAnswer), Some("timeout")),
        ("missed", Some("missed"), CallStatus::Missed, Some(EndReason::NoAnswer), Some("missed")),
        ("missed", Some("nobody there"), CallStatus::Missed, Some(EndReason::NoAnswer), Some("nobody there")),
        ("failed", Some("network_error"), CallStatus::Failed, Some(EndReason::NetworkError), None),
        ("failed", Some("boom"), CallStatus::Failed, Some(EndReason::NetworkError), Some("boom")),
        ("ringing", Some("odd"), CallStatus::Ringing, None, Some("odd")),
    ];
    let documents = (0..).zip(&table).map(|(number, (status, reason, ..))| {
        let call = node_call(number, status);
        if let Some(reason) = reason { with(call, doc! { "endReason": *reason }) } else { call }
    });
    fixture.insert("calls", documents).await;
    let store = fixture.store().await;
    for (number, (status, reason, read, end_reason, detail)) in (0..).zip(&table) {
        let call = find(&store, number).await;
        let expected = (*read, *end_reason, detail.map(str::to_owned));
        assert_eq!((call.status, call.end_reason, call.end_detail), expected, "{status} {reason:?}");
    }
    let listed = |statuses: &[CallStatus]| {
        let query = CallQuery { statuses: statuses.to_vec(), ..all_of(&user("u1")) };
        async { numbers(&list(&store, query).await) }
    };
    assert_eq!(listed(&[CallStatus::Answered]).await, [2]);
    assert_eq!(listed(&[CallStatus::Ongoing]).await, [3]);
    assert_eq!(listed(&[CallStatus::Ended]).await, [9, 8, 7, 6, 5, 4]);
    assert_eq!(listed(&[CallStatus::Failed, CallStatus::Rejected]).await, [16, 15, 11, 10]);
    // They need nobody: no deadline and no notices.
    assert_eq!(store.open_calls(None, 10).await.expect("asked"), []);
    assert_eq!(store.overdue_calls(at(9_999), at(9_999), 10).await.expect("asked"), []);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_either_dialect_is_read() {
    let fixture = Fixture::new().await;
    let node = doc! {
        "ringingAt": second(1), "acceptedAt": second(2), "connectedAt": second(3), "endedAt": second(43), "duration": 40.9,
        "serverDuration": 41_i64, "endReason": "completed", "endedBy": "a1", "endedByType": "astrologer", "recipientName": "Asha",
        "quality": { "rating": 4.0, "feedback": "good" }, "updatedAt": second(44),
    };
    let original = doc! { "answeredAt": second(52), "endedAt": second(60), "duration": 8_i64, "endReason": "no_answer", "endedBy": "u1" };
    fixture.insert("calls", [with(node_call(0, "ended"), node), with(original_call(50, "ended"), original)]).await;
    let store = fixture.store().await;
    let expected = Call {
        id: call_id(0),
        caller: user("u1"),
        caller_profile: profile("Uma", "https://x.test/u.png"),
        callee: astrologer("a1"),
        callee_profile: samvad::models::Profile { name: Some("Asha".into()), picture: None },
        call_type: CallType::Voice,
        channel: "channel_0".into(),
        conversation_key: None,
        consultation_id: None,
        status: CallStatus::Ended,
        ring_deadline: None,
        initiated_at: at(0),
        ringing_at: Some(at(1)),
        answered_at: Some(at(2)),
        connected_at: Some(at(3)),
        ended_at: Some(at(43)),
        duration: 40,
        server_duration: 41,
        end_reason: Some(EndReason::Completed),
        end_detail: None,
        ended_by: Some(astrologer("a1")),
        notices: Notices::default(),
        feedback: Some(Feedback { rating: 4, comment: Some("good".into()), by: None }),
        updated_at: at(44),
    };
    assert_eq!(find(&store, 0).await, expected);
    let original = Call {
        id: call_id(50),
        caller: astrologer("a1"),
        caller_profile: Default::default(),
        callee: user("u1"),
        callee_profile: Default::default(),
        call_type: CallType::Video,
        channel: "original_50".into(),
        // It refers to the document, whose id is no key.
        conversation_key: None,
        consultation_id: Some("050505050505050505050505".into()),
        initiated_at: at(50),
        ringing_at: None,
        answered_at: Some(at(52)),
        connected_at: None,
        ended_at: Some(at(60)),
        duration: 8,
        server_duration: 0,
        end_reason: Some(EndReason::NoAnswer),
        // S does not say of which kind he is.
        ended_by: Some(user("u1")),
        feedback: None,
        updated_at: at(50),
        ..expected
    };
    assert_eq!(find(&store, 50).await, original);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_node_backend_goes_on_with_us_and_keeps_what_is_not_ours() {
    let fixture = Fixture::new().await;
    let extras = doc! { "recording": { "isEnabled": true, "sid": "s1" }, "quality": { "feedback": "crackles" }, "billing": [1, 2.5] };
    fixture.insert("calls", [with(node_call(0, "ringing"), extras.clone()), node_call(1, "accepted")]).await;
    let store = fixture.store().await;
    let id = call_id(0);
    let call = applied(&store, step(id, CallStatus::RINGING, CallStatus::Answered, 5)).await;
    assert_eq!((call.status, call.answered_at), (CallStatus::Answered, Some(at(5))));
    applied(&store, step(id, &[CallStatus::Answered], CallStatus::Ongoing, 6)).await;
    let end = Some(completed(user("u1"), Notices::ALL));
    applied(&store, CallChange { end, ..step(id, CallStatus::TALKING, CallStatus::Ended, 46) }).await;
    assert_eq!(store.open_calls(None, 10).await.expect("asked").len(), 1);
    store.settle_notices(&[(id, Notices::ALL)]).await.expect("settled");
    store.rate_call(id, Feedback { rating: 3, comment: None, by: Some(user("u1")) }, at(47)).await.expect("rated");

    let stored = fixture.find("calls", id_of(0)).await;
    let quality = doc! {
        "feedback": "crackles", "rating": 3, "ratedBy": "u1", "ratedByType": "user", "ratedAt": second(47),
    };
    let sorted = |document: &Document| {
        let mut fields: Vec<_> = document.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    };
    assert_eq!(sorted(stored.get_document("quality").expect("there")), sorted(&quality));
    let written = doc! {
        "status": "ended", "answeredAt": second(5), "acceptedAt": second(5), "connectedAt": second(6), "endedAt": second(46),
        "endReason": "completed", "endDetail": "completed", "duration": 40, "serverDuration": 41, "endedBy": "u1", "endedByType": "user",
        "updatedAt": second(47), "quality": stored.get_document("quality").expect("there").clone(),
    };
    assert_eq!(sorted(&stored), sorted(&with(with(node_call(0, "ringing"), extras), written)));

    // Its own word for answered counts, too.
    let other = call_id(1);
    let refused = store.transition_call(step(other, CallStatus::RINGING, CallStatus::Missed, 7)).await.expect("asked");
    assert!(matches!(refused, Transitioned::Refused(call) if call.status == CallStatus::Answered));
    let call = applied(&store, step(other, &[CallStatus::Answered], CallStatus::Ongoing, 8)).await;
    assert_eq!(call.status, CallStatus::Ongoing);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_original_schema_are_adopted_and_listed_among_the_others() {
    let fixture = Fixture::new().await;
    let calls = fixture.database.collection::<Document>("calls");
    let mut documents: Vec<Document> = (0..1_203).map(|number| original_call(number, "ended")).collect();
    documents.push(node_call(1_300, "ended"));
    documents.push(with(original_call(1_301, "ended"), doc! { "callerId": "ops7", "callerType": "admin" }));
    // Nobody was called.
    documents.push(doc! { "_id": id_of(5_000), "callerId": "u7", "callerType": "user", "status": "ended", "callType": "voice" });
    fixture.insert("calls", documents).await;
    // Two nodes at once.
    let (store, second_node) = tokio::join!(fixture.store(), fixture.store());
    let ours = store.create_call(new_call("ours")).await.expect("stored");
    let found = store.calls_of(CallQuery { limit: 4, count_up_to: 5_000, ..all_of(&user("u1")) }).await.expect("listed");
    assert_eq!(found.total, 1_206);
    assert_eq!(numbers(&found.items), [1_301, 1_300, 1_202, 1_201]);
    let page = store.calls_of(CallQuery { before: Some(call_id(1_201)), limit: 2, ..all_of(&astrologer("a1")) }).await.expect("listed");
    assert_eq!(numbers(&page.items), [1_200, 1_199]);
    assert_eq!(list(&store, all_of(&admin("ops8"))).await.len(), 1);
    assert!(ours.id < call_id(1_201), "it began before the others");

    let stored = fixture.find("calls", id_of(3)).await;
    let names = doc! {
        "recipientId": "u1", "recipientType": "user", "channelName": "original_3", "startedAt": second(3),
    };
    assert_eq!(stored, with(original_call(3, "ended"), names), "nothing else changed, not even updatedAt");
    assert_eq!(calls.count_documents(doc! { "recipientId": null }).await.expect("counted"), 1);

    // What cannot be read is named, and in the way of nobody else.
    let error = store.find_call(call_id(5_000)).await.expect_err("unreadable");
    let Error::Internal(source) = error else { panic!("expected Internal") };
    assert!(source.to_string().contains(&id_of(5_000).to_hex()), "{source}");
    second_node.close().await;
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_of_the_node_backend_are_never_violated() {
    let fixture = Fixture::new().await;
    let calls = fixture.database.collection::<Document>("calls");
    let theirs = [
        index(doc! { "callerId": 1 }, false),
        index(doc! { "recipientId": 1 }, false),
        index(doc! { "channelName": 1 }, true),
        index(doc! { "startedAt": 1 }, false),
        index(doc! { "callerId": 1, "startedAt": -1 }, false),
        index(doc! { "recipientId": 1, "startedAt": -1 }, false),
        index(doc! { "status": 1, "startedAt": -1 }, false),
    ];
    calls.create_indexes(theirs).await.expect("created");
    // One without the name N is so particular about is all its index allows, and its channel is taken.
    let twin = with(original_call(1, "ended"), doc! { "agoraChannelName": "channel_0" });
    fixture.insert("calls", [node_call(0, "ended"), twin.clone()]).await;
    let store = fixture.store().await;
    assert_eq!(numbers(&list(&store, all_of(&user("u1"))).await), [1, 0]);
    let names = doc! { "recipientId": "u1", "recipientType": "user", "startedAt": second(1) };
    assert_eq!(fixture.find("calls", id_of(1)).await, with(twin, names));
    for number in 0..5 {
        let call = store.create_call(new_call(&format!("ours_{number}"))).await.expect("stored");
        let end = Some(completed(user("u1"), Notices::default()));
        applied(&store, CallChange { end, ..step(call.id, CallStatus::RINGING, CallStatus::Ended, 1_001) }).await;
    }
    let error = store.create_call(new_call("ours_0")).await.expect_err("the channel is taken");
    assert!(matches!(error, Error::Internal(_)), "{error:?}");
    // A second node, and a restart, find everything in place.
    let second_node = fixture.store().await;
    assert_eq!(list(&second_node, all_of(&user("u1"))).await.len(), 7);
    second_node.close().await;
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_has_exactly_these_fields_and_types() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let call = store.create_call(new_call("call_1")).await.expect("stored");
    let id = ObjectId::from_bytes(call.id.bytes());
    let stored = fixture.find("calls", id).await;
    let mut fields = vec![
        "__v Int32",
        "_id ObjectId",
        "agoraChannelName String",
        "agoraUid Int32",
        "callType String",
        "calleeId String",
        "calleeType String",
        "callerAvatar String",
        "callerId String",
        "callerName String",
        "callerType String",
        "channelName String",
        "consultationId ObjectId",
        "conversationId String",
        "createdAt DateTime",
        "duration Int32",
        "initiatedAt DateTime",
        "open Boolean",
        "recipientAvatar String",
        "recipientId String",
        "recipientName String",
        "recipientType String",
        "ringDeadline DateTime",
        "ringingAt DateTime",
        "startedAt DateTime",
        "status String",
        "updatedAt DateTime",
    ];
    assert_eq!(shape(&stored), fields);
    for (ours, theirs) in [
        ("calleeId", "recipientId"),
        ("calleeType", "recipientType"),
        ("agoraChannelName", "channelName"),
        ("initiatedAt", "startedAt"),
        ("initiatedAt", "createdAt"),
    ] {
        assert_eq!(stored.get(ours), stored.get(theirs), "{ours}");
    }
    assert_eq!((text(&stored, "conversationId"), text(&stored, "channelName")), ("user_u1_a1", "call_1"));

    applied(&store, step(call.id, CallStatus::RINGING, CallStatus::Answered, 1_002)).await;
    fields.retain(|field| *field != "ringDeadline DateTime");
    fields.extend(["acceptedAt DateTime", "answeredAt DateTime"]);
    fields.sort_unstable();
    let stored = fixture.find("calls", id).await;
    assert_eq!(shape(&stored), fields);
    assert_eq!(stored.get("answeredAt"), stored.get("acceptedAt"));
    assert_eq!(text(&stored, "status"), "answered");

    applied(&store, step(call.id, &[CallStatus::Answered], CallStatus::Ongoing, 1_003)).await;
    let end = Some(CallEnd { server_duration: 3_000_000_000, ..completed(astrologer("a1"), Notices { caller: false, ..Notices::ALL }) });
    applied(&store, CallChange { end, ..step(call.id, CallStatus::TALKING, CallStatus::Ended, 1_043) }).await;
    fields.extend(["connectedAt DateTime", "endDetail String", "endReason String", "endedAt DateTime", "endedBy String"]);
    fields.extend(["endedByType String", "notify Array", "serverDuration Int64"]);
    fields.sort_unstable();
    let stored = fixture.find("calls", id).await;
    assert_eq!(shape(&stored), fields);
    assert_eq!(stored.get("notify"), Some(&Bson::from(vec!["callee", "log"])));
    assert_eq!((text(&stored, "status"), stored.get("duration")), ("ended", Some(&Bson::Int32(40))));

    store.settle_notices(&[(call.id, Notices::ALL)]).await.expect("settled");
    fields.retain(|field| !["notify Array", "open Boolean"].contains(field));
    assert_eq!(shape(&fixture.find("calls", id).await), fields);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named() {
    let fixture = Fixture::new().await;
    let mut nobody = node_call(0, "ended");
    nobody.remove("recipientId");
    let broken = [
        nobody,
        node_call(1, "gone"),
        with(node_call(2, "ended"), doc! { "callType": "smoke" }),
        with(node_call(3, "ended"), doc! { "duration": "long" }),
        with(node_call(4, "ended"), doc! { "callerType": "robot" }),
    ];
    fixture.insert("calls", broken).await;
    let store = fixture.store().await;
    for (number, field) in [(0, "calleeId"), (1, "status"), (2, "callType"), (3, "duration"), (4, "callerType")] {
        let Error::Internal(source) = store.find_call(call_id(number)).await.expect_err(field) else { panic!("{field}") };
        let text = source.to_string();
        assert!(text.contains(&id_of(number).to_hex()) && text.contains(field), "{text}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_read_hardly_more_than_they_show() {
    let fixture = Fixture::new().await;
    // Many calls of others and of the past.
    let past = (0..3_000).map(|n| {
        let other = doc! { "callerId": format!("u{}", n + 10), "recipientId": format!("a{}", n + 10), "endedAt": second(n) };
        with(node_call(n, "ended"), other)
    });
    fixture.insert("calls", past).await;
    let store = fixture.store().await;
    for number in 0..30 {
        let call = store.create_call(NewCall { at: at(4_000 + number), ..new_call(&format!("ours_{number}")) }).await.expect("stored");
        if number % 3 > 0 {
            let to = if number % 3 == 1 { CallStatus::Answered } else { CallStatus::Ended };
            let end = to.is_over().then(|| completed(user("u1"), Notices::ALL));
            applied(&store, CallChange { end, ..step(call.id, CallStatus::RINGING, to, 4_000 + number) }).await;
        }
    }
    fixture.database.run_command(doc! { "profile": 2 }).await.expect("set");
    let all = store.calls_of(CallQuery { limit: 10, ..all_of(&user("u1")) }).await.expect("listed");
    assert_eq!((all.items.len(), all.has_more, all.total), (10, true, 30));
    assert_eq!(store.open_calls(None, 100).await.expect("listed").len(), 30);
    assert_eq!(store.open_calls(Some(all.items[9].id), 5).await.expect("listed").len(), 5);
    assert_eq!(store.overdue_calls(at(9_999), at(9_999), 5).await.expect("listed").len(), 10);
    fixture.database.run_command(doc! { "profile": 0 }).await.expect("set");
    let profile = fixture.database.collection::<Document>("system.profile");
    let of_calls = doc! { "ns": format!("{}.calls", fixture.database.name()) };
    let looked: Vec<Document> = profile.find(of_calls).await.expect("asked").try_collect().await.expect("read");
    assert_eq!(looked.len(), 6, "{looked:#?}");
    for one in &looked {
        let examined = one.get("docsExamined").and_then(|n| n.as_i32().map(i64::from).or_else(|| n.as_i64())).expect("profiled");
        assert!(examined <= 31, "{examined} examined: {one:#?}");
    }
    fixture.done(store).await;
}
