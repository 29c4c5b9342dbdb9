//! One connected client: its user, its connection in delivery, its mailbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use socketioxide::extract::SocketRef;
use tracing::info;

use crate::auth::CurrentUser;
use crate::delivery::{Connection, Delivery, Origin};
use crate::services::Services;

use super::mailbox::Mailbox;
use super::outlet::SocketOutlet;
use super::{Handlers, WireSettings, first_link, greeting, peer};

/// What is known of one socket from the handshake until it is gone.
pub struct Session {
    handlers: Arc<Handlers>,
    user: CurrentUser,
    outlet: SocketOutlet,
    connection: Arc<Connection>,
    mailbox: Arc<Mailbox>,
    /// The shipped Flutter app, as far as its handshake tells; see docs/protocol.md#echo.
    looks_like_flutter: bool,
    closed: AtomicBool,
}

impl Session {
    pub(super) fn new(handlers: Arc<Handlers>, user: CurrentUser, socket: &SocketRef, auth: &Value) -> Arc<Self> {
        let agent = socket.req_parts().headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let wants_echo = auth.get("echo").and_then(Value::as_bool).unwrap_or(false);
        let origin = Origin { address: peer(socket).map(|peer| peer.ip()), agent: agent.to_owned() };
        let outlet = SocketOutlet::new(handlers.links.clone(), socket.id.to_string(), first_link(socket));
        let session = Arc::new(Self {
            looks_like_flutter: agent.starts_with("Dart/") && !wants_echo && !handlers.wire.echo_to_flutter_sender,
            connection: Arc::new(Connection::new(user.identity(), origin, Box::new(outlet.clone()))),
            outlet,
            handlers,
            user,
            mailbox: Mailbox::closed(),
            closed: AtomicBool::new(false),
        });
        socket.extensions.insert(Arc::clone(&session));
        session
    }

    /// Greets the client, puts it into its personal room, and starts on the events that are waiting already.
    pub(super) fn open(self: &Arc<Self>, socket: SocketRef) {
        let id = socket.id.to_string();
        self.outlet.attach(socket);
        self.delivery().greet(&self.connection, &greeting(self, id));
        self.services().came(&self.connection);
        // The client may have gone before this task ran; then nobody else would tidy up.
        if self.closed.load(Ordering::SeqCst) {
            self.tidy_up();
        }
        info!(connection.id = %self.connection.id(), participant = %self.user.participant(), "a client connected");
        // Also then: what it sent before it left is still handled, and the queue does not keep the session alive.
        self.mailbox.open(self);
    }

    /// Called once by the socket library when the socket is gone. Must neither fail nor wait: the library keeps the socket until it ends.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.tidy_up();
        info!(connection.id = %self.connection.id(), participant = %self.user.participant(), "a client left");
    }

    fn tidy_up(&self) {
        self.services().went(&self.connection);
        self.outlet.detach();
    }

    pub(super) fn services(&self) -> &Services {
        &self.handlers.services
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.services().core().delivery
    }

    pub(super) fn wire(&self) -> WireSettings {
        self.handlers.wire
    }

    pub(super) fn user(&self) -> &CurrentUser {
        &self.user
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(super) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Called when the client asks for statistics, which of all apps only the shipped Flutter app does on connecting.
    pub(super) fn recognise_flutter(&self) {
        if self.looks_like_flutter {
            self.connection.mute_own_messages();
        }
    }
}
