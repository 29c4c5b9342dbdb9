//! What every store promises: the sentences of `samvad::store::Store`, each written once and run on every driver.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use samvad::models::message::{CallLog, Media};
use samvad::models::{
    Conversation, ConversationId, ConversationKey, KeptRooms, Message, MessageId, MessageStatus, MessageType, NewMessage, Pair,
    Participant, ProcessId, Profile, Timestamp,
};
use samvad::store::{
    Change, ConversationPage, DeleteMessage, Lookup, MAX_ALIASES, MAX_PAGE, MarkRead, MessageQuery, NewConversation, Opened, Range, Store,
    Which,
};

use crate::support::people::{admin, astrologer, at, profile, user};
use crate::support::stores::{self, on_every_driver};

on_every_driver!(
    opening_makes_a_conversation_as_asked,
    opening_again_finds_the_same_conversation_and_changes_nothing,
    of_twenty_who_open_at_once_exactly_one_makes_the_conversation,
    a_conversation_remembers_at_most_eight_aliases_each_once,
    an_alias_names_a_conversation_only_for_its_participants,
    a_profile_is_written_for_everyone_and_absent_fields_stay,
    conversations_are_listed_by_last_activity,
    conversations_are_paged_by_cursor_and_by_skip,
    every_admin_lists_the_conversations_of_all_admins,
    a_message_is_stored_as_it_was_sent,
    a_send_makes_the_message_the_latest_and_counts_it,
    a_repeat_with_the_same_client_id_returns_the_first_message,
    a_repeat_of_a_deleted_message_returns_it,
    repeats_at_the_same_moment_store_one_message,
    a_client_id_belongs_to_its_sender_kind_and_id_together,
    a_client_id_used_for_anything_else_is_a_conflict,
    ids_and_times_never_go_backwards_under_concurrent_sends,
    time_never_goes_backwards_when_the_callers_clock_does,
    the_order_is_that_of_the_calls_not_of_the_awaits,
    results_of_a_conversation_become_ready_in_order,
    latest_leaves_out_the_newest_asked_to_skip,
    pages_before_and_after_a_message_tell_whether_there_are_more,
    a_deleted_message_still_serves_as_cursor,
    a_cursor_of_another_conversation_is_not_found,
    a_page_holds_no_more_than_the_limit_of_the_store,
    counting_stops_at_the_cap_and_leaves_out_what_the_viewer_may_not_see,
    reading_marks_only_what_is_addressed_to_the_reader,
    reading_goes_forward_only,
    reading_all_leaves_out_what_was_sent_later,
    reading_all_returns_everything_oldest_first,
    call_logs_are_latest_but_never_unread,
    admins_read_what_is_addressed_to_any_admin,
    a_shared_id_of_two_types_is_two_people,
    delivery_goes_forward_only,
    hiding_is_for_one_participant_alone,
    deleting_blanks_the_message_for_everyone,
    after_a_deletion_the_latest_falls_back_to_the_newest_left,
    what_is_not_there_is_none,
    changes_tell_status_and_deletions_since_a_moment,
    unread_equals_a_recount_after_anything,
    a_person_nobody_knows_has_no_profile,
    rooms_are_remembered_for_other_processes_until_they_are_too_old,
    rooms_of_who_is_connected_count_from_when_the_process_was_last_alive,
    conversations_that_spoke_are_told_from_silent_ones,
    a_store_that_works_is_writable_and_a_closed_one_is_unavailable,
);

async fn opening_makes_a_conversation_as_asked(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u_1"), astrologer("a1"));
    let pair = Pair::new(asker.clone(), expert.clone()).unwrap();
    let opened = store
        .open_conversation(NewConversation {
            profiles: [profile("Uma", "https://x/u.png"), Profile::default()],
            context_type: "consultation".into(),
            context_id: Some("690000000000000000000005".into()),
            ..new_conversation(pair.clone())
        })
        .await
        .unwrap();
    assert!(opened.created);
    let made = opened.conversation;
    assert_eq!(made.key().as_str(), "user_u~1_a1");
    assert_eq!(made.conversation_type, "user_astrologer");
    assert_eq!(made.context_type, "consultation");
    assert_eq!(made.context_id.as_deref(), Some("690000000000000000000005"));
    assert_eq!(made.members.iter().map(|m| &m.participant).collect::<Vec<_>>(), pair.both());
    assert_eq!(made.members[0].profile, profile("Uma", "https://x/u.png"));
    assert_eq!(made.members[1].profile, Profile::default());
    assert_eq!(made.members[0].joined_at, Some(at(0)));
    assert_eq!((made.last_message_at, made.created_at, made.updated_at), (at(0), at(0), at(0)));
    assert_eq!((made.last_message.as_ref(), made.is_active, made.aliases.len()), (None, true, 0));
    assert_eq!((made.unread_of(&asker), made.unread_of(&expert)), (0, 0));
    for lookup in [Lookup::Key(made.key().clone()), Lookup::Id(made.handle.id)] {
        assert_eq!(store.find_conversation(&lookup).await.unwrap().as_ref(), Some(&made), "{lookup:?}");
    }
}

async fn opening_again_finds_the_same_conversation_and_changes_nothing(store: Arc<dyn Store>) {
    let made = open(&store, &user("u1"), &astrologer("a1")).await;
    send(&store, say(&made, &user("u1"), "hello")).await;
    let before = reload(&store, &made).await;
    let again = NewConversation {
        context_type: "support".into(),
        profiles: [profile("Other", "https://x/o.png"), Profile::default()],
        at: at(9_000),
        ..new_conversation(Pair::new(astrologer("a1"), user("u1")).unwrap())
    };
    let opened = store.open_conversation(again).await.unwrap();
    assert!(!opened.created);
    assert_eq!(opened.conversation, before);
}

async fn of_twenty_who_open_at_once_exactly_one_makes_the_conversation(store: Arc<dyn Store>) {
    let openers = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let pair = Pair::new(user("u1"), Participant::shared_admin()).unwrap();
            store.open_conversation(new_conversation(pair)).await.unwrap()
        })
    });
    let opened: Vec<Opened> = join_all(openers).await.into_iter().map(|opener| opener.unwrap()).collect();
    assert_eq!(opened.iter().filter(|o| o.created).count(), 1);
    assert_eq!(opened.iter().map(|o| o.conversation.handle.id).collect::<HashSet<_>>().len(), 1);
    assert_eq!(list(&store, &user("u1"), everything()).await.total, 1);
}

async fn a_conversation_remembers_at_most_eight_aliases_each_once(store: Arc<dyn Store>) {
    let pair = Pair::new(user("u1"), astrologer("a1")).unwrap();
    let name = |n: usize| ConversationKey::parse(&format!("chat-{n}")).unwrap();
    for n in [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
        let opened = store.open_conversation(NewConversation { alias: Some(name(n)), ..new_conversation(pair.clone()) }).await.unwrap();
        let kept = opened.conversation.aliases.contains(&name(n).to_string());
        assert_eq!(kept, n < MAX_ALIASES, "alias {n} of {:?}", opened.conversation.aliases);
    }
    let opened = store.open_conversation(new_conversation(pair)).await.unwrap();
    let mut aliases = opened.conversation.aliases.clone();
    aliases.sort();
    assert_eq!(aliases, (0..MAX_ALIASES).map(|n| name(n).to_string()).collect::<Vec<_>>());
    let lookup = Lookup::Alias(name(8), user("u1"));
    assert_eq!(store.find_conversation(&lookup).await.unwrap(), None);
}

async fn an_alias_names_a_conversation_only_for_its_participants(store: Arc<dyn Store>) {
    let alias = ConversationKey::parse("general").unwrap();
    let with_alias = |a, b| NewConversation { alias: Some(alias.clone()), ..new_conversation(Pair::new(a, b).unwrap()) };
    let first = store.open_conversation(with_alias(user("u1"), Participant::shared_admin())).await.unwrap().conversation;
    let second = store.open_conversation(with_alias(user("u2"), astrologer("a2"))).await.unwrap().conversation;
    for (person, found) in [
        (user("u1"), Some(first.handle.id)),
        (admin("ops7"), Some(first.handle.id)),
        (user("u2"), Some(second.handle.id)),
        (astrologer("u1"), None),
        (user("u3"), None),
    ] {
        let lookup = Lookup::Alias(alias.clone(), person.clone());
        let conversation = store.find_conversation(&lookup).await.unwrap();
        assert_eq!(conversation.map(|c| c.handle.id), found, "{person}");
    }
    // The astrologer has two conversations of that name now: guessing one would write to the wrong person.
    let third = store.open_conversation(with_alias(user("u3"), astrologer("a2"))).await.unwrap().conversation;
    for (person, found) in [(astrologer("a2"), None), (user("u2"), Some(second.handle.id)), (user("u3"), Some(third.handle.id))] {
        let conversation = store.find_conversation(&Lookup::Alias(alias.clone(), person.clone())).await.unwrap();
        assert_eq!(conversation.map(|c| c.handle.id), found, "{person}");
    }
    assert_eq!(store.find_conversation(&Lookup::Key(alias)).await.unwrap(), None, "an alias is no key");
}

async fn a_profile_is_written_for_everyone_and_absent_fields_stay(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let some = |text: &str| Some(text.to_owned());
    for (written, expected) in [
        (Profile { name: some("Uma"), picture: some("https://x/1.png") }, profile("Uma", "https://x/1.png")),
        (Profile { name: some("Uma K"), picture: None }, profile("Uma K", "https://x/1.png")),
        (Profile { name: None, picture: some("https://x/2.png") }, profile("Uma K", "https://x/2.png")),
    ] {
        store.update_profile(&conversation.handle, &asker, &written).await.unwrap();
        for person in [&asker, &expert] {
            let listed = list(&store, person, everything()).await.items.remove(0);
            assert_eq!(listed.members[0].profile, expected);
            assert_eq!(listed.members[1].profile, Profile::default());
        }
    }
}

async fn conversations_are_listed_by_last_activity(store: Arc<dyn Store>) {
    let asker = user("u1");
    let mut opened = Vec::new();
    for (n, expert) in ["a1", "a2", "a3"].into_iter().enumerate() {
        let pair = Pair::new(asker.clone(), astrologer(expert)).unwrap();
        let new = NewConversation { at: at(n as i64), ..new_conversation(pair) };
        opened.push(store.open_conversation(new).await.unwrap().conversation);
    }
    open(&store, &user("u2"), &astrologer("a1")).await;
    let ids = |order: [usize; 3]| order.map(|n| opened[n].handle.id).to_vec();
    let listed = list(&store, &asker, everything()).await;
    assert_eq!(listed.ids(), ids([2, 1, 0]));
    assert_eq!((listed.total, listed.has_more), (3, false));
    send(&store, say_at(&opened[0], &astrologer("a1"), "wakes it up", 100)).await;
    send(&store, say_at(&opened[1], &asker, "so does this", 200)).await;
    let listed = list(&store, &asker, everything()).await;
    assert_eq!(listed.ids(), ids([1, 0, 2]));
    assert_eq!(listed.items.iter().map(|c| c.unread_of(&asker)).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(list(&store, &user("nobody"), everything()).await.total, 0);
}

async fn conversations_are_paged_by_cursor_and_by_skip(store: Arc<dyn Store>) {
    let asker = user("u1");
    for n in 0..7 {
        let pair = Pair::new(asker.clone(), astrologer(&format!("a{n}"))).unwrap();
        // Pairs of them share a millisecond: none may be lost or told twice.
        store.open_conversation(NewConversation { at: at(n / 2), ..new_conversation(pair) }).await.unwrap();
    }
    let all = list(&store, &asker, everything()).await.ids();
    assert_eq!(all.len(), 7);
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let page = list(&store, &asker, ConversationPage { before, skip: 0, limit: 3 }).await;
        assert_eq!(page.total, 7);
        walked.extend(page.ids());
        before = walked.last().copied();
        assert_eq!(page.has_more, walked.len() < 7);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(walked, all);
    let skipped = list(&store, &asker, ConversationPage { before: None, skip: 5, limit: 2 }).await;
    assert_eq!((skipped.ids(), skipped.has_more, skipped.total), (all[5..].to_vec(), false, 7));
    let both = list(&store, &asker, ConversationPage { before: Some(all[1]), skip: 2, limit: 2 }).await;
    assert_eq!((both.ids(), both.has_more), (all[4..6].to_vec(), true));
}

async fn every_admin_lists_the_conversations_of_all_admins(store: Arc<dyn Store>) {
    let opened = open(&store, &admin("ops7"), &user("u1")).await;
    assert_eq!(opened.members[0].participant, Participant::shared_admin());
    for person in [admin("ops8"), Participant::shared_admin(), user("u1")] {
        assert_eq!(list(&store, &person, everything()).await.ids(), [opened.handle.id], "{person}");
    }
    assert_eq!(list(&store, &astrologer("u1"), everything()).await.total, 0);
}

async fn a_message_is_stored_as_it_was_sent(store: Arc<dyn Store>) {
    let conversation = open(&store, &admin("ops7"), &user("u1")).await;
    let first = send(&store, say(&conversation, &user("u1"), "नमस्ते \u{200d} 👋\nline two")).await;
    let full = NewMessage {
        sender_profile: profile("Ops", "https://x/o.png"),
        message_type: MessageType::Audio,
        media: Media {
            url: Some("https://x/a.ogg".into()),
            size_bytes: Some(5_000_000_000),
            duration_seconds: Some(2.5),
            thumbnail_url: Some("https://x/t.png".into()),
        },
        reply_to: Some(first.id),
        client_message_id: Some("c-1".into()),
        ..say(&conversation, &admin("ops7"), "")
    };
    let call = NewMessage {
        message_type: MessageType::CallLog,
        call: Some(CallLog {
            call_type: Some("video".into()),
            call_status: Some("completed".into()),
            call_duration: Some(61),
            call_id: Some("690000000000000000000005".into()),
        }),
        recipient: admin("ops8"),
        ..say(&conversation, &user("u1"), "")
    };
    for new in [full, call] {
        let sent = store.send_message(new.clone()).await.unwrap();
        assert!(sent.fresh);
        let (id, created_at) = (sent.message.id, sent.message.created_at);
        assert!(id > first.id && created_at >= new.at);
        assert_eq!(sent.message, new.into_message(id, created_at));
        assert_eq!(store.find_message(id).await.unwrap(), Some(sent.message));
    }
    assert_eq!(store.find_message(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(texts(&store, &conversation, &user("u1")).await[0], first.content);
}

async fn a_send_makes_the_message_the_latest_and_counts_it(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    send(&store, say_at(&conversation, &asker, "one", 10)).await;
    let last = send(&store, say_at(&conversation, &asker, "two", 20)).await;
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (0, 2));
    let shown = now.last_message.as_ref().unwrap();
    assert_eq!((shown.message_id, shown.content.as_str(), shown.message_type), (Some(last.id), "two", MessageType::Text));
    assert_eq!((shown.sender.as_ref(), shown.at), (Some(&asker), Some(last.created_at)));
    assert_eq!((now.last_message_at, now.created_at), (last.created_at, conversation.created_at));
    assert!(now.updated_at >= last.created_at);
}

async fn a_repeat_with_the_same_client_id_returns_the_first_message(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let new = with_client_id("c1", say_at(&conversation, &asker, "hello", 1));
    let first = send(&store, new.clone()).await;
    send(&store, say_at(&conversation, &asker, "later", 2)).await;
    store.mark_read(read_ids(&conversation, &expert, [first.id])).await.unwrap();
    let (before, stored) = (reload(&store, &conversation).await, store.find_message(first.id).await.unwrap().unwrap());
    let repeat = store.send_message(NewMessage { at: at(99), ..new }).await.unwrap();
    assert!(!repeat.fresh);
    assert_eq!(repeat.message, stored);
    assert_eq!(repeat.message.status, MessageStatus::Read);
    assert_eq!(reload(&store, &conversation).await, before, "a repeat changes nothing");
    assert_eq!(texts(&store, &conversation, &asker).await, ["hello", "later"]);
}

async fn a_repeat_of_a_deleted_message_returns_it(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let new = with_client_id("c1", say(&conversation, &user("u1"), "regretted"));
    let first = send(&store, new.clone()).await;
    let deleted = store.delete_message(delete(&conversation, &first, &user("u1"))).await.unwrap().unwrap();
    let repeat = store.send_message(new).await.unwrap();
    assert!(!repeat.fresh);
    assert_eq!(repeat.message, deleted);
    assert_eq!(texts(&store, &conversation, &user("u1")).await.len(), 0);
}

async fn repeats_at_the_same_moment_store_one_message(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let new = with_client_id("c1", say(&conversation, &asker, "hello"));
    let sends = (0..20).map(|_| tokio::spawn(store.send_message(new.clone())));
    let sent: Vec<_> = join_all(sends).await.into_iter().map(|send| send.unwrap().unwrap()).collect();
    assert_eq!(sent.iter().filter(|s| s.fresh).count(), 1);
    assert_eq!(sent.iter().map(|s| s.message.id).collect::<HashSet<_>>().len(), 1);
    assert_eq!(texts(&store, &conversation, &asker).await, ["hello"]);
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1);
}

async fn a_client_id_belongs_to_its_sender_kind_and_id_together(store: Arc<dyn Store>) {
    let same_ids = open(&store, &user("5"), &astrologer("5")).await;
    let admins = open(&store, &admin("admin"), &user("5")).await;
    let mut ids = HashSet::new();
    for (conversation, sender) in [
        (&same_ids, user("5")),
        (&same_ids, astrologer("5")),
        (&admins, Participant::shared_admin()),
        (&admins, admin("ops7")),
        (&admins, admin("ops8")),
    ] {
        ids.insert(send(&store, with_client_id("c1", say(conversation, &sender, "same text"))).await.id);
    }
    assert_eq!(ids.len(), 5);
}

async fn a_client_id_used_for_anything_else_is_a_conflict(store: Arc<dyn Store>) {
    let sender = user("u1");
    let conversation = open(&store, &sender, &astrologer("a1")).await;
    let elsewhere = open(&store, &sender, &astrologer("a2")).await;
    let new = NewMessage { message_type: MessageType::Image, ..with_client_id("c1", say(&conversation, &sender, "look")) };
    let new = NewMessage { media: Media { url: Some("https://x/1.png".into()), ..Media::default() }, ..new };
    let first = send(&store, new.clone()).await;
    let before = [reload(&store, &conversation).await, reload(&store, &elsewhere).await];
    for other in [
        NewMessage { content: "look!".into(), ..new.clone() },
        NewMessage { media: Media { url: Some("https://x/2.png".into()), ..Media::default() }, ..new.clone() },
        NewMessage { message_type: MessageType::File, ..new.clone() },
        NewMessage { conversation: elsewhere.handle.clone(), recipient: astrologer("a2"), recipient_key: "a2".into(), ..new },
    ] {
        let refused = store.send_message(other.clone()).await.unwrap_err();
        assert_eq!(refused.code(), "CONFLICT", "{other:?}");
    }
    assert_eq!(store.find_message(first.id).await.unwrap(), Some(first));
    assert_eq!([reload(&store, &conversation).await, reload(&store, &elsewhere).await], before);
}

async fn ids_and_times_never_go_backwards_under_concurrent_sends(store: Arc<dyn Store>) {
    const SENDERS: usize = 10;
    const EACH: usize = 50;
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let senders = (0..SENDERS).map(|sender| {
        let (store, conversation) = (store.clone(), conversation.clone());
        let person = if sender % 2 == 0 { asker.clone() } else { expert.clone() };
        tokio::spawn(async move {
            for n in 0..EACH {
                // Callers' clocks differ by a little.
                let text = format!("{sender} {n}");
                send(&store, say_at(&conversation, &person, &text, (n * 7 + sender * 13) as i64 % 40)).await;
            }
        })
    });
    join_all(senders).await.into_iter().for_each(|sender| sender.unwrap());

    let mut all = Vec::new();
    let mut range = Range::Latest { skip: 0 };
    loop {
        let page = store.messages(MessageQuery { range, ..latest(&conversation, &asker) }).await.unwrap();
        range = Range::Before(page.items[0].id);
        all.splice(0..0, page.items);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(all.len(), SENDERS * EACH);
    for pair in all.windows(2) {
        assert!(pair[0].id < pair[1].id && pair[0].created_at <= pair[1].created_at, "{pair:?}");
    }
    for sender in 0..SENDERS {
        let own = all.iter().filter_map(|m| m.content.strip_prefix(&format!("{sender} ")));
        assert!(own.eq((0..EACH).map(|n| n.to_string())), "sender {sender} finds own messages in the order of sending");
    }
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (250, 250));
    assert_eq!(now.last_message.unwrap().message_id, all.last().map(|m| m.id));
}

async fn time_never_goes_backwards_when_the_callers_clock_does(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let mut last = send(&store, say_at(&conversation, &user("u1"), "now", 50_000)).await;
    assert_eq!(last.created_at, at(50_000));
    for (n, offset) in [20_000, -90_000, 50_000].into_iter().enumerate() {
        let next = send(&store, say_at(&conversation, &astrologer("a1"), &format!("{n}"), offset)).await;
        assert!(next.id > last.id);
        assert_eq!(next.created_at, at(50_000));
        last = next;
    }
    assert_eq!(texts(&store, &conversation, &user("u1")).await, ["now", "0", "1", "2"]);
    assert_eq!(reload(&store, &conversation).await.last_message.unwrap().content, "2");
}

async fn the_order_is_that_of_the_calls_not_of_the_awaits(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let calls: Vec<_> = (0..30).map(|n| store.send_message(say(&conversation, &user("u1"), &n.to_string()))).collect();
    for call in calls.into_iter().rev() {
        call.await.unwrap();
    }
    assert!(texts(&store, &conversation, &user("u1")).await.into_iter().eq((0..30).map(|n| n.to_string())));
}

async fn results_of_a_conversation_become_ready_in_order(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let mut calls: Vec<_> = (0..60).map(|n| Some(store.send_message(say(&conversation, &user("u1"), &n.to_string())))).collect();
    for waited in [3, 17, 40, 59] {
        let result = calls[waited].take().unwrap().await.unwrap();
        assert_eq!(result.message.content, waited.to_string());
        for (n, earlier) in calls[..waited].iter_mut().enumerate() {
            if let Some(call) = earlier.take() {
                // Unconstrained: a task that has polled much is told to wait although the result is there.
                let ready = tokio::task::unconstrained(call).now_or_never();
                assert!(ready.is_some(), "{waited} is ready, {n} is not");
                assert_eq!(ready.unwrap().unwrap().message.content, n.to_string());
            }
        }
    }
}

async fn latest_leaves_out_the_newest_asked_to_skip(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    store.hide_message(delete(&conversation, &messages[9], &user("u1"))).await.unwrap();
    let query = |skip, limit| MessageQuery { range: Range::Latest { skip }, limit, ..latest(&conversation, &user("u1")) };
    for (skip, limit, expected, more) in
        [(0, 3, vec!["6", "7", "8"], true), (2, 3, vec!["4", "5", "6"], true), (6, 3, vec!["0", "1", "2"], false), (9, 3, vec![], false)]
    {
        let page = store.messages(query(skip, limit)).await.unwrap();
        assert_eq!((contents(&page.items), page.has_more), (expected.into_iter().map(String::from).collect(), more), "skip {skip}");
    }
}

async fn pages_before_and_after_a_message_tell_whether_there_are_more(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let id = |n: usize| messages[n].id;
    for (range, expected, more) in [
        (Range::Before(id(5)), vec!["2", "3", "4"], true),
        (Range::Before(id(3)), vec!["0", "1", "2"], false),
        (Range::Before(id(0)), vec![], false),
        (Range::After(id(4)), vec!["5", "6", "7"], true),
        (Range::After(id(6)), vec!["7", "8", "9"], false),
        (Range::After(id(9)), vec![], false),
    ] {
        let page = store.messages(MessageQuery { range, limit: 3, ..latest(&conversation, &astrologer("a1")) }).await.unwrap();
        assert_eq!((contents(&page.items), page.has_more), (expected.into_iter().map(String::from).collect(), more), "{range:?}");
    }
}

async fn a_deleted_message_still_serves_as_cursor(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let viewer = user("u1");
    store.hide_message(delete(&conversation, &messages[4], &viewer)).await.unwrap();
    store.delete_message(delete(&conversation, &messages[6], &viewer)).await.unwrap();
    for (range, expected) in [
        (Range::After(messages[4].id), ["5", "7"]),
        (Range::Before(messages[4].id), ["2", "3"]),
        (Range::After(messages[6].id), ["7", "8"]),
        (Range::Before(messages[6].id), ["3", "5"]),
    ] {
        let page = store.messages(MessageQuery { range, limit: 2, ..latest(&conversation, &viewer) }).await.unwrap();
        assert_eq!(contents(&page.items), expected, "{range:?}");
        assert!(page.has_more);
    }
}

async fn a_cursor_of_another_conversation_is_not_found(store: Arc<dyn Store>) {
    let (conversation, _) = ten_messages(&store).await;
    let elsewhere = open(&store, &user("u1"), &astrologer("a2")).await;
    let foreign = send(&store, say(&elsewhere, &user("u1"), "elsewhere")).await;
    for cursor in [foreign.id, MessageId::parse("690000000000000000000005").unwrap()] {
        for range in [Range::Before(cursor), Range::After(cursor)] {
            let refused = store.messages(MessageQuery { range, ..latest(&conversation, &user("u1")) }).await.unwrap_err();
            assert_eq!(refused.code(), "MESSAGE_NOT_FOUND", "{range:?}");
        }
    }
}

async fn a_page_holds_no_more_than_the_limit_of_the_store(store: Arc<dyn Store>) {
    let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
    let sends: Vec<_> = (0..=MAX_PAGE).map(|n| store.send_message(say(&conversation, &user("u1"), &n.to_string()))).collect();
    for sent in join_all(sends).await {
        sent.unwrap();
    }
    let page = store.messages(MessageQuery { limit: 10_000, ..latest(&conversation, &user("u1")) }).await.unwrap();
    assert_eq!((page.items.len(), page.has_more), (MAX_PAGE, true));
    assert_eq!(page.items[0].content, "1");
}

async fn counting_stops_at_the_cap_and_leaves_out_what_the_viewer_may_not_see(store: Arc<dyn Store>) {
    let (conversation, messages) = ten_messages(&store).await;
    let (viewer, other) = (user("u1"), astrologer("a1"));
    store.hide_message(delete(&conversation, &messages[0], &viewer)).await.unwrap();
    store.delete_message(delete(&conversation, &messages[1], &viewer)).await.unwrap();
    for (person, cap, expected) in [(&viewer, 100, 8), (&viewer, 8, 8), (&viewer, 5, 5), (&other, 100, 9)] {
        let count = store.count_messages(&conversation.handle, &conversation.person_key(person), cap).await.unwrap();
        assert_eq!(count, expected, "{person} up to {cap}");
    }
}

async fn reading_marks_only_what_is_addressed_to_the_reader(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let elsewhere = open(&store, &asker, &astrologer("a2")).await;
    let first = send(&store, say(&conversation, &expert, "for the user")).await;
    let own = send(&store, say(&conversation, &asker, "by the user")).await;
    let second = send(&store, say(&conversation, &expert, "for the user too")).await;
    let third = send(&store, say(&conversation, &expert, "not named")).await;
    let foreign = send(&store, say(&elsewhere, &astrologer("a2"), "in another conversation")).await;
    let unknown = MessageId::parse("690000000000000000000005").unwrap();
    let ids = [second.id, own.id, foreign.id, unknown, first.id, first.id];
    let marks = store.mark_read(MarkRead { at: at(700), ..read_ids(&conversation, &asker, ids) }).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![first.id, second.id], 1));
    for (message, status) in [
        (&first, MessageStatus::Read),
        (&second, MessageStatus::Read),
        (&own, MessageStatus::Sent),
        (&third, MessageStatus::Sent),
        (&foreign, MessageStatus::Sent),
    ] {
        let now = store.find_message(message.id).await.unwrap().unwrap();
        let read_at = (status == MessageStatus::Read).then(|| at(700));
        assert_eq!((now.status, now.read_at), (status, read_at), "{}", message.content);
    }
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (1, 1));
    assert_eq!(reload(&store, &elsewhere).await.unread_of(&asker), 1);
}

async fn reading_goes_forward_only(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let sent = send(&store, say(&conversation, &asker, "one")).await;
    let delivered = send(&store, say(&conversation, &asker, "two")).await;
    store.mark_delivered(&[(conversation.handle.clone(), delivered.id)], at(100)).await.unwrap();
    let marks = store.mark_read(MarkRead { at: at(200), ..read_all(&conversation, &expert) }).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent.id, delivered.id], 0));
    for again in [read_all(&conversation, &expert), read_ids(&conversation, &expert, [sent.id, delivered.id])] {
        let marks = store.mark_read(MarkRead { at: at(300), ..again }).await.unwrap();
        assert_eq!((marks.ids, marks.unread), (vec![], 0));
    }
    let now = store.find_message(delivered.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Read, Some(at(100)), Some(at(200))));
}

async fn reading_all_leaves_out_what_was_sent_later(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let earlier = store.send_message(say(&conversation, &asker, "before"));
    let marks = store.mark_read(read_all(&conversation, &expert));
    let later = store.send_message(say(&conversation, &asker, "after"));
    let (later, marks, earlier) = (later.await.unwrap().message, marks.await.unwrap(), earlier.await.unwrap().message);
    assert_eq!(marks.ids, [earlier.id]);
    assert_eq!(store.find_message(later.id).await.unwrap().unwrap().status, MessageStatus::Sent);
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1);
}

async fn reading_all_returns_everything_oldest_first(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    // More than a page, more than a batch of a hundred.
    let sends: Vec<_> = (0..321).map(|n| store.send_message(say(&conversation, &asker, &n.to_string()))).collect();
    let sent: Vec<MessageId> = join_all(sends).await.into_iter().map(|sent| sent.unwrap().message.id).collect();
    let marks = store.mark_read(read_all(&conversation, &expert)).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (sent, 0));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 0);
}

async fn call_logs_are_latest_but_never_unread(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let text = send(&store, say(&conversation, &asker, "hello")).await;
    let new = NewMessage { message_type: MessageType::CallLog, call: Some(CallLog::default()), ..say(&conversation, &asker, "") };
    let call = NewMessage { call: Some(CallLog { call_type: Some("voice".into()), ..CallLog::default() }), ..new };
    let call = send(&store, call).await;
    let now = reload(&store, &conversation).await;
    assert_eq!(now.unread_of(&expert), 1);
    assert_eq!(now.last_message.as_ref().map(|l| (l.message_id, l.message_type)), Some((Some(call.id), MessageType::CallLog)));
    assert_eq!(now.last_message_at, call.created_at);
    let marks = store.mark_read(read_ids(&conversation, &expert, [call.id])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![], 1));
    let marks = store.mark_read(read_all(&conversation, &expert)).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![text.id], 0));
    store.delete_message(delete(&conversation, &call, &asker)).await.unwrap();
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 0, "it did not count before it was deleted");
}

async fn admins_read_what_is_addressed_to_any_admin(store: Arc<dyn Store>) {
    let asker = user("u1");
    let conversation = open(&store, &admin("ops7"), &asker).await;
    let mut sent = Vec::new();
    for recipient in [Participant::shared_admin(), admin("ops7"), admin("ops8")] {
        let new = NewMessage { recipient: recipient.clone(), ..say(&conversation, &asker, "help") };
        let message = send(&store, new).await;
        assert_eq!(message.recipient, recipient, "the client's own word is kept");
        sent.push(message.id);
    }
    let answer = send(&store, say(&conversation, &admin("ops9"), "coming")).await;
    assert_eq!(answer.sender, admin("ops9"));
    let now = reload(&store, &conversation).await;
    assert_eq!(now.unread.get("admin"), Some(&3));
    assert_eq!((now.unread_of(&admin("ops7")), now.unread_of(&asker)), (3, 1));
    let marks = store.mark_read(read_ids(&conversation, &admin("ops9"), [sent[1]])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent[1]], 2));
    let marks = store.mark_read(read_all(&conversation, &admin("ops7"))).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![sent[0], sent[2]], 0));
    assert_eq!(reload(&store, &conversation).await.unread_of(&asker), 1);
}

async fn a_shared_id_of_two_types_is_two_people(store: Arc<dyn Store>) {
    let (asker, expert) = (user("5"), astrologer("5"));
    let conversation = open(&store, &asker, &expert).await;
    let to_expert = send(&store, say(&conversation, &asker, "to the astrologer")).await;
    let to_asker = send(&store, say(&conversation, &expert, "to the user")).await;
    send(&store, say(&conversation, &expert, "to the user again")).await;
    let now = reload(&store, &conversation).await;
    let counted: BTreeMap<String, u32> = now.unread.clone().into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(counted, BTreeMap::from([("astrologer~5".into(), 1), ("user~5".into(), 2)]));
    let marks = store.mark_read(read_ids(&conversation, &asker, [to_expert.id, to_asker.id])).await.unwrap();
    assert_eq!((marks.ids, marks.unread), (vec![to_asker.id], 1));
    store.hide_message(delete(&conversation, &to_expert, &asker)).await.unwrap();
    assert_eq!(texts(&store, &conversation, &asker).await.len(), 2);
    assert_eq!(texts(&store, &conversation, &expert).await.len(), 3);
    let now = reload(&store, &conversation).await;
    assert_eq!((now.unread_of(&asker), now.unread_of(&expert)), (1, 1));
}

async fn delivery_goes_forward_only(store: Arc<dyn Store>) {
    let (asker, expert) = (user("u1"), astrologer("a1"));
    let conversation = open(&store, &asker, &expert).await;
    let elsewhere = open(&store, &asker, &astrologer("a2")).await;
    let fresh = send(&store, say(&conversation, &asker, "one")).await;
    let read = send(&store, say(&conversation, &asker, "two")).await;
    let other = send(&store, say(&elsewhere, &asker, "three")).await;
    store.mark_read(MarkRead { at: at(100), ..read_ids(&conversation, &expert, [read.id]) }).await.unwrap();
    let all = [
        (conversation.handle.clone(), read.id),
        (elsewhere.handle.clone(), other.id),
        (conversation.handle.clone(), fresh.id),
        (conversation.handle.clone(), MessageId::parse("690000000000000000000005").unwrap()),
    ];
    let changed = store.mark_delivered(&all, at(200)).await.unwrap();
    assert_eq!(changed.into_iter().collect::<HashSet<_>>(), HashSet::from([fresh.id, other.id]));
    assert_eq!(store.mark_delivered(&all, at(300)).await.unwrap(), []);
    let now = store.find_message(fresh.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Delivered, Some(at(200)), None));
    let now = store.find_message(read.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.delivered_at, now.read_at), (MessageStatus::Read, None, Some(at(100))));
    assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 1, "delivered is still unread");
}

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

/// What only the embedded store can promise.
mod only_sqlite {
    use std::time::Duration;

    use futures_util::FutureExt;
    use samvad::store::sqlite::{OpenError, OpenOptions, SqliteStore};

    use super::*;

    #[tokio::test]
    async fn reopening_the_file_finds_everything() {
        let folder = tempfile::tempdir().unwrap();
        let (asker, expert) = (user("u1"), astrologer("a1"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
        let (conversation, messages) = ten_messages(&store).await;
        let new = with_client_id("c1", say_at(&conversation, &asker, "far ahead", 90_000));
        let newest = send(&store, new.clone()).await;
        store.mark_read(read_ids(&conversation, &expert, [messages[0].id])).await.unwrap();
        let before = reload(&store, &conversation).await;
        store.close().await;
        drop(store);

        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).unwrap());
        assert_eq!(reload(&store, &conversation).await, before);
        assert_eq!(before.unread_of(&expert), 10);
        assert_eq!(store.messages(latest(&conversation, &asker)).await.unwrap().items.len(), 11);
        assert_eq!(store.send_message(new).await.unwrap().message, newest);
        let next = send(&store, say_at(&conversation, &asker, "the clock was set back", -90_000)).await;
        assert!(next.id > newest.id && next.created_at >= newest.created_at);
        assert_eq!(reload(&store, &conversation).await.unread_of(&expert), 11);
    }

    #[tokio::test]
    async fn a_folder_is_used_by_one_store_at_a_time() {
        let (store, folder) = stores::sqlite();
        let path = folder.path().to_owned();
        let second = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await.unwrap();
        let Err(error @ OpenError::InUse { .. }) = second else { panic!("a second store opened the same folder") };
        assert_eq!(error.to_string(), format!("another server uses {}", folder.path().display()));
        store.close().await;
        SqliteStore::open(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_folder_it_makes_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        SqliteStore::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.join("samvad.db").exists());
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_reads_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { max_pages: Some(64), ..OpenOptions::new(folder.path()) };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with(options).unwrap());
        let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
        let text = "x".repeat(3_000);
        let mut stored = 0;
        let refused = loop {
            match store.send_message(say(&conversation, &user("u1"), &text)).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 100, "64 pages do not hold a hundred messages");
        };
        assert_eq!(refused.code(), "UNAVAILABLE");
        assert!(stored > 10);
        assert_eq!(store.check_writable().await.unwrap_err().code(), "UNAVAILABLE");
        assert_eq!(store.messages(latest(&conversation, &user("u1"))).await.unwrap().items.len(), stored);
        let now = reload(&store, &conversation).await;
        assert_eq!(now.unread_of(&astrologer("a1")) as usize, stored, "the refused message left no trace");
    }

    #[tokio::test]
    async fn a_full_queue_is_overloaded_and_what_waits_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { queue_len: 8, ..OpenOptions::new(folder.path()) };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_with(options).unwrap());
        let conversation = open(&store, &user("u1"), &astrologer("a1")).await;
        // Another writer makes ours wait in the middle of its work.
        let blocker = rusqlite::Connection::open(folder.path().join("samvad.db")).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            let mut call = store.send_message(say(&conversation, &user("u1"), &waiting.len().to_string()));
            match (&mut call).now_or_never() {
                Some(result) => break result.unwrap_err(),
                None => waiting.push(call),
            }
            assert!(waiting.len() < 5_000, "the queue has no end");
        };
        assert_eq!(refused.code(), "OVERLOADED");
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        assert!(reload(&store, &conversation).await.last_message.is_none(), "reads do not wait for the writer");
        blocker.execute_batch("ROLLBACK").unwrap();
        let count = waiting.len();
        for (n, call) in waiting.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().message.content, n.to_string());
        }
        assert_eq!(reload(&store, &conversation).await.unread_of(&astrologer("a1")) as usize, count);
    }

    #[tokio::test]
    async fn a_file_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = rusqlite::Connection::open(folder.path().join("samvad.db")).unwrap();
        file.execute_batch("PRAGMA user_version = 99").unwrap();
        let Err(error) = SqliteStore::open(folder.path()) else { panic!("it was opened") };
        assert!(error.to_string().contains("version 99"), "{error}");
    }

    /// `cargo test --release -- --ignored --nocapture sends_per_second`
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn sends_per_second() {
        for senders in [1, 64, 512] {
            let (store, _folder) = stores::sqlite();
            let mut conversations = Vec::new();
            for n in 0..300 {
                conversations.push(open(&store, &user(&format!("u{n}")), &astrologer("a1")).await);
            }
            let conversations = Arc::new(conversations);
            let started = std::time::Instant::now();
            let tasks = (0..senders).map(|sender| {
                let (store, conversations) = (store.clone(), conversations.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while started.elapsed() < Duration::from_secs(4) {
                        let n = (sender * 31 + latencies.len() * 7) % 300;
                        let id = format!("{:032x}", rand::random::<u128>());
                        let new = with_client_id(&id, say(&conversations[n], &user(&format!("u{n}")), &"word ".repeat(20)));
                        let sent = std::time::Instant::now();
                        store.send_message(new).await.unwrap();
                        latencies.push(sent.elapsed());
                    }
                    latencies
                })
            });
            let mut latencies: Vec<Duration> = join_all(tasks).await.into_iter().flat_map(|task| task.unwrap()).collect();
            let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
            latencies.sort_unstable();
            let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
            println!("{senders} senders: {rate:.0} messages/s, p50 {p50:.1?}, p99 {p99:.1?}");
        }
    }
}

#[test]
fn an_embedded_store_says_what_it_is() {
    assert_eq!(tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { stores::sqlite().0.engine() }), "sqlite");
}

// Words of the tests.

fn new_conversation(pair: Pair) -> NewConversation {
    let profiles = [Profile::default(), Profile::default()];
    NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: at(0) }
}

async fn open(store: &Arc<dyn Store>, a: &Participant, b: &Participant) -> Conversation {
    let pair = Pair::new(a.clone(), b.clone()).unwrap();
    store.open_conversation(new_conversation(pair)).await.unwrap().conversation
}

async fn reload(store: &Arc<dyn Store>, conversation: &Conversation) -> Conversation {
    store.find_conversation(&Lookup::Id(conversation.handle.id)).await.unwrap().unwrap()
}

trait Ids {
    fn ids(&self) -> Vec<ConversationId>;
}

impl Ids for samvad::store::Conversations {
    fn ids(&self) -> Vec<ConversationId> {
        self.items.iter().map(|conversation| conversation.handle.id).collect()
    }
}

fn everything() -> ConversationPage {
    ConversationPage { before: None, skip: 0, limit: MAX_PAGE }
}

async fn list(store: &Arc<dyn Store>, person: &Participant, page: ConversationPage) -> samvad::store::Conversations {
    store.conversations_of(person, &page).await.unwrap()
}

/// A text from `sender` to the other one, at the start of the tests.
fn say(conversation: &Conversation, sender: &Participant, text: &str) -> NewMessage {
    let recipient = conversation.members.iter().map(|m| &m.participant).find(|p| !p.is_same_identity(sender)).unwrap();
    NewMessage {
        conversation: conversation.handle.clone(),
        sender: sender.clone(),
        sender_profile: Profile::default(),
        recipient: recipient.clone(),
        recipient_key: conversation.person_key(recipient),
        message_type: MessageType::Text,
        content: text.to_owned(),
        media: Media::default(),
        reply_to: None,
        call: None,
        client_message_id: None,
        at: at(0),
    }
}

fn say_at(conversation: &Conversation, sender: &Participant, text: &str, offset_ms: i64) -> NewMessage {
    NewMessage { at: at(offset_ms), ..say(conversation, sender, text) }
}

fn with_client_id(id: &str, new: NewMessage) -> NewMessage {
    NewMessage { client_message_id: Some(id.to_owned()), ..new }
}

async fn send(store: &Arc<dyn Store>, new: NewMessage) -> Message {
    let sent = store.send_message(new).await.unwrap();
    assert!(sent.fresh, "{sent:?}");
    sent.message
}

/// A user and an astrologer, and ten messages "0" to "9" from the one to the other.
pub(crate) async fn ten_messages(store: &Arc<dyn Store>) -> (Conversation, Vec<Message>) {
    let conversation = open(store, &user("u1"), &astrologer("a1")).await;
    let mut messages = Vec::new();
    for n in 0..10 {
        messages.push(send(store, say(&conversation, &user("u1"), &n.to_string())).await);
    }
    (conversation, messages)
}

fn latest(conversation: &Conversation, viewer: &Participant) -> MessageQuery {
    let viewer = conversation.person_key(viewer);
    MessageQuery { conversation: conversation.handle.clone(), viewer, range: Range::Latest { skip: 0 }, limit: MAX_PAGE }
}

fn contents(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.content.clone()).collect()
}

async fn texts(store: &Arc<dyn Store>, conversation: &Conversation, viewer: &Participant) -> Vec<String> {
    contents(&store.messages(latest(conversation, viewer)).await.unwrap().items)
}

fn read_all(conversation: &Conversation, reader: &Participant) -> MarkRead {
    let reader_key = conversation.person_key(reader);
    MarkRead { conversation: conversation.handle.clone(), reader: reader.clone(), reader_key, which: Which::AllUnread, at: at(0) }
}

fn read_ids(conversation: &Conversation, reader: &Participant, ids: impl Into<Vec<MessageId>>) -> MarkRead {
    MarkRead { which: Which::Ids(ids.into()), ..read_all(conversation, reader) }
}

/// A deletion by `by`, for hiding and for deleting alike.
fn delete(conversation: &Conversation, message: &Message, by: &Participant) -> DeleteMessage {
    DeleteMessage {
        conversation: conversation.handle.clone(),
        message: message.id,
        by: conversation.person_key(by),
        recipient_key: conversation.person_key(&message.recipient),
        at: at(0),
    }
}

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
