//! Who hears what: audiences, spellings, full buffers.

use samvad::delivery::{Audience, Delivery, MAX_UNOPENED, ServerEvent, Typing};
use samvad::models::{ConversationKey, Participant, ParticipantKind};

use crate::support::recorder::Recorder;

fn person(kind: ParticipantKind, id: &str) -> Participant {
    Participant::new(kind, id).expect("a legal id")
}

fn key(text: &str) -> ConversationKey {
    ConversationKey::parse(text).expect("a legal key")
}

fn event() -> ServerEvent {
    ServerEvent::TypingStarted(Typing { user_id: "u1".into(), user_type: ParticipantKind::User, user_name: None })
}

#[test]
fn an_empty_audience_is_nobody_and_never_everybody() {
    let delivery = Delivery::default();
    let (_connection, recorder) = Recorder::connect(&delivery, &person(ParticipantKind::User, "u1"));
    assert_eq!(delivery.emit(&Audience::people([]), &event()).count(), 0);
    assert_eq!(delivery.emit(&Audience::default(), &event()).count(), 0);
    assert!(recorder.take().is_empty());
}

#[test]
fn each_socket_hears_once_under_the_spelling_it_joined_with() {
    let (delivery, user) = (Delivery::default(), person(ParticipantKind::User, "u1"));
    let (by_key, heard_by_key) = Recorder::connect(&delivery, &user);
    let (by_hex, heard_by_hex) = Recorder::connect(&delivery, &user);
    let (_outside, heard_outside) = Recorder::connect(&delivery, &user);
    let conversation = key("user_u1_a1");
    assert!(delivery.join(&by_key, &conversation, "user_u1_a1"));
    assert!(delivery.join(&by_hex, &conversation, "user_u1_a1"));
    assert!(delivery.join(&by_hex, &conversation, "690000000000000000000001"));

    let reached = delivery.emit(&Audience::room(&conversation).and_people([user.clone()]), &event());

    assert_eq!(reached.count(), 3);
    for (recorder, spelling) in [(heard_by_key, "user_u1_a1"), (heard_by_hex, "690000000000000000000001"), (heard_outside, "user_u1_a1")] {
        let heard = recorder.take();
        assert_eq!(heard.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["dm:typing_start", "dm:user_typing"]);
        assert!(heard.iter().all(|(_, payload)| payload["conversationId"] == spelling), "{heard:?}");
    }
}

#[test]
fn of_many_rooms_nobody_has_opened_the_oldest_are_left_and_one_that_is_opened_stays() {
    let (delivery, user) = (Delivery::default(), person(ParticipantKind::User, "u1"));
    let (connection, _recorder) = Recorder::connect(&delivery, &user);
    let room = |n: usize| key(&format!("user_u1_a{n}"));
    let joins = |n: usize| assert!(delivery.join_unopened(&connection, &room(n), room(n).as_str()));
    (0..MAX_UNOPENED).for_each(joins);
    delivery.opened(&room(0));
    assert!(delivery.join(&connection, &room(1), "known by now"));
    // Joining again makes it the newest.
    joins(2);
    (MAX_UNOPENED..MAX_UNOPENED + 10).for_each(joins);
    let sits = |n: usize| delivery.spelling_of(&connection, &room(n)).is_some();
    let left: Vec<usize> = (0..MAX_UNOPENED + 10).filter(|n| !sits(*n)).collect();
    assert_eq!(left, (3..11).collect::<Vec<_>>());
    // What was left is left for good, also after coming back.
    delivery.disconnect(&connection, samvad::delivery::Departure::Dropped);
    let kept = delivery.dropped_rooms(&user).expect("kept");
    assert_eq!((kept.rooms.len(), kept.unopened.len()), (MAX_UNOPENED + 2, MAX_UNOPENED));
}

#[test]
fn a_client_that_does_not_keep_up_is_closed_and_the_others_still_hear() {
    let (delivery, conversation) = (Delivery::default(), key("user_u1_a1"));
    let (slow, slow_recorder) = Recorder::connect(&delivery, &person(ParticipantKind::User, "u1"));
    let (quick, quick_recorder) = Recorder::connect(&delivery, &person(ParticipantKind::Astrologer, "a1"));
    assert!(delivery.join(&slow, &conversation, "user_u1_a1"));
    assert!(delivery.join(&quick, &conversation, "user_u1_a1"));
    slow_recorder.stop_reading();

    let reached = delivery.emit(&Audience::room(&conversation), &event());

    assert_eq!(reached.count(), 1);
    assert!(reached.includes(&person(ParticipantKind::Astrologer, "a1")) && !reached.includes(&person(ParticipantKind::User, "u1")));
    assert!(slow_recorder.is_closed() && !quick_recorder.is_closed());
    assert_eq!(quick_recorder.names().len(), 2);
}

#[test]
fn whoever_left_hears_nothing_and_cannot_be_put_back_by_a_slow_join() {
    let (delivery, conversation) = (Delivery::default(), key("admin_a1"));
    let (connection, recorder) = Recorder::connect(&delivery, &person(ParticipantKind::Astrologer, "a1"));
    assert!(delivery.join(&connection, &conversation, "admin_a1"));
    assert_eq!(delivery.leave(&connection, "admin_a1"), Some(conversation.clone()));
    assert_eq!(delivery.leave(&connection, "admin_a1"), None);
    delivery.disconnect(&connection, samvad::delivery::Departure::OnPurpose);
    assert!(delivery.join(&connection, &conversation, "admin_a1"));
    assert_eq!(delivery.emit(&Audience::room(&conversation).and_people([connection.identity().clone()]), &event()).count(), 0);
    assert!(recorder.take().is_empty());
    assert_eq!(delivery.connections(), 0);
}

#[test]
fn only_participants_are_let_out_of_the_waiting_room_and_the_oldest_wait_is_dropped() {
    let (delivery, conversation) = (Delivery::default(), key("user_u1_a1"));
    let (user, astrologer) = (person(ParticipantKind::User, "u1"), person(ParticipantKind::Astrologer, "a1"));
    let (waiting, recorder) = Recorder::connect(&delivery, &astrologer);
    let (stranger, stranger_recorder) = Recorder::connect(&delivery, &person(ParticipantKind::User, "u2"));
    delivery.wait(&waiting, "690000000000000000000001");
    delivery.wait(&stranger, "690000000000000000000001");
    for i in 0..samvad::delivery::MAX_WAITING - 1 {
        delivery.wait(&waiting, &format!("other{i}"));
    }
    delivery.admit_waiting("690000000000000000000001", &conversation, &[user.clone(), astrologer.clone()]);
    assert_eq!(delivery.emit(&Audience::room(&conversation), &event()).count(), 1);
    assert_eq!(recorder.take()[0].1["conversationId"], "690000000000000000000001");
    assert!(stranger_recorder.take().is_empty());

    for i in 0..=samvad::delivery::MAX_WAITING {
        delivery.wait(&stranger, &format!("many{i}"));
    }
    let other = key("user_u2_a1");
    delivery.admit_waiting("many0", &other, &[person(ParticipantKind::User, "u2")]);
    assert_eq!(delivery.emit(&Audience::room(&other), &event()).count(), 0, "the oldest wait was dropped");
    delivery.admit_waiting("many1", &other, &[person(ParticipantKind::User, "u2")]);
    assert_eq!(delivery.emit(&Audience::room(&other), &event()).count(), 1);
}
