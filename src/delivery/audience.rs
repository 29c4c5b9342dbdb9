//! Who an event is for, said as data: rooms and identities to include, and what to leave out.

use crate::models::{ConversationKey, Participant};

use super::connection::{Connection, ConnectionId, Origin};

/// A set of connections. Each is reached once, however many of its parts name it.
#[derive(Clone, Default)]
pub struct Audience<'a> {
    pub(super) connection: Option<ConnectionId>,
    pub(super) conversation: Option<&'a ConversationKey>,
    pub(super) identities: Vec<Participant>,
    pub(super) not_connection: Option<ConnectionId>,
    pub(super) not_identity: Option<Participant>,
    pub(super) not_page_of: Option<&'a Origin>,
    pub(super) not_in: Option<&'a ConversationKey>,
    pub(super) about: Option<&'a ConversationKey>,
    pub(super) called: Option<&'a str>,
    pub(super) only_here: bool,
}

impl<'a> Audience<'a> {
    /// One connection.
    pub fn connection(id: ConnectionId) -> Self {
        Self { connection: Some(id), ..Self::default() }
    }

    /// Everybody in a conversation's room.
    pub fn room(conversation: &'a ConversationKey) -> Self {
        Self { conversation: Some(conversation), about: Some(conversation), ..Self::default() }
    }

    /// The personal rooms of these people.
    pub fn people(people: impl IntoIterator<Item = Participant>) -> Self {
        Self { identities: people.into_iter().collect(), ..Self::default() }
    }

    /// Also the personal rooms of these people.
    #[must_use]
    pub fn and_people(mut self, people: impl IntoIterator<Item = Participant>) -> Self {
        self.identities.extend(people);
        self
    }

    /// The conversation the event is about: those outside its room see its canonical key, those inside their own spelling.
    #[must_use]
    pub fn about(mut self, conversation: &'a ConversationKey) -> Self {
        self.about = Some(conversation);
        self
    }

    /// Those outside the room see this text instead of the canonical key.
    #[must_use]
    pub fn called(mut self, spelling: Option<&'a str>) -> Self {
        self.called = spelling;
        self
    }

    /// Without this connection.
    #[must_use]
    pub fn except(mut self, connection: Option<ConnectionId>) -> Self {
        self.not_connection = connection;
        self
    }

    /// Without any connection of this identity.
    #[must_use]
    pub fn except_person(mut self, person: &Participant) -> Self {
        self.not_identity = Some(person.identity());
        self
    }

    /// Without those that may be of the same browser page as this connection. See [`Connection::may_share_page_with`].
    #[must_use]
    pub fn except_page_of(mut self, connection: Option<&'a Connection>) -> Self {
        self.not_page_of = connection.map(Connection::origin);
        self
    }

    /// Without those in this conversation's room.
    #[must_use]
    pub fn outside(mut self, conversation: &'a ConversationKey) -> Self {
        self.not_in = Some(conversation);
        self.about = Some(conversation);
        self
    }

    /// Only those connected to this node: others hear it from theirs.
    #[must_use]
    pub fn only_here(mut self) -> Self {
        self.only_here = true;
        self
    }

    /// True if nothing is included. An empty audience must never mean everybody.
    pub fn is_empty(&self) -> bool {
        self.connection.is_none() && self.conversation.is_none() && self.identities.is_empty()
    }
}
