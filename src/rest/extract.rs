//! Reading requests: who asks, and with which fields.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use crate::auth::CurrentUser;
use crate::error::{AuthError, Error};
use crate::wire::Payload;

use super::RestState;
use super::error::Failure;

/// The largest body of a request.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// Whoever the credential of the request proves.
pub(super) struct Asker(pub CurrentUser);

impl FromRequestParts<RestState> for Asker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Failure> {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().map_err(|_| AuthError::Invalid)).transpose();
        if let Some(authorization) = header("authorization")? {
            return Ok(Self(state.verifier.verify(authorization)?));
        }
        match header("x-admin-key")? {
            Some(key) => Ok(Self(state.verifier.verify_admin_key(key)?)),
            None => Err(AuthError::Missing.into()),
        }
    }
}

/// An admin. Anybody else is refused.
pub(super) struct Admin(pub CurrentUser);

impl FromRequestParts<RestState> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Failure> {
        let Asker(user) = Asker::from_request_parts(parts, state).await?;
        if user.is_admin() { Ok(Self(user)) } else { Err(Error::Forbidden("only admins may do this".into()).into()) }
    }
}

/// The fields of the query.
pub(super) struct Query(pub Payload);

impl FromRequestParts<RestState> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Failure> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let fields: Map<String, Value> = pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect();
        Ok(Self(Payload::from_value(Value::Object(fields))?))
    }
}

/// The fields of a JSON body, which must be an object.
pub(super) struct Body(pub Payload);

impl FromRequest<RestState> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e: BytesRejection| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::PayloadTooLarge { limit: MAX_BODY_BYTES },
            _ => Error::invalid("the body could not be read"),
        })?;
        // No body is an empty one: some routes need nothing.
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let value = serde_json::from_slice(text).map_err(|_| Error::invalid("the body must be JSON"))?;
        Ok(Self(Payload::from_value(value)?))
    }
}
