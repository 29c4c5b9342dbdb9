//! Device tokens by REST; there is no event for them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::models::Device;
use crate::wire;

use super::RestState;
use super::error::Failure;
use super::extract::{Asker, Body};

type Answer = Result<Response, Failure>;

fn done(message: &str) -> Response {
    Json(json!({ "success": true, "message": message })).into_response()
}

/// POST `/api/fcm/register`: `{fcmToken?, voipToken?, platform}`; makes a device the asker's.
pub(super) async fn register(state: State<RestState>, Asker(user): Asker, body: Body) -> Answer {
    state.services.push().register(&user, wire::device_tokens(&body.0)?).await?;
    Ok(done("the device is registered"))
}

/// POST `/api/fcm/unregister`: `{fcmToken}` or `{voipToken}`; repeating changes nothing.
pub(super) async fn unregister(state: State<RestState>, Asker(user): Asker, body: Body) -> Answer {
    let was_known = state.services.push().unregister(&user, body.0.require_text(&["fcmToken", "voipToken", "token"])?).await?;
    Ok(done(if was_known { "the device is forgotten" } else { "there was no such device" }))
}

/// GET `/api/fcm/tokens`: the asker's devices, newest first; tokens are masked.
pub(super) async fn list(state: State<RestState>, Asker(user): Asker) -> Answer {
    let shown = |device: &Device| {
        json!({
            "token": device.masked_token(),
            "kind": device.kind.as_str(),
            "platform": device.platform.as_str(),
            "lastUpdated": device.registered_at,
        })
    };
    let devices: Vec<Value> = state.services.push().devices(&user).await?.iter().map(shown).collect();
    Ok(Json(json!({ "success": true, "data": devices })).into_response())
}
