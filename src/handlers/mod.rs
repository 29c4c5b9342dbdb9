//! Socket.IO in: who may connect, and one mailbox per socket through which its events go in order.
//!
//! Everything is registered in the connect middleware: the client hears CONNECT right after it, and an event that found no
//! handler would be lost in silence.

mod calls;
pub mod events;
mod mailbox;
mod messages;
mod outlet;
mod pace;
mod presence;
mod reply;
mod session;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::socket::DisconnectReason;
use socketioxide::{ProtocolVersion, SocketIo};
use tracing::{error, info, warn};

use crate::auth::{CurrentUser, Verifier};
use crate::delivery::{Connected, Departure, ServerEvent};
use crate::error::{AuthError, Error};
use crate::models::Timestamp;
use crate::services::Services;
use crate::transport::{ClientAddress, Link, Links, counted_as, engine_query};
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

impl HandshakeCredentials {
    /// Whether the handshake had none of them.
    pub fn is_empty(&self) -> bool {
        self.authorization.is_none() && self.admin_key.is_none()
    }
}

/// Serves the default namespace. Called once, before the listener starts.
pub fn register(io: &SocketIo, handlers: Handlers) {
    let handlers = Arc::new(handlers);
    let middleware = {
        let handlers = Arc::clone(&handlers);
        move |socket: SocketRef, protocol: ProtocolVersion, auth: TryData<Value>| {
            let handlers = Arc::clone(&handlers);
            async move { handlers.admit(&socket, protocol, auth.0.unwrap_or_default()).await }
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
    /// Admits or refuses one handshake; the error is the message of `connect_error`. Waits for the store two seconds at most, and its
    /// faults refuse nobody.
    async fn admit(self: &Arc<Self>, socket: &SocketRef, protocol: ProtocolVersion, auth: Value) -> Result<(), &'static str> {
        let admitted = match self.authenticate(socket, protocol, &auth).await {
            Ok(user) => self.services.sessions().admit(&user).await.map(|()| user).map_err(Error::from),
            Err(refusal) => Err(refusal),
        };
        let outcome = admitted.as_ref().err().map_or("ok", Error::code);
        let metrics = &self.services.core().metrics;
        metrics.handshakes.with_label_values(&[outcome]).inc();
        if let Err(Error::Auth(refused)) = &admitted {
            metrics.refused_credentials.with_label_values(&[Error::from(*refused).code()]).inc();
        }
        match admitted {
            Ok(user) => {
                let expected = self.services.expect(&user).await;
                let session = Session::new(Arc::clone(self), user, expected, socket, &auth);
                socket.on_fallback(Dispatcher::new(Arc::clone(&session)));
                socket.on_disconnect(move |_: SocketRef, reason: DisconnectReason| {
                    // A panic would keep the socket in the library for ever.
                    if std::panic::catch_unwind(AssertUnwindSafe(|| session.close(departure(reason)))).is_err() {
                        error!("tidying up after a client panicked");
                    }
                    async {}
                });
                Ok(())
            }
            Err(refusal) => {
                let address = address(socket).map(tracing::field::display);
                match &refusal {
                    Error::Unavailable(source) => warn!(code = refusal.code(), "a client was refused for now: {source}"),
                    _ => info!(code = refusal.code(), client.address = address, "a client was refused"),
                }
                let (links, id) = (self.links.clone(), socket.id.to_string());
                let first = first_link(socket);
                tokio::spawn(async move {
                    tokio::time::sleep(REFUSAL_LINGER).await;
                    links.end(&id, first.as_ref());
                });
                Err(refusal.code())
            }
        }
    }

    /// Checks the credential of a handshake. A refused admin key is noted.
    async fn authenticate(&self, socket: &SocketRef, protocol: ProtocolVersion, auth: &Value) -> Result<CurrentUser, Error> {
        let credential = self.credential(socket, protocol, auth)?;
        let (text, key_only) = match &credential {
            Credential::Any(text) => (text, false),
            Credential::AdminKey(key) => (key, true),
        };
        let (guard, from) = (self.services.guard(), address(socket).map(counted_as));
        guard.check_attempt(text, key_only, from)?;
        let user = match &credential {
            Credential::Any(text) => self.verifier.verify(text).await,
            Credential::AdminKey(key) => self.verifier.verify_admin_key(key).map_err(Error::from),
        };
        if let Err(Error::Auth(_)) = &user {
            guard.note_refused(text, key_only, from);
        }
        user
    }

    /// Looks for a credential in the places of docs/protocol.md#identity, in their order.
    fn credential(&self, socket: &SocketRef, protocol: ProtocolVersion, auth: &Value) -> Result<Credential, AuthError> {
        if let Some(token) = auth.get("token").filter(|token| !token.is_null()) {
            return Ok(Credential::Any(token.as_str().ok_or(AuthError::Invalid)?.to_owned()));
        }
        let parts = socket.req_parts();
        let headers = parts.extensions.get::<HandshakeCredentials>().cloned().unwrap_or_default();
        if let Some(authorization) = headers.authorization {
            return Ok(Credential::Any(authorization));
        }
        if let Some(key) = headers.admin_key {
            return Ok(Credential::AdminKey(key));
        }
        if protocol == ProtocolVersion::V4 || self.wire.allow_query_token {
            let query = parts.uri.query().unwrap_or_default();
            let token = form_pairs(query).find(|(name, _)| name == "token");
            if let Some((_, token)) = token {
                return Ok(Credential::Any(token));
            }
        }
        Err(AuthError::Missing)
    }
}

/// What the library's reason means to those who may come back.
fn departure(reason: DisconnectReason) -> Departure {
    match reason {
        DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect => Departure::OnPurpose,
        DisconnectReason::HeartbeatTimeout => Departure::Silent,
        _ => Departure::Dropped,
    }
}

/// What a handshake brings along.
enum Credential {
    /// A token or an admin key.
    Any(String),
    /// An admin key only.
    AdminKey(String),
}

/// Name and value pairs of a query, percent-decoded.
fn form_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// The connection of a client that came by websocket at once. One that came by polling shares its connection with other
/// requests, behind a proxy even with other clients, so that one must never be cut.
fn first_link(socket: &SocketRef) -> Option<Arc<Link>> {
    let parts = socket.req_parts();
    let by_websocket = engine_query(&parts.uri, "transport") == Some("websocket");
    by_websocket.then(|| parts.extensions.get::<Arc<Link>>().cloned())?
}

/// Where the client is, as far as its handshake tells.
fn address(socket: &SocketRef) -> Option<IpAddr> {
    socket.req_parts().extensions.get::<ClientAddress>().map(|client| client.0)
}

/// The greeting of a session.
fn greeting(session: &Session, socket_id: String) -> ServerEvent {
    let user = session.user();
    ServerEvent::Connected(Connected::new(socket_id, user.participant(), user.profile(), Timestamp::now()))
}
