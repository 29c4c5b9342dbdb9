//! What every store promises about devices and about things still to be said to the outside, each written once and run on every driver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use samvad::models::{
    Device, DeviceKind, Lease, OutboxEntry, OutboxLane, OutboxOutcome, OutboxState, Participant, Platform, ProcessId, Timestamp,
};
use samvad::store::Store;
use samvad::store::sqlite::SqliteStore;

use crate::support::people::{astrologer, at, user};
use crate::support::stores::on_every_driver;

on_every_driver!(
    a_token_has_one_owner_and_the_last_one_counts,
    the_five_newest_of_each_kind_are_kept,
    a_dead_token_goes_unless_it_was_registered_again,
    an_entry_comes_back_exactly_as_it_was_put,
    the_same_thing_is_never_queued_twice_not_even_when_it_is_done,
    of_many_who_claim_at_once_one_gets_each,
    what_is_not_due_or_held_by_somebody_is_not_given_out,
    a_lease_that_ended_is_given_to_the_next_and_the_late_one_changes_nothing,
    lanes_do_not_see_each_other,
    a_newer_entry_under_the_same_word_takes_the_waiting_ones_out,
    what_somebody_works_on_is_not_taken_out,
    what_was_reached_so_far_is_kept_over_a_crash,
    the_oldest_beyond_a_number_are_taken_out,
    what_was_given_up_is_listed_and_may_be_sent_again,
    what_is_done_is_forgotten_after_a_while,
    messages_are_read_in_the_order_they_were_made,
);

fn device(token: &str, owner: &Participant, when: i64) -> Device {
    Device { token: token.into(), kind: DeviceKind::Fcm, owner: owner.clone(), platform: Platform::Android, registered_at: at(when) }
}

async fn tokens(store: &Arc<dyn Store>, people: &[Participant]) -> Vec<String> {
    store.devices_of(people).await.unwrap().into_iter().map(|device| device.token).collect()
}

async fn a_token_has_one_owner_and_the_last_one_counts(store: Arc<dyn Store>) {
    let (asha, ravi) = (user("asha"), user("ravi"));
    store.register_device(device("phone", &asha, 1)).await.unwrap();
    store.register_device(device("tablet", &asha, 2)).await.unwrap();
    assert_eq!(tokens(&store, std::slice::from_ref(&asha)).await, ["tablet", "phone"]);
    store.register_device(Device { platform: Platform::Ios, ..device("phone", &ravi, 3) }).await.unwrap();
    assert_eq!(tokens(&store, std::slice::from_ref(&asha)).await, ["tablet"]);
    let [phone] = &store.devices_of(std::slice::from_ref(&ravi)).await.unwrap()[..] else { panic!("one device") };
    assert!(*phone == Device { platform: Platform::Ios, ..device("phone", &ravi, 3) });
    // Whoever had it before cannot take it away.
    assert!(!store.unregister_device(&asha, "phone").await.unwrap());
    assert!(store.unregister_device(&ravi, "phone").await.unwrap());
    assert!(!store.unregister_device(&ravi, "phone").await.unwrap());
    assert_eq!(tokens(&store, &[asha, ravi, astrologer("asha")]).await, ["tablet"]);
}

async fn the_five_newest_of_each_kind_are_kept(store: Arc<dyn Store>) {
    let asha = user("asha");
    for n in 0..7 {
        store.register_device(device(&format!("t{n}"), &asha, n)).await.unwrap();
        store.register_device(Device { kind: DeviceKind::Voip, ..device(&format!("v{n}"), &asha, 100 + n) }).await.unwrap();
    }
    store.register_device(device("other", &user("ravi"), 50)).await.unwrap();
    let kept: BTreeSet<String> = tokens(&store, std::slice::from_ref(&asha)).await.into_iter().collect();
    assert_eq!(kept, ["t2", "t3", "t4", "t5", "t6", "v2", "v3", "v4", "v5", "v6"].map(str::to_owned).into());
    // Registering again makes it the newest, and the one just registered stays even beside others of the same moment.
    for token in ["t2", "x"] {
        store.register_device(device(token, &asha, 6)).await.unwrap();
        assert!(tokens(&store, std::slice::from_ref(&asha)).await.contains(&token.to_owned()));
    }
    assert!(!tokens(&store, &[asha]).await.contains(&"t3".to_owned()));
    assert_eq!(tokens(&store, &[user("ravi")]).await, ["other"]);
}

async fn a_dead_token_goes_unless_it_was_registered_again(store: Arc<dyn Store>) {
    let asha = user("asha");
    store.register_device(device("phone", &asha, 10)).await.unwrap();
    assert!(!store.drop_device("phone", at(10)).await.unwrap());
    assert_eq!(tokens(&store, std::slice::from_ref(&asha)).await, ["phone"]);
    assert!(store.drop_device("phone", at(11)).await.unwrap());
    assert!(!store.drop_device("phone", at(11)).await.unwrap());
    assert!(tokens(&store, &[asha]).await.is_empty());
}

fn entry(id: &str, due: i64) -> OutboxEntry {
    OutboxEntry {
        id: id.into(),
        lane: OutboxLane::Chats,
        collapse: None,
        recipient: Some(user("asha")),
        body: "{}".into(),
        created_at: at(due),
        due_at: at(due),
        expires_at: at(due + 60_000),
        attempts: 0,
        settled: Vec::new(),
        state: OutboxState::Waiting,
        lease: None,
        problem: None,
    }
}

fn lease(owner: ProcessId, until: i64) -> Lease {
    Lease { owner, until: at(until) }
}

async fn claimed(store: &Arc<dyn Store>, lease: Lease, now: i64, limit: usize) -> Vec<String> {
    let entries = store.claim_outbox(OutboxLane::Chats, lease, at(now), limit).await.unwrap();
    assert!(entries.iter().all(|entry| entry.lease == Some(lease)));
    entries.into_iter().map(|entry| entry.id).collect()
}

fn done(settled: &[&str]) -> OutboxOutcome {
    OutboxOutcome::Done { settled: settled.iter().map(|one| (*one).to_owned()).collect() }
}

async fn an_entry_comes_back_exactly_as_it_was_put(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    let full = OutboxEntry {
        lane: OutboxLane::Calls,
        collapse: Some("a word".into()),
        body: r#"{"text":"नमस्ते"}"#.into(),
        attempts: 3,
        settled: vec!["d1".into()],
        lease: Some(lease(me, 500)),
        problem: Some("no answer".into()),
        ..entry("full", 7)
    };
    let bare = OutboxEntry { recipient: None, ..entry("bare", 8) };
    assert_eq!(store.put_outbox(vec![full.clone(), bare.clone()]).await.unwrap(), ["full", "bare"]);
    assert_eq!(store.find_outbox("full").await.unwrap(), Some(full));
    assert_eq!(store.find_outbox("bare").await.unwrap(), Some(bare));
    assert_eq!(store.find_outbox("none").await.unwrap(), None);
    assert!(store.put_outbox(Vec::new()).await.unwrap().is_empty());
}

async fn the_same_thing_is_never_queued_twice_not_even_when_it_is_done(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    store.put_outbox(vec![entry("a", 1)]).await.unwrap();
    assert_eq!(store.put_outbox(vec![entry("a", 2), entry("b", 2), entry("b", 3)]).await.unwrap(), ["b"]);
    assert_eq!(claimed(&store, lease(me, 100), 50, 10).await, ["a", "b"]);
    assert!(store.settle_outbox("a", me, done(&["d1"])).await.unwrap());
    assert!(store.put_outbox(vec![entry("a", 4)]).await.unwrap().is_empty());
    let first = store.find_outbox("a").await.unwrap().unwrap();
    assert_eq!((first.state, first.attempts, first.settled, first.lease), (OutboxState::Done, 1, vec!["d1".to_owned()], None));
}

async fn of_many_who_claim_at_once_one_gets_each(store: Arc<dyn Store>) {
    let entries = (0..60).map(|n| entry(&format!("e{n:02}"), n)).collect();
    store.put_outbox(entries).await.unwrap();
    let claims = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { claimed(&store, lease(ProcessId::random(), 10_000), 1_000, 10).await })
    });
    let mut all: Vec<String> = Vec::new();
    for one in join_all(claims).await {
        all.extend(one.unwrap());
    }
    let each: BTreeSet<&String> = all.iter().collect();
    assert_eq!(each.len(), all.len(), "an entry was given out twice");
    // Those who were too slow for one find the others free.
    all.extend(claimed(&store, lease(ProcessId::random(), 10_000), 1_000, 60).await);
    assert_eq!(all.len(), 60);
}

async fn what_is_not_due_or_held_by_somebody_is_not_given_out(store: Arc<dyn Store>) {
    let (me, other) = (ProcessId::random(), ProcessId::random());
    let held = OutboxEntry { lease: Some(lease(other, 500)), ..entry("held", 1) };
    store.put_outbox(vec![entry("late", 900), entry("second", 20), entry("first", 10), held]).await.unwrap();
    assert_eq!(claimed(&store, lease(me, 100), 50, 1).await, ["first"]);
    assert_eq!(claimed(&store, lease(me, 100), 50, 10).await, ["second"]);
    assert!(claimed(&store, lease(me, 100), 50, 10).await.is_empty());
    assert!(
        store
            .settle_outbox("first", me, OutboxOutcome::Later { due_at: at(70), settled: vec![], problem: Some("busy".into()) })
            .await
            .unwrap()
    );
    assert!(claimed(&store, lease(me, 100), 60, 10).await.is_empty());
    assert_eq!(claimed(&store, lease(me, 100), 70, 10).await, ["first"]);
    let first = store.find_outbox("first").await.unwrap().unwrap();
    assert_eq!((first.attempts, first.problem.as_deref(), first.due_at), (1, Some("busy"), at(70)));
    // Nobody's, or one's own: done. Somebody else's stays.
    assert!(store.finish_outbox("late").await.unwrap());
    assert!(!store.finish_outbox("late").await.unwrap());
    let held = OutboxEntry { lease: Some(Lease { owner: other, until: Timestamp::now().plus(Duration::from_secs(60)) }), ..entry("h", 1) };
    store.put_outbox(vec![held]).await.unwrap();
    assert!(!store.finish_outbox("h").await.unwrap());
}

async fn a_lease_that_ended_is_given_to_the_next_and_the_late_one_changes_nothing(store: Arc<dyn Store>) {
    let (slow, next) = (ProcessId::random(), ProcessId::random());
    store.put_outbox(vec![entry("a", 1)]).await.unwrap();
    assert_eq!(claimed(&store, lease(slow, 100), 10, 10).await, ["a"]);
    assert!(claimed(&store, lease(next, 200), 99, 10).await.is_empty());
    assert_eq!(claimed(&store, lease(next, 200), 100, 10).await, ["a"]);
    assert!(!store.settle_outbox("a", slow, done(&[])).await.unwrap());
    assert!(!store.note_outbox("a", slow, &["d9".into()]).await.unwrap());
    assert!(store.settle_outbox("a", next, done(&[])).await.unwrap());
    assert!(!store.settle_outbox("a", next, done(&[])).await.unwrap());
    assert!(store.find_outbox("a").await.unwrap().unwrap().settled.is_empty());
}

async fn lanes_do_not_see_each_other(store: Arc<dyn Store>) {
    let lane = |id: &str, lane| OutboxEntry { lane, ..entry(id, 1) };
    let entries = OutboxLane::ALL.map(|one| lane(one.as_str(), one));
    store.put_outbox(entries.to_vec()).await.unwrap();
    for one in OutboxLane::ALL {
        let found = store.claim_outbox(one, lease(ProcessId::random(), 90), at(10), 10).await.unwrap();
        assert_eq!(found.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [one.as_str()]);
    }
}

fn under(word: &str, id: &str, due: i64) -> OutboxEntry {
    OutboxEntry { collapse: Some(word.into()), ..entry(id, due) }
}

async fn a_newer_entry_under_the_same_word_takes_the_waiting_ones_out(store: Arc<dyn Store>) {
    store.put_outbox(vec![under("k", "a", 1), under("other", "o", 1), under("k", "b", 2)]).await.unwrap();
    store.put_outbox(vec![under("k", "c", 3)]).await.unwrap();
    // One that is found again later and is older takes nothing out.
    store.put_outbox(vec![under("k", "old", 0)]).await.unwrap();
    assert_eq!(store.find_outbox("a").await.unwrap().unwrap().state, OutboxState::Done);
    assert_eq!(store.find_outbox("b").await.unwrap().unwrap().state, OutboxState::Done);
    assert_eq!(claimed(&store, lease(ProcessId::random(), 100), 50, 10).await, ["old", "o", "c"]);
}

async fn what_somebody_works_on_is_not_taken_out(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    let until = Timestamp::now().plus(Duration::from_secs(60));
    let held = OutboxEntry { lease: Some(Lease { owner: me, until }), ..under("k", "a", 1) };
    store.put_outbox(vec![held, under("k", "b", 2)]).await.unwrap();
    assert_eq!(store.find_outbox("a").await.unwrap().unwrap().state, OutboxState::Waiting);
    assert!(store.settle_outbox("a", me, done(&[])).await.unwrap());
}

async fn what_was_reached_so_far_is_kept_over_a_crash(store: Arc<dyn Store>) {
    let (dead, next) = (ProcessId::random(), ProcessId::random());
    store.put_outbox(vec![entry("a", 1)]).await.unwrap();
    claimed(&store, lease(dead, 100), 10, 10).await;
    assert!(store.note_outbox("a", dead, &["d1".into(), "d2".into()]).await.unwrap());
    let again = store.claim_outbox(OutboxLane::Chats, lease(next, 300), at(200), 10).await.unwrap();
    assert_eq!(again[0].settled, ["d1", "d2"]);
    // It was tried, but nobody knows with which outcome.
    assert_eq!(again[0].attempts, 0);
}

async fn the_oldest_beyond_a_number_are_taken_out(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    let mut entries: Vec<OutboxEntry> = (0..10).map(|n| entry(&format!("e{n}"), n)).collect();
    entries[0].lease = Some(lease(me, 500));
    entries.push(OutboxEntry { lane: OutboxLane::Calls, ..entry("call", 0) });
    store.put_outbox(entries).await.unwrap();
    assert_eq!(store.trim_outbox(OutboxLane::Chats, 20, at(20)).await.unwrap(), 0);
    assert_eq!(store.trim_outbox(OutboxLane::Chats, 4, at(20)).await.unwrap(), 5);
    assert_eq!(claimed(&store, lease(ProcessId::random(), 90), 20, 100).await, ["e6", "e7", "e8", "e9"]);
    assert!(store.settle_outbox("e0", me, done(&[])).await.unwrap());
    assert_eq!(store.find_outbox("call").await.unwrap().unwrap().state, OutboxState::Waiting);
}

async fn what_was_given_up_is_listed_and_may_be_sent_again(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    store.put_outbox((0..3).map(|n| entry(&format!("e{n}"), n)).collect()).await.unwrap();
    assert_eq!(claimed(&store, lease(me, 100), 10, 10).await.len(), 3);
    for id in ["e1", "e0"] {
        assert!(store.settle_outbox(id, me, OutboxOutcome::Dead { problem: format!("{id} was refused") }).await.unwrap());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let dead = store.dead_outbox(10).await.unwrap();
    let told: Vec<_> = dead.iter().map(|entry| (entry.id.as_str(), entry.problem.as_deref().unwrap())).collect();
    assert_eq!(told, [("e1", "e1 was refused"), ("e0", "e0 was refused")]);
    assert_eq!(store.dead_outbox(1).await.unwrap().len(), 1);
    assert!(store.dead_outbox(0).await.unwrap().is_empty());
    assert!(claimed(&store, lease(me, 900), 800, 10).await.iter().all(|id| id == "e2"));
    assert_eq!(store.revive_outbox(Some("e2"), at(900), at(999)).await.unwrap(), 0);
    assert_eq!(store.revive_outbox(Some("e0"), at(900), at(999)).await.unwrap(), 1);
    let again = store.find_outbox("e0").await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts, again.due_at, again.expires_at), (OutboxState::Waiting, 0, at(900), at(999)));
    assert_eq!(store.revive_outbox(None, at(901), at(999)).await.unwrap(), 1);
    assert!(store.dead_outbox(10).await.unwrap().is_empty());
}

async fn what_is_done_is_forgotten_after_a_while(store: Arc<dyn Store>) {
    let me = ProcessId::random();
    store.put_outbox((0..3).map(|n| entry(&format!("e{n}"), n)).collect()).await.unwrap();
    claimed(&store, lease(me, 100), 10, 10).await;
    store.settle_outbox("e0", me, done(&[])).await.unwrap();
    store.settle_outbox("e1", me, OutboxOutcome::Dead { problem: "no".into() }).await.unwrap();
    let (past, soon) = (Timestamp::now().minus(Duration::from_secs(5)), Timestamp::now().plus(Duration::from_secs(5)));
    store.purge_outbox(past, past).await.unwrap();
    assert!(store.find_outbox("e0").await.unwrap().is_some());
    store.purge_outbox(soon, past).await.unwrap();
    let left = [store.find_outbox("e0").await.unwrap(), store.find_outbox("e1").await.unwrap(), store.find_outbox("e2").await.unwrap()];
    assert_eq!(left.map(|entry| entry.is_some()), [false, true, true]);
    store.purge_outbox(soon, soon).await.unwrap();
    assert!(store.find_outbox("e1").await.unwrap().is_none());
    assert!(store.find_outbox("e2").await.unwrap().is_some());
}

async fn messages_are_read_in_the_order_they_were_made(store: Arc<dyn Store>) {
    let began = Timestamp::now().minus(Duration::from_secs(3600));
    let (_, sent) = super::store_contract::ten_messages(&store).await;
    let all = store.messages_made_since(began, None, 100).await.unwrap();
    assert_eq!(all.iter().map(|message| message.id).collect::<Vec<_>>(), sent.iter().map(|message| message.id).collect::<Vec<_>>());
    let page = store.messages_made_since(began, Some(sent[1].id), 2).await.unwrap();
    assert_eq!(page.iter().map(|message| message.id).collect::<Vec<_>>(), [sent[2].id, sent[3].id]);
    let later = Timestamp::now().plus(Duration::from_secs(7200));
    assert!(store.messages_made_since(later, None, 100).await.unwrap().is_empty());
    assert!(store.messages_made_since(began, None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_embedded_store_frees_what_a_dead_process_had_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
    store.put_outbox(vec![entry("a", 1)]).await.unwrap();
    assert_eq!(claimed(&store, lease(ProcessId::random(), 90_000), 10, 10).await, ["a"]);
    store.release_outbox(at(20)).await.unwrap();
    assert_eq!(claimed(&store, lease(ProcessId::random(), 90_000), 20, 10).await, ["a"]);
}
