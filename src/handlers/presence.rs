//! `presence:*`: read the payload, call one service, give the answer.

use serde_json::json;

use crate::wire::{self, Payload, ok_body};

use super::reply::Reply;
use super::session::Session;

pub(super) async fn get(session: &Session, payload: &Payload) -> Reply {
    let presence = session.services().presence().get(&session.user(), &wire::wanted_people(payload)?).await?;
    ok_body(&json!({ "presence": presence }))
}
