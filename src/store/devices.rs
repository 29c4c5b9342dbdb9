//! What is asked of storage about devices that can be pushed to. The suite in `tests/it/store_outbox.rs` runs every sentence on both
//! drivers.

use async_trait::async_trait;

use crate::error::Result;
use crate::models::{Device, Participant, Timestamp};

/// Where device tokens are kept.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// Makes a token its owner's, and nobody else's from then on. Of its owner's devices of this kind the newest [`Device::KEPT`] stay.
    async fn register_device(&self, device: Device) -> Result<()>;

    /// Forgets a token of this owner. True if it was there.
    async fn unregister_device(&self, owner: &Participant, token: &str) -> Result<bool>;

    /// Forgets a token that reaches nobody any more, whoever owns it, unless it was registered at or after `since`: then it does again.
    async fn drop_device(&self, token: &str, since: Timestamp) -> Result<bool>;

    /// The devices of these people, newest first.
    async fn devices_of(&self, people: &[Participant]) -> Result<Vec<Device>>;
}
