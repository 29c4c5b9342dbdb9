//! `/api/communications…`: the inbox as the shipped app asks for it. Source: docs/protocol.md#inbox.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::CurrentUser;
use crate::error::Result;
use crate::models::inbox::InboxItem;
use crate::models::{CallType, Participant};
use crate::services::inbox::Inbox;
use crate::services::permissions::Operation;
use crate::wire::{self, MediaBody, Payload};

use super::RestState;
use super::error::Failure;
use super::extract::{Asker, Body, Id, Query};

type Answer = Result<Response, Failure>;

fn inbox(state: &RestState) -> &Inbox {
    state.services.inbox()
}

/// The inbox a GET names, which admins may look into.
fn shown(state: &RestState, user: &CurrentUser, id: &str, query: &Payload) -> Result<Participant> {
    inbox(state).owner(user, id, wire::person_type(query)?, Operation::ReadInbox)
}

/// The asker's own inbox, which is the only one he may change.
fn own(state: &RestState, user: &CurrentUser, id: &str) -> Result<Participant> {
    inbox(state).owner(user, id, None, Operation::KeepInbox)
}

fn done(data: &Value) -> Response {
    Json(json!({ "success": true, "data": data })).into_response()
}

/// GET `/api/communications/{id}`.
pub(super) async fn list(state: State<RestState>, Asker(user): Asker, Id(id): Id, query: Query) -> Answer {
    let owner = shown(&state, &user, &id, &query.0)?;
    let ask = wire::inbox(&query.0)?;
    let page = inbox(&state).page(&user, &owner, ask).await?;
    let mut pagination = json!({ "page": ask.page, "limit": ask.limit, "hasMore": page.next.is_some() });
    if let Some(next) = page.next {
        pagination["nextCursor"] = next.to_string().into();
    }
    let body = json!({ "success": true, "data": page.items, "pagination": pagination }).to_string();
    state.services.guard().limits.count_answer(&user, body.len())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// GET `/api/communications/{id}/unread-counts`.
pub(super) async fn unread_counts(state: State<RestState>, Asker(user): Asker, Id(id): Id, query: Query) -> Answer {
    let owner = shown(&state, &user, &id, &query.0)?;
    let counts = inbox(&state).unseen(&user, &owner).await?;
    let (voice, video) = (counts.missed.voice, counts.missed.video);
    Ok(done(&json!({ "messages": counts.messages, "missedCalls": voice, "missedVideoCalls": video })))
}

/// PATCH `/api/communications/messages/{id}/read`.
pub(super) async fn read(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    let read = inbox(&state).read_message(&user, &id).await?;
    Ok(done(&json!({ "messageIds": read.message_ids, "unreadCount": read.unread })))
}

/// PATCH `/api/communications/{id}/messages/mark-all-read`.
pub(super) async fn read_all(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    own(&state, &user, &id)?;
    let all = inbox(&state).read_all(&user).await?;
    Ok(done(&json!({ "conversations": all.conversations, "messages": all.messages, "hasMore": all.has_more })))
}

/// PATCH `/api/communications/{id}/calls/clear-missed`.
pub(super) async fn clear_missed(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    own(&state, &user, &id)?;
    Ok(done(&json!({ "missedSeenAt": inbox(&state).see_missed(&user).await? })))
}

/// POST `/api/communications/{id}/messages`: `{contactId, message}` and the fields of a send; 201, or 200 for a repeat.
pub(super) async fn send(state: State<RestState>, Asker(user): Asker, Id(id): Id, body: Body) -> Answer {
    own(&state, &user, &id)?;
    let to = wire::contact(&body.0, user.kind())?;
    let (item, fresh) = inbox(&state).send(&user, &to, wire::send_message(&body.0, None, None)?).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "success": true, "data": item }))).into_response())
}

/// POST `/api/communications/{id}/calls/voice`: `{contactId}`.
pub(super) async fn call_by_voice(state: State<RestState>, asker: Asker, id: Id, body: Body) -> Answer {
    call(&state, &asker.0, &id.0, &body.0, CallType::Voice).await
}

/// POST `/api/communications/{id}/calls/video`: `{contactId}`.
pub(super) async fn call_by_video(state: State<RestState>, asker: Asker, id: Id, body: Body) -> Answer {
    call(&state, &asker.0, &id.0, &body.0, CallType::Video).await
}

async fn call(state: &RestState, user: &CurrentUser, id: &str, body: &Payload, call_type: CallType) -> Answer {
    #[derive(Serialize)]
    struct Offered<'a> {
        #[serde(flatten)]
        item: &'a InboxItem,
        #[serde(flatten)]
        media: MediaBody<'a>,
    }
    own(state, user, id)?;
    let to = wire::contact(body, user.kind())?;
    let (item, offered) = inbox(state).call(user, to, call_type).await?;
    let data = Offered { item: &item, media: MediaBody::new(&offered.call.channel, &offered.media) };
    Ok((StatusCode::CREATED, Json(json!({ "success": true, "data": data }))).into_response())
}
