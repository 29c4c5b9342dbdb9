//! Many updates in one command: one journey and one wait for the journal, whatever their number.

use bson::{Bson, Document, doc};
use mongodb::Collection;
use tracing::error;

use super::engine::Engine;
use super::failure::is_duplicate_key;
use super::fields::whole;
use crate::error::{Error, Result};

/// What became of the statements.
pub(super) struct Updated {
    /// How many documents are different now.
    pub(super) modified: usize,
    /// Indices of statements the server refused.
    pub(super) refused: Vec<usize>,
}

impl Engine {
    /// Runs one `update` command on a collection, in no order. Every statement has `q` and `u`.
    ///
    /// The driver does not repeat it after a network error, and neither may the caller unless every statement can be repeated.
    pub(super) async fn update(&self, collection: &str, statements: Vec<Document>) -> Result<Updated> {
        if statements.is_empty() {
            return Ok(Updated { modified: 0, refused: Vec::new() });
        }
        let command = doc! {
            "update": collection,
            "updates": statements,
            "ordered": false,
            "writeConcern": self.write_concern.clone(),
        };
        let answer = self.ask("updating", collection, self.database.run_command(command)).await?;
        if let Some(concern) = answer.get("writeConcernError") {
            return Err(Error::unavailable(format!("updating {collection}: the members did not agree in time: {concern}")));
        }
        let refused = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let index = |refusal: &Bson| {
            error!("updating {collection}: {refusal}");
            number(refusal.as_document()?, "index")
        };
        Ok(Updated { modified: number(&answer, "nModified").unwrap_or(0), refused: refused.iter().filter_map(index).collect() })
    }
}

fn number(document: &Document, name: &str) -> Option<usize> {
    document.get(name).and_then(whole).and_then(|n| usize::try_from(n).ok())
}

/// Changes or makes the one document of this `_id`. Two that make it at once: the slower one changes it.
pub(super) async fn upsert_one(collection: &Collection<Document>, id: Document, update: Document) -> mongodb::error::Result<()> {
    match collection.update_one(id.clone(), update.clone()).upsert(true).await {
        Err(e) if is_duplicate_key(&e) => collection.update_one(id, update).await.map(drop),
        outcome => outcome.map(drop),
    }
}
