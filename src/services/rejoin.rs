//! Who comes back soon gets the rooms of the connection that was dropped, and what was said there meanwhile: the shipped apps never
//! join again by themselves. Source: docs/protocol.md#reconnecting.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tracing::{debug, warn};

use crate::delivery::{Audience, Connection, DroppedRooms, ROOMS_KEPT, ServerEvent};
use crate::error::Result;
use crate::models::{ConversationKey, Message, Timestamp};
use crate::store::{MessageQuery, Range};

use super::messaging::Messaging;

/// The most messages of one room that are told again.
const TOLD_AGAIN: usize = 100;
/// How many conversations are remembered as having said something lately.
const REMEMBERED: u64 = 200_000;

/// In which conversations something was said lately, so that coming back to silent rooms costs no question.
#[derive(Clone)]
pub(super) struct Recent(Cache<ConversationKey, Timestamp>);

impl Recent {
    pub fn new() -> Self {
        // Longer than rooms are kept, by more than a client may have been deaf before.
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(ROOMS_KEPT + Duration::from_secs(120)).build())
    }

    /// Something was said.
    pub fn note(&self, message: &Message) {
        self.0.insert(message.conversation_key.clone(), message.created_at);
    }

    /// False only if certainly nothing was said since then.
    fn may_have_spoken(&self, conversation: &ConversationKey, since: Timestamp) -> bool {
        let forgets = self.0.entry_count() >= REMEMBERED;
        self.0.get(conversation).map_or(forgets, |last| last >= since)
    }
}

impl Messaging {
    /// Gives a new connection the rooms its identity lost with the last one, and tells it what it missed there.
    pub(super) fn give_back_rooms(&self, connection: &Arc<Connection>) {
        let Some(DroppedRooms { rooms, unheard_since }) = self.core.delivery.dropped_rooms(connection.identity()) else { return };
        debug!(connection.id = %connection.id(), rooms = rooms.len(), "a client gets its rooms back");
        for (key, spelling) in rooms {
            if self.recent.may_have_spoken(&key, unheard_since) {
                let (this, connection) = (self.clone(), Arc::clone(connection));
                self.core.tasks.spawn(async move {
                    if let Err(e) = this.tell_again(&connection, &key, &spelling, unheard_since).await {
                        // It still hears what is said from now on, and may ask for the rest itself.
                        warn!(connection.id = %connection.id(), "what was missed is not told again: {e}");
                        this.sit(&connection, &key, &spelling);
                    }
                });
            } else {
                self.sit(connection, &key, &spelling);
            }
        }
    }

    fn sit(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &str) {
        // Whoever has joined by himself meanwhile keeps his own spelling.
        if self.core.delivery.spelling_of(connection, key).is_none() && !self.core.delivery.join(connection, key, spelling) {
            debug!(connection.id = %connection.id(), "there are too many rooms to get them all back");
        }
    }

    /// In the order of the conversation: what was said before is told before, and what is said next is heard after it.
    async fn tell_again(&self, connection: &Arc<Connection>, key: &ConversationKey, spelling: &Arc<str>, since: Timestamp) -> Result<()> {
        let Some(known) = self.conversations.find_known(connection.identity(), key).await? else {
            self.sit(connection, key, spelling);
            return Ok(());
        };
        let query = MessageQuery {
            conversation: known.handle.clone(),
            viewer: known.person_key(connection.identity()),
            range: Range::Latest { skip: 0 },
            limit: TOLD_AGAIN,
        };
        let (store, this) = (Arc::clone(&self.core.store), self.clone());
        let (connection, key, spelling) = (Arc::clone(connection), key.clone(), Arc::clone(spelling));
        let told = self.lanes.enqueue(
            &known.handle.key.clone(),
            move || Box::pin(async move { store.messages(query).await }),
            move |page| {
                let audience = Audience::connection(connection.id()).about(&key).called(Some(&spelling));
                let missed = page.items.into_iter().filter(|m| m.created_at >= since && !is_shown(&connection, m));
                for message in missed {
                    let message = Arc::new(message);
                    let for_it = message.recipient.is_same_identity(connection.identity());
                    let reached = this.core.delivery.emit(&audience, &ServerEvent::MessageReceived(Arc::clone(&message)));
                    if for_it && reached.count() > 0 {
                        this.receipts.delivered(&known.handle, &message);
                    }
                }
                this.sit(&connection, &key, &spelling);
            },
        )?;
        told.await
    }
}

/// Whether the client shows this message already.
fn is_shown(connection: &Connection, message: &Message) -> bool {
    connection.shows_own_messages() && message.sender.is_same_identity(connection.identity())
}
