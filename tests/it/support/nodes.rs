//! Several programs on one database, with a Redis between them.

use std::time::Duration;

use samvad::models::ParticipantKind;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::http::{get, local};
use super::program::{Program, token};
use super::redis::Redis;
use super::stores;

/// The admin key of these programs.
pub const ADMIN_KEY: &str = "an admin key of several nodes";

/// How long the nodes may take to agree about something after a fault.
pub const RECOVERY: Duration = Duration::from_secs(30);

/// The nodes of a test.
pub struct Nodes {
    /// Between them.
    pub redis: Redis,
    /// Numbered in the order they were started.
    programs: Vec<Option<Program>>,
    database: String,
    folder: TempDir,
}

impl Nodes {
    /// So many, with further settings for all of them, which see each other.
    pub async fn start(count: usize, settings: &[(&str, &str)]) -> Self {
        let mut nodes = Self::none();
        for _ in 0..count {
            nodes.add(settings);
        }
        for n in 0..count {
            nodes.sees(n, count - 1).await;
        }
        nodes
    }

    /// None yet.
    pub fn none() -> Self {
        Self::on(Redis::start())
    }

    /// None yet, and this Redis.
    pub fn on(redis: Redis) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { redis, programs: Vec::new(), database: stores::fresh_database(), folder }
    }

    /// One more, in touch with Redis unless the settings say otherwise.
    pub fn add(&mut self, settings: &[(&str, &str)]) {
        self.add_through(&stores::mongo_uri(), settings);
    }

    /// The same that reaches mongod by this address.
    pub fn add_through(&mut self, mongo_uri: &str, settings: &[(&str, &str)]) {
        let url = self.redis.url();
        let settings: Vec<(&str, &str)> =
            [("REDIS_URL", url.as_str()), ("ADMIN_SECRET_KEY", ADMIN_KEY)].into_iter().chain(settings.iter().copied()).collect();
        let mongo = (mongo_uri.to_owned(), self.database.clone());
        self.programs.push(Some(Program::start(self.folder.path(), Some(&mongo), &settings)));
    }

    /// Where a node listens.
    pub fn url(&self, n: usize) -> &str {
        &self.programs[n].as_ref().expect("it runs").url
    }

    /// SIGKILL, to this node alone.
    pub fn kill(&mut self, n: usize) {
        self.programs[n].take().expect("it runs").kill();
    }

    /// SIGTERM, to this node alone; it ends in order.
    pub fn end(&mut self, n: usize) {
        self.programs[n].take().expect("it runs").end();
    }

    /// A user connected to this node.
    pub async fn user(&self, n: usize, id: &str) -> Client {
        Client::connect(self.url(n), &token(ParticipantKind::User, id)).await
    }

    /// An astrologer connected to this node.
    pub async fn astrologer(&self, n: usize, id: &str) -> Client {
        Client::connect(self.url(n), &token(ParticipantKind::Astrologer, id)).await
    }

    /// Waits until a node has noticed that everybody has left it.
    pub async fn is_left(&self, n: usize) {
        let left = async {
            while get(self.url(n), local(1), "/health", &[]).await.json()["socketio"]["totalConnections"] != 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(RECOVERY, left).await.unwrap_or_else(|_| panic!("node {n} keeps somebody who has left"));
    }

    /// What a node says of its bus.
    pub async fn bus(&self, n: usize) -> Value {
        get(self.url(n), local(1), "/ready", &[]).await.json()["bus"].clone()
    }

    /// Waits until a node is in touch with Redis and knows so many others.
    pub async fn sees(&self, n: usize, others: usize) {
        let seen = async {
            loop {
                let bus = self.bus(n).await;
                if bus["status"] == "up" && bus["otherNodes"] == others {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(RECOVERY, seen).await.unwrap_or_else(|_| panic!("node {n} does not see {others} others"));
    }

    /// Waits until a node has noticed that Redis is away.
    pub async fn is_cut_off(&self, n: usize) {
        let seen = async {
            while self.bus(n).await["status"] != "down" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(RECOVERY, seen).await.unwrap_or_else(|_| panic!("node {n} does not notice"));
    }

    /// Ends all and removes the database. A test that fails leaves it behind, to be looked at.
    pub async fn done(mut self) {
        self.programs.clear();
        stores::drop_database(&self.database).await;
    }
}

/// A message to this astrologer.
pub fn to_astrologer(id: &str, content: &str) -> Value {
    json!({ "recipientId": id, "recipientType": "astrologer", "content": content })
}
