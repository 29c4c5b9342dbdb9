//! What every request of the socket path passes first: refused while draining, from a wrong origin, too often, or for a session
//! that has ended; stripped of what must not be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;

use crate::error::Error;
use crate::handlers::HandshakeCredentials;
use crate::metrics::Metrics;
use crate::observability::Notice;
use crate::rest;
use crate::transport::{ClientAddress, Link, Links, TrustedProxies, engine_query};

use super::handshakes::HandshakeRate;
use super::websockets::{Entrance, Opening};

/// State of the gate.
pub struct Gate {
    /// Where websockets go that begin a session.
    pub entrance: Entrance,
    /// The connections of all sessions.
    pub links: Links,
    /// Set once the server goes down.
    pub draining: Arc<AtomicBool>,
    /// Origins a browser may come from; none is any. `CORS_ORIGINS`.
    pub origins: Option<Vec<HeaderValue>>,
    /// `ENGINE_IO_3`.
    pub engine_io_3: bool,
    /// How often one address may begin a session; none is always. `HANDSHAKES_PER_MINUTE`.
    pub rate: Option<HandshakeRate>,
    /// Who is not counted. `TRUSTED_PROXIES`.
    pub proxies: TrustedProxies,
    /// Tells the operator when `rate` turns clients away.
    pub too_often: Notice,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The gate as a middleware.
pub async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let mut response = match gate.refuse(&request) {
        Some(refusal) => refusal,
        None => gate.let_through(request, next).await,
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Gate {
    /// The answer to a request that does not get to the library.
    fn refuse(&self, request: &Request) -> Option<Response> {
        if engine_query(request.uri(), "EIO") == Some("3") && !self.engine_io_3 {
            return Some(engine_error(5, "Unsupported protocol version"));
        }
        match engine_query(request.uri(), "sid") {
            Some(id) => self.links.is_ended(id).then(|| engine_error(1, "Session ID unknown")),
            None => self.refuse_handshake(request),
        }
    }

    fn refuse_handshake(&self, request: &Request) -> Option<Response> {
        // A plain 503 and no Socket.IO refusal: that one would stop the client from trying again.
        if self.draining.load(Ordering::SeqCst) {
            self.count_refused("DRAINING");
            return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
        }
        // CORS keeps a page from reading answers, but not from opening a websocket. Apps that are no page send no Origin.
        if let (Some(allowed), Some(origin)) = (&self.origins, request.headers().get(header::ORIGIN))
            && !allowed.contains(origin)
        {
            self.count_refused("ORIGIN");
            return Some(rest::refusal(Error::Forbidden("this origin may not connect".into())));
        }
        // Counted last, so that pages of others cannot use up what an address may do.
        let (rate, ClientAddress(address)) = (self.rate.as_ref()?, *request.extensions().get::<ClientAddress>()?);
        // A proxy that does not say for whom it asks stands for everybody behind it.
        if self.proxies.contains(address) {
            return None;
        }
        let retry_after = rate.check(address).err()?;
        self.count_refused("RATE_LIMITED");
        self.metrics.limit_hits.with_label_values(&["handshakes"]).inc();
        self.too_often.give(|| format!("{address} begins sessions faster than HANDSHAKES_PER_MINUTE allows and is refused"));
        Some(rest::refusal(Error::RateLimited { retry_after }))
    }

    fn count_refused(&self, outcome: &str) {
        self.metrics.handshakes.with_label_values(&[outcome]).inc();
    }

    async fn let_through(&self, request: Request, next: Next) -> Response {
        let session = engine_query(request.uri(), "sid").map(str::to_owned);
        let link = request.extensions().get::<Arc<Link>>().cloned();
        let polling = request.method() == Method::GET && engine_query(request.uri(), "transport") == Some("polling");
        let (Some(session), Some(link)) = (session, link) else {
            let mut request = lightened(request);
            return match Opening::of(&mut request) {
                Some(opening) => opening.answer(request, &self.entrance),
                None => next.run(request).await,
            };
        };
        // A poll hangs until there is something to say, so its connection is noted while it hangs, and no longer: a client
        // that goes away meanwhile ends this future here.
        let _hanging = polling.then(|| self.links.note_poll(&session, &link));
        let response = next.run(lightened(request)).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.links.note_websocket(&session, &link);
        }
        response
    }
}

/// A refusal in the words of Engine.IO. After code 1 a client begins a new session.
fn engine_error(code: u8, message: &str) -> Response {
    let body = Body::from(format!(r#"{{"code":{code},"message":"{message}"}}"#));
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Headers the library asks for, and the one the session does.
const KEPT_HEADERS: [HeaderName; 3] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE, header::USER_AGENT];

/// Copies the little of a request that is asked for later: the library keeps the first request of a session as long as the session
/// lives, and any part that came from the read buffer would keep all of that, 8 KiB of every connection. So would axum's note of the
/// original URI. Credentials are kept apart from the headers, cookies not at all.
fn lightened(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let credentials = HandshakeCredentials { authorization: text("authorization"), admin_key: text("x-admin-key") };
    let kept = || KEPT_HEADERS.into_iter().filter_map(|name| parts.headers.get(&name).map(|value| (name, value)));
    // By default there is room for six.
    let mut headers = HeaderMap::with_capacity(kept().count());
    for (name, value) in kept() {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(name, value);
        }
    }
    parts.headers = headers;
    if let Ok(uri) = parts.uri.to_string().parse() {
        parts.uri = uri;
    }
    let mut extensions = Extensions::new();
    let given = &mut parts.extensions;
    given.remove::<OnUpgrade>().map(|upgrade| extensions.insert(upgrade));
    given.remove::<ClientAddress>().map(|address| extensions.insert(address));
    given.remove::<Arc<Link>>().map(|link| extensions.insert(link));
    if !credentials.is_empty() {
        extensions.insert(credentials);
    }
    parts.extensions = extensions;
    Request::from_parts(parts, body)
}
