//! Conversations: opening, names, profiles, lists.

use super::*;

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
