//! What other programs keep in MongoDB about who has dealt with whom and whose account is in order, and what we write ourselves.
//!
//! Needs `TEST_MONGODB_URI`: `scripts/mongod run -- cargo test mongo_trust`.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use samvad::error::Error;
use samvad::models::{Account, AuditAction, AuditEntry, Relation, Revocation, Timestamp};
use samvad::store::Store;
use samvad::store::mongo::MongoStore;

use crate::support::mongo::Fixture;
use crate::support::people::{admin, astrologer, user};

/// 2025-12-20T10:00:00Z.
const TEN: i64 = 1_766_224_800_000;
const USER: &str = "690000000000000000000001";
const ASTROLOGER: &str = "690000000000000000000002";
const PHONE: &str = "+911234567890";

fn at(number: i64) -> Timestamp {
    Timestamp::from_millis(TEN + number * 1_000)
}

fn second(number: i64) -> DateTime {
    DateTime::from_millis(TEN + number * 1_000)
}

fn oid(hex: &str) -> Bson {
    Bson::ObjectId(ObjectId::parse_str(hex).expect("hex"))
}

fn text(text: &str) -> Bson {
    Bson::from(text)
}

/// Both ways a program may store this id.
fn forms(hex: &str) -> [Bson; 2] {
    [oid(hex), text(hex)]
}

/// An id that ends in these digits.
fn numbered(number: usize) -> String {
    format!("69{number:022}")
}

async fn related(store: &MongoStore, user: &str, astrologer: &str, phone: Option<&str>) -> bool {
    store.are_related(user, astrologer, phone).await.expect("asked")
}

fn relation(user: &str, astrologer: &str) -> Relation {
    Relation { user: user.into(), astrologer: astrologer.into(), consultation_id: Some("c1".into()), at: at(3) }
}

fn entry(number: i64, action: AuditAction) -> AuditEntry {
    AuditEntry { at: at(number), actor: "admin:ops7".into(), action, subject: "user_u1_a1".into(), detail: Some("history".into()) }
}

async fn collections(fixture: &Fixture) -> Vec<String> {
    let mut names = fixture.database.list_collection_names().await.expect("asked");
    names.sort();
    names
}

/// Makes a collection that takes half a minute to look through.
async fn make_slow(fixture: &Fixture, collection: &str) {
    // All but the astrologer is u1's, and whose each one is takes a while to compute: no filter can be applied before. A single long
    // sleep would not do, the server does not wake from it.
    let theirs = (0..3_000).map(|_| doc! { "userId": "u1", "clientId": "u1", "clientPhone": PHONE });
    fixture.insert("slow", theirs).await;
    let slowly = doc! { "$function": { "body": "function() { sleep(10); return 'a9'; }", "args": [], "lang": "js" } };
    let view = doc! { "create": collection, "viewOn": "slow", "pipeline": [{ "$addFields": { "astrologerId": slowly } }] };
    fixture.database.run_command(view).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_requests_and_sessions_relate_whichever_way_they_store_ids() {
    for (collection, user_field) in [("servicerequests", "userId"), ("sessions", "clientId")] {
        let fixture = Fixture::new().await;
        let store = fixture.store().await;
        let mut pairs = Vec::new();
        for user in 0..2 {
            for astrologer in 0..2 {
                let number = 10 + pairs.len() * 2;
                let ids = (numbered(number), numbered(number + 1));
                let document = doc! { user_field: forms(&ids.0)[user].clone(), "astrologerId": forms(&ids.1)[astrologer].clone() };
                assert!(!related(&store, &ids.0, &ids.1, None).await);
                fixture.insert(collection, [document]).await;
                pairs.push(ids);
            }
        }
        // Ids that are no ObjectIds.
        fixture.insert(collection, [doc! { user_field: "u_1", "astrologerId": "a-1" }]).await;
        pairs.push(("u_1".into(), "a-1".into()));
        for (n, (user, astrologer)) in pairs.iter().enumerate() {
            assert!(related(&store, user, astrologer, None).await, "{collection} {user} {astrologer}");
            assert!(related(&store, user, astrologer, Some(PHONE)).await, "{collection} {user} {astrologer}");
            assert!(!related(&store, astrologer, user, None).await, "{collection} {user} {astrologer}");
            let (_, stranger) = &pairs[(n + 1) % pairs.len()];
            assert!(!related(&store, user, stranger, None).await, "{collection} {user} {stranger}");
        }
        // The names of another collection, and half a fact, say nothing.
        let other_field = if user_field == "userId" { "clientId" } else { "userId" };
        fixture.insert(collection, [doc! { other_field: USER, "astrologerId": ASTROLOGER }, doc! { user_field: USER }]).await;
        fixture.insert(collection, [doc! { user_field: USER, "astrologerId": null }, doc! { "astrologerId": ASTROLOGER }]).await;
        assert!(!related(&store, USER, ASTROLOGER, None).await, "{collection}");
        assert!(!store.has_relations().await.expect("asked"), "those are not ours");
        fixture.done(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consultations_know_the_user_by_the_phone_of_his_token() {
    for astrologer in forms(ASTROLOGER) {
        let fixture = Fixture::new().await;
        fixture.insert("consultations", [doc! { "astrologerId": astrologer, "clientPhone": PHONE, "userId": "u7" }]).await;
        let store = fixture.store().await;
        assert!(related(&store, USER, ASTROLOGER, Some(PHONE)).await);
        assert!(related(&store, "anyone", ASTROLOGER, Some(PHONE)).await);
        for phone in [None, Some("+911234567891"), Some("911234567890"), Some(""), Some("{\"$gt\":\"\"}"), Some("$clientPhone")] {
            assert!(!related(&store, USER, ASTROLOGER, phone).await, "{phone:?}");
        }
        // It has no user id, whatever the field is called.
        assert!(!related(&store, "u7", ASTROLOGER, None).await);
        assert!(!related(&store, USER, &numbered(9), Some(PHONE)).await);
        fixture.done(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_phone_in_the_token_the_one_in_users_counts() {
    for id in forms(USER) {
        let fixture = Fixture::new().await;
        let users = [
            doc! { "_id": id.clone(), "phone": PHONE },
            doc! { "_id": "u_2", "phone": "+912" },
            doc! { "_id": oid(&numbered(3)), "phone": "+913" },
        ];
        fixture.insert("users", users).await;
        let consultations =
            [doc! { "astrologerId": ASTROLOGER, "clientPhone": PHONE }, doc! { "astrologerId": "a2", "clientPhone": "+912" }];
        fixture.insert("consultations", consultations).await;
        let store = fixture.store().await;
        for no_phone in [None, Some(""), Some(" ")] {
            assert!(related(&store, USER, ASTROLOGER, no_phone).await, "{id} {no_phone:?}");
            assert!(related(&store, "u_2", "a2", no_phone).await);
            assert!(!related(&store, USER, "a2", no_phone).await);
            assert!(!related(&store, "u_2", ASTROLOGER, no_phone).await);
            assert!(!related(&store, &numbered(3), ASTROLOGER, no_phone).await);
            assert!(!related(&store, "unknown", ASTROLOGER, no_phone).await);
        }
        // What the token states goes before what lies there.
        assert!(!related(&store, USER, ASTROLOGER, Some("+912")).await);
        fixture.done(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_missing_on_either_side_matches_nothing() {
    let fixture = Fixture::new().await;
    let empty = [Some(text("")), Some(text("  ")), Some(Bson::Null), None, Some(Bson::Int64(91)), Some(Bson::Array(vec![text("")]))];
    let with = |mut document: Document, name: &str, phone: &Option<Bson>| {
        document.extend(phone.clone().map(|phone| (name.to_owned(), phone)));
        document
    };
    let users = empty.iter().enumerate().map(|(n, phone)| with(doc! { "_id": oid(&numbered(n)) }, "phone", phone));
    fixture.insert("users", users).await;
    fixture.insert("consultations", empty.iter().map(|phone| with(doc! { "astrologerId": "a1" }, "clientPhone", phone))).await;
    let store = fixture.store().await;
    for n in 0..=empty.len() {
        for phone in [None, Some(""), Some("  "), Some("91"), Some("null")] {
            assert!(!related(&store, &numbered(n), "a1", phone).await, "{n} {phone:?}");
        }
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_older_programs_relate_their_members() {
    let fixture = Fixture::new().await;
    let member = |kind: &str, id: Bson| doc! { "id": id, "type": kind };
    let (u, a) = (|id: &str| member("user", oid(id)), |id: &str| member("astrologer", text(id)));
    let conversation = |key: &str, members: [Document; 2]| {
        doc! { "conversationId": key, "participants": members.to_vec(), "lastMessageAt": second(0), "createdAt": second(0) }
    };
    let store = fixture.store().await;
    let documents = [
        conversation("free text", [u(&numbered(1)), a(&numbered(2))]),
        // A key is a text anybody could choose.
        conversation("user_u5_a5", [member("admin", text("admin")), member("astrologer", text("a5"))]),
        conversation("elsewhere", [u(&numbered(3)), member("admin", text(&numbered(4)))]),
    ];
    fixture.insert("directconversations", documents).await;
    // Of the original schema, which has no keys, after the start.
    let keyless = doc! { "participants": [a("a6"), member("user", text("u6"))], "createdAt": second(0), "updatedAt": second(0) };
    fixture.insert("directconversations", [keyless]).await;
    assert!(related(&store, &numbered(1), &numbered(2), None).await);
    assert!(related(&store, "u6", "a6", None).await);
    for (user, astrologer) in [(numbered(2), numbered(1)), (numbered(3), numbered(4)), (numbered(1), numbered(4))] {
        assert!(!related(&store, &user, &astrologer, None).await, "{user} {astrologer}");
    }
    assert!(!related(&store, "u5", "a5", None).await);
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_are_not_there_hold_nothing_and_are_not_made() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let before = collections(&fixture).await;
    for phone in [None, Some(PHONE)] {
        assert!(!related(&store, USER, ASTROLOGER, phone).await);
    }
    assert_eq!(store.find_accounts(&[ASTROLOGER.into()]).await.expect("asked"), None);
    assert_eq!(collections(&fixture).await, before);
    for ours in ["samvadaudit", "samvadrelations", "samvadrevocations"] {
        assert!(before.iter().any(|name| name == ours), "{ours} of {before:?}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_keep_is_only_read() {
    let fixture = Fixture::new().await;
    let names = ["servicerequests", "sessions", "consultations", "users", "astrologers"];
    for name in names {
        fixture.insert(name, [doc! { "_id": oid(ASTROLOGER), "phone": PHONE, "activeSession": { "sessionId": "s1" } }]).await;
    }
    let store = fixture.store().await;
    assert!(!related(&store, ASTROLOGER, ASTROLOGER, None).await);
    assert!(store.find_accounts(&[ASTROLOGER.into()]).await.expect("asked").is_some());
    assert!(store.add_relation(relation(ASTROLOGER, ASTROLOGER)).await.expect("noted"));
    store.revoke(Revocation { person: astrologer(ASTROLOGER), until: at(0) }).await.expect("stored");
    for name in names {
        let collection = fixture.database.collection::<Document>(name);
        let documents: Vec<Document> = collection.find(doc! {}).await.expect("asked").try_collect().await.expect("read");
        assert_eq!(documents, [doc! { "_id": oid(ASTROLOGER), "phone": PHONE, "activeSession": { "sessionId": "s1" } }], "{name}");
        assert_eq!(collection.list_index_names().await.expect("asked"), ["_id_"], "{name}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_takes_too_long_is_unavailable_unless_another_one_knows() {
    for slow in ["servicerequests", "sessions", "consultations"] {
        let fixture = Fixture::new().await;
        make_slow(&fixture, slow).await;
        if slow != "consultations" {
            fixture.insert("consultations", [doc! { "astrologerId": "a2", "clientPhone": PHONE }]).await;
        }
        let store = fixture.store().await;
        let started = Instant::now();
        let error = store.are_related("u1", "a1", Some(PHONE)).await.expect_err("nobody knows");
        assert!(matches!(error, Error::Unavailable(_)), "{slow}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{slow}: {:?}", started.elapsed());
        if slow != "consultations" {
            assert!(related(&store, "u1", "a2", Some(PHONE)).await, "{slow}");
        }
        // What is ours is asked first.
        store.add_relation(relation("u1", "a1")).await.expect("noted");
        let started = Instant::now();
        assert!(related(&store, "u1", "a1", Some(PHONE)).await);
        assert!(started.elapsed() < Duration::from_millis(900), "{slow}: {:?}", started.elapsed());
        fixture.done(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_read_whichever_way_they_are_stored() {
    let session =
        |id: &str| doc! { "sessionId": id, "deviceInfo": { "platform": "android" }, "createdAt": second(0), "lastSeenAt": second(1) };
    let signed_in = |id: &str| Account { session_id: Some(id.into()), is_suspended: false, is_switched_on: None };
    let nobody = Account::default();
    let suspended = Account { is_suspended: true, ..Account::default() };
    let table = [
        (doc! { "activeSession": session("s1"), "isSuspended": false }, signed_in("s1")),
        (doc! { "activeSession": session("s1") }, signed_in("s1")),
        (doc! { "activeSession": session("s1"), "isSuspended": null }, signed_in("s1")),
        (
            doc! { "activeSession": session("s2"), "isSuspended": true, "suspensionReason": "x" },
            Account { is_suspended: true, ..signed_in("s2") },
        ),
        (doc! { "activeSession": null, "isSuspended": false }, nobody.clone()),
        (doc! { "isSuspended": false }, nobody.clone()),
        (doc! {}, nobody.clone()),
        (doc! { "activeSession": {} }, nobody.clone()),
        (doc! { "activeSession": { "sessionId": null } }, nobody.clone()),
        (doc! { "activeSession": { "sessionId": "" } }, nobody.clone()),
        (doc! { "activeSession": { "sessionId": 7 } }, nobody.clone()),
        (doc! { "activeSession": "s1" }, nobody.clone()),
        (doc! { "activeSession": [session("s1")] }, nobody.clone()),
        (doc! { "isSuspended": true }, suspended.clone()),
        // What was not written through their schema.
        (doc! { "isSuspended": 1 }, suspended.clone()),
        (doc! { "isSuspended": "true" }, suspended),
        (doc! { "isSuspended": 0 }, nobody.clone()),
        (doc! { "isSuspended": "false" }, nobody),
    ];
    let fixture = Fixture::new().await;
    let (mut documents, mut expected) = (Vec::new(), Vec::new());
    for (n, (fields, account)) in table.into_iter().enumerate() {
        for (form, id) in [numbered(n * 2), numbered(n * 2 + 1)].into_iter().enumerate() {
            let mut document = doc! { "_id": forms(&id)[form].clone(), "name": "Asha" };
            document.extend(fields.clone());
            documents.push(document);
            expected.push((id, account.clone()));
        }
    }
    documents.push(doc! { "_id": "a_1", "activeSession": session("s9") });
    expected.push(("a_1".into(), signed_in("s9")));
    documents.push(doc! { "_id": numbered(999), "activeSession": session("not asked for") });
    fixture.insert("astrologers", documents).await;
    let store = fixture.store().await;
    let mut asked: Vec<String> = expected.iter().map(|(id, _)| id.clone()).collect();
    asked.extend(["unknown".into(), numbered(998), "$ne".into(), String::new()]);
    let mut found = store.find_accounts(&asked).await.expect("asked").expect("they are kept");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, expected);
    assert_eq!(store.find_accounts(&[]).await.expect("asked"), Some(Vec::new()));
    assert_eq!(store.find_accounts(&["unknown".into()]).await.expect("asked"), Some(Vec::new()));
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_looked_for_again_only_after_a_while_and_never_once_they_were_there() {
    let fixture = Fixture::new().await;
    let first = fixture.store().await;
    let asked = [ASTROLOGER.to_owned()];
    assert_eq!(first.find_accounts(&asked).await.expect("asked"), None);
    fixture.insert("astrologers", [doc! { "_id": oid(ASTROLOGER) }]).await;
    assert_eq!(first.find_accounts(&asked).await.expect("asked"), None, "it was asked a moment ago");
    let second = fixture.store().await;
    assert_eq!(second.find_accounts(&asked).await.expect("asked"), Some(vec![(ASTROLOGER.into(), Account::default())]));
    // Who loses his account is unknown; he is not somewhere without accounts.
    fixture.database.collection::<Document>("astrologers").drop().await.expect("dropped");
    assert_eq!(second.find_accounts(&asked).await.expect("asked"), Some(Vec::new()));
    first.close().await;
    fixture.done(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_about_trust_has_exactly_these_fields_and_types() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let only = async |name: &str| {
        let collection = fixture.database.collection::<Document>(name);
        let mut found: Vec<Document> = collection.find(doc! {}).await.expect("asked").try_collect().await.expect("read");
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found.remove(0)
    };
    assert!(store.add_relation(relation(USER, "a_1")).await.expect("noted"));
    assert!(!store.add_relation(Relation { consultation_id: None, at: at(9), ..relation(USER, "a_1") }).await.expect("noted"));
    let mut stored = only("samvadrelations").await;
    assert!(matches!(stored.remove("_id"), Some(Bson::ObjectId(_))));
    assert_eq!(stored, doc! { "userId": USER, "astrologerId": "a_1", "consultationId": "c1", "createdAt": second(3) });

    store.append_audit(vec![entry(4, AuditAction::RefusedKey)]).await.expect("added");
    let mut stored = only("samvadaudit").await;
    assert!(matches!(stored.remove("_id"), Some(Bson::ObjectId(_))));
    let expected = doc! { "at": second(4), "actor": "admin:ops7", "action": "refused_key", "subject": "user_u1_a1", "detail": "history" };
    assert_eq!(stored, expected);

    for until in [5, 4] {
        store.revoke(Revocation { person: admin("ops7"), until: at(until) }).await.expect("stored");
    }
    let mut stored = only("samvadrevocations").await;
    assert!(matches!(stored.remove("_id"), Some(Bson::ObjectId(_))));
    let mut fields: Vec<(String, Bson)> = stored.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = doc! { "personId": "ops7", "personType": "admin", "until": second(5) };
    assert_eq!(fields, expected.into_iter().collect::<Vec<_>>());

    // Nothing is written for what is absent.
    store.append_audit(vec![AuditEntry { detail: None, ..entry(5, AuditAction::Read) }]).await.expect("added");
    store.add_relation(Relation { consultation_id: None, ..relation("u2", "a2") }).await.expect("noted");
    let absent = [("samvadaudit", "action", "read", "detail"), ("samvadrelations", "userId", "u2", "consultationId")];
    for (name, field, value, missing) in absent {
        let found = fixture.database.collection::<Document>(name).find_one(doc! { field: value }).await.expect("asked").expect("stored");
        assert!(!found.contains_key(missing), "{found}");
    }
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_ours_is_named() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let id = ObjectId::new();
    let good = doc! { "_id": id, "at": second(0), "actor": "admin:x", "action": "read", "subject": "s" };
    let audit = fixture.database.collection::<Document>("samvadaudit");
    for (field, broken) in [("action", text("gossip")), ("at", text("late")), ("actor", Bson::Null), ("subject", Bson::Int32(1))] {
        let mut document = good.clone();
        document.insert(field, broken);
        fixture.insert("samvadaudit", [document]).await;
        let Error::Internal(source) = store.audit_trail(None, None, 10).await.expect_err(field) else { panic!("{field}") };
        let story = source.to_string();
        assert!(story.contains(&id.to_hex()) && story.contains(field), "{story}");
        audit.delete_many(doc! {}).await.expect("deleted");
    }
    fixture.insert("samvadrevocations", [doc! { "_id": id, "personType": "user", "personId": "u1" }]).await;
    let Error::Internal(source) = store.revocations(None).await.expect_err("no date") else { panic!("expected Internal") };
    assert!(source.to_string().contains(&id.to_hex()) && source.to_string().contains("until"), "{source}");
    fixture.done(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_note_a_relation_and_a_revocation_once() {
    let fixture = Fixture::new().await;
    let (one, other) = (fixture.store().await, fixture.store().await);
    for n in 0..20 {
        let person = user(&format!("u{n}"));
        let noted = tokio::join!(one.add_relation(relation(person.id(), "a1")), other.add_relation(relation(person.id(), "a1")));
        assert!(noted.0.expect("noted") != noted.1.expect("noted"), "exactly one was first");
        let revocation = |until| Revocation { person: person.clone(), until: at(until) };
        let revoked = tokio::join!(one.revoke(revocation(n)), other.revoke(revocation(n + 1)));
        assert!(revoked.0.is_ok() && revoked.1.is_ok(), "{revoked:?}");
    }
    let found = one.revocations(None).await.expect("asked");
    assert_eq!(found.len(), 20);
    for (n, revocation) in (0..).zip(found) {
        let expected = Revocation { person: user(&format!("u{n}")), until: at(n + 1) };
        assert_eq!(revocation, expected);
    }
    other.close().await;
    fixture.done(one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_trust_read_hardly_more_than_they_answer() {
    let fixture = Fixture::new().await;
    let store = fixture.store().await;
    let mut entries: Vec<AuditEntry> = (0..3_000).map(|n| entry(n, AuditAction::Read)).collect();
    entries.extend((0..20).map(|n| entry(n, AuditAction::RefusedKey)));
    store.append_audit(entries).await.expect("added");
    let relations = (0..3_000).map(|n| doc! { "userId": format!("u{n}"), "astrologerId": "a1", "createdAt": second(0) });
    fixture.insert("samvadrelations", relations).await;
    let conversations = (10..3_010).map(|n| {
        let (key, user) = (format!("user_u{n}_a2"), format!("u{n}"));
        let members = [doc! { "id": user, "type": "user" }, doc! { "id": "a2", "type": "astrologer" }];
        doc! { "conversationId": key, "participants": members.to_vec(), "lastMessageAt": second(0) }
    });
    fixture.insert("directconversations", conversations).await;
    let astrologers = (0..3_000).map(|n| doc! { "_id": oid(&numbered(n)), "name": "x".repeat(100) });
    fixture.insert("astrologers", astrologers).await;
    fixture.database.run_command(doc! { "profile": 2 }).await.expect("set");
    assert_eq!(store.audit_trail(None, None, 10).await.expect("read").len(), 10);
    assert_eq!(store.audit_trail(Some(AuditAction::RefusedKey), None, 10).await.expect("read").len(), 10);
    assert_eq!(store.audit_trail(Some(AuditAction::RefusedKey), Some(at(5)), 10).await.expect("read").len(), 5);
    assert!(related(&store, "u2999", "a1", None).await);
    assert!(related(&store, "u2999", "a2", None).await);
    assert!(!related(&store, "u2999", "a3", None).await);
    assert!(store.has_relations().await.expect("asked"));
    assert_eq!(store.find_accounts(&[numbered(7), numbered(8)]).await.expect("asked").expect("kept").len(), 2);
    fixture.database.run_command(doc! { "profile": 0 }).await.expect("set");
    let profile = fixture.database.collection::<Document>("system.profile");
    let looked: Vec<Document> = profile.find(doc! { "op": "query" }).await.expect("asked").try_collect().await.expect("read");
    assert!(looked.len() >= 10, "{looked:#?}");
    for one in looked.iter().filter(|one| one.get_str("ns").is_ok_and(|ns| !ns.ends_with("system.profile"))) {
        let examined = one.get("docsExamined").and_then(|n| n.as_i32().map(i64::from).or_else(|| n.as_i64())).unwrap_or(0);
        assert!(examined <= 11, "{examined} examined: {one:#?}");
    }
    fixture.done(store).await;
}
