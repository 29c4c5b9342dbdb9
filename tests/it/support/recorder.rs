//! A connection that writes down what it is handed, for tests of the rules without a socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use samvad::delivery::{Connection, Delivery, Origin, Outlet, Undelivered};
use samvad::models::Participant;
use serde_json::Value;
use serde_json::value::RawValue;

/// What one recorded connection heard.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    events: Mutex<Vec<(String, Value)>>,
    full: AtomicBool,
    closed: AtomicBool,
}

impl Recorder {
    /// A connection of this person, already in its personal room.
    pub fn connect(delivery: &Delivery, person: &Participant) -> (Arc<Connection>, Self) {
        let (connection, recorder) = Self::connection(person, Origin::default());
        delivery.connect(&connection);
        (connection, recorder)
    }

    /// A connection of this person from there, which nobody knows yet.
    pub fn connection(person: &Participant, origin: Origin) -> (Arc<Connection>, Self) {
        let recorder = Self::default();
        let connection = Arc::new(Connection::new(person.clone(), origin, Box::new(recorder.clone())));
        (connection, recorder)
    }

    /// Takes what was heard so far.
    pub fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.0.events.lock().expect("not poisoned"))
    }

    /// The names of what was heard so far.
    pub fn names(&self) -> Vec<String> {
        self.take().into_iter().map(|(name, _)| name).collect()
    }

    /// From now on the buffer is full.
    pub fn stop_reading(&self) {
        self.0.full.store(true, Ordering::SeqCst);
    }

    /// Whether it was cut.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }
}

impl Outlet for Recorder {
    fn send(&self, event: &str, payload: &RawValue) -> Result<(), Undelivered> {
        if self.0.full.load(Ordering::SeqCst) {
            return Err(Undelivered::Full);
        }
        let payload = serde_json::from_str(payload.get()).expect("JSON");
        self.0.events.lock().expect("not poisoned").push((event.to_owned(), payload));
        Ok(())
    }

    fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }
}
