//! Attachments: what is known of the files, which are elsewhere.

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use mongodb::options::UpdateModifications;

use super::MongoStore;
use super::engine::{Engine, date};
use super::fields::{stored_whole, whole};
use super::rooms::{date_of, undecodable};
use crate::error::{Error, Result};
use crate::models::media::{Attachment, AttachmentState, MediaId, MediaType};
use crate::models::{ConversationKey, Participant, ParticipantKind, Timestamp};
use crate::store::media::MediaStore;

#[async_trait]
impl MediaStore for MongoStore {
    async fn announce_media(&self, attachment: Attachment) -> Result<()> {
        self.engine.clock()?;
        let document = write(&attachment)?;
        self.engine.ask("announcing attachment", attachment.id, self.engine.media.insert_one(document)).await?;
        Ok(())
    }

    async fn find_media(&self, id: MediaId) -> Result<Option<Attachment>> {
        self.engine.check_open()?;
        let found = self.engine.ask("finding attachment", id, self.engine.media.find_one(doc! { "_id": id.to_string() })).await?;
        found.as_ref().map(read).transpose()
    }

    async fn complete_media(&self, id: MediaId, pixels: Option<(u32, u32)>) -> Result<bool> {
        let mut set = doc! { "state": AttachmentState::Ready.as_str() };
        if let Some((width, height)) = pixels {
            set.insert("width", stored_whole(i64::from(width)));
            set.insert("height", stored_whole(i64::from(height)));
        }
        self.engine.change_media(id, doc! { "_id": id.to_string(), "state": AttachmentState::Pending.as_str() }, doc! { "$set": set }).await
    }

    async fn use_media(&self, id: MediaId, owner: &Participant, conversation: &ConversationKey) -> Result<bool> {
        let owner = owner.identity();
        let filter = doc! {
            "_id": id.to_string(),
            "state": AttachmentState::Ready.as_str(),
            "ownerType": owner.kind().as_str(),
            "ownerId": owner.id(),
            "conversationId": conversation.as_str(),
        };
        // Documents of older servers are not counted: theirs is one.
        let before = doc! { "$ifNull": ["$claims", { "$cond": ["$kept", 1, 0] }] };
        let pipeline = vec![doc! { "$set": { "kept": true, "claims": { "$add": [before, 1] } } }];
        self.engine.change_media(id, filter, pipeline).await
    }

    async fn release_media(&self, id: MediaId) -> Result<()> {
        let filter = doc! { "_id": id.to_string(), "state": AttachmentState::Ready.as_str(), "kept": true };
        let left = doc! { "$subtract": [{ "$ifNull": ["$claims", 1] }, 1] };
        let pipeline = vec![doc! { "$set": { "claims": left } }, doc! { "$set": { "kept": { "$gt": ["$claims", 0] } } }];
        self.engine.change_media(id, filter, pipeline).await?;
        Ok(())
    }

    async fn erase_media(&self, id: MediaId) -> Result<()> {
        let erased = doc! { "$set": { "state": AttachmentState::Erased.as_str(), "kept": false } };
        self.engine.change_media(id, doc! { "_id": id.to_string() }, erased).await?;
        Ok(())
    }

    async fn give_up_media(&self, id: MediaId) -> Result<bool> {
        let states = [AttachmentState::Pending.as_str(), AttachmentState::Ready.as_str()];
        let filter = doc! { "_id": id.to_string(), "kept": false, "state": { "$in": states.as_slice() } };
        self.engine.change_media(id, filter, doc! { "$set": { "state": AttachmentState::Erased.as_str() } }).await
    }

    async fn abandoned_media(&self, pending_before: Timestamp, unused_before: Timestamp, limit: usize) -> Result<Vec<Attachment>> {
        // To the database a limit of zero is no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.engine.check_open()?;
        let reasons = bson::bson!([
            { "state": "erased" },
            { "state": "pending", "createdAt": { "$lt": date(pending_before) } },
            { "state": "ready", "createdAt": { "$lt": date(unused_before) } },
        ]);
        let find = self.engine.media.find(doc! { "kept": false, "$or": reasons }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.engine.collect("finding abandoned attachments in", self.engine.database.name(), find).await?;
        found.iter().map(read).collect()
    }

    async fn forget_media(&self, ids: &[MediaId]) -> Result<Vec<MediaId>> {
        self.engine.clock()?;
        let mut forgotten = Vec::new();
        for id in ids {
            let delete = self.engine.media.delete_one(doc! { "_id": id.to_string(), "kept": false });
            if self.engine.ask("forgetting attachment", id, delete).await?.deleted_count > 0 {
                forgotten.push(*id);
            }
        }
        Ok(forgotten)
    }
}

impl Engine {
    /// True if there is such a one.
    async fn change_media(&self, id: MediaId, filter: Document, change: impl Into<UpdateModifications>) -> Result<bool> {
        self.clock()?;
        let updated = self.ask("changing attachment", id, self.media.update_one(filter, change)).await?;
        Ok(updated.matched_count > 0)
    }
}

pub(super) fn write(new: &Attachment) -> Result<Document> {
    let owner = new.owner.identity();
    let mut document = doc! {
        "_id": new.id.to_string(),
        "conversationId": new.conversation.as_str(),
        "ownerType": owner.kind().as_str(),
        "ownerId": owner.id(),
        "name": &new.name,
        "mimeType": new.media_type.mime,
        "size": stored_whole(i64::try_from(new.size_bytes).map_err(Error::internal)?),
        "state": new.state.as_str(),
        "kept": false,
        "createdAt": date(new.created_at),
    };
    if let Some((width, height)) = new.pixels {
        document.insert("width", stored_whole(i64::from(width)));
        document.insert("height", stored_whole(i64::from(height)));
    }
    Ok(document)
}

pub(super) fn read(document: &Document) -> Result<Attachment> {
    let attachment = || {
        let text = |name: &str| document.get_str(name).ok();
        let number = |name: &str| document.get(name).filter(|value| !matches!(value, Bson::Null)).and_then(whole);
        let pixels = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        Some(Attachment {
            id: MediaId::parse(text("_id")?)?,
            conversation: ConversationKey::stored(text("conversationId")?),
            owner: Participant::stored(ParticipantKind::parse(text("ownerType")?)?, text("ownerId")?),
            name: text("name")?.to_owned(),
            media_type: MediaType::find(text("mimeType")?)?,
            size_bytes: u64::try_from(number("size")?).ok()?,
            state: AttachmentState::parse(text("state")?)?,
            pixels: pixels("width").zip(pixels("height")),
            created_at: date_of(document, "createdAt")?,
        })
    };
    attachment().ok_or_else(|| undecodable(document))
}
