//! The one error type. `code()` is the word clients rely on; everything a client cannot act on is `Internal`.
//!
//! `rest/error.rs` and `handlers/reply.rs` are the only two places that turn it into an answer.

use std::time::Duration;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not carried out. Source of the codes: docs/protocol.md#error-codes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A credential was refused.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The payload has no such shape; the text says which field and why.
    #[error("{0}")]
    InvalidPayload(String),
    /// A text that should name something cannot.
    #[error("{0}")]
    InvalidId(String),
    /// Message text above the limit.
    #[error("content is longer than {limit} characters")]
    ContentTooLong {
        /// Unicode code points allowed.
        limit: usize,
    },
    /// Body above the limit.
    #[error("payload is larger than {limit} bytes")]
    PayloadTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Unknown to the asker, whether it exists or not.
    #[error("no such conversation")]
    ConversationNotFound,
    /// Unknown to the asker, whether it exists or not.
    #[error("no such message")]
    MessageNotFound,
    /// Unknown to the asker, whether it exists or not.
    #[error("no such call")]
    CallNotFound,
    /// Unknown to the asker, whether it exists or not.
    #[error("no such attachment")]
    MediaNotFound,
    /// A file is not what may be attached, or not what was announced; the text says why.
    #[error("{0}")]
    MediaRefused(String),
    /// The call cannot be answered any more.
    #[error("the call does not ring any more")]
    CallNotRinging,
    /// The call is over.
    #[error("the call is over")]
    CallOver,
    /// Another client of the callee answered.
    #[error("another client answered the call")]
    AnsweredElsewhere,
    /// User and astrologer have not dealt with each other, or one of them does not exist.
    #[error("you have not dealt with this person yet")]
    NotRelated,
    /// A canonical conversation of other people.
    #[error("you take no part in this conversation")]
    DmJoinForbidden,
    /// Sender and recipient are the same identity.
    #[error("sender and recipient are the same")]
    SelfConversationBlocked,
    /// The asker may not do this; the text says what.
    #[error("{0}")]
    Forbidden(String),
    /// The request contradicts one accepted earlier.
    #[error("{0}")]
    Conflict(String),
    /// Too much is waiting; nothing was stored, trying again later helps.
    #[error("the server is busy, try again")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// More than one may ask in a time; nothing was done.
    #[error("too many requests, try again later")]
    RateLimited {
        /// When the next one is let through.
        retry_after: Duration,
    },
    /// The store, or the issuer whose keys check tokens, does not answer; nothing is known to be stored, trying again later helps.
    #[error("unavailable for now, try again")]
    Unavailable(#[source] Source),
    /// No handler for this event.
    #[error("unknown event")]
    UnknownEvent,
    /// No such REST route.
    #[error("no such route")]
    NotFound,
    /// Our fault; logged once at the edge, shown as its code alone.
    #[error("internal error")]
    Internal(#[source] Source),
}

/// What lies underneath an error of ours.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a credential was refused; the text is the message of `connect_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// None was given.
    #[error("auth.missing")]
    Missing,
    /// It proves nothing.
    #[error("auth.invalid")]
    Invalid,
    /// It did once.
    #[error("auth.expired")]
    Expired,
    /// The account has another session by now.
    #[error("auth.session_replaced")]
    SessionReplaced,
    /// The account may not be used.
    #[error("auth.suspended")]
    Suspended,
}

impl Error {
    /// The stable word clients rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Auth(AuthError::Missing) => "auth.missing",
            Self::Auth(AuthError::Invalid) => "auth.invalid",
            Self::Auth(AuthError::Expired) => "auth.expired",
            Self::Auth(AuthError::SessionReplaced) => "auth.session_replaced",
            Self::Auth(AuthError::Suspended) => "auth.suspended",
            Self::InvalidPayload(_) => "INVALID_PAYLOAD",
            Self::InvalidId(_) => "INVALID_ID",
            Self::ContentTooLong { .. } => "CONTENT_TOO_LONG",
            Self::PayloadTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::ConversationNotFound => "CONVERSATION_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::CallNotFound => "CALL_NOT_FOUND",
            Self::MediaNotFound => "MEDIA_NOT_FOUND",
            Self::MediaRefused(_) => "MEDIA_REFUSED",
            Self::CallNotRinging => "CALL_NOT_RINGING",
            Self::CallOver => "CALL_OVER",
            Self::AnsweredElsewhere => "ANSWERED_ELSEWHERE",
            Self::NotRelated => "NOT_RELATED",
            Self::DmJoinForbidden => "DM_JOIN_FORBIDDEN",
            Self::SelfConversationBlocked => "SELF_CONVERSATION_BLOCKED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::Conflict(_) => "CONFLICT",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::UnknownEvent => "UNKNOWN_EVENT",
            Self::NotFound => "NOT_FOUND",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// Whether to repeat the same request by itself. Not when a rate is exceeded: a program that repeats without looking at
    /// [`Self::retry_after`] would stay beyond it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Unavailable(_))
    }

    /// Whether somebody who runs this should look: no request can bring it about by itself.
    pub fn is_our_fault(&self) -> bool {
        matches!(self, Self::Internal(_) | Self::Unavailable(_))
    }

    /// When to try again, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } | Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// A queue of ours is full.
    pub fn overloaded() -> Self {
        Self::Overloaded { retry_after: Duration::from_secs(1) }
    }

    /// Something we depend on failed in a way that may pass.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Something that cannot happen did.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    /// A field is missing or wrong.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidPayload(text.into())
    }
}
