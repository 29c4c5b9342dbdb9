//! `samvad demo`: something to look at on a fresh start.

use std::time::Duration;

use samvad::models::message::{CallLog, Media, NewMessage};
use samvad::models::{
    CallStatus, CallType, EndReason, MessageType, NewCall, Notices, Pair, Participant, ParticipantKind, Profile, Timestamp,
};
use samvad::services::messaging::CALL_LOG_ID;
use samvad::store::{CallChange, CallEnd, MarkRead, NewConversation, Store, Transitioned, Which};

/// Who talks: the people of the demo tokens.
const USER: &str = "demo-user";
const ASTROLOGER: &str = "demo-astrologer";

/// What is said, how many minutes ago, and whether by the user.
const TALK: &[(u64, bool, &str)] = &[
    (190, true, "Namaste, is this a good time?"),
    (188, false, "Namaste! Yes, please tell me your question."),
    (187, true, "I was offered work in another city and cannot decide."),
    (180, false, "When were you born, and where? The hour matters too."),
    (178, true, "14 March 1994, 06:40, in Pune."),
    (171, false, "Thank you. Let us talk, it is easier than writing."),
    (5, false, "I have put the notes of our call together. Shall I send them here?"),
    (4, false, "There are two dates you should keep in mind."),
];
/// What the astrologer and the admins say to each other.
const SUPPORT: &[(u64, bool, &str)] =
    &[(60, false, "How do I change my rate per minute?"), (55, true, "In your profile under Rates. It counts from the next call on.")];

/// Stores two conversations with a call. Errors: the store is not empty, so that nobody's data are mixed with this.
pub async fn demo(store: &dyn Store) -> Result<(), String> {
    let fail = |e: samvad::error::Error| e.to_string();
    if !store.walk_conversations(None, 1).await.map_err(fail)?.is_empty() {
        return Err("there are conversations already; sample data go into an empty store only".into());
    }
    let person = |kind, id: &str, name: &str| {
        let person = Participant::new(kind, id).ok_or("a demo id is not legal")?;
        Ok::<_, String>((person, Profile { name: Some(name.to_owned()), picture: None }))
    };
    let user = person(ParticipantKind::User, USER, "Demo user")?;
    let astrologer = person(ParticipantKind::Astrologer, ASTROLOGER, "Demo astrologer")?;
    let admin = (Participant::shared_admin(), Profile { name: Some("Support".into()), picture: None });
    let now = Timestamp::now();

    talk(store, now, &user, &astrologer, &TALK[..6], true).await.map_err(fail)?;
    call(store, now, &user, &astrologer).await.map_err(fail)?;
    // In the order of time: the store's clock does not go back.
    talk(store, now, &admin, &astrologer, SUPPORT, false).await.map_err(fail)?;
    talk(store, now, &user, &astrologer, &TALK[6..], false).await.map_err(fail)?;
    println!(
        "Two conversations, {} messages and a call: {USER} has {} to read, {ASTROLOGER} 1.",
        TALK.len() + SUPPORT.len(),
        TALK.len() - 6
    );
    Ok(())
}

type Somebody = (Participant, Profile);

fn ago(now: Timestamp, minutes: u64) -> Timestamp {
    now.minus(Duration::from_secs(minutes * 60))
}

/// What two people say to each other; read by both in the end, or not.
async fn talk(
    store: &dyn Store,
    now: Timestamp,
    first: &Somebody,
    second: &Somebody,
    said: &[(u64, bool, &str)],
    is_read: bool,
) -> samvad::error::Result<()> {
    let conversation = open(store, now, first, second).await?;
    for (minutes, by_first, text) in said {
        let (sender, recipient) = if *by_first { (first, second) } else { (second, first) };
        let new = NewMessage {
            conversation: conversation.handle.clone(),
            sender: sender.0.clone(),
            sender_profile: sender.1.clone(),
            recipient_key: conversation.person_key(&recipient.0),
            recipient: recipient.0.clone(),
            message_type: MessageType::Text,
            content: (*text).to_owned(),
            media: Media::default(),
            reply_to: None,
            call: None,
            client_message_id: None,
            at: ago(now, *minutes),
        };
        store.send_message(new).await?;
    }
    for reader in [&first.0, &second.0].into_iter().filter(|_| is_read) {
        let mark = MarkRead {
            conversation: conversation.handle.clone(),
            reader: reader.identity(),
            reader_key: conversation.person_key(reader),
            which: Which::AllUnread,
            at: ago(now, 170),
        };
        store.mark_read(mark).await?;
    }
    Ok(())
}

async fn open(
    store: &dyn Store,
    now: Timestamp,
    first: &Somebody,
    second: &Somebody,
) -> samvad::error::Result<samvad::models::Conversation> {
    let pair = Pair::new(first.0.clone(), second.0.clone()).ok_or(samvad::error::Error::SelfConversationBlocked)?;
    let profile_of = |person: &Participant| if person.is_same_identity(&first.0) { first.1.clone() } else { second.1.clone() };
    let profiles = pair.both().map(profile_of);
    let new = NewConversation { pair, profiles, context_type: "general".into(), context_id: None, alias: None, at: ago(now, 200) };
    Ok(store.open_conversation(new).await?.conversation)
}

/// A call of five minutes, with its log in the conversation.
async fn call(store: &dyn Store, now: Timestamp, caller: &Somebody, callee: &Somebody) -> samvad::error::Result<()> {
    let conversation = open(store, now, caller, callee).await?;
    let new = NewCall {
        caller: caller.0.clone(),
        caller_profile: caller.1.clone(),
        callee: callee.0.clone(),
        callee_profile: callee.1.clone(),
        call_type: CallType::Voice,
        channel: "samvad_demo".into(),
        conversation_key: conversation.key().clone(),
        consultation_id: None,
        status: CallStatus::Ringing,
        ring_for: Duration::from_secs(60),
        at: ago(now, 169),
    };
    let id = store.create_call(new).await?.id;
    let step = |from, to, end, at| CallChange { id, from: vec![from], to, end, at };
    let end = CallEnd {
        reason: EndReason::Completed,
        detail: "completed".into(),
        by: Some(caller.0.clone()),
        duration: 300,
        server_duration: 300,
        notices: Notices::default(),
    };
    let answered_at = ago(now, 169).plus(Duration::from_secs(8));
    let steps = [
        step(CallStatus::Ringing, CallStatus::Answered, None, answered_at),
        step(CallStatus::Answered, CallStatus::Ended, Some(end), answered_at.plus(Duration::from_secs(300))),
    ];
    for step in steps {
        if !matches!(store.transition_call(step).await?, Transitioned::Applied(_)) {
            return Err(samvad::error::Error::Conflict("the demo call was moved on by somebody else".into()));
        }
    }
    let log = NewMessage {
        conversation: conversation.handle.clone(),
        sender: caller.0.clone(),
        sender_profile: caller.1.clone(),
        recipient_key: conversation.person_key(&callee.0),
        recipient: callee.0.clone(),
        message_type: MessageType::CallLog,
        content: "Voice call completed".into(),
        media: Media::default(),
        reply_to: None,
        call: Some(CallLog {
            call_type: Some("voice".into()),
            call_status: Some("completed".into()),
            call_duration: Some(300),
            call_id: Some(id.to_string()),
        }),
        client_message_id: Some(format!("{CALL_LOG_ID}{id}")),
        at: answered_at.plus(Duration::from_secs(300)),
    };
    store.send_message(log).await?;
    Ok(())
}
