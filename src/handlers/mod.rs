//! Socket.IO in: who may connect, and one mailbox per socket through which its events go in order.
//!
//! Everything is registered in the connect middleware: the client hears CONNECT right after it, and an event that found no
//! handler would be lost in silence.

mod calls;
mod events;
mod mailbox;
mod messages;
mod outlet;
mod reply;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::{ProtocolVersion, SocketIo};
use tracing::info;

use crate::auth::{CurrentUser, Verifier};
use crate::delivery::{Connected, ServerEvent};
use crate::error::AuthError;
use crate::models::Timestamp;
use crate::services::Services;
use crate::transport::{Link, Links};
use mailbox::Dispatcher;
use session::Session;

/// How long a refused client keeps its transport, so that the reason can still reach it.
const REFUSAL_LINGER: Duration = Duration::from_millis(1_000);

/// What the handlers need beside the services.
#[derive(Clone)]
pub struct Handlers {
    /// The rules.
    pub services: Services,
    /// Who is who.
    pub verifier: Verifier,
    /// The way to cut a transport.
    pub links: Links,
    /// Settings of the wire.
    pub wire: WireSettings,
}

/// Settings that change what travels; see [`crate::config::SETTINGS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct WireSettings {
    /// `ALLOW_QUERY_TOKEN`.
    pub allow_query_token: bool,
    /// `LEGACY_HISTORY_RESPONSE`.
    pub legacy_history_response: bool,
    /// `ECHO_TO_FLUTTER_SENDER`.
    pub echo_to_flutter_sender: bool,
}

/// The credential headers of a handshake. The gate takes them out of the request, so that they are not kept with the session.
#[derive(Clone, Default)]
pub struct HandshakeCredentials {
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `x-admin-key`.
    pub admin_key: Option<String>,
}

/// Serves the default namespace. Called once, before the listener starts.
pub fn register(io: &SocketIo, handlers: Handlers) {
    let handlers = Arc::new(handlers);
    let middleware = {
        let handlers = Arc::clone(&handlers);
        move |socket: SocketRef, protocol: ProtocolVersion, auth: TryData<Value>| {
            let handlers = Arc::clone(&handlers);
            async move { handlers.admit(&socket, protocol, auth.0.unwrap_or_default()) }
        }
    };
    use socketioxide::handler::ConnectHandler;
    io.ns("/", on_connect.with(middleware));
}

/// Greets the client, then lets its events in; `connected` is thereby always the first packet.
async fn on_connect(socket: SocketRef) {
    let Some(session) = socket.extensions.get::<Arc<Session>>() else { return };
    session.open(socket);
}

impl Handlers {
    /// Admits or refuses one handshake. Nothing here waits, so no fault of the store can refuse a client for good.
    fn admit(self: &Arc<Self>, socket: &SocketRef, protocol: ProtocolVersion, auth: Value) -> Result<(), AuthError> {
        match self.authenticate(socket, protocol, &auth) {
            Ok(user) => {
                let session = Session::new(Arc::clone(self), user, socket, &auth);
                socket.on_fallback(Dispatcher::new(Arc::clone(&session)));
                socket.on_disconnect(move |_: SocketRef| {
                    session.close();
                    async {}
                });
                Ok(())
            }
            Err(refusal) => {
                info!(code = %refusal, "a client was refused");
                let (links, id) = (self.links.clone(), socket.id.to_string());
                let first = first_link(socket);
                tokio::spawn(async move {
                    tokio::time::sleep(REFUSAL_LINGER).await;
                    links.end(&id, first.as_ref());
                });
                Err(refusal)
            }
        }
    }

    /// Looks for a credential in the places of docs/protocol.md#identity, in their order.
    fn authenticate(&self, socket: &SocketRef, protocol: ProtocolVersion, auth: &Value) -> Result<CurrentUser, AuthError> {
        if let Some(token) = auth.get("token").filter(|token| !token.is_null()) {
            return token.as_str().map_or(Err(AuthError::Invalid), |token| self.verifier.verify(token));
        }
        let parts = socket.req_parts();
        let headers = parts.extensions.get::<HandshakeCredentials>().cloned().unwrap_or_default();
        if let Some(authorization) = headers.authorization {
            return self.verifier.verify(&authorization);
        }
        if let Some(key) = headers.admin_key {
            return self.verifier.verify_admin_key(&key);
        }
        if protocol == ProtocolVersion::V4 || self.wire.allow_query_token {
            let query = parts.uri.query().unwrap_or_default();
            if let Some((_, token)) = form_pairs(query).find(|(name, _)| name == "token") {
                return self.verifier.verify(&token);
            }
        }
        Err(AuthError::Missing)
    }
}

/// Name and value pairs of a query, percent-decoded.
fn form_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// The connection of a client that came by websocket at once. One that came by polling shares its connection with other
/// requests, behind a proxy even with other clients, so that one must never be cut.
fn first_link(socket: &SocketRef) -> Option<Arc<Link>> {
    let parts = socket.req_parts();
    let by_websocket = form_pairs(parts.uri.query().unwrap_or_default()).any(|(name, value)| name == "transport" && value == "websocket");
    by_websocket.then(|| parts.extensions.get::<Arc<Link>>().cloned())?
}

/// The address a handshake came from.
fn peer(socket: &SocketRef) -> Option<SocketAddr> {
    socket.req_parts().extensions.get::<Arc<Link>>().map(|link| link.peer())
}

/// The greeting of a session.
fn greeting(session: &Session, socket_id: String) -> ServerEvent {
    let user = session.user();
    ServerEvent::Connected(Connected::new(socket_id, user.participant(), user.profile(), Timestamp::now()))
}
