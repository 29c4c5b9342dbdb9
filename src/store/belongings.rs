//! What a person has in the store beside conversations, messages and calls, for those who copy, export and erase. The suite in
//! `tests/it/store_belongings.rs` runs every sentence on both drivers.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::media::Attachment;
use crate::models::{Device, Participant, Timestamp};

/// The sorts there are. Each is walked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BelongingSort {
    /// Device tokens.
    Devices,
    /// What is known of attached files.
    Attachments,
    /// When missed calls were last looked at.
    MissedSeen,
    /// When somebody was last connected.
    LastSeen,
}

impl BelongingSort {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Devices, Self::Attachments, Self::MissedSeen, Self::LastSeen];
}

/// One of them. Has no `Debug`: tokens are never logged.
#[derive(Clone, PartialEq, Eq)]
pub enum Belonging {
    /// A device.
    Device(Device),
    /// An attachment, and whether a message names it.
    Attachment(Attachment, bool),
    /// Somebody looked at the missed calls.
    MissedSeen(Participant, Timestamp),
    /// Somebody was last connected.
    LastSeen(Participant, Timestamp),
}

impl Belonging {
    /// What it is known by among its sort.
    pub fn id(&self) -> String {
        match self {
            Self::Device(device) => device.token.clone(),
            Self::Attachment(attachment, _) => attachment.id.to_string(),
            Self::MissedSeen(person, _) | Self::LastSeen(person, _) => person.to_string(),
        }
    }

    /// Whose it is.
    pub fn owner(&self) -> &Participant {
        match self {
            Self::Device(device) => &device.owner,
            Self::Attachment(attachment, _) => &attachment.owner,
            Self::MissedSeen(person, _) | Self::LastSeen(person, _) => person,
        }
    }
}

/// Walking through them and putting them back.
#[async_trait]
pub trait BelongingStore: Send + Sync + 'static {
    /// Those of a sort, in an order that stays, those after the one with this id first.
    async fn walk_belongings(&self, sort: BelongingSort, after: Option<String>, limit: usize) -> Result<Vec<Belonging>>;

    /// Stores these as they are, in place of whatever had their ids. Repeating changes nothing.
    async fn put_belongings(&self, belongings: Vec<Belonging>) -> Result<()>;
}
