//! Which TCP connection an Engine.IO session currently runs over, so that exactly that one can be cut.
//!
//! The request a session started with may be a polling request that is long gone after an upgrade, so every request of a
//! session is noted. A polling session has no connection of its own: it is refused at its next request instead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// How long an ended polling session is remembered; its engine session is gone by then.
const REMEMBER_ENDED: Duration = Duration::from_secs(60);
/// How often the memory of ended sessions is swept, counted in new ones.
const SWEEP_EVERY: usize = 1024;

/// Bytes waiting to be written beyond which nothing more is asked for on behalf of the client at the other end.
const BEHIND: usize = 256 * 1024;
/// Bytes waiting to be written beyond which the client is given up: what others say to it cannot be held back.
/// More than the largest answers, so that one of these alone does not do it.
const FAR_BEHIND: usize = 4 << 20;
/// The same for a client that has taken nothing at all for [`STALLED`].
const BEHIND_AND_STALLED: usize = 128 * 1024;
const STALLED: Duration = Duration::from_secs(2);

/// One accepted TCP connection.
pub struct Link {
    peer: SocketAddr,
    cut: AtomicBool,
    corked: AtomicBool,
    // Reading and writing happen in different tasks after an upgrade; each has a waker of its own. No cancellation token: every read and
    // write asks, and it would take two locks each time.
    reader: AtomicWaker,
    writer: AtomicWaker,
    // A connection serves one websocket at most, and the note of it goes with the connection.
    websocket: OnceLock<WebsocketNote>,
    // What was said to the client and has not been written. An estimate: frames are a few bytes longer than what is said in them.
    unwritten: AtomicUsize,
    wrote: Notify,
    /// Milliseconds after `since` at which writing came to a halt; 0 while it goes on.
    halted_at: AtomicU64,
    since: Instant,
}

impl Link {
    /// A connection from `peer`.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            peer,
            cut: AtomicBool::new(false),
            corked: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            websocket: OnceLock::new(),
            unwritten: AtomicUsize::new(0),
            wrote: Notify::new(),
            halted_at: AtomicU64::new(0),
            since: Instant::now(),
        })
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes every read and write of the connection fail from now on.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
        self.wrote.notify_waiters();
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Keeps back what is written from now on until [`Link::uncork`], and then until something more is written, so that both leave in one
    /// packet of the network. Only for a moment after which something more is written. If nothing is after all, because the client has left
    /// in that moment, the next ping takes it along.
    pub fn cork(&self) {
        self.corked.store(true, Ordering::SeqCst);
    }

    /// Ends [`Link::cork`]: what is written next leaves, behind what was kept back.
    pub fn uncork(&self) {
        self.corked.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_corked(&self) -> bool {
        self.corked.load(Ordering::SeqCst)
    }

    /// So many more bytes wait to be written. False if so many wait already that the client is to be given up.
    ///
    /// What is said now does not count: one thing may be larger than all that may wait.
    pub fn say(&self, bytes: usize) -> bool {
        let before = self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        before <= FAR_BEHIND && (before <= BEHIND_AND_STALLED || !self.is_stalled())
    }

    fn is_stalled(&self) -> bool {
        let halted_at = self.halted_at.load(Ordering::Relaxed);
        halted_at > 0 && self.since.elapsed() >= Duration::from_millis(halted_at) + STALLED
    }

    /// The other end takes nothing just now, or takes something again.
    pub(super) fn note_halt(&self, halted: bool) {
        let at = if halted { u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1) } else { 0 };
        self.halted_at.store(at, Ordering::Relaxed);
    }

    /// So many bytes were taken by the other end.
    pub(super) fn written(&self, bytes: usize) {
        // Never below nothing: what nobody counted, like pings, must not become credit.
        let less = |waiting: usize| (waiting > 0).then(|| waiting.saturating_sub(bytes));
        if let Ok(before) = self.unwritten.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            && before > BEHIND
            && before.saturating_sub(bytes) <= BEHIND
        {
            self.wrote.notify_waiters();
        }
    }

    /// Returns once the client has taken most of what was said to it, or is cut.
    pub async fn when_caught_up(&self) {
        loop {
            // Listened for before it is looked at, so that nothing falls between.
            let wrote = self.wrote.notified();
            if self.unwritten.load(Ordering::Relaxed) <= BEHIND || self.is_cut() {
                return;
            }
            wrote.await;
        }
    }

    /// Whether it was cut; otherwise the task that reads is woken when it is.
    pub(super) fn poll_cut_for_reader(&self, cx: &Context<'_>) -> bool {
        self.poll_cut(&self.reader, cx)
    }

    /// The same for the task that writes.
    pub(super) fn poll_cut_for_writer(&self, cx: &Context<'_>) -> bool {
        self.poll_cut(&self.writer, cx)
    }

    fn poll_cut(&self, waker: &AtomicWaker, cx: &Context<'_>) -> bool {
        // Asked after the waker is there, so that nothing falls between.
        waker.register(cx.waker());
        self.is_cut()
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

    /// The connection that is the session's websocket now, if it has one.
    pub fn websocket(&self, session: &str) -> Option<Arc<Link>> {
        self.sessions().current.get(session).filter(|noted| noted.websocket)?.link.upgrade()
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
    fn who_takes_nothing_is_given_up_sooner_than_who_is_slow() {
        let link = link();
        assert!(link.say(FAR_BEHIND) && link.say(1), "one thing may be as large as that");
        assert!(!link.say(1), "and nothing more comes on top of it");
        link.written(2 * FAR_BEHIND);
        assert!(link.say(BEHIND_AND_STALLED + 1));
        link.note_halt(true);
        assert!(link.say(1), "not at once");
        std::thread::sleep(STALLED + Duration::from_millis(10));
        assert!(!link.say(1));
        link.note_halt(false);
        assert!(link.say(1));
    }

    #[tokio::test]
    async fn what_is_said_waits_until_it_is_written_or_the_connection_is_cut() {
        let link = link();
        link.written(1 << 20);
        link.say(BEHIND);
        link.when_caught_up().await;
        link.say(10);
        let waits = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.when_caught_up().await }
        });
        tokio::task::yield_now().await;
        link.written(9);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        link.written(1);
        waits.await.expect("caught up");
        link.say(10);
        link.cut();
        link.when_caught_up().await;
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
