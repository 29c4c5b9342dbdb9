//! `call:*`: read the payload, call one service, give the answer.

use serde_json::json;

use crate::services::calling::{BareOutcome, CallAction, Ending};
use crate::wire::{self, CallAck, OfferAck, Payload, ok_body};

use super::reply::Reply;
use super::session::Session;

pub(super) async fn initiate(session: &Session, payload: &Payload) -> Reply {
    let ask = wire::initiate_call(payload, None, Some(session.connection().clone()))?;
    let offered = session.services().calling().initiate(&session.user(), ask).await?;
    ok_body(&OfferAck::new(&offered))
}

pub(super) async fn accept(session: &Session, payload: &Payload) -> Reply {
    let id = wire::call_id(payload)?;
    let offered = session.services().calling().accept(&session.user(), id, session.connection()).await?;
    ok_body(&OfferAck::new(&offered))
}

pub(super) async fn act(session: &Session, payload: &Payload, action: CallAction) -> Reply {
    let id = wire::call_id(payload)?;
    let ending = if action == CallAction::Connect { Ending::default() } else { wire::ending(payload)? };
    let call = session.services().calling().act(&session.user(), id, action, ending, Some(session.connection())).await?;
    ok_body(&CallAck::new(&call))
}

pub(super) async fn renew_token(session: &Session, payload: &Payload) -> Reply {
    let id = wire::call_id(payload)?;
    let offered = session.services().calling().renew_token(&session.user(), id, Some(session.connection())).await?;
    ok_body(&OfferAck::new(&offered))
}

/// The shipped app's queue, which forgets what the event was called.
pub(super) async fn bare(session: &Session, payload: &Payload) -> Reply {
    let (id, ending) = (wire::call_id(payload)?, wire::ending(payload)?);
    match session.services().calling().bare(&session.user(), id, ending, session.connection()).await? {
        BareOutcome::Answered(offered) => ok_body(&OfferAck::new(&offered)),
        BareOutcome::Done(call) => ok_body(&CallAck::new(&call)),
        BareOutcome::Ignored => ok_body(&json!({})),
    }
}
