//! `/api/presence`: the same question as `presence:get`, by HTTP.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::wire;

use super::RestState;
use super::error::Failure;
use super::extract::{Asker, Query};

/// GET `/api/presence?ids=`: the ids separated by commas.
pub(super) async fn get(State(state): State<RestState>, Asker(user): Asker, query: Query) -> Result<Json<Value>, Failure> {
    let presence = state.services.presence().get(&user, &wire::wanted_people(&query.0)?).await?;
    Ok(Json(json!({ "success": true, "data": presence })))
}
