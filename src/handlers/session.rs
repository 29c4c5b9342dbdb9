//! One connected client: its user, its connection in delivery, its mailbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use serde_json::Value;
use socketioxide::extract::SocketRef;
use tracing::info;

use crate::auth::CurrentUser;
use crate::delivery::{Connection, Delivery, Departure, Origin};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::services::limits::Limited;
use crate::services::{Held, Services};
use crate::transport::counted_as;

use crate::models::Timestamp;
use crate::wire::{Payload, ok_body};

use super::mailbox::Mailbox;
use super::outlet::SocketOutlet;
use super::reply::Reply;
use super::{Handlers, WireSettings, address, first_link, greeting};

/// What is known of one socket from the handshake until it is gone.
pub struct Session {
    handlers: Arc<Handlers>,
    // std RwLock: never held across an await. Renewed by `auth:refresh`; always the same person.
    user: RwLock<Arc<CurrentUser>>,
    outlet: SocketOutlet,
    connection: Arc<Connection>,
    mailbox: Arc<Mailbox>,
    /// The shipped Flutter app, as far as its handshake tells; see docs/protocol.md#echo.
    looks_like_flutter: bool,
    closed: AtomicBool,
    /// Until delivery knows the connection.
    expected: Mutex<Option<Held>>,
}

impl Session {
    pub(super) fn new(handlers: Arc<Handlers>, user: CurrentUser, expected: Option<Held>, socket: &SocketRef, auth: &Value) -> Arc<Self> {
        let agent = socket.req_parts().headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let wants_echo = auth.get("echo").and_then(Value::as_bool).unwrap_or(false);
        let origin = Origin { address: address(socket), agent: agent.to_owned() };
        let outlet = SocketOutlet::new(handlers.links.clone(), socket.id.to_string(), first_link(socket));
        let paced = !handlers.services.guard().limits.are_off();
        let session = Arc::new(Self {
            looks_like_flutter: agent.starts_with("Dart/") && !wants_echo && !handlers.wire.echo_to_flutter_sender,
            connection: Arc::new(Connection::new(user.identity(), origin, Box::new(outlet.clone()))),
            outlet,
            handlers,
            user: RwLock::new(Arc::new(user)),
            mailbox: Mailbox::closed(paced),
            closed: AtomicBool::new(false),
            expected: Mutex::new(expected),
        });
        socket.extensions.insert(Arc::clone(&session));
        // Until `open`, which greets: CONNECT leaves with the greeting.
        session.outlet.cork();
        session
    }

    /// Greets the client, puts it into its personal room, and starts on the events that are waiting already.
    pub(super) fn open(self: &Arc<Self>, socket: SocketRef) {
        self.outlet.uncork();
        let id = socket.id.to_string();
        let address = address(&socket).map(tracing::field::display);
        self.outlet.attach(socket);
        self.delivery().greet(&self.connection, &greeting(self, id));
        self.services().came(&self.user(), &self.connection);
        drop(self.expected.lock().unwrap_or_else(PoisonError::into_inner).take());
        // The client may have gone before this task ran, or before its end was listened for; then nobody else would tidy up.
        if self.closed.load(Ordering::SeqCst) || !self.outlet.is_connected() {
            self.tidy_up(Departure::Dropped);
        }
        let user = self.user();
        info!(connection.id = %self.connection.id(), participant = %user.participant(), client.address = address, "a client connected");
        // Also then: what it sent before it left is still handled, and the queue does not keep the session alive.
        self.mailbox.open(self);
    }

    /// Called once by the socket library when the socket is gone. Must neither fail nor wait: the library keeps the socket until it ends.
    pub(super) fn close(&self, departure: Departure) {
        self.closed.store(true, Ordering::SeqCst);
        self.tidy_up(departure);
        let reason = match departure {
            _ if self.connection.was_cut() => "cut",
            Departure::OnPurpose => "on_purpose",
            Departure::Dropped => "dropped",
            Departure::Silent => "silent",
        };
        self.metrics().disconnects.with_label_values(&[reason]).inc();
        info!(connection.id = %self.connection.id(), participant = %self.user().participant(), reason, "a client left");
    }

    /// Puts the connection on a newer token of the same person, so that it need not reconnect when the old one ends.
    pub(super) async fn refresh(&self, payload: &Payload) -> Reply {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Refreshed {
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_at: Option<Timestamp>,
        }
        let (guard, token) = (self.services().guard(), payload.require_text(&["token"])?);
        guard.limits.count(&self.user(), Limited::Other)?;
        let from = self.connection.address().map(counted_as);
        guard.check_attempt(token, false, from)?;
        let newer = self.handlers.verifier.verify(token).await;
        // Here too somebody may try out admin keys.
        let newer = newer.inspect_err(|refused| {
            if matches!(refused, Error::Auth(_)) {
                guard.note_refused(token, false, from);
            }
        })?;
        let expires_at = self.services().sessions().refresh(self.connection.id(), newer.clone()).await?;
        // What it states of him counts from here on: name and picture in his messages, the phone number in his calls.
        *self.user.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(newer);
        ok_body(&Refreshed { expires_at })
    }

    fn tidy_up(&self, departure: Departure) {
        self.services().went(&self.connection, departure);
        self.outlet.detach();
    }

    pub(super) fn services(&self) -> &Services {
        &self.handlers.services
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.services().core().metrics
    }

    pub(super) fn delivery(&self) -> &Delivery {
        &self.services().core().delivery
    }

    pub(super) fn wire(&self) -> WireSettings {
        self.handlers.wire
    }

    /// Who it is, as the newest credential states him.
    pub(super) fn user(&self) -> Arc<CurrentUser> {
        Arc::clone(&self.user.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(super) fn outlet(&self) -> &SocketOutlet {
        &self.outlet
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
