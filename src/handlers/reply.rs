//! Answers to events: the ack if the client asked for one, and for failures also the error events.

use std::time::Instant;

use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::extract::AckSender;
use tracing::{Span, error, warn};

use crate::delivery::{Audience, Cut, Failure, ServerEvent};
use crate::error::{Error, Result};
use crate::traces;

use super::session::Session;

/// The body of a positive ack.
pub(super) type Reply = Result<Box<RawValue>>;

/// What is being answered. The event is one of the protocol, unless it is ignored.
pub(super) struct Asked {
    pub event: String,
    pub conversation_id: Option<String>,
    pub call_id: Option<String>,
    pub ack: AckSender,
    began: Instant,
    span: Span,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal<'a> {
    ok: bool,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
}

impl Asked {
    pub fn new(event: String, ack: AckSender) -> Self {
        Self { event, conversation_id: None, call_id: None, ack, began: Instant::now(), span: Span::none() }
    }

    /// From here on it is traced. Only events of the protocol are: anybody may make up other names.
    pub fn traced(mut self, session: &Session) -> Self {
        self.span = traces::event(&self.event, session.user().participant());
        self
    }

    /// What is done for it belongs in here.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Answers exactly once.
    pub fn answer(self, session: &Session, reply: Reply) {
        let metrics = session.metrics();
        let outcome = reply.as_ref().err().map_or("ok", Error::code);
        metrics.events.with_label_values(&[self.event.as_str(), outcome]).inc();
        traces::end(&self.span, outcome, reply.as_ref().is_err_and(Error::is_our_fault));
        metrics.event_seconds.with_label_values(&[self.event.as_str()]).observe(self.began.elapsed().as_secs_f64());
        match reply {
            Ok(body) => {
                session.outlet().note_said(body.get().len());
                self.send_ack(session, &body);
            }
            Err(e) => self.refuse(session, &e),
        }
    }

    fn send_ack<T: Serialize + ?Sized>(self, session: &Session, body: &T) {
        if let Err(e) = self.ack.send(body) {
            // Without the answer the client knows nothing of what became of its request; reconnecting makes it ask again.
            if !matches!(e, socketioxide::SendError::Socket(socketioxide::SocketError::Closed)) {
                warn!(connection.id = %session.connection().id(), "an answer could not be queued; closing the connection");
                session.delivery().close(session.connection(), Cut::FullBuffer);
            }
        }
    }

    fn refuse(self, session: &Session, refused: &Error) {
        log(session, &self.event, refused);
        let message = refused.to_string();
        let retry_after_ms = refused.retry_after().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let retryable = refused.is_retryable().then_some(true);
        let failure = Failure {
            message: message.clone(),
            error: refused.code(),
            code: refused.code(),
            event: self.event.clone(),
            conversation_id: self.conversation_id.clone(),
            call_id: self.call_id.clone(),
            retry_after_ms,
            retryable,
        };
        session.delivery().emit(&Audience::connection(session.connection().id()), &ServerEvent::Failed(failure));
        self.send_ack(session, &Refusal { ok: false, code: refused.code(), message: &message, retry_after_ms, retryable });
    }

    /// An event nobody handles: an ack if one was asked for, and nothing else, because the apps send such events to other servers.
    pub fn ignore(self, session: &Session) {
        let unknown = Error::UnknownEvent;
        // Never the name itself: anybody may send any.
        session.metrics().events.with_label_values(&["unknown", unknown.code()]).inc();
        let message = unknown.to_string();
        self.send_ack(session, &Refusal { ok: false, code: unknown.code(), message: &message, retry_after_ms: None, retryable: None });
    }
}

/// The one place where a failure of a socket request is logged.
fn log(session: &Session, event: &str, refused: &Error) {
    let connection = session.connection().id();
    match refused {
        Error::Internal(source) => error!(connection.id = %connection, event, "a request failed: {source}"),
        Error::Unavailable(source) => warn!(connection.id = %connection, event, "a request cannot be served for now: {source}"),
        other => tracing::debug!(connection.id = %connection, event, code = other.code(), "a request was refused: {other}"),
    }
}
