//! Which TCP connection an Engine.IO session currently runs over, so that exactly that one can be cut.
//!
//! The request a session started with may be a polling request that is long gone after an upgrade, so every request of a
//! session is noted. A polling session has no connection of its own: it is refused at its next request instead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long an ended polling session is remembered; its engine session is gone by then.
const REMEMBER_ENDED: Duration = Duration::from_secs(60);
/// How often the memory of ended sessions is swept, counted in new ones.
const SWEEP_EVERY: usize = 1024;

/// One accepted TCP connection.
pub struct Link {
    peer: SocketAddr,
    cut: CancellationToken,
    // A connection serves one websocket at most, and the note of it goes with the connection.
    websocket: OnceLock<WebsocketNote>,
}

impl Link {
    /// A connection from `peer`.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self { peer, cut: CancellationToken::new(), websocket: OnceLock::new() })
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
    ended_since_sweep: usize,
}

struct Noted {
    link: Weak<Link>,
    websocket: bool,
}

impl Sessions {
    /// Takes back the note of a connection, unless another one was noted since.
    fn forget_link(&mut self, session: &str, link: *const Link, websocket: bool) {
        if self.current.get(session).is_some_and(|noted| noted.websocket == websocket && noted.link.as_ptr() == link) {
            self.current.remove(session);
        }
    }
}

/// A poll that hangs on a connection. Dropping it, when the poll is answered or its client has gone, takes the note back.
pub struct PollNote {
    links: Links,
    session: String,
    link: Weak<Link>,
}

impl Drop for PollNote {
    fn drop(&mut self) {
        self.links.sessions().forget_link(&self.session, self.link.as_ptr(), false);
    }
}

/// The session whose websocket a connection is.
struct WebsocketNote {
    links: Links,
    session: String,
}

impl Drop for Link {
    fn drop(&mut self) {
        let this: *const Self = self;
        if let Some(note) = self.websocket.get() {
            // Nobody drops the last hold of a link while holding this lock: see `end`.
            note.links.sessions().forget_link(&note.session, this, true);
        }
    }
}

impl Links {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // std Mutex: never held across an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the session's websocket is this connection, until the connection is gone.
    pub fn note_websocket(&self, session: &str, link: &Arc<Link>) {
        if link.websocket.set(WebsocketNote { links: self.clone(), session: session.to_owned() }).is_ok() {
            self.sessions().current.insert(session.to_owned(), Noted { link: Arc::downgrade(link), websocket: true });
        }
    }

    /// Notes that a poll of the session hangs on this connection. During an upgrade polls still come; they must not hide the websocket.
    #[must_use]
    pub fn note_poll(&self, session: &str, link: &Arc<Link>) -> PollNote {
        let mut sessions = self.sessions();
        let upgraded = sessions.current.get(session).is_some_and(|noted| noted.websocket && noted.link.strong_count() > 0);
        if !upgraded {
            sessions.current.insert(session.to_owned(), Noted { link: Arc::downgrade(link), websocket: false });
        }
        PollNote { links: self.clone(), session: session.to_owned(), link: Arc::downgrade(link) }
    }

    /// Ends a session as a broken line would: its connection is cut and its next polling request refused. The client reconnects.
    pub fn end(&self, session: &str, first: Option<&Arc<Link>>) {
        let mut sessions = self.sessions();
        let current = sessions.current.remove(session).and_then(|noted| noted.link.upgrade());
        sessions.ended.insert(session.to_owned(), Instant::now());
        sessions.ended_since_sweep += 1;
        if sessions.ended_since_sweep >= SWEEP_EVERY {
            sessions.ended_since_sweep = 0;
            sessions.ended.retain(|_, at| at.elapsed() < REMEMBER_ENDED);
        }
        // Before the link is: its last hold may be the one just taken.
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

    /// How many sessions are noted with a connection.
    pub fn noted(&self) -> usize {
        self.sessions().current.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Arc<Link> {
        Link::new(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn a_poll_during_an_upgrade_does_not_hide_the_websocket() {
        let links = Links::default();
        let [first, second, websocket] = [link(), link(), link()];
        let hanging = links.note_poll("s", &first);
        links.note_websocket("s", &websocket);
        drop(hanging);
        drop(links.note_poll("s", &second));
        links.end("s", None);
        assert!(websocket.is_cut() && !first.is_cut() && !second.is_cut());
        assert!(links.is_ended("s"));
    }

    #[test]
    fn what_was_noted_goes_with_the_poll_and_with_the_connection() {
        let links = Links::default();
        let (polled, websocket) = (link(), link());
        let hanging = links.note_poll("s", &polled);
        links.note_websocket("t", &websocket);
        assert_eq!(links.noted(), 2);
        drop((hanging, websocket));
        assert_eq!(links.noted(), 0);
    }

    #[test]
    fn a_connection_that_goes_takes_no_other_connections_note_with_it() {
        let links = Links::default();
        let (old, new) = (link(), link());
        let earlier = links.note_poll("s", &old);
        let _later = links.note_poll("s", &new);
        drop(earlier);
        assert_eq!(links.noted(), 1);
        links.end("s", None);
        assert!(new.is_cut() && !old.is_cut());
        // The last hold of the link is taken and dropped inside `end`, which must not lock itself out.
        let websocket = link();
        links.note_websocket("t", &websocket);
        drop(websocket);
        links.end("t", None);
    }

    #[test]
    fn what_is_remembered_of_ended_sessions_is_not_kept_as_connections() {
        let links = Links::default();
        for n in 0..3 * SWEEP_EVERY {
            links.note_websocket(&n.to_string(), &link());
            links.end(&n.to_string(), None);
        }
        assert_eq!(links.noted(), 0);
    }
}
