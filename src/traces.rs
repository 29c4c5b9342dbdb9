//! Spans of what clients ask for, for OpenTelemetry. Any room may make them; where they go is decided at start (`outside/traces.rs`).
//!
//! Without the feature `otel` there are none and nothing here costs anything; with it and without an endpoint they cost a look at a flag.
//! They hold ids and codes, never tokens or what people say. Source: docs/operations.md#traces.

use std::fmt::Display;

use tracing::field::Empty;
use tracing::{Metadata, Span, info_span};

/// Tells our spans from all others, and keeps them out of log lines.
pub const TARGET: &str = "samvad::traces";

/// Whether there may be any.
const ARE_BUILT: bool = cfg!(feature = "otel");

/// Whether this is one of ours.
pub fn is_ours(what: &Metadata<'_>) -> bool {
    what.target() == TARGET
}

/// One event of a client, from being taken up until its answer is handed to the socket.
pub fn event(name: &str, participant: &dyn Display) -> Span {
    if !ARE_BUILT {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: None, "event", otel.name = name, otel.kind = "server", event = name, participant = %participant,
        conversation.key = Empty, call.id = Empty, outcome = Empty, otel.status_code = Empty
    )
}

/// One REST request; `route` is a pattern of ours.
pub fn request(method: &str, route: &str) -> Span {
    if !ARE_BUILT {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: None, "request", otel.name = %format_args!("{method} {route}"), otel.kind = "server",
        http.request.method = method, http.route = route, http.response.status_code = Empty, participant = Empty,
        conversation.key = Empty, call.id = Empty, otel.status_code = Empty
    )
}

/// One durable write of what is asked for now; part of that.
pub fn commit(what: &'static str) -> Span {
    if !ARE_BUILT {
        return Span::none();
    }
    info_span!(target: TARGET, "commit", otel.name = what, outcome = Empty, otel.status_code = Empty)
}

/// Says who asks, where that is known only later.
pub fn note_participant(participant: &dyn Display) {
    note("participant", participant);
}

/// Says in which conversation it is asked for, under the name we store.
pub fn note_conversation(key: &dyn Display) {
    note("conversation.key", key);
}

/// Says which call it is about.
pub fn note_call(id: &dyn Display) {
    note("call.id", id);
}

/// Says what became of it: `ok` or a code; and whether that is our fault.
pub fn end(span: &Span, outcome: &str, is_our_fault: bool) {
    if !ARE_BUILT {
        return;
    }
    span.record("outcome", outcome);
    if is_our_fault {
        span.record("otel.status_code", "error");
    }
}

/// Says how a request was answered.
pub fn answered(span: &Span, status: u16) {
    if !ARE_BUILT {
        return;
    }
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "error");
    }
}

fn note(field: &'static str, value: &dyn Display) {
    if ARE_BUILT {
        // Whatever else may be entered does not know the field, and takes no note.
        Span::current().record(field, tracing::field::display(value));
    }
}
