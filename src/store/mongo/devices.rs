//! Device tokens: the token is the `_id`, so it has one owner whoever writes.

use async_trait::async_trait;
use bson::{Bson, Document, doc};

use super::MongoStore;
use super::engine::{Engine, date};
use super::updates::upsert_one;
use crate::error::{Error, Result};
use crate::models::{Device, DeviceKind, Participant, ParticipantKind, Platform, Timestamp};
use crate::store::DeviceStore;

#[async_trait]
impl DeviceStore for MongoStore {
    async fn register_device(&self, device: Device) -> Result<()> {
        self.engine.clock()?;
        self.engine.register_device(&device).await
    }

    async fn unregister_device(&self, owner: &Participant, token: &str) -> Result<bool> {
        self.engine.clock()?;
        let delete = self.engine.devices.delete_one(doc! { "_id": token, "ownerType": owner.kind().as_str(), "ownerId": owner.id() });
        Ok(self.engine.ask("forgetting a device of", owner, delete).await?.deleted_count > 0)
    }

    async fn drop_device(&self, token: &str, since: Timestamp) -> Result<bool> {
        self.engine.clock()?;
        let delete = self.engine.devices.delete_one(doc! { "_id": token, "registeredAt": { "$lt": date(since) } });
        Ok(self.engine.ask("forgetting a dead device in", self.engine.database.name(), delete).await?.deleted_count > 0)
    }

    async fn devices_of(&self, people: &[Participant]) -> Result<Vec<Device>> {
        self.engine.check_open()?;
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let of = |person: &Participant| Bson::from(doc! { "ownerType": person.kind().as_str(), "ownerId": person.id() });
        let find = self.engine.devices.find(doc! { "$or": people.iter().map(of).collect::<Vec<_>>() });
        let found = self.engine.collect("finding devices in", self.engine.database.name(), find).await?;
        let mut devices = found.iter().map(read).collect::<Result<Vec<_>>>()?;
        devices.sort_by(|a, b| (b.registered_at, &a.token).cmp(&(a.registered_at, &b.token)));
        Ok(devices)
    }
}

impl Engine {
    async fn register_device(&self, device: &Device) -> Result<()> {
        let owner = doc! { "ownerType": device.owner.kind().as_str(), "ownerId": device.owner.id(), "kind": device.kind.as_str() };
        let register = upsert_one(&self.devices, doc! { "_id": device.token.as_str() }, doc! { "$set": fields(device) });
        self.ask("registering a device of", &device.owner, register).await?;
        // The one just registered stays, also beside others of the same moment.
        let mut others = owner;
        others.insert("_id", doc! { "$ne": device.token.as_str() });
        let beyond = self.devices.find(others).sort(doc! { "registeredAt": -1, "_id": 1 }).skip(Device::KEPT as u64 - 1);
        let beyond = self.collect("finding old devices of", &device.owner, beyond.projection(doc! { "_id": 1 })).await?;
        if !beyond.is_empty() {
            let ids: Vec<&Bson> = beyond.iter().filter_map(|document| document.get("_id")).collect();
            let delete = self.devices.delete_many(doc! { "_id": { "$in": ids } });
            self.ask("forgetting old devices of", &device.owner, delete).await?;
        }
        Ok(())
    }
}

/// All of it but the token, which is the `_id`.
pub(super) fn fields(device: &Device) -> Document {
    doc! {
        "ownerType": device.owner.kind().as_str(),
        "ownerId": device.owner.id(),
        "kind": device.kind.as_str(),
        "platform": device.platform.as_str(),
        "registeredAt": date(device.registered_at),
    }
}

pub(super) fn read(document: &Document) -> Result<Device> {
    let text = |name: &str| document.get_str(name).ok();
    let read = || {
        Some(Device {
            token: text("_id")?.to_owned(),
            kind: DeviceKind::parse(text("kind")?)?,
            owner: Participant::stored(ParticipantKind::parse(text("ownerType")?)?, text("ownerId")?),
            platform: Platform::parse(text("platform")?)?,
            registered_at: Timestamp::from_millis(document.get_datetime("registeredAt").ok()?.timestamp_millis()),
        })
    };
    // Without its id, which is the token.
    read().ok_or_else(|| Error::internal(format!("cannot decode a device of {:?}", text("ownerId"))))
}
