//! Calls by REST. The same service as the sockets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::auth::CurrentUser;
use crate::models::call_view::CallView;
use crate::models::{Call, CallStatus};
use crate::services::calling::{CallAction, OfferedCall};
use crate::store::{CallQuery, MAX_PAGE};
use crate::wire::{self, MediaBody, Payload};

use super::RestState;
use super::error::Failure;
use super::extract::{Admin, Asker, Body, Id, Query};

type Answer = Result<Response, Failure>;

/// The most calls counted for `total`.
const COUNT_UP_TO: u64 = 10_000;

fn shown(call: &Call) -> Response {
    Json(json!({ "success": true, "data": CallView::new(call) })).into_response()
}

fn offered(offered: &OfferedCall) -> Response {
    #[derive(Serialize)]
    struct Offered<'a> {
        #[serde(flatten)]
        call: CallView<'a>,
        #[serde(flatten)]
        media: WithoutChannel<'a>,
    }
    /// The call names the channel already.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct WithoutChannel<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        agora_token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agora_app_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<crate::models::Timestamp>,
    }
    let media = &offered.media;
    let media = WithoutChannel { agora_token: media.token.as_deref(), agora_app_id: media.app_id.as_deref(), expires_at: media.expires_at };
    let data = Offered { call: CallView::new(&offered.call), media };
    (StatusCode::CREATED, Json(json!({ "success": true, "data": data }))).into_response()
}

/// POST `/api/calls/initiate`.
pub(super) async fn initiate(state: State<RestState>, Asker(user): Asker, body: Body) -> Answer {
    let ask = wire::initiate_call(&body.0, None, None)?;
    Ok(offered(&state.services.calling().initiate(&user, ask).await?))
}

/// POST `/api/admin/calls/initiate`.
pub(super) async fn initiate_as_admin(state: State<RestState>, Admin(user): Admin, body: Body) -> Answer {
    let ask = wire::initiate_call(&body.0, wire::callee_of_admin(&body.0)?, None)?;
    Ok(offered(&state.services.calling().initiate(&user, ask).await?))
}

/// POST `/api/calls/admin/token`: for a call, or for a fresh channel.
pub(super) async fn token_as_admin(state: State<RestState>, Admin(user): Admin, body: Body) -> Answer {
    if body.0.text(&["callId"])?.is_some() {
        return renewed(&state, &user, &body.0).await;
    }
    let (channel, media) = state.services.calling().fresh_channel();
    Ok(Json(json!({ "success": true, "data": MediaBody::new(&channel, &media) })).into_response())
}

async fn renewed(state: &RestState, user: &CurrentUser, body: &Payload) -> Answer {
    let renewed = state.services.calling().renew_token(user, wire::call_id(body)?, None).await?;
    Ok(Json(json!({ "success": true, "data": MediaBody::new(&renewed.call.channel, &renewed.media) })).into_response())
}

/// POST `/api/calls/{id}/token`.
pub(super) async fn token(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    let renewed = state.services.calling().renew_token(&user, wire::parse_call_id(&id)?, None).await?;
    Ok(Json(json!({ "success": true, "data": MediaBody::new(&renewed.call.channel, &renewed.media) })).into_response())
}

/// POST `/api/calls/{id}/end`.
pub(super) async fn end(state: State<RestState>, Asker(user): Asker, Id(id): Id, body: Body) -> Answer {
    let (id, ending) = (wire::parse_call_id(&id)?, wire::ending(&body.0)?);
    Ok(shown(&state.services.calling().act(&user, id, CallAction::End, ending, None).await?))
}

/// POST `/api/calls/{id}/feedback`.
pub(super) async fn rate(state: State<RestState>, Asker(user): Asker, Id(id): Id, body: Body) -> Answer {
    let (id, (rating, comment)) = (wire::parse_call_id(&id)?, wire::feedback(&body.0)?);
    Ok(shown(&state.services.calling().rate(&user, id, rating, comment).await?))
}

/// GET `/api/calls/history`: the asker's calls, newest first.
pub(super) async fn history(state: State<RestState>, Asker(user): Asker, query: Query) -> Answer {
    let (page, limit) = wire::page(&query.0)?;
    let (call_type, statuses) = wire::call_filter(&query.0)?;
    let before = query.0.text(&["before"])?.map(wire::parse_call_id).transpose()?;
    let skip = if before.is_some() { 0 } else { (page - 1).saturating_mul(limit as u64) };
    let query = CallQuery { person: user.identity(), call_type, statuses, before, skip, limit, count_up_to: COUNT_UP_TO };
    let calls = state.services.calling().history(&user, query).await?;
    let data: Vec<_> = calls.items.iter().map(CallView::new).collect();
    let pagination = json!({
        "page": page, "limit": limit, "total": calls.total, "pages": calls.total.div_ceil(limit as u64), "hasMore": calls.has_more,
    });
    Ok(Json(json!({ "success": true, "data": data, "pagination": pagination })).into_response())
}

/// GET `/api/calls/active`: the asker's calls that are not over.
pub(super) async fn active(state: State<RestState>, Asker(user): Asker) -> Answer {
    let statuses = [CallStatus::RINGING, CallStatus::TALKING].concat();
    let query = CallQuery { person: user.identity(), call_type: None, statuses, before: None, skip: 0, limit: MAX_PAGE, count_up_to: 0 };
    let calls = state.services.calling().history(&user, query).await?;
    let data: Vec<_> = calls.items.iter().map(CallView::new).collect();
    Ok(Json(json!({ "success": true, "data": data })).into_response())
}

/// GET `/api/calls/{id}`.
pub(super) async fn show(state: State<RestState>, Asker(user): Asker, Id(id): Id) -> Answer {
    Ok(shown(&state.services.calling().get(&user, wire::parse_call_id(&id)?).await?))
}
