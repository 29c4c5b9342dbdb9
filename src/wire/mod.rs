//! What clients say, read once where it comes in: the same fields and aliases for sockets and REST.

mod calls;
mod payload;
mod requests;
mod responses;
pub mod shapes;

pub use calls::{
    CallAck, MediaBody, OfferAck, call_filter, call_id, callee_of_admin, consultation_id, ending, feedback, initiate as initiate_call,
    parse_call_id,
};
pub use payload::Payload;
pub use requests::{
    CatchUpRequest, announce, catch_up, contact, context, delete_scope, device_tokens, history, inbox, page, person_type, recipient,
    send_message, typing_conversation, wanted_people, which_messages,
};
pub use responses::{CatchUpBody, HistoryBody, SendBody, ok_body};
