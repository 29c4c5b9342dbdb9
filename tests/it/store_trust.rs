//! What every store promises about trust: the sentences of `samvad::store::Store`, each written once and run on every driver.

use std::sync::Arc;

use futures_util::future::join_all;
use samvad::error::Error;
use samvad::models::{AuditAction, AuditEntry, Pair, Participant, Profile, Relation, Revocation};
use samvad::store::sqlite::SqliteStore;
use samvad::store::{NewConversation, Store};

use crate::support::people::{admin, astrologer, at, user};
use crate::support::stores::on_every_driver;

on_every_driver!(
    a_noted_relation_relates_exactly_these_two,
    ids_that_read_alike_are_different_people,
    repeating_a_relation_changes_nothing_and_says_so,
    of_many_who_note_the_same_relation_exactly_one_is_first,
    a_conversation_relates_exactly_its_two_and_is_no_relation_of_ours,
    what_is_no_id_is_related_to_nobody,
    a_phone_alone_relates_nobody,
    without_other_programs_there_are_no_accounts,
    the_audit_trail_is_told_newest_first_with_exactly_its_fields,
    entries_of_the_same_moment_keep_their_order,
    the_audit_trail_is_asked_by_kind_moment_and_length,
    the_last_revocation_counts_whatever_the_order,
    a_revocation_is_of_one_kind_and_id,
    of_many_revocations_at_once_the_last_counts,
    revocations_are_told_from_a_moment_on_and_forgotten_before_one,
);

async fn a_noted_relation_relates_exactly_these_two(store: Arc<dyn Store>) {
    assert!(!related(&store, "u1", "a1").await);
    assert!(!store.has_relations().await.unwrap());
    assert!(store.add_relation(relation("u1", "a1")).await.unwrap());
    assert!(store.has_relations().await.unwrap());
    assert!(related(&store, "u1", "a1").await);
    for (user, astrologer) in [("a1", "u1"), ("u1", "a2"), ("u2", "a1"), ("u1", "u1"), ("a1", "a1"), ("U1", "a1")] {
        assert!(!related(&store, user, astrologer).await, "{user} and {astrologer}");
    }
}

async fn ids_that_read_alike_are_different_people(store: Arc<dyn Store>) {
    assert!(store.add_relation(relation("u_1", "a")).await.unwrap());
    open(&store, user("x_1"), astrologer("a")).await;
    assert!(related(&store, "u_1", "a").await);
    assert!(related(&store, "x_1", "a").await);
    for (user, astrologer) in [("u", "1_a"), ("u-1", "a"), ("x", "1_a"), ("x-1", "a"), ("u_", "a")] {
        assert!(!related(&store, user, astrologer).await, "{user} and {astrologer}");
    }
}

async fn repeating_a_relation_changes_nothing_and_says_so(store: Arc<dyn Store>) {
    assert!(store.add_relation(relation("u1", "a1")).await.unwrap());
    assert!(!store.add_relation(relation("u1", "a1")).await.unwrap());
    assert!(!store.add_relation(Relation { consultation_id: None, at: at(9_000), ..relation("u1", "a1") }).await.unwrap());
    assert!(store.add_relation(relation("u1", "a2")).await.unwrap());
    assert!(store.add_relation(relation("u2", "a1")).await.unwrap());
    assert!(related(&store, "u1", "a1").await);
}

async fn of_many_who_note_the_same_relation_exactly_one_is_first(store: Arc<dyn Store>) {
    let notes = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.add_relation(relation("u1", "a1")).await.unwrap() })
    });
    let first = join_all(notes).await.into_iter().filter(|outcome| *outcome.as_ref().unwrap()).count();
    assert_eq!(first, 1);
}

async fn a_conversation_relates_exactly_its_two_and_is_no_relation_of_ours(store: Arc<dyn Store>) {
    open(&store, user("u1"), astrologer("a1")).await;
    open(&store, user("u2"), astrologer("a2")).await;
    // Talking to the same admin is no dealing with each other, and the same id of another kind is somebody else.
    open(&store, user("u1"), admin("ops7")).await;
    open(&store, astrologer("a2"), admin("ops7")).await;
    open(&store, user("same"), astrologer("same")).await;
    open(&store, user("left"), astrologer("right")).await;
    for (user, astrologer) in [("u1", "a1"), ("u2", "a2"), ("same", "same"), ("left", "right")] {
        assert!(related(&store, user, astrologer).await, "{user} and {astrologer}");
    }
    for (user, astrologer) in [("u1", "a2"), ("u2", "a1"), ("a1", "u1"), ("right", "left"), ("same", "a1"), ("u1", "same")] {
        assert!(!related(&store, user, astrologer).await, "{user} and {astrologer}");
    }
    assert!(!store.has_relations().await.unwrap());
    // It may be noted all the same.
    assert!(store.add_relation(relation("u1", "a1")).await.unwrap());
}

async fn what_is_no_id_is_related_to_nobody(store: Arc<dyn Store>) {
    store.add_relation(relation("u1", "a1")).await.unwrap();
    open(&store, user("u1"), astrologer("a1")).await;
    // The id of the admins is no user's and no astrologer's.
    for odd in ["", "$ne", "{\"$gt\":\"\"}", "u1.x", "u 1", "admin", &"u".repeat(65), "%", "u1\0"] {
        for (user, astrologer) in [(odd, "a1"), ("u1", odd), (odd, odd)] {
            assert!(!related(&store, user, astrologer).await, "{user:?} and {astrologer:?}");
            let error = store.add_relation(relation(user, astrologer)).await.unwrap_err();
            assert!(matches!(error, Error::InvalidId(_)), "{user:?} and {astrologer:?}: {error:?}");
        }
    }
}

async fn a_phone_alone_relates_nobody(store: Arc<dyn Store>) {
    store.add_relation(relation("u2", "a1")).await.unwrap();
    for phone in [None, Some(""), Some("+911234567890")] {
        assert!(!store.are_related("u1", "a1", phone).await.unwrap(), "{phone:?}");
        assert!(store.are_related("u2", "a1", phone).await.unwrap(), "{phone:?}");
    }
}

async fn without_other_programs_there_are_no_accounts(store: Arc<dyn Store>) {
    open(&store, user("u1"), astrologer("a1")).await;
    assert_eq!(store.find_accounts(&["a1".into()]).await.unwrap(), None);
    assert_eq!(store.find_accounts(&[]).await.unwrap(), None);
}

async fn the_audit_trail_is_told_newest_first_with_exactly_its_fields(store: Arc<dyn Store>) {
    assert_eq!(trail(&store).await, []);
    store.append_audit(Vec::new()).await.unwrap();
    assert_eq!(trail(&store).await, []);
    let mut entries: Vec<AuditEntry> = (0..).zip(AuditAction::ALL).map(|(n, action)| entry(n * 1_000, action, &format!("s{n}"))).collect();
    entries[1].detail = Some("from \u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}, with 'quotes' and $signs.too".into());
    entries[4].actor = "203.0.113.7".into();
    // In two batches, the newer one first.
    store.append_audit(entries[3..].to_vec()).await.unwrap();
    store.append_audit(entries[..3].to_vec()).await.unwrap();
    entries.reverse();
    assert_eq!(trail(&store).await, entries);
}

async fn entries_of_the_same_moment_keep_their_order(store: Arc<dyn Store>) {
    for batch in 0..3 {
        let subject = |n| format!("{batch}-{n}");
        store.append_audit((0..4).map(|n| entry(0, AuditAction::Read, &subject(n))).collect()).await.unwrap();
    }
    let expected: Vec<String> = (0..3).rev().flat_map(|batch| (0..4).rev().map(move |n| format!("{batch}-{n}"))).collect();
    assert_eq!(subjects(&trail(&store).await), expected);
}

async fn the_audit_trail_is_asked_by_kind_moment_and_length(store: Arc<dyn Store>) {
    use AuditAction::{Read, RefusedKey, Revoke};
    let kinds = [Read, RefusedKey, Read, Read, RefusedKey, Read];
    let entries = (0..).zip(kinds).map(|(n, action)| entry(n * 1_000, action, &n.to_string()));
    store.append_audit(entries.collect()).await.unwrap();
    for (action, before, limit, expected) in [
        (None, None, 100, vec!["5", "4", "3", "2", "1", "0"]),
        (None, None, 2, vec!["5", "4"]),
        (None, None, 0, vec![]),
        (None, Some(3_000), 100, vec!["2", "1", "0"]),
        (None, Some(3_001), 2, vec!["3", "2"]),
        (None, Some(0), 100, vec![]),
        (Some(Read), None, 100, vec!["5", "3", "2", "0"]),
        (Some(Read), None, 3, vec!["5", "3", "2"]),
        (Some(Read), Some(3_000), 1, vec!["2"]),
        (Some(Read), None, 0, vec![]),
        (Some(RefusedKey), Some(4_000), 100, vec!["1"]),
        (Some(Revoke), None, 100, vec![]),
    ] {
        let found = store.audit_trail(action, before.map(at), limit).await.unwrap();
        assert_eq!(subjects(&found), expected, "{action:?} before {before:?}, {limit} of them");
    }
    assert_eq!(store.audit_trail(None, None, usize::MAX).await.unwrap().len(), 6);
}

async fn the_last_revocation_counts_whatever_the_order(store: Arc<dyn Store>) {
    assert_eq!(store.revocations(None).await.unwrap(), []);
    for (until, expected) in [(5_000, 5_000), (4_000, 5_000), (5_000, 5_000), (9_000, 9_000), (0, 9_000)] {
        store.revoke(revocation(&user("u1"), until)).await.unwrap();
        assert_eq!(store.revocations(None).await.unwrap(), [revocation(&user("u1"), expected)]);
    }
}

async fn a_revocation_is_of_one_kind_and_id(store: Arc<dyn Store>) {
    // An admin with an id of his own is not all of them.
    let people = [user("x"), astrologer("x"), admin("x"), admin("ops7"), Participant::shared_admin(), user("x_1")];
    for (n, person) in (0..).zip(&people) {
        store.revoke(revocation(person, n * 1_000)).await.unwrap();
    }
    store.revoke(revocation(&astrologer("x"), 7_000)).await.unwrap();
    let mut found = store.revocations(None).await.unwrap();
    found.sort_by_key(|revocation| revocation.until);
    let expected = [(0, 0), (2, 2_000), (3, 3_000), (4, 4_000), (5, 5_000), (1, 7_000)];
    assert_eq!(found, expected.map(|(person, until): (usize, i64)| revocation(&people[person], until)));
}

async fn revocations_are_told_from_a_moment_on_and_forgotten_before_one(store: Arc<dyn Store>) {
    for n in 0..5 {
        store.revoke(revocation(&user(&format!("u{n}")), n * 1_000)).await.unwrap();
    }
    let told = async |since: Option<i64>| {
        let mut until: Vec<_> = store.revocations(since.map(at)).await.unwrap().into_iter().map(|revocation| revocation.until).collect();
        until.sort_unstable();
        until
    };
    assert_eq!(told(Some(3_000)).await, [at(3_000), at(4_000)]);
    assert_eq!(told(Some(4_001)).await, []);
    store.purge_revocations(at(2_000)).await.unwrap();
    assert_eq!(told(None).await, [at(2_000), at(3_000), at(4_000)]);
    // One that was forgotten can be made again.
    store.revoke(revocation(&user("u0"), 500)).await.unwrap();
    assert_eq!(told(None).await, [at(500), at(2_000), at(3_000), at(4_000)]);
}

async fn of_many_revocations_at_once_the_last_counts(store: Arc<dyn Store>) {
    let revocations = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.revoke(revocation(&user("u1"), n * 7 % 20)).await })
    });
    for outcome in join_all(revocations).await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(store.revocations(None).await.unwrap(), [revocation(&user("u1"), 19)]);
}

#[tokio::test]
async fn trust_in_an_embedded_store_survives_reopening_it() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    store.add_relation(relation("u1", "a1")).await.unwrap();
    store.append_audit(vec![entry(0, AuditAction::Relate, "before")]).await.unwrap();
    store.revoke(revocation(&user("u1"), 1_000)).await.unwrap();
    store.close().await;

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    assert!(related(&store, "u1", "a1").await);
    assert!(!store.add_relation(relation("u1", "a1")).await.unwrap());
    store.append_audit(vec![entry(0, AuditAction::Relate, "after")]).await.unwrap();
    assert_eq!(subjects(&trail(&store).await), ["after", "before"]);
    assert_eq!(store.revocations(None).await.unwrap(), [revocation(&user("u1"), 1_000)]);
    store.close().await;
    let closed = store.are_related("u1", "a1", None).await.unwrap_err();
    assert!(matches!(closed, Error::Unavailable(_)), "{closed:?}");
}

// Words of the tests.

fn relation(user: &str, astrologer: &str) -> Relation {
    Relation { user: user.into(), astrologer: astrologer.into(), consultation_id: Some("690000000000000000000005".into()), at: at(0) }
}

/// Without a phone.
async fn related(store: &Arc<dyn Store>, user: &str, astrologer: &str) -> bool {
    store.are_related(user, astrologer, None).await.unwrap()
}

async fn open(store: &Arc<dyn Store>, one: Participant, other: Participant) {
    let pair = Pair::new(one, other).unwrap();
    let profiles = [Profile::default(), Profile::default()];
    let new = NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: at(0) };
    assert!(store.open_conversation(new).await.unwrap().created);
}

fn entry(offset_ms: i64, action: AuditAction, subject: &str) -> AuditEntry {
    AuditEntry { at: at(offset_ms), actor: "admin:ops7".into(), action, subject: subject.into(), detail: None }
}

async fn trail(store: &Arc<dyn Store>) -> Vec<AuditEntry> {
    store.audit_trail(None, None, 1_000).await.unwrap()
}

fn subjects(entries: &[AuditEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.subject.clone()).collect()
}

fn revocation(person: &Participant, until: i64) -> Revocation {
    Revocation { person: person.clone(), until: at(until) }
}
