//! Which TCP connection an Engine.IO session currently runs over, so that exactly that one can be cut.
//!
//! The request a session started with may be a polling request that is long gone after an upgrade, so every request of a
//! session is noted. A polling session has no connection of its own: it is refused at its next request instead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long an ended polling session is remembered; its engine session is gone by then.
const REMEMBER_ENDED: Duration = Duration::from_secs(60);
/// How often entries of closed connections are swept out, counted in new entries.
const SWEEP_EVERY: usize = 1024;

/// One accepted TCP connection.
pub struct Link {
    peer: SocketAddr,
    cut: CancellationToken,
}

impl Link {
    /// A connection from `peer`.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self { peer, cut: CancellationToken::new() })
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes every read and write of the connection fail from now on.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(super) fn when_cut(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }
}

/// The connections of all sessions, by session id. Cheap to clone.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<Sessions>>);

#[derive(Default)]
struct Sessions {
    current: HashMap<String, Noted>,
    ended: HashMap<String, Instant>,
    since_sweep: usize,
}

struct Noted {
    link: Weak<Link>,
    websocket: bool,
}

impl Sessions {
    /// Every entry comes from a request or an end, so both count towards the next sweep.
    fn sweep_if_due(&mut self) {
        self.since_sweep += 1;
        if self.since_sweep >= SWEEP_EVERY {
            self.since_sweep = 0;
            self.current.retain(|_, noted| noted.link.strong_count() > 0);
            self.ended.retain(|_, at| at.elapsed() < REMEMBER_ENDED);
        }
    }
}

impl Links {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // std Mutex: never held across an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the session's websocket is this connection.
    pub fn note_websocket(&self, session: &str, link: &Arc<Link>) {
        let mut sessions = self.sessions();
        sessions.current.insert(session.to_owned(), Noted { link: Arc::downgrade(link), websocket: true });
        sessions.sweep_if_due();
    }

    /// Notes that a poll of the session hangs on this connection. During an upgrade polls still come; they must not hide the websocket.
    pub fn note_poll(&self, session: &str, link: &Arc<Link>) {
        let mut sessions = self.sessions();
        let upgraded = sessions.current.get(session).is_some_and(|noted| noted.websocket && noted.link.strong_count() > 0);
        if !upgraded {
            sessions.current.insert(session.to_owned(), Noted { link: Arc::downgrade(link), websocket: false });
        }
        sessions.sweep_if_due();
    }

    /// Takes back the note of a poll that was answered, unless another connection was noted since.
    pub fn forget_poll(&self, session: &str, link: &Arc<Link>) {
        let mut sessions = self.sessions();
        if sessions.current.get(session).is_some_and(|noted| !noted.websocket && noted.link.as_ptr() == Arc::as_ptr(link)) {
            sessions.current.remove(session);
        }
    }

    /// Ends a session as a broken line would: its connection is cut and its next polling request refused. The client reconnects.
    pub fn end(&self, session: &str, first: Option<&Arc<Link>>) {
        let mut sessions = self.sessions();
        let current = sessions.current.remove(session).and_then(|noted| noted.link.upgrade());
        sessions.ended.insert(session.to_owned(), Instant::now());
        sessions.sweep_if_due();
        drop(sessions);
        if let Some(link) = current.or_else(|| first.cloned()) {
            link.cut();
        }
    }

    /// Whether the session was ended.
    pub fn is_ended(&self, session: &str) -> bool {
        self.sessions().ended.contains_key(session)
    }

    /// Forgets the connection of a session that closed by itself.
    pub fn forget(&self, session: &str) {
        self.sessions().current.remove(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_during_an_upgrade_does_not_hide_the_websocket() {
        let links = Links::default();
        let [first, second, websocket] = [1, 2, 3].map(|port| Link::new(SocketAddr::from(([127, 0, 0, 1], port))));
        links.note_poll("s", &first);
        links.note_websocket("s", &websocket);
        links.forget_poll("s", &first);
        links.note_poll("s", &second);
        links.forget_poll("s", &second);
        links.end("s", None);
        assert!(websocket.is_cut() && !first.is_cut() && !second.is_cut());
        assert!(links.is_ended("s"));
    }

    #[test]
    fn what_is_remembered_of_ended_sessions_and_closed_connections_is_bounded() {
        let links = Links::default();
        for n in 0..3 * SWEEP_EVERY {
            links.note_websocket(&n.to_string(), &Link::new(SocketAddr::from(([127, 0, 0, 1], 1))));
        }
        assert!(links.sessions().current.len() <= SWEEP_EVERY);
    }
}
