//! One socket of a chat run: sends if it is a sender, hears everything, and writes it all into its record.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc::UnboundedReceiver, watch};

use crate::client_ids::{ClientIds, now_ms};
use crate::histogram::Histogram;
use crate::ledger::{Note, Record};
use crate::session::Session;
use crate::stage::{Progress, Window};
use crate::wire::{self, Frame};

/// What all seats of a run share.
pub struct Hall {
    pub run: u32,
    pub begun: Instant,
    pub window: Window,
    /// Sockets of a pair that hear a message: two, or the peer alone.
    pub listeners: u64,
    pub client_ids: Option<ClientIds>,
    pub progress: Progress,
    /// Arrivals within the window.
    pub acked_in_window: AtomicU64,
    pub heard_in_window: AtomicU64,
    /// From the intended moment, for sends whose intended moment lies in the window.
    pub to_ack: Histogram,
    pub to_peer: Histogram,
    pub to_sender: Histogram,
    /// How late the generator itself was: from the intended moment to the write.
    pub late: Histogram,
}

/// What a sender needs to build a frame.
pub struct Script {
    /// The frame from after the ack id to the opening quote of the content.
    pub head: String,
    /// What follows the note up to the wished size of the content.
    pub padding: String,
}

/// One socket, past its join.
pub struct Seat {
    pub session: Session,
    pub hall: Arc<Hall>,
    pub record: Record,
    /// `None` for a socket that only listens.
    pub script: Option<Script>,
    pub waiting: Waiting,
}

impl Seat {
    /// Runs until told to stop or disconnected. With `due` it sends when told; otherwise it keeps `outstanding` sends under way.
    pub async fn run(mut self, outstanding: u32, mut due: Option<UnboundedReceiver<Instant>>, mut stop: watch::Receiver<bool>) -> Record {
        if self.script.is_some() && due.is_none() {
            for _ in 0..outstanding {
                self.send(Instant::now()).await;
            }
        }
        while !self.record.disconnected {
            if self.session.flush().await.is_err() {
                self.record.disconnected = true;
                break;
            }
            tokio::select! {
                _ = stop.changed() => break,
                Some(meant) = next_due(&mut due) => {
                    self.send(meant).await;
                    while let Some(meant) = due.as_mut().and_then(|due| due.try_recv().ok()) {
                        self.send(meant).await;
                    }
                }
                text = self.session.next() => match text {
                    None => self.record.disconnected = true,
                    Some(text) => {
                        self.take(&text, due.is_none()).await;
                        while let Some(text) = self.session.next_ready() {
                            self.take(&text, due.is_none()).await;
                        }
                    }
                },
            }
        }
        self.record
    }

    async fn send(&mut self, meant: Instant) {
        let Some(script) = &self.script else { return };
        if meant >= self.hall.window.closes {
            return;
        }
        self.record.sent += 1;
        let number = self.record.sent;
        let mut frame = String::with_capacity(script.head.len() + script.padding.len() + 160);
        let meant_us = meant.duration_since(self.hall.begun).as_micros();
        // Writing into a String cannot fail.
        let _ =
            write!(frame, "42{number}{}{:x}.{}.{}.{number}.{meant_us}.", script.head, self.hall.run, self.record.pair, self.record.side);
        frame.push_str(&script.padding);
        if let Some(kind) = self.hall.client_ids {
            let place = u64::from(self.record.pair) << 1 | self.record.side as u64;
            let _ = write!(frame, "\",\"clientMessageId\":\"{}", kind.make(now_ms(), self.hall.run, place, number));
        }
        frame.push_str("\"}]");
        self.waiting.push(meant);
        self.hall.progress.sent.fetch_add(1, Relaxed);
        if self.session.feed(frame).await.is_err() {
            self.record.disconnected = true;
        }
        if self.hall.window.contains(meant) {
            self.hall.late.record(meant.elapsed());
        }
    }

    async fn take(&mut self, text: &str, send_on_answer: bool) {
        match wire::read(text) {
            Frame::Ack { id, body } => {
                let was_waiting = self.answered(id, body);
                if was_waiting && send_on_answer {
                    self.send(Instant::now()).await;
                }
            }
            Frame::Event { name: "dm:message_received", body } => self.heard(body),
            Frame::Event { name: "dm:new_message", body } => self.previewed(body),
            Frame::Closed => self.record.disconnected = true,
            _ => {}
        }
    }

    /// Notes an ack; false when it answers nothing that was waiting.
    fn answered(&mut self, number: u64, body: &str) -> bool {
        let Some(meant) = self.waiting.take(number) else { return false };
        let (now, hall) = (Instant::now(), &self.hall);
        hall.progress.answered.fetch_add(1, Relaxed);
        if !wire::is_ok(body) {
            self.record.refused.insert(number);
            *self.record.refusals.entry(wire::code(body).to_owned()).or_default() += 1;
            return true;
        }
        self.record.acked.insert(number);
        hall.progress.promised.fetch_add(hall.listeners, Relaxed);
        if hall.window.contains(now) {
            hall.acked_in_window.fetch_add(1, Relaxed);
        }
        if hall.window.contains(meant) {
            hall.to_ack.record(now - meant);
        }
        true
    }

    fn heard(&mut self, body: &str) {
        let Some((note, id)) = self.read_message(body) else {
            self.record.strangers += 1;
            return;
        };
        if !self.record.listens || !self.record.hear(note, id) {
            return;
        }
        let (now, hall) = (Instant::now(), &self.hall);
        let from_peer = note.side != self.record.side;
        hall.progress.heard.fetch_add(1, Relaxed);
        if from_peer && hall.window.contains(now) {
            hall.heard_in_window.fetch_add(1, Relaxed);
        }
        let meant = hall.begun + Duration::from_micros(note.meant_us);
        if hall.window.contains(meant) {
            let latency = if from_peer { &hall.to_peer } else { &hall.to_sender };
            latency.record(now.saturating_duration_since(meant));
        }
    }

    /// `dm:new_message` goes to sockets outside the conversation: here it can only be another pair's, of an identity that is shared.
    fn previewed(&mut self, body: &str) {
        match self.read_message(body) {
            Some(_) => self.record.doubled += 1,
            None => self.record.previews += 1,
        }
    }

    /// The note and `_id` of a message of this pair.
    fn read_message<'a>(&self, body: &'a str) -> Option<(Note, &'a str)> {
        let note = Note::read(wire::text_after(body, "\"content\":\"")?, self.hall.run)?;
        let id = wire::text_after(body, "\"_id\":\"")?;
        (note.pair == self.record.pair).then_some((note, id))
    }
}

/// Intended moments by number, for sends not answered yet.
#[derive(Default)]
pub struct Waiting {
    moments: std::collections::VecDeque<Option<Instant>>,
    /// Numbers below the first entry are all answered.
    below: u64,
}

impl Waiting {
    fn push(&mut self, meant: Instant) {
        self.moments.push_back(Some(meant));
    }

    fn take(&mut self, number: u64) -> Option<Instant> {
        let place = number.checked_sub(self.below + 1)?;
        let meant = self.moments.get_mut(usize::try_from(place).ok()?)?.take();
        while matches!(self.moments.front(), Some(None)) {
            self.moments.pop_front();
            self.below += 1;
        }
        meant
    }
}

async fn next_due(due: &mut Option<UnboundedReceiver<Instant>>) -> Option<Instant> {
    match due {
        Some(due) => due.recv().await,
        None => std::future::pending().await,
    }
}
