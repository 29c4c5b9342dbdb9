//! For those who run the server: figures for Prometheus, a board and a list of sessions for the console.
//! Source: docs/operations.md.

use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tracing::{Instrument, Span};

use crate::delivery::Transport;
use crate::error::{AuthError, Error};
use crate::metrics::{self, sum, sum_where};
use crate::models::{ParticipantKind, Timestamp};
use crate::traces;
use crate::transport::Link;

use super::error::Failure;
use super::extract::{Admin, Query};
use super::{RestState, health};

/// The most sessions one answer lists.
const MOST_SESSIONS: usize = 1_000;
/// Headers of a request that somebody passed on, beside `x-forwarded-…`.
const FORWARDED: [&str; 3] = ["forwarded", "x-real-ip", "via"];

/// Who may read `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct MetricsAccess(Option<String>);

impl MetricsAccess {
    /// Whoever shows this token (`METRICS_TOKEN`); without one, who asks from this machine itself. Admins always.
    pub fn new(token: Option<String>) -> Self {
        Self(token)
    }

    fn allows(&self, parts: &Parts) -> bool {
        match &self.0 {
            Some(token) => {
                let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
                bool::from(token.as_bytes().ct_eq(shown.trim().as_bytes()))
            }
            None => is_from_here(parts),
        }
    }
}

/// Whether a request was made on this machine and not passed on by a proxy on it.
pub(super) fn is_from_here(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<std::sync::Arc<Link>>().map(|link| link.peer().ip().to_canonical());
    let mut names = parts.headers.keys().map(HeaderName::as_str);
    peer.is_some_and(|peer| peer.is_loopback()) && !names.any(|name| FORWARDED.contains(&name) || name.starts_with("x-forwarded-"))
}

/// Somebody who may read `/metrics`.
pub(super) struct Scraper;

impl FromRequestParts<RestState> for Scraper {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Failure> {
        if state.settings.metrics_access.allows(parts) {
            return Ok(Self);
        }
        if !parts.headers.contains_key("x-admin-key") && state.settings.metrics_access.0.is_some() {
            // A wrong token is no attempt at an admin key.
            return Err(Error::Auth(AuthError::Invalid).into());
        }
        Admin::from_request_parts(parts, state).await.map(|_| Self)
    }
}

/// `GET /metrics`: everything, in the text format of Prometheus.
pub(super) async fn metrics(State(state): State<RestState>, _: Scraper) -> Response {
    let measured = &state.services.core().metrics;
    measured.store_healthy.set(i64::from(health::is_writable(&state).await));
    measured.tcp_connections.set(i64::try_from(state.settings.places.taken()).unwrap_or(i64::MAX));
    measured.draining.set(i64::from(state.draining.load(std::sync::atomic::Ordering::SeqCst)));
    state.services.take_stock();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], measured.render()).into_response()
}

/// `GET /api/admin/board`: the figures of the console. Totals count from the start of this process; everything is of this node.
pub(super) async fn board(State(state): State<RestState>, _: Admin) -> Json<Value> {
    let core = state.services.core();
    let (healthy, stock) = (health::is_writable(&state).await, state.services.take_stock());
    let accepted = |outcome: &str| outcome == "stored" || outcome == "repeated";
    let messages = &core.metrics.messages;
    let millis = |took: std::time::Duration| (took.as_secs_f64() * 100_000.0).round() / 100.0;
    let [p50, p99] = core.store.metrics().latest_commits().map(|both| both.map(millis)).map_or([None; 2], |both| both.map(Some));
    let of = |kind| stock.sockets.of(kind);
    Json(json!({ "success": true, "data": {
        "at": Timestamp::now(),
        "uptimeSeconds": state.readiness.uptime().as_secs(),
        "connections": {
            "total": stock.sockets.total(),
            "websocket": stock.sockets.by(Transport::Websocket),
            "polling": stock.sockets.by(Transport::Polling),
            "byType": {
                "user": of(ParticipantKind::User), "astrologer": of(ParticipantKind::Astrologer), "admin": of(ParticipantKind::Admin),
            },
        },
        "messages": {
            "accepted": sum_where(messages, accepted),
            "refused": sum_where(messages, |outcome| !accepted(outcome)),
        },
        "deliveries": core.metrics.deliveries.get(),
        "calls": { "ringing": stock.calls.ringing, "active": stock.calls.active },
        "writeQueue": { "depth": stock.write_queue },
        "store": { "engine": core.store.engine(), "healthy": healthy, "commitMs": { "p50": p50, "p99": p99 } },
        "limits": { "hits": sum(&core.metrics.limit_hits) },
        "bus": { "configured": core.bus.is_some(), "healthy": core.bus.as_ref().is_some_and(|bus| bus.health().up) },
    } }))
}

/// `GET /api/admin/sessions?type=&id=`: the sockets of this node, the newest first, at most a thousand.
pub(super) async fn sessions(State(state): State<RestState>, Admin(admin): Admin, query: Query) -> Result<Json<Value>, Failure> {
    let kind = match query.0.text(&["type", "userType"])? {
        None => None,
        Some(word) => Some(ParticipantKind::parse(word).ok_or_else(|| Error::invalid("type must be admin, astrologer or user"))?),
    };
    let id = query.0.text(&["id", "userId"])?;
    let (sessions, total) = state.services.sessions().list(&admin, kind, id, MOST_SESSIONS);
    Ok(Json(json!({ "success": true, "data": sessions, "total": total })))
}

/// Counts every request, by the pattern of its route: what somebody made up is no label. Traces those of the interface, not probes and pages.
pub(super) async fn count(State(state): State<RestState>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    // Methods without a route, too, anybody may make up.
    let method =
        if ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].contains(&method.as_str()) { method.as_str() } else { "other" };
    let pattern = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = if pattern.starts_with("/api/") { traces::request(method, pattern) } else { Span::none() };
    let response = next.run(request).instrument(span.clone()).await;
    traces::answered(&span, response.status().as_u16());
    let requests = &state.services.core().metrics.requests;
    requests.with_label_values(&[method, pattern, response.status().as_str()]).inc();
    response
}
