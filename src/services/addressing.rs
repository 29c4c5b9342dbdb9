//! Whom a send is for: what the client names, the conversation, the recipient or both, becomes a conversation and one person in it.

use std::sync::Arc;

use crate::auth::CurrentUser;
use crate::error::{Error, Result};
use crate::models::{ConversationKey, Membership, Pair, Participant, ParticipantKind};

use super::conversations::{Named, OpenConversation};
use super::messaging::{Messaging, SendMessage};

/// Whom a client says it writes to.
#[derive(Clone, Debug, Default)]
pub struct Recipient {
    /// Id, if given.
    pub id: Option<String>,
    /// Kind, if given.
    pub kind: Option<ParticipantKind>,
}

impl Recipient {
    /// The person a client names, if any. `recipientType: "admin"` alone is enough. Errors: half a name, or an illegal id.
    pub fn person(&self) -> Result<Option<Participant>> {
        match (self.kind, self.id.as_deref()) {
            (None, None) => Ok(None),
            (Some(ParticipantKind::Admin), None) => Ok(Some(Participant::shared_admin())),
            (Some(kind), Some(id)) => {
                let person = Participant::new(kind, id);
                person.map(Some).ok_or_else(|| Error::InvalidId("recipientId is not the id of such a recipient".into()))
            }
            (None, Some(_)) => Err(Error::invalid("recipientType is required beside recipientId")),
            (Some(_), None) => Err(Error::invalid("recipientId is required beside recipientType")),
        }
    }

    /// The person, where one must be named.
    pub fn require(&self) -> Result<Participant> {
        self.person()?.ok_or_else(|| Error::invalid("recipientId and recipientType are required"))
    }
}

/// Where a send goes.
pub(super) struct Addressed {
    pub known: Arc<Membership>,
    pub recipient: Participant,
    /// The sender's own name for the conversation.
    pub called: Option<String>,
}

impl Messaging {
    /// Finds or opens the conversation a send is for, and whom it is addressed to.
    pub(super) async fn address(&self, user: &CurrentUser, send: &SendMessage) -> Result<Addressed> {
        let me = user.participant();
        let given = send.recipient.person()?;
        let named = match &send.conversation {
            Some(text) => Some(self.conversations.resolve(me, text).await?),
            None => None,
        };
        let text = send.conversation.as_deref().unwrap_or_default();
        let other = match (&named, given) {
            // A name two conversations share gives way to the recipient; a key or id does not.
            (Some(Named::Known(known)), Some(person)) if !known.is_called(text) && known.member(&person).is_none() => person,
            (Some(Named::Known(known)), given) if known.is_participant(me) => {
                let recipient = match given {
                    Some(person) => known.member(&person).map(|m| addressed(&person, &m.participant)),
                    None => known.other(me).cloned(),
                };
                let recipient = recipient.ok_or_else(|| Error::invalid("the recipient takes no part in this conversation"))?;
                if recipient.is_same_identity(me) {
                    return Err(Error::SelfConversationBlocked);
                }
                return Ok(Addressed { known: Arc::clone(known), recipient, called: send.conversation.clone() });
            }
            (Some(Named::NotOpened(pair)), given) => {
                let other = pair.other(me).cloned().ok_or(Error::ConversationNotFound)?;
                match given {
                    Some(person) if !person.is_same_identity(&other) => {
                        return Err(Error::invalid("the recipient takes no part in this conversation"));
                    }
                    given => given.unwrap_or(other),
                }
            }
            // A key of other people names nothing a stranger could write to; an admin who looks at it may still say whom he means.
            (Some(Named::Foreign(_)), _) if !user.is_admin() => return Err(Error::ConversationNotFound),
            (_, Some(person)) => person,
            (None, None) => return Err(Error::invalid("conversationId or recipientId is required")),
            (Some(_), None) => return Err(Error::ConversationNotFound),
        };
        self.conversations.guard.relations.require(user, &other).await?;
        let pair = Pair::new(me.clone(), other.clone()).ok_or(Error::SelfConversationBlocked)?;
        let alias = match &named {
            Some(Named::Unknown(text)) => Some(text.clone()),
            Some(Named::Known(known)) if !known.is_called(text) => ConversationKey::parse(text),
            _ => None,
        };
        // The text the client used is its name for the conversation, unless it names another one.
        let is_name = alias.is_some() || matches!(named, Some(Named::NotOpened(_)));
        let called = send.conversation.clone().filter(|_| is_name);
        if alias.is_none()
            && let Named::Known(known) = self.conversations.resolve(me, pair.key().as_str()).await?
        {
            return Ok(Addressed { known, recipient: other, called });
        }
        let open = OpenConversation { recipient: other.clone(), context_type: "general".into(), context_id: None };
        // Rare, and larger than all the rest of sending.
        let (conversation, _) = Box::pin(self.conversations.open_called(user, open, alias)).await?;
        Ok(Addressed { known: Arc::new(conversation.membership()), recipient: other, called })
    }
}

/// An admin is stored as the client named him; anybody else as the conversation knows him.
fn addressed(given: &Participant, member: &Participant) -> Participant {
    if given.kind() == ParticipantKind::Admin { given.clone() } else { member.clone() }
}
