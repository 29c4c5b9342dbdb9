//! HTTP in: the routes, each of which reads a request, calls one service and answers in the envelope.

mod calls;
mod conversations;
mod error;
mod extract;
mod health;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::Verifier;
use crate::services::Services;

pub use extract::MAX_BODY_BYTES;

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

/// All REST routes. Source: docs/protocol.md#rest.
pub fn routes(state: RestState) -> Router {
    use axum::routing::post;
    use conversations as c;
    Router::new()
        .route("/health", get(health::live))
        .route("/api/health", get(health::live))
        .route("/ready", get(health::ready))
        .route("/api/admin/conversations/{astrologer_id}", get(c::open_as_admin))
        .route("/api/admin/conversations/{astrologer_id}/messages", get(c::messages_as_admin).post(c::send_as_admin))
        .route("/api/conversations", get(c::list).post(c::open))
        .route("/api/conversations/admin", get(c::open_with_admin))
        .route("/api/conversations/admin/messages", get(c::messages_with_admin).post(c::send_to_admin))
        .route("/api/conversations/{id}", get(c::show))
        .route("/api/conversations/{id}/messages", get(c::messages).post(c::send))
        .route("/api/admin/calls/initiate", post(calls::initiate_as_admin))
        .route("/api/calls/initiate", post(calls::initiate))
        .route("/api/calls/admin/token", post(calls::token_as_admin))
        .route("/api/calls/history", get(calls::history))
        .route("/api/calls/active", get(calls::active))
        .route("/api/calls/{id}", get(calls::show))
        .route("/api/calls/{id}/token", post(calls::token))
        .route("/api/calls/{id}/end", post(calls::end))
        .route("/api/calls/{id}/feedback", post(calls::rate))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(state)
}
