//! What every request of the socket path passes first: refused while draining or ended, stripped of what must not be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::handlers::HandshakeCredentials;
use crate::transport::{Link, Links};

/// State of the gate.
#[derive(Clone)]
pub struct Gate {
    /// The connections of all sessions.
    pub links: Links,
    /// Set once the server goes down.
    pub draining: Arc<AtomicBool>,
}

/// The gate as a middleware.
pub async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let session = query_value(&request, "sid");
    let link = request.extensions().get::<Arc<Link>>().cloned();
    match &session {
        // A plain 503 and no Socket.IO refusal: that one would stop the client from trying again.
        None if gate.draining.load(Ordering::SeqCst) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(id) if gate.links.is_ended(id) => return session_unknown(),
        _ => {}
    }
    // A poll hangs until there is something to say, so its connection is noted while it hangs.
    let polling = request.method() == Method::GET && query_value(&request, "transport").as_deref() == Some("polling");
    if let (Some(id), Some(link), true) = (&session, &link, polling) {
        gate.links.note_poll(id, link);
    }
    let mut response = next.run(lightened(request)).await;
    if let (Some(id), Some(link)) = (&session, &link) {
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => gate.links.note_websocket(id, link),
            _ if polling => gate.links.forget_poll(id, link),
            _ => {}
        }
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer Engine.IO gives for a session it does not know; the client starts a new one.
fn session_unknown() -> Response {
    let body = Body::from(r#"{"code":1,"message":"Session ID unknown"}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn query_value(request: &Request, wanted: &str) -> Option<String> {
    let query = request.uri().query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

/// Takes credentials and cookies out of the headers, and copies what stays: the library keeps the first request of a session as
/// long as the session lives, and the parts of it would keep the whole read buffer.
fn lightened(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let credentials = HandshakeCredentials { authorization: text("authorization"), admin_key: text("x-admin-key") };
    let kept = parts.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "authorization" | "x-admin-key" | "cookie"));
    parts.headers = kept.filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?))).collect();
    if let Ok(uri) = parts.uri.to_string().parse() {
        parts.uri = uri;
    }
    parts.extensions.insert(credentials);
    Request::from_parts(parts, body)
}
