//! The indexes the driver relies on. Made at start, never dropped; those of other programs do no harm.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use tokio::time::timeout;
use tracing::{error, info};

use super::engine::Engine;
use super::failure::{self, failed, no_answer};
use super::message_document::without_read_at;
use crate::error::Result;

/// Building on old data may take minutes; waiting for ever would hide a dead server.
const BUILD_WITHIN: Duration = Duration::from_secs(600);
/// The server has an index on these fields under another name or with other options.
const CONFLICTS: [i32; 2] = [85, 86];

/// Makes what is missing.
///
/// Errors: `Internal` when existing documents contradict a unique index.
pub(super) async fn ensure(engine: &Engine) -> Result<()> {
    let messages = &engine.messages;
    // History, `lastMessage` after a deletion.
    create(messages, doc! { "conversationId": 1, "createdAt": -1, "_id": -1 }, None).await?;
    // What is unread. By the date and not by the status, which "delivered" changes: then that costs no look at any index.
    // Its own name, because databases of earlier versions have one on the same fields.
    let unread = IndexOptions::builder().name("unread".to_owned()).partial_filter_expression(without_read_at()).build();
    create(messages, doc! { "conversationId": 1, "recipientType": 1 }, Some(unread)).await?;
    // Partial, because older documents have no such field and would all be equal.
    let once = IndexOptions::builder().unique(true).partial_filter_expression(doc! { "clientMessageId": { "$exists": true } }).build();
    create(messages, doc! { "senderType": 1, "senderId": 1, "clientMessageId": 1 }, Some(once)).await?;

    let conversations = &engine.conversations;
    // The list of a person.
    create(conversations, doc! { "participants.id": 1, "lastMessageAt": -1, "_id": -1 }, None).await?;
    // The list of the admins, who take part under more than one id in documents of the original schema. Without the conversations of
    // others, which would move in it with every message.
    let of_admins = IndexOptions::builder().partial_filter_expression(doc! { "participants.type": "admin" }).build();
    create(conversations, doc! { "lastMessageAt": -1, "_id": -1 }, Some(of_admins)).await?;
    create(conversations, doc! { "aliases": 1 }, None).await?;
    unique_key(engine).await?;

    let calls = &engine.calls;
    // The list of a person, one for each side.
    create(calls, doc! { "callerId": 1, "_id": -1 }, None).await?;
    create(calls, doc! { "recipientId": 1, "_id": -1 }, None).await?;
    // What needs somebody: few calls, however many there have been.
    let open = IndexOptions::builder().partial_filter_expression(doc! { "open": true }).build();
    create(calls, doc! { "open": 1, "ringDeadline": 1, "endedAt": 1 }, Some(open)).await?;

    // Each is noted once.
    create(&engine.relations, doc! { "userId": 1, "astrologerId": 1 }, Some(IndexOptions::builder().unique(true).build())).await?;
    create(&engine.revocations, doc! { "personType": 1, "personId": 1 }, Some(IndexOptions::builder().unique(true).build())).await?;
    // Who was connected to a process that died.
    create(&engine.presence, doc! { "processes": 1 }, None).await?;
    // Files nobody needs: few, however many there are.
    let unsettled = IndexOptions::builder().partial_filter_expression(doc! { "kept": false }).build();
    create(&engine.media, doc! { "kept": 1, "state": 1, "createdAt": 1 }, Some(unsettled)).await?;
    // Every process asks every few seconds for what is new.
    create(&engine.revocations, doc! { "until": 1 }, None).await?;
    // The trail, whole or of one kind.
    create(&engine.audit, doc! { "at": -1, "_id": -1 }, None).await?;
    create(&engine.audit, doc! { "action": 1, "at": -1, "_id": -1 }, None).await?;

    create(&engine.devices, doc! { "ownerType": 1, "ownerId": 1, "registeredAt": -1 }, None).await?;
    let outbox = &engine.outbox;
    // What is due.
    create(outbox, doc! { "lane": 1, "state": 1, "dueAt": 1 }, None).await?;
    // What is too much, what is forgotten.
    create(outbox, doc! { "state": 1, "lane": 1, "createdAt": -1 }, None).await?;
    create(outbox, doc! { "state": 1, "endedAt": 1 }, None).await?;
    let collapsing = IndexOptions::builder().partial_filter_expression(doc! { "collapse": { "$exists": true } }).build();
    create(outbox, doc! { "collapse": 1, "state": 1 }, Some(collapsing)).await
}

/// One conversation per key. Conversations of the original schema have none, and all of them would collide: they get theirs first.
async fn unique_key(engine: &Engine) -> Result<()> {
    let keys = doc! { "conversationId": 1 };
    let unique = || Some(IndexOptions::builder().unique(true).build());
    match build(&engine.conversations, keys.clone(), unique()).await? {
        Err(e) if failure::code(&e) == Some(failure::DUPLICATE_KEY) => {
            info!("conversations of the original schema get their keys");
            engine.adopt_strays().await?;
            create(&engine.conversations, keys, unique()).await
        }
        outcome => settle(&engine.conversations, &keys, true, outcome).await,
    }
}

async fn create(collection: &Collection<Document>, keys: Document, options: Option<IndexOptions>) -> Result<()> {
    let unique = options.as_ref().is_some_and(|o| o.unique == Some(true));
    let outcome = build(collection, keys.clone(), options).await?;
    settle(collection, &keys, unique, outcome).await
}

async fn build(collection: &Collection<Document>, keys: Document, options: Option<IndexOptions>) -> Result<mongodb::error::Result<()>> {
    let model = IndexModel::builder().keys(keys).options(options).build();
    let built = timeout(BUILD_WITHIN, async { collection.create_index(model).await.map(|_| ()) }).await;
    built.map_err(|_| no_answer("building an index on", collection.name()))
}

async fn settle(collection: &Collection<Document>, keys: &Document, unique: bool, outcome: mongodb::error::Result<()>) -> Result<()> {
    let Err(refused) = outcome else { return Ok(()) };
    if !failure::code(&refused).is_some_and(|code| CONFLICTS.contains(&code)) {
        return Err(failed("building an index on", collection.name(), refused));
    }
    if unique && !has_unique(collection, keys).await? {
        error!("{} has an index on {keys} that is not unique; two nodes may store the same thing twice", collection.name());
    } else {
        info!("{} has an index on {keys} already, under another name or with other options", collection.name());
    }
    Ok(())
}

async fn has_unique(collection: &Collection<Document>, keys: &Document) -> Result<bool> {
    let list = async { collection.list_indexes().await?.try_collect::<Vec<_>>().await };
    let indexes = timeout(BUILD_WITHIN, list)
        .await
        .map_err(|_| no_answer("reading the indexes of", collection.name()))?
        .map_err(|e| failed("reading the indexes of", collection.name(), e))?;
    // Numbers may be stored as doubles: the names and their order are what matters.
    let same = |model: &IndexModel| model.keys.keys().eq(keys.keys());
    Ok(indexes.iter().any(|m| same(m) && m.options.as_ref().is_some_and(|o| o.unique == Some(true))))
}
