//! Paging and catching up: what was said, oldest first, as far as the asker may see it.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::{Conversation, ConversationId, Membership, Message, MessageId, Timestamp};
use crate::store::{Change, Lookup, MAX_PAGE, MessageQuery, Messages, Range, Which};

use super::conversations::Named;
use super::limits::Limited;
use super::messaging::Messaging;
use super::permissions::Operation;

/// The largest page of history. Source: docs/protocol.md#limits.
pub const MAX_HISTORY_PAGE: usize = 100;
/// Where counting a conversation stops.
pub const COUNT_CAP: u64 = 10_000;
/// How long a count serves those who go on by cursor.
const TOTALS_KEPT: Duration = Duration::from_secs(10);
/// How many counts are kept.
const MOST_TOTALS: u64 = 10_000;
/// How many of the newest messages are looked through for changes.
const CHANGES_AMONG: usize = 1_000;

/// Which page of history.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// From 1, counted from the newest.
    pub page: u64,
    /// 1 to [`MAX_HISTORY_PAGE`].
    pub limit: usize,
    /// Only messages older than this one; the page number is ignored then.
    pub before: Option<MessageId>,
    /// Only messages newer than this one; the page number is ignored then.
    pub after: Option<MessageId>,
    /// What asking does to the messages.
    pub reading: Reading,
}

/// What asking for history does to the messages addressed to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing.
    Looks,
    /// Those handed over become delivered.
    Receives,
    /// As `Receives`, and the first page marks everything as read.
    Reads,
}

/// A page of history.
pub struct History {
    /// The conversation; none if nobody opened it yet.
    pub conversation: Option<Arc<Membership>>,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// All the asker may see, counted no further than [`COUNT_CAP`].
    pub total: u64,
    /// Whether there are more in the direction asked for.
    pub has_more: bool,
    /// What the asker has left to read; 0 for [`Reading::Looks`].
    pub unread: u32,
}

/// What a client missed.
pub struct CatchUp {
    /// Oldest first; newer than the cursor, but for what may have been stored late.
    pub messages: Vec<Message>,
    /// Whether there are more.
    pub has_more: bool,
    /// The newest message this reaches, or the one asked for where there is none: the next `after`.
    pub cursor: Option<MessageId>,
    /// What changed of messages the client has, if it asked.
    pub changes: Option<Vec<Change>>,
    /// Use it as `since` next time.
    pub server_time: Timestamp,
}

impl CatchUp {
    /// Nothing was missed.
    pub fn nothing() -> Self {
        Self { messages: Vec::new(), has_more: false, cursor: None, changes: None, server_time: Timestamp::now() }
    }
}

/// Counts of what somebody may see of a conversation, by his name in it.
pub(super) type Totals = Cache<(ConversationId, String), u64>;

/// None yet.
pub(super) fn no_totals() -> Totals {
    Cache::builder().max_capacity(MOST_TOTALS).time_to_live(TOTALS_KEPT).build()
}

impl Messaging {
    /// One page of a conversation. The first page asked by a participant marks everything addressed to him as read, if asked to.
    ///
    /// Errors: `CONVERSATION_NOT_FOUND`, `MESSAGE_NOT_FOUND` (cursor). Source: docs/protocol.md#dm-history.
    pub async fn history(&self, user: &CurrentUser, conversation: &str, ask: &HistoryRequest) -> Result<History> {
        self.conversations.guard.limits.count(user, Limited::History)?;
        let known = match self.conversations.access(user, conversation, Operation::Read).await?.0 {
            Named::Known(known) => known,
            Named::NotOpened(_) => {
                return Ok(History { conversation: None, messages: Vec::new(), total: 0, has_more: false, unread: 0 });
            }
            Named::Foreign(_) | Named::Unknown(_) => return Err(Error::ConversationNotFound),
        };
        let is_newest = ask.page <= 1 && ask.before.is_none() && ask.after.is_none();
        let unread = match ask.reading {
            // Nobody is told.
            Reading::Looks => 0,
            Reading::Reads if is_newest => self.mark_known_read(user, &known, Which::AllUnread).await?.unread,
            Reading::Reads | Reading::Receives => self.current(&known).await?.unread_of(user.participant()),
        };
        let range = match (ask.before, ask.after) {
            (Some(id), _) => Range::Before(id),
            (None, Some(id)) => Range::After(id),
            (None, None) => Range::Latest { skip: ask.page.saturating_sub(1).saturating_mul(ask.limit as u64) },
        };
        let query = self.query(user, &known, range, ask.limit.clamp(1, MAX_HISTORY_PAGE));
        let viewer = query.viewer.clone();
        let range = query.range;
        let mut page = self.core.store.messages(query).await?;
        let total = self.total(&known, viewer, range, &page).await?;
        page.items.iter_mut().for_each(|message| self.attachments.show(message));
        if ask.reading != Reading::Looks {
            self.note_handed_over(user, &known, &page.items);
        }
        Ok(History { conversation: Some(known), messages: page.items, total, has_more: page.has_more, unread })
    }

    /// How many messages the asker may see. The oldest page says it itself, to others what is older than the page is added; whoever goes on
    /// by cursor sees what was counted for the page before for a moment longer.
    async fn total(&self, known: &Membership, viewer: String, range: Range, page: &Messages) -> Result<u64> {
        let counted = (known.handle.id, viewer);
        let (mut before, mut counted_already) = (None, 0);
        match range {
            Range::Latest { skip } if skip == 0 || !page.items.is_empty() => {
                let newer = skip.saturating_add(page.items.len() as u64);
                if !page.has_more {
                    return Ok(newer.min(COUNT_CAP));
                }
                before = page.items.first().map(|oldest| oldest.id);
                counted_already = newer.min(COUNT_CAP);
            }
            Range::Before(_) | Range::After(_) => {
                if let Some(total) = self.totals.get(&counted) {
                    return Ok(total);
                }
            }
            Range::Latest { .. } => {}
        }
        let rest = self.core.store.count_messages(&known.handle, &counted.1, before, COUNT_CAP - counted_already).await?;
        let total = counted_already + rest;
        self.totals.insert(counted, total);
        Ok(total)
    }

    /// What was said after a message, or the newest `limit` messages; and what changed since a time.
    ///
    /// Errors: `CONVERSATION_NOT_FOUND`, `MESSAGE_NOT_FOUND` for an unknown cursor. Source: docs/protocol.md#dm-sync.
    pub async fn catch_up(
        &self,
        user: &CurrentUser,
        conversation: &str,
        after: Option<MessageId>,
        limit: usize,
        since: Option<Timestamp>,
    ) -> Result<CatchUp> {
        // Taken before reading, so that a change in between is told again rather than never.
        let server_time = self.core.now();
        self.conversations.guard.limits.count(user, Limited::Joins)?;
        let known = match self.conversations.access(user, conversation, Operation::Read).await?.0 {
            Named::Known(known) => known,
            Named::NotOpened(_) => {
                return match after {
                    Some(_) => Err(Error::MessageNotFound),
                    None => {
                        Ok(CatchUp { messages: Vec::new(), has_more: false, cursor: None, changes: since.map(|_| Vec::new()), server_time })
                    }
                };
            }
            Named::Foreign(_) | Named::Unknown(_) => return Err(Error::ConversationNotFound),
        };
        let range = after.map_or(Range::Latest { skip: 0 }, Range::After);
        let query = self.query(user, &known, range, limit.clamp(1, MAX_PAGE));
        let viewer = query.viewer.clone();
        let mut page = self.core.store.messages(query).await?;
        page.items.iter_mut().for_each(|message| self.attachments.show(message));
        let changes = match since {
            Some(since) => Some(self.core.store.changes_since(&known.handle, &viewer, since, CHANGES_AMONG).await?),
            None => None,
        };
        self.note_handed_over(user, &known, &page.items);
        let cursor = page.items.get(page.late..).and_then(|newer| newer.last()).map_or(after, |newest| Some(newest.id));
        Ok(CatchUp { messages: page.items, has_more: page.has_more, cursor, changes, server_time })
    }

    fn query(&self, user: &CurrentUser, known: &Membership, range: Range, limit: usize) -> MessageQuery {
        MessageQuery { conversation: known.handle.clone(), viewer: known.person_key(user.participant()), range, limit }
    }

    async fn current(&self, known: &Membership) -> Result<Conversation> {
        self.core.store.find_conversation(&Lookup::Id(known.handle.id)).await?.ok_or(Error::ConversationNotFound)
    }

    /// History hands messages over as much as an event does.
    fn note_handed_over(&self, user: &CurrentUser, known: &Membership, messages: &[Message]) {
        let handed =
            messages.iter().filter(|m| m.status == crate::models::MessageStatus::Sent && m.recipient.is_same_identity(user.participant()));
        handed.for_each(|m| self.receipts.delivered_message(&known.handle, m));
    }
}
