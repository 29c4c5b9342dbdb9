//! Sessions that begin by a websocket are given to the library as streams, not as requests.
//!
//! It takes both. Of a request it would keep the future that waits for the upgrade as long as the session lives, and a boxed stream behind a
//! buffer; and the answer to the request would be a packet of the network of its own, before that of the session.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, error};

use crate::transport::{GuardedIo, Link, engine_query};

/// The way into the library, which serves the stream in a task of its own. Boxed, because that task has room for several copies of it.
pub type Entrance = Arc<dyn Fn(Box<GuardedIo>, http::Request<()>) + Send + Sync>;

/// A request that begins a session by a websocket.
pub struct Opening {
    accept: HeaderValue,
    link: Arc<Link>,
    upgrade: OnUpgrade,
}

impl Opening {
    /// Takes what it takes out of the request. None: it is another request, or one that the library would refuse.
    pub fn of(request: &mut Request) -> Option<Self> {
        let asked = |name| engine_query(request.uri(), name);
        let is_meant = request.method() == Method::GET
            && asked("transport") == Some("websocket")
            && matches!(asked("EIO"), Some("3" | "4"))
            && asked("sid").is_none();
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|_| is_meant)?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
        let link = Arc::clone(request.extensions().get::<Arc<Link>>()?);
        // There is none unless the request asks for an upgrade.
        let upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self { accept, link, upgrade })
    }

    /// The answer; afterwards the stream goes to the library.
    pub fn answer(self, request: Request, entrance: &Entrance) -> Response {
        let Self { accept, link, upgrade } = self;
        let (mut parts, _) = request.into_parts();
        parts.headers.remove(header::SEC_WEBSOCKET_KEY);
        let entrance = Arc::clone(entrance);
        // The library says something as soon as it has the stream.
        link.cork();
        tokio::spawn(async move {
            let upgraded = upgrade.await;
            link.uncork();
            match upgraded.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Box<GuardedIo>>>) {
                Ok(Ok(ours)) => {
                    let mut stream = ours.io.into_inner();
                    stream.give_back(&ours.read_buf);
                    entrance(stream, http::Request::from_parts(parts, ()));
                }
                Ok(Err(_)) => error!("a websocket came from another listener"),
                Err(e) => debug!("a websocket was not opened: {e}"),
            }
        });

        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }
}
