//! Engine.IO 4 / Socket.IO 5 text frames, read by prefix and built from prepared pieces.
//!
//! No JSON tree is made for a frame: at tens of thousands of frames a second the generator would cost more than the server.
//! The values looked at (ids, codes, our own content) never contain an escaped quote, so "up to the next quote" is their end.

use memchr::{memchr, memmem};

/// What one incoming text frame is, as far as the generator cares.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Engine.IO open packet: the transport is there.
    Open,
    /// Socket.IO CONNECT answered: signed in.
    Connected,
    /// Socket.IO CONNECT_ERROR with its JSON object.
    Refused(&'a str),
    /// Engine.IO ping, to be answered at once.
    Ping,
    /// An event and everything after its name.
    Event { name: &'a str, body: &'a str },
    /// An ack and its arguments.
    Ack { id: u64, body: &'a str },
    /// The server ended the session (Socket.IO or Engine.IO).
    Closed,
    /// Anything else.
    Other,
}

/// Tells what a text frame is by its first characters.
pub fn read(text: &str) -> Frame<'_> {
    let bytes = text.as_bytes();
    match bytes {
        [b'4', b'2', b'[', b'"', ..] => match memchr(b'"', &bytes[4..]) {
            Some(end) => Frame::Event { name: &text[4..4 + end], body: &text[5 + end..] },
            None => Frame::Other,
        },
        [b'4', b'3', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            match text[2..2 + digits].parse() {
                Ok(id) => Frame::Ack { id, body: &text[2 + digits..] },
                Err(_) => Frame::Other,
            }
        }
        [b'2', ..] => Frame::Ping,
        [b'4', b'0', ..] => Frame::Connected,
        [b'4', b'4', ..] => Frame::Refused(&text[2..]),
        [b'0', ..] => Frame::Open,
        [b'4', b'1', ..] | [b'1', ..] => Frame::Closed,
        _ => Frame::Other,
    }
}

/// The string value of the first `"key":"…"` in `body`. `needle` is the whole of `"key":"`, so that it is a constant.
pub fn text_after<'a>(body: &'a str, needle: &str) -> Option<&'a str> {
    let start = memmem::find(body.as_bytes(), needle.as_bytes())? + needle.len();
    let end = memchr(b'"', &body.as_bytes()[start..])?;
    Some(&body[start..start + end])
}

/// Whether the arguments of an ack say `ok: true`, wherever the server puts the field.
pub fn is_ok(ack: &str) -> bool {
    ack.starts_with("[{\"ok\":true") || memmem::find(ack.as_bytes(), b"\"ok\":true").is_some()
}

/// The code of a refusal, `"?"` when the answer has none.
pub fn code(body: &str) -> &str {
    text_after(body, "\"code\":\"").unwrap_or("?")
}

/// Socket.IO CONNECT with the token. A JWT needs no escaping.
pub fn sign_in(token: &str) -> String {
    format!("40{{\"token\":\"{token}\"}}")
}

/// `dm:join_conversation`, asking for an ack with the given id.
pub fn join(ack_id: u64, conversation: &str) -> String {
    format!("42{ack_id}[\"dm:join_conversation\",{{\"conversationId\":\"{conversation}\"}}]")
}

/// The two typing frames of one sender, without the leading `42<ack id>`.
pub fn typing(event: &str, conversation: &str, user: &str) -> String {
    format!("[\"{event}\",{{\"conversationId\":\"{conversation}\",\"userId\":\"{user}\"}}]")
}

/// The part of `dm:send_message` before the content, without the leading `42<ack id>`.
pub fn send_head(conversation: &str, recipient: &str, recipient_type: &str) -> String {
    format!(
        "[\"dm:send_message\",{{\"conversationId\":\"{conversation}\",\"recipientId\":\"{recipient}\",\
         \"recipientType\":\"{recipient_type}\",\"messageType\":\"text\",\"content\":\""
    )
}

/// `call:initiate` of a voice call, asking for an ack with the given id.
pub fn initiate(ack_id: u64, callee: &str, callee_type: &str) -> String {
    format!("42{ack_id}[\"call:initiate\",{{\"calleeId\":\"{callee}\",\"calleeType\":\"{callee_type}\",\"callType\":\"voice\"}}]")
}

/// `call:accept`, asking for an ack with the given id.
pub fn accept(ack_id: u64, call: &str) -> String {
    format!("42{ack_id}[\"call:accept\",{{\"callId\":\"{call}\"}}]")
}

/// `call:end`, asking for an ack with the given id. The server keeps its own time if the client says none.
pub fn end(ack_id: u64, call: &str) -> String {
    format!("42{ack_id}[\"call:end\",{{\"callId\":\"{call}\",\"duration\":0}}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_prefix() {
        assert_eq!(read("0{\"sid\":\"x\"}"), Frame::Open);
        assert_eq!(read("2"), Frame::Ping);
        assert_eq!(read("40{\"sid\":\"x\"}"), Frame::Connected);
        assert_eq!(read("44{\"message\":\"auth.invalid\"}"), Frame::Refused("{\"message\":\"auth.invalid\"}"));
        assert_eq!(read("41"), Frame::Closed);
        assert_eq!(read("4312[{\"ok\":true}]"), Frame::Ack { id: 12, body: "[{\"ok\":true}]" });
        assert_eq!(read("42[\"dm:joined\",{}]"), Frame::Event { name: "dm:joined", body: ",{}]" });
        assert_eq!(read(""), Frame::Other);
        assert_eq!(read("42[\"unfinished"), Frame::Other);
    }

    #[test]
    fn ok_is_found_wherever_the_server_puts_it() {
        assert!(is_ok("[{\"ok\":true,\"message\":{}}]"));
        assert!(is_ok("[{\"message\":{\"_id\":\"a\"},\"ok\":true}]"));
        assert!(!is_ok("[{\"ok\":false,\"code\":\"OVERLOADED\"}]"));
        assert_eq!(code("[{\"ok\":false,\"code\":\"OVERLOADED\"}]"), "OVERLOADED");
        assert_eq!(text_after("{\"_id\":\"ab\",\"id\":\"ab\"}", "\"_id\":\""), Some("ab"));
    }
}
