//! What only admins do: relations and sessions.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;
use crate::models::{Participant, ParticipantKind, Timestamp};
use crate::transport::{ClientAddress, counted_as};
use crate::wire;

use super::RestState;
use super::error::Failure;
use super::extract::{Admin, Body};

type Answer = Result<Response, Failure>;

/// POST `/api/admin/login`: `{adminKey}`; says whether it is one, as the dashboard asks before it keeps the key.
pub(super) async fn login(state: State<RestState>, address: Option<Extension<ClientAddress>>, body: Body) -> Answer {
    let key = body.0.require_text(&["adminKey"])?;
    let guard = state.services.guard();
    let address = address.map(|Extension(client)| counted_as(client.0));
    guard.check_attempt(key, true, address)?;
    state.verifier.verify_admin_key(key).inspect_err(|_| guard.note_refused(key, true, address))?;
    let data = json!({ "authenticated": true, "adminKey": key, "loginAt": Timestamp::now() });
    Ok(Json(json!({ "success": true, "data": data })).into_response())
}

/// POST `/api/admin/relations`: `{userId, astrologerId, consultationId?}`; 201 if it is new.
pub(super) async fn relate(state: State<RestState>, Admin(admin): Admin, body: Body) -> Answer {
    let person = |kind, name: &'static str| {
        let person = Participant::new(kind, body.0.require_text(&[name])?);
        person.ok_or_else(|| Error::InvalidId(format!("{name} is not the id of such a person")))
    };
    let (user, astrologer) = (person(ParticipantKind::User, "userId")?, person(ParticipantKind::Astrologer, "astrologerId")?);
    let consultation_id = wire::consultation_id(&body.0)?;
    let is_new = state.services.guard().relations.add(&admin, &user, &astrologer, consultation_id).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let data = json!({ "userId": user.id(), "astrologerId": astrologer.id() });
    Ok((status, Json(json!({ "success": true, "data": data }))).into_response())
}

/// POST `/api/admin/sessions/revoke`: `{userId, type}`; closes the sockets and refuses tokens issued until now.
pub(super) async fn revoke(state: State<RestState>, Admin(admin): Admin, body: Body) -> Answer {
    let kind = ParticipantKind::parse(body.0.require_text(&["type", "userType"])?);
    let kind = kind.ok_or_else(|| Error::invalid("type must be admin, astrologer or user"))?;
    let person = Participant::new(kind, body.0.require_text(&["userId", "id"])?);
    let person = person.ok_or_else(|| Error::InvalidId("userId is not the id of such a person".into()))?;
    let closed = state.services.sessions().revoke(&admin, &person).await;
    let data = json!({ "userId": person.id(), "type": kind, "closedSockets": closed });
    Ok(Json(json!({ "success": true, "data": data })).into_response())
}
