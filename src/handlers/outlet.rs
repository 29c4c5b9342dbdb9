//! The way out to one client, over the socket library.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::value::RawValue;
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError};

use crate::delivery::{Outlet, Transport, Undelivered};
use crate::transport::{Link, Links};

/// Sends to a socket while it is attached. Cheap to clone.
#[derive(Clone)]
pub(super) struct SocketOutlet(Arc<Inner>);

struct Inner {
    // Detached when the socket is gone: the socket itself holds the session, and the two would keep each other alive.
    socket: Mutex<Option<SocketRef>>,
    links: Links,
    session: String,
    first_link: Option<Arc<Link>>,
    // Of a client that began by polling, once it has one.
    later_link: OnceLock<Arc<Link>>,
}

impl SocketOutlet {
    pub fn new(links: Links, session: String, first_link: Option<Arc<Link>>) -> Self {
        Self(Arc::new(Inner { socket: Mutex::new(None), links, session, first_link, later_link: OnceLock::new() }))
    }

    /// See [`Link::cork`]. Nothing for who polls, whose connection may be another's too.
    pub fn cork(&self) {
        self.0.first_link.iter().for_each(|link| link.cork());
    }

    /// See [`Link::uncork`].
    pub fn uncork(&self) {
        self.0.first_link.iter().for_each(|link| link.uncork());
    }

    pub fn attach(&self, socket: SocketRef) {
        *self.0.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    /// The connection of its websocket. None while it polls: how much of that has arrived is not known.
    fn link(&self) -> Option<&Arc<Link>> {
        let inner = &self.0;
        inner.first_link.as_ref().or_else(|| inner.later_link.get()).or_else(|| {
            let found = inner.links.websocket(&inner.session)?;
            Some(inner.later_link.get_or_init(|| found))
        })
    }

    /// Counts bytes that are said in another way than [`Outlet::send`]. However many they are, they are said: nothing further is handled
    /// for the client until it has taken them.
    pub fn note_said(&self, bytes: usize) {
        if let Some(link) = self.link() {
            link.say(bytes);
        }
    }

    /// Returns once the client has taken most of what was said to it, or is gone.
    pub async fn when_caught_up(&self) {
        if let Some(link) = self.link() {
            link.when_caught_up().await;
        }
    }

    pub fn is_connected(&self) -> bool {
        self.0.socket.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|socket| socket.connected())
    }

    pub fn detach(&self) {
        *self.0.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.links.forget(&self.0.session);
    }
}

impl Outlet for SocketOutlet {
    fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered> {
        let bytes = event.len() + payload.get().len();
        if self.link().is_some_and(|link| !link.say(bytes)) {
            return Err(Undelivered::Full);
        }
        // Held while it is queued, which never waits: sockets of one room are told from several threads, and each copy would be counted.
        let socket = self.0.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.as_ref().ok_or(Undelivered::Closed)?.emit(event, payload).map_err(|e| match e {
            SendError::Socket(SocketError::InternalChannelFull) => Undelivered::Full,
            SendError::Socket(SocketError::Closed) | SendError::Serialize(_) => Undelivered::Closed,
        })
    }

    fn close(&self) {
        self.0.links.end(&self.0.session, self.0.first_link.as_ref());
    }

    fn transport(&self) -> Transport {
        if self.link().is_some() { Transport::Websocket } else { Transport::Polling }
    }

    fn socket_id(&self) -> &str {
        &self.0.session
    }
}
