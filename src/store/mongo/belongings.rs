//! Devices, attachments and marks as they are, for those who copy, export and erase.

use async_trait::async_trait;
use bson::{Document, doc};

use super::engine::date;
use super::rooms::{date_of, id_of, person, undecodable};
use super::{MongoStore, devices, media};
use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind};
use crate::store::belongings::{Belonging, BelongingSort, BelongingStore};

#[async_trait]
impl BelongingStore for MongoStore {
    async fn walk_belongings(&self, sort: BelongingSort, after: Option<String>, limit: usize) -> Result<Vec<Belonging>> {
        self.engine.check_open()?;
        let engine = &self.engine;
        let collection = match sort {
            BelongingSort::Devices => &engine.devices,
            BelongingSort::Attachments => &engine.media,
            BelongingSort::MissedSeen => &engine.inboxes,
            BelongingSort::LastSeen => &engine.presence,
        };
        // To the database a limit of zero is no limit.
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let find = collection.find(doc! { "_id": { "$gt": after.unwrap_or_default() } }).sort(doc! { "_id": 1 }).limit(limit);
        let found = engine.collect("walking through", collection.name(), find).await?;
        found.iter().map(|document| read(sort, document)).collect()
    }

    async fn put_belongings(&self, belongings: Vec<Belonging>) -> Result<()> {
        self.engine.clock()?;
        for sort in BelongingSort::ALL {
            let statements = belongings.iter().filter_map(|belonging| statement(sort, belonging)).collect::<Result<Vec<_>>>()?;
            let collection = match sort {
                BelongingSort::Devices => &self.engine.devices,
                BelongingSort::Attachments => &self.engine.media,
                BelongingSort::MissedSeen => &self.engine.inboxes,
                BelongingSort::LastSeen => &self.engine.presence,
            };
            let updated = self.engine.update(collection.name(), statements).await?;
            if !updated.refused.is_empty() {
                return Err(Error::Conflict(format!("{} documents of {} were refused", updated.refused.len(), collection.name())));
            }
        }
        Ok(())
    }
}

fn read(sort: BelongingSort, document: &Document) -> Result<Belonging> {
    let undecodable = || undecodable(document);
    Ok(match sort {
        BelongingSort::Devices => Belonging::Device(devices::read(document)?),
        BelongingSort::Attachments => Belonging::Attachment(media::read(document)?, document.get_bool("kept").map_err(|_| undecodable())?),
        BelongingSort::MissedSeen => {
            let id = document.get_str("_id").ok().and_then(|id| id.split_once(':'));
            let person = id.and_then(|(kind, id)| Some(Participant::stored(ParticipantKind::parse(kind)?, id)));
            Belonging::MissedSeen(person.ok_or_else(undecodable)?, date_of(document, "missedSeenAt").ok_or_else(undecodable)?)
        }
        BelongingSort::LastSeen => {
            Belonging::LastSeen(person(document).ok_or_else(undecodable)?, date_of(document, "seenAt").ok_or_else(undecodable)?)
        }
    })
}

/// What writes it, if it is of this sort. Each may be repeated.
fn statement(sort: BelongingSort, belonging: &Belonging) -> Option<Result<Document>> {
    let upsert = |id: bson::Bson, change: Document| doc! { "q": { "_id": id }, "u": change, "upsert": true };
    Some(match (sort, belonging) {
        (BelongingSort::Devices, Belonging::Device(device)) => {
            Ok(upsert(device.token.as_str().into(), doc! { "$set": devices::fields(device) }))
        }
        (BelongingSort::Attachments, Belonging::Attachment(attachment, is_used)) => media::write(attachment).map(|mut document| {
            document.insert("kept", *is_used);
            upsert(attachment.id.to_string().into(), document)
        }),
        (BelongingSort::MissedSeen, Belonging::MissedSeen(person, at)) => {
            Ok(upsert(id_of(&person.identity()), doc! { "$set": { "missedSeenAt": date(*at) } }))
        }
        (BelongingSort::LastSeen, Belonging::LastSeen(person, at)) => {
            let person = person.identity();
            let fields = doc! { "seenAt": date(*at), "personType": person.kind().as_str(), "personId": person.id() };
            Ok(upsert(id_of(&person), doc! { "$set": fields }))
        }
        _ => return None,
    })
}
