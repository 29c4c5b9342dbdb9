//! Rooms that are remembered for who comes back.

use super::*;

on_every_driver!(
    rooms_are_remembered_for_other_processes_until_they_are_too_old,
    rooms_of_who_is_connected_count_from_when_the_process_was_last_alive,
    conversations_that_spoke_are_told_from_silent_ones,
);

fn kept(person: &Participant, rooms: &[(&str, &str)], seen_at: Option<i64>) -> KeptRooms {
    KeptRooms {
        person: person.clone(),
        rooms: rooms.iter().map(|(key, spelling)| (ConversationKey::parse(key).unwrap(), Arc::from(*spelling))).collect(),
        seen_at: seen_at.map(at),
        unheard_since: seen_at.map(|millis| at(millis - 5)),
    }
}

async fn rooms_are_remembered_for_other_processes_until_they_are_too_old(store: Arc<dyn Store>) {
    let (first, second) = (ProcessId::random(), ProcessId::random());
    let (gone, other) = (user("u1"), astrologer("u1"));
    let rooms = kept(&gone, &[("user_u1_a1", "690000000000000000000005"), ("admin_user_u1", "admin_user_u1")], Some(1_000));
    store.remember_rooms(first, at(1_000), vec![rooms.clone()]).await.unwrap();
    let people = [gone.clone(), other.clone()];
    assert_eq!(store.remembered_rooms(second, &people, at(1_000)).await.unwrap(), [rooms]);
    assert_eq!(store.remembered_rooms(second, &people, at(1_001)).await.unwrap(), []);
    assert_eq!(store.remembered_rooms(first, &people, at(0)).await.unwrap(), [], "its own are in its memory");
    assert_eq!(store.remembered_rooms(second, &[], at(0)).await.unwrap(), []);

    let (newer, others) = (kept(&gone, &[("user_u1_a2", "user_u1_a2")], Some(2_000)), kept(&other, &[("admin_u1", "admin")], Some(2_000)));
    store.remember_rooms(first, at(2_000), vec![newer.clone(), others.clone()]).await.unwrap();
    let mut found = store.remembered_rooms(second, &people, at(0)).await.unwrap();
    found.sort_by_key(|kept| kept.person.to_string());
    assert_eq!(found, [others.clone(), newer]);
    store.remember_rooms(first, at(2_001), vec![kept(&gone, &[], None)]).await.unwrap();
    assert_eq!(store.remembered_rooms(second, &people, at(0)).await.unwrap(), std::slice::from_ref(&others));
    store.forget_rooms(at(2_000)).await.unwrap();
    assert_eq!(store.remembered_rooms(second, &people, at(0)).await.unwrap(), [others]);
    store.forget_rooms(at(2_001)).await.unwrap();
    assert_eq!(store.remembered_rooms(second, &people, at(0)).await.unwrap(), []);
}

async fn rooms_of_who_is_connected_count_from_when_the_process_was_last_alive(store: Arc<dyn Store>) {
    let (first, second) = (ProcessId::random(), ProcessId::random());
    let people = [user("u1")];
    assert_eq!(store.other_processes(second).await.unwrap(), []);
    let connected = kept(&people[0], &[("user_u1_a1", "user_u1_a1")], None);
    store.remember_rooms(first, at(1_000), vec![connected.clone()]).await.unwrap();
    store.remember_rooms(first, at(9_000), Vec::new()).await.unwrap();
    store.remember_rooms(first, at(8_000), Vec::new()).await.unwrap();
    assert_eq!(store.other_processes(second).await.unwrap(), [(first, at(9_000))]);
    assert_eq!(store.other_processes(first).await.unwrap(), []);
    let found = store.remembered_rooms(second, &people, at(9_000)).await.unwrap();
    assert_eq!(found, [KeptRooms { seen_at: Some(at(9_000)), ..connected.clone() }]);
    assert_eq!(store.remembered_rooms(second, &people, at(9_001)).await.unwrap(), []);
    store.forget_rooms(at(9_000)).await.unwrap();
    assert_eq!(store.remembered_rooms(second, &people, at(0)).await.unwrap().len(), 1);
    store.forget_rooms(at(9_001)).await.unwrap();
    assert_eq!(store.remembered_rooms(second, &people, at(0)).await.unwrap(), []);
    assert_eq!(store.other_processes(second).await.unwrap(), []);
}

async fn conversations_that_spoke_are_told_from_silent_ones(store: Arc<dyn Store>) {
    let (silent, spoke) = (open(&store, &user("u1"), &astrologer("a1")).await, open(&store, &user("u1"), &astrologer("a2")).await);
    let sent = send(&store, NewMessage { at: at(5_000), ..say(&spoke, &user("u1"), "hello") }).await;
    let keys = [silent.key().clone(), spoke.key().clone(), ConversationKey::parse("nobodys").unwrap()];
    let found = store.spoken_since(&keys, sent.created_at).await.unwrap();
    assert_eq!(found, [reload(&store, &spoke).await]);
    assert_eq!(store.spoken_since(&keys[..1], sent.created_at).await.unwrap(), []);
    let later = Timestamp::from_millis(sent.created_at.as_millis() + 1);
    assert_eq!(store.spoken_since(&keys, later).await.unwrap(), []);
    assert_eq!(store.spoken_since(&[], at(0)).await.unwrap(), []);
}
