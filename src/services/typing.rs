//! Typing indicators: relayed at most every two seconds, and always ended by the server, because the shipped app never does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::CurrentUser;
use crate::delivery::{Audience, Connection, ConnectionId, ServerEvent, Typing};
use crate::error::Result;
use crate::models::{ConversationKey, Participant};

use super::Core;
use super::conversations::Named;
use super::limits::Limited;
use super::permissions::{Answer, Operation};

/// How long after the last start the stop is sent. Source: docs/protocol.md#typing.
pub const EXPIRES_AFTER: Duration = Duration::from_secs(5);
/// The shortest time between two starts that are passed on, per socket and conversation.
pub const RELAY_EVERY: Duration = Duration::from_secs(2);

/// Who is typing where. Cheap to clone.
#[derive(Clone)]
pub struct TypingIndicators {
    core: Arc<Core>,
    // std Mutex: never held across an await.
    active: Arc<Mutex<HashMap<(ConnectionId, ConversationKey), Indicator>>>,
}

struct Indicator {
    person: Participant,
    typing: Typing,
    relayed_at: Instant,
    expires_at: Instant,
    /// Tells this indicator from a later one in the same place, so that each task ends with its own.
    generation: u64,
}

impl TypingIndicators {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, active: Arc::default() }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<(ConnectionId, ConversationKey), Indicator>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others in the room that `user` types. The caller has checked that he takes part.
    pub fn start(&self, user: &CurrentUser, connection: &Connection, conversation: &ConversationKey) {
        let now = Instant::now();
        let place = (connection.id(), conversation.clone());
        let typing = {
            let mut active = self.active();
            if let Some(indicator) = active.get_mut(&place) {
                indicator.expires_at = now + EXPIRES_AFTER;
                if now < indicator.relayed_at + RELAY_EVERY {
                    return;
                }
                indicator.relayed_at = now;
                indicator.typing.clone()
            } else {
                let typing =
                    Typing { user_id: user.participant().id().to_owned(), user_type: user.kind(), user_name: user.profile().name.clone() };
                static GENERATIONS: AtomicU64 = AtomicU64::new(0);
                let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
                let indicator = Indicator {
                    person: user.identity(),
                    typing: typing.clone(),
                    relayed_at: now,
                    expires_at: now + EXPIRES_AFTER,
                    generation,
                };
                active.insert(place.clone(), indicator);
                self.expire(place, generation);
                typing
            }
        };
        let audience = Audience::room(conversation).except_person(&user.identity());
        self.core.delivery.emit(&audience, &ServerEvent::TypingStarted(typing));
    }

    /// Tells the others that this connection stopped typing; silent if it was not typing.
    pub fn stop(&self, connection: ConnectionId, conversation: &ConversationKey) {
        let stopped = self.active().remove(&(connection, conversation.clone()));
        if let Some(indicator) = stopped {
            self.tell_stopped(conversation, indicator);
        }
    }

    /// Ends everything a connection was typing.
    pub fn stop_all(&self, connection: ConnectionId) {
        let stopped: Vec<_> = self.active().extract_if(|(id, _), _| *id == connection).collect();
        for ((_, conversation), indicator) in stopped {
            self.tell_stopped(&conversation, indicator);
        }
    }

    fn tell_stopped(&self, conversation: &ConversationKey, indicator: Indicator) {
        let audience = Audience::room(conversation).except_person(&indicator.person);
        self.core.delivery.emit(&audience, &ServerEvent::TypingStopped(indicator.typing));
    }

    /// One task per indicator, which ends with it.
    fn expire(&self, place: (ConnectionId, ConversationKey), generation: u64) {
        let this = self.clone();
        self.core.tasks.spawn(async move {
            loop {
                let mine = this.active().get(&place).filter(|i| i.generation == generation).map(|i| i.expires_at);
                let Some(expires_at) = mine else { return };
                if expires_at <= Instant::now() {
                    return this.stop(place.0, &place.1);
                }
                tokio::select! {
                    () = tokio::time::sleep_until(expires_at) => {}
                    () = this.core.stop.cancelled() => return,
                }
            }
        });
    }
}

impl super::Services {
    /// Starts or stops typing in the conversation `text` names. Silent where the asker takes no part or nobody opened it yet.
    pub async fn set_typing(&self, user: &CurrentUser, connection: &Connection, text: &str, typing: bool) -> Result<()> {
        // A refusal would show up as an error while somebody types; what is left out, the expiry makes good.
        if self.guard().limits.count(user, Limited::Typing).is_err() {
            return Ok(());
        }
        let (named, answer) = self.conversations().access(user, text, Operation::Type).await?;
        if let (Named::Known(known), Answer::Yes) = (named, answer) {
            if typing {
                self.typing().start(user, connection, known.key());
            } else {
                self.typing().stop(connection.id(), known.key());
            }
        }
        Ok(())
    }
}
