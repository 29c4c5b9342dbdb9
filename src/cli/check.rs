//! `samvad check`: everything a start needs, tried out one by one, before it matters.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use samvad::auth::{RefreshPace, Verifier};
use samvad::bus::trouble;
use samvad::config::{Config, StoreConfig, TokenKeys};
use samvad::files::Files;
use samvad::models::Timestamp;
use samvad::services::media_tokens::MediaTokens;
use samvad::store::Store;
use samvad::store::mongo::MongoStore;
use samvad::store::sqlite::{OpenError, SqliteStore};

/// How long something else may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How something is.
enum Finding {
    Well(String),
    /// It runs, but somebody should know.
    Odd(String),
    /// A start would fail, or serve nobody.
    Wrong(String),
}

use Finding::{Odd, Well, Wrong};

/// Looks at everything and says so line by line. Errors: how many things are wrong.
pub async fn check(config: &Config) -> Result<(), String> {
    let findings = [
        ("settings", Well("can be read".into())),
        ("address", address(config)),
        ("files", open_files(config)),
        ("store", store(config).await),
        ("redis", redis(config).await),
        ("tokens", tokens(config).await),
        ("admin keys", admin_keys(config)),
        ("agora", agora(config)),
        ("browsers", browsers(config)),
        ("attachments", attachments(config).await),
        ("public url", public_url(config)),
        ("push", push(config)),
        ("webhook", webhook(config)),
    ];
    let mut wrong = 0;
    for (what, finding) in &findings {
        let (word, text) = match finding {
            Well(text) => ("ok", text),
            Odd(text) => ("note", text),
            Wrong(text) => {
                wrong += 1;
                ("WRONG", text)
            }
        };
        println!("{word:<6}{what:<12}{text}");
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of {} are wrong", findings.len())) }
}

fn address(config: &Config) -> Finding {
    let address = SocketAddr::new(config.host, config.port);
    match TcpListener::bind(address) {
        Ok(_) => Well(format!("{address} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Odd(format!("{address} is in use, perhaps by this server")),
        Err(e) => Wrong(format!("{address} cannot be listened on: {e}")),
    }
}

/// Every connection is an open file, and the store needs some.
fn open_files(config: &Config) -> Finding {
    let limit = std::fs::read_to_string("/proc/self/limits").ok();
    let limit = limit.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Max open files")));
    let Some(limit) = limit.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()) else {
        return Odd("how many files may be open is not known here".into());
    };
    let needed = config.max_connections + 200;
    if limit >= needed {
        Well(format!("{limit} may be open"))
    } else {
        Odd(format!("{limit} may be open, MAX_CONNECTIONS wants {needed}: raise the limit (ulimit -n, LimitNOFILE) or lower the setting"))
    }
}

async fn store(config: &Config) -> Finding {
    match &config.store {
        StoreConfig::Embedded(folder) => embedded(folder).await,
        StoreConfig::Mongo { uri, database } => {
            let tried = tokio::time::timeout(PATIENCE, async {
                let store = MongoStore::connect(uri, database).await?;
                let outcome = store.check_writable().await;
                store.close().await;
                outcome
            });
            match tried.await {
                Ok(Ok(())) => Well(format!("MongoDB, database {database}: a primary answers, indexes are there")),
                Ok(Err(e)) => Wrong(format!("MongoDB, database {database}: {}", story(&e))),
                Err(_) => Wrong(format!("MongoDB, database {database}: no answer within {} s", PATIENCE.as_secs())),
            }
        }
    }
}

async fn embedded(folder: &Path) -> Finding {
    let file = folder.join("samvad.db");
    match SqliteStore::open(folder) {
        Ok(store) => {
            let outcome = store.check_writable().await;
            store.close().await;
            match outcome {
                Ok(()) => Well(format!("{} takes writes", file.display())),
                Err(e) => Wrong(format!("{} takes no writes: {}", file.display(), story(&e))),
            }
        }
        // Somebody runs on it, so it is not for us to write.
        Err(OpenError::InUse { .. }) => match read_only(&file) {
            Ok(count) => Odd(format!("{} is in use by a running server; it can be read and has {count} conversations", file.display())),
            Err(e) => Wrong(format!("{} is in use and cannot be read: {e}", file.display())),
        },
        Err(e) => Wrong(e.to_string()),
    }
}

fn read_only(file: &Path) -> rusqlite::Result<i64> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.query_row("SELECT count(*) FROM conversation", [], |row| row.get(0))
}

/// One Redis, or members of a cluster: one that answers is enough, and those that do not are named by their number.
async fn redis(config: &Config) -> Finding {
    let Some(bus) = &config.bus else { return Well("not set: this is the only node".into()) };
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for (number, client) in (1..).zip(&bus.clients) {
        match tokio::time::timeout(PATIENCE, ask_redis(client)).await {
            Ok(Ok(info)) => answers.push(info),
            Ok(Err(e)) => silent.push(format!("address {number}: {} ({e})", trouble::in_words(&e))),
            Err(_) => silent.push(format!("address {number}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
    let Some(info) = answers.first() else { return Wrong(silent.join("; ")) };
    let line = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim().to_owned();
    let (version, is_cluster) = (line("redis_version:"), line("redis_mode:") == "cluster");
    let (kind, oldest) = if is_cluster { ("a cluster", 7) } else { ("one server", 6) };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match (major.is_some_and(|major| major < oldest), silent.is_empty()) {
        (true, _) => Wrong(format!("version {version} is too old for {kind}: {oldest} or later is needed")),
        (false, true) => Well(format!("version {version}, {kind}, answers")),
        (false, false) => Odd(format!("version {version}, {kind}, answers; but {}", silent.join("; "))),
    }
}

async fn ask_redis(client: &redis::Client) -> redis::RedisResult<String> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let _: String = redis::cmd("PING").query_async(&mut connection).await?;
    redis::cmd("INFO").arg("server").query_async(&mut connection).await
}

async fn tokens(config: &Config) -> Finding {
    let verifier = match Verifier::from_config(config, RefreshPace::default()) {
        Ok(verifier) => verifier,
        Err(e) => return Wrong(e.to_string()),
    };
    match &config.token_keys {
        TokenKeys::Secret(_) => Well("checked with JWT_SECRET".into()),
        TokenKeys::KeptSecret(path) => Well(format!("checked with the secret in {}", path.display())),
        TokenKeys::PublicKey(path) => Well(format!("checked with the public key in {}", path.display())),
        TokenKeys::Published(url) => match tokio::time::timeout(PATIENCE, verifier.fetch_keys()).await {
            Ok(Ok(count)) => Well(format!("checked with {count} keys published at {url}")),
            Ok(Err(e)) => Wrong(format!("{url}: {}", story(&e))),
            Err(_) => Wrong(format!("{url}: no answer within {} s", PATIENCE.as_secs())),
        },
    }
}

fn admin_keys(config: &Config) -> Finding {
    match config.admin_keys.len() {
        0 => Odd("none: only tokens of type admin are admins".into()),
        count => Well(format!("{count}")),
    }
}

/// Whether Agora knows the project only a call can tell; that a token can be made of the credentials can be told here.
fn agora(config: &Config) -> Finding {
    let Some(agora) = &config.agora else { return Odd("not set: calls ring and are logged, without sound".into()) };
    let issuer = MediaTokens::new(agora.credentials.clone(), agora.version, agora.lifetime);
    match issuer.issue("samvad_check", Timestamp::now()).token {
        Some(_) => {
            Well(format!("tokens of version {:?} can be made; whether the certificate is the project's only a call shows", agora.version))
        }
        None => Wrong("no token can be made of AGORA_APP_ID and AGORA_APP_CERTIFICATE".into()),
    }
}

fn browsers(config: &Config) -> Finding {
    match (&config.cors, config.host.is_loopback()) {
        (samvad::config::Cors::Any, false) => Odd("CORS_ORIGINS allows pages of every origin".into()),
        (samvad::config::Cors::Any, true) => Well("pages of every origin, on this machine".into()),
        (samvad::config::Cors::Only(origins), _) => Well(format!("pages of {} origins", origins.len())),
    }
}

/// Writes, reads and removes a file of our own, where those of messages go.
async fn attachments(config: &Config) -> Finding {
    let place = match &config.attachments.bucket {
        Some(s3) => format!("bucket {} at {}", s3.bucket, s3.endpoint),
        None => format!("folder {}", config.attachments.folder.display()),
    };
    let Some(files) = samvad::app::attachment_files(config) else {
        return Wrong(format!("{place}: S3_ENDPOINT and S3_BUCKET name no bucket"));
    };
    match tokio::time::timeout(PATIENCE, try_out(&files)).await {
        Ok(Ok(())) if config.bus.is_some() && config.attachments.bucket.is_none() => {
            Odd(format!("{place} takes files; all nodes must share it, or set S3_ENDPOINT"))
        }
        Ok(Ok(())) => Well(format!("{place} takes files")),
        Ok(Err(e)) => Wrong(format!("{place} takes no files: {}", story(&e))),
        Err(_) => Wrong(format!("{place}: no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn try_out(files: &Files) -> samvad::error::Result<()> {
    // Below media/ as all others are: a key may be good for nothing else.
    let key = format!("media/check-{:016x}", rand::random::<u64>());
    files.write(&key, "text/plain", b"samvad check".to_vec()).await?;
    let read = files.read(&key, 64).await;
    files.remove(&key).await?;
    read.map(drop)
}

/// What the addresses of attachments begin with.
fn public_url(config: &Config) -> Finding {
    let url = &config.attachments.public_url;
    let host = url.parse::<reqwest::Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    let address = host.as_deref().and_then(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok());
    match address {
        _ if url.is_empty() => Well("not set: the port that is listened on, once it is known".into()),
        Some(address) if address.is_unspecified() => {
            Odd(format!("{url} is nowhere apps can get to: set PUBLIC_URL, or attachments cannot be opened"))
        }
        Some(address) if address.is_loopback() => Well(format!("{url}: for apps on this machine")),
        _ => Well(url.clone()),
    }
}

/// That the keys can be read the settings have shown; whether Google and Apple take them only a push tells.
fn push(config: &Config) -> Finding {
    let google = config.push.firebase.as_ref().map(|firebase| format!("by Google for project {}", firebase.project_id));
    let apple = config.push.apple.as_ref().map(|apple| format!("by Apple for {}", apple.bundle_id));
    match (google, apple) {
        (None, None) => Odd("not set: phones that sleep hear of nothing".into()),
        (Some(google), None) => Odd(format!("{google}; not by Apple: iPhones that sleep do not ring")),
        (None, Some(apple)) => Odd(format!("{apple}; not by Google: phones are told of no messages")),
        (Some(google), Some(apple)) => Well(format!("{google}, {apple}; the keys can be read")),
    }
}

fn webhook(config: &Config) -> Finding {
    match &config.push.webhook {
        None => Well("not set: events are posted nowhere".into()),
        // Path and query may hold a secret of the receiver's.
        Some((url, _)) => Well(format!("events are posted to {}", url.origin().ascii_serialization())),
    }
}

fn story(error: &samvad::error::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
