//! Open loop: a thread that hands out sends at a fixed rate, whether or not earlier ones were answered.
//!
//! A thread of its own, because tokio's timers are a millisecond coarse and the latencies measured from here are shorter than that.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

/// Sends each intended moment to the next sender in turn, from now until `closes`. The queues are as long as the server is late:
/// that is what an open loop measures, and the window bounds it.
pub fn start(senders: Vec<UnboundedSender<Instant>>, per_second: f64, closes: Instant) -> JoinHandle<()> {
    let begun = Instant::now();
    thread::spawn(move || {
        for (count, sender) in senders.iter().cycle().enumerate() {
            let due = begun + Duration::from_secs_f64(count as f64 / per_second);
            if due >= closes {
                return;
            }
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            // A closed queue is a socket that was disconnected; its record says so.
            let _ = sender.send(due);
        }
    })
}
