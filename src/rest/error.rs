//! Failures in the envelope: status, stable code, text.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::{error, warn};

use crate::error::Error;

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
        Error::Auth(_) => StatusCode::UNAUTHORIZED,
        Error::InvalidPayload(_) | Error::InvalidId(_) | Error::SelfConversationBlocked | Error::UnknownEvent => StatusCode::BAD_REQUEST,
        Error::ContentTooLong { .. } | Error::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::ConversationNotFound | Error::MessageNotFound | Error::CallNotFound | Error::NotFound => StatusCode::NOT_FOUND,
        Error::DmJoinForbidden | Error::Forbidden(_) => StatusCode::FORBIDDEN,
        Error::Conflict(_) | Error::CallNotRinging | Error::CallOver | Error::AnsweredElsewhere => StatusCode::CONFLICT,
        Error::Overloaded { .. } | Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(failed) = self;
        match &failed {
            Error::Internal(source) => error!("a REST request failed: {source}"),
            Error::Unavailable(source) => warn!("the store did not answer a REST request: {source}"),
            _ => {}
        }
        let mut body = json!({ "success": false, "code": failed.code(), "message": failed.to_string() });
        if failed.is_retryable() {
            body["retryable"] = true.into();
        }
        let mut response = (status(&failed), Json(body)).into_response();
        if failed.is_retryable() {
            let seconds = failed.retry_after().map_or(1, |d| d.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Any path or method without a route.
pub(super) async fn no_such_route() -> Failure {
    Failure(Error::NotFound)
}

/// A handler of ours panicked; the connection lives on.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Failure(Error::internal("a REST handler panicked")).into_response()
}
