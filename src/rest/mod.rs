//! HTTP in: the routes, each of which reads a request, calls one service and answers in the envelope.

mod admin;
mod analytics;
mod calls;
mod communications;
mod console;
mod conversations;
mod devices;
mod documents;
mod error;
mod extract;
mod health;
mod media;
mod presence;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, patch, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::auth::Verifier;
use crate::services::Services;
use crate::services::permissions::Operation;
use crate::transport::Places;

pub use documents::Documents;
pub use error::refusal;
pub use extract::MAX_BODY_BYTES;
pub use watch::MetricsAccess;

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
    /// What settings and the listener say.
    pub settings: RestSettings,
    readiness: Arc<health::Readiness>,
}

impl RestState {
    /// State for the routes.
    pub fn new(services: Services, verifier: Verifier, draining: Arc<AtomicBool>, settings: RestSettings) -> Self {
        Self { services, verifier, draining, settings, readiness: Arc::default() }
    }
}

/// What the routes are told once, when the server is put together.
#[derive(Clone)]
pub struct RestSettings {
    /// How many TCP connections there are.
    pub places: Places,
    /// Who may read `/metrics`.
    pub metrics_access: MetricsAccess,
    /// What is there for people who try the server.
    pub offers: Offers,
    /// The contract for programs.
    pub documents: Documents,
}

/// What is there for people who try the server.
#[derive(Clone, Copy)]
pub struct Offers {
    /// The pages at `/console` and `/docs`. `CONSOLE`.
    pub console: bool,
    /// Tokens of demo people, to whoever sits at this machine. `DEMO`.
    pub demo: bool,
}

/// A route: method, path, what it is to the table of permissions, and who answers.
type Route = (&'static str, &'static str, Operation, MethodRouter<RestState>);

/// Every route there is. Source: docs/protocol.md#rest.
fn table() -> Vec<Route> {
    use Operation::{Administer, KeepInbox, ListOwn, MarkRead, Open, Reach, Read, ReadInbox, ShowCall, TakePart, Write};
    use communications as inbox;
    use conversations as c;
    vec![
        ("GET", "/health", Open, get(health::live)),
        ("GET", "/api/health", Open, get(health::live)),
        ("GET", "/ready", Open, get(health::ready)),
        // Asks by itself who may; see `MetricsAccess`.
        ("GET", "/metrics", Open, get(watch::metrics)),
        ("GET", "/api/admin/board", Administer, get(watch::board)),
        ("GET", "/api/admin/sessions", Administer, get(watch::sessions)),
        ("GET", "/api/demo", Open, get(console::demo_people)),
        ("GET", "/api/admin/conversations/{astrologer_id}", Administer, get(c::open_as_admin)),
        ("GET", "/api/admin/conversations/{astrologer_id}/messages", Administer, get(c::messages_as_admin)),
        ("POST", "/api/admin/conversations/{astrologer_id}/messages", Administer, post(c::send_as_admin)),
        ("POST", "/api/admin/calls/initiate", Administer, post(calls::initiate_as_admin)),
        ("POST", "/api/admin/relations", Administer, post(admin::relate)),
        ("POST", "/api/admin/sessions/revoke", Administer, post(admin::revoke)),
        ("POST", "/api/admin/login", Open, post(admin::login)),
        ("GET", "/api/admin/communications/stats", Administer, get(analytics::stats)),
        ("GET", "/api/admin/communications/trends", Administer, get(analytics::trends)),
        ("GET", "/api/admin/communications/astrologers", Administer, get(analytics::astrologers)),
        ("GET", "/api/admin/communications/call-duration", Administer, get(analytics::call_duration)),
        ("GET", "/api/admin/communications/peak-hours", Administer, get(analytics::peak_hours)),
        ("GET", "/api/admin/communications/success-rates", Administer, get(analytics::success_rates)),
        ("GET", "/api/admin/analytics/communication-trends", Administer, get(analytics::short_trends)),
        ("POST", "/api/calls/admin/token", Administer, post(calls::token_as_admin)),
        ("GET", "/api/conversations", ListOwn, get(c::list)),
        ("POST", "/api/conversations", Reach, post(c::open)),
        ("GET", "/api/conversations/admin", Reach, get(c::open_with_admin)),
        ("GET", "/api/conversations/admin/messages", ListOwn, get(c::messages_with_admin)),
        ("POST", "/api/conversations/admin/messages", Reach, post(c::send_to_admin)),
        ("GET", "/api/conversations/{id}", Read, get(c::show)),
        ("GET", "/api/conversations/{id}/messages", Read, get(c::messages)),
        ("POST", "/api/conversations/{id}/messages", Write, post(c::send)),
        ("POST", "/api/media/uploads", Write, post(media::announce)),
        ("POST", "/api/media/{id}/complete", Write, post(media::complete)),
        ("GET", "/api/media/{id}", Read, get(media::lead)),
        ("GET", "/api/media/{id}/thumbnail", Read, get(media::lead_to_preview)),
        // The address itself is the proof.
        ("PUT", "/api/media/{id}/content", Open, put(media::receive)),
        ("GET", "/api/media/{id}/content", Open, get(media::serve)),
        ("GET", "/api/media/{id}/thumbnail/content", Open, get(media::serve_preview)),
        ("GET", "/api/presence", ListOwn, get(presence::get)),
        ("POST", "/api/calls/initiate", Reach, post(calls::initiate)),
        ("GET", "/api/calls/history", ListOwn, get(calls::history)),
        ("GET", "/api/calls/active", ListOwn, get(calls::active)),
        ("GET", "/api/calls/{id}", ShowCall, get(calls::show)),
        ("POST", "/api/calls/{id}/token", TakePart, post(calls::token)),
        ("POST", "/api/calls/{id}/end", TakePart, post(calls::end)),
        ("POST", "/api/calls/{id}/feedback", TakePart, post(calls::rate)),
        ("POST", "/api/fcm/register", ListOwn, post(devices::register)),
        ("POST", "/api/fcm/unregister", ListOwn, post(devices::unregister)),
        ("GET", "/api/fcm/tokens", ListOwn, get(devices::list)),
        ("GET", "/api/communications/{id}", ReadInbox, get(inbox::list)),
        ("GET", "/api/communications/{id}/unread-counts", ReadInbox, get(inbox::unread_counts)),
        ("PATCH", "/api/communications/messages/{id}/read", MarkRead, patch(inbox::read)),
        ("PATCH", "/api/communications/{id}/messages/mark-all-read", KeepInbox, patch(inbox::read_all)),
        ("PATCH", "/api/communications/{id}/calls/clear-missed", KeepInbox, patch(inbox::clear_missed)),
        ("POST", "/api/communications/{id}/messages", KeepInbox, post(inbox::send)),
        ("POST", "/api/communications/{id}/calls/voice", KeepInbox, post(inbox::call_by_voice)),
        ("POST", "/api/communications/{id}/calls/video", KeepInbox, post(inbox::call_by_video)),
    ]
}

/// Every route by method and path, and what it is to the table of permissions.
pub fn operations() -> Vec<(&'static str, &'static str, Operation)> {
    table().into_iter().map(|(method, path, operation, _)| (method, path, operation)).collect()
}

/// All REST routes.
pub fn routes(state: RestState) -> Router {
    let routes = table().into_iter().fold(Router::new(), |router, (_, path, _, handler)| router.route(path, handler));
    let routes = if state.settings.offers.console { routes.merge(console::pages()).merge(documents::page()) } else { routes };
    let routes = routes.merge(documents::files(state.settings.documents));
    let routes = routes
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(state.clone(), watch::count))
        .with_state(state);
    HEADERS
        .into_iter()
        .fold(routes, |routes, (name, value)| routes.layer(SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))))
}
