//! `/api/conversations…` and `/api/admin/conversations…`: the same services as the sockets, by HTTP.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::view::{ConversationView, MessageView};
use crate::models::{Conversation, ConversationId, Pair, Participant, ParticipantKind};
use crate::services::conversations::OpenConversation;
use crate::services::history::Reading;
use crate::store::ConversationPage;
use crate::wire::{self, Payload};

use super::RestState;
use super::error::Failure;
use super::extract::{Admin, Asker, Body, Id, Query};

type Answer = Result<Response, Failure>;

/// The astrologer a path names. Errors: `INVALID_ID`.
fn astrologer(id: &str) -> Result<Participant> {
    Participant::new(ParticipantKind::Astrologer, id).ok_or_else(|| Error::InvalidId("the path names no astrologer id".into()))
}

/// The canonical key of the asker's conversation with `other`.
fn key_with(user: &CurrentUser, other: Participant) -> Result<String> {
    let pair = Pair::new(user.identity(), other).ok_or(Error::SelfConversationBlocked)?;
    Ok(pair.key().as_str().to_owned())
}

/// GET `/api/admin/conversations/{astrologerId}`: the conversation, opened if need be, with its newest messages.
pub(super) async fn open_as_admin(state: State<RestState>, Admin(user): Admin, Id(id): Id, query: Query) -> Answer {
    open_and_show(&state, &user, astrologer(&id)?, &query.0).await
}

/// GET `/api/conversations/admin`: the asker's conversation with support, the same way.
pub(super) async fn open_with_admin(state: State<RestState>, Asker(user): Asker, query: Query) -> Answer {
    open_and_show(&state, &user, Participant::shared_admin(), &query.0).await
}

async fn open_and_show(state: &RestState, user: &CurrentUser, other: Participant, query: &Payload) -> Answer {
    let ask = wire::history(query, Reading::Looks)?;
    let open = OpenConversation { recipient: other, context_type: "support".into(), context_id: None };
    let (conversation, _) = state.services.conversations().open(user, open).await?;
    let key = conversation.key().as_str();
    let _turn = state.services.guard().limits.turn().await;
    let history = state.services.messaging().history(user, key, &ask).await?;
    #[derive(Serialize)]
    struct WithMessages<'a> {
        #[serde(flatten)]
        conversation: ConversationView<'a>,
        messages: Vec<MessageView<'a>>,
    }
    #[derive(Serialize)]
    struct Opened<'a> {
        success: bool,
        data: WithMessages<'a>,
        conversation: ConversationView<'a>,
    }
    let shown = || ConversationView::new(&conversation, user.participant());
    let data = WithMessages { conversation: shown(), messages: MessageView::all(&history.messages, key) };
    counted(state, user, &Opened { success: true, data, conversation: shown() })
}

/// GET `/api/admin/conversations/{astrologerId}/messages`.
pub(super) async fn messages_as_admin(state: State<RestState>, Admin(user): Admin, Id(id): Id, query: Query) -> Answer {
    page(&state, &user, &key_with(&user, astrologer(&id)?)?, &query.0).await
}

/// GET `/api/conversations/admin/messages`.
pub(super) async fn messages_with_admin(state: State<RestState>, Asker(user): Asker, query: Query) -> Answer {
    page(&state, &user, &key_with(&user, Participant::shared_admin())?, &query.0).await
}

/// GET `/api/conversations/{id}/messages`.
pub(super) async fn messages(state: State<RestState>, Asker(user): Asker, Id(id): Id, query: Query) -> Answer {
    page(&state, &user, &id, &query.0).await
}

async fn page(state: &RestState, user: &CurrentUser, conversation: &str, query: &Payload) -> Answer {
    let ask = wire::history(query, Reading::Looks)?;
    let _turn = state.services.guard().limits.turn().await;
    let history = state.services.messaging().history(user, conversation, &ask).await?;
    let data = MessageView::all(&history.messages, conversation);
    let pagination = Pagination::new(ask.page, ask.limit, history.total, history.has_more);
    counted(state, user, &Page { success: true, data, pagination })
}

/// A page of whatever.
#[derive(Serialize)]
struct Page<T> {
    success: bool,
    data: Vec<T>,
    pagination: Pagination,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    page: u64,
    limit: usize,
    total: u64,
    pages: u64,
    has_more: bool,
}

impl Pagination {
    fn new(page: u64, limit: usize, total: u64, has_more: bool) -> Self {
        Self { page, limit, total, pages: total.div_ceil(limit as u64), has_more }
    }
}

/// An answer with messages in it, if the asker may have that much. Written at once: a tree of values first would cost as much again as
/// reading the page.
fn counted(state: &RestState, user: &CurrentUser, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(Error::internal)?;
    state.services.guard().limits.count_answer(user, body.len())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// POST `/api/admin/conversations/{astrologerId}/messages`.
pub(super) async fn send_as_admin(state: State<RestState>, Admin(user): Admin, Id(id): Id, body: Body) -> Answer {
    let key = key_with(&user, astrologer(&id)?)?;
    post(&state, &user, key, &body.0).await
}

/// POST `/api/conversations/admin/messages`.
pub(super) async fn send_to_admin(state: State<RestState>, Asker(user): Asker, body: Body) -> Answer {
    let key = key_with(&user, Participant::shared_admin())?;
    post(&state, &user, key, &body.0).await
}

/// POST `/api/conversations/{id}/messages`.
pub(super) async fn send(state: State<RestState>, Asker(user): Asker, Id(id): Id, body: Body) -> Answer {
    post(&state, &user, id, &body.0).await
}

/// Sends as a socket would; 201 for a new message, 200 for one sent before.
async fn post(state: &RestState, user: &CurrentUser, conversation: String, body: &Payload) -> Answer {
    let send = wire::send_message(body, Some(conversation), None)?;
    let sent = state.services.messaging().send_message(user, send).await?.await?;
    let status = if sent.fresh { StatusCode::CREATED } else { StatusCode::OK };
    let data = MessageView::new(&sent.message, &sent.spelling);
    Ok((status, Json(json!({ "success": true, "data": data }))).into_response())
}

/// GET `/api/conversations`: the asker's conversations by last activity, paged by `before` (a conversation id) or `page`.
pub(super) async fn list(state: State<RestState>, Asker(user): Asker, query: Query) -> Answer {
    let (page, limit) = wire::page(&query.0)?;
    let before = query.0.text(&["before"])?;
    let before = before.map(|text| ConversationId::parse(text).ok_or_else(|| Error::InvalidId("before must be a conversation id".into())));
    let skip = (page - 1).saturating_mul(limit as u64);
    let list = state.services.conversations().list(&user, &ConversationPage { before: before.transpose()?, skip, limit }).await?;
    let data: Vec<_> = list.items.iter().map(|c| ConversationView::new(c, user.participant())).collect();
    counted(&state, &user, &Page { success: true, data, pagination: Pagination::new(page, limit, list.total, list.has_more) })
}

/// POST `/api/conversations`: opens the conversation with a recipient; 201 if it is new.
pub(super) async fn open(state: State<RestState>, Asker(user): Asker, body: Body) -> Answer {
    let recipient = wire::recipient(&body.0)?.require()?;
    let (context_type, context_id) = wire::context(&body.0)?;
    let open = OpenConversation { recipient, context_type, context_id };
    let (conversation, created) = state.services.conversations().open(&user, open).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, shown(&conversation, &user)).into_response())
}

/// GET `/api/conversations/{id}`.
pub(super) async fn show(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    let conversation = state.services.conversations().get(&user, &id).await?;
    Ok(shown(&conversation, &user).into_response())
}

fn shown(conversation: &Conversation, user: &CurrentUser) -> Json<Value> {
    Json(json!({ "success": true, "data": ConversationView::new(conversation, user.participant()) }))
}
