//! Sending, reading and deleting messages: durable first, heard second.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tracing::{debug, info};

use crate::auth::CurrentUser;
use crate::delivery::{Audience, Connection, ConnectionId, Mark, MessageDeleted, MessagesRead, ServerEvent};
use crate::error::{Error, Result};
use crate::models::media::MediaId;
use crate::models::message::{CallLog, Media, NewMessage};
use crate::models::{Call, ConversationKey, Membership, Message, MessageId, MessageType, Profile, ToldMessage};
use crate::store::{DeleteMessage, MarkRead, Pending, ReadMarks, Sent, Which};
use crate::traces;

use super::Core;
use super::addressing::{Addressed, Recipient};
use super::attachments::Attachments;
use super::content::Content;
use super::conversations::{Conversations, Named, message_id};
use super::history::{self, Totals};
use super::limits::Limited;
use super::nodes::Note;
use super::ordered::OrderedLanes;
use super::permissions::{Operation, Standing};
use super::push::Push;
use super::receipts::Receipts;
use super::rejoin::{self, Recent, Rejoin};
use super::typing::TypingIndicators;

/// The most message ids of one `dm:messages_read` or `dm:messages_delivered`, so that no packet outgrows a client's limit.
pub(super) const IDS_PER_EVENT: usize = 1_000;

/// What the `clientMessageId` of a call log begins with; clients cannot use such ids.
pub const CALL_LOG_ID: &str = "call_log:";

/// Sends, reads and deletes. Cheap to clone: one count, where counting up all it works with showed in profiles.
#[derive(Clone)]
pub struct Messaging(Arc<Parts>);

/// What messaging works with.
pub struct Parts {
    pub(super) core: Arc<Core>,
    pub(super) conversations: Conversations,
    pub(super) attachments: Attachments,
    pub(super) receipts: Receipts,
    typing: TypingIndicators,
    pub(super) lanes: OrderedLanes,
    pub(super) recent: Recent,
    pub(super) rejoin: Rejoin,
    pub(super) totals: Totals,
    push: Push,
}

impl Deref for Messaging {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// A request to send.
pub struct SendMessage {
    /// The conversation as the client names it; may be missing when there is a recipient.
    pub conversation: Option<String>,
    /// Whom to; may be missing in a conversation of two.
    pub recipient: Recipient,
    /// What.
    pub content: Content,
    /// Message of the same conversation it answers.
    pub reply_to: Option<MessageId>,
    /// The sender's own id for it, at most 64 characters.
    pub client_message_id: Option<String>,
    /// The socket it came from; none for REST.
    pub from: Option<Arc<Connection>>,
}

/// What became of a send.
pub struct SentMessage {
    /// The stored message.
    pub message: Arc<ToldMessage>,
    /// False if it had been sent before.
    pub fresh: bool,
    /// What the sender calls the conversation.
    pub spelling: String,
}

/// What became of reading.
pub struct ReadMessages {
    /// Messages that were unread until now, oldest first.
    pub message_ids: Vec<MessageId>,
    /// What is left to read.
    pub unread: u32,
}

/// For whom a message is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteScope {
    /// Only the asker.
    Me,
    /// Everybody.
    Everyone,
}

impl DeleteScope {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::Everyone => "everyone",
        }
    }
}

impl Messaging {
    pub(super) fn start(
        core: Arc<Core>,
        conversations: Conversations,
        attachments: Attachments,
        typing: TypingIndicators,
        push: Push,
    ) -> Self {
        let lanes = OrderedLanes::start(&core);
        let (rejoin, returning) = Rejoin::new(&core);
        let (receipts, totals) = (Receipts::start(&core), history::no_totals());
        let recent = Recent::new();
        let this = Self(Arc::new(Parts { core, conversations, attachments, receipts, typing, lanes, recent, rejoin, totals, push }));
        rejoin::start(&this, returning);
        this
    }

    /// Checks a message and takes its place in the order of the conversation; the result comes when it is stored and emitted.
    ///
    /// Two steps, so that a client may have several sends on the way and still keep their order.
    /// Errors: `CONVERSATION_NOT_FOUND`, `MESSAGE_NOT_FOUND` (reply), `FORBIDDEN`, `SELF_CONVERSATION_BLOCKED`, `INVALID_PAYLOAD`; later
    /// `CONFLICT`, `OVERLOADED`, `UNAVAILABLE`. Source: docs/protocol.md#dm-send_message.
    pub async fn send_message(&self, user: &CurrentUser, send: SendMessage) -> Result<Pending<SentMessage>> {
        self.send_message_then(user, send, |sent| sent).await
    }

    /// The same; `then` runs right after the message was told, before anything that is stored after it is told. It must not wait.
    pub async fn send_message_then<T: Send + 'static>(
        &self,
        user: &CurrentUser,
        send: SendMessage,
        then: impl FnOnce(SentMessage) -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        let begun = self.begin_send(user, send, then).await;
        // What comes later is counted where it is stored: whoever asked may have gone by then.
        begun.inspect_err(|refused| self.core.metrics.messages.with_label_values(&[refused.code()]).inc())
    }

    async fn begin_send<T: Send + 'static>(
        &self,
        user: &CurrentUser,
        send: SendMessage,
        then: impl FnOnce(SentMessage) -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        self.conversations.guard.limits.count(user, Limited::Messages)?;
        send.content.require_media_from(&self.core.rules.media_hosts)?;
        let Addressed { known, recipient, called } = self.address(user, &send).await?;
        traces::note_conversation(known.key());
        if let Some(reply_to) = send.reply_to {
            let answered = self.core.store.find_message(reply_to).await?;
            answered.filter(|m| m.conversation_key == *known.key()).ok_or(Error::MessageNotFound)?;
        }
        self.conversations.refresh_profile(user, &known).await?;

        let attachment = send.content.attachment();
        let (mut message_type, content, mut media) = send.content.into_parts();
        if let Some(id) = attachment {
            (message_type, media) = self.attachments.attach(user, &known, id, media).await?;
        }
        let new = NewMessage {
            conversation: known.handle.clone(),
            sender: user.participant().clone(),
            sender_profile: sender_profile(user, &known),
            recipient_key: known.person_key(&recipient),
            recipient,
            message_type,
            content,
            media,
            reply_to: send.reply_to,
            call: None,
            client_message_id: send.client_message_id,
            at: self.core.now(),
        };
        let this = self.clone();
        let from = send.from;
        let mut is_asked = false;
        let pending = self.lanes.enqueue(
            &known.handle.key.clone(),
            || {
                is_asked = true;
                self.append(new, attachment)
            },
            move |mut sent| {
                this.attachments.show(&mut sent.message);
                let message = Arc::new(ToldMessage::new(sent.message));
                let inside = from.as_ref().and_then(|c| this.core.delivery.spelling_of(c, known.key()));
                let spelling = inside.map(|s| s.to_string()).or(called).unwrap_or_else(|| known.key().as_str().to_owned());
                if sent.fresh {
                    this.recent.note_told(message.id);
                    // Not info: at thousands a second the lines would cost too much. `samvad_messages_total` counts them.
                    debug!(message.id = %message.id, conversation.key = %known.key(), participant = %message.sender, "a message was sent");
                }
                if sent.fresh || sent.maybe_unheard {
                    this.tell(&known, &message, from.as_deref(), &spelling);
                }
                then(SentMessage { message, fresh: sent.fresh, spelling })
            },
        );
        if let (false, Some(id)) = (is_asked, attachment) {
            self.attachments.detach(id);
        }
        pending
    }

    /// Stores a message. Who comes back asks for what was stored in doubt, too.
    fn append(&self, new: NewMessage, attachment: Option<MediaId>) -> Pending<Sent> {
        let (this, key, at) = (self.clone(), new.conversation.key.clone(), new.at);
        let (queued, span) = (Instant::now(), traces::commit("commit message"));
        let sending = self.core.store.send_message(new);
        Box::pin(sending.inspect(move |outcome| {
            this.core.metrics.send_commit_seconds.observe(queued.elapsed().as_secs_f64());
            let word = match outcome {
                Ok(sent) if sent.fresh => "stored",
                Ok(_) => "repeated",
                Err(e) => e.code(),
            };
            this.core.metrics.messages.with_label_values(&[word]).inc();
            traces::end(&span, word, outcome.as_ref().is_err_and(Error::is_our_fault));
            if outcome.as_ref().is_err_and(Error::is_retryable) {
                this.recent.note_at(&key, at);
            }
            // Whatever is in doubt may have been stored, or is repeated: then the file belongs to it.
            let is_refused = |e: &Error| !e.is_retryable() && !e.is_our_fault();
            if let Some(id) = attachment
                && outcome.as_ref().is_err_and(is_refused)
            {
                this.attachments.detach(id);
            }
        }))
    }

    /// Emits a stored message: to the room, to the sending socket, and to those connected elsewhere; each socket hears it once.
    fn tell(&self, known: &Membership, message: &Arc<ToldMessage>, from: Option<&Connection>, spelling: &str) {
        let (delivery, key) = (&self.core.delivery, known.key());
        self.recent.note(message);
        let from_id = from.map(Connection::id);
        let silent = from.filter(|c| !c.hears_own_messages()).map(Connection::id);
        let both = [message.recipient.identity(), message.sender.identity()];
        // Room and elsewhere are told apart in one look, or a socket that joins or leaves in between would hear both or neither.
        let [in_room, elsewhere] = delivery.emit_both(
            (&Audience::room(key).except(silent), &ServerEvent::MessageReceived(Arc::clone(message))),
            (&Audience::people(both).outside(key).except(from_id), &ServerEvent::NewMessage(Arc::clone(message))),
            || delivered_elsewhere(known, message),
        );
        if let Some(id) = from_id {
            let audience = Audience::connection(id).about(key).called(Some(spelling));
            delivery.emit(&audience, &ServerEvent::MessageSent(Arc::clone(message)));
            self.typing.stop(id, key);
        }
        if in_room.includes(&message.recipient) || elsewhere.includes(&message.recipient) {
            self.receipts.delivered_message(&known.handle, message);
        }
        self.push.message(message, in_room.includes(&message.recipient));
    }

    /// Stores what a conversation shows of a call that is over, once per call, and emits it to both sides and the room.
    ///
    /// Repeating emits again: whoever asks cannot know whether it was heard.
    pub(super) async fn log_call(&self, call: &Call, content: String, log: CallLog) -> Result<()> {
        let known = self.conversations.of_call(call).await?;
        let new = NewMessage {
            conversation: known.handle.clone(),
            sender: call.caller.clone(),
            sender_profile: call.caller_profile.clone(),
            recipient_key: known.person_key(&call.callee),
            recipient: call.callee.clone(),
            message_type: MessageType::CallLog,
            content,
            media: Media::default(),
            reply_to: None,
            call: Some(log),
            client_message_id: Some(format!("{CALL_LOG_ID}{}", call.id)),
            at: self.core.now(),
        };
        let this = self.clone();
        let logged = self.lanes.enqueue(
            &known.handle.key.clone(),
            || self.append(new, None),
            move |sent| {
                if sent.fresh {
                    this.recent.note_told(sent.message.id);
                }
                let both = [sent.message.sender.identity(), sent.message.recipient.identity()];
                this.recent.note(&sent.message);
                let event = ServerEvent::MessageReceived(Arc::new(ToldMessage::new(sent.message)));
                this.core.delivery.emit(&Audience::room(known.key()).and_people(both), &event);
            },
        )?;
        logged.await
    }

    /// Marks messages addressed to `user` as read and tells both sides.
    ///
    /// Someone else's and unknown ids change nothing.
    /// Errors: `CONVERSATION_NOT_FOUND`. Source: docs/protocol.md#dm-mark_read.
    pub async fn mark_read(&self, user: &CurrentUser, conversation: &str, which: Which) -> Result<ReadMessages> {
        self.conversations.guard.limits.count(user, Limited::Other)?;
        let known = self.conversations.require(user, conversation, Operation::MarkRead).await?;
        self.mark_known_read(user, &known, which).await
    }

    pub(super) async fn mark_known_read(&self, user: &CurrentUser, known: &Membership, which: Which) -> Result<ReadMessages> {
        if !known.is_participant(user.participant()) {
            // An admin who looks at others' conversation has nothing to read there.
            return Ok(ReadMessages { message_ids: Vec::new(), unread: 0 });
        }
        let at = self.core.now();
        let mark = MarkRead {
            conversation: known.handle.clone(),
            reader: user.identity(),
            reader_key: known.person_key(user.participant()),
            which,
            at,
        };
        let ReadMarks { ids, unread } = self.core.store.mark_read(mark).await?;
        self.core.metrics.messages_read.inc_by(ids.len() as u64);
        if !ids.is_empty() {
            // Not info, as above.
            debug!(conversation.key = %known.key(), participant = %user.participant(), messages = ids.len(), "messages were read");
        }
        for message_ids in ids.chunks(IDS_PER_EVENT) {
            let event = ServerEvent::MessagesRead(MessagesRead {
                message_ids: message_ids.to_vec(),
                read_by: user.participant().id().to_owned(),
                read_by_type: user.kind(),
                read_at: at,
            });
            self.core.delivery.emit(&Audience::room(known.key()).and_people(known.identities()), &event);
        }
        Ok(ReadMessages { message_ids: ids, unread })
    }

    /// Deletes a message for the asker, or for everyone if he sent it recently or is an admin.
    ///
    /// Errors: `MESSAGE_NOT_FOUND` where the asker takes no part, `FORBIDDEN` for another's message or after `DELETE_WINDOW`.
    pub async fn delete_message(
        &self,
        user: &CurrentUser,
        message: &str,
        conversation: Option<&str>,
        scope: DeleteScope,
    ) -> Result<MessageId> {
        let id = message_id(message)?;
        let guard = &self.conversations.guard;
        guard.limits.count(user, Limited::Other)?;
        let found = self.core.store.find_message(id).await?.ok_or(Error::MessageNotFound)?;
        let known = match self.conversations.resolve(user.participant(), found.conversation_key.as_str()).await? {
            Named::Known(known) => known,
            _ => return Err(Error::MessageNotFound),
        };
        if let Some(text) = conversation
            && self.conversations.require(user, text, Operation::MarkRead).await?.handle.id != known.handle.id
        {
            return Err(Error::MessageNotFound);
        }
        let operation = match scope {
            DeleteScope::Me => Operation::Hide,
            DeleteScope::Everyone => Operation::Delete,
        };
        let standing = if known.is_participant(user.participant()) { Standing::Party } else { Standing::Admin };
        guard.decide(user, operation, standing, || id.to_string(), Error::MessageNotFound)?;
        let at = self.core.now();
        let delete = DeleteMessage {
            conversation: known.handle.clone(),
            message: id,
            by: known.person_key(user.participant()),
            recipient_key: known.person_key(&found.recipient),
            at,
        };
        let event = ServerEvent::MessageDeleted(MessageDeleted {
            message_id: id,
            scope: scope.as_str(),
            deleted_by: user.participant().id().to_owned(),
            deleted_at: at,
        });
        match scope {
            DeleteScope::Me => {
                self.core.store.hide_message(delete).await?.ok_or(Error::MessageNotFound)?;
                self.core.delivery.emit(&Audience::people([user.identity()]).about(known.key()), &event);
            }
            DeleteScope::Everyone => {
                self.require_may_delete(user, &found)?;
                // Before its message: were it the other way round, a crash between them would keep the file for ever.
                self.attachments.erase(&found).await?;
                self.core.store.delete_message(delete).await?.ok_or(Error::MessageNotFound)?;
                self.core.delivery.emit(&Audience::room(known.key()).and_people(known.identities()), &event);
            }
        }
        info!(message.id = %id, conversation.key = %known.key(), participant = %user.participant(), scope = scope.as_str(), "a message was deleted");
        Ok(id)
    }

    fn require_may_delete(&self, user: &CurrentUser, message: &Message) -> Result<()> {
        if user.is_admin() {
            return Ok(());
        }
        if !message.sender.is_same_identity(user.participant()) {
            return Err(Error::Forbidden("only the sender deletes a message for everyone".into()));
        }
        let window: Duration = self.core.rules.delete_window;
        if self.core.now().since(message.created_at) > window {
            return Err(Error::Forbidden("the time to delete this message for everyone is over".into()));
        }
        Ok(())
    }

    /// Ends what a connection was typing in a conversation it leaves.
    pub fn left(&self, connection: ConnectionId, conversation: &ConversationKey) {
        self.typing.stop(connection, conversation);
    }
}

/// What it means if another node reaches the recipient.
fn delivered_elsewhere(known: &Membership, message: &Message) -> Option<Mark> {
    let recipient = message.recipient.identity();
    let note = Note::Delivered {
        handle: known.handle.clone(),
        message: message.id,
        sender: message.sender.identity(),
        recipient: recipient.clone(),
    };
    note.for_whom(&recipient)
}

fn sender_profile(user: &CurrentUser, known: &Membership) -> Profile {
    let stated = user.profile();
    let stored = known.member(user.participant()).map(|m| m.profile.clone()).unwrap_or_default();
    Profile { name: stated.name.clone().or(stored.name), picture: stated.picture.clone().or(stored.picture) }
}
