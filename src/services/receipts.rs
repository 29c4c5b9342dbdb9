//! Delivered marks: which messages a client of their recipient was handed, written in batches a moment later.
//!
//! "Delivered" may come late or, after a crash, not at all; it is never said of a message nobody was handed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::delivery::{Audience, MessagesDelivered, ServerEvent};
use crate::models::{ConversationHandle, ConversationKey, Message, MessageId, Participant};

use super::messaging::IDS_PER_EVENT;
use super::{Core, batches};

/// Marks waiting to be written; when full further ones are forgotten, and the messages stay `sent` until read.
const QUEUE_LEN: usize = 16_384;
/// The most marks told together.
const BATCH: usize = 8_000;
/// The most marks of one write, so that others come between.
const WRITTEN_AT_ONCE: usize = 1_000;
/// How long marks are collected: one write and one event for many messages, and often the read mark comes first and saves it. Telling a
/// busy sender costs as much as telling him of a message.
const LINGER: Duration = Duration::from_millis(250);

/// One message that was handed over.
struct Mark {
    handle: ConversationHandle,
    id: MessageId,
    sender: Participant,
    recipient: Participant,
}

/// Takes note of deliveries. Cheap to clone.
#[derive(Clone)]
pub(super) struct Receipts(mpsc::Sender<Mark>);

impl Receipts {
    /// Starts the task that writes and tells.
    pub fn start(core: &Arc<Core>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LEN);
        core.tasks.spawn(write_marks(core.clone(), receiver));
        Self(sender)
    }

    /// Takes note that a client of the recipient was handed `message`.
    pub fn delivered_message(&self, handle: &ConversationHandle, message: &Message) {
        self.delivered(handle.clone(), message.id, message.sender.identity(), message.recipient.identity());
    }

    /// The same of a message another node has sent.
    pub fn delivered(&self, handle: ConversationHandle, id: MessageId, sender: Participant, recipient: Participant) {
        let mark = Mark { handle, id, sender, recipient };
        if self.0.try_send(mark).is_err() {
            debug!("delivered marks are dropped: the queue is full or closed");
        }
    }
}

async fn write_marks(core: Arc<Core>, mut receiver: mpsc::Receiver<Mark>) {
    loop {
        let marks = batches::next(&core, &mut receiver, BATCH, LINGER).await;
        if marks.is_empty() {
            return;
        }
        write_batch(&core, marks).await;
    }
}

async fn write_batch(core: &Core, marks: Vec<Mark>) {
    let at = core.now();
    let mut changed: HashSet<MessageId> = HashSet::with_capacity(marks.len());
    for (written, some) in marks.chunks(WRITTEN_AT_ONCE).enumerate() {
        let asked: Vec<_> = some.iter().map(|m| (m.handle.clone(), m.id)).collect();
        match core.store.mark_delivered(&asked, at).await {
            Ok(ids) => changed.extend(ids),
            // Not repeated: reading or the next history page says the same later.
            Err(e) => {
                warn!(marks = marks.len() - written * WRITTEN_AT_ONCE, "delivered marks were not stored: {e}");
                break;
            }
        }
    }
    let mut by_pair: HashMap<(ConversationKey, Participant, Participant), Vec<MessageId>> = HashMap::new();
    for mark in marks.into_iter().filter(|m| changed.contains(&m.id)) {
        by_pair.entry((mark.handle.key, mark.sender, mark.recipient)).or_default().push(mark.id);
    }
    for ((conversation, sender, recipient), message_ids) in by_pair {
        for message_ids in message_ids.chunks(IDS_PER_EVENT) {
            let (message_ids, delivered_to) = (message_ids.to_vec(), recipient.id().to_owned());
            let event = ServerEvent::MessagesDelivered(MessagesDelivered { message_ids, delivered_to, delivered_at: at });
            core.delivery.emit(&Audience::people([sender.clone()]).about(&conversation), &event);
        }
    }
}
