//! Which nodes write to this database, so that one that believes to be alone can say that it is not.

use std::time::Duration;

use bson::doc;

use super::engine::{Engine, date};
use super::fields::Fields;
use crate::error::Result;
use crate::models::Timestamp;

/// How long a node is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    pub(super) async fn meet_nodes(&self, name: &str, now: Timestamp) -> Result<Vec<(String, Timestamp)>> {
        let update = self.nodes.update_one(doc! { "name": name }, doc! { "$set": { "seenAt": date(now) } }).upsert(true);
        self.ask("noting node", name, update).await?;
        let found = self.collect("reading the nodes of", self.database.name(), self.nodes.find(doc! { "name": { "$ne": name } })).await?;
        let mut others = Vec::with_capacity(found.len());
        for document in &found {
            let fields = Fields::of("samvadnodes", document)?;
            let seen_at = fields.find_date("seenAt")?.ok_or_else(|| fields.wrong("seenAt", "is missing"))?;
            others.push((fields.text("name")?, seen_at));
        }
        let forgotten = now.minus(REMEMBERED);
        if others.iter().any(|(_, seen_at)| *seen_at < forgotten) {
            let old = self.nodes.delete_many(doc! { "seenAt": { "$lt": date(forgotten) } });
            self.ask("forgetting old nodes of", self.database.name(), old).await?;
            others.retain(|(_, seen_at)| *seen_at >= forgotten);
        }
        Ok(others)
    }
}
