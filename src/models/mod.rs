//! Plain data of the domain: who speaks, where, and what was said.
//!
//! Nothing here knows sockets, HTTP or a database. Whatever can be checked from a value alone is checked when it is made,
//! so that the rest of the code may take the type as the proof.

pub mod analytics;
pub mod call;
pub mod call_view;
pub mod conversation;
pub mod device;
pub mod ids;
pub mod inbox;
pub mod media;
pub mod message;
pub mod outbox;
pub mod participant;
pub mod presence;
pub mod rooms;
mod schema;
pub mod time;
pub mod trust;
pub mod view;

pub use call::{Actor, Call, CallSide, CallStatus, CallType, EndReason, Feedback, NewCall, Notices, Transition, Trigger};
pub use call_view::CallView;
pub use conversation::{Conversation, ConversationHandle, ConversationKey, LastMessage, Member, Membership, Pair};
pub use device::{Device, DeviceKind, Platform};
pub use ids::{CallId, ConversationId, IdClock, MessageId};
pub use message::{Message, MessageStatus, MessageType, NewMessage};
pub use outbox::{Lease, OutboxEntry, OutboxLane, OutboxOutcome, OutboxState};
pub use participant::{Participant, ParticipantKind, Profile};
pub use presence::Attendance;
pub use rooms::{KeptRooms, ProcessId};
pub use time::Timestamp;
pub use trust::{Account, AuditAction, AuditEntry, Relation, Revocation};
pub use view::{MessageView, ToldMessage};
