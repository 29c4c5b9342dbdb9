//! Plain data of the domain: who speaks, where, and what was said.
//!
//! Nothing here knows sockets, HTTP or a database. Whatever can be checked from a value alone is checked when it is made,
//! so that the rest of the code may take the type as the proof.

pub mod call;
pub mod call_view;
pub mod conversation;
pub mod ids;
pub mod message;
pub mod participant;
pub mod rooms;
pub mod time;
pub mod trust;
pub mod view;

pub use call::{Actor, Call, CallSide, CallStatus, CallType, EndReason, Feedback, NewCall, Notices, Transition, Trigger};
pub use conversation::{Conversation, ConversationHandle, ConversationKey, LastMessage, Member, Membership, Pair};
pub use ids::{CallId, ConversationId, IdClock, MessageId};
pub use message::{Message, MessageStatus, MessageType, NewMessage};
pub use participant::{Participant, ParticipantKind, Profile};
pub use rooms::{KeptRooms, ProcessId};
pub use time::Timestamp;
pub use trust::{Account, AuditAction, AuditEntry, Relation, Revocation};
