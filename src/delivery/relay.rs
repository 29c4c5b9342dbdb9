//! An emission as it travels to other nodes: written once, for everybody there who is of its audience. Sockets keep to their node,
//! so what names a single socket stays behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bus::Topic;
use crate::models::{ConversationKey, Participant};

use super::audience::Audience;
use super::connection::Origin;
use super::event::ServerEvent;

/// What the node that emitted wants to know: whether somebody was reached elsewhere, and what that means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Who is to be reached.
    pub whom: Participant,
    /// For whoever emitted; delivery does not look into it.
    pub note: Box<RawValue>,
}

/// One or two emissions that are heard at the same instant.
#[derive(Serialize, Deserialize)]
pub(super) struct Relay {
    pub emissions: Vec<Relayed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// An event and its audience.
#[derive(Serialize, Deserialize)]
pub(super) struct Relayed {
    pub names: Vec<String>,
    /// For a listener who calls the conversation by `called`, or else its key.
    payload: Arc<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<ConversationKey>,
    identities: Vec<Participant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_identity: Option<Participant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_page_of: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_in: Option<ConversationKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<ConversationKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called: Option<String>,
}

impl Relayed {
    /// `None` where nobody on another node can be meant.
    pub fn new(audience: &Audience<'_>, event: &ServerEvent) -> serde_json::Result<Option<Self>> {
        if audience.only_here || (audience.conversation.is_none() && audience.identities.is_empty()) {
            return Ok(None);
        }
        let spelling = audience.about.map(|key| audience.called.unwrap_or(key.as_str()));
        Ok(Some(Self {
            names: event.names().iter().map(|&name| name.to_owned()).collect(),
            payload: event.render(spelling)?,
            conversation: audience.conversation.cloned(),
            identities: audience.identities.iter().map(Participant::identity).collect(),
            not_identity: audience.not_identity.clone(),
            not_page_of: audience.not_page_of.cloned(),
            not_in: audience.not_in.cloned(),
            about: audience.about.cloned(),
            called: audience.called.map(str::to_owned),
        }))
    }

    /// Whom it is for, on the node that reads this.
    pub fn audience(&self) -> Audience<'_> {
        Audience {
            conversation: self.conversation.as_ref(),
            identities: self.identities.clone(),
            not_identity: self.not_identity.clone(),
            not_page_of: self.not_page_of.as_ref(),
            not_in: self.not_in.as_ref(),
            about: self.about.as_ref(),
            called: self.called.as_deref(),
            only_here: true,
            ..Audience::default()
        }
    }

    /// The topics under which the nodes concerned hear of it.
    pub fn topics(&self) -> impl Iterator<Item = Topic> + '_ {
        let room = self.conversation.clone().map(Topic::Conversation);
        room.into_iter().chain(self.identities.iter().cloned().map(Topic::Person))
    }

    /// The payload for a listener who calls the conversation `spelling`.
    pub fn render(&self, spelling: Option<&str>) -> serde_json::Result<Arc<RawValue>> {
        let written_for = self.called.as_deref().or(self.about.as_ref().map(ConversationKey::as_str));
        match spelling {
            Some(spelling) if Some(spelling) != written_for => respell(&self.payload, spelling).map(Arc::from),
            _ => Ok(Arc::clone(&self.payload)),
        }
    }
}

/// The payload with another name for the conversation, where it names one.
fn respell(payload: &RawValue, spelling: &str) -> serde_json::Result<Box<RawValue>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(payload.get())?;
    if let Some(name) = fields.get_mut("conversationId") {
        *name = serde_json::value::to_raw_value(spelling)?;
    }
    serde_json::value::to_raw_value(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{MessagesDelivered, Typing};
    use crate::models::{ParticipantKind, Timestamp};

    fn key(text: &str) -> ConversationKey {
        ConversationKey::parse(text).expect("legal")
    }

    #[test]
    fn a_listener_elsewhere_reads_his_own_name_of_the_conversation() {
        let typing = Typing { user_id: "u1".into(), user_type: ParticipantKind::User, user_name: None };
        let room = key("user_u1_a1");
        let relayed = Relayed::new(&Audience::room(&room), &ServerEvent::TypingStarted(typing)).expect("JSON").expect("for others too");
        let read: Relayed = serde_json::from_str(&serde_json::to_string(&relayed).expect("JSON")).expect("the same");
        assert_eq!(read.names, ["dm:typing_start", "dm:user_typing"]);
        let own = read.render(Some("my chat")).expect("JSON");
        assert_eq!(own.get(), r#"{"conversationId":"my chat","userId":"u1","userType":"user"}"#);
        assert!(read.render(Some("user_u1_a1")).expect("JSON").get().contains("user_u1_a1"));
        assert_eq!(read.topics().collect::<Vec<_>>(), [Topic::Conversation(room.clone())]);
    }

    #[test]
    fn what_is_for_one_socket_or_for_this_node_alone_stays_here() {
        let event = || {
            let (message_ids, delivered_at) = (Vec::new(), Timestamp::from_millis(0));
            ServerEvent::MessagesDelivered(MessagesDelivered { message_ids, delivered_to: "u1".into(), delivered_at })
        };
        let person = || Audience::people([Participant::shared_admin()]);
        assert!(Relayed::new(&person(), &event()).expect("JSON").is_some());
        assert!(Relayed::new(&person().only_here(), &event()).expect("JSON").is_none());
    }
}
