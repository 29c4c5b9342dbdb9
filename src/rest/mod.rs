//! HTTP in: the routes, each of which reads a request, calls one service and answers in the envelope.

mod admin;
mod calls;
mod conversations;
mod error;
mod extract;
mod health;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::auth::Verifier;
use crate::services::Services;
use crate::services::permissions::Operation;

pub use error::refusal;
pub use extract::MAX_BODY_BYTES;

/// How long a body may pause, of REST and of polling alike; longer, and the request is given up.
pub const BODY_PAUSE: Duration = Duration::from_secs(30);

/// What every answer says unless its route says otherwise: keep nothing, guess no type, tell no referrer, run and frame nothing.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// What the routes need.
#[derive(Clone)]
pub struct RestState {
    /// The rules.
    pub services: Services,
    /// Who is who.
    pub verifier: Verifier,
    /// True once the server is going down.
    pub draining: Arc<AtomicBool>,
    readiness: Arc<health::Readiness>,
}

impl RestState {
    /// State for the routes.
    pub fn new(services: Services, verifier: Verifier, draining: Arc<AtomicBool>) -> Self {
        Self { services, verifier, draining, readiness: Arc::default() }
    }
}

/// A route: method, path, what it is to the table of permissions, and who answers.
type Route = (&'static str, &'static str, Operation, MethodRouter<RestState>);

/// Every route there is. Source: docs/protocol.md#rest.
fn table() -> Vec<Route> {
    use Operation::{Administer, ListOwn, Open, Reach, Read, ShowCall, TakePart, Write};
    use conversations as c;
    vec![
        ("GET", "/health", Open, get(health::live)),
        ("GET", "/api/health", Open, get(health::live)),
        ("GET", "/ready", Open, get(health::ready)),
        ("GET", "/api/admin/conversations/{astrologer_id}", Administer, get(c::open_as_admin)),
        ("GET", "/api/admin/conversations/{astrologer_id}/messages", Administer, get(c::messages_as_admin)),
        ("POST", "/api/admin/conversations/{astrologer_id}/messages", Administer, post(c::send_as_admin)),
        ("POST", "/api/admin/calls/initiate", Administer, post(calls::initiate_as_admin)),
        ("POST", "/api/admin/relations", Administer, post(admin::relate)),
        ("POST", "/api/admin/sessions/revoke", Administer, post(admin::revoke)),
        ("POST", "/api/calls/admin/token", Administer, post(calls::token_as_admin)),
        ("GET", "/api/conversations", ListOwn, get(c::list)),
        ("POST", "/api/conversations", Reach, post(c::open)),
        ("GET", "/api/conversations/admin", Reach, get(c::open_with_admin)),
        ("GET", "/api/conversations/admin/messages", ListOwn, get(c::messages_with_admin)),
        ("POST", "/api/conversations/admin/messages", Reach, post(c::send_to_admin)),
        ("GET", "/api/conversations/{id}", Read, get(c::show)),
        ("GET", "/api/conversations/{id}/messages", Read, get(c::messages)),
        ("POST", "/api/conversations/{id}/messages", Write, post(c::send)),
        ("POST", "/api/calls/initiate", Reach, post(calls::initiate)),
        ("GET", "/api/calls/history", ListOwn, get(calls::history)),
        ("GET", "/api/calls/active", ListOwn, get(calls::active)),
        ("GET", "/api/calls/{id}", ShowCall, get(calls::show)),
        ("POST", "/api/calls/{id}/token", TakePart, post(calls::token)),
        ("POST", "/api/calls/{id}/end", TakePart, post(calls::end)),
        ("POST", "/api/calls/{id}/feedback", TakePart, post(calls::rate)),
    ]
}

/// Every route by method and path, and what it is to the table of permissions.
pub fn operations() -> Vec<(&'static str, &'static str, Operation)> {
    table().into_iter().map(|(method, path, operation, _)| (method, path, operation)).collect()
}

/// All REST routes.
pub fn routes(state: RestState) -> Router {
    let routes = table().into_iter().fold(Router::new(), |router, (_, path, _, handler)| router.route(path, handler));
    let routes = routes
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(state);
    HEADERS
        .into_iter()
        .fold(routes, |routes, (name, value)| routes.layer(SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))))
}
