//! One connected socket, as far as delivery is concerned.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::models::Participant;

/// Names a connection within this process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Hashes a [`ConnectionId`] by one multiplication: ids are counted up by this process, so nobody can choose them to collide.
#[derive(Clone, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // An odd constant spreads neighbours over all bits; the table looks at the highest and the lowest ones.
        let spread = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

/// A table by connection.
pub(super) type ByConnection<T> = HashMap<ConnectionId, T, BuildHasherDefault<IdHasher>>;

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

/// How a socket is connected just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By a websocket.
    Websocket,
    /// By polling.
    Polling,
}

impl Transport {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
        }
    }
}

/// Why the server cuts a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It does not read what it is told.
    FullBuffer,
    /// It asks on whatever it is told.
    Flood,
    /// Its person has too many.
    TooManySockets,
    /// Its person's sessions were revoked.
    Revoked,
    /// Its token ended.
    EndedToken,
    /// Its account has another session, is suspended, or is gone.
    Account,
    /// The server goes down.
    Draining,
}

impl Cut {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullBuffer => "full_buffer",
            Self::Flood => "flood",
            Self::TooManySockets => "too_many_sockets",
            Self::Revoked => "revoked",
            Self::EndedToken => "ended_token",
            Self::Account => "account",
            Self::Draining => "draining",
        }
    }
}

/// The way out to one client. Implemented over the socket library by `handlers`, and by the recorder of the tests.
pub trait Outlet: Send + Sync {
    /// Queues one packet; never waits.
    fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered>;

    /// Cuts the transport, so that the client reconnects by itself.
    fn close(&self);

    /// How it is connected now.
    fn transport(&self) -> Transport {
        Transport::Websocket
    }

    /// The id its client knows the socket by; empty where there is none.
    fn socket_id(&self) -> &str {
        ""
    }
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
    was_cut: AtomicBool,
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
            was_cut: AtomicBool::new(false),
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

    /// Cuts the transport. True the first time.
    pub(super) fn close(&self) -> bool {
        self.outlet.close();
        !self.was_cut.swap(true, Ordering::Relaxed)
    }

    /// Whether the server has cut it.
    pub fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Relaxed)
    }

    /// How it is connected now.
    pub fn transport(&self) -> Transport {
        self.outlet.transport()
    }

    /// The id its client knows the socket by.
    pub fn socket_id(&self) -> &str {
        self.outlet.socket_id()
    }

    pub(super) fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered> {
        self.outlet.send(event, payload)
    }
}
