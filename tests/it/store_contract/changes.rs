//! What changes later: hiding, deleting, counters against a recount; and the store's own end.

use super::*;

on_every_driver!(
    hiding_is_for_one_participant_alone,
    deleting_blanks_the_message_for_everyone,
    after_a_deletion_the_latest_falls_back_to_the_newest_left,
    what_is_not_there_is_none,
    changes_tell_status_and_deletions_since_a_moment,
    unread_equals_a_recount_after_anything,
    a_person_nobody_knows_has_no_profile,
    a_store_that_works_is_writable_and_a_closed_one_is_unavailable,
);

async fn hiding_is_for_one_participant_alone(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let first = send(&store, say(&conversation, &asker, "one")).await;
    let second = send(&store, say(&conversation, &asker, "two")).await;
    let third = send(&store, say(&conversation, &asker, "three")).await;

    let hidden = store.hide_message(delete(&conversation, &first, &asker)).await.unwrap().unwrap();
    assert_eq!((hidden.deleted_by, hidden.is_deleted, hidden.content.as_str()), (vec!["u1".to_owned()], false, "one"));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 3, "the sender's own list is no matter of the recipient");

    let mut before = None;
    for _ in 0..2 {
        let hidden = store.hide_message(DeleteMessage { at: at(500), ..delete(&conversation, &second, &expert) }).await.unwrap().unwrap();
        assert_eq!(hidden.deleted_by, ["a1"]);
        let now = reload(&store, &conversation).await;
        assert_eq!(now.unread_of(&expert), 2);
        assert_eq!(now.last_message.as_ref().unwrap().message_id, Some(third.id));
        assert_eq!(*before.get_or_insert_with(|| hidden.clone()), hidden, "repeating changes nothing");
    }
    let hidden = store.hide_message(delete(&conversation, &first, &expert)).await.unwrap().unwrap();
    assert_eq!(hidden.deleted_by.iter().collect::<HashSet<_>>(), HashSet::from([&"u1".to_owned(), &"a1".to_owned()]));
    assert_eq!(texts(&store, &conversation, &asker).await, ["two", "three"]);
    assert_eq!(texts(&store, &conversation, &expert).await, ["three"]);
    let marks = store.mark_read(read_all(&conversation, &expert)).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![third.id], 0), "what the reader deleted is not read");
}

async fn deleting_blanks_the_message_for_everyone(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let media = Media {
        url: Some("https://x/1.png".into()),
        size_bytes: Some(9),
        duration_seconds: Some(1.0),
        thumbnail_url: Some("https://x/2.png".into()),
    };
    let picture = send(&store, NewMessage { message_type: MessageType::Image, media, ..say(&conversation, &asker, "a caption") }).await;
    let read = send(&store, say(&conversation, &asker, "read before")).await;
    send(&store, say(&conversation, &asker, "stays")).await;
    store.mark_read(read_ids(&conversation, &expert, [read.id])).await.unwrap();
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 2);

    let command = DeleteMessage { at: at(500), ..delete(&conversation, &picture, &asker) };
    let deleted = store.delete_message(command.clone()).await.unwrap().unwrap();
    assert_eq!((deleted.content.as_str(), &deleted.media), ("", &Media::default()));
    assert_eq!((deleted.is_deleted, deleted.deleted_at, deleted.id), (true, Some(at(500)), picture.id));
    assert_eq!(store.find_message(picture.id).await.unwrap().as_ref(), Some(&deleted));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1);
    let again = store.delete_message(DeleteMessage { at: at(900), ..command }).await.unwrap();
    assert_eq!(again, Some(deleted), "repeating changes nothing");
    store.delete_message(delete(&conversation, &read, &asker)).await.unwrap();
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1, "neither a repeat nor a read message counts");
    for person in [&asker, &expert] {
        assert_eq!(texts(&store, &conversation, person).await, ["stays"]);
    }
    let marks = store.mark_read(read_ids(&conversation, &expert, [picture.id])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![], 1));
}

async fn after_a_deletion_the_latest_falls_back_to_the_newest_left(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let first = send(&store, say_at(&conversation, &asker, "first", 10)).await;
    let call = NewMessage {
        message_type: MessageType::CallLog,
        call: Some(CallLog { call_type: Some("voice".into()), ..CallLog::default() }),
        ..say_at(&conversation, &asker, "", 20)
    };
    let call = send(&store, call).await;
    let third = send(&store, say_at(&conversation, &expert, "third", 30)).await;
    let last = send(&store, say_at(&conversation, &expert, "last", 40)).await;
    let shown = |conversation: Conversation| conversation.last_message.and_then(|l| l.message_id);

    store.delete_message(delete(&conversation, &third, &expert)).await.unwrap();
    assert_eq!(shown(reload(&store, &conversation).await), Some(last.id), "an older one changes nothing");
    store.delete_message(delete(&conversation, &last, &expert)).await.unwrap();
    let now = reload(&store, &conversation).await;
    assert!((call.created_at..=last.created_at).contains(&now.last_message_at));
    assert_eq!(now.last_message.as_ref().map(|l| l.message_type), Some(MessageType::CallLog));
    assert_eq!(shown(now), Some(call.id));
    store.delete_message(delete(&conversation, &call, &asker)).await.unwrap();
    let now = reload(&store, &conversation).await;
    let shown = now.last_message.unwrap();
    assert_eq!((shown.message_id, shown.content.as_str(), shown.sender), (Some(first.id), "first", Some(asker.clone())));
    assert_eq!(shown.at, Some(first.created_at));
    store.delete_message(delete(&conversation, &first, &asker)).await.unwrap();
    let now = reload(&store, &conversation).await;
    assert_eq!(now.last_message, None);
    assert!(now.last_message_at >= conversation.created_at);
    let next = send(&store, say_at(&conversation, &asker, "next", 50)).await;
    assert_eq!(reload(&store, &conversation).await.last_message.unwrap().message_id, Some(next.id));
}

async fn what_is_not_there_is_none(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let elsewhere = open(&store, &user("u1"), &astrologer("a2")).await;
    let message = send(&store, say(&conversation, &user("u1"), "here")).await;
    assert_eq!(store.find_message(MessageId::parse("690000000000000000000005").unwrap()).await.unwrap(), None);
    for lookup in [
        Lookup::Key(ConversationKey::parse("user_u1_a3").unwrap()),
        Lookup::Id(ConversationId::parse("690000000000000000000005").unwrap()),
        Lookup::Alias(ConversationKey::parse("chat").unwrap(), user("u1")),
    ] {
        assert_eq!(store.find_conversation(&lookup).await.unwrap(), None, "{lookup:?}");
    }
    let misplaced = delete(&elsewhere, &message, &user("u1"));
    assert_eq!(store.hide_message(misplaced.clone()).await.unwrap(), None);
    assert_eq!(store.delete_message(misplaced).await.unwrap(), None);
    assert_eq!(store.find_message(message.id).await.unwrap(), Some(message));
}

async fn changes_tell_status_and_deletions_since_a_moment(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let mut m = Vec::new();
    for n in 0..7 {
        m.push(send(&store, say_at(&conversation, &asker, &n.to_string(), n)).await);
    }
    let mark = |id, time| store.mark_read(MarkRead { at: at(time), ..read_ids(&conversation, &expert, [id]) });
    mark(m[1].id, 1_000).await.unwrap();
    mark(m[0].id, 2_000).await.unwrap();
    mark(m[2].id, 2_000).await.unwrap();
    store.mark_delivered(&[(conversation.handle.clone(), m[3].id)], at(2_500)).await.unwrap();
    store.delete_message(DeleteMessage { at: at(3_000), ..delete(&conversation, &m[4], &asker) }).await.unwrap();
    store.hide_message(DeleteMessage { at: at(3_000), ..delete(&conversation, &m[5], &expert) }).await.unwrap();

    let change =
        |n: usize| Change { message_id: m[n].id, status: MessageStatus::Sent, read_at: None, delivered_at: None, is_deleted: false };
    let read = Change { status: MessageStatus::Read, read_at: Some(at(2_000)), ..change(2) };
    let delivered = Change { status: MessageStatus::Delivered, delivered_at: Some(at(2_500)), ..change(3) };
    let deleted = Change { is_deleted: true, ..change(4) };
    let hidden = Change { is_deleted: true, ..change(5) };
    let ask = async |person: &Participant, since: i64, limit| {
        let key = conversation.person_key(person);
        store.changes_since(&conversation.handle, &key, at(since), limit).await.unwrap()
    };
    let oldest = Change { message_id: m[0].id, ..read.clone() };
    assert_eq!(ask(&expert, 2_000, 200).await, [oldest, read.clone(), delivered.clone(), deleted.clone(), hidden.clone()]);
    assert_eq!(ask(&expert, 2_000, 5).await, [read, delivered, deleted.clone(), hidden], "only among the newest five");
    let for_sender = ask(&asker, 2_501, 200).await;
    assert!(for_sender.contains(&deleted) && for_sender.iter().all(|c| c.message_id >= m[4].id), "{for_sender:?}");
    assert!(for_sender.iter().all(|c| c.message_id != m[5].id || !c.is_deleted), "what another hid is no secret deletion");
    assert_eq!(ask(&expert, 3_001, 200).await, []);
}

async fn unread_equals_a_recount_after_anything(store: Arc<dyn Store>) {
    let mut random = StdRng::seed_from_u64(20_251_220);
    let people = [user("u1"), astrologer("a1")];
    let conversation = open(&store, &people[0], &people[1]).await;
    let mut sent: Vec<NewMessage> = Vec::new();
    let mut known: Vec<Message> = Vec::new();
    for step in 0..240_i64 {
        let person = people.choose(&mut random).unwrap();
        // Mostly the newest: old ones have been read.
        let some = known.iter().rev().take(if random.random_bool(0.8) { 8 } else { 100 }).collect::<Vec<_>>();
        let some = some.choose(&mut random).map(|message| (*message).clone());
        match (random.random_range(0..12), some) {
            (0..=4, _) | (_, None) => {
                let mut new = with_client_id(&format!("c{step}"), say_at(&conversation, person, &step.to_string(), step));
                if random.random_bool(0.2) {
                    new.message_type = MessageType::CallLog;
                    new.call = Some(CallLog { call_type: Some("voice".into()), ..CallLog::default() });
                }
                known.push(send(&store, new.clone()).await);
                sent.push(new);
            }
            (5, _) => assert!(!store.send_message(sent.choose(&mut random).unwrap().clone()).await.unwrap().fresh),
            (6, _) if step % 3 == 0 => drop(store.mark_read(read_all(&conversation, person)).await.unwrap()),
            (6..=8, Some(message)) => {
                let another = known.choose(&mut random).unwrap().id;
                store.mark_read(read_ids(&conversation, person, [message.id, another])).await.unwrap();
            }
            (9, Some(message)) => {
                store.mark_delivered(&[(conversation.handle.clone(), message.id)], at(step)).await.unwrap();
            }
            (10, Some(message)) => {
                store.hide_message(delete(&conversation, &message, person)).await.unwrap().unwrap();
            }
            (_, Some(message)) => {
                store.delete_message(delete(&conversation, &message, &message.sender)).await.unwrap().unwrap();
            }
        }
        if step % 12 == 11 {
            check_counts(&store, &conversation, &people, &known, step).await;
        }
    }
    assert!(known.len() > 60, "the sequence is worth something: {}", known.len());
}

async fn check_counts(store: &Arc<dyn Store>, conversation: &Conversation, people: &[Participant], known: &[Message], step: i64) {
    let now = reload(store, conversation).await;
    let mut counted = vec![0; people.len()];
    let mut newest = None;
    for message in known {
        let message = store.find_message(message.id).await.unwrap().unwrap();
        for (person, count) in people.iter().zip(&mut counted) {
            let hidden = message.deleted_by.contains(&conversation.person_key(person));
            *count += u32::from(message.recipient == *person && message.is_unread() && !hidden);
        }
        if !message.is_deleted {
            newest = Some(message.id);
        }
    }
    let counters: Vec<u32> = people.iter().map(|person| now.unread_of(person)).collect();
    assert_eq!(counters, counted, "after step {step}");
    assert_eq!(now.last_message.and_then(|l| l.message_id), newest, "after step {step}");
}

async fn a_person_nobody_knows_has_no_profile(store: Arc<dyn Store>) {
    assert_eq!(store.find_profile(&user("nobody")).await.unwrap(), None);
}

async fn a_store_that_works_is_writable_and_a_closed_one_is_unavailable(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    store.check_writable().await.unwrap();
    let queued: Vec<_> = (0..20).map(|n| store.send_message(say(&conversation, &user("u1"), &n.to_string()))).collect();
    store.close().await;
    for sent in join_all(queued).await {
        assert!(sent.unwrap().fresh, "what is queued is finished");
    }
    let code = |result: samvad::error::Result<()>| result.unwrap_err().code();
    assert_eq!(code(store.check_writable().await), "UNAVAILABLE");
    assert_eq!(code(store.send_message(say(&conversation, &user("u1"), "late")).await.map(drop)), "UNAVAILABLE");
    assert_eq!(code(store.mark_read(read_all(&conversation, &user("u1"))).await.map(drop)), "UNAVAILABLE");
    assert_eq!(code(store.find_conversation(&Lookup::Id(conversation.handle.id)).await.map(drop)), "UNAVAILABLE");
    assert_eq!(code(store.messages(latest(&conversation, &user("u1"))).await.map(drop)), "UNAVAILABLE");
}
