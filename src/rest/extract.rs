//! Reading requests: who asks, and with which fields.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use crate::auth::CurrentUser;
use crate::error::{AuthError, Error};
use crate::traces;
use crate::transport::{ClientAddress, counted_as};
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
        let asked = Self::authenticate(parts, state).await;
        if let Err(Failure(refused @ Error::Auth(_))) = &asked {
            state.services.core().metrics.refused_credentials.with_label_values(&[refused.code()]).inc();
        }
        asked
    }
}

impl Asker {
    async fn authenticate(parts: &Parts, state: &RestState) -> Result<Self, Failure> {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().map_err(|_| AuthError::Invalid)).transpose();
        let address = parts.extensions.get::<ClientAddress>().map(|client| client.0);
        let address = address.map(counted_as);
        let guard = state.services.guard();
        let (credential, key_only) = match (header("authorization")?, header("x-admin-key")?) {
            (Some(authorization), _) => (authorization, false),
            (None, Some(key)) => (key, true),
            (None, None) => return Err(AuthError::Missing.into()),
        };
        guard.check_attempt(credential, key_only, address)?;
        let asked = match key_only {
            true => state.verifier.verify_admin_key(credential).map_err(Error::from),
            false => state.verifier.verify(credential).await,
        };
        let user = asked.inspect_err(|refused| {
            if matches!(refused, Error::Auth(_)) {
                guard.note_refused(credential, key_only, address);
            }
        })?;
        traces::note_participant(user.participant());
        state.services.sessions().admit(&user).await?;
        Ok(Self(user))
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

/// The one part of the path that names something.
pub(super) struct Id(pub String);

impl FromRequestParts<RestState> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Failure> {
        // The library's own refusal (`%FF` is no text) is not in the envelope.
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|_| Error::InvalidId("the id in the path is not UTF-8 text".into()).into())
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
