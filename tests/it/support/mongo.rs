//! A database as other programs leave it, and a look at what lies in it afterwards.

use bson::{Bson, Document, doc};
use mongodb::{Client, Database};
use samvad::store::Store;
use samvad::store::mongo::MongoStore;

use super::stores;

/// A database of its own, dropped at the end of the test.
pub struct Fixture {
    uri: String,
    /// The database itself, as other programs see it.
    pub database: Database,
}

impl Fixture {
    /// An empty one.
    pub async fn new() -> Self {
        let uri = stores::mongo_uri();
        let client = Client::with_uri_str(&uri).await.expect("a usable URI");
        Self { uri, database: client.database(&stores::fresh_database()) }
    }

    /// A node on it, ready to be written to.
    pub async fn store(&self) -> MongoStore {
        let store = MongoStore::connect(&self.uri, self.database.name()).await.expect("a usable URI");
        store.check_writable().await.expect("ready after connecting");
        store
    }

    /// What another program has written.
    pub async fn insert(&self, collection: &str, documents: impl IntoIterator<Item = Document>) {
        self.database.collection::<Document>(collection).insert_many(documents).await.expect("inserted");
    }

    /// A document as it lies there.
    pub async fn find(&self, collection: &str, id: impl Into<Bson>) -> Document {
        let found = self.database.collection::<Document>(collection).find_one(doc! { "_id": id.into() }).await.expect("asked");
        found.expect("stored")
    }

    /// Closes the node and drops everything.
    pub async fn done(self, store: MongoStore) {
        store.close().await;
        self.database.drop().await.expect("dropped");
    }
}
