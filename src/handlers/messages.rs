//! `dm:*`: read the payload, call one service, give the answer.

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use crate::delivery::{Audience, ServerEvent, Stats};
use crate::error::{Error, Result};
use crate::models::MessageId;
use crate::models::view::MessageView;
use crate::services::history::{CatchUp, Reading};
use crate::wire::{self, CatchUpBody, HistoryBody, Payload, SendBody, ok_body};

use super::reply::Reply;
use super::session::Session;

/// The conversation a payload is about, where it must name one.
fn conversation(payload: &Payload) -> Result<&str> {
    payload.require_text(&["conversationId"])
}

pub(super) async fn join_conversation(session: &Session, payload: &Payload) -> Reply {
    let text = conversation(payload)?;
    let ask = wire::catch_up(payload)?;
    let joined = session.services().conversations().join(&session.user(), session.connection(), text).await?;
    session.delivery().emit(&Audience::connection(session.connection().id()), &ServerEvent::Joined(joined.clone()));
    if ask.after.is_none() {
        return ok_body(&joined);
    }
    let _turn = session.services().guard().limits.turn().await;
    // Read after joining, so that nothing falls between; what comes twice has the same id.
    let missed = match session.services().messaging().catch_up(&session.user(), text, ask.after, ask.limit, None).await {
        // Waiting for a conversation nobody knows must look the same as waiting for one that others know.
        Err(Error::ConversationNotFound) => CatchUp::nothing(),
        missed => missed?,
    };
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct JoinedWith<'a> {
        #[serde(flatten)]
        joined: crate::delivery::Joined,
        messages: Vec<MessageView<'a>>,
        has_more: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<crate::models::MessageId>,
    }
    let messages = MessageView::all(&missed.messages, text);
    let body = ok_body(&JoinedWith { joined, messages, has_more: missed.has_more, cursor: missed.cursor })?;
    session.services().guard().limits.count_answer(&session.user(), body.get().len())?;
    Ok(body)
}

pub(super) async fn leave_conversation(session: &Session, payload: &Payload) -> Reply {
    let text = conversation(payload)?;
    if let Some(left) = session.services().conversations().leave(&session.user(), session.connection(), text).await? {
        session.services().messaging().left(session.connection().id(), &left);
    }
    ok_body(&json!({ "conversationId": text }))
}

/// The message has its place in the order when this returns; `then` gets the answer right after the message was told.
pub(super) async fn send_message<T: Send + 'static>(
    session: &Session,
    payload: &Payload,
    then: impl FnOnce(Reply) -> T + Send + 'static,
) -> Result<BoxFuture<'static, Result<T>>> {
    let named = payload.text(&["conversationId"])?.map(str::to_owned);
    let send = wire::send_message(payload, named, Some(session.connection().clone()))?;
    session
        .services()
        .messaging()
        .send_message_then(&session.user(), send, |sent| then(SendBody::new(&sent).and_then(|body| ok_body(&body))))
        .await
}

pub(super) async fn set_typing(session: &Session, payload: &Payload, typing: bool) -> Reply {
    let text = wire::typing_conversation(payload)?;
    session.services().set_typing(&session.user(), session.connection(), text, typing).await?;
    ok_body(&json!({}))
}

pub(super) async fn mark_read(session: &Session, payload: &Payload) -> Reply {
    let (text, which) = (conversation(payload)?, wire::which_messages(payload)?);
    let read = session.services().messaging().mark_read(&session.user(), text, which).await?;
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        message_ids: Vec<MessageId>,
        unread_count: u32,
    }
    ok_body(&Read { message_ids: read.message_ids, unread_count: read.unread })
}

pub(super) async fn history(session: &Session, payload: &Payload) -> Reply {
    let (text, ask) = (conversation(payload)?, wire::history(payload, Reading::Reads)?);
    let legacy = session.wire().legacy_history_response || payload.text(&["response"])? == Some("dm:history_response");
    let _turn = session.services().guard().limits.turn().await;
    let history = session.services().messaging().history(&session.user(), text, &ask).await?;
    let body = HistoryBody::new(&history, &ask, text);
    let page = serde_json::value::to_raw_value(&body).map_err(Error::internal)?;
    session.services().guard().limits.count_answer(&session.user(), page.get().len())?;
    session.delivery().emit(&Audience::connection(session.connection().id()), &ServerEvent::History(page.clone(), legacy));
    ok_body(&page)
}

pub(super) async fn sync(session: &Session, payload: &Payload) -> Reply {
    let (text, ask) = (conversation(payload)?, wire::catch_up(payload)?);
    let _turn = session.services().guard().limits.turn().await;
    let missed = session.services().messaging().catch_up(&session.user(), text, ask.after, ask.limit, ask.since).await?;
    let body = ok_body(&CatchUpBody::new(&missed, text))?;
    session.services().guard().limits.count_answer(&session.user(), body.get().len())?;
    Ok(body)
}

pub(super) async fn delete_message(session: &Session, payload: &Payload) -> Reply {
    let (message, scope) = (payload.require_text(&["messageId"])?, wire::delete_scope(payload)?);
    let conversation = payload.text(&["conversationId"])?;
    let id = session.services().messaging().delete_message(&session.user(), message, conversation, scope).await?;
    ok_body(&json!({ "messageId": id.to_string(), "scope": scope.as_str() }))
}

pub(super) fn get_stats(session: &Session) -> Reply {
    session.recognise_flutter();
    let stats = ServerEvent::Stats(Stats::new(session.delivery().connections()));
    session.delivery().emit(&Audience::connection(session.connection().id()), &stats);
    ok_body(&json!({}))
}
