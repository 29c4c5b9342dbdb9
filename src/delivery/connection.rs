//! One connected socket, as far as delivery is concerned.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::models::Participant;

/// Names a connection within this process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// Why a packet was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The client reads too slowly.
    Full,
    /// The client is gone.
    Closed,
}

/// The way out to one client. Implemented over the socket library by `handlers`, and by the recorder of the tests.
pub trait Outlet: Send + Sync {
    /// Queues one packet; never waits.
    fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered>;

    /// Cuts the transport, so that the client reconnects by itself.
    fn close(&self);
}

/// Where a socket comes from, as far as its handshake tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Address of the other end.
    pub address: Option<IpAddr>,
    /// `User-Agent`; empty if there was none.
    pub agent: String,
}

impl Origin {
    /// Whether a socket from `other` may belong to the same page of the same browser. The shipped Flutter app is no browser.
    fn may_be_same_page(&self, other: &Self) -> bool {
        self == other && !self.agent.starts_with("Dart/")
    }
}

/// A connected socket: whose it is, and the way out to it.
pub struct Connection {
    id: ConnectionId,
    identity: Participant,
    origin: Origin,
    outlet: Box<dyn Outlet>,
    hears_own_messages: AtomicBool,
}

impl Connection {
    /// A connection of this identity.
    pub fn new(identity: Participant, origin: Origin, outlet: Box<dyn Outlet>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed)),
            identity: identity.identity(),
            origin,
            outlet,
            hears_own_messages: AtomicBool::new(true),
        }
    }

    /// Its name.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose it is; any admin is the shared admin.
    pub fn identity(&self) -> &Participant {
        &self.identity
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Address of the other end, as far as the handshake told.
    pub fn address(&self) -> Option<IpAddr> {
        self.origin.address
    }

    /// Whether this and `other` may be two sockets of one browser page, so that neither can be told to stop without stopping the other.
    pub fn may_share_page_with(&self, other: &Self) -> bool {
        self.may_share_page_with_one_from(&other.origin)
    }

    /// The same, where the other one may be connected to another node.
    pub(super) fn may_share_page_with_one_from(&self, origin: &Origin) -> bool {
        origin.may_be_same_page(&self.origin)
    }

    /// Whether the client shows its own messages by itself, so that hearing them would show them twice. Told by the handshake.
    pub fn shows_own_messages(&self) -> bool {
        self.origin.agent.starts_with("Dart/")
    }

    /// Whether a message sent here is echoed here as `dm:message_received`. Source: docs/protocol.md#echo.
    pub fn hears_own_messages(&self) -> bool {
        self.hears_own_messages.load(Ordering::Relaxed)
    }

    /// Turns that echo off, for a client that would show its own message twice.
    pub fn mute_own_messages(&self) {
        self.hears_own_messages.store(false, Ordering::Relaxed);
    }

    /// Cuts the transport.
    pub fn close(&self) {
        self.outlet.close();
    }

    pub(super) fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered> {
        self.outlet.send(event, payload)
    }
}
