//! What a run happens on: a store, one server or several, and the folder they work in.

use std::path::{Path, PathBuf};

use crate::house::{Database, Redis, Server};
use crate::recount::{Nodes, Place};

/// What is tormented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    Sqlite,
    Mongodb,
    /// Three mongods.
    Replicas,
    /// Three servers on one mongod, with Redis between them.
    Nodes,
    /// Three servers on one mongod that do not hear each other.
    NodesAlone,
}

impl StoreKind {
    fn mongods(self) -> usize {
        match self {
            Self::Sqlite => 0,
            Self::Mongodb | Self::Nodes | Self::NodesAlone => 1,
            Self::Replicas => 3,
        }
    }

    /// How many servers there are, and whether they hear each other.
    pub fn nodes(self) -> Nodes {
        match self {
            Self::Sqlite | Self::Mongodb | Self::Replicas => Nodes::One,
            Self::Nodes => Nodes::Several,
            Self::NodesAlone => Nodes::Alone,
        }
    }

    /// Its mongods, started; none for the embedded store.
    pub async fn database(self, binary: Option<&Path>, folder: &Path) -> Option<Database> {
        if self == Self::Sqlite {
            return None;
        }
        let binary = binary.expect("--mongod is needed for this store");
        Some(Database::start(binary, folder, self.mongods()).await)
    }

    /// The servers, not started yet, and the Redis between them if they hear each other.
    pub fn servers(self, binary: &Path, folder: &Path, mut settings: Vec<(String, String)>) -> (Vec<Server>, Option<Redis>) {
        if self.nodes() == Nodes::One {
            return (vec![Server::new(binary, folder, settings)], None);
        }
        let redis = (self == Self::Nodes).then(Redis::start);
        settings.extend(redis.iter().map(|redis| ("REDIS_URL".to_owned(), redis.url())));
        let servers = (1..=3).map(|n| {
            let folder = folder.join(format!("node{n}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            Server::new(binary, &folder, settings.clone())
        });
        (servers.collect(), redis)
    }
}

/// Where one run of the other modes happens.
#[derive(clap::Args, Clone)]
pub struct Stage {
    /// Which store.
    #[arg(long, value_enum)]
    pub store: StoreKind,
    /// The samvad binary.
    #[arg(long)]
    pub server: PathBuf,
    /// The mongod binary.
    #[arg(long)]
    pub mongod: Option<PathBuf>,
    /// Data and logs.
    #[arg(long)]
    pub dir: PathBuf,
}

/// The processes of one run.
pub struct House {
    pub servers: Vec<Server>,
    _redis: Option<Redis>,
    _database: Option<Database>,
}

impl House {
    /// Where clients find the servers.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }
}

impl Stage {
    pub fn store_name(&self) -> String {
        format!("{:?}", self.store)
    }

    /// Servers that are not started yet, and an empty store.
    pub async fn set_up(&self, mut settings: Vec<(String, String)>) -> (House, Place) {
        raise_file_limit();
        let folder = self.dir.join(self.store_name().to_lowercase());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let database = self.store.database(self.mongod.as_deref(), &folder).await;
        let place = match &database {
            None => Place::Sqlite(folder.join("samvad.db")),
            Some(database) => {
                settings.extend([("MONGODB_URI".to_owned(), database.uri.clone()), ("MONGODB_DB".to_owned(), "chaos".to_owned())]);
                Place::Mongo { uri: database.uri.clone(), database: "chaos".to_owned() }
            }
        };
        let (servers, redis) = self.store.servers(&self.server, &folder, settings);
        (House { servers, _redis: redis, _database: database }, place)
    }
}

/// As many open files as we are allowed; the processes we start inherit it.
fn raise_file_limit() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().nth(1).map(str::to_owned));
    let Some(hard) = hard else { return };
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("prlimit").args(["--pid", &own, &format!("--nofile={hard}:{hard}")]).status();
}
