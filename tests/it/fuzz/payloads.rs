//! Group 1, event payloads, first without a socket: whatever a text holds, reading it gives a legal request or a refusal.
//! The second half, over a real websocket, is in `sockets.rs`.

use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::TestCaseResult;
use samvad::error::{Error, Result};
use samvad::services::history::{MAX_HISTORY_PAGE, Reading};
use samvad::services::messaging::SendMessage;
use samvad::store::{MAX_PAGE, Which};
use samvad::wire::{self, Payload};
use serde_json::Value;
use serde_json::value::RawValue;

use super::garbage::{World, fields_of, json_text, object, value};
use super::{Group, sockets};

/// Every event there is, and what reading its payload is tried on.
fn event_objects() -> BoxedStrategy<Value> {
    // Made once: making a strategy costs more than asking it.
    let objects = samvad::handlers::events::operations().map(|(name, _)| object(fields_of(name), &World::imagined()));
    Union::new(objects).boxed()
}

/// What a parser made of it, in words, so that two readings can be compared.
fn told<T>(read: Result<T>, tell: impl Fn(T) -> std::result::Result<String, TestCaseError>) -> std::result::Result<String, TestCaseError> {
    match read {
        Ok(request) => tell(request),
        Err(refused @ (Error::InvalidPayload(_) | Error::InvalidId(_) | Error::ContentTooLong { .. } | Error::SelfConversationBlocked)) => {
            let text = refused.to_string();
            prop_assert!(!text.is_empty() && text.chars().count() < 200, "a refusal must not repeat what it refuses: {text}");
            Ok(refused.code().to_owned())
        }
        Err(other) => Err(TestCaseError::fail(format!("reading a payload failed with {}", other.code()))),
    }
}

fn send_is_legal(send: SendMessage) -> std::result::Result<String, TestCaseError> {
    let heard = format!("{:?} {:?} {:?}", send.reply_to, send.client_message_id, send.conversation);
    let person = told(send.recipient.person(), |person| Ok(format!("{person:?}")))?;
    if let Some(id) = &send.client_message_id {
        prop_assert!((1..=64).contains(&id.chars().count()) && !id.starts_with("call_log:"));
    }
    let (kind, text, media) = send.content.into_parts();
    prop_assert!(!["system", "call_log"].contains(&kind.as_str()));
    prop_assert!(text.chars().count() <= 4_000 && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    prop_assert!(media.url.is_some() || !text.trim().is_empty(), "a message says something");
    for url in [&media.url, &media.thumbnail_url].into_iter().flatten() {
        prop_assert!(url.len() <= 2_048 && url[..8].eq_ignore_ascii_case("https://") && !url.chars().any(char::is_whitespace));
    }
    prop_assert!(media.size_bytes.is_none_or(|n| n >= 0) && media.duration_seconds.is_none_or(|n| n.is_finite() && n >= 0.0));
    Ok(format!("{heard} {person} {kind:?} {text} {media:?}"))
}

/// Reads a payload in every way there is; each way says what it understood.
fn read_all_ways(payload: &Payload) -> std::result::Result<Vec<String>, TestCaseError> {
    Ok(vec![
        told(wire::send_message(payload, None, None), send_is_legal)?,
        told(wire::recipient(payload).and_then(|r| r.require()), |person| {
            prop_assert!((1..=64).contains(&person.id().len()));
            Ok(person.to_string())
        })?,
        told(wire::history(payload, Reading::Reads), |ask| {
            prop_assert!(ask.page >= 1 && (1..=MAX_HISTORY_PAGE).contains(&ask.limit));
            Ok(format!("{ask:?}"))
        })?,
        told(wire::catch_up(payload), |ask| {
            prop_assert!((1..=MAX_PAGE).contains(&ask.limit));
            Ok(format!("{:?} {} {:?}", ask.after, ask.limit, ask.since))
        })?,
        told(wire::which_messages(payload), |which| {
            if let Which::Ids(ids) = &which {
                prop_assert!((1..=200).contains(&ids.len()));
            }
            Ok(format!("{which:?}"))
        })?,
        told(wire::delete_scope(payload), |scope| Ok(format!("{scope:?}")))?,
        told(wire::typing_conversation(payload), |text| {
            prop_assert!(!text.is_empty());
            Ok(text.to_owned())
        })?,
        told(wire::context(payload), |(kind, id)| {
            prop_assert!(id.as_ref().is_none_or(|id| id.len() == 24 && *id == id.to_ascii_lowercase()));
            Ok(format!("{kind} {id:?}"))
        })?,
        told(wire::initiate_call(payload, None, None), |ask| {
            prop_assert!(ask.consultation_id.as_ref().is_none_or(|id| id.len() == 24));
            Ok(format!("{} {:?} {:?}", ask.callee, ask.call_type, ask.consultation_id))
        })?,
        told(wire::callee_of_admin(payload), |callee| Ok(format!("{callee:?}")))?,
        told(wire::call_id(payload), |id| Ok(id.to_string()))?,
        told(wire::ending(payload), |ending| {
            prop_assert!(ending.reason.as_ref().is_none_or(|reason| (1..=64).contains(&reason.chars().count())));
            Ok(format!("{ending:?}"))
        })?,
        told(wire::feedback(payload), |(rating, comment)| {
            prop_assert!((1..=5).contains(&rating) && comment.as_ref().is_none_or(|text| text.chars().count() <= 1_000));
            Ok(format!("{rating} {comment:?}"))
        })?,
        told(wire::call_filter(payload), |filter| Ok(format!("{filter:?}")))?,
        told(wire::wanted_people(payload), |wanted| {
            prop_assert!(wanted.len() <= 200);
            Ok(format!("{wanted:?}"))
        })?,
    ])
}

fn check_text(text: &str) -> TestCaseResult {
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return Ok(()) };
    match Payload::parse(Some(raw)) {
        Err(refused) => prop_assert_eq!(refused.code(), "INVALID_PAYLOAD"),
        Ok(payload) => {
            let heard = read_all_ways(&payload)?;
            // A field that is null is a field that is not there.
            let mut object: Value = serde_json::from_str(text).map_err(|e| TestCaseError::fail(e.to_string()))?;
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            let again = Payload::from_value(object).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(heard, read_all_ways(&again)?);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_events_are_read_or_refused_and_every_ack_comes_once() {
    tokio::task::spawn_blocking(|| {
        let group = Group::new("payloads", include_str!("seeds/payloads.txt"), 3);
        let texts = prop_oneof![6 => json_text(event_objects(), 4), 1 => json_text(value(), 4)];
        group.check("readers", 700, &texts, |text| check_text(&text));
        sockets::check(&group);
    })
    .await
    .expect("the payloads are handled");
}
