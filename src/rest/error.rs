//! Failures in the envelope: status, stable code, text.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{error, warn};

use crate::error::{AuthError, Error};

/// What is left, and in how many seconds there is more; only beside 429.
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// An error on its way out as an HTTP answer.
pub(super) struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<crate::error::AuthError> for Failure {
    fn from(refusal: crate::error::AuthError) -> Self {
        Self(refusal.into())
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        // The shipped app shows its suspended screen on 403 with that word, and the sign-in screen on 401.
        Error::Auth(AuthError::Suspended) => StatusCode::FORBIDDEN,
        Error::Auth(_) => StatusCode::UNAUTHORIZED,
        Error::InvalidPayload(_) | Error::InvalidId(_) | Error::SelfConversationBlocked | Error::UnknownEvent => StatusCode::BAD_REQUEST,
        Error::ContentTooLong { .. } | Error::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::ConversationNotFound | Error::MessageNotFound | Error::CallNotFound | Error::MediaNotFound | Error::NotFound => {
            StatusCode::NOT_FOUND
        }
        Error::DmJoinForbidden | Error::NotRelated | Error::Forbidden(_) => StatusCode::FORBIDDEN,
        Error::Conflict(_) | Error::CallNotRinging | Error::CallOver | Error::AnsweredElsewhere => StatusCode::CONFLICT,
        Error::MediaRefused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Overloaded { .. } | Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(failed) = self;
        let message = failed.to_string();
        envelope(&failed, &message)
    }
}

fn envelope(failed: &Error, message: &str) -> Response {
    match failed {
        Error::Internal(source) => error!("a REST request failed: {source}"),
        Error::Unavailable(source) => warn!("a REST request cannot be served for now: {source}"),
        _ => {}
    }
    let mut body = json!({ "success": false, "code": failed.code(), "message": message });
    if failed.is_retryable() {
        body["retryable"] = true.into();
    }
    let wait = failed.retry_after();
    if let Some(wait) = wait {
        body["retryAfterMs"] = millis(wait).into();
    }
    let mut response = (status(failed), Json(body)).into_response();
    if failed.is_retryable() || wait.is_some() {
        // Whole seconds, rounded up: whoever waits that long is not too early.
        let seconds = wait.map_or(1, |wait| millis(wait).div_ceil(1000).max(1));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        if matches!(failed, Error::RateLimited { .. }) {
            response.headers_mut().insert(REMAINING, HeaderValue::from(0));
            response.headers_mut().insert(RESET, HeaderValue::from(seconds));
        }
    }
    response
}

/// No traffic is to be sent here. Elsewhere a client is not told what is unavailable; whoever asks this looks after the server.
pub(super) fn unready(why: String) -> Response {
    envelope(&Error::unavailable(why.clone()), &why)
}

/// Rounded up, so that it is never a moment too early.
fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// A refusal by whoever stands before the routes, in the same envelope.
pub fn refusal(error: Error) -> Response {
    Failure(error).into_response()
}

/// Any path or method without a route.
pub(super) async fn no_such_route() -> Failure {
    Failure(Error::NotFound)
}

/// A handler of ours panicked; the connection lives on.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Failure(Error::internal("a REST handler panicked")).into_response()
}
