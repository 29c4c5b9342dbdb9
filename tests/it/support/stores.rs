//! Empty stores of either kind, one for each test.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use samvad::store::Store;
use samvad::store::mongo::MongoStore;
use samvad::store::sqlite::SqliteStore;
use tempfile::TempDir;

/// An embedded store in a folder that goes away with the returned guard.
pub fn sqlite() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(folder.path()).expect("an empty folder can be opened");
    (Arc::new(store), folder)
}

/// A store in this database (see [`fresh_database`]), ready to be written to.
pub async fn mongodb(database: &str) -> Arc<dyn Store> {
    // As many queues as on a large machine; the program's tests run it with those of this one.
    let lanes = NonZeroUsize::new(4).expect("not zero");
    let store = MongoStore::connect_with(&mongo_uri(), database, lanes).await.expect("TEST_MONGODB_URI can be read");
    let store: Arc<dyn Store> = Arc::new(store);
    // Connecting goes on in the background.
    let ready = async {
        while let Err(error) = store.check_writable().await {
            assert!(error.is_retryable(), "the test database refuses writes: {error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("the test database takes writes within 30 s");
    store
}

/// Where the test's mongod is. A missing one is a failure, not a test left out.
pub fn mongo_uri() -> String {
    std::env::var("TEST_MONGODB_URI").expect("TEST_MONGODB_URI is not set: run scripts/test, or start one with scripts/mongod")
}

/// A database name nobody else uses.
pub fn fresh_database() -> String {
    format!("samvad_test_{:016x}", rand::random::<u64>())
}

/// Removes a database. Tests that fail leave theirs behind, to be looked at.
pub async fn drop_database(database: &str) {
    let client = mongodb::Client::with_uri_str(mongo_uri()).await.expect("TEST_MONGODB_URI can be read");
    client.database(database).drop().await.expect("a test database can be dropped");
}

/// Runs each of these functions as two tests, one on an empty store of either kind.
macro_rules! on_every_driver {
    ($($sentence:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                let (store, _folder) = crate::support::stores::sqlite();
                super::$sentence(store.clone()).await;
                store.close().await;
            })+
        }

        mod mongodb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                let database = crate::support::stores::fresh_database();
                let store = crate::support::stores::mongodb(&database).await;
                super::$sentence(store.clone()).await;
                store.close().await;
                crate::support::stores::drop_database(&database).await;
            })+
        }
    };
}
pub(crate) use on_every_driver;

/// The same for worlds made at random: each function runs with the seeds that are given and one nobody has tried, each on an empty store.
/// A failure shows which (`seed …`); `WORLD_SEED=…` then runs that one alone.
macro_rules! on_every_driver_by_seeds {
    ($seeds:expr, $($sentence:ident),+ $(,)?) => {
        mod worlds_on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                for seed in crate::support::stores::seeds(&$seeds) {
                    println!("seed {seed}");
                    let (store, _folder) = crate::support::stores::sqlite();
                    super::$sentence(store.clone(), seed).await;
                    store.close().await;
                }
            })+
        }

        mod worlds_on_mongodb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                for seed in crate::support::stores::seeds(&$seeds) {
                    println!("seed {seed}");
                    let database = crate::support::stores::fresh_database();
                    let store = crate::support::stores::mongodb(&database).await;
                    super::$sentence(store.clone(), seed).await;
                    store.close().await;
                    crate::support::stores::drop_database(&database).await;
                }
            })+
        }
    };
}
pub(crate) use on_every_driver_by_seeds;

/// These and a new one, or that of `WORLD_SEED` alone.
pub fn seeds(known: &[u64]) -> Vec<u64> {
    match std::env::var("WORLD_SEED") {
        Ok(text) => vec![text.parse().expect("WORLD_SEED is a number")],
        Err(_) => known.iter().copied().chain([rand::random()]).collect(),
    }
}
